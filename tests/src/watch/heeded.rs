//! AllServers.2 (§5.1): a higher term in an answer makes a follower, and soon.
//!
//! `terms.rs` hears a server speak in a term that is over. One that has stopped speaking,
//! or that a leader tells of the term a moment later, has broken the rule all the same: it
//! went on as candidate or leader of a term of which it knew that it is past. Who has the
//! answer may hand it to another thread first, so a while is granted.
//!
//! An answer that comes when the server is not any more what it was when it asked may be
//! dropped unread: it learns the term from the next one.
//!
//! Boundary: a list of what is due. Knows servers that publish what they are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft::{RoleName, ServerId, Term, View};

use super::at;
use super::known::Known;
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// So long an answer may be on its way through its receiver's threads.
const PROMPT: Duration = Duration::from_millis(50);

/// Who was told of a higher term, and has not followed it yet.
#[derive(Debug)]
pub struct Heeded {
    /// What the run allows besides: threads that start late, disks that take time.
    slack: Duration,
    /// In the order in which they came.
    due: VecDeque<Told>,
    /// The last term in which each server has asked for votes.
    asked: BTreeMap<ServerId, Term>,
}

/// An answer of a higher term.
#[derive(Clone, Copy, Debug)]
struct Told {
    server: ServerId,
    role: RoleName,
    /// The term that it was in.
    own: Term,
    /// The one that it was told of, by whom, and when.
    term: Term,
    by: ServerId,
    at: Duration,
}

impl Heeded {
    /// For a cluster whose threads and disks may be so late.
    pub fn new(slack: Duration) -> Self {
        Self { slack, due: VecDeque::new(), asked: BTreeMap::new() }
    }

    /// The run allows this much from now on, if that is more than before.
    pub fn allow(&mut self, slack: Duration) {
        self.slack = self.slack.max(slack);
    }

    /// A server has crashed, or starts: it owes nothing.
    pub fn forget(&mut self, server: ServerId) {
        self.due.retain(|told| told.server != server);
    }

    /// Takes notice of a message.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) {
        if let Said::RequestVote(args) = wire.said
            && wire.leaves
        {
            self.asked.insert(wire.from, args.term);
        }
        let asks_as = match wire.said {
            Said::Vote(_) => RoleName::Candidate,
            Said::Appended(_) | Said::Installed(_) => RoleName::Leader,
            _ => return,
        };
        let (server, term) = (wire.to, wire.term());
        let Some(face) = known.server(server).face.filter(|_| !wire.leaves) else { return };
        let is_asked = known.asked(wire.call).is_some_and(|asked| asked.term() == face.term);
        if term > face.term && face.role == asks_as && is_asked {
            self.due.push_back(Told { server, role: face.role, own: face.term, term, by: wire.from, at: wire.at });
        }
    }

    /// Takes notice of a view: a candidate has voted for itself. One that has not was a
    /// candidate, and has learned of another term, in which it has to follow.
    pub fn observe(&mut self, view: &View, moment: Duration) {
        let View { server, role, term, voted_for, .. } = *view;
        if role != RoleName::Follower && voted_for != Some(server) {
            self.due.push_back(Told { server, role, own: term, term, by: server, at: moment });
        }
    }

    /// Takes notice of the time.
    ///
    /// # Errors
    ///
    /// If a server has not followed what it was told in time.
    pub fn look(&mut self, known: &Known, moment: Duration) -> Result<(), Broken> {
        while let Some(told) = self.due.front().copied().filter(|told| told.at + PROMPT + self.slack <= moment) {
            self.due.pop_front();
            let face = known.server(told.server).face;
            let is_same = face.is_some_and(|face| (face.role, face.term) == (told.role, told.own));
            let has_voted = face.is_some_and(|face| face.voted_for == Some(told.server));
            if is_same && !(told.by == told.server && has_voted) {
                let has_asked = self.asked.get(&told.server) == Some(&told.own);
                return Err(told.breach(moment, has_asked));
            }
        }
        Ok(())
    }
}

impl Told {
    /// `has_asked`: it has asked for votes in its term.
    fn breach(&self, moment: Duration, has_asked: bool) -> Broken {
        let Self { server, role, own, term, by, at: when } = self;
        let role = match role {
            RoleName::Leader => "leads",
            _ => "stands in",
        };
        if by == server && has_asked {
            let message = format!("{server} {role} term {own} since {}, and has not voted for itself in it", at(*when));
            return Broken::new(Kind::Safety, "Candidates.1", message).since([*when]);
        }
        if by == server {
            let message = format!(
                "{server} {role} term {own} since {}, and has not voted for itself in it: it has learned of that term, and \
                 has to follow",
                at(*when)
            );
            return Broken::new(Kind::Safety, "AllServers.2", message).since([*when]);
        }
        let message = format!(
            "{server} {role} term {own} still at {}; {by} has answered it with term {term} at {}",
            at(moment),
            at(*when)
        );
        Broken::new(Kind::Safety, "AllServers.2", message).since([*when])
    }
}

#[cfg(test)]
mod tests {
    use raft::{RequestVoteReply, View};

    use super::*;
    use crate::watch::testing::{S0, S1, Says, Scene, append, id, no, stand, view};

    fn stands(term: Term) -> View {
        View { role: RoleName::Candidate, ..view(S0, term, &[]) }
    }

    /// S0 shows `first`, asks `asked`, shows `then`, is answered in term 7, and shows `last`.
    /// What is said of it so many milliseconds later?
    fn judged(asked: Said<'_>, [first, then, last]: [View; 3], answer: Said<'_>, millis: u64) -> Option<String> {
        let mut scene = Scene::new(2);
        scene.publish(&first);
        let call = scene.ask(S0, S1, asked);
        scene.publish(&then);
        let mut watcher = Heeded::new(Duration::from_millis(10));
        watcher.hear(&scene.known, &scene.wire(call, S1, S0, false, answer));
        scene.publish(&last);
        let broken = watcher.look(&scene.known, scene.moment + Duration::from_millis(millis)).err()?;
        assert_eq!(broken.rule, Some("AllServers.2"));
        Some(broken.message)
    }

    #[test]
    fn a_higher_term_in_an_answer_is_heeded_2a() {
        let (asks, refusal) = (stand(3, S0, id(0, 0)), RequestVoteReply { term: 7, granted: false });
        let of_votes = |views, millis| judged(Said::RequestVote(&asks), views, Said::Vote(&refusal), millis);
        let stubborn = [stands(3), stands(3), stands(3)];
        let told = of_votes(stubborn.clone(), 1000).expect("it has had its time");
        assert!(told.starts_with("S0 stands in term 3 still at ") && told.contains("S1 has answered it with term 7"));
        assert_eq!(of_votes(stubborn, 20), None, "it may be at it");
        assert_eq!(of_votes([stands(3), stands(3), view(S0, 7, &[])], 1000), None, "it has followed");
        assert_eq!(of_votes([stands(3), stands(3), stands(8)], 1000), None, "and stood itself");
        assert_eq!(of_votes([stands(3), stands(4), stands(4)], 1000), None, "an old question's answer may be dropped");
        let follows = view(S0, 3, &[]);
        assert_eq!(of_votes([stands(3), follows.clone(), follows], 1000), None, "and one to who stands no more");

        let (heartbeat, refusal) = (append(3, S0, id(0, 0), &[]), no(7));
        let leads = view(S0, 3, &[]).leads();
        let of_leaders =
            |views, millis| judged(Said::AppendEntries(&heartbeat), views, Said::Appended(&refusal), millis);
        let told = of_leaders([leads.clone(), leads.clone(), leads.clone()], 1000).expect("it has had its time");
        assert!(told.starts_with("S0 leads term 3 still at "), "{told}");
        assert_eq!(of_leaders([leads.clone(), leads, view(S0, 7, &[])], 1000), None);
    }

    #[test]
    fn who_learns_of_a_term_follows_in_it_2a() {
        let judged = |then: &View, asks: bool| {
            let mut scene = Scene::new(2);
            let mut watcher = Heeded::new(Duration::from_millis(10));
            let keeps = stands(4);
            for view in [&keeps, then] {
                scene.publish(view);
                watcher.observe(view, scene.moment);
            }
            if asks {
                let args = stand(4, S0, id(0, 0));
                watcher.hear(&scene.known, &scene.wire(1, S0, S1, true, Said::RequestVote(&args)));
            }
            watcher.look(&scene.known, scene.moment + Duration::from_millis(40)).unwrap();
            watcher.look(&scene.known, scene.moment + Duration::from_secs(1)).err()
        };
        let keeps = judged(&stands(4), false).expect("it is a candidate still");
        assert_eq!(keeps.rule, Some("AllServers.2"));
        assert!(keeps.message.contains("has learned of that term, and has to follow"), "{}", keeps.message);
        assert_eq!(judged(&stands(4), true).and_then(|broken| broken.rule), Some("Candidates.1"), "it stands");
        assert_eq!(judged(&view(S0, 4, &[]), false), None, "a moment later it follows");
        assert_eq!(judged(&stands(4).votes_for(S0), false), None, "it has voted for itself");
    }

    #[test]
    fn who_has_crashed_owes_nothing_2c() {
        let mut scene = Scene::new(2);
        scene.publish(&stands(3));
        let call = scene.ask(S0, S1, Said::RequestVote(&stand(3, S0, id(0, 0))));
        let mut watcher = Heeded::new(Duration::ZERO);
        let refusal = RequestVoteReply { term: 7, granted: false };
        watcher.hear(&scene.known, &scene.wire(call, S1, S0, false, Said::Vote(&refusal)));
        watcher.forget(S0);
        watcher.look(&scene.known, scene.moment + Duration::from_secs(1)).unwrap();
    }
}
