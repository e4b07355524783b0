//! The loop that picks who runs.
//!
//! A thread is *ready* or it *waits*; one runs. The loop takes the timers that
//! are due, picks one of the ready threads by the seed, and switches to it
//! until it waits, ends, or is preempted. If nobody is ready it moves the clock
//! to the next timer. If there is none, nothing can ever happen again: that is
//! a deadlock, and it is reported at once.
//!
//! Boundary: knows threads and timers. What they wait for is opaque.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::mpsc;

use cpu_time::ThreadTime;

use super::Ended;
use super::core::{Core, Place, Why};
use super::fiber;
use super::spawn::NewThread;
use super::table::{Slot, Status};
use super::watchdog::Fate;
use crate::context::{self, Mode};
use crate::outcome::{Config, FailureKind, Preemption, TraceStep};

impl Core {
    /// Runs the whole simulation, and reports how it ended.
    pub(super) fn run(&self, config: Config, begun: ThreadTime, ended: mpsc::Sender<Ended>, body: Box<dyn FnOnce()>) {
        self.begun.set(Some(begun));
        self.begin(&config, ended);
        context::set_mode(Mode::Simulated);

        let main = self.spawn(
            NewThread {
                name: Cow::Borrowed("main"),
                life: None,
                delay_nanos: 0,
                place: std::panic::Location::caller(),
            },
            body,
        );
        let main = main.expect("the first thread is below the limit").slot;
        while !self.stopping.get() {
            let Some(slot) = self.next_thread() else { break };
            let ended = self.switch_to(slot);
            if ended && slot == main {
                self.stopping.set(true);
            }
        }

        if self.with_stacks.get() && self.stopping.get() {
            *self.stacks.borrow_mut() = self.collect_stacks();
        }
        self.tear_down();
        context::set_mode(Mode::Outside);
        self.tell_outcome(Fate::Ends);
        self.forget();
    }

    /// Chooses who runs next. Moves the clock if it must; `None` ends the run.
    fn next_thread(&self) -> Option<u32> {
        self.take_step();
        if self.obey_watchdog(None) {
            return None;
        }
        loop {
            if self.now.get() > self.time_limit.get() || self.steps.get() > self.step_limit.get() {
                self.fail_limit();
                return None;
            }
            if self.now.get() >= self.next_due.get() {
                self.fire_due_timers();
            }
            let mut schedule = self.schedule.borrow_mut();
            let count = schedule.ready.len();
            if count > 0 {
                let at = if count == 1 { 0 } else { schedule.pick(count) };
                let slot = schedule.ready.swap_remove(at);
                drop(schedule);
                return if self.seems_busy() && self.see_busy(slot, None) { None } else { Some(slot) };
            }
            // A timer whose wait was over before it came due is nothing to wait
            // for: a deadlock is one now, and not when a time-out would have been.
            schedule.drop_stale_timers();
            let due = if schedule.all_timers_are_paused() { u64::MAX } else { schedule.next_due() };
            self.next_due.set(due);
            match due {
                u64::MAX => {
                    drop(schedule); // The report looks at every thread.
                    self.report_deadlock();
                    return None;
                }
                due => {
                    drop(schedule);
                    self.was_idle();
                    self.now.set(due);
                    if self.look_at_waits() {
                        return None;
                    }
                }
            }
        }
    }

    /// Wakes whoever asked for a moment that has come.
    pub(super) fn fire_due_timers(&self) {
        if self.now.get() < self.next_due.get() {
            return;
        }
        let mut schedule = self.schedule.borrow_mut();
        let mut fired = 0;
        while schedule.next_due() <= self.now.get() {
            let Some(Reverse((_, _, waiter))) = schedule.timers.pop() else { break };
            if schedule.wake(waiter) {
                schedule.slots[waiter.slot as usize].timed_out = true;
                fired += 1;
            }
        }
        self.next_due.set(schedule.next_due());
        self.timer_events.set(self.timer_events.get() + fired);
    }

    /// Lets a thread run until it waits, ends or is preempted. Returns whether
    /// it ended.
    pub(super) fn switch_to(&self, slot: u32) -> bool {
        self.mix((u64::from(slot) << 48) ^ self.now.get());
        if self.tracing.get() {
            self.trace_switch(slot);
        }
        self.current.set(slot);
        self.beat();
        loop {
            let fiber = {
                let mut schedule = self.schedule.borrow_mut();
                let thread = &mut schedule.slots[slot as usize];
                thread.status = Status::Running;
                thread.why = Why::Ready;
                thread.fiber.take()
            };
            let mut fiber = fiber.expect("a thread that is not running has its fiber in its slot");
            crate::panics::forget_nesting();
            if fiber.resume() {
                self.finish(slot, fiber);
                self.unwind_the_dead();
                return true;
            }
            if let empty @ None = &mut self.schedule.borrow_mut().slots[slot as usize].fiber {
                *empty = Some(fiber); // Spares the look at what would be dropped.
            }
            // Crashes are carried out here, at the root, whose stack is not the
            // one that has to go. Whoever asked goes on at once: a crash is not
            // a reason to be preempted.
            if !self.kills_pending.get() {
                return false;
            }
            self.unwind_the_dead();
            if self.schedule.borrow().slots[slot as usize].status != Status::Running {
                return false;
            }
        }
    }

    #[cold]
    fn trace_switch(&self, slot: u32) {
        let schedule = self.schedule.borrow();
        let Slot { serial: thread, name, place, .. } = &schedule.slots[slot as usize];
        let mut trace = self.trace.borrow_mut();
        let number = *thread as usize;
        if trace.threads.len() < number {
            trace.threads.resize(number, Cow::Borrowed("never ran"));
        }
        trace.threads[number - 1] = name.clone();
        trace.steps.push(TraceStep { hash: self.hash.get(), nanos: self.now.get(), thread: *thread, place });
    }

    /// The end of `point`: it is time for a timer, or for another thread.
    #[cold]
    #[inline(never)]
    pub(super) fn point_slow(&self, place: Place) {
        let may_preempt = self.countdown.get() == 0;
        if may_preempt {
            self.draw_countdown();
        }
        self.beat(); // Destructors take steps too, and may be many.
        if self.must_not_switch() {
            self.throw_if_revived(place);
            self.count_unwinding(place);
            return;
        }
        if self.obey_watchdog(Some(place)) {
            self.stop_here(place);
        }
        if self.now.get() > self.time_limit.get() || self.steps.get() > self.step_limit.get() {
            self.fail_limit();
            self.stop_here(place);
        }
        if self.seems_busy() && self.see_busy(self.current.get(), Some(place)) {
            self.stop_here(place);
        }
        if self.stopping.get() {
            self.stop_here(place); // It caught its own panic, which has failed the run.
        }
        self.fire_due_timers();
        if self.kills_pending.get() {
            self.visit_root();
        }
        if may_preempt && self.preemption.get() != Preemption::Never {
            self.give_way(place);
        }
    }

    /// Puts the running thread among the ready ones, if there are others.
    fn give_way(&self, place: Place) {
        {
            let mut schedule = self.schedule.borrow_mut();
            if schedule.ready.is_empty() {
                return;
            }
            let current = self.current.get();
            schedule.make_ready(current);
            let thread = &mut schedule.slots[current as usize];
            thread.place = place;
            thread.since = self.now.get();
        }
        if self.recording.get() {
            self.record_preemption(place);
        }
        self.suspend();
    }

    /// Gives the processor to another ready thread, or keeps it if there is none.
    pub(crate) fn yield_now(&self, place: Place) {
        if self.must_not_switch() {
            self.throw_if_revived(place);
            self.count_unwinding(place);
            return;
        }
        if self.kills_pending.get() {
            self.visit_root();
        }
        {
            let mut schedule = self.schedule.borrow_mut();
            let current = self.current.get();
            schedule.make_ready(current);
            schedule.slots[current as usize].place = place;
        }
        self.suspend();
    }

    /// Leaves the processor. Comes back when picked again, or throws if the
    /// thread has died meanwhile.
    #[inline]
    pub(super) fn suspend(&self) {
        fiber::suspend();
        while self.showing_stack.get() {
            *self.shown_stack.borrow_mut() = crate::stack::addresses();
            fiber::suspend();
        }
        if self.dying.get() {
            self.throw();
        }
    }

    /// Lets the root carry out what is pending, and goes on.
    pub(super) fn visit_root(&self) {
        self.suspend();
    }

    /// Never goes on: the run has failed, and the root will unwind this thread.
    pub(crate) fn stop_here(&self, place: Place) {
        if self.must_not_switch() {
            return;
        }
        loop {
            self.wait(Why::Failed, place, None);
        }
    }

    #[cold]
    pub(super) fn fail_limit(&self) {
        if self.now.get() > self.time_limit.get() {
            let limit = self.time_limit.get() / 1_000_000;
            let message = format!("the run went past its limit of {}.{:03}s", limit / 1000, limit % 1000);
            self.fail(FailureKind::TimeLimit, message, None);
        } else {
            let message = format!("more than {} steps: does something spin?", self.step_limit.get());
            self.fail(FailureKind::Limit, message, None);
        }
    }
}
