//! Why nobody leads, or nothing is committed: NoLeader and NoProgress, with a reason.
//!
//! "Failed to reach agreement" is a symptom. What a run was doing in the time that it
//! had tells more: nobody stood; all stood at once, again and again; the leader is
//! heard by nobody; it is answered, and commits nothing; or terms climb, and each leader
//! is deposed before it has done anything.
//!
//! Boundary: keeps moments, and puts them into words when asked. Judges nothing: that
//! it took too long is for a test to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft::{EntryId, Index, RoleName, ServerId, Term, View};

use super::asked::Asked;
use super::at;
use super::known::{Face, Known};
use super::wire::{Said, Wire};

/// So many leaders within one wait are too many.
const CLIMBING: usize = 3;
/// A peer that its leader sends nothing for so long has missed two heartbeats.
const NEGLECTED: Duration = Duration::from_millis(250);

/// What has moved, and when.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Every candidacy, in order: a server and its term.
    stood: Vec<(Duration, ServerId, Term)>,
    /// The first message of each term's leader.
    led: BTreeMap<Term, (Duration, ServerId)>,
    /// Who was given votes while it stood, in which term; and when the last one came.
    given: BTreeMap<(Term, ServerId), (Duration, BTreeSet<ServerId>)>,
    /// Votes that were refused in a term that was not over.
    refused: Vec<(Duration, ServerId, ServerId, Term)>,
    /// When each leader was last answered in its term.
    answered: BTreeMap<ServerId, Duration>,
    /// What each leader has sent last, to whom: its term, and when.
    sent: BTreeMap<(ServerId, ServerId), (Term, Duration)>,
    /// What its last AppendEntries to it said is committed.
    said_committed: BTreeMap<(ServerId, ServerId), Index>,
    /// The last request for votes of each server: its term, and when.
    asked: BTreeMap<ServerId, (Term, Duration)>,
    /// The requests of leaders that have had no answer, by their numbers, as long as
    /// their sender has sent nothing since: a leader, whom it asked, and when.
    waits: BTreeMap<ServerId, (u64, ServerId, Duration)>,
    /// What each leader is refused by each of its peers, since that one took something.
    rebuffs: BTreeMap<(ServerId, ServerId), Rebuffs>,
    /// Who stood though its leader was up, in order, and what the leader did.
    neglected: Vec<Neglect>,
    /// When a server was last seen to commit more than anybody before.
    committed: Option<(Duration, ServerId, Index)>,
    highest: Index,
    /// When each server's log was first seen to end where it ends.
    grown: BTreeMap<ServerId, (Index, Duration)>,
}

/// AppendEntries of one term that a peer has refused, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rebuffs {
    term: Term,
    times: u32,
    /// When the first answer came, and which entry had to be before the new ones.
    first: (Duration, EntryId),
    /// The same of the last.
    last: (Duration, EntryId),
}

/// A leader has sent a peer nothing for long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Neglect {
    leader: ServerId,
    term: Term,
    peer: ServerId,
    /// When it sent something to that peer last.
    since: Duration,
    /// Up to when that is so.
    until: Duration,
    /// It has sent nobody anything since it asked that server, then, and has no answer.
    waits: Option<(ServerId, Duration)>,
}

/// What a run was doing instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// `NoLeader` or `NoProgress`, or `Stuck`.
    pub rule: &'static str,
    /// In words.
    pub text: String,
    /// The moments that show it.
    pub moments: Vec<Duration>,
}

impl Liveness {
    /// A server starts: nobody waits for what it asked before.
    pub fn begin_life(&mut self, server: ServerId) {
        self.waits.remove(&server);
        self.rebuffs.retain(|(leader, _), _| *leader != server);
        self.neglected.retain(|neglect| neglect.leader != server);
    }

    /// Takes notice of a view.
    pub fn observe(&mut self, moment: Duration, view: &View) {
        let end = view.last.index;
        let grown = self.grown.entry(view.server).or_insert((end, moment));
        if grown.0 != end {
            *grown = (end, moment);
        }
        if view.commit_index > self.highest {
            self.highest = view.commit_index;
            self.committed = Some((moment, view.server, view.commit_index));
        }
    }

    /// Takes notice of a message.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) {
        match wire.said {
            Said::RequestVote(args) if wire.leaves => {
                self.asked.insert(wire.from, (args.term, wire.at));
                let is_known =
                    |(_, server, term): &&(Duration, ServerId, Term)| (*server, *term) == (wire.from, args.term);
                if self.stood.iter().rev().take(known.count()).find(is_known).is_none() {
                    self.stood.push((wire.at, wire.from, args.term));
                    let leader = self.led.last_key_value().map(|(term, (_, leader))| (*leader, *term));
                    let neglect = leader.and_then(|leader| self.neglect(known, leader, wire.from, wire.at));
                    self.neglected.extend(neglect);
                }
            }
            Said::Vote(reply) if wire.leaves && !reply.granted => {
                if let Some(Asked::Vote { term, .. }) =
                    known.asked(wire.call).filter(|asked| asked.term() >= reply.term)
                {
                    self.refused.push((wire.at, wire.from, wire.to, term));
                }
            }
            Said::Vote(reply) if !wire.leaves && reply.granted => {
                let stands = |face: Face| (face.role, face.term) == (RoleName::Candidate, reply.term);
                let is_asked = known.asked(wire.call).is_some_and(|asked| asked.term() == reply.term);
                if is_asked && known.server(wire.to).face.is_none_or(stands) {
                    let (when, voters) = self.given.entry((reply.term, wire.to)).or_default();
                    *when = wire.at;
                    voters.insert(wire.from);
                }
            }
            Said::AppendEntries(_) | Said::InstallSnapshot(_) if wire.leaves => {
                self.led.entry(wire.term()).or_insert((wire.at, wire.from));
                self.sent.insert((wire.from, wire.to), (wire.term(), wire.at));
                if let Said::AppendEntries(args) = wire.said {
                    self.said_committed.insert((wire.from, wire.to), args.leader_commit);
                }
                self.waits.insert(wire.from, (wire.call, wire.to, wire.at));
            }
            Said::Appended(_) | Said::Installed(_) if !wire.leaves => {
                self.answered.insert(wire.to, wire.at);
                if self.waits.get(&wire.to).is_some_and(|(call, ..)| *call == wire.call) {
                    self.waits.remove(&wire.to);
                }
                self.note_verdict(known, wire);
            }
            _ => {}
        }
    }

    /// A follower's answer has reached its leader: did it take what it was sent?
    fn note_verdict(&mut self, known: &Known, wire: &Wire<'_>) {
        let (leader, peer) = (wire.to, wire.from);
        match (wire.said, known.asked(wire.call)) {
            (Said::Appended(reply), Some(Asked::Append { term, prev, .. })) if !reply.success => {
                if reply.term > term {
                    return; // It is asked to step down.
                }
                let now = (wire.at, prev);
                let new = Rebuffs { term, times: 0, first: now, last: now };
                let rebuffs = self.rebuffs.entry((leader, peer)).or_insert(new);
                if rebuffs.term < term {
                    *rebuffs = new;
                }
                if rebuffs.term == term {
                    rebuffs.times += 1;
                    rebuffs.last = now;
                }
            }
            _ => {
                self.rebuffs.remove(&(leader, peer));
            }
        }
    }

    /// What that leader did instead of sending to `peer` before `until`, if that was long.
    fn neglect(
        &self,
        known: &Known,
        (leader, term): (ServerId, Term),
        peer: ServerId,
        until: Duration,
    ) -> Option<Neglect> {
        let elected = self.led.get(&term)?.0;
        let still_leads = match known.server(leader).face {
            Some(face) => (face.role, face.term) == (RoleName::Leader, term),
            None => !self.stood.iter().any(|(when, server, _)| *server == leader && *when > elected),
        };
        if leader == peer || !still_leads {
            return None;
        }
        let is_long = |since: Duration| until >= since + NEGLECTED;
        let last = self.sent.get(&(leader, peer)).filter(|(sent_in, _)| *sent_in == term);
        let since = last.map_or(elected, |(_, when)| *when);
        let waits = self.waits.get(&leader).map(|(_, whom, when)| (*whom, *when)).filter(|(_, when)| is_long(*when));
        is_long(since).then_some(Neglect { leader, term, peer, since, until, waits })
    }

    /// A server among those that has passed over what its service was to be told. `told` is the
    /// last index that each service knows.
    pub fn untold(known: &Known, among: &[ServerId], told: &[Index]) -> Option<Reason> {
        let services = known.servers().zip(told).filter(|((name, _), _)| among.contains(name));
        services.into_iter().find_map(|((name, server), told)| {
            let face = server.face.filter(|face| face.last_applied > *told)?;
            let text = format!(
                "{name} shows that it has applied all up to index {}, and its service was told of nothing after {told}",
                face.last_applied
            );
            Some(Reason { rule: "AllServers.1", text, moments: vec![face.at] })
        })
    }

    /// What has happened from `since` to `now`, instead of an agreement, among those
    /// servers.
    pub fn why(&self, known: &Known, since: Duration, now: Duration, among: &[ServerId]) -> Reason {
        let mut reason = self.what_happened(known, since, among);
        if reason.rule == "NoProgress" {
            let leads = self.leads_now(known, among);
            let present = among.iter().filter_map(|peer| self.neglect(known, leads?, *peer, now));
            let is_meant = |neglect: &&Neglect| {
                neglect.until >= since && [neglect.leader, neglect.peer].iter().all(|server| among.contains(server))
            };
            let past = self.neglected.iter().filter(is_meant).copied();
            // Whoever waits for an answer meanwhile is the clearest case; of these the longest.
            let length = |neglect: &Neglect| (neglect.waits.is_some(), neglect.until - neglect.since);
            if let Some(neglect) = past.chain(present).max_by_key(length) {
                reason.text += &format!("; {}", neglect.words(now));
                reason.moments.push(neglect.waits.map_or(neglect.since, |(_, when)| when));
            }
        }
        reason
    }

    fn what_happened(&self, known: &Known, since: Duration, among: &[ServerId]) -> Reason {
        let is_meant = |when: Duration, server: ServerId| when >= since && among.contains(&server);
        let stood: Vec<_> = self.stood.iter().filter(|(when, by, _)| is_meant(*when, *by)).copied().collect();
        let led: Vec<_> = self.led.iter().map(|(term, (when, by))| (*term, *when, *by)).collect();
        let led: Vec<_> = led.into_iter().filter(|(_, when, by)| is_meant(*when, *by)).collect();
        let no_leader = |text, moments| Reason { rule: "NoLeader", text, moments };
        match (self.leads_now(known, among), led.last()) {
            (None, None) if stood.is_empty() => no_leader(self.nobody_stood(since), Vec::new()),
            (None, None) => {
                let last = stood.iter().rev().take(3).map(|(when, ..)| *when).collect();
                let (text, refusals) = self.nobody_won(known, &stood);
                no_leader(text, if refusals.is_empty() { last } else { refusals })
            }
            (leader, _) if led.len() >= CLIMBING => terms_climb(&led, leader),
            (None, Some((term, when, by))) => {
                let text = format!(
                    "{by} came to lead term {term} at {}, and leads no more; nobody was elected since",
                    at(*when)
                );
                Reason { rule: "NoProgress", text, moments: vec![*when] }
            }
            (Some((leader, term)), _) => self.leader_does_nothing(known, (leader, term), since, among),
        }
    }

    /// Who leads the highest term, by what it has published, or said if it publishes
    /// nothing.
    fn leads_now(&self, known: &Known, among: &[ServerId]) -> Option<(ServerId, Term)> {
        let shown = known.servers().filter(|(name, _)| among.contains(name));
        let shown = shown.filter_map(|(name, server)| server.face.map(|face| (name, face)));
        let leads = shown.filter(|(_, face)| face.role == RoleName::Leader).map(|(name, face)| (name, face.term));
        let said = || self.led.last_key_value().map(|(term, (_, by))| (*by, *term));
        let is_silent = known.servers().all(|(_, server)| server.face.is_none());
        let leads = leads.max_by_key(|(_, term)| *term).or_else(|| said().filter(|_| is_silent));
        leads.filter(|(server, _)| among.contains(server))
    }

    fn nobody_stood(&self, since: Duration) -> String {
        let asks = self.asked.iter().filter(|(_, (_, when))| *when >= since).max_by_key(|(_, (_, when))| *when);
        if let Some((server, (term, when))) = asks {
            return format!(
                "nobody leads, and nobody has stood in a new term since {}: {server} asks for votes still, at {} in term \
                 {term}; each election has a term of its own (Candidates.1)",
                at(since),
                at(*when)
            );
        }
        match self.stood.last() {
            Some((when, server, term)) => format!(
                "nobody leads, and nobody has stood for election since {}: the last was {server} in term {term} at {}",
                at(since),
                at(*when)
            ),
            None => "nobody leads, and nobody has ever stood for election".to_owned(),
        }
    }

    /// Why no candidate was elected, and when what shows it was said.
    fn nobody_won(&self, known: &Known, stood: &[(Duration, ServerId, Term)]) -> (String, Vec<Duration>) {
        let mut by_term: BTreeMap<Term, BTreeSet<ServerId>> = BTreeMap::new();
        stood.iter().for_each(|(_, server, term)| {
            by_term.entry(*term).or_default().insert(*server);
        });
        let (terms, count) = (by_term.len(), stood.len());
        let first = stood[0].0;
        let begin = format!("{count} candidacies in {terms} terms since {}, and nobody won", at(first));
        let given =
            self.given.iter().filter(|((term, server), _)| by_term.get(term).is_some_and(|by| by.contains(server)));
        let best = given.map(|(of, (when, voters))| (voters.len() + 1, *when, *of)).max();
        if let Some((votes, when, (term, candidate))) = best.filter(|(votes, ..)| *votes >= known.majority()) {
            let why = format!(
                "{candidate} was given {votes} of {} votes in term {term}, its own included, and does not lead: {} are \
                 a majority (Candidates.2)",
                known.count(),
                known.majority()
            );
            return (format!("{begin}: {why}"), vec![when]);
        }
        let split = by_term.values().filter(|candidates| candidates.len() > 1).count();
        if 2 * split > terms {
            let why = format!("in {split} of the terms several stood at once and split the votes");
            return (format!("{begin}: {why}"), Vec::new());
        }
        let mut refusals: BTreeMap<(ServerId, ServerId), usize> = BTreeMap::new();
        let recent = self.refused.iter().filter(|(when, ..)| *when >= first);
        recent.for_each(|(_, voter, candidate, _)| *refusals.entry((*voter, *candidate)).or_default() += 1);
        // A refusal that the logs do not explain says most.
        let last = |server: ServerId| known.server(server).face.map(|_| known.server(server).log.last());
        let is_wrong =
            |voter, candidate| matches!((last(voter), last(candidate)), (Some(own), Some(theirs)) if theirs >= own);
        let most = refusals.iter().max_by_key(|((voter, candidate), times)| (is_wrong(*voter, *candidate), **times));
        let Some(((voter, candidate), times)) = most else {
            let why = best.map_or("no vote has reached a candidate, and none was refused".to_owned(), |(votes, ..)| {
                format!(
                    "none was refused, and a candidate has {votes} of {} at the most, its own included",
                    known.count()
                )
            });
            return (format!("{begin}: {why}"), Vec::new());
        };
        let log =
            |server| last(server).map_or(String::new(), |id| format!(" (last entry {} of term {})", id.index, id.term));
        let verdict = if is_wrong(*voter, *candidate) {
            ", whose log is at least as up to date (sec. 5.4.1)"
        } else {
            ", whose log is older: rightly"
        };
        let verdict = if last(*voter).is_some() { verdict } else { "" };
        let is_it = |(_, by, whom, _): &&(Duration, ServerId, ServerId, Term)| (by, whom) == (voter, candidate);
        let moments = self.refused.iter().filter(is_it).map(|(when, ..)| *when).next_back().into_iter().collect();
        let (voter_log, candidate_log) = (log(*voter), log(*candidate));
        (format!("{begin}: {voter}{voter_log} refused {candidate}{candidate_log} {times} times{verdict}"), moments)
    }

    fn leader_does_nothing(
        &self,
        known: &Known,
        (leader, term): (ServerId, Term),
        since: Duration,
        among: &[ServerId],
    ) -> Reason {
        let answered = self.answered.get(&leader).copied();
        if answered.is_none_or(|when| when < since) {
            let last = answered.map_or("never".to_owned(), |when| format!("last at {}", at(when)));
            let text = format!("{leader} leads term {term}, and nobody's answer reaches it: {last}");
            return Reason { rule: "NoProgress", text, moments: answered.into_iter().collect() };
        }
        let server = known.server(leader);
        let Some(face) = server.face else {
            let text = format!("{leader} leads term {term} and is answered, and nothing is applied");
            return Reason { rule: "NoProgress", text, moments: Vec::new() };
        };
        let behind = known.servers().find_map(|(name, server)| {
            let face = server.face.filter(|face| face.last_applied < face.commit_index)?;
            Some((name, face))
        });
        if let Some((name, behind)) = behind.filter(|(_, behind)| behind.commit_index >= face.commit_index) {
            let text = format!(
                "{name} knows that index {} is committed, and its service was told of nothing after {}",
                behind.commit_index, behind.last_applied
            );
            return Reason { rule: "Stuck", text, moments: vec![behind.at] };
        }
        let peers = known.servers().map(|(peer, _)| peer).filter(|peer| *peer != leader);
        let confirmed: Vec<(ServerId, Index)> = peers.map(|peer| (peer, server.confirmed(term, peer))).collect();
        let end = server.log.last().index;
        let lags = |(peer, index): &&(ServerId, Index)| *index < end && among.contains(peer);
        let lags: Vec<ServerId> = confirmed.iter().filter(lags).map(|(peer, _)| *peer).collect();
        let each: Vec<String> = confirmed.iter().map(|(peer, index)| format!("{peer} {index}")).collect();
        let each = each.join(", ");
        if end == face.commit_index && lags.is_empty() {
            let is_behind = |server: &super::known::Server| server.face.is_some_and(|face| face.commit_index < end);
            let behind = among.iter().find(|peer| **peer != leader && is_behind(known.server(**peer)));
            return match behind {
                Some(peer) => self.commits_nothing(known, leader, term, *peer),
                None => self.nothing_to_do(leader, term, end),
            };
        }
        let last = self.committed.map_or("never was".to_owned(), |(when, ..)| format!("last was at {}", at(when)));
        let mut moments: Vec<Duration> = self.committed.map(|(when, ..)| when).into_iter().collect();
        let mut text = if end == face.commit_index {
            let lack = if lags.len() == 1 { "does not" } else { "do not" };
            let lags: Vec<String> = lags.iter().map(ServerId::to_string).collect();
            format!(
                "{leader} leads term {term} and has committed all of its log, up to index {end}; {} {lack} get \
                 all of it; confirmed to it: {each}",
                lags.join(" and ")
            )
        } else {
            let mut ends: Vec<Index> = confirmed.iter().map(|(_, index)| *index).collect();
            ends.push(end);
            ends.sort_unstable();
            let majority = ends[ends.len() - known.majority()];
            let may = majority > face.commit_index && server.log.term_at(majority) == Some(term);
            let may = if may {
                format!("; a majority has {majority}, which is of its term (Leaders.4)")
            } else {
                String::new()
            };
            format!(
                "{leader} leads term {term} and is answered, but commits nothing, and {last}: its log ends at {end}, {} is \
                 committed; confirmed to it: {each}{may}",
                face.commit_index,
            )
        };
        let rebuffs = lags.iter().filter_map(|peer| Some((*peer, *self.rebuffs.get(&(leader, *peer))?)));
        let rebuffs = rebuffs.filter(|(_, rebuffs)| rebuffs.term == term);
        if let Some((peer, rebuffs)) = rebuffs.max_by_key(|(_, rebuffs)| rebuffs.times) {
            text += &format!("; {}", rebuffs.words(peer));
            moments.push(rebuffs.last.0);
        }
        Reason { rule: "NoProgress", text, moments }
    }

    /// All is committed at the leader, and a follower that has it does not learn so.
    fn commits_nothing(&self, known: &Known, leader: ServerId, term: Term, peer: ServerId) -> Reason {
        let commits = |server: ServerId| known.server(server).face.map_or(0, |face| face.commit_index);
        let said = self.said_committed.get(&(leader, peer)).copied().unwrap_or_default();
        let text = format!(
            "{leader} leads term {term} and has committed all of its log, up to index {}; {peer} has all of it, and commits \
             up to {}; the last AppendEntries to it said that {said} is committed ({})",
            commits(leader),
            commits(peer),
            if said < commits(leader) { "its sender's leaderCommit" } else { "AppendEntries.5" }
        );
        let moments = self.sent.get(&(leader, peer)).map(|(_, when)| *when).into_iter().collect();
        Reason { rule: "NoProgress", text, moments }
    }

    /// All is committed, and everybody has it.
    fn nothing_to_do(&self, leader: ServerId, term: Term, end: Index) -> Reason {
        let grown = self.grown.get(&leader).map(|(_, when)| *when);
        let since = grown.map_or("never".to_owned(), |when| format!("last at {}", at(when)));
        let text = format!(
            "{leader} leads term {term}, and all have its whole log, up to index {end}, which is committed; the log \
             grew {since}: nobody has given it a command since"
        );
        Reason { rule: "NoProgress", text, moments: grown.into_iter().collect() }
    }
}

impl Rebuffs {
    fn words(&self, peer: ServerId) -> String {
        let Self { times, first: (since, first), last: (until, last), .. } = self;
        let (once, until) = match times {
            1 => ("1 time".to_owned(), String::new()),
            times => (format!("{times} times"), format!(", the last at {}", at(*until))),
        };
        let prev = if first == last {
            format!("each with {} of term {} before the new entries", last.index, last.term)
        } else {
            format!(
                "with {} of term {} before the new entries, at last {} of term {}",
                first.index, first.term, last.index, last.term
            )
        };
        format!("{peer} refused it {once} since {}{until}, {prev} (Leaders.3)", at(*since))
    }
}

impl Neglect {
    fn words(&self, now: Duration) -> String {
        let Self { leader, term, peer, since, until, waits } = self;
        let until =
            if *until < now { format!("up to {}, when {peer} stood", at(*until)) } else { "up to now".to_owned() };
        let waits = waits.map_or(String::new(), |(whom, when)| {
            format!(
                ", and none to anybody since that to {whom} at {}, of which it has no answer: is it waiting for that?",
                at(when)
            )
        });
        format!("{leader}, which led term {term}, sent {peer} no heartbeat from {} {until}{waits}", at(*since))
    }
}

/// One leader after the other.
fn terms_climb(led: &[(Term, Duration, ServerId)], leader: Option<(ServerId, Term)>) -> Reason {
    let (first, last) = (led[0], led[led.len() - 1]);
    let now = leader.map_or("nobody leads now".to_owned(), |(server, term)| format!("{server} leads term {term} now"));
    let text = format!(
        "terms climb: from term {} at {} to term {} at {} {} leaders were elected, and deposed; {now}",
        first.0,
        at(first.1),
        last.0,
        at(last.1),
        led.len()
    );
    Reason { rule: "NoProgress", text, moments: vec![first.1, last.1] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, S2, Says, Scene, append, id, stand, view, vote, yes};
    use raft::{AppendEntriesArgs, AppendEntriesReply, RequestVoteReply};

    /// A run's messages, a second apart.
    struct Run {
        scene: Scene,
        liveness: Liveness,
    }

    impl Run {
        fn new() -> Self {
            Self { scene: Scene::new(3), liveness: Liveness::default() }
        }

        fn says(&mut self, call: u64, from: ServerId, to: ServerId, leaves: bool, said: Said<'_>) {
            self.scene.moment += Duration::from_secs(1);
            let wire = self.scene.wire(call, from, to, leaves, said);
            self.scene.known.hear(&wire);
            self.liveness.hear(&self.scene.known, &wire);
        }

        fn stands(&mut self, server: ServerId, term: Term) {
            self.says(term, server, S2, true, Said::RequestVote(&stand(term, server, id(1, 1))));
        }

        fn leads(&mut self, server: ServerId, term: Term) {
            self.says(term, server, S1, true, Said::AppendEntries(&append(term, server, id(1, 1), &[])));
        }

        fn why(&self) -> (&'static str, String) {
            let now = self.scene.moment;
            let reason = self.liveness.why(&self.scene.known, Duration::ZERO, now, &[S0, S1, S2]);
            (reason.rule, reason.text)
        }
    }

    fn begins(run: &Run, rule: &str, text: &str) {
        let (found, words) = run.why();
        assert!(found == rule && words.starts_with(text), "{found}: {words}");
    }

    #[test]
    fn nobody_stands_or_nobody_wins_2a() {
        let mut run = Run::new();
        begins(&run, "NoLeader", "nobody leads, and nobody has ever stood");
        (1..=3).for_each(|term| [S0, S1].into_iter().for_each(|server| run.stands(server, term)));
        begins(
            &run,
            "NoLeader",
            "6 candidacies in 3 terms since 1.003s, and nobody won: in 3 of the terms several stood",
        );
        let mut run = Run::new();
        for term in 1..=3 {
            run.stands(S0, term);
            run.says(term, S2, S0, true, Said::Vote(&RequestVoteReply { term, granted: false }));
        }
        let (rule, text) = run.why();
        assert_eq!(rule, "NoLeader");
        let since = run.scene.moment + Duration::from_millis(1);
        run.stands(S0, 3);
        let reason = run.liveness.why(&run.scene.known, since, run.scene.moment, &[S0, S1, S2]);
        let still = "S0 asks for votes still, at 7.003s in term 3; each election has a term of its own (Candidates.1)";
        assert!(reason.text.ends_with(still), "{}", reason.text);
        let refused = "S2 (last entry 0 of term 0) refused S0 (last entry 0 of term 0) 3 times, whose log is at least as up to date";
        assert!(text.contains(refused), "{text}");
    }

    #[test]
    fn a_candidate_has_its_votes_and_does_not_lead_2a() {
        let told = |servers: u32, voters: &[ServerId], shows: Term| {
            let mut run = Run::new();
            run.scene = Scene::new(servers);
            run.stands(S0, 1);
            run.scene.publish(&View { role: RoleName::Candidate, ..view(S0, shows, &[]) });
            for voter in voters {
                run.says(1, *voter, S0, false, Said::Vote(&vote(1)));
            }
            let (rule, text) = run.why();
            assert_eq!(rule, "NoLeader");
            text
        };
        let all = told(3, &[S1, S2], 1);
        assert!(
            all.contains("S0 was given 3 of 3 votes in term 1, its own included, and does not lead: 2 are a majority"),
            "{all}"
        );
        assert!(told(3, &[S1], 1).contains("S0 was given 2 of 3 votes"));
        assert!(told(3, &[], 1).contains("no vote has reached a candidate"));
        assert!(told(3, &[S1, S2], 2).contains("no vote has reached"), "they came when it stood in another term");
        assert!(told(5, &[S1, S1], 1).contains("none was refused, and a candidate has 2 of 5 at the most"));
    }

    #[test]
    fn a_leader_is_not_heard_or_commits_nothing_2b() {
        let mut run = Run::new();
        run.scene.publish(&view(S0, 1, &[1, 1]).leads());
        run.leads(S0, 1);
        begins(&run, "NoProgress", "S0 leads term 1, and nobody's answer reaches it: never");
        run.says(1, S1, S0, false, Said::Appended(&yes(1)));
        begins(
            &run,
            "NoProgress",
            "S0 leads term 1 and is answered, but commits nothing, and never was: its log ends at 2",
        );
        run.scene.confirm(S0, S1, 1, id(1, 2));
        assert!(run.why().1.contains("; a majority has 2, which is of its term (Leaders.4)"), "{}", run.why().1);
        run.scene.publish(&view(S0, 1, &[0, 0]).leads());
        assert!(!run.why().1.contains("Leaders.4"), "they are of another term: {}", run.why().1);
        run.scene.publish(&view(S1, 1, &[1, 1]).commits(2).applied(1));
        begins(&run, "Stuck", "S1 knows that index 2 is committed, and its service was told of nothing after 1");
    }

    #[test]
    fn a_follower_that_is_never_taught_is_told_of_2b() {
        let mut run = Run::new();
        run.scene.publish(&view(S0, 1, &[1, 1]).leads().commits(2).applied(2));
        run.liveness.observe(run.scene.moment, &view(S0, 1, &[1, 1]));
        run.scene.confirm(S0, S1, 1, id(1, 2));
        run.leads(S0, 1);
        run.says(1, S1, S0, false, Said::Appended(&yes(1)));
        let begin = "S0 leads term 1 and has committed all of its log, up to index 2; S2 does not get all of it";
        begins(&run, "NoProgress", begin);
        let no = AppendEntriesReply { term: 1, success: false, retry_at: 1 };
        let mut asks = |call: u64, term: Term, prev: Index, answer: &AppendEntriesReply| {
            run.says(call, S0, S2, true, Said::AppendEntries(&append(term, S0, id(1, prev), &[])));
            run.says(call, S2, S0, false, Said::Appended(answer));
            run.why().1
        };
        let told = asks(2, 1, 2, &no);
        assert!(
            told.contains(
                "; S2 refused it 1 time since 4.004s, each with 2 of term 1 before the new entries (Leaders.3)"
            ),
            "{told}"
        );
        let told = asks(3, 1, 1, &no);
        let end = "; S2 refused it 2 times since 4.004s, the last at 6.004s, with 2 of term 1 before the new entries, at last 1 of term 1 (Leaders.3)";
        assert!(told.contains(end), "{told}");
        // An answer to a request of another term, or in one, says nothing of this log.
        assert_eq!(asks(4, 1, 1, &AppendEntriesReply { term: 2, ..no }).split("refused").count(), 2);
        let old = AppendEntriesReply { term: 0, ..no };
        assert!(asks(5, 0, 1, &old).contains("S2 refused it 2 times"), "late, and of an earlier term");
        assert!(!asks(6, 1, 0, &yes(1)).contains("refused"), "it has taken something");
        asks(7, 1, 1, &no);
        run.liveness.begin_life(S0);
        assert!(!run.why().1.contains("refused"), "{}", run.why().1);
    }

    #[test]
    fn a_leader_that_nobody_asks_is_not_to_blame_3a() {
        let mut run = Run::new();
        for log in [&[1][..], &[1, 1], &[1, 1]] {
            let view = view(S0, 1, log).leads().commits(2).applied(2);
            run.scene.publish(&view);
            run.liveness.observe(run.scene.moment, &view);
            run.scene.moment += Duration::from_secs(1);
        }
        run.leads(S0, 1);
        [S1, S2].into_iter().for_each(|peer| run.scene.confirm(S0, peer, 1, id(1, 2)));
        run.says(1, S1, S0, false, Said::Appended(&yes(1)));
        let behind = run.why().1;
        let told = "S1 has all of it, and commits up to 0; the last AppendEntries to it said that 0 is committed (its sender's leaderCommit)";
        assert!(behind.contains(told), "{behind}");
        let heartbeat = AppendEntriesArgs { leader_commit: 2, ..append(1, S0, id(1, 2), &[]) };
        run.says(2, S0, S1, true, Said::AppendEntries(&heartbeat));
        assert!(run.why().1.contains("said that 2 is committed (AppendEntries.5)"), "{}", run.why().1);
        [S1, S2].into_iter().for_each(|peer| drop(run.scene.publish(&view(peer, 1, &[1, 1]).commits(2).applied(2))));
        let (rule, text) = run.why();
        assert_eq!(rule, "NoProgress");
        let told = "S0 leads term 1, and all have its whole log, up to index 2, which is committed; the log grew last at 1.005s: nobody has given it a command since";
        assert!(text.starts_with(told), "{text}");
    }

    #[test]
    fn what_is_applied_was_told_2b() {
        let mut run = Run::new();
        run.scene.publish(&view(S1, 1, &[1, 1]).commits(2).applied(2));
        let reason = |told: &[Index]| Liveness::untold(&run.scene.known, &[S0, S1], told);
        assert_eq!(reason(&[0, 2, 0]), None);
        let reason = reason(&[0, 1, 0]).expect("index 2 was passed over");
        assert_eq!(reason.rule, "AllServers.1");
        assert!(reason.text.ends_with("up to index 2, and its service was told of nothing after 1"), "{}", reason.text);
    }

    /// The commonest design of beginners: one thread that calls the peers in turn.
    #[test]
    fn a_leader_that_waits_for_one_and_forgets_the_others_is_told_2a() {
        let mut run = Run::new();
        run.scene.publish(&view(S0, 1, &[1]).leads());
        let heartbeat = append(1, S0, id(1, 1), &[]);
        run.says(1, S0, S1, true, Said::AppendEntries(&heartbeat));
        run.says(1, S1, S0, false, Said::Appended(&yes(1)));
        run.says(2, S0, S2, true, Said::AppendEntries(&heartbeat));
        run.scene.moment += Duration::from_secs(1);
        let told = "; S0, which led term 1, sent S1 no heartbeat from 1.004s up to now, and none to anybody since that to \
                    S2 at 3.004s, of which it has no answer: is it waiting for that?";
        let (_, text) = run.why();
        assert!(text.ends_with(told), "{text}");
        // It stands for that, and afterwards it is still told.
        run.stands(S1, 2);
        run.says(2, S2, S0, false, Said::Appended(&yes(1)));
        run.says(3, S0, S1, true, Said::AppendEntries(&heartbeat));
        run.says(3, S1, S0, false, Said::Appended(&yes(1)));
        run.says(4, S0, S2, true, Said::AppendEntries(&heartbeat));
        let told = "; S0, which led term 1, sent S1 no heartbeat from 1.004s up to 5.004s, when S1 stood";
        let (_, text) = run.why();
        assert!(text.contains(told), "{text}");
        run.scene.moment += Duration::from_secs(1);
        // What it asked in a former life it waits for no more.
        run.liveness.begin_life(S0);
        let (_, text) = run.why();
        assert!(!text.contains("no answer") && text.contains("no heartbeat"), "{text}");
        // Nor is one that leads no more to be blamed.
        run.scene.publish(&view(S0, 2, &[1]));
        run.stands(S2, 3);
        let (_, text) = run.why();
        assert!(!text.contains("when S2 stood"), "{text}");
    }

    #[test]
    fn leaders_come_and_go_2b() {
        let mut run = Run::new();
        run.leads(S0, 1);
        begins(&run, "NoProgress", "S0 came to lead term 1 at 1.003s, and leads no more");
        (2..=4).for_each(|term| run.leads(S1, term));
        begins(&run, "NoProgress", "terms climb: from term 1 at 1.003s to term 4 at 4.003s 4 leaders were elected");
    }
}
