//! Candidates.2 and StaleReply (§5.2): who leads a term was given the votes of a majority in it.
//!
//! A vote is given when it leaves. If it is lost, the candidate does not have it;
//! so this finds whoever leads on too few votes, and not who had them by luck. If votes
//! of another term, which arrived while it stood, would make up for what it lacks, then
//! it has counted those: StaleReply.
//!
//! And who has the votes of a majority leads: a candidate that had them, and stands again
//! when its time is up, asks for more than it takes.
//!
//! Boundary: one table. That a server votes once is in `one_vote_per_term.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft::{RoleName, ServerId, Term, View};

use super::at;
use super::known::{Known, Step};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// Votes that came so late count as if they had not: a candidate may look now and then.
const LATELY: Duration = Duration::from_millis(200);

/// Who voted for whom.
#[derive(Debug)]
pub struct Quorum {
    servers: usize,
    votes: BTreeMap<(Term, ServerId), BTreeSet<ServerId>>,
    /// For each server the term in which it stood last, and who gave it a vote of
    /// another term since.
    late: BTreeMap<ServerId, (Term, BTreeSet<ServerId>)>,
    /// For each server the term in which it was given votes last, as its candidate, by whom,
    /// and when each came first.
    received: BTreeMap<ServerId, (Term, BTreeMap<ServerId, Duration>)>,
    /// The terms whose leader was looked at.
    judged: BTreeSet<Term>,
}

impl Quorum {
    /// For a cluster of so many servers.
    pub fn new(servers: usize) -> Self {
        Self {
            servers,
            votes: BTreeMap::new(),
            late: BTreeMap::new(),
            received: BTreeMap::new(),
            judged: BTreeSet::new(),
        }
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it is of a leader that was not given enough votes.
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
        if let Some((term, candidate)) = known.vote(wire) {
            self.votes.entry((term, candidate)).or_default().insert(wire.from);
        }
        if wire.is_a_leaders() { self.judge(wire.term(), wire.from, wire.at) } else { Ok(()) }
    }

    /// Takes notice of a view, too: a leader need not have sent anything yet.
    ///
    /// # Errors
    ///
    /// If it is one that was not given enough votes.
    pub fn leads(&mut self, view: &View, moment: Duration) -> Result<(), Broken> {
        if view.role == RoleName::Leader { self.judge(view.term, view.server, moment) } else { Ok(()) }
    }

    fn judge(&mut self, term: Term, leader: ServerId, moment: Duration) -> Result<(), Broken> {
        if !self.judged.insert(term) {
            return Ok(());
        }
        // Its own it may have given and told nobody of yet.
        let others =
            self.votes.get(&(term, leader)).map_or(0, |votes| votes.iter().filter(|by| **by != leader).count());
        let votes = others + 1;
        if votes > self.servers / 2 {
            return Ok(());
        }
        let message = format!(
            "{leader} leads term {term} at {}, and was given {votes} of {} votes in it, its own included",
            at(moment),
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
        Err(Broken::new(Kind::Safety, rule, message + why).since([moment]))
    }

    /// Takes notice of a view.
    ///
    /// # Errors
    ///
    /// If it stands again, and was given enough votes before.
    pub fn observe(&mut self, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
        let stood = step.before.filter(|before| before.role == RoleName::Candidate);
        let again = |term| view.role == RoleName::Candidate && view.term == term + 1;
        let Some(term) = stood.map(|before| before.term).filter(|term| again(*term)) else { return Ok(()) };
        let Some((_, votes)) = self.received.get(&view.server).filter(|(of, _)| *of == term) else { return Ok(()) };
        let in_time: Vec<Duration> = votes.values().copied().filter(|when| *when + LATELY <= moment).collect();
        let (count, last) = (in_time.len() + 1, in_time.iter().max());
        let Some(last) = last.filter(|_| count > self.servers / 2) else { return Ok(()) };
        let message = format!(
            "{} stands for term {} at {}, and was given {count} of {} votes in term {term}, its own included, the last at {}: \
             with those it leads",
            view.server,
            view.term,
            at(moment),
            self.servers,
            at(*last)
        );
        Err(Broken::new(Kind::Liveness, "Candidates.2", message).since([*last, moment]))
    }

    /// A vote arrives. Was it given in another term?
    fn arrives(&mut self, known: &Known, wire: &Wire<'_>) {
        if let (Said::Vote(reply), Some(face)) = (wire.said, known.server(wire.to).face)
            && reply.granted
            && (face.role, face.term) == (RoleName::Candidate, reply.term)
            && known.asked(wire.call).is_some_and(|asked| asked.term() == reply.term)
        {
            let (term, votes) = self.received.entry(wire.to).or_default();
            if *term != reply.term {
                (*term, *votes) = (reply.term, BTreeMap::new());
            }
            votes.entry(wire.from).or_insert(wire.at);
        }
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
    use crate::watch::testing::{self, S0, S1, S2, Says, Scene, id, stand, view};
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

    /// S0 stands in term 3 among so many servers, is given a vote by each of `voters`, so many
    /// milliseconds after it stood, shows `then`, and a second after it stood `last`.
    fn goes_on(servers: u32, voters: &[(ServerId, u64)], then: &View, last: &View) -> Option<String> {
        let mut scene = Scene::new(servers);
        scene.publish(&stands(3));
        let (mut watcher, begun) = (Quorum::new(servers as usize), scene.moment);
        for (voter, millis) in voters {
            let call = scene.ask(S0, *voter, Said::RequestVote(&stand(3, S0, id(0, 0))));
            scene.moment = begun + Duration::from_millis(*millis);
            watcher.hear(&scene.known, &scene.wire(call, *voter, S0, false, Said::Vote(&testing::vote(3)))).unwrap();
        }
        scene.publish(then);
        scene.moment = begun + Duration::from_secs(1);
        let step = scene.publish(last);
        let broken = watcher.observe(&step, last, scene.moment).err()?;
        assert_eq!(broken.rule, Some("Candidates.2"));
        Some(broken.message)
    }

    fn stands(term: Term) -> View {
        View { role: RoleName::Candidate, ..view(S0, term, &[]) }
    }

    #[test]
    fn who_has_a_majority_leads_2a() {
        let again = |servers, voters: &[(ServerId, u64)]| goes_on(servers, voters, &stands(3), &stands(4));
        let told = again(3, &[(S1, 5)]).expect("two of three are a majority");
        assert!(told.contains("and was given 2 of 3 votes in term 3, its own included, the last at "), "{told}");
        assert!(again(3, &[(S1, 5), (S2, 5), (S1, 9)]).unwrap().contains("3 of 3 votes"));
        assert_eq!(again(3, &[]), None, "it has its own");
        assert_eq!(again(5, &[(S1, 5)]), None, "it takes three of five");
        assert_eq!(again(3, &[(S1, 900)]), None, "it came too late");
        assert!(again(3, &[(S1, 5), (S1, 900)]).is_some(), "it came twice");
        let one = [(S1, 5)];
        assert_eq!(goes_on(3, &one, &view(S0, 4, &[]), &stands(5)), None, "it has heard of a later term meanwhile");
        assert_eq!(goes_on(3, &one, &stands(3), &stands(5)), None, "so it has");
        assert_eq!(goes_on(3, &one, &stands(3), &view(S0, 3, &[]).leads()), None);
    }

    /// Before it has sent anything; and by votes whose answers left in a later term.
    #[test]
    fn a_leader_that_shows_itself_has_them_too_2a() {
        for (voters, rule) in [(&[][..], Some("Candidates.2")), (&[S1], None)] {
            let mut scene = Scene::new(3);
            let mut watcher = Quorum::new(3);
            for voter in voters {
                let call = scene.ask(S0, *voter, Said::RequestVote(&stand(3, S0, id(0, 0))));
                watcher.hear(&scene.known, &scene.wire(call, *voter, S0, true, Said::Vote(&testing::vote(4)))).unwrap();
            }
            let leads = view(S0, 3, &[]).leads();
            assert_eq!(watcher.leads(&leads, scene.moment).err().and_then(|broken| broken.rule), rule);
            watcher.leads(&leads, scene.moment).unwrap(); // Once is enough.
        }
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
