//! What may change in a log, and by what right: AppendEntries.3 and .4, Leaders.2,
//! InstallSnapshot.1, .6 and .7, SnapshotMatches, and Figure3.LeaderAppendOnly (§5.3, §7).
//!
//! Entries give way to a leader's where the two differ, and nowhere else. What is new is
//! from a leader, or its own. A leader's own log only ever grows. What a snapshot does not cover stays, if the log had the
//! entry that it ends with; and goes, if it had another one there.
//!
//! Boundary: one view against the one before.

use std::time::Duration;

use raft::{EntryId, Index, RoleName, ServerId, Shown, Term, View};

use super::asked::{Asked, Open};
use super::at;
use super::known::{Face, Known, Step};
use crate::check::{Broken, Kind};

/// Takes notice of a view.
///
/// # Errors
///
/// If entries are gone that nobody had the right to remove.
pub(super) fn observe(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    let (Some((first, removed)), Some(before)) = (&step.removed, step.before) else { return Ok(()) };
    let (me, first, last) = (view.server, *first, *first + removed.len() as Index - 1);
    let gone = |rule, why: String| {
        let message = format!("{me} loses its entries {first} to {last} at {}: {why}", at(moment));
        Err(Broken::new(Kind::Safety, rule, message).since([moment]))
    };
    let stood = before.role != RoleName::Follower && view.term == before.term;
    if view.role == RoleName::Leader && stood {
        return gone("Figure3.LeaderAppendOnly", format!("it leads term {}", view.term));
    }
    if !known.has_heard() || sent(known, me).any(|open| allows(open, view.term, first, removed)) {
        return Ok(());
    }
    let is_installed = view.base.index > step.base_before.index;
    if is_installed {
        // The snapshot ends before what is gone. Was its last entry here?
        return if view.base.index + 1 == first && !was_here(known, me, view) {
            Ok(())
        } else {
            gone("InstallSnapshot.6", format!("the log had entry {}, with which the snapshot ends", view.base.index))
        };
    }
    let open = known.server(me).open.iter().rfind(|open| matches!(open.asked, Asked::Append { .. }));
    let why = match open.map(|open| (open.asked, open.terms.len())) {
        Some((Asked::Append { term, prev, .. }, count)) => format!(
            "the AppendEntries of term {term} that it is answering (prev {}, {count} entries) conflicts with none of them",
            prev.index
        ),
        _ => "it is answering no AppendEntries".to_owned(),
    };
    gone("AppendEntries.3", why)
}

/// Takes notice of a view, too: of what is new in its log.
///
/// # Errors
///
/// If nobody has sent that, and it was not the server's to add.
pub(super) fn adds(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    // Of messages that nobody can read, some may have brought it; but none of term 0.
    let can_tell = known.has_heard() || view.changed.iter().any(|entry| entry.term == 0);
    let Some(before) = step.before.filter(|_| !view.changed.is_empty() && can_tell) else { return Ok(()) };
    let me = view.server;
    let leads = |role, term, entry: &Shown| role == RoleName::Leader && entry.term == term;
    let is_explained = |(index, entry): &(Index, &Shown)| {
        let was_here = step.removed.as_ref().is_some_and(|(first, removed)| {
            let slot = index.checked_sub(*first).and_then(|slot| usize::try_from(slot).ok());
            slot.and_then(|slot| removed.get(slot)) == Some(entry)
        });
        was_here
            || leads(view.role, view.term, entry)
            || leads(before.role, before.term, entry)
            || sent(known, me).any(|open| open.brings(EntryId { term: entry.term, index: *index }))
    };
    let Some((index, entry)) = (view.changed_from..).zip(&view.changed).find(|entry| !is_explained(entry)) else {
        return Ok(());
    };
    let message =
        format!("{me} has a new entry {index} of term {} at {}, in term {}; ", entry.term, at(moment), view.term);
    let of_leader =
        |open: &&Open| matches!(open.asked, Asked::Append { term, .. } if term == view.term) && !open.terms.is_empty();
    let (rule, why) = match (view.role, known.server(me).open.iter().rfind(of_leader)) {
        (RoleName::Leader, _) => ("Leaders.2", "it leads, and what a leader adds is of its own term".to_owned()),
        (_, Some(open)) => {
            let first = open.brought().next().map_or(0, |id| id.index);
            let last = first + open.terms.len() as Index - 1;
            (
                "AppendEntries.4",
                format!("the AppendEntries that it is answering brings {first} to {last}, and not that"),
            )
        }
        _ if entry.term == view.term => ("Leaders.2", "only the leader of the term adds what clients send".to_owned()),
        _ => ("AppendEntries.4", "no AppendEntries that it is answering brings that".to_owned()),
    };
    Err(Broken::new(Kind::Safety, rule, message + &why).since([moment]))
}

/// What a server is answering, and what it has refused lately and may have kept.
fn sent(known: &Known, me: ServerId) -> impl Iterator<Item = &Open> {
    let server = known.server(me);
    server.open.iter().chain(&server.refused)
}

/// Takes notice of a view, before all others here: of its snapshot.
///
/// # Errors
///
/// If it ends with another entry than the log had there, and nobody has sent it that one.
pub(super) fn snapshot(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    let me = view.server;
    is_of_its_term(known, step, view, moment)?;
    let Some(was) = conflict_at_base(step, view) else { return Ok(()) };
    if !known.has_heard() || known.server(me).snapshots.contains(&view.base) {
        return Ok(());
    }
    let message = format!(
        "{me}'s snapshot ends with entry {} of term {} at {}; the entry there was of term {was}, and nobody has sent it \
         that snapshot",
        view.base.index,
        view.base.term,
        at(moment)
    );
    Err(Broken::new(Kind::Safety, "SnapshotMatches", message).since([moment]))
}

/// InstallSnapshot.1: what a leader of a term that was over has sent is not taken over.
fn is_of_its_term(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    let is_new = |face: &Face| step.base_before.index < view.base.index && face.commit_index < view.base.index;
    if step.before.filter(is_new).is_none() {
        return Ok(());
    }
    let brings = |open: &&Open| matches!(open.asked, Asked::Install { last, .. } if last == view.base);
    let newest = known.server(view.server).open.iter().filter(brings).max_by_key(|open| open.asked.term());
    // It was in that term already when the newest of them came.
    let Some(old) = newest.filter(|open| open.asked.term() < open.term_before) else { return Ok(()) };
    let message = format!(
        "{} takes the snapshot up to entry {} over at {}, which a leader of term {} has sent; its own term is {}",
        view.server,
        view.base.index,
        at(moment),
        old.asked.term(),
        old.term_before
    );
    Err(Broken::new(Kind::Safety, "InstallSnapshot.1", message).since([old.since, moment]))
}

/// The term that the log had where a new snapshot ends with an entry of another one.
fn conflict_at_base(step: &Step, view: &View) -> Option<Term> {
    let is_moved = step.before.is_some() && view.base.index > step.base_before.index;
    step.was_at_base.filter(|was| is_moved && *was != view.base.term)
}

/// Takes notice of a view, too.
///
/// # Errors
///
/// If entries are left that follow one in whose place a snapshot has another.
pub(super) fn keeps(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    let me = view.server;
    let (first, last) = (view.base.index + 1, step.kept_to.min(view.last.index));
    let Some(was) = conflict_at_base(step, view).filter(|_| first <= last) else { return Ok(()) };
    // A leader may have sent the very same, in the same critical section.
    let brings = |open: &Open| match open.asked {
        Asked::Append { prev, last: brought, .. } => prev.index < first && last <= brought.index,
        _ => false,
    };
    if known.server(me).open.iter().any(brings) {
        return Ok(());
    }
    let message = format!(
        "{me} keeps its entries {first} to {last} at {}: its snapshot ends with entry {} of term {}, and they followed \
         one of term {was}",
        at(moment),
        view.base.index,
        view.base.term
    );
    Err(Broken::new(Kind::Safety, "InstallSnapshot.7", message).since([moment]))
}

/// True if `open` conflicts with an entry at `first` or before, so that all from there
/// on may go.
fn allows(open: &Open, term: u64, first: Index, removed: &[Shown]) -> bool {
    match open.asked {
        Asked::Append { term: asked, prev, .. } if asked == term => {
            // Those before `first` are still there: a conflict with one of them is none.
            let at = |index: Index| index.checked_sub(first).and_then(|slot| removed.get(usize::try_from(slot).ok()?));
            let conflicts = |(index, term): (Index, u64)| at(index).is_some_and(|entry| entry.term != term);
            let sent = (prev.index..).zip(std::iter::once(prev.term).chain(open.terms.iter().copied()));
            // What is gone begins at the conflict.
            sent.filter(|(index, _)| *index <= first).any(conflicts)
        }
        Asked::Install { term: asked, last } => {
            asked == term && last.index >= first && {
                let at = last.index.checked_sub(first).and_then(|slot| removed.get(usize::try_from(slot).ok()?));
                at.is_none_or(|entry| entry.term != last.term)
            }
        }
        _ => false,
    }
}

/// True if the log had the entry that the new snapshot ends with, as far as is known.
fn was_here(known: &Known, me: ServerId, view: &View) -> bool {
    known.server(me).open.iter().any(|open| {
        matches!(open.asked, Asked::Install { last, .. } if last == view.base && open.had_last.is_some_and(|had| had < known.server(me).views))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, Says, Scene, append, id, install, no, view};
    use crate::watch::wire::Said;
    use raft::EntryId;

    /// S1 has entries of terms 1, 1, 2, 2, is asked `said` by S0, and then shows `after`.
    fn judged(said: Said<'_>, after: &View) -> Option<&'static str> {
        let mut scene = Scene::new(2);
        scene.publish(&view(S1, 2, &[1, 1, 2, 2]));
        scene.ask(S0, S1, said);
        let step = scene.publish(after);
        observe(&scene.known, &step, after, scene.moment).err().and_then(|broken| broken.rule)
    }

    #[test]
    fn a_conflict_goes_with_all_after_it_and_nothing_else_2b() {
        let conflict = append(3, S0, id(1, 2), &[3]);
        assert_eq!(judged(Said::AppendEntries(&conflict), &view(S1, 3, &[1, 1, 3])), None);
        let at_prev = append(3, S0, id(3, 3), &[]);
        assert_eq!(judged(Said::AppendEntries(&at_prev), &view(S1, 3, &[1, 1])), None, "prev conflicts already");
        let late = append(3, S0, id(1, 1), &[1]);
        assert_eq!(judged(Said::AppendEntries(&late), &view(S1, 3, &[1, 1])), Some("AppendEntries.3"));
        let stale = append(2, S0, id(1, 2), &[3]);
        assert_eq!(
            judged(Said::AppendEntries(&stale), &view(S1, 3, &[1, 1])),
            Some("AppendEntries.3"),
            "of another term"
        );
        assert_eq!(
            judged(Said::AppendEntries(&conflict), &view(S1, 3, &[1])),
            Some("AppendEntries.3"),
            "more than that"
        );
    }

    #[test]
    fn a_leader_only_appends_2b() {
        let mut scene = Scene::new(2);
        scene.publish(&view(S0, 2, &[1, 2, 2]).leads());
        for (term, log, rule) in
            [(2, &[1, 2, 2, 2][..], None), (2, &[1, 2], Some("Figure3.LeaderAppendOnly")), (4, &[1], None)]
        {
            let after = view(S0, term, log).leads();
            let step = scene.publish(&after);
            let broken = observe(&scene.known, &step, &after, scene.moment).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule);
        }
        // Nor does it begin with less than it stood with.
        let mut scene = Scene::new(2);
        scene.publish(&View { role: RoleName::Candidate, ..view(S0, 2, &[1, 1]) });
        let after = view(S0, 2, &[1]).leads();
        let step = scene.publish(&after);
        let broken = observe(&scene.known, &step, &after, scene.moment).unwrap_err();
        assert_eq!(broken.rule, Some("Figure3.LeaderAppendOnly"));
    }

    #[test]
    fn what_follows_a_snapshot_that_fits_stays_2d() {
        let fits = install(3, S0, id(1, 2));
        let whole = view(S1, 3, &[1, 1, 2, 2]);
        assert_eq!(judged(Said::InstallSnapshot(&fits), &whole.clone().with_snapshot(id(1, 2))), None);
        let nothing_left = view(S1, 3, &[1, 1]).with_snapshot(id(1, 2));
        assert_eq!(judged(Said::InstallSnapshot(&fits), &nothing_left), Some("InstallSnapshot.6"));
        let cut_first = view(S1, 3, &[]);
        assert_eq!(judged(Said::InstallSnapshot(&fits), &cut_first), Some("AppendEntries.3"));
        assert_eq!(judged(Said::InstallSnapshot(&install(3, S0, id(3, 3))), &cut_first), None, "then the snapshot");
        let another = install(3, S0, id(3, 3));
        let nothing_left = view(S1, 3, &[1, 1, 3]).with_snapshot(id(3, 3));
        assert_eq!(judged(Said::InstallSnapshot(&another), &nothing_left), None, "it had another entry there");
    }

    #[test]
    fn a_snapshot_of_a_term_that_is_over_is_not_taken_2d() {
        let takes = |sent: &[u64], was_committed: bool| {
            let mut scene = Scene::new(2);
            let before = view(S1, 3, &[1, 1]).commits(if was_committed { 2 } else { 1 });
            scene.publish(&before);
            for term in sent {
                scene.ask(S0, S1, Said::InstallSnapshot(&install(*term, S0, id(1, 2))));
            }
            let after = before.with_snapshot(id(1, 2)).commits(2);
            let step = scene.publish(&after);
            snapshot(&scene.known, &step, &after, scene.moment).err().and_then(|broken| broken.rule)
        };
        assert_eq!((takes(&[3], false), takes(&[2], true), takes(&[2, 3], false)), (None, None, None));
        assert_eq!(takes(&[2], false), Some("InstallSnapshot.1"));
    }

    /// S1 has entries of terms 1, 1, 2, 4, is perhaps sent some, and then has a snapshot
    /// and these terms.
    #[test]
    fn what_follows_a_snapshot_that_does_not_fit_goes_2d() {
        type Sent = Option<(EntryId, &'static [u64])>;
        let (as_before, another) = ([1, 1, 2, 4], Some("InstallSnapshot.7"));
        let rows: [(Sent, EntryId, &[u64], Option<&str>); 9] = [
            (None, id(1, 2), &as_before, None),
            (None, id(2, 3), &as_before, None),
            (None, id(3, 3), &as_before, another),
            (None, id(3, 3), &[1, 1, 3], None),                   // Nothing is left.
            (None, id(3, 3), &[1, 1, 3, 5], None),                // Something else is there.
            (Some((id(3, 3), &[4])), id(3, 3), &as_before, None), // A leader has sent the same.
            (Some((id(2, 2), &[3, 4])), id(3, 3), &as_before, None),
            (Some((id(3, 3), &[])), id(3, 3), &as_before, another), // It has sent nothing.
            (Some((id(4, 4), &[])), id(3, 3), &as_before, another),
        ];
        let judged = |sent: Sent, installs, base, log| {
            let mut scene = Scene::new(2);
            scene.publish(&view(S1, 5, &as_before));
            scene.ask(S0, S1, Said::InstallSnapshot(&install(5, S0, installs)));
            if let Some((prev, terms)) = sent {
                scene.ask(S0, S1, Said::AppendEntries(&append(5, S0, prev, terms)));
            }
            let after = view(S1, 5, log).with_snapshot(base);
            let step = scene.publish(&after);
            let judged = snapshot(&scene.known, &step, &after, scene.moment);
            judged.and_then(|()| keeps(&scene.known, &step, &after, scene.moment)).err().and_then(|broken| broken.rule)
        };
        for (sent, base, log, rule) in rows {
            assert_eq!(judged(sent, base, base, log), rule, "{sent:?}, then {log:?} after {base:?}");
        }
        // Nobody has sent it that one.
        assert_eq!(judged(None, id(4, 4), id(0, 3), &as_before), Some("SnapshotMatches"), "its term is forgotten");
        assert_eq!(judged(None, id(4, 4), id(0, 4), &as_before), Some("SnapshotMatches"), "and nothing is left");
        assert_eq!(judged(None, id(4, 4), id(2, 3), &as_before), None, "its own");
    }

    /// S1 has entries of terms 1, 1, is perhaps sent one, and then shows another log.
    #[test]
    fn what_is_new_was_sent_or_is_a_leaders_own_2b() {
        let follows = |term, log: &[u64]| view(S1, term, log);
        let rows = [
            (Some((id(1, 2), [3])), follows(2, &[1, 1]), follows(3, &[1, 1, 3]), None),
            (Some((id(1, 2), [3])), follows(2, &[1, 1]), follows(4, &[1, 1, 3]), None), // A later term has come.
            (Some((id(1, 2), [2])), follows(2, &[1, 1]), follows(3, &[1, 1, 3]), Some("AppendEntries.4")),
            (Some((id(1, 1), [2])), follows(2, &[1, 1]), follows(3, &[1, 1, 2]), Some("AppendEntries.4")), // At another place.
            (Some((id(1, 1), [1])), follows(2, &[1, 1]), follows(3, &[1, 1]), None),
            (None, follows(3, &[1, 1]), follows(3, &[1, 1, 3]), Some("Leaders.2")),
            (None, follows(3, &[1, 1]).leads(), follows(3, &[1, 1, 3]).leads(), None),
            (None, follows(3, &[1, 1]).leads(), follows(4, &[1, 1, 3]), None), // Deposed at once.
            (None, follows(3, &[1, 1]).leads(), follows(3, &[1, 1, 2]).leads(), Some("Leaders.2")),
        ];
        for (sent, before, after, rule) in rows {
            let mut scene = Scene::new(2);
            scene.publish(&before);
            let (prev, terms) = sent.map_or((id(0, 0), Vec::new()), |(prev, terms)| (prev, terms.to_vec()));
            scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, prev, &terms)));
            let step = scene.publish(&after);
            // As it is published: what has not changed is not in it.
            let after = View { changed_from: 3, changed: after.changed[2..].to_vec(), ..after };
            let broken = adds(&scene.known, &step, &after, scene.moment).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "{sent:?}, then {after:?} after {before:?}");
        }
        // What came before its turn, and was refused, may have been kept.
        for (term, rule) in [(3, None), (4, Some("AppendEntries.4"))] {
            let mut scene = Scene::new(2);
            scene.publish(&follows(3, &[1, 1]));
            let early = scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, id(3, 3), &[3])));
            scene.answer(early, S1, S0, Said::Appended(&no(3)));
            scene.publish(&follows(term, &[1, 1]));
            scene.ask(S0, S1, Said::AppendEntries(&append(term, S0, id(1, 2), &[3])));
            let after = follows(term, &[1, 1, 3, 3]);
            let step = scene.publish(&after);
            let after = View { changed_from: 3, changed: after.changed[2..].to_vec(), ..after };
            let broken = adds(&scene.known, &step, &after, scene.moment).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule);
        }
        for (term, rule) in [(0, Some("Leaders.2")), (1, None)] {
            let mut scene = Scene::new(2);
            scene.publish(&follows(term, &[]));
            let after = follows(term, &[term]);
            let step = scene.publish(&after);
            let broken = adds(&scene.known, &step, &after, scene.moment).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "it has sent and heard nothing");
        }
    }
}
