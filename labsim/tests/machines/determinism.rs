//! One seed is one run, and a draw is nobody else's.
//!
//! Boundary: compares runs; the hashes themselves stand in `golden.rs`.

use std::collections::BTreeSet;

use labsim::node::Node;
use labsim::rand::Stream;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::time::Instant;
use labsim::{Config, Outcome, channel, links, rand, simulate, thread};

use crate::{MS, run};

/// A bit of everything that could differ from run to run.
fn busy(seed: u64) -> Outcome<Vec<u64>> {
    let config = Config { trace: true, ..Config::seed(seed) };
    simulate(config, || {
        let nodes = ["a", "b", "c"].map(Node::new);
        links::change(nodes[0], nodes[1], |link| link.delay = MS..5 * MS);
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let (tx, rx) = channel::unbounded();
        for node in nodes {
            node.set_start_delay(MS..2 * MS);
            for _ in 0..3 {
                let (shared, tx) = (Arc::clone(&shared), tx.clone());
                node.spawn("busy", move || {
                    for _ in 0..3 {
                        *shared.0.lock() += rand::below(10);
                        shared.1.notify_one();
                        shared.1.wait_for(&mut shared.0.lock(), rand::between(MS..3 * MS));
                        let _ = links::send(nodes[0], nodes[1]);
                        node.disk().append("log", b"entry");
                        node.disk().sync();
                        let _ = tx.send(*shared.0.lock());
                    }
                });
            }
        }
        drop(tx);
        thread::sleep(4 * MS);
        nodes[2].crash();
        nodes[2].restart();
        rx.iter().collect()
    })
}

/// Everything of an outcome that must be the same.
fn essence(outcome: Outcome<Vec<u64>>) -> impl PartialEq + std::fmt::Debug {
    let Outcome { result, elapsed, steps, timer_events, threads, hash, trace, .. } = outcome;
    (result.unwrap(), elapsed, steps, timer_events, threads, hash, trace)
}

#[test]
fn a_seed_told_twice_is_the_same_run() {
    for seed in 0..50 {
        assert!(essence(busy(seed)) == essence(busy(seed)), "seed {seed}");
    }
}

#[test]
fn a_seed_is_the_same_run_beside_other_runs() {
    let alone: Vec<_> = (0..20).map(|seed| busy(seed).hash).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let beside: Vec<_> = (0..20).map(|seed| busy(seed).hash).collect();
                assert_eq!(alone, beside);
            });
        }
    });
}

#[test]
fn different_seeds_are_different_runs() {
    let outcomes: Vec<_> = (0..1000).map(busy).collect();
    let hashes: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.hash).collect();
    assert!(hashes.len() > 990, "only {} different hashes in 1000", hashes.len());
    // The hash begins with the seed; what the runs did must differ as well.
    let stories: BTreeSet<_> = outcomes.iter().map(|outcome| (outcome.steps, outcome.elapsed)).collect();
    assert!(stories.len() > 990, "only {} different stories in 1000", stories.len());
}

#[test]
fn a_failure_is_reproduced_to_the_letter() {
    let fail = |seed| {
        let failure = crate::failure(seed, || {
            for _ in 0..5 {
                thread::spawn("racer", || {
                    thread::sleep(rand::between(MS..9 * MS));
                    panic!("lost after {}", Instant::now());
                });
            }
            thread::park();
        });
        format!("{failure:?}")
    };
    for seed in 0..50 {
        assert_eq!(fail(seed), fail(seed));
    }
}

#[test]
fn another_draw_is_another_hash() {
    let hash = |draws: u64| {
        let outcome =
            simulate(Config::seed(1), move || (0..draws).map(|_| rand::next_u64()).fold(0, u64::wrapping_add));
        outcome.hash
    };
    assert_ne!(hash(1), hash(2));
}

#[test]
fn every_node_and_every_life_draws_from_a_stream_of_its_own() {
    let drawn = |others: usize| {
        run(3, move || {
            let nodes = ["a", "b", "c"].map(Node::new);
            let draw = |node: Node, count: usize| {
                let draws = move || (0..count).map(|_| rand::next_u64()).collect::<Vec<_>>();
                node.spawn("draws", draws).join().unwrap()
            };
            let first = draw(nodes[0], 3);
            let _ = draw(nodes[1], others);
            (0..others).for_each(|_| assert_ne!(rand::next_u64(), 0));
            let more = draw(nodes[0], 3);
            nodes[0].crash();
            nodes[0].restart();
            (first, more, draw(nodes[0], 3), draw(nodes[2], 3))
        })
    };
    let (first, more, second_life, other_node) = drawn(0);
    assert_eq!(drawn(17), (first.clone(), more.clone(), second_life.clone(), other_node.clone()));
    let all: BTreeSet<u64> = [first, more, second_life, other_node].concat().into_iter().collect();
    assert_eq!(all.len(), 12, "two streams yield the same");
}

#[test]
fn a_node_draws_what_its_stream_yields() {
    let (on_node, off_node) = run(3, || {
        let node = Node::new("a");
        (node.spawn("draws", rand::next_u64).join().unwrap(), rand::next_u64())
    });
    assert_eq!(on_node, Stream::new(3, "node", 0, 0).next_u64());
    assert_eq!(off_node, Stream::new(3, "no node", 0, 0).next_u64());
}

#[test]
fn start_delays_depend_on_seed_node_and_number_only() {
    let starts = |others: usize| {
        run(3, move || {
            let (node, other) = (Node::new("a"), Node::new("b"));
            for node in [node, other] {
                node.set_start_delay(MS..1000 * MS);
            }
            (0..others).for_each(|_| drop(other.spawn("other", || ())));
            (0..5)
                .map(|_| {
                    let begun = Instant::now();
                    node.spawn("late", || ()).join().unwrap();
                    begun.elapsed().as_millis()
                })
                .collect::<Vec<_>>()
        })
    };
    let alone = starts(0);
    assert_eq!(alone, starts(7));
    assert!(alone.iter().all(|millis| (1..=1000).contains(millis)), "{alone:?}");
}

#[test]
fn the_seed_of_a_world_is_known_in_it() {
    assert_eq!(run(99, labsim::seed), Some(99));
    assert_eq!(labsim::seed(), None);
}
