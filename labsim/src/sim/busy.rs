//! Busy loops: threads that run and run, and get nowhere.
//!
//! A world of servers is idle most of the time: everybody waits for a message or
//! a timer, and the clock jumps. A loop that polls keeps it from ever being idle,
//! and a step at a time the clock takes hours of the machine's to get anywhere.
//! Many steps without an idle moment are therefore suspicious. They are no proof:
//! clients that call one after the other over a network without delay keep a
//! world as busy. But those pass hundreds of source lines, and a loop passes a
//! few. So when the suspicion arises, the places where threads are seen are
//! counted for a while, and a handful of them must account for nearly all.
//!
//! Boundary: counts places. What a step is, and what is idle, is not its business.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::core::{Core, Place};
use crate::outcome::FailureKind;

/// How often a thread is seen before it is judged.
const SIGHTINGS: u32 = 4000;
/// A loop has no more places than these ..
const PLACES: usize = 8;
/// .. which account for so much, in hundredths.
const SHARE: u32 = 95;

/// Where threads were seen: serial number and slot, and the line they were at.
type Sightings = BTreeMap<(u32, u32, &'static str, u32), (u32, Place)>;

/// Where threads were seen since the suspicion arose; empty if there is none.
pub(super) struct Busy {
    seen: RefCell<Sightings>,
}

impl Busy {
    pub(super) const fn new() -> Self {
        Self { seen: RefCell::new(BTreeMap::new()) }
    }
}

impl Core {
    /// The world was idle for a moment.
    #[inline]
    pub(super) fn was_idle(&self) {
        self.busy_from.set(self.steps.get());
        self.suspect_after.set(self.steps.get().saturating_add(self.busy_limit.get()));
        if self.busy_sightings.replace(0) > 0 {
            self.busy.seen.borrow_mut().clear();
        }
    }

    /// There is reason to look where threads are.
    #[inline]
    pub(super) fn seems_busy(&self) -> bool {
        self.steps.get() > self.suspect_after.get()
    }

    /// Sees a thread at a place, or where it was when it was last switched away
    /// from. Returns true if that settles it: the run has failed.
    #[cold]
    pub(super) fn see_busy(&self, slot: u32, place: Option<Place>) -> bool {
        let (serial, last_place) = {
            let schedule = self.schedule.borrow();
            let thread = &schedule.slots[slot as usize];
            (thread.serial, thread.place)
        };
        let place = place.unwrap_or(last_place);
        let line = (serial, slot, place.file(), place.line());
        self.busy.seen.borrow_mut().entry(line).or_insert((0, place)).0 += 1;
        self.busy_sightings.set(self.busy_sightings.get() + 1);
        if self.busy_sightings.get() < SIGHTINGS {
            return false;
        }
        let seen = self.busy.seen.take();
        let mut by_line = BTreeMap::new();
        for ((.., file, line), (count, _)) in &seen {
            *by_line.entry((*file, *line)).or_insert(0) += count;
        }
        let mut counts: Vec<u32> = by_line.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let in_few: u32 = counts.iter().take(PLACES).sum();
        let steps = self.steps.get() - self.busy_from.get();
        self.was_idle();
        if in_few * 100 < SIGHTINGS * SHARE {
            return false; // Busy, but at many things.
        }
        self.report_busy(&seen, steps);
        true
    }

    fn report_busy(&self, seen: &Sightings, steps: u64) {
        let mut lines: Vec<_> = seen.iter().collect();
        lines.sort_by_key(|(thread, (count, _))| (std::cmp::Reverse(*count), **thread));
        let ((_, slot, ..), (_, place)) = lines.first().expect("there were sightings");
        let mut message = format!("busy loop: {steps} steps on end, and nobody was idle for a moment; seen");
        for ((_, slot, ..), (count, place)) in lines.iter().take(PLACES) {
            let share = count * 100 / SIGHTINGS;
            let _ = write!(message, "\n  {share:2} % {} at {place}", self.full_name(*slot));
        }
        message += "\n  wait with a Condvar, a channel or a sleep";
        self.fail_of(*slot, FailureKind::BusyLoop, message, place);
    }
}
