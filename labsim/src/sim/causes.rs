//! What made a thread do what it does: the last event of each, and how one thread's
//! becomes another's.
//!
//! All of it is done only while the run is recorded, and none of it is a step.
//!
//! Boundary: threads and numbers of events. The events themselves are in
//! [`record`](crate::record).

use std::time::Duration;

use super::core::{Core, Place, Why};
use super::table::Schedule;
use super::waiters::Waiter;
use crate::context::Life;
use crate::outcome::Failure;
use crate::record::{Class, Event, Field, ThreadName, Value, fields_of};

/// What an event comes from.
#[derive(Clone, Copy)]
pub(crate) enum Causes<'a> {
    /// The thread's last event; and this is the last one from now on.
    Last,
    /// The same, but nothing will come from this one.
    Aside,
    /// These; and this is the thread's last one from now on.
    These(&'a [u64]),
}

/// Whom a thread has notified while it holds a lock, and of which event.
pub(super) struct Notified {
    slot: u32,
    serial: u32,
    cause: u64,
}

impl Core {
    #[inline]
    pub(crate) fn is_recording(&self) -> bool {
        self.recording.get()
    }

    /// Adds an event of the running thread. Returns its number.
    pub(crate) fn emit(&self, class: Class, kind: &'static str, causes: Causes<'_>, fields: Vec<Field>) -> u64 {
        self.emit_of(self.current.get(), class, kind, causes, fields)
    }

    /// As `emit`, of the thread in `slot`. 0 if the table of threads is in use: a
    /// panic may come at any time.
    pub(super) fn emit_of(
        &self,
        slot: u32,
        class: Class,
        kind: &'static str,
        causes: Causes<'_>,
        fields: Vec<Field>,
    ) -> u64 {
        let Ok(mut schedule) = self.schedule.try_borrow_mut() else { return 0 };
        let Some(thread) = schedule.slots.get_mut(slot as usize) else { return 0 };
        let node = thread.life.map(|life| life.node);
        self.with_world(|world| {
            let mut record = world.record.lock();
            let name = || ThreadName { name: thread.name.clone(), node };
            let event = Event {
                number: 0,
                at: Duration::from_nanos(self.now.get()),
                node,
                thread: *thread.recorded_as.get_or_insert_with(|| record.add_thread(name())),
                kind,
                causes: match causes {
                    Causes::Last | Causes::Aside => vec![thread.cause],
                    Causes::These(causes) => causes.to_vec(),
                },
                fields,
            };
            let number = record.push(class, event);
            if !matches!(causes, Causes::Aside) {
                thread.cause = number;
            }
            number
        })
    }

    /// The running thread's last event; 0 if there is none.
    pub(crate) fn last_event(&self) -> u64 {
        self.schedule.borrow().slots.get(self.current.get() as usize).map_or(0, |thread| thread.cause)
    }

    /// Whether the running thread's waits are to be no events. Returns whether they
    /// were not.
    pub(crate) fn set_quiet(&self, quiet: bool) -> bool {
        let mut schedule = self.schedule.borrow_mut();
        std::mem::replace(&mut schedule.slots[self.current.get() as usize].quiet, quiet)
    }

    // What a thread does.

    /// The running thread takes its first step.
    #[inline]
    pub(super) fn record_begin(&self) {
        if self.recording.get() {
            let name = self.current_name().into();
            self.emit(Class::Detail, "thread", Causes::Aside, vec![("name", name)]);
        }
    }

    /// The thread in `slot` has returned.
    #[inline]
    pub(super) fn record_end(&self, slot: u32) {
        if self.recording.get() && !self.dying.get() && !self.stopping.get() {
            self.emit_of(slot, Class::Detail, "thread_end", Causes::Aside, Vec::new());
        }
    }

    fn recorded_place(&self, place: Place) -> Value {
        self.with_world(|world| world.record.lock().place(place))
    }

    /// The running thread is about to wait.
    #[inline]
    pub(super) fn record_wait(&self, why: Why, place: Place) {
        if self.recording.get()
            && let Why::Lock(serial) | Why::BehindWriter(serial) = why
            && !self.is_quiet()
        {
            let mut fields = vec![("place", self.recorded_place(place))];
            if let Some((holder, _)) = self.holder(serial) {
                let (name, life) = self.name_and_life(holder);
                fields.push(("holder", name.into()));
                fields.push(("holder_node", life.map(|life| life.node).into()));
            }
            self.emit(Class::Detail, "lock_wait", Causes::Aside, fields);
        }
    }

    /// The running thread goes on, since the time was up that it waited.
    #[cold]
    pub(super) fn record_timer(&self, why: Why, since: u64, place: Place) {
        if why != Why::World && self.life().is_some() && !self.is_quiet() {
            let waited_us = (self.now.get() - since) / 1000;
            let fields = vec![("waited_us", waited_us.into()), ("place", self.recorded_place(place))];
            self.emit(Class::Detail, "timer", Causes::Last, fields);
        }
    }

    /// The running thread loses the processor.
    #[cold]
    pub(super) fn record_preemption(&self, place: Place) {
        self.emit(Class::Detail, "preempt", Causes::Aside, vec![("place", self.recorded_place(place))]);
    }

    /// The run is about to fail by the thread in `slot`.
    pub(super) fn record_failure(&self, slot: u32, failure: &Failure) {
        if self.recording.get() && !self.with_world(crate::world::World::has_failed) {
            self.emit_of(slot, Class::Milestone, "fail", Causes::Last, fields_of(failure));
        }
    }

    fn is_quiet(&self) -> bool {
        self.schedule.borrow().slots[self.current.get() as usize].quiet
    }

    pub(super) fn name_and_life(&self, slot: u32) -> (std::borrow::Cow<'static, str>, Option<Life>) {
        let schedule = self.schedule.borrow();
        (schedule.name(slot), schedule.life(slot))
    }

    // How one thread's last event becomes another's.

    /// Ends the wait of a thread, if that is what it still does. What it does next
    /// comes from the running one.
    #[inline]
    pub(crate) fn wake(&self, waiter: Waiter) -> bool {
        let mut schedule = self.schedule.borrow_mut();
        let is_woken = schedule.wake(waiter);
        if is_woken && self.recording.get() {
            schedule.pass_cause(self.current.get(), waiter.slot);
        }
        is_woken
    }
}

impl Schedule {
    /// The thread in `from` has just ended the wait of the one in `to`.
    #[cold]
    pub(super) fn pass_cause(&mut self, from: u32, to: u32) {
        let Some(waker) = self.slots.get(from as usize) else { return };
        let (cause, holds_lock) = (waker.cause, !waker.held.is_empty());
        let woken = &mut self.slots[to as usize];
        let (serial, why) = (woken.serial, woken.why);
        if matches!(why, Why::Lock(_) | Why::BehindWriter(_)) {
            return;
        }
        if cause != 0 {
            woken.cause = cause;
        }
        let notified = Notified { slot: to, serial, cause: woken.cause };
        if holds_lock && matches!(why, Why::Condvar | Why::Condition) {
            self.slots[from as usize].notified.push(notified);
        }
    }

    /// The thread in `from` has opened a lock: whom it has notified before sees only
    /// now what is new, and what has happened until now has led to it.
    #[cold]
    pub(super) fn settle_notified(&mut self, from: u32) {
        let Some(waker) = self.slots.get_mut(from as usize) else { return };
        let (cause, is_last) = (waker.cause, waker.held.is_empty());
        let mut notified = std::mem::take(&mut waker.notified);
        for Notified { slot, serial, cause: former } in &mut notified {
            // It may have gone on by another lock than this one.
            let woken = &mut self.slots[*slot as usize];
            if woken.serial == *serial && woken.cause == *former {
                woken.cause = cause;
                *former = cause;
            }
        }
        if !is_last {
            self.slots[from as usize].notified = notified;
        }
    }

    /// The threads of `life` will be unwound: what comes from that comes from what
    /// the thread in `from` has just done.
    pub(super) fn pass_cause_to_the_dead(&mut self, from: u32, life: Life) {
        let cause = self.slots.get(from as usize).map_or(0, |from| from.cause);
        self.slots.iter_mut().filter(|slot| slot.life == Some(life)).for_each(|slot| slot.cause = cause);
    }
}
