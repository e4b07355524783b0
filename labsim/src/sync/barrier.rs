//! A place where threads wait for each other.
//!
//! Boundary: counts who has come. Waiting itself is in `changing.rs`.

use std::panic::Location;

use super::changing::Changing;
use crate::context::{self, Mode};
use crate::sim::{self, Why};

/// Lets threads go on when a number of them has come, as `std::sync::Barrier`.
///
/// It is ready for the next round at once. A thread that dies while it waits has
/// not come: the others wait for one more.
///
/// ```
/// use labsim::sync::{Arc, Barrier};
/// use labsim::{Config, simulate, thread};
/// let outcome = simulate(Config::seed(1), || {
///     let barrier = Arc::new(Barrier::new(3));
///     let threads = ["one", "two", "three"].map(|name| {
///         let barrier = Arc::clone(&barrier);
///         thread::spawn(name, move || barrier.wait().is_leader())
///     });
///     threads.map(|thread| thread.join().unwrap()).into_iter().filter(|led| *led).count()
/// });
/// assert_eq!(outcome.result.unwrap(), 1);
/// ```
#[derive(Debug)]
pub struct Barrier {
    size: usize,
    round: Changing<Round>,
}

#[derive(Debug)]
struct Round {
    /// How many rounds are over.
    number: u64,
    /// Who waits in this one. Invariant: `arrived < size`, or both are 0.
    arrived: usize,
}

/// What [`Barrier::wait`] tells each thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// True for one thread of each round: the one that came last.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    /// A barrier for `size` threads. One for 0 is one for 1: nobody waits.
    pub const fn new(size: usize) -> Self {
        Self { size, round: Changing::new(Round { number: 0, arrived: 0 }) }
    }

    /// Waits until as many threads have come as the barrier is for.
    ///
    /// A thread that is being unwound does not come, and does not wait.
    ///
    /// # Panics
    ///
    /// Fails the run if the calling thread holds a lock: whoever needs it on the
    /// way to the barrier would not get there.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let place = Location::caller();
        self.round.enter(place);
        if context::is_dying() {
            return BarrierWaitResult { is_leader: false };
        }
        if context::mode() == Mode::Simulated {
            sim::with(|core| core.no_lock_held("waits at a barrier", place));
        }
        let mut arrival = Arrival { barrier: self, number: 0, counts: false };
        let is_leader = self.round.with(|round| {
            if round.arrived + 1 >= self.size {
                round.arrived = 0;
                round.number += 1;
                return true;
            }
            round.arrived += 1;
            arrival.number = round.number;
            arrival.counts = true;
            false
        });
        if is_leader {
            self.round.wake_all();
            context::step(place); // The others may go on now.
        } else {
            let number = arrival.number;
            self.round.wait_until(place, |round| if round.number == number { Err(Why::Barrier) } else { Ok(()) });
        }
        BarrierWaitResult { is_leader }
    }
}

/// A thread that has come, until its round is over.
struct Arrival<'a> {
    barrier: &'a Barrier,
    number: u64,
    counts: bool,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.barrier.round.with(|round| {
            if self.counts && round.number == self.number {
                round.arrived -= 1; // It died, and has not come after all.
            }
        });
    }
}
