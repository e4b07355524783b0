//! What is committed, and by what right: Leaders.4, AppendEntries.5, and
//! Figure3.StateMachineSafety as soon as it is lost (§5.3, §5.4.2, Figure 8).
//!
//! The first server that shows an index as committed must lead, with an entry of its
//! own term there or after it that a majority has confirmed to it in that term. All
//! others must have the same entry when they follow. So a wrong commit is named when
//! it is made, and not when somebody has applied something else.
//!
//! Boundary: one table of what is committed. What may still become of it is in
//! `electable.rs` and `durable.rs`.

use std::time::Duration;

use raft::{EntryId, Index, PeerProgress, RoleName, ServerId, Shown, Term, View};

use super::asked::Asked;
use super::at;
use super::known::{Face, Known, Step};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// What was committed first at each index.
#[derive(Debug, Default)]
pub struct Committed {
    /// By index, from 1 on.
    first: Vec<Commit>,
}

/// Who committed an entry first.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// The entry.
    pub entry: Shown,
    /// Who.
    pub by: ServerId,
    /// In which term.
    pub in_term: Term,
    /// When.
    pub at: Duration,
}

impl Committed {
    /// The highest index that anybody has committed.
    pub fn highest(&self) -> Index {
        self.first.len() as Index
    }

    /// Who committed that index first, if anybody has.
    pub fn at(&self, index: Index) -> Option<&Commit> {
        self.first.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// The last one that was committed in a term before `term`, with its index.
    pub fn last_before(&self, term: Term) -> Option<(Index, &Commit)> {
        // Nearly always the last: a term's leader commits after those before it.
        let slot = self.first.iter().rposition(|commit| commit.in_term < term)?;
        Some((slot as Index + 1, &self.first[slot]))
    }

    /// Takes notice of a message. Returns what a leader would show that says more in it than
    /// it has shown, and the indexes that it is the first to commit so: a thread that was
    /// started in a critical section may speak before that is over.
    ///
    /// # Errors
    ///
    /// If it had no right to commit them.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) -> Result<Option<(View, Index, Index)>, Broken> {
        let Said::AppendEntries(args) = wire.said else { return Ok(None) };
        let server = known.server(wire.from);
        let is_more = |face: &Face| face.term == args.term && args.leader_commit > face.commit_index;
        if !wire.leaves || !server.face.as_ref().is_some_and(is_more) {
            return Ok(None); // Nearly always.
        }
        let Some(view) = known.leader_commits(wire.from, args.leader_commit) else { return Ok(None) };
        let judged = self.commit(known, &view, wire.at).map_err(|broken| {
            let message = format!("{}; it says so to {}, and has not shown it yet", broken.message, wire.to);
            Broken { message, ..broken }
        });
        Ok(judged?.map(|(first, last)| (view, first, last)))
    }

    /// Takes notice of a view. Returns the indexes that it is the first to commit.
    ///
    /// # Errors
    ///
    /// If it had no right to commit them, or has another entry where one is committed.
    pub fn observe(&mut self, known: &Known, step: &Step, view: &View) -> Result<Option<(Index, Index)>, Broken> {
        // A life begins with its snapshot, which was committed in another.
        let from = step.before.map_or(view.base.index, |before| before.commit_index);
        if view.commit_index <= from {
            return Ok(None);
        }
        let server = known.server(view.server);
        let moment = server.face.map_or(Duration::ZERO, |face| face.at);
        for index in from + 1..=view.commit_index.min(self.highest()) {
            let (Some(own), Some(first)) = (server.log.at(index), self.at(index)) else { continue };
            if own != first.entry {
                return Err(differs(moment, known, view, index, own, first));
            }
        }
        self.commit(known, view, moment)
    }

    /// What `view` commits that nobody had committed before.
    fn commit(&mut self, known: &Known, view: &View, moment: Duration) -> Result<Option<(Index, Index)>, Broken> {
        let new = self.highest() + 1;
        if new > view.commit_index {
            return Ok(None);
        }
        judge_right(moment, known, view)?;
        let server = known.server(view.server);
        for index in new..=view.commit_index {
            let Some(entry) = server.log.at(index) else {
                // Only in a snapshot: nobody has shown what was there.
                let entry = Shown { term: 0, digest: 0 };
                self.first.push(Commit { entry, by: view.server, in_term: view.term, at: moment });
                continue;
            };
            self.first.push(Commit { entry, by: view.server, in_term: view.term, at: moment });
        }
        Ok(Some((new, view.commit_index)))
    }
}

fn differs(moment: Duration, known: &Known, view: &View, index: Index, own: Shown, first: &Commit) -> Broken {
    let message = format!(
        "{} commits index {index} with an entry of term {} at {}; {} committed one of term {} there at {}",
        view.server,
        own.term,
        at(moment),
        first.by,
        first.entry.term,
        at(first.at)
    );
    if own.term == first.entry.term {
        let message = message + ": another command, though index and term are the same";
        return Broken::new(Kind::Safety, "Figure3.LogMatching", message).since([first.at, moment]);
    }
    if view.role == RoleName::Leader {
        return Broken::new(Kind::Safety, "Figure3.StateMachineSafety", message).since([first.at, moment]);
    }
    let (rule, why) = why_a_follower(known, view);
    Broken::new(Kind::Safety, rule, message + &why).since([first.at, moment])
}

/// Which rule a follower breaks that commits what it should not: the narrowest that the
/// message which it is answering speaks of.
fn why_a_follower(known: &Known, view: &View) -> (&'static str, String) {
    for open in known.server(view.server).open.iter().rev() {
        let Asked::Append { term, prev, last } = open.asked else { continue };
        if term != view.term {
            continue;
        }
        if open.had_prev.is_none() {
            let why = format!(
                "; the AppendEntries that it is answering comes after entry {} of term {}, which it does not have",
                prev.index, prev.term
            );
            return ("AppendEntries.2", why);
        }
        if open.had_last.is_none() {
            let why = format!(
                "; the AppendEntries that it is answering ends with entry {} of term {}, which it does not have",
                last.index, last.term
            );
            return ("AppendEntries.3", why);
        }
    }
    ("AppendEntries.5", String::new())
}

/// Whether `view` may be the first to show its commit index.
fn judge_right(moment: Duration, known: &Known, view: &View) -> Result<(), Broken> {
    let (me, server, index) = (view.server, known.server(view.server), view.commit_index);
    if !known.has_heard() && known.count() > 1 {
        return Ok(()); // Its messages are none that anybody could read.
    }
    if view.role != RoleName::Leader {
        let message =
            format!("{me} commits index {index} at {} as a follower, and no leader has committed it", at(moment));
        return Err(Broken::new(Kind::Safety, "AppendEntries.5", message).since([moment]));
    }
    let peers = known.servers().map(|(peer, _)| peer).filter(|peer| *peer != me);
    let mut confirmed: Vec<(Index, ServerId)> = peers.map(|peer| (server.confirmed(view.term, peer), peer)).collect();
    confirmed.sort_unstable_by(|a, b| b.cmp(a));
    let needed = known.majority() - 1;
    // With itself, a majority has the log up to here.
    let majority = if needed == 0 { server.log.last().index } else { confirmed[needed - 1].0 };
    if majority < index {
        return Err(without_majority(moment, known, view, &confirmed));
    }
    let majority = majority.min(server.log.last().index);
    let term_there = server.log.term_at(majority).unwrap_or_default();
    if term_there != view.term {
        let message = format!(
            "{me} leads term {} and commits index {index} at {}; the last entry that a majority has confirmed to it is \
             {majority}, of term {term_there}",
            view.term,
            at(moment)
        );
        return Err(Broken::new(Kind::Safety, "Leaders.4", message).since([moment]));
    }
    // Its own copy counts if it is on its disk, and nobody needs it if the others are enough.
    let own = EntryId { term: server.log.term_at(index).unwrap_or_default(), index };
    let others = confirmed.iter().filter(|(stored, _)| *stored >= index).count();
    if others < known.majority() && !server.has_on_disk(own) {
        let message = format!(
            "{me} commits index {index} at {}: {others} of the others have confirmed it, so it counts itself; but its \
             own entry {index} is not on its disk: nothing was synced since it was appended",
            at(moment)
        );
        let kind = Kind::PromisedBeforePersisted;
        return Err(Broken::new(kind, "PersistedBeforePromised", message).since([moment]));
    }
    Ok(())
}

fn without_majority(moment: Duration, known: &Known, view: &View, confirmed: &[(Index, ServerId)]) -> Broken {
    let (me, index, term) = (view.server, view.commit_index, view.term);
    let list: Vec<String> = confirmed.iter().map(|(stored, peer)| format!("{peer} {stored}")).collect();
    let facts = format!(
        "{me} leads term {term} and commits index {index} at {}; it takes {} servers, and in this term the others have \
         confirmed: {}",
        at(moment),
        known.majority(),
        list.join(", ")
    );
    // What would make a majority of it, if it counted?
    let count = |counts: &dyn Fn(&PeerProgress) -> bool| {
        1 + view.progress.iter().filter(|progress| progress.server != me && counts(progress)).count()
    };
    let is_confirmed = |progress: &PeerProgress| known.server(me).confirmed(term, progress.server) >= index;
    let otherwise = |progress: &PeerProgress| {
        let other = known.server(me).confirmed_otherwise(term, progress.server);
        is_confirmed(progress) || progress.matched >= index && other.is_some_and(|(_, other)| other >= index)
    };
    let by_guess = |progress: &PeerProgress| is_confirmed(progress) || progress.next > index;
    let (rule, why) = if count(&otherwise) >= known.majority() {
        ("StaleReply", "; with what they confirmed in another term it would be a majority")
    } else if count(&by_guess) >= known.majority() {
        ("Leaders.3", "; a majority is reached only if next index, a guess, counts as match index")
    } else {
        ("Leaders.4", "")
    };
    Broken::new(Kind::Safety, rule, facts + why).since([moment])
}

#[cfg(test)]
mod tests {
    use raft::AppendEntriesArgs;

    use super::*;
    use crate::watch::testing::{S0, S1, S2, Says, Scene, append, id, view};

    /// S0 leads term 2 among three, with entries of terms 1, 2, 2 on its disk, of which
    /// `saved` are there, and S1 has confirmed `confirmed`.
    fn scene(saved: usize, confirmed: Index) -> Scene {
        let log = [1, 2, 2];
        let mut scene = Scene::new(3);
        scene.save(&view(S0, 2, &log[..saved]).leads());
        scene.publish(&view(S0, 2, &log).leads());
        scene.confirm(S0, S1, 2, id(2, confirmed));
        scene
    }

    fn judged(scene: &mut Scene, committed: &mut Committed, after: &View) -> Result<(), (&'static str, String)> {
        let step = scene.publish(after);
        let judged = committed.observe(&scene.known, &step, after);
        judged.map(|_| ()).map_err(|broken| (broken.rule.unwrap(), broken.message))
    }

    fn rule(scene: &mut Scene, after: &View) -> Option<&'static str> {
        judged(scene, &mut Committed::default(), after).err().map(|(rule, _)| rule)
    }

    #[test]
    fn a_leader_commits_what_a_majority_has_of_its_own_term_2b() {
        let leads = view(S0, 2, &[1, 2, 2]).leads();
        assert_eq!(rule(&mut scene(3, 3), &leads.clone().commits(3)), None);
        assert_eq!(rule(&mut scene(3, 2), &leads.clone().commits(1)), None, "an old one, through a newer one");
        assert_eq!(rule(&mut scene(3, 2), &leads.clone().commits(3)), Some("Leaders.4"), "no majority has it");
        assert_eq!(rule(&mut scene(3, 1), &leads.clone().commits(1)), Some("Leaders.4"), "it is of an old term");
        assert_eq!(rule(&mut scene(2, 3), &leads.clone().commits(3)), Some("PersistedBeforePromised"));
        let mut others_have_it = scene(2, 3);
        others_have_it.confirm(S0, S2, 2, id(2, 3));
        assert_eq!(rule(&mut others_have_it, &leads.commits(3)), None, "nobody needs its own");
    }

    #[test]
    fn what_a_leader_has_counted_is_named_2b() {
        let mut scene = scene(3, 0);
        scene.confirm(S0, S2, 1, id(1, 3)); // Of a term that is over.
        let leads = view(S0, 2, &[1, 2, 2]).leads().commits(3);
        assert_eq!(rule(&mut scene, &leads.clone().believes(&[(S1, 0), (S2, 3)])), Some("StaleReply"));
        let mut guess = leads.clone().believes(&[(S1, 0), (S2, 0)]);
        guess.progress[0].next = 4;
        assert_eq!(rule(&mut self::scene(3, 0), &guess), Some("Leaders.3"));
        assert_eq!(rule(&mut self::scene(3, 0), &leads), Some("Leaders.4"));
    }

    #[test]
    fn a_follower_commits_what_a_leader_has_2b() {
        let mut committed = Committed::default();
        let mut scene = scene(3, 3);
        let leads = view(S0, 2, &[1, 2, 2]).leads();
        let follows = |log: &[Term], index| view(S1, 2, log).commits(index);
        let early = judged(&mut scene, &mut committed, &follows(&[1, 2, 2], 1)).unwrap_err();
        assert_eq!(early.0, "AppendEntries.5", "{}", early.1);

        judged(&mut scene, &mut committed, &leads.commits(3)).unwrap();
        assert_eq!((committed.highest(), committed.at(3).unwrap().by), (3, S0));
        assert_eq!(committed.last_before(3).map(|(index, _)| index), Some(3));
        assert!(committed.last_before(2).is_none());
        scene.known.begin_life(S1);
        scene.publish(&view(S1, 2, &[1, 2, 2]));
        judged(&mut scene, &mut committed, &follows(&[1, 2, 2], 3)).unwrap();
        scene.known.begin_life(S1);
        let mut another = view(S1, 2, &[1, 2, 2]);
        another.changed[1].digest = 77;
        scene.publish(&another);
        let other = judged(&mut scene, &mut committed, &View { commit_index: 3, ..another }).unwrap_err();
        assert_eq!(other.0, "Figure3.LogMatching", "{}", other.1);
        scene.known.begin_life(S1);
        scene.publish(&view(S1, 2, &[1, 1, 1]));
        let other = judged(&mut scene, &mut committed, &follows(&[1, 1, 1], 3)).unwrap_err();
        assert_eq!(other.0, "AppendEntries.5", "{}", other.1);
        assert!(other.1.starts_with("S1 commits index 2 with an entry of term 1"), "{}", other.1);
    }

    /// A thread that the leader has started with its lock held may tell a follower of a
    /// commit before the leader shows it.
    #[test]
    fn what_a_leader_says_it_commits_is_judged_as_if_shown_2b() {
        for (confirmed, expected) in [(3, None), (1, Some("Leaders.4"))] {
            let (mut scene, mut committed) = (scene(3, confirmed), Committed::default());
            let says = AppendEntriesArgs { leader_commit: 3, ..append(2, S0, id(2, 3), &[]) };
            let wire = |leaves| scene.wire(9, S0, S1, leaves, Said::AppendEntries(&says));
            assert!(committed.hear(&scene.known, &wire(false)).unwrap().is_none(), "it has arrived before it left");
            let judged = committed.hear(&scene.known, &wire(true));
            assert_eq!(judged.as_ref().err().and_then(|broken| broken.rule), expected);
            let says = |broken: &Broken| broken.message.ends_with("; it says so to S1, and has not shown it yet");
            assert!(judged.as_ref().err().is_none_or(says), "{judged:?}");
            if let Ok(heard) = judged {
                let (shown, first, last) = heard.expect("it is news");
                assert_eq!((shown.server, first, last), (S0, 1, 3));
                let follows = view(S1, 2, &[1, 2, 2]).commits(3);
                self::judged(&mut scene, &mut committed, &follows).unwrap();
                assert_eq!(committed.at(3).map(|commit| commit.by), Some(S0));
            }
        }
    }

    /// The narrower rule: it does not even have the entry before.
    #[test]
    fn a_follower_that_has_not_what_it_is_sent_is_told_so_2b() {
        let mut committed = Committed::default();
        let mut scene = scene(3, 3);
        judged(&mut scene, &mut committed, &view(S0, 2, &[1, 2, 2]).leads().commits(3)).unwrap();
        for (prev, terms, rule) in [(id(2, 3), &[][..], "AppendEntries.2"), (id(1, 1), &[2, 2], "AppendEntries.3")] {
            scene.known.begin_life(S1);
            scene.publish(&view(S1, 2, &[1, 1, 1]));
            scene.ask(S0, S1, Said::AppendEntries(&append(2, S0, prev, terms)));
            let broken = judged(&mut scene, &mut committed, &view(S1, 2, &[1, 1, 1]).commits(3)).unwrap_err();
            assert_eq!(broken.0, rule, "{}", broken.1);
        }
    }
}
