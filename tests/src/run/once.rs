//! One test under one seed.
//!
//! Boundary: sets a lab up in a world, runs a body, and collects what is left.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use labsim::note::Note;
use labsim::{Config, Outcome, ThreadStack, Trace, TraceStep};
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::sweep::Job;
use crate::check::{Broken, Kind};
use crate::harness::{Lab, Trail};
use crate::suites::LabTest;
use crate::watch::Sight;

/// Every test has so much time: virtual, or real on OS threads.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(120);

/// And so much of the machine's CPU time. Those that pass need a tenth of it.
const CPU_LIMIT: Duration = Duration::from_secs(8);

/// How many threads a run may have at once. Linux lets a process map some 32,000
/// stacks, and another run may be in the same one.
const THREAD_LIMIT: usize = 10_000;

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
    /// And it will take the process with it: see `labsim::exit`.
    pub fatal: bool,
    /// The stack of every thread that was alive, if `LAB_STACKS` asked for them.
    pub stacks: Vec<ThreadStack>,
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
            fatal: false,
            stacks: Vec::new(),
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

fn traced_attempt(test: &'static LabTest, seed: u64, real: bool, trace: bool) -> (RunResult, Trace) {
    let trail = Trail::default();
    let theirs = trail.clone();
    let body = move || {
        let mut lab = Lab::new(test.servers, test.reliable, theirs);
        (test.body)(&mut lab);
    };
    let stacks = std::env::var_os("LAB_STACKS").is_some_and(|value| !value.is_empty() && value != "0");
    let limits = Config { cpu_limit: CPU_LIMIT, thread_limit: THREAD_LIMIT, ..Config::seed(seed) };
    let config = Config { trace, stacks, ..limits.time_limit(TIME_LIMIT) };
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
            (result, Trace::default())
        }
    }
}

fn fill_in(result: &mut RunResult, outcome: Outcome<()>) -> Trace {
    result.elapsed = outcome.elapsed;
    result.cpu = outcome.cpu;
    result.steps = outcome.steps;
    result.hash = outcome.hash;
    result.abandoned = outcome.abandoned;
    result.fatal = outcome.fatal || outcome.abandoned && !printing_works(ABANDONED_PATIENCE);
    if let Err(failure) = outcome.result {
        result.broken = Some(Broken::from_failure(&failure));
        result.notes = outcome.notes;
        result.stacks = failure.stacks;
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

/// How long the locks on what this process prints to may be taken after a run
/// that was abandoned. Anybody else holds them for moments.
const ABANDONED_PATIENCE: Duration = Duration::from_millis(500);

/// True unless a thread that is gone, sleeps or spins has a lock on what this
/// process prints to: whoever prints next would wait for ever.
pub(super) fn printing_works(patience: Duration) -> bool {
    let (done_tx, done_rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(std::io::stdout().lock());
        drop(std::io::stderr().lock());
        print!(""); // Where the test runner captures it, that has a lock of its own.
        let _ = done_tx.send(());
    });
    done_rx.recv_timeout(patience).is_ok()
}

/// Runs twice more, with a trace, and says where the two part.
fn first_difference(test: &'static LabTest, seed: u64) -> String {
    let first = traced_attempt(test, seed, false, true).1;
    let second = traced_attempt(test, seed, false, true).1;
    let (a, b) = (&first.steps, &second.steps);
    let step = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    let describe = |trace: &Trace, step: &TraceStep| format!("`{}` at {}", trace.name(step.thread), step.place);
    let before = match step.checked_sub(1).and_then(|last| a.get(last)) {
        Some(last) => format!("{} had run until then", describe(&first, last)),
        None => "nobody had run before".to_owned(),
    };
    let (Some(one), Some(other)) = (a.get(step), b.get(step)) else {
        if a.len() == b.len() {
            return "traced, the two were the same: something outside labsim decides, and rarely".to_owned();
        }
        return format!("after switch {step} one of them goes on and the other ends; {before}: look there");
    };
    let what = if one.thread != other.thread || one.place != other.place {
        format!("{} goes on in one, and {} in the other", describe(&first, one), describe(&second, other))
    } else if one.nanos != other.nanos {
        format!("{} goes on {} ns later in one", describe(&first, one), one.nanos.abs_diff(other.nanos))
    } else {
        format!("{} goes on in both, but what was drawn before differs", describe(&first, one))
    };
    let millis = one.nanos.min(other.nanos) / 1_000_000;
    format!(
        "they part at switch {step}, at {}.{:03}s: {what}\n{before}: look there for {}",
        millis / 1000,
        millis % 1000,
        culprits()
    )
}

/// What makes a program differ from itself where it goes past labsim.
fn culprits() -> &'static str {
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        // The rest obeys the seed: `labsim::interpose!`.
        "a static that outlives the run, an order by address, a file, or std's atomics between runs"
    } else {
        "the order of a std HashMap, std's clocks, rand::rng(), or a static that outlives the run"
    }
}
