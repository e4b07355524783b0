//! Read-write locks: who shares one, who has it alone, and who goes first.
//!
//! Boundary: one or two locks; what a crash does to them is in `machines`.

use std::collections::BTreeSet;

use labsim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use labsim::sync::{Arc, Mutex, RwLock, locks_held};
use labsim::time::{Duration, Instant};
use labsim::{Config, FailureKind, channel, rand, simulate, thread};

use super::{LONG, SEARCH_SEEDS, SHORT, assert_failed, everywhere, failure_of, in_simulations, timed, wait_until};

#[test]
fn readers_are_inside_together() {
    everywhere(|| {
        let shared = Arc::new((RwLock::new(7), AtomicUsize::new(0)));
        let readers: Vec<_> = (0..3)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("reader {n}"), move || {
                    let number = shared.0.read();
                    shared.1.fetch_add(1, SeqCst);
                    wait_until(|| shared.1.load(SeqCst) == 3); // With the lock in hand.
                    *number
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 7));
    });
}

#[test]
fn a_writer_is_inside_alone() {
    everywhere(|| {
        let shared = Arc::new((RwLock::new(0), AtomicBool::new(false)));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("thread {n}"), move || {
                    for _ in 0..10 {
                        let mut sum = shared.0.write();
                        assert!(!shared.1.swap(true, SeqCst), "somebody else writes");
                        thread::yield_now();
                        *sum += 1;
                        shared.1.store(false, SeqCst);
                        drop(sum);

                        let sum = shared.0.read();
                        let seen = *sum;
                        thread::yield_now();
                        assert!(!shared.1.load(SeqCst), "somebody writes while we read");
                        assert_eq!(*sum, seen);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*shared.0.read(), 40);
    });
}

#[test]
fn a_try_takes_what_is_free_and_no_more() {
    everywhere(|| {
        let number = RwLock::new(7);
        let one = number.try_read().expect("nobody has it");
        let two = number.try_read().expect("readers share it");
        assert!(number.try_write().is_none());
        drop(one);
        assert!(number.try_write().is_none(), "one reader is left");
        drop(two);

        let mut alone = number.try_write().expect("nobody has it any more");
        *alone += 1;
        assert!(number.try_read().is_none() && number.try_write().is_none());
        drop(alone);
        assert_eq!(*number.try_read().expect("it is free again"), 8);
    });
}

#[test]
fn a_timed_try_gives_up_when_its_time_is_over() {
    everywhere(|| {
        let number = RwLock::new(7);
        let reading = number.read();
        let (taken, took) = timed(|| number.try_write_for(SHORT).is_some());
        assert!(!taken && took >= SHORT, "gave up after {took:?}");
        assert!(number.try_read_for(SHORT).is_some(), "a writer that gave up is in the way");
        drop(reading);
        assert!(number.try_write_for(Duration::ZERO).is_some());

        let writing = number.write();
        let (taken, took) = timed(|| number.try_read_for(SHORT).is_some());
        assert!(!taken && took >= SHORT, "gave up after {took:?}");
        drop(writing);
    });
}

#[test]
fn a_timed_try_takes_the_lock_when_it_opens() {
    everywhere(|| {
        let shared = Arc::new((RwLock::new(7), AtomicBool::new(false), AtomicBool::new(false)));
        for writes in [true, false] {
            let theirs = Arc::clone(&shared);
            let holder = thread::spawn("holder", move || {
                let (number, held, asked) = &*theirs;
                let mut number = number.write();
                held.store(true, SeqCst);
                wait_until(|| asked.swap(false, SeqCst));
                *number += 1;
            });
            let (number, held, asked) = &*shared;
            wait_until(|| held.swap(false, SeqCst));
            asked.store(true, SeqCst);
            let taken = match writes {
                true => *number.try_write_for(LONG).expect("the holder lets it go"),
                false => *number.try_read_for(LONG).expect("the holder lets it go"),
            };
            assert_eq!(taken, if writes { 8 } else { 9 });
            holder.join().unwrap();
        }
    });
}

#[test]
fn who_owns_the_lock_needs_no_guard() {
    everywhere(|| {
        let mut number = RwLock::new(7);
        *number.get_mut() += 1;
        assert_eq!(format!("{:?} {:?}", number.read(), number), "8 RwLock { data: 8 }");
        assert_eq!(number.into_inner(), 8);
        assert_eq!(RwLock::<u32>::default().into_inner(), 0);
        assert_eq!(RwLock::from("text").into_inner(), "text");
    });
}

// Who goes first.

/// A reader has the lock, a writer waits, and another reader comes.
#[test]
fn a_reader_that_comes_while_a_writer_waits_lets_it_go_first() {
    everywhere(|| {
        let number = Arc::new(RwLock::new(7));
        let reading = number.read();
        let theirs = Arc::clone(&number);
        let writer = thread::spawn("writer", move || *theirs.write() += 1);
        wait_until(|| number.try_read().is_none()); // It waits.
        let theirs = Arc::clone(&number);
        let late = thread::spawn("late", move || *theirs.read());
        assert!(number.try_read().is_none());
        assert_eq!(*reading, 7);
        drop(reading);
        writer.join().unwrap();
        assert_eq!(late.join().unwrap(), 8, "it overtook the writer");
    });
}

#[test]
fn a_reader_goes_on_when_the_writer_before_it_gives_up() {
    everywhere(|| {
        let number = Arc::new(RwLock::new(7));
        let reading = number.read();
        let theirs = Arc::clone(&number);
        let writer = thread::spawn("writer", move || theirs.try_write_for(2 * SHORT).is_some());
        let theirs = Arc::clone(&number);
        let late = thread::spawn("late", move || *theirs.read());
        // Whether it came before the writer or behind it.
        assert_eq!(late.join().unwrap(), 7);
        assert!(!writer.join().unwrap());
        drop(reading);
    });
}

/// The turn of a reader whose time is up, but who does not run yet, is the next
/// writer's: nobody else would ever tell that one.
#[test]
fn a_writer_goes_on_when_the_time_of_the_reader_before_it_is_up() {
    everywhere(|| {
        let number = Arc::new(RwLock::new(7));
        let mut writing = number.write();
        let (tx, rx) = channel::unbounded();
        let theirs = Arc::clone(&number);
        let reader = thread::spawn("reader", move || {
            tx.send(Instant::now() + SHORT).unwrap();
            theirs.try_read_for(SHORT).map(|number| *number)
        });
        let theirs = Arc::clone(&number);
        let writer = thread::spawn("writer", move || *theirs.write() += 1);
        wait_until(|| !rx.is_empty());
        let up = rx.try_recv().unwrap();
        wait_until(|| Instant::now() >= up);
        // A few steps more, without a yield: the reader's turn has come by then.
        (0..rand::below(10)).for_each(|_| _ = Instant::now());
        *writing += 1;
        drop(writing);
        writer.join().unwrap();
        assert!(reader.join().unwrap().is_none_or(|seen| seen == 8 || seen == 9));
        assert_eq!(*number.read(), 9);
    });
}

/// What a writer leaves behind is the seed's choice, and neither sort starves.
#[test]
fn after_a_writer_some_seed_lets_readers_in_and_some_another_writer() {
    let story = || {
        let order = Arc::new(RwLock::new(Vec::new()));
        let seen = Arc::new(AtomicUsize::new(0));
        let writing = order.write();
        let (theirs, saw) = (Arc::clone(&order), Arc::clone(&seen));
        let reader = thread::spawn("reader", move || saw.store(theirs.read().len(), SeqCst));
        let theirs = Arc::clone(&order);
        let writer = thread::spawn("writer", move || theirs.write().push(1));
        (0..100).for_each(|_| thread::yield_now()); // Both wait.
        drop(writing);
        writer.join().unwrap();
        reader.join().unwrap();
        seen.load(SeqCst)
    };
    let outcomes: BTreeSet<usize> =
        (0..SEARCH_SEEDS).map(|seed| simulate(Config::seed(seed), story).result.unwrap()).collect();
    assert!(outcomes.iter().eq(&[0, 1]), "readers saw only {outcomes:?}");
}

/// Readers relieve each other and are never all gone, were it not for the writer.
#[test]
fn readers_that_keep_coming_do_not_keep_a_writer_out() {
    in_simulations(|| {
        let shared = Arc::new((RwLock::new(false), AtomicUsize::new(0)));
        let readers = ["tick", "tock"].map(|name| {
            let shared = Arc::clone(&shared);
            thread::spawn(name, move || {
                let (stop, entries) = &*shared;
                while let is_over = stop.read()
                    && !*is_over
                {
                    let mine = entries.fetch_add(1, SeqCst) + 1;
                    // Until the other one is inside, or must wait for a writer.
                    wait_until(|| entries.load(SeqCst) > mine || stop.try_read().is_none_or(|stop| *stop));
                }
            })
        });
        wait_until(|| shared.1.load(SeqCst) > 10);
        *shared.0.write() = true;
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

// Reports.

#[test]
fn a_thread_that_locks_again_is_reported_at_once() {
    let again: [fn(&RwLock<u32>); 3] = [
        |number| {
            let _first = number.write();
            let _second = number.write();
        },
        |number| {
            let _first = number.write();
            let _second = number.read();
        },
        |number| {
            let _first = number.read();
            let _second = number.write();
        },
    ];
    for story in again {
        let failure = failure_of(0, move || {
            thread::spawn("sleeper", || thread::sleep(LONG)); // Else it would be known anyway.
            story(&RwLock::new(7));
        });
        assert_failed(&failure, FailureKind::Deadlock, "`main` locks again");
        assert!(failure.place.expect("a place is to blame").contains("rwlock.rs"));
    }
    in_simulations(|| {
        let number = RwLock::new(7);
        let (one, two) = (number.read(), number.read()); // No harm without a writer.
        assert_eq!(*one, *two);
        assert!(number.try_write().is_none());
    });
}

#[test]
fn reading_again_behind_a_writer_is_a_deadlock_that_is_told() {
    let failure = failure_of(0, || {
        let number = Arc::new(RwLock::new(7));
        let first = number.read();
        let theirs = Arc::clone(&number);
        thread::spawn("writer", move || *theirs.write() += 1);
        wait_until(|| number.try_read().is_none());
        let second = number.read();
        drop((first, second));
    });
    assert_failed(&failure, FailureKind::Deadlock, "for its turn behind a writer at a lock that `main` took at");
    assert_failed(&failure, FailureKind::Deadlock, "`writer` waits at");
}

#[test]
fn a_deadlock_names_all_readers_that_are_in_the_way() {
    let failure = failure_of(0, || {
        let number = Arc::new(RwLock::new(7));
        for name in ["tick", "tock"] {
            let theirs = Arc::clone(&number);
            thread::spawn(name, move || {
                let _reading = theirs.read();
                thread::park();
            });
        }
        thread::sleep(SHORT);
        *number.write() += 1;
    });
    assert_failed(&failure, FailureKind::Deadlock, "for a lock that `tick` took at");
    assert_failed(&failure, FailureKind::Deadlock, " and `tock` took at");
}

#[test]
fn a_read_or_write_lock_in_hand_is_a_lock_in_hand() {
    let sleeps: [fn(&RwLock<u32>); 2] = [
        |number| {
            let _reading = number.read();
            thread::sleep(SHORT);
        },
        |number| {
            let _writing = number.write();
            thread::sleep(SHORT);
        },
    ];
    for story in sleeps {
        let failure = failure_of(0, move || story(&RwLock::new(7)));
        assert_failed(&failure, FailureKind::LockHeld, "`main` sleeps while it holds a lock");
    }
    in_simulations(|| {
        let (a, b) = (RwLock::new(1), Mutex::new(2));
        let line_before = line!();
        let first = a.read();
        let second = b.lock();
        let third = a.read();
        drop(first);
        let lines: Vec<u32> = locks_held().iter().map(|place| place.line()).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.contains(&(line_before + 2)));
        drop((second, third));
        assert!(locks_held().is_empty());
    });
}
