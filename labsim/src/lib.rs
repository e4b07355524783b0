//! A world for concurrent programs: under a seed, or on the real machine.
//!
//! Write ordinary blocking code against this crate's threads, locks, channels
//! and clock. [`simulate`] runs it in virtual time, where the seed decides every
//! switch between threads, every random number and every delay, so that a run
//! can be had again. [`run_real`] runs the same code on OS threads in real time.
//!
//! # One bug, from red to replay to fixed
//!
//! Two threads add 1 to a counter, and one addition may be lost:
//!
//! ```
//! use labsim::sync::{Arc, Mutex};
//! use labsim::{Config, Outcome, note, simulate, thread};
//!
//! /// Two threads add, each in the way of `add`.
//! fn run(seed: u64, add: fn(&Mutex<u32>)) -> Outcome<()> {
//!     simulate(Config::seed(seed), move || {
//!         let counter = Arc::new(Mutex::new(0));
//!         let theirs = Arc::clone(&counter);
//!         let other = thread::spawn("other", move || add(&theirs));
//!         add(&counter);
//!         other.join().unwrap();
//!         assert_eq!(*counter.lock(), 2, "an update is lost");
//!     })
//! }
//!
//! fn add_carelessly(counter: &Mutex<u32>) {
//!     let seen = *counter.lock(); // The lock opens at the semicolon,
//!     note!("seen", "{seen}");
//!     *counter.lock() = seen + 1; // and somebody else may have come between.
//! }
//!
//! // Red. Most seeds miss it, as most test runs on the real machine would.
//! let red = (0..1000).find(|seed| run(*seed, add_carelessly).result.is_err());
//! let red = red.expect("some seed shows it");
//!
//! // Replay. The seed that shows it shows it each time, step by step the same,
//! // and the notes tell the story. A note more is not a step more: leave as many
//! // as it takes.
//! let first = run(red, add_carelessly);
//! let again = run(red, add_carelessly);
//! assert_eq!((first.hash, first.steps), (again.hash, again.steps));
//! assert_eq!(again.notes.iter().filter(|note| note.to_string().ends_with("seen: 0")).count(), 2);
//! let failure = again.result.unwrap_err();
//! assert!(failure.message.contains("an update is lost"), "{failure}");
//!
//! // Fixed: one critical section. The red seed is green, and so are all others. It
//! // is another program now, and the seed another run of it: sweep, don't try one.
//! fn add_carefully(counter: &Mutex<u32>) {
//!     *counter.lock() += 1;
//! }
//! assert!((0..1000).all(|seed| run(seed, add_carefully).result.is_ok()));
//! ```
//!
//! # What there is
//!
//! | name | like | beyond it |
//! |---|---|---|
//! | [`simulate`], [`run_real`] | | run a body in a world; [`Config`] in, [`Outcome`] out |
//! | [`thread`] | std | every thread has a name and a node |
//! | [`sync`] | parking_lot, std | [`sync::Mutex::observed`] publishes at each unlock |
//! | [`channel`], [`select!`] | crossbeam-channel | the seed draws among what is ready |
//! | [`time`] | std | virtual: it moves when nobody can run, and by steps |
//! | [`rand`](mod@rand) | | streams by name, all from the seed |
//! | [`node`] | | machines that crash, restart and pause, and clocks that go wrong |
//! | [`disk`] | | files that survive a crash, if synced |
//! | [`links`] | | what lies between two nodes, as data |
//! | [`watch`], [`fail`] | | who publishes, who listens, and who stops the run |
//! | [`record`] | | what happened, and what came from what, for a page to draw |
//! | [`mod@note`], [`note!`] | eprintln | with virtual time, node and thread |
//! | [`interpose!`] | | std's clocks, `HashMap` and `rand::rng()` obey the seed too |
//! | [`Failure`], [`exit`] | | what went wrong first; how a process ends when a thread wants it to |
//!
//! An object made in one world and used in another panics, and says so.
//!
//! # What a seed fixes, and what not
//!
//! Everything that goes through this crate: order, time, chance, faults. In a
//! program that says [`interpose!`], on Linux with glibc, also what std takes
//! from the machine: the order of a `HashMap`, `rand::rng()`, std's `Instant` and
//! `SystemTime`; and std's `sleep` and `spawn` fail the run where they are called.
//!
//! Not what else goes past it: a static that outlives the run, an order by
//! address, the process's id, a file, the network; and all of the above on other
//! systems. Whoever doubts runs a seed twice, best in two processes, and compares
//! [`Outcome::hash`]; with [`Config::trace`] the first step that differs is there to
//! read.
//!
//! A seed belongs to a program. Change a line, and it means another run.
//!
//! # What is left out
//!
//! Weak memory: simulated atomics are sequentially consistent. Parallelism: one
//! simulated thread runs at a time and loses the processor at visible operations
//! only, so a data race in unsafe code shows only as an order of steps.
//!
//! Blocking that labsim knows nothing of: a std lock, a socket, a loop that calls
//! nothing. The run stands still then, and is given up after some seconds of the
//! machine's time, with the place ([`Config::stall_limit`]). And a run whose steps
//! are too slow has a limit of CPU time ([`Config::cpu_limit`]).
//!
//! All threads of a simulation share one OS thread, and so its thread-locals:
//! do not wait inside `LocalKey::with` or in the initialiser of one.
//!
//! The inside is explained in the crate's README, each kind of failure in its
//! `docs/failures.md`, and breakpoints in `docs/debugger.md`.
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
pub mod record;
pub mod sync;
pub mod thread;
pub mod time;
pub mod watch;

pub use outcome::{Config, Failure, FailureKind, Outcome, Preemption, ThreadStack, Trace, TraceStep};
pub use real::run_real;
pub use sim::{exit, simulate};
pub use watch::fail;

/// The time since the calling thread's world began: virtual, or the machine's in
/// a real world; zero outside of one. It costs no step.
pub fn elapsed() -> std::time::Duration {
    context::elapsed()
}

/// True on the threads of a simulation.
pub fn is_simulated() -> bool {
    context::mode() == context::Mode::Simulated
}

/// The seed of the world that the calling thread runs in, if it runs in one.
pub fn seed() -> Option<u64> {
    context::with_world(|world| world.seed)
}
