//! What labsim itself writes down, and with which fields.
//!
//! Boundary: one kind of event after the other.

use labsim::disk;
use labsim::node::{Node, NodeId};
use labsim::record::{self, Event, Record, Value};
use labsim::sync::{Arc, Mutex};
use labsim::{Config, FailureKind, Preemption, links, note, simulate, thread};

use crate::{MS, SEEDS, only, recorded, say};

fn kinds(record: &Record) -> Vec<&str> {
    let is_aside = |kind: &&str| !matches!(*kind, "thread" | "thread_end" | "preempt");
    record.events.iter().map(|event| event.kind).filter(is_aside).collect()
}

fn numbers(event: &Event, names: [&str; 2]) -> [Option<u64>; 2] {
    names.map(|name| event.number_of(name))
}

#[test]
fn a_thread_begins_and_ends() {
    for seed in 0..SEEDS {
        let record = recorded(seed, || {
            say("asks");
            Node::new("S").spawn("worker", || say("works")).join().unwrap();
            let idle = Node::new("T");
            idle.spawn("killed", thread::park);
            thread::sleep(MS);
            idle.crash();
        });
        let of = |kind: &str, name: &str| {
            let is_it = |event: &&Event| event.kind == kind && record.threads[event.thread as usize].name == name;
            record.events.iter().find(is_it)
        };
        let (begins, ends) = (of("thread", "worker").unwrap(), of("thread_end", "worker").unwrap());
        assert_eq!(begins.causes, [only(&record, "asks").number]);
        assert_eq!((begins.text_of("name"), begins.node), (Some("worker"), Some(NodeId(0))));
        let works = only(&record, "works");
        assert_eq!(works.causes, begins.causes, "that a thread begins leads to nothing");
        assert_eq!(ends.causes, [works.number]);
        assert!(of("thread", "main").is_some() && of("thread", "killed").is_some());
        assert!(of("thread_end", "killed").is_none(), "it has not returned");
    }
}

#[test]
fn disks_tell_of_writes_and_syncs() {
    let record = recorded(1, || {
        let node = Node::new("S");
        disk::observe(|written| {
            assert_eq!(written.event, record::last());
            record::amend(written.event, || vec![("seen", true.into())]);
        });
        node.spawn("writer", move || {
            node.disk().append("log", b"12345");
            node.disk().truncate("log", 3);
            node.disk().sync();
        });
        thread::sleep(MS);
    });
    assert_eq!(kinds(&record), ["write", "write", "sync"]);
    let [first, second, sync] = [0, 1, 2].map(|at| {
        let mut events = record.events.iter().filter(|event| event.kind == "write" || event.kind == "sync");
        events.nth(at).unwrap()
    });
    assert_eq!(first.text_of("file"), Some("log"));
    assert_eq!(numbers(first, ["before", "after"]), [Some(0), Some(5)]);
    assert_eq!(numbers(second, ["before", "after"]), [Some(5), Some(3)]);
    assert_eq!(sync.number_of("version"), Some(1));
    assert_eq!(sync.field("files"), Some(&Value::List(vec!["log".into()])));
    assert_eq!((&second.causes, &sync.causes), (&vec![first.number], &vec![second.number]));
    assert!([first, second, sync].iter().all(|event| event.field("seen") == Some(&Value::Flag(true))));
}

#[test]
fn links_tell_what_has_changed() {
    let record = recorded(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |_| {});
        links::change(a, b, |link| link.up = false);
        links::change(a, b, |link| link.up = true);
        links::change(b, a, |link| {
            link.up = false;
            link.loss = 0.5;
            link.held = true;
            link.delay = MS..3 * MS;
        });
    });
    assert_eq!(kinds(&record), ["cut", "heal", "link"]);
    for (kind, ends) in [("cut", [0, 1]), ("heal", [0, 1]), ("link", [1, 0])] {
        assert_eq!(numbers(only(&record, kind), ["from", "to"]), ends.map(Some));
    }
    let link = only(&record, "link");
    let flag = |name| link.field(name) == Some(&Value::Flag(true));
    assert!(!flag("up") && flag("held"), "{link:?}");
    assert_eq!(link.field("loss"), Some(&Value::Fraction(0.5)));
    assert_eq!(link.field("delay_us"), Some(&Value::Numbers(vec![1000, 3000])));
    assert_eq!(only(&record, "cut").fields.len(), 2);
}

#[test]
fn a_release_is_what_a_held_message_comes_from() {
    let record = recorded(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.held = true);
        let message = thread::spawn("message", move || {
            links::wait_until_released(a, b);
            say("arrives");
        });
        thread::sleep(MS);
        links::change(a, b, |link| link.held = false);
        message.join().unwrap();
    });
    let release = record.events.iter().rfind(|event| event.kind == "link").unwrap();
    assert_eq!(only(&record, "arrives").causes, [release.number]);
}

#[test]
fn machines_tell_what_is_done_to_them() {
    let record = recorded(1, || {
        let node = Node::new("S");
        node.pause();
        node.pause(); // It is.
        node.resume();
        node.crash();
        node.crash(); // It is down.
        node.restart();
    });
    assert_eq!(kinds(&record), ["pause", "resume", "crash", "restart"]);
}

#[test]
fn a_wait_for_a_lock_tells_who_has_it() {
    let record = recorded(1, || {
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        let held = lock.lock();
        let waiter = Node::new("S").spawn("waiter", move || *theirs.lock() += 1);
        (0..20).for_each(|_| thread::yield_now());
        drop(held);
        waiter.join().unwrap();
    });
    let wait = only(&record, "lock_wait");
    assert_eq!((wait.text_of("holder"), wait.field("holder_node")), (Some("main"), Some(&Value::Nothing)));
    assert!(wait.text_of("place").unwrap().starts_with("labsim/tests/record/kinds.rs:"));
    assert_eq!(wait.node, Some(NodeId(0)));
}

/// At every step, and then never.
#[test]
fn a_preemption_is_an_event() {
    let count = |preemption| {
        let config = Config::seed(1).record(true).preemption(preemption);
        let outcome = simulate(config, || {
            let read = || (0..10).for_each(|_| _ = labsim::time::Instant::now());
            let other = thread::spawn("other", read);
            read();
            other.join().unwrap();
        });
        outcome.record.events.iter().filter(|event| event.kind == "preempt").count()
    };
    assert!(count(Preemption::OneIn(1)) > 8);
    assert_eq!(count(Preemption::Never), 0);
}

#[test]
fn notes_are_events() {
    let record = recorded(1, || note!("vote", "granted to S{}", 2));
    let note = only(&record, "note");
    assert_eq!((note.text_of("topic"), note.text_of("text")), (Some("vote"), Some("granted to S2")));
}

#[test]
fn a_failure_is_the_last_event_and_comes_from_what_led_to_it() {
    for seed in 0..SEEDS {
        let outcome = simulate(Config::seed(seed).record(true), || {
            Node::new("S").spawn("voter", || {
                say("votes twice");
                labsim::fail("a promise is broken", ());
            });
            thread::park();
        });
        assert_eq!(outcome.result.unwrap_err().kind, FailureKind::Raised);
        let fail = only(&outcome.record, "fail");
        assert_eq!(fail.causes, [only(&outcome.record, "votes twice").number]);
        assert_eq!((fail.text_of("failure"), fail.text_of("message")), (Some("Raised"), Some("a promise is broken")));
        assert_eq!((fail.node, outcome.record.events.last()), (Some(NodeId(0)), Some(fail)));
    }
}

/// By the run itself, at its root and within a panic; and by the watchdog, when the
/// run can't.
#[test]
fn every_failure_is_an_event() {
    fn naps() {
        loop {
            thread::sleep(MS);
        }
    }
    fn spins() {
        loop {
            std::hint::spin_loop();
        }
    }
    let (small, stalls) = (
        Config { step_limit: 10_000, ..Config::seed(1).record(true) },
        Config { stall_limit: 300 * MS, ..Config::seed(1).record(true) },
    );
    let bodies: [(&Config, fn(), FailureKind); 4] = [
        (&small, || panic!("in the middle"), FailureKind::Panic),
        (&small, thread::park, FailureKind::Deadlock),
        (&small, naps, FailureKind::Limit),
        (&stalls, spins, FailureKind::BusyLoop),
    ];
    for (config, body, kind) in bodies {
        let outcome = simulate(config.clone(), move || {
            say("begins");
            body();
            thread::park();
        });
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        let fail = only(&outcome.record, "fail");
        assert_eq!(fail.text_of("failure").unwrap(), format!("{kind:?}"));
        assert_eq!(fail.text_of("message"), Some(&*failure.message));
        assert_eq!(outcome.record.events.last(), Some(fail));
        assert!(fail.number > only(&outcome.record, "begins").number);
    }
}
