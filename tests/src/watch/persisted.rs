//! PersistedBeforePromised (Figure 2: "updated on stable storage before responding to
//! RPCs"): what a message promises is on the sender's disk before it leaves.
//!
//! | what leaves | promises |
//! |---|---|
//! | anything, in a term | that term |
//! | a request for votes, a vote | that vote |
//! | a yes to an AppendEntries | the entries up to the last that it brought |
//! | an answer to an InstallSnapshot | the snapshot |
//!
//! Three judges. At once: if the server has changed since its disk was last synced, the
//! promise cannot be there; unless it has synced in a critical section that is not over. At a restart: each promise is noted, and the next life must
//! begin with it. And now and then the disk itself is asked, by starting a server from a
//! copy of it (`shadow.rs`): a state that is saved without one of its fields, or not
//! read again, breaks its promise before any crash.
//!
//! Boundary: promises and disks. What is promised wrongly is in `claims.rs`.

use std::time::Duration;

use raft::{EntryId, Index, ServerId, Shown, Term, View};

use super::asked::Asked;
use super::at;
use super::held::Log;
use super::known::{Known, Server};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// What every server has promised, in all its lives.
#[derive(Debug)]
pub struct Persisted {
    notes: Vec<Notes>,
}

/// A server's promises.
#[derive(Clone, Debug, Default)]
struct Notes {
    /// The highest term that it has spoken in, and when first.
    term: (Term, Duration),
    /// Its vote in that term.
    vote: Option<(ServerId, Duration)>,
    /// The last entry that it has confirmed, as long as no leader has had it removed.
    entry: Option<(EntryId, Duration)>,
    /// When it crashed it may have been cutting its log at a leader's word, or taking
    /// a snapshot over.
    was_asked: bool,
}

/// Something that a message says its sender will know for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// The term.
    Term(Term),
    /// The vote in a term.
    Vote(Term, ServerId),
    /// An entry, and all before it.
    Entry(EntryId),
    /// A snapshot that covers this entry, or a log that has it.
    Snapshot(EntryId),
}

impl Promise {
    /// What a message promises.
    pub fn of(known: &Known, wire: &Wire<'_>) -> Vec<Self> {
        let term = Self::Term(wire.term());
        let vote = || match known.vote(wire) {
            Some((asked, candidate)) => vec![term, Self::Vote(asked, candidate)],
            None => vec![term],
        };
        match wire.said {
            Said::RequestVote(_) => vote(),
            Said::Vote(_) => vote(),
            Said::Appended(reply) if reply.success => match known.asked(wire.call) {
                Some(Asked::Append { last, .. }) => vec![term, Self::Entry(last)],
                _ => vec![term],
            },
            Said::Installed(reply) => match known.asked(wire.call) {
                Some(Asked::Install { term: asked, last }) if asked == reply.term => vec![term, Self::Snapshot(last)],
                _ => vec![term],
            },
            _ => vec![term],
        }
    }

    /// Whom it is about, for a report.
    fn words(self) -> String {
        match self {
            Self::Term(term) => format!("that its term is {term}"),
            Self::Vote(term, candidate) => format!("its vote of term {term} to {candidate}"),
            Self::Entry(id) => format!("that it has entry {} of term {}", id.index, id.term),
            Self::Snapshot(id) => format!("that it has the snapshot up to entry {} of term {}", id.index, id.term),
        }
    }
}

/// What a server would know after a restart.
pub trait Restart {
    /// Its term.
    fn term(&self) -> Term;
    /// Its vote in that term.
    fn voted_for(&self) -> Option<ServerId>;
    /// Whether its log, or snapshot, has that entry.
    fn has(&self, id: EntryId) -> bool;
}

impl Restart for Server {
    fn term(&self) -> Term {
        self.disk.term
    }
    fn voted_for(&self) -> Option<ServerId> {
        self.disk.voted_for
    }
    fn has(&self, id: EntryId) -> bool {
        self.has_on_disk(id)
    }
}

/// What lacks of `promise` in what a restart would know, in words. None if it is kept.
pub(super) fn lacks(restart: &impl Restart, promise: Promise) -> Option<String> {
    let term = restart.term();
    let promises = || match restart.voted_for() {
        Some(other) => format!("term {term} and a vote for {other}"),
        None => format!("term {term} and no vote"),
    };
    match promise {
        Promise::Term(promised) if term < promised => Some(promises()),
        Promise::Vote(promised, candidate)
            if term < promised || term == promised && restart.voted_for() != Some(candidate) =>
        {
            Some(promises())
        }
        Promise::Entry(id) | Promise::Snapshot(id) if !restart.has(id) => {
            Some(format!("no entry {} of term {}", id.index, id.term))
        }
        _ => None,
    }
}

impl Persisted {
    /// For so many servers that have promised nothing yet.
    pub fn new(servers: usize) -> Self {
        Self { notes: vec![Notes::default(); servers] }
    }

    /// Takes notice of a message that leaves.
    ///
    /// # Errors
    ///
    /// If it promises what cannot be on its sender's disk.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
        if !wire.leaves {
            return Ok(());
        }
        let server = known.server(wire.from);
        for promise in Promise::of(known, wire) {
            // If it has synced since it showed itself last, what is on its disk is not known
            // here: this was sent before the critical section is over that saved it.
            if server.face.is_some()
                && !server.is_synced
                && !is_excused(known, wire, promise)
                && let Some(knows) = lacks(server, promise)
            {
                return Err(would_know(wire, promise, &knows, "nothing was synced since that changed"));
            }
            self.note(wire, promise);
        }
        Ok(())
    }

    fn note(&mut self, wire: &Wire<'_>, promise: Promise) {
        let notes = &mut self.notes[wire.from.0 as usize];
        match promise {
            Promise::Term(term) if term > notes.term.0 => {
                notes.term = (term, wire.at);
                notes.vote = None;
            }
            Promise::Vote(term, candidate) if term == notes.term.0 && notes.vote.is_none() => {
                notes.vote = Some((candidate, wire.at));
            }
            Promise::Entry(id) | Promise::Snapshot(id) if notes.entry.is_none_or(|(last, _)| id.index > last.index) => {
                notes.entry = (id.index > 0).then_some((id, wire.at));
            }
            _ => {}
        }
    }

    /// A server's log has lost its entries from `first` on.
    pub fn removed(&mut self, server: ServerId, first: Index, log: &Log) {
        let notes = &mut self.notes[server.0 as usize];
        if let Some((id, since)) = notes.entry.filter(|(id, _)| id.index >= first) {
            let index = first - 1;
            let shorter = log.term_at(index).filter(|_| index > 0).map(|term| (EntryId { term, index }, since));
            notes.entry = if index < id.index { shorter } else { notes.entry };
        }
    }

    /// A server's life is over.
    pub fn end_life(&mut self, known: &Known, server: ServerId) {
        let known = known.server(server);
        let notes = &mut self.notes[server.0 as usize];
        // A life that has shown nothing leaves what was known of the one before.
        let was_asked = notes.was_asked && known.face.is_none();
        notes.was_asked = was_asked || known.is_synced && is_told_what_to_store(known);
    }

    /// A server shows itself for the first time in its life, at the end of its first
    /// critical section: that may have been an answer to a leader, which cuts the log.
    /// What was known of its log in its last life is still in `known`.
    ///
    /// # Errors
    ///
    /// If it does not know what it has promised.
    pub fn begins(&mut self, known: &Known, view: &View, moment: Duration) -> Result<(), Broken> {
        let notes = &mut self.notes[view.server.0 as usize];
        let server = known.server(view.server);
        let knows = Begins { view };
        if notes.was_asked || is_told_what_to_store(server) {
            let kept = |(id, since)| Some((knows.shares(&server.log, id)?, since));
            notes.entry = notes.entry.and_then(kept);
        }
        let mut promises = vec![(Promise::Term(notes.term.0), notes.term.1)];
        promises.extend(notes.vote.map(|(candidate, since)| (Promise::Vote(notes.term.0, candidate), since)));
        promises.extend(notes.entry.map(|(id, since)| (Promise::Entry(id), since)));
        for (promise, since) in promises {
            if let Some(knows) = lacks(&knows, promise) {
                return Err(forgotten(view.server, moment, promise, since, &knows));
            }
        }
        let Some((id, since)) = notes.entry else { return Ok(()) };
        // Up to there it must be the very same log.
        let differs =
            |(index, entry): &(Index, Shown)| *index <= id.index && knows.at(*index).is_some_and(|now| now != *entry);
        if let Some((index, entry)) = server.log.entries().find(differs) {
            let promise = Promise::Entry(EntryId { term: entry.term, index });
            let now = knows.at(index).map_or(0, |now| now.term);
            let knows = format!("another one there, of term {now}");
            return Err(forgotten(view.server, moment, promise, since, &knows));
        }
        Ok(())
    }
}

/// It is at the request of a leader, who may have entries removed.
fn is_told_what_to_store(server: &Server) -> bool {
    server.open.iter().any(|open| !matches!(open.asked, Asked::Vote { .. }))
}

/// A life's first view, which has all of the log.
struct Begins<'a> {
    view: &'a View,
}

impl Begins<'_> {
    fn at(&self, index: Index) -> Option<Shown> {
        let slot = index.checked_sub(self.view.base.index + 1)?;
        self.view.changed.get(usize::try_from(slot).ok()?).copied()
    }

    /// The last entry, up to `id`, that it has as the log of its former life had it.
    fn shares(&self, former: &Log, id: EntryId) -> Option<EntryId> {
        if id.index <= former.base.index {
            return Some(id); // It is in a snapshot: no leader cuts that.
        }
        let has = |(index, entry): &(Index, Shown)| {
            *index <= id.index && (*index <= self.view.base.index || self.at(*index) == Some(*entry))
        };
        let last = former.entries().take_while(has).last();
        last.map(|(index, entry)| EntryId { term: entry.term, index })
            .or((former.base.index > 0).then_some(former.base))
    }
}

impl Restart for Begins<'_> {
    fn term(&self) -> Term {
        self.view.term
    }
    fn voted_for(&self) -> Option<ServerId> {
        self.view.voted_for
    }
    fn has(&self, id: EntryId) -> bool {
        id.index <= self.view.base.index || self.at(id.index).is_some_and(|entry| entry.term == id.term)
    }
}

/// What an answer says was true once while it was being made, and the disk is newer
/// than that: another leader has had it removed meanwhile, which harms nobody.
pub(super) fn is_excused(known: &Known, wire: &Wire<'_>, promise: Promise) -> bool {
    let server = known.server(wire.from);
    let Some(open) = known.open(wire.from, wire.call) else { return false };
    match promise {
        // If it never was, that is another rule's concern.
        Promise::Entry(id) => open.had_last.is_none_or(|view| view <= server.disk.view && !server.log.contains(id)),
        Promise::Snapshot(_) => open.was_committed, // It is ignored.
        Promise::Term(_) | Promise::Vote(..) => false,
    }
}

pub(super) fn would_know(wire: &Wire<'_>, promise: Promise, knows: &str, why: &str) -> Broken {
    let message = format!(
        "{} tells {} {} at {}; a restart of it would know {knows} ({why})",
        wire.from,
        wire.to,
        promise.words(),
        at(wire.at)
    );
    Broken::new(Kind::PromisedBeforePersisted, "PersistedBeforePromised", message).since([wire.at])
}

fn forgotten(server: ServerId, moment: Duration, promise: Promise, since: Duration, knows: &str) -> Broken {
    let message =
        format!("{server} said {} at {}; it restarts at {} and knows {knows}", promise.words(), at(since), at(moment));
    Broken::new(Kind::PromisedBeforePersisted, "PersistedBeforePromised", message).since([since, moment])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, Says, Scene, append, id, install, installed, stand, view, vote, yes};

    fn rule(judged: Result<(), Broken>) -> Option<&'static str> {
        judged.err().and_then(|broken| broken.rule)
    }

    /// S1 is asked, shows `after`, whose disk is synced or not, and answers.
    fn answers(asked: Said<'_>, after: &View, is_saved: bool, answered: Said<'_>) -> Option<&'static str> {
        let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
        scene.save(&view(S1, 1, &[1, 1]));
        let call = scene.ask(S0, S1, asked);
        if is_saved {
            scene.sync(S1); // In the critical section that the view ends.
        }
        scene.publish(after);
        rule(persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, answered)))
    }

    const BROKEN: Option<&str> = Some("PersistedBeforePromised");

    /// A thread that was started in a critical section may speak before that is over.
    #[test]
    fn what_is_synced_in_a_section_may_be_said_in_it_2c() {
        let ask = stand(2, S1, id(1, 2));
        for (is_saved, rule_then) in [(true, None), (false, BROKEN)] {
            let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
            scene.save(&view(S1, 1, &[1, 1]));
            if is_saved {
                scene.sync(S1);
            }
            let asks = scene.wire(1, S1, S0, true, Said::RequestVote(&ask));
            assert_eq!(rule(persisted.hear(&scene.known, &asks)), rule_then, "saved: {is_saved}");
            // When the section is over, it is known what was saved.
            scene.publish(&view(S1, 1, &[1, 1]).commits(1));
            assert_eq!(rule(persisted.hear(&scene.known, &asks)), BROKEN);
        }
    }

    /// A sync saves what was written: by one who writes first and shows it then, too.
    #[test]
    fn what_was_not_written_is_not_on_the_disk_2c() {
        #[derive(Clone, Copy)]
        enum Step {
            Writes,
            Syncs,
            /// It shows a log of so many entries, and a commit index.
            Shows(usize, Index),
        }
        use Step::{Shows, Syncs, Writes};
        let rows: [(&[Step], bool); 7] = [
            (&[Shows(1, 0), Writes, Syncs, Shows(2, 0)], true), // In the section that ends then.
            (&[Shows(1, 0), Writes, Syncs, Shows(2, 0), Shows(2, 1), Writes, Syncs], true),
            (&[Shows(1, 0), Shows(2, 0), Syncs], false),
            (&[Writes, Syncs, Shows(1, 0), Shows(1, 1), Shows(2, 1), Syncs], false),
            // The write is another's, whose critical section comes later.
            (&[Shows(1, 0), Writes, Syncs, Shows(1, 1), Shows(2, 1), Syncs], true),
            (&[Writes, Shows(1, 0), Shows(2, 0), Syncs], true),
            (&[Shows(1, 0), Shows(2, 0), Writes, Syncs], true),
        ];
        for (row, (steps, is_saved)) in rows.into_iter().enumerate() {
            let mut scene = Scene::new(2);
            for step in steps {
                match *step {
                    Writes => scene.known.written(S1),
                    Syncs => scene.known.synced(S1),
                    Shows(entries, commit) => drop(scene.publish(&view(S1, 1, &[1, 1][..entries]).commits(commit))),
                }
            }
            assert_eq!(scene.known.server(S1).has_on_disk(id(1, 2)), is_saved, "row {row}");
        }
    }

    /// Where nobody crashes, what is known need not be on a disk.
    #[test]
    fn without_disks_what_is_shown_is_kept_2a() {
        for is_volatile in [true, false] {
            let mut scene = Scene::new(2);
            if is_volatile {
                scene.known.without_disks();
            }
            scene.publish(&view(S1, 1, &[1]));
            scene.publish(&view(S1, 1, &[1, 1]));
            assert_eq!(scene.known.server(S1).has_on_disk(id(1, 2)), is_volatile);
        }
    }

    #[test]
    fn what_is_said_was_synced_before_2c() {
        let (ask, say) = (stand(2, S0, id(1, 2)), vote(2));
        let votes = |is_saved| {
            answers(Said::RequestVote(&ask), &view(S1, 2, &[1, 1]).votes_for(S0), is_saved, Said::Vote(&say))
        };
        assert_eq!((votes(true), votes(false)), (None, BROKEN));

        let (ask, say) = (append(1, S0, id(1, 2), &[1]), yes(1));
        let stores = |is_saved, log: &[u64]| {
            answers(Said::AppendEntries(&ask), &view(S1, 1, log), is_saved, Said::Appended(&say))
        };
        assert_eq!((stores(true, &[1, 1, 1]), stores(false, &[1, 1, 1])), (None, BROKEN));

        let (ask, say) = (install(1, S0, id(1, 9)), installed(1));
        let takes = |is_saved| {
            let after = view(S1, 1, &[]).with_snapshot(id(1, 9)).commits(9);
            answers(Said::InstallSnapshot(&ask), &after.commits(8), is_saved, Said::Installed(&say))
        };
        assert_eq!((takes(true), takes(false)), (None, BROKEN));
    }

    /// An entry is taken in, another leader has it removed, and then the first is
    /// answered: the disk is newer than what is said.
    #[test]
    fn a_disk_that_is_newer_than_an_answer_harms_nobody_2c() {
        let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
        scene.save(&view(S1, 1, &[1]));
        let call = scene.ask(S0, S1, Said::AppendEntries(&append(1, S0, id(1, 1), &[1])));
        scene.publish(&view(S1, 1, &[1, 1]));
        scene.save(&view(S1, 2, &[1]));
        let answer = yes(1);
        persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&answer))).unwrap();
    }

    /// What S1 has said in its first life, and with what it begins the next.
    fn restarts(next: &View) -> Option<&'static str> {
        let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
        scene.save(&view(S1, 4, &[1, 1]).votes_for(S0));
        let ask = stand(4, S0, id(1, 2));
        let call = scene.ask(S0, S1, Said::RequestVote(&ask));
        persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Vote(&vote(4)))).unwrap();
        let call = scene.ask(S0, S1, Said::AppendEntries(&append(4, S0, id(1, 2), &[])));
        persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&yes(4)))).unwrap();
        persisted.end_life(&scene.known, S1);
        scene.known.begin_life(S1);
        rule(persisted.begins(&scene.known, next, scene.moment))
    }

    #[test]
    fn what_was_said_is_known_in_the_next_life_2c() {
        let kept = view(S1, 4, &[1, 1]).votes_for(S0);
        assert_eq!(restarts(&kept), None);
        assert_eq!(restarts(&kept.clone().in_term(5)), None, "more may be there than was said");
        assert_eq!(restarts(&kept.clone().with_snapshot(id(1, 2))), None);
        assert_eq!(restarts(&kept.clone().in_term(3)), BROKEN);
        assert_eq!(restarts(&kept.votes_for(S1)), BROKEN);
        assert_eq!(restarts(&view(S1, 4, &[1, 1])), BROKEN, "the vote is forgotten");
        assert_eq!(restarts(&view(S1, 4, &[1]).votes_for(S0)), BROKEN);
        let mut shifted = view(S1, 4, &[1, 1]).votes_for(S0);
        shifted.changed[0].digest = 77;
        assert_eq!(restarts(&shifted), BROKEN, "another command of the same term");
    }

    /// Its threads start late, and the first thing that it does is to answer a leader.
    /// What is left is asked for again in the life after that.
    #[test]
    fn a_life_may_begin_with_a_leader_who_cuts_the_log_2c() {
        let begins = |is_told: bool, lives: &[&View]| {
            let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
            scene.save(&view(S1, 4, &[1, 1, 1]));
            let call = scene.ask(S0, S1, Said::AppendEntries(&append(4, S0, id(1, 3), &[])));
            persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&yes(4)))).unwrap();
            lives.iter().find_map(|first| {
                persisted.end_life(&scene.known, S1);
                scene.known.begin_life(S1);
                if is_told && scene.known.server(S1).log.last() == id(1, 3) {
                    scene.ask(S0, S1, Said::AppendEntries(&append(5, S0, id(1, 1), &[5])));
                }
                let broken = rule(persisted.begins(&scene.known, first, scene.moment));
                scene.known.take(scene.moment, first);
                broken
            })
        };
        let cut = view(S1, 5, &[1, 5]);
        assert_eq!((begins(true, &[&cut]), begins(false, &[&cut])), (None, BROKEN));
        assert_eq!(begins(true, &[&cut, &cut]), None, "the entry that was cut is not asked for");
        assert_eq!(begins(true, &[&cut, &view(S1, 5, &[])]), BROKEN, "the one before it is");
    }

    /// A leader's word was on the disk, and nobody has seen that.
    #[test]
    fn a_life_may_end_with_a_leader_who_cuts_the_log_2c() {
        let begins = |is_synced: bool, base: EntryId, lives: &[Option<&View>]| {
            let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
            scene.save(&view(S1, 4, &[1, 1, 1]).with_snapshot(base));
            let call = scene.ask(S0, S1, Said::AppendEntries(&append(4, S0, id(1, 3), &[])));
            persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&yes(4)))).unwrap();
            scene.ask(S0, S1, Said::AppendEntries(&append(5, S0, id(1, 1), &[5])));
            if is_synced {
                scene.sync(S1);
            }
            lives.iter().find_map(|first| {
                persisted.end_life(&scene.known, S1);
                scene.known.begin_life(S1);
                let broken = rule(persisted.begins(&scene.known, (*first)?, scene.moment));
                scene.known.take(scene.moment, (*first)?);
                broken
            })
        };
        let (cut, nothing) = (view(S1, 5, &[1, 5]), view(S1, 5, &[]));
        let none = id(0, 0);
        assert_eq!((begins(true, none, &[Some(&cut)]), begins(false, none, &[Some(&cut)])), (None, BROKEN));
        assert_eq!(begins(true, none, &[None, Some(&cut)]), None, "a life that has shown nothing");
        assert_eq!(begins(true, none, &[Some(&cut), Some(&nothing)]), BROKEN, "it was cut in the life before");
        let (base, cut) = (id(1, 1), cut.with_snapshot(id(1, 1)));
        assert_eq!(begins(true, base, &[Some(&cut), Some(&cut)]), None);
        assert_eq!(begins(true, base, &[Some(&cut), Some(&nothing)]), BROKEN, "a snapshot stays");
    }

    #[test]
    fn what_a_leader_had_removed_is_not_asked_for_2c() {
        let (mut scene, mut persisted) = (Scene::new(2), Persisted::new(2));
        scene.save(&view(S1, 1, &[1, 1]));
        let call = scene.ask(S0, S1, Said::AppendEntries(&append(1, S0, id(1, 2), &[])));
        persisted.hear(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&yes(1)))).unwrap();
        scene.save(&view(S1, 2, &[1]));
        persisted.removed(S1, 2, &scene.known.server(S1).log);
        persisted.end_life(&scene.known, S1);
        scene.known.begin_life(S1);
        persisted.begins(&scene.known, &view(S1, 2, &[1]), scene.moment).unwrap();
        let broken = persisted.begins(&scene.known, &view(S1, 2, &[]), scene.moment);
        assert_eq!(rule(broken), BROKEN, "the one before it is");
    }
}
