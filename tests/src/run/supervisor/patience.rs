//! When a test is not worth its time any more.
//!
//! A run that spins or blocks costs the seconds until that is certain, and a test
//! that does so under one seed mostly does so under all. So the seeds after three
//! in a row that had to be stopped are not tried, and count as failed.
//!
//! Boundary: decides by results, in the order of the jobs, so that it does not
//! depend on who was quicker.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::check::{Broken, Kind};
use crate::run::{Job, Mode, RunResult};

/// So many runs of a test in a row that had to be stopped, and it is given up.
const STOPPED_MAX: u32 = 3;

/// A run that cost less than this was no great loss: it ended its process, say.
const LOSS_MIN: Duration = Duration::from_secs(1);

/// What the runs so far have cost for nothing.
#[derive(Default)]
pub(super) struct Patience {
    /// The test whose turn it is, and how many of its runs in a row had to be
    /// stopped, up to the last one.
    in_a_row: Option<(&'static str, u32)>,
    /// With the kind of the last of them.
    given_up: Vec<(&'static str, Kind)>,
    /// Tests of which a notice was given.
    told: BTreeSet<&'static str>,
}

impl Patience {
    /// Takes in the result whose turn it is. The test of it may be given up by
    /// that.
    pub(super) fn learn(&mut self, result: &RunResult) {
        let test = result.test.name;
        let before = self.in_a_row.filter(|(last, _)| *last == test).map_or(0, |(_, count)| count);
        let kind = result.broken.as_ref().map(|broken| broken.kind);
        match kind.filter(|_| had_to_be_stopped(result)) {
            Some(kind) if before + 1 == STOPPED_MAX => self.given_up.push((test, kind)),
            Some(_) => self.in_a_row = Some((test, before + 1)),
            None => self.in_a_row = None,
        }
    }

    /// True if the runs of that test are not to be made.
    pub(super) fn has_given_up(&self, job: Job) -> bool {
        self.given_up.iter().any(|(test, _)| *test == job.test.name)
    }

    /// The result of a run that is not made, if its test was given up.
    pub(super) fn instead_of(&mut self, job: Job, mode: Mode) -> Option<RunResult> {
        let (_, kind) = *self.given_up.iter().find(|(test, _)| *test == job.test.name)?;
        let message = format!("not tried: {STOPPED_MAX} seeds in a row had to be stopped before");
        let is_news = self.told.insert(job.test.name);
        let notice = format!("{message}; neither are the seeds after it, which count as failed");
        Some(RunResult {
            broken: Some(Broken::unnamed(kind, message)),
            warnings: if is_news { vec![notice] } else { Vec::new() },
            ..RunResult::empty(job, mode)
        })
    }
}

/// It had no end of its own, and that was not found out at once.
fn had_to_be_stopped(result: &RunResult) -> bool {
    (result.abandoned || result.by_machine || result.died.is_some()) && result.wall >= LOSS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites;

    /// The verdicts on the seeds of a test, `s` for one that had to be stopped:
    /// how many are tried?
    fn tried(runs: &str) -> usize {
        let mut patience = Patience::default();
        let test = suites::all().next().expect("there are tests");
        runs.bytes()
            .zip(0..)
            .take_while(|(run, seed)| {
                let job = Job { test, seed: *seed };
                if patience.instead_of(job, Mode::Simulated).is_some() {
                    return false;
                }
                let broken = Broken::unnamed(Kind::Stuck, "no end".to_owned());
                patience.learn(&RunResult {
                    broken: (*run != b'.').then_some(broken),
                    abandoned: matches!(run, b's' | b'q'),
                    wall: if *run == b'q' { LOSS_MIN / 2 } else { LOSS_MIN },
                    ..RunResult::empty(job, Mode::Simulated)
                });
                true
            })
            .count()
    }

    #[test]
    fn a_test_is_given_up_after_three_in_a_row() {
        assert_eq!(tried("ssss"), 3);
        assert_eq!(tried("..sss..."), 5);
        assert_eq!(tried("ss.ss.ss."), 9, "some of its seeds come to an end");
        assert_eq!(tried("ffffff"), 6, "they failed by themselves");
        assert_eq!(tried("qqqqqq"), 6, "that was cheap");
    }

    #[test]
    fn what_is_not_tried_has_failed_and_is_said_once() {
        let mut patience = Patience::default();
        let mut tests = suites::all();
        let (test, other) = (tests.next().expect("a test"), tests.next().expect("another"));
        for seed in 0..3 {
            let broken = Some(Broken::unnamed(Kind::Limit, "too slow".to_owned()));
            let job = Job { test, seed };
            patience.learn(&RunResult {
                broken,
                by_machine: true,
                wall: LOSS_MIN,
                ..RunResult::empty(job, Mode::Simulated)
            });
        }
        let mut instead = |test, seed| patience.instead_of(Job { test, seed }, Mode::Simulated);
        let first = instead(test, 3).expect("it was given up");
        assert_eq!(first.broken.map(|broken| broken.kind), Some(Kind::Limit));
        assert_eq!(first.warnings.len(), 1);
        assert_eq!(instead(test, 4).map(|second| second.warnings.len()), Some(0));
        assert!(instead(other, 0).is_none(), "that is another test");
    }
}
