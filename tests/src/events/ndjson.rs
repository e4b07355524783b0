//! The whole record as lines of JSON.
//!
//! The first line is the header, then an event a line, as labsim writes it. A
//! reader checks `version`: it rises when a field changes its meaning or goes.
//!
//! Boundary: a format.

use std::io::{self, Write};

use labsim::record::{Event, Record, ThreadName};
use serde::Serialize;

use super::story::evidence;
use crate::check::Broken;

/// The version of the format.
pub const VERSION: u32 = 1;

/// What stands at the top of a recorded run.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Of the build that made the run: in another one, the seed means another run.
    pub fingerprint: String,
    /// The test.
    pub test: &'static str,
    /// Its part.
    pub part: &'static str,
    /// Its seed, in decimal: a page reads numbers as fractions, which have fewer digits.
    pub seed: String,
    /// What runs it again.
    pub rerun: String,
    /// How many servers there are: they are the first nodes.
    pub servers: usize,
    /// What each thread is called, by its number in the events.
    pub threads: Vec<ThreadName>,
    /// What each node is called, by its number.
    pub nodes: Vec<String>,
    /// What the network and the faults were to be, a line each.
    pub faults: Vec<String>,
    /// Virtual time at the end, in microseconds.
    pub end_us: u64,
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// The kind of failure.
    pub kind: Option<&'static str>,
    /// The promise or rule.
    pub rule: Option<&'static str>,
    /// The facts.
    pub message: Option<String>,
    /// The numbers of the events that are the evidence.
    pub evidence: Vec<u64>,
    /// How many events there were.
    pub events: u64,
    /// How many of them are not here.
    pub dropped: u64,
    /// Steps of all threads.
    pub steps: u64,
    /// Calls that were made.
    pub rpcs: u64,
    /// Bytes that crossed the network.
    pub bytes: u64,
    /// The digest of every step, in hexadecimal.
    pub hash: String,
}

impl Header {
    /// Fills in what the record says of `broken`.
    pub fn take(&mut self, record: &Record, broken: Option<&Broken>) {
        self.threads.clone_from(&record.threads);
        self.nodes.clone_from(&record.nodes);
        self.events = record.events.last().map_or(0, |event| event.number);
        self.dropped = record.dropped;
        self.verdict = if broken.is_some() { "fail" } else { "pass" };
        if let Some(broken) = broken {
            self.kind = Some(broken.kind.name());
            self.rule = broken.rule;
            self.message = Some(broken.message.clone());
            self.evidence = evidence(&record.events, broken);
        }
    }
}

/// Writes a header and all events, a line each.
///
/// # Errors
///
/// Those of `to`.
pub fn write_ndjson(header: &Header, record: &Record, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *to, header)?;
    to.write_all(b"\n")?;
    for event in &record.events {
        write_event(header, event, to)?;
    }
    to.flush()
}

/// The end of the run points at its evidence.
fn write_event(header: &Header, event: &Event, to: &mut dyn Write) -> io::Result<()> {
    if event.kind == "violation" {
        let mut causes = [&event.causes[..], &header.evidence[..]].concat();
        causes.retain(|cause| *cause < event.number);
        causes.sort_unstable();
        causes.dedup();
        serde_json::to_writer(&mut *to, &Event { causes, ..event.clone() })?;
    } else {
        serde_json::to_writer(&mut *to, event)?;
    }
    to.write_all(b"\n")
}
