//! Many runs in worker processes, so that one which dies, hangs or floods costs
//! itself and no other.
//!
//! A worker is this program again (`worker.rs`). It is sent runs, and a few more
//! than it can make at once, so that it never waits for the next. It says when
//! it begins a run: if it dies, that is the run that killed it, and the others
//! that it was sent go to somebody else. What a run may take of the machine is
//! in [`Limits`]; who takes more is killed, and that is what is reported.
//!
//! Where each job is two runs that must be the same, `pairs.rs` sees to it that two
//! processes make them.
//!
//! All of this happens on the caller's thread, which waits for [`Event`]s of the
//! pipes and looks at the processes every [`LOOK_EVERY`].
//!
//! Boundary: processes and jobs. Knows no test, and prints nothing but, where it
//! is asked to, what a run prints.

mod death;
mod limits;
mod pairs;
mod patience;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use self::limits::Limits;
pub use self::process::VERB;

use self::death::Killed;
use self::pairs::{Maker, Pairs};
use self::patience::Patience;
use self::process::{Event, Process, Reading, Remains, What};
use super::once::{Died, Mode, RunResult};
use super::output::Output;
use super::sweep::{AHEAD_MAX, Job, Jobs};
use super::wire::{Order, Said};
use crate::check::Broken;

/// How often memory and wall time of the workers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// More than this between two looks, and it was we who stood still.
const LOOK_GAP_MAX: Duration = Duration::from_secs(1);

/// At the most so much work waits at a worker, by what its tests took lately, and
/// in so many runs.
const WAITING_WALL: Duration = Duration::from_millis(10);
const WAITING_MAX: usize = 8;

/// So many processes in a row that die before they begin a run, and their place
/// stays empty.
const FALSE_STARTS_MAX: u32 = 3;

/// How a sweep is made in worker processes.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many processes run at a time. Where each job is two runs, there are two
    /// at the least, and one that does not run waits for its turn.
    pub workers: usize,
    /// How each test is run.
    pub mode: Mode,
    /// What each run may take of the machine.
    pub limits: Limits,
    /// What runs print goes to standard error as it comes, and not into reports.
    pub shows_output: bool,
    /// The program that makes them, if it is not this one: another build of it.
    pub program: Option<PathBuf>,
}

/// Makes all runs in worker processes and gives `each` the results in the order
/// of `jobs`. `begins` is told before each of them is run, with the number of the
/// worker's place. Ends early if `each` breaks.
///
/// A run whose process dies or is killed fails, and the others go on. Of a test
/// that has cost too much time for nothing, the rest is not made, and fails. In
/// [`Mode::Twice`] a job is two runs in two processes, and has one result.
///
/// # Errors
///
/// If no worker can be kept alive until it begins a run. What was not given to
/// `each` by then was not made.
pub fn supervise(
    jobs: &Jobs,
    setting: &Setting,
    begins: impl FnMut(usize, Job),
    each: impl FnMut(RunResult) -> ControlFlow<()>,
) -> Result<(), String> {
    let (events_tx, events_rx) = mpsc::channel();
    let is_twice = setting.mode == Mode::Twice;
    let job_count = usize::try_from(jobs.len()).unwrap_or(usize::MAX);
    let mut supervisor = Supervisor {
        jobs,
        setting: setting.clone(),
        places: pairs::makers(setting.workers.max(1), is_twice, job_count).map(Place::of).collect(),
        process_count: 0,
        events_tx,
        next: 0,
        returned: [BTreeSet::new(), BTreeSet::new()],
        pairs: is_twice.then(Pairs::default),
        walls: BTreeMap::new(),
        early: BTreeMap::new(),
        due: 0,
        patience: Patience::default(),
        is_over: false,
        begins,
        each,
    };
    let mut looked = Instant::now();
    loop {
        supervisor.fill_places();
        if supervisor.is_over || supervisor.due == jobs.len() {
            return Ok(());
        }
        if let Some(fault) = supervisor.fault() {
            return Err(fault);
        }
        match events_rx.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
            Ok(event) => supervisor.hear(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the supervisor has a sender itself"),
        }
        if looked.elapsed() >= LOOK_EVERY {
            // All that they have said first: whoever is dead now may have said so.
            while let Ok(event) = events_rx.try_recv() {
                supervisor.hear(event);
            }
            supervisor.look(looked.elapsed().min(LOOK_GAP_MAX));
            looked = Instant::now();
        }
    }
}

/// Where a worker process is, and another one if that dies.
struct Place {
    /// Which runs are made here.
    maker: Maker,
    process: Option<(u64, Process)>,
    /// How many processes in a row have died here before they began a run.
    false_starts: u32,
    /// How the last of them ended.
    false_start: String,
}

struct Supervisor<'a, B, E> {
    jobs: &'a Jobs,
    setting: Setting,
    places: Vec<Place>,
    /// Each process gets a number of its own: events of a dead one may be late.
    process_count: u64,
    events_tx: mpsc::Sender<Event>,
    /// The first job that was never sent to anybody.
    next: u64,
    /// Jobs that were sent to a process which died before it began them, and
    /// those of which another run is wanted, by the maker who is to make it.
    returned: [BTreeSet<u64>; 2],
    /// What is known of jobs that are two runs, if they are.
    pairs: Option<Pairs>,
    /// What the last run of each test took.
    walls: BTreeMap<&'static str, Duration>,
    /// Results that came before their turn.
    early: BTreeMap<u64, RunResult>,
    /// The job whose result is the next to be given out.
    due: u64,
    patience: Patience,
    is_over: bool,
    begins: B,
    each: E,
}

impl<B: FnMut(usize, Job), E: FnMut(RunResult) -> ControlFlow<()>> Supervisor<'_, B, E> {
    /// Sees that every worker has enough to do, and every place a worker while
    /// there is something left to do.
    fn fill_places(&mut self) {
        // From the last: second makers come before first ones, who can run ahead.
        for place in (0..self.places.len()).rev() {
            if self.places[place].process.is_none() && self.has_more(self.places[place].maker) {
                self.start(place);
            }
            let mut orders = self.take_orders(place);
            self.pair_up(place, &mut orders);
            if let Some((_, process)) = &mut self.places[place].process
                && !orders.is_empty()
            {
                process.order(&orders);
            }
        }
    }

    fn start(&mut self, place: usize) {
        let output_bytes_max = self.setting.limits.output_kib << 10;
        let reading = Reading { output_bytes_max, is_shown: self.shows_output(place) };
        while self.places[place].false_starts < FALSE_STARTS_MAX {
            self.process_count += 1;
            let program = self.setting.program.as_deref();
            match Process::start(program, self.process_count, self.events_tx.clone(), reading) {
                Ok(process) => {
                    self.places[place].process = Some((self.process_count, process));
                    return;
                }
                Err(error) => self.places[place].starts_falsely(error.to_string()),
            }
        }
    }

    /// Some job is with nobody, and may be sent to `maker`.
    fn has_more(&self, maker: Maker) -> bool {
        let may_begin = self.next < self.jobs.len() && self.next < self.due + AHEAD_MAX as u64;
        !self.returned[maker as usize].is_empty() || (maker == Maker::First && may_begin)
    }

    /// The runs that the worker of a place is to be sent now.
    ///
    /// Some milliseconds' worth of them wait there, so that a worker that is quick
    /// never waits itself. A slow run waits with nobody: it goes to whoever is
    /// free first.
    fn take_orders(&mut self, place: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some((_, process)) = &self.places[place].process else { return orders };
        let mut worth: Duration = process.waiting.iter().map(|job| self.expected_wall(*job)).sum();
        let mut waiting = process.waiting.len();
        let is_idle = !process.is_busy();
        // Not at each chance, so that an order does not cost a write of its own.
        if process.killed.is_some() || waiting > WAITING_MAX / 2 || worth > WAITING_WALL / 2 || !self.has_turn(place) {
            return orders;
        }
        let maker = self.places[place].maker;
        while waiting < WAITING_MAX && self.has_more(maker) {
            let number = self.returned[maker as usize].first().copied().unwrap_or(self.next);
            let job = self.job(number);
            let is_tried = !self.patience.has_given_up(job);
            if is_tried {
                worth += self.expected_wall(number);
                if worth > WAITING_WALL && !(is_idle && waiting == 0) {
                    break;
                }
            }
            if self.returned[maker as usize].pop_first().is_none() {
                self.next += 1;
            }
            if !is_tried {
                continue; // Its turn comes without it.
            }
            let (test, mode) = (job.test.name.to_owned(), self.setting.mode);
            orders.push(Order { job: number, test, seed: job.seed, mode, rehearses: false, trace: None });
            waiting += 1;
        }
        orders
    }

    /// What a run will take, as far as its test is known: what the last one took.
    fn expected_wall(&self, number: u64) -> Duration {
        self.walls.get(self.job(number).test.name).copied().unwrap_or(Duration::MAX / 100)
    }

    fn job(&self, number: u64) -> Job {
        self.jobs.get(number).expect("only jobs that there are were sent")
    }

    /// Why nothing will ever go on: no process begins any run.
    fn fault(&self) -> Option<String> {
        [Maker::First, Maker::Second].into_iter().find_map(|maker| {
            let theirs = self.places.iter().filter(|place| place.maker == maker);
            let place = theirs.max_by_key(|place| place.process.is_some())?;
            (place.process.is_none() && self.has_more(maker)).then(|| {
                format!(
                    "{} worker processes in a row died before they began a run, the last of them with {}",
                    place.false_starts, place.false_start
                )
            })
        })
    }

    fn hear(&mut self, event: Event) {
        let is_its = |place: &Place| place.process.as_ref().is_some_and(|(number, _)| *number == event.process);
        let Some(place) = self.places.iter().position(is_its) else {
            return; // It was buried already.
        };
        let Some((_, process)) = &mut self.places[place].process else { return };
        match event.what {
            // What a process says after it was killed is of no use but for the
            // end of the run that it was killed in; others make the rest again.
            What::Said(Said::Begin { .. }, _) if process.killed.is_some() => {}
            What::Said(Said::Done { job, .. }, _)
                if process.killed.is_some() && process.running.as_ref().is_none_or(|running| running.job != job) => {}
            What::Said(Said::Begin { job }, _) => self.begin(place, job),
            What::Said(Said::Rehearsed, _) => process.has_rehearsed(),
            What::Said(Said::Done { job, next, leaves, result }, output) => {
                let killed = process.killed;
                if killed == Some(Killed::Output) {
                    // It has printed all that, whether or not it came to its end.
                    self.bury_run(place, None, output);
                    return;
                }
                let running = process.running.take().map(|running| running.job);
                assert_eq!(running, Some(job), "a run that is over was begun");
                process.runs_before += 1;
                // Nobody reads what a green run printed, unless another was red.
                let is_read = result.is_red() || self.pairs.is_some();
                let output = if is_read { self.worth_telling(place, output) } else { Output::default() };
                let result = result.unpack(self.job(job), self.setting.mode, output);
                self.walls.insert(result.test.name, result.wall);
                if leaves {
                    self.vacate(place);
                } else if let (Some(next), None) = (next, killed) {
                    self.begin(place, next);
                }
                self.take_in(job, result);
            }
            What::Printed(lines) => {
                let mut text = lines.join(&b'\n');
                text.push(b'\n');
                let _ = std::io::stderr().write_all(&text);
            }
            What::Flooded => process.kill(Killed::Output),
            What::Closed(output) => {
                process.closes(output);
                self.bury_if_dead(place);
            }
        }
    }

    fn begin(&mut self, place: usize, job: u64) {
        if let Some((_, process)) = &mut self.places[place].process
            && !process.begins(job)
        {
            process.kill(Killed::Silent); // Others make what it was sent.
            return;
        }
        self.places[place].false_starts = 0;
        if self.announces(job) {
            let job = self.job(job);
            (self.begins)(place, job);
        }
    }

    /// What of a run's output belongs into its report.
    fn worth_telling(&self, place: usize, output: Output) -> Output {
        if self.shows_output(place) { Output::default() } else { output }
    }

    /// Looks at each worker: is it dead, too late, too big?
    fn look(&mut self, passed: Duration) {
        for place in 0..self.places.len() {
            let Some((_, process)) = &mut self.places[place].process else { continue };
            process.quiet = if process.is_busy() { process.quiet + passed } else { Duration::ZERO };
            process.note_half_ended(passed.min(2 * LOOK_EVERY));
            let status = process.status();
            if status.resident_kib > self.setting.limits.memory_kib {
                process.kill(Killed::Memory);
            } else if process.quiet > self.setting.limits.wall_of(self.setting.mode)
                // Somebody thinks about it in a debugger, or about us.
                && !status.is_traced
                && !limits::status(None).is_traced
            {
                process.kill(if process.running.is_some() { Killed::Late } else { Killed::Silent });
            }
            self.bury_if_dead(place);
        }
    }

    fn bury_if_dead(&mut self, place: usize) {
        let Some((_, process)) = &mut self.places[place].process else { return };
        let Some(Remains { status, output }) = process.remains() else { return };
        if process.running.is_none() && !process.is_proven {
            let mut how = death::describe(status);
            for line in output.first.iter().chain(&output.last) {
                how += &format!("\n  | {line}");
            }
            self.places[place].starts_falsely(how);
        }
        self.bury_run(place, status, output);
        self.vacate(place);
    }

    /// The run at hand, if there is one, does not survive its process.
    fn bury_run(&mut self, place: usize, status: Option<ExitStatus>, output: Output) {
        let Some((_, process)) = &mut self.places[place].process else { return };
        let Some(running) = process.running.take() else { return };
        let (killed, runs_before) = (process.killed, process.runs_before);
        let result = RunResult {
            broken: Some(self.judge(status, killed, &output)),
            died: Some(Died { runs_before }),
            output: self.worth_telling(place, output),
            wall: running.began.elapsed(),
            ..RunResult::empty(self.job(running.job), self.setting.mode)
        };
        self.take_in(running.job, result);
    }

    fn judge(&self, status: Option<ExitStatus>, killed: Option<Killed>, output: &Output) -> Broken {
        death::broken(status, killed, output, &self.setting.limits, self.setting.mode)
    }

    /// Ends the process of a place. What it had not begun goes to others.
    fn vacate(&mut self, place: usize) {
        if let Some((_, process)) = self.places[place].process.take() {
            self.returned[self.places[place].maker as usize].extend(&process.waiting);
        }
    }

    /// Takes in the result of a job, and gives out those whose turn it is.
    fn deliver(&mut self, job: u64, result: RunResult) {
        if job >= self.due {
            self.early.insert(job, result);
        }
        while !self.is_over
            && let Some(result) = self.next_result()
        {
            self.due += 1;
            self.is_over = (self.each)(result).is_break();
        }
    }

    /// The result whose turn it is, if it is there, or need not be.
    fn next_result(&mut self) -> Option<RunResult> {
        let made = self.early.remove(&self.due);
        let job = self.jobs.get(self.due)?;
        let instead = self.patience.instead_of(job, self.setting.mode);
        if let (None, Some(result)) = (&instead, &made) {
            self.patience.learn(result);
        }
        instead.or(made)
    }
}

impl Place {
    fn of(maker: Maker) -> Self {
        Self { maker, process: None, false_starts: 0, false_start: String::new() }
    }

    fn starts_falsely(&mut self, how: String) {
        self.false_starts += 1;
        self.false_start = how;
    }
}
