//! Which world the calling thread runs in: one thread-local read.
//!
//! There are three. *Simulated*: a coroutine under a seeded scheduler.
//! *Real*: an OS thread that belongs to a world of nodes and links, in real
//! time. *Outside*: any other thread of the program, for which the facade is
//! parking_lot, crossbeam-channel and std and nothing more.
//!
//! The choice is made here, at run time, so that one build of a student's code
//! runs in all three.
//!
//! Boundary: tells the worlds apart, and offers what all of them have (a node,
//! a thread name, a random number). Knows no locks and no channels.

use std::cell::Cell;
use std::time::Duration;

use crate::node::NodeId;
use crate::sim::Place;
use crate::world::World;
use crate::{real, sim};

/// The kind of world that a thread runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Outside,
    Simulated,
    Real,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Outside) };
}

/// The world of the calling thread.
#[inline]
pub(crate) fn mode() -> Mode {
    MODE.get()
}

pub(crate) fn set_mode(mode: Mode) {
    MODE.set(mode);
}

/// A visible operation that does not wait: in a simulation a step, at which
/// others may take over; on an OS thread of a real world, a look whether it
/// still lives.
#[inline]
pub(crate) fn step(place: Place) {
    match mode() {
        Mode::Simulated => sim::with(|core| core.point(place)),
        Mode::Real => real::check(),
        Mode::Outside => {}
    }
}

/// For calls that are no step: on an OS thread of a real world, a look whether
/// it still lives and is not paused.
#[inline]
pub(crate) fn look_up() {
    if mode() == Mode::Real {
        real::check();
    }
}

/// One life of one node: what dies in a crash. A restarted node is the same
/// node in its next life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) number: u32,
}

/// Runs `f` on the tables of the calling thread's world: nodes, links, disks,
/// notes. `None` outside of one.
#[inline]
pub(crate) fn with_world<R>(f: impl FnOnce(&World) -> R) -> Option<R> {
    match mode() {
        Mode::Simulated => Some(sim::with(|core| core.with_world(f))),
        Mode::Real => real::with(|thread| f(&thread.world)),
        Mode::Outside => None,
    }
}

/// As [`with_world`], for calls that make no sense without one.
#[inline]
#[track_caller]
pub(crate) fn on_world<R>(f: impl FnOnce(&World) -> R) -> R {
    with_world(f).expect("nodes, links and disks exist only inside `simulate` or `run_real`")
}

/// The life that the calling thread belongs to, if it belongs to a node.
pub(crate) fn life() -> Option<Life> {
    match mode() {
        Mode::Simulated => sim::with(sim::Core::life),
        Mode::Real => real::with(|thread| thread.life).flatten(),
        Mode::Outside => None,
    }
}

/// The calling thread's name, as it stands in reports.
pub(crate) fn thread_name() -> String {
    match mode() {
        Mode::Simulated => sim::with(|core| core.current_name().into_owned()),
        Mode::Real | Mode::Outside => std::thread::current().name().unwrap_or("unnamed").to_owned(),
    }
}

/// Time since the world began; zero outside of one.
pub(crate) fn elapsed() -> Duration {
    match mode() {
        Mode::Simulated => Duration::from_nanos(sim::with(sim::Core::now)),
        Mode::Real => real::with(|thread| thread.world.wall_elapsed()).unwrap_or_default(),
        Mode::Outside => Duration::ZERO,
    }
}

/// 64 bits from the stream of the calling thread's node and life.
pub(crate) fn draw() -> u64 {
    let life = life();
    match with_world(|world| world.draw(life)) {
        Some(bits) => {
            if mode() == Mode::Simulated {
                sim::with(|core| core.mix(bits));
            }
            bits
        }
        None => {
            use rand::Rng;
            rand::rng().next_u64()
        }
    }
}

/// True if the calling thread is on its way out: its node crashed or its run
/// is over, and what it still does must have no effect.
pub(crate) fn is_dying() -> bool {
    match mode() {
        Mode::Simulated => sim::with(sim::Core::is_dying),
        Mode::Real => real::with(|thread| thread.is_dead()).unwrap_or(false),
        Mode::Outside => false,
    }
}
