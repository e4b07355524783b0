//! The bad programs, a file a group, and how each of them must be reported.
//!
//! | file | programs that |
//! |---|---|
//! | `innocents.rs` | do nothing wrong, before and after all others |
//! | `panics.rs` | panic, wherever that hurts most |
//! | `endings.rs` | end their process |
//! | `locks.rs` | lock in the wrong order, twice, for ever, too long |
//! | `loops.rs` | run on and on |
//! | `outside.rs` | wait for the machine instead of the simulator |
//! | `floods.rs` | want all of a machine's memory, threads, output |
//! | `pretenders.rs` | look worse than they are, or try to look better |
//! | `harmless.rs` | look as bad as others, and are right |
//! | `dice.rs` | let something decide that is not the seed |
//!
//! The bodies ignore their [`Lab`], which has no servers.
//!
//! Boundary: bad programs and what they deserve. Whoever survives them, and
//! how, is in `tests::run` and in labsim.

mod dice;
mod endings;
mod floods;
mod harmless;
mod innocents;
mod locks;
mod loops;
mod outside;
mod panics;
mod pretenders;

use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::{LabTest, Part, Setup};

/// A bad program, and how it must be reported.
pub(crate) struct Program {
    /// What `lab` and `cargo test` run.
    pub(crate) test: LabTest,
    /// The kind of failure that it is; none if it passes.
    pub(crate) kind: Option<Kind>,
    /// What the line that says what broke must have in it.
    pub(crate) says: &'static str,
    /// The thread that the report must name.
    pub(crate) thread: Option<&'static str>,
    /// The report must name a line of the program's file.
    pub(crate) has_place: bool,
    /// How it must be run to be caught.
    pub(crate) needs: Needs,
    /// What becomes of the process that runs it under `cargo test`.
    pub(crate) under_cargo: UnderCargo,
}

/// How a program must be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// Anyhow.
    Nothing,
    /// It goes on until its CPU time is used up, which is long.
    ItsTime,
    /// It takes little enough for the simulator, and too much for the supervisor.
    LittleMemory,
    /// Each seed twice.
    CheckDeterminism,
}

/// What becomes of a process of `cargo test` in which a program is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnderCargo {
    /// It lives, and runs the other tests.
    Lives,
    /// It reports, and ends before the others had their turn.
    Ends,
    /// It is gone without a word. The last line has said which run it was.
    Dies,
    /// It runs alone and comes to its end, but takes away what the test runner
    /// prints to, or prints more than anybody wants to read.
    Spoils,
}

impl Program {
    const fn new(part: Part, name: &'static str, body: fn(&Lab), kind: Option<Kind>, says: &'static str) -> Self {
        let test = LabTest { name, part, title: says, points: 1, setup: Setup::reliable(0), must_see: &[], body };
        let (needs, under_cargo) = (Needs::Nothing, UnderCargo::Lives);
        Self { test, kind, says, thread: None, has_place: false, needs, under_cargo }
    }

    /// One that fails, by a thread and in a line that can be named.
    const fn bad(
        part: Part,
        name: &'static str,
        body: fn(&Lab),
        kind: Kind,
        by: &'static str,
        says: &'static str,
    ) -> Self {
        Self { thread: Some(by), has_place: true, ..Self::new(part, name, body, Some(kind), says) }
    }

    /// One that passes.
    const fn good(part: Part, name: &'static str, body: fn(&Lab)) -> Self {
        Self::new(part, name, body, None, "")
    }

    /// One that is gone, or goes on, without anybody in its process to say where.
    const fn lost(part: Part, name: &'static str, body: fn(&Lab), kind: Kind, says: &'static str) -> Self {
        Self::new(part, name, body, Some(kind), says)
    }

    const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    const fn under_cargo(self, under_cargo: UnderCargo) -> Self {
        Self { under_cargo, ..self }
    }
}

/// All parts, in the order of their programs.
pub(crate) const PARTS: &[Part] = &[
    innocents::FIRST,
    panics::PART,
    endings::PART,
    locks::PART,
    loops::PART,
    outside::PART,
    floods::PART,
    pretenders::PART,
    harmless::PART,
    dice::PART,
    innocents::LAST,
];

/// All of them, between two that are innocent.
const GROUPS: &[&[Program]] = &[
    innocents::BEFORE,
    panics::PROGRAMS,
    endings::PROGRAMS,
    locks::PROGRAMS,
    loops::PROGRAMS,
    outside::PROGRAMS,
    floods::PROGRAMS,
    pretenders::PROGRAMS,
    harmless::PROGRAMS,
    dice::PROGRAMS,
    innocents::AFTER,
];

/// Every program, in order.
pub(crate) fn all() -> impl Iterator<Item = &'static Program> {
    GROUPS.iter().copied().flatten()
}
