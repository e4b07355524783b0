//! What a dying thread may still do: its destructors run, and have no effect on
//! others; and what becomes of one that catches its own end.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{Config, FailureKind, channel, note, select, simulate, thread};

use crate::{MS, OnDrop, alone, failure, run, run_seeds};

// Destructors.

#[test]
fn destructors_run_youngest_thread_first_before_the_crash_returns() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for age in 0..5 {
            let order = Arc::clone(&order);
            node.spawn("with a destructor", move || {
                let _last = OnDrop(|| order.lock().unwrap().push(age));
                thread::park();
            });
            thread::sleep(MS);
        }
        node.crash();
        assert_eq!(*order.lock().unwrap(), [4, 3, 2, 1, 0]);
    });
}

#[test]
fn a_send_out_of_a_dying_destructor_fails() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let (tx, rx) = channel::unbounded();
        let failed = Arc::new(AtomicBool::new(false));
        let (theirs, sender) = (Arc::clone(&failed), tx.clone());
        node.spawn("sender", move || {
            let _last =
                OnDrop(|| theirs.store(sender.send(1).is_err() && sender.try_send(2).is_err(), Ordering::Relaxed));
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert!(failed.load(Ordering::Relaxed));
        assert!(rx.is_empty());
    });
}

#[test]
fn a_selection_of_a_dying_destructor_takes_and_gives_nothing() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let ((tx, rx), (giving, hand)) = (channel::unbounded(), channel::bounded(0));
        let receiver = thread::spawn("receiver", move || hand.recv_timeout(10 * MS).is_err());
        tx.send(1).unwrap();
        let (last_words, theirs) = (Arc::new(AtomicU32::new(9)), rx.clone());
        let heard = Arc::clone(&last_words);
        node.spawn("selecting", move || {
            let _last = OnDrop(|| {
                let received = select! { recv(theirs) -> message => message.is_ok() };
                let given = select! { send(giving, 1) -> sent => sent.is_ok() };
                let handed = giving.try_send(2).is_ok() || giving.send(3).is_ok();
                let timed = channel::at(labsim::time::Instant::now()).recv().is_ok();
                heard.store([received, given, handed, timed].map(u32::from).iter().sum(), Ordering::Relaxed);
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(last_words.load(Ordering::Relaxed), 0);
        assert_eq!(rx.len(), 1);
        assert!(receiver.join().unwrap());
    });
}

#[test]
fn a_spawn_out_of_a_dying_destructor_starts_nothing() {
    run_seeds(|| {
        let (node, other) = (Node::new("doomed"), Node::new("other"));
        let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&outcomes);
        node.spawn("spawner", move || {
            let _last = OnDrop(|| {
                let mut outcomes = theirs.lock().unwrap();
                outcomes.push(thread::spawn("here", || panic!("it started")).join().is_err());
                outcomes.push(other.spawn("there", || panic!("it started")).join().is_err());
                outcomes.push(thread::spawn_off_node("between", || panic!("it started")).join().is_err());
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        thread::sleep(MS);
        assert_eq!(*outcomes.lock().unwrap(), [true, true, true]);
    });
}

#[test]
fn a_notify_and_an_unpark_out_of_a_dying_destructor_wake_nobody() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || theirs.1.wait_for(&mut theirs.0.lock(), 10 * MS).timed_out());
        let (tx, rx) = channel::unbounded();
        let parked = thread::spawn("parked", move || {
            tx.send(thread::current()).unwrap();
            let begun = labsim::time::Instant::now();
            thread::park_timeout(10 * MS);
            begun.elapsed() >= 10 * MS
        });
        let parked_thread = rx.recv().unwrap();
        let woken = Arc::new(AtomicU32::new(99));
        let theirs = (Arc::clone(&shared), Arc::clone(&woken));
        node.spawn("notifier", move || {
            let _last = OnDrop(|| {
                let (shared, woken) = &theirs;
                parked_thread.unpark();
                let count = u32::from(shared.1.notify_one()) + shared.1.notify_all() as u32;
                woken.store(count, Ordering::Relaxed);
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        assert!(waiter.join().unwrap(), "a dead thread's notify woke somebody");
        assert!(parked.join().unwrap(), "a dead thread's unpark woke somebody");
    });
}

#[test]
fn what_a_dying_destructor_notes_and_writes_is_void() {
    let outcome = simulate(Config::seed(1), || {
        let node = Node::new("doomed");
        node.spawn("writer", || {
            let disk = Node::current().unwrap().disk();
            let _last = OnDrop(|| {
                note!("last", "words");
                disk.append("log", b"too late");
                disk.sync();
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        node.restart();
        node.disk().is_empty()
    });
    assert!(outcome.result.unwrap());
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
}

#[test]
fn a_dying_destructor_does_not_sleep() {
    let (before, after) = run(1, || {
        let node = Node::new("doomed");
        node.spawn("sleeper", || {
            let _last = OnDrop(|| thread::sleep(1000 * MS));
            thread::park();
        });
        thread::sleep(MS);
        let before = labsim::time::Instant::now();
        node.crash();
        (before, labsim::time::Instant::now())
    });
    assert!(after - before < MS, "a crash took {:?}", after - before);
}

#[test]
fn a_dying_destructor_gets_a_lock_of_another_dead_thread() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let locks: Arc<[Mutex<u32>; 3]> = Arc::default();
        // Each holds one lock and wants the next one's in its destructor, so
        // that the youngest thread's unwinding nests two levels deep.
        for at in 0..3 {
            let locks = Arc::clone(&locks);
            node.spawn("holder", move || {
                let wanted = Arc::clone(&locks);
                let _last = OnDrop(|| {
                    if at > 0 {
                        *wanted[at - 1].lock() += 1;
                    }
                });
                let _held = locks[at].lock();
                thread::park();
            });
            thread::sleep(MS);
        }
        node.crash();
        let counts: Vec<u32> = locks.iter().map(|lock| *lock.lock()).collect();
        assert_eq!(counts, [1, 1, 0]);
    });
}

#[test]
fn a_dying_destructor_that_needs_a_lock_of_a_live_node_fails_the_run() {
    let failure = failure(1, || {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        other.spawn("holder", move || {
            let _held = theirs.lock();
            thread::park();
        });
        thread::sleep(MS);
        doomed.spawn("wanter", move || {
            let _last = OnDrop(|| drop(lock.lock()));
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert_eq!(failure.node.as_deref(), Some("doomed"));
    assert!(
        failure.message.contains("`wanter` needs in a destructor the lock that thread `holder` took at"),
        "{failure}"
    );
    assert!(failure.message.contains("dying.rs:"), "{failure}");
}

#[test]
fn dying_destructors_that_need_each_others_locks_fail_the_run() {
    let failure = failure(1, || {
        let node = Node::new("doomed");
        let locks: Arc<[Mutex<()>; 2]> = Arc::default();
        for at in 0..2 {
            let locks = Arc::clone(&locks);
            node.spawn("holder", move || {
                let _held = locks[at].lock();
                let _last = OnDrop(|| drop(locks[1 - at].lock()));
                thread::park();
            });
        }
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("needs in a destructor the lock that thread `holder` took"), "{failure}");
}

#[test]
fn a_dying_destructor_that_waits_for_a_condition_fails_the_run() {
    let failure = failure(1, || {
        let node = Node::new("doomed");
        node.spawn("waiter", || {
            let (lock, never) = (Mutex::new(()), Condvar::new());
            let _last = OnDrop(|| never.wait(&mut lock.lock()));
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("waits in a destructor for a condition"), "{failure}");
}

#[test]
fn a_destructor_that_panics_while_its_thread_dies_fails_the_run() {
    alone("dying::a_destructor_that_panics_while_its_thread_dies_fails_the_run", || {
        let failure = failure(1, || {
            let node = Node::new("doomed");
            node.spawn("panicker", || {
                let _last = OnDrop(|| panic!("from a destructor"));
                thread::park();
            });
            thread::sleep(MS);
            node.crash();
        });
        assert_eq!(failure.kind, FailureKind::Panic);
        assert!(failure.message.contains("from a destructor"), "{failure}");
        assert_eq!(failure.thread, "panicker");
        assert_eq!(failure.node.as_deref(), Some("doomed"));
    });
}

#[test]
fn a_destructor_that_panics_when_the_run_is_over_fails_it() {
    alone("dying::a_destructor_that_panics_when_the_run_is_over_fails_it", || {
        let failure = failure(1, || {
            thread::spawn("panicker", || {
                let _last = OnDrop(|| panic!("from a destructor"));
                thread::park();
            });
            thread::sleep(MS);
        });
        assert!(failure.message.contains("from a destructor"), "{failure}");
    });
}

// Catching the unwinding.

#[test]
fn catching_the_unwinding_once_does_not_keep_a_thread_alive() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let survived = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&survived);
        let ended = node.spawn("catcher", move || {
            let _ = catch_unwind(thread::park);
            thread::sleep(MS);
            theirs.store(true, Ordering::Relaxed);
        });
        thread::sleep(MS);
        node.crash();
        assert!(ended.join().is_err());
        assert!(!survived.load(Ordering::Relaxed));
    });
}

/// A thread that catches whatever `wait` throws and calls it again, for ever.
fn catches_for_ever(wait: impl Fn() + Send + 'static) {
    let failure = failure(1, move || {
        let node = Node::new("doomed");
        node.spawn("catcher", move || {
            loop {
                let _ = catch_unwind(AssertUnwindSafe(&wait));
            }
        });
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("`catcher` keeps catching the unwinding that ends it"), "{failure}");
}

#[test]
fn catching_in_a_loop_around_a_sleep_is_reported() {
    catches_for_ever(|| thread::sleep(MS));
}

#[test]
fn catching_in_a_loop_around_a_park_is_reported() {
    catches_for_ever(thread::park);
}

#[test]
fn catching_in_a_loop_around_a_yield_is_reported() {
    catches_for_ever(thread::yield_now);
}

#[test]
fn catching_in_a_loop_around_a_lock_is_reported() {
    catches_for_ever(|| drop(Mutex::new(()).lock()));
}

#[test]
fn catching_in_a_loop_around_a_receive_is_reported() {
    catches_for_ever(|| {
        let (_tx, rx) = channel::unbounded::<()>();
        let _ = rx.recv();
    });
}

#[test]
fn catching_in_a_loop_around_a_full_send_is_reported() {
    catches_for_ever(|| {
        let (tx, _rx) = channel::bounded(1);
        let _ = (tx.send(1), tx.send(2));
    });
}

#[test]
fn catching_in_a_loop_around_a_condition_is_reported() {
    catches_for_ever(|| {
        let lock = Mutex::new(());
        Condvar::new().wait(&mut lock.lock());
    });
}

#[test]
fn catching_in_a_loop_around_a_join_is_reported() {
    catches_for_ever(|| drop(thread::spawn("never ends", thread::park).join()));
}

#[test]
fn catching_in_a_loop_around_a_selection_is_reported() {
    catches_for_ever(|| select! { recv(channel::never::<()>()) -> _ => () });
    catches_for_ever(|| select! { recv(channel::never::<()>()) -> _ => (), default => () });
    catches_for_ever(|| {
        let (tx, _rx) = channel::bounded(0);
        let _ = tx.send(1);
    });
    catches_for_ever(|| _ = channel::after(1000 * MS).recv());
}
