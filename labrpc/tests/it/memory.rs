//! Machines share no memory, and a run that is over leaves nothing behind.
//!
//! Boundary: who owns what. The bytes themselves are tested in `codec.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use labrpc::{ClientEnd, Service};
use labsim::node::Node;
use labsim::{Config, simulate, thread};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Count, Pair, ms, story};

/// A cell that would be shared by whoever passed it on without encoding it.
#[derive(Clone, Default, Debug)]
struct Cell(Arc<AtomicU64>);

impl Cell {
    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cell = Self::default();
        cell.set(u64::deserialize(deserializer)?);
        Ok(cell)
    }
}

#[test]
fn arguments_are_not_shared() {
    story(|pair| {
        let change = |cell: Cell| cell.set(99);
        pair.network.serve(pair.server, Service::new().method("change", change));

        let mine = Cell::default();
        mine.set(7);
        assert_eq!(pair.end.call("change", &mine), Ok(()));
        assert_eq!(mine.get(), 7, "a server wrote into its caller's memory");
    });
}

#[test]
fn replies_are_not_shared() {
    story(|pair| {
        let theirs = Cell::default();
        theirs.set(7);
        let (read, changed) = (theirs.clone(), theirs.clone());
        let service =
            Service::new().method("read", move |(): ()| read.clone()).method("change", move |n| changed.set(n));
        pair.network.serve(pair.server, service);

        let mine: Cell = pair.end.call("read", &()).unwrap();
        assert_eq!(mine.get(), 7);
        assert_eq!(pair.end.call("change", &99u64), Ok(()));
        assert_eq!((theirs.get(), mine.get()), (99, 7), "a reply changed after it arrived");

        mine.set(5);
        assert_eq!(theirs.get(), 99, "a caller wrote into its server's memory");
    });
}

/// The caller's value as it was when it called, however long the way is.
#[test]
fn arguments_are_taken_when_the_call_is_made() {
    story(|pair| {
        let read = |cell: Cell| cell.get();
        pair.network.serve(pair.server, Service::new().method("read", read));
        pair.change_there(|link| link.delay = ms(100)..ms(101));

        let mine = Cell::default();
        mine.set(7);
        let (end, sent) = (pair.end.clone(), mine.clone());
        let call = thread::spawn("caller", move || end.call::<Cell, u64>("read", &sent));
        thread::sleep(ms(50));
        mine.set(8);
        assert_eq!(call.join().unwrap(), Ok(7));
    });
}

// What is left of a run.

/// Three servers that own ends to each other, and themselves are owned by the
/// network. Each captures the witness.
fn serve_in_a_ring(witness: &Count) -> (labrpc::Network, Vec<Node>) {
    let network = labrpc::Network::new();
    let nodes: Vec<Node> = ["a", "b", "c"].map(Node::new).into();
    for (i, node) in nodes.iter().enumerate() {
        let ends: Vec<ClientEnd> = nodes.iter().map(|to| network.end(*node, *to)).collect();
        let next = ends[(i + 1) % 3].clone();
        let captured = witness.clone();
        // Passes the number on, less by one, until it is used up.
        let pass = move |n: u64| -> u64 {
            captured.add();
            let _all = &ends;
            thread::sleep(ms(100));
            if n == 0 { 0 } else { next.call("pass", &(n - 1)).map_or(0, |passed: u64| passed + 1) }
        };
        network.serve(*node, Service::new().method("pass", pass));
    }
    (network, nodes)
}

/// Runs `body` on such a ring under many seeds and asserts that nothing is left
/// of it. Returns how often the body failed.
#[track_caller]
fn leaves_nothing(body: fn(&labrpc::Network, &[Node], &ClientEnd)) -> u64 {
    let mut failures = 0;
    for seed in 0..super::STORY_SEEDS {
        let witness = Count::default();
        let captured = witness.clone();
        let outcome = simulate(Config::seed(seed), move || {
            let (network, nodes) = serve_in_a_ring(&captured);
            drop(captured);
            let client = Node::new("client");
            let end = network.end(client, nodes[0]);
            body(&network, &nodes, &end);
        });
        failures += u64::from(outcome.result.is_err());
        assert!(witness.get() > 0, "seed {seed}: no handler ran");
        assert_eq!(witness.holders(), 1, "seed {seed}: a service outlived its run: {:?}", outcome.result);
    }
    failures
}

fn pass_aside(end: &ClientEnd, n: u64) {
    let end = end.clone();
    thread::spawn("aside", move || end.call::<u64, u64>("pass", &n));
}

#[test]
fn a_run_leaves_no_service_behind() {
    let failures = leaves_nothing(|_, _, end| assert_eq!(end.call("pass", &5u64), Ok(5u64)));
    assert_eq!(failures, 0);
}

#[test]
fn a_run_that_ends_with_calls_under_way_leaves_nothing() {
    let failures = leaves_nothing(|network, nodes, end| {
        labsim::links::change(nodes[1], nodes[2], |link| {
            link.delay = ms(10)..ms(1000);
            link.duplicate = 0.5;
        });
        labsim::links::change(nodes[2], nodes[0], |link| link.held = true);
        network.set_long_reordering(true);
        for n in 0..10 {
            pass_aside(end, n);
        }
        thread::sleep(ms(500));
    });
    assert_eq!(failures, 0);
}

#[test]
fn a_run_with_crashes_leaves_nothing() {
    let failures = leaves_nothing(|network, nodes, end| {
        for n in 0..10 {
            pass_aside(end, n);
        }
        thread::sleep(ms(250));
        nodes[1].crash();
        thread::sleep(ms(250));

        // One serves again, one stays down.
        nodes[1].restart();
        network.serve(nodes[1], Service::new().method("pass", |n: u64| n));
        nodes[2].crash();
        thread::sleep(ms(5000));
    });
    assert_eq!(failures, 0);
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    let failures = leaves_nothing(|_, nodes, end| {
        for n in 0..10 {
            pass_aside(end, n);
        }
        thread::sleep(ms(250));
        nodes[1].spawn("faulty", || panic!("on purpose"));
        thread::sleep(ms(1000));
    });
    assert_eq!(failures, super::STORY_SEEDS);
}

#[test]
fn a_run_that_a_handler_fails_leaves_nothing() {
    let failures = leaves_nothing(|_, _, end| {
        pass_aside(end, 5);
        thread::sleep(ms(250));
        let _ = end.call::<String, u64>("pass", &"not a number".to_owned());
    });
    assert_eq!(failures, super::STORY_SEEDS);
}

#[test]
fn a_replaced_service_is_dropped_when_its_last_request_is_done() {
    story(|pair| {
        let ended = pair.serve_slow();
        assert_eq!(ended.holders(), 2);
        let call = pair.echo_aside();
        thread::sleep(ms(100));

        pair.serve_echo();
        assert_eq!(ended.holders(), 2, "it still handles a request");
        let _ = call.join().unwrap();
        thread::sleep(ms(2000));
        assert_eq!(ended.holders(), 1);
    });
}

#[test]
fn a_withdrawn_service_is_dropped_at_once() {
    story(|pair: &Pair| {
        let runs = pair.serve_echo();
        pair.echo(1).unwrap();
        pair.network.withdraw(pair.server);
        thread::sleep(ms(1));
        assert_eq!(runs.holders(), 1);
    });
}
