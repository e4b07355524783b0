//! What comes from what. Under many seeds, since who runs first must make no
//! difference to that.
//!
//! Boundary: events in a row, of one thread or of several.

use labsim::channel::unbounded;
use labsim::node::{Node, NodeId};
use labsim::record::{self, Event};
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{links, thread, watch};

use crate::{MS, SEEDS, only, recorded, say};

/// Asserts under many seeds that `effect` comes from `cause` alone.
#[track_caller]
fn assert_caused(cause: Option<&str>, effect: &str, body: impl Fn() + Copy + Send + 'static) {
    for seed in 0..SEEDS {
        let record = recorded(seed, body);
        let expected: Vec<u64> = cause.iter().map(|cause| only(&record, cause).number).collect();
        assert_eq!(only(&record, effect).causes, expected, "seed {seed}: {:#?}", record.events);
    }
}

#[test]
fn what_a_thread_does_comes_from_what_it_did_last() {
    assert_caused(Some("first"), "second", || {
        assert_eq!(record::last(), 0);
        let first = say("first");
        assert_eq!(record::last(), first);
        thread::spawn("other", || thread::yield_now()).join().unwrap();
        say("second");
    });
}

#[test]
fn a_thread_inherits_from_its_parent() {
    assert_caused(Some("asks"), "acts", || {
        say("asks");
        let child = thread::spawn("child", || say("acts"));
        say("goes on");
        child.join().unwrap();
    });
}

#[test]
fn a_slot_that_is_used_again_starts_afresh() {
    assert_caused(None, "acts", || {
        thread::spawn("former", || say("former"));
        thread::sleep(MS);
        thread::spawn("next", || say("acts"));
        thread::sleep(MS);
    });
}

#[test]
fn who_is_notified_takes_over() {
    assert_caused(Some("changes"), "sees", || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            say("begins");
            theirs.1.wait_while(&mut theirs.0.lock(), |is_set| !*is_set);
            say("sees");
        });
        thread::sleep(MS);
        *shared.0.lock() = true;
        say("changes");
        shared.1.notify_one();
        say("goes on");
        waiter.join().unwrap();
    });
}

/// The door of a server: it changes, notifies and opens, and the observer says what
/// has changed only then.
#[test]
fn who_is_notified_with_a_lock_held_takes_what_its_opening_told() {
    assert_caused(Some("published"), "sees", || {
        watch::subscribe(|_, is_set: &bool| {
            if *is_set && record::last() != 0 {
                say("published");
            }
        });
        let lock = Mutex::observed(false, |is_set: &bool, watch| watch.publish(|| *is_set));
        let shared = Arc::new((lock, Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            let mut is_set = theirs.0.lock();
            theirs.1.wait_while(&mut is_set, |is_set| !*is_set);
            say("sees");
            *is_set = false;
        });
        thread::sleep(MS);
        say("decides");
        let inner = Mutex::new(());
        let mut is_set = shared.0.lock();
        *is_set = true;
        shared.1.notify_all();
        drop(inner.lock());
        thread::yield_now();
        drop(is_set);
        say("goes on");
        waiter.join().unwrap();
    });
}

#[test]
fn who_waited_for_a_lock_keeps_its_own() {
    assert_caused(Some("wants"), "has", || {
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        let held = lock.lock();
        let waiter = thread::spawn("waiter", move || {
            say("wants");
            drop(theirs.lock());
            say("has");
        });
        (0..20).for_each(|_| thread::yield_now());
        say("opens");
        drop(held);
        waiter.join().unwrap();
    });
}

#[test]
fn who_waited_for_a_message_takes_over() {
    assert_caused(Some("sends"), "receives", || {
        let (tx, rx) = unbounded();
        let receiver = thread::spawn("receiver", move || {
            say("begins");
            rx.recv().unwrap();
            say("receives");
        });
        thread::sleep(MS);
        say("sends");
        tx.send(()).unwrap();
        receiver.join().unwrap();
    });
}

#[test]
fn who_was_parked_or_joins_takes_over() {
    assert_caused(Some("unparks"), "goes on", || {
        let parked = thread::spawn("parked", || {
            let unparker = thread::current();
            let other = thread::spawn("unparker", move || {
                thread::sleep(MS);
                say("unparks");
                unparker.unpark();
            });
            say("parks");
            thread::park();
            say("goes on");
            other.join().unwrap();
        });
        parked.join().unwrap();
    });
    assert_caused(Some("ends"), "joined", || {
        let child = thread::spawn("child", || {
            thread::sleep(MS);
            say("ends");
        });
        say("joins");
        child.join().unwrap();
        say("joined");
    });
}

#[test]
fn what_a_time_out_leads_to_comes_from_its_timer() {
    for seed in 0..SEEDS {
        let record = recorded(seed, || {
            let sleeper = Node::new("S").spawn("sleeper", || {
                say("sleeps");
                thread::sleep(5 * MS);
                say("wakes");
                let (_tx, rx) = unbounded::<()>();
                record::quietly(|| rx.recv_timeout(MS).unwrap_err());
                say("unaware");
                links::travel(MS);
            });
            thread::sleep(7 * MS); // A thread of no node.
            sleeper.join().unwrap();
        });
        let timer = only(&record, "timer");
        assert_eq!(timer.causes, [only(&record, "sleeps").number]);
        assert_eq!(only(&record, "wakes").causes, [timer.number]);
        assert_eq!(only(&record, "unaware").causes, [only(&record, "wakes").number]);
        assert_eq!((timer.number_of("waited_us"), timer.node), (Some(5000), Some(NodeId(0))));
        assert!(timer.text_of("place").unwrap().starts_with("labsim/tests/record/causes.rs:"), "{timer:?}");
    }
}

#[test]
fn each_timer_has_its_place() {
    let record = recorded(1, || {
        let sleeps = || {
            for _ in 0..2 {
                thread::sleep(MS);
                thread::sleep(MS);
            }
        };
        Node::new("S").spawn("sleeper", sleeps).join().unwrap();
    });
    let timers = record.events.iter().filter(|event| event.kind == "timer");
    let places: Vec<&str> = timers.map(|event| event.text_of("place").unwrap()).collect();
    assert_eq!(places.len(), 4);
    assert!(places[0] != places[1] && places[..2] == places[2..], "{places:?}");
}

#[test]
fn what_a_crash_leads_to_comes_from_the_crash() {
    for seed in 0..SEEDS {
        let record = recorded(seed, || {
            let server = Node::new("S");
            let (tx, rx) = unbounded::<()>();
            server.spawn("owner", move || {
                say("owns");
                thread::sleep(1000 * MS);
                drop(tx);
            });
            thread::spawn("fate", move || {
                thread::sleep(5 * MS);
                say("decides");
                server.crash();
            });
            rx.recv().unwrap_err();
            say("hears");
            server.restart();
            server.spawn("own", move || server.crash());
            thread::sleep(MS);
        });
        let crashes: Vec<&Event> = record.events.iter().filter(|event| event.kind == "crash").collect();
        assert_eq!(crashes[0].causes, [only(&record, "decides").number]);
        assert_eq!((crashes[0].node, crashes[0].number_of("target")), (None, Some(0)));
        assert_eq!(only(&record, "hears").causes, [crashes[0].number]);
        assert_eq!(only(&record, "restart").causes, [only(&record, "hears").number]);
        assert_eq!((crashes[1].node, crashes[1].field("target")), (Some(NodeId(0)), None));
    }
}
