//! What led to a failure, and how things stood then.
//!
//! The evidence comes first: what happened at the very moments that contradict each
//! other. The rest goes back from the failure along its causes: what made that thread
//! do this, who had sent that message, what had made them.
//!
//! Boundary: chooses among events. How one is put into words is in `words.rs`.

use std::collections::BTreeSet;

use labsim::record::{Event, Record};
use serde::{Deserialize, Serialize};

use super::fold::{Fold, Life};
use super::words::{line, words};
use crate::check::{Broken, Kind};

/// How many events are told.
const EVENTS_TOLD: usize = 5;
/// How many of them may be evidence.
const EVIDENCE_TOLD: usize = 3;
/// How far back a chain of causes is followed.
const CHAIN_MAX: usize = 200;
/// The terms of so many entries at the end of a log are told, if they differ.
const TERMS_TOLD: usize = 4;
/// How many changes of links and machines are told.
const FAULTS_TOLD: usize = 4;

/// What a report tells of a recorded run.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Story {
    /// The events that led there, in order, a line each.
    pub events: Vec<String>,
    /// Each server as it was then, a line each.
    pub servers: Vec<String>,
    /// The last that was done to machines and links, a line each.
    pub faults: Vec<String>,
    /// How many events there were.
    pub count: u64,
}

impl Story {
    /// Tells a run of so many servers that failed.
    pub fn tell(record: &Record, servers: usize, broken: &Broken) -> Self {
        let end = record.events.iter().rposition(|event| event.kind == "violation" || event.kind == "fail");
        let end = end.unwrap_or(record.events.len());
        let before = &record.events[..end];
        let mut fold = Fold::new(servers);
        before.iter().for_each(|event| fold.step(event));
        let last = record.events.last().map_or(0, |event| event.number);
        Self {
            events: led_there(record, before, record.events.get(end), broken),
            servers: (0..servers).map(|server| describe(&fold, server)).collect(),
            faults: faults(record, before, servers),
            count: last,
        }
    }
}

/// The numbers of the events that are evidence of `broken`.
pub(super) fn evidence(events: &[Event], broken: &Broken) -> Vec<u64> {
    let is_at = |event: &&Event| broken.moments.contains(&event.at) && is_telling(event, broken);
    events.iter().filter(is_at).map(|event| event.number).collect()
}

fn led_there(record: &Record, before: &[Event], end: Option<&Event>, broken: &Broken) -> Vec<String> {
    let mut told: BTreeSet<u64> = BTreeSet::new();
    let evidence = evidence(before, broken);
    // At one moment there may be several; of each moment the last says most.
    told.extend(evidence.iter().rev().take(EVIDENCE_TOLD));
    match broken.kind {
        Kind::NotLinearizable => evidence.iter().for_each(|number| told.extend(tries(before, *number))),
        Kind::PromisedBeforePersisted => told.extend(unsaved(record, before, end)),
        _ => {}
    }
    let mut next = end.and_then(|event| event.causes.last()).or(evidence.last()).copied();
    for _ in 0..CHAIN_MAX {
        let Some(event) = next.and_then(|number| record.event(number)) else { break };
        if told.len() >= EVENTS_TOLD {
            break;
        }
        // A message is told once, where it arrives.
        // One of several timers that rang in vain is enough.
        let is_again = event.kind == "timer" && told.iter().any(|number| is_same_timer(record, *number, event));
        let is_sent = event.kind == "send" && told.iter().any(|number| comes_of(record, *number, event.number));
        if is_telling(event, broken) && !is_sent && !is_again {
            told.insert(event.number);
        }
        next = event.causes.last().copied();
    }
    told.iter().filter_map(|number| record.event(*number)).map(|event| line(record, event)).collect()
}

/// What a server has changed since its disk was last synced, of what must be on it: the last
/// change of each sort, and who made it change.
fn unsaved(record: &Record, events: &[Event], end: Option<&Event>) -> BTreeSet<u64> {
    let Some(server) = end.and_then(|event| event.node) else { return BTreeSet::new() };
    let of_server = events.iter().rev().filter(|event| event.node == Some(server));
    let unsaved: Vec<&Event> = of_server.take_while(|event| !matches!(event.kind, "sync" | "boot")).collect();
    let sorts: [&[&str]; 2] = [&["term", "vote"], &["append", "truncate", "snapshot"]];
    let last = sorts.iter().filter_map(|sort| unsaved.iter().find(|event| sort.contains(&event.kind)));
    last.flat_map(|event| causes(record, event).into_iter().chain([*event])).map(|event| event.number).collect()
}

/// The first and the last message of a client's call that took several: whoever executes
/// each of them executes the call twice.
fn tries(events: &[Event], invoke: u64) -> Vec<u64> {
    let Some(at) = events.iter().position(|event| event.number == invoke && event.kind == "invoke") else {
        return Vec::new();
    };
    let client = events[at].node;
    let of_client = events[at..].iter().filter(|event| event.node == client);
    let of_call = of_client.take_while(|event| event.kind != "result");
    let sent: Vec<u64> = of_call.filter(|event| event.kind == "send").map(|event| event.number).collect();
    match &sent[..] {
        [first, .., last] => vec![*first, *last],
        _ => Vec::new(),
    }
}

fn comes_of(record: &Record, number: u64, cause: u64) -> bool {
    record.event(number).is_some_and(|event| event.kind == "deliver" && event.causes.contains(&cause))
}

fn is_same_timer(record: &Record, number: u64, timer: &Event) -> bool {
    let is_it = |event: &Event| event.kind == "timer" && event.thread == timer.thread;
    record.event(number).is_some_and(is_it)
}

/// True if an event says something to somebody who looks for this mistake.
fn is_telling(event: &Event, broken: &Broken) -> bool {
    if matches!(event.kind, "write" | "sync") {
        return broken.kind == Kind::PromisedBeforePersisted;
    }
    if event.kind == "deadline" {
        return broken.rule == Some("Followers.2");
    }
    const TELLING: [&str; 17] = [
        "send",
        "deliver",
        "boot",
        "term",
        "role",
        "vote",
        "truncate",
        "append",
        "snapshot",
        "commit",
        "apply",
        "installed",
        "call",
        "invoke",
        "result",
        "crash",
        "timer",
    ];
    TELLING.contains(&event.kind)
}

/// A server in one line.
fn describe(fold: &Fold, server: usize) -> String {
    let is_cut = |cut: &&(u64, u64)| cut.0 == server as u64 || cut.1 == server as u64;
    let cuts = fold.cut.iter().filter(is_cut).count();
    let all = 2 * fold.servers.len().saturating_sub(1);
    let cut = match cuts {
        0 => String::new(),
        cuts if cuts >= all => ", cut off".to_owned(),
        cuts => format!(", {cuts} of {all} links cut"),
    };
    let Some(life) = &fold.servers[server] else {
        let what = if fold.down[server] { "down" } else { "has shown nothing of itself" };
        return format!("S{server} {what}{cut}");
    };
    let Life { term, role, vote, base, commit, applied, saved, .. } = life;
    let (index, terms) = (life.last().0, last_terms(life));
    let vote = vote.map_or("no vote".to_owned(), |candidate| format!("voted S{candidate}"));
    let snapshot = if base.0 > 0 { format!(" (snapshot to {})", base.0) } else { String::new() };
    let matched = match &life.progress[..] {
        [] => String::new(),
        all => {
            let one = |(peer, _, matched): &(u64, u64, u64)| format!("S{peer} {matched}");
            format!(", match {}", all.iter().map(one).collect::<Vec<_>>().join(" "))
        }
    };
    format!(
        "S{server} {role:<9} term {term}, {vote}, log to {index} of {terms}{snapshot}, on disk to {saved}, \
         commit {commit}, applied {applied}{matched}{cut}"
    )
}

/// The term of the log's end, or its last few where they differ.
fn last_terms(life: &Life) -> String {
    let entries = &life.entries[life.entries.len().saturating_sub(TERMS_TOLD)..];
    let mut terms: Vec<String> = entries.iter().map(|(term, _)| term.to_string()).collect();
    if terms.windows(2).all(|pair| pair[0] == pair[1]) {
        return format!("term {}", life.last().1);
    }
    if life.entries.len() > TERMS_TOLD || life.base.0 > 0 {
        terms.insert(0, "..".to_owned());
    }
    format!("terms {}", terms.join(" "))
}

/// The last faults: each moment once, for cutting a server off cuts many links.
fn faults(record: &Record, events: &[Event], servers: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Which servers a client may reach is no fault.
    let is_server = |event: &Event, end| event.number_of(end).is_none_or(|node| node < servers as u64);
    let is_fault = |event: &&Event| {
        matches!(event.kind, "crash" | "restart" | "pause" | "resume" | "cut" | "heal")
            && is_server(event, "from")
            && is_server(event, "to")
    };
    let faults: Vec<&Event> = events.iter().filter(is_fault).collect();
    let mut at = faults.len();
    while at > 0 && lines.len() < FAULTS_TOLD {
        let last = faults[at - 1];
        let is_link = matches!(last.kind, "cut" | "heal");
        let same = |event: &&&Event| {
            event.kind == last.kind && is_link && last.at - event.at < std::time::Duration::from_micros(200)
        };
        let group = faults[..at].iter().rev().take_while(same).count().max(1);
        let micros = faults[at - group].at.as_micros();
        let time = format!("{:>4}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let what = if is_link {
            links(&faults[at - group..at], last.kind, servers as u64)
        } else {
            let node = last.number_of("target").or(last.node.map(|node| node.0.into())).unwrap_or_default();
            format!("S{node} {}", words(record, last))
        };
        lines.push(format!("{time} {what}"));
        at -= group;
    }
    lines.reverse();
    lines
}

/// The links that were cut or healed at one moment: of a server all of whose links are
/// among them, only its name.
fn links(events: &[&Event], kind: &str, servers: u64) -> String {
    let link = |event: &&Event| Some((event.number_of("from")?, event.number_of("to")?));
    let links: BTreeSet<(u64, u64)> = events.iter().filter_map(link).collect();
    let has_all = |server: &u64| {
        let mut peers = (0..servers).filter(|peer| peer != server);
        peers.all(|peer| links.contains(&(*server, peer)) && links.contains(&(peer, *server)))
    };
    let whole: Vec<u64> = (0..servers).filter(has_all).collect();
    let names = whole.iter().map(|server| format!("S{server}"));
    let single = links.iter().filter(|(from, to)| !whole.contains(from) && !whole.contains(to));
    let single = single.map(|(from, to)| format!("S{from}>S{to}"));
    let what = if whole.is_empty() { kind.to_owned() } else { format!("{kind} all links of") };
    format!("{what} {}", names.chain(single).collect::<Vec<_>>().join(" "))
}

/// Every change of a server's `field`, with what it came from: for each a line, and
/// under it its causes.
///
/// # Errors
///
/// If there is no such field.
pub fn why(record: &Record, servers: usize, server: usize, field: &str) -> Result<Vec<String>, String> {
    const FIELDS: [(&str, &[&str]); 9] = [
        ("term", &["term"]),
        ("role", &["role"]),
        ("vote", &["vote"]),
        ("log", &["append", "truncate"]),
        ("snapshot", &["snapshot"]),
        ("commit", &["commit"]),
        ("applied", &["applied", "installed"]),
        ("saved", &["saved"]),
        ("match", &["progress"]),
    ];
    let Some((_, kinds)) = FIELDS.iter().find(|(name, _)| *name == field) else {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        return Err(format!("no field is called `{field}`; there are {}", names.join(", ")));
    };
    let fold = Fold::new(servers);
    let mut lines = Vec::new();
    for event in &record.events {
        let is_meant = fold.server_of(event) == Some(server) && (kinds.contains(&event.kind) || event.kind == "boot");
        if !is_meant {
            continue;
        }
        lines.push(line(record, event));
        for cause in causes(record, event) {
            lines.push(format!("    because {}", line(record, cause).trim_start()));
        }
    }
    Ok(lines)
}

/// What an event came from: back to a message that arrived, a timer, a client, or a
/// machine, and who sent that message.
fn causes<'a>(record: &'a Record, event: &Event) -> Vec<&'a Event> {
    let mut found = Vec::new();
    let mut next = event.causes.last().copied();
    for _ in 0..CHAIN_MAX {
        let Some(event) = next.and_then(|number| record.event(number)) else { break };
        if matches!(event.kind, "deliver" | "timer" | "call" | "restart" | "crash") {
            found.push(event);
            break;
        }
        next = event.causes.last().copied();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use labsim::node::NodeId;
    use labsim::record::{Field, ThreadName};
    use std::time::Duration;

    /// Events of one thread on each of some nodes, a millisecond apart.
    #[derive(Default)]
    struct Told(Vec<Event>);

    impl Told {
        /// Adds one, which `cause` led to, and returns its number.
        fn add(&mut self, node: u32, kind: &'static str, cause: u64, fields: Vec<Field>) -> u64 {
            let number = self.0.len() as u64 + 1;
            let causes = Some(cause).filter(|cause| *cause > 0).into_iter().collect();
            let at = Duration::from_millis(number);
            self.0.push(Event { number, at, node: Some(NodeId(node)), thread: node, kind, causes, fields });
            number
        }

        fn message(&mut self, node: u32, kind: &'static str, cause: u64, says: &str) -> u64 {
            let fields = vec![("method", "Ask".into()), ("leg", "request".into()), ("says", says.to_owned().into())];
            self.add(node, kind, cause, fields)
        }

        /// What the report tells, if `broken` ends it here.
        fn end(mut self, node: u32, cause: u64, broken: &Broken) -> Vec<String> {
            self.add(node, "violation", cause, Vec::new());
            let names = (0..3).map(|node| format!("S{node}"));
            let thread = |node| ThreadName { name: "work".into(), node: Some(NodeId(node)) };
            let threads = (0..3).map(thread).collect();
            let record = Record { events: self.0, threads, nodes: names.collect(), dropped: 0 };
            Story::tell(&record, 3, broken).events
        }
    }

    #[test]
    fn what_was_promised_and_not_saved_is_told_with_who_brought_it_2c() {
        let mut told = Told::default();
        let term = |before: u64| vec![("before", before.into()), ("term", (before + 1).into())];
        let old = told.message(0, "deliver", 0, "old news");
        told.add(0, "term", old, term(3));
        told.add(0, "truncate", old, vec![("from", 1_u64.into()), ("to", 2_u64.into())]);
        told.add(0, "sync", 0, Vec::new());
        let news = told.message(0, "deliver", 0, "the news");
        let changed = told.add(0, "term", news, term(4));
        told.add(1, "term", 0, term(7));
        told.message(0, "deliver", changed, "a question");
        let sent = told.message(0, "send", 0, "a promise");
        let broken = Broken::new(Kind::PromisedBeforePersisted, "PersistedBeforePromised", "it is not there");
        let events = told.end(0, sent, &broken.since([Duration::from_millis(sent)]));
        let has = |text: &str| events.iter().any(|line| line.contains(text));
        assert!(has("the news") && has("term 4 -> 5") && has("a promise"), "{events:?}");
        assert!(!has("old news") && !has("are gone") && !has("term 3 -> 4") && !has("term 7 -> 8"), "{events:?}");
    }

    #[test]
    fn of_a_call_that_was_sent_again_both_tries_are_told_3a() {
        let told_of = |tries: u64| {
            let mut told = Told::default();
            let call = told.add(2, "invoke", 0, vec![("what", "Append".into())]);
            for n in 1..=tries {
                told.message(2, "send", 0, &format!("try {n}"));
                told.message(0, "send", 0, "somebody else's");
            }
            told.add(2, "result", 0, vec![("outcome", "done".into())]);
            told.message(2, "send", 0, "the next call");
            let broken = Broken::new(Kind::NotLinearizable, "ExactlyOnce", "it is there twice");
            told.end(2, 0, &broken.since([Duration::from_millis(call)]))
        };
        let said = |events: &[String], text: &str| events.iter().filter(|line| line.contains(text)).count();
        let events = told_of(3);
        assert_eq!((said(&events, "try 1"), said(&events, "try 2"), said(&events, "try 3")), (1, 0, 1), "{events:?}");
        assert_eq!(said(&events, "else") + said(&events, "next"), 0, "{events:?}");
        assert_eq!(said(&told_of(1), "try"), 0, "that it was sent once is no news");
    }
}
