//! What a server shows of itself each time its lock opens.
//!
//! Boundary: copies from the state. Changes nothing but what counts as shown.

#![allow(missing_docs, reason = "the handout says what each field is")]

use labsim::time::Instant;
use labsim::watch::Watch;

use crate::state::{Role, State};
use crate::types::{EntryId, Index, ServerId, Term};

/// What a server is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    Follower,
    Candidate,
    Leader,
}

/// How far a leader is with another server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    pub server: ServerId,
    pub next: Index,
    pub matched: Index,
}

/// An entry in short.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shown {
    pub term: Term,
    pub digest: u64,
}

/// A server's state at the end of a critical section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub server: ServerId,
    pub term: Term,
    pub role: RoleName,
    pub voted_for: Option<ServerId>,
    pub last: EntryId,
    pub base: EntryId,
    pub commit_index: Index,
    pub last_applied: Index,
    pub changed_from: Index,
    pub changed: Vec<Shown>,
    pub progress: Vec<PeerProgress>,
    pub election_deadline: Option<Instant>,
}

/// The observer of the lock.
pub(crate) fn show(state: &State, watch: &Watch) {
    watch.publish(|| view(state));
}

fn view(state: &State) -> View {
    let (log, leads) = (&state.log, state.role == Role::Leader);
    let changed_from = log.take_touched();
    let changed = log.entries()[(changed_from - log.base().index - 1) as usize..].iter();
    let progress = |peer: usize| PeerProgress {
        server: ServerId(peer as u32),
        next: state.peers[peer].next,
        matched: state.peers[peer].matched,
    };
    View {
        server: state.me,
        term: state.term,
        role: state.role,
        voted_for: state.voted_for,
        last: log.last(),
        base: log.base(),
        commit_index: state.commit_index,
        last_applied: state.last_applied,
        changed_from,
        changed: changed.map(|entry| Shown { term: entry.term, digest: fnv(&entry.command) }).collect(),
        progress: if leads { state.others().map(progress).collect() } else { Vec::new() },
        election_deadline: (!leads).then_some(state.election_deadline),
    }
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
