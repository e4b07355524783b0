//! Locks, conditions and atomics, with the names and signatures of parking_lot
//! 0.12 and of std's `sync::atomic`.
//!
//! In a simulation each of their operations is a step at which another thread
//! may take over. Outside they are parking_lot's and std's own, behind one
//! thread-local read.
//!
//! Boundary: shared state between threads of one world. Threads are in
//! [`thread`](crate::thread), messages in [`channel`](crate::channel).

pub mod atomic;
mod condvar;
mod mutex;

pub use std::sync::Arc;

pub use self::condvar::{Condvar, WaitTimeoutResult};
pub(crate) use self::mutex::Chosen;
pub use self::mutex::{Mutex, MutexGuard, assert_no_lock_held, locks_held};
