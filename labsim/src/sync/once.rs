//! What is done once, and a value that is made once.
//!
//! The initialiser runs with no lock in hand. In a simulation it may sleep,
//! receive and be preempted, and who needs its result waits in virtual time. If
//! its node crashes, nothing has been done, and one of those who wait takes over.
//!
//! Boundary: who runs the initialiser, and who waits for it. Waiting itself is in
//! `changing.rs`.

use std::fmt;
use std::panic::Location;

pub use parking_lot::OnceState;

use super::changing::Changing;
use crate::context::{self, Mode};
use crate::sim::{self, Place, Why};

/// How far it has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    New,
    /// The last one who tried panicked.
    Poisoned,
    /// By the simulated thread with this serial number; 0 on OS threads.
    Running(u32),
    Done,
}

/// Runs an initialiser once, as `parking_lot::Once`.
///
/// ```
/// use labsim::sync::{Arc, Once, atomic::{AtomicU32, Ordering::SeqCst}};
/// use labsim::{Config, simulate, thread, time::Duration};
/// let outcome = simulate(Config::seed(1), || {
///     let shared = Arc::new((Once::new(), AtomicU32::new(0)));
///     let threads = ["left", "right"].map(|name| {
///         let shared = Arc::clone(&shared);
///         thread::spawn(name, move || {
///             shared.0.call_once(|| {
///                 thread::sleep(Duration::from_millis(5));
///                 shared.1.fetch_add(1, SeqCst);
///             });
///             shared.1.load(SeqCst)
///         })
///     });
///     threads.map(|thread| thread.join().unwrap())
/// });
/// assert_eq!(outcome.result.unwrap(), [1, 1]);
/// ```
#[derive(Debug)]
pub struct Once {
    progress: Changing<Progress>,
}

impl Once {
    /// Nothing has been done yet.
    pub const fn new() -> Self {
        Self { progress: Changing::new(Progress::New) }
    }

    /// Runs `initialise` if that has not been done. If another thread is at it,
    /// waits for its end. When this returns, it has been done once, and what it
    /// did is seen by the caller.
    ///
    /// # Panics
    ///
    /// If an earlier initialiser panicked: it may have done half of its work.
    /// A crash is no panic. A simulated initialiser that needs its own result is
    /// reported at once as a deadlock.
    #[track_caller]
    pub fn call_once(&self, initialise: impl FnOnce()) {
        self.run(Force::No, Location::caller(), |_| initialise());
    }

    /// As [`call_once`](Self::call_once), but tries again after a panic. The
    /// argument says whether there was one.
    #[track_caller]
    pub fn call_once_force(&self, initialise: impl FnOnce(OnceState)) {
        self.run(Force::Yes, Location::caller(), initialise);
    }

    /// True once an initialiser has returned.
    #[track_caller]
    pub fn is_completed(&self) -> bool {
        self.state().done()
    }

    /// How far it has got at this moment.
    #[track_caller]
    pub fn state(&self) -> OnceState {
        self.progress.enter(Location::caller());
        match self.progress.with(|progress| *progress) {
            Progress::New => OnceState::New,
            Progress::Poisoned => OnceState::Poisoned,
            Progress::Running(_) => OnceState::InProgress,
            Progress::Done => OnceState::Done,
        }
    }

    #[track_caller]
    fn run(&self, force: Force, place: Place, initialise: impl FnOnce(OnceState)) {
        self.progress.enter(place);
        let me = match context::mode() {
            Mode::Simulated => sim::with(sim::Core::current_serial),
            Mode::Real | Mode::Outside => 0,
        };
        let found = self.progress.wait_until(place, |progress| {
            let found = match *progress {
                Progress::Done => return Ok(OnceState::Done),
                Progress::Running(runner) => return Err(Why::Once(runner)),
                Progress::Poisoned if force == Force::No => return Ok(OnceState::Poisoned),
                Progress::Poisoned => OnceState::Poisoned,
                Progress::New => OnceState::New,
            };
            *progress = Progress::Running(me);
            Ok(found)
        });
        match (found, force) {
            (OnceState::Done, _) => return,
            (OnceState::Poisoned, Force::No) => panic!("an earlier initialiser panicked; call_once_force tries again"),
            _ => {}
        }
        let mut attempt = Attempt { once: self, is_done: false };
        initialise(found);
        attempt.is_done = true;
        drop(attempt);
        context::step(place); // Others may go on now.
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a panic of an earlier initialiser is passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

/// An initialiser that runs, until it is dropped.
struct Attempt<'a> {
    once: &'a Once,
    is_done: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let outcome = match self.is_done {
            true => Progress::Done,
            false if context::is_dying() => Progress::New, // Somebody who lives takes over.
            false => Progress::Poisoned,
        };
        self.once.progress.with(|progress| *progress = outcome);
        self.once.progress.wake_all();
    }
}

/// A value that is made once, as `std::sync::OnceLock`.
///
/// ```
/// use labsim::sync::{Arc, OnceLock};
/// use labsim::{Config, simulate, thread, time::Duration};
/// let outcome = simulate(Config::seed(1), || {
///     let leader = Arc::new(OnceLock::new());
///     let theirs = Arc::clone(&leader);
///     let slow = thread::spawn("slow", move || {
///         *theirs.get_or_init(|| {
///             thread::sleep(Duration::from_millis(5));
///             "S1"
///         })
///     });
///     thread::sleep(Duration::from_millis(1));
///     (*leader.get_or_init(|| "S2"), slow.join().unwrap(), leader.set("S3"))
/// });
/// assert_eq!(outcome.result.unwrap(), ("S1", "S1", Err("S3")));
/// ```
pub struct OnceLock<T> {
    once: Once,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    /// No value yet.
    pub const fn new() -> Self {
        Self { once: Once::new(), value: std::sync::OnceLock::new() }
    }

    /// The value, if it has been made. Waits for nobody.
    #[track_caller]
    pub fn get(&self) -> Option<&T> {
        self.once.progress.enter(Location::caller());
        self.value.get()
    }

    /// Makes `value` the value, waiting for an initialiser that runs.
    ///
    /// # Errors
    ///
    /// `value` comes back if there is one already.
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.init(Location::caller(), || value.take().expect("an initialiser runs once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none, `make` makes it. If another thread is at it,
    /// waits for its end.
    ///
    /// If `make` panics there is still no value, and the next caller makes it;
    /// so too if its node crashes. A simulated `make` that needs the value itself
    /// is reported at once as a deadlock.
    #[track_caller]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        self.init(Location::caller(), make);
        self.value.get().expect("an initialiser has returned")
    }

    #[track_caller]
    fn init(&self, place: Place, make: impl FnOnce() -> T) {
        self.once.run(Force::Yes, place, |_| {
            let made = make();
            assert!(self.value.set(made).is_ok(), "two initialisers ran at once");
        });
    }

    /// The value, with no need to wait: nobody else has the lock.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// The value, and the lock gone.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    /// The value is there from the start.
    fn from(value: T) -> Self {
        Self { once: Once { progress: Changing::new(Progress::Done) }, value: std::sync::OnceLock::from(value) }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
