//! `lab replay` and `lab why`: one run again, with the record on.
//!
//! A run that ends its process takes its record along, and one that hangs has none. So
//! it is made in a process of its own first, and here only if that one came to an end.
//!
//! Boundary: which run, and where its record goes. What is in it, `events` knows.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use labsim::record::Record;

use super::record::{self, fingerprint};
use super::select::select;
use crate::events::{Header, LogFormat, VERSION, why, write_log, write_ndjson};
use crate::report;
use crate::run::{Job, Limits, RunResult, has_ended, parse_seed, run_alone, run_recorded};
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
        // A path that cannot be written is told before the run, and what is there stays
        // until there is a record.
        let is_new = self.ndjson.as_ref().is_some_and(|path| !path.exists());
        let open = |path: PathBuf| {
            let file = File::options().create(true).write(true).truncate(false).open(&path);
            file.map_err(|error| unwritable(&path, &error)).map(|file| (path, file))
        };
        let file = self.ndjson.map(open).transpose()?;
        let (result, record) = recorded(test, seed);
        let Some(record) = record else {
            if let Some((path, _)) = file.filter(|_| is_new) {
                let _ = std::fs::remove_file(path); // It is empty, and will stay so.
            }
            return Ok(without_record(&result));
        };
        let written = file.map_or(Ok(()), |(path, file)| {
            let is_empty = file.set_len(0);
            // What is no file has no length.
            let is_empty = is_empty.or_else(|error| if file.metadata()?.is_file() { Err(error) } else { Ok(()) });
            let write = || write_ndjson(&header(&result, &record), &record, &mut BufWriter::new(file));
            is_empty.and_then(|()| write()).map_err(|error| unwritable(&path, &error))
        });
        let report = told(&result, &record);
        match self.log {
            None => record::print(&report),
            Some(format) => {
                let format = match format {
                    Log::Dslogs => LogFormat::Dslogs,
                    Log::Short => LogFormat::Short,
                };
                let mut out = BufWriter::new(std::io::stdout().lock());
                let logged = write_log(format, &record, &mut out).and_then(|()| out.flush());
                eprint!("{report}");
                // Whoever reads it may have seen enough.
                if let Some(error) = logged.err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
                    return Err(format!("the log cannot be written: {error}"));
                }
            }
        }
        say_dropped(&record);
        written.map(|()| exit(&result))
    }

    fn chosen(&self, registry: &Registry) -> Result<(&'static LabTest, u64), String> {
        let path = Path::new(&self.what);
        if !path.is_file() {
            let test = one(registry, &self.what)?;
            let seed = self.seed.ok_or("which run? say --seed S, as the report of a failure does")?;
            return Ok((test, seed));
        }
        if self.seed.is_some() {
            return Err(format!("{} is a record and has its seed: leave --seed out", path.display()));
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
            return Err(match servers {
                0 => "this run has no servers".to_owned(),
                _ => format!("this run has the servers 0 to {}", servers - 1),
            });
        }
        let (result, record) = recorded(test, self.seed);
        let Some(record) = record else { return Ok(without_record(&result)) };
        let lines = why(&record, servers, self.server, &self.field)?;
        let mut text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        if lines.is_empty() {
            text = format!("S{}'s {} has not changed in this run\n", self.server, self.field);
        }
        record::print(&text);
        say_dropped(&record);
        Ok(exit(&result))
    }
}

/// The run, with its record; without one if it did not come to an end of its own.
fn recorded(test: &'static LabTest, seed: u64) -> (RunResult, Option<Record>) {
    match run_alone(Job { test, seed }, Limits::default(), None) {
        Some(result) if !has_ended(&result) => (result, None),
        _ => {
            let (result, record) = run_recorded(test, seed);
            (result, Some(record))
        }
    }
}

fn without_record(result: &RunResult) -> ExitCode {
    record::print(&report::failure(result));
    eprintln!("note: there is no record: the run did not come to an end of its own");
    exit(result)
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// A record has room for so many events.
fn say_dropped(record: &Record) {
    if record.dropped > 0 {
        let (kept, dropped) = (record.events.len(), record.dropped);
        eprintln!("note: the record has {kept} events; {dropped} of the oldest details had no room in it");
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
