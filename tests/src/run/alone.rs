//! A red run once more, in a process that makes no other.
//!
//! A report says what runs its seed again. That is so if nothing but the seed has
//! decided, and not if an earlier run of the process has left something behind.
//!
//! Boundary: one more run, and whether it is the same. What is said of it is in
//! `report`.

use std::ops::ControlFlow;

use super::once::{Mode, RunResult};
use super::supervisor::{Limits, Setting, supervise};
use super::sweep::{Job, Jobs};
use super::twice;

/// The simulated run that is given, with what it comes to alone if that is something
/// else. One that did not leave its process whole is not made again: many of these
/// take seconds.
pub fn again_alone(result: RunResult, limits: Limits) -> RunResult {
    if !twice::has_ended(&result) {
        return result;
    }
    let job = Jobs::These(vec![Job { test: result.test, seed: result.seed }]);
    let setting = Setting { workers: 1, mode: Mode::Simulated, limits, shows_output: false, program: None };
    let mut again = None;
    let begins = |_, _| {};
    let each = |run| {
        again = Some(run);
        ControlFlow::Continue(())
    };
    // If no process can be started, nothing is known.
    let _ = supervise(&job, &setting, begins, each);
    let other = again.filter(|again| !twice::are_same(&result, again));
    let alone = other.map(|other| match (&other.broken, &result.broken) {
        (one, two) if one == two => "it fails in the same way after other steps".to_owned(),
        _ => twice::end_of(&other).to_owned(),
    });
    RunResult { alone, ..result }
}
