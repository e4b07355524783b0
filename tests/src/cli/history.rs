//! `lab history`: is a history in a file linearizable?
//!
//! Boundary: files and options in, a line a file and an exit code out. What a history
//! is, and what is wrong with it, `linear` knows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{processors, record};
use crate::linear::{self, Clock, Judgement, Limits, Operation, Verdict};

/// Bytes for remembering where the search has been.
const MEMORY: usize = 2 << 30;

/// Tell whether histories of clients are linearizable.
///
/// Files have a call or a return a line, as Jepsen logs them, or as maps of EDN. Ends
/// with 0 if all are linearizable, 1 if one is not, 3 if it could not be told of one, 2
/// if one could not be read.
#[derive(Args)]
pub(super) struct History {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the clients used
    #[arg(long, value_enum)]
    model: Model,
    /// One JSON object a line: file, verdict, operations, keys, wall_us, states, message
    #[arg(long)]
    json: bool,
    /// How long to try, for each file
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    deadline: Duration,
    /// Do not go key by key: slower, and the same verdict
    #[arg(long)]
    whole: bool,
}

/// What the clients of a history used.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    /// One value: read, write, cas
    Register,
    /// Texts by key: get, put, append
    Kv,
}

impl From<Model> for linear::Model {
    fn from(model: Model) -> Self {
        match model {
            Model::Register => Self::Register,
            Model::Kv => Self::KeyValue,
        }
    }
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds = word.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 1e6);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write seconds, more than 0 and at most 1000000".to_owned())
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    verdict: &'a str,
    operations: usize,
    keys: usize,
    wall_us: u64,
    states: u64,
    message: Option<&'a str>,
}

/// How a file ended, the one that decides the exit code first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Unreadable,
    Broken,
    Unknown,
    Linearizable,
}

impl End {
    fn exit_code(self) -> u8 {
        match self {
            Self::Unreadable => super::USAGE,
            Self::Broken => 1,
            Self::Unknown => 3,
            Self::Linearizable => 0,
        }
    }
}

impl History {
    pub(super) fn execute(self) -> Result<ExitCode, String> {
        let ends = self.files.iter().map(|file| {
            self.judge(file).unwrap_or_else(|message| {
                eprintln!("error: {message}");
                End::Unreadable
            })
        });
        let worst = ends.min().unwrap_or(End::Linearizable);
        Ok(ExitCode::from(worst.exit_code()))
    }

    fn judge(&self, file: &Path) -> Result<End, String> {
        let shown = file.display().to_string();
        let started = Instant::now();
        let history = self.read(file).map_err(|message| format!("{shown}{message}"))?;
        let limits = Limits {
            deadline: started.checked_add(self.deadline),
            memory: MEMORY,
            threads: processors(),
            whole: self.whole,
            clock: Clock::Lines,
            ..Limits::default()
        };
        let judgement = linear::check(self.model.into(), &history, &limits);
        self.tell(&shown, &history, &judgement, started.elapsed());
        Ok(match judgement.verdict {
            Verdict::Linearizable => End::Linearizable,
            Verdict::Broken(_) => End::Broken,
            Verdict::Unknown(_) => End::Unknown,
        })
    }

    /// The history of a file. An error begins where the file's name ends.
    fn read(&self, file: &Path) -> Result<Vec<Operation>, String> {
        let bytes = fs::read(file).map_err(|error| format!(" cannot be read: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            format!(", line {line}: expected text in UTF-8, and found other bytes")
        })?;
        let history = linear::parse(&text).map_err(|malformed| format!(", {malformed}"))?;
        if history.is_empty() {
            return Err(" is empty: expected a call or a return a line".to_owned());
        }
        let model = linear::Model::from(self.model);
        if let Some(stranger) = history.iter().find(|operation| !model.has(&operation.call)) {
            let (line, call) = (stranger.called_at, &stranger.call);
            let (this, other) = match self.model {
                Model::Register => ("a register", "kv"),
                Model::Kv => ("keys", "register"),
            };
            return Err(format!(", line {line}: {call} is no operation of {this}: say --model {other}"));
        }
        Ok(history)
    }

    fn tell(&self, file: &str, history: &[Operation], judgement: &Judgement, wall: Duration) {
        let (verdict, words, message) = match &judgement.verdict {
            Verdict::Linearizable => ("linearizable", "linearizable", None),
            Verdict::Broken(breach) => ("not", "not linearizable", Some(breach.message.as_str())),
            Verdict::Unknown(why) => ("unknown", "unknown", Some(why.as_str())),
        };
        let operations = history.len();
        if self.json {
            let line = Line {
                file,
                verdict,
                operations,
                keys: judgement.keys,
                wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
                states: judgement.states,
                message,
            };
            record::print(&(serde_json::to_string(&line).expect("it has no maps with other keys than texts") + "\n"));
            return;
        }
        let mut text = format!("{file}: {words}, {operations} operations in {:.1} ms\n", wall.as_secs_f64() * 1e3);
        if let Some(message) = message {
            text += &format!("  {message}\n");
        }
        record::print(&text);
    }
}
