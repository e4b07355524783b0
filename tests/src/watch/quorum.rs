//! Candidates.2 and StaleReply (§5.2): who leads a term was given the votes of a majority in it.
//!
//! A vote is given when it leaves. If it is lost, the candidate does not have it;
//! so this finds whoever leads on too few votes, and not who had them by luck. If votes
//! of another term, which arrived while it stood, would make up for what it lacks, then
//! it has counted those: StaleReply.
//!
//! Boundary: one table. That a server votes once is in `one_vote_per_term.rs`.

use std::collections::{BTreeMap, BTreeSet};

use raft::{ServerId, Term};

use super::at;
use super::known::Known;
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// Who voted for whom.
#[derive(Debug)]
pub struct Quorum {
    servers: usize,
    votes: BTreeMap<(Term, ServerId), BTreeSet<ServerId>>,
    /// For each server the term in which it stood last, and who gave it a vote of
    /// another term since.
    late: BTreeMap<ServerId, (Term, BTreeSet<ServerId>)>,
    /// The terms whose leader was looked at.
    judged: BTreeSet<Term>,
}

impl Quorum {
    /// For a cluster of so many servers.
    pub fn new(servers: usize) -> Self {
        Self { servers, votes: BTreeMap::new(), late: BTreeMap::new(), judged: BTreeSet::new() }
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it is the first of a leader that was not given enough votes.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
        if !wire.leaves {
            self.arrives(known, wire);
            return Ok(());
        }
        if let Said::RequestVote(args) = wire.said
            && self.late.get(&wire.from).is_none_or(|(stood, _)| *stood < args.term)
        {
            self.late.insert(wire.from, (args.term, BTreeSet::new()));
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
        let own = self.votes.get(&(term, leader)).into_iter().flatten();
        let late = self.late.get(&leader).filter(|(stood, _)| *stood == term).map(|(_, by)| by);
        let with_late: BTreeSet<ServerId> =
            own.chain(late.into_iter().flatten()).copied().filter(|by| *by != leader).collect();
        let (rule, why) = if with_late.len() + 1 > self.servers / 2 {
            ("StaleReply", "; with votes of another term, which came while it stood, it would be a majority")
        } else {
            ("Candidates.2", "")
        };
        Err(Broken::new(Kind::Safety, rule, message + why).since([wire.at]))
    }

    /// A vote arrives. Was it given in another term?
    fn arrives(&mut self, known: &Known, wire: &Wire<'_>) {
        if let (Said::Vote(reply), Some(asked)) = (wire.said, known.asked(wire.call))
            && reply.granted
            && let Some((stood, late)) = self.late.get_mut(&wire.to)
            && asked.term() != *stood
        {
            late.insert(wire.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::wire::wire;
    use raft::{AppendEntriesArgs, EntryId, RequestVoteArgs, RequestVoteReply};

    /// S0 stands in term 3 among five, is given the votes of `voters`, and leads.
    fn led_with(voters: &[u32]) -> Result<(), Broken> {
        let (mut watcher, known) = (Quorum::new(5), Known::new(5));
        let asks = RequestVoteArgs { term: 3, candidate: ServerId(0), last: EntryId::default() };
        let vote = RequestVoteReply { term: 3, granted: true };
        watcher.hear(&known, &wire(0, 1, true, Said::RequestVote(&asks)))?;
        for voter in voters {
            watcher.hear(&known, &wire(*voter, 0, true, Said::Vote(&vote)))?;
        }
        let heartbeat = AppendEntriesArgs {
            term: 3,
            leader: ServerId(0),
            prev: EntryId::default(),
            entries: Vec::new(),
            leader_commit: 0,
        };
        watcher.hear(&known, &wire(0, 1, true, Said::AppendEntries(&heartbeat)))
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
