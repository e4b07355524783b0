//! Single words: what each operation returns, and that it is a step.
//!
//! Boundary: no memory ordering: there is none to be seen.

use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use labsim::time::Duration;
use labsim::{Config, Preemption, simulate, thread};

use super::{SEARCH_SEEDS, STORY_SEEDS, everywhere};

/// Runs every operation of a type of numbers.
macro_rules! check_numbers {
    ($($name:ident)*) => {$(
        let mut word = $name::new(5);
        assert_eq!(word.load(SeqCst), 5);
        word.store(6, SeqCst);
        assert_eq!(word.swap(7, SeqCst), 6);
        assert_eq!(word.compare_exchange(6, 0, SeqCst, SeqCst), Err(7));
        assert_eq!(word.compare_exchange(7, 8, SeqCst, SeqCst), Ok(7));
        assert_eq!(word.fetch_add(2, SeqCst), 8);
        assert_eq!(word.fetch_sub(1, SeqCst), 10);
        assert_eq!(word.fetch_max(20, SeqCst), 9);
        assert_eq!(word.fetch_max(3, SeqCst), 20);
        assert_eq!(word.fetch_min(30, SeqCst), 20);
        assert_eq!(word.fetch_min(4, SeqCst), 20);
        *word.get_mut() += 1;
        assert_eq!(word.into_inner(), 5);
        assert_eq!($name::default().into_inner(), 0);
    )*};
}

#[test]
fn every_operation_returns_what_std_returns() {
    everywhere(|| {
        check_numbers!(AtomicI32 AtomicI64 AtomicU32 AtomicU64 AtomicUsize);
    });
}

#[test]
fn a_flag_is_set_swapped_and_exchanged() {
    everywhere(|| {
        let mut flag = AtomicBool::default();
        assert!(!flag.load(SeqCst));
        flag.store(true, SeqCst);
        assert!(flag.swap(false, SeqCst));
        assert_eq!(flag.compare_exchange(true, true, SeqCst, SeqCst), Err(false));
        assert_eq!(flag.compare_exchange(false, true, SeqCst, SeqCst), Ok(false));
        *flag.get_mut() = !*flag.get_mut();
        assert!(!flag.into_inner());
    });
}

#[test]
fn a_sum_wraps_around() {
    everywhere(|| {
        let word = AtomicU32::new(u32::MAX);
        assert_eq!(word.fetch_add(2, SeqCst), u32::MAX);
        assert_eq!(word.fetch_sub(2, SeqCst), 1);
        assert_eq!(word.load(SeqCst), u32::MAX);
    });
}

#[test]
fn no_addition_is_lost() {
    everywhere(|| {
        let sum = Arc::new(AtomicU64::new(0));
        let adders: Vec<_> = (0..4)
            .map(|n| {
                let sum = Arc::clone(&sum);
                thread::spawn(format!("adder {n}"), move || (0..100).for_each(|_| _ = sum.fetch_add(1, SeqCst)))
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(sum.load(SeqCst), 400);
    });
}

/// Each of the two is atomic, the pair is not.
#[test]
fn some_seed_comes_between_a_load_and_a_store() {
    let add = |word: &AtomicU32| word.store(word.load(SeqCst) + 1, SeqCst);
    let sum_under = |seed| {
        let story = move || {
            let sum = Arc::new(AtomicU32::new(0));
            let theirs = Arc::clone(&sum);
            let other = thread::spawn("other", move || add(&theirs));
            add(&sum);
            other.join().unwrap();
            sum.load(SeqCst)
        };
        simulate(Config::seed(seed), story).result.unwrap()
    };
    assert!((0..SEARCH_SEEDS).any(|seed| sum_under(seed) == 1));
    assert!((0..SEARCH_SEEDS).any(|seed| sum_under(seed) == 2));
}

/// Were steps free, the clock would never reach the timer.
#[test]
fn a_loop_that_only_loads_sees_a_timer_pass() {
    for rate in Preemption::ALL {
        for seed in 0..STORY_SEEDS / 10 {
            let story = || {
                let done = Arc::new(AtomicBool::new(false));
                let theirs = Arc::clone(&done);
                thread::spawn("timer", move || {
                    thread::sleep(Duration::from_millis(10));
                    theirs.store(true, SeqCst);
                });
                while !done.load(SeqCst) {}
            };
            let outcome = simulate(Config::seed(seed).preemption(rate), story);
            outcome.result.unwrap();
            assert!(outcome.elapsed >= Duration::from_millis(10), "over after {:?}", outcome.elapsed);
            assert!(outcome.steps > 5_000, "only {} steps in 10 ms", outcome.steps);
        }
    }
}
