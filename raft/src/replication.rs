//! How entries get from the leader's log into everybody's (§5.3), and when they
//! are committed (§5.4.2).
//!
//! Read from [`Raft::start`] on: a command is appended to the leader's log; a
//! replicator for each peer sends what that peer lacks; the peer stores it; its
//! answer is judged, and what a majority has is committed.
//!
//! Boundary: AppendEntries. How a server came to lead is in `election.rs`; what
//! becomes of committed entries, in `apply.rs`.

// BEGIN 2A
use std::sync::Arc;

// END 2A
use bytes::Bytes;

// BEGIN 2A
// STUB use crate::message::{AppendEntriesArgs, AppendEntriesReply, EntryId};
// STUB use crate::peer::{Raft, StartError};
use labsim::thread;
use labsim::time::Instant;

use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, ServerId, Term,
};
use crate::peer::{HEARTBEAT_INTERVAL, Raft, StartError};
use crate::state::{Role, State};
use crate::view::PeerProgress;
// END 2A

// BEGIN 2A
/// A leader's view of one follower's log. Invariant: `matched < next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    /// Figure 2's `nextIndex`: the first entry to send. A guess; may move back.
    pub(crate) next: Index,
    /// Figure 2's `matchIndex`: the last entry known to be stored. Never moves
    /// back.
    pub(crate) matched: Index,
    /// Not in Figure 2: entries from `next` on are on their way. They are sent
    /// again when the next heartbeat is due, and others only when an answer has
    /// moved `next`: so one request at a time carries all that came meanwhile.
    pub(crate) in_flight: bool,
    /// When the next heartbeat is due, if nothing is sent before.
    pub(crate) heartbeat_due: Instant,
    /// The round of reads in which it was last sent something; see `read.rs`.
    pub(crate) asked_round: u64,
    /// The last round in which it has answered.
    pub(crate) heard_round: u64,
}

/// What a follower is sent.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Append(AppendEntriesArgs),
    Install(InstallSnapshotArgs),
}

/// When a follower is sent something.
#[derive(Debug)]
pub(crate) enum Due {
    Now(Request),
    At(Instant),
    /// Not while this server does not lead.
    Never,
}
// END 2A

impl Raft {
    /// Appends a command to the log, if this server leads. Returns at once where the
    /// command will be *if* it is committed.
    ///
    /// It is committed when a service is told of this index with this term. Another
    /// term at this index means that it is lost. After a snapshot beyond this index
    /// only the service's own state can tell.
    ///
    /// It need not be on any disk when this returns: nothing was promised yet.
    ///
    /// # Errors
    ///
    /// [`StartError::NotLeader`] and [`StartError::Killed`]: it was not taken,
    /// and will never be applied because of this call.
    pub fn start(&self, command: impl Into<Bytes>) -> Result<EntryId, StartError> {
        let command = command.into();
        // BEGIN 2B
        // STUB let _ = command;
        // STUB panic!("2B: not implemented yet: raft/README.md#2b")
        let started = self.with_state(|state| {
            let id = state.append_command(command)?;
            if state.quorum() == 1 {
                self.save_and_count(state); // Nobody will answer.
            }
            Ok(id)
        })?;
        self.wake_replicators(); // Not at the next heartbeat: now.
        Ok(started)
        // END 2B
    }

    // BEGIN 2A
    /// Sends to one peer for as long as this server leads: at once when it is
    /// elected, when there is something new, and when idle for too long. Ends
    /// when this server is killed.
    pub(crate) fn run_replicator(self: &Arc<Self>, peer: ServerId) {
        while let Some((request, round)) = self.next_request(peer) {
            // Sent by another thread, for a call may take seconds.
            let raft = Arc::clone(self);
            match request {
                Request::Append(args) => thread::spawn(format!("append to {peer}"), move || {
                    if let Ok(reply) = raft.link(peer).end.call("AppendEntries", &args) {
                        raft.judge(peer, |state| {
                            let has_moved = state.handle_append_reply(peer, &args, &reply);
                            (has_moved, state.hear_round(peer, args.term, reply.term, round))
                        });
                    }
                }),
                Request::Install(args) => thread::spawn(format!("install on {peer}"), move || {
                    if let Ok(reply) = raft.link(peer).end.call("InstallSnapshot", &args) {
                        raft.judge(peer, |state| {
                            let has_moved = state.handle_install_reply(peer, &args, &reply);
                            (has_moved, state.hear_round(peer, args.term, reply.term, round))
                        });
                    }
                }),
            };
        }
    }

    /// Waits until there is something to send to `peer`. Returns it, and the round of
    /// reads that it belongs to; None if this server was killed.
    fn next_request(&self, peer: ServerId) -> Option<(Request, u64)> {
        let something_to_send = &self.link(peer).something_to_send;
        let mut state = self.lock();
        loop {
            if state.killed {
                return None;
            }
            match state.next_request(peer, Instant::now()) {
                Due::Now(request) => {
                    state.check_invariants();
                    return Some((request, state.read_round));
                }
                Due::At(moment) => {
                    something_to_send.wait_until(&mut state, moment);
                }
                Due::Never => something_to_send.wait(&mut state),
            }
        }
    }

    /// Judges an answer of `peer`. `body` says whether it has moved what is known
    /// of that peer's log, and whether a read may have waited for it.
    fn judge(&self, peer: ServerId, body: impl FnOnce(&mut State) -> (bool, bool)) {
        let (has_more, is_heard) = self.with_state(|state| {
            let (has_moved, is_heard) = body(state);
            if has_moved {
                self.save_and_count(state);
            }
            ((has_moved || is_heard) && state.has_more_for(peer), is_heard)
        });
        if has_more {
            self.link(peer).something_to_send.notify_one();
        }
        if is_heard {
            self.leadership_confirmed.notify_all(); // Each read knows its own round.
        }
    }

    /// Counts who has what, this server included. That is a promise like any other:
    /// what we count must be on our disk (Persistent).
    fn save_and_count(&self, state: &mut State) {
        state.save_unsaved(&self.disk);
        state.advance_commit_by_majority();
    }

    // END 2A
    /// Answers a leader. What is in the answer is a promise.
    pub(crate) fn answer_append_entries(&self, args: &AppendEntriesArgs) -> AppendEntriesReply {
        // BEGIN 2A
        // STUB let _ = args;
        // STUB panic!("2A: not implemented yet: raft/README.md#2a")
        self.promise(|state| state.handle_append_entries(args)) // Followers.1
        // END 2A
    }
}

// BEGIN 2A
impl State {
    /// Leaders.2, its first half: a command from a client is appended. It is
    /// answered when the service has applied it, which is the service's part.
    pub(crate) fn append_command(&mut self, command: Bytes) -> Result<EntryId, StartError> {
        if self.killed {
            return Err(StartError::Killed);
        }
        if !self.is_leader() {
            return Err(StartError::NotLeader);
        }
        let id = self.log.append(Entry { term: self.current_term, command });
        self.unsaved.note_log(id.index);
        Ok(id)
    }

    /// What a new leader knows of its followers: nothing. It guesses that they
    /// have all that it has, and is told otherwise (Figure 2, "Volatile state on
    /// leaders").
    pub(crate) fn new_progress(&self) -> Progress {
        // Leaders.1: the first heartbeat is due upon election.
        Progress {
            next: self.log.last().index + 1,
            matched: 0,
            in_flight: false,
            heartbeat_due: Instant::now(),
            asked_round: 0,
            heard_round: 0,
        }
    }

    /// What there is to send to `peer`, and when. What is due now counts as sent.
    pub(crate) fn next_request(&mut self, peer: ServerId, now: Instant) -> Due {
        let (last, round) = (self.log.last().index, self.read_round);
        let Role::Leader { progress } = &mut self.role else { return Due::Never };
        let progress = progress.get_mut(&peer).expect("a leader knows all its peers");
        let is_new = progress.has_more(last) || progress.is_wanted(round);
        let is_idle = now >= progress.heartbeat_due; // Leaders.1: repeated when idle.
        if !is_new && !is_idle {
            return Due::At(progress.heartbeat_due);
        }
        progress.heartbeat_due = now + HEARTBEAT_INTERVAL;
        progress.in_flight = progress.next <= last;
        let next = progress.next;
        progress.asked_round = round;
        Due::Now(self.request_from(next))
    }

    /// The entries from `next` on, or the snapshot if the first of them are only
    /// in there (§7).
    fn request_from(&self, next: Index) -> Request {
        let Some(prev) = self.log.id_at(next - 1) else {
            return Request::Install(self.install_snapshot_args());
        };
        // Leaders.3: entries from next index on.
        Request::Append(AppendEntriesArgs {
            term: self.current_term,
            leader: self.me,
            prev,
            entries: self.log.entries_from(next, self.settings.batch_entries).to_vec(),
            leader_commit: self.commit_index,
        })
    }

    /// AppendEntries RPC, receiver implementation (Figure 2).
    pub(crate) fn handle_append_entries(&mut self, args: &AppendEntriesArgs) -> AppendEntriesReply {
        self.observe_term(args.term); // AllServers.2

        // AppendEntries.1: a leader of a term that is over learns so.
        if args.term < self.current_term {
            return AppendEntriesReply { term: self.current_term, success: false, retry_at: 0 };
        }
        self.follow(args.leader); // Candidates.3, Followers.2

        // AppendEntries.2: without the entry before them, new ones leave a gap.
        if !self.log.contains(args.prev) {
            let retry_at = self.first_index_to_retry(args.prev.index);
            return AppendEntriesReply { term: self.current_term, success: false, retry_at };
        }

        // AppendEntries.3, AppendEntries.4: our tail goes at the first conflict,
        // not before: an old request that comes late must not erase what a newer
        // one has added.
        if let Some(first) = self.log.merge(args.prev.index, &args.entries) {
            assert!(first > self.commit_index, "{} replaces entry {first}, which is committed", self.me);
            self.unsaved.note_log(first);
        }

        // AppendEntries.5: up to the last entry that this request vouches for.
        // Whatever we have beyond it may be from a leader that lost.
        let last_new = args.prev.index + args.entries.len() as Index;
        self.advance_commit(args.leader_commit.min(last_new));
        AppendEntriesReply { term: self.current_term, success: true, retry_at: 0 }
    }

    /// Where a leader should go on if we do not have its entry at `refused`. It
    /// need not try the other entries of that term: they are of a leader that
    /// lost, and mostly all or none of them are wrong (§5.3, at its end).
    fn first_index_to_retry(&self, refused: Index) -> Index {
        let last = self.log.last().index;
        if refused > last { last + 1 } else { self.log.first_of_term_at(refused) }
    }

    /// Learns from an answer of `from` to the request `asked`, and returns whether
    /// there was something to learn.
    pub(crate) fn handle_append_reply(
        &mut self,
        from: ServerId,
        asked: &AppendEntriesArgs,
        reply: &AppendEntriesReply,
    ) -> bool {
        let Some(progress) = self.progress_if_current(from, asked.term, reply.term) else { return false };

        // Leaders.3: success moves both indexes, a refusal moves the guess back.
        if reply.success {
            progress.advance(asked.prev.index + asked.entries.len() as Index)
        } else {
            progress.back_up(asked.prev.index, reply.retry_at)
        }
    }

    /// What is known of `from`, if its answer still counts.
    ///
    /// The lock was open while the question was on its way. The answer counts only
    /// if this server still leads the very term that it asked in (StaleReply).
    pub(crate) fn progress_if_current(&mut self, from: ServerId, asked: Term, answered: Term) -> Option<&mut Progress> {
        self.observe_term(answered); // AllServers.2
        if asked != self.current_term {
            return None;
        }
        let Role::Leader { progress } = &mut self.role else { return None };
        Some(progress.get_mut(&from).expect("only peers are asked"))
    }

    /// What a majority has stored is committed, if it is of our own term. An older
    /// entry that a majority has may still be replaced (Figure 8); it is committed
    /// when a later one of our term is, and with it.
    pub(crate) fn advance_commit_by_majority(&mut self) {
        let Role::Leader { progress } = &self.role else { return };
        let mut stored: Vec<Index> = progress.values().map(|progress| progress.matched).collect();
        stored.push(self.last_saved());
        stored.sort_unstable();
        let by_majority = stored[stored.len() - self.quorum()];
        // Leaders.4.
        if self.log.term_at(by_majority) == Some(self.current_term) {
            self.advance_commit(by_majority);
        }
    }

    /// What is committed stays so: the index never moves back.
    pub(crate) fn advance_commit(&mut self, index: Index) {
        self.commit_index = self.commit_index.max(index);
    }

    /// True if there is something that could be sent to `peer` now.
    fn has_more_for(&self, peer: ServerId) -> bool {
        let Role::Leader { progress } = &self.role else { return false };
        let has_more =
            |progress: &Progress| progress.has_more(self.log.last().index) || progress.is_wanted(self.read_round);
        progress.get(&peer).is_some_and(has_more)
    }
}

impl Progress {
    /// How a view has it.
    pub(crate) fn show((server, progress): (&ServerId, &Self)) -> PeerProgress {
        PeerProgress { server: *server, next: progress.next, matched: progress.matched }
    }

    /// Whether there are entries to send, in a log that ends at `last`.
    fn has_more(&self, last: Index) -> bool {
        self.next <= last && !self.in_flight
    }

    /// Whether a read of `round` waits for its answer, and it was not asked yet. One round
    /// at a time: what comes meanwhile goes with the next.
    fn is_wanted(&self, round: u64) -> bool {
        self.asked_round < round && self.asked_round == self.heard_round
    }

    /// The follower has all entries up to `stored`. Returns whether that is news.
    pub(crate) fn advance(&mut self, stored: Index) -> bool {
        if stored <= self.matched {
            return false; // It answered a later request before.
        }
        self.matched = stored;
        if stored >= self.next {
            self.next = stored + 1;
            self.in_flight = false;
        }
        true
    }

    /// The follower does not have the entry at `refused`, and proposes to try at
    /// `retry_at`. Returns whether that is news.
    fn back_up(&mut self, refused: Index, retry_at: Index) -> bool {
        // StaleReply, too: it must be the answer to what we guess at present.
        if refused + 1 != self.next || refused <= self.matched {
            return false;
        }
        self.next = retry_at.clamp(self.matched + 1, refused);
        self.in_flight = false;
        true
    }
}
// END 2A

#[cfg(test)]
mod tests;
