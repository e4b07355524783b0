//! How a process ends that a run takes with it.
//!
//! After some runs a process cannot go on for long: a simulated thread stands in
//! `process::exit`, or was caught with a lock that everybody needs, or takes more
//! and more memory and cannot be stopped. Their outcome is *fatal*. Whoever has
//! started the run gets some seconds to tell what there is to tell, and ends the
//! process with [`exit`]. If nobody does, the watchdog does: they may wait for
//! the very lock that the lost thread has.
//!
//! Boundary: one process and its end. Which outcome is fatal is decided by whoever
//! tells it.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::signals;
use super::watchdog::is_traced;
use crate::outcome::Failure;

/// See [`Outcome::fatal`](crate::Outcome::fatal).
const END_WITHIN: Duration = Duration::from_secs(5);

static ENDING: Mutex<Ending> = Mutex::new(Ending { doom: None, leaving: Leaving::Nobody });
static LET_GO: Condvar = Condvar::new();

struct Ending {
    doom: Option<Doom>,
    leaving: Leaving,
}

/// The outcome of a run was fatal.
struct Doom {
    /// What has not been told if nobody does.
    told: String,
    /// How long whoever runs the simulation may take to tell it.
    left: Duration,
}

/// The end of a process is one thread's right: once one has called
/// `process::exit`, std lets all others wait that call it.
#[derive(Clone, Copy)]
enum Leaving {
    Nobody,
    /// A simulated thread has called it, and waits to be let go.
    Waits,
    /// It may go, with this code or its own.
    Goes(Option<i32>),
}

/// Ends the process with `code`, also where a simulated thread is about to.
///
/// The end of a process is one thread's right: once a simulated one has called
/// `process::exit` (see [`Outcome::fatal`](crate::Outcome::fatal)), std lets all
/// others wait that call it. This lets that one go on, with this code.
pub fn exit(code: i32) -> ! {
    let mut ending = ENDING.lock();
    let somebody_leaves = !matches!(ending.leaving, Leaving::Nobody);
    if somebody_leaves {
        ending.let_go(Some(code));
    }
    drop(ending); // Nobody else could leave.
    if somebody_leaves {
        loop {
            std::thread::park();
        }
    }
    std::process::exit(code)
}

/// A simulated thread is about to end the process.
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
pub(super) fn leave() {
    ENDING.lock().leaving = Leaving::Waits;
}

/// Waits until the end of the process may go on, and returns its code.
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
pub(crate) fn wait_to_leave(status: i32) -> i32 {
    let mut ending = ENDING.lock();
    loop {
        if let Leaving::Goes(code) = ending.leaving {
            return code.unwrap_or(if status == 0 { 1 } else { status });
        }
        LET_GO.wait(&mut ending);
    }
}

/// The outcome of a run is fatal. The first one counts.
pub(super) fn doom(failure: Option<&Failure>) {
    let told = failure.map(ToString::to_string).unwrap_or_default();
    ENDING.lock().doom.get_or_insert(Doom { told, left: END_WITHIN });
}

/// Some of the time has passed that the process has left. Ends it if that was
/// the rest.
pub(super) fn pass(time: Duration) {
    let mut ending = ENDING.lock();
    let leaving = ending.leaving;
    let Some(Doom { told, left }) = &mut ending.doom else { return };
    *left = left.saturating_sub(time);
    if !left.is_zero() {
        return;
    }
    match leaving {
        Leaving::Nobody if is_traced() => {}
        Leaving::Nobody => signals::end_at_once(&format!("{told}\nand the process could not go on after that\n"), 101),
        Leaving::Waits => ending.let_go(None),
        Leaving::Goes(_) => {}
    }
}

impl Ending {
    fn let_go(&mut self, code: Option<i32>) {
        self.leaving = Leaving::Goes(code);
        LET_GO.notify_all();
    }
}
