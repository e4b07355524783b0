//! Many runs at once, in an order that does not depend on who is quicker.
//!
//! Boundary: hands runs to OS threads and results to the caller.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use super::once::{Mode, RunResult, run_once};
use super::seeds::SeedRange;
use crate::suites::LabTest;

/// One run to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The test.
    pub test: &'static LabTest,
    /// Its seed.
    pub seed: u64,
}

/// Runs to be made, in order. A sweep may have more of them than fit in memory.
#[derive(Clone, Debug)]
pub enum Jobs {
    /// Every test under every seed, test by test.
    All {
        /// The tests.
        tests: Vec<&'static LabTest>,
        /// Their seeds.
        seeds: SeedRange,
    },
    /// These.
    These(Vec<Job>),
}

impl Jobs {
    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::All { tests, seeds } => seeds.len().saturating_mul(tests.len() as u64),
            Self::These(jobs) => jobs.len() as u64,
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one at `index`, if there are so many.
    pub fn get(&self, index: u64) -> Option<Job> {
        match self {
            Self::All { tests, seeds } => {
                let test = tests.get(usize::try_from(index / seeds.len()).ok()?)?;
                Some(Job { test, seed: seeds.first + index % seeds.len() })
            }
            Self::These(jobs) => jobs.get(usize::try_from(index).ok()?).copied(),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Job> {
        (0..).map_while(|index| self.get(index))
    }
}

/// How far the runs may be ahead of the one whose result is due next, so that
/// results do not pile up behind a slow one.
pub(super) const AHEAD_MAX: usize = 10_000;

/// Makes all runs in this process, on `workers` OS threads, and gives `each` the
/// results in the order of `jobs`. `begins` is told before each run, on the
/// worker's thread and with its number. Ends early if `each` breaks.
///
/// A run that dies ends the process: `supervise` is for code that may.
pub fn sweep(
    jobs: &Jobs,
    workers: usize,
    mode: Mode,
    begins: impl Fn(usize, Job) + Sync,
    mut each: impl FnMut(RunResult) -> ControlFlow<()>,
) {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let (results_tx, results_rx) = mpsc::sync_channel(AHEAD_MAX);
    std::thread::scope(|scope| {
        for worker in 0..workers.max(1) {
            let (results_tx, next, stop, begins) = (results_tx.clone(), &next, &stop, &begins);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    begins(worker, job);
                    let result = run_once(job.test, job.seed, mode);
                    if results_tx.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results_tx);

        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, result) in results_rx {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                due += 1;
                if each(result).is_break() {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites;

    #[test]
    fn jobs_go_test_by_test_and_seed_by_seed() {
        let tests: Vec<_> = suites::all().take(2).collect();
        let jobs = Jobs::All { tests: tests.clone(), seeds: SeedRange { first: 5, end: 8 } };
        let listed: Vec<_> = jobs.iter().map(|job| (job.test.name, job.seed)).collect();
        let (a, b) = (tests[0].name, tests[1].name);
        assert_eq!(listed, [(a, 5), (a, 6), (a, 7), (b, 5), (b, 6), (b, 7)]);
        assert_eq!(jobs.len(), 6);
    }

    #[test]
    fn results_come_in_order_whoever_is_quicker() {
        let tests = suites::all().collect();
        let jobs = Jobs::All { tests, seeds: SeedRange { first: 0, end: 4 } };
        let mut came = Vec::new();
        sweep(
            &jobs,
            4,
            Mode::Simulated,
            |_, _| {},
            |result| {
                came.push((result.test.name, result.seed));
                ControlFlow::Continue(())
            },
        );
        let expected: Vec<_> = jobs.iter().map(|job| (job.test.name, job.seed)).collect();
        assert_eq!(came, expected);
    }
}
