//! What is done once: by whom, who waits for it, and what a panic leaves.
//!
//! Boundary: no crashes; those are in `machines`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use labsim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use labsim::sync::{Arc, Once, OnceLock, OnceState};
use labsim::{FailureKind, thread};

use super::{LONG, SHORT, assert_failed, everywhere, failure_of, panic_of, wait_until};

#[test]
fn of_many_initialisers_one_runs_and_all_wait_for_it() {
    everywhere(|| {
        let shared = Arc::new((Once::new(), AtomicUsize::new(0), AtomicBool::new(false)));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("thread {n}"), move || {
                    let (once, runs, is_done) = &*shared;
                    once.call_once(|| {
                        runs.fetch_add(1, SeqCst);
                        thread::sleep(SHORT);
                        is_done.store(true, SeqCst);
                    });
                    assert!(is_done.load(SeqCst), "it did not wait");
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.1.load(SeqCst), 1);
        assert!(shared.0.is_completed());
    });
}

#[test]
fn a_once_says_how_far_it_is() {
    everywhere(|| {
        let once = Once::default();
        assert_eq!((once.state(), once.is_completed()), (OnceState::New, false));
        once.call_once_force(|state| {
            assert_eq!(state, OnceState::New);
            assert_eq!((once.state(), once.is_completed()), (OnceState::InProgress, false));
        });
        assert_eq!((once.state(), once.is_completed()), (OnceState::Done, true));
        once.call_once(|| panic!("once more"));
    });
}

/// In a world a panic ends the run, so only outside is there anything after it.
#[test]
fn a_panic_outside_poisons_a_once() {
    let once = Once::new();
    assert_eq!(panic_of(|| once.call_once(|| panic!("on purpose"))), "on purpose");
    assert_eq!(once.state(), OnceState::Poisoned);
    assert!(panic_of(|| once.call_once(|| ())).contains("an earlier initialiser panicked"));
    assert_eq!(once.state(), OnceState::Poisoned);
    once.call_once_force(|state| assert!(state.poisoned()));
    once.call_once(|| panic!("once more"));
}

#[test]
fn who_waits_for_an_initialiser_that_panics_learns_of_it() {
    let shared = Arc::new((Once::new(), AtomicBool::new(false)));
    let theirs = Arc::clone(&shared);
    let panics = thread::spawn("panics", move || {
        theirs.0.call_once(|| {
            theirs.1.store(true, SeqCst);
            thread::sleep(SHORT);
            panic!("on purpose");
        });
    });
    wait_until(|| shared.1.load(SeqCst));
    assert!(panic_of(|| shared.0.call_once(|| ())).contains("an earlier initialiser panicked"));
    assert!(panics.join().is_err());
}

#[test]
fn a_value_is_made_once() {
    everywhere(|| {
        let shared = Arc::new((OnceLock::new(), AtomicUsize::new(0)));
        assert_eq!(shared.0.get(), None);
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("thread {n}"), move || {
                    let (value, makers) = &*shared;
                    let made = *value.get_or_init(|| {
                        thread::sleep(SHORT);
                        makers.fetch_add(1, SeqCst);
                        n
                    });
                    assert_eq!(value.get(), Some(&made));
                    made
                })
            })
            .collect();
        let made: Vec<i32> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(made.iter().all(|value| *value == made[0]), "two values: {made:?}");
        assert_eq!(shared.1.load(SeqCst), 1);
    });
}

#[test]
fn a_value_is_set_once() {
    everywhere(|| {
        let value = Arc::new(OnceLock::new());
        let theirs = Arc::clone(&value);
        let other = thread::spawn("other", move || theirs.set(2).is_ok());
        let ours = value.set(1).is_ok();
        let theirs = other.join().unwrap();
        assert!(ours != theirs, "both or neither set it");
        assert_eq!(value.get(), Some(if ours { &1 } else { &2 }));
        assert_eq!(value.set(3), Err(3));

        let mut value = OnceLock::from(String::from("text"));
        assert_eq!(value.get_or_init(String::new), "text");
        value.get_mut().expect("it was made from one").push('!');
        assert_eq!(format!("{value:?}"), "OnceLock(\"text!\")");
        assert_eq!(value.into_inner().as_deref(), Some("text!"));
        assert_eq!(OnceLock::<u32>::default().into_inner(), None);
    });
}

#[test]
fn a_maker_that_panics_outside_leaves_it_to_the_next() {
    let value = OnceLock::new();
    let made = catch_unwind(AssertUnwindSafe(|| *value.get_or_init(|| panic!("on purpose"))));
    assert!(made.is_err() && value.get().is_none());
    assert_eq!(value.get_or_init(|| 7), &7);
}

#[test]
fn an_initialiser_that_needs_itself_is_reported_at_once() {
    let failure = failure_of(0, || {
        thread::spawn("sleeper", || thread::sleep(LONG)); // Else it would be known anyway.
        let value = OnceLock::new();
        *value.get_or_init(|| *value.get_or_init(|| 7))
    });
    assert_failed(&failure, FailureKind::Deadlock, "`main` waits, at labsim/tests/facade/once.rs");
    assert_failed(&failure, FailureKind::Deadlock, "for the initialisation that it runs itself");
}

#[test]
fn a_deadlock_says_who_runs_the_initialiser() {
    let failure = failure_of(0, || {
        let shared = Arc::new((Once::new(), AtomicBool::new(false)));
        let theirs = Arc::clone(&shared);
        thread::spawn("slow", move || {
            theirs.0.call_once(|| {
                theirs.1.store(true, SeqCst);
                thread::park();
            });
        });
        wait_until(|| shared.1.load(SeqCst));
        shared.0.call_once(|| ());
    });
    assert_failed(&failure, FailureKind::Deadlock, "for the initialisation that `slow` runs");
}
