//! Locks that two threads take in opposite orders.
//!
//! One thread has lock a and takes lock b, another one has b and takes a. Whether
//! they get into each other's way is a matter of some steps: most schedules miss it.
//! But that they may is seen in any schedule in which both come by, even one after
//! the other. So, where `Config::lock_order` asks for it, each lock that is taken
//! while others are held is remembered with those, and the second of two opposite
//! orders fails the run. The same for three locks in a circle.
//!
//! What cannot come to a deadlock is no finding:
//!
//! - one thread, which cannot wait for itself that way;
//! - a *gate*: a third lock that both threads hold meanwhile;
//! - readers among themselves. That a writer who waits may part them is left out;
//! - a thread that was started only after the other one was through;
//! - a lock that is only tried, for good or for a time. What is taken while it is
//!   held counts.
//!
//! An order among the threads that comes from something else, such as a message or a
//! join, is not seen: who relies on it is found all the same.
//!
//! Boundary: remembers and compares. Locks and their waiters are in `sync`.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use super::core::{Core, Held, Place};
use crate::context::Life;
use crate::outcome::FailureKind;

/// How many sights of one pair are remembered. A thread that takes the pair again
/// and again is one; what is forgotten is learned again when it is next seen.
const SIGHTS_MAX: usize = 8;

/// How many pairs are remembered: a program may make locks without end.
const PAIRS_MAX: usize = 4096;

/// A thread was seen to take a lock while it held another one.
#[derive(Clone)]
struct Sight {
    /// Its serial number.
    thread: u32,
    name: Cow<'static, str>,
    life: Option<Life>,
    /// How many threads had been started by then.
    threads_made: u32,
    nanos: u64,
    held: Held,
    taken: Held,
    /// All that it held.
    in_hand: Vec<Held>,
}

impl Sight {
    /// The same thread does the same, as far as it matters.
    fn is_again(&self, other: &Self) -> bool {
        let marks = |held: &Held| (held.serial, held.is_shared);
        self.thread == other.thread
            && marks(&self.held) == marks(&other.held)
            && marks(&self.taken) == marks(&other.taken)
            && self.in_hand.iter().map(marks).eq(other.in_hand.iter().map(marks))
    }

    /// Both may be where they were at the same time.
    fn may_meet(&self, other: &Self) -> bool {
        let both_exist = self.thread <= other.threads_made && other.thread <= self.threads_made;
        let is_gate = |gate: &Held| other.in_hand.iter().any(|theirs| theirs.excludes(gate));
        self.thread != other.thread && both_exist && !self.in_hand.iter().any(is_gate)
    }

    /// What this one holds keeps `other` from what it takes.
    fn blocks(&self, other: &Self) -> bool {
        self.held.excludes(&other.taken)
    }
}

impl Held {
    /// No two threads have it so at the same time.
    fn excludes(&self, other: &Held) -> bool {
        self.serial == other.serial && !(self.is_shared && other.is_shared)
    }
}

/// What was seen so far: pairs of locks, by the one that was held first.
#[derive(Default)]
pub(super) struct LockOrder {
    sights: BTreeMap<(u32, u32), VecDeque<Sight>>,
    /// The pairs, in the order in which they were first seen.
    pairs: VecDeque<(u32, u32)>,
}

impl LockOrder {
    pub(super) const fn new() -> Self {
        Self { sights: BTreeMap::new(), pairs: VecDeque::new() }
    }

    /// Adds a sight. Returns those that lead to a deadlock together with it, it being
    /// the first of them.
    fn add(&mut self, sight: Sight) -> Option<Vec<Sight>> {
        let pair = (sight.held.serial, sight.taken.serial);
        if !self.sights.contains_key(&pair) {
            if self.pairs.len() == PAIRS_MAX {
                let oldest = self.pairs.pop_front().expect("there are many");
                self.sights.remove(&oldest);
            }
            self.pairs.push_back(pair);
        }
        let sights = self.sights.entry(pair).or_default();
        if let Some(known) = sights.iter_mut().find(|known| known.is_again(&sight)) {
            // Nobody who could make a difference has come since.
            if known.threads_made == sight.threads_made {
                return None;
            }
            *known = sight.clone();
        } else {
            sights.truncate(SIGHTS_MAX - 1);
            sights.push_front(sight.clone());
        }
        self.circle(sight)
    }

    fn of(&self, pair: (u32, u32)) -> impl Iterator<Item = &Sight> {
        self.sights.get(&pair).into_iter().flatten()
    }

    /// Whoever takes what `first` holds while it holds what `first` takes; or two
    /// more, with a third lock between.
    fn circle(&self, first: Sight) -> Option<Vec<Sight>> {
        let (a, b) = (first.held.serial, first.taken.serial);
        let closes = |last: &&Sight| last.may_meet(&first) && first.blocks(last);
        let is_opposite = |last: &&Sight| closes(last) && last.blocks(&first);
        if let Some(last) = self.of((b, a)).find(is_opposite) {
            let last = last.clone();
            return Some(vec![first, last]);
        }
        for ((_, c), seconds) in self.sights.range((b, 0)..=(b, u32::MAX)) {
            for second in seconds.iter().filter(|second| second.may_meet(&first) && second.blocks(&first)) {
                let is_third = |last: &&Sight| closes(last) && last.may_meet(second) && last.blocks(second);
                if let Some(third) = self.of((*c, a)).find(is_third) {
                    let others = [second.clone(), third.clone()];
                    return Some([vec![first], others.to_vec()].concat());
                }
            }
        }
        None
    }
}

impl Core {
    /// The running thread has just taken a lock that it would have waited for.
    #[inline]
    pub(crate) fn check_order(&self, place: Place) {
        if self.lock_order.get() {
            self.check_order_slow(place);
        }
    }

    #[cold]
    fn check_order_slow(&self, place: Place) {
        if self.must_not_switch() {
            return; // It is on its way out, or shows what it guards.
        }
        for sight in self.sights() {
            let circle = self.order.borrow_mut().add(sight);
            if let Some(circle) = circle {
                self.report_order(&circle, place);
            }
        }
    }

    /// What the running thread has done by taking its last lock, as seen from each of
    /// those that it holds.
    fn sights(&self) -> Vec<Sight> {
        let schedule = self.schedule.borrow();
        let thread = &schedule.slots[self.current.get() as usize];
        let Some((taken, before)) = thread.held.split_last() else { return Vec::new() };
        let others = before.iter().filter(|held| held.serial != taken.serial);
        let sight = |held: &Held| Sight {
            thread: thread.serial,
            name: thread.name.clone(),
            life: thread.life,
            threads_made: schedule.threads_made,
            nanos: self.now.get(),
            held: *held,
            taken: *taken,
            in_hand: others.clone().copied().collect(),
        };
        others.clone().map(sight).collect()
    }

    /// Fails the run with a line for each thread of the circle.
    #[cold]
    fn report_order(&self, circle: &[Sight], place: Place) {
        const LOCKS: [&str; 3] = ["the first one", "the second one", "the third one"];
        let names: Vec<String> = circle.iter().map(|sight| self.name_with_node(&sight.name, sight.life)).collect();
        let mut text = match &names[..] {
            [one, other] => format!("deadlock: {one} and {other} take two locks in opposite orders"),
            names => format!("deadlock: {} take three locks in a circle", names.join(" and ")),
        };
        text += "; under another schedule they wait for each other for ever";
        for (at, (name, sight)) in names.iter().zip(circle).enumerate() {
            let (held, taken) = (LOCKS[at], LOCKS[(at + 1) % circle.len()]);
            let millis = sight.nanos / 1_000_000;
            let (first, second) = (sight.held.place, sight.taken.place);
            let _ = write!(
                text,
                "\n  {name} took {held} at {first} and then {taken} at {second}, at {}.{:03}s",
                millis / 1000,
                millis % 1000
            );
        }
        self.fail(FailureKind::Deadlock, text, Some(place));
        self.stop_here(place);
    }
}
