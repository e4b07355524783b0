//! What a crash does to read-write locks, initialisers and barriers.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`. Mutexes and
//! conditions are in `waits.rs`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use labsim::node::Node;
use labsim::sync::{Arc, Barrier, Once, OnceLock, OnceState, RwLock};
use labsim::{FailureKind, thread};

use crate::{MS, OnDrop, failure, let_others_run, must_hit, run_seeds};

// Read-write locks.

/// The number 7, under a lock that three threads of `node` have for reading.
fn read_by_three(node: Node) -> Arc<RwLock<u32>> {
    let number = Arc::new(RwLock::new(7));
    for _ in 0..3 {
        let theirs = Arc::clone(&number);
        node.spawn("reader", move || {
            let _reading = theirs.read();
            thread::park();
        });
    }
    thread::sleep(MS);
    number
}

#[test]
fn what_dead_readers_hold_goes_to_a_writer() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let number = read_by_three(doomed);
        let theirs = Arc::clone(&number);
        let writer = thread::spawn("writer", move || *theirs.write() += 1);
        thread::sleep(MS);
        assert!(!writer.is_finished());

        doomed.crash();
        writer.join().unwrap();
        assert_eq!(*number.read(), 8);
    });
}

#[test]
fn what_a_dead_writer_holds_goes_to_readers() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let number = Arc::new(RwLock::new(7));
        let theirs = Arc::clone(&number);
        doomed.spawn("writer", move || {
            let mut writing = theirs.write();
            *writing = 8;
            thread::park();
        });
        thread::sleep(MS);
        let readers = ["tick", "tock"].map(|name| {
            let theirs = Arc::clone(&number);
            thread::spawn(name, move || *theirs.read())
        });
        thread::sleep(MS);
        doomed.crash();
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 8));
    });
}

#[test]
fn a_reader_behind_a_writer_goes_on_when_the_writer_dies() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let number = Arc::new(RwLock::new(7));
        let reading = number.read();
        let theirs = Arc::clone(&number);
        doomed.spawn("writer", move || *theirs.write() += 1);
        let_others_run();
        let theirs = Arc::clone(&number);
        let late = thread::spawn("late", move || *theirs.read());
        let_others_run();
        assert!(!late.is_finished());

        doomed.crash();
        assert_eq!(late.join().unwrap(), 7);
        drop(reading);
    });
}

#[test]
fn the_turn_to_write_is_passed_on_when_the_chosen_writer_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let number = Arc::new(RwLock::new(0));
        let writing = |number: &Arc<RwLock<i32>>| {
            let number = Arc::clone(number);
            move || *number.write() += 1
        };
        let held = number.write();
        let dead = doomed.spawn("to be killed", writing(&number));
        let live = thread::spawn("to go on", writing(&number));
        let_others_run();
        drop(held);
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        live.join().expect("the lock is free and nobody was told");
        chosen_is_next
    });
}

/// One sort is chosen, all of it dies, and the other sort is left.
#[test]
fn the_turn_goes_to_the_other_sort_when_those_chosen_are_killed() {
    for reader_dies in [true, false] {
        must_hit(if reader_dies { || kill_one_sort(true) } else { || kill_one_sort(false) });
    }
}

fn kill_one_sort(reader_dies: bool) -> bool {
    let (doomed, other) = (Node::new("doomed"), Node::new("other"));
    let (readers, writers) = if reader_dies { (doomed, other) } else { (other, doomed) };
    let number = Arc::new(RwLock::new(7));
    let held = number.write();
    let theirs = Arc::clone(&number);
    let reader = readers.spawn("reader", move || drop(theirs.read()));
    let theirs = Arc::clone(&number);
    let writer = writers.spawn("writer", move || drop(theirs.write()));
    let_others_run();
    drop(held);
    let chosen_is_next = !reader.is_finished() && !writer.is_finished();
    doomed.crash();
    let live = if reader_dies { writer } else { reader };
    live.join().expect("the lock is free and nobody was told");
    chosen_is_next
}

#[test]
fn a_dying_destructor_writes_under_a_lock_that_other_dead_threads_read() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let number = read_by_three(doomed);
        let theirs = Arc::clone(&number);
        doomed.spawn("writer", move || {
            let _last = OnDrop(|| *theirs.write() += 1);
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
        assert_eq!(*number.read(), 8);
    });
}

/// A live writer that waits is no reason to wait for who must not.
#[test]
fn a_dying_destructor_reads_though_a_writer_waits() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let number = Arc::new(RwLock::new(7));
        let seen = Arc::new(AtomicU32::new(0));
        let (theirs, sees) = (Arc::clone(&number), Arc::clone(&seen));
        doomed.spawn("reader", move || {
            let _last = OnDrop(|| sees.store(*theirs.read(), Ordering::Relaxed));
            thread::park();
        });
        thread::sleep(MS);
        let reading = number.read();
        let theirs = Arc::clone(&number);
        let writer = thread::spawn("writer", move || *theirs.write() += 1);
        let_others_run();
        doomed.crash();
        assert_eq!(seen.load(Ordering::Relaxed), 7);
        drop(reading);
        writer.join().unwrap();
    });
}

#[test]
fn a_dying_destructor_that_needs_a_lock_that_a_live_thread_reads_fails_the_run() {
    let failure = failure(1, || {
        let doomed = Node::new("doomed");
        let number = Arc::new(RwLock::new(7));
        let theirs = Arc::clone(&number);
        doomed.spawn("wanter", move || {
            let _last = OnDrop(|| drop(theirs.write()));
            thread::park();
        });
        thread::sleep(MS);
        let _reading = number.read();
        doomed.crash();
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("`wanter` needs in a destructor the lock that thread `main` took"), "{failure}");
}

// Initialisers.

#[test]
fn another_takes_over_when_the_initialiser_dies() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let shared = Arc::new((Once::new(), AtomicU32::new(0), OnceLock::new()));
        let theirs = Arc::clone(&shared);
        doomed.spawn("first", move || theirs.0.call_once(thread::park));
        let theirs = Arc::clone(&shared);
        doomed.spawn("first", move || _ = theirs.2.get_or_init(|| thread::sleep(3 * MS)));
        thread::sleep(MS);
        let others = ["tick", "tock"].map(|name| {
            let theirs = Arc::clone(&shared);
            thread::spawn(name, move || {
                theirs.0.call_once_force(|state| {
                    assert_eq!(state, OnceState::New, "a crash is no panic");
                    thread::sleep(MS);
                    theirs.1.fetch_add(1, Ordering::Relaxed);
                });
                theirs.2.get_or_init(|| ());
                theirs.1.load(Ordering::Relaxed)
            })
        });
        thread::sleep(MS);
        assert_eq!((shared.0.state(), shared.2.get()), (OnceState::InProgress, None));

        doomed.crash();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), 1));
        assert!(shared.2.get().is_some());
    });
}

#[test]
fn who_waits_for_an_initialiser_may_die() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let once = Arc::new(Once::new());
        let theirs = Arc::clone(&once);
        let slow = thread::spawn("slow", move || theirs.call_once(|| thread::sleep(5 * MS)));
        thread::sleep(MS);
        let theirs = Arc::clone(&once);
        let dead = doomed.spawn("waits", move || theirs.call_once(|| panic!("once more")));
        thread::sleep(MS);
        doomed.crash();
        assert!(dead.join().is_err());
        slow.join().unwrap();
        assert!(once.is_completed());
    });
}

#[test]
fn a_dying_destructor_does_what_another_dead_thread_began() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let shared = Arc::new((Once::new(), AtomicBool::new(false)));
        let theirs = Arc::clone(&shared);
        doomed.spawn("began", move || theirs.0.call_once(thread::park));
        thread::sleep(MS);
        let theirs = Arc::clone(&shared);
        doomed.spawn("does", move || {
            let _last = OnDrop(|| theirs.0.call_once(|| theirs.1.store(true, Ordering::Relaxed)));
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
        assert!(shared.0.is_completed() && shared.1.load(Ordering::Relaxed));
    });
}

#[test]
fn a_dying_destructor_that_waits_for_a_live_initialiser_fails_the_run() {
    let failure = failure(1, || {
        let doomed = Node::new("doomed");
        let once = Arc::new(Once::new());
        let theirs = Arc::clone(&once);
        thread::spawn("slow", move || theirs.call_once(thread::park));
        doomed.spawn("wanter", move || {
            let _last = OnDrop(|| once.call_once(|| ()));
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
    });
    assert!(failure.message.contains("`wanter` waits in a destructor for an initialisation"), "{failure}");
}

// Barriers.

#[test]
fn the_dead_have_not_come_to_a_barrier() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let barrier = Arc::new(Barrier::new(3));
        let comes = |barrier: &Arc<Barrier>| {
            let barrier = Arc::clone(barrier);
            move || barrier.wait().is_leader()
        };
        let dead = [(); 2].map(|()| doomed.spawn("dead", comes(&barrier)));
        thread::sleep(MS);
        doomed.crash();
        assert!(dead.into_iter().all(|dead| dead.join().is_err()));

        let mut live = vec![thread::spawn("first", comes(&barrier)), thread::spawn("second", comes(&barrier))];
        thread::sleep(MS);
        assert!(live.iter().all(|live| !live.is_finished()), "a dead thread was counted");
        live.push(thread::spawn("third", comes(&barrier)));
        let leaders = live.into_iter().filter_map(|live| live.join().unwrap().then_some(())).count();
        assert_eq!(leaders, 1);
    });
}

#[test]
fn a_dying_destructor_does_not_come_to_a_barrier() {
    run_seeds(|| {
        let doomed = Node::new("doomed");
        let barrier = Arc::new(Barrier::new(2));
        let theirs = Arc::clone(&barrier);
        doomed.spawn("dead", move || {
            let _last = OnDrop(|| assert!(!theirs.wait().is_leader()));
            thread::park();
        });
        let theirs = Arc::clone(&barrier);
        let live = thread::spawn("live", move || theirs.wait().is_leader());
        thread::sleep(MS);
        doomed.crash();
        thread::sleep(MS);
        assert!(!live.is_finished());
        assert!(barrier.wait().is_leader());
        assert!(!live.join().unwrap());
    });
}
