//! The graded run of a copy, up to the first red test.
//!
//! A block of seeds is what a graded run has: so many for each test of the part.
//! All tests have their first seed, then all their second, and so on, until one is
//! red. How many seeds that took is what a student waits for.
//!
//! Boundary: runs one part of one program. Does not know which bug is in it.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use crate::check::Broken;
use crate::run::{Job, Jobs, Limits, Mode, RunResult, Setting, again_alone, supervise};
use crate::suites::LabTest;

/// What a block has come to.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its first seed.
    pub first_seed: u64,
    /// What was red first. None if all were green.
    pub find: Option<Find>,
    /// CPU time of the runs up to that, it included.
    pub cpu: Duration,
}

/// The first red run of a block.
#[derive(Clone, Debug)]
pub struct Find {
    /// How many seeds it took: 1 is the first.
    pub seeds: u64,
    /// The test.
    pub test: &'static str,
    /// Its seed.
    pub seed: u64,
    /// What its report says.
    pub broken: Broken,
}

/// How many seeds a block of these tests has.
pub fn block_seeds(tests: &[&'static LabTest]) -> u64 {
    tests.iter().map(|test| test.seeds()).max().unwrap_or(0)
}

/// Runs these tests of `program` under the block of seeds that begins with
/// `first_seed`, up to the first that is red, in so many processes.
///
/// # Errors
///
/// If the program cannot be started.
pub fn hunt(program: &Path, tests: &[&'static LabTest], first_seed: u64, workers: usize) -> Result<Block, String> {
    let jobs = Jobs::These(in_order(tests, first_seed).collect());
    let setting = Setting {
        workers,
        mode: Mode::Simulated,
        limits: Limits::default(),
        shows_output: false,
        program: Some(program.to_owned()),
    };
    let mut block = Block { first_seed, find: None, cpu: Duration::ZERO };
    let mut red = None;
    let each = |result: RunResult| {
        block.cpu += result.cpu;
        if result.broken.is_none() {
            return ControlFlow::Continue(());
        }
        red = Some(result);
        ControlFlow::Break(())
    };
    supervise(&jobs, &setting, |_, _| {}, each)?;
    // What its report says: the report of a run that was made again, with its record.
    let report = red.map(|red| again_alone(red, Limits::default(), Some(program.to_owned())));
    if let Some(RunResult { test, seed, broken: Some(broken), .. }) = report {
        block.find = Some(Find { seeds: seed - first_seed + 1, test: test.name, seed, broken });
    }
    Ok(block)
}

/// Seed by seed, and for each the tests that have it.
fn in_order(tests: &[&'static LabTest], first_seed: u64) -> impl Iterator<Item = Job> {
    (0..block_seeds(tests)).flat_map(move |nth| {
        let has_it = move |test: &&&'static LabTest| nth < test.seeds();
        tests.iter().filter(has_it).map(move |test| Job { test, seed: first_seed + nth })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites;

    #[test]
    fn a_block_is_a_graded_run_seed_by_seed() {
        let tests: Vec<_> = suites::all().filter(|test| test.part.name == "2a").collect();
        let jobs: Vec<_> = in_order(&tests, 100).collect();
        assert_eq!(jobs.len() as u64, tests.iter().map(|test| test.seeds()).sum::<u64>());
        for test in &tests {
            let seeds: Vec<u64> = jobs.iter().filter(|job| job.test.name == test.name).map(|job| job.seed).collect();
            assert_eq!(seeds, (100..100 + test.seeds()).collect::<Vec<_>>(), "{}", test.name);
        }
        assert!(jobs.is_sorted_by_key(|job| job.seed), "every test has a seed before any has the next");
    }
}
