//! A lab of bad programs: what a student's code may do to the one who runs it.
//!
//! It is the `lab` command over another registry. Each test is a program that
//! ends, blocks, fills or floods its process, or only seems to, and next to it
//! stands how it must be reported. `hostile expected` lists that, a JSON object a
//! line; `tests/tests/hostile.rs` runs each of them and looks.
//!
//! Boundary: the command. The programs, and what they deserve, are in `programs`.

mod programs;

use std::process::ExitCode;

use tests::check::Kind;
use tests::run::VERB;
use tests::suites::Registry;

use self::programs::Program;

fn main() -> ExitCode {
    let is_worker = std::env::args().nth(1).is_some_and(|verb| verb == VERB);
    // All of them, or all but the one that can make the file of that name.
    let dies = |path| std::fs::File::create_new(path).is_err();
    if is_worker && std::env::var_os("HOSTILE_WORKERS_DIE").is_some_and(dies) {
        eprintln!("this worker does not even start");
        return ExitCode::from(9);
    }
    if std::env::args().nth(1).is_some_and(|verb| verb == "expected") {
        for Program { test, kind, says, thread, has_place, needs, under_cargo } in programs::all() {
            let exit_code = kind.map_or(0, Kind::exit_code);
            // A loop may be caught at an instruction that belongs to no line.
            let place = has_place.then(|| format!("/{}.rs", test.part.name));
            let line = serde_json::json!({
                "test": test.name,
                "exit_code": exit_code,
                "says": says,
                "thread": thread,
                "place": place,
                "needs": format!("{needs:?}"),
                "under_cargo": format!("{under_cargo:?}"),
            });
            println!("{line}");
        }
        return ExitCode::SUCCESS;
    }
    let tests = programs::all().map(|program| &program.test).collect();
    tests::cli::main_with(&Registry { parts: programs::PARTS, tests })
}
