//! Servers that do what a test says, for the watchers' own tests.
//!
//! Boundary: makes views and messages. Knows what a correct server would do in none of
//! them.

use std::time::Duration;

use raft::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply,
    PeerProgress, RequestVoteArgs, RequestVoteReply, RoleName, ServerId, Shown, Term, View,
};

use super::known::{Known, Step};
use super::wire::{Said, Wire};

pub(super) const S0: ServerId = ServerId(0);
pub(super) const S1: ServerId = ServerId(1);
pub(super) const S2: ServerId = ServerId(2);

/// An entry's place in history.
pub(super) fn id(term: Term, index: Index) -> EntryId {
    EntryId { term, index }
}

/// What a server shows whose log has entries of these terms, and which is a follower
/// that has committed nothing.
pub(super) fn view(server: ServerId, term: Term, log: &[Term]) -> View {
    View {
        last: id(log.last().copied().unwrap_or(0), log.len() as Index),
        changed_from: 1,
        changed: log.iter().map(|term| Shown { term: *term, digest: *term }).collect(),
        ..super::view_of(server.0)
    }
    .in_term(term)
}

/// What a view may say besides.
pub(super) trait Says: Sized {
    fn in_term(self, term: Term) -> Self;
    fn leads(self) -> Self;
    fn votes_for(self, candidate: ServerId) -> Self;
    fn commits(self, index: Index) -> Self;
    fn applied(self, index: Index) -> Self;
    fn believes(self, matched: &[(ServerId, Index)]) -> Self;
    fn with_snapshot(self, base: EntryId) -> Self;
}

impl Says for View {
    fn in_term(self, term: Term) -> Self {
        Self { term, ..self }
    }
    fn leads(self) -> Self {
        Self { role: RoleName::Leader, ..self }
    }
    fn votes_for(self, candidate: ServerId) -> Self {
        Self { voted_for: Some(candidate), ..self }
    }
    fn commits(self, index: Index) -> Self {
        Self { commit_index: index, ..self }
    }
    fn applied(self, index: Index) -> Self {
        Self { last_applied: index, ..self }
    }
    fn believes(self, matched: &[(ServerId, Index)]) -> Self {
        let one = |(server, matched): &(ServerId, Index)| PeerProgress {
            server: *server,
            next: matched + 1,
            matched: *matched,
        };
        Self { progress: matched.iter().map(one).collect(), ..self }
    }
    /// The log stays what it is from `base` on.
    fn with_snapshot(self, base: EntryId) -> Self {
        let gone = usize::try_from(base.index).unwrap().min(self.changed.len());
        let changed = self.changed[gone..].to_vec();
        let last = if changed.is_empty() { base } else { self.last };
        Self { base, changed_from: base.index + 1, changed, last, ..self }
    }
}

/// What is known of some servers, and the time.
pub(super) struct Scene {
    pub(super) known: Known,
    pub(super) moment: Duration,
    calls: u64,
}

impl Scene {
    /// So many servers, all with an empty log in term 0, which is on their disks.
    pub(super) fn new(servers: u32) -> Self {
        let mut scene = Self { known: Known::new(servers as usize), moment: Duration::ZERO, calls: 0 };
        for server in 0..servers {
            scene.publish(&view(ServerId(server), 0, &[]));
        }
        scene
    }

    /// A millisecond passes, and a server publishes. The view has the whole log; what
    /// is known of it goes.
    pub(super) fn publish(&mut self, view: &View) -> Step {
        self.moment += Duration::from_millis(1);
        let server = self.known.server(view.server);
        let is_new = |(index, entry): &(Index, &Shown)| server.face.is_none() || server.log.at(*index) != Some(**entry);
        let first = view.base.index + 1;
        let new = (first..).zip(&view.changed).find(is_new).map_or(view.last.index + 1, |(index, _)| index);
        let changed = view.changed[usize::try_from(new - first).unwrap()..].to_vec();
        self.known.take(self.moment, &View { changed_from: new, changed, ..view.clone() })
    }

    /// A server writes something to its disk, and syncs it.
    pub(super) fn sync(&mut self, server: ServerId) {
        self.known.written(server);
        self.known.synced(server);
    }

    /// The same, after its disk was synced in that critical section.
    pub(super) fn save(&mut self, view: &View) -> Step {
        self.sync(view.server);
        self.publish(view)
    }

    /// A request leaves and arrives. Returns its call.
    pub(super) fn ask(&mut self, from: ServerId, to: ServerId, said: Said<'_>) -> u64 {
        self.calls += 1;
        for leaves in [true, false] {
            self.known.hear(&self.wire(self.calls, from, to, leaves, said));
        }
        self.calls
    }

    /// The answer to a call arrives.
    pub(super) fn answer(&mut self, call: u64, from: ServerId, to: ServerId, said: Said<'_>) {
        let wire = self.wire(call, from, to, true, said);
        self.known.close(&wire);
        self.known.hear(&Wire { leaves: false, ..wire });
    }

    /// A message, now.
    pub(super) fn wire<'a>(&self, call: u64, from: ServerId, to: ServerId, leaves: bool, said: Said<'a>) -> Wire<'a> {
        Wire { at: self.moment, call, from, to, leaves, said }
    }

    /// `peer` confirms to `leader` that it has what an AppendEntries of that term ends
    /// with.
    pub(super) fn confirm(&mut self, leader: ServerId, peer: ServerId, term: Term, last: EntryId) {
        let call = self.ask(leader, peer, Said::AppendEntries(&append(term, leader, last, &[])));
        self.answer(call, peer, leader, Said::Appended(&yes(term)));
    }
}

/// A leader's entries of these terms.
pub(super) fn append(term: Term, leader: ServerId, prev: EntryId, terms: &[Term]) -> AppendEntriesArgs {
    let entry = |term: &Term| Entry { term: *term, command: Vec::new().into() };
    AppendEntriesArgs { term, leader, prev, entries: terms.iter().map(entry).collect(), leader_commit: 0 }
}

pub(super) fn no(term: Term) -> AppendEntriesReply {
    AppendEntriesReply { term, ..AppendEntriesReply::default() }
}

pub(super) fn yes(term: Term) -> AppendEntriesReply {
    AppendEntriesReply { term, success: true, ..Default::default() }
}

pub(super) fn install(term: Term, leader: ServerId, last_included: EntryId) -> InstallSnapshotArgs {
    InstallSnapshotArgs { term, leader, last_included, data: Vec::new().into() }
}

pub(super) fn installed(term: Term) -> InstallSnapshotReply {
    InstallSnapshotReply { term }
}

pub(super) fn stand(term: Term, candidate: ServerId, last: EntryId) -> RequestVoteArgs {
    RequestVoteArgs { term, candidate, last }
}

pub(super) fn vote(term: Term) -> RequestVoteReply {
    RequestVoteReply { term, granted: true }
}
