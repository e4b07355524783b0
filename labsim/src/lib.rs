//! A world for concurrent programs: under a seed, or on the real machine.
//!
//! Write ordinary blocking code against this crate's threads, locks, channels
//! and clock. [`simulate`] runs it in virtual time, where the seed decides every
//! switch between threads, every random number and every delay, so that a run
//! can be had again. [`run_real`] runs the same code on OS threads in real time.
//!
//! # One failing example, followed to its replay
//!
//! Two threads add to a counter, and one addition is lost:
//!
//! ```
//! use labsim::sync::{Arc, Mutex};
//! use labsim::{Config, simulate, thread};
//!
//! fn lost_update() -> u32 {
//!     let counter = Arc::new(Mutex::new(0));
//!     let add = |counter: Arc<Mutex<u32>>| {
//!         let seen = *counter.lock();  // The lock opens at the semicolon,
//!         *counter.lock() = seen + 1;  // and somebody else may come between.
//!     };
//!     let theirs = Arc::clone(&counter);
//!     let other = thread::spawn("other", move || add(theirs));
//!     add(Arc::clone(&counter));
//!     other.join().unwrap();
//!     *counter.lock()
//! }
//!
//! // Most seeds miss it, as most test runs on the real machine would.
//! let red = (0..1000).find(|seed| simulate(Config::seed(*seed), lost_update).result.unwrap() != 2);
//! let red = red.expect("some seed shows it");
//!
//! // The seed that shows it shows it every time, step by step the same.
//! let first = simulate(Config::seed(red), lost_update);
//! let again = simulate(Config::seed(red), lost_update);
//! assert_eq!(first.result.unwrap(), 1);
//! assert_eq!(first.hash, again.hash);
//! ```
//!
//! # What there is
//!
//! | module | like | beyond it |
//! |---|---|---|
//! | [`thread`] | std | every thread has a name and a node |
//! | [`sync`] | parking_lot, std | [`sync::Mutex::observed`] publishes at each unlock |
//! | [`channel`], [`select!`] | crossbeam-channel | the seed draws among what is ready |
//! | [`time`] | std | virtual: it moves when nobody can run, and by steps |
//! | [`rand`](mod@rand) | | streams by name, all from the seed |
//! | [`node`] | | machines that crash, restart and pause, and clocks that go wrong |
//! | [`disk`] | | files that survive a crash, if synced |
//! | [`links`] | | what lies between two nodes, as data |
//! | [`watch`] | | who publishes, who listens, and who stops the run |
//! | [`note!`] | eprintln | with virtual time, node and thread |
//!
//! An object made in one world and used in another panics, and says so.
//!
//! # What a seed fixes, and what not
//!
//! Everything that goes through this crate: order, time, chance, faults. Not
//! what goes past it: std's locks, threads, clocks and the order of a std
//! `HashMap`. A program that uses those may differ between two runs of one seed.
//!
//! # What is left out
//!
//! Weak memory: simulated atomics are sequentially consistent. Parallelism: one
//! simulated thread runs at a time, so a data race in unsafe code shows only as
//! an order of steps.
//!
//! All threads of a simulation share one OS thread, and so its thread-locals:
//! do not wait inside `LocalKey::with` or in the initialiser of one.
//!
//! The inside is explained in the crate's README.
//!
//! Boundary: threads, time and machines. Knows no messages and no Raft.

mod clock;
mod context;
#[doc(hidden)]
pub mod interposed;
mod outcome;
mod panics;
mod real;
mod sim;
mod stack;
mod world;

pub mod channel;
pub mod disk;
pub mod links;
pub mod node;
pub mod note;
pub mod rand;
pub mod sync;
pub mod thread;
pub mod time;
pub mod watch;

pub use outcome::{Config, Failure, FailureKind, Outcome, Preemption, ThreadStack, Trace, TraceStep};
pub use real::run_real;
pub use sim::{exit, simulate};
pub use watch::fail;

/// The seed of the world that the calling thread runs in, if it runs in one.
pub fn seed() -> Option<u64> {
    context::with_world(|world| world.seed)
}
