//! Where the worlds differ, each with the smallest program that shows it.
//!
//! A test of this file that turns red may mean that a difference is gone. Then
//! it goes too, and with it the exception in `main.rs` or `model.rs`.
//!
//! Boundary: known differences. Unknown ones are looked for in `main.rs`.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use labsim::sync::{Condvar, Mutex};
use labsim::time::Duration;
use labsim::{Config, FailureKind, channel, simulate, thread};

use super::model::{Grain, explore};
use super::program::{MAIN, Op, Outcome, Program, Ret};
use super::run;

/// Enough to find what can be found: each of these programs has few outcomes.
const SEEDS: u64 = 1000;

/// What main does and another thread does, and what main's operations return if
/// it comes between two of the other's.
type Hidden = (&'static str, &'static [Op], &'static [Op], [Ret; 2]);

/// Between these, a simulated thread is not preempted: no point lies there. Main
/// would notice, and does so on OS threads.
const BETWEEN_POINTS: [Hidden; 4] = [
    (
        "an atomic operation and an unlock",
        &[Op::Load(0), Op::TryLock(0)],
        &[Op::Lock(0), Op::Store(0), Op::Unlock(0)],
        [Ret::Value(22), Ret::Is(false)],
    ),
    (
        "an atomic operation and the end of a channel",
        &[Op::Load(0), Op::TryRecv(0)],
        &[Op::Store(0), Op::DropSender(0)],
        [Ret::Value(21), Ret::Empty],
    ),
    (
        "the ends of two channels",
        &[Op::TryRecv(0), Op::TryRecv(1)],
        &[Op::DropSender(0), Op::DropSender(1)],
        [Ret::Disconnected, Ret::Empty],
    ),
    (
        "an atomic operation and the end of a thread",
        &[Op::Load(0), Op::IsFinished(1)],
        &[Op::Store(0)],
        [Ret::Value(21), Ret::Is(false)],
    ),
];

/// What main's operations returned, without those that have nothing to tell.
fn told_to_main(outcome: &Outcome) -> Vec<Ret> {
    outcome.returned[MAIN].iter().copied().filter(|ret| !matches!(ret, Ret::Done | Ret::Skipped)).collect()
}

#[test]
fn what_lies_between_two_points_is_not_simulated() {
    for (name, main, other, sight) in BETWEEN_POINTS {
        let program = Arc::new(Program::new(&[main.to_vec(), other.to_vec()], [None, None]));
        let shows = |outcome: &Outcome| told_to_main(outcome) == sight;
        let explored = |grain| explore(&program, grain, 1000).expect("a small program");
        assert!(explored(Grain::Operations).iter().any(shows), "between {name}: not possible at all");
        assert!(!explored(Grain::Points).iter().any(shows), "between {name}: the model sees a point");

        let simulated: BTreeSet<_> = (0..SEEDS).map(|seed| run::in_simulation(&program, seed).unwrap()).collect();
        assert_eq!(simulated, explored(Grain::Points), "between {name}: the points are elsewhere");
    }
}

/// No difference any more, and worth a test of its own: a thread looks at a flag
/// under the lock, and waits; another one sets the flag without the lock, and
/// notifies. The notification may come between the look and the wait, where it is
/// lost. If the flag is a field of what the lock guards, there is no mistake to
/// find.
#[test]
fn some_seeds_miss_a_wake_up_by_a_flag_that_is_set_without_the_lock() {
    let setter = vec![Op::Store(0), Op::NotifyAll];
    let waiter = vec![Op::Lock(0), Op::Load(0), Op::Wait];
    let program = Arc::new(Program::new(&[setter, waiter], [None, None]));
    let is_missed = |outcome: &Outcome| {
        let [_, _, notified, ..] = outcome.returned[MAIN][..] else { return false };
        outcome.returned[1].get(1) == Some(&Ret::Value(0)) && notified == Ret::Value(0) && outcome.end.is_none()
    };
    let explored = |grain| explore(&program, grain, 1000).expect("a small program");
    assert!(explored(Grain::Operations).iter().any(is_missed), "there is no mistake");
    assert!(explored(Grain::Points).iter().any(is_missed), "the model sees no point");
    let simulated = (0..SEEDS).map(|seed| run::in_simulation(&program, seed).unwrap());
    assert!(simulated.filter(is_missed).count() > 0, "no seed of {SEEDS} finds it");
}

/// parking_lot refuses a condition that goes with two locks at once. Neither the
/// simulation nor a real world does.
#[test]
fn a_condition_with_two_locks_is_refused_outside_only() {
    let waits_with_two_locks = || {
        let shared = Arc::new((Mutex::new(false), Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let other = thread::spawn("other", move || {
            let mut waits = theirs.0.lock();
            *waits = true;
            theirs.2.wait(&mut waits);
        });
        while !*shared.0.lock() {
            thread::yield_now();
        }
        // The other one is in its wait: only there does it open its lock.
        let refused = catch_unwind(AssertUnwindSafe(|| {
            shared.2.wait_for(&mut shared.1.lock(), Duration::ZERO);
        }));
        while shared.2.notify_all() == 0 {
            thread::yield_now();
        }
        other.join().unwrap();
        refused.is_err()
    };
    assert!(!simulate(Config::seed(0), waits_with_two_locks).result.unwrap());
    assert!(!labsim::run_real(Config::seed(0), waits_with_two_locks).result.unwrap());
    assert!(waits_with_two_locks());
}

/// In a simulation it is a mistake, because whoever needs the lock waits too. On
/// OS threads nobody keeps count of locks.
#[test]
fn to_receive_with_a_lock_in_hand_fails_in_a_simulation_only() {
    let receive = || {
        let lock = Mutex::new(());
        let _held = lock.lock();
        let (tx, rx) = channel::unbounded();
        tx.send(1).unwrap();
        rx.recv().unwrap()
    };
    assert_eq!(simulate(Config::seed(0), receive).result.unwrap_err().kind, FailureKind::LockHeld);
    assert_eq!(receive(), 1);
}
