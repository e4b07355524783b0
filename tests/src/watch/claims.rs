//! What an answer claims: RequestVote.2, AppendEntries.2, AppendEntries.4 (§5.3, §5.4.1).
//!
//! Whoever gives a vote says that the candidate's log is at least as up to date as its
//! own. Whoever says yes to an AppendEntries says that it has the entry before the new
//! ones, and now those. That must have been true at some moment between the question
//! and the answer.
//!
//! Boundary: answers of servers that publish what their log is like.

use super::at;
use super::known::{Asked, Known};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// Takes notice of a message.
///
/// # Errors
///
/// If it is an answer that claims what never was.
pub(super) fn hear(known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
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
            let has = match server.log.term_at(last.index) {
                Some(term) => format!("it has one of term {term} there"),
                None => format!("its log ends at {}", server.log.last().index),
            };
            let message = format!(
                "{me} says yes at {moment} to an AppendEntries of {} that ends with entry {} of term {}, and {has}",
                wire.to, last.index, last.term
            );
            ("AppendEntries.4", message)
        }
        _ => return Ok(()),
    };
    Err(Broken::new(Kind::Safety, rule, message).since([open.since, wire.at]))
}
