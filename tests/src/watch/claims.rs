//! What a message claims: Candidates.1, Candidates.3, Leaders.1 (§5.2), RequestVote.1,
//! AppendEntries.1 (§5.1), RequestVote.2, AppendEntries.2 to .4 (§5.3, §5.4.1).
//!
//! Whoever asks for votes stands in that term, and whoever sends entries leads it. It may not
//! do so any more when the message leaves; but it did when the message was made. And whoever
//! answers the leader of its term is no candidate in it.
//!
//! Whoever gives a vote, or says yes to an AppendEntries, was in the term of the question
//! at some moment. A vote is of the term that it was asked for in, and the answer may leave in
//! a later one.
//!
//! What a candidate says of its log, and what a leader sends, is in its own log.
//!
//! Whoever gives a vote says that the candidate's log is at least as up to date as its
//! own. Whoever says yes to an AppendEntries says that it has the entry before the new
//! ones, and now those: each of them, and not another one in its place. That must have been
//! true at some moment between the question and the answer.
//!
//! Boundary: messages of servers that publish what they are, and what their log is like.

use raft::{EntryId, RoleName};

use super::asked::Asked;
use super::at;
use super::known::{Face, Known};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// Takes notice of a message: of what its sender is.
///
/// # Errors
///
/// If it speaks as what it never was, or is still what it may not be.
pub(super) fn roles(known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
    let (me, term, server) = (wire.from, wire.term(), known.server(wire.from));
    let Some(face) = server.face.filter(|_| wire.leaves) else { return Ok(()) };
    let (was, rule, does) = match wire.said {
        Said::RequestVote(_) => (&server.stood, "Candidates.1", "asks for votes in"),
        Said::AppendEntries(_) | Said::InstallSnapshot(_) => (&server.led, "Leaders.1", "speaks as the leader of"),
        Said::Appended(_) | Said::Installed(_) => {
            let asked = known.asked(wire.call).map(|asked| asked.term());
            if asked == Some(term) && (face.role, face.term) == (RoleName::Candidate, term) {
                let message = format!(
                    "{me} answers {}, which leads term {term}, at {}, and is a candidate of that term still",
                    wire.to,
                    at(wire.at)
                );
                return Err(Broken::new(Kind::Safety, "Candidates.3", message).since([face.at, wire.at]));
            }
            return Ok(());
        }
        Said::Vote(_) => return Ok(()),
    };
    // A thread that was started in a critical section may send before that is over, and
    // shown. It cannot be one in which the server comes to be what it is past.
    let is_past = face.term > term || face.term == term && face.role == RoleName::Follower;
    if !is_past || was.contains(&term) {
        return Ok(());
    }
    let vote = face.voted_for.map_or("no vote given".to_owned(), |candidate| format!("its vote given to {candidate}"));
    let message = format!(
        "{me} {does} term {term} at {}, and never was what it speaks as: it is in term {}, {vote}; was the message \
         made when the lock had been open?",
        at(wire.at),
        face.term
    );
    Err(Broken::new(Kind::Safety, rule, message).since([face.at, wire.at]))
}

/// Takes notice of a message: of what its sender says of its own log.
///
/// # Errors
///
/// If it is not like that. Only that is judged which it is by what its sender shows now.
pub(super) fn own_log(known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
    let (me, to, term, server) = (wire.from, wire.to, wire.term(), known.server(wire.from));
    let is_present = |face: &Face| face.term == term && wire.leaves;
    let Some(face) = server.face.filter(is_present) else { return Ok(()) };
    let differs = |id: &EntryId| server.log.term_at(id.index).is_some_and(|own| own != id.term);
    let (rule, does, id) = match (wire.said, face.role) {
        (Said::RequestVote(args), RoleName::Candidate) if args.last != server.log.last() => {
            let (own, said) = (server.log.last(), args.last);
            let message = format!(
                "{me} asks {to} for its vote in term {term} at {}, and says that its last entry is {} of term {}; it is {} of \
                 term {}",
                at(wire.at),
                said.index,
                said.term,
                own.index,
                own.term
            );
            return Err(Broken::new(Kind::Safety, "Candidates.1", message).since([face.at, wire.at]));
        }
        (Said::AppendEntries(args), RoleName::Leader) => {
            let new = (args.prev.index + 1..).zip(&args.entries);
            let new = new.map(|(index, entry)| EntryId { term: entry.term, index });
            let Some(id) = std::iter::once(args.prev).chain(new).find(differs) else { return Ok(()) };
            ("Leaders.3", "sends", id)
        }
        (Said::InstallSnapshot(args), RoleName::Leader) if differs(&args.last_included) => {
            ("SnapshotMatches", "sends a snapshot up to", args.last_included)
        }
        _ => return Ok(()),
    };
    let own = server.log.term_at(id.index).unwrap_or_default();
    let message = format!(
        "{me}, which leads term {term}, {does} {} of term {} to {to} at {}; the one in its own log is of term {own}",
        id.index,
        id.term,
        at(wire.at)
    );
    Err(Broken::new(Kind::Safety, rule, message).since([wire.at]))
}

/// Takes notice of a message: of the terms of question and answer.
///
/// # Errors
///
/// If it says yes to what was asked in another term.
pub(super) fn terms(known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
    let (me, moment) = (wire.from, at(wire.at));
    let Some(open) = known.open(me, wire.call).filter(|_| wire.leaves) else { return Ok(()) };
    let (asked, own) = (open.asked.term(), open.term_before);
    let (rule, message) = match wire.said {
        Said::Vote(reply) if reply.granted && asked < own => {
            let message = format!("{me} votes for {} in term {asked} at {moment}, and its own term is {own}", wire.to);
            ("RequestVote.1", message)
        }
        Said::Appended(reply) if reply.success && asked < own => {
            let message = format!(
                "{me} says yes at {moment} to an AppendEntries of {} of term {asked}, and its own term is {own}",
                wire.to
            );
            ("AppendEntries.1", message)
        }
        _ => return Ok(()),
    };
    Err(Broken::new(Kind::Safety, rule, message).since([open.since, wire.at]))
}

/// Takes notice of a message: of the logs that it is about.
///
/// # Errors
///
/// If it is an answer that claims what never was.
pub(super) fn logs(known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
    let server = known.server(wire.from);
    if !wire.leaves || server.face.is_none() {
        return Ok(());
    }
    let Some(open) = known.open(wire.from, wire.call) else { return Ok(()) };
    let (me, moment) = (wire.from, at(wire.at));
    let (rule, message) = match (wire.said, open.asked) {
        (Said::Vote(reply), Asked::Vote { candidate, last, term }) if reply.granted && !open.was_behind => {
            let own = server.log.last();
            let message = format!(
                "{me} votes for {candidate} in term {term} at {moment}, whose last entry is {} of term {}; its own is {} of \
                 term {}, which is more up to date",
                last.index, last.term, own.index, own.term
            );
            ("RequestVote.2", message)
        }
        (Said::Appended(reply), Asked::Append { prev, .. }) if reply.success && open.had_prev.is_none() => {
            let has = match server.log.term_at(prev.index) {
                Some(term) => format!("it has one of term {term} there"),
                None => format!("its log ends at {}", server.log.last().index),
            };
            let message = format!(
                "{me} says yes at {moment} to an AppendEntries of {} whose prev is entry {} of term {}, and {has}",
                wire.to, prev.index, prev.term
            );
            ("AppendEntries.2", message)
        }
        (Said::Appended(reply), Asked::Append { last, .. }) if reply.success && open.had_last.is_none() => {
            let lacks = open.lacks(&server.log).unwrap_or(last);
            let (rule, has) = match server.log.term_at(lacks.index) {
                Some(term) => ("AppendEntries.3", format!("it keeps one of term {term} there")),
                None => ("AppendEntries.4", format!("its log ends at {}", server.log.last().index)),
            };
            let message = format!(
                "{me} says yes at {moment} to an AppendEntries of {} that brings entry {} of term {}, and {has}",
                wire.to, lacks.index, lacks.term
            );
            (rule, message)
        }
        (Said::Appended(reply), Asked::Append { .. }) if reply.success => {
            let is_other = |id: &EntryId| {
                let written = known.written_as(*id);
                let own = server.log.at(id.index).filter(|own| own.term == id.term);
                written.zip(own).is_some_and(|(written, own)| written != own)
            };
            let Some(other) = open.brought().find(is_other) else { return Ok(()) };
            let message = format!(
                "{me} says yes at {moment} to an AppendEntries of {} that brings entry {} of term {}, and has another \
                 command there than the leader of that term",
                wire.to, other.index, other.term
            );
            ("Figure3.LogMatching", message)
        }
        _ => return Ok(()),
    };
    Err(Broken::new(Kind::Safety, rule, message).since([open.since, wire.at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::View;

    use crate::watch::testing::{S0, S1, Says, Scene, append, id, install, stand, view, vote, yes};

    /// S1 has entries of terms 1, 2, is asked, publishes what follows, and answers.
    fn judged(asked: Said<'_>, then: &[&[u64]], answered: Said<'_>) -> Option<&'static str> {
        let mut scene = Scene::new(2);
        scene.publish(&view(S1, 2, &[1, 2]));
        let call = scene.ask(S0, S1, asked);
        for log in then {
            scene.publish(&view(S1, 3, log));
        }
        let answer = scene.wire(call, S1, S0, true, answered);
        terms(&scene.known, &answer).and_then(|()| logs(&scene.known, &answer)).err().and_then(|broken| broken.rule)
    }

    /// S0 has shown those, and then sends S1 that in term 3.
    fn sends(shown: &[View], said: Said<'_>) -> Option<&'static str> {
        let mut scene = Scene::new(2);
        for view in shown {
            scene.publish(view);
        }
        roles(&scene.known, &scene.wire(1, S0, S1, true, said)).err().and_then(|broken| broken.rule)
    }

    #[test]
    fn who_asks_stands_and_who_sends_leads_2a() {
        let follows = |term| view(S0, term, &[]);
        let stands = |term| View { role: RoleName::Candidate, ..follows(term) };
        let leads = |term| follows(term).leads();
        let (asks, heartbeat) = (stand(3, S0, id(0, 0)), append(3, S0, id(0, 0), &[]));
        let (asks, heartbeat) = (Said::RequestVote(&asks), Said::AppendEntries(&heartbeat));
        assert_eq!(sends(&[stands(3)], asks), None);
        assert_eq!(sends(&[stands(3), follows(4)], asks), None, "it did when the message was made");
        assert_eq!(sends(&[leads(3), follows(3)], asks), None, "it won alone");
        assert_eq!(sends(&[follows(2)], asks), None, "it is not shown yet");
        assert_eq!(sends(&[follows(3)], asks), Some("Candidates.1"));
        assert_eq!(sends(&[stands(2), follows(4)], asks), Some("Candidates.1"));
        assert_eq!(sends(&[leads(3), follows(4)], heartbeat), None);
        assert_eq!(sends(&[stands(3)], heartbeat), None, "it has just won");
        assert_eq!(sends(&[stands(3), follows(3)], heartbeat), Some("Leaders.1"));
        assert_eq!(sends(&[stands(2), stands(4)], heartbeat), Some("Leaders.1"));
    }

    #[test]
    fn what_is_said_of_ones_own_log_is_so_2b() {
        fn says(shown: &View, said: Said<'_>) -> Option<&'static str> {
            let mut scene = Scene::new(2);
            scene.publish(shown);
            own_log(&scene.known, &scene.wire(1, S0, S1, true, said)).err().and_then(|broken| broken.rule)
        }
        let log = [1, 1, 3];
        let stands = |term| View { role: RoleName::Candidate, ..view(S0, term, &log) };
        let leads = |term| view(S0, term, &log).leads();
        let asks = |shown: View, last| says(&shown, Said::RequestVote(&stand(4, S0, last)));
        assert_eq!((asks(stands(4), id(3, 3)), asks(stands(5), id(1, 2))), (None, None));
        assert_eq!(
            (asks(stands(4), id(3, 4)), asks(stands(4), id(1, 2))),
            (Some("Candidates.1"), Some("Candidates.1"))
        );
        let sends = |shown: View, prev, terms: &[u64]| says(&shown, Said::AppendEntries(&append(4, S0, prev, terms)));
        assert_eq!((sends(leads(4), id(1, 1), &[1, 3]), sends(leads(5), id(2, 2), &[])), (None, None));
        assert_eq!(sends(leads(4), id(3, 3), &[4]), None, "it is not shown yet");
        assert_eq!(
            (sends(leads(4), id(1, 1), &[1, 4]), sends(leads(4), id(3, 2), &[])),
            (Some("Leaders.3"), Some("Leaders.3"))
        );
        let installs = |shown: View, last| says(&shown, Said::InstallSnapshot(&install(4, S0, last)));
        let short = || leads(4).with_snapshot(id(1, 2));
        assert_eq!((installs(short(), id(1, 2)), installs(short(), id(1, 1))), (None, None));
        assert_eq!(installs(short(), id(4, 2)), Some("SnapshotMatches"));
    }

    #[test]
    fn who_answers_a_leader_is_no_candidate_2a() {
        for (then, rule) in [(3, Some("Candidates.3")), (4, None)] {
            let mut scene = Scene::new(2);
            let stands = |term| View { role: RoleName::Candidate, ..view(S1, term, &[]) };
            scene.publish(&stands(3));
            let call = scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, id(0, 0), &[])));
            scene.publish(&stands(then));
            let says_yes = yes(3);
            let answer = scene.wire(call, S1, S0, true, Said::Appended(&says_yes));
            assert_eq!(roles(&scene.known, &answer).err().and_then(|broken| broken.rule), rule);
        }
    }

    #[test]
    fn a_vote_is_for_a_log_that_is_as_up_to_date_2b() {
        let asked = |last| judged(Said::RequestVote(&stand(3, S0, last)), &[], Said::Vote(&vote(3)));
        assert_eq!((asked(id(2, 2)), asked(id(2, 3)), asked(id(3, 1))), (None, None, None));
        assert_eq!(asked(id(2, 1)), Some("RequestVote.2"), "shorter");
        assert_eq!(asked(id(1, 9)), Some("RequestVote.2"), "longer, and older");
        // Its log was shorter for a moment: perhaps it looked then.
        let args = stand(3, S0, id(1, 1));
        assert_eq!(judged(Said::RequestVote(&args), &[&[1], &[1, 3]], Said::Vote(&vote(3))), None);
    }

    #[test]
    fn a_yes_is_of_the_term_of_the_question_2a() {
        let vote_in =
            |asked, says| judged(Said::RequestVote(&stand(asked, S0, id(2, 2))), &[], Said::Vote(&vote(says)));
        assert_eq!((vote_in(2, 2), vote_in(3, 3)), (None, None));
        assert_eq!(vote_in(1, 1), Some("RequestVote.1"), "it was in term 2 when that came");
        assert_eq!(vote_in(1, 2), Some("RequestVote.1"), "and says so");
        assert_eq!(vote_in(3, 4), None, "it has heard of term 4 since");
        let yes_in = |asked, then: &[&[u64]], says| {
            judged(Said::AppendEntries(&append(asked, S0, id(1, 1), &[])), then, Said::Appended(&yes(says)))
        };
        assert_eq!((yes_in(2, &[], 2), yes_in(2, &[&[1, 2]], 3)), (None, None), "it was in term 2 for a moment");
        assert_eq!(yes_in(1, &[], 2), Some("AppendEntries.1"));
    }

    #[test]
    fn a_yes_is_about_the_command_that_was_sent_2b() {
        for (digest, rule) in [(None, None), (Some(77), Some("Figure3.LogMatching"))] {
            let mut scene = Scene::new(2);
            scene.publish(&view(S0, 3, &[1, 3]).leads());
            scene.publish(&view(S1, 3, &[1]));
            let call = scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, id(1, 1), &[3])));
            let mut after = view(S1, 3, &[1, 3]);
            after.changed[1].digest = digest.unwrap_or(after.changed[1].digest);
            scene.publish(&after);
            let says_yes = yes(3);
            let answer = scene.wire(call, S1, S0, true, Said::Appended(&says_yes));
            assert_eq!(logs(&scene.known, &answer).err().and_then(|broken| broken.rule), rule);
        }
        // What a leader has of another's term is not the measure.
        let mut scene = Scene::new(2);
        let mut leads = view(S0, 3, &[1, 3]).leads();
        leads.changed[0].digest = 77;
        scene.publish(&leads);
        scene.publish(&view(S1, 3, &[]));
        let call = scene.ask(S0, S1, Said::AppendEntries(&append(3, S0, id(0, 0), &[1, 3])));
        scene.publish(&view(S1, 3, &[1, 3]));
        let says_yes = yes(3);
        logs(&scene.known, &scene.wire(call, S1, S0, true, Said::Appended(&says_yes))).unwrap();
    }

    #[test]
    fn a_yes_is_about_what_is_in_the_log_2b() {
        let asked = |prev, terms: &[u64], then: &[&[u64]]| {
            judged(Said::AppendEntries(&append(3, S0, prev, terms)), then, Said::Appended(&yes(3)))
        };
        assert_eq!(asked(id(2, 2), &[], &[]), None);
        assert_eq!(asked(id(2, 2), &[3], &[&[1, 2, 3]]), None);
        assert_eq!(asked(id(1, 2), &[], &[]), Some("AppendEntries.2"), "another term is there");
        assert_eq!(asked(id(2, 3), &[], &[]), Some("AppendEntries.2"), "nothing is there");
        assert_eq!(asked(id(2, 2), &[3], &[&[1, 2]]), Some("AppendEntries.4"));
        assert_eq!(asked(id(1, 1), &[3, 3], &[&[1, 3, 3]]), None);
        assert_eq!(asked(id(1, 1), &[3, 3], &[&[1, 2, 3]]), Some("AppendEntries.3"), "it keeps what conflicts");
        assert_eq!(asked(id(1, 1), &[3], &[]), Some("AppendEntries.3"));
        assert_eq!(asked(id(2, 2), &[3], &[&[1, 2, 3], &[1, 2]]), None, "it was there for a moment");
    }
}
