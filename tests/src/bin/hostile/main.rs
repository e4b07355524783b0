//! A lab of bad programs: what a student's code may do to the one who runs it.
//!
//! It is the `lab` command over another registry. Each test is a program that
//! ends, blocks, fills or floods its process, or only seems to, and next to it
//! stands how it must be reported. `hostile expected` lists that, a JSON object a
//! line; `tests/tests/hostile.rs` runs each of them and looks.
//!
//! The bodies ignore their [`Lab`](tests::harness::Lab), which has no servers.
//!
//! Boundary: bad programs and what they deserve. Whoever survives them, and
//! how, is in `tests::run` and in labsim.

mod endings;
mod floods;
mod innocents;
mod pretenders;
mod standstills;

use std::process::ExitCode;

use tests::check::Kind;
use tests::harness::Lab;
use tests::run::VERB;
use tests::suites::{LabTest, Part, Registry};

/// A bad program, and how it must be reported.
struct Program {
    test: LabTest,
    /// The kind of failure that it is; none if it passes.
    kind: Option<Kind>,
    /// What the line that says what broke must have in it.
    says: &'static str,
}

impl Program {
    const fn new(part: Part, name: &'static str, body: fn(&mut Lab), kind: Option<Kind>, says: &'static str) -> Self {
        let test = LabTest { name, part, title: says, points: 1, servers: 0, reliable: true, must_see: &[], body };
        Self { test, kind, says }
    }
}

const PARTS: &[Part] =
    &[innocents::FIRST, endings::PART, standstills::PART, floods::PART, pretenders::PART, innocents::LAST];

/// All of them, between two that are innocent.
const GROUPS: &[&[Program]] = &[
    innocents::BEFORE,
    endings::PROGRAMS,
    standstills::PROGRAMS,
    floods::PROGRAMS,
    pretenders::PROGRAMS,
    innocents::AFTER,
];

fn main() -> ExitCode {
    let is_worker = std::env::args().nth(1).is_some_and(|verb| verb == VERB);
    if is_worker && std::env::var_os("HOSTILE_WORKERS_DIE").is_some() {
        eprintln!("this worker does not even start");
        return ExitCode::from(9);
    }
    let programs = || GROUPS.iter().copied().flatten();
    if std::env::args().nth(1).is_some_and(|verb| verb == "expected") {
        for Program { test, kind, says } in programs() {
            let exit_code = kind.map_or(0, Kind::exit_code);
            let line = serde_json::json!({"test": test.name, "exit_code": exit_code, "says": says});
            println!("{line}");
        }
        return ExitCode::SUCCESS;
    }
    tests::cli::main_with(&Registry { parts: PARTS, tests: programs().map(|program| &program.test).collect() })
}
