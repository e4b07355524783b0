//! What a run is given, and what it comes back with.
//!
//! Boundary: plain data and its printing. Runs nothing.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::context;
use crate::note::Note;

/// How a run is set up. Everything not fixed here is drawn from the seed.
#[derive(Clone, Debug)]
pub struct Config {
    /// The only entropy of a simulation.
    pub seed: u64,
    /// How often a running thread may lose the processor where it need not.
    /// `None` draws one of [`Preemption::ALL`] from the seed.
    pub preemption: Option<Preemption>,
    /// The run fails if its clock gets past this: virtual time in a
    /// simulation, the machine's time in a real world.
    pub time_limit: Duration,
    /// The run fails after so many steps. A step is a visible operation of a
    /// thread, such as a lock, or its being resumed after it waited.
    pub step_limit: u64,
    /// Bytes of stack for each simulated thread.
    pub stack_bytes: usize,
    /// How many simulated threads may exist at once.
    pub thread_limit: usize,
    /// How many messages may be queued in one simulated channel, bounded or
    /// not. One more fails the run where it is sent.
    pub channel_limit: usize,
    /// Keep what each step did, so that two runs can be compared step by step.
    /// Costs 24 bytes a step.
    pub trace: bool,
}

impl Config {
    /// The usual setting under `seed`: limits of an hour of virtual time, a
    /// billion steps, 100,000 threads and a million messages in a channel, and
    /// stacks of 256 KiB.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            preemption: None,
            time_limit: Duration::from_secs(3600),
            step_limit: 1_000_000_000,
            stack_bytes: 256 * 1024,
            thread_limit: 100_000,
            channel_limit: 1_000_000,
            trace: false,
        }
    }

    /// The same with another limit on the clock.
    #[must_use]
    pub fn time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The same with a fixed preemption rate.
    #[must_use]
    pub fn preemption(self, preemption: Preemption) -> Self {
        Self { preemption: Some(preemption), ..self }
    }
}

/// How often a running thread may be preempted at a visible operation.
///
/// No rate fits all bugs. A torn update of two neighbouring lines wants a
/// switch at every point; a race between two long sections wants long stretches
/// without one. So each run draws its rate, and a sweep of seeds tries them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preemption {
    /// At one visible operation in so many, on average. 1 is every one.
    OneIn(u32),
    /// Never: threads switch only where they must wait. It hides every
    /// atomicity bug, so no seed draws it; it is here to be compared with.
    Never,
}

impl Preemption {
    /// The rates that a seed chooses from.
    pub const ALL: [Preemption; 5] = [
        Preemption::OneIn(1),
        Preemption::OneIn(3),
        Preemption::OneIn(10),
        Preemption::OneIn(30),
        Preemption::OneIn(100),
    ];
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the body returned, or the first thing that went wrong.
    pub result: Result<T, Failure>,
    /// The seed that reproduces it.
    pub seed: u64,
    /// Virtual time at the end; in a real world, the machine's.
    pub elapsed: Duration,
    /// Steps taken by all threads together.
    pub steps: u64,
    /// Timers that came due for a waiting thread.
    pub timer_events: u64,
    /// Threads that were started.
    pub threads: u64,
    /// A digest of every (thread, clock, draw) of the run. Equal hashes of
    /// equal seeds mean that the runs were the same. 0 in a real world.
    pub hash: u64,
    /// CPU time of the simulation's OS thread, set-up and tear-down included;
    /// in a real world, of the whole process meanwhile.
    pub cpu: Duration,
    /// The run had to be ended in the middle of a destructor. Its OS thread sleeps
    /// for ever, and may hold the lock on std's panic hook: setting another one
    /// would wait as long. Make no more runs in this process than you must.
    pub abandoned: bool,
    /// The last notes (see [`note!`](crate::note!)).
    pub notes: Vec<Note>,
    /// What each step did, if [`Config::trace`] asked for it.
    pub trace: Vec<TraceStep>,
}

/// One switch to a thread, for comparing two runs of one seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceStep {
    /// The run's hash when the thread was resumed.
    pub hash: u64,
    /// Virtual time, in nanoseconds.
    pub nanos: u64,
    /// The thread, by the order in which threads were started.
    pub thread: u32,
}

/// The first thing that went wrong in a run, caught where it happened.
pub struct Failure {
    /// What sort of thing it was.
    pub kind: FailureKind,
    /// One or more lines that say what happened.
    pub message: String,
    /// Source file, line and column, where one is to blame.
    pub place: Option<String>,
    /// When: virtual time, or the machine's in a real world.
    pub at: Duration,
    /// The node whose thread it was, by name.
    pub node: Option<String>,
    /// The thread, by name.
    pub thread: String,
    /// The stack of a panic, if `RUST_BACKTRACE` is set.
    pub backtrace: Option<String>,
    /// What [`fail`](crate::fail) was given.
    pub payload: Option<Box<dyn Any + Send>>,
}

/// The sorts of failure that labsim itself can tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// A thread panicked.
    Panic,
    /// Nobody can run, and no timer will change that.
    Deadlock,
    /// A lock was held where the thread may wait for long.
    LockHeld,
    /// The clock passed [`Config::time_limit`].
    TimeLimit,
    /// More steps than [`Config::step_limit`], more threads than
    /// [`Config::thread_limit`], or more messages in a channel than
    /// [`Config::channel_limit`].
    Limit,
    /// The code that watches the run said so, by [`fail`](crate::fail).
    Raised,
}

impl Failure {
    /// A failure of the thread `thread`, with nothing more known of it.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>, at: Duration, thread: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            place: None,
            at,
            node: None,
            thread: thread.into(),
            backtrace: None,
            payload: None,
        }
    }

    /// A failure of the calling thread, now.
    pub(crate) fn here(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, message, context::elapsed(), context::thread_name())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at {place}")?;
        }
        let millis = self.at.as_millis();
        write!(f, "\n  in thread `{}`", self.thread)?;
        if let Some(node) = &self.node {
            write!(f, " of {node}")?;
        }
        write!(f, ", at {}.{:03}s", millis / 1000, millis % 1000)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}
