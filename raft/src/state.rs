//! What a peer knows, and the rules that hold for all servers.
//!
//! A method that takes `&mut State` runs inside a critical section by
//! construction. None of them locks, waits or sends. So this file, and the
//! `impl State` blocks of `election.rs` and `replication.rs`, can be stepped in
//! a test without a thread in sight.
//!
//! Boundary: state and its changes. Locks and threads are in `peer.rs`.

use std::collections::BTreeSet;

use labsim::time::Instant;
use labsim::{note, rand};

use crate::log::Log;
use crate::message::{ServerId, Term};
use crate::peer::ELECTION_TIMEOUT;
use crate::persist::Promises;

/// Everything one peer knows, behind one lock.
///
/// The groups follow the box "State" of Figure 2 from top to bottom.
///
/// Invariants, checked at the end of every critical section:
///
/// - `role = Candidate` or `role = Leader` implies `voted_for = me`
/// - `role = Candidate` or `role = Leader` implies `current_term >= 1`
/// - `role = Candidate` implies `me in votes`, and fewer votes than a majority
/// - `role = Leader` if and only if `election_deadline = None`
pub(crate) struct State {
    // Fixed when the peer starts.
    pub(crate) me: ServerId,
    pub(crate) servers: Vec<ServerId>,

    // Persistent state on all servers. `unsaved` is raised by every change to
    // the first two and lowered only where they are saved.
    pub(crate) current_term: Term,
    pub(crate) voted_for: Option<ServerId>,
    pub(crate) log: Log,
    pub(crate) unsaved: bool,

    // What this server is at present.
    pub(crate) role: Role,

    // Not in Figure 2: what a peer with threads needs besides.
    /// When to stand for election. A leader has no such moment.
    pub(crate) election_deadline: Option<Instant>,
    pub(crate) killed: bool,
}

/// What a peer is doing this term, and only what it needs for that.
///
/// A candidate's votes lie in its variant, so that leaving the role forgets
/// them: a vote counts in the election it was given in, and in no other.
#[derive(Debug)]
pub(crate) enum Role {
    Follower,
    Candidate { votes: BTreeSet<ServerId> },
    Leader,
}

/// A role without what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    /// Answers candidates and leaders.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Was elected for its term.
    Leader,
}

/// What a peer shows of itself at the end of each critical section.
///
/// It is published by the lock, through [`labsim::watch`]: nobody can forget to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Who it is.
    pub server: ServerId,
    /// Its current term.
    pub term: Term,
    /// What it is in that term.
    pub role: RoleName,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
}

impl State {
    /// A follower, as every server starts (§5.2), with what its disk kept.
    pub(crate) fn new(me: ServerId, servers: Vec<ServerId>, kept: Promises) -> Self {
        let mut state = Self {
            me,
            servers,
            current_term: kept.current_term,
            voted_for: kept.voted_for,
            log: Log::default(),
            unsaved: false,
            role: Role::Follower,
            election_deadline: None,
            killed: false,
        };
        state.reset_election_deadline();
        state
    }

    /// The other servers.
    pub(crate) fn peers(&self) -> Vec<ServerId> {
        self.servers.iter().copied().filter(|server| *server != self.me).collect()
    }

    /// True if so many servers are a majority of all.
    pub(crate) fn is_quorum(&self, count: usize) -> bool {
        count > self.servers.len() / 2
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader)
    }

    /// Takes notice of a term in a request or a reply.
    ///
    /// Terms only ever rise, and a risen term is one in which this server has
    /// not voted yet. A term from the past is ignored here; what to make of its
    /// message is for the caller to say.
    pub(crate) fn observe_term(&mut self, term: Term) {
        // AllServers.2: a higher term makes a follower, whatever it was.
        if term > self.current_term {
            if self.is_leader() {
                note!("election", "{} gives up term {}: it heard of term {term}", self.me, self.current_term);
            }
            self.current_term = term;
            self.voted_for = None;
            self.unsaved = true;
            self.become_follower();
        }
    }

    /// Gives up whatever this server was in its term, and waits to hear from a
    /// leader.
    ///
    /// A server that waits already goes on as it was: hearing of a term is no
    /// reason to wait longer.
    pub(crate) fn become_follower(&mut self) {
        self.role = Role::Follower;
        if self.election_deadline.is_none() {
            self.reset_election_deadline();
        }
    }

    /// Starts the wait for a leader anew, with a timeout that is drawn anew:
    /// were all the same, all would stand at once, again and again (§5.2).
    pub(crate) fn reset_election_deadline(&mut self) {
        self.election_deadline = Some(Instant::now() + rand::between(ELECTION_TIMEOUT));
    }

    pub(crate) fn view(&self) -> View {
        let role = match self.role {
            Role::Follower => RoleName::Follower,
            Role::Candidate { .. } => RoleName::Candidate,
            Role::Leader => RoleName::Leader,
        };
        View { server: self.me, term: self.current_term, role, voted_for: self.voted_for }
    }

    /// Panics if an invariant of this type does not hold.
    pub(crate) fn check_invariants(&self) {
        let Self { me, current_term, voted_for, .. } = self;
        match &self.role {
            Role::Follower => {}
            Role::Candidate { votes } => {
                assert!(*voted_for == Some(*me), "{me} stands in term {current_term} and voted for {voted_for:?}");
                assert!(votes.contains(me), "{me} stands in term {current_term} without its own vote");
                assert!(!self.is_quorum(votes.len()), "{me} has {} votes and does not lead", votes.len());
            }
            Role::Leader => {
                assert!(*voted_for == Some(*me), "{me} leads term {current_term} and voted for {voted_for:?}");
            }
        }
        if !matches!(self.role, Role::Follower) {
            assert!(*current_term >= 1, "{me} was a candidate before the first term");
        }
        assert!(
            self.is_leader() == self.election_deadline.is_none(),
            "{me} leads: {}, and waits for a leader: {}",
            self.is_leader(),
            self.election_deadline.is_some()
        );
    }
}
