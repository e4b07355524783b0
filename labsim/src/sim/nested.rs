//! A simulation that is started inside another one.
//!
//! Whoever watches a run may want to know how a server would do elsewhere: started
//! once more from its disk, for one. A simulated thread, or an observer on it, may
//! start a simulation for that, which has its own seed, clock, world and OS thread.
//! The outer one stands still meanwhile, and nothing of it changes: no step is
//! taken, no draw is made, and its clock does not move.
//!
//! While it waits, the outer run's OS thread is an ordinary thread of the program,
//! which may start another one, and read the machine's clock. The watchdog does not
//! take its sleep for a stall: the inner run has limits of its own. But the CPU time
//! of the inner runs counts as the outer one's, so that an observer that starts one
//! after the other without end is noticed. And if one of them leaves its OS thread
//! behind, or dooms the process, so has the outer one.
//!
//! Boundary: the way in, and back. Everything else is as for any other run.

use super::core::Place;
use super::watchdog::Pulse;
use crate::context::{self, Mode};
use crate::outcome::Outcome;

/// The calling OS thread is in a simulation, and waits for another one. Dropping
/// this brings it back.
pub(super) struct Nested {
    outer: Option<&'static Pulse>,
}

impl Nested {
    /// `None` if the caller is in no simulation.
    pub(super) fn begin(place: Place) -> Option<Self> {
        if context::mode() != Mode::Simulated {
            return None;
        }
        let outer = super::with(|core| {
            // An observer that does nothing else takes no step at which to obey.
            if core.obey_watchdog(Some(place)) {
                core.stop_here(place);
            }
            core.pulse.get()
        });
        outer.inspect(|outer| outer.wait_for_another(true));
        context::set_mode(Mode::Outside);
        Some(Self { outer })
    }

    /// The outer run goes on. What the inner one came to is on its account.
    pub(super) fn end(self, inner: &Outcome<()>) {
        self.outer.inspect(|outer| outer.account(inner));
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        context::set_mode(Mode::Simulated);
        self.outer.inspect(|outer| outer.wait_for_another(false));
    }
}
