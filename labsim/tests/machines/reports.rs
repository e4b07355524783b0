//! Reports: what a failed run says, and where it says it happened.
//!
//! Boundary: failures and their words; their causes are tested beside this file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex, assert_no_lock_held, locks_held};
use labsim::time::Duration;
use labsim::{Config, Failure, FailureKind, channel, simulate, thread};

use crate::{MS, alone, failure, failure_of};

/// This file's name and `line`, as reports show them.
fn at(line: u32) -> String {
    format!("reports.rs:{line}:")
}

#[track_caller]
fn assert_says(failure: &Failure, kind: FailureKind, parts: &[&str]) {
    assert_eq!(failure.kind, kind, "{failure}");
    for part in parts {
        assert!(failure.message.contains(part), "the report does not say {part:?}:\n{failure}");
    }
}

// Deadlocks.

#[test]
fn a_deadlock_names_each_thread_with_its_node_its_place_and_the_lock_holder() {
    let failure = failure(1, || {
        let locks: Arc<[Mutex<()>; 2]> = Arc::default();
        for (name, first, second) in [("S0", 0, 1), ("S1", 1, 0)] {
            let locks = Arc::clone(&locks);
            let node = Node::new(name);
            node.disk().set_sync_delay(MS..2 * MS);
            node.spawn(format!("applier {first}"), move || {
                let _held = locks[first].lock();
                node.disk().sync();
                let _never = locks[second].lock();
            });
        }
        thread::park();
    });
    let taken = line!() - 7;
    let waits = taken + 2;
    let report = [
        "deadlock: every thread waits, and no timer is set".to_owned(),
        format!("`applier 0` of S0 waits at labsim/tests/machines/{}", at(waits)),
        format!("`applier 1` of S1 waits at labsim/tests/machines/{}", at(waits)),
        format!("a lock that `applier 0` of S0 took at labsim/tests/machines/{}", at(taken)),
        format!("a lock that `applier 1` of S1 took at labsim/tests/machines/{}", at(taken)),
        format!("`main` waits at labsim/tests/machines/{}", at(waits + 3)),
        "for an unpark".to_owned(),
    ];
    assert_says(&failure, FailureKind::Deadlock, &report.each_ref().map(String::as_str));
}

#[test]
fn a_deadlock_says_what_each_thread_waits_for() {
    let failure = failure(1, || {
        let node = Node::new("S0");
        let (full, _unread) = channel::bounded(1);
        node.spawn("sender", move || (0..2).for_each(|n| full.send(n).unwrap()));
        let (_tx, rx) = channel::unbounded::<()>();
        node.spawn("receiver", move || rx.recv());
        let parked = node.spawn("parked", thread::park);
        node.spawn("joiner", move || parked.join());
        let (hand, _empty) = channel::bounded(0);
        node.spawn("giver", move || hand.send(1));
        node.spawn("chooser", || labsim::select! { recv(channel::never::<()>()) -> _ => () });
        Condvar::new().wait(&mut Mutex::new(()).lock());
    });
    let report = [
        "for a receiver of its message",
        "for one of several channels",
        "room in a channel",
        "a message",
        "an unpark",
        "the end of thread `parked` of S0",
        "a condition to be notified",
    ];
    assert_says(&failure, FailureKind::Deadlock, &report);
    assert_eq!(failure.message.matches("of S0 waits at").count(), 6, "{failure}");
}

#[test]
fn a_deadlock_says_since_when_each_thread_waits() {
    let failure = failure(1, || {
        thread::spawn("early", thread::park);
        thread::sleep(1500 * MS);
        thread::park();
    });
    assert_says(&failure, FailureKind::Deadlock, &["since 0.000s", "since 1.500s"]);
}

#[test]
fn a_large_deadlock_lists_the_first_threads_and_counts_the_rest() {
    let failure = failure(1, || {
        (0..30).for_each(|n| drop(thread::spawn(format!("waiter {n}"), thread::park)));
        thread::park();
    });
    assert_says(&failure, FailureKind::Deadlock, &["`waiter 0`", "and 15 more threads"]);
}

#[test]
fn locking_twice_names_both_places() {
    let failure = failure(1, || {
        thread::spawn("careless", || {
            let lock = Mutex::new(());
            let _held = lock.lock();
            let _again = lock.lock();
        });
        thread::park();
    });
    let again = line!() - 4;
    assert_says(&failure, FailureKind::Deadlock, &["thread `careless` locks again", &at(again), &at(again - 1)]);
    assert_eq!(failure.thread, "careless");
    assert!(failure.place.as_ref().unwrap().contains(&at(again)), "{failure}");
}

/// The method that locks again may be right: its caller is wrong.
#[test]
fn locking_twice_has_a_stack() {
    #[inline(never)]
    fn asks_for_itself(lock: &Mutex<u64>) -> u64 {
        *lock.lock()
    }
    let failure = failure(1, || {
        let lock = Mutex::new(0);
        let held = lock.lock();
        assert_eq!(asks_for_itself(&lock), *held);
    });
    let called = line!() - 2;
    let stack = failure.backtrace.as_ref().expect("it has one");
    assert!(stack.contains("asks_for_itself") && stack.contains(&format!("reports.rs:{called}")), "{stack}");
}

#[test]
fn a_lock_with_a_time_out_may_be_tried_by_its_holder() {
    let outcome = simulate(Config::seed(1), || {
        let lock = Mutex::new(());
        let _held = lock.lock();
        lock.try_lock().is_none() && lock.try_lock_for(MS).is_none()
    });
    assert!(outcome.result.unwrap());
}

// Locks held where they must not be.

/// Runs `wait` with a lock held, and expects to be told so.
fn held(wait: impl FnOnce() + Send + 'static, doing: &str) {
    let failure = failure(1, move || {
        let held = thread::spawn("holder", move || {
            let lock = Mutex::new(());
            let _held = lock.lock();
            wait();
        });
        held.join()
    });
    let taken = line!() - 5;
    assert_says(
        &failure,
        FailureKind::LockHeld,
        &[&format!("thread `holder` {doing} while it holds a lock"), &at(taken)],
    );
    assert!(failure.place.as_ref().unwrap().contains("reports.rs:"), "{failure}");
}

#[test]
fn a_sleep_with_a_lock_held_is_reported() {
    held(|| thread::sleep(MS), "sleeps");
}

#[test]
fn a_receive_with_a_lock_held_is_reported_even_if_a_message_is_there() {
    held(
        || {
            let (tx, rx) = channel::unbounded();
            tx.send(()).unwrap();
            rx.recv().unwrap();
        },
        "receives",
    );
}

#[test]
fn a_receive_with_a_time_out_and_a_lock_held_is_reported() {
    held(
        || {
            let (_tx, rx) = channel::unbounded::<()>();
            let _ = rx.recv_timeout(MS);
        },
        "receives",
    );
}

#[test]
fn a_send_into_a_full_channel_with_a_lock_held_is_reported() {
    held(
        || {
            let (tx, _rx) = channel::bounded(1);
            (0..2).for_each(|n| tx.send(n).unwrap());
        },
        "waits to send",
    );
}

#[test]
fn a_caller_may_forbid_locks_too() {
    held(|| assert_no_lock_held("makes a call"), "makes a call");
}

#[test]
fn a_lock_that_was_released_is_not_held() {
    let outcome = simulate(Config::seed(1), || {
        let (a, b) = (Mutex::new(()), Mutex::new(()));
        let held = (a.lock(), b.lock());
        assert_eq!(locks_held().len(), 2);
        drop(held.0);
        assert_eq!(locks_held().len(), 1);
        drop(held.1);
        assert_no_lock_held("goes on");
        thread::sleep(MS);
        let (tx, rx) = channel::bounded(1);
        let lock = a.lock();
        tx.send(1).unwrap(); // There is room: it waits for nobody.
        drop(lock);
        rx.recv().unwrap();
    });
    outcome.result.unwrap();
}

// Limits.

#[test]
fn a_run_past_its_time_limit_fails() {
    let failure = failure_of(Config::seed(1).time_limit(Duration::from_secs(10)), || {
        loop {
            thread::sleep(MS);
        }
    });
    assert_says(&failure, FailureKind::TimeLimit, &["limit of 10.000s"]);
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&failure.at), "{failure}");
}

#[test]
fn a_run_past_its_time_limit_fails_while_a_thread_spins() {
    for preemption in [labsim::Preemption::OneIn(1), labsim::Preemption::Never] {
        let config = Config::seed(1).time_limit(MS).preemption(preemption);
        let failure = failure_of(config, || {
            let lock = Mutex::new(());
            loop {
                drop(lock.lock());
            }
        });
        assert_says(&failure, FailureKind::TimeLimit, &["limit of 0.001s"]);
    }
}

#[test]
fn a_run_of_too_many_steps_fails() {
    let steps: [fn(); 2] = [thread::yield_now, || drop(Mutex::new(()).lock())];
    for step in steps {
        let failure = failure_of(Config { step_limit: 10_000, ..Config::seed(1) }, move || {
            loop {
                step();
            }
        });
        assert_says(&failure, FailureKind::Limit, &["more than 10000 steps"]);
    }
}

#[test]
fn a_run_of_too_many_threads_fails_where_one_more_is_spawned() {
    let failure = failure_of(Config { thread_limit: 50, ..Config::seed(1) }, || {
        let others = Node::new("S0");
        (0..9).for_each(|_| drop(others.spawn("one more", thread::park)));
        loop {
            thread::spawn("one more", thread::park);
        }
    });
    let told = "more than 50 threads at once, 40 of them `one more`; does something spawn without end?";
    assert_says(&failure, FailureKind::Limit, &[told]);
    assert!(failure.place.as_ref().unwrap().contains(&at(line!() - 5)), "{failure}");
}

#[test]
fn a_channel_of_too_many_messages_is_named_by_where_it_was_made() {
    let config = || Config { channel_limit: 50, ..Config::seed(1) };
    let made = line!() + 3;
    let fill = |capacity: Option<usize>| {
        let (tx, rx) = match capacity {
            None => channel::unbounded(),
            Some(capacity) => channel::bounded(capacity),
        };
        (0..50).for_each(|n| tx.send(n).unwrap());
        (tx, rx)
    };
    let sends: [fn(&channel::Sender<u32>); 3] =
        [|tx| _ = tx.send(50), |tx| _ = tx.try_send(50), |tx| labsim::select! { send(tx, 50) -> _ => () }];
    let place = line!() - 1;
    for send in sends {
        for capacity in [None, Some(51)] {
            let failure = failure_of(config(), move || {
                let (tx, _rx) = fill(capacity);
                Node::new("S1").spawn("flood", move || send(&tx)).join()
            });
            let says = ["thread `flood` sends", "more than 50 messages", &at(made)];
            let says = if capacity.is_none() { &says[..] } else { &says[..2] };
            assert_says(&failure, FailureKind::Limit, says);
            assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("S1"), "flood"));
            assert!(failure.place.as_ref().unwrap().contains(&at(place)), "{failure}");
        }
    }
    let within = simulate(config(), move || {
        let (tx, rx) = fill(None);
        (0..100).for_each(|n| tx.send(rx.recv().unwrap() + n).unwrap());
    });
    within.result.unwrap();
}

#[test]
fn threads_that_have_ended_do_not_count() {
    let outcome = simulate(Config { thread_limit: 3, ..Config::seed(1) }, || {
        (0..100).for_each(|_| thread::spawn("short", || ()).join().unwrap());
    });
    outcome.result.unwrap();
    assert_eq!(outcome.threads, 101);
}

// Panics.

#[test]
fn a_panic_is_reported_with_message_place_time_node_and_thread() {
    let failure = failure(1, || {
        Node::new("S2").spawn("applier", || {
            thread::sleep(1234 * MS);
            panic!("S2 commits {}, past its log", 7);
        });
        thread::park();
    });
    let line = line!() - 4;
    assert_says(&failure, FailureKind::Panic, &["panicked: S2 commits 7, past its log"]);
    assert!(failure.place.as_ref().unwrap().contains(&at(line)), "{failure}");
    assert_eq!(failure.at.as_millis(), 1234);
    assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("S2"), "applier"));
    let shown = failure.to_string();
    assert!(shown.ends_with("in thread `applier` of S2, at 1.234s"), "{shown}");
}

#[test]
fn a_panic_of_any_kind_of_payload_is_reported() {
    let failure = failure(1, || std::panic::panic_any(17));
    assert_says(&failure, FailureKind::Panic, &["panicked: a panic without a message"]);
}

#[test]
fn the_first_panic_wins() {
    let failure = failure(1, || {
        thread::spawn("second", || {
            thread::sleep(2 * MS);
            panic!("the second");
        });
        thread::sleep(MS);
        panic!("the first");
    });
    assert_says(&failure, FailureKind::Panic, &["the first"]);
}

#[test]
fn a_panic_that_is_caught_fails_the_run_all_the_same() {
    let failure = failure(1, || {
        let _ = catch_unwind(|| panic!("caught"));
        thread::sleep(MS);
    });
    assert_says(&failure, FailureKind::Panic, &["panicked: caught"]);
}

#[test]
fn a_destructor_that_panics_during_a_panic_does_not_hide_the_first() {
    alone("reports::a_destructor_that_panics_during_a_panic_does_not_hide_the_first", || {
        let failure = failure(1, || {
            let _last = crate::OnDrop(|| panic!("the second"));
            panic!("the first");
        });
        assert_says(&failure, FailureKind::Panic, &["the first"]);
    });
}

#[test]
fn a_destructor_that_waits_during_a_panic_does_not_hang() {
    let failure = failure(1, || {
        let _last = crate::OnDrop(thread::park);
        panic!("the first");
    });
    assert_says(&failure, FailureKind::Panic, &["the first"]);
}

/// The hook is the process's, so this is told in a process of its own.
#[test]
fn a_panic_outside_of_any_world_goes_to_the_previous_hook() {
    alone("reports::a_panic_outside_of_any_world_goes_to_the_previous_hook", panic_outside);
}

fn panic_outside() {
    static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload().downcast_ref::<&str>().unwrap_or(&"?");
        SEEN.lock().unwrap().push(format!("{message} at line {}", info.location().unwrap().line()));
    }));
    assert!(simulate(Config::seed(1), || panic!("inside")).result.is_err());
    assert!(labsim::run_real(Config::seed(1), || panic!("inside")).result.is_err());
    let caught = catch_unwind(AssertUnwindSafe(|| panic!("outside")));
    assert_eq!(*SEEN.lock().unwrap(), [format!("outside at line {}", line!() - 1)]);
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"outside"));
}
