//! Many readers or one writer.
//!
//! As in `mutex.rs`, the data lies in a parking_lot lock in every world, and a
//! simulated thread only ever tries it. What is added here is who waits, who is
//! woken, and who has to let others go first:
//!
//! - A reader that comes while a writer waits, waits too. Else readers that keep
//!   coming would keep the writer out for ever.
//! - When a writer is done and both sorts wait, the seed chooses: all of the
//!   readers that wait by then, or one of the writers. The readers so chosen may
//!   overtake the writers that still wait. They are finitely many, so neither
//!   sort starves.
//! - When the last reader is done, it is a writer's turn.
//!
//! Boundary: one lock. The one without readers is in `mutex.rs`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Core, Home, Place, WaitList, Waiter, Why};

/// A lock that many threads may have for reading, or one for writing, as
/// `parking_lot::RwLock`: no poisoning.
///
/// A thread that reads must not read again before it is done: if a writer has
/// come in between, it waits for the reader, and the second reading waits for
/// the writer. A simulation reports that deadlock when it happens. Locking
/// again, in whichever way, what the thread has for writing, and for writing
/// what it has for reading, is reported at once.
///
/// Either sort counts as a lock in hand: a thread that sleeps, receives or makes
/// a call with one fails the run.
///
/// ```
/// use labsim::sync::{Arc, RwLock};
/// use labsim::{Config, simulate, thread};
/// let outcome = simulate(Config::seed(1), || {
///     let leader = Arc::new(RwLock::new("nobody"));
///     let theirs = Arc::clone(&leader);
///     let election = thread::spawn("election", move || *theirs.write() = "S2");
///     election.join().unwrap();
///     let (one, two) = (leader.try_read().unwrap(), leader.try_read().unwrap());
///     assert!(leader.try_write().is_none());
///     (*one, *two)
/// });
/// assert_eq!(outcome.result.unwrap(), ("S2", "S2"));
/// ```
pub struct RwLock<T> {
    home: Home,
    /// Simulated threads that wait to read.
    readers: WaitList,
    /// Simulated threads that wait to write, those that were just woken excepted.
    writers: WaitList,
    /// Simulated threads that want to write and had to wait for it: all of
    /// `writers`, and those that were just woken.
    writers_pending: AtomicUsize,
    data: parking_lot::RwLock<T>,
}

impl<T> RwLock<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        Self {
            home: Home::new(),
            readers: WaitList::new(),
            writers: WaitList::new(),
            writers_pending: AtomicUsize::new(0),
            data: parking_lot::RwLock::new(value),
        }
    }

    /// Takes the lock for reading, waiting as long as that takes.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let place = Location::caller();
        let simulated = |core: &Core| self.read_simulated(core, place, Patience::Endless);
        let data = self.take(place, simulated, || Some(real::stay(self.data.read()))).expect(ENDLESS);
        RwLockReadGuard { lock: self, data: Some(data) }
    }

    /// Takes the lock for writing, waiting as long as that takes.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let place = Location::caller();
        let simulated = |core: &Core| self.write_simulated(core, place, Patience::Endless);
        let data = self.take(place, simulated, || Some(real::stay(self.data.write()))).expect(ENDLESS);
        RwLockWriteGuard { lock: self, data: Some(data) }
    }

    /// Takes the lock for reading if nobody writes or waits to write.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let place = Location::caller();
        let simulated = |core: &Core| self.read_simulated(core, place, Patience::None);
        let data = self.take(place, simulated, || self.data.try_read())?;
        Some(RwLockReadGuard { lock: self, data: Some(data) })
    }

    /// Takes the lock for writing if it is free.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let place = Location::caller();
        let simulated = |core: &Core| self.write_simulated(core, place, Patience::None);
        let data = self.take(place, simulated, || self.data.try_write())?;
        Some(RwLockWriteGuard { lock: self, data: Some(data) })
    }

    /// Takes the lock for reading if it can within `timeout`.
    #[track_caller]
    pub fn try_read_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        let place = Location::caller();
        let simulated = |core: &Core| self.read_simulated(core, place, Patience::Until(core.deadline(timeout)));
        let data = self.take(place, simulated, || self.data.try_read_for(real::machine_time(timeout)))?;
        Some(RwLockReadGuard { lock: self, data: Some(data) })
    }

    /// Takes the lock for writing if it becomes free within `timeout`.
    #[track_caller]
    pub fn try_write_for(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        let place = Location::caller();
        let simulated = |core: &Core| self.write_simulated(core, place, Patience::Until(core.deadline(timeout)));
        let data = self.take(place, simulated, || self.data.try_write_for(real::machine_time(timeout)))?;
        Some(RwLockWriteGuard { lock: self, data: Some(data) })
    }

    /// Takes the lock in the way of the caller's world.
    #[inline]
    #[track_caller]
    fn take<D>(
        &self,
        place: Place,
        simulated: impl FnOnce(&Core) -> Option<D>,
        outside: impl FnOnce() -> Option<D>,
    ) -> Option<D> {
        match context::mode() {
            Mode::Simulated => sim::with(|core| {
                core.point(place);
                simulated(core)
            }),
            Mode::Real | Mode::Outside => {
                real::check();
                self.home.outside();
                outside()
            }
        }
    }

    /// The value, with no need to lock: nobody else has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The value, and the lock gone.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }

    fn read_simulated(
        &self,
        core: &Core,
        place: Place,
        patience: Patience,
    ) -> Option<parking_lot::RwLockReadGuard<'_, T>> {
        let serial = self.home.in_simulation(core, place);
        let mut is_its_turn = false;
        loop {
            // Who may not wait cannot wait behind a writer either.
            let goes_behind = !is_its_turn && !core.must_not_switch() && self.has_pending_writers();
            if !goes_behind && let Some(data) = self.data.try_read() {
                core.lock_shared(serial, place);
                patience.check_order(core, place);
                return Some(data);
            }
            if patience.is_over(core) {
                return None;
            }
            if core.must_not_switch() {
                core.lock_while_unwinding(serial, place);
                continue;
            }
            let is_written = self.data.is_locked_exclusive();
            if is_written && patience.until().is_none() {
                core.report_relock(serial, place);
            }
            let why = if is_written { Why::Lock(serial) } else { Why::BehindWriter(serial) };
            let timed_out = self.wait_simulated(core, &self.readers, why, place, patience);
            is_its_turn = !timed_out;
        }
    }

    fn write_simulated(
        &self,
        core: &Core,
        place: Place,
        patience: Patience,
    ) -> Option<parking_lot::RwLockWriteGuard<'_, T>> {
        let serial = self.home.in_simulation(core, place);
        // From its first wait until it has the lock, or gives up, or dies.
        let mut pending = None;
        loop {
            if let Some(data) = self.data.try_write() {
                core.lock_taken(serial, place);
                patience.check_order(core, place);
                return Some(data);
            }
            if patience.is_over(core) {
                return None;
            }
            if core.must_not_switch() {
                core.lock_while_unwinding(serial, place);
                continue;
            }
            if patience.until().is_none() {
                core.report_relock(serial, place);
            }
            pending.get_or_insert_with(|| Pending::new(self, core));
            self.wait_simulated(core, &self.writers, Why::Lock(serial), place, patience);
        }
    }

    /// Waits in `list`. Returns whether the time was up.
    #[cold]
    fn wait_simulated(&self, core: &Core, list: &WaitList, why: Why, place: Place, patience: Patience) -> bool {
        let turn = Turn { lock: self, list, core, waiter: list.add(core) };
        let timed_out = core.wait(why, place, patience.until());
        if timed_out {
            list.remove(turn.waiter);
        }
        std::mem::forget(turn);
        timed_out
    }

    #[inline]
    fn has_pending_writers(&self) -> bool {
        self.writers_pending.load(Ordering::Relaxed) > 0
    }

    /// Wakes those whose turn it is, as the lock stands now. Too many is no
    /// harm, since each of them looks again. What must not be is a lock that
    /// somebody waits for, and nobody holds or is about to try.
    #[inline]
    fn pass_on(&self, core: &Core, was_written: bool) {
        if !self.readers.is_empty() || !self.writers.is_empty() {
            self.wake_next(core, was_written);
        }
    }

    #[cold]
    fn wake_next(&self, core: &Core, was_written: bool) {
        if self.data.is_locked_exclusive() {
            return; // Whoever has it passes it on.
        }
        let has_writers = self.has_pending_writers();
        if self.data.is_locked() {
            if !has_writers {
                self.readers.wake_all(core); // A writer gave up.
            }
            return; // Else the last reader passes it on.
        }
        let readers_go = !has_writers || (was_written && !self.readers.is_empty() && core.pick(2) == 0);
        // Entries of waits that are over wake nobody. Writers that are pending
        // but not in the list are about to try.
        if !readers_go || self.readers.wake_all(core) == 0 {
            self.writers.wake_one(core);
        }
    }
}

const ENDLESS: &str = "who waits without end gets the lock";

/// How long a simulated thread waits for a lock.
#[derive(Clone, Copy)]
enum Patience {
    /// It only tries.
    None,
    /// Until its own clock shows this; the end of the clock counts as never.
    Until(Option<u64>),
    Endless,
}

impl Patience {
    fn until(self) -> Option<u64> {
        match self {
            Patience::Until(until) => until,
            Patience::None | Patience::Endless => None,
        }
    }

    /// Who gives up in time is in nobody's way for ever.
    fn check_order(self, core: &Core, place: Place) {
        if let Patience::Endless = self {
            core.check_order(place);
        }
    }

    fn is_over(self, core: &Core) -> bool {
        match self {
            Patience::None => true,
            Patience::Until(until) => core.must_not_switch() || until.is_some_and(|until| core.clock_now() >= until),
            Patience::Endless => false,
        }
    }
}

/// A writer that has to wait, and that readers who come now let go first.
struct Pending<'a, T> {
    lock: &'a RwLock<T>,
    core: &'a Core,
}

impl<'a, T> Pending<'a, T> {
    fn new(lock: &'a RwLock<T>, core: &'a Core) -> Self {
        lock.writers_pending.fetch_add(1, Ordering::Relaxed);
        Self { lock, core }
    }
}

impl<T> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        self.lock.writers_pending.fetch_sub(1, Ordering::Relaxed);
        // Unless it has the lock now, those behind it need not wait any longer.
        self.lock.pass_on(self.core, false);
    }
}

/// A place in a list. Dropped only if the thread dies while it waits: should it
/// have been chosen by then, its turn passes on.
struct Turn<'a, T> {
    lock: &'a RwLock<T>,
    list: &'a WaitList,
    core: &'a Core,
    waiter: Waiter,
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.list.remove(self.waiter);
        self.lock.pass_on(self.core, false);
    }
}

/// The right to read the data of an [`RwLock`]. Dropping it gives that back.
#[must_use = "if unused the lock opens at once"]
pub struct RwLockReadGuard<'a, T> {
    lock: &'a RwLock<T>,
    /// Empty while the guard is dropped.
    data: Option<parking_lot::RwLockReadGuard<'a, T>>,
}

/// The right to change the data of an [`RwLock`]. Dropping it opens the lock.
#[must_use = "if unused the lock opens at once"]
pub struct RwLockWriteGuard<'a, T> {
    lock: &'a RwLock<T>,
    /// Empty while the guard is dropped.
    data: Option<parking_lot::RwLockWriteGuard<'a, T>>,
}

const DROPPED: &str = "a guard is used only before it is dropped";

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.data.as_ref().expect(DROPPED)
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.data.as_ref().expect(DROPPED)
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.data.as_mut().expect(DROPPED)
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let data = self.data.take();
        if context::mode() == Mode::Simulated {
            sim::with(|core| open(self.lock, core, data, false));
        }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let data = self.data.take();
        if context::mode() == Mode::Simulated {
            sim::with(|core| open(self.lock, core, data, true));
        }
    }
}

/// Gives one right to the lock back, and lets others try.
#[inline]
fn open<T, D>(lock: &RwLock<T>, core: &Core, data: D, was_written: bool) {
    drop(data);
    let taken = core.lock_released(lock.home.in_simulation(core, Location::caller()));
    lock.pass_on(core, was_written);
    core.point(taken);
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
