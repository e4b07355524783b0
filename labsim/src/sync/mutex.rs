//! Mutual exclusion, and the lock that publishes.
//!
//! The data lies in a parking_lot mutex in every world. A simulated thread only
//! ever tries it: if it is taken, the thread waits in the scheduler's way, and
//! tries again when it is woken. So the simulation decides who gets a lock, and
//! the memory safety is parking_lot's.
//!
//! Boundary: one lock. Conditions are in `condvar.rs`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Core, Home, WaitList, Why};
use crate::time::Instant;
use crate::watch::Watch;

/// Whoever has the data locked is the only one to run it: its own lock is always free.
type Observer<T> = parking_lot::Mutex<Box<dyn FnMut(&T, &Watch) + Send>>;

/// A lock around `T`, as `parking_lot::Mutex`: no poisoning.
///
/// A simulated thread that locks twice is reported at once. Any thread that
/// sleeps, receives or makes a call with a lock in its hands fails the run.
pub struct Mutex<T> {
    home: Home,
    waiters: WaitList,
    observer: Option<Observer<T>>,
    data: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        Self { home: Home::new(), waiters: WaitList::new(), observer: None, data: parking_lot::Mutex::new(value) }
    }

    /// A lock that shows what it guards, each time it opens.
    ///
    /// `observer` runs at the end of every critical section, just before the
    /// lock is free: at each unlock, and at each wait on a [`Condvar`]. So
    /// publishing a state cannot be forgotten, and what is published is never
    /// half a change. It must not lock, wait, or panic. It does not run when
    /// the thread is being unwound, since the section was not finished then.
    ///
    /// [`Condvar`]: super::Condvar
    ///
    /// ```
    /// use labsim::{Config, simulate, sync::Mutex, watch};
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// let seen = Arc::new(AtomicU64::new(0));
    /// let sum = Arc::clone(&seen);
    /// simulate(Config::seed(1), move || {
    ///     watch::subscribe(move |_, value: &u64| { sum.fetch_add(*value, Ordering::Relaxed); });
    ///     let number = Mutex::observed(0, |number: &u64, watch| watch.publish(|| *number));
    ///     *number.lock() = 20;
    ///     *number.lock() += 1;
    /// });
    /// assert_eq!(seen.load(Ordering::Relaxed), 20 + 21);
    /// ```
    pub fn observed(value: T, observer: impl FnMut(&T, &Watch) + Send + 'static) -> Self {
        Self { observer: Some(parking_lot::Mutex::new(Box::new(observer))), ..Self::new(value) }
    }

    /// Takes the lock, waiting for it as long as that takes.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let data = match context::mode() {
            Mode::Simulated => {
                let place = Location::caller();
                sim::with(|core| {
                    core.point(place);
                    self.lock_simulated(core, place)
                })
            }
            Mode::Real => {
                self.home.outside();
                loop {
                    real::check();
                    let data = self.data.lock();
                    // While it waited it may have been paused: then others shall
                    // have the lock. Or it may have died.
                    if !real::is_paused() {
                        real::check_alive();
                        break data;
                    }
                }
            }
            Mode::Outside => {
                self.home.outside();
                self.data.lock()
            }
        };
        MutexGuard { mutex: self, data: Some(data) }
    }

    /// Takes the lock if it is free.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let data = match context::mode() {
            Mode::Simulated => {
                let place = Location::caller();
                sim::with(|core| {
                    core.point(place);
                    let serial = self.home.in_simulation(core, place);
                    let data = self.data.try_lock();
                    if data.is_some() {
                        core.lock_taken(serial, place);
                    }
                    data
                })
            }
            Mode::Real | Mode::Outside => {
                real::check();
                self.home.outside();
                self.data.try_lock()
            }
        };
        data.map(|data| MutexGuard { mutex: self, data: Some(data) })
    }

    /// Shows the data to `look`, if the lock is free. For a simulated thread that
    /// runs alone: nobody can tell that the lock was closed.
    pub(super) fn look(&self, look: &mut dyn FnMut(&mut T)) {
        if let Some(mut data) = self.data.try_lock() {
            look(&mut data);
        }
    }

    /// Takes the lock if it becomes free within `timeout`.
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        let data = match context::mode() {
            Mode::Simulated => {
                let place = Location::caller();
                sim::with(|core| {
                    core.point(place);
                    self.try_lock_until_simulated(core, place, core.deadline(timeout))
                })
            }
            Mode::Real | Mode::Outside => {
                real::check();
                self.home.outside();
                self.data.try_lock_for(real::machine_time(timeout))
            }
        };
        data.map(|data| MutexGuard { mutex: self, data: Some(data) })
    }

    /// Takes the lock if it becomes free before `deadline`.
    #[track_caller]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        self.try_lock_for(deadline.saturating_duration_since(Instant::now()))
    }

    /// True if somebody holds the lock at this moment.
    #[track_caller]
    pub fn is_locked(&self) -> bool {
        context::step(Location::caller());
        self.data.is_locked()
    }

    /// The value, with no need to lock: nobody else has the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The value, and the mutex gone.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }

    /// Takes the lock in the scheduler's way.
    #[inline]
    pub(super) fn lock_simulated(
        &self,
        core: &Core,
        place: &'static Location<'static>,
    ) -> parking_lot::MutexGuard<'_, T> {
        let serial = self.home.in_simulation(core, place);
        loop {
            if let Some(data) = self.data.try_lock() {
                core.lock_taken(serial, place);
                core.check_order(place);
                return data;
            }
            self.wait_simulated(core, serial, place, None);
        }
    }

    fn try_lock_until_simulated(
        &self,
        core: &Core,
        place: &'static Location<'static>,
        until: Option<u64>,
    ) -> Option<parking_lot::MutexGuard<'_, T>> {
        let serial = self.home.in_simulation(core, place);
        loop {
            if let Some(data) = self.data.try_lock() {
                core.lock_taken(serial, place);
                return Some(data);
            }
            let is_over = core.must_not_switch() || until.is_some_and(|until| core.clock_now() >= until);
            if is_over {
                return None;
            }
            self.wait_simulated(core, serial, place, until);
        }
    }

    #[cold]
    fn wait_simulated(&self, core: &Core, serial: u32, place: &'static Location<'static>, until: Option<u64>) {
        if core.must_not_switch() {
            core.lock_while_unwinding(serial, place);
            return;
        }
        if until.is_none() {
            core.report_relock(serial, place);
        }
        // If this thread is killed after it was chosen to have the lock, the
        // choice passes on: `Chosen` is dropped when its stack is emptied.
        let chosen = Chosen { list: &self.waiters, core, waiter: self.waiters.add(core) };
        let timed_out = core.wait(Why::Lock(serial), place, until);
        chosen.settle(timed_out);
    }

    /// Opens the lock for a simulated thread. Returns where it was taken.
    #[inline]
    pub(super) fn unlock_simulated(
        &self,
        core: &Core,
        data: parking_lot::MutexGuard<'_, T>,
    ) -> &'static Location<'static> {
        if let Some(observer) = &self.observer
            && !core.must_not_switch()
        {
            // Should the observer throw, the lock opens all the same.
            let opening = Opening { mutex: self, core, data: Some(data) };
            core.observe(|| {
                if let Some(data) = &opening.data {
                    (*observer.lock())(data, &Watch::THE);
                }
            });
            return opening.open();
        }
        self.open_simulated(core, data)
    }

    #[inline]
    fn open_simulated(&self, core: &Core, data: parking_lot::MutexGuard<'_, T>) -> &'static Location<'static> {
        drop(data);
        let taken = core.lock_released(self.home.in_simulation(core, Location::caller()));
        if !self.waiters.is_empty() {
            self.waiters.wake_one(core);
        }
        taken
    }

    /// As above, on an OS thread. The lock stays closed.
    pub(super) fn observe_outside(&self, data: &T) {
        if let Some(observer) = &self.observer
            && !std::thread::panicking()
        {
            real::observe(|| (*observer.lock())(data, &Watch::THE));
        }
    }
}

/// A lock that is about to open, whatever happens.
struct Opening<'a, T> {
    mutex: &'a Mutex<T>,
    core: &'a Core,
    data: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Opening<'_, T> {
    fn open(mut self) -> &'static Location<'static> {
        let data = self.data.take().expect("it is open only once");
        self.mutex.open_simulated(self.core, data)
    }
}

impl<T> Drop for Opening<'_, T> {
    fn drop(&mut self) {
        if let Some(data) = self.data.take() {
            self.mutex.open_simulated(self.core, data);
        }
    }
}

/// A wait that may be passed on, if its thread dies between being chosen and
/// running.
pub(crate) struct Chosen<'a> {
    pub(crate) list: &'a WaitList,
    pub(crate) core: &'a Core,
    pub(crate) waiter: sim::Waiter,
}

impl Chosen<'_> {
    /// The wait is over, and its thread runs.
    pub(crate) fn settle(self, timed_out: bool) {
        if timed_out {
            self.list.remove(self.waiter);
        }
        std::mem::forget(self);
    }
}

impl Drop for Chosen<'_> {
    fn drop(&mut self) {
        // Unwound while waiting. If the entry is gone, somebody chose us.
        if !self.list.remove(self.waiter) {
            self.list.wake_one(self.core);
        }
    }
}

/// Where the locks in the calling thread's hands were taken, first one first.
/// Always empty on OS threads, where nobody keeps count.
pub fn locks_held() -> Vec<&'static Location<'static>> {
    match context::mode() {
        Mode::Simulated => sim::with(Core::locks_held),
        Mode::Real | Mode::Outside => Vec::new(),
    }
}

/// Fails the run if the calling thread holds a lock where it is about to wait
/// for somebody else. `doing` completes the sentence "thread `x` .. while it
/// holds a lock". Notices nothing on OS threads.
#[track_caller]
pub fn assert_no_lock_held(doing: &str) {
    let place = Location::caller();
    if context::mode() == Mode::Simulated {
        sim::with(|core| core.no_lock_held(doing, place));
    }
}

/// The right to the data of a [`Mutex`]. Dropping it opens the lock.
#[must_use = "if unused the lock opens at once"]
pub struct MutexGuard<'a, T> {
    pub(super) mutex: &'a Mutex<T>,
    /// Empty while its thread waits on a condition.
    pub(super) data: Option<parking_lot::MutexGuard<'a, T>>,
}

const WAITING: &str = "a guard is used only by its own thread, which is not waiting";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.data.as_ref().expect(WAITING)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect(WAITING)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Empty if its thread died while it waited on a condition.
        let Some(data) = self.data.take() else { return };
        if context::mode() == Mode::Simulated {
            sim::with(|core| {
                let place = self.mutex.unlock_simulated(core, data);
                if self.mutex.observer.is_some() {
                    core.settle_observed(place);
                }
                core.point(place);
            });
        } else {
            self.mutex.observe_outside(&data);
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
