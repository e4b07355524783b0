//! The Raft consensus algorithm, to be read next to the paper.
//!
//! "In Search of an Understandable Consensus Algorithm (Extended Version)" by
//! Ongaro and Ousterhout fits on eighteen pages, and its Figure 2 on one. This
//! crate follows that page: names are the figure's, or say which of its names they
//! stand for, and a comment such as `// RequestVote.2` stands at the line that obeys
//! that rule. Sections of the paper are cited as `§5.2`.
//!
//! The figure numbers only the receivers' rules, and so does Figure 13. Its bullets
//! for servers are counted here from the top: `AllServers.1` and `.2`, `Followers.1`
//! and `.2`, `Candidates.1` to `.4`, `Leaders.1` to `.4`. `Persistent` is its first
//! box: what others may rely on is on disk. `StaleReply` is what it takes for granted:
//! an answer counts only in the term, role and question that it was asked in.
//!
//! A [`Raft`] is one server of a cluster. Give it a way to each of the others, a
//! disk, and a channel; offer its [`service`](Raft::service) to them. Then
//! [`start`](Raft::start) a command on whichever server leads. If it is committed,
//! every server's channel has it in the same place, by itself or in a snapshot, as an
//! [`ApplyMsg`]: whoever crashes, and whatever the network loses. It may also be
//! lost, if its leader is deposed before.
//!
// BEGIN 2A
// STUB //! # What is given
// STUB //!
// STUB //! The face, in `peer.rs`; what crosses the network, in `message.rs`; the first lines of
// STUB //! the state, in `state.rs`; and how a peer is seen, in `view.rs`. All that panics with
// STUB //! `not implemented yet` is yours, and so is whatever stands behind it. README.md says
// STUB //! what it has to do.
// STUB //!
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
//! All changes that messages and timers bring go through one door, `with_state`,
//! which checks the state's invariants before it closes, and wakes whoever has
//! something to do now. Only the replicators and the applier, who wait at the lock
//! for work, mark by themselves what they take, and check the same. The lock is an
//! observed one: whenever it opens it publishes a [`View`] of what it guards, for
//! whoever watches the run.
//!
//! # When it is on disk
//!
//! Figure 2 wants term, vote and log "updated on stable storage before responding
//! to RPCs". What matters is that nobody relies on what a crash could take back. So
//! there are four moments at which all that is unsaved is saved: before a reply
//! leaves, before a candidacy is announced, before a leader counts itself among
//! those who have an entry, and when the service has made a snapshot. A command that
//! was just started is promised to nobody, and a hundred of them share one write.
//! What is written is what changed: entries are appended to a file.
//!
//! # The threads
//!
//! | thread | waits for | then |
//! |---|---|---|
//! | elections | the election deadline | stands, and asks each peer from a thread of its own |
//! | a replicator for each peer | something to send there, or the next heartbeat | sends it, from a thread of its own |
//! | applier | a commit index ahead of what is applied | tells the service |
//! | one for each request that comes in | | answers it |
//!
//! # One command's way
//!
//! The leader appends it to its log and wakes its replicators (`start`). Each
//! sends what its peer lacks, as far as is known (`next_request`). New entries then
//! wait until those are answered, and go together; if no answer comes by the next
//! heartbeat, all that is missing is sent again. The peer checks that it has the
//! entry before, and takes over what it lacks (`handle_append_entries`); that is
//! saved, and then it says so (`answer_append_entries`). The answer moves the
//! leader's picture of that peer (`handle_append_reply`); when a majority has the
//! entry, and it is of the leader's own term, it is committed
//! (`advance_commit_by_majority`), and the applier tells the service. The others hear
//! of it with the next message.
//!
//! # The order to read it in
//!
//! | file | the paper | is |
//! |---|---|---|
//! | `message.rs` | Figures 2 and 13, arguments and results | what crosses the network |
//! | `state.rs` | Figure 2, State and Rules for All Servers | what a peer knows |
//! | `election.rs` | §5.2, §5.4.1 | how a leader is chosen |
//! | `log.rs` | §5.3 | the entries |
//! | `replication.rs` | §5.3, §5.4.2 | how entries are copied, and committed |
//! | `apply.rs` | Figure 2, AllServers.1 | how the service learns of them |
//! | `persist.rs` | Figure 2, Persistent state | what survives a crash |
//! | `snapshot.rs` | §7, Figure 13 | how the log forgets |
//! | `read.rs` | §8, its end | how a leader makes sure that it still is one |
//! | `peer.rs` | | the lock, the door and the threads |
//! | `view.rs` | | what a peer shows of itself when the lock opens |
//!
//! # What is left out
//!
//! A snapshot is sent in one piece, where Figure 13 sends chunks. A leader does
//! not tell its followers of a commit at once but with the next message, so they
//! apply up to a heartbeat later. New entries wait until the last ones are answered;
//! to send them at once would hide the network's latency, and make late answers
//! harder to judge. A refusal names one index: the first of the term in the way, or
//! the end of a shorter log. The paper also sends that term (§5.3), which helps a
//! leader that has entries of it. A request for a vote is not repeated within its
//! term. A new leader adds no entry of its own (§8), so entries of earlier terms wait
//! for the next command.
//!
//! A snapshot is sent whole again with each heartbeat until it is answered. The lock
//! is held while the disk syncs: a disk that takes longer than an election
//! timeout deposes leaders. The leader saves when it counts itself, and not while its
//! request is under way. Nothing bounds the calls that wait for an answer but the
//! network, which gives each up in the end. A sync is relied on to be atomic over
//! three files; there are no checksums. [`StartError::NotLeader`] does not say who
//! leads.
//!
//! For good: membership changes (§6), clients and their sessions (§8, which is
//! the service's part), and the extensions of Ongaro's thesis (pre-vote,
//! check-quorum, leadership transfer).
//!
// END 2A
//! Boundary: speaks to labsim and labrpc. Does not know who tests it.

// BEGIN 2A
// STUB #![allow(dead_code)] // Not all that is given is used yet. Take this out when it is.
// STUB
// END 2A
mod apply;
mod election;
// BEGIN 2B
mod log;
// END 2B
mod message;
mod peer;
// BEGIN 2C
mod persist;
// END 2C
mod read;
mod replication;
mod snapshot;
mod state;
// BEGIN 2A
#[cfg(test)]
mod testing;
// END 2A
mod view;

pub use apply::ApplyMsg;
pub use bytes::Bytes;
pub use message::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply,
    RequestVoteArgs, RequestVoteReply, ServerId, Term,
};
pub use peer::{ELECTION_TIMEOUT, HEARTBEAT_INTERVAL, Raft, Settings, StartError};
pub use read::ReadError;
pub use view::{PeerProgress, RoleName, Shown, StateView, View};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
