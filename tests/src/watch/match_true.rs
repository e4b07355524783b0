//! Leaders.3 and StaleReply (§5.3): a leader's match index for a server is no more than
//! that server has confirmed to it, in this term. Monotone (Figure 2, matchIndex): nor does
//! it fall while the leader leads.
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
    let leads_on = step.before.is_some_and(|face| face.role == RoleName::Leader && face.term == view.term);
    for PeerProgress { server: peer, matched, .. } in &view.progress {
        if *peer == view.server || (peer.0 as usize) >= known.count() {
            continue;
        }
        let before = step.progress_before.iter().find(|before| before.server == *peer && leads_on);
        if let Some(before) = before.filter(|before| *matched < before.matched) {
            let (me, term, was) = (view.server, view.term, before.matched);
            let message = format!(
                "{me}'s match index for {peer} goes back from {was} to {matched} in term {term} at {}",
                at(moment)
            );
            return Err(Broken::new(Kind::Safety, "Monotone", message).since([moment]));
        }
        let confirmed = server.confirmed(view.term, *peer);
        if *matched <= confirmed {
            continue;
        }
        let elsewhere = server.confirmed_otherwise(view.term, *peer).filter(|(_, index)| *index >= *matched);
        let facts = format!(
            "{} leads term {}, and its match index for {peer} is {matched} at {}",
            view.server,
            view.term,
            at(moment)
        );
        let (rule, why) = match elsewhere {
            _ if !leads_on => ("Leaders.3", "it was elected just now, so it is 0 for everybody".to_owned()),
            Some((term, index)) if server.last_answer(*peer).is_some_and(|(asked, _)| asked == term) => (
                "StaleReply",
                format!("{peer} has confirmed {confirmed} in this term; it confirmed {index} in term {term}"),
            ),
            _ => {
                let refused = server.last_answer(*peer).is_some_and(|(asked, yes)| asked == view.term && !yes);
                let refused = if refused { "; its last answer was a refusal" } else { "" };
                ("Leaders.3", format!("{peer} has confirmed {confirmed} to it in this term, and no more{refused}"))
            }
        };
        return Err(Broken::new(Kind::Safety, rule, format!("{facts}; {why}")).since([moment]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S0, S1, S2, Says, Scene, append, id, no, view};
    use crate::watch::wire::Said;

    /// S0 led term 1, where S1 has confirmed 2, and leads term 3, where S2 has confirmed
    /// 3. It believes that.
    fn judged(matched: &[(raft::ServerId, u64)], had_led: bool) -> Option<&'static str> {
        let mut scene = Scene::new(3);
        scene.publish(&view(S0, 1, &[1, 1]).leads());
        scene.confirm(S0, S1, 1, id(1, 2));
        if had_led {
            scene.publish(&view(S0, 3, &[1, 1, 3]).leads());
        }
        scene.confirm(S0, S2, 3, id(3, 3));
        let after = view(S0, 3, &[1, 1, 3]).leads().believes(matched);
        let step = scene.publish(&after);
        observe(&scene.known, &step, &after, scene.moment).err().and_then(|broken| broken.rule)
    }

    #[test]
    fn what_is_known_to_be_stored_stays_so_2b() {
        let mut scene = Scene::new(3);
        let leads = |term, matched| view(S0, term, &[1, 1]).leads().believes(&[(S1, matched)]);
        scene.confirm(S0, S1, 1, id(1, 2));
        for (view, rule) in
            [(leads(1, 2), None), (leads(1, 2), None), (leads(1, 1), Some("Monotone")), (leads(3, 0), None)]
        {
            let step = scene.publish(&view);
            let broken = observe(&scene.known, &step, &view, scene.moment).err();
            assert_eq!(broken.and_then(|broken| broken.rule), rule, "{view:?}");
            scene.confirm(S0, S1, 1, id(1, 2));
        }
    }

    #[test]
    fn what_a_refusal_has_moved_is_no_late_answer_2b() {
        let mut scene = Scene::new(3);
        scene.publish(&view(S0, 1, &[1, 1]).leads());
        scene.confirm(S0, S1, 1, id(1, 2));
        scene.publish(&view(S0, 3, &[1, 1, 3]).leads());
        let call = scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, id(1, 2), &[])));
        scene.answer(call, S1, S0, Said::Appended(&no(3)));
        let after = view(S0, 3, &[1, 1, 3]).leads().believes(&[(S1, 2)]);
        let step = scene.publish(&after);
        let broken = observe(&scene.known, &step, &after, scene.moment).unwrap_err();
        assert_eq!(broken.rule, Some("Leaders.3"));
        assert!(broken.message.ends_with("and no more; its last answer was a refusal"), "{}", broken.message);
    }

    #[test]
    fn a_leader_believes_what_it_was_told_in_its_term_2b() {
        assert_eq!(judged(&[(S1, 0), (S2, 3)], true), None);
        assert_eq!(judged(&[(S1, 0), (S2, 2)], true), None, "less is fine");
        assert_eq!(judged(&[(S1, 0), (S2, 4)], true), Some("Leaders.3"));
        assert_eq!(judged(&[(S1, 2), (S2, 0)], true), Some("StaleReply"));
        assert_eq!(judged(&[(S1, 2), (S2, 0)], false), Some("Leaders.3"), "it begins with nothing");
    }
}
