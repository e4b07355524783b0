//! Jobs that are two runs, which must be the same, in two processes.
//!
//! What a process keeps for itself is the same in all of its runs: its number, the
//! addresses of its code, a static that was filled once. So the places are of two
//! kinds, *first* and *second makers*, and a job goes to one of each. A second
//! maker is sent a job when the first run of it is over. If it has made as many
//! runs of that test by then as the other had, it makes one more beforehand, a
//! *rehearsal*, so that a static which counts them never stands the same for both.
//!
//! Two that differ are made once more by the same rules, each with its trace in a
//! file, and the traces tell where they part.
//!
//! Boundary: who makes which run of a job, and what the runs come to together.
//! Comparing is in `run/twice.rs` and `run/trace.rs`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::iter::repeat_n;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Place, Supervisor};
use crate::check::Kind;
use crate::run::once::{Mode, RunResult};
use crate::run::sweep::Job;
use crate::run::trace::{Made, first_difference};
use crate::run::twice;
use crate::run::wire::Order;

/// Which of a job's runs a process makes. Where a job is one run, it is the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Maker {
    First,
    Second,
}

/// Who sits in each place, so that `workers` of them can run at a time. No more
/// than `jobs` of a kind have anything to do.
pub(super) fn makers(workers: usize, is_twice: bool, jobs: usize) -> impl Iterator<Item = Maker> {
    let (firsts, seconds) = if is_twice { (workers.div_ceil(2), workers.div_ceil(2)) } else { (workers, 0) };
    repeat_n(Maker::First, firsts.min(jobs)).chain(repeat_n(Maker::Second, seconds.min(jobs)))
}

/// Every job of which something is known and more has to be.
#[derive(Default)]
pub(super) struct Pairs(BTreeMap<u64, Pair>);

#[derive(Default)]
struct Pair {
    /// How many runs of the test the first maker had made before this one.
    first_runs_before: u64,
    first: Option<RunResult>,
    /// The second run, if the two differ and are made again for their traces.
    second: Option<RunResult>,
    traces: Option<[TraceFile; 2]>,
    /// The first of them is written.
    is_half_traced: bool,
}

/// What becomes of a job when one of its runs is over.
enum Next {
    /// Another run is wanted.
    Run(Maker),
    /// That is its result.
    Over(Box<RunResult>),
}

impl Pairs {
    /// Completes the order of a run from a process that will have made
    /// `runs_before` others of its test then.
    fn complete(&mut self, order: &mut Order, maker: Maker, runs_before: &mut u64) {
        let pair = self.0.entry(order.job).or_default();
        order.mode = Mode::Simulated;
        order.trace = pair.traces.as_ref().map(|traces| traces[maker as usize].name.clone());
        match maker {
            Maker::First => pair.first_runs_before = *runs_before,
            Maker::Second => order.rehearses = pair.first_runs_before == *runs_before,
        }
        *runs_before += 1 + u64::from(order.rehearses);
    }

    /// Takes in the end of a run.
    fn take_in(&mut self, job: u64, run: RunResult) -> Next {
        let pair = self.0.entry(job).or_default();
        let next = pair.take_in(run);
        if matches!(next, Next::Over(_)) {
            self.0.remove(&job);
        }
        next
    }

    fn is_new(&self, job: u64) -> bool {
        self.0.get(&job).is_none_or(|pair| pair.first.is_none())
    }
}

impl Pair {
    fn take_in(&mut self, run: RunResult) -> Next {
        if let Some(traces) = &self.traces {
            if !std::mem::replace(&mut self.is_half_traced, true) {
                return Next::Run(Maker::Second);
            }
            let parting = parting(traces);
            let (first, second) = (self.first.take(), self.second.take());
            let both = first.zip(second).expect("two that differ are traced");
            return over(twice::differ(both.0, both.1, &parting));
        }
        let Some(first) = self.first.take() else {
            if is_ended_by_the_machine(&run) || run.abandoned {
                return over(run); // As dear as it was, it would be so again.
            }
            self.first = Some(run);
            return Next::Run(Maker::Second);
        };
        if twice::are_same(&first, &run) {
            return over(twice::both(first, &run));
        }
        if is_ended_by_the_machine(&run) {
            return over(run);
        }
        if !twice::has_ended(&first) || !twice::has_ended(&run) {
            return over(twice::end_differently(first, run));
        }
        match TraceFile::create().and_then(|one| Ok([one, TraceFile::create()?])) {
            Ok(traces) => {
                self.traces = Some(traces);
                (self.first, self.second) = (Some(first), Some(run));
                Next::Run(Maker::First)
            }
            Err(error) => over(twice::differ(first, run, &untraced(&error))),
        }
    }
}

/// The result of a job. Nobody reads what a green one printed.
fn over(mut result: RunResult) -> Next {
    if result.broken.is_none() {
        result.output = Default::default();
    }
    Next::Over(Box::new(result))
}

/// Time and memory have their limits, and a run is ended for them a little earlier
/// or later: that is no difference of the program's.
fn is_ended_by_the_machine(run: &RunResult) -> bool {
    let killed_for = run.broken.as_ref().filter(|_| run.died.is_some()).map(|broken| broken.kind);
    run.by_machine || matches!(killed_for, Some(Kind::Stuck | Kind::Limit))
}

fn parting(traces: &[TraceFile; 2]) -> String {
    let [one, other] = traces.each_ref().map(|trace| File::open(&trace.name));
    one.and_then(|one| first_difference(one, other?, Made::InTwoProcesses)).unwrap_or_else(|error| untraced(&error))
}

fn untraced(error: &io::Error) -> String {
    format!("where they part is not known, for there is no trace of both: {error}")
}

/// An empty file for a trace, which is gone when it is no longer wanted.
struct TraceFile {
    /// With its folder.
    name: String,
}

impl TraceFile {
    fn create() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lab-{}-{count}.trace", std::process::id()));
        let not_text = |path: PathBuf| io::Error::other(format!("{} is not text", path.display()));
        let name = path.into_os_string().into_string().map_err(|path| not_text(path.into()))?;
        // One that is there already is somebody else's.
        OpenOptions::new().write(true).create_new(true).open(&name)?;
        Ok(Self { name })
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.name);
    }
}

impl<B: FnMut(usize, Job), E: FnMut(RunResult) -> ControlFlow<()>> Supervisor<'_, B, E> {
    /// Makes orders for a place those of one of two runs, if each job is two.
    pub(super) fn pair_up(&mut self, place: usize, orders: &mut [Order]) {
        let Place { maker, process: Some((_, process)), .. } = &mut self.places[place] else { return };
        let Some(pairs) = &mut self.pairs else { return };
        for order in orders {
            pairs.complete(order, *maker, process.runs_ordered.entry(order.test.clone()).or_default());
        }
    }

    /// Takes in a run that is over, however it ended. It is the result of its job
    /// if that is one run.
    pub(super) fn take_in(&mut self, job: u64, run: RunResult) {
        let Some(pairs) = &mut self.pairs else { return self.deliver(job, run) };
        match pairs.take_in(job, run) {
            Next::Over(result) => self.deliver(job, *result),
            Next::Run(maker) => {
                self.returned[maker as usize].insert(job);
            }
        }
    }

    /// True if the process of a place may be sent runs now: so that no more than
    /// `workers` run, one that is busy makes room for one that is not.
    pub(super) fn has_turn(&self, place: usize) -> bool {
        let is_busy = |place: &Place| place.process.as_ref().is_some_and(|(_, process)| process.is_busy());
        let busy = self.places.iter().filter(|place| is_busy(place)).count();
        let somebody_waits = || self.places.iter().any(|place| !is_busy(place) && self.has_more(place.maker));
        busy < self.setting.workers.max(1) || (is_busy(&self.places[place]) && !somebody_waits())
    }

    /// What a job prints is shown once, as its first maker prints it.
    pub(super) fn shows_output(&self, place: usize) -> bool {
        self.setting.shows_output && self.places[place].maker == Maker::First
    }

    /// A job is announced once, before the first run of it.
    pub(super) fn announces(&self, job: u64) -> bool {
        self.pairs.as_ref().is_none_or(|pairs| pairs.is_new(job))
    }
}
