//! Which writes were executed already (§8: "if it receives a command whose serial number
//! has already been executed, it responds immediately without re-executing").
//!
//! Part of the machine: changed by commands only, in the log's order, and written into
//! the snapshot. So every server knows the same at the same place in the log, and a
//! server that took a snapshot over knows what the others know.
//!
//! Boundary: sessions and numbers. Does not know what the commands do.

// BEGIN 3A
use std::collections::{BTreeMap, BTreeSet};

use raft::Index;
use serde::{Deserialize, Serialize};

use crate::message::SessionId;

/// Whether a command is to be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// It was not executed before.
    New,
    /// It was.
    Seen,
    /// The session is not known (any more).
    Expired,
}

/// Every clerk's session, up to a limit.
///
/// Invariant: `by_use` has each session once, under the index of its last use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sessions {
    max: usize,
    sessions: BTreeMap<SessionId, Session>,
    /// The one that was used longest ago is the first.
    by_use: BTreeSet<(Index, SessionId)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Session {
    /// The last call that was executed. A clerk makes one at a time, so all before it
    /// have their answers.
    number: u64,
    /// Where in the log it was used last.
    used: Index,
}

impl Sessions {
    /// No sessions yet, and at most `max` of them ever.
    ///
    /// # Panics
    ///
    /// If that is 0.
    pub fn new(max: usize) -> Self {
        assert!(max >= 1, "a service without sessions serves nobody");
        Self { max, sessions: BTreeMap::new(), by_use: BTreeSet::new() }
    }

    /// Opens a session by the entry at `index`. If that is one too many, the one that was
    /// used longest ago is forgotten.
    pub fn open(&mut self, index: Index) -> SessionId {
        let id = SessionId(index);
        self.sessions.insert(id, Session { number: 0, used: index });
        self.by_use.insert((index, id));
        if self.sessions.len() > self.max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.sessions.remove(&oldest);
        }
        id
    }

    /// Takes notice of a session's call with that number, at `index` of the log. It
    /// counts as executed from now on.
    pub fn use_number(&mut self, id: SessionId, number: u64, index: Index) -> Freshness {
        let Some(session) = self.sessions.get_mut(&id) else { return Freshness::Expired };
        self.by_use.remove(&(session.used, id));
        self.by_use.insert((index, id));
        session.used = index;
        if number <= session.number {
            return Freshness::Seen;
        }
        session.number = number;
        Freshness::New
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_new_once_3a() {
        let mut sessions = Sessions::new(10);
        let (a, b) = (sessions.open(1), sessions.open(2));
        assert_eq!(sessions.use_number(a, 1, 3), Freshness::New);
        assert_eq!(sessions.use_number(a, 1, 4), Freshness::Seen);
        assert_eq!(sessions.use_number(b, 1, 5), Freshness::New, "another clerk's");
        assert_eq!(sessions.use_number(a, 2, 6), Freshness::New);
        assert_eq!(sessions.use_number(a, 1, 7), Freshness::Seen, "it comes very late");
    }

    #[test]
    fn who_was_silent_longest_is_forgotten_3a() {
        let mut sessions = Sessions::new(2);
        let (a, b) = (sessions.open(1), sessions.open(2));
        sessions.use_number(a, 1, 3);
        let c = sessions.open(4);
        assert_eq!(sessions.use_number(b, 1, 5), Freshness::Expired);
        assert_eq!((sessions.use_number(a, 1, 6), sessions.use_number(c, 1, 7)), (Freshness::Seen, Freshness::New));
        assert_eq!(sessions.count(), 2);
    }

    proptest! {
        /// No history of calls executes a number twice, and the limit holds.
        #[test]
        fn no_number_is_new_twice_3a(calls in prop::collection::vec((0_u64..6, 1_u64..5), 0..60)) {
            let mut sessions = Sessions::new(3);
            let mut executed = BTreeSet::new();
            for (index, (who, number)) in (1..).zip(calls) {
                // Index 1 to 5 are sessions by and by; some calls come before theirs is open.
                if number == 4 {
                    sessions.open(index);
                } else if sessions.use_number(SessionId(who), number, index) == Freshness::New {
                    prop_assert!(executed.insert((who, number)), "session {} number {}", who, number);
                }
                prop_assert!(sessions.count() <= 3 && sessions.by_use.len() == sessions.count());
            }
        }
    }
}
// END 3A
