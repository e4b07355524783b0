//! Conditions: every wait, who is woken, and what the calls return.
//!
//! Boundary: one condition and its lock.

use labsim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::thread::{self, JoinHandle};
use labsim::time::{Duration, Instant};

use super::{LONG, SHORT, STEPS, everywhere, in_a_real_world, in_both_worlds, in_simulations, timed, wait_until};

/// Threads that each wait once, with no condition of their own.
struct Waiters {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// How many have begun to wait. Counted under the lock that the wait opens:
    /// who sees the number with the lock in hand knows that they do wait.
    begun: Mutex<usize>,
    called: Condvar,
    woken: AtomicUsize,
}

impl Waiters {
    /// Starts `count` threads. When this returns, all of them wait.
    fn start(count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let handles = (0..count)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("waiter {n}"), move || {
                    let mut begun = shared.begun.lock();
                    *begun += 1;
                    shared.called.wait(&mut begun);
                    shared.woken.fetch_add(1, SeqCst);
                })
            })
            .collect();
        wait_until(|| *shared.begun.lock() == count);
        Self { shared, handles }
    }

    fn woken(&self) -> usize {
        self.shared.woken.load(SeqCst)
    }

    fn join(self) {
        self.handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
}

/// In simulations and outside: there a wait is one wait, and its end is exact.
fn where_notifications_are_counted(story: impl Fn() + Clone + Send + 'static) {
    in_simulations(story.clone());
    story();
}

#[test]
fn notify_one_wakes_exactly_one() {
    where_notifications_are_counted(|| {
        let waiters = Waiters::start(3);
        for woken in 1..=3 {
            assert!(waiters.shared.called.notify_one(), "nobody left after {}", woken - 1);
            wait_until(|| waiters.woken() == woken);
        }
        assert!(!waiters.shared.called.notify_one(), "somebody is still there");
        waiters.join();
    });
}

/// The others are given all the time in the world to be woken wrongly.
#[test]
fn notify_one_leaves_the_others_waiting() {
    in_simulations(|| {
        let waiters = Waiters::start(3);
        waiters.shared.called.notify_one();
        thread::sleep(LONG);
        assert_eq!(waiters.woken(), 1);
        waiters.shared.called.notify_all();
        waiters.join();
    });
}

#[test]
fn notify_all_wakes_all_and_counts_them() {
    where_notifications_are_counted(|| {
        let waiters = Waiters::start(3);
        assert_eq!(waiters.shared.called.notify_all(), 3);
        assert_eq!(waiters.shared.called.notify_all(), 0);
        let shared = Arc::clone(&waiters.shared);
        waiters.join();
        assert_eq!(shared.woken.load(SeqCst), 3);
    });
}

#[test]
fn a_notified_thread_holds_the_lock_again() {
    in_both_worlds(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            let mut number = theirs.0.lock();
            theirs.1.wait_while(&mut number, |number| *number == 0);
            assert!(theirs.0.is_locked());
            *number += 1;
        });
        *shared.0.lock() = 1;
        shared.1.notify_one();
        waiter.join().unwrap();
        assert_eq!(*shared.0.lock(), 2);
    });
}

#[test]
fn a_notification_is_not_kept_for_later() {
    everywhere(|| {
        let (lock, called) = (Mutex::new(()), Condvar::new());
        assert!(!called.notify_one());
        assert_eq!(called.notify_all(), 0);
        assert!(called.wait_for(&mut lock.lock(), SHORT).timed_out());
    });
}

#[test]
fn a_wait_that_nobody_ends_takes_its_time() {
    everywhere(|| {
        let (lock, called) = (Mutex::new(7), Condvar::new());
        let mut number = lock.lock();
        let (result, took) = timed(|| called.wait_for(&mut number, SHORT));
        assert!(result.timed_out() && took >= SHORT, "over after {took:?}");
        let (result, took) = timed(|| called.wait_until(&mut number, Instant::now() + SHORT));
        assert!(result.timed_out() && took >= SHORT, "over after {took:?}");
        assert_eq!(*number, 7);
        assert!(lock.is_locked());
    });
}

#[test]
fn a_virtual_wait_ends_on_time() {
    in_simulations(|| {
        let (lock, called) = (Mutex::new(7), Condvar::new());
        let ten_minutes = Duration::from_secs(600);
        let (result, took) = timed(|| called.wait_for(&mut lock.lock(), ten_minutes));
        assert!(result.timed_out() && took >= ten_minutes && took < ten_minutes + STEPS, "over after {took:?}");
    });
}

#[test]
fn a_deadline_that_has_passed_is_a_time_out() {
    everywhere(|| {
        let (lock, called) = (Mutex::new(7), Condvar::new());
        let past = Instant::now();
        assert!(called.wait_until(&mut lock.lock(), past).timed_out());
        assert!(called.wait_for(&mut lock.lock(), Duration::ZERO).timed_out());
    });
}

#[test]
fn a_notified_wait_has_not_timed_out() {
    everywhere(|| {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            let mut begun = theirs.begun.lock();
            *begun = 1;
            let by_span = theirs.called.wait_for(&mut begun, LONG);
            *begun = 2;
            let by_deadline = theirs.called.wait_until(&mut begun, Instant::now() + LONG);
            by_span.timed_out() || by_deadline.timed_out()
        });
        for turn in 1..=2 {
            wait_until(|| *shared.begun.lock() == turn);
            // In a real world a notification may meet a thread that looks
            // whether it still lives. There we call until we are heard.
            wait_until(|| shared.called.notify_one());
        }
        assert!(!waiter.join().unwrap(), "a time-out, long before it was due");
    });
}

/// There is no other thread: a wait would be for ever.
#[test]
fn a_condition_that_does_not_hold_is_not_waited_for() {
    everywhere(|| {
        let (lock, called) = (Mutex::new(7), Condvar::new());
        let mut number = lock.lock();
        called.wait_while(&mut number, |number| *number == 0);
        assert!(!called.wait_while_for(&mut number, |number| *number == 0, Duration::ZERO).timed_out());
        let past = Instant::now();
        assert!(!called.wait_while_until(&mut number, |number| *number == 0, past).timed_out());
    });
}

#[test]
fn a_condition_that_holds_is_waited_for_until_the_time_is_up() {
    everywhere(|| {
        let (lock, called) = (Mutex::new(7), Condvar::new());
        let mut number = lock.lock();
        let (result, took) = timed(|| called.wait_while_for(&mut number, |number| *number == 7, SHORT));
        assert!(result.timed_out() && took >= SHORT, "over after {took:?}");
        let deadline = Instant::now() + SHORT;
        let result = called.wait_while_until(&mut number, |number| *number == 7, deadline);
        assert!(result.timed_out() && Instant::now() >= deadline);
    });
}

/// The number rises one by one, with a notification each: only the last counts.
#[test]
fn a_condition_that_still_holds_is_waited_for_again() {
    everywhere(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            let (number, rose) = &*theirs;
            let mut number = number.lock();
            rose.wait_while(&mut number, |number| *number < 3);
            assert!(!rose.wait_while_for(&mut number, |number| *number < 6, LONG).timed_out());
            assert!(!rose.wait_while_until(&mut number, |number| *number < 9, Instant::now() + LONG).timed_out());
            *number
        });
        for _ in 0..9 {
            *shared.0.lock() += 1;
            shared.1.notify_all();
            thread::yield_now();
        }
        assert_eq!(waiter.join().unwrap(), 9);
    });
}

/// A notification and a time-out meet. Whoever was said to be woken must not
/// report a time-out, or the notification went to nobody.
#[test]
fn a_time_out_does_not_swallow_a_notification() {
    in_simulations(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let span = Duration::from_millis(1);
        let waiters: Vec<_> = (0..2)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(format!("waiter {n}"), move || {
                    let result = shared.1.wait_for(&mut shared.0.lock(), span);
                    usize::from(!result.timed_out())
                })
            })
            .collect();
        thread::sleep(span);
        let called = usize::from(shared.1.notify_one());
        let woken: usize = waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum();
        assert_eq!(woken, called);
    });
}

/// The same on the machine, where the two meet by chance: who notifies and who
/// waits count alike.
#[test]
fn a_real_wait_and_who_notifies_it_count_alike() {
    const WAITS: usize = 20_000;
    in_a_real_world(|| {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || {
            let is_notified =
                |_: &usize| !theirs.1.wait_for(&mut theirs.0.lock(), Duration::from_micros(1)).timed_out();
            let woken = (0..WAITS).filter(is_notified).count();
            *theirs.0.lock() = true;
            woken
        });
        let mut called = 0;
        while !*shared.0.lock() {
            called += usize::from(shared.1.notify_one());
            called += shared.1.notify_all();
        }
        assert_eq!(waiter.join().unwrap(), called);
        assert!(called > 0, "the two never meet");
    });
}

/// Many waits on the machine's own condition, none of them lost.
#[test]
fn a_real_ping_pong_comes_to_its_end() {
    const ROUNDS: u32 = 300;
    in_a_real_world(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let play = |shared: &(Mutex<u32>, Condvar), odd: u32| {
            for _ in 0..ROUNDS {
                let mut ball = shared.0.lock();
                shared.1.wait_while(&mut ball, |ball| *ball % 2 != odd);
                *ball += 1;
                drop(ball); // The other one is to find it open.
                shared.1.notify_one();
            }
        };
        let other = thread::spawn("other", move || play(&theirs, 1));
        play(&shared, 0);
        other.join().unwrap();
        assert_eq!(*shared.0.lock(), 2 * ROUNDS);
    });
}
