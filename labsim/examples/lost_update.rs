//! One bug from its first sight to its end: an update that gets lost.
//!
//! Two threads add 1 to a counter. The careless way takes the lock twice, once
//! to read and once to write, so that the other thread may come between. The
//! program shows in this order:
//!
//! 1. how many of 1000 seeds lose an update, at each preemption rate;
//! 2. one of those seeds, run twice: the same steps, the same hash, and the
//!    notes that tell how it came about;
//! 3. the careful way, under the same seeds.
//!
//! Try: `-- --seed N` to look at another run. Another number of `ADDERS`. A
//! `thread::yield_now()` between reading and writing. `notes` without the lock
//! around them, to see a story told in the wrong order.
//!
//! Boundary: threads and one lock. Nodes and links are in labrpc's `echo`.

use std::process::ExitCode;

use labsim::sync::{Arc, Mutex};
use labsim::{Config, Outcome, Preemption, note, simulate, thread};

const SEEDS: u64 = 1000;
const ADDERS: u32 = 2;

const USAGE: &str = "usage: lost_update [--seed N]    N: the seed to replay; default: the first that fails";

/// Which way the threads add.
type Add = fn(&Mutex<u32>);

/// Adds 1 in two critical sections. Each is correct by itself.
fn add_carelessly(counter: &Mutex<u32>) {
    let seen = read(&counter.lock()); // The lock opens at the semicolon,
    write(&mut counter.lock(), seen + 1); // and `seen` may be out of date here.
}

/// Adds 1 in one critical section: nobody comes between.
fn add_carefully(counter: &Mutex<u32>) {
    let mut counter = counter.lock();
    let seen = read(&counter);
    write(&mut counter, seen + 1);
}

/// The notes are left while the lock is held, so they stand in the order in
/// which things happened. A note costs no time and is no step.
fn read(counter: &u32) -> u32 {
    note!("read", "{counter}");
    *counter
}

fn write(counter: &mut u32, sum: u32) {
    *counter = sum;
    note!("write", "{sum}");
}

/// One run: everybody adds once, and the sum is read when all are done.
fn run(seed: u64, rate: Option<Preemption>, add: Add) -> Outcome<u32> {
    let config = Config { preemption: rate, ..Config::seed(seed) };
    simulate(config, move || {
        let counter = Arc::new(Mutex::new(0));
        let adders: Vec<_> = (0..ADDERS)
            .map(|n| {
                let counter = Arc::clone(&counter);
                thread::spawn(format!("adder {n}"), move || add(&counter))
            })
            .collect();
        for adder in adders {
            adder.join().expect("an adder does not panic");
        }
        *counter.lock()
    })
}

fn loses(outcome: &Outcome<u32>) -> bool {
    *outcome.result.as_ref().expect("nothing here fails a run") != ADDERS
}

/// How many seeds lose an update, and the first of them.
fn sweep(rate: Option<Preemption>, add: Add) -> (usize, Option<u64>) {
    let red: Vec<u64> = (0..SEEDS).filter(|seed| loses(&run(*seed, rate, add))).collect();
    (red.len(), red.first().copied())
}

/// The sweep at each rate. Returns the first red seed at the rates that seeds
/// draw, since a replay needs nothing but the seed then.
fn compare_rates() -> Option<u64> {
    println!("1. Seeds that lose an update, of {SEEDS}, if a thread may be preempted");
    let fixed = Preemption::ALL.into_iter().rev().map(Some);
    for rate in std::iter::once(Some(Preemption::Never)).chain(fixed) {
        println!("   {:<26} {:>4}", label(rate), sweep(rate, add_carelessly).0);
    }
    let (red, first) = sweep(None, add_carelessly);
    println!("   {:<26} {red:>4}", label(None));
    first
}

fn label(rate: Option<Preemption>) -> String {
    match rate {
        None => "as the seed draws".to_owned(),
        Some(Preemption::Never) => "never".to_owned(),
        Some(Preemption::OneIn(1)) => "at every step".to_owned(),
        Some(Preemption::OneIn(steps)) => format!("at one step in {steps}"),
    }
}

/// Two runs of one seed, and the story of the run.
fn replay(seed: u64) {
    println!("\n2. Seed {seed}, twice");
    let runs = [(); 2].map(|()| run(seed, None, add_carelessly));
    for outcome in &runs {
        let sum = outcome.result.as_ref().expect("nothing here fails a run");
        let (steps, micros, hash) = (outcome.steps, outcome.elapsed.as_micros(), outcome.hash);
        println!("   counter {sum} of {ADDERS}, {steps} steps, {micros} us, hash {hash:016x}");
    }
    assert_eq!(runs[0].hash, runs[1].hash, "two runs of seed {seed} differ");
    for note in &runs[0].notes {
        println!("  {note}");
    }
    let verdict = if loses(&runs[0]) { "An update is lost" } else { "No update is lost" };
    println!("   {verdict}, and so it will be each time.");
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--seed", number] if number.parse::<u64>().is_ok() => number.parse().ok(),
        ["--seed", ..] => return usage("--seed needs a whole number below 2^64, and nothing after it"),
        [other, ..] => return usage(&format!("`{other}` is not understood here")),
    };

    let first_red = compare_rates();
    match chosen.or(first_red) {
        Some(seed) => replay(seed),
        None => println!("\n2. No seed loses an update: there is nothing to replay."),
    }

    let (red, _) = sweep(None, add_carefully);
    println!("\n3. With one critical section, {red} of {SEEDS} seeds lose an update.");
    ExitCode::SUCCESS
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("lost_update: {problem}\n{USAGE}");
    ExitCode::from(2)
}
