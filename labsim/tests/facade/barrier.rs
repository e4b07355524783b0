//! Barriers: nobody leaves before all have come.
//!
//! Boundary: no crashes; those are in `machines`.

use labsim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use labsim::sync::{Arc, Barrier, Mutex};
use labsim::{FailureKind, thread};

use super::{assert_failed, everywhere, failure_of};

const THREADS: usize = 4;
const ROUNDS: usize = 5;

#[test]
fn nobody_leaves_a_barrier_before_all_have_come_and_one_leads() {
    everywhere(|| {
        let shared = Arc::new((Barrier::new(THREADS), AtomicUsize::new(0), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("thread {n}"), move || {
                    let (barrier, came, leaders) = &*shared;
                    for round in 1..=ROUNDS {
                        came.fetch_add(1, SeqCst);
                        if barrier.wait().is_leader() {
                            leaders.fetch_add(1, SeqCst);
                        }
                        // The others may have come to the next round already.
                        let came = came.load(SeqCst);
                        let all = round * THREADS;
                        assert!((all..all + THREADS).contains(&came), "{came} have come in round {round}");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.2.load(SeqCst), ROUNDS);
    });
}

#[test]
fn nobody_waits_at_a_barrier_for_one() {
    everywhere(|| {
        for size in [0, 1] {
            let barrier = Barrier::new(size);
            assert!(barrier.wait().is_leader() && barrier.wait().is_leader());
        }
    });
}

#[test]
fn a_barrier_that_nobody_else_comes_to_is_a_deadlock() {
    let failure = failure_of(0, || Barrier::new(2).wait());
    assert_failed(&failure, FailureKind::Deadlock, "for others at a barrier");
}

#[test]
fn a_thread_at_a_barrier_with_a_lock_in_hand_is_reported() {
    for size in [1, 2] {
        let failure = failure_of(0, move || {
            let number = Mutex::new(7);
            let _guard = number.lock();
            Barrier::new(size).wait()
        });
        assert_failed(&failure, FailureKind::LockHeld, "`main` waits at a barrier while it holds a lock");
    }
}
