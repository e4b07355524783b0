//! Figure3.LeaderCompleteness, before it is lost (§5.4, Figure 8): when an entry is
//! committed, no server without it can be elected any more.
//!
//! Durable: a majority has it on disk. Electable: nobody who lacks it has a log that is
//! at least as up to date as those of a majority. Both are judged by what the disks may
//! hold, since that is what a crash of everybody would leave. A commit that is wrong
//! fails here at once, without the crash and the election that would show it.
//!
//! Boundary: asked once for each index, when it is first committed.

use std::time::Duration;

use raft::{EntryId, Index, ServerId, View};

use super::at;
use super::known::Known;
use crate::check::{Broken, Kind};

/// Takes notice of the first commit of an index, by whoever published `view`.
///
/// # Errors
///
/// If a crash of everybody and an election could take it back.
pub(super) fn observe(known: &Known, view: &View, index: Index, moment: Duration) -> Result<(), Broken> {
    // Who has published nothing may have anything.
    let is_silent = |server: &super::known::Server| server.views == 0 && server.disk.view == 0;
    if known.servers().any(|(_, server)| is_silent(server)) {
        return Ok(());
    }
    let Some(term) = known.server(view.server).log.term_at(index) else { return Ok(()) };
    let id = EntryId { term, index };
    let have: Vec<ServerId> =
        known.servers().filter(|(_, server)| server.has_on_disk(id)).map(|(name, _)| name).collect();
    let names = |of: &[ServerId]| of.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let what = format!("{} commits index {index}, an entry of term {term}, at {}", view.server, at(moment));
    if have.len() < known.majority() {
        let message = format!(
            "{what}; it is on {} of {} disks{}{}, and a majority is {}",
            have.len(),
            known.count(),
            if have.is_empty() { "" } else { ": " },
            names(&have),
            known.majority()
        );
        let kind = Kind::PromisedBeforePersisted;
        return Err(Broken::new(kind, "PersistedBeforePromised", message).since([moment]));
    }
    for (candidate, server) in known.servers().filter(|(name, _)| !have.contains(name)) {
        let last = server.last_on_disk();
        let voters: Vec<ServerId> =
            known.servers().filter(|(_, voter)| voter.last_on_disk() <= last).map(|(name, _)| name).collect();
        if voters.len() >= known.majority() {
            let message = format!(
                "{what}; {candidate} does not have it, and its last entry ({}, term {}) is at least as up to date as \
                 those of {}: they could elect it",
                last.index,
                last.term,
                names(&voters)
            );
            return Err(Broken::new(Kind::Safety, "Figure3.LeaderCompleteness", message).since([moment]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, S2, Says, Scene, view};
    use raft::Term;

    /// S0 commits index 2 in term 4, an entry of term 2; the disks of the others hold that.
    fn judged(others: [&[Term]; 2]) -> Option<&'static str> {
        let mut scene = Scene::new(3);
        scene.save(&view(S1, 3, others[0]));
        scene.save(&view(S2, 3, others[1]));
        let leads = view(S0, 4, &[1, 2]).leads().commits(2);
        scene.save(&leads);
        observe(&scene.known, &leads, 2, scene.moment).err().and_then(|broken| broken.rule)
    }

    /// Figure 8: (c), where the entry is on a majority and can still be replaced; and as
    /// it would be if the leader had first spread an entry of its own term.
    #[test]
    fn what_is_committed_nobody_may_replace_any_more_2c() {
        assert_eq!(judged([&[1, 2], &[1]]), None);
        assert_eq!(judged([&[1, 2], &[1, 3]]), Some("Figure3.LeaderCompleteness"));
        assert_eq!(judged([&[1], &[1]]), Some("PersistedBeforePromised"));
    }
}
