//! How entries get from the leader's log into everybody's (§5.3), and when they
//! are committed (§5.4.2).
//!
//! Read from [`Raft::start`] on: a command is appended to the leader's log; a
//! replicator for each peer sends what that peer lacks; the peer stores it; its
//! answer is judged, and what a majority has is committed.
//!
//! Boundary: AppendEntries. How a server came to lead is in `election.rs`; what
//! becomes of committed entries, in `apply.rs`.

use std::sync::Arc;

use bytes::Bytes;
use labsim::thread;
use labsim::time::Instant;

use crate::message::{AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, ServerId};
use crate::peer::{HEARTBEAT_INTERVAL, Raft, StartError};
use crate::state::{Role, State};

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

impl Raft {
    /// Appends a command to the replicated log, if this server leads, and returns
    /// at once: where it will be, *if* it is ever committed. It is if the service
    /// is told of this index with this term; another term there means that it is
    /// lost.
    ///
    /// It need not be on any disk when this returns. Nothing was promised yet.
    ///
    /// # Errors
    ///
    /// [`StartError::NotLeader`] and [`StartError::Killed`]: it was not taken,
    /// and will never be applied because of this call.
    pub fn start(&self, command: impl Into<Bytes>) -> Result<EntryId, StartError> {
        let command = command.into();
        let started = self.with_state(|state| {
            let id = state.append_command(command)?;
            if state.quorum() == 1 {
                state.save_unsaved(self.disk());
                state.advance_commit_by_majority();
            }
            Ok(id)
        })?;
        self.wake_replicators(); // Not at the next heartbeat: now.
        Ok(started)
    }

    /// Sends to one peer for as long as this server leads: at once when it is
    /// elected, when there is something new, and when idle for too long. Ends
    /// when this server is killed.
    pub(crate) fn run_replicator(self: &Arc<Self>, peer: ServerId) {
        while let Some(request) = self.next_request(peer) {
            // Sent by another thread, for a call may take seconds.
            let raft = Arc::clone(self);
            match request {
                Request::Append(args) => thread::spawn("append entries", move || {
                    if let Ok(reply) = raft.end(peer).call("AppendEntries", &args) {
                        raft.judge(peer, |state| state.handle_append_reply(peer, &args, &reply));
                    }
                }),
                Request::Install(args) => thread::spawn("install snapshot", move || {
                    if let Ok(reply) = raft.end(peer).call("InstallSnapshot", &args) {
                        raft.judge(peer, |state| state.handle_install_reply(peer, &args, &reply));
                    }
                }),
            };
        }
    }

    /// Waits until there is something to send to `peer`. None if this server was
    /// killed.
    fn next_request(&self, peer: ServerId) -> Option<Request> {
        let wake = self.replicator_wake(peer);
        let mut state = self.lock();
        loop {
            if state.killed {
                return None;
            }
            match state.next_request(peer, Instant::now()) {
                Due::Now(request) => return Some(request),
                Due::At(moment) => {
                    wake.wait_until(&mut state, moment);
                }
                Due::Never => wake.wait(&mut state),
            }
        }
    }

    /// Judges an answer of `peer`. `body` says whether it has moved what is known
    /// of that peer's log.
    fn judge(&self, peer: ServerId, body: impl FnOnce(&mut State) -> bool) {
        let has_more = self.with_state(|state| {
            if !body(state) {
                return false;
            }
            // To count ourselves is a promise like any other: what we count must
            // be on our disk (Persistent).
            state.save_unsaved(self.disk());
            state.advance_commit_by_majority();
            state.is_waiting(peer)
        });
        if has_more {
            self.replicator_wake(peer).notify_one();
        }
    }

    /// Answers a leader. What is in the answer is a promise.
    pub(crate) fn answer_append_entries(&self, args: &AppendEntriesArgs) -> AppendEntriesReply {
        self.promise(|state| state.handle_append_entries(args)) // Followers.1
    }
}

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
        Progress { next: self.log.last().index + 1, matched: 0, in_flight: false, heartbeat_due: Instant::now() }
    }

    /// What there is to send to `peer`, and when. What is due now counts as sent.
    pub(crate) fn next_request(&mut self, peer: ServerId, now: Instant) -> Due {
        let last = self.log.last().index;
        let Role::Leader { progress } = &mut self.role else { return Due::Never };
        let progress = progress.get_mut(&peer).expect("a leader knows all its peers");
        let is_new = progress.next <= last && !progress.in_flight; // Leaders.3
        let is_idle = now >= progress.heartbeat_due; // Leaders.1
        if !is_new && !is_idle {
            return Due::At(progress.heartbeat_due);
        }
        progress.heartbeat_due = now + HEARTBEAT_INTERVAL;
        progress.in_flight = progress.next <= last;
        let next = progress.next;
        Due::Now(self.request_from(next))
    }

    /// The entries from `next` on, or the snapshot if the first of them are only
    /// in there (§7).
    fn request_from(&self, next: Index) -> Request {
        let Some(prev) = self.log.id_at(next - 1) else {
            return Request::Install(self.install_snapshot_args());
        };
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
        self.observe_term(args.term);

        // AppendEntries.1: a leader of a term that is over learns so.
        if args.term < self.current_term {
            return AppendEntriesReply { term: self.current_term, success: false, retry_at: 0 };
        }
        self.follow(args.leader);

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
    ///
    /// The lock was open while `asked` was on its way. The answer counts only if
    /// this server still leads the very term that it asked in (StaleReply).
    pub(crate) fn handle_append_reply(
        &mut self,
        from: ServerId,
        asked: &AppendEntriesArgs,
        reply: &AppendEntriesReply,
    ) -> bool {
        self.observe_term(reply.term);
        if asked.term != self.current_term {
            return false;
        }
        let Role::Leader { progress } = &mut self.role else { return false };
        let progress = progress.get_mut(&from).expect("only peers are asked");

        // Leaders.3: success moves both indexes, a refusal moves the guess back.
        if reply.success {
            progress.advance(asked.prev.index + asked.entries.len() as Index)
        } else {
            progress.back_up(asked.prev.index, reply.retry_at)
        }
    }

    /// Leaders.4: what a majority has stored is committed, if it is of our own
    /// term. An older entry that a majority has may still be replaced (Figure 8);
    /// it is committed when a later one of our term is, and with it.
    pub(crate) fn advance_commit_by_majority(&mut self) {
        let Role::Leader { progress } = &self.role else { return };
        let mut stored: Vec<Index> = progress.values().map(|progress| progress.matched).collect();
        stored.push(self.last_saved());
        stored.sort_unstable();
        let by_majority = stored[stored.len() - self.quorum()];
        if self.log.term_at(by_majority) == Some(self.current_term) {
            self.advance_commit(by_majority);
        }
    }

    /// What is committed stays so: the index never moves back.
    pub(crate) fn advance_commit(&mut self, index: Index) {
        self.commit_index = self.commit_index.max(index);
    }

    /// True if there are entries that could be sent to `peer` now.
    fn is_waiting(&self, peer: ServerId) -> bool {
        let Role::Leader { progress } = &self.role else { return false };
        progress.get(&peer).is_some_and(|progress| !progress.in_flight && progress.next <= self.log.last().index)
    }
}

impl Progress {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entries_of;
    use crate::message::{RequestVoteReply, Term};
    use crate::testing::{A, B, ME, leader_in, leader_of, server, stored};

    fn append(term: Term, prev: (Term, Index), terms: &[Term], leader_commit: Index) -> AppendEntriesArgs {
        let prev = EntryId { term: prev.0, index: prev.1 };
        AppendEntriesArgs { term, leader: A, prev, entries: entries_of(terms), leader_commit }
    }

    fn heartbeat(term: Term) -> AppendEntriesArgs {
        append(term, (0, 0), &[], 0)
    }

    fn terms_of(state: &State) -> Vec<Term> {
        state.log.entries_from(state.log.base().index + 1, usize::MAX).iter().map(|entry| entry.term).collect()
    }

    /// What `leader` would send to `peer` now.
    fn request_to(leader: &mut State, peer: ServerId) -> Request {
        match leader.next_request(peer, Instant::now()) {
            Due::Now(request) => request,
            other => panic!("nothing is due to {peer}: {other:?}"),
        }
    }

    fn append_to(leader: &mut State, peer: ServerId) -> AppendEntriesArgs {
        match request_to(leader, peer) {
            Request::Append(args) => args,
            Request::Install(args) => panic!("a snapshot is due to {peer}: {args:?}"),
        }
    }

    /// AppendEntries.1, and who restarts whose timer (Followers.2).
    #[test]
    fn a_heartbeat_counts_if_its_term_is_not_over_2a() {
        for (own, sent, success, term_after, heard) in
            [(3, 3, true, 3, true), (3, 5, true, 5, true), (3, 2, false, 3, false)]
        {
            let mut state = server(own, None);
            let before = state.election_deadline;
            let reply = state.handle_append_entries(&heartbeat(sent));
            assert_eq!((reply.term, reply.success), (term_after, success), "own {own}, sent {sent}");
            assert_eq!(state.election_deadline != before, heard, "own {own}, sent {sent}");
            state.check_invariants();
        }
    }

    /// Followers.2: a leader is heard also where the logs do not fit.
    #[test]
    fn a_refused_request_restarts_the_timer_2b() {
        let mut state = server(2, None);
        let before = state.election_deadline;
        assert!(!state.handle_append_entries(&append(2, (1, 1), &[], 0)).success);
        assert_ne!(state.election_deadline, before);
    }

    /// Candidates.3.
    #[test]
    fn a_candidate_follows_the_leader_of_its_term_2a() {
        let mut state = server(0, None);
        state.begin_election();
        state.handle_append_entries(&heartbeat(1));
        assert!(matches!(state.role, Role::Follower));
        assert_eq!(state.voted_for, Some(ME), "its vote in this term is given, and stays given");
        state.check_invariants();
    }

    #[test]
    fn a_candidate_does_not_follow_a_leader_of_the_past_2a() {
        let mut state = server(4, None);
        state.begin_election();
        state.handle_append_entries(&heartbeat(4));
        assert!(matches!(state.role, Role::Candidate { .. }));
    }

    /// AllServers.2, in an answer.
    #[test]
    fn an_answer_of_a_later_term_deposes_2a() {
        let mut state = leader_of(3, &[]);
        let asked = append_to(&mut state, A);
        state.handle_append_reply(A, &asked, &AppendEntriesReply { term: 7, success: false, retry_at: 1 });
        assert!(!state.is_leader());
        assert_eq!((state.current_term, state.voted_for), (7, None));
        state.check_invariants();
    }

    /// AppendEntries.2 to .5, one request on one log: what becomes of it.
    #[test]
    fn the_receivers_rules_2b() {
        // log | prev, entries, leader's commit -> success, log after, commit after
        type Row = (&'static [Term], (Term, Index), &'static [Term], Index, bool, &'static [Term], Index);
        let rows: [Row; 11] = [
            (&[], (0, 0), &[1, 1], 0, true, &[1, 1], 0),
            (&[1, 1], (1, 2), &[2], 3, true, &[1, 1, 2], 3),
            (&[1, 1], (1, 3), &[2], 3, false, &[1, 1], 0),      // A gap.
            (&[1, 1], (2, 2), &[2], 3, false, &[1, 1], 0),      // Another entry there.
            (&[1, 1, 1], (1, 1), &[2], 2, true, &[1, 2], 2),    // A conflict, and its tail.
            (&[1, 1, 1], (1, 1), &[1], 0, true, &[1, 1, 1], 0), // An old request: nothing goes.
            (&[1, 1, 1], (1, 1), &[], 0, true, &[1, 1, 1], 0),  // A heartbeat: nothing goes.
            (&[1, 1, 1], (1, 1), &[], 9, true, &[1, 1, 1], 1),  // It vouches for the first only.
            (&[1, 1, 1], (0, 0), &[1, 1, 2, 2], 1, true, &[1, 1, 2, 2], 1),
            (&[1, 2, 2], (1, 1), &[2, 3], 2, true, &[1, 2, 3], 2),
            (&[1], (1, 1), &[1, 1], 2, true, &[1, 1, 1], 2),
        ];
        for (row, (log, prev, entries, leader_commit, success, log_after, commit_after)) in rows.into_iter().enumerate()
        {
            let mut state = server(4, None);
            state.log.merge(0, &entries_of(log));
            let reply = state.handle_append_entries(&append(4, prev, entries, leader_commit));
            assert_eq!(reply.success, success, "row {row}");
            assert_eq!((&*terms_of(&state), state.commit_index), (log_after, commit_after), "row {row}");
            assert_eq!(state.unsaved.log_from.is_some(), log != log_after, "row {row}: what changed is saved");
            state.check_invariants();
        }
    }

    /// Figure 7: six followers when the leader of term 8 comes to power. Each ends
    /// with the leader's log, and it takes a request for each term that is in the
    /// way, not one for each entry.
    #[test]
    fn the_six_logs_of_figure_7_2b() {
        let leaders_log = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
        let logs: [(&str, &[Term], usize); 6] = [
            ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6], 2),
            ("b", &[1, 1, 1, 4], 2),
            ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], 1),
            ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], 1),
            ("e", &[1, 1, 1, 4, 4, 4, 4], 3),
            ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 3),
        ];
        for (name, log, rounds) in logs {
            let mut leader = leader_in(8, 7, &leaders_log);
            leader.append_command(Bytes::default()).expect("it leads");
            let mut follower = server(7, None);
            follower.log.merge(0, &entries_of(log));
            let mut sent = 0;
            while leader.log != follower.log {
                let asked = append_to(&mut leader, A);
                let reply = follower.handle_append_entries(&asked);
                leader.handle_append_reply(A, &asked, &reply);
                sent += 1;
                assert!(sent <= rounds, "({name}): {sent} requests, and the logs differ still");
            }
            assert_eq!(sent, rounds, "({name})");
        }
    }

    /// Leaders.4 on a table: what is stored where, and what is committed by it.
    /// The leader of term 3 has entries of these terms.
    #[test]
    fn a_majority_commits_what_is_of_the_own_term_2b() {
        let log = [1, 2, 2, 3, 3];
        let rows = [
            ([0, 0, 0, 0], 0),
            ([5, 0, 0, 0], 0),
            ([5, 5, 0, 0], 5),
            ([4, 5, 0, 0], 4),
            ([3, 5, 0, 0], 0), // Of term 2: not by counting.
            ([5, 4, 4, 4], 4),
            ([5, 5, 5, 5], 5),
        ];
        for (matched, commit) in rows {
            let mut leader = leader_of(5, &log[..3]);
            leader.unsaved.log_from = None;
            assert_eq!(leader.current_term, 3);
            for _ in &log[3..] {
                leader.append_command(Bytes::default()).expect("it leads");
            }
            leader.unsaved.log_from = None;
            for (peer, matched) in (1..).map(ServerId).zip(matched) {
                stored(&mut leader, peer, matched);
            }
            leader.advance_commit_by_majority();
            assert_eq!(leader.commit_index, commit, "{matched:?}");
            leader.check_invariants();
        }
    }

    /// Persistent: what is not on the leader's own disk does not count as its own.
    #[test]
    fn a_leader_counts_itself_for_what_is_saved_2c() {
        let mut leader = leader_of(3, &[]);
        leader.append_command(Bytes::default()).expect("it leads");
        leader.append_command(Bytes::default()).expect("it leads");
        stored(&mut leader, A, 2);
        leader.unsaved.log_from = Some(2);
        leader.advance_commit_by_majority();
        assert_eq!(leader.commit_index, 1);
        leader.unsaved.log_from = None;
        leader.advance_commit_by_majority();
        assert_eq!(leader.commit_index, 2);
    }

    /// Figure 8, from (a) to (e), with the five servers' states and no network.
    /// In (c) an entry of term 2 is on a majority and is not committed; in (d) it
    /// is replaced; in (e) it is committed, with one of term 4.
    #[test]
    fn figure_8_step_by_step_2c() {
        /// Elects `candidate` with the votes of `voters`.
        fn elect(servers: &mut [State], candidate: usize, voters: &[usize]) {
            servers[candidate].begin_election();
            let asked = servers[candidate].request_vote_args();
            for voter in voters {
                let reply = servers[*voter].handle_request_vote(&asked);
                assert!(reply.granted, "S{voter} refuses S{candidate} term {}", asked.term);
                servers[candidate].handle_vote_reply(ServerId(*voter as u32), &asked, &reply);
            }
            assert!(servers[candidate].is_leader());
        }
        /// Lets `leader` send to `peer` until it has all, or `max` requests.
        fn replicate(servers: &mut [State], leader: usize, peer: usize, max: usize) {
            let id = ServerId(peer as u32);
            for _ in 0..max {
                let Due::Now(Request::Append(asked)) = servers[leader].next_request(id, Instant::now()) else { return };
                let reply = servers[peer].handle_append_entries(&asked);
                servers[leader].handle_append_reply(id, &asked, &reply);
                servers[leader].unsaved = Default::default(); // It saves before it counts.
                servers[leader].advance_commit_by_majority();
            }
        }
        fn crash(server: &mut State) {
            server.role = Role::Follower;
            server.reset_election_deadline();
        }
        for is_overwritten in [true, false] {
            let servers = &mut (0..5).map(|me| crate::testing::server_named(me, 5)).collect::<Vec<_>>();
            // Index 1, of term 1, is everywhere.
            elect(servers, 0, &[1, 2]);
            servers[0].append_command(Bytes::default()).expect("S0 leads");
            (1..5).for_each(|peer| replicate(servers, 0, peer, 2));
            // (a): S0 leads term 2 and replicates index 2 to S1 alone.
            crash(&mut servers[0]);
            elect(servers, 0, &[1, 2, 3, 4]);
            servers[0].append_command(Bytes::default()).expect("S0 leads");
            replicate(servers, 0, 1, 1);
            // (b): S0 crashes; S4 is elected in term 3 by S2 and S3, and takes another.
            crash(&mut servers[0]);
            elect(servers, 4, &[2, 3]);
            servers[4].append_command(Bytes::default()).expect("S4 leads");
            // (c): S4 crashes; S0 is elected in term 4, and goes on with index 2.
            crash(&mut servers[4]);
            servers[0].observe_term(3);
            elect(servers, 0, &[1, 2, 3]);
            (1..3).for_each(|peer| replicate(servers, 0, peer, 2));
            let stored = servers[..3].iter().filter(|server| server.log.term_at(2) == Some(2)).count();
            assert_eq!((stored, servers[0].commit_index), (3, 1), "on a majority, and not committed");
            if is_overwritten {
                // (d): S4 is elected by those whose last entry is of term 2, and
                // replaces it.
                crash(&mut servers[0]);
                servers[4].observe_term(4);
                elect(servers, 4, &[1, 2, 3]);
                (0..4).for_each(|peer| replicate(servers, 4, peer, 3));
                assert!(servers.iter().all(|server| terms_of(server) == [1, 3]));
            } else {
                // (e): S0 replicates one of its own term first. Now S4 cannot win.
                servers[0].append_command(Bytes::default()).expect("S0 leads");
                (1..3).for_each(|peer| replicate(servers, 0, peer, 1));
                assert_eq!(servers[0].commit_index, 3, "and index 2 with it");
                crash(&mut servers[0]);
                servers[4].observe_term(4);
                servers[4].begin_election();
                let asked = servers[4].request_vote_args();
                let granted = (1..4).filter(|voter| servers[*voter].handle_request_vote(&asked).granted).count();
                assert_eq!(granted, 1, "only S3 lacks what was committed");
            }
            servers.iter().for_each(State::check_invariants);
        }
    }

    /// StaleReply: an answer to what is not asked any more changes nothing.
    #[test]
    fn late_answers_move_nothing_2b() {
        let mut leader = leader_of(3, &[1, 1, 2, 2]);
        leader.append_command(Bytes::default()).expect("it leads");
        let before = stored(&mut leader, A, 3);
        let asked =
            |term, index| AppendEntriesArgs { term, prev: EntryId { term: 1, index }, ..append(term, (0, 0), &[1], 0) };
        let answer = |success| AppendEntriesReply { term: 0, success, retry_at: 1 };
        let term = leader.current_term;
        // Of an earlier term; of an earlier entry; refused where the guess is another.
        for (asked, reply) in [
            (asked(term - 1, 3), answer(true)),
            (asked(term, 1), answer(true)),
            (asked(term, 1), answer(false)),
            (asked(term - 1, 3), answer(false)),
        ] {
            assert!(!leader.handle_append_reply(A, &asked, &reply), "{asked:?}, {reply:?}");
            let Role::Leader { progress } = &leader.role else { panic!("it leads") };
            assert_eq!(progress[&A], before);
        }
    }

    /// One request at a time carries what came meanwhile, up to the limit, and
    /// nothing is sent twice before a heartbeat is due.
    #[test]
    fn commands_that_come_together_go_together_2b() {
        let mut leader = leader_of(3, &[]);
        leader.settings.batch_entries = 3;
        append_to(&mut leader, A); // The first heartbeat.
        let started = |leader: &mut State, count: usize| {
            for _ in 0..count {
                leader.append_command(Bytes::default()).expect("it leads");
            }
        };
        started(&mut leader, 1);
        let first = append_to(&mut leader, A);
        assert_eq!(first.entries.len(), 1);
        started(&mut leader, 4);
        assert!(matches!(leader.next_request(A, Instant::now()), Due::At(_)), "one is on its way");
        let reply = AppendEntriesReply { term: leader.current_term, success: true, retry_at: 0 };
        assert!(leader.handle_append_reply(A, &first, &reply));
        assert_eq!(append_to(&mut leader, A).entries.len(), 3, "the limit");

        // No answer came: the heartbeat carries them again.
        let due = Instant::now() + HEARTBEAT_INTERVAL;
        let Due::Now(Request::Append(again)) = leader.next_request(A, due) else { panic!("a heartbeat is due") };
        assert_eq!((again.prev.index, again.entries.len()), (1, 3));
    }

    /// A new leader's first heartbeat is due at once (Leaders.1), and tells all.
    #[test]
    fn a_new_leader_is_heard_at_once_2a() {
        let mut leader = leader_of(3, &[1, 2]);
        for peer in [A, B] {
            let args = append_to(&mut leader, peer);
            assert_eq!((args.prev, args.entries.len()), (leader.log.last(), 0));
        }
        let asked = leader.request_vote_args();
        leader.handle_vote_reply(B, &asked, &RequestVoteReply { term: leader.current_term, granted: true });
        assert!(matches!(leader.next_request(A, Instant::now()), Due::At(_)), "a late vote changes nothing");
    }
}
