//! Views and messages into events.
//!
//! Boundary: writes down. It is only there while a run is recorded.

use labrpc::Passing;
use std::time::Duration;

use labsim::record::{self, Class, Field, Value};
use labsim::time::Instant;
use raft::{
    AppendEntriesArgs, AppendEntriesReply, Bytes, Entry, Index, InstallSnapshotArgs, InstallSnapshotReply,
    PeerProgress, RequestVoteArgs, RequestVoteReply, RoleName, ServerId, Shown, Term, View,
};

use crate::check::Broken;

/// After so many events the state of each server is written down whole; later, if there
/// is much of it: so that it costs less than what happens meanwhile.
const STATE_EVERY_MIN: u64 = 500;
/// How much is kept of what a message says that is none of Raft's.
const SAYS_CHARS_MAX: usize = 160;
/// So many bytes of a command are shown.
const COMMAND_BYTES_SHOWN: usize = 24;

/// Remembers what each server has shown last.
#[derive(Debug)]
pub struct Recorder {
    last: Vec<Option<Full>>,
    /// Whose disk was synced since its last view.
    synced: Vec<bool>,
    /// Up to where each one's disk has been said to have its log.
    saved: Vec<Index>,
    /// The number of the last event at which all states were written down.
    states_at: u64,
}

/// A server's state, log and all.
#[derive(Clone, Debug)]
struct Full {
    view: View,
    entries: Vec<Shown>,
}

impl Recorder {
    /// For so many servers. None if the run is not recorded.
    pub fn new(servers: usize) -> Option<Self> {
        record::is_on().then(|| Self {
            last: vec![None; servers],
            synced: vec![false; servers],
            saved: vec![0; servers],
            states_at: 0,
        })
    }

    /// A server starts: its next view is the first of a life.
    pub fn begin_life(&mut self, server: ServerId) {
        self.last[server.0 as usize] = None;
    }

    /// A server publishes.
    pub fn observe(&mut self, view: &View) {
        let slot = view.server.0 as usize;
        let is_synced = std::mem::take(&mut self.synced[slot]);
        let Some(mut full) = self.last[slot].take() else {
            self.saved[slot] = view.last.index;
            let full = Full { view: view.clone(), entries: view.changed.clone() };
            record::emit_as(Class::Milestone, "boot", || full.fields());
            self.last[slot] = Some(full);
            return;
        };
        full.note(view);
        self.last[slot] = Some(full);
        // What was synced since its last view may have been made in this section.
        if is_synced {
            self.note_saved(slot);
        }
        let entries: usize = self.last.iter().flatten().map(|full| full.entries.len()).sum();
        if record::last() >= self.states_at + STATE_EVERY_MIN.max(entries as u64) {
            self.states_at = record::last();
            for full in self.last.iter().flatten() {
                // Of no thread's doing: it must not become a cause.
                record::emit_caused_by("state", &[], || full.fields());
            }
        }
    }
}

impl Recorder {
    /// A server's disk was synced.
    pub fn synced(&mut self, server: ServerId) {
        let slot = server.0 as usize;
        self.synced[slot] = true;
        self.note_saved(slot);
    }

    fn note_saved(&mut self, slot: usize) {
        let last = self.last[slot].as_ref().map_or(0, |full| full.view.last.index);
        if last != self.saved[slot] {
            self.saved[slot] = last;
            shows(Class::Normal, "saved", ServerId(slot as u32), vec![("index", last.into())]);
        }
    }
}

impl Full {
    /// Writes down how `view` differs, and takes it over.
    fn note(&mut self, view: &View) {
        // What has changed of the log is in `entries`.
        let now = View { changed: Vec::new(), progress: view.progress.clone(), ..*view };
        let before = std::mem::replace(&mut self.view, now);
        let server = view.server;
        let milestone = |kind, fields| shows(Class::Milestone, kind, server, fields);
        if view.term != before.term {
            milestone("term", vec![("term", view.term.into()), ("before", before.term.into())]);
        }
        if view.role != before.role {
            let fields = vec![("role", role(view.role)), ("before", role(before.role)), ("term", view.term.into())];
            milestone("role", fields);
        }
        // A new term begins without a vote.
        let vote_before = before.voted_for.filter(|_| view.term == before.term);
        if view.voted_for != vote_before {
            let candidate = view.voted_for.map_or(Value::Nothing, |candidate| candidate.0.into());
            milestone("vote", vec![("candidate", candidate), ("term", view.term.into())]);
        }
        self.note_log(&before, view);
        if view.commit_index != before.commit_index {
            shows(
                Class::Normal,
                "commit",
                server,
                vec![("index", view.commit_index.into()), ("before", before.commit_index.into())],
            );
        }
        if view.last_applied != before.last_applied {
            shows(
                Class::Normal,
                "applied",
                server,
                vec![("index", view.last_applied.into()), ("before", before.last_applied.into())],
            );
        }
        if view.progress != before.progress {
            shows(Class::Normal, "progress", server, progress(&view.progress));
        }
        if view.election_deadline != before.election_deadline
            && let Some(due) = view.election_deadline.and_then(Instant::since_start)
        {
            shows(Class::Detail, "deadline", server, vec![("due_us", micros(due))]);
        }
    }

    fn note_log(&mut self, before: &View, view: &View) {
        let slot =
            |base: Index, index: Index| usize::try_from(index.saturating_sub(base + 1)).expect("a log fits in memory");
        let kept = slot(before.base.index, view.changed_from).min(self.entries.len());
        let was_last = before.last.index;
        self.entries.truncate(kept);
        let covered = slot(before.base.index, view.base.index + 1);
        let gone_from = view.changed_from.max(view.base.index + 1);
        if view.base != before.base {
            shows(
                Class::Normal,
                "snapshot",
                view.server,
                vec![("index", view.base.index.into()), ("term", view.base.term.into())],
            );
        }
        self.entries.drain(..covered.min(self.entries.len()));
        if gone_from <= was_last {
            shows(Class::Normal, "truncate", view.server, vec![("from", gone_from.into()), ("to", was_last.into())]);
        }
        if !view.changed.is_empty() {
            shows(Class::Normal, "append", view.server, entries(view.changed_from, &view.changed));
        }
        self.entries.extend_from_slice(&view.changed);
    }

    fn fields(&self) -> Vec<Field> {
        let View { server, term, voted_for, base, commit_index, last_applied, .. } = self.view;
        let mut fields = vec![
            ("server", server.0.into()),
            ("term", term.into()),
            ("role", role(self.view.role)),
            ("vote", voted_for.map_or(Value::Nothing, |candidate| candidate.0.into())),
            ("base", base.index.into()),
            ("base_term", base.term.into()),
            ("commit", commit_index.into()),
            ("applied", last_applied.into()),
        ];
        fields.extend(entries(base.index + 1, &self.entries));
        fields.extend(progress(&self.view.progress));
        fields
    }
}

/// A server's state has changed. Not always by one of its own threads: a client's may
/// be in its code.
fn shows(class: Class, kind: &'static str, server: ServerId, fields: Vec<Field>) {
    // Where the critical section began that ends just now.
    let place = labsim::sync::locks_held().last().map_or(Value::Nothing, |place| record::place(place));
    record::emit_as(class, kind, || {
        let mut all = Vec::with_capacity(2 + fields.len());
        all.extend([("server", server.0.into()), ("place", place)]);
        all.extend(fields);
        all
    });
}

fn role(role: RoleName) -> Value {
    match role {
        RoleName::Follower => "follower",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
    .into()
}

fn entries(from: Index, entries: &[Shown]) -> Vec<Field> {
    vec![
        ("from", from.into()),
        ("terms", entries.iter().map(|entry| entry.term).collect::<Vec<_>>().into()),
        ("digests", entries.iter().map(|entry| short_digest(entry.digest)).collect::<Vec<_>>().into()),
    ]
}

/// A digest in 53 bits: a page reads numbers as fractions, which have no more.
pub fn short_digest(digest: u64) -> u64 {
    digest >> 11
}

fn progress(progress: &[PeerProgress]) -> Vec<Field> {
    let all = |what: fn(&PeerProgress) -> u64| progress.iter().map(what).collect::<Vec<_>>().into();
    vec![
        ("peers", all(|progress| progress.server.0.into())),
        ("next", all(|progress| progress.next)),
        ("matched", all(|progress| progress.matched)),
    ]
}

/// Adds to a message's event what it says.
pub fn amend(passing: &Passing<'_>) {
    if passing.event != 0 {
        record::amend(passing.event, || said(passing));
    }
}

fn said(passing: &Passing<'_>) -> Vec<Field> {
    let value = passing.value;
    if let Some(RequestVoteArgs { term, candidate, last, .. }) = value.downcast_ref() {
        let fields = [("last", last.index), ("last_term", last.term), ("candidate", candidate.0.into())];
        return with_term(*term, &fields);
    }
    if let Some(RequestVoteReply { term, granted, .. }) = value.downcast_ref() {
        return vec![("term", (*term).into()), ("granted", (*granted).into())];
    }
    if let Some(AppendEntriesArgs { term, prev, entries, leader_commit, .. }) = value.downcast_ref() {
        let numbers = [("prev", prev.index), ("prev_term", prev.term), ("leader_commit", *leader_commit)];
        let mut fields = with_term(*term, &numbers);
        let terms: Vec<Term> = entries.iter().map(|entry: &Entry| entry.term).collect();
        fields.push(("terms", terms.into()));
        return fields;
    }
    if let Some(AppendEntriesReply { term, success, retry_at, .. }) = value.downcast_ref() {
        return vec![("term", (*term).into()), ("success", (*success).into()), ("retry_at", (*retry_at).into())];
    }
    if let Some(InstallSnapshotArgs { term, last_included, data, .. }) = value.downcast_ref() {
        let fields =
            [("last", last_included.index), ("last_term", last_included.term), ("data_bytes", data.len() as u64)];
        return with_term(*term, &fields);
    }
    if let Some(InstallSnapshotReply { term, .. }) = value.downcast_ref() {
        return with_term(*term, &[]);
    }
    let mut says = format!("{value:?}");
    if let Some((end, _)) = says.char_indices().nth(SAYS_CHARS_MAX) {
        says.truncate(end);
        says += " ..";
    }
    vec![("says", says.into())]
}

fn with_term(term: Term, numbers: &[(&'static str, u64)]) -> Vec<Field> {
    let mut fields = vec![("term", term.into())];
    fields.extend(numbers.iter().map(|(name, number)| (*name, Value::Number(*number))));
    fields
}

/// A service is told to execute a command.
pub fn applies(index: Index, command: &Bytes) {
    record::emit("apply", || vec![("index", index.into()), ("command", shown(command))]);
}

/// A service has taken a snapshot over.
pub fn installs(index: Index) {
    record::emit("installed", || vec![("index", index.into())]);
}

/// A client offers a command. Returns the event, for [`returns`].
pub fn calls(server: usize, command: &Bytes) -> u64 {
    record::emit("call", || vec![("server", server.into()), ("command", shown(command))])
}

/// The server that it was offered to has taken it, or has not.
pub fn returns(call: u64, taken: Option<(Index, Term)>) {
    record::emit_caused_by("return", &[call, record::last()], || match taken {
        Some((index, term)) => vec![("call", call.into()), ("index", index.into()), ("term", term.into())],
        None => vec![("call", call.into()), ("index", Value::Nothing)],
    });
}

/// A client of the service makes a call.
pub fn invokes(client: u64, call: impl FnOnce() -> String) -> u64 {
    record::emit("invoke", || vec![("client", client.into()), ("what", call().into())])
}

/// What came of it.
pub fn results(invoked: u64, outcome: impl FnOnce() -> String) {
    record::emit_caused_by("result", &[invoked, record::last()], || {
        vec![("invoke", invoked.into()), ("outcome", outcome().into())]
    });
}

/// The test has looked, and found nothing wrong.
pub fn checks(what: impl FnOnce() -> String) {
    record::emit("check", || vec![("what", what().into())]);
}

/// A promise is broken.
pub fn violation(broken: &Broken) {
    record::emit_as(Class::Milestone, "violation", || {
        vec![
            ("rule", broken.rule.map_or(Value::Nothing, Value::from)),
            ("kind", broken.kind.name().into()),
            ("message", broken.message.clone().into()),
            ("moments_us", broken.moments.iter().copied().map(micros).collect::<Vec<Value>>().into()),
        ]
    });
}

/// Microseconds, as events have them.
fn micros(moment: Duration) -> Value {
    Value::Fraction(moment.as_nanos() as f64 / 1000.0)
}

/// The beginning of a command, as text if it is some.
fn shown(command: &Bytes) -> Value {
    let begin = &command[..command.len().min(COMMAND_BYTES_SHOWN)];
    let more = if begin.len() < command.len() { format!(".. ({} bytes)", command.len()) } else { String::new() };
    match std::str::from_utf8(begin) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text}{more}").into(),
        _ => format!("{begin:02x?}{more}").into(),
    }
}
