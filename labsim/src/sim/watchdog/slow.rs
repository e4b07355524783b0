//! Runs whose steps are too slow: the limit on CPU time.
//!
//! A run that computes for a while before each step is no loop and does not stand
//! still, and yet gets nowhere while anybody watches. Nor does one that waits for
//! the machine before each step, and sleeps then. So what it may use in all, and
//! sleep, is limited. When that is nearly used up, its OS thread is asked now and then
//! where it is, and the place that is seen most often is the report. The run goes
//! on meanwhile: it notices nothing, and neither does its hash.
//!
//! Boundary: counts and remembers, and says what was seen. The run fails itself at
//! its next step; if it takes none, it is given up in `verdict.rs`.

use std::time::Duration;

use super::LOOK_EVERY;
use super::pulse::{Order, Pulse};
use super::usage::{Usage, is_traced};
use crate::outcome::{Failure, FailureKind};
use crate::sim::trap::Catch;
use crate::stack::Stack;

/// The run is asked where it is in the last part of its time, one in so many.
const LAST_PART: u32 = 4;

/// About how often it is asked.
const LOOKS: u32 = 20;

/// How long a run may take to obey.
const OBEY_WITHIN: Duration = Duration::from_secs(1);

/// What a run has used of its CPU time, and where it was seen.
#[derive(Default)]
pub(super) struct Spending {
    limit: Duration,
    /// Where CPU time is not known, time during which the watchdog was awake.
    used: Duration,
    /// Of this, how long it was seen asleep: no simulation has a reason to.
    asleep: Duration,
    /// When it will be asked again.
    next_ask: Duration,
    seen: Vec<Catch>,
    /// Since it was ordered to fail: time that it has used, or slept.
    disobedient_for: Option<Duration>,
}

/// What is said of such a run.
pub(super) struct TooSlow {
    /// Its message will be the whole one.
    failure: Failure,
    used: String,
    looks: String,
    why: &'static str,
}

impl Spending {
    pub(super) fn within(limit: Duration) -> Self {
        Self { limit, next_ask: limit - limit / LAST_PART, ..Self::default() }
    }

    /// It spends its time asleep rather than on the processor.
    fn sleeps(&self) -> bool {
        2 * self.asleep > self.used
    }
}

impl Pulse {
    /// Counts what the run has used; asks it, and orders it to fail, in good time.
    /// A run that does not obey must be given up: returns what is to be said.
    pub(super) fn spend(&self, usage: &Usage, answer: Option<Catch>) -> Option<Failure> {
        let mut spending = self.spending.lock();
        if usage.is_known && usage.is_asleep && !self.waits_for_another() {
            spending.asleep += LOOK_EVERY;
        }
        let cpu = usage.cpu + self.others_cpu();
        let used = if usage.is_known { cpu + spending.asleep } else { spending.used + LOOK_EVERY };
        let delta = used.saturating_sub(spending.used);
        spending.used = used;
        spending.seen.extend(answer);
        if used < spending.next_ask || is_traced() {
            return None;
        }
        if used < spending.limit {
            spending.next_ask = spending.limit.min(used + spending.limit / (LAST_PART * LOOKS));
            drop(spending);
            self.ask();
            return None;
        }

        if spending.sleeps() && spending.seen.iter().filter(|catch| prints(catch)).count() > spending.seen.len() / 2 {
            // Whoever reads what it prints takes their time: a pager, for one.
            *spending = Spending { used: cpu, ..Spending::within(spending.limit.saturating_add(cpu)) };
            return None;
        }
        let Some(waited) = &mut spending.disobedient_for else {
            spending.disobedient_for = Some(Duration::ZERO);
            let too_slow = self.too_slow(&spending, usage.is_known);
            drop(spending);
            self.order(Order::TooSlow(Box::new(too_slow)));
            return None;
        };
        *waited += delta;
        let is_late = *waited >= OBEY_WITHIN;
        // It obeys, and then its destructors take as long again.
        let is_too_late = used >= spending.limit.saturating_mul(2).saturating_add(OBEY_WITHIN);
        if !is_late || self.take_order().is_none() && !is_too_late {
            return None;
        }
        let at = Duration::from_nanos(self.nanos.load(std::sync::atomic::Ordering::Relaxed));
        Some(self.too_slow(&spending, usage.is_known).into_failure(at))
    }

    /// What was seen of the run, which has used up its time.
    fn too_slow(&self, spending: &Spending, is_cpu_time: bool) -> TooSlow {
        let stacks: Vec<_> = spending.seen.iter().map(|catch| Stack::from_addresses(&catch.addresses)).collect();
        let sights = || spending.seen.iter().zip(&stacks);
        let count = |of: (&Catch, &Stack)| {
            let place = (&of.0.thread, of.0.node, of.1.place());
            sights().filter(|(catch, stack)| (&catch.thread, catch.node, stack.place()) == place).count()
        };
        // Of several that were seen as often, the first one.
        let most = sights().map(|sight| (count(sight), sight)).rev().max_by_key(|(count, _)| *count);
        let looks = most.map_or(String::new(), |(count, (catch, stack))| {
            let at = stack.place().map_or(String::new(), |place| format!(" at {place}"));
            format!("{count} of {} looks found thread `{}`{at}: ", stacks.len(), catch.thread)
        });
        let of = if is_cpu_time && !spending.sleeps() { "CPU time" } else { "the machine's time" };
        let asleep = if spending.sleeps() { ", most of it asleep," } else { "" };
        let used = format!("{:.1} s of {of}{asleep}", spending.used.as_secs_f32());
        let why = if spending.sleeps() {
            "it waits for the machine again and again; a simulation does no blocking I/O"
        } else {
            "its steps are too slow"
        };
        let (catch, stack) = most.map_or((None, None), |(_, (catch, stack))| (Some(catch), Some(stack)));
        TooSlow { failure: self.failure(FailureKind::CpuLimit, String::new(), catch, stack), used, looks, why }
    }
}

fn prints(catch: &Catch) -> bool {
    Stack::from_addresses(&catch.addresses).is_in_printing()
}

impl TooSlow {
    /// Of a run that has got to the virtual time `at`.
    pub(super) fn into_failure(self, at: Duration) -> Failure {
        let Self { failure, used, looks, why } = self;
        let millis = at.as_millis();
        let got_to = format!("{}.{:03}s", millis / 1000, millis % 1000);
        let message = format!("the run has used {used} and has got to {got_to}; {looks}{why}");
        Failure { message, at, ..failure }
    }
}
