//! The judge: a history's parts, one search each, and what their ends say together.
//!
//! Keys know nothing of each other, so a history is linearizable if each key's part of
//! it is (Herlihy and Wing call this locality). One hard key should not hide a breach
//! in an easy one: each part gets a short look before any gets a long one.
//!
//! Where a part is broken there is a first moment from which it is: the history up to
//! some return can be linearized, and with that return it can't. Breaking is for good,
//! so that return is found by bisection, from where the search got to. It depends on the history alone, not on the
//! way in which the search went.
//!
//! Boundary: budgets, threads and verdicts. The words are in `explain`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::explain::explain;
use super::history::{Clock, Model, Operation};
use super::model::Table;
use super::plan::{Event, events};
use super::search::{Budget, Ended, Used, search};

/// Steps of the short look, for each event of a part and besides.
const LOOK_STEPS_PER_EVENT: u64 = 64;
const LOOK_STEPS_MIN: u64 = 10_000;

/// Operations of a history for which a second thread is worth its start.
const OPERATIONS_PER_THREAD: usize = 2000;

/// What judging may cost.
///
/// Without a deadline and on one thread, a history gets the same judgement bit by bit
/// each time, anywhere.
#[derive(Clone, Debug)]
pub struct Limits {
    /// When to give up, on the clock of std, which in a simulated run is virtual and
    /// stands still here: say `steps` there. None: never.
    pub deadline: Option<Instant>,
    /// How many operations to place, over all searches; a placed one takes about 100 ns.
    /// None: any number.
    pub steps: Option<u64>,
    /// Bytes for remembering where the search has been, over all threads.
    pub memory: usize,
    /// How many parts to search at a time, where that is worth it. One starts no thread.
    pub threads: usize,
    /// To judge the history in one piece, not key by key. The verdict is the same, and
    /// takes longer.
    pub whole: bool,
    /// What the moments of the history are, for the message.
    pub clock: Clock,
}

impl Default for Limits {
    /// No deadline, any number of steps, 1 GiB, one thread, key by key, in seconds.
    fn default() -> Self {
        Self { deadline: None, steps: None, memory: 1 << 30, threads: 1, whole: false, clock: Clock::Seconds }
    }
}

/// What came of judging a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Whether it is linearizable.
    pub verdict: Verdict,
    /// How many states the searches were in, over all parts. With several threads and a
    /// broken part, as many as there was time for.
    pub states: u64,
    /// How many operations they placed.
    pub steps: u64,
    /// How many keys the history has; a register counts as one.
    pub keys: usize,
    /// The largest memo, in bytes.
    pub memo_bytes: usize,
}

/// Whether a history is linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order that explains it.
    Linearizable,
    /// There is none.
    Broken(Breach),
    /// The limits did not suffice to tell. Says which.
    Unknown(String),
}

/// How a history is not linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// The key whose part is broken. None in a register.
    pub key: Option<Arc<str>>,
    /// The longest prefix in time that can be linearized, up to and without the return
    /// of `first_bad`: an order for it, as indexes into the history. It has operations
    /// that had not returned by then, if they help.
    pub prefix: Vec<usize>,
    /// The operation with whose return the history is linearizable no more.
    pub first_bad: usize,
    /// The operation that it contradicts, if one alone shows it.
    pub other: Option<usize>,
    /// How it contradicts.
    pub kind: BreachKind,
    /// The two operations and what is wrong with them, in a sentence.
    pub message: String,
}

/// What is wrong with an operation, beside another one. Where several are true, the
/// first one of this list is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BreachKind {
    /// It returned what nobody ever wrote.
    FromNowhere,
    /// An effect appears twice: one append was executed more than once.
    Twice,
    /// It returned what was written by an operation that had not begun.
    FromTheFuture,
    /// It lacks a write and has a later one.
    Lost,
    /// It misses a write that had returned, or been read, before it began.
    Stale,
    /// It has effects in another order than they happened in, or were read in.
    Order,
    /// No pair of operations shows it; all of them together do.
    Other,
}

/// Judges a history.
///
/// # Panics
///
/// If the model has no such call as one of the history's, if a call has an outcome that
/// it cannot have, or if an operation returned before it began.
pub fn check(model: Model, history: &[Operation], limits: &Limits) -> Judgement {
    let parts = parts(history, limits.whole);
    let useful = parts.len().min(history.len() / OPERATIONS_PER_THREAD);
    let threads = limits.threads.min(useful).max(1);
    let court = Court {
        model,
        history,
        limits,
        parts: &parts,
        bytes: limits.memory / threads,
        left: AtomicU64::new(limits.steps.unwrap_or(u64::MAX)),
    };

    let keys = if limits.whole { self::parts(history, false).len() } else { parts.len() };

    let mut total = Used::default();
    let mut open: Vec<usize> = (0..parts.len()).collect();
    let mut why = None;
    // With one part, a short look is the beginning of the long one.
    for is_short in [true, false] {
        if is_short && parts.len() == 1 {
            continue;
        }
        let mut rest = Vec::new();
        let mut ends = court.round(&open, is_short, threads);
        ends.sort_unstable_by_key(|(part, ..)| *part);
        for (_, _, used) in &ends {
            total.add(used);
        }
        for (part, end, used) in ends {
            match end {
                Ended::Found(_) => {}
                Ended::Exhausted => {
                    let breach = court.breach(&parts[part], used.reached, &mut total);
                    return judgement(Verdict::Broken(breach), total, keys);
                }
                end => {
                    why.get_or_insert(end);
                    rest.push(part);
                }
            }
        }
        open = rest;
        if open.is_empty() {
            return judgement(Verdict::Linearizable, total, keys);
        }
        if is_short {
            why = None;
        }
    }
    judgement(Verdict::Unknown(court.excuse(why.as_ref())), total, keys)
}

fn judgement(verdict: Verdict, total: Used, keys: usize) -> Judgement {
    Judgement { verdict, states: total.states, steps: total.steps, keys, memo_bytes: total.bytes }
}

impl Used {
    fn add(&mut self, other: &Used) {
        self.steps += other.steps;
        self.states += other.states;
        self.bytes = self.bytes.max(other.bytes);
    }
}

/// The events of each key, in the order in which the keys come up.
fn parts(history: &[Operation], whole: bool) -> Vec<Vec<Event>> {
    let mut numbers: Table<Option<&str>, usize> = Table::default();
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for (index, operation) in history.iter().enumerate() {
        let key = operation.call.key().map(|key| &**key).filter(|_| !whole);
        let part = *numbers.entry(key).or_insert(parts.len());
        if part == parts.len() {
            parts.push(Vec::new());
        }
        parts[part].push(index);
    }
    parts.iter().map(|indexes| events(history, indexes)).collect()
}

/// What all searches of one judgement share.
struct Court<'a> {
    model: Model,
    history: &'a [Operation],
    limits: &'a Limits,
    parts: &'a [Vec<Event>],
    /// What one memo may take.
    bytes: usize,
    /// Steps that nobody has used.
    left: AtomicU64,
}

impl Court<'_> {
    /// Searches each of these parts, or all before the first that is broken.
    fn round(&self, open: &[usize], is_short: bool, threads: usize) -> Vec<(usize, Ended, Used)> {
        let next = AtomicUsize::new(0);
        let first_broken = AtomicUsize::new(usize::MAX);
        let work = || {
            let mut ends = Vec::new();
            while let Some(&part) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                if part > first_broken.load(Ordering::Relaxed) {
                    break;
                }
                let events = &self.parts[part];
                let steps =
                    if is_short { LOOK_STEPS_MIN + LOOK_STEPS_PER_EVENT * events.len() as u64 } else { u64::MAX };
                let (end, used) = self.search(events, steps);
                if end == Ended::Exhausted {
                    first_broken.fetch_min(part, Ordering::Relaxed);
                }
                ends.push((part, end, used));
            }
            ends
        };
        if threads == 1 {
            return work();
        }
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let joined = workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.collect()
        })
    }

    fn search(&self, events: &[Event], steps: u64) -> (Ended, Used) {
        let steps = steps.min(self.left.load(Ordering::Relaxed));
        let budget = Budget { steps, bytes: self.bytes, deadline: self.limits.deadline };
        let (ended, used) = search(self.model, self.history, events, &budget);
        let _ =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(used.steps)));
        (ended, used)
    }

    /// Finds the return with which a part is broken, and tells how.
    fn breach(&self, events: &[Event], reached: u32, total: &mut Used) -> Breach {
        // Nearly always it is one that says something of the state, for a write can be
        // placed last. But a write has to come before its client's next call, which
        // may be made, and be seen, in the moment of its return.
        let returns: Vec<usize> = (0..events.len()).filter(|&at| events[at].is_return).collect();
        let reached = returns.partition_point(|&at| at < reached as usize);
        let (mut good, mut bad) = (reached, returns.len() - 1);
        let mut prefix = Vec::new();
        // It is seldom far from what the search has reached.
        let mut stride = 1;
        while good < bad {
            let middle = (good + stride - 1).min((good + bad) / 2);
            let (ended, used) = self.search(&events[..=returns[middle]], u64::MAX);
            total.add(&used);
            match ended {
                Ended::Found(order) => (good, prefix, stride) = (middle + 1, order, 2 * stride),
                Ended::Exhausted => (bad, stride) = (middle, events.len()),
                _ => break, // What is known to be bad is, if maybe not the first.
            }
        }
        let at = returns[bad];
        let (ended, used) = self.search(&events[..at], u64::MAX);
        total.add(&used);
        if let Ended::Found(order) = ended {
            prefix = order;
        }
        explain(self.model, self.history, prefix, events[at].index, self.limits.clock)
    }

    fn excuse(&self, why: Option<&Ended>) -> String {
        match why {
            Some(Ended::Deadline) => "the time was up before the search was at its end".to_owned(),
            Some(Ended::Memory) => {
                format!("the search had no room left in its {} bytes of memory", self.limits.memory)
            }
            _ => format!("{} steps did not suffice for the search", self.limits.steps.unwrap_or(u64::MAX)),
        }
    }
}
