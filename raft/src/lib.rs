//! The Raft consensus algorithm, to be read next to the paper.
//!
//! "In Search of an Understandable Consensus Algorithm (Extended Version)" by
//! Ongaro and Ousterhout fits on eighteen pages, and its Figure 2 on one. This
//! crate follows that page: the names are the figure's, and a comment such as
//! `// RequestVote.2` stands at the line that obeys that rule. Sections of the
//! paper are cited as `§5.2`.
//!
//! # How a peer is built
//!
//! A peer is one `State` behind one lock, and a few threads.
//! Whatever a thread does has three beats. It *decides* under the lock, which
//! includes making the message. It *sends* with the lock open, for a call may
//! take seconds and its answer may need the lock. It *judges* the answer under
//! the lock again, knowing that the world has moved on: the question travels
//! with the answer, and an answer to a question that nobody asks any more is
//! dropped.
//!
//! All changes go through one door, `with_state`, which checks the
//! state's invariants before it closes. What promises something to another
//! server (a vote, a candidacy, any reply) leaves through `promise`, which first
//! puts the promise on disk. And the lock is an observed one: whenever it opens
//! it publishes a [`View`] of what it guards, for whoever watches the run.
//!
//! # The order to read it in
//!
//! | file | the paper | is |
//! |---|---|---|
//! | `message.rs` | Figure 2, arguments and results | what crosses the network |
//! | `state.rs` | Figure 2, State and Rules for All Servers | what a peer knows |
//! | `election.rs` | §5.2, §5.4.1 | how a leader is chosen |
//! | `replication.rs` | §5.2, §5.3 | what a leader sends, and how it is received |
//! | `log.rs` | §5.3 | the entries |
//! | `persist.rs` | Figure 2, Persistent state | what survives a crash |
//! | `peer.rs` | | the lock, the door and the threads |
//!
//! # What is left out
//!
//! This is part 2A: leaders are elected and keep their office by heartbeats. The
//! log stays empty, so no command is accepted and nothing is committed or
//! applied (2B), what is saved is the term and the vote (2C), and there are no
//! snapshots (2D).
//!
//! For good: membership changes (§6), and the extensions of Ongaro's thesis
//! (pre-vote, check-quorum, leadership transfer, read-index).
//!
//! Boundary: speaks to labsim and labrpc. Does not know who tests it.

mod election;
mod log;
mod message;
mod peer;
mod persist;
mod replication;
mod state;

pub use message::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, RequestVoteArgs, RequestVoteReply, ServerId, Term,
};
pub use peer::{ELECTION_TIMEOUT, HEARTBEAT_INTERVAL, Raft};
pub use state::{RoleName, View};
