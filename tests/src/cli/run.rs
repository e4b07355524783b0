//! `lab run`: tests under seeds, reports of the red ones, and a report card.
//!
//! Boundary: what is run, what is shown, and the exit code. Running is in `run`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::record::{self, Asked, Record};
use super::select::select;
use super::{processors, progress_bar};
use crate::check::Kind;
use crate::report::{self, Card, Told};
use crate::run::{Job, Jobs, Limits, Mode, RunResult, SeedRange, Setting, again_alone, parse_seed, supervise, sweep};
use crate::suites::{LabTest, Registry};

/// How a record says that each test had the seeds of a graded run.
const GRADED: &str = "graded";
/// The seeds of a run on OS threads, which they do not reproduce.
const REAL_SEEDS: SeedRange = SeedRange { first: 0, end: 1 };
/// A command that is done sooner shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Run tests: all of them, or those of the named parts and tests.
#[derive(Args)]
pub(super) struct Run {
    /// Parts and tests; an exact name first, then any part of a name
    #[arg(value_name = "PART or TEST")]
    words: Vec<String>,
    /// This one seed, decimal or 0x
    #[arg(long, value_parser = parse_seed, conflicts_with = "seeds", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// The seeds 0..N, or A..B without B [default: 20, and 40 of adversary tests]
    #[arg(long, value_name = "N or A..B", allow_negative_numbers = true)]
    seeds: Option<SeedRange>,
    /// How many runs at a time [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// On OS threads in real time, which no seed reproduces
    #[arg(long, conflicts_with = "check_determinism")]
    real: bool,
    /// Run each seed twice, in two processes, and fail it if the two differ
    #[arg(long)]
    check_determinism: bool,
    /// One JSON object a line for each run, and a summary at the end
    #[arg(long)]
    json: bool,
    /// Go on with the last run, which was interrupted
    #[arg(long, conflicts_with_all = ["words", "seed", "seeds", "real", "check_determinism", "failed"])]
    resume: bool,
    /// Run again what failed in the last run
    #[arg(long, conflicts_with_all = ["words", "seed", "seeds", "real", "check_determinism"])]
    failed: bool,
    /// Run in this very process, for a debugger: no worker processes, no limits
    /// of wall time, memory and output, and a run that dies takes the rest along;
    /// --check-determinism misses what is the same for the whole process
    #[arg(long)]
    debug: bool,
    /// Wall time of a run, in milliseconds [default: 60 s]
    #[arg(long, hide = true)]
    limit_wall_ms: Option<u64>,
    /// Memory of a worker process, in MiB [default: 2 GiB]
    #[arg(long, hide = true)]
    limit_memory_mib: Option<u32>,
}

/// What is to be run, and how.
struct Plan {
    asked: Asked,
    mode: Mode,
    jobs: Jobs,
    /// Runs of an interrupted sweep that need not be made again.
    earlier: u64,
    /// The record of the last run is added to, not begun anew.
    go_on: bool,
}

impl Run {
    pub(super) fn execute(self, registry: &Registry) -> Result<ExitCode, String> {
        let plan = if self.resume || self.failed { self.plan_from_last(registry)? } else { self.plan(registry)? };
        if plan.jobs.is_empty() {
            record::print(if self.failed { "nothing failed in the last run\n" } else { "the last run is complete\n" });
            return Ok(ExitCode::SUCCESS);
        }
        // On OS threads two clusters at once would disturb each other's timers.
        let alone = plan.mode == Mode::Real;
        let workers = self.jobs.map_or_else(|| if alone { 1 } else { processors() }, usize::from);
        Ok(self.carry_out(registry, &plan, workers))
    }

    fn plan(&self, registry: &Registry) -> Result<Plan, String> {
        let tests = select(registry, &self.words)?;
        let mode = match (self.real, self.check_determinism) {
            (true, _) => Mode::Real,
            (_, true) => Mode::Twice,
            _ => Mode::Simulated,
        };
        let seeds = self.seed.map(SeedRange::only).or(self.seeds).or(self.real.then_some(REAL_SEEDS));
        let asked = Asked {
            fingerprint: record::fingerprint(),
            tests: tests.iter().map(|test| test.name.to_owned()).collect(),
            seeds: seeds.map_or_else(|| GRADED.to_owned(), |seeds| seeds.to_string()),
            mode: mode_name(mode).to_owned(),
        };
        Ok(Plan { asked, mode, jobs: jobs(tests, seeds), earlier: 0, go_on: false })
    }

    /// The rest of the last run, or what failed in it.
    fn plan_from_last(&self, registry: &Registry) -> Result<Plan, String> {
        let last = record::read(&record::path()?)?;
        if self.resume && last.asked.fingerprint != record::fingerprint() {
            return Err("the program has changed since the last run, and its seeds mean other runs now; \
                        start over without --resume"
                .to_owned());
        }
        let tests = select(registry, &last.asked.tests)?;
        let seeds = if last.asked.seeds == GRADED { None } else { Some(last.asked.seeds.parse()?) };
        let modes = [Mode::Simulated, Mode::Twice, Mode::Real];
        let mode = modes.into_iter().find(|mode| mode_name(*mode) == last.asked.mode).unwrap_or(Mode::Simulated);
        let wanted = |job: &Job| match last.passed.get(&(job.test.name.to_owned(), job.seed)) {
            None => self.resume,
            Some(passed) => self.failed && !passed,
        };
        let jobs = Jobs::These(jobs(tests, seeds).iter().filter(wanted).collect());
        let earlier = if self.resume { last.passed.len() as u64 } else { 0 };
        let asked = Asked { fingerprint: record::fingerprint(), ..last.asked };
        Ok(Plan { asked, mode, jobs, earlier, go_on: self.resume })
    }

    fn carry_out(&self, registry: &Registry, plan: &Plan, workers: usize) -> ExitCode {
        let begun = Instant::now();
        // Of a single run one wants to see what it prints, as it prints it.
        let shows_output = plan.jobs.len() == 1 && plan.earlier == 0;
        let bar = if shows_output { ProgressBar::hidden() } else { progress_bar(plan.jobs.len()) };
        let mut record = Record::begin(&plan.asked, plan.go_on);
        let mut card = Card::default();
        let mut reported = BTreeSet::new();
        let mut told = Told::default();

        // What each worker is at: a sweep that is killed has it on the screen.
        let at_work = Mutex::new(BTreeMap::new());
        let begins = |worker: usize, job: Job| {
            if self.debug || shows_output {
                report::announce(job.test.name, job.seed);
            } else if !bar.is_hidden() {
                let mut at_work = at_work.lock();
                at_work.insert(worker, format!("{} --seed {}", job.test.name, job.seed));
                bar.set_message(at_work.values().cloned().collect::<Vec<_>>().join(", "));
            }
        };
        // In this very process a run may be the last one: the program has ended it.
        let mut is_fatal = false;
        let each = |result: RunResult| {
            is_fatal |= self.debug && result.fatal;
            let line = report::run_line(&result);
            record.add(&line);
            card.add(&result);
            if self.json {
                bar.suspend(|| record::print(&(line + "\n")));
            } else {
                // Of each test the first red run is told, as soon as it is known.
                let mut text = report::notices(&result);
                if result.broken.is_some() && reported.insert(result.test.name) {
                    // What led there its recorded rerun tells; and the report says what runs it
                    // again: is that true?
                    let is_again = plan.mode == Mode::Simulated && !self.debug;
                    let result = if is_again { again_alone(result, self.limits(), None) } else { result };
                    text = told.report(&result) + "\n" + &text;
                }
                if !text.is_empty() {
                    bar.suspend(|| record::print(&text));
                }
            }
            if begun.elapsed() > BAR_AFTER {
                bar.set_position(card.total().runs);
            }
            if is_fatal { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let made = if self.debug {
            sweep(&plan.jobs, workers, plan.mode, begins, each);
            Ok(())
        } else {
            let limits = self.limits();
            let setting = Setting { workers, mode: plan.mode, limits, shows_output, program: None };
            supervise(&plan.jobs, &setting, begins, each)
        };
        bar.finish_and_clear();

        if self.json {
            record::print(&(report::summary_line(&card, registry) + "\n"));
        } else {
            record::print(&card.render(registry, begun.elapsed()));
            if plan.earlier > 0 {
                record::print(&format!("{} runs that were made before are not in this table\n", plan.earlier));
            }
        }
        let missing = plan.jobs.len() - card.total().runs;
        let fault = made.err().map(|fault| {
            eprintln!("error: {fault}\n{missing} runs were not made; this is a fault of the tests or of the machine");
            Kind::Harness
        });
        let worst = card.worst().into_iter().chain(fault).min();
        if is_fatal {
            eprintln!("the last of these runs has ended the process; {missing} were not made");
            labsim::exit(worst.map_or(0, |kind| i32::from(kind.exit_code())));
        }
        worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code()))
    }

    fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            wall: self.limit_wall_ms.map_or(usual.wall, Duration::from_millis),
            memory_kib: self.limit_memory_mib.map_or(usual.memory_kib, |mib| u64::from(mib) << 10),
            ..usual
        }
    }
}

/// These tests under these seeds, or each under those of a graded run.
fn jobs(tests: Vec<&'static LabTest>, seeds: Option<SeedRange>) -> Jobs {
    let graded = |test: &'static LabTest| (0..test.seeds()).map(move |seed| Job { test, seed });
    match seeds {
        Some(seeds) => Jobs::All { tests, seeds },
        None => Jobs::These(tests.into_iter().flat_map(graded).collect()),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Simulated => "simulated",
        Mode::Recorded => "recorded",
        Mode::Twice => "twice",
        Mode::Real => "real",
    }
}
