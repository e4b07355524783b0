//! Watching a run from inside it: what is published, and who listens.
//!
//! The code under test publishes values, at best from a lock that does so by
//! itself ([`Mutex::observed`](crate::sync::Mutex::observed)). The code that
//! judges the run listens, and stops it with [`fail`] at the first wrong step,
//! not at its late consequence. Neither knows the other: they share the type of
//! the value.
//!
//! Boundary: carries values of any type. Knows none of them.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::context::{self, Mode};
use crate::disk::Written;
use crate::node::NodeId;
use crate::outcome::{Failure, FailureKind};
use crate::{real, sim};

/// When, and by whose thread, something was published.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Virtual time, or the machine's in a real world.
    pub at: Duration,
    /// The node of the publishing thread; a test's own threads have none.
    pub node: Option<NodeId>,
}

type Listener = Arc<Mutex<dyn FnMut(&Seen, &dyn Any) + Send>>;

/// Who sees what is written to the disks of a world.
pub(crate) type DiskObserver = Arc<dyn Fn(&Written<'_>) + Send + Sync>;

/// Who listens in a world, to which type.
#[derive(Default)]
pub(crate) struct WatchTable {
    listeners: Vec<(TypeId, Listener)>,
    pub(crate) disks: Vec<DiskObserver>,
}

impl WatchTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.disks.is_empty()
    }
}

impl fmt::Debug for WatchTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.listeners.len())
    }
}

/// Calls `listener` with every `V` that is published in this world from now on.
///
/// It runs on the publishing thread, at once and to the end: it must not wait,
/// lock, or publish. It may call [`fail`].
///
/// ```
/// use labsim::{Config, FailureKind, fail, simulate, sync::Mutex, watch};
/// let outcome = simulate(Config::seed(1), || {
///     watch::subscribe(|seen, balance: &i64| {
///         if *balance < 0 {
///             fail(format!("the balance is {balance}"), seen.clone());
///         }
///     });
///     let account = Mutex::observed(10, |balance: &i64, watch| watch.publish(|| *balance));
///     *account.lock() -= 7;
///     *account.lock() -= 7; // The run ends at this unlock.
/// });
/// let failure = outcome.result.unwrap_err();
/// assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Raised, "the balance is -4"));
/// ```
///
/// # Panics
///
/// Outside of a world.
#[track_caller]
pub fn subscribe<V: 'static>(mut listener: impl FnMut(&Seen, &V) + Send + 'static) {
    let listener = move |seen: &Seen, value: &dyn Any| {
        if let Some(value) = value.downcast_ref() {
            listener(seen, value);
        }
    };
    let entry: (TypeId, Listener) = (TypeId::of::<V>(), Arc::new(Mutex::new(listener)));
    context::on_world(|world| world.watchers.lock().listeners.push(entry));
}

/// The right to publish. An observed lock hands it to its observer.
#[derive(Debug)]
pub struct Watch {
    _private: (),
}

impl Watch {
    pub(crate) const THE: Watch = Watch { _private: () };

    /// Shows `view` to everyone who listens for its type. It is not even made
    /// if nobody does.
    pub fn publish<V: 'static>(&self, view: impl FnOnce() -> V) {
        let wanted = TypeId::of::<V>();
        // Taken out, so that the table is free while other people's code runs.
        // Nearly always there is one listener to a type.
        let mut from = 0;
        let mut value = None;
        let mut view = Some(view);
        loop {
            let next = context::with_world(|world| {
                let table = world.watchers.lock();
                let at = table.listeners[from..].iter().position(|(id, _)| *id == wanted);
                at.map(|at| (from + at + 1, Arc::clone(&table.listeners[from + at].1)))
            });
            let Some((after, listener)) = next.flatten() else { return };
            from = after;
            let value = value.get_or_insert_with(|| (view.take().expect("made once"))());
            let seen = Seen { at: context::elapsed(), node: context::life().map(|life| life.node) };
            // In a simulation nobody else runs while an observer does: if the
            // listener is busy, it is because it published.
            let listener = match context::mode() {
                Mode::Simulated => listener.try_lock().expect("a listener publishes; it must only listen"),
                Mode::Real | Mode::Outside => listener.lock(),
            };
            let mut listener = listener;
            listener(&seen, value);
        }
    }
}

/// What the threads of `node` wait for, a line each, other than for some time to pass:
/// who is stuck is among them. Costs no step; empty outside of simulations.
pub fn waiting_threads(node: NodeId) -> Vec<String> {
    match context::mode() {
        Mode::Simulated => sim::with(|core| core.waiting_threads(node)),
        Mode::Real | Mode::Outside => Vec::new(),
    }
}

/// Ends the run: the code that watches it has seen enough.
///
/// The outcome carries `message`, and `payload` for a caller who knows its type. Its
/// place is where the calling thread took the lock that it holds, if it holds one: of
/// an observer's failure, the critical section.
/// Only the first failure of a run counts. Does not return, unless the calling
/// thread is unwinding already.
///
/// # Panics
///
/// Outside of a world.
#[track_caller]
pub fn fail(message: impl Into<String>, payload: impl Any + Send) {
    let place = std::panic::Location::caller();
    if context::is_dying() {
        return; // What a dying thread says in a destructor is not of this run.
    }
    // Said by an observer: then it is about the section that ends just now.
    let section = crate::sync::locks_held().last().map(ToString::to_string);
    let here = Failure::here(FailureKind::Raised, message);
    let failure = Failure { payload: Some(Box::new(payload)), place: section, ..here };
    match context::mode() {
        Mode::Simulated => sim::with(|core| {
            core.fail_with(failure);
            core.stop_here(place);
        }),
        Mode::Real => {
            real::fail(failure);
            real::check();
        }
        Mode::Outside => panic!("{failure}"),
    }
}
