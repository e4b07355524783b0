//! Evidence that the worlds agree: random programs, against every outcome.
mod check;
mod model;
mod program;
mod run;

use std::cell::RefCell;

use proptest::test_runner::{Config as Proptest, RngSeed, TestError, TestRunner};

use check::{Effort, Tally, examine};
use program::any_program;

const PROGRAMS: u32 = 100;
const EFFORT: Effort = Effort { states_max: 20_000, seeds: 300, seeds_more: 20_000, outside: 60, real: 15 };

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn random_programs_do_the_same_in_every_world() {
    let cases = number("LABSIM_AGREE_PROGRAMS", PROGRAMS);
    let config = Proptest {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(u64::from(number("LABSIM_AGREE_SEED", 1))),
        max_shrink_iters: 2000,
        ..Proptest::default()
    };
    let tally = RefCell::new(Tally::default());
    let result = TestRunner::new(config).run(&any_program(), |program| {
        examine(&program, EFFORT, &mut tally.borrow_mut()).map_err(proptest::test_runner::TestCaseError::fail)
    });
    let tally = tally.into_inner();
    println!("{tally}");
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, program)) => panic!("after {} programs:{program:?}\n{reason}", tally.programs),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
