//! `lab replay` and `lab why`: one run again, with the record on.
//!
//! Both make the run in this process. A run that ends its process takes its record
//! along: `lab run` says what became of it.
//!
//! Boundary: which run, and where its record goes. What is in it, `events` knows.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use labsim::record::Record;

use super::record::{self, fingerprint};
use super::select::select;
use crate::events::{Header, LogFormat, VERSION, why, write_log, write_ndjson};
use crate::report;
use crate::run::{RunResult, parse_seed, run_recorded};
use crate::suites::{LabTest, Registry};

/// Run one seed again, with the record on.
#[derive(Args)]
pub(super) struct Replay {
    /// The test, or a file that --ndjson has written
    #[arg(value_name = "TEST or FILE")]
    what: String,
    /// Its seed, decimal or 0x; a file has it
    #[arg(long, value_parser = parse_seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Write the record to this file: a header, then an event a line
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Print the record, and the report on standard error
    #[arg(long, value_enum)]
    log: Option<Log>,
}

/// A format of log.
#[derive(Clone, Copy, ValueEnum)]
enum Log {
    /// Milliseconds, topic, server, text: what the course's log scripts colour
    Dslogs,
    /// Columns: number, seconds, node, kind, thread, text
    Short,
}

/// Tell each change of one thing on one server, and what it came from.
#[derive(Args)]
pub(super) struct Why {
    /// The test
    test: String,
    /// Its seed, decimal or 0x
    #[arg(long, value_parser = parse_seed, allow_negative_numbers = true)]
    seed: u64,
    /// The server, from 0 on
    #[arg(long)]
    server: usize,
    /// term, role, vote, log, snapshot, commit, applied, saved or match
    #[arg(long)]
    field: String,
}

/// The one test that is meant.
fn one(registry: &Registry, word: &str) -> Result<&'static LabTest, String> {
    match select(registry, &[word.to_owned()])?[..] {
        [test] => Ok(test),
        ref tests => {
            let names: Vec<&str> = tests.iter().map(|test| test.name).collect();
            Err(format!("`{word}` may be any of {}; say which", names.join(", ")))
        }
    }
}

/// What the first line of a recorded file says that matters here.
#[derive(serde::Deserialize)]
struct Recorded {
    version: u32,
    test: String,
    seed: String,
    fingerprint: String,
}

impl Recorded {
    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let file = File::open(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let mut first = String::new();
        BufReader::new(file).read_line(&mut first).map_err(|error| format!("{shown}, line 1: {error}"))?;
        let recorded: Self = serde_json::from_str(&first)
            .map_err(|error| format!("{shown}, line 1: this is no record that --ndjson has written: {error}"))?;
        if recorded.version != VERSION {
            let version = recorded.version;
            return Err(format!("{shown} is of version {version} of the format, and this program reads {VERSION}"));
        }
        Ok(recorded)
    }
}

impl Replay {
    pub(super) fn execute(self, registry: &Registry) -> Result<ExitCode, String> {
        let (test, seed) = self.chosen(registry)?;
        let (result, record) = run_recorded(test, seed);
        if let Some(path) = &self.ndjson {
            let cannot = |error| format!("{} cannot be written: {error}", path.display());
            let mut file = BufWriter::new(File::create(path).map_err(cannot)?);
            write_ndjson(&header(&result, &record), &record, &mut file).map_err(cannot)?;
        }
        let report = told(&result, &record);
        match self.log {
            None => record::print(&report),
            Some(format) => {
                let format = match format {
                    Log::Dslogs => LogFormat::Dslogs,
                    Log::Short => LogFormat::Short,
                };
                let mut out = BufWriter::new(std::io::stdout().lock());
                // Whoever reads it may have seen enough.
                if write_log(format, &record, &mut out).and_then(|()| out.flush()).is_ok() {
                    eprint!("{report}");
                }
            }
        }
        Ok(exit(&result))
    }

    fn chosen(&self, registry: &Registry) -> Result<(&'static LabTest, u64), String> {
        let path = Path::new(&self.what);
        if !path.is_file() {
            let seed = self.seed.ok_or("which run? say --seed S, as the report of a failure does")?;
            return Ok((one(registry, &self.what)?, seed));
        }
        let recorded = Recorded::read(path)?;
        if recorded.fingerprint != fingerprint() {
            eprintln!("note: {} was recorded by another build, in which this seed meant another run", path.display());
        }
        let seed = recorded.seed.parse().map_err(|_| format!("{}, line 1: no seed", path.display()))?;
        Ok((one(registry, &recorded.test)?, seed))
    }
}

impl Why {
    pub(super) fn execute(self, registry: &Registry) -> Result<ExitCode, String> {
        let test = one(registry, &self.test)?;
        let servers = test.setup.under(self.seed).servers;
        if self.server >= servers {
            return Err(format!("this run has the servers 0 to {}", servers - 1));
        }
        let (result, record) = run_recorded(test, self.seed);
        let lines = why(&record, servers, self.server, &self.field)?;
        let mut text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        if lines.is_empty() {
            text = format!("S{}'s {} has not changed in this run\n", self.server, self.field);
        }
        record::print(&text);
        Ok(exit(&result))
    }
}

fn exit(result: &RunResult) -> ExitCode {
    result.broken.as_ref().map_or(ExitCode::SUCCESS, |broken| ExitCode::from(broken.kind.exit_code()))
}

/// The report of a red run, or a line about a green one.
fn told(result: &RunResult, record: &Record) -> String {
    let count = record.events.last().map_or(0, |event| event.number);
    match &result.broken {
        Some(_) => report::failure(result),
        None => {
            let (test, seed) = (result.test.name, result.seed);
            format!(
                "passed {test} --seed {seed}: {count} events in {:.3}s of virtual time\n",
                result.elapsed.as_secs_f64()
            )
        }
    }
}

fn header(result: &RunResult, record: &Record) -> Header {
    let mut header = Header {
        version: VERSION,
        fingerprint: fingerprint(),
        test: result.test.name,
        part: result.test.part.name,
        seed: result.seed.to_string(),
        rerun: format!("cargo lab replay {} --seed {}", result.test.name, result.seed),
        servers: result.test.setup.under(result.seed).servers,
        faults: result.faults.clone(),
        end_us: u64::try_from(result.elapsed.as_micros()).unwrap_or(u64::MAX),
        steps: result.steps,
        rpcs: result.rpcs,
        bytes: result.bytes,
        hash: format!("{:016x}", result.hash),
        ..Header::default()
    };
    header.take(record, result.broken.as_ref());
    header
}
