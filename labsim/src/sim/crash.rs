//! Crashes: how threads die, and what they may still do while they die.
//!
//! A crash is in force the moment it is said: the node's threads leave the list
//! of ready threads, and none of them takes another step of its own. Then each
//! stack is emptied by unwinding, youngest thread first, because a child may
//! borrow from its parent's frame. Destructors run; that is how a lock of the
//! dead node becomes free. But nothing that they do has an effect on others: a
//! send fails, a spawn starts nothing, a notify wakes nobody.
//!
//! Two things cannot be done from a destructor that runs during unwinding: to
//! wait (the scheduler never switches while a panic is under way, because Rust
//! counts panics per OS thread), and to panic (Rust would abort the process).
//! In both cases the run ends where it stands: its outcome is sent from there,
//! and the OS thread sleeps for ever.
//!
//! Boundary: knows threads and lives. That a node restarts is not its business.

use std::borrow::Cow;
use std::time::Duration;

use super::core::{Core, Place, Why};
use super::ending;
use super::spawn::NewThread;
use super::table::{Schedule, Status, ThreadKey};
use super::watchdog::Fate;
use crate::context::Life;
use crate::outcome::{Failure, FailureKind};
use crate::world::World;

/// What is thrown to empty the stack of a dead thread. Whoever catches it gets
/// it again at the next call into labsim.
pub(crate) struct Dying;

/// How many calls a destructor may make while its thread unwinds.
const UNWINDING_STEPS_MAX: u32 = 100_000;

/// How often dying threads may be kept alive by `catch_unwind` before the run
/// is given up. Code that catches panics in a loop would go on for ever.
const REVIVAL_LIMIT: u32 = 1000;

impl Core {
    /// Kills the threads of `life` and, if one of them is the caller, does not
    /// return.
    pub(crate) fn crash(&self, life: Life) {
        {
            let mut schedule = self.schedule.borrow_mut();
            let Schedule { slots, ready, paused, .. } = &mut *schedule;
            paused.retain(|paused| *paused != life);
            for slot in slots.iter_mut() {
                if slot.status != Status::Free && slot.life == Some(life) {
                    slot.status = Status::Dying;
                    self.kills_pending.set(true);
                }
            }
            ready.retain(|slot| slots[*slot as usize].status == Status::Ready);
            if self.recording.get() {
                schedule.pass_cause_to_the_dead(self.current.get(), life);
            }
        }
        self.mix(u64::from(life.number));
        if self.kills_pending.get() && !self.must_not_switch() {
            self.visit_root();
        }
    }

    /// Unwinds every thread that is marked as dying, youngest first.
    pub(super) fn unwind_the_dead(&self) {
        if !self.kills_pending.replace(false) {
            return;
        }
        let alive = self.schedule.borrow().alive();
        for slot in alive.into_iter().rev() {
            let is_dying = self.schedule.borrow().slots[slot as usize].status == Status::Dying;
            if is_dying {
                self.unwind(slot);
            }
        }
    }

    /// Ends the run: every thread that is left is unwound.
    pub(super) fn tear_down(&self) {
        {
            let mut schedule = self.schedule.borrow_mut();
            schedule.ready.clear();
            for slot in &mut schedule.slots {
                if slot.status != Status::Free {
                    slot.status = Status::Dying;
                }
            }
        }
        self.kills_pending.set(true);
        self.unwind_the_dead();
        // Watchers may own objects of this simulation: they go before it ends, and
        // not here at the root, where nobody can be unwound or wait.
        let watchers = self.with_world(|world| std::mem::take(&mut *world.watchers.lock()));
        if !watchers.is_empty() {
            self.drop_on_dead_thread(watchers);
        }
    }

    /// Drops `owned` as what a thread owns that was killed before its first step.
    fn drop_on_dead_thread(&self, owned: impl Sized + 'static) {
        let new = NewThread {
            name: Cow::Borrowed("watchers"),
            life: None,
            delay_nanos: 0,
            place: std::panic::Location::caller(),
        };
        let Some(key) = self.spawn(new, move || drop(owned)) else { return };
        {
            let mut schedule = self.schedule.borrow_mut();
            schedule.threads_made -= 1; // Nobody in the world has started it.
            schedule.ready.clear();
            schedule.slots[key.slot as usize].status = Status::Dying;
        }
        self.unwind(key.slot);
    }

    /// Empties one stack. Runs on the root, or nested in the unwinding of a
    /// thread that needs a lock of this one.
    fn unwind(&self, slot: u32) {
        let fiber = self.schedule.borrow_mut().slots[slot as usize].fiber.take();
        let Some(mut fiber) = fiber else {
            return; // It is being unwound already, further down this very stack.
        };
        let outer = (self.current.get(), self.dying.get(), self.next_due.get());
        self.current.set(slot);
        self.dying.set(true);
        self.next_due.set(0); // Sends every `point` into its slow path.
        self.unwinding_steps.set(0);
        self.revivals.set(0);
        let ended = fiber.resume();
        assert!(ended, "a dying thread was suspended again");
        self.finish(slot, fiber);
        self.current.set(outer.0);
        self.dying.set(outer.1);
        self.next_due.set(outer.2);
    }

    /// A thread that holds the lock `serial`, and where it took it.
    pub(super) fn holder(&self, serial: u32) -> Option<(u32, Place)> {
        self.schedule.borrow().holders(serial).first().copied()
    }

    /// Empties the stack of a dead thread out of turn, while the running one is
    /// unwound. Does nothing if `slot` is alive, or is the caller.
    fn unwind_out_of_turn(&self, slot: u32) {
        let is_dead = self.schedule.borrow().slots[slot as usize].status == Status::Dying;
        if self.dying.get() && is_dead && slot != self.current.get() {
            self.unwind(slot);
        }
    }

    /// The running thread cannot take a lock. Waits for nobody: returns if the
    /// lock may be free now, and otherwise does not return.
    #[cold]
    pub(crate) fn lock_while_unwinding(&self, serial: u32, place: Place) {
        let holders = self.schedule.borrow().holders(serial);
        for (holder, _) in &holders {
            // If the holder is dead too, emptying its stack frees the lock.
            self.unwind_out_of_turn(*holder);
        }
        if holders.is_empty() || self.holder(serial).is_some() {
            self.refuse_to_wait(Why::Lock(serial), place);
        }
    }

    /// As [`lock_while_unwinding`](Self::lock_while_unwinding), for what ends
    /// with the thread `serial`, or with what it is doing.
    #[cold]
    pub(crate) fn await_while_unwinding(&self, serial: u32, why: Why, place: Place) {
        let slot = self.schedule.borrow().slot_of(serial);
        let Some(slot) = slot else { return };
        self.unwind_out_of_turn(slot);
        if self.schedule.borrow().slot_of(serial).is_some() {
            self.refuse_to_wait(why, place);
        }
    }

    /// The end of a scope whose thread is dead: its children are dead too, and
    /// go first. Returns only if none of them has a stack any more.
    pub(crate) fn unwind_children(&self, children: &[ThreadKey], place: Place) {
        for child in children.iter().rev() {
            if let Some(slot) = self.slot_of(*child) {
                self.unwind_out_of_turn(slot);
            }
            if let Some(slot) = self.slot_of(*child) {
                // The child waits further down this very stack, for what we
                // were unwound for. It may use what our frame owns.
                let name = self.schedule.borrow().name(slot);
                self.abandon(&format!("is unwound while its scoped thread `{name}` still stands"), place);
            }
        }
    }

    /// True if the scheduler must not switch away from here: the thread is
    /// unwinding, or its lock is showing what it guards.
    #[inline]
    pub(crate) fn must_not_switch(&self) -> bool {
        self.dying.get() || self.observing.get() || std::thread::panicking()
    }

    /// Runs an observer: no other thread runs until it has returned.
    pub(crate) fn observe(&self, observer: impl FnOnce()) {
        struct Observing<'a>(&'a Core, bool);
        impl Drop for Observing<'_> {
            fn drop(&mut self) {
                self.0.observing.set(self.1);
            }
        }
        let observing = Observing(self, self.observing.replace(true));
        observer();
        drop(observing);
    }

    /// The end of a critical section that was observed: if the observer failed
    /// the run, or crashed or paused a node, that takes effect now that the lock is open.
    pub(crate) fn settle_observed(&self, place: Place) {
        if self.must_not_switch() {
            return;
        }
        if self.stopping.get() {
            self.stop_here(place);
        }
        if self.kills_pending.get() {
            self.visit_root();
        }
        if self.pause_pending.replace(false) {
            self.stay_while_paused(place);
        }
    }

    /// Counts what a destructor does while its thread unwinds. No limit of the
    /// run ends a loop in there, so this one does.
    pub(super) fn count_unwinding(&self, place: Place) {
        if self.observing.get() && !self.dying.get() && !std::thread::panicking() {
            return;
        }
        self.unwinding_steps.set(self.unwinding_steps.get() + 1);
        if self.unwinding_steps.get() > UNWINDING_STEPS_MAX {
            self.abandon("spins in a destructor, while it is unwound", place);
        }
    }

    /// True if a call of the running thread must have no effect, because it
    /// comes from a destructor of a dying thread. If instead the thread was
    /// kept alive by `catch_unwind`, it is thrown at once more.
    pub(crate) fn is_muted(&self, place: Place) -> bool {
        if self.dying.get() {
            self.throw_if_revived(place);
            self.count_unwinding(place);
        }
        self.dying.get()
    }

    /// Throws at a dying thread that runs ordinary code again.
    pub(super) fn throw_if_revived(&self, place: Place) {
        if self.dying.get() && !std::thread::panicking() {
            self.revivals.set(self.revivals.get() + 1);
            if self.revivals.get() > REVIVAL_LIMIT {
                self.abandon("keeps catching the unwinding that ends it; let `catch_unwind` pass it on", place);
            }
            self.throw();
        }
    }

    pub(super) fn throw(&self) -> ! {
        std::panic::resume_unwind(Box::new(Dying))
    }

    /// For calls that cannot be answered without waiting, from a thread that
    /// must not wait.
    #[cold]
    pub(super) fn refuse_to_wait(&self, why: Why, place: Place) -> ! {
        self.throw_if_revived(place);
        if self.observing.get() && !self.dying.get() && !std::thread::panicking() {
            panic!("an observer or a listener waits, at {place}; it must not: nobody else runs until it has returned");
        }
        let what = match why {
            Why::Lock(serial) => match self.holder(serial) {
                Some((holder, taken)) => {
                    let name = self.schedule.borrow().name(holder);
                    format!("needs in a destructor the lock that thread `{name}` took at {taken}")
                }
                None => "needs in a destructor a lock that is not free".to_owned(),
            },
            Why::Condvar | Why::Condition => "waits in a destructor for a condition".to_owned(),
            Why::Once(_) => "waits in a destructor for an initialisation that another thread runs".to_owned(),
            Why::Join(_) => "waits in a destructor for the end of a thread".to_owned(),
            _ => "waits in a destructor".to_owned(),
        };
        self.abandon(&format!("{what}, while it is unwound"), place);
    }

    /// Fails the run for a panic that the hook has not seen. Where it was thrown is
    /// not known; where the thread was `spawned` is.
    #[cold]
    pub(crate) fn report_silent_panic(&self, payload: &(dyn std::any::Any + Send), spawned: Place) {
        if payload.is::<Dying>() || self.dying.get() || self.with_world(World::has_failed) {
            return;
        }
        self.fail(FailureKind::Panic, crate::panics::silent(payload, spawned), None);
    }

    /// Ends the run from where it stands. The stacks of this simulation are
    /// never emptied, and its OS thread never returns.
    #[cold]
    pub(crate) fn abandon(&self, what: &str, place: Place) -> ! {
        let message = format!("thread `{}` {what}", self.current_name());
        self.fail(FailureKind::Panic, message, Some(place));
        self.tell_outcome(Fate::Abandoned);
        loop {
            std::thread::park();
        }
    }

    /// The running thread did something that no simulation can hold. Ends the
    /// run, and does not return.
    #[cold]
    #[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
    pub(crate) fn leave_world(&self, what: &str) {
        self.fail_outside(format!("thread `{}` {what}", self.current_name()));
        self.tell_outcome(Fate::Abandoned);
        loop {
            std::thread::park();
        }
    }

    /// The running thread ends the process. The outcome of the run is told first.
    #[cold]
    #[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
    pub(crate) fn leave_program(&self, status: i32) {
        self.fail_outside(format!("thread `{}` ended the program by process::exit({status})", self.current_name()));
        ending::leave();
        self.tell_outcome(Fate::Fatal);
    }

    fn fail_outside(&self, message: String) {
        let addresses = crate::stack::addresses();
        self.fail_with(Failure { addresses, ..Failure::here(FailureKind::OutsideWorld, message) });
    }

    /// Reports that the scheduler itself could not go on.
    pub(super) fn send_failure(&self, message: &str) {
        if self.pulse.get().is_some() {
            let at = Duration::from_nanos(self.now.get());
            let message = format!("the simulator could not go on: {message}");
            self.with_world(|world| world.fail(Failure::new(FailureKind::Panic, message, at, "scheduler")));
            self.tell_outcome(Fate::Ends);
        }
    }

    /// Tells how the run ended to whoever waits for it, from its own OS thread.
    pub(super) fn tell_outcome(&self, fate: Fate) {
        let Some(pulse) = self.pulse.get() else { return };
        self.publish_position();
        pulse.tell(fate, None, |ended| {
            ended.timer_events = self.timer_events.get();
            ended.threads = self.schedule.try_borrow().map_or(0, |schedule| schedule.threads_started());
            ended.trace = std::mem::take(&mut *self.trace.borrow_mut());
            ended.stacks = self.stacks.take();
            ended.cpu = self.begun.get().map_or(Duration::ZERO, |begun| begun.elapsed()) + pulse.others_cpu();
        });
    }
}
