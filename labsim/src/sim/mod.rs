//! The simulation: threads as fibers, a scheduler, a clock, crashes.
//!
//! One simulation runs on one fresh OS thread, and its state is that thread's:
//! [`with`] finds it without an argument, which is how a student's
//! `Mutex::lock` reaches the scheduler. Fresh, because std and rand cache
//! things per OS thread (the keys of every `HashMap`, for one), and what one
//! run left behind must not be there for the next.
//!
//! | file | is |
//! |---|---|
//! | `core.rs` | the state, the clock, and what a step costs |
//! | `schedule.rs` | the loop that picks who runs |
//! | `table.rs` | who is ready, who waits, and the timers |
//! | `spawn.rs`, `wait.rs` | how a thread begins, ends, waits and is woken |
//! | `crash.rs` | unwinding the threads of a dead node, and what they may still do |
//! | `threads.rs` | what a report says of threads; the deadlock |
//! | `order.rs` | locks that two threads take in opposite orders |
//! | `stuck.rs`, `busy.rs` | waits that will not end, loops that get nowhere |
//! | `fiber.rs` | stacks and switches |
//! | `causes.rs` | what made a thread do what it does, while a run is recorded |
//! | `pause.rs` | threads of a paused node; timers of a clock that was changed |
//! | `nested.rs` | a simulation that is started inside another one |
//! | `waiters.rs` | lists of waiting threads |
//! | `watchdog` | another OS thread that sees when a run gets no further |
//! | `signals.rs`, `trap.rs` | how it asks, and how a stack overflow is survived |
//! | `ending.rs` | how a process ends that a run takes with it |
//!
//! Boundary: knows threads, time and nodes. Knows no links, disks or messages.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, mpsc};

use cpu_time::ThreadTime;
use parking_lot::Mutex;

use crate::context::{self, Mode};
use crate::outcome::{Config, Failure, FailureKind, Outcome, Preemption, ThreadStack, Trace};
use crate::panics;
use crate::record::Record;
use crate::stack::Stack;

mod busy;
mod causes;
mod core;
mod crash;
mod ending;
mod fiber;
mod nested;
mod order;
mod pause;
mod schedule;
#[cfg(unix)]
mod signals;
#[cfg(not(unix))]
#[path = "no_signals.rs"]
mod signals;
mod spawn;
mod stuck;
mod table;
mod threads;
mod trap;
mod wait;
mod waiters;
mod watchdog;

pub(crate) use self::causes::Causes;
pub(crate) use self::core::{Core, Home, Place, Why};
pub(crate) use self::crash::Dying;
pub use self::ending::exit;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) use self::ending::wait_to_leave;
use self::nested::Nested;
pub(crate) use self::spawn::NewThread;
pub(crate) use self::table::ThreadKey;
pub(crate) use self::waiters::{WaitList, Waiter};

thread_local! {
    /// Never dropped by the thread, so that reaching it costs one instruction:
    /// `Core::forget` empties it when the run is over.
    static CORE: ManuallyDrop<Core> = const { ManuallyDrop::new(Core::new()) };
}

/// Runs `f` on the simulation of this OS thread.
///
/// `f` may suspend the calling fiber: the core stays where it is for as long as
/// its OS thread lives.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Core) -> R) -> R {
    CORE.with(|core| f(core))
}

/// As [`with`], for objects that remember that they belong to a simulation.
///
/// # Panics
///
/// If the calling thread is in none.
#[inline]
pub(crate) fn inside<R>(place: Place, f: impl FnOnce(&Core) -> R) -> R {
    if context::mode() != Mode::Simulated {
        panic!("an object that belongs to a simulation was used outside of it, at {place}");
    }
    with(f)
}

/// What a simulation sends to whoever started it.
struct Ended {
    /// The simulation's OS thread will not return.
    abandoned: bool,
    /// Nor will that of another one, which it has started.
    left_behind: bool,
    /// And the process will not live long.
    fatal: bool,
    steps: u64,
    timer_events: u64,
    threads: u64,
    nanos: u64,
    hash: u64,
    trace: Trace,
    stacks: Vec<threads::RawStack>,
    cpu: std::time::Duration,
    failure: Option<Failure>,
    notes: Vec<crate::note::Note>,
    record: Record,
}

/// Runs `body` as the first thread of a simulated world.
///
/// Returns when `body` has returned, when anything in the world failed, or when
/// a limit of `config` was passed, whichever comes first. Threads that are
/// still there then are unwound. The same `config` and the same program yield
/// the same outcome, [`Outcome::hash`] included, on every machine.
///
/// ```
/// use labsim::{Config, simulate, thread, time::Duration};
/// let outcome = simulate(Config::seed(1), || {
///     let sleeper = thread::spawn("sleeper", || thread::sleep(Duration::from_secs(60)));
///     sleeper.join().unwrap();
///     "a minute later"
/// });
/// assert_eq!(outcome.result.unwrap(), "a minute later");
/// assert!(outcome.elapsed >= Duration::from_secs(60));
/// ```
///
/// It may be called inside a simulation too, also by an observer: then that one stands
/// still meanwhile, and does not notice (see [`Disk::restore`](crate::disk::Disk::restore)
/// for an example). The CPU time is on its account.
///
/// # Panics
///
/// If `config` allows no thread, or has a preemption rate of one in 0.
#[track_caller]
pub fn simulate<T: Send + 'static>(config: Config, body: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    assert!(config.thread_limit > 0, "a thread limit of 0 leaves no room for the first thread");
    assert!(config.preemption != Some(Preemption::OneIn(0)), "OneIn(0) is no rate; Never is one");
    // What depends on the body's type is kept small: it is compiled for each body.
    let place = Location::caller();
    let value = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&value);
    let body = Box::new(move || match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => *slot.lock() = Some(result),
        Err(payload) => with(|core| core.report_silent_panic(payload.as_ref(), place)),
    });
    let nested = Nested::begin(place);
    let outcome = run(config, body, nested.is_some());
    if let Some(nested) = nested {
        nested.end(&outcome);
    }
    let value = value.lock().take();
    outcome.map(|()| value.expect("a body that does not return was reported"))
}

thread_local! {
    /// Dropped when a run's OS thread has dropped all its other thread-locals:
    /// they go in the reverse order of their first use.
    static LAST_TO_GO: std::cell::Cell<Option<mpsc::Sender<()>>> = const { std::cell::Cell::new(None) };
}

/// Waits until a run's OS thread has dropped its thread-locals. False if that
/// takes too long: a destructor of a student's may do anything.
fn is_gone(gone: &mpsc::Receiver<()>, patience: std::time::Duration) -> bool {
    loop {
        match gone.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Timeout) if !watchdog::is_traced() => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) | Ok(()) => return true,
        }
    }
}

fn run(config: Config, body: Box<dyn FnOnce() + Send>, is_nested: bool) -> Outcome<()> {
    panics::install_hook();
    signals::install();
    watchdog::start_watchdog();
    let seed = config.seed;
    let (ended_tx, ended_rx) = mpsc::channel();
    let (gone_tx, gone_rx) = mpsc::channel::<()>();
    let patience = config.stall_limit;
    std::thread::Builder::new()
        .name(format!("seed {seed}"))
        .spawn(move || {
            // The first of its thread-locals to be there, and the last to go.
            LAST_TO_GO.set(Some(gone_tx));
            let begun = ThreadTime::now();
            let _stack = signals::AlternateStack::install();
            let ran = catch_unwind(AssertUnwindSafe(|| with(|core| core.run(config, begun, ended_tx, body))));
            context::set_mode(Mode::Outside);
            if let Err(payload) = ran {
                // The scheduler itself failed: a bug of this crate, or a limit
                // of the configuration that leaves no room for the first thread.
                with(|core| core.send_failure(&panics::message(payload.as_ref())));
            }
        })
        .expect("the operating system refuses another thread");

    let mut ended =
        ended_rx.recv().unwrap_or_else(|_| panic!("the scheduler itself failed under seed {seed}; see above"));
    // A simulation that had to be stopped in the middle of a destructor never
    // returns, and its OS thread sleeps for ever. All others are done now.
    if !ended.abandoned && !is_gone(&gone_rx, patience) {
        ended.abandoned = true;
        ended.failure.get_or_insert_with(|| {
            let message = "a thread-local value is dropped when the run is over, and its destructor does not end";
            Failure::new(FailureKind::Stuck, message, std::time::Duration::from_nanos(ended.nanos), "unknown")
        });
    }
    let (failure, stacks) = (ended.failure, ended.stacks);
    Outcome {
        result: match failure {
            None => Ok(()),
            // A simulated thread's stack is too small to make text of stacks.
            Some(failure) if is_nested && (failure.has_addresses() || !stacks.is_empty()) => {
                Err(elsewhere(failure, stacks))
            }
            Some(failure) => Err(with_stacks(failure, stacks)),
        },
        seed,
        elapsed: std::time::Duration::from_nanos(ended.nanos),
        steps: ended.steps,
        timer_events: ended.timer_events,
        threads: ended.threads,
        hash: ended.hash,
        cpu: ended.cpu,
        abandoned: ended.abandoned || ended.left_behind,
        fatal: ended.fatal,
        notes: ended.notes,
        record: ended.record,
        trace: ended.trace,
    }
}

/// The failure with its stacks as text.
fn with_stacks(failure: Failure, stacks: Vec<threads::RawStack>) -> Failure {
    let as_text = |(thread, addresses): threads::RawStack| ThreadStack {
        thread,
        stack: Stack::from_addresses(&addresses).render(),
    };
    Failure { stacks: stacks.into_iter().map(as_text).collect(), ..failure.resolved() }
}

/// As [`with_stacks`], on an OS thread of its own.
fn elsewhere(failure: Failure, stacks: Vec<threads::RawStack>) -> Failure {
    let thread = std::thread::spawn(|| with_stacks(failure, stacks));
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}
