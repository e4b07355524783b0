//! Terms never go back (§5.1): Monotone and AllServers.2, as far as messages show.
//!
//! A server that has spoken in a term, or was told of one, never speaks in a lower
//! one again, restarts included. A message may have been made a little before it
//! leaves, by a thread that waits for its turn meanwhile. So a moment is granted.
//!
//! A server may ignore a candidate while it hears a leader, or leads: then it was told of
//! no term by it (§6, "disruptive servers"). The paper has it do so for the minimum election
//! timeout; until its own has passed is allowed here as well. It does not look at the question the moment
//! that it arrives: by then it may lead.
//!
//! Whoever answers a leader has taken its term over before, or has a higher one. (A candidate
//! may be refused without that: §6 again.)
//!
//! An old request may be sent again by who has followed a later term: that it stood or led
//! then, `claims.rs` makes sure of. And what comes in answer to a vote that was asked for in an
//! election which is over may be dropped unread.
//!
//! Boundary: two tables of terms, and what servers show of themselves now.

use std::time::Duration;

use raft::{ELECTION_TIMEOUT, RoleName, ServerId, Term, View};

use super::at;
use super::known::{Face, Known as Cluster};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// How long a message may wait in its sender's threads, where none is late.
const IN_THE_MAKING: Duration = Duration::from_millis(100);

/// What each server has said, and was told.
#[derive(Debug)]
pub struct Terms {
    /// How long a message may wait in its sender's threads in this run.
    late: Duration,
    servers: Vec<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    spoken: Rising,
    told: Rising,
    /// When it last led, or said what a leader says, or was told that.
    leader: Option<Duration>,
    /// What candidates have told it lately, and it may yet ignore.
    candidates: Vec<(Term, Duration)>,
}

/// The highest term of something, and since when; the one before that, too.
#[derive(Clone, Copy, Debug, Default)]
struct Rising {
    highest: (Term, Duration),
    before: (Term, Duration),
}

impl Known {
    /// It leads at `moment`, or hears a leader.
    fn has_leader(&mut self, moment: Duration, late: Duration) {
        self.heed(moment, late);
        self.leader = Some(moment);
        self.candidates.clear();
    }

    /// Candidates that were not ignored by now were heard.
    fn heed(&mut self, moment: Duration, late: Duration) {
        let told = &mut self.told;
        self.candidates.retain(|(term, since)| {
            let is_recent = moment <= *since + late;
            if !is_recent {
                told.note(*term, *since, late);
            }
            is_recent
        });
    }
}

impl Rising {
    fn note(&mut self, term: Term, moment: Duration, late: Duration) {
        if term > self.highest.0 {
            // Several may rise within the moment that is granted.
            if self.highest.1 + late <= moment {
                self.before = self.highest;
            }
            self.highest = (term, moment);
        }
    }

    /// The highest term that was known for long enough before `moment`.
    fn settled(&self, moment: Duration, late: Duration) -> (Term, Duration) {
        if self.highest.1 + late < moment { self.highest } else { self.before }
    }
}

impl Terms {
    /// For a cluster of so many servers, whose threads and disks may be so late.
    pub fn new(servers: usize, slack: Duration) -> Self {
        let mut terms = Self { late: IN_THE_MAKING, servers: vec![Known::default(); servers] };
        terms.allow(slack);
        terms
    }

    /// The run allows this much from now on, if that is more than before. Whoever waits for
    /// a lock waits for some who write to the disk.
    pub fn allow(&mut self, slack: Duration) {
        self.late = self.late.max(IN_THE_MAKING + 3 * slack);
    }

    /// A server starts. It is bound by what it has said, and not by what it was told
    /// and may not have had the time to write down.
    pub fn begin_life(&mut self, server: ServerId) {
        let known = &mut self.servers[server.0 as usize];
        *known = Known { spoken: known.spoken, ..Known::default() };
    }

    /// Takes notice of a view: a leader may not have sent anything yet.
    pub fn observe(&mut self, moment: Duration, view: &View) {
        let late = self.late;
        if view.role == RoleName::Leader {
            self.servers[view.server.0 as usize].has_leader(moment, late);
        }
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If its sender has spoken in a higher term before, or was told of one.
    pub fn hear(&mut self, cluster: &Cluster, wire: &Wire<'_>) -> Result<(), Broken> {
        let (term, moment, late) = (wire.term(), wire.at, self.late);
        let shows = cluster.server(if wire.leaves { wire.from } else { wire.to }).face;
        let known = &mut self.servers[if wire.leaves { wire.from } else { wire.to }.0 as usize];
        if wire.is_a_leaders() {
            known.has_leader(moment, late);
        }
        known.heed(moment, late);
        if !wire.leaves {
            let has_a_leader = known.leader.is_some_and(|since| moment - since < ELECTION_TIMEOUT.end + late);
            match wire.said {
                Said::RequestVote(_) if has_a_leader => {}
                Said::RequestVote(_) => known.candidates.push((term, moment)),
                Said::Vote(_) if shows.is_some_and(|face| !is_asked_by(cluster, wire, face)) => {}
                _ => known.told.note(term, moment, late),
            }
            return Ok(());
        }
        let is_request = matches!(wire.said, Said::RequestVote(_) | Said::AppendEntries(_) | Said::InstallSnapshot(_));
        if is_request && shows.is_some_and(|face| face.term > term) {
            return Ok(()); // It was made when that was its term.
        }
        let is_to_leader = matches!(wire.said, Said::Appended(_) | Said::Installed(_));
        if is_to_leader && let Some(asked) = cluster.asked(wire.call).filter(|asked| asked.term() > term) {
            return Err(breach(
                "AllServers.2",
                wire.from,
                term,
                moment,
                "answers a question of",
                (asked.term(), moment),
            ));
        }
        let (spoken, told) = (known.spoken.settled(moment, late), known.told.settled(moment, late));
        known.spoken.note(term, moment, late);
        if term < spoken.0 {
            return Err(breach("Monotone", wire.from, term, moment, "spoke in", spoken));
        }
        if term < told.0 {
            return Err(breach("AllServers.2", wire.from, term, moment, "was told of", told));
        }
        Ok(())
    }
}

/// True if the server is still the candidate that has asked this.
fn is_asked_by(cluster: &Cluster, wire: &Wire<'_>, face: Face) -> bool {
    let asked = cluster.asked(wire.call).map(|asked| asked.term());
    face.role == RoleName::Candidate && asked == Some(face.term)
}

fn breach(
    rule: &'static str,
    server: ServerId,
    term: Term,
    moment: Duration,
    did: &str,
    (higher, since): (Term, Duration),
) -> Broken {
    let message = format!("{server} speaks in term {term} at {}, and {did} term {higher} at {}", at(moment), at(since));
    Broken::new(Kind::Safety, rule, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, Scene, append, id, stand, view, vote};
    use crate::watch::view_of;
    use crate::watch::wire::{Said, wire};
    use raft::{AppendEntriesReply, RequestVoteReply};

    /// What S0 says and is told: milliseconds, term, and whether it says it. The
    /// rule that the last of them breaks.
    fn rule(steps: &[(u64, Term, bool)]) -> Option<&'static str> {
        let mut watcher = Terms::new(2, Duration::ZERO);
        let (last, before) = steps.split_last().expect("there are steps");
        let mut hear = |(millis, term, says): &(u64, Term, bool)| {
            let reply = AppendEntriesReply { term: *term, ..Default::default() };
            let (from, to) = if *says { (0, 1) } else { (1, 0) };
            let said = Wire { at: Duration::from_millis(*millis), ..wire(from, to, *says, Said::Appended(&reply)) };
            watcher.hear(&Cluster::new(2), &said)
        };
        before.iter().for_each(|step| hear(step).unwrap());
        hear(last).err().and_then(|broken| broken.rule)
    }

    #[test]
    fn a_server_speaks_in_no_lower_term_again_2a() {
        assert_eq!(rule(&[(0, 3, true), (500, 3, true), (501, 4, true)]), None);
        assert_eq!(rule(&[(0, 3, true), (500, 4, true), (510, 3, true)]), None, "it was on its way out");
        assert_eq!(rule(&[(0, 3, true), (500, 4, true), (501, 5, true), (510, 3, true)]), None, "it was, too");
        assert_eq!(rule(&[(0, 3, true), (500, 2, true)]), Some("Monotone"));
        assert_eq!(rule(&[(0, 3, true), (500, 4, true), (501, 5, true), (502, 2, true)]), Some("Monotone"));
    }

    #[test]
    fn an_answer_to_a_leader_is_of_no_lower_term_2a() {
        for (asked, answered, rule) in [(3, 3, None), (3, 4, None), (3, 2, Some("AllServers.2"))] {
            let mut scene = Scene::new(2);
            let call = scene.ask(S1, S0, Said::AppendEntries(&append(asked, S1, id(0, 0), &[])));
            let reply = AppendEntriesReply { term: answered, ..Default::default() };
            let says = scene.wire(call, S0, S1, true, Said::Appended(&reply));
            let refuses = RequestVoteReply { term: answered, granted: false };
            let asks = scene.ask(S1, S0, Said::RequestVote(&stand(asked, S1, id(0, 0))));
            Terms::new(2, Duration::ZERO)
                .hear(&scene.known, &scene.wire(asks, S0, S1, true, Said::Vote(&refuses)))
                .unwrap();
            let broken = Terms::new(2, Duration::ZERO).hear(&scene.known, &says).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "{asked} {answered}");
        }
    }

    /// What was said binds the next life, and what was heard does not.
    #[test]
    fn a_restart_does_not_take_a_term_back_2a() {
        let hears = |messages: [(bool, Wire<'_>); 3]| {
            let mut watcher = Terms::new(2, Duration::ZERO);
            let judge = |(is_next_life, wire): (bool, Wire<'_>)| {
                if is_next_life {
                    watcher.begin_life(S0);
                }
                watcher.hear(&Cluster::new(2), &wire).err().and_then(|broken| broken.rule)
            };
            messages.map(judge)
        };
        let replies = [2, 3].map(|term| AppendEntriesReply { term, ..Default::default() });
        let says =
            |millis, reply| Wire { at: Duration::from_millis(millis), ..wire(0, 1, true, Said::Appended(reply)) };
        let [two, three] = &replies;
        let rules = hears([(false, says(0, three)), (true, says(500, three)), (false, says(1000, two))]);
        assert_eq!(rules, [None, None, Some("Monotone")]);
        assert_eq!(
            hears([(false, says(0, three)), (true, says(500, two)), (false, says(510, two))])[1],
            Some("Monotone")
        );

        let (heartbeat, asks) = (append(2, S1, id(0, 0), &[]), stand(3, S1, id(0, 0)));
        let told = |millis, said| Wire { at: Duration::from_millis(millis), ..wire(1, 0, false, said) };
        let rules =
            hears([(false, told(0, Said::RequestVote(&asks))), (true, says(500, two)), (false, says(1000, two))]);
        assert_eq!(rules, [None; 3], "it was asked in its last life");
        let rules = hears([
            (false, told(0, Said::AppendEntries(&heartbeat))),
            (true, told(1, Said::RequestVote(&asks))),
            (false, says(500, two)),
        ]);
        assert_eq!(rules[2], Some("AllServers.2"), "it heard the leader in its last life");
    }

    #[test]
    fn a_server_that_is_told_of_a_term_follows_it_2a() {
        assert_eq!(rule(&[(0, 3, false), (10, 2, true)]), None, "it was on its way out");
        assert_eq!(rule(&[(0, 3, false), (500, 2, true)]), Some("AllServers.2"));
        let mut watcher = Terms::new(2, Duration::ZERO);
        let reply = |term| AppendEntriesReply { term, ..Default::default() };
        watcher.hear(&Cluster::new(2), &wire(1, 0, false, Said::Appended(&reply(3)))).unwrap();
        watcher.begin_life(ServerId(0));
        let late = reply(2);
        let late = Wire { at: Duration::from_secs(1), ..wire(0, 1, true, Said::Appended(&late)) };
        watcher.hear(&Cluster::new(2), &late).unwrap(); // It crashed before it could write that down.
    }

    /// S0 stood in term 3, and shows that it follows term 5.
    #[test]
    fn an_old_request_may_be_sent_again_2a() {
        let (asks, refusal) = (stand(3, S0, id(0, 0)), vote(3));
        let mut scene = Scene::new(2);
        scene.publish(&View { role: RoleName::Candidate, ..view(S0, 3, &[]) });
        let mut watcher = Terms::new(2, Duration::ZERO);
        let mut hear = |scene: &Scene, millis, said| {
            let wire = Wire { at: Duration::from_millis(millis), ..wire(0, 1, true, said) };
            watcher.hear(&scene.known, &wire).err().and_then(|broken| broken.rule)
        };
        assert_eq!(hear(&scene, 0, Said::RequestVote(&asks)), None);
        let later = vote(5);
        assert_eq!(hear(&scene, 10, Said::Vote(&later)), None);
        assert_eq!(hear(&scene, 900, Said::RequestVote(&asks)), Some("Monotone"), "it shows that it is there still");
        scene.publish(&view(S0, 5, &[]));
        assert_eq!(hear(&scene, 1000, Said::RequestVote(&asks)), None);
        assert_eq!(hear(&scene, 1000, Said::Vote(&refusal)), Some("Monotone"), "an answer is never old");
    }

    /// S0 asked in term 3 and is answered in term 7, as a candidate still or not; then it
    /// speaks in term 4.
    #[test]
    fn what_a_vote_says_that_nobody_waits_for_may_be_unread_2a() {
        for (now, rule) in [(3, Some("AllServers.2")), (4, None)] {
            let mut scene = Scene::new(2);
            let stands = |term| View { role: RoleName::Candidate, ..view(S0, term, &[]) };
            scene.publish(&stands(3));
            let call = scene.ask(S0, S1, Said::RequestVote(&stand(3, S0, id(0, 0))));
            scene.publish(&stands(now));
            let mut watcher = Terms::new(2, Duration::ZERO);
            let refusal = RequestVoteReply { term: 7, granted: false };
            watcher.hear(&scene.known, &scene.wire(call, S1, S0, false, Said::Vote(&refusal))).unwrap();
            scene.publish(&stands(4));
            scene.moment += Duration::from_secs(1);
            let asks = stand(4, S0, id(0, 0));
            let broken = watcher.hear(&scene.known, &scene.wire(9, S0, S1, true, Said::RequestVote(&asks))).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule);
        }
    }

    #[test]
    fn a_candidate_may_be_ignored_while_a_leader_is_heard_2a() {
        let (heartbeat, asks) = (append(2, S1, id(0, 0), &[]), stand(3, S1, id(0, 0)));
        for (millis, rule) in [(100, None), (480, None), (900, Some("AllServers.2"))] {
            let mut watcher = Terms::new(2, Duration::ZERO);
            let mut hear = |millis, to, leaves, said| {
                watcher.hear(
                    &Cluster::new(2),
                    &Wire { at: Duration::from_millis(millis), ..wire(1 - to, to, leaves, said) },
                )
            };
            hear(0, 0, false, Said::AppendEntries(&heartbeat)).unwrap();
            hear(millis, 0, false, Said::RequestVote(&asks)).unwrap();
            let answer = AppendEntriesReply { term: 2, ..Default::default() };
            let broken = hear(1500, 1, true, Said::Appended(&answer)).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "{S0} after {millis} ms");
        }
        // It leads itself, as its messages say.
        for (says_millis, rule) in [(0, None), (900, Some("AllServers.2"))] {
            let mut watcher = Terms::new(2, Duration::ZERO);
            let mut hear = |millis, from, leaves, said| {
                watcher.hear(
                    &Cluster::new(2),
                    &Wire { at: Duration::from_millis(millis), ..wire(from, 1 - from, leaves, said) },
                )
            };
            let leads = append(2, S0, id(0, 0), &[]);
            hear(0, 0, true, Said::AppendEntries(&leads)).unwrap();
            hear(says_millis + 100, 1, false, Said::RequestVote(&asks)).unwrap();
            let broken = hear(1500, 0, true, Said::AppendEntries(&leads)).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "{says_millis} ms after it spoke");
        }
        // It was asked, and is elected before it has looked at the question.
        let mut watcher = Terms::new(2, Duration::ZERO);
        watcher.hear(&Cluster::new(2), &wire(1, 0, false, Said::RequestVote(&asks))).unwrap();
        watcher.observe(Duration::from_millis(50), &View { role: RoleName::Leader, ..view_of(0) });
        let late = Wire { at: Duration::from_secs(1), ..wire(0, 1, true, Said::AppendEntries(&heartbeat)) };
        watcher.hear(&Cluster::new(2), &late).unwrap();
        // It has just been elected, and sent nothing yet.
        for (role, rule) in [(RoleName::Leader, None), (RoleName::Follower, Some("AllServers.2"))] {
            let mut watcher = Terms::new(2, Duration::ZERO);
            watcher.observe(Duration::ZERO, &View { role, ..view_of(0) });
            watcher.hear(&Cluster::new(2), &wire(1, 0, false, Said::RequestVote(&asks))).unwrap();
            let late = Wire { at: Duration::from_secs(1), ..wire(0, 1, true, Said::AppendEntries(&heartbeat)) };
            let broken = watcher.hear(&Cluster::new(2), &late).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule);
        }
    }
}
