//! Reads that need no entry of their own (§8, "read-only operations").
//!
//! A leader may have been deposed without knowing it, and a server that answers from
//! what it has would then answer from the past. The paper's two precautions are here. A
//! leader knows which entries are committed once it has committed one of its own term;
//! and it leads *still* if a majority answers, in its term, to what it sent after the
//! read came. Then the commit index as it was when the read came has in it every command
//! that anybody was told of before. The service waits until that much is applied, and
//! answers from its own state.
//!
// BEGIN 3A
//! What is sent are the usual requests, empty ones mostly. They are counted in *rounds*:
//! a read opens a round, and each answer is to the round in which its request was made.
//! Reads that come while a round is under way share the next one.
//!
// END 3A
//! Boundary: leadership, confirmed. What is read, and where, is the service's affair.

use std::fmt;

use labsim::time::Instant;

// BEGIN 3A
// STUB use crate::message::Index;
use crate::message::{Index, ServerId, Term};
// END 3A
use crate::peer::Raft;
// BEGIN 3A
use crate::state::{Role, State};
// END 3A

/// Why a read cannot be answered from what this server has. Nothing was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// This server does not lead, or was deposed meanwhile. Try another.
    NotLeader,
    /// This server leads, and has committed nothing in its term yet: it cannot tell
    /// which entries are committed. Send the read through the log.
    NothingCommitted,
    /// No majority has answered in time. Another server may lead.
    TimedOut,
    /// [`Raft::kill`] was called.
    Killed,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this server does not lead; try another",
            Self::NothingCommitted => "nothing is committed in this term yet; read through the log",
            Self::TimedOut => "no majority has answered in time; try another server",
            Self::Killed => "this server was killed",
        })
    }
}

impl std::error::Error for ReadError {}

impl Raft {
    /// Waits until it is certain that this server leads, and returns an index: a service
    /// that has applied the log up to there knows the effect of every command that was
    /// committed when this was called.
    ///
    /// Takes a round trip to a majority, and no disk.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. [`ReadError::TimedOut`] if it is not certain by `deadline`.
    pub fn read_index(&self, deadline: Instant) -> Result<Index, ReadError> {
        // BEGIN 3A
        // STUB let _ = deadline; // Optional: see raft/README.md.
        // STUB Err(ReadError::NothingCommitted)
        let (term, round, index) = self.with_state(State::begin_read)?;
        self.wake_replicators(); // Not at the next heartbeat: now.
        let mut state = self.lock();
        self.leadership_confirmed.wait_while_until(
            &mut state,
            |state| !state.killed && state.leads(term) && !state.is_confirmed(round),
            deadline,
        );
        match &*state {
            state if state.killed => Err(ReadError::Killed),
            state if !state.leads(term) => Err(ReadError::NotLeader),
            state if !state.is_confirmed(round) => Err(ReadError::TimedOut),
            _ => Ok(index),
        }
        // END 3A
    }
}

// BEGIN 3A
impl State {
    /// Opens a round. Returns the term, the round, and what is committed.
    pub(crate) fn begin_read(&mut self) -> Result<(Term, u64, Index), ReadError> {
        if self.killed {
            return Err(ReadError::Killed);
        }
        if !self.is_leader() {
            return Err(ReadError::NotLeader);
        }
        if self.log.term_at(self.commit_index) != Some(self.current_term) {
            return Err(ReadError::NothingCommitted);
        }
        self.read_round += 1;
        Ok((self.current_term, self.read_round, self.commit_index))
    }

    fn leads(&self, term: Term) -> bool {
        self.is_leader() && self.current_term == term
    }

    /// True if a majority, this server included, has answered in this round or a later
    /// one of the term that it leads.
    fn is_confirmed(&self, round: u64) -> bool {
        let Role::Leader { progress } = &self.role else { return false };
        let others = progress.values().filter(|progress| progress.heard_round >= round).count();
        others + 1 >= self.quorum()
    }

    /// `from` has answered a request that was made in `round`. Whatever it says: if it is
    /// in our term, then it has not let another leader in. Returns whether that is news.
    pub(crate) fn hear_round(&mut self, from: ServerId, asked: Term, answered: Term, round: u64) -> bool {
        let Some(progress) = self.progress_if_current(from, asked, answered) else { return false };
        let is_news = round > progress.heard_round;
        progress.heard_round = round.max(progress.heard_round);
        is_news
    }
}
// END 3A

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::Due;
    use crate::testing::{A, B, leader_in, stored};

    /// A leader of term 3 among three, which has committed an entry of that term.
    fn leader() -> State {
        let mut leader = leader_in(3, 3, &[1]);
        leader.append_command(Vec::new().into()).expect("it leads");
        for peer in [A, B] {
            stored(&mut leader, peer, 2);
        }
        leader.advance_commit(2);
        leader
    }

    #[test]
    fn a_new_leader_does_not_know_what_is_committed_3a() {
        let mut leader = leader();
        leader.commit_index = 1;
        assert_eq!(leader.begin_read(), Err(ReadError::NothingCommitted), "the last one is of an earlier term");
        leader.commit_index = 2;
        assert_eq!(leader.begin_read(), Ok((3, 1, 2)));
        leader.observe_term(4);
        assert_eq!(leader.begin_read(), Err(ReadError::NotLeader));
        leader.killed = true;
        assert_eq!(leader.begin_read(), Err(ReadError::Killed));
    }

    #[test]
    fn what_was_sent_before_the_read_confirms_nothing_3a() {
        let mut leader = leader();
        let (_, round, _) = leader.begin_read().expect("it leads");
        assert!(!leader.is_confirmed(round));
        leader.hear_round(A, 3, 3, round - 1);
        leader.hear_round(A, 2, 3, round); // Asked in another term.
        assert!(!leader.is_confirmed(round));
        assert!(leader.hear_round(A, 3, 3, round), "that is news");
        assert!(leader.is_confirmed(round), "two of three");
        assert!(!leader.hear_round(A, 3, 3, round - 1), "it comes late");
        assert!(leader.is_confirmed(round), "and takes nothing back");
        let (_, next, _) = leader.begin_read().expect("it leads");
        assert!(!leader.is_confirmed(next), "each read has a round of its own");
        leader.hear_round(B, 3, 4, next);
        assert!(!leader.is_confirmed(round), "it was deposed");
    }

    #[test]
    fn a_read_is_sent_at_once_and_the_next_ones_wait_for_its_answer_3a() {
        let mut leader = leader();
        let now = Instant::now();
        let is_due = |leader: &mut State, peer| matches!(leader.next_request(peer, now), Due::Now(_));
        assert!(is_due(&mut leader, A), "the first heartbeat");
        assert!(!is_due(&mut leader, A));
        leader.begin_read().expect("it leads");
        assert!(is_due(&mut leader, A) && !is_due(&mut leader, A));
        leader.begin_read().expect("it leads");
        leader.begin_read().expect("it leads");
        assert!(!is_due(&mut leader, A), "the first is not answered");
        leader.hear_round(A, 3, 3, 1);
        assert!(is_due(&mut leader, A) && !is_due(&mut leader, A), "one round for both");
        leader.hear_round(A, 3, 3, 3);
        assert!(!is_due(&mut leader, A));
    }
}
