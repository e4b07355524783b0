//! What it costs to watch a run, and to record it.
//!
//! `cargo bench -p tests` runs each of the course's tests of parts 2A to 2D three ways under
//! the same seeds: without watchers, with them, as every run is made, and with the record
//! and every promise compared with the disk, as a red run is made again. It prints the CPU
//! time of each, and the ratio of each to the one before: of each test, and of all together.
//! The ways take turns, so that a machine that is busy for a while is busy for all three.
//! Words after `--` choose tests by part of their name.
//!
//! Boundary: costs, in CPU time. What the watchers find is for `cargo lab bugs`.

use std::time::Duration;

use tests::run::{Mode, run_once, run_unwatched};
use tests::suites::{self, LabTest};

/// Seeds of a test; its figure is the sum.
const SEEDS: u64 = 10;
/// Each seed is run so often each way; the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |test: &LabTest| wanted.is_empty() || wanted.iter().any(|word| test.name.contains(word.as_str()));
    println!("{:32} {:>9} {:>9} {:>6} {:>9} {:>6}", "test, CPU ms a run", "bare", "watched", "ratio", "recorded", "ratio");
    let tests = suites::all().filter(|test| test.part.name.starts_with('2') && !test.name.starts_with("adversary"));
    let costs: Vec<[f64; 3]> = tests.filter(|test| is_wanted(test)).map(|test| cost_of(test)).collect();
    let median = |ratio: fn(&[f64; 3]) -> f64| {
        let mut ratios: Vec<f64> = costs.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let sum = costs.iter().fold([0.0; 3], |sum, cost| [0, 1, 2].map(|way| sum[way] + cost[way]));
    print("all of them", sum);
    println!("in the median test: watched {:.2}, recorded {:.2}", median(|c| c[1] / c[0]), median(|c| c[2] / c[1]));
}

/// CPU milliseconds of a run: bare, watched, recorded.
fn cost_of(test: &'static LabTest) -> [f64; 3] {
    let ways: [fn(&'static LabTest, u64) -> Duration; 3] = [
        |test, seed| run_unwatched(test, seed).cpu,
        |test, seed| run_once(test, seed, Mode::Simulated).cpu,
        |test, seed| run_once(test, seed, Mode::Recorded).cpu,
    ];
    let mut sum = [Duration::ZERO; 3];
    for seed in 0..SEEDS {
        let mut fastest = [Duration::MAX; 3];
        for _ in 0..ROUNDS {
            for (fastest, run) in fastest.iter_mut().zip(ways) {
                *fastest = run(test, seed).min(*fastest);
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

fn print(name: &str, [bare, watched, recorded]: [f64; 3]) {
    println!("{name:32} {bare:9.2} {watched:9.2} {:6.2} {recorded:9.2} {:6.2}", watched / bare, recorded / watched);
}
