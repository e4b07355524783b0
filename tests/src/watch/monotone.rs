//! Monotone (Figure 2, State): within a life a server's term, commit index, applied
//! index and snapshot never go back. What they must be when a life begins is in
//! `persisted.rs`; what messages show of terms, in `terms.rs`.
//!
//! A server that goes back while it is told to install a snapshot of what it has
//! committed already is doing so: InstallSnapshot.5 (Figure 13), whose "smaller index"
//! is the one that is discarded.
//!
//! Boundary: one view against the one before.

use std::time::Duration;

use raft::View;

use super::asked::Asked;
use super::at;
use super::known::{Known, Step};
use crate::check::{Broken, Kind};

/// Takes notice of a view.
///
/// # Errors
///
/// If something in it has gone back.
pub(super) fn observe(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    let Some(before) = step.before else { return Ok(()) };
    let pairs = [
        ("current term", before.term, view.term),
        ("commit index", before.commit_index, view.commit_index),
        ("last applied index", before.last_applied, view.last_applied),
        ("snapshot's last index", step.base_before.index, view.base.index),
    ];
    for (what, was, is) in pairs {
        if is < was {
            let message = format!("{}'s {what} goes back from {was} to {is} at {}", view.server, at(moment));
            let known_already = before.commit_index.max(before.last_applied);
            let open = known.server(view.server).open.iter();
            let old = open.filter_map(|open| match open.asked {
                Asked::Install { last, .. } if last.index <= known_already => Some(last.index),
                _ => None,
            });
            let (rule, message) = match old.max() {
                Some(index) if what != "current term" => {
                    let why =
                        format!("it is installing a snapshot up to {index}, and knows {known_already} to be committed");
                    ("InstallSnapshot.5", format!("{message}: {why}"))
                }
                _ => ("Monotone", message),
            };
            return Err(Broken::new(Kind::Safety, rule, message).since([before.at, moment]));
        }
    }
    // What is in its snapshot was committed, whatever its commit index begins with.
    if view.last_applied > view.commit_index.max(view.base.index) {
        let message = format!(
            "{} has applied {} and committed {} at {}",
            view.server,
            view.last_applied,
            view.commit_index,
            at(moment)
        );
        return Err(Broken::new(Kind::Safety, "AllServers.1", message).since([moment]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, Says, Scene, id, install, view};
    use crate::watch::wire::Said;

    fn judged(asked: Option<u64>, before: &View, after: &View) -> Option<&'static str> {
        let mut scene = Scene::new(2);
        scene.publish(before);
        if let Some(index) = asked {
            scene.ask(S0, S1, Said::InstallSnapshot(&install(5, S0, id(1, index))));
        }
        let step = scene.publish(after);
        observe(&scene.known, &step, after, scene.moment).err().and_then(|broken| broken.rule)
    }

    #[test]
    fn nothing_goes_back_within_a_life_2b() {
        let now = view(S1, 5, &[1, 1, 1]).commits(3).applied(2);
        assert_eq!(judged(None, &now, &now), None);
        for (after, rule) in [
            (now.clone().in_term(4), "Monotone"),
            (now.clone().commits(2), "Monotone"),
            (now.clone().applied(1), "Monotone"),
            (now.clone().applied(4), "AllServers.1"),
        ] {
            assert_eq!(judged(None, &now, &after), Some(rule));
        }
    }

    #[test]
    fn a_snapshot_of_what_is_known_takes_nobody_back_2d() {
        let now = view(S1, 5, &[1, 1, 1, 1]).commits(4).applied(4);
        let back = now.clone().applied(2);
        assert_eq!(judged(Some(2), &now, &back), Some("InstallSnapshot.5"));
        assert_eq!(judged(Some(9), &now, &back), Some("Monotone"), "it is a newer one");
    }
}
