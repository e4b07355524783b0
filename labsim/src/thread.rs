//! Threads that belong to nodes, in the simulation and on the real machine.
//!
//! As in std, with one difference: a thread has a name, because every report
//! names it. A thread belongs to the node and life of the thread that spawned
//! it, and ends when that life does, wherever it stands.
//!
//! Boundary: starting, ending, sleeping, parking. What threads share is in
//! [`sync`](crate::sync) and [`channel`](crate::channel).

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::context::{self, Life, Mode};
use crate::node::Down;
use crate::sim::{self, NewThread, ThreadKey, Why};
use crate::{real, time};

mod scope;

pub use self::scope::{Scope, ScopedJoinHandle, scope};

/// What [`JoinHandle::join`] returns: the thread's value, or what ended it.
pub type Result<T> = std::thread::Result<T>;

/// Starts a thread with the caller's node.
///
/// `name` appears in every report: a deadlock that says `replicator 2` is half
/// solved. The calling thread may lose the processor before this returns.
///
/// ```
/// use labsim::thread;
/// let adder = thread::spawn("adder", || 1 + 1);
/// assert_eq!(adder.join().unwrap(), 2);
/// ```
#[track_caller]
pub fn spawn<T: Send + 'static>(
    name: impl Into<Cow<'static, str>>,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn_in(Ok(context::life()), Duration::ZERO, name.into(), Location::caller(), body)
}

/// Starts a thread that belongs to no node, whoever the caller is.
///
/// It is part of what lies between the machines, such as a message on its way:
/// no crash ends it.
#[track_caller]
pub fn spawn_off_node<T: Send + 'static>(
    name: impl Into<Cow<'static, str>>,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    spawn_in(Ok(None), Duration::ZERO, name.into(), Location::caller(), body)
}

/// Starts a thread in `life`, its first step `delay` from now at the earliest.
pub(crate) fn spawn_in<T: Send + 'static>(
    life: std::result::Result<Option<Life>, Down>,
    delay: Duration,
    name: Cow<'static, str>,
    place: &'static Location<'static>,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let result = Arc::new(Mutex::new(None));
    let Ok(life) = life else {
        return JoinHandle { inner: Inner::Never(result) };
    };
    match context::mode() {
        Mode::Simulated => sim::with(|core| {
            let Some(delay_nanos) = prepare_simulated(core, life, delay, place) else {
                return JoinHandle { inner: Inner::Never(result) };
            };
            let store = Arc::clone(&result);
            let body = move || {
                let ended = catch_unwind(AssertUnwindSafe(body));
                if let Err(payload) = &ended {
                    sim::with(|core| core.report_silent_panic(payload.as_ref(), place));
                }
                *store.lock() = Some(ended);
            };
            match core.spawn(NewThread { name, life, delay_nanos, place }, body) {
                Some(key) => JoinHandle { inner: Inner::Simulated(key, result) },
                None => {
                    core.stop_here(place);
                    JoinHandle { inner: Inner::Never(result) }
                }
            }
        }),
        Mode::Real => {
            real::check();
            let delay = delay + start_delay(life);
            let store = Arc::clone(&result);
            let body = Box::new(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    real::begin(delay);
                    body()
                }));
                if let Err(payload) = &ended {
                    real::report_silent_panic(payload.as_ref(), place);
                }
                *store.lock() = Some(ended);
            });
            JoinHandle { inner: Inner::Real(real::spawn(life, name, body), result) }
        }
        Mode::Outside => {
            let body: Box<dyn FnOnce() -> T + Send> = Box::new(body);
            let handle = std::thread::Builder::new()
                .name(name.into_owned())
                .spawn(body)
                .expect("the operating system refuses another thread");
            JoinHandle { inner: Inner::Outside(handle) }
        }
    }
}

/// Fails the run for a panic of the calling thread that the hook has not seen.
fn report_silent_panic(payload: &(dyn Any + Send), spawned: &'static Location<'static>) {
    match context::mode() {
        Mode::Simulated => sim::with(|core| core.report_silent_panic(payload, spawned)),
        Mode::Real => real::report_silent_panic(payload, spawned),
        Mode::Outside => {}
    }
}

/// Takes the step of a spawn, and returns in how many nanoseconds the thread may
/// begin; never, if its life is over or the caller's.
fn prepare_simulated(
    core: &sim::Core,
    life: Option<Life>,
    delay: Duration,
    place: &'static Location<'static>,
) -> Option<u64> {
    core.point(place);
    // The dead start nothing, and nothing starts on the dead: others have run
    // since the life was looked up.
    let is_over = life.is_some_and(|life| !core.with_world(|world| world.is_current(life)));
    if core.is_muted(place) || is_over {
        return None;
    }
    let delay = delay + start_delay(life);
    Some(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}

fn start_delay(life: Option<Life>) -> Duration {
    match life {
        Some(life) => context::on_world(|world| world.nodes.lock().draw_start_delay(world.seed, life.node)),
        None => Duration::ZERO,
    }
}

pub(crate) type Slot<T> = Arc<Mutex<Option<Result<T>>>>;

/// The right to wait for a thread's end. Dropping it lets the thread go on.
pub struct JoinHandle<T> {
    inner: Inner<T>,
}

pub(crate) enum Inner<T> {
    Simulated(ThreadKey, Slot<T>),
    Real(real::Ended, Slot<T>),
    Outside(std::thread::JoinHandle<T>),
    /// It was not started: its node was down, or the caller was dying.
    Never(Slot<T>),
}

impl<T> JoinHandle<T> {
    /// Waits for the thread to end and returns its value.
    ///
    /// # Errors
    ///
    /// If it panicked (in a world the whole run has failed then), or if its
    /// node crashed first. What it did before it died may have taken effect.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let place = Location::caller();
        let slot = match self.inner {
            Inner::Simulated(key, slot) => {
                sim::inside(place, |core| {
                    core.point(place);
                    if !core.is_muted(place) {
                        core.join(key, place);
                    }
                });
                slot
            }
            Inner::Real(ended, slot) => {
                assert_outside();
                ended.wait();
                slot
            }
            Inner::Outside(handle) => {
                assert_outside();
                return handle.join();
            }
            Inner::Never(slot) => slot,
        };
        let ended = slot.lock().take();
        ended.unwrap_or_else(|| Err(Box::new("the thread's node crashed") as Box<dyn Any + Send>))
    }

    /// True once the thread has ended, in whichever way.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        let place = Location::caller();
        context::step(place);
        match &self.inner {
            Inner::Simulated(key, _) => sim::inside(place, |core| core.is_finished(*key)),
            Inner::Real(ended, _) => ended.is_over(),
            Inner::Outside(handle) => handle.is_finished(),
            Inner::Never(_) => true,
        }
    }
}

/// An OS thread is nobody that a simulated thread could wait for.
#[track_caller]
fn assert_outside() {
    assert!(
        context::mode() != Mode::Simulated,
        "a thread from outside of this simulation was joined or unparked in it; spawn it inside"
    );
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// A thread that can be unparked.
#[derive(Clone, Debug)]
pub struct Thread {
    handle: Handle,
    name: String,
}

#[derive(Clone, Debug)]
enum Handle {
    Simulated(ThreadKey),
    Real(real::Parker),
    Outside(std::thread::Thread),
}

/// The calling thread.
pub fn current() -> Thread {
    let handle = match context::mode() {
        Mode::Simulated => Handle::Simulated(sim::with(sim::Core::current_key)),
        Mode::Real => Handle::Real(real::parker()),
        Mode::Outside => Handle::Outside(std::thread::current()),
    };
    Thread { handle, name: context::thread_name() }
}

impl Thread {
    /// The name it was spawned with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the thread's [`park`], or lets its next one return at once.
    #[track_caller]
    pub fn unpark(&self) {
        let place = Location::caller();
        match &self.handle {
            Handle::Simulated(key) => sim::inside(place, |core| {
                if !core.is_muted(place) {
                    core.unpark(*key);
                    core.point(place);
                }
            }),
            Handle::Real(parker) => {
                assert_outside();
                real::check();
                parker.unpark();
            }
            Handle::Outside(thread) => {
                assert_outside();
                thread.unpark();
            }
        }
    }
}

/// Waits until another thread calls [`Thread::unpark`], or has done so since
/// the last `park`.
#[track_caller]
pub fn park() {
    park_until(None, Location::caller());
}

/// As [`park`], but for `timeout` at most.
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    park_until(Some(timeout), Location::caller());
}

fn park_until(timeout: Option<Duration>, place: &'static Location<'static>) {
    match context::mode() {
        Mode::Simulated => sim::with(|core| {
            core.point(place);
            if !core.is_muted(place) {
                core.park(place, timeout.and_then(|timeout| core.deadline(timeout)));
            }
        }),
        Mode::Real => real::parker().park(timeout.map(real::machine_time)),
        Mode::Outside => match timeout {
            Some(timeout) => std::thread::park_timeout(timeout),
            None => std::thread::park(),
        },
    }
}

/// Waits for `duration`: virtual time in a simulation, real time elsewhere; on
/// a node whose clock goes wrong, until that clock has counted it.
///
/// # Panics
///
/// Fails the run if the calling thread holds a lock: whoever needs it would
/// sleep too.
#[track_caller]
pub fn sleep(duration: Duration) {
    let place = Location::caller();
    match context::mode() {
        Mode::Simulated => sim::with(|core| {
            if core.is_muted(place) {
                return;
            }
            core.no_lock_held("sleeps", place);
            let until = core.deadline(duration);
            core.wait(Why::Sleep, place, Some(until.unwrap_or(u64::MAX)));
        }),
        Mode::Real => real::sleep(real::machine_time(duration)),
        Mode::Outside => std::thread::sleep(duration),
    }
}

/// Waits until `deadline`; returns at once if it has passed.
///
/// # Panics
///
/// As [`sleep`]; and if the moment is on another world's clock.
#[track_caller]
pub fn sleep_until(deadline: time::Instant) {
    sleep(deadline.saturating_duration_since(time::Instant::now()));
}

/// Lets another thread run, if one is ready.
#[track_caller]
pub fn yield_now() {
    let place = Location::caller();
    match context::mode() {
        Mode::Simulated => sim::with(|core| core.yield_now(place)),
        Mode::Real => {
            real::check();
            std::thread::yield_now();
        }
        Mode::Outside => std::thread::yield_now(),
    }
}
