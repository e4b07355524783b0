//! Candidates.2 (§5.2): who leads a term was given the votes of a majority in it.
//!
//! A vote is given when it leaves. If it is lost, the candidate does not have it;
//! so this finds whoever leads on too few votes, and not who had them by luck.
//!
//! Boundary: one table. That a server votes once is in `one_vote_per_term.rs`.

use std::collections::{BTreeMap, BTreeSet};

use raft::{ServerId, Term};

use super::at;
use super::wire::Wire;
use crate::check::{Broken, Kind};

/// Who voted for whom.
#[derive(Debug)]
pub struct Quorum {
    servers: usize,
    votes: BTreeMap<(Term, ServerId), BTreeSet<ServerId>>,
    /// The terms whose leader was looked at.
    judged: BTreeSet<Term>,
}

impl Quorum {
    /// For a cluster of so many servers.
    pub fn new(servers: usize) -> Self {
        Self { servers, votes: BTreeMap::new(), judged: BTreeSet::new() }
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it is the first of a leader that was not given enough votes.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        if !wire.leaves {
            return Ok(());
        }
        if let Some(candidate) = wire.vote() {
            self.votes.entry((wire.term(), candidate)).or_default().insert(wire.from);
        }
        if !wire.is_a_leaders() || !self.judged.insert(wire.term()) {
            return Ok(());
        }
        let (term, leader) = (wire.term(), wire.from);
        // Its own it may have given and told nobody of yet.
        let others =
            self.votes.get(&(term, leader)).map_or(0, |votes| votes.iter().filter(|by| **by != leader).count());
        let votes = others + 1;
        if votes > self.servers / 2 {
            return Ok(());
        }
        let message = format!(
            "{leader} leads term {term} at {}, and was given {votes} of {} votes in it, its own included",
            at(wire.at),
            self.servers
        );
        Err(Broken::new(Kind::Safety, "Candidates.2", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::wire::{Said, wire};
    use raft::{AppendEntriesArgs, EntryId, RequestVoteArgs, RequestVoteReply};

    /// S0 stands in term 3 among five, is given the votes of `voters`, and leads.
    fn led_with(voters: &[u32]) -> Result<(), Broken> {
        let mut watcher = Quorum::new(5);
        let asks = RequestVoteArgs { term: 3, candidate: ServerId(0), last: EntryId::default() };
        let vote = RequestVoteReply { term: 3, granted: true };
        watcher.hear(&wire(0, 1, true, Said::RequestVote(&asks)))?;
        for voter in voters {
            watcher.hear(&wire(*voter, 0, true, Said::Vote(&vote)))?;
        }
        let heartbeat = AppendEntriesArgs {
            term: 3,
            leader: ServerId(0),
            prev: EntryId::default(),
            entries: Vec::new(),
            leader_commit: 0,
        };
        watcher.hear(&wire(0, 1, true, Said::AppendEntries(&heartbeat)))
    }

    #[test]
    fn a_leader_has_the_votes_of_a_majority_2a() {
        led_with(&[1, 2]).unwrap();
        led_with(&[1, 2, 3, 4]).unwrap();
        for voters in [&[][..], &[1], &[1, 1, 1]] {
            let broken = led_with(voters).unwrap_err();
            assert_eq!(broken.rule, Some("Candidates.2"), "{voters:?}");
        }
        let expected = "S0 leads term 3 at 0.000s, and was given 2 of 5 votes in it, its own included";
        assert_eq!(led_with(&[1]).unwrap_err().message, expected);
    }
}
