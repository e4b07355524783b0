//! Threads that wait for what will not come, while others go on.
//!
//! If nobody can run that is a deadlock, and certain. With a heartbeat still
//! ticking it takes patience, and care: an idle thread waits for ever with every
//! right. Two kinds of waits are wrong without a doubt. Nobody may hold a lock for
//! seconds, since no thread may sleep with one. And a `wait_while` whose condition
//! came true some time ago has missed its notification; that can be seen, because
//! the thread can be woken for no reason and look again. It does so while nobody
//! else runs, if the lock is free, and goes back to sleep, so nobody notices. Two
//! looks in a row that find the condition true, a second apart, prove it: whoever
//! made it true has had all the time to say so. Besides these, a run may set a limit for all waits. A
//! thread whose node is paused is not looked at.
//!
//! Once in a virtual second, when the world is idle, all waits are looked at.
//!
//! Boundary: finds them. How they are described is in `threads.rs`.

use super::core::{Core, Why};
use super::table::Status;
use super::waiters::Waiter;
use crate::outcome::FailureKind;

/// How often all waits are looked at, in virtual nanoseconds.
const LOOK_EVERY: u64 = 1_000_000_000;

impl Core {
    /// Looks at all waits, if it is time. Returns whether the run has failed.
    #[inline]
    pub(super) fn look_at_waits(&self) -> bool {
        self.now.get() >= self.next_look.get() && self.look_at_all_waits()
    }

    #[cold]
    fn look_at_all_waits(&self) -> bool {
        let now = self.now.get();
        self.next_look.set(now.saturating_add(LOOK_EVERY));
        let (stuck_after, wait_limit) = (self.stuck_after.get(), self.wait_limit.get());
        let mut to_wake = Vec::new();
        let mut stuck = None;
        {
            let schedule = self.schedule.borrow();
            for slot in schedule.alive() {
                let thread = &schedule.slots[slot as usize];
                if thread.status != Status::Waiting || !thread.waits_for_ever || thread.frozen {
                    continue;
                }
                let waited = now - thread.since;
                let too_long = match thread.why {
                    Why::Lock(_) | Why::BehindWriter(_) => waited >= stuck_after.min(wait_limit),
                    Why::Failed => false,
                    _ => waited >= wait_limit,
                };
                if too_long {
                    stuck = Some((slot, waited));
                    break;
                }
                if thread.why == Why::Condition && waited >= stuck_after {
                    to_wake.push(Waiter { slot, epoch: thread.epoch });
                }
            }
        }
        if let Some((slot, waited)) = stuck {
            self.report_stuck(slot, waited);
            return true;
        }
        // One after the other, and before anybody else: whoever looks waits again
        // before a notification could come.
        for waiter in to_wake {
            if self.schedule.borrow_mut().wake_for_a_look(waiter) {
                self.switch_to(waiter.slot);
            }
            if self.stopping.get() {
                return true;
            }
        }
        false
    }

    fn report_stuck(&self, slot: u32, waited: u64) {
        self.current.set(slot);
        let place = self.schedule.borrow().slots[slot as usize].place;
        let headline = format!("stuck: {} has waited for {}", self.full_name(slot), seconds(waited));
        let message = self.describe(&headline, &self.involved(slot));
        self.fail(FailureKind::Stuck, message, Some(place));
    }

    /// The running thread's condition came true a second ago at least, and nobody
    /// has said so. Called from its look.
    #[cold]
    pub(crate) fn report_lost_wake_up(&self, since: u64, place: super::core::Place) {
        let waited = seconds(self.now.get() - since);
        let name = self.full_name(self.current.get());
        let message = format!(
            "stuck: {name} waits in vain, for {waited} by now, at {place}: its condition has come true, but \
             nobody has notified the Condvar since; notify it after each change that it waits for, and all \
             waiters if they wait for different things"
        );
        self.fail(FailureKind::Stuck, message, Some(place));
    }

    /// The run is over, and the caller should stop.
    pub(crate) fn has_failed(&self) -> bool {
        self.stopping.get()
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:03} s", nanos / 1_000_000_000, nanos / 1_000_000 % 1000)
}
