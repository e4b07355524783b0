//! Conditions: wait until another thread says that something changed.
//!
//! In a simulation a wait ends only by a notification or a time-out. There are
//! no spurious wake-ups, as with parking_lot, and code should not count on that:
//! between the wake-up and the lock others run.
//!
//! Boundary: one condition. The lock that it opens is in `mutex.rs`.

use std::panic::Location;
use std::time::Duration;

use super::mutex::{Chosen, MutexGuard};
use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Core, Home, WaitList, Why};
use crate::time::Instant;

/// A condition variable, as `parking_lot::Condvar`.
///
/// ```
/// use labsim::sync::{Arc, Condvar, Mutex};
/// use labsim::thread;
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let shared = Arc::new((Mutex::new(0), Condvar::new()));
///     let theirs = Arc::clone(&shared);
///     thread::spawn("counter", move || {
///         *theirs.0.lock() = 3;
///         theirs.1.notify_all();
///     });
///     let (number, changed) = &*shared;
///     let mut number = number.lock();
///     changed.wait_while(&mut number, |number| *number == 0);
///     *number
/// });
/// assert_eq!(outcome.result.unwrap(), 3);
/// ```
#[derive(Debug, Default)]
pub struct Condvar {
    home: Home,
    /// Simulated threads that wait.
    waiters: WaitList,
    /// Threads of a real world that wait.
    real_waiters: real::Waiters,
    /// Threads outside of any world that wait.
    condvar: parking_lot::Condvar,
}

/// Whether a wait ended because its time was up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    /// True if the time was up, and not because of a notification.
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    /// A condition that nobody waits for.
    pub const fn new() -> Self {
        Self {
            home: Home::new(),
            waiters: WaitList::new(),
            real_waiters: real::Waiters::new(),
            condvar: parking_lot::Condvar::new(),
        }
    }

    /// Opens the lock, waits to be notified, and takes the lock again.
    #[track_caller]
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_timeout(guard, None, Location::caller());
    }

    /// As [`wait`](Self::wait), but waits no longer than `timeout`. Taking the
    /// lock again may take longer.
    #[track_caller]
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        self.wait_timeout(guard, Some(timeout), Location::caller())
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`.
    #[track_caller]
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeoutResult {
        // The clock is read without a step: waiting is one.
        let now = match context::mode() {
            Mode::Simulated => Instant::at(sim::with(sim::Core::clock_now)),
            Mode::Real | Mode::Outside => Instant::now(),
        };
        self.wait_timeout(guard, Some(deadline.saturating_duration_since(now)), Location::caller())
    }

    /// Waits for as long as `condition` holds of the data.
    #[track_caller]
    pub fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
        let place = Location::caller();
        if context::mode() == Mode::Simulated {
            return sim::with(|core| self.wait_while_simulated(core, guard, condition, place));
        }
        while condition(guard) {
            self.wait_timeout(guard, None, place);
        }
    }

    fn wait_while_simulated<T>(
        &self,
        core: &Core,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        place: &'static Location<'static>,
    ) {
        core.point(place);
        while condition(guard) {
            let since = core.now();
            // The last look has found that the condition does not hold any more.
            let mut is_fulfilled = false;
            self.wait_simulated(guard, None, place, Why::Condition, &mut |data| {
                let was_fulfilled = std::mem::replace(&mut is_fulfilled, !condition(data));
                if was_fulfilled && is_fulfilled {
                    core.report_lost_wake_up(since, place);
                }
            });
        }
    }

    /// As [`wait_while`](Self::wait_while), for `timeout` in all at most. The
    /// result says whether the condition still held then.
    #[track_caller]
    pub fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        let deadline = Instant::now().checked_add(timeout);
        self.wait_while_deadline(guard, condition, deadline, Location::caller())
    }

    /// As [`wait_while`](Self::wait_while), until `deadline` at most. The
    /// result says whether the condition still held then.
    #[track_caller]
    pub fn wait_while_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_while_deadline(guard, condition, Some(deadline), Location::caller())
    }

    fn wait_while_deadline<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline: Option<Instant>,
        place: &'static Location<'static>,
    ) -> WaitTimeoutResult {
        while condition(guard) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || self.wait_timeout(guard, left, place).timed_out {
                return WaitTimeoutResult { timed_out: condition(guard) };
            }
        }
        WaitTimeoutResult { timed_out: false }
    }

    /// Wakes one waiting thread, in a simulation one chosen by the seed.
    /// Returns whether there was one.
    #[track_caller]
    pub fn notify_one(&self) -> bool {
        if context::mode() != Mode::Simulated {
            real::check();
            self.home.outside();
            return self.real_waiters.wake_one() || self.condvar.notify_one();
        }
        let place = Location::caller();
        sim::with(|core| {
            if core.is_muted(place) {
                return false;
            }
            core.point(place);
            self.home.in_simulation(core, place);
            let woken = self.waiters.wake_one(core);
            core.point(place);
            woken
        })
    }

    /// Wakes all waiting threads. Returns how many there were.
    #[track_caller]
    pub fn notify_all(&self) -> usize {
        if context::mode() != Mode::Simulated {
            real::check();
            self.home.outside();
            return self.real_waiters.wake_all() + self.condvar.notify_all();
        }
        let place = Location::caller();
        sim::with(|core| {
            if core.is_muted(place) {
                return 0;
            }
            core.point(place);
            self.home.in_simulation(core, place);
            let woken = self.waiters.wake_all(core);
            core.point(place);
            woken
        })
    }

    fn wait_timeout<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Option<Duration>,
        place: &'static Location<'static>,
    ) -> WaitTimeoutResult {
        let timed_out = match context::mode() {
            Mode::Simulated => self.wait_simulated(guard, timeout, place, Why::Condvar, &mut |_| {}),
            Mode::Real | Mode::Outside => {
                self.home.outside();
                let mutex = guard.mutex;
                mutex.observe_outside(guard);
                let data = guard.data.as_mut().expect("the guard's own thread waits");
                match (context::mode(), timeout) {
                    (Mode::Real, timeout) => self.real_waiters.wait(data, timeout.map(real::machine_time)),
                    (_, Some(timeout)) => self.condvar.wait_for(data, timeout).timed_out(),
                    (_, None) => {
                        self.condvar.wait(data);
                        false
                    }
                }
            }
        };
        WaitTimeoutResult { timed_out }
    }

    /// Waits. `look` is called now and then while a thread waits for ever, with the
    /// lock closed and nobody else running; see `sim/stuck.rs`. Returns whether
    /// the time was up.
    fn wait_simulated<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Option<Duration>,
        place: &'static Location<'static>,
        why: Why,
        look: &mut dyn FnMut(&mut T),
    ) -> bool {
        sim::with(|core| {
            self.home.in_simulation(core, place);
            if core.is_muted(place) && timeout.is_some() {
                return true; // A destructor of the dead waits for nobody.
            }
            // Whoever changes what is waited for without the lock, and notifies,
            // may do so just now, and wake nobody.
            core.point(place);
            // Between here and `wait` nobody else runs: a notification that
            // comes after the lock has opened finds us in the list.
            let mut chosen = Chosen { list: &self.waiters, core, waiter: self.waiters.add(core) };
            let mutex = guard.mutex;
            let data = guard.data.take().expect("the guard's own thread waits");
            mutex.unlock_simulated(core, data);
            let until = timeout.and_then(|timeout| core.deadline(timeout));
            let since = core.now();
            let timed_out = loop {
                let timed_out = core.wait_from(since, why, place, until);
                if !core.was_woken_for_a_look() {
                    break timed_out;
                }
                // The scheduler woke us at a moment when nobody else could run, and
                // nobody has run since, nor will until we wait again: no
                // notification can come meanwhile, and be missed.
                chosen.settle(true);
                core.observe(|| mutex.look(look));
                if core.has_failed() {
                    core.stop_here(place);
                }
                chosen = Chosen { list: &self.waiters, core, waiter: self.waiters.add(core) };
            };
            if timed_out {
                chosen.settle(true);
                guard.data = Some(mutex.lock_simulated(core, place));
            } else {
                // A thread that dies before it has the lock passes its
                // notification on.
                guard.data = Some(mutex.lock_simulated(core, place));
                chosen.settle(false);
            }
            timed_out
        })
    }
}
