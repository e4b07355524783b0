//! One test under one seed.
//!
//! Boundary: sets a lab up in a world, runs a body, and collects what is left.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use labsim::note::Note;
use labsim::{Config, Outcome};
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::sweep::Job;
use crate::check::{Broken, Kind};
use crate::harness::{Lab, Trail};
use crate::suites::LabTest;
use crate::watch::Sight;

/// Every test has so much time: virtual, or real on OS threads.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How a test is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// In virtual time, under its seed.
    Simulated,
    /// Twice, which must come to the same.
    Twice,
    /// On OS threads, in real time.
    Real,
}

/// How one run went.
#[derive(Debug)]
pub struct RunResult {
    /// The test.
    pub test: &'static LabTest,
    /// Its seed.
    pub seed: u64,
    /// On OS threads: no seed reproduces it.
    pub real: bool,
    /// What was broken, if anything was.
    pub broken: Option<Broken>,
    /// Whose step broke it.
    pub caused_by: Option<CausedBy>,
    /// Its OS thread could not be ended.
    pub abandoned: bool,
    /// The process that made it ended with it. What is known is what it printed;
    /// times other than `wall`, sights and notes are lost.
    pub died: Option<Died>,
    /// What it printed, if it failed in a worker process and was not shown.
    pub output: Output,
    /// The last notes.
    pub notes: Vec<Note>,
    /// What deserves a word.
    pub warnings: Vec<String>,
    /// What it has shown.
    pub sights: BTreeSet<Sight>,
    /// Virtual time that passed; on OS threads, real time.
    pub elapsed: Duration,
    /// The machine's time that passed.
    pub wall: Duration,
    /// CPU time of the simulation's thread; of both, if it was run twice.
    pub cpu: Duration,
    /// Steps of all threads.
    pub steps: u64,
    /// Calls that were made.
    pub rpcs: u64,
    /// Bytes that crossed the network.
    pub bytes: u64,
    /// The digest of every step.
    pub hash: u64,
}

impl RunResult {
    /// A run of which nothing is known yet.
    pub(super) fn empty(job: Job, mode: Mode) -> Self {
        Self {
            test: job.test,
            seed: job.seed,
            real: mode == Mode::Real,
            broken: None,
            caused_by: None,
            abandoned: false,
            died: None,
            output: Output::default(),
            notes: Vec::new(),
            warnings: Vec::new(),
            sights: BTreeSet::new(),
            elapsed: Duration::ZERO,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            steps: 0,
            rpcs: 0,
            bytes: 0,
            hash: 0,
        }
    }
}

/// A run that did not outlive its process, or the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Died {
    /// How many runs the process had made before, each of which may have left
    /// something behind.
    pub runs_before: u64,
}

/// Whose step it was that failed a run, and when and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CausedBy {
    /// The node, if it was one's thread.
    pub node: Option<String>,
    /// The thread.
    pub thread: String,
    /// When.
    pub at: Duration,
    /// The source line, where one is to blame.
    pub place: Option<String>,
    /// The stack of a panic, if it was asked for.
    pub backtrace: Option<String>,
}

/// Runs `test` under `seed`, and returns whatever happens.
pub fn run_once(test: &'static LabTest, seed: u64, mode: Mode) -> RunResult {
    let first = attempt(test, seed, mode == Mode::Real, false);
    if mode != Mode::Twice {
        return first;
    }
    let second = attempt(test, seed, false, false);
    let cpu = first.cpu + second.cpu;
    let wall = first.wall + second.wall;
    let same = (first.hash, first.steps, first.elapsed, &first.broken, first.rpcs, first.bytes)
        == (second.hash, second.steps, second.elapsed, &second.broken, second.rpcs, second.bytes);
    if same {
        return RunResult { cpu, wall, ..first };
    }
    let message = format!(
        "two runs of one seed differ: {} and {} steps, hashes {:016x} and {:016x}\n{}",
        first.steps,
        second.steps,
        first.hash,
        second.hash,
        first_difference(test, seed)
    );
    let broken = Some(Broken { kind: Kind::NotDeterministic, rule: None, message });
    RunResult { cpu, wall, broken, caused_by: None, ..first }
}

fn attempt(test: &'static LabTest, seed: u64, real: bool, trace: bool) -> RunResult {
    traced_attempt(test, seed, real, trace).0
}

fn traced_attempt(test: &'static LabTest, seed: u64, real: bool, trace: bool) -> (RunResult, Vec<labsim::TraceStep>) {
    let trail = Trail::default();
    let theirs = trail.clone();
    let body = move || {
        let mut lab = Lab::new(test.servers, test.reliable, theirs);
        (test.body)(&mut lab);
    };
    let config = Config { trace, ..Config::seed(seed).time_limit(TIME_LIMIT) };
    let begun = Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        if real { labsim::run_real(config, body) } else { labsim::simulate(config, body) }
    }));
    let wall = begun.elapsed();

    let traffic = trail.traffic.lock().clone();
    let mut result = RunResult {
        warnings: std::mem::take(&mut trail.warnings.lock()),
        sights: trail.sights.lock().seen().clone(),
        wall,
        rpcs: traffic.calls(),
        bytes: traffic.bytes(),
        ..RunResult::empty(Job { test, seed }, if real { Mode::Real } else { Mode::Simulated })
    };
    match ran {
        Ok(outcome) => {
            let trace = fill_in(&mut result, outcome);
            (result, trace)
        }
        Err(_) => {
            let message = "the simulator itself failed, and printed why".to_owned();
            result.broken = Some(Broken { kind: Kind::Harness, rule: None, message });
            (result, Vec::new())
        }
    }
}

fn fill_in(result: &mut RunResult, outcome: Outcome<()>) -> Vec<labsim::TraceStep> {
    result.elapsed = outcome.elapsed;
    result.cpu = outcome.cpu;
    result.steps = outcome.steps;
    result.hash = outcome.hash;
    result.abandoned = outcome.abandoned;
    if let Err(failure) = outcome.result {
        result.broken = Some(Broken::from_failure(&failure));
        result.notes = outcome.notes;
        result.caused_by = Some(CausedBy {
            node: failure.node,
            thread: failure.thread,
            at: failure.at,
            place: failure.place,
            backtrace: failure.backtrace,
        });
    }
    outcome.trace
}

/// Runs twice more, with a trace, and says where the two part.
fn first_difference(test: &'static LabTest, seed: u64) -> String {
    let first = traced_attempt(test, seed, false, true).1;
    let second = traced_attempt(test, seed, false, true).1;
    let step = first.iter().zip(&second).position(|(a, b)| a != b).unwrap_or(first.len().min(second.len()));
    let Some((a, b)) = first.get(step).zip(second.get(step)) else {
        return "traced, the two were the same: something outside labsim decides, and rarely".to_owned();
    };
    let millis = a.nanos / 1_000_000;
    format!(
        "they part at switch {step}, at {}.{:03}s: to thread {} in one, to thread {} in the other; \
         look for std's HashMap, clocks, threads or locks in what ran just before",
        millis / 1000,
        millis % 1000,
        a.thread,
        b.thread
    )
}
