//! Pauses: threads that are frozen where they stand, and go on as if nothing had been.
//!
//! A frozen thread is woken like any other, by a notification, a lock, a timer.
//! It only does not get into the list of ready threads: its status is `Paused`
//! until the node is resumed. So the scheduler's choice costs what it always
//! did, and nobody who wakes a thread needs to know whether it is frozen.
//!
//! Boundary: knows threads and lives, and holds the timers that node clocks
//! move. What the clocks show is in `clock.rs`.

use std::cmp::Reverse;

use super::core::{Core, Place, Why};
use super::table::{Schedule, Status};
use super::waiters::Waiter;
use crate::clock::NodeClock;
use crate::context::Life;
use crate::node::NodeId;

/// What a pause and its end add to the run's hash.
const PAUSED: u64 = 1 << 32;
const RESUMED: u64 = 2 << 32;

impl Core {
    /// Freezes the threads of `life`. If one of them is the caller, returns
    /// when they are resumed.
    pub(crate) fn pause(&self, life: Life, place: Place) {
        let is_own = self.life() == Some(life);
        self.schedule.borrow_mut().freeze(life);
        self.mix(PAUSED | u64::from(life.number));
        if !is_own {
            return;
        }
        if self.must_not_switch() {
            self.pause_pending.set(true); // An observer said it: when its lock is open.
        } else {
            self.stay_while_paused(place);
        }
    }

    /// Lets the threads of `life` go on.
    pub(crate) fn resume(&self, life: Life) {
        self.schedule.borrow_mut().thaw(life);
        self.mix(RESUMED | u64::from(life.number));
    }

    /// Keeps the running thread here for as long as its node is paused.
    #[cold]
    pub(super) fn stay_while_paused(&self, place: Place) {
        {
            let mut schedule = self.schedule.borrow_mut();
            let current = self.current.get();
            let now = self.now.get();
            let thread = &mut schedule.slots[current as usize];
            if !thread.frozen {
                return;
            }
            thread.place = place;
            thread.since = now;
            schedule.make_ready(current);
        }
        self.visit_root();
    }

    /// What the clock of the running thread's node shows.
    #[cold]
    pub(super) fn own_clock(&self) -> NodeClock {
        match self.life() {
            Some(life) => self.with_world(|world| world.nodes.lock().clock(life.node)),
            None => NodeClock::TRUE,
        }
    }

    /// A node's clock was changed: waits that go by it end when it will show
    /// what they were to last to.
    pub(crate) fn clock_changed(&self, node: NodeId, former: NodeClock, clock: NodeClock) {
        self.own_clocks.set(true);
        let mut schedule = self.schedule.borrow_mut();
        schedule.move_timers(node, |due| clock.when(if due == u64::MAX { due } else { former.reading(due) }));
        self.next_due.set(schedule.next_due());
    }
}

impl Schedule {
    fn freeze(&mut self, life: Life) {
        self.paused.push(life);
        let Schedule { slots, ready, .. } = self;
        for slot in slots.iter_mut().filter(|slot| slot.life == Some(life)) {
            slot.frozen = true;
            if slot.status == Status::Ready {
                slot.status = Status::Paused;
            }
        }
        ready.retain(|slot| slots[*slot as usize].status == Status::Ready);
    }

    fn thaw(&mut self, life: Life) {
        self.paused.retain(|paused| *paused != life);
        let Schedule { slots, ready, .. } = self;
        for (number, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.life == Some(life)) {
            slot.frozen = false;
            if slot.status == Status::Paused {
                slot.status = Status::Ready;
                ready.push(number as u32);
            }
        }
    }

    /// True if nobody who could run is waited for by a timer: those that there
    /// are wake frozen threads, and nobody is left to resume those.
    pub(super) fn all_timers_are_paused(&self) -> bool {
        !self.paused.is_empty()
            && !self.timers.iter().any(|Reverse((_, _, waiter))| {
                Self::is_waiting(&self.slots, *waiter) && !self.slots[waiter.slot as usize].frozen
            })
    }

    /// Moves the timers that go by the clock of `node`. Their order is that of
    /// their times, and then still of who asked first.
    fn move_timers(&mut self, node: NodeId, moved: impl Fn(u64) -> u64) {
        let slots = &self.slots;
        let goes_by_it = |waiter: Waiter| {
            let thread = &slots[waiter.slot as usize];
            // A thread that has not begun is a message on its way.
            Self::is_waiting(slots, waiter)
                && thread.life.is_some_and(|life| life.node == node)
                && !matches!(thread.why, Why::Ready | Why::World)
        };
        let timers = std::mem::take(&mut self.timers).into_iter();
        self.timers = timers
            .map(|Reverse((due, number, waiter))| {
                Reverse((if goes_by_it(waiter) { moved(due) } else { due }, number, waiter))
            })
            .collect();
    }
}
