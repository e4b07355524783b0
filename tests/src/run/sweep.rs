//! Many runs at once, in an order that does not depend on who is quicker.
//!
//! Boundary: hands runs to OS threads and results to the caller.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use super::once::{Mode, RunResult, run_once};
use crate::suites::LabTest;

/// One run to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The test.
    pub test: &'static LabTest,
    /// Its seed.
    pub seed: u64,
}

/// How far the runs may be ahead of the one whose result is due next, so that
/// results do not pile up behind a slow one.
const AHEAD_MAX: usize = 10_000;

/// Makes all runs, `workers` at a time, and gives `each` the results in the
/// order of `jobs`. `begins` is told before each run, on the worker's thread.
/// Ends early if `each` breaks.
pub fn sweep(
    jobs: &[Job],
    workers: usize,
    mode: Mode,
    begins: impl Fn(Job) + Sync,
    mut each: impl FnMut(RunResult) -> ControlFlow<()>,
) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (results_tx, results_rx) = mpsc::sync_channel(AHEAD_MAX);
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            let (results_tx, next, stop, begins) = (results_tx.clone(), &next, &stop, &begins);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    begins(*job);
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
