//! A world on OS threads, in real time.
//!
//! Nodes, lives and links are those of a simulation; threads, locks and clocks
//! are the machine's.
//!
//! | file | is |
//! |---|---|
//! | `real.rs` | a run, and the beginning of each of its threads |
//! | `real/lives.rs` | how they die and pause with their node |
//! | `real/wait.rs` | how they wait, so that their death wakes them |
//!
//! Boundary: threads and lives of a real world. The facade's modules decide
//! what a call means.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use crossbeam_channel::RecvTimeoutError;
use parking_lot::Mutex;

use self::lives::{RealThread, Shared, enter, leave};
use crate::context::{self, Life, Mode};
use crate::outcome::{Config, Failure, FailureKind, Outcome, Trace};
use crate::panics;
use crate::record::Record;
use crate::sim::{Dying, Place};
use crate::thread::Slot;
use crate::world::World;

mod lives;
mod wait;

pub(crate) use self::lives::{
    Finishing, check, check_alive, clock_reading, cord, crash, die, fail, is_paused, machine_time, observe, pause,
    resume, stay, with,
};
pub(crate) use self::wait::{Ended, Parker, Waiters, parker, sleep};

/// How long a real run waits at its end for threads that do not notice it.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(2);

/// Starts an OS thread in `life`.
///
/// `body` begins with [`begin`] and does not unwind.
pub(crate) fn spawn(life: Option<Life>, name: Cow<'static, str>, body: Box<dyn FnOnce() + Send>) -> Ended {
    let me = with(Clone::clone).expect("the caller runs in a real world");
    let (ended_tx, ended_rx) = crossbeam_channel::bounded::<()>(0);
    let (cord, gate) = (me.shared.cord_of(life), life.map(|life| me.shared.gate_of(life)));
    let thread = RealThread { cord, gate, life, parker: Parker::default(), ..me };
    let shared = Arc::clone(&thread.shared);
    shared.threads.fetch_add(1, Ordering::SeqCst);
    let started = std::thread::Builder::new().name(name.into_owned()).spawn(move || {
        let shared = Arc::clone(&thread.shared);
        enter(thread);
        body();
        leave();
        drop(ended_tx); // Joiners wait for this end of the channel to go.
        shared.threads.fetch_sub(1, Ordering::SeqCst);
    });
    if let Err(error) = started {
        shared.threads.fetch_sub(1, Ordering::SeqCst);
        let message = format!("the operating system refuses another thread: {error}");
        fail(Failure::here(FailureKind::Limit, message));
        check();
    }
    Ended { gone: ended_rx }
}

/// The beginning of a thread's body, on the thread.
pub(crate) fn begin(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay);
    }
    check();
}

/// Fails the run for a panic that the hook has not seen. Where it was thrown is
/// not known; where the thread was `spawned` is.
pub(crate) fn report_silent_panic(payload: &(dyn Any + Send), spawned: Place) {
    if payload.is::<Dying>() || with(|thread| thread.world.has_failed()) != Some(false) {
        return;
    }
    fail(Failure::here(FailureKind::Panic, panics::silent(payload, spawned)));
}
/// Runs `body` as the first thread of a world on OS threads, in real time.
///
/// The same program as in [`simulate`](crate::simulate), with the machine's own
/// scheduling and clock: no seed reproduces it. The seed still feeds
/// [`rand`](crate::rand) and what links draw. [`Config::time_limit`] counts
/// real time; steps, threads and stacks are not limited.
///
/// ```
/// use labsim::{Config, Outcome, channel, run_real, simulate, thread};
/// let body = || {
///     let (tx, rx) = channel::unbounded();
///     thread::spawn("sender", move || tx.send(7).unwrap());
///     rx.recv().unwrap()
/// };
/// let (simulated, real) = (simulate(Config::seed(1), body), run_real(Config::seed(1), body));
/// assert_eq!((simulated.result.unwrap(), real.result.unwrap()), (7, 7));
/// assert_eq!(real.hash, 0, "nobody could bring this run back");
/// ```
///
/// # Panics
///
/// If the caller is itself in a world.
#[track_caller]
pub fn run_real<T: Send + 'static>(config: Config, body: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    assert!(context::mode() == Mode::Outside, "a real world was started inside another world");
    // What depends on the body's type is kept small: it is compiled for each body.
    let place = Location::caller();
    let slot: Slot<T> = Arc::new(Mutex::new(None));
    let store = Arc::clone(&slot);
    let body = Box::new(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            begin(Duration::ZERO);
            body()
        }));
        if let Err(payload) = &ended {
            report_silent_panic(payload.as_ref(), place);
        }
        *store.lock() = Some(ended);
    });
    let outcome = run(config, body);
    let value = slot.lock().take();
    outcome.map(|()| match value {
        Some(Ok(value)) => value,
        _ => unreachable!("the first thread ends with a value, or the run fails"),
    })
}

fn run(config: Config, body: Box<dyn FnOnce() + Send>) -> Outcome<()> {
    panics::install_hook();
    let begun = ProcessTime::now();
    let world = Arc::new(World::new(config.seed));
    let shared = Arc::new(Shared::new());
    let cord = shared.cord_of(None);
    let outer = RealThread {
        world: Arc::clone(&world),
        life: None,
        shared: Arc::clone(&shared),
        cord: cord.clone(),
        gate: None,
        parker: Parker::default(),
    };
    // The caller enters the world for a moment, so that the first thread is
    // spawned like any other.
    enter(outer);
    let ended = spawn(None, Cow::Borrowed("main"), body);
    leave();

    // A limit past the end of the machine's clock is none.
    let overdue = match Instant::now().checked_add(config.time_limit) {
        Some(deadline) => ended.gone.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout),
        None => {
            let _ = ended.gone.recv();
            false
        }
    };
    if overdue {
        let message = format!("the run went past its limit of {:.3}s", config.time_limit.as_secs_f64());
        world.fail(Failure::new(FailureKind::TimeLimit, message, world.wall_elapsed(), "main"));
    }
    let elapsed = world.wall_elapsed();
    drop(shared.cut_all());
    world.links.interrupt();
    let patience = Instant::now() + STRAGGLERS_WAIT;
    while shared.threads.load(Ordering::SeqCst) > 0 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }

    let result = match world.take_failure() {
        Some(failure) => Err(failure.resolved()),
        None => Ok(()),
    };
    let notes = world.notes.lock().take();
    Outcome {
        result,
        seed: config.seed,
        elapsed,
        steps: 0,
        timer_events: 0,
        threads: 0,
        hash: 0,
        cpu: begun.elapsed(),
        abandoned: false,
        fatal: false,
        notes,
        record: Record::default(),
        trace: Trace::default(),
    }
}
