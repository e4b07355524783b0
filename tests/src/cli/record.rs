//! What a `lab run` leaves on disk, so that the next one can go on with it.
//!
//! `target/lab/last.ndjson` has a line that says what was asked for, and then a
//! line for each run, as in `--json`. `--resume` leaves out what is there;
//! `--failed` runs what failed. Both hold only for the same build: the first
//! line has its fingerprint.
//!
//! Boundary: one file. Does not know what the runs mean.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The first line: what the runs below it belong to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Another build means other runs under the same seeds.
    pub(super) fingerprint: String,
    pub(super) tests: Vec<String>,
    /// Each test's seeds, as `A..B`.
    pub(super) seeds: String,
    pub(super) mode: String,
}

#[derive(Deserialize)]
struct Known {
    test: String,
    seed: String,
    verdict: String,
}

/// The runs of the last `lab run`: whether each one passed.
pub(super) struct Last {
    pub(super) asked: Asked,
    pub(super) passed: BTreeMap<(String, u64), bool>,
}

/// The file of the workspace that the working folder is in.
pub(super) fn path() -> Result<PathBuf, String> {
    Ok(super::workspace()?.join("target/lab/last.ndjson"))
}

/// Reads what the last `lab run` left.
pub(super) fn read(path: &Path) -> Result<Last, String> {
    let nothing = || "there is no earlier run to go on with; start one without this flag".to_owned();
    let file = File::open(path).map_err(|_| nothing())?;
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    let asked = lines.next().and_then(|line| serde_json::from_str(&line).ok()).ok_or_else(nothing)?;
    // A run that was killed may have left half a line at the end.
    let known = lines.map_while(|line| serde_json::from_str::<Known>(&line).ok());
    let passed = known.filter_map(|run| Some(((run.test, run.seed.parse().ok()?), run.verdict == "pass"))).collect();
    Ok(Last { asked, passed })
}

/// The file being written.
pub(super) struct Record {
    file: Option<BufWriter<File>>,
}

impl Record {
    /// Begins a new file, or goes on with the old one. Not being able to is no
    /// reason not to run: a record is a convenience.
    pub(super) fn begin(asked: &Asked, go_on: bool) -> Self {
        let open = || -> Option<BufWriter<File>> {
            let path = path().ok()?;
            fs::create_dir_all(path.parent()?).ok()?;
            if go_on {
                cut_half_line(&path)?;
                return Some(BufWriter::new(File::options().append(true).open(&path).ok()?));
            }
            let mut file = BufWriter::new(File::create(&path).ok()?);
            writeln!(file, "{}", serde_json::to_string(asked).ok()?).ok()?;
            Some(file)
        };
        Self { file: open() }
    }

    /// Adds a run. It is on disk when this returns, up to a power cut.
    pub(super) fn add(&mut self, line: &str) {
        if let Some(file) = &mut self.file
            && (writeln!(file, "{line}").is_err() || file.flush().is_err())
        {
            self.file = None;
        }
    }
}

/// Drops what a killed run left of its last line.
fn cut_half_line(path: &Path) -> Option<()> {
    let content = fs::read(path).ok()?;
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < content.len() {
        File::options().write(true).open(path).ok()?.set_len(whole as u64).ok()?;
    }
    Some(())
}

/// A digest of the running program.
pub(super) fn fingerprint() -> String {
    let bytes = std::env::current_exe().and_then(fs::read).unwrap_or_default();
    // FNV-1a over words: the program is megabytes, and only has to be told from
    // another build of itself.
    let hash = bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325_u64, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    });
    format!("{hash:016x}")
}

/// Prints to standard output. Whoever reads it may have gone: then so do we.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: what there is to say cannot be written: {error}");
        }
        std::process::exit(i32::from(super::USAGE));
    }
}
