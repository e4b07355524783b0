//! Leader election (§5.2), and who may be elected (§5.4.1).
//!
//! A follower that hears from no leader for an election timeout stands: it
//! raises its term, votes for itself and asks everybody else. Whoever is given
//! the votes of a majority leads. At most one can be, since each server has one
//! vote in a term and two majorities share a server.
//!
//! Read from [`Raft::run_elections`] on: time passes, a candidate stands, its
//! requests are answered elsewhere, and the answers are judged.
//!
//! Boundary: terms and votes. What a leader does with its office is in
//! `replication.rs`.

// BEGIN 2A
use std::collections::BTreeSet;
// END 2A
use std::sync::Arc;

// BEGIN 2A
// STUB use crate::message::{RequestVoteArgs, RequestVoteReply};
use labsim::time::Instant;
use labsim::{note, thread};

use crate::message::{RequestVoteArgs, RequestVoteReply, ServerId};
// END 2A
use crate::peer::Raft;
// BEGIN 2A
use crate::state::{Role, State};
// END 2A

impl Raft {
    /// Stands for election whenever no leader was heard for too long. Ends when
    /// the peer is killed.
    pub(crate) fn run_elections(self: &Arc<Self>) {
        // BEGIN 2A
        // STUB panic!("2A: not implemented yet: raft/README.md#2a")
        while self.wait_for_election_deadline() {
            self.campaign();
        }
        // END 2A
    }

    // BEGIN 2A
    /// Waits until the election deadline has passed. Returns false if the peer
    /// was killed instead.
    fn wait_for_election_deadline(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.killed {
                return false;
            }
            match state.election_deadline {
                // A leader waits for nobody, until it is deposed.
                None => self.role_changed.wait(&mut state),
                Some(deadline) if Instant::now() >= deadline => return true,
                // The deadline may move while we wait. If it is later now, this
                // wakes too early, and looks again. If it is earlier, for it is
                // drawn anew, we stand late, and within the longest timeout.
                Some(deadline) => {
                    self.role_changed.wait_until(&mut state, deadline);
                }
            }
        }
    }

    /// Stands for election in a new term and asks every peer for its vote.
    ///
    /// Decide under the lock, send with it open, judge the answer under it again.
    fn campaign(self: &Arc<Self>) {
        // Standing is a promise: the new term and our own vote are on disk
        // before anyone hears of them.
        let decided = self.promise(|state| {
            // A leader may have been heard since the deadline was looked at.
            if !state.is_election_due() {
                return None;
            }
            state.begin_election();
            Some((state.request_vote_args(), state.peers()))
        });
        let Some((args, peers)) = decided else { return };

        // Candidates.1, its last part: requests to all other servers.
        for peer in peers {
            let (raft, args) = (Arc::clone(self), args.clone());
            thread::spawn(format!("ask {peer} for a vote"), move || {
                // A lost vote is not asked for again: the next election will.
                if let Ok(reply) = raft.link(peer).end.call("RequestVote", &args) {
                    raft.with_state(|state| state.handle_vote_reply(peer, &args, &reply));
                }
            });
        }
    }

    // END 2A
    /// Answers a candidate. A vote is a promise, and so is the term in a refusal.
    pub(crate) fn answer_request_vote(&self, args: &RequestVoteArgs) -> RequestVoteReply {
        // BEGIN 2A
        // STUB let _ = args;
        // STUB panic!("2A: not implemented yet: raft/README.md#2a")
        self.promise(|state| state.handle_request_vote(args)) // Followers.1
        // END 2A
    }
}

// BEGIN 2A
impl State {
    /// Neither a leader nor a candidate that got our vote was heard for an election
    /// timeout, or the election came to nothing.
    pub(crate) fn is_election_due(&self) -> bool {
        // Followers.2, Candidates.4.
        !self.killed && self.election_deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Begins an election with this server as its candidate.
    pub(crate) fn begin_election(&mut self) {
        assert!(!self.is_leader(), "{} leads term {} and stands for another", self.me, self.current_term);
        // Candidates.1: a new term, a vote for itself, a new timeout (after which
        // it stands again: Candidates.4).
        self.current_term += 1;
        self.voted_for = Some(self.me);
        self.unsaved.promises = true;
        self.role = Role::Candidate { votes: BTreeSet::from([self.me]) };
        self.reset_election_deadline();
        note!("election", "{} stands in term {}", self.me, self.current_term);
        if self.quorum() == 1 {
            self.become_leader(); // Candidates.2: alone, it is a majority.
        }
    }

    pub(crate) fn request_vote_args(&self) -> RequestVoteArgs {
        RequestVoteArgs { term: self.current_term, candidate: self.me, last: self.log.last() }
    }

    /// RequestVote RPC, receiver implementation (Figure 2).
    pub(crate) fn handle_request_vote(&mut self, args: &RequestVoteArgs) -> RequestVoteReply {
        self.observe_term(args.term); // AllServers.2

        // RequestVote.1: a candidate of a term that is over learns so.
        let is_current = args.term == self.current_term;
        // RequestVote.2: one vote a term, and only for a log that is at least as
        // up-to-date as ours: so the winner's has every committed entry (§5.4.1).
        let is_free = self.voted_for.is_none_or(|candidate| candidate == args.candidate);
        let is_up_to_date = args.last >= self.log.last();

        let granted = is_current && is_free && is_up_to_date;
        if granted {
            // Candidates and leaders have voted for themselves: a follower is here.
            self.unsaved.promises |= self.voted_for.is_none();
            note!("election", "{} votes for {} in term {}", self.me, args.candidate, self.current_term);
            self.voted_for = Some(args.candidate);
            self.reset_election_deadline(); // Followers.2: a vote was granted.
        }
        RequestVoteReply { term: self.current_term, granted }
    }

    /// Applies a vote to the election that asked for it, or to none.
    ///
    /// The lock was open while `asked` was on its way. The answer counts only if
    /// this server is still a candidate in the very term that it asked in
    /// (StaleReply).
    pub(crate) fn handle_vote_reply(&mut self, from: ServerId, asked: &RequestVoteArgs, reply: &RequestVoteReply) {
        self.observe_term(reply.term); // AllServers.2
        if asked.term != self.current_term || !reply.granted {
            return; // Of an election that is over, or a refusal.
        }
        let quorum = self.quorum();
        let Role::Candidate { votes } = &mut self.role else {
            return; // Decided already, by other votes or by another leader.
        };
        votes.insert(from); // A set: a vote that arrives twice is one vote.
        if votes.len() >= quorum {
            self.become_leader(); // Candidates.2
        }
    }

    /// Takes office. Whoever holds it sends at once (`replication.rs`).
    fn become_leader(&mut self) {
        note!("election", "{} leads term {}", self.me, self.current_term);
        let progress = self.peers().into_iter().map(|peer| (peer, self.new_progress())).collect();
        self.role = Role::Leader { progress };
        self.election_deadline = None;
    }
}
// END 2A

#[cfg(test)]
mod tests {
    use super::*;
    use labsim::time::Duration;

    use crate::message::{EntryId, Term};
    use crate::peer::ELECTION_TIMEOUT;
    use crate::testing::entries_of;
    use crate::testing::{A, B, ME, server, server_of};

    fn ask(term: Term, candidate: ServerId) -> RequestVoteArgs {
        RequestVoteArgs { term, candidate, last: EntryId::default() }
    }

    fn grant(term: Term) -> RequestVoteReply {
        RequestVoteReply { term, granted: true }
    }

    /// RequestVote.1 and .2, on an empty log: who gets the vote, and what the
    /// receiver's term and vote are then.
    #[test]
    fn the_vote_rule_2a() {
        //   own term, own vote, asked term, by  -> granted, term, vote
        let rows = [
            (3, None, 3, A, true, 3, Some(A)),
            (3, Some(A), 3, A, true, 3, Some(A)),  // Asked again: granted again.
            (3, Some(B), 3, A, false, 3, Some(B)), // One vote a term.
            (3, Some(B), 4, A, true, 4, Some(A)),  // A new term, a new vote.
            (3, None, 2, A, false, 3, None),       // A term that is over.
            (3, Some(A), 2, A, false, 3, Some(A)),
            (0, None, 1, A, true, 1, Some(A)),
        ];
        for (term, vote, asked, by, granted, term_after, vote_after) in rows {
            let mut state = server(term, vote);
            let reply = state.handle_request_vote(&ask(asked, by));
            let case = format!("term {term}, vote {vote:?}, asked in {asked} by {by}");
            assert_eq!(reply, RequestVoteReply { term: term_after, granted }, "{case}");
            assert_eq!((state.current_term, state.voted_for), (term_after, vote_after), "{case}");
            let changed = (term, vote) != (term_after, vote_after);
            assert_eq!(state.unsaved.promises, changed, "{case}: what changed must be saved, and nothing else");
            state.check_invariants();
        }
    }

    /// RequestVote.2, its second half: the voter's log ends with an entry of term
    /// 3, its fifth (§5.4.1).
    #[test]
    fn a_vote_is_for_a_log_that_lacks_nothing_2b() {
        let rows = [(3, 5, true), (3, 6, true), (4, 1, true), (3, 4, false), (2, 9, false), (0, 0, false)];
        for (last_term, last_index, granted) in rows {
            let mut state = server(4, None);
            state.log.merge(0, &entries_of(&[1, 1, 3, 3, 3]));
            let last = EntryId { term: last_term, index: last_index };
            let reply = state.handle_request_vote(&RequestVoteArgs { last, ..ask(5, A) });
            assert_eq!(reply, RequestVoteReply { term: 5, granted }, "for {last:?}");
            assert_eq!(state.voted_for, granted.then_some(A), "for {last:?}");
        }
    }

    /// Followers.2: only a vote that is given restarts the timer.
    #[test]
    fn a_refusal_does_not_restart_the_timer_2a() {
        let mut state = server(3, Some(B));
        let before = state.election_deadline;
        state.handle_request_vote(&ask(3, A));
        state.handle_request_vote(&ask(2, A));
        assert_eq!(state.election_deadline, before);
    }

    #[test]
    fn standing_is_a_new_term_and_an_own_vote_2a() {
        let mut state = server(4, Some(B));
        state.begin_election();
        assert_eq!((state.current_term, state.voted_for), (5, Some(ME)));
        assert!(matches!(&state.role, Role::Candidate { votes } if votes.len() == 1));
        assert!(state.unsaved.promises);
        state.check_invariants();
    }

    #[test]
    fn a_majority_leads_and_half_does_not_2a() {
        for (servers, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let mut state = server_of(servers);
            state.begin_election();
            let asked = state.request_vote_args();
            for voter in 1..servers {
                assert_eq!(state.is_leader(), voter >= needed, "{servers} servers, {voter} votes");
                state.handle_vote_reply(ServerId(voter), &asked, &grant(1));
                state.check_invariants();
            }
            assert!(state.is_leader(), "{servers} servers, all votes");
        }
    }

    #[test]
    fn a_repeated_vote_is_one_vote_2a() {
        let mut state = server_of(5);
        state.begin_election();
        let asked = state.request_vote_args();
        for _ in 0..5 {
            state.handle_vote_reply(A, &asked, &grant(1));
        }
        assert!(!state.is_leader());
    }

    #[test]
    fn a_refusal_is_no_vote_2a() {
        let mut state = server_of(3);
        state.begin_election();
        let asked = state.request_vote_args();
        for refuses in [A, B] {
            state.handle_vote_reply(refuses, &asked, &RequestVoteReply { term: 1, granted: false });
        }
        assert!(!state.is_leader());
    }

    /// §5.2: timeouts are drawn from a range, so that not all stand at once.
    #[test]
    fn timeouts_are_in_their_range_and_differ_2a() {
        let mut state = server_of(3);
        let mut drawn = BTreeSet::new();
        for _ in 0..100 {
            let before = Instant::now();
            state.reset_election_deadline();
            let timeout = state.election_deadline.expect("it waits") - before;
            assert!(timeout >= ELECTION_TIMEOUT.start && timeout < ELECTION_TIMEOUT.end + Duration::from_millis(100));
            drawn.insert(timeout.as_millis());
        }
        assert!(drawn.len() > 10, "{drawn:?}");
    }

    /// StaleReply: a vote counts in the election it was given in.
    #[test]
    fn a_vote_of_an_earlier_election_is_no_vote_2a() {
        let mut state = server_of(3);
        state.begin_election();
        let first = state.request_vote_args();
        state.begin_election();
        state.handle_vote_reply(A, &first, &grant(1));
        assert!(!state.is_leader());

        let second = state.request_vote_args();
        state.handle_vote_reply(A, &second, &grant(2));
        assert!(state.is_leader());
    }

    /// AllServers.2: any higher term, wherever it stands, makes a follower.
    #[test]
    fn a_higher_term_deposes_2a() {
        let mut state = server_of(3);
        state.begin_election();
        let asked = state.request_vote_args();
        state.handle_vote_reply(A, &asked, &grant(1));
        assert!(state.is_leader());

        state.unsaved.promises = false;
        state.handle_vote_reply(B, &asked, &RequestVoteReply { term: 9, granted: false });
        assert!(matches!(state.role, Role::Follower));
        assert_eq!((state.current_term, state.voted_for), (9, None));
        assert!(state.unsaved.promises);
        state.check_invariants();
    }
}
