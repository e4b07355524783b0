//! What it costs to watch a run, and to record it.
//!
//! `cargo bench -p tests` runs each of the course's tests of parts 2A to 2D under the same
//! seeds in four ways:
//!
//! | way | is |
//! |---|---|
//! | bare | without watchers: only the conditions of the test itself |
//! | watched | as every run is made; the ratio is to *bare* |
//! | recorded | the same with the record on; the ratio is to *watched* |
//! | again | as a red run is made again: recorded, and a server started for every promise |
//!
//! It prints the CPU time of each, for each test and for all together. The ways take turns,
//! so that a machine that is busy for a while is busy for all of them. Words after `--`
//! choose tests by part of their name.
//!
//! Boundary: costs, in CPU time. What the watchers find is for `cargo lab bugs`.

use std::time::Duration;

use tests::harness::Watching;
use tests::run::run_watching;
use tests::suites::{self, LabTest};

/// Seeds of a test; its figure is the mean.
const SEEDS: u64 = 10;
/// Each seed is run so often each way; the fastest counts.
const ROUNDS: usize = 3;
/// Bare, watched, recorded, again.
const WAYS: [(Watching, bool); 4] =
    [(Watching::Nothing, false), (Watching::Steps, false), (Watching::Steps, true), (Watching::Promises, true)];

/// CPU milliseconds of a run, each way.
type Cost = [f64; WAYS.len()];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |test: &LabTest| wanted.is_empty() || wanted.iter().any(|word| test.name.contains(word.as_str()));
    let [bare, watched, recorded, again, ratio] = ["bare", "watched", "recorded", "again", "ratio"];
    println!("CPU ms a run{:19} {bare:>9} {watched:>9} {ratio:>6} {recorded:>9} {ratio:>6} {again:>9} {ratio:>6}", "");
    let tests = suites::all().filter(|test| test.part.name.starts_with('2') && !test.name.starts_with("adversary"));
    let costs: Vec<Cost> = tests.filter(|test| is_wanted(test)).map(cost_of).collect();
    print("all of them", costs.iter().fold([0.0; WAYS.len()], |sum, cost| std::array::from_fn(|i| sum[i] + cost[i])));
    let median = |ratio: fn(&Cost) -> f64| {
        let mut ratios: Vec<f64> = costs.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let [watched, recorded, again] = [median(|c| c[1] / c[0]), median(|c| c[2] / c[1]), median(|c| c[3] / c[1])];
    println!("{:31} {:>26.2} {recorded:>16.2} {again:>16.2}", "the median ratio", watched);
}

fn cost_of(test: &'static LabTest) -> Cost {
    let mut sum = [Duration::ZERO; WAYS.len()];
    for seed in 0..SEEDS {
        let mut fastest = [Duration::MAX; WAYS.len()];
        for _ in 0..ROUNDS {
            for (fastest, (watching, record)) in fastest.iter_mut().zip(WAYS) {
                *fastest = run_watching(test, seed, watching, record).cpu.min(*fastest);
            }
        }
        for (sum, fastest) in sum.iter_mut().zip(fastest) {
            *sum += fastest;
        }
    }
    let cost = sum.map(|cpu| cpu.as_secs_f64() * 1000.0 / SEEDS as f64);
    print(test.name, cost);
    cost
}

fn print(name: &str, [bare, watched, recorded, again]: Cost) {
    let [by_watching, by_recording, by_all] = [watched / bare, recorded / watched, again / watched];
    println!(
        "{name:31} {bare:9.2} {watched:9.2} {by_watching:6.2} {recorded:9.2} {by_recording:6.2} {again:9.2} {by_all:6.2}"
    );
}
