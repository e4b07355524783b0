//! What a server may show of itself. This one shows nothing: the types are part
//! of the public face, and nobody here makes a value of them.
//!
//! Boundary: names for whoever judges.

use labsim::time::Instant;

use crate::message::{EntryId, Index, ServerId, Term};

/// What a server is in its term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    /// It follows whoever leads.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// Who.
    pub server: ServerId,
    /// Its nextIndex.
    pub next: Index,
    /// Its matchIndex.
    pub matched: Index,
}

/// An entry as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shown {
    /// Its term.
    pub term: Term,
    /// A digest of its command.
    pub digest: u64,
}

/// The state of a server at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Whose.
    pub server: ServerId,
    /// Its term.
    pub term: Term,
    /// What it is in that term.
    pub role: RoleName,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// Its last entry.
    pub last: EntryId,
    /// The last entry that is in its snapshot.
    pub base: EntryId,
    /// Up to where it knows the log to be committed.
    pub commit_index: Index,
    /// Up to where its service was told.
    pub last_applied: Index,
    /// The first index that differs from the last view.
    pub changed_from: Index,
    /// The log from there on.
    pub changed: Vec<Shown>,
    /// A leader's peers.
    pub progress: Vec<PeerProgress>,
    /// When it stands for election.
    pub election_deadline: Option<Instant>,
}
