//! A state that threads wait on until it lets them go.
//!
//! What [`Once`](super::Once) and [`Barrier`](super::Barrier) have in common. The
//! state is held for a few instructions, never across a switch and never while a
//! student's code runs. Every change wakes all who wait, and each looks again: so
//! nothing is lost with a thread that dies after it was woken.
//!
//! Boundary: waits and wakes in each world. What the state means is its owner's.

use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Core, Home, Place, WaitList, Why};

use super::mutex::Chosen;

#[derive(Debug)]
pub(super) struct Changing<S> {
    home: Home,
    state: parking_lot::Mutex<S>,
    /// Simulated threads that wait.
    waiters: WaitList,
    /// Threads of a real world that wait.
    real_waiters: real::Waiters,
    /// Threads outside of any world that wait.
    condvar: parking_lot::Condvar,
}

impl<S> Changing<S> {
    pub(super) const fn new(state: S) -> Self {
        Self {
            home: Home::new(),
            state: parking_lot::Mutex::new(state),
            waiters: WaitList::new(),
            real_waiters: real::Waiters::new(),
            condvar: parking_lot::Condvar::new(),
        }
    }

    /// Takes a step, and makes sure that the object is at home in this world.
    #[track_caller]
    pub(super) fn enter(&self, place: Place) {
        match context::mode() {
            Mode::Simulated => sim::with(|core| {
                core.point(place);
                self.home.in_simulation(core, place);
            }),
            Mode::Real | Mode::Outside => {
                real::check();
                self.home.outside();
            }
        }
    }

    /// Runs `f` on the state. It must not call anybody.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut S) -> R) -> R {
        f(&mut self.state.lock())
    }

    /// Asks `decide` until it comes to a decision, and meanwhile waits for what
    /// it says. It may change the state, and must not call anybody.
    pub(super) fn wait_until<R>(&self, place: Place, mut decide: impl FnMut(&mut S) -> Result<R, Why>) -> R {
        if context::mode() == Mode::Simulated {
            return sim::with(|core| {
                loop {
                    match self.with(&mut decide) {
                        Ok(decision) => return decision,
                        Err(why) => self.wait_simulated(core, why, place),
                    }
                }
            });
        }
        let mut state = self.state.lock();
        loop {
            if let Ok(decision) = decide(&mut state) {
                return decision;
            }
            // A destructor of a dead thread has no life to lose any more: it
            // waits like a thread that belongs to no world.
            if context::mode() == Mode::Real && !std::thread::panicking() {
                self.real_waiters.wait(&mut state, None);
            } else {
                self.condvar.wait(&mut state);
            }
        }
    }

    fn wait_simulated(&self, core: &Core, why: Why, place: Place) {
        if let Why::Once(runner) = why {
            if core.must_not_switch() {
                core.await_while_unwinding(runner, why, place);
                return;
            }
            if runner == core.current_serial() {
                core.report_reinit(place);
            }
        }
        let chosen = Chosen { list: &self.waiters, core, waiter: self.waiters.add(core) };
        let timed_out = core.wait(why, place, None);
        chosen.settle(timed_out);
    }

    /// Lets all who wait look again. Unlike a notification this is not void if
    /// it comes from the dead: it is how others learn that they are.
    pub(super) fn wake_all(&self) {
        if context::mode() == Mode::Simulated {
            sim::with(|core| self.waiters.wake_all(core));
        } else {
            self.real_waiters.wake_all();
            self.condvar.notify_all();
        }
    }
}
