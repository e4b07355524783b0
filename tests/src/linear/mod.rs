//! Linearizability: did the clients see one store, one call after the other?
//!
//! A history is linearizable if each call can be given a moment between its invocation
//! and its return, so that all of them, carried out one at a time at those moments,
//! return what they did return (Herlihy and Wing, 1990). It is what a client of a
//! replicated service is promised: the servers may crash, change their leader and
//! resend, and nobody can tell that there is more than one.
//!
//! [`check`] looks for such moments, or rather for the order that they make. That is
//! hard in general, and easy for most histories, because few calls overlap at a time:
//!
//! - The search (`search.rs`) is Wing and Gong's (1993): place an operation that may come next,
//!   go on, come back when it leads nowhere.
//! - It is memoised (Lowe, 2017): two orders of the same operations that end in the
//!   same state have the same future. Without that, ten writes that overlap cost ten
//!   factorial orders; with it, 2^10 sets at most.
//! - It goes key by key ([Horn and Kroening](https://arxiv.org/abs/1504.00204), 2015,
//!   call it P-compositionality; porcupine made it known): keys know nothing of each
//!   other.
//! - It leaves out (`search.rs`) what something else does as well. In a history of appends
//!   with different texts and of gets, that is nearly all.
//! - A state (`model.rs`) is a number, however long the text is.
//!
//! What is bounded: steps, time and memory, by [`Limits`]. Who exceeds them gets
//! [`Verdict::Unknown`], and never a pass. Finding out is NP-complete, so some history
//! exceeds any limit: many writes that overlap, few reads that tell.
//!
//! A call without an answer may take effect at any time after it, or never. So it is
//! placed where something needs it, and nowhere else.
//!
//! If there is no order, the [`Breach`] says with which return the history is broken,
//! what could be placed up to there, and in words which two operations contradict each
//! other.
//!
//! What is left out: models other than a register and texts by key; and operations
//! that read one key and write another.
//!
//! Sources: M. Herlihy and J. Wing, *Linearizability: a correctness condition for
//! concurrent objects*, 1990. J. Wing and C. Gong, *Testing and verifying concurrent
//! objects*, 1993. G. Lowe, *Testing for linearizability*, 2017.
//!
//! Boundary: pure, and std only. Knows no raft, no simulator, and nothing else of
//! `tests`. Reads no clock but for a deadline.

mod explain;
mod history;
mod judge;
mod memo;
mod model;
mod parse;
mod plan;
mod search;
#[cfg(test)]
mod tests;
mod texts;

pub use history::{Call, Clock, Model, Operation, Outcome, quoted};
pub use judge::{Breach, BreachKind, Judgement, Limits, Verdict, check};
pub use parse::{Malformed, parse};
