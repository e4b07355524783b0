//! How a thread waits and is woken, and what it waits for in other threads: their
//! end, and their unpark.
//!
//! Boundary: the running thread's side. Who is woken first is decided by whoever
//! keeps the list; when a woken thread runs, in `schedule.rs`.

use std::time::Duration;

use super::core::{Core, Place, Why};
use super::table::{Schedule, Status, ThreadKey};
use super::waiters::Waiter;

impl Core {
    /// The running thread's next wait, for a list to keep.
    #[inline]
    pub(crate) fn next_wait(&self) -> Waiter {
        let slot = self.current.get();
        Waiter { slot, epoch: self.schedule.borrow().slots[slot as usize].epoch }
    }

    /// True if the thread is still in the wait that `waiter` names.
    pub(crate) fn is_waiting(&self, waiter: Waiter) -> bool {
        Schedule::is_waiting(&self.schedule.borrow().slots, waiter)
    }

    /// Waits until woken, or until the thread's clock shows `until`. Returns
    /// whether the time was up.
    ///
    /// Whoever is to wake the thread must have been given its `next_wait`.
    #[inline]
    pub(crate) fn wait(&self, why: Why, place: Place, until: Option<u64>) -> bool {
        self.wait_from(self.now.get(), why, place, until)
    }

    /// As `wait`, in the course of a longer wait that began at `since`.
    #[inline]
    pub(crate) fn wait_from(&self, since: u64, why: Why, place: Place, until: Option<u64>) -> bool {
        self.wait_in_world(since, why, place, until.map(|until| self.when(until)))
    }

    /// Waits for `duration` of the world's time, whatever a node's clock shows.
    pub(crate) fn sleep_in_world(&self, duration: Duration, place: Place) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let now = self.now.get();
        self.wait_in_world(now, Why::World, place, Some(now.saturating_add(nanos)));
    }

    /// As `wait`, with `until` on the world's clock.
    #[inline]
    fn wait_in_world(&self, since: u64, why: Why, place: Place, until: Option<u64>) -> bool {
        if self.must_not_switch() {
            self.refuse_to_wait(why, place);
        }
        if self.kills_pending.get() {
            self.visit_root(); // Perhaps this very thread is among the dead.
        }
        self.record_wait(why, place);
        let current = self.current.get();
        {
            let mut schedule = self.schedule.borrow_mut();
            let thread = &mut schedule.slots[current as usize];
            thread.status = Status::Waiting;
            thread.why = why;
            thread.place = place;
            thread.since = since;
            thread.timed_out = false;
            thread.waits_for_ever = until.is_none();
            thread.woken_for_a_look = false;
            if let Some(until) = until {
                let waiter = Waiter { slot: current, epoch: thread.epoch };
                let due = schedule.set_timer(until, waiter);
                self.next_due.set(due);
            }
        }
        self.suspend();
        let timed_out = self.schedule.borrow().slots[current as usize].timed_out;
        if timed_out && self.recording.get() {
            self.record_timer(why, since, place);
        }
        timed_out
    }

    /// The running thread's last wait was ended only for it to look.
    pub(crate) fn was_woken_for_a_look(&self) -> bool {
        self.schedule.borrow().slots[self.current.get() as usize].woken_for_a_look
    }

    // Joining and parking.

    /// Panics if the thread is one of another simulation.
    fn own(&self, key: ThreadKey) {
        assert!(key.simulation == self.id.get(), "a thread of another simulation was joined or unparked in this one");
    }

    /// Waits for a thread to end.
    pub(crate) fn join(&self, key: ThreadKey, place: Place) {
        self.own(key);
        loop {
            let waiter = self.next_wait();
            {
                let mut schedule = self.schedule.borrow_mut();
                let thread = &mut schedule.slots[key.slot as usize];
                if thread.serial != key.serial || thread.status == Status::Free {
                    return;
                }
                thread.joiners.push(waiter);
            }
            self.wait(Why::Join(key.serial), place, None);
        }
    }

    pub(crate) fn is_finished(&self, key: ThreadKey) -> bool {
        self.own(key);
        let schedule = self.schedule.borrow();
        let thread = &schedule.slots[key.slot as usize];
        thread.serial != key.serial || thread.status == Status::Free
    }

    /// Where the thread is in the table, if it has not ended.
    pub(super) fn slot_of(&self, key: ThreadKey) -> Option<u32> {
        (!self.is_finished(key)).then_some(key.slot)
    }

    /// The running thread's serial number.
    pub(crate) fn current_serial(&self) -> u32 {
        self.schedule.borrow().slots[self.current.get() as usize].serial
    }

    pub(crate) fn current_key(&self) -> ThreadKey {
        let slot = self.current.get();
        ThreadKey { simulation: self.id.get(), slot, serial: self.schedule.borrow().slots[slot as usize].serial }
    }

    /// Waits for the thread's parking token and takes it.
    pub(crate) fn park(&self, place: Place, until: Option<u64>) {
        let current = self.current.get();
        let take_token = || {
            let mut schedule = self.schedule.borrow_mut();
            std::mem::take(&mut schedule.slots[current as usize].parking_token)
        };
        if take_token() {
            return;
        }
        self.wait(Why::Park, place, until);
        take_token();
    }

    /// Gives a thread its parking token, and wakes it if it waits for it.
    pub(crate) fn unpark(&self, key: ThreadKey) {
        self.own(key);
        let mut schedule = self.schedule.borrow_mut();
        let thread = &mut schedule.slots[key.slot as usize];
        if thread.serial != key.serial {
            return;
        }
        thread.parking_token = true;
        if thread.why == Why::Park {
            let waiter = Waiter { slot: key.slot, epoch: thread.epoch };
            drop(schedule);
            self.wake(waiter);
        }
    }
}
