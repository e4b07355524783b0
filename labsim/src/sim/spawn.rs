//! How a thread begins, and what is left to do when it has ended.
//!
//! Boundary: one thread at its two ends. Unwinding it is in `crash.rs`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{Ordering, compiler_fence};

use corosensei::stack::DefaultStack;

use super::core::{Core, Place, Why};
use super::fiber::Fiber;
use super::table::{Slot, Status, ThreadKey};
use super::waiters::Waiter;
use crate::context::Life;
use crate::outcome::FailureKind;

/// What `Core::spawn` is told besides the body.
pub(crate) struct NewThread {
    pub(crate) name: Cow<'static, str>,
    pub(crate) life: Option<Life>,
    /// Virtual nanoseconds until it may take its first step.
    pub(crate) delay_nanos: u64,
    pub(crate) place: Place,
}

fn throw_if_dying() {
    super::with(|core| {
        if core.dying.get() {
            core.throw()
        }
    });
}

/// Drops what a thread has thrown, and what that throws.
fn discard(thrown: std::thread::Result<()>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
        std::mem::forget(again);
    }
}

impl Core {
    /// Makes a thread. `None` if there are too many, which fails the run.
    pub(crate) fn spawn(&self, new: NewThread, body: impl FnOnce() + 'static) -> Option<ThreadKey> {
        let stack = self.stack_for_a_thread(new.place)?;
        // A student's panic has been reported by the hook. What arrives here has
        // done its work: it emptied the stack. It may itself own something whose
        // destructor throws.
        let fiber = Fiber::new(stack, move || {
            discard(catch_unwind(AssertUnwindSafe(move || {
                // Killed before its first step: what it owns is dropped as on any
                // other dying thread, while this stack unwinds.
                throw_if_dying();
                super::with(Core::record_begin);
                body();
            })));
        });
        Some(self.add_thread(new, fiber))
    }

    /// Takes a stack. `None` if there are too many threads, which fails the run.
    fn stack_for_a_thread(&self, place: Place) -> Option<DefaultStack> {
        let mut schedule = self.schedule.borrow_mut();
        let alive = schedule.slots.len() - schedule.free.len();
        if alive >= schedule.thread_limit {
            let limit = schedule.thread_limit;
            let crowd = schedule.crowd();
            drop(schedule); // Failing reads names.
            let crowd = crowd.map_or(String::new(), |(count, name, life)| {
                format!(", {count} of them {}", self.name_with_node(&name, life))
            });
            let message = format!("more than {limit} threads at once{crowd}; does something spawn without end?");
            self.fail(FailureKind::Limit, message, Some(place));
            return None;
        }
        let stack = schedule.stacks.take();
        drop(schedule);
        let failed = |error| {
            let message = format!("no memory for the stack of one more thread: {error}");
            self.fail(FailureKind::Limit, message, Some(place));
        };
        stack.map_err(failed).ok()
    }

    fn add_thread(&self, new: NewThread, fiber: Fiber) -> ThreadKey {
        let mut schedule = self.schedule.borrow_mut();
        let slot = schedule.free.pop().unwrap_or_else(|| {
            // A signal handler may want the table. It asks whether it is borrowed,
            // and must not see the answer and the table in different order.
            compiler_fence(Ordering::SeqCst);
            schedule.slots.push(Slot::empty(new.place));
            compiler_fence(Ordering::SeqCst);
            schedule.slots.len() as u32 - 1
        });
        schedule.threads_made += 1;
        let serial = schedule.threads_made;
        let is_frozen = new.life.is_some_and(|life| schedule.paused.contains(&life));
        let now = self.now.get();
        let cause = schedule.slots.get(self.current.get() as usize).map_or(0, |parent| parent.cause);
        let thread = &mut schedule.slots[slot as usize];
        thread.fiber = Some(fiber);
        thread.serial = serial;
        thread.name = new.name;
        thread.life = new.life;
        thread.place = new.place;
        thread.why = Why::Ready;
        thread.since = now;
        thread.parking_token = false;
        thread.timed_out = false;
        thread.waits_for_ever = false;
        thread.woken_for_a_look = false;
        thread.frozen = is_frozen;
        thread.cause = cause;
        thread.recorded_as = None;
        thread.notified.clear();
        thread.quiet = false;
        if new.delay_nanos == 0 {
            schedule.make_ready(slot);
        } else {
            thread.status = Status::Waiting;
            let waiter = Waiter { slot, epoch: thread.epoch };
            let due = schedule.set_timer(now.saturating_add(new.delay_nanos), waiter);
            self.next_due.set(due);
        }
        ThreadKey { simulation: self.id.get(), slot, serial }
    }

    /// Clears up after a thread that has returned or was unwound.
    pub(super) fn finish(&self, slot: u32, fiber: Fiber) {
        let stack = fiber.into_stack();
        self.record_end(slot);
        let mut schedule = self.schedule.borrow_mut();
        schedule.stacks.give(stack);
        let thread = &mut schedule.slots[slot as usize];
        thread.status = Status::Free;
        thread.epoch = thread.epoch.wrapping_add(1);
        thread.held.clear();
        let joiners = std::mem::take(&mut thread.joiners);
        schedule.free.push(slot);
        for joiner in joiners {
            if schedule.wake(joiner) && self.recording.get() {
                schedule.pass_cause(slot, joiner.slot);
            }
        }
    }
}
