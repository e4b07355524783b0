//! Two runs of one seed, which must be the same run.
//!
//! Boundary: compares results. Which processes made the runs, and when, is the
//! caller's business.

use super::once::{Mode, RunResult, run_once, run_traced};
use super::trace::{self, Made};
use crate::check::{Broken, Kind};
use crate::suites::LabTest;

/// Makes both runs in this process, one after the other.
pub(super) fn run_here(test: &'static LabTest, seed: u64) -> RunResult {
    let [first, second] = [(); 2].map(|()| run_once(test, seed, Mode::Simulated));
    if are_same(&first, &second) {
        return both(first, &second);
    }
    let [one, other] = [(); 2].map(|()| {
        let mut bytes = Vec::new();
        trace::write(&run_traced(test, seed).1, &mut bytes).expect("memory takes it");
        bytes
    });
    let parting = trace::first_difference(&one[..], &other[..], Made::InOneProcess).expect("they are whole");
    differ(first, second, &parting)
}

/// True if they came to the same, step by step.
pub(super) fn are_same(first: &RunResult, second: &RunResult) -> bool {
    let digest = |run: &RunResult| (run.hash, run.steps, run.elapsed, run.rpcs, run.bytes, run.died.is_some());
    digest(first) == digest(second) && first.broken == second.broken
}

/// The two in one: that one, with the time that both took.
pub(super) fn both(one: RunResult, other: &RunResult) -> RunResult {
    RunResult { cpu: one.cpu + other.cpu, wall: one.wall + other.wall, ..one }
}

/// Two that came to their ends, and differ. `parting` says where.
pub(super) fn differ(first: RunResult, second: RunResult, parting: &str) -> RunResult {
    let mut message = format!(
        "two runs of one seed differ: {} and {} steps, hashes {:016x} and {:016x}\n{parting}",
        first.steps, second.steps, first.hash, second.hash
    );
    if first.broken != second.broken {
        message += &format!("\nthis is how they end: {}; {}", end_of(&first), end_of(&second));
    }
    let (worse, other) = if first.broken.is_none() { (second, first) } else { (first, second) };
    // Whose step it was that failed one of them is of interest if the other passed.
    let caused_by = if other.broken.is_none() { worse.caused_by.clone() } else { None };
    RunResult { broken: Some(not_deterministic(message)), caused_by, ..both(worse, &other) }
}

/// Two of which one did not come to its end, or each in its own way: they have no
/// steps to compare.
pub(super) fn end_differently(first: RunResult, second: RunResult) -> RunResult {
    let (worse, other) = if has_ended(&first) { (second, first) } else { (first, second) };
    let how = worse.broken.as_ref().map_or("", |broken| &broken.message);
    let message =
        format!("two runs of one seed differ: in one of two processes: {how}\nin the other: {}", end_of(&other));
    RunResult { broken: Some(not_deterministic(message)), ..both(worse, &other) }
}

/// It came to an end of its own, green or red, and left its process as it was.
pub fn has_ended(run: &RunResult) -> bool {
    run.died.is_none() && !run.abandoned && !run.by_machine && !run.fatal
}

fn not_deterministic(message: String) -> Broken {
    Broken::unnamed(Kind::NotDeterministic, message)
}

/// How a run ends, in a line.
pub(super) fn end_of(run: &RunResult) -> &str {
    let what_broke = run.broken.as_ref().map(|broken| broken.message.lines().next().unwrap_or_default());
    what_broke.unwrap_or("it passed")
}
