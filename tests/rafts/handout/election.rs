//! Leader election, §5.2 and §5.4.1.
//!
//! Boundary: who leads. What a leader does is in `replication.rs`.

use labsim::sync::Arc;
use labsim::{note, thread};

use crate::Raft;
use crate::state::Role;
use crate::types::{RequestVoteArgs, RequestVoteReply};

impl Raft {
    /// Asks everybody for a vote.
    pub(crate) fn ask_all(self: &Arc<Self>, args: &RequestVoteArgs, others: impl Iterator<Item = usize>) {
        for peer in others {
            let (raft, args) = (Arc::clone(self), args.clone());
            thread::spawn(format!("ask S{peer}"), move || raft.ask(peer, &args));
        }
    }

    /// Asks one server for its vote.
    fn ask(&self, peer: usize, args: &RequestVoteArgs) {
        let Ok(reply) = self.ends[peer].call::<_, RequestVoteReply>("RequestVote", args) else {
            return; // The next election asks again.
        };
        let mut state = self.state.lock();
        if state.killed {
            return;
        }
        state.see_term(reply.term);
        state.save();
        // An answer to an older question says nothing about this election.
        if reply.granted && state.role == Role::Candidate && state.term == args.term {
            state.take_vote(peer);
            self.changed.notify_all(); // It may lead now.
        }
    }

    /// Somebody asks for this server's vote.
    pub(crate) fn request_vote(&self, args: &RequestVoteArgs) -> RequestVoteReply {
        let mut state = self.state.lock();
        if state.killed {
            return RequestVoteReply { term: state.term, granted: false };
        }
        state.see_term(args.term);
        let free = state.voted_for.is_none_or(|candidate| candidate == args.candidate);
        let granted = args.term == state.term && free && args.last >= state.log.last();
        if granted {
            state.vote_for(args.term, args.candidate);
        }
        state.save();
        if granted {
            note!("election", "{} votes for {} in term {}", state.me, args.candidate, args.term);
            state.reset_election_deadline();
        }
        RequestVoteReply { term: state.term, granted }
    }
}
