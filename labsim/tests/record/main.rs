//! What the record of a run holds: everything, in order, with where it came from.
//!
//! A test states one promise in its name.
//!
//! | file | is about |
//! |---|---|
//! | `main.rs` | that a record is complete, and changes nothing |
//! | `causes.rs` | what comes from what |
//! | `kinds.rs` | what labsim itself writes down |
//! | `limits.rs` | what is dropped, what is added later, and how it is serialized |
//!
//! Boundary: labsim's own events. Those of messages are tested in labrpc.

mod causes;
mod kinds;
mod limits;

use labsim::channel::bounded;
use labsim::node::Node;
use labsim::record::{self, Class, Event, Record};
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::time::Duration;
use labsim::{Config, Outcome, links, note, run_real, simulate, thread, watch};

const SEEDS: u64 = 50;
const MS: Duration = Duration::from_millis(1);

/// The record of `body`, which must not fail.
#[track_caller]
fn recorded(seed: u64, body: impl FnOnce() + Send + 'static) -> Record {
    let outcome = simulate(Config::seed(seed).record(true), body);
    outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    outcome.record
}

/// The only event of a kind.
#[track_caller]
fn only<'a>(record: &'a Record, kind: &str) -> &'a Event {
    let found: Vec<&Event> = record.events.iter().filter(|event| event.kind == kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {found:#?}");
    found[0]
}

fn say(kind: &'static str) -> u64 {
    record::emit(kind, Vec::new)
}

/// Something of everything, with a crash in between.
fn busy() -> usize {
    let nodes = [Node::new("a"), Node::new("b")];
    let total = Arc::new((Mutex::observed(0, |sum: &usize, watch| watch.publish(|| *sum)), Condvar::new()));
    watch::subscribe(|_, sum: &usize| _ = record::emit("sum", || vec![("is", (*sum).into())]));
    let (tx, rx) = bounded(1);
    for node in nodes {
        let (total, tx) = (Arc::clone(&total), tx.clone());
        node.spawn("adder", move || {
            for number in 0..20 {
                *total.0.lock() += number;
                total.1.notify_all();
                node.disk().append("log", &[7]);
                node.disk().sync();
                note!("adds", "{number}");
                let _ = tx.send(number);
                thread::sleep(MS);
            }
        });
    }
    let other = Arc::clone(&total);
    let waiter = thread::spawn("waiter", move || {
        let mut sum = other.0.lock();
        other.1.wait_while(&mut sum, |sum| *sum < 30);
        *sum
    });
    links::change(nodes[0], nodes[1], |link| link.up = false);
    (0..10).for_each(|_| _ = rx.recv());
    nodes[1].crash();
    nodes[1].restart();
    drop(tx);
    rx.iter().count() + waiter.join().unwrap()
}

#[test]
fn a_recorded_run_is_the_same_run() {
    for seed in 0..SEEDS {
        let facts = |config: Config| {
            let Outcome { hash, steps, elapsed, timer_events, threads, result, .. } = simulate(config, busy);
            (hash, steps, elapsed, timer_events, threads, result.unwrap())
        };
        let plain = facts(Config::seed(seed));
        assert_eq!(facts(Config::seed(seed).record(true)), plain, "seed {seed}");
        assert_eq!(facts(Config { record_limit: 10, ..Config::seed(seed).record(true) }), plain, "seed {seed}");
    }
}

#[test]
fn events_are_in_order_and_come_from_earlier_ones() {
    for seed in 0..SEEDS {
        let outcome = simulate(Config::seed(seed).record(true), busy);
        outcome.result.unwrap();
        let Record { events, threads, nodes, dropped } = outcome.record;
        assert!(events.len() > 100 && dropped == 0, "{} events", events.len());
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.number, at as u64 + 1, "a gap");
            assert!(at == 0 || events[at - 1].at <= event.at, "time went back: {event:?}");
            assert!(event.causes.iter().all(|cause| (1..event.number).contains(cause)), "{event:?}");
            assert_eq!(threads[event.thread as usize].node, event.node);
        }
        let of_adders = threads.iter().filter(|thread| thread.name == "adder").count();
        assert_eq!((of_adders, threads.len()), (2, 4), "{threads:?}");
        let named = threads.iter().filter_map(|thread| nodes.get(thread.node?.0 as usize));
        assert!(named.count() > 0, "{nodes:?}");
    }
}

#[test]
fn where_nothing_is_recorded_nothing_is_made() {
    fn never() -> Vec<record::Field> {
        panic!("made for nobody")
    }
    fn body() {
        let event = record::emit("kind", never);
        assert_eq!((event, record::emit_caused_by("kind", &[1], never), record::last()), (0, 0, 0));
        record::amend(1, never);
        record::set_class(1, Class::Detail);
        assert_eq!((record::is_on(), record::quietly(|| 7)), (false, 7));
        Node::new("n").crash();
    }
    body_outside(never);
    let plain = simulate(Config::seed(1), body);
    plain.result.unwrap();
    assert_eq!(plain.record, Record::default());
    let real = run_real(Config::seed(1).record(true), body);
    real.result.unwrap();
    assert_eq!(real.record, Record::default());
}

fn body_outside(never: fn() -> Vec<record::Field>) {
    assert_eq!((record::emit("kind", never), record::last(), record::is_on()), (0, 0, false));
}
