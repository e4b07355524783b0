//! OneVotePerTerm (§5.2): a server votes for at most one candidate in a term,
//! before and after a restart.
//!
//! A vote that is withdrawn is not a breach yet; one that is given to somebody
//! else is. So only votes for somebody are looked at.
//!
//! Boundary: one table. Knows no elections.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{ServerId, Term, View};

use super::at;
use super::wire::Wire;
use crate::check::{Broken, Kind};

/// Who voted for whom, in each term, and when that was seen first.
#[derive(Debug, Default)]
pub struct OneVotePerTerm {
    votes: BTreeMap<(ServerId, Term), (ServerId, Duration)>,
}

impl OneVotePerTerm {
    /// Takes notice of a view.
    ///
    /// # Errors
    ///
    /// If it shows a server's second vote in a term.
    pub fn observe(&mut self, moment: Duration, view: &View) -> Result<(), Broken> {
        view.voted_for.map_or(Ok(()), |candidate| self.votes_for(moment, view.server, view.term, candidate))
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it is its sender's second vote in a term.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        match wire.vote() {
            Some(candidate) if wire.leaves => self.votes_for(wire.at, wire.from, wire.term(), candidate),
            _ => Ok(()),
        }
    }

    fn votes_for(&mut self, moment: Duration, voter: ServerId, term: Term, candidate: ServerId) -> Result<(), Broken> {
        let (first, since) = *self.votes.entry((voter, term)).or_insert((candidate, moment));
        if first == candidate {
            return Ok(());
        }
        let message = format!(
            "{voter} voted for {first} and then for {candidate} in term {term}, at {} and {}",
            at(since),
            at(moment)
        );
        Err(Broken::new(Kind::Safety, "OneVotePerTerm", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::view_of;
    use crate::watch::wire::{Said, wire};
    use raft::{EntryId, RequestVoteArgs, RequestVoteReply};

    fn view(server: u32, term: Term, voted_for: Option<u32>) -> View {
        View { term, voted_for: voted_for.map(ServerId), ..view_of(server) }
    }

    #[test]
    fn one_vote_in_each_term_is_fine_2a() {
        let mut watcher = OneVotePerTerm::default();
        for (server, term, vote) in
            [(0, 1, None), (0, 1, Some(2)), (0, 1, Some(2)), (1, 1, Some(1)), (0, 1, None), (0, 2, Some(1))]
        {
            watcher.observe(Duration::ZERO, &view(server, term, vote)).unwrap();
        }
    }

    #[test]
    fn a_second_vote_is_found_even_if_the_first_was_withdrawn_2a() {
        let mut watcher = OneVotePerTerm::default();
        for (vote, millis) in [(Some(1), 100), (None, 150)] {
            watcher.observe(Duration::from_millis(millis), &view(3, 4, vote)).unwrap();
        }
        let broken = watcher.observe(Duration::from_millis(200), &view(3, 4, Some(2))).unwrap_err();
        assert_eq!(broken.rule, Some("OneVotePerTerm"));
        assert_eq!(broken.message, "S3 voted for S1 and then for S2 in term 4, at 0.100s and 0.200s");
    }

    /// As far as messages show it: a candidate asks in its own name, and a vote is
    /// for whoever asked.
    #[test]
    fn votes_are_seen_on_the_wire_2a() {
        let mut watcher = OneVotePerTerm::default();
        let granted = RequestVoteReply { term: 4, granted: true };
        let refused = RequestVoteReply { term: 4, granted: false };
        let mut hear = |to, leaves, reply: &RequestVoteReply| {
            watcher.hear(&wire(1, to, leaves, Said::Vote(reply))).err().and_then(|broken| broken.rule)
        };
        assert_eq!(hear(2, true, &granted), None);
        assert_eq!(hear(2, false, &granted), None, "it arrives");
        assert_eq!(hear(3, true, &refused), None);
        assert_eq!(hear(3, true, &granted), Some("OneVotePerTerm"));
        let asks = RequestVoteArgs { term: 4, candidate: ServerId(1), last: EntryId::default() };
        let broken = watcher.hear(&wire(1, 0, true, Said::RequestVote(&asks))).unwrap_err();
        assert_eq!(broken.rule, Some("OneVotePerTerm"), "it stands in a term in which it voted for another");
    }
}
