//! A linearizable key-value service on Raft: parts 3A and 3B of the labs.
//!
//! Each server has one and the same store. A client's command goes into the log of its
//! [`raft`] peer; what comes out of the log, in the log's order, is executed on every
//! server; and the server that took the command answers when *that very command* has
//! come out. So every client sees one store that does one thing at a time, whoever
//! crashes and whatever the network loses: each call takes effect at one moment between
//! its begin and its end (linearizability, Herlihy and Wing 1990).
//!
//! ```text
//!   Clerk ── Get, Write ──> Server ── start ──> raft ──┐
//!                             ^                        │ the log, on a majority
//!                             └── Machine <── apply ───┘
//! ```
//!
// BEGIN 3A
// STUB //! # What is given
// STUB //!
// STUB //! The face, in `clerk.rs` and `server.rs`. README.md says what it has to do.
// STUB //!
//! # Exactly once
//!
//! A [`Clerk`] whose call brings no answer cannot know whether it was executed, and asks
//! again. So a command may be in the log twice. Each clerk has a *session*, and numbers
//! its calls; a command whose number its session has seen is not executed again (§8).
//! The table of sessions is part of the machine: every server has the same one at the
//! same place in the log, and it is in the snapshot.
//!
//! A session is opened by a command of its own, and its name is where that command
//! stands in the log: no two are the same, and a request that comes late cannot open one
//! again. At most [`Settings::sessions_max`] are kept. When one more is opened, the one
//! that was used longest ago goes, on every server at the same place. Its clerk is told,
//! and nothing is executed: [`Why::SessionExpired`].
//!
//! # What a clerk may conclude
//!
//! An answer is what was executed, once. [`ClerkError::NotExecuted`]: it was not, and
//! never will be, unless the network doubles requests: a copy that comes late may find
//! another server there than its twin. [`ClerkError::MaybeExecuted`]: it was, or will be, or never: once at
//! most. A clerk without a [`patience`](Clerk::with_patience) asks until it knows.
//!
//! # Reads
//!
//! A server that answered from its own store could be one that was deposed, or lags.
//! [`Reads::Log`] sends reads through the log like everything else. [`Reads::Index`]
//! asks Raft instead whether this server leads still (`Raft::read_index`, §8), which
//! needs no entry and no disk; where Raft cannot tell yet, it goes through the log.
//!
//! # The order to read it in
//!
//! | file | is |
//! |---|---|
//! | `message.rs` | what crosses the network, and what is in the log |
//! | `sessions.rs` | which commands were executed already |
//! | `store.rs` | the store: what a command does, and what a snapshot holds |
//! | `replica.rs` | any deterministic machine, replicated: submit, wait, answer |
//! | `server.rs` | the service that clients call |
//! | `clerk.rs` | a client |
//!
//! # What is left out
//!
//! A clerk learns who leads by asking around. A call that waits for a leader which was
//! cut off is given up after [`ANSWER_TIMEOUT`], and no earlier. A snapshot is written
//! with the state's lock held. Sessions do not expire with time. Values are strings, and
//! an append copies nothing but itself; a Get copies the whole value.
//!
// END 3A
//! Boundary: uses raft's public face, labrpc and labsim. Knows no test.

// BEGIN 3A
// STUB #![allow(dead_code)] // Not all that is given is used yet. Take this out when it is.
// STUB
// END 3A
mod clerk;
// BEGIN 3A
mod message;
mod replica;
// END 3A
mod server;
// BEGIN 3A
mod sessions;
mod store;
// END 3A

pub use clerk::{Clerk, ClerkError, Why};
// BEGIN 3A
pub use message::{Command, Refusal, Request, SessionId, Write, WriteOutcome};
pub use replica::{ANSWER_TIMEOUT, Machine, Replica, SubmitError};
// END 3A
pub use server::{KvServer, Reads, Settings};
// BEGIN 3A
pub use sessions::{Freshness, Sessions};
pub use store::{Answer, Store};
// END 3A

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
