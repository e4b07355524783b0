//! A test under a seed, and many of them at once.
//!
//! `sweep` makes runs in this process. `supervise` makes them in others, which
//! may die of it: it is what `lab run` does.
//!
//! | file | is |
//! |---|---|
//! | `once.rs` | one test under one seed |
//! | `twice.rs` | two runs of one seed, which must be the same |
//! | `trace.rs` | where they part |
//! | `sweep.rs` | many of them, in this process |
//! | `supervisor` | many of them, in worker processes with limits |
//! | `alone.rs` | a red one once more, in a process of its own |
//! | `worker.rs` | such a process from inside |
//! | `wire.rs` | what the two say to each other |
//! | `output.rs` | what a run has printed |
//!
//! Boundary: runs tests and says how they went. Prints nothing.

mod alone;
mod once;
mod output;
mod seeds;
mod supervisor;
mod sweep;
mod trace;
mod twice;
mod wire;
mod worker;

pub use self::alone::{again_alone, run_alone};
pub use self::once::{CausedBy, Died, Mode, RunResult, run_once, run_recorded, run_watching};
pub use self::output::Output;
pub use self::seeds::{SeedRange, parse_seed};
pub use self::supervisor::{Limits, Setting, VERB, supervise};
pub use self::sweep::{Job, Jobs, sweep};
pub use self::twice::has_ended;
pub use self::worker::serve;

use std::time::Duration;

use crate::report;
use crate::suites::{self, LabTest};

/// How many seeds `cargo test` runs of each test, unless `LAB_SEEDS` or
/// `LAB_SEED` say otherwise.
pub const CARGO_TEST_SEEDS: SeedRange = SeedRange { first: 0, end: 3 };

/// How long standard output may be locked after a run of `cargo test` that ended
/// well. Other tests print, and the machine may be busy: this is for ever.
const PRINT_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a lab test as a `#[test]`: under a few seeds, in this process.
///
/// `LAB_SEED` chooses one seed, `LAB_SEEDS` several (`20`, or `100..200`).
///
/// # Panics
///
/// If the test fails under any of them, with the report of the first.
pub fn cargo_test(name: &str) {
    cargo_test_of(suites::find(name).unwrap_or_else(|| panic!("{name} is not in the registry of tests/src/suites")));
}

/// As [`cargo_test`], for a test of any registry.
///
/// # Panics
///
/// As there.
pub fn cargo_test_of(test: &'static LabTest) {
    let seeds = seeds::from_environment().unwrap_or_else(|error| panic!("{error}"));
    let mut failed = Vec::new();
    for seed in seeds.unwrap_or(CARGO_TEST_SEEDS).iter() {
        // Past the capture of the test runner: a run that is killed has said
        // which seed it had.
        report::announce(test.name, seed);
        let result = run_once(test, seed, Mode::Simulated);
        // What printing waits for may never be free again: then the test runner
        // would wait as well, and say nothing.
        if !result.fatal && !once::printing_works(PRINT_PATIENCE) {
            end_process(&format!("test {} seed {seed} keeps the lock on what tests print to\n", test.name));
        }
        if !result.fatal {
            print!("{}", report::notices(&result));
        }
        let was_dear = result.abandoned || result.by_machine;
        if result.broken.is_some() {
            // The first red run is told with its record.
            let is_first = failed.is_empty() && twice::has_ended(&result);
            let result = if is_first { alone::explained(result, run_once(test, seed, Mode::Recorded)) } else { result };
            failed.push(result);
        }
        if was_dear {
            break; // It took seconds, and may have left an OS thread behind that spins.
        }
    }
    let Some(first) = failed.first() else { return };
    let report = report::failure(first);
    if failed.iter().any(|run| run.fatal) {
        end_process(&report);
    }
    print!("{report}");
    // The report has said everything. A panic message would say it again.
    std::panic::resume_unwind(Box::new("see the report above"));
}

/// Says why past the capture of the test runner, which will not come to show it.
fn end_process(why: &str) -> ! {
    report::to_stderr(&format!("{why}  it has ended the process: the other tests of it are not run\n"));
    labsim::exit(101)
}
