//! What the supervisor and its workers say to each other.
//!
//! Orders go to a worker's standard input, a JSON line each; the very first line
//! is the token. Answers come back on the pipe that is the worker's standard
//! output and standard error, in the middle of whatever the code under test
//! prints there. So an answer is cut into *frames*: a line that begins with the
//! token, which nobody else knows, and no longer than what a pipe takes in one
//! piece, so that another thread's printing falls between two frames and never
//! into one. Each frame begins with a line end of its own, since somebody may
//! have printed half a line.
//!
//! Boundary: the form of messages. Who sends what, and when, is in `worker.rs`
//! and `supervisor`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Duration;

use labsim::ThreadStack;
use labsim::note::Note;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::once::{CausedBy, Mode, RunResult};
use super::output::Output;
use super::sweep::Job;
use crate::check::{Broken, Kind, Spent};
use crate::events::Story;
use crate::watch::Sight;

/// What POSIX lets any pipe take in one piece.
const FRAME_BYTES_MAX: usize = 512;
/// After the token: the message ends here, or goes on in the next frame.
const LAST: u8 = b'.';
const MORE: u8 = b'+';

/// A word that begins the lines of one worker, and that it alone was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token(String);

impl Token {
    /// One that nobody can guess: std keys its hash maps from the operating
    /// system's entropy.
    pub(super) fn draw() -> Self {
        let half = || RandomState::new().hash_one(0_u8);
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// As the worker reads it from its first line.
    pub(super) fn read(line: &str) -> Self {
        Self(line.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A run that a worker is to make.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The number of the job, by which the worker speaks of it.
    pub(super) job: u64,
    /// The name of the test.
    pub(super) test: String,
    pub(super) seed: u64,
    pub(super) mode: Mode,
    /// It is made once before, for nothing but what that leaves in the process.
    pub(super) rehearses: bool,
    /// The file that takes its trace, if one is wanted.
    pub(super) trace: Option<String>,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// It begins a run, after it had nothing to do.
    Begin { job: u64 },
    /// The rehearsal of the run at hand is over, and the run itself begins.
    Rehearsed,
    /// A run is over. `next` is the one that begins now, if one was waiting, or
    /// the worker `leaves`, since it is not fit for another.
    Done { job: u64, next: Option<u64>, leaves: bool, result: Box<Carried> },
}

/// A [`RunResult`] on its way: all of it but the job, which both sides know, the
/// output, which went another way, and what only the supervisor finds out.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Carried {
    broken: Option<CarriedBroken>,
    caused_by: Option<CausedBy>,
    abandoned: bool,
    by_machine: bool,
    fatal: bool,
    stacks: Vec<(String, String)>,
    notes: Vec<CarriedNote>,
    warnings: Vec<String>,
    faults: Vec<String>,
    story: Option<Story>,
    sights: BTreeSet<Sight>,
    spent: BTreeMap<String, Spent>,
    elapsed: Duration,
    wall: Duration,
    cpu: Duration,
    steps: u64,
    rpcs: u64,
    bytes: u64,
    hash: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedBroken {
    kind: Kind,
    rule: Option<String>,
    message: String,
    moments: Vec<Duration>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedNote {
    at: Duration,
    node: Option<String>,
    thread: String,
    topic: String,
    text: String,
}

impl Carried {
    pub(super) fn pack(result: RunResult) -> Self {
        // No `..`: a field that is added has to be thought of here.
        let RunResult {
            test: _,
            seed: _,
            real: _,
            died: _,
            alone: _,
            symptom: _,
            output: _,
            broken,
            caused_by,
            abandoned,
            by_machine,
            fatal,
            stacks,
            notes,
            warnings,
            faults,
            story,
            sights,
            spent,
            elapsed,
            wall,
            cpu,
            steps,
            rpcs,
            bytes,
            hash,
        } = result;
        let broken = broken.map(|Broken { kind, rule, message, moments }| CarriedBroken {
            kind,
            rule: rule.map(str::to_owned),
            message,
            moments,
        });
        let carry = |Note { at, node, thread, topic, text }| CarriedNote { at, node, thread, topic, text };
        let notes = notes.into_iter().map(carry).collect();
        let stacks = stacks.into_iter().map(|ThreadStack { thread, stack }| (thread, stack)).collect();
        Self {
            broken,
            caused_by,
            abandoned,
            by_machine,
            fatal,
            stacks,
            notes,
            warnings,
            faults,
            story,
            sights,
            spent,
            elapsed,
            wall,
            cpu,
            steps,
            rpcs,
            bytes,
            hash,
        }
    }

    /// Something was broken.
    pub(super) fn is_red(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn unpack(self, job: Job, mode: Mode, output: Output) -> RunResult {
        let broken = self.broken.map(|CarriedBroken { kind, rule, message, moments }| Broken {
            kind,
            rule: rule.map(|rule| interned(&rule)),
            message,
            moments,
        });
        let uncarry = |CarriedNote { at, node, thread, topic, text }| Note { at, node, thread, topic, text };
        RunResult {
            test: job.test,
            seed: job.seed,
            real: mode == Mode::Real,
            died: None,
            alone: None,
            symptom: None,
            output,
            broken,
            caused_by: self.caused_by,
            abandoned: self.abandoned,
            by_machine: self.by_machine,
            fatal: self.fatal,
            stacks: self.stacks.into_iter().map(|(thread, stack)| ThreadStack { thread, stack }).collect(),
            notes: self.notes.into_iter().map(uncarry).collect(),
            warnings: self.warnings,
            faults: self.faults,
            story: self.story,
            sights: self.sights,
            spent: self.spent,
            elapsed: self.elapsed,
            wall: self.wall,
            cpu: self.cpu,
            steps: self.steps,
            rpcs: self.rpcs,
            bytes: self.bytes,
            hash: self.hash,
        }
    }
}

/// The id of a rule as if it stood in this program, which it does somewhere.
/// Each one that comes is kept for ever, once.
fn interned(rule: &str) -> &'static str {
    static RULES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut rules = RULES.lock();
    match rules.get(rule) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(rule.to_owned().into_boxed_str());
            rules.insert(kept);
            kept
        }
    }
}

/// Sends a message, frame by frame.
pub(super) fn say(to: &mut impl Write, token: &Token, said: &Said) -> std::io::Result<()> {
    let message = serde_json::to_vec(said).expect("plain data is valid JSON");
    let around = token.0.len() + 3; // A line end on either side, and the mark.
    let mut pieces = message.chunks(FRAME_BYTES_MAX - around).peekable();
    while let Some(piece) = pieces.next() {
        let mut frame = Vec::with_capacity(FRAME_BYTES_MAX);
        frame.push(b'\n');
        frame.extend_from_slice(token.0.as_bytes());
        frame.push(if pieces.peek().is_some() { MORE } else { LAST });
        frame.extend_from_slice(piece);
        frame.push(b'\n');
        to.write_all(&frame)?; // One write each: that is what keeps it whole.
    }
    Ok(())
}

/// What a line of a worker's pipe turns out to be.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message is complete.
    Said(Said),
    /// The code under test has printed these lines.
    Printed(Vec<Vec<u8>>),
}

/// Takes the stream of a worker's pipe apart again.
#[derive(Debug)]
pub(super) struct Listener {
    token: Token,
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The line before was empty. It may be the line end that begins a frame.
    blank: bool,
    /// What has come of a message that goes on.
    message: Vec<u8>,
}

/// The code under test may print a line without an end. It is taken for two
/// when it is as long as this, and is no frame.
const LINE_BYTES_MAX: usize = 4096;

impl Listener {
    pub(super) fn new(token: Token) -> Self {
        Self { token, line: Vec::new(), blank: false, message: Vec::new() }
    }

    /// Takes in what was read, and tells `each` what it comes to, in order.
    pub(super) fn hear(&mut self, bytes: &[u8], mut each: impl FnMut(Heard)) {
        let mut printed = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.last() == Some(&b'\n');
            self.line.extend_from_slice(&piece[..piece.len() - usize::from(ended)]);
            if !ended && self.line.len() < LINE_BYTES_MAX {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let frame = line.strip_prefix(self.token.0.as_bytes()).and_then(<[u8]>::split_first);
            if let Some((mark @ (&LAST | &MORE), part)) = frame {
                self.blank = false;
                if !printed.is_empty() {
                    each(Heard::Printed(std::mem::take(&mut printed)));
                }
                self.message.extend_from_slice(part);
                if *mark == LAST {
                    let message = std::mem::take(&mut self.message);
                    // Nobody else knows the token: it is the worker's own.
                    each(Heard::Said(serde_json::from_slice(&message).expect("a worker of the same build said this")));
                }
                continue;
            }
            if std::mem::replace(&mut self.blank, line.is_empty()) {
                printed.push(Vec::new());
            }
            if !self.blank {
                printed.push(line);
            }
        }
        if !printed.is_empty() {
            each(Heard::Printed(printed));
        }
    }

    /// The stream has ended: what is left of it.
    pub(super) fn rest(self) -> Option<Vec<u8>> {
        (!self.line.is_empty()).then_some(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites;

    fn result() -> RunResult {
        let job = Job { test: suites::all().next().expect("there are tests"), seed: u64::MAX - 1 };
        let note = |n: u64| Note {
            at: Duration::from_nanos(n),
            node: n.is_multiple_of(2).then(|| "S1".to_owned()),
            thread: "elections".to_owned(),
            topic: "a \"topic\"".to_owned(),
            text: "line\nend \u{e9}".repeat(n as usize),
        };
        RunResult {
            broken: Some(Broken::new(Kind::Safety, "Figure3.ElectionSafety", "two\nlines")),
            caused_by: Some(CausedBy {
                node: None,
                thread: "main".to_owned(),
                at: Duration::from_nanos(1_234_567_891),
                place: Some("a.rs:1:2".to_owned()),
                backtrace: Some("0: main".to_owned()),
            }),
            abandoned: true,
            by_machine: true,
            notes: (0..100).map(note).collect(),
            warnings: vec!["careful".to_owned()],
            faults: vec!["a cut".to_owned()],
            sights: [Sight::Election, Sight::SplitVote].into(),
            spent: [("calls".to_owned(), Spent { most: 7, allowed: 8 })].into(),
            elapsed: Duration::from_nanos(1),
            wall: Duration::from_nanos(2),
            cpu: Duration::from_nanos(3),
            steps: 4,
            rpcs: 5,
            bytes: 6,
            hash: u64::MAX,
            ..RunResult::empty(job, Mode::Simulated)
        }
    }

    /// What is heard of `stream` when it comes in pieces of `size` bytes: runs
    /// that are over, and lines that were printed.
    fn heard(token: &Token, stream: &[u8], size: usize) -> (Vec<RunResult>, Vec<String>) {
        let (mut runs, mut lines) = (Vec::new(), Vec::new());
        let mut listener = Listener::new(token.clone());
        for piece in stream.chunks(size) {
            listener.hear(piece, |heard| match heard {
                Heard::Said(Said::Done { result: carried, .. }) => {
                    let job = Job { test: result().test, seed: result().seed };
                    runs.push(carried.unpack(job, Mode::Simulated, Output::default()));
                }
                Heard::Said(Said::Begin { job }) => lines.push(format!("<begin {job}>")),
                Heard::Said(Said::Rehearsed) => lines.push("<rehearsed>".to_owned()),
                Heard::Printed(printed) => {
                    lines.extend(printed.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
                }
            });
        }
        lines.extend(listener.rest().map(|line| String::from_utf8_lossy(&line).into_owned()));
        (runs, lines)
    }

    fn done(result: RunResult) -> Said {
        Said::Done { job: 1, next: Some(2), leaves: false, result: Box::new(Carried::pack(result)) }
    }

    #[test]
    fn a_result_crosses_without_loss() {
        let token = Token::draw();
        let mut stream = Vec::new();
        say(&mut stream, &token, &done(result())).expect("memory takes it");
        for size in [1, 7, 512, 100_000] {
            let (runs, lines) = heard(&token, &stream, size);
            assert_eq!(lines, [] as [&str; 0]);
            assert_eq!(runs.len(), 1);
            assert_eq!(format!("{:?}", runs[0]), format!("{:?}", result()));
        }
    }

    #[test]
    fn what_is_printed_between_two_frames_is_found_there() {
        struct Interrupted(Vec<u8>);
        impl Write for Interrupted {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", bytes.len());
                self.0.extend_from_slice(bytes);
                self.0.extend_from_slice(b"half a line");
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let token = Token::draw();
        let mut stream = Interrupted(Vec::new());
        say(&mut stream, &token, &done(result())).expect("memory takes it");
        let (runs, lines) = heard(&token, &stream.0, 100);
        assert_eq!(format!("{runs:?}"), format!("{:?}", [result()]));
        assert!(lines.len() > 2 && lines.iter().all(|line| line == "half a line"), "{lines:?}");
    }

    #[test]
    fn printed_lines_are_what_was_printed() {
        let token = Token::draw();
        let rows: [(&str, &[&str]); 6] = [
            ("a\nb\n", &["a", "b"]),
            ("a\n\n", &["a", ""]),
            ("\n\na", &["", "", "a"]),
            ("\n", &[""]),
            ("half", &["half"]),
            ("", &[]),
        ];
        for (printed, expected) in rows {
            let mut stream = printed.as_bytes().to_vec();
            say(&mut stream, &token, &Said::Begin { job: 7 }).expect("memory takes it");
            let lines = heard(&token, &stream, 3).1;
            assert_eq!(lines, [expected, &["<begin 7>"]].concat(), "{printed:?}");
        }
    }

    #[test]
    fn nobody_else_can_say_anything() {
        let (token, other) = (Token::draw(), Token::draw());
        assert_ne!(token, other);
        let mut stream = Vec::new();
        say(&mut stream, &other, &Said::Begin { job: 7 }).expect("memory takes it");
        stream.extend_from_slice(format!(" {}.{{}}\n{}\n", token.as_str(), token.as_str()).as_bytes());
        stream.extend_from_slice(&[b'x'; 3 * LINE_BYTES_MAX]);
        let (runs, lines) = heard(&token, &stream, 1000);
        assert!(runs.is_empty() && !lines.iter().any(|line| line.starts_with('<')), "{lines:?}");
        assert!(lines.iter().all(|line| line.len() < 2 * LINE_BYTES_MAX), "a line without end is cut");
    }
}
