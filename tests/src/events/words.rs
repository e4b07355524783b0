//! An event as a line to read.
//!
//! Boundary: puts one event into words. Which events matter is in `story.rs`.

use labsim::record::{Event, Record, Value};

/// An event without its time, node and thread: what happened.
pub fn words(record: &Record, event: &Event) -> String {
    let number = |name| event.number_of(name).unwrap_or_default();
    let text = |name| event.text_of(name).unwrap_or_default();
    let node = |name| machine(record, number(name));
    match event.kind {
        "send" => format!("{} to {}", message(event), node("to")),
        "deliver" => format!("{} from {}", message(event), node("from")),
        "loss" => format!("{} {} of call {} is lost: {}", text("method"), text("leg"), number("call"), text("why")),
        "duplicate" => format!("{} of call {} comes twice", text("method"), number("call")),
        "boot" => format!(
            "starts: term {}, vote {}, log up to {}, snapshot up to {}",
            number("term"),
            event.number_of("vote").map_or("none".to_owned(), |candidate| format!("S{candidate}")),
            number("base") + numbers(event, "terms").len() as u64,
            number("base")
        ),
        "state" => format!("term {}, {}, commit index {}", number("term"), text("role"), number("commit")),
        "term" => format!("term {} -> {}", number("before"), number("term")),
        "role" => format!("{} -> {} in term {}", text("before"), text("role"), number("term")),
        "vote" => match event.number_of("candidate") {
            Some(candidate) => format!("votes for S{candidate} in term {}", number("term")),
            None => format!("takes its vote of term {} back", number("term")),
        },
        "truncate" => format!("entries {} to {} are gone", number("from"), number("to")),
        "append" => {
            let terms = numbers(event, "terms");
            let from = number("from");
            format!("{} appended, of {}", span(from, terms.len()), of_terms(&terms))
        }
        "snapshot" => format!("its snapshot goes up to {}, of term {}", number("index"), number("term")),
        "commit" => format!("commit index {} -> {}", number("before"), number("index")),
        "applied" => format!("applied {} -> {}", number("before"), number("index")),
        "saved" => format!("its log is on disk up to {}", number("index")),
        "progress" => {
            let all = numbers(event, "peers").into_iter().zip(numbers(event, "next")).zip(numbers(event, "matched"));
            let one = |((peer, next), matched)| format!("S{peer} match {matched} next {next}");
            all.map(one).collect::<Vec<_>>().join(", ")
        }
        "apply" => format!("applies `{}` at index {}", text("command"), number("index")),
        "installed" => format!("takes a snapshot up to index {} over", number("index")),
        "call" => format!("a client offers `{}` to S{}", text("command"), number("server")),
        "return" => match event.number_of("index") {
            Some(index) => format!("taken: index {index}, term {}", number("term")),
            None => "not taken".to_owned(),
        },
        "invoke" => text("what").to_owned(),
        "result" => format!("is answered: {}", text("outcome")),
        "check" => text("what").to_owned(),
        "note" => format!("{}: {}", text("topic"), text("text")),
        "write" => format!("writes {}: {} -> {} bytes", text("file"), number("before"), number("after")),
        "sync" => match &texts(event, "files")[..] {
            [] => "its disk is synced, and nothing was written".to_owned(),
            files => format!("its disk is synced: {}", files.join(", ")),
        },
        "cut" | "heal" => format!("link from {} to {}: {}", node("from"), node("to"), event.kind),
        "link" => format!("link from {} to {} changes", node("from"), node("to")),
        "crash" => "crashes".to_owned(),
        "restart" => "restarts".to_owned(),
        "deadline" => format!("sets its timer: it will stand at {}", seconds(micros(event, "due_us"))),
        "thread" => format!("begins `{}`", text("name")),
        "thread_end" => "ends".to_owned(),
        "preempt" => format!("others run first, at {}", text("place")),
        "pause" | "resume" => format!("{}s", event.kind),
        "fail" => text("message").lines().next().unwrap_or("").to_owned(),
        "timer" => format!("a timer rings after {} ms", number("waited_us") / 1000),
        "lock_wait" => format!("waits for the lock at {}, which `{}` has", text("place"), text("holder")),
        "violation" => {
            format!(
                "{}: {}",
                event.text_of("rule").unwrap_or("violation"),
                text("message").lines().next().unwrap_or("")
            )
        }
        kind => kind.to_owned(),
    }
}

/// What a message says.
fn message(event: &Event) -> String {
    let number = |name| event.number_of(name).unwrap_or_default();
    let method = event.text_of("method").unwrap_or_default();
    let Some(term) = event.number_of("term") else {
        let leg = event.text_of("leg").unwrap_or_default();
        return event.text_of("says").map_or(format!("{method} {leg}"), |says| format!("{method} {leg}: {says}"));
    };
    match (method, event.text_of("leg").unwrap_or_default()) {
        ("RequestVote", "request") => {
            format!("RequestVote: term {term}, last entry {} of term {}", number("last"), number("last_term"))
        }
        ("RequestVote", _) => {
            let granted = event.field("granted") == Some(&Value::Flag(true));
            format!("{}: term {term}", if granted { "a vote" } else { "no vote" })
        }
        ("AppendEntries", "request") => {
            let terms = numbers(event, "terms");
            let what = match terms.len() {
                0 => "no entries".to_owned(),
                count => format!("{} of {}", span(number("prev") + 1, count), of_terms(&terms)),
            };
            format!(
                "AppendEntries: term {term}, prev {} of term {}, {what}, commit {}",
                number("prev"),
                number("prev_term"),
                number("leader_commit")
            )
        }
        ("AppendEntries", _) => {
            let success = event.field("success") == Some(&Value::Flag(true));
            format!("{} to AppendEntries: term {term}", if success { "yes" } else { "no" })
        }
        ("InstallSnapshot", "request") => {
            format!("InstallSnapshot: term {term}, up to entry {} of term {}", number("last"), number("last_term"))
        }
        (method, _) => format!("answer to {method}: term {term}"),
    }
}

pub(super) fn numbers(event: &Event, name: &str) -> Vec<u64> {
    match event.field(name) {
        Some(Value::Numbers(numbers)) => numbers.clone(),
        _ => Vec::new(),
    }
}

/// A moment or a span, in whole microseconds.
fn micros(event: &Event, name: &str) -> u64 {
    match event.field(name) {
        Some(Value::Fraction(micros)) => *micros as u64,
        _ => 0,
    }
}

fn texts<'a>(event: &'a Event, name: &str) -> Vec<&'a str> {
    let Some(Value::List(all)) = event.field(name) else { return Vec::new() };
    let text = |value: &'a Value| match value {
        Value::Text(text) => Some(&**text),
        _ => None,
    };
    all.iter().filter_map(text).collect()
}

/// So many entries from `from` on.
fn span(from: u64, count: usize) -> String {
    if count == 1 { format!("entry {from}") } else { format!("entries {from} to {}", from + count as u64 - 1) }
}

fn of_terms(terms: &[u64]) -> String {
    match (terms.first(), terms.last()) {
        (Some(first), Some(last)) if first == last => format!("term {first}"),
        (Some(first), Some(last)) => format!("terms {first} to {last}"),
        _ => "no term".to_owned(),
    }
}

/// A moment in microseconds, as reports show it.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The thread of an event, by name.
pub(super) fn thread<'a>(record: &'a Record, event: &Event) -> &'a str {
    record.threads.get(event.thread as usize).map_or("", |thread| &thread.name)
}

/// A line: seconds, node, thread, and what happened.
pub(super) fn line(record: &Record, event: &Event) -> String {
    let micros = event.at.as_micros();
    let mut what = words(record, event).replace('\n', " ");
    if let Some(place) = event.text_of("place") {
        // The column helps nobody.
        let line = place.rsplit_once(':').map_or(place, |(line, _)| line);
        // What a server shows has changed somewhere in the section that is over now.
        let section = if event.number_of("server").is_some() { "section at " } else { "" };
        what += &format!(" ({section}{line})");
    }
    let node = node(record, event);
    format!(
        "{:>4}.{:06} {node:<4} {:<18} {what}",
        micros / 1_000_000,
        micros % 1_000_000,
        short(thread(record, event), 18)
    )
}

/// Whose event it is.
pub(super) fn node(record: &Record, event: &Event) -> String {
    let about = match event.kind {
        "crash" | "restart" | "pause" | "resume" => event.number_of("target"),
        "call" => None,
        _ => event.number_of("server"),
    };
    let node = about.or_else(|| event.node.map(|node| node.0.into()));
    node.map_or("-".to_owned(), |node| machine(record, node))
}

/// What a node is called, by its number.
fn machine(record: &Record, node: u64) -> String {
    let name = usize::try_from(node).ok().and_then(|node| record.nodes.get(node));
    name.map_or_else(|| format!("S{node}"), String::clone)
}

/// The beginning of a text, in so many characters.
fn short(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width - 1).chain(['~']).collect() }
}
