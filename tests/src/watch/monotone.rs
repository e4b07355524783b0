//! Monotone (Figure 2, State): within a life a server's term, commit index, applied
//! index and snapshot never go back. What they must be when a life begins is in
//! `persisted.rs`; what messages show of terms, in `terms.rs`.
//!
//! Boundary: one view against the one before.

use std::time::Duration;

use raft::View;

use super::at;
use super::known::Step;
use crate::check::{Broken, Kind};

/// Takes notice of a view.
///
/// # Errors
///
/// If something in it has gone back.
pub(super) fn observe(step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
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
            return Err(Broken::new(Kind::Safety, "Monotone", message).since([before.at, moment]));
        }
    }
    if view.last_applied > view.commit_index {
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
