//! The whole record as lines that other tools read.
//!
//! `dslogs`: what students of the course print by hand, and colour by a script that many
//! of them share: milliseconds, a topic of four letters, the server, and text. `short`:
//! one line of fixed columns for each event, to be searched and compared.
//!
//! Boundary: two formats.

use std::io::{self, Write};

use labsim::record::{Event, Record};

use super::words::{node, thread, words};

/// A format of log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Milliseconds, topic, server, text.
    Dslogs,
    /// Number, time, node, kind, thread, text, in columns.
    Short,
}

/// Writes a line for each event that says something.
///
/// # Errors
///
/// Those of `to`.
pub fn write_log(format: LogFormat, record: &Record, to: &mut dyn Write) -> io::Result<()> {
    for event in &record.events {
        match format {
            LogFormat::Dslogs => write_dslogs(record, event, to)?,
            LogFormat::Short => write_short(record, event, to)?,
        }
    }
    to.flush()
}

/// As `000305 VOTE S0 votes for S2 in term 1`.
fn write_dslogs(record: &Record, event: &Event, to: &mut dyn Write) -> io::Result<()> {
    let Some(topic) = topic(event) else { return Ok(()) };
    let server = match node(record, event) {
        node if node == "-" => "T".to_owned(),
        node => node,
    };
    writeln!(to, "{:06} {topic} {server} {}", event.at.as_millis(), words(record, event).replace('\n', " "))
}

/// The topics that the course's handouts and scripts know.
fn topic(event: &Event) -> Option<&'static str> {
    Some(match (event.kind, event.text_of("method").unwrap_or_default()) {
        ("vote", _) | ("send" | "deliver", "RequestVote") => "VOTE",
        ("role", _) => "LEAD",
        ("term", _) => "TERM",
        ("send" | "deliver", "InstallSnapshot") | ("snapshot" | "installed", _) => "SNAP",
        ("send" | "deliver", _) => "LOG1",
        ("append" | "truncate", _) => "LOG2",
        ("commit" | "applied" | "apply", _) => "CMIT",
        ("sync", _) => "PERS",
        ("loss" | "duplicate", _) => "DROP",
        ("timer", _) => "TIMR",
        ("call" | "return" | "invoke" | "result", _) => "CLNT",
        ("check" | "cut" | "heal" | "link" | "crash" | "restart" | "pause" | "resume" | "boot", _) => "TEST",
        ("note", _) => "INFO",
        ("violation", _) => "ERRO",
        _ => return None,
    })
}

fn write_short(record: &Record, event: &Event, to: &mut dyn Write) -> io::Result<()> {
    let micros = event.at.as_micros();
    let node = node(record, event);
    let name: String = thread(record, event).chars().take(20).collect();
    let what = words(record, event).replace('\n', " ");
    writeln!(
        to,
        "{:>7} {:>4}.{:06} {node:<4} {:<10} {name:<20} {what}",
        event.number,
        micros / 1_000_000,
        micros % 1_000_000,
        event.kind
    )
}
