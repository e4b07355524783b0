//! The loop that picks who runs, and how a thread waits and is woken.
//!
//! A thread is *ready* or it *waits*; one runs. The loop takes the timers that
//! are due, picks one of the ready threads by the seed, and switches to it
//! until it waits, ends, or is preempted. If nobody is ready it moves the clock
//! to the next timer. If there is none, nothing can ever happen again: that is
//! a deadlock, and it is reported at once.
//!
//! Boundary: knows threads, timers and lives. What they wait for is opaque.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{Ordering, compiler_fence};
use std::sync::mpsc;
use std::time::Duration;

use corosensei::stack::DefaultStack;
use cpu_time::ThreadTime;

use super::Ended;
use super::core::{Core, Held, Place, Why};
use super::fiber::{self, Fiber, Stacks};
use super::waiters::Waiter;
use super::watchdog::Fate;
use crate::context::{self, Life, Mode};
use crate::outcome::{Config, FailureKind, Preemption, TraceStep};
use crate::rand::Stream;

/// Names a thread for as long as anybody holds a handle to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadKey {
    simulation: u32,
    pub(super) slot: u32,
    serial: u32,
}

/// What `Core::spawn` is told besides the body.
pub(crate) struct NewThread {
    pub(crate) name: Cow<'static, str>,
    pub(crate) life: Option<Life>,
    /// Virtual nanoseconds until it may take its first step.
    pub(crate) delay_nanos: u64,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// The slot is empty.
    Free,
    /// In the list of ready threads.
    Ready,
    /// It would be in that list, but its node is paused.
    Paused,
    Running,
    Waiting,
    /// Its node crashed or the run is over; it will be unwound.
    Dying,
}

/// A place in the table of threads. Used again when its thread is gone.
pub(super) struct Slot {
    pub(super) status: Status,
    pub(super) fiber: Option<Fiber>,
    /// Counts waits. An entry of a wait list or timer with another number is
    /// from a wait that is over. Goes on from thread to thread of the slot.
    pub(super) epoch: u32,
    pub(super) serial: u32,
    pub(super) name: Cow<'static, str>,
    pub(super) life: Option<Life>,
    pub(super) why: Why,
    pub(super) place: Place,
    pub(super) since: u64,
    /// The wait has no time-out.
    pub(super) waits_for_ever: bool,
    /// The wait was ended by `look_at_waits`, and not by a notification.
    woken_for_a_look: bool,
    timed_out: bool,
    /// Its node is paused.
    pub(super) frozen: bool,
    /// `unpark` came before `park`.
    parking_token: bool,
    pub(super) held: Vec<Held>,
    joiners: Vec<Waiter>,
}

/// How many timers there may be, besides twice those that somebody waits for,
/// before the others are cleared away.
const TIMERS_UNSORTED: usize = 4096;

/// A wait that ends by itself: ordered by time, then by who asked first.
type Timer = Reverse<(u64, u64, Waiter)>;

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.slot, self.epoch).cmp(&(other.slot, other.epoch))
    }
}

/// All threads, and all that is needed to choose between them.
pub(super) struct Schedule {
    pub(super) slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) ready: Vec<u32>,
    pub(super) timers: BinaryHeap<Timer>,
    /// The lives of paused nodes.
    pub(super) paused: Vec<Life>,
    timers_made: u64,
    /// How many timers the last clearing left.
    timers_kept: usize,
    pub(super) threads_made: u32,
    thread_limit: usize,
    stacks: Stacks,
    draws: Option<Stream>,
}

impl Schedule {
    /// Before and after a run.
    pub(super) const EMPTY: Self = Self {
        slots: Vec::new(),
        free: Vec::new(),
        ready: Vec::new(),
        timers: BinaryHeap::new(),
        paused: Vec::new(),
        timers_made: 0,
        timers_kept: 0,
        threads_made: 0,
        thread_limit: 0,
        stacks: Stacks::new(0),
        draws: None,
    };

    pub(super) fn new(seed: u64, stack_bytes: usize, thread_limit: usize) -> Self {
        let draws = Some(Stream::new(seed, "schedule", 0, 0));
        Self { thread_limit, stacks: Stacks::new(stack_bytes), draws, ..Self::EMPTY }
    }

    /// The scheduler's choice of one in `n`.
    #[inline]
    pub(super) fn pick(&mut self, n: usize) -> usize {
        self.draws.as_mut().expect("the run has begun").pick(n)
    }

    pub(super) fn name(&self, slot: u32) -> Cow<'static, str> {
        self.slots.get(slot as usize).map_or(Cow::Borrowed("scheduler"), |slot| slot.name.clone())
    }

    #[inline]
    pub(super) fn life(&self, slot: u32) -> Option<Life> {
        self.slots.get(slot as usize).and_then(|slot| slot.life)
    }

    #[inline]
    pub(super) fn held(&mut self, slot: u32) -> &mut Vec<Held> {
        &mut self.slots[slot as usize].held
    }

    /// Who holds the lock `serial`, and where each took it, the youngest first.
    pub(super) fn holders(&self, serial: u32) -> Vec<(u32, Place)> {
        let threads = self.slots.iter().enumerate();
        let mut holders: Vec<(u32, Place)> = threads
            .filter_map(|(slot, thread)| {
                let held = thread.held.iter().find(|held| held.serial == serial)?;
                Some((slot as u32, held.place))
            })
            .collect();
        holders.sort_by_key(|(slot, _)| Reverse(self.slots[*slot as usize].serial));
        holders
    }

    /// Where the thread `serial` is, if it has not ended.
    pub(super) fn slot_of(&self, serial: u32) -> Option<u32> {
        let at = self.slots.iter().position(|slot| slot.serial == serial && slot.status != Status::Free);
        at.map(|slot| slot as u32)
    }

    pub(super) fn threads_started(&self) -> u64 {
        u64::from(self.threads_made)
    }

    /// The threads that exist, oldest first.
    pub(super) fn alive(&self) -> Vec<u32> {
        let mut alive: Vec<u32> =
            (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].status != Status::Free).collect();
        alive.sort_by_key(|slot| self.slots[*slot as usize].serial);
        alive
    }

    #[inline]
    pub(super) fn make_ready(&mut self, slot: u32) {
        let thread = &mut self.slots[slot as usize];
        thread.epoch = thread.epoch.wrapping_add(1);
        if thread.frozen {
            thread.status = Status::Paused;
        } else {
            thread.status = Status::Ready;
            self.ready.push(slot);
        }
    }

    /// Ends the wait that `waiter` names, if that is what its thread still does.
    #[inline]
    fn wake(&mut self, waiter: Waiter) -> bool {
        if !Self::is_waiting(&self.slots, waiter) {
            return false;
        }
        self.make_ready(waiter.slot);
        true
    }

    /// Lets a thread look at what it waits for, though nothing was said.
    /// Returns whether it is to be switched to now; it is not among the ready.
    pub(super) fn wake_for_a_look(&mut self, waiter: Waiter) -> bool {
        let is_woken = self.wake(waiter);
        if is_woken {
            let last = self.ready.pop();
            assert_eq!(last, Some(waiter.slot), "a thread that is not frozen is ready when woken");
            self.slots[waiter.slot as usize].woken_for_a_look = true;
        }
        is_woken
    }

    /// True if the thread is still in the wait that `waiter` names.
    #[inline]
    pub(super) fn is_waiting(slots: &[Slot], waiter: Waiter) -> bool {
        let thread = &slots[waiter.slot as usize];
        thread.status == Status::Waiting && thread.epoch == waiter.epoch
    }

    /// Forgets the next timers as far as nobody waits for them any more.
    fn drop_stale_timers(&mut self) {
        while let Some(Reverse((_, _, waiter))) = self.timers.peek()
            && !Self::is_waiting(&self.slots, *waiter)
        {
            self.timers.pop();
        }
    }

    /// Forgets all timers that nobody waits for: long time-outs that are never
    /// reached would pile up.
    #[cold]
    fn drop_all_stale_timers(&mut self) {
        let slots = &self.slots;
        self.timers.retain(|Reverse((_, _, waiter))| Self::is_waiting(slots, *waiter));
        self.timers_kept = self.timers.len();
    }

    /// Sets a timer. Returns the earliest deadline there is now.
    #[inline]
    fn set_timer(&mut self, at: u64, waiter: Waiter) -> u64 {
        self.timers_made += 1;
        if self.timers.len() > 2 * self.timers_kept + TIMERS_UNSORTED {
            self.drop_all_stale_timers();
        }
        self.timers.push(Reverse((at, self.timers_made, waiter)));
        self.next_due()
    }

    #[inline]
    pub(super) fn next_due(&self) -> u64 {
        self.timers.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)
    }
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

    /// Clears up after a thread that has returned or was unwound.
    pub(super) fn finish(&self, slot: u32, fiber: Fiber) {
        let stack = fiber.into_stack();
        let mut schedule = self.schedule.borrow_mut();
        schedule.stacks.give(stack);
        let thread = &mut schedule.slots[slot as usize];
        thread.status = Status::Free;
        thread.epoch = thread.epoch.wrapping_add(1);
        thread.held.clear();
        let joiners = std::mem::take(&mut thread.joiners);
        schedule.free.push(slot);
        for joiner in joiners {
            schedule.wake(joiner);
        }
    }

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
            drop(schedule); // Failing reads names.
            let message = format!("more than {limit} threads at once; does something spawn without end?");
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

    pub(crate) fn wake(&self, waiter: Waiter) -> bool {
        self.schedule.borrow_mut().wake(waiter)
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
        self.schedule.borrow().slots[current as usize].timed_out
    }

    /// The running thread's last wait was ended only for it to look.
    pub(crate) fn was_woken_for_a_look(&self) -> bool {
        self.schedule.borrow().slots[self.current.get() as usize].woken_for_a_look
    }

    /// Leaves the processor. Comes back when picked again, or throws if the
    /// thread has died meanwhile.
    #[inline]
    fn suspend(&self) {
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
            schedule.wake(waiter);
        }
    }
}

impl Slot {
    fn empty(place: Place) -> Self {
        Self {
            status: Status::Free,
            fiber: None,
            epoch: 0,
            serial: 0,
            name: Cow::Borrowed(""),
            life: None,
            why: Why::Ready,
            place,
            since: 0,
            waits_for_ever: false,
            woken_for_a_look: false,
            timed_out: false,
            frozen: false,
            parking_token: false,
            held: Vec::new(),
            joiners: Vec::new(),
        }
    }
}
