//! What crosses the network: the arguments and results of Figures 2 and 13.
//!
//! The structs have the figures' fields in their order. Where those speak
//! of an index and that index's term, we have one [`EntryId`].
//!
//! Boundary: plain data. What it means is decided by whoever receives it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A term (§5.1): Raft's clock. 0 is before the first election.
pub type Term = u64;

/// A place in the log, from 1 on. 0 is "nothing".
pub type Index = u64;

/// One of the servers, from 0 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u32);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}", self.0)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One entry's place in history: the term that wrote it and the slot it fills.
///
/// The order of the fields is deliberate. The derived order compares terms
/// first and settles a tie by the index, which *is* the comparison of §5.4.1:
/// the greater last entry belongs to the more up-to-date log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct EntryId {
    /// The term in which a leader received the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

/// A log entry (§5.3): a command, and the term in which a leader received it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The term in which a leader received it.
    pub term: Term,
    /// What the state machine is to do. Raft does not look inside.
    pub command: Bytes,
}

/// Sent by candidates to gather votes (§5.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteArgs {
    /// The candidate's term.
    pub term: Term,
    /// The candidate that asks for the vote.
    pub candidate: ServerId,
    /// The last entry of the candidate's log (§5.4).
    pub last: EntryId,
}

/// The answer to a [`RequestVoteArgs`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteReply {
    /// The receiver's term, for the candidate to update itself.
    pub term: Term,
    /// True means that the candidate received the vote.
    pub granted: bool,
}

/// Sent by the leader to replicate entries (§5.3); also used as heartbeat
/// (§5.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppendEntriesArgs {
    /// The leader's term.
    pub term: Term,
    /// The leader, so that followers can send clients to it.
    pub leader: ServerId,
    /// The entry right before the new ones.
    pub prev: EntryId,
    /// Entries to store; empty for a heartbeat.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub leader_commit: Index,
}

/// The answer to an [`AppendEntriesArgs`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    /// The receiver's term, for the leader to update itself.
    pub term: Term,
    /// True if the receiver had the entry at `prev`.
    pub success: bool,
    /// Not in Figure 2: after a refusal, where to try next. It saves the leader a
    /// step for each entry that the two do not share (§5.3, at its end).
    pub retry_at: Index,
}

/// Sent by the leader where a follower lacks entries that the leader has
/// only in its snapshot (§7). Figure 13 sends a snapshot in chunks; this is the
/// whole of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotArgs {
    /// The leader's term.
    pub term: Term,
    /// The leader, so that followers can send clients to it.
    pub leader: ServerId,
    /// The snapshot replaces all entries up through and including this one.
    pub last_included: EntryId,
    /// The state machine, as the service wrote it.
    pub data: Bytes,
}

/// The answer to an [`InstallSnapshotArgs`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotReply {
    /// The receiver's term, for the leader to update itself.
    pub term: Term,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §5.4.1: "the log with the later term is more up-to-date. If the logs end
    /// with the same term, then whichever log is longer is more up-to-date."
    #[test]
    fn up_to_date_is_the_order_of_entry_ids_2a() {
        let at = |term, index| EntryId { term, index };
        let rows = [
            (at(2, 1), at(1, 9), true),
            (at(1, 9), at(2, 1), false),
            (at(2, 5), at(2, 4), true),
            (at(2, 4), at(2, 5), false),
            (at(2, 4), at(2, 4), true),
            (at(0, 0), at(0, 0), true),
        ];
        for (candidate, voter, up_to_date) in rows {
            assert_eq!(candidate >= voter, up_to_date, "{candidate:?} against {voter:?}");
        }
    }
}
