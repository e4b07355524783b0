//! A red run once more, in a process that makes no other.
//!
//! A report says what runs its seed again. That is so if nothing but the seed has
//! decided, and not if an earlier run of the process has left something behind.
//!
//! Boundary: one more run, and whether it is the same. What is said of it is in
//! `report`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::once::{Mode, RunResult};
use super::supervisor::{Limits, Setting, supervise};
use super::sweep::{Job, Jobs};
use super::twice;
use crate::check::{Broken, Kind};

/// One run, with its story, made by a process of `program`, or of this one, that makes no
/// other. None if none can be started.
pub fn run_alone(job: Job, limits: Limits, program: Option<PathBuf>) -> Option<RunResult> {
    let setting = Setting { workers: 1, mode: Mode::Recorded, limits, shows_output: false, program };
    let mut result = None;
    let begins = |_, _| {};
    let each = |run| {
        result = Some(run);
        ControlFlow::Continue(())
    };
    supervise(&Jobs::These(vec![job]), &setting, begins, each).ok()?;
    result
}

/// The simulated run that is given, with its story, and with what it comes to alone if
/// that is something else. Runs are made by `program`, if that is not this one. One that
/// did not leave its process whole is not made again: many of these take seconds.
pub fn again_alone(result: RunResult, limits: Limits, program: Option<PathBuf>) -> RunResult {
    if !twice::has_ended(&result) {
        return result;
    }
    match run_alone(Job { test: result.test, seed: result.seed }, limits, program) {
        Some(again) => explained(result, again),
        None => result, // If no process can be started, nothing is known.
    }
}

/// A red run with what its recorded rerun has to tell. That is the same run, and
/// sometimes it ends earlier: with every promise checked against the disk, one that
/// nobody kept is found when it is made.
pub(super) fn explained(first: RunResult, again: RunResult) -> RunResult {
    if twice::are_same(&first, &again) {
        return RunResult { story: again.story, ..first };
    }
    let is_cause = |broken: &Broken| broken.kind == Kind::PromisedBeforePersisted;
    if again.elapsed < first.elapsed && again.broken.as_ref().is_some_and(is_cause) {
        let is_other = |broken: &&Broken| again.broken.as_ref().is_some_and(|cause| cause.rule != broken.rule);
        let symptom = first.broken.as_ref().filter(is_other);
        let symptom = symptom.and_then(|broken| broken.rule.map(|rule| (rule, first.elapsed)));
        return RunResult { symptom, wall: first.wall, cpu: first.cpu, output: first.output, ..again };
    }
    let alone = match (&again.broken, &first.broken) {
        (one, two) if one == two => "it fails in the same way after other steps".to_owned(),
        _ => twice::end_of(&again).to_owned(),
    };
    RunResult { alone: Some(alone), ..first }
}
