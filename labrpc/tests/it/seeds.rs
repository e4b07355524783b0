//! One seed is one run; and what chance has in store for a call does not depend
//! on calls between other nodes.
//!
//! Boundary: reproducibility of calls. That of threads is tested in labsim.

use labrpc::{CallError, Service};
use labsim::node::Node;
use labsim::time::Duration;
use labsim::{Config, links, simulate, thread};

use super::{Count, STEPS, ms, run, timed};

type Called = (Result<u64, CallError>, Duration);

/// Four nodes that call each other in a bad network, with a crash in between.
fn busy() -> (Vec<Called>, u64) {
    let network = labrpc::Network::new();
    network.set_reliable(false);
    network.set_long_reordering(true);
    let nodes: Vec<Node> = ["a", "b", "c", "d"].map(Node::new).into();
    for node in &nodes {
        network.serve(*node, Service::new().method("echo", |n: u64| n));
    }
    links::change(nodes[0], nodes[1], |link| {
        link.delay = ms(1)..ms(50);
        link.loss = 0.1;
        link.duplicate = 0.3;
    });

    let mut callers = Vec::new();
    for from in &nodes {
        for to in &nodes {
            let end = network.end(*from, *to);
            let call = move |n| timed(|| end.call("echo", &n));
            callers.push(thread::spawn("caller", move || (0..10).map(call).collect::<Vec<Called>>()));
        }
    }
    thread::sleep(ms(2000));
    nodes[3].crash();
    let called = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
    (called, network.traffic().bytes())
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let first = simulate(Config::seed(seed), busy);
        let again = simulate(Config::seed(seed), busy);
        assert_eq!(first.hash, again.hash, "seed {seed}");
        assert_eq!((first.steps, first.elapsed, first.threads), (again.steps, again.elapsed, again.threads));
        assert_eq!(first.result.unwrap(), again.result.unwrap(), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 10, "two seeds were the same run");
}

/// What becomes of 200 calls from c to d, while a calls b `others` times.
fn calls_beside(seed: u64, others: u64) -> (Vec<Called>, u64) {
    run(seed, move || {
        let network = labrpc::Network::new();
        network.set_reliable(false);
        network.set_long_reordering(true);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Node::new);
        let runs = Count::default();
        let counted = runs.clone();
        network.serve(b, Service::new().method("echo", |n: u64| n));
        let echo = move |n: u64| {
            counted.add();
            n
        };
        network.serve(d, Service::new().method("echo", echo));
        for (from, to) in [(a, b), (c, d), (d, c)] {
            links::change(from, to, |link| {
                link.loss = 0.05;
                link.delay = ms(5)..ms(20);
                link.duplicate = 0.2;
            });
        }

        let other_end = network.end(a, b);
        thread::spawn("other", move || {
            for n in 0..others {
                let _ = other_end.call::<u64, u64>("echo", &n);
            }
        });
        let end = network.end(c, d);
        let called: Vec<Called> = (0..200).map(|n| timed(|| end.call("echo", &n))).collect();
        thread::sleep(ms(100));
        (called, runs.get())
    })
}

#[test]
fn a_call_between_two_nodes_leaves_the_fate_of_all_others() {
    for seed in 0..10 {
        let (alone, runs_alone) = calls_beside(seed, 0);
        let lost = alone.iter().filter(|(result, _)| result.is_err()).count();
        assert!((20..100).contains(&lost), "seed {seed}: {lost} of 200 were lost, so nothing was at stake");

        for others in [1, 2, 50] {
            let (beside, runs_beside) = calls_beside(seed, others);
            assert_eq!(runs_alone, runs_beside, "seed {seed}, {others} others: another number of requests arrived");
            for (n, (one, other)) in alone.iter().zip(&beside).enumerate() {
                assert_eq!(one.0, other.0, "seed {seed}, {others} others: call {n} ended otherwise");
                let apart = one.1.abs_diff(other.1);
                assert!(apart < STEPS, "seed {seed}, {others} others: call {n} took {:?} and {:?}", one.1, other.1);
            }
        }
    }
}

/// A dead server's calls draw from their own stream too.
#[test]
fn a_call_over_a_cut_link_moves_no_other() {
    let latencies = |others: u64| {
        run(3, move || {
            let network = labrpc::Network::new();
            let [a, b, c, d] = ["a", "b", "c", "d"].map(Node::new);
            for _ in 0..others {
                assert_eq!(network.end(a, b).call::<u64, u64>("echo", &1), Err(CallError::Lost));
            }
            let end = network.end(c, d);
            (0..50).map(|n| timed(|| end.call::<u64, u64>("echo", &n)).1.as_millis()).collect::<Vec<_>>()
        })
    };
    assert_eq!(latencies(0), latencies(1));
    assert_eq!(latencies(0), latencies(20));
}

/// It would be no network if the two directions, or two pairs, were of one mind.
#[test]
fn pairs_of_nodes_draw_apart() {
    let (to_b, to_a, to_c) = run(4, || {
        let network = labrpc::Network::new();
        let [a, b, c] = ["a", "b", "c"].map(Node::new);
        let latencies = |from, to| {
            let end = network.end(from, to);
            (0..20).map(|n| timed(|| end.call::<u64, u64>("echo", &n)).1.as_millis()).collect::<Vec<_>>()
        };
        (latencies(a, b), latencies(b, a), latencies(a, c))
    });
    assert!(to_b != to_a && to_b != to_c && to_a != to_c);
}

/// Ends are cheap to make: what counts is between whom the calls are.
#[test]
fn two_ends_between_the_same_nodes_share_their_chances() {
    let latencies = |fresh_ends: bool| {
        run(5, move || {
            let network = labrpc::Network::new();
            let [a, b] = ["a", "b"].map(Node::new);
            let end = network.end(a, b);
            let call = |n| {
                let end = if fresh_ends { network.end(a, b) } else { end.clone() };
                timed(|| end.call::<u64, u64>("echo", &n)).1.as_millis()
            };
            (0..20).map(call).collect::<Vec<_>>()
        })
    };
    let latencies_of_one = latencies(false);
    assert_eq!(latencies_of_one, latencies(true));
    assert!(latencies_of_one.iter().any(|took| *took != latencies_of_one[0]));
}
