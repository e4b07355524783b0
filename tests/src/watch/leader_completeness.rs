//! Figure3.LeaderCompleteness (§5.4): what is committed in a term is in the log of every
//! leader of a later one.
//!
//! Boundary: looks once at each leader, when it shows itself as one.

use std::time::Duration;

use raft::{EntryId, RoleName, View};

use super::at;
use super::committed::Committed;
use super::known::{Known, Step};
use crate::check::{Broken, Kind};

/// Takes notice of a view.
///
/// # Errors
///
/// If it is of a new leader that lacks what is committed.
pub(super) fn observe(
    known: &Known,
    committed: &Committed,
    step: &Step,
    view: &View,
    moment: Duration,
) -> Result<(), Broken> {
    let led_before = step.before.is_some_and(|face| face.role == RoleName::Leader && face.term == view.term);
    if view.role != RoleName::Leader || led_before {
        return Ok(());
    }
    let Some((index, commit)) = committed.last_before(view.term) else { return Ok(()) };
    let log = &known.server(view.server).log;
    let id = EntryId { term: commit.entry.term, index };
    if log.contains(id) || commit.entry.term == 0 {
        return Ok(());
    }
    let has = match log.term_at(index) {
        Some(term) => format!("has an entry of term {term} there"),
        None => format!("has a log that ends at {}", log.last().index),
    };
    let message = format!(
        "{} leads term {} at {} and {has}; {} committed index {index}, an entry of term {}, in term {} at {}",
        view.server,
        view.term,
        at(moment),
        commit.by,
        commit.entry.term,
        commit.in_term,
        at(commit.at)
    );
    Err(Broken::new(Kind::Safety, "Figure3.LeaderCompleteness", message).since([commit.at, moment]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, Says, Scene, id, view};

    #[test]
    fn a_new_leader_has_what_was_committed_before_its_term_2b() {
        for (term, log, rule) in [
            (3, &[1, 2][..], None),
            (3, &[1, 2, 3], None),
            (3, &[1], Some("Figure3.LeaderCompleteness")),
            (3, &[1, 1, 1], Some("Figure3.LeaderCompleteness")),
            (2, &[1], None), // Of the very term in which it was committed: nobody said so.
        ] {
            let (mut scene, mut committed) = (Scene::new(3), Committed::default());
            scene.save(&view(S0, 2, &[1, 2]).leads());
            scene.confirm(S0, S1, 2, id(2, 2));
            let commits = view(S0, 2, &[1, 2]).leads().commits(2);
            let step = scene.publish(&commits);
            committed.observe(&scene.known, &step, &commits).unwrap();

            let after = view(S1, term, log).leads();
            let step = scene.publish(&after);
            let judged = observe(&scene.known, &committed, &step, &after, scene.moment);
            assert_eq!(judged.err().and_then(|broken| broken.rule), rule, "term {term}, {log:?}");
        }
    }
}
