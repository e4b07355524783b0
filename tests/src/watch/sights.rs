//! Sights: what a run has shown that a test is there to show.
//!
//! A test of elections in which no vote was ever split has tested little. So a
//! test says what it must have seen, and a sweep over seeds that never saw it
//! says so.
//!
//! Boundary: counts sights. Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use raft::{EntryId, RoleName, ServerId, Term, View};
use serde::{Deserialize, Serialize};

/// Something that is worth having seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Sight {
    /// A server was elected.
    Election,
    /// Two servers stood in one term.
    RivalCandidates,
    /// Servers stood in a term that nobody won, and a later term began.
    SplitVote,
    /// A server that led gave up its office.
    LeaderDeposed,
    /// Entries of a server's log gave way to others.
    Conflict,
    /// A running service was told to take over a snapshot.
    SnapshotInstalled,
    /// A server has published what it is like: without that, most others are not seen.
    View,
}

impl Sight {
    /// How a sweep names what it missed.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Election => "an election",
            Self::RivalCandidates => "two candidates in one term",
            Self::SplitVote => "a term that nobody won",
            Self::LeaderDeposed => "a leader that stepped down",
            Self::Conflict => "entries that gave way to others",
            Self::SnapshotInstalled => "a snapshot that was installed",
            Self::View => "what a server is like",
        }
    }
}

/// What one run has shown.
#[derive(Debug, Default)]
pub struct Sights {
    seen: BTreeSet<Sight>,
    candidates: BTreeMap<Term, BTreeSet<ServerId>>,
    won: BTreeSet<Term>,
    roles: BTreeMap<ServerId, RoleName>,
    ends: BTreeMap<ServerId, EntryId>,
}

impl Sights {
    /// Takes notice of a view.
    pub fn note(&mut self, view: &View) {
        let end = self.ends.insert(view.server, view.last).unwrap_or_default();
        // What a crash takes away is gone, and not replaced.
        if view.last.term > end.term && view.last.index <= end.index {
            self.seen.insert(Sight::Conflict);
        }
        let before = self.roles.insert(view.server, view.role);
        if before.is_none() {
            self.seen.insert(Sight::View);
        }
        if before == Some(view.role) && view.role != RoleName::Candidate {
            return; // Nearly always: nothing happened.
        }
        match view.role {
            RoleName::Candidate => {
                let rivals = self.candidates.entry(view.term).or_default();
                rivals.insert(view.server);
                if rivals.len() >= 2 {
                    self.seen.insert(Sight::RivalCandidates);
                }
                if self.candidates.range(..view.term).next_back().is_some_and(|(term, _)| !self.won.contains(term)) {
                    self.seen.insert(Sight::SplitVote);
                }
            }
            RoleName::Leader => {
                self.won.insert(view.term);
                self.seen.insert(Sight::Election);
            }
            RoleName::Follower => {}
        }
        if before == Some(RoleName::Leader) && view.role != RoleName::Leader {
            self.seen.insert(Sight::LeaderDeposed);
        }
    }

    /// Takes notice of what is in no view.
    pub fn see(&mut self, sight: Sight) {
        self.seen.insert(sight);
    }

    /// All that was seen.
    pub fn seen(&self) -> &BTreeSet<Sight> {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::view_of;

    #[test]
    fn an_election_with_a_split_vote_before_it_2a() {
        let mut sights = Sights::default();
        let mut step = |server, term, role| {
            sights.note(&View { term, role, ..view_of(server) });
            sights.seen().iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(step(0, 1, RoleName::Candidate), [Sight::View]);
        assert_eq!(step(1, 1, RoleName::Candidate), [Sight::RivalCandidates, Sight::View]);
        assert_eq!(step(0, 2, RoleName::Candidate), [Sight::RivalCandidates, Sight::SplitVote, Sight::View]);
        step(0, 2, RoleName::Leader);
        step(0, 3, RoleName::Follower);
        let all = [Sight::Election, Sight::RivalCandidates, Sight::SplitVote, Sight::LeaderDeposed, Sight::View];
        assert_eq!(step(1, 3, RoleName::Candidate), all);
    }
}
