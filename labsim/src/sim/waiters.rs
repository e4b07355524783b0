//! Who waits for a thing, and how one of them is woken.
//!
//! A waiter is a thread together with its *epoch*, which the thread leaves
//! behind whenever it is woken. So an entry that outlived its wait, because a
//! time-out or a crash was faster, is recognised and skipped.
//!
//! Boundary: an unordered list. The things waited for are in `sync` and
//! `channel`; who runs next is the scheduler's choice.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Core;

/// A simulated thread in one particular wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiter {
    pub(super) slot: u32,
    pub(super) epoch: u32,
}

/// The waiters of one lock, condition or channel end.
#[derive(Debug)]
pub(crate) struct WaitList {
    /// How many entries there are, so that nobody takes the lock for an empty
    /// list. One OS thread runs a simulation: the lock is never contended, and
    /// the two never disagree.
    len: AtomicUsize,
    entries: Mutex<Vec<Waiter>>,
}

impl Default for WaitList {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self { len: AtomicUsize::new(0), entries: Mutex::new(Vec::new()) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Adds the calling thread's next wait.
    pub(crate) fn add(&self, core: &Core) -> Waiter {
        let waiter = core.next_wait();
        let mut entries = self.entries.lock();
        entries.push(waiter);
        self.len.store(entries.len(), Ordering::Relaxed);
        waiter
    }

    /// Takes `waiter` out, if it is still in. Returns whether it was.
    pub(crate) fn remove(&self, waiter: Waiter) -> bool {
        let mut entries = self.entries.lock();
        let Some(at) = entries.iter().rposition(|entry| *entry == waiter) else {
            return false;
        };
        entries.swap_remove(at);
        self.len.store(entries.len(), Ordering::Relaxed);
        true
    }

    /// Wakes one waiter, chosen by the seed. Returns whether there was one.
    pub(crate) fn wake_one(&self, core: &Core) -> bool {
        self.call_one(core).is_some()
    }

    /// As [`wake_one`](Self::wake_one). Returns who it was.
    pub(crate) fn call_one(&self, core: &Core) -> Option<Waiter> {
        while !self.is_empty() {
            let mut entries = self.entries.lock();
            let at = if entries.len() == 1 { 0 } else { core.pick(entries.len()) };
            let waiter = entries.swap_remove(at);
            self.len.store(entries.len(), Ordering::Relaxed);
            drop(entries); // Waking looks into the scheduler, which has its own borrow.
            if core.wake(waiter) {
                return Some(waiter);
            }
        }
        None
    }

    /// True if waking one would wake somebody: not every entry is left over
    /// from a wait that has ended otherwise.
    pub(crate) fn has_waiter(&self, core: &Core) -> bool {
        !self.is_empty() && self.entries.lock().iter().any(|waiter| core.is_waiting(*waiter))
    }

    /// Wakes all waiters. Returns how many there were.
    pub(crate) fn wake_all(&self, core: &Core) -> usize {
        if self.is_empty() {
            return 0;
        }
        let entries = std::mem::take(&mut *self.entries.lock());
        self.len.store(0, Ordering::Relaxed);
        entries.into_iter().filter(|waiter| core.wake(*waiter)).count()
    }
}
