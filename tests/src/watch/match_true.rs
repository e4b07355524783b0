//! Leaders.3 and StaleReply (§5.3): a leader's match index for a server is no more than
//! that server has confirmed to it, in this term.
//!
//! It finds a leader that believes too much before it commits by it: one whose indexes
//! are left from an earlier term, one that takes an answer for one to another question,
//! one that takes its guess for knowledge.
//!
//! Boundary: what a leader believes, against what it was told.

use std::time::Duration;

use raft::{PeerProgress, RoleName, View};

use super::at;
use super::known::{Known, Step};
use crate::check::{Broken, Kind};

/// Takes notice of a view.
///
/// # Errors
///
/// If it is of a leader that believes more than it was told.
pub(super) fn observe(known: &Known, step: &Step, view: &View, moment: Duration) -> Result<(), Broken> {
    if view.role != RoleName::Leader || !known.has_heard() {
        return Ok(());
    }
    let server = known.server(view.server);
    for PeerProgress { server: peer, matched, .. } in &view.progress {
        if *peer == view.server || (peer.0 as usize) >= known.count() {
            continue;
        }
        let confirmed = server.confirmed(view.term, *peer);
        if *matched <= confirmed {
            continue;
        }
        let has_just_won = step.before.is_none_or(|face| face.role != RoleName::Leader || face.term != view.term);
        let elsewhere = server.confirmed_otherwise(view.term, *peer).filter(|(_, index)| *index >= *matched);
        let facts = format!(
            "{} leads term {}, and its match index for {peer} is {matched} at {}",
            view.server,
            view.term,
            at(moment)
        );
        let (rule, why) = match elsewhere {
            _ if has_just_won => ("Leaders.3", "it was elected just now, so it is 0 for everybody".to_owned()),
            Some((term, index)) => (
                "StaleReply",
                format!("{peer} has confirmed {confirmed} in this term; it confirmed {index} in term {term}"),
            ),
            None => ("Leaders.3", format!("{peer} has confirmed {confirmed} to it in this term, and no more")),
        };
        return Err(Broken::new(Kind::Safety, rule, format!("{facts}; {why}")).since([moment]));
    }
    Ok(())
}
