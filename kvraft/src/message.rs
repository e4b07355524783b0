//! What clerks and servers say to each other, and what is in the log.
//!
//! Boundary: plain data. What a command does is in `store.rs`.

// BEGIN 3A
use std::fmt;

use raft::Index;
use serde::{Deserialize, Serialize};

/// A clerk's session: the place in the log of the command that has opened it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SessionId(pub Index);

/// What changes a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// The key has this value from now on.
    Put(String),
    /// This is added to the end of the key's value.
    Append(String),
}

/// A write, and how to know it again when it comes twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Whose it is.
    pub session: SessionId,
    /// The number of the call in its session, from 1 on. All tries have the same.
    pub number: u64,
    /// Which key.
    pub key: String,
    /// What to do to it.
    pub write: Write,
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A clerk begins.
    OpenSession,
    /// A read. It has no number: who executes it twice does no harm.
    Get {
        /// Which key.
        key: String,
    },
    /// A write.
    Write(Request),
}

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// It was executed, now or by an earlier try.
    Done,
    /// The service has forgotten this session. This try was not executed; whether an
    /// earlier one was, nobody knows any more.
    SessionExpired,
}

/// Why a server does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// It does not lead. This try was not executed, and will not be.
    NotLeader,
    /// It led, and another leader's entry has taken the place of this one. This try was
    /// not executed, and will not be.
    Lost,
    /// It is not known in time. This try may have been executed, or may yet be.
    TimedOut,
}

impl Refusal {
    /// True if the try surely has no effect.
    pub fn is_certain(self) -> bool {
        self != Self::TimedOut
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this server does not lead; ask another",
            Self::Lost => "the leader was deposed before this was committed; ask again",
            Self::TimedOut => "not committed in time; it may have been executed, or may yet be",
        })
    }
}

impl std::error::Error for Refusal {}
// END 3A
