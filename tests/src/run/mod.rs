//! A test under a seed, and many of them at once.
//!
//! Boundary: runs tests and says how they went. Prints nothing.

mod once;
mod seeds;
mod sweep;

pub use self::once::{CausedBy, Mode, RunResult, run_once};
pub use self::seeds::{SeedRange, parse_seed};
pub use self::sweep::{Job, Jobs, sweep};

use crate::report;
use crate::suites;

/// How many seeds `cargo test` runs of each test, unless `LAB_SEEDS` or
/// `LAB_SEED` say otherwise.
pub const CARGO_TEST_SEEDS: SeedRange = SeedRange { first: 0, end: 3 };

/// Runs a lab test as a `#[test]`: under a few seeds, in this process.
///
/// `LAB_SEED` chooses one seed, `LAB_SEEDS` several (`20`, or `100..200`).
///
/// # Panics
///
/// If the test fails under any of them, with the report of the first.
pub fn cargo_test(name: &str) {
    let test = suites::find(name).unwrap_or_else(|| panic!("{name} is not in the registry of tests/src/suites"));
    let seeds = seeds::from_environment().unwrap_or_else(|error| panic!("{error}"));
    let mut failed = Vec::new();
    for seed in seeds.unwrap_or(CARGO_TEST_SEEDS).iter() {
        // Past the capture of the test runner: a run that is killed has said
        // which seed it had.
        report::announce(test.name, seed);
        let result = run_once(test, seed, Mode::Simulated);
        print!("{}", report::notices(&result));
        if result.broken.is_some() {
            failed.push(result);
        }
    }
    let Some(first) = failed.first() else { return };
    let count = seeds.unwrap_or(CARGO_TEST_SEEDS).len();
    let report = report::failure(first, failed.len() as u64, count);
    if failed.iter().any(|run| run.abandoned) {
        // The test runner would wait for ever for std's panic hook.
        eprintln!("{report}  the run was ended in a destructor; the other tests of this process are not run");
        std::process::exit(101);
    }
    print!("{report}");
    // The report has said everything. A panic message would say it again.
    std::panic::resume_unwind(Box::new("see the report above"));
}
