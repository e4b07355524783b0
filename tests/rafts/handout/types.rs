//! The types that others see: what crosses the network, what the service is
//! handed, what a caller may be told.
//!
//! Boundary: plain data. Nothing here decides anything.

#![allow(missing_docs, reason = "the handout says what each field is")]

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An election period. 0 is before the first election.
pub type Term = u64;

/// A place in the log, from 1 on. 0 is the empty beginning of every log.
pub type Index = u64;

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ServerId(pub u32);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}", self.0)
    }
}

/// What names an entry: no two entries share a term and an index. The order is
/// that of §5.4.1: the later term is the more up-to-date, then the longer log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct EntryId {
    pub term: Term,
    pub index: Index,
}

/// One entry of a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub term: Term,
    pub command: Bytes,
}

/// A candidate asks for a vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteArgs {
    pub term: Term,
    pub candidate: ServerId,
    pub last: EntryId,
}

/// The answer to a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestVoteReply {
    pub term: Term,
    pub granted: bool,
}

/// A leader sends entries, or none as a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppendEntriesArgs {
    pub term: Term,
    pub leader: ServerId,
    pub prev: EntryId,
    pub entries: Vec<Entry>,
    pub leader_commit: Index,
}

/// The answer to entries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    pub term: Term,
    pub success: bool,
    pub retry_at: Index,
    /// After a refusal: the term of the entry at `prev.index`, 0 if there is none.
    pub conflict: Term,
}

/// A leader sends its snapshot, in one piece.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotArgs {
    pub term: Term,
    pub leader: ServerId,
    pub last_included: EntryId,
    pub data: Bytes,
}

/// The answer to a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSnapshotReply {
    pub term: Term,
}

/// What the service is handed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyMsg {
    Command { index: Index, term: Term, command: Bytes },
    Snapshot { index: Index, term: Term, data: Bytes },
}

impl ApplyMsg {
    /// How far the service has come with this message.
    pub fn index(&self) -> Index {
        match self {
            Self::Command { index, .. } | Self::Snapshot { index, .. } => *index,
        }
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    NotLeader,
    Killed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this server does not lead",
            Self::Killed => "this server was killed",
        })
    }
}

impl Error for StartError {}

/// Why a read has to go through the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// This server does not lead.
    NotLeader,
    /// It cannot be told what is committed.
    NothingCommitted,
    /// No majority has answered in time.
    TimedOut,
    /// It was killed.
    Killed,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}: read through the log, or ask another server")
    }
}

impl Error for ReadError {}

/// What can be chosen about a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    pub batch_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch_entries: 100 }
    }
}
