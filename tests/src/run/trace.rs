//! The traces of two runs of one seed, and where they part.
//!
//! A trace is kept as bytes, in memory or in a file: a line of names, in JSON,
//! and then so many bytes for each step. Two of them are compared step by step,
//! and may be longer than fits in memory.
//!
//! Boundary: compares what was recorded. Who makes the runs is in `twice.rs` and
//! in `supervisor`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use labsim::Trace;
use serde::{Deserialize, Serialize};

/// Where two runs of one seed were made, and so what can have made them differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Made {
    /// One after the other in one process.
    InOneProcess,
    /// Each in its own.
    InTwoProcesses,
}

/// A step in bytes: hash, nanoseconds, thread and place.
const STEP_BYTES: usize = 8 + 8 + 4 + 4;

/// What the numbers in a recording mean.
#[derive(Serialize, Deserialize)]
struct Names {
    /// The first thread has number 1.
    threads: Vec<String>,
    /// The first place has number 0.
    places: Vec<String>,
}

/// Records a trace.
///
/// # Errors
///
/// Those of `to`.
pub(super) fn write(trace: &Trace, to: impl Write) -> io::Result<()> {
    let mut numbers = BTreeMap::new();
    let mut places = Vec::new();
    for step in &trace.steps {
        numbers.entry(step.place).or_insert_with(|| {
            places.push(step.place.to_string());
            places.len() as u32 - 1
        });
    }
    let names = Names { threads: trace.threads.iter().map(ToString::to_string).collect(), places };

    let mut to = BufWriter::new(to);
    serde_json::to_writer(&mut to, &names)?;
    to.write_all(b"\n")?;
    for step in &trace.steps {
        to.write_all(&step.hash.to_le_bytes())?;
        to.write_all(&step.nanos.to_le_bytes())?;
        to.write_all(&step.thread.to_le_bytes())?;
        to.write_all(&numbers[step.place].to_le_bytes())?;
    }
    to.flush()
}

struct Step {
    hash: u64,
    nanos: u64,
    thread: u32,
    place: u32,
}

/// A recording that is read from its beginning.
struct Recording<R> {
    names: Names,
    steps: BufReader<R>,
}

impl<R: Read> Recording<R> {
    fn open(from: R) -> io::Result<Self> {
        let mut steps = BufReader::new(from);
        let mut line = Vec::new();
        steps.read_until(b'\n', &mut line)?;
        Ok(Self { names: serde_json::from_slice(&line)?, steps })
    }

    fn next(&mut self) -> io::Result<Option<Step>> {
        if self.steps.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; STEP_BYTES];
        self.steps.read_exact(&mut bytes)?;
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Ok(Some(Step { hash: long(0), nanos: long(8), thread: short(16), place: short(20) }))
    }

    fn place(&self, step: &Step) -> &str {
        self.names.places.get(step.place as usize).map_or("unknown", |place| place)
    }

    fn describe(&self, step: &Step) -> String {
        let at = (step.thread as usize).checked_sub(1);
        let name = at.and_then(|at| self.names.threads.get(at)).map_or("unknown", |name| name);
        format!("`{name}` at {}", self.place(step))
    }
}

/// Says where two recordings part, and where to look.
///
/// # Errors
///
/// If one of them ends in the middle, since its run did, or cannot be read.
pub(super) fn first_difference(one: impl Read, other: impl Read, made: Made) -> io::Result<String> {
    let (mut one, mut other) = (Recording::open(one)?, Recording::open(other)?);
    let mut before = "nobody had run before".to_owned();
    for switch in 0_u64.. {
        let (a, b) = match (one.next()?, other.next()?) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => break,
            _ => {
                return Ok(format!(
                    "after switch {switch} one of them goes on and the other ends; {before}: look there"
                ));
            }
        };
        let is_elsewhere = a.thread != b.thread || one.place(&a) != other.place(&b);
        if !is_elsewhere && a.nanos == b.nanos && a.hash == b.hash {
            before = format!("{} had run until then", one.describe(&a));
            continue;
        }
        let what = if is_elsewhere {
            format!("{} goes on in one, and {} in the other", one.describe(&a), other.describe(&b))
        } else if a.nanos != b.nanos {
            format!("{} goes on {} ns later in one", one.describe(&a), a.nanos.abs_diff(b.nanos))
        } else {
            format!("{} goes on in both, but what was drawn before differs", one.describe(&a))
        };
        let millis = a.nanos.min(b.nanos) / 1_000_000;
        return Ok(format!(
            "they part at switch {switch}, at {}.{:03}s: {what}\n{before}: look there for {}",
            millis / 1000,
            millis % 1000,
            culprits(made)
        ));
    }
    Ok("traced, the two were the same: something outside labsim decides, and rarely".to_owned())
}

/// What makes a program differ from itself where it goes past labsim.
fn culprits(made: Made) -> &'static str {
    // The rest obeys the seed there: `labsim::interpose!`.
    let std_obeys = cfg!(all(target_os = "linux", target_env = "gnu"));
    match (made, std_obeys) {
        (Made::InOneProcess, true) => {
            "a static that outlives the run, an order by address, a file, or std's atomics between runs"
        }
        (Made::InTwoProcesses, true) => {
            "a static that outlives the run or is filled once for each process, an order by address, the process's id, \
             a file, or std's atomics between runs"
        }
        (Made::InOneProcess, false) => {
            "the order of a std HashMap, std's clocks, rand::rng(), or a static that outlives the run"
        }
        (Made::InTwoProcesses, false) => {
            "the order of a std HashMap, std's clocks, rand::rng(), a static, an order by address, or the process's id"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use labsim::TraceStep;

    use super::*;

    /// A trace of steps that are a thread's, with a time and a hash each.
    fn recorded(steps: &[(u32, &'static Location<'static>, u64, u64)]) -> Vec<u8> {
        let step = |&(thread, place, nanos, hash): &(u32, _, u64, u64)| TraceStep { hash, nanos, thread, place };
        let threads = vec!["main".into(), "other".into()];
        let mut bytes = Vec::new();
        write(&Trace { steps: steps.iter().map(step).collect(), threads }, &mut bytes).expect("memory takes it");
        bytes
    }

    #[test]
    fn the_first_step_that_differs_is_named() {
        let (here, there) = (Location::caller(), Location::caller());
        let start = (1, here, 1_000_000, 7);
        let rows = [
            ((1, here, 2_000_000, 8), "traced, the two were the same".to_owned()),
            ((2, here, 2_000_000, 8), format!("`main` at {here} goes on in one, and `other` at {here} in the other")),
            ((1, there, 2_000_000, 8), format!("`main` at {here} goes on in one, and `main` at {there} in the other")),
            ((1, here, 2_000_300, 8), format!("at 0.002s: `main` at {here} goes on 300 ns later in one")),
            ((1, here, 2_000_000, 9), "goes on in both, but what was drawn before differs".to_owned()),
        ];
        let one = recorded(&[start, (1, here, 2_000_000, 8)]);
        for (second, expected) in rows {
            let other = recorded(&[start, second]);
            let said = first_difference(&one[..], &other[..], Made::InTwoProcesses).expect("they are whole");
            assert!(said.contains(&expected), "{expected}:\n{said}");
            let is_parting = said.starts_with("they part at switch 1, ");
            assert_eq!(is_parting, said.contains(&format!("\n`main` at {here} had run until then: look there for ")));
        }
        let said = first_difference(&one[..], &recorded(&[start])[..], Made::InOneProcess).expect("they are whole");
        assert!(said.starts_with("after switch 1 one of them goes on and the other ends; `main` at "), "{said}");
    }

    #[test]
    fn half_a_recording_is_an_error() {
        let whole = recorded(&[(1, Location::caller(), 0, 0)]);
        for length in [0, 5, whole.len() - 1] {
            first_difference(&whole[..], &whole[..length], Made::InOneProcess).expect_err("it is cut");
        }
    }
}
