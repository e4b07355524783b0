//! One test under one seed.
//!
//! Boundary: sets a lab up in a world, runs a body, and collects what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use labsim::note::Note;
use labsim::record::Record;
use labsim::{Config, Outcome, ThreadStack, Trace};
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::sweep::Job;
use super::twice;
use crate::check::{Broken, Kind, Spent};
use crate::events::Story;
pub(super) use crate::harness::TIME_LIMIT;
use crate::harness::{Lab, Setup, Trail, Watching};
use crate::suites::{LabTest, Service};
use crate::watch::Sight;

/// Every test has so much of the machine's CPU time. Those that pass need a tenth of it.
const CPU_LIMIT: Duration = Duration::from_secs(8);
/// With clients that call on and on, a log has thousands of entries: a Raft that writes all
/// of it each time is slow, and right.
const CPU_LIMIT_OF_SERVICES: Duration = Duration::from_secs(24);

/// How many threads a run may have at once. Linux lets a process map some 32,000
/// stacks, and another run may be in the same one.
const THREAD_LIMIT: usize = 10_000;

/// How a test is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// In virtual time, under its seed.
    Simulated,
    /// As that, with the record on and every promise checked against the disk: the
    /// same run, unless that finds something earlier.
    Recorded,
    /// Twice, which must come to the same: in two processes, where there are
    /// workers, and otherwise in this one.
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
    /// It used up what it may take of the machine: on another one, or the next
    /// time, that may be earlier, later, or not at all.
    pub by_machine: bool,
    /// And it will take the process with it: see `labsim::exit`.
    pub fatal: bool,
    /// The stack of every thread that was alive, if `LAB_STACKS` asked for them.
    pub stacks: Vec<ThreadStack>,
    /// The process that made it ended with it. What is known is what it printed;
    /// times other than `wall`, sights and notes are lost.
    pub died: Option<Died>,
    /// What it came to when it was made once more in a process of its own, if that
    /// is something else.
    pub alone: Option<String>,
    /// What led to its failure, if it was recorded.
    pub story: Option<Story>,
    /// What the run came to at first, and when, before its record showed an earlier
    /// cause.
    pub symptom: Option<(&'static str, Duration)>,
    /// What it printed, if it failed in a worker process and was not shown.
    pub output: Output,
    /// The last notes.
    pub notes: Vec<Note>,
    /// What deserves a word.
    pub warnings: Vec<String>,
    /// What was done to its servers, a line each.
    pub faults: Vec<String>,
    /// What it has shown.
    pub sights: BTreeSet<Sight>,
    /// What it took of things that have a limit, by their names.
    pub spent: BTreeMap<String, Spent>,
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
            by_machine: false,
            fatal: false,
            stacks: Vec::new(),
            died: None,
            alone: None,
            story: None,
            symptom: None,
            output: Output::default(),
            notes: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
            sights: BTreeSet::new(),
            spent: BTreeMap::new(),
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
///
/// [`Mode::Twice`] makes both runs in this process here, and so sees only what
/// changes within one: `supervise` has two processes for them.
pub fn run_once(test: &'static LabTest, seed: u64, mode: Mode) -> RunResult {
    match mode {
        Mode::Simulated => attempt(test, seed, Way::default()).0,
        Mode::Recorded => run_recorded(test, seed).0,
        Mode::Twice => twice::run_here(test, seed),
        Mode::Real => attempt(test, seed, Way { real: true, ..Way::default() }).0,
    }
}

/// As a simulated [`run_once`], with the trace of it. It is the same run.
pub(super) fn run_traced(test: &'static LabTest, seed: u64) -> (RunResult, Trace) {
    let (result, left) = attempt(test, seed, Way { trace: true, ..Way::default() });
    (result, left.trace)
}

/// As [`run_once`] with [`Mode::Recorded`], with the record. The result of a red run
/// has its story.
pub fn run_recorded(test: &'static LabTest, seed: u64) -> (RunResult, Record) {
    let (mut result, left) = attempt(test, seed, Way { record: true, watching: Watching::Promises, ..Way::default() });
    let servers = test.setup.under(seed).servers;
    result.story = result.broken.as_ref().map(|broken| Story::tell(&left.record, servers, broken));
    (result, left.record)
}

/// As a simulated [`run_once`], watched more or less closely, and recorded or not: for
/// those who measure what that costs.
pub fn run_watching(test: &'static LabTest, seed: u64, watching: Watching, record: bool) -> RunResult {
    attempt(test, seed, Way { watching, record, ..Way::default() }).0
}

/// How one attempt is made.
#[derive(Clone, Copy, Default)]
struct Way {
    real: bool,
    trace: bool,
    record: bool,
    watching: Watching,
}

/// What a run leaves to be read.
#[derive(Default)]
struct Left {
    trace: Trace,
    record: Record,
}

fn attempt(test: &'static LabTest, seed: u64, way: Way) -> (RunResult, Left) {
    let real = way.real;
    let trail = Trail::default();
    let theirs = trail.clone();
    let body = move || {
        let setup = test.setup.under(seed);
        let lab = Lab::new(&Setup { watching: way.watching, ..setup }, theirs);
        (test.body)(&lab);
    };
    let stacks = std::env::var_os("LAB_STACKS").is_some_and(|value| !value.is_empty() && value != "0");
    // A record takes time, and is no fault of the run.
    let has_clients = matches!(test.setup.service, Service::KeyValue { .. });
    let cpu_limit = if has_clients { CPU_LIMIT_OF_SERVICES } else { CPU_LIMIT };
    let cpu_limit = if way.record { cpu_limit * 4 } else { cpu_limit };
    let limits = Config { cpu_limit, thread_limit: THREAD_LIMIT, ..Config::seed(seed) };
    let config =
        Config { lock_order: true, trace: way.trace, record: way.record, stacks, ..limits.time_limit(TIME_LIMIT) };
    let begun = Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        if real { labsim::run_real(config, body) } else { labsim::simulate(config, body) }
    }));
    let wall = begun.elapsed();

    let traffic = trail.traffic.lock().clone();
    let mut result = RunResult {
        warnings: std::mem::take(&mut trail.warnings.lock()),
        faults: std::mem::take(&mut trail.faults.lock()),
        sights: trail.sights.lock().seen().clone(),
        spent: std::mem::take(&mut trail.spent.lock()),
        wall,
        rpcs: traffic.calls(),
        bytes: traffic.bytes(),
        ..RunResult::empty(Job { test, seed }, if real { Mode::Real } else { Mode::Simulated })
    };
    match ran {
        Ok(outcome) => {
            let left = fill_in(&mut result, outcome);
            (result, left)
        }
        Err(_) => {
            let message = "the simulator itself failed, and printed why".to_owned();
            result.broken = Some(Broken::unnamed(Kind::Harness, message));
            (result, Left::default())
        }
    }
}

fn fill_in(result: &mut RunResult, outcome: Outcome<()>) -> Left {
    result.elapsed = outcome.elapsed;
    result.cpu = outcome.cpu;
    result.steps = outcome.steps;
    result.hash = outcome.hash;
    result.abandoned = outcome.abandoned;
    result.fatal = outcome.fatal || outcome.abandoned && !printing_works(ABANDONED_PATIENCE);
    if let Err(failure) = outcome.result {
        result.broken = Some(Broken::from_failure(&failure));
        result.by_machine = failure.kind.depends_on_machine();
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
    Left { trace: outcome.trace, record: outcome.record }
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
