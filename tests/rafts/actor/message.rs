//! What crosses the network, and what its parts are called.
//!
//! Boundary: plain data. Who says what when is in `actor.rs` and `office.rs`.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The number of a term. 0 is before the first election.
pub type Term = u64;

/// A place in the log, from 1 on. 0 is the empty beginning of every log.
pub type Index = u64;

/// A server, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerId(pub u32);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}", self.0)
    }
}

/// An entry, by its term and place. The greater of two ends the log that is more
/// up to date (§5.4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct EntryId {
    /// The term of the leader that took it.
    pub term: Term,
    /// Its place.
    pub index: Index,
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that took it.
    pub term: Term,
    /// What the service is to execute.
    pub command: Bytes,
}

/// A candidate asks for a vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteArgs {
    /// The term that it stands in.
    pub term: Term,
    /// Who.
    pub candidate: ServerId,
    /// Its last entry.
    pub last: EntryId,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteReply {
    /// The term of whoever answers.
    pub term: Term,
    /// The vote is given.
    pub granted: bool,
}

/// A leader sends entries, or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppendEntriesArgs {
    /// The term that it leads.
    pub term: Term,
    /// Who.
    pub leader: ServerId,
    /// The entry before these.
    pub prev: EntryId,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Up to where its log is committed.
    pub leader_commit: Index,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    /// The term of whoever answers.
    pub term: Term,
    /// The log has all that was sent, and agrees up to there.
    pub success: bool,
    /// Otherwise: from where on the leader should try next.
    pub retry_at: Index,
}

/// A leader sends its snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotArgs {
    /// The term that it leads.
    pub term: Term,
    /// Who.
    pub leader: ServerId,
    /// The last entry that the snapshot stands for.
    pub last_included: EntryId,
    /// All of it.
    pub data: Bytes,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotReply {
    /// The term of whoever answers.
    pub term: Term,
}
