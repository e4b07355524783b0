//! Threads: what they return, how they wait for each other, what they are called.
//!
//! Boundary: no locks, no crashes.

use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use labsim::time::{Duration, Instant};
use labsim::{Config, FailureKind, Preemption, channel, run_real, simulate, thread};

use super::{
    LONG, SHORT, STEPS, assert_failed, everywhere, failure_of, in_both_worlds, in_simulations, text_of, timed,
    wait_until,
};

#[test]
fn join_returns_what_the_thread_returned() {
    everywhere(|| {
        let handles: Vec<_> = (0..5).map(|n| thread::spawn(format!("squarer {n}"), move || n * n)).collect();
        let squares: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert_eq!(squares, [0, 1, 4, 9, 16]);
    });
}

#[test]
fn join_waits_for_the_end_of_the_thread() {
    everywhere(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let slow = thread::spawn("slow", move || {
            thread::sleep(SHORT);
            theirs.store(true, SeqCst);
        });
        slow.join().unwrap();
        assert!(done.load(SeqCst));
    });
}

#[test]
fn a_thread_that_has_ended_can_still_be_joined() {
    everywhere(|| {
        let quick = thread::spawn("quick", || 7);
        wait_until(|| quick.is_finished());
        assert_eq!(quick.join().unwrap(), 7);
    });
}

#[test]
fn a_thread_is_finished_when_it_has_returned_and_not_before() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<()>();
        let waiting = thread::spawn("waiting", move || rx.recv().is_err());
        thread::yield_now();
        assert!(!waiting.is_finished());
        drop(tx);
        wait_until(|| waiting.is_finished());
    });
}

/// A slot of the scheduler's table is used again; a handle is not.
#[test]
fn a_handle_means_its_own_thread_and_no_later_one() {
    in_simulations(|| {
        let first = thread::spawn("first", || 1);
        wait_until(|| first.is_finished());
        let (tx, rx) = channel::unbounded::<()>();
        let second = thread::spawn("second", move || rx.recv().is_err());
        assert!(first.is_finished() && !second.is_finished());
        assert_eq!(first.join().unwrap(), 1); // While the second one still waits.
        drop(tx);
        assert!(second.join().unwrap());
    });
}

#[test]
fn a_thread_goes_on_without_its_handle() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        drop(thread::spawn("detached", move || tx.send(7).unwrap()));
        assert_eq!(rx.recv(), Ok(7));
    });
}

#[test]
fn a_thread_knows_its_name() {
    everywhere(|| {
        let literal = thread::spawn("literal", || thread::current().name().to_owned());
        let made = thread::spawn(format!("made {}", 7), || thread::current().name().to_owned());
        assert_eq!(literal.join().unwrap(), "literal");
        assert_eq!(made.join().unwrap(), "made 7");
    });
    in_both_worlds(|| assert_eq!(thread::current().name(), "main"));
}

#[test]
fn a_panic_outside_comes_back_from_join() {
    let handle = thread::spawn("unlucky", || panic!("out of {}", "luck"));
    assert_eq!(text_of(&*handle.join().unwrap_err()), "out of luck");
}

#[test]
fn a_panic_in_a_world_fails_the_run_and_names_the_thread() {
    let story = || {
        let handle = thread::spawn("unlucky", || panic!("out of {}", "luck"));
        let _ = handle.join();
    };
    for failure in [failure_of(0, story), run_real(Config::seed(0), story).result.unwrap_err()] {
        assert_failed(&failure, FailureKind::Panic, "out of luck");
        assert_eq!(failure.thread, "unlucky");
        assert!(failure.place.expect("a panic has a place").contains("thread.rs"));
    }
}

#[test]
fn unpark_ends_a_park() {
    everywhere(|| {
        let go = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&go);
        let (tx, rx) = channel::unbounded();
        let parked = thread::spawn("parked", move || {
            tx.send(thread::current()).unwrap();
            while !theirs.load(SeqCst) {
                thread::park();
            }
        });
        let handle = rx.recv().unwrap();
        assert_eq!(handle.name(), "parked");
        go.store(true, SeqCst);
        handle.unpark();
        parked.join().unwrap();
    });
}

#[test]
fn an_unpark_that_comes_first_is_kept() {
    everywhere(|| {
        thread::current().unpark();
        thread::park();
        thread::current().unpark();
        thread::park_timeout(LONG);
    });
}

#[test]
fn a_kept_unpark_costs_no_time() {
    in_simulations(|| {
        thread::current().unpark();
        let ((), took) = timed(|| thread::park_timeout(LONG));
        assert!(took < STEPS, "parked for {took:?}");
    });
}

/// There is one token, not a count of them.
#[test]
fn two_unparks_are_worth_one_park() {
    in_both_worlds(|| {
        thread::current().unpark();
        thread::current().unpark();
        thread::park();
        let ((), took) = timed(|| thread::park_timeout(SHORT));
        assert!(took >= SHORT, "parked for {took:?}");
    });
}

#[test]
fn a_park_that_nobody_ends_takes_its_time() {
    in_both_worlds(|| {
        let ((), took) = timed(|| thread::park_timeout(SHORT));
        assert!(took >= SHORT, "parked for {took:?}");
    });
}

#[test]
fn a_virtual_park_ends_on_time_or_when_it_is_told_to() {
    in_simulations(|| {
        let ((), took) = timed(|| thread::park_timeout(LONG));
        assert!(took >= LONG && took < LONG + STEPS, "parked for {took:?}");

        let main = thread::current();
        thread::spawn("waker", move || {
            thread::sleep(SHORT);
            main.unpark();
        });
        let ((), took) = timed(|| thread::park_timeout(LONG));
        assert!(took >= SHORT && took < SHORT + STEPS, "parked for {took:?}");
    });
}

/// Parking is nobody else's wait: an unpark ends no sleep and no receive.
#[test]
fn an_unpark_ends_nothing_but_a_park() {
    in_both_worlds(|| {
        let main = thread::current();
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let waker = thread::spawn("waker", move || {
            while !theirs.load(SeqCst) {
                main.unpark();
                thread::yield_now();
            }
        });
        let ((), took) = timed(|| thread::sleep(SHORT));
        assert!(took >= SHORT, "slept for {took:?}");
        let (_tx, rx) = channel::unbounded::<()>();
        let (received, took) = timed(|| rx.recv_timeout(SHORT));
        assert!(received.is_err() && took >= SHORT, "waited for {took:?}");
        done.store(true, SeqCst);
        waker.join().unwrap();
    });
}

#[test]
fn a_thread_that_is_gone_can_be_unparked() {
    everywhere(|| {
        let gone = thread::spawn("gone", thread::current).join().unwrap();
        gone.unpark();
        assert_eq!(gone.name(), "gone");
    });
}

#[test]
fn sleep_takes_at_least_its_time() {
    everywhere(|| {
        let ((), took) = timed(|| thread::sleep(SHORT));
        assert!(took >= SHORT, "slept for {took:?}");
        let deadline = Instant::now() + SHORT;
        thread::sleep_until(deadline);
        assert!(Instant::now() >= deadline);
        thread::sleep_until(deadline); // It has passed.
        thread::sleep(Duration::ZERO);
    });
}

/// Nobody is ever preempted here: only the yield lets the other one run.
#[test]
fn yield_lets_another_thread_run() {
    for seed in 0..super::STORY_SEEDS {
        let story = || {
            let turns = Arc::new(AtomicUsize::new(0));
            let theirs = Arc::clone(&turns);
            thread::spawn("other", move || theirs.fetch_add(1, SeqCst));
            wait_until(|| turns.load(SeqCst) == 1);
        };
        simulate(Config::seed(seed).preemption(Preemption::Never), story).result.unwrap();
    }
}

#[test]
fn threads_without_end_are_a_failure() {
    let config = Config { thread_limit: 10, ..Config::seed(0) };
    let outcome = simulate(config, || {
        for _ in 0..100 {
            thread::spawn("sleeper", || thread::sleep(LONG));
        }
    });
    assert_failed(&outcome.result.unwrap_err(), FailureKind::Limit, "more than 10 threads at once");
    // Ten one after another are not too many.
    let config = Config { thread_limit: 2, ..Config::seed(0) };
    let outcome = simulate(config, || (0..10).for_each(|_| thread::spawn("short", || ()).join().unwrap()));
    outcome.result.unwrap();
    assert_eq!(outcome.threads, 11);
}
