//! What a peer knows, and the rules that hold for all servers.
//!
// BEGIN 2A
//! A method that takes `&mut State` runs inside a critical section by
//! construction. None of them locks or sends, and only `save_unsaved` waits: for
//! the disk. So this file, and the `impl State` blocks of its neighbours, can be
//! stepped in a test without a thread in sight.
//!
// END 2A
//! Boundary: state and its changes. Locks and threads are in `peer.rs`.

// BEGIN 2A
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
// END 2A
use labsim::time::Instant;

// BEGIN 2A
// STUB use crate::message::{Entry, EntryId, Index, ServerId, Term};
// STUB use crate::peer::Settings;
use labsim::{note, rand};

use crate::log::Log;
use crate::message::{Index, ServerId, Term};
use crate::peer::{ELECTION_TIMEOUT, Settings};
use crate::persist::{Journal, Kept, Unsaved};
use crate::replication::Progress;
// END 2A
use crate::view::{RoleName, StateView};

/// Everything one peer knows, behind one lock.
///
/// The groups follow the box "State" of Figure 2 from top to bottom.
// BEGIN 2A
///
/// Invariants, checked at the end of every critical section:
///
/// - `role = Candidate` or `role = Leader` implies `voted_for = me`
/// - `role = Candidate` or `role = Leader` implies `current_term >= 1`
/// - `role = Candidate` implies `me in votes`, and fewer votes than a majority
/// - `role = Leader` if and only if `election_deadline = None`
/// - `log.base <= commit_index <= log.last`, and `last_applied <= commit_index`
/// - `log.last.term <= current_term`
/// - for each peer of a leader, `matched < next` and `matched <= log.last`
// END 2A
pub(crate) struct State {
    // Fixed when the peer starts.
    pub(crate) me: ServerId,
    pub(crate) servers: Vec<ServerId>,
    pub(crate) settings: Settings,

    // BEGIN 2C
    // STUB // Persistent state on all servers.
    // Persistent state on all servers. Whoever changes one of these says so in
    // `unsaved`.
    // END 2C
    pub(crate) current_term: Term,
    pub(crate) voted_for: Option<ServerId>,
    // BEGIN 2B
    // STUB /// Index 1 is at 0. 2D: from the one after the snapshot on.
    // STUB pub(crate) log: Vec<Entry>,
    pub(crate) log: Log,
    // END 2B
    // BEGIN 2D
    // STUB // 2D: the snapshot, and the last entry that is in it.
    /// What the service wrote of itself up to the log's base (§7).
    pub(crate) snapshot: Bytes,
    // END 2D

    // Volatile state on all servers.
    pub(crate) commit_index: Index,
    // BEGIN 2D
    // STUB /// The last entry that the service has been, or is being, told of.
    /// The last entry that the service has been, or is being, told of. While it is
    /// before the log's base, the service has yet to be told of the snapshot.
    // END 2D
    pub(crate) last_applied: Index,

    // BEGIN 2A
    // STUB // What this server is at present.
    // STUB pub(crate) role: RoleName,
    // STUB // 2A: a candidate's votes. 2B: volatile state on leaders.
    // What this server is at present. Volatile state on leaders is in there.
    pub(crate) role: Role,
    // END 2A

    // Not in Figure 2: what a peer with threads needs besides.
    /// When to stand for election. A leader has no such moment.
    pub(crate) election_deadline: Option<Instant>,
    // BEGIN 2C
    /// What is not on disk yet of the persistent state. Cleared only where that is
    /// saved.
    pub(crate) unsaved: Unsaved,
    /// Where on disk the entries lie that are saved.
    pub(crate) journal: Journal,
    // END 2C
    // BEGIN 3A
    /// How many reads have asked whether this server leads still, in this life.
    pub(crate) read_round: u64,
    // END 3A
    pub(crate) killed: bool,
}

// BEGIN 2A
/// What a peer is doing this term, and only what it needs for that.
///
/// A candidate's votes lie in its variant, so that leaving the role forgets
/// them: a vote counts in the election it was given in, and in no other. So do a
/// leader's indexes, which Figure 2 wants "reinitialized after election".
#[derive(Debug)]
pub(crate) enum Role {
    Follower,
    Candidate { votes: BTreeSet<ServerId> },
    Leader { progress: BTreeMap<ServerId, Progress> },
}
// END 2A

impl State {
    // BEGIN 2A
    // STUB /// A follower, as every server starts (§5.2).
    // STUB pub(crate) fn new(me: ServerId, servers: Vec<ServerId>, settings: Settings) -> Self {
    // STUB     Self {
    // STUB         me,
    // STUB         servers,
    // STUB         settings,
    // STUB         current_term: 0,
    // STUB         voted_for: None,
    // STUB         log: Vec::new(),
    // STUB         commit_index: 0,
    // STUB         last_applied: 0,
    // STUB         role: RoleName::Follower,
    // STUB         election_deadline: None,
    // STUB         killed: false,
    // STUB     }
    // STUB }
    // STUB
    /// A follower, as every server starts (§5.2), with what its disk kept.
    pub(crate) fn new(me: ServerId, servers: Vec<ServerId>, settings: Settings, kept: Kept) -> Self {
        let mut state = Self {
            me,
            servers,
            settings,
            current_term: kept.promises.current_term,
            voted_for: kept.promises.voted_for,
            // What is in a snapshot was committed.
            commit_index: kept.log.base().index,
            last_applied: 0,
            log: kept.log,
            snapshot: kept.snapshot,
            unsaved: Unsaved::default(),
            journal: kept.journal,
            role: Role::Follower,
            election_deadline: None,
            read_round: 0,
            killed: false,
        };
        state.reset_election_deadline();
        state
    }

    /// The other servers.
    pub(crate) fn peers(&self) -> Vec<ServerId> {
        self.servers.iter().copied().filter(|server| *server != self.me).collect()
    }

    /// How many servers are a majority of all.
    pub(crate) fn quorum(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    // END 2A
    pub(crate) fn is_leader(&self) -> bool {
        // BEGIN 2A
        // STUB self.role == RoleName::Leader
        matches!(self.role, Role::Leader { .. })
        // END 2A
    }

    // BEGIN 2A
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
            self.unsaved.promises = true;
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

    /// A message came from whoever leads the current term.
    ///
    /// That server won this term. If we had won it too, Election Safety (Figure 3)
    /// would be broken already, and going on would hide it.
    pub(crate) fn follow(&mut self, leader: ServerId) {
        assert!(!self.is_leader(), "{} and {leader} both lead term {}", self.me, self.current_term);
        if matches!(self.role, Role::Candidate { .. }) {
            self.become_follower(); // Candidates.3
        }
        self.reset_election_deadline(); // Followers.2: the current leader was heard.
    }

    /// Starts the wait for a leader anew, with a timeout that is drawn anew:
    /// were all the same, all would stand at once, again and again (§5.2).
    pub(crate) fn reset_election_deadline(&mut self) {
        self.election_deadline = Some(Instant::now() + rand::between(ELECTION_TIMEOUT));
    }

    // END 2A
    /// What this server shows of itself.
    pub(crate) fn view(&self) -> StateView<'_> {
        // BEGIN 2A
        let (role, progress) = match &self.role {
            Role::Follower => (RoleName::Follower, Vec::new()),
            Role::Candidate { .. } => (RoleName::Candidate, Vec::new()),
            Role::Leader { progress } => (RoleName::Leader, progress.iter().map(Progress::show).collect()),
        };
        // END 2A
        StateView {
            server: self.me,
            term: self.current_term,
            // BEGIN 2A
            // STUB role: self.role,
            role,
            // END 2A
            voted_for: self.voted_for,
            // BEGIN 2B
            // STUB base: EntryId::default(), // 2D: the last entry that is in the snapshot.
            // STUB entries: &self.log,
            base: self.log.base(),
            entries: self.log.entries(),
            // END 2B
            commit_index: self.commit_index,
            last_applied: self.last_applied,
            // BEGIN 2B
            // STUB progress: Vec::new(), // 2B: next and match index, of a leader's peers.
            progress,
            // END 2B
            election_deadline: self.election_deadline,
        }
    }

    // BEGIN 2A
    /// Panics if an invariant of this type does not hold.
    pub(crate) fn check_invariants(&self) {
        let Self { me, current_term, voted_for, commit_index, last_applied, .. } = self;
        let (base, last) = (self.log.base(), self.log.last());
        match &self.role {
            Role::Follower => {}
            Role::Candidate { votes } => {
                assert!(*voted_for == Some(*me), "{me} stands in term {current_term} and voted for {voted_for:?}");
                assert!(votes.contains(me), "{me} stands in term {current_term} without its own vote");
                assert!(votes.len() < self.quorum(), "{me} has {} votes and does not lead", votes.len());
            }
            Role::Leader { progress } => {
                assert!(*voted_for == Some(*me), "{me} leads term {current_term} and voted for {voted_for:?}");
                for (peer, Progress { next, matched, .. }) in progress {
                    assert!(matched < next && *matched <= last.index, "{me} has {peer} at {matched}, next {next}");
                }
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
        assert!(last.term <= *current_term, "{me} is in term {current_term} and has an entry of term {}", last.term);
        assert!(
            (base.index..=last.index).contains(commit_index) && last_applied <= commit_index,
            "{me} has applied {last_applied} and committed {commit_index} of a log from {base:?} to {last:?}"
        );
    }
    // END 2A
}
