//! What servers ask each other, and what is open.
//!
//! A question is open from its arrival until its answer has left. What the answer says may
//! have been true at any moment in between, so it is noted what was.
//!
//! Boundary: questions. Who asks and answers is in `known.rs`.

use std::time::Duration;

use raft::{EntryId, Index, ServerId, Term};

use super::held::Log;
use super::wire::Said;

/// A question that a server is at.
#[derive(Clone, Debug)]
pub struct Open {
    /// The number of its call. A question that came twice is open until both are
    /// answered.
    pub call: u64,
    /// How many of it are open.
    pub count: u32,
    /// When the first came.
    pub since: Duration,
    /// What was asked.
    pub asked: Asked,
    /// In which view, first, the log had the entry before those that it brings.
    pub had_prev: Option<u64>,
    /// In which view, first, the log had all of it.
    pub had_last: Option<u64>,
    /// The term that the server was in when the first came, as far as it had shown.
    pub term_before: Term,
    /// When it came, the server knew its last entry to be committed.
    pub was_committed: bool,
    /// In some view the server's log was not more up to date than the candidate's.
    pub was_behind: bool,
    /// The terms of the entries after the first, for AppendEntries: what conflicts.
    pub terms: Vec<Term>,
}

/// What a request says, as far as its answer is about that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A vote, by a candidate with that last entry.
    Vote {
        /// The term.
        term: Term,
        /// Who asks.
        candidate: ServerId,
        /// Its last entry.
        last: EntryId,
    },
    /// To store entries.
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before them.
        prev: EntryId,
        /// The last of them; `prev` if there are none.
        last: EntryId,
    },
    /// To take a snapshot over.
    Install {
        /// The leader's term.
        term: Term,
        /// The last entry in it.
        last: EntryId,
    },
}

impl Asked {
    /// Reads a request. None for an answer.
    pub fn read(said: &Said<'_>) -> Option<Self> {
        match said {
            Said::RequestVote(args) => Some(Self::Vote { term: args.term, candidate: args.candidate, last: args.last }),
            Said::AppendEntries(args) => {
                let index = args.prev.index + args.entries.len() as Index;
                let last = args.entries.last().map_or(args.prev, |entry| EntryId { term: entry.term, index });
                Some(Self::Append { term: args.term, prev: args.prev, last })
            }
            Said::InstallSnapshot(args) => Some(Self::Install { term: args.term, last: args.last_included }),
            _ => None,
        }
    }

    /// The term that it was asked in.
    pub fn term(&self) -> Term {
        match self {
            Self::Vote { term, .. } | Self::Append { term, .. } | Self::Install { term, .. } => *term,
        }
    }
}

impl Open {
    /// The first of the entries that it brings which `log` does not have.
    pub fn lacks(&self, log: &Log) -> Option<EntryId> {
        self.brought().find(|id| !log.contains(*id))
    }

    /// True if that is one of the entries that it brings.
    pub fn brings(&self, id: EntryId) -> bool {
        let Asked::Append { prev, .. } = self.asked else { return false };
        let slot = id.index.checked_sub(prev.index + 1).and_then(|slot| usize::try_from(slot).ok());
        slot.and_then(|slot| self.terms.get(slot)) == Some(&id.term)
    }

    /// The entries that it brings.
    pub fn brought(&self) -> impl Iterator<Item = EntryId> + '_ {
        let first = match self.asked {
            Asked::Append { prev, .. } => prev.index + 1,
            _ => 0,
        };
        (first..).zip(&self.terms).map(|(index, term)| EntryId { term: *term, index })
    }
}
