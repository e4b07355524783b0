//! Moments, and time that passes only where it has to.
//!
//! Boundary: no wall time: only virtual time is asserted.

use std::cmp::Ordering;

use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicBool, Ordering::SeqCst};
use labsim::time::{Duration, Instant};
use labsim::{Config, FailureKind, run_real, simulate, thread};

use super::{LONG, SHORT, STEPS, assert_failed, everywhere, in_simulations, panic_of, timed};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn moments_are_added_subtracted_and_compared() {
    everywhere(|| {
        let early = Instant::now();
        let late = early + 2 * SECOND;
        assert!(early < late && early != late);
        assert_eq!(late.cmp(&early), Ordering::Greater);
        assert_eq!(late - early, 2 * SECOND);
        assert_eq!(late - 2 * SECOND, early);

        let mut moment = early;
        moment += 3 * SECOND;
        moment -= SECOND;
        assert_eq!(moment, late);
        assert_eq!(early.max(late), late);
    });
}

#[test]
fn a_difference_is_never_negative() {
    everywhere(|| {
        let early = Instant::now();
        let late = early + SECOND;
        assert_eq!(late.duration_since(early), SECOND);
        assert_eq!(early.duration_since(late), Duration::ZERO);
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
        assert_eq!(early.checked_duration_since(late), None);
        assert_eq!(late.checked_duration_since(early), Some(SECOND));
        assert_eq!(late.elapsed(), Duration::ZERO);
    });
}

#[test]
fn a_moment_off_the_clock_does_not_exist() {
    everywhere(|| {
        let now = Instant::now();
        assert_eq!(now.checked_add(Duration::MAX), None);
        assert_eq!(now.checked_sub(Duration::from_secs(1 << 34)), None);
        assert_eq!(now.checked_add(SECOND), Some(now + SECOND));
        assert_eq!((now + SECOND).checked_sub(SECOND), Some(now));
    });
    assert!(panic_of(|| Instant::now() + Duration::MAX).contains("the clock ends"));
    assert!(panic_of(|| Instant::now() - Duration::from_secs(1 << 34)).contains("before the run began"));
}

/// The first reading of a run is a few microseconds after 0.
#[test]
fn a_virtual_moment_shows_seconds_and_whole_milliseconds() {
    in_simulations(|| {
        let start = Instant::now();
        assert_eq!(start.to_string(), "0.000s");
        assert_eq!((start + Duration::from_millis(12_345)).to_string(), "12.345s");
        assert_eq!(format!("{:?}", start + Duration::from_millis(3_600_007)), "3600.007s");
        // Cut off, not rounded: an event is never shown later than it was.
        assert_eq!((start + Duration::from_micros(1_900)).to_string(), "0.001s");
    });
}

#[test]
fn a_moment_of_the_machine_looks_the_same() {
    let text = Instant::now().to_string();
    let (seconds, millis) = text.strip_suffix('s').and_then(|text| text.split_once('.')).expect("like 1.234s");
    assert!(seconds.parse::<u64>().is_ok() && millis.len() == 3 && millis.parse::<u64>().is_ok(), "{text}");
}

#[test]
fn the_clock_never_goes_back() {
    everywhere(|| {
        let readings: Vec<_> = (0..100).map(|_| Instant::now()).collect();
        assert!(readings.is_sorted());
    });
}

#[test]
fn no_two_virtual_readings_of_a_thread_are_equal() {
    in_simulations(|| {
        let readings: Vec<_> = (0..100).map(|_| Instant::now()).collect();
        assert!(readings.is_sorted_by(|a, b| a < b));
        assert!(readings[99] - readings[0] < STEPS);
    });
}

#[test]
fn a_virtual_sleep_takes_its_time_and_a_step_or_two() {
    in_simulations(|| {
        let ten_minutes = Duration::from_secs(600);
        let ((), took) = timed(|| thread::sleep(ten_minutes));
        assert!(took >= ten_minutes && took < ten_minutes + STEPS, "slept for {took:?}");
    });
}

/// They sleep beside each other, not one after another.
#[test]
fn a_hundred_sleepers_take_as_long_as_one() {
    for seed in 0..5 {
        let outcome = simulate(Config::seed(seed), || {
            let sleepers: Vec<_> = (0..100).map(|_| thread::spawn("sleeper", || thread::sleep(LONG))).collect();
            sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        });
        outcome.result.unwrap();
        let elapsed = outcome.elapsed;
        assert!(elapsed >= LONG && elapsed < LONG + SHORT, "the run took {elapsed:?}");
        assert_eq!((outcome.threads, outcome.timer_events), (101, 100));
    }
}

#[test]
fn sleepers_wake_in_the_order_of_their_moments() {
    in_simulations(|| {
        let (tx, rx) = labsim::channel::unbounded();
        for n in [3, 1, 4, 0, 2] {
            let tx = tx.clone();
            thread::spawn(format!("sleeper {n}"), move || {
                thread::sleep(n * SECOND + SHORT);
                tx.send(n).unwrap();
            });
        }
        drop(tx);
        assert!(rx.iter().eq(0..5));
    });
}

/// A loop that reads the clock is all that moves it.
#[test]
fn a_loop_until_a_moment_ends_by_its_own_steps() {
    for seed in 0..5 {
        let outcome = simulate(Config::seed(seed), || {
            let deadline = Instant::now() + SHORT;
            while Instant::now() < deadline {}
        });
        outcome.result.unwrap();
        assert_eq!(outcome.timer_events, 0);
        assert!(outcome.steps > 1_000, "only {} steps", outcome.steps);
    }
}

/// A thread that is busy keeps no timer from its moment.
#[test]
fn a_timer_comes_due_while_others_are_busy() {
    in_simulations(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let busy = thread::spawn("busy", move || while !theirs.load(SeqCst) {});
        let ((), took) = timed(|| thread::sleep(SHORT));
        assert!(took >= SHORT && took < SHORT + STEPS, "slept for {took:?}");
        done.store(true, SeqCst);
        busy.join().unwrap();
    });
}

#[test]
fn the_outcome_says_how_long_the_run_was() {
    let sleep = || thread::sleep(SHORT);
    let virtually = simulate(Config::seed(0), sleep).elapsed;
    assert!(virtually >= SHORT && virtually < SHORT + STEPS, "the run took {virtually:?}");
    assert!(run_real(Config::seed(0), sleep).elapsed >= SHORT);
}

#[test]
fn a_run_does_not_outlive_its_time_limit() {
    let config = Config::seed(0).time_limit(SHORT);
    let slept = simulate(config.clone(), || thread::sleep(LONG)).result.unwrap_err();
    assert_failed(&slept, FailureKind::TimeLimit, "past its limit of 0.005s");
    let spun = simulate(config.clone(), || {
        loop {
            Instant::now();
        }
    });
    assert_failed(&spun.result.unwrap_err(), FailureKind::TimeLimit, "past its limit of 0.005s");
    let real = run_real(config, || thread::sleep(LONG)).result.unwrap_err();
    assert_failed(&real, FailureKind::TimeLimit, "past its limit of 0.005s");
}

#[test]
fn a_run_takes_no_more_steps_than_it_may() {
    let config = Config { step_limit: 1_000, ..Config::seed(0) };
    let outcome = simulate(config, || {
        loop {
            thread::yield_now();
        }
    });
    assert_failed(&outcome.result.unwrap_err(), FailureKind::Limit, "more than 1000 steps");
}
