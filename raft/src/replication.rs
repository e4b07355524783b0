//! What a leader sends, and how it is received (§5.2, §5.3).
//!
//! In 2A a leader has nothing to replicate. It sends empty AppendEntries, so
//! that no follower runs out of patience, and steps down when it hears of a
//! later term.
//!
//! Boundary: AppendEntries. How a server came to lead is in `election.rs`.

use std::sync::Arc;

use labsim::thread;

use crate::message::{AppendEntriesArgs, AppendEntriesReply, ServerId};
use crate::peer::{HEARTBEAT_INTERVAL, Raft};
use crate::state::{Role, State};

impl Raft {
    /// Sends heartbeats for as long as this server leads: at once when it is
    /// elected, and again and again when idle (Leaders.1). Ends when the peer is
    /// killed.
    pub(crate) fn run_heartbeats(self: &Arc<Self>) {
        loop {
            let (args, peers) = {
                let mut state = self.state.lock();
                self.role_changed.wait_while(&mut state, |state| !state.killed && !state.is_leader());
                if state.killed {
                    return;
                }
                (state.append_entries_args(), state.peers())
            };
            for peer in peers {
                let (raft, args) = (Arc::clone(self), args.clone());
                thread::spawn("heartbeat", move || raft.send_append_entries(peer, &args));
            }

            // Idle until the next one is due, or until this office is over.
            let mut state = self.state.lock();
            let in_office = |state: &mut State| !state.killed && state.is_leader() && state.current_term == args.term;
            self.role_changed.wait_while_for(&mut state, in_office, HEARTBEAT_INTERVAL);
        }
    }

    /// Sends one request and judges its answer.
    fn send_append_entries(&self, peer: ServerId, args: &AppendEntriesArgs) {
        // No answer, no harm: the next heartbeat is on its way anyhow.
        if let Ok(reply) = self.end(peer).call("AppendEntries", args) {
            self.with_state(|state| state.handle_append_reply(&reply));
        }
    }

    /// Answers a leader. The term in the answer is a promise.
    pub(crate) fn answer_append_entries(&self, args: &AppendEntriesArgs) -> AppendEntriesReply {
        self.promise(|state| state.handle_append_entries(args)) // Followers.1
    }
}

impl State {
    /// What a leader sends when it has nothing to say.
    pub(crate) fn append_entries_args(&self) -> AppendEntriesArgs {
        assert!(self.is_leader(), "{} sends entries in term {} and does not lead it", self.me, self.current_term);
        AppendEntriesArgs {
            term: self.current_term,
            leader: self.me,
            prev: self.log.last(),
            entries: Vec::new(),
            leader_commit: 0,
        }
    }

    /// AppendEntries RPC, receiver implementation (Figure 2).
    pub(crate) fn handle_append_entries(&mut self, args: &AppendEntriesArgs) -> AppendEntriesReply {
        self.observe_term(args.term);

        // AppendEntries.1: a leader of a term that is over learns so.
        if args.term < self.current_term {
            return AppendEntriesReply { term: self.current_term, success: false };
        }

        // The sender won this term. If we had won it too, Election Safety
        // (Figure 3) would be broken already, and going on would hide it.
        assert!(!self.is_leader(), "{} and {} both lead term {}", self.me, args.leader, args.term);
        if matches!(self.role, Role::Candidate { .. }) {
            self.become_follower(); // Candidates.3
        }
        self.reset_election_deadline(); // Followers.2: the current leader was heard.

        // AppendEntries.2: without the entry before them, new ones leave a gap.
        let success = self.log.contains(args.prev);
        AppendEntriesReply { term: self.current_term, success }
    }

    /// Judges the answer to a heartbeat. There is nothing to learn from it but a
    /// term: with an empty log, followers have nothing to confirm.
    pub(crate) fn handle_append_reply(&mut self, reply: &AppendEntriesReply) {
        self.observe_term(reply.term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EntryId, RequestVoteReply, Term};
    use crate::persist::Promises;

    const ME: ServerId = ServerId(0);
    const A: ServerId = ServerId(1);

    fn server(term: Term) -> State {
        State::new(ME, (0..3).map(ServerId).collect(), Promises { current_term: term, voted_for: None })
    }

    fn leader() -> State {
        let mut state = server(0);
        state.begin_election();
        let asked = state.request_vote_args();
        state.handle_vote_reply(A, &asked, &RequestVoteReply { term: 1, granted: true });
        assert!(state.is_leader());
        state
    }

    fn heartbeat(term: Term) -> AppendEntriesArgs {
        AppendEntriesArgs { term, leader: A, prev: EntryId::default(), entries: Vec::new(), leader_commit: 0 }
    }

    /// AppendEntries.1, and who restarts whose timer (Followers.2).
    #[test]
    fn a_heartbeat_counts_if_its_term_is_not_over_2a() {
        for (own, sent, success, term_after, heard) in
            [(3, 3, true, 3, true), (3, 5, true, 5, true), (3, 2, false, 3, false)]
        {
            let mut state = server(own);
            let before = state.election_deadline;
            let reply = state.handle_append_entries(&heartbeat(sent));
            assert_eq!(reply, AppendEntriesReply { term: term_after, success }, "own {own}, sent {sent}");
            assert_eq!(state.election_deadline != before, heard, "own {own}, sent {sent}");
            state.check_invariants();
        }
    }

    /// Candidates.3.
    #[test]
    fn a_candidate_follows_the_leader_of_its_term_2a() {
        let mut state = server(0);
        state.begin_election();
        state.handle_append_entries(&heartbeat(1));
        assert!(matches!(state.role, Role::Follower));
        assert_eq!(state.voted_for, Some(ME), "its vote in this term is given, and stays given");
        state.check_invariants();
    }

    #[test]
    fn a_candidate_does_not_follow_a_leader_of_the_past_2a() {
        let mut state = server(4);
        state.begin_election();
        state.handle_append_entries(&heartbeat(4));
        assert!(matches!(state.role, Role::Candidate { .. }));
    }

    /// AppendEntries.2: a log without the entry before refuses.
    #[test]
    fn a_gap_is_refused_2a() {
        let mut state = server(2);
        let args = AppendEntriesArgs { prev: EntryId { term: 1, index: 1 }, ..heartbeat(2) };
        assert!(!state.handle_append_entries(&args).success);
    }

    /// AllServers.2, in the answer to a heartbeat.
    #[test]
    fn an_answer_of_a_later_term_deposes_2a() {
        let mut state = leader();
        state.handle_append_reply(&AppendEntriesReply { term: 7, success: false });
        assert!(!state.is_leader());
        assert_eq!((state.current_term, state.voted_for), (7, None));
        state.check_invariants();
    }
}
