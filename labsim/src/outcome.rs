//! What a run is given, and what it comes back with.
//!
//! Boundary: plain data and its printing. Runs nothing.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use crate::context;
use crate::note::Note;
use crate::record::Record;
use crate::stack::{self, Stack};

/// How a run is set up. Everything not fixed here is drawn from the seed.
///
/// ```
/// use labsim::time::Duration;
/// use labsim::{Config, FailureKind, Preemption, simulate, thread};
/// let usual = Config::seed(17);
/// let strict = Config { wait_limit: Some(Duration::from_secs(10)), ..usual.clone() }
///     .time_limit(Duration::from_secs(60))
///     .preemption(Preemption::OneIn(3));
/// let naps = || (0..100).for_each(|_| thread::sleep(Duration::from_secs(1)));
/// assert!(simulate(usual, naps).result.is_ok());
/// assert_eq!(simulate(strict, naps).result.unwrap_err().kind, FailureKind::TimeLimit);
/// ```
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
    /// The run is given up if it takes no step for so long on the machine's
    /// clock, and has had the processor: a loop that calls nothing, or a wait
    /// that labsim knows nothing of. Off under a debugger.
    pub stall_limit: Duration,
    /// The run fails if it uses so much CPU time in all, set-up, tear-down and the
    /// simulations that it starts included: its steps are too slow for it to get anywhere. It fails at its
    /// next step; if it takes none within a second, it is given up. The failure
    /// names the thread and the place where the run was seen most often before.
    /// Where the system does not tell the CPU time of a thread, which Linux does,
    /// it is time on the machine's clock. Seen a few times a second. This verdict
    /// depends on how fast the machine is. Off under a debugger.
    ///
    /// Time that the OS thread was seen asleep counts as well, since nothing in a
    /// simulation waits for the machine; what it waits for while it prints does not.
    pub cpu_limit: Duration,
    /// The run is given up if the process grows by so many bytes while it runs.
    /// Seen on Linux only, and a few times a second.
    pub memory_limit: u64,
    /// The run fails if a thread waits so long for a lock, or for a condition that
    /// has come true without a notification: nobody may hold a lock for long, and
    /// a `wait_while` that was not notified never ends.
    pub stuck_after: Duration,
    /// The run fails if any thread waits so long with no time-out of its own.
    /// `None`, the default, lets threads wait for ever: an idle one does.
    pub wait_limit: Option<Duration>,
    /// The run fails if two threads take two locks in opposite orders, or three take
    /// three in a circle: they may come to a deadlock, though perhaps not in this run
    /// ([`FailureKind::Deadlock`]).
    pub lock_order: bool,
    /// The run fails after so many steps in which nobody was idle for a moment,
    /// if they were taken in a few source lines.
    pub busy_limit: u64,
    /// Put the stack of each thread into the failure.
    pub stacks: bool,
    /// How many messages may be queued in one simulated channel, bounded or
    /// not. One more fails the run where it is sent.
    pub channel_limit: usize,
    /// Keep what each step did, so that two runs can be compared step by step.
    /// Costs 32 bytes a switch.
    pub trace: bool,
    /// Write down what happened, and what it came from (see [`record`](mod@crate::record)).
    /// Changes nothing about a run, and costs time and memory. Simulations only: in a
    /// real world nothing is recorded.
    pub record: bool,
    /// How many events are kept in a record. When there are more, the oldest details
    /// are dropped, then the oldest of the rest (see [`Class`](crate::record::Class)).
    pub record_limit: usize,
}

impl Config {
    /// The usual setting under `seed`: limits of an hour of virtual time, a
    /// billion steps, a minute of CPU time, 20,000 threads, a million messages in a
    /// channel and 200,000 events in a record, and stacks of 256 KiB.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            preemption: None,
            time_limit: Duration::from_secs(3600),
            step_limit: 1_000_000_000,
            stack_bytes: 256 * 1024,
            thread_limit: 20_000,
            stall_limit: Duration::from_secs(3),
            cpu_limit: Duration::from_secs(60),
            memory_limit: 1 << 30,
            stuck_after: Duration::from_secs(5),
            wait_limit: None,
            lock_order: false,
            busy_limit: 4_000_000,
            stacks: false,
            channel_limit: 1_000_000,
            trace: false,
            record: false,
            record_limit: 200_000,
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

    /// The same, recorded or not.
    #[must_use]
    pub fn record(self, record: bool) -> Self {
        Self { record, ..self }
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
    /// CPU time of the simulation's OS thread, set-up and tear-down included, and of
    /// the simulations that it has started; in a real world, of the whole process
    /// meanwhile.
    pub cpu: Duration,
    /// The run had to be ended in the middle of a destructor. Its OS thread sleeps
    /// for ever, and may hold the lock on std's panic hook: setting another one
    /// would wait as long. Make no more runs in this process than you must. Also if
    /// that is so of another simulation, which this one has started.
    pub abandoned: bool,
    /// The abandoned thread will end the process, use it up, or sleeps with a
    /// lock that everybody needs: the allocator's, or a standard stream's. Or
    /// unsafe code went wrong in it, and who knows what it has written to. Tell
    /// what there is to tell without those, and call [`exit`](crate::exit). In
    /// five seconds the process ends by itself.
    pub fatal: bool,
    /// The last notes (see [`note!`](crate::note!)).
    pub notes: Vec<Note>,
    /// What each step did, if [`Config::trace`] asked for it.
    pub trace: Trace,
    /// What happened, if [`Config::record`] asked for it.
    pub record: Record,
}

impl<T> Outcome<T> {
    /// The same with another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        Outcome {
            result: self.result.map(f),
            seed: self.seed,
            elapsed: self.elapsed,
            steps: self.steps,
            timer_events: self.timer_events,
            threads: self.threads,
            hash: self.hash,
            cpu: self.cpu,
            abandoned: self.abandoned,
            fatal: self.fatal,
            notes: self.notes,
            trace: self.trace,
            record: self.record,
        }
    }
}

/// What each step of a run did, for comparing two runs of one seed.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Each switch to a thread.
    pub steps: Vec<TraceStep>,
    /// The names of the threads, in the order in which they were started.
    pub threads: Vec<Cow<'static, str>>,
}

impl Trace {
    pub(crate) const EMPTY: Self = Self { steps: Vec::new(), threads: Vec::new() };

    /// The name of the thread that was started as the `number`th, from 1.
    pub fn name(&self, number: u32) -> &str {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.threads.get(at)).map_or("unknown", |name| name)
    }
}

/// One switch to a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceStep {
    /// The run's hash when the thread was resumed.
    pub hash: u64,
    /// Virtual time, in nanoseconds.
    pub nanos: u64,
    /// The thread, by the order in which threads were started, from 1.
    pub thread: u32,
    /// Where it goes on, or where it was spawned.
    pub place: &'static Location<'static>,
}

/// The first thing that went wrong in a run, caught where it happened.
///
/// `docs/failures.md` of this crate shows a report of each kind.
///
/// ```
/// use labsim::{Config, FailureKind, node::Node, simulate, thread};
/// let outcome = simulate(Config::seed(1), || {
///     let _ = Node::new("S1").spawn("voter", || panic!("no such candidate")).join();
/// });
/// let failure = outcome.result.unwrap_err();
/// assert_eq!(failure.kind, FailureKind::Panic);
/// assert_eq!((failure.thread.as_str(), failure.node.as_deref()), ("voter", Some("S1")));
/// assert!(failure.place.is_some_and(|place| place.contains(".rs:")));
/// ```
pub struct Failure {
    /// What sort of thing it was.
    pub kind: FailureKind,
    /// One or more lines that say what happened.
    pub message: String,
    /// Source file, line and column, where one is to blame: from the root of the
    /// workspace, if the file lies in it. The column is missing where the line was
    /// read off a stack.
    pub place: Option<String>,
    /// When: virtual time, or the machine's in a real world.
    pub at: Duration,
    /// The node whose thread it was, by name.
    pub node: Option<String>,
    /// The thread, by name.
    pub thread: String,
    /// The stack, cut to the frames outside of labsim and std: of a panic if
    /// `RUST_BACKTRACE` is set, and wherever the thread had to be asked where
    /// it was.
    pub backtrace: Option<String>,
    /// The stack of each thread that was alive, if [`Config::stacks`] asked for
    /// them.
    pub stacks: Vec<ThreadStack>,
    /// What [`fail`](crate::fail) was given.
    pub payload: Option<Box<dyn Any + Send>>,
    /// The stack as addresses. Turning them into text takes more stack than a
    /// simulated thread has left, so it is done when the run is over.
    pub(crate) addresses: Vec<usize>,
}

/// Where a thread was when the run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadStack {
    /// Its name and node, as in the message.
    pub thread: String,
    /// Its frames outside of labsim and std, one a line.
    pub stack: String,
}

/// The sorts of failure that labsim itself can tell apart.
///
/// Each has one name for programs, that of the variant (`BusyLoop`, by `Debug`),
/// and one for people, the same in lower-case words (`busy loop`, by `Display`).
///
/// ```
/// use labsim::FailureKind;
/// assert_eq!(format!("{:?}", FailureKind::BusyLoop), "BusyLoop");
/// assert_eq!(FailureKind::BusyLoop.to_string(), "busy loop");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// A thread panicked, or was about to end the process by an abort or a fault.
    Panic,
    /// Nobody can run, and no timer will change that. Or threads take locks in orders
    /// that lead to it under another schedule ([`Config::lock_order`]).
    Deadlock,
    /// A lock was held where the thread may wait for long.
    LockHeld,
    /// A thread waits for what will not come, while others go on.
    Stuck,
    /// Threads run on and on without getting anywhere.
    BusyLoop,
    /// Something of std's or the machine's was used that no simulation can hold:
    /// a thread, a sleep, a lock that was not free, blocking input or output,
    /// the end of the process.
    OutsideWorld,
    /// A thread needed more stack than [`Config::stack_bytes`].
    StackOverflow,
    /// The process grew by more than [`Config::memory_limit`], or the run takes
    /// more and more memory and no step for [`Config::stall_limit`].
    Memory,
    /// The clock passed [`Config::time_limit`].
    TimeLimit,
    /// More CPU time, and time asleep, than [`Config::cpu_limit`].
    CpuLimit,
    /// More steps than [`Config::step_limit`], more threads than
    /// [`Config::thread_limit`], or more messages in a channel than
    /// [`Config::channel_limit`].
    Limit,
    /// The code that watches the run said so, by [`fail`](crate::fail).
    Raised,
}

impl FailureKind {
    /// True if the machine has a say in it: the same seed may fail earlier, later,
    /// or not at all. So it may where the outcome is
    /// [`abandoned`](Outcome::abandoned), whatever the kind.
    pub fn depends_on_machine(self) -> bool {
        matches!(self, Self::CpuLimit | Self::Memory)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        let mut words = String::new();
        for (at, letter) in name.char_indices() {
            if letter.is_uppercase() && at > 0 {
                words.push(' ');
            }
            words.push(letter.to_ascii_lowercase());
        }
        f.pad(&words)
    }
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
            stacks: Vec::new(),
            payload: None,
            addresses: Vec::new(),
        }
    }

    /// True if there is a stack that is not text yet.
    pub(crate) fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Turns the addresses of the stack into text, and shortens the place.
    pub(crate) fn resolved(mut self) -> Self {
        if !self.addresses.is_empty() {
            let stack = Stack::from_addresses(&std::mem::take(&mut self.addresses));
            self.place = self.place.or_else(|| stack.place().map(str::to_owned));
            self.backtrace = Some(stack.render()).filter(|text| !text.is_empty());
        }
        self.place = self.place.map(|place| stack::from_workspace(Path::new(&place)).display().to_string());
        self
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

/// The kind by its name for programs, and the rest as by `Display`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Many a message begins with the kind: that is said once.
        let text = self.to_string();
        let rest = text.strip_prefix(&format!("{}: ", self.kind)).unwrap_or(&text);
        write!(f, "{:?}: {rest}", self.kind)
    }
}
