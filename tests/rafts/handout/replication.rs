//! Log replication, §5.3, and snapshots to those who are far behind, §7.
//!
//! The sender waits for the answer to a call before it sends more to the same
//! server, but no longer than to the next heartbeat: the call may be lost, and not
//! know it yet. Heartbeats carry what the other lacks.
//!
//! Boundary: the way of entries from log to log. Who leads is in `election.rs`.

use labsim::sync::Arc;
use labsim::time::Instant;
use labsim::{note, thread};

use crate::state::{Peer, Role, State};
use crate::types::{
    AppendEntriesArgs, AppendEntriesReply, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply, Term,
};
use crate::{HEARTBEAT_INTERVAL, Raft};

/// What a leader tells another server.
#[derive(Debug)]
enum Message {
    Entries(AppendEntriesArgs),
    Snapshot(InstallSnapshotArgs),
}

/// A message, for whom, and the number of its call.
#[derive(Debug)]
struct Request {
    peer: usize,
    number: u64,
    message: Message,
}

impl State {
    /// What a leader has to send: to those who lack entries and have no call to
    /// answer, and to those who have heard nothing for a while.
    fn requests(&mut self) -> Vec<Request> {
        if self.role != Role::Leader {
            return Vec::new();
        }
        let (now, last) = (Instant::now(), self.log.last().index);
        let mut peers: Vec<usize> = self.others().collect();
        peers.retain(|peer| {
            let Peer { next, waits_for, due, .. } = self.peers[*peer];
            due <= now || (next <= last && waits_for.is_none())
        });
        peers.into_iter().map(|peer| self.request(peer, now)).collect()
    }

    /// The next request to `peer`, about to be sent.
    fn request(&mut self, peer: usize, now: Instant) -> Request {
        let (base, next) = (self.log.base(), self.peers[peer].next);
        let message = if next <= base.index {
            let data = self.snapshot.clone();
            Message::Snapshot(InstallSnapshotArgs { term: self.term, leader: self.me, last_included: base, data })
        } else {
            let term = self.log.term(next - 1).expect("nextIndex is at most one beyond the log");
            Message::Entries(AppendEntriesArgs {
                term: self.term,
                leader: self.me,
                prev: EntryId { term, index: next - 1 },
                entries: self.log.copy_from(next, self.settings.batch_entries.max(1)),
                leader_commit: self.commit_index,
            })
        };
        self.calls += 1;
        self.peers[peer].waits_for = Some(self.calls);
        self.peers[peer].due = now + HEARTBEAT_INTERVAL;
        Request { peer, number: self.calls, message }
    }

    /// The other server has the log up to `index`, on disk.
    fn matched(&mut self, peer: usize, index: Index) -> bool {
        let peer = &mut self.peers[peer];
        peer.matched = peer.matched.max(index);
        peer.next = peer.next.max(peer.matched + 1);
        self.advance_commit();
        true
    }

    /// The other server lacks `prev`: goes back, over all entries of terms that
    /// cannot be common to both logs. Returns whether that is news.
    fn refused(&mut self, peer: usize, prev: EntryId, reply: &AppendEntriesReply) -> bool {
        if self.peers[peer].next != prev.index + 1 {
            return false; // An old answer: we are elsewhere by now.
        }
        let mut next = reply.retry_at;
        if reply.conflict != 0 {
            let common = self.log.last_up_to_term(prev.index, reply.conflict);
            let certain = self.log.term(common) == Some(reply.conflict);
            next = if certain { common + 1 } else { next.min(common + 1) };
        }
        let peer = &mut self.peers[peer];
        let next = next.min(prev.index).max(peer.matched + 1);
        std::mem::replace(&mut peer.next, next) != next
    }
}

impl Raft {
    /// The sender's life. Only a thread of this node may start the threads of the
    /// calls; `start` runs on anybody's.
    pub(crate) fn send(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let requests = loop {
                if state.killed {
                    return;
                }
                let requests = state.requests();
                if !requests.is_empty() {
                    break requests;
                }
                self.changed.wait(&mut state);
            };
            drop(state);
            for request in requests {
                let raft = Arc::clone(self);
                thread::spawn(format!("append to S{}", request.peer), move || raft.exchange(request));
            }
        }
    }

    /// One call and what follows from its answer. If there is none, the next
    /// heartbeat tries again.
    fn exchange(&self, Request { peer, number, message }: Request) {
        let end = &self.ends[peer];
        match message {
            Message::Entries(args) => {
                let Ok(reply) = end.call::<_, AppendEntriesReply>("AppendEntries", &args) else { return };
                let reached = args.prev.index + args.entries.len() as Index;
                self.answered(peer, number, args.term, reply.term, |state| match reply.success {
                    true => state.matched(peer, reached),
                    false => state.refused(peer, args.prev, &reply),
                });
            }
            Message::Snapshot(args) => {
                let Ok(reply) = end.call::<_, InstallSnapshotReply>("InstallSnapshot", &args) else { return };
                let reached = args.last_included.index;
                self.answered(peer, number, args.term, reply.term, |state| state.matched(peer, reached));
            }
        }
    }

    /// Lets `learn` look at an answer, if it is one to the present leader.
    fn answered(
        &self,
        peer: usize,
        number: u64,
        asked_in: Term,
        answered_in: Term,
        learn: impl FnOnce(&mut State) -> bool,
    ) {
        let mut state = self.state.lock();
        if state.killed {
            return;
        }
        state.see_term(answered_in);
        state.save();
        if state.role == Role::Leader && state.term == asked_in {
            let is_news = learn(&mut state);
            if is_news && state.peers[peer].waits_for == Some(number) {
                state.peers[peer].waits_for = None;
            }
            self.changed.notify_all();
        }
    }

    /// A leader sends entries, or says that it is there.
    pub(crate) fn append_entries(&self, args: AppendEntriesArgs) -> AppendEntriesReply {
        let mut state = self.state.lock();
        let state = &mut *state;
        let refusal = |term| AppendEntriesReply { term, ..AppendEntriesReply::default() };
        if state.killed || args.term < state.term {
            return refusal(state.term);
        }
        state.see_term(args.term);
        state.follow();

        let reply = match state.take_entries(&args) {
            Ok(()) => {
                let reaches = args.prev.index + args.entries.len() as Index;
                state.commit_index = state.commit_index.max(args.leader_commit.min(reaches));
                AppendEntriesReply { success: true, ..refusal(state.term) }
            }
            Err((retry_at, conflict)) => AppendEntriesReply { retry_at, conflict, ..refusal(state.term) },
        };
        state.save();
        state.reset_election_deadline();
        self.changed.notify_all();
        reply
    }

    /// A leader sends its snapshot.
    pub(crate) fn install_snapshot(&self, args: InstallSnapshotArgs) -> InstallSnapshotReply {
        let mut state = self.state.lock();
        if state.killed || args.term < state.term {
            return InstallSnapshotReply { term: state.term };
        }
        state.see_term(args.term);
        state.follow();
        // What is committed here is here already, and in the service or on its way.
        if args.last_included.index > state.commit_index {
            note!("snapshot", "{} takes one up to {}", state.me, args.last_included.index);
            state.log.start_after(args.last_included);
            state.snapshot = args.data;
            state.commit_index = args.last_included.index;
            state.touch();
        }
        state.save();
        state.reset_election_deadline();
        self.changed.notify_all();
        InstallSnapshotReply { term: state.term }
    }
}

impl State {
    /// Steps 2 to 4 of AppendEntries. The error says where to try next, and which
    /// term stands in the way.
    fn take_entries(&mut self, args: &AppendEntriesArgs) -> Result<(), (Index, Term)> {
        let (prev, base) = (args.prev, self.log.base().index);
        // What is in the snapshot is committed, so the leader has it too.
        if prev.index >= base {
            match self.log.term(prev.index) {
                Some(term) if term == prev.term => {}
                Some(term) => return Err((self.log.first_in_doubt(prev, self.commit_index), term)),
                None => return Err((self.log.last().index + 1, 0)),
            }
        }
        for (entry, index) in args.entries.iter().zip(prev.index + 1..) {
            if index <= base || self.log.term(index) == Some(entry.term) {
                continue;
            }
            if self.log.term(index).is_some() {
                self.log.truncate(index);
            }
            self.log.push(entry.clone());
            self.touch();
        }
        Ok(())
    }
}
