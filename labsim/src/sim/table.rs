//! The table of threads: who is ready, who waits, and the timers that end waits.
//!
//! Each thread has a *slot*, which another one gets when it is gone. Whoever is to
//! remember a wait keeps the pair (slot, *epoch*): the epoch counts up whenever a
//! thread is woken, so that an entry of a wait that is over is recognised.
//!
//! Boundary: keeps the lists. Who runs next is decided in `schedule.rs`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::causes::Notified;
use super::core::{Held, Place, Why};
use super::fiber::{Fiber, Stacks};
use super::waiters::Waiter;
use crate::context::Life;
use crate::rand::Stream;

/// Names a thread for as long as anybody holds a handle to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadKey {
    pub(super) simulation: u32,
    pub(super) slot: u32,
    pub(super) serial: u32,
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
    pub(super) woken_for_a_look: bool,
    pub(super) timed_out: bool,
    /// Its node is paused.
    pub(super) frozen: bool,
    /// `unpark` came before `park`.
    pub(super) parking_token: bool,
    pub(super) held: Vec<Held>,
    pub(super) joiners: Vec<Waiter>,
    // While the run is recorded; see `causes.rs`.
    /// The event that made it do what it does; 0 if there is none.
    pub(super) cause: u64,
    /// Its number in the record.
    pub(super) recorded_as: Option<u32>,
    pub(super) notified: Vec<Notified>,
    /// Its waits are no events.
    pub(super) quiet: bool,
}

impl Slot {
    pub(super) fn empty(place: Place) -> Self {
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
            cause: 0,
            recorded_as: None,
            notified: Vec::new(),
            quiet: false,
        }
    }
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
    pub(super) free: Vec<u32>,
    pub(super) ready: Vec<u32>,
    pub(super) timers: BinaryHeap<Timer>,
    /// The lives of paused nodes.
    pub(super) paused: Vec<Life>,
    timers_made: u64,
    /// How many timers the last clearing left.
    timers_kept: usize,
    pub(super) threads_made: u32,
    pub(super) thread_limit: usize,
    pub(super) stacks: Stacks,
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

    /// The name that most of a node's threads have, and how many have it.
    pub(super) fn crowd(&self) -> Option<(usize, Cow<'static, str>, Option<Life>)> {
        let mut crowds: BTreeMap<_, (usize, Option<Life>)> = BTreeMap::new();
        for slot in self.slots.iter().filter(|slot| slot.status != Status::Free) {
            crowds.entry((&slot.name, slot.life.map(|life| life.node))).or_insert((0, slot.life)).0 += 1;
        }
        let most = crowds.into_iter().max_by_key(|(_, (count, _))| *count);
        most.map(|((name, _), (count, life))| (count, name.clone(), life))
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
    pub(super) fn wake(&mut self, waiter: Waiter) -> bool {
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
    pub(super) fn drop_stale_timers(&mut self) {
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
    pub(super) fn set_timer(&mut self, at: u64, waiter: Waiter) -> u64 {
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
