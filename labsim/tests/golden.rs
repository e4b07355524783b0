//! The hash of one program under a few seeds, written down.
//!
//! Seeds are published, in reports and in grades. Debug and release, this
//! machine and yours, have to come to these numbers. They change whenever a step
//! of the simulator does: then see that it was meant to, and write down the new
//! ones. Nothing of Raft is in here, so a student's edit changes nothing.
//!
//! Boundary: numbers. What the steps mean is tested beside this file.

use std::time::Duration;

use labsim::node::Node;
use labsim::sync::atomic::{AtomicU64, Ordering};
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{Config, channel, links, rand, simulate, thread, time};

/// A bit of everything that the scheduler has a say in.
fn program() -> u64 {
    let shared = Arc::new((Mutex::new(0u64), Condvar::new(), AtomicU64::new(0)));
    let (tx, rx) = channel::bounded(2);
    let nodes = [Node::new("a"), Node::new("b")];
    links::change(nodes[0], nodes[1], |link| {
        link.loss = 0.3;
        link.delay = Duration::ZERO..Duration::from_millis(9);
    });
    nodes[1].set_start_delay(Duration::ZERO..Duration::from_micros(300));

    for node in nodes {
        let (shared, tx) = (Arc::clone(&shared), tx.clone());
        node.spawn("worker", move || {
            for round in 0..20u64 {
                thread::sleep(rand::between(Duration::ZERO..Duration::from_millis(3)));
                *shared.0.lock() += round;
                shared.1.notify_one();
                shared.2.fetch_add(rand::below(10), Ordering::SeqCst);
                if links::send(nodes[0], nodes[1]) != links::Fate::Lost && tx.send(round).is_err() {
                    return;
                }
                node.disk().append("log", &round.to_le_bytes());
                node.disk().sync();
            }
        });
    }
    drop(tx);
    let waiter = Arc::clone(&shared);
    thread::spawn("waiter", move || waiter.1.wait_while(&mut waiter.0.lock(), |sum| *sum < 50));

    let mut sum = 0;
    for round in rx.iter().take(15) {
        sum += round;
        thread::yield_now();
    }
    nodes[0].crash();
    nodes[0].restart();
    let rest = rx.iter().count() as u64;
    let micros = time::Instant::now().elapsed().as_micros() as u64;
    1_000_000 * sum + 1000 * rest + 10 * shared.2.load(Ordering::SeqCst) + micros
}

#[test]
fn a_seed_has_the_hash_that_is_written_down() {
    let found: Vec<(u64, u64)> = (1..=6)
        .map(|seed| {
            let outcome = simulate(Config::seed(seed), program);
            (outcome.hash, outcome.result.expect("the program is right"))
        })
        .collect();
    assert_eq!(found, WRITTEN_DOWN);
}

const WRITTEN_DOWN: [(u64, u64); 6] = [
    (12591296632911683253, 73012580),
    (7448187996379125292, 74008281),
    (9570181531670642767, 70006130),
    (8020212265694921207, 70007291),
    (3068089751729244690, 93005141),
    (15092493308337466217, 51010261),
];
