//! OneVotePerTerm (§5.2): a server votes for at most one candidate in a term,
//! before and after a restart.
//!
//! A vote that is taken back within its term could be given to somebody else: a server
//! that does that has broken the promise already. Whether it is still there after a
//! restart is in `persisted.rs`. A vote that nobody was told of may be forgotten then.
//!
//! Boundary: one table. Knows no elections.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{ServerId, Term, View};

use super::at;
use super::known::{Face, Known};
use super::wire::Wire;
use crate::check::{Broken, Kind};

/// Who voted for whom, in each term.
#[derive(Debug, Default)]
pub struct OneVotePerTerm {
    votes: BTreeMap<(ServerId, Term), Vote>,
}

#[derive(Debug)]
struct Vote {
    candidate: ServerId,
    /// When it was seen first.
    since: Duration,
    /// A message carried it: not only a view showed it.
    was_said: bool,
}

impl OneVotePerTerm {
    /// A server starts. It may have crashed before a vote of its was on disk.
    pub fn begin_life(&mut self, server: ServerId) {
        self.votes.retain(|(voter, _), vote| *voter != server || vote.was_said);
    }

    /// Takes notice of a view.
    ///
    /// # Errors
    ///
    /// If it shows a server's second vote in a term, or that the server has taken the
    /// one back that it showed `before` in this life.
    pub fn observe(&mut self, moment: Duration, before: Option<Face>, view: &View) -> Result<(), Broken> {
        let (voter, term) = (view.server, view.term);
        if let Some(candidate) = view.voted_for {
            return self.votes_for(moment, voter, term, candidate, false);
        }
        let Some((face, candidate)) =
            before.filter(|face| face.term == term).and_then(|face| Some((face, face.voted_for?)))
        else {
            return Ok(());
        };
        let since = self.votes.get(&(voter, term)).map_or(face.at, |vote| vote.since);
        let message = format!(
            "{voter} voted for {candidate} in term {term} at {}, and has no vote in that term any more at {}",
            at(since),
            at(moment)
        );
        Err(Broken::new(Kind::Safety, "OneVotePerTerm", message).since([since, moment]))
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it is its sender's second vote in a term.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
        match known.vote(wire) {
            Some((term, candidate)) if wire.leaves => self.votes_for(wire.at, wire.from, term, candidate, true),
            _ => Ok(()),
        }
    }

    fn votes_for(
        &mut self,
        moment: Duration,
        voter: ServerId,
        term: Term,
        candidate: ServerId,
        is_said: bool,
    ) -> Result<(), Broken> {
        let new = Vote { candidate, since: moment, was_said: false };
        let vote = self.votes.entry((voter, term)).or_insert(new);
        let (first, since) = (vote.candidate, vote.since);
        if first == candidate {
            vote.was_said |= is_said;
            return Ok(());
        }
        let message = format!(
            "{voter} voted for {first} and then for {candidate} in term {term}, at {} and {}",
            at(since),
            at(moment)
        );
        Err(Broken::new(Kind::Safety, "OneVotePerTerm", message).since([since, moment]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::Scene;
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
            watcher.observe(Duration::ZERO, None, &view(server, term, vote)).unwrap();
        }
    }

    #[test]
    fn a_second_vote_is_found_even_if_the_first_was_withdrawn_2a() {
        let mut watcher = OneVotePerTerm::default();
        for (vote, millis) in [(Some(1), 100), (None, 150)] {
            watcher.observe(Duration::from_millis(millis), None, &view(3, 4, vote)).unwrap();
        }
        let broken = watcher.observe(Duration::from_millis(200), None, &view(3, 4, Some(2))).unwrap_err();
        assert_eq!(broken.rule, Some("OneVotePerTerm"));
        assert_eq!(broken.message, "S3 voted for S1 and then for S2 in term 4, at 0.100s and 0.200s");
    }

    /// It crashed before the vote was on disk, and nobody had heard of it.
    #[test]
    fn a_vote_that_was_only_shown_may_be_forgotten_2c() {
        for (is_said, rule) in [(false, None), (true, Some("OneVotePerTerm"))] {
            let mut watcher = OneVotePerTerm::default();
            watcher.observe(Duration::ZERO, None, &view(1, 4, Some(2))).unwrap();
            if is_said {
                watcher
                    .hear(&Known::new(3), &wire(1, 2, true, Said::Vote(&RequestVoteReply { term: 4, granted: true })))
                    .unwrap();
            }
            watcher.begin_life(ServerId(0)); // Somebody else's.
            assert!(watcher.observe(Duration::ZERO, None, &view(1, 4, Some(3))).is_err());
            watcher.begin_life(ServerId(1));
            let broken = watcher.observe(Duration::ZERO, None, &view(1, 4, Some(3))).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule);
        }
    }

    #[test]
    fn a_vote_is_not_taken_back_within_its_term_2c() {
        let (mut watcher, mut scene) = (OneVotePerTerm::default(), Scene::new(2));
        for (view, message) in [
            (view(1, 4, Some(0)), None),
            (view(1, 5, None), None),
            (view(1, 5, Some(0)), None),
            (
                view(1, 5, None),
                Some("S1 voted for S0 in term 5 at 0.005s, and has no vote in that term any more at 0.006s"),
            ),
        ] {
            let step = scene.publish(&view);
            let broken = watcher.observe(scene.moment, step.before, &view).err();
            assert_eq!(broken.map(|broken| broken.message).as_deref(), message);
        }
    }

    /// As far as messages show it: a candidate asks in its own name, and a vote is
    /// for whoever asked.
    #[test]
    fn votes_are_seen_on_the_wire_2a() {
        let mut watcher = OneVotePerTerm::default();
        let granted = RequestVoteReply { term: 4, granted: true };
        let refused = RequestVoteReply { term: 4, granted: false };
        let mut hear = |to, leaves, reply: &RequestVoteReply| {
            watcher.hear(&Known::new(3), &wire(1, to, leaves, Said::Vote(reply))).err().and_then(|broken| broken.rule)
        };
        assert_eq!(hear(2, true, &granted), None);
        assert_eq!(hear(2, false, &granted), None, "it arrives");
        assert_eq!(hear(3, true, &refused), None);
        assert_eq!(hear(3, true, &granted), Some("OneVotePerTerm"));
        let asks = RequestVoteArgs { term: 4, candidate: ServerId(1), last: EntryId::default() };
        let broken = watcher.hear(&Known::new(3), &wire(1, 0, true, Said::RequestVote(&asks))).unwrap_err();
        assert_eq!(broken.rule, Some("OneVotePerTerm"), "it stands in a term in which it voted for another");
    }
}
