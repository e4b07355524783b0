//! Locks, conditions, barriers and atomics, with the names and signatures of
//! parking_lot 0.12 and, where it has none, of std's `sync`.
//!
//! | | like | |
//! |---|---|---|
//! | [`Mutex`], [`Condvar`] | parking_lot | one thread inside, and waiting for a change |
//! | [`RwLock`] | parking_lot | many readers or one writer |
//! | [`Once`] | parking_lot | what is done once |
//! | [`OnceLock`] | std | a value that is made once |
//! | [`Barrier`] | std | threads that wait for each other |
//! | [`mod@atomic`], [`Arc`] | std | single words, and what is shared |
//!
//! In a simulation each of their operations is a step at which another thread
//! may take over. Outside they are parking_lot's and std's own, behind one
//! thread-local read.
//!
//! Boundary: shared state between threads of one world. Threads are in
//! [`thread`](crate::thread), messages in [`channel`](crate::channel).

pub mod atomic;
mod barrier;
mod changing;
mod condvar;
mod mutex;
mod once;
mod rwlock;

pub use std::sync::Arc;

pub use self::barrier::{Barrier, BarrierWaitResult};
pub use self::condvar::{Condvar, WaitTimeoutResult};
pub(crate) use self::mutex::Chosen;
pub use self::mutex::{Mutex, MutexGuard, assert_no_lock_held, locks_held};
pub use self::once::{Once, OnceLock, OnceState};
pub use self::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
