//! What a report says of threads: what each waits for, where, since when, and who
//! has it.
//!
//! Boundary: reads the table of threads and writes text. Who is to be reported is
//! decided here only for a deadlock, which is everybody.

use std::fmt::Write;

use super::core::{Core, Place, Why};
use super::fiber::Fiber;
use super::table::{Slot, Status};
use crate::context::Life;
use crate::node::NodeId;
use crate::outcome::{Failure, FailureKind};

/// Threads listed in a report; a deadlock of more is told by these.
const THREADS_SHOWN: usize = 16;

/// Holders named for each lock, which many threads may read at once.
const HOLDERS_SHOWN: usize = 4;

/// A thread's name and node, and the return addresses on its stack.
pub(super) type RawStack = (String, Vec<usize>);

impl Core {
    /// Fails the run with a line for each waiting thread.
    #[cold]
    pub(super) fn report_deadlock(&self) {
        let alive = self.schedule.borrow().alive();
        let headline = if self.schedule.borrow().paused.is_empty() {
            "deadlock: every thread waits, and no timer is set"
        } else {
            "deadlock: every thread waits or is paused, and no timer will end that"
        };
        let message = self.describe(headline, &alive);
        // No thread is at fault by itself; the first one lends its name.
        self.current.set(alive.first().copied().unwrap_or_default());
        self.fail(FailureKind::Deadlock, message, None);
    }

    /// A thread locks what it holds already: it will never go on.
    #[cold]
    pub(crate) fn report_relock(&self, serial: u32, place: Place) {
        let holders = self.schedule.borrow().holders(serial);
        let mine = holders.into_iter().find(|(holder, _)| *holder == self.current.get());
        let Some((_, taken)) = mine else { return };
        if self.must_not_switch() {
            return;
        }
        let name = self.current_name();
        let message = format!(
            "deadlock: thread `{name}` locks again, at {place}, the lock that it took at {taken} and still holds"
        );
        // The place is where a lock is taken again, perhaps in a method that is right: what
        // is wrong is to call it from where this thread comes from.
        let (addresses, place_text) = (crate::stack::addresses(), Some(place.to_string()));
        self.fail_with(Failure { addresses, place: place_text, ..Failure::here(FailureKind::Deadlock, message) });
        self.stop_here(place);
    }

    /// An initialiser needs what it is about to make: it will never go on.
    #[cold]
    pub(crate) fn report_reinit(&self, place: Place) {
        let name = self.current_name();
        let message =
            format!("deadlock: thread `{name}` waits, at {place}, for the initialisation that it runs itself");
        self.fail(FailureKind::Deadlock, message, Some(place));
        self.stop_here(place);
    }

    /// A thread's name and node, as they stand in reports.
    pub(super) fn full_name(&self, slot: u32) -> String {
        let (name, life) = {
            let schedule = self.schedule.borrow();
            (schedule.name(slot), schedule.life(slot))
        };
        self.name_with_node(&name, life)
    }

    pub(super) fn name_with_node(&self, name: &str, life: Option<Life>) -> String {
        match life {
            Some(life) => format!("`{name}` of {}", self.with_world(|world| world.name_if_free(life.node))),
            None => format!("`{name}`"),
        }
    }

    /// The thread, whoever has what it waits for, whoever has what that one waits
    /// for, and so on.
    pub(super) fn involved(&self, slot: u32) -> Vec<u32> {
        let mut involved = vec![slot];
        while let Some(last) = involved.last()
            && let Some(next) = self.waits_on(*last)
            && !involved.contains(&next)
        {
            involved.push(next);
        }
        involved
    }

    /// Whom a thread waits for, if that is one.
    fn waits_on(&self, slot: u32) -> Option<u32> {
        let why = self.schedule.borrow().slots[slot as usize].why;
        match why {
            Why::Lock(serial) | Why::BehindWriter(serial) => self.holder(serial).map(|(holder, _)| holder),
            Why::Join(serial) | Why::Once(serial) => self.schedule.borrow().slot_of(serial),
            _ => None,
        }
    }

    /// `headline`, and a line for each of `threads`.
    pub(super) fn describe(&self, headline: &str, threads: &[u32]) -> String {
        let mut text = headline.to_owned();
        for slot in threads.iter().take(THREADS_SHOWN) {
            let _ = write!(text, "\n  {}", self.describe_thread(*slot));
        }
        if threads.len() > THREADS_SHOWN {
            let _ = write!(text, "\n  and {} more threads", threads.len() - THREADS_SHOWN);
        }
        text
    }

    /// A line for each thread of `node` that waits for something else than the time.
    pub(crate) fn waiting_threads(&self, node: NodeId) -> Vec<String> {
        let waits: Vec<u32> = {
            let schedule = self.schedule.borrow();
            let is_meant = |(_, slot): &(u32, &Slot)| {
                slot.status == Status::Waiting && slot.life.is_some_and(|life| life.node == node) && slot.waits_for_ever
            };
            (0..).zip(&schedule.slots).filter(is_meant).map(|(slot, _)| slot).collect()
        };
        waits.into_iter().map(|slot| self.describe_thread(slot)).collect()
    }

    fn describe_thread(&self, slot: u32) -> String {
        let name = self.full_name(slot);
        let (status, why, place, since, frozen) = {
            let schedule = self.schedule.borrow();
            let thread = &schedule.slots[slot as usize];
            (thread.status, thread.why, thread.place, thread.since, thread.frozen)
        };
        let state = match status {
            Status::Waiting => "waits",
            Status::Running => "runs",
            Status::Free => return format!("{name} has ended"),
            _ => "is ready",
        };
        let what = match why {
            Why::Lock(serial) => self.describe_lock(serial),
            Why::BehindWriter(serial) => format!("its turn behind a writer at {}", self.describe_lock(serial)),
            Why::Once(_) => match self.waits_on(slot) {
                Some(runner) => format!("the initialisation that {} runs", self.full_name(runner)),
                None => "an initialisation".to_owned(),
            },
            Why::Barrier => "others at a barrier".to_owned(),
            Why::Condvar | Why::Condition => "a condition to be notified".to_owned(),
            Why::Receive => "a message".to_owned(),
            Why::Send => "room in a channel".to_owned(),
            Why::HandOver => "a receiver of its message".to_owned(),
            Why::Select => "one of several channels".to_owned(),
            Why::Park => "an unpark".to_owned(),
            Why::Join(_) => match self.waits_on(slot) {
                Some(target) => format!("the end of thread {}", self.full_name(target)),
                None => "the end of a thread".to_owned(),
            },
            Why::Sleep | Why::World | Why::Ready | Why::Failed => "its turn".to_owned(),
        };
        let millis = since / 1_000_000;
        let paused = if frozen { ", and its node is paused" } else { "" };
        format!("{name} {state} at {place} for {what}, since {}.{:03}s{paused}", millis / 1000, millis % 1000)
    }

    /// A lock, by those who hold it.
    fn describe_lock(&self, serial: u32) -> String {
        let mut holders = self.schedule.borrow().holders(serial);
        holders.reverse(); // Oldest first, as the lines of the report.
        let shown = holders.iter().take(HOLDERS_SHOWN);
        let mut owners: Vec<String> =
            shown.map(|(holder, taken)| format!("{} took at {taken}", self.full_name(*holder))).collect();
        if holders.len() > HOLDERS_SHOWN {
            owners.push(format!("{} more threads took", holders.len() - HOLDERS_SHOWN));
        }
        if owners.is_empty() {
            "a lock whose guard was leaked".to_owned()
        } else {
            format!("a lock that {}", owners.join(" and "))
        }
    }

    /// The stack of every thread that has begun: each is let run for a moment, in
    /// which it looks at its own and stops again.
    pub(super) fn collect_stacks(&self) -> Vec<RawStack> {
        let alive = self.schedule.borrow().alive();
        self.showing_stack.set(true);
        let mut stacks = Vec::new();
        for slot in alive {
            let fiber = self.schedule.borrow_mut().slots[slot as usize].fiber.take();
            let Some(mut fiber) = fiber else { continue };
            if fiber.has_begun() {
                let ended = Fiber::resume(&mut fiber);
                assert!(!ended, "a thread that shows its stack does nothing else");
                stacks.push((self.full_name(slot), self.shown_stack.take()));
            }
            self.schedule.borrow_mut().slots[slot as usize].fiber = Some(fiber);
        }
        self.showing_stack.set(false);
        stacks
    }
}
