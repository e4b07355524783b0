//! Locks: who has one, who waits for one, and who holds one too long.
//!
//! Boundary: one or two locks; observed ones are in `machines`.

use labsim::sync::atomic::{AtomicBool, Ordering::SeqCst};
use labsim::sync::{Arc, Mutex, locks_held};
use labsim::time::{Duration, Instant};
use labsim::{Config, FailureKind, simulate, thread};

use super::{LONG, SEARCH_SEEDS, SHORT, assert_failed, everywhere, failure_of, in_simulations, timed, wait_until};

#[test]
fn only_one_thread_is_inside_at_a_time() {
    everywhere(|| {
        let shared = Arc::new((Mutex::new(0), AtomicBool::new(false)));
        let adders: Vec<_> = (0..4)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("adder {n}"), move || {
                    for _ in 0..10 {
                        let mut sum = shared.0.lock();
                        assert!(!shared.1.swap(true, SeqCst), "somebody else is inside");
                        thread::yield_now();
                        *sum += 1;
                        shared.1.store(false, SeqCst);
                    }
                })
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(*shared.0.lock(), 40);
    });
}

#[test]
fn try_lock_takes_a_free_lock_and_no_other() {
    everywhere(|| {
        let number = Arc::new(Mutex::new(7));
        let guard = number.try_lock().expect("nobody has it");
        assert!(number.is_locked());
        assert!(number.try_lock().is_none());

        let theirs = Arc::clone(&number);
        let other = thread::spawn("other", move || theirs.try_lock().is_none());
        assert!(other.join().unwrap(), "two threads have one lock");

        drop(guard);
        assert!(!number.is_locked());
        assert_eq!(*number.try_lock().expect("it is free again"), 7);
    });
}

#[test]
fn try_lock_for_gives_up_when_its_time_is_over() {
    everywhere(|| {
        let number = Mutex::new(7);
        let guard = number.lock();
        let (taken, took) = timed(|| number.try_lock_for(SHORT).is_some());
        assert!(!taken && took >= SHORT, "gave up after {took:?}");
        let (taken, took) = timed(|| number.try_lock_until(Instant::now() + SHORT).is_some());
        assert!(!taken && took >= SHORT, "gave up after {took:?}");
        drop(guard);
    });
}

/// In virtual time a time-out is exact but for the steps around it.
#[test]
fn try_lock_for_gives_up_no_later_than_it_must() {
    in_simulations(|| {
        let number = Mutex::new(7);
        let guard = number.lock();
        let ten_minutes = Duration::from_secs(600);
        let (taken, took) = timed(|| number.try_lock_for(ten_minutes).is_some());
        assert!(!taken && took < ten_minutes + super::STEPS, "gave up after {took:?}");
        drop(guard);
    });
}

#[test]
fn try_lock_for_takes_the_lock_when_it_opens() {
    everywhere(|| {
        let shared = Arc::new((Mutex::new(7), AtomicBool::new(false), AtomicBool::new(false)));
        let theirs = Arc::clone(&shared);
        let holder = thread::spawn("holder", move || {
            let (number, held, asked) = &*theirs;
            let mut number = number.lock();
            held.store(true, SeqCst);
            wait_until(|| asked.load(SeqCst));
            *number = 8;
        });

        let (number, held, asked) = &*shared;
        wait_until(|| held.load(SeqCst));
        asked.store(true, SeqCst);
        assert_eq!(*number.try_lock_for(LONG).expect("the holder lets it go"), 8);
        holder.join().unwrap();
    });
}

#[test]
fn a_deadline_that_has_passed_still_takes_a_free_lock() {
    everywhere(|| {
        let number = Mutex::new(7);
        let past = Instant::now();
        assert!(number.try_lock_until(past).is_some());
        assert!(number.try_lock_for(Duration::ZERO).is_some());
        let guard = number.lock();
        assert!(number.try_lock_until(past).is_none());
        assert!(number.try_lock_for(Duration::ZERO).is_none());
        drop(guard);
    });
}

#[test]
fn who_owns_the_mutex_needs_no_lock() {
    everywhere(|| {
        let mut number = Mutex::new(7);
        *number.get_mut() += 1;
        assert_eq!(format!("{}", number.lock()), "8");
        assert_eq!(number.into_inner(), 8);
        assert_eq!(Mutex::<u32>::default().into_inner(), 0);
        assert_eq!(Mutex::from("text").into_inner(), "text");
    });
}

#[test]
fn a_lock_is_not_poisoned_by_a_panic() {
    let number = Arc::new(Mutex::new(7));
    let theirs = Arc::clone(&number);
    let holder = thread::spawn("holder", move || {
        let _guard = theirs.lock();
        panic!("with the lock in hand");
    });
    assert!(holder.join().is_err());
    assert_eq!(*number.lock(), 7);
}

#[test]
fn a_held_lock_is_known_by_where_it_was_taken() {
    in_simulations(|| {
        let (a, b) = (Mutex::new(1), Mutex::new(2));
        let line_before = line!();
        let first = a.lock();
        let second = b.lock();
        let lines: Vec<u32> = locks_held().iter().map(|place| place.line()).collect();
        assert_eq!(lines, [line_before + 1, line_before + 2]);
        drop(first);
        assert_eq!(locks_held()[0].line(), line_before + 2);
        drop(second);
        assert!(locks_held().is_empty());
    });
}

#[test]
fn a_thread_that_locks_twice_is_reported_at_once() {
    let failure = failure_of(0, || {
        let number = Mutex::new(7);
        let _first = number.lock();
        let _second = number.lock();
    });
    assert_failed(&failure, FailureKind::Deadlock, "`main` locks again");
    assert!(failure.place.expect("a place is to blame").contains("mutex.rs"));
}

#[test]
fn a_thread_that_waits_with_a_lock_in_hand_is_reported() {
    let sleeps = failure_of(0, || {
        let number = Mutex::new(7);
        let _guard = number.lock();
        thread::sleep(SHORT);
    });
    assert_failed(&sleeps, FailureKind::LockHeld, "`main` sleeps while it holds a lock");

    // Even if the message is there already.
    let receives = failure_of(0, || {
        let (tx, rx) = labsim::channel::unbounded();
        tx.send(1).unwrap();
        let number = Mutex::new(7);
        let _guard = number.lock();
        rx.recv()
    });
    assert_failed(&receives, FailureKind::LockHeld, "`main` receives while it holds a lock");

    let sends = failure_of(0, || {
        let (tx, _rx) = labsim::channel::bounded(1);
        tx.send(1).unwrap();
        let number = Mutex::new(7);
        let _guard = number.lock();
        tx.send(2)
    });
    assert_failed(&sends, FailureKind::LockHeld, "`main` waits to send while it holds a lock");
}

/// Two locks, taken in two orders.
#[test]
fn some_seed_shows_a_deadlock_of_two_locks_and_says_who_has_them() {
    let failure = (0..SEARCH_SEEDS).find_map(|seed| {
        let story = || {
            let locks = Arc::new((Mutex::new(()), Mutex::new(())));
            let theirs = Arc::clone(&locks);
            let other = thread::spawn("other", move || {
                let _b = theirs.1.lock();
                let _a = theirs.0.lock();
            });
            let a = locks.0.lock();
            let b = locks.1.lock();
            drop((a, b));
            other.join().unwrap();
        };
        simulate(Config::seed(seed), story).result.err()
    });
    let failure = failure.expect("some seed takes one lock with each thread");
    assert_failed(&failure, FailureKind::Deadlock, "a lock that `main` took at");
    assert_failed(&failure, FailureKind::Deadlock, "a lock that `other` took at");
}
