//! Why a step costs time: a clock that is polled moves, and timers fire between lines.
//!
//! 1. A thread reads the clock until 10 ms have passed, and says how far two
//!    readings lie apart; alone, and beside another one that does the same.
//! 2. A thread has five lines of work, a step each, and meanwhile a timer comes due.
//!    After how many of the lines, and when does the thread run that it wakes? Of
//!    1000 seeds, at three preemption rates. Were steps free, all five would be
//!    done at one instant, before the timer, and all seeds in the last column.
//! 3. A thread waits in a loop for what never comes, and gets to the limit.
//!
//! Try: `-- --seed N`, for 1 and 3. Another time in `ALARM`. A sleep in place of
//! `yield_now`: then the limit comes after a few steps.
//!
//! Boundary: time and threads. Clocks that go wrong are in `docs/machines.md`.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicBool, AtomicUsize};
use labsim::time::{Duration, Instant};
use labsim::{Config, Preemption, simulate, thread};

const LINES: usize = 5;
/// From when the alarm is set, about the time of the third line.
const ALARM: Duration = Duration::from_micros(7);
const SEEDS: u64 = 1000;

/// Reads the clock until 10 ms have passed. Returns how often, and the least and the
/// most that lay between two readings.
fn poll() -> (u32, Duration, Duration) {
    let begun = Instant::now();
    let (mut rounds, mut last, mut least, mut most) = (0, begun, Duration::MAX, Duration::ZERO);
    while last - begun < Duration::from_millis(10) {
        let now = Instant::now();
        let gap = now - last;
        (rounds, last, least, most) = (rounds + 1, now, least.min(gap), most.max(gap));
    }
    (rounds, least, most)
}

fn print_polling(seed: u64, pollers: usize) {
    let outcome = simulate(Config::seed(seed), move || {
        let pollers: Vec<_> = (0..pollers).map(|n| thread::spawn(format!("poller {n}"), poll)).collect();
        pollers.into_iter().map(|poller| poller.join().expect("it does not panic")).collect::<Vec<_>>()
    });
    for (n, (rounds, least, most)) in outcome.result.expect("nothing here fails a run").into_iter().enumerate() {
        let (least, most) = (least.as_nanos(), most.as_nanos());
        println!("   thread {} of {pollers}: {rounds} rounds, {least} to {most} ns apart", n + 1);
    }
}

/// How many lines are done when the timer comes due, and when its thread says so.
fn lines_before_alarm(seed: u64, preemption: Option<Preemption>) -> (usize, usize) {
    let outcome = simulate(Config { preemption, ..Config::seed(seed) }, || {
        let done = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&done);
        let alarm = thread::spawn("alarm", move || {
            let due = labsim::elapsed() + ALARM; // Costs no step.
            thread::sleep(ALARM);
            (due, seen.load(Ordering::SeqCst))
        });
        thread::sleep(Duration::from_micros(5)); // The alarm is set meanwhile.
        let ends: Vec<_> = (0..LINES)
            .map(|_| {
                done.fetch_add(1, Ordering::SeqCst);
                labsim::elapsed()
            })
            .collect();
        let (due, heard) = alarm.join().expect("it does not panic");
        (ends.into_iter().filter(|end| *end <= due).count(), heard)
    });
    outcome.result.expect("nothing here fails a run")
}

fn print_alarms() {
    let row = |label: &str, seeds: [u64; LINES + 1]| {
        println!("   {label:<30}{}", seeds.map(|seeds| format!("{seeds:>5}")).concat());
    };
    row("lines done", std::array::from_fn(|lines| lines as u64));
    let rates = [
        ("heard if preempted everywhere", Some(Preemption::OneIn(1))),
        ("heard as the seed draws", None),
        ("heard if never preempted", Some(Preemption::Never)),
    ];
    for (nth, (label, rate)) in rates.into_iter().enumerate() {
        let (mut due, mut heard) = ([0; LINES + 1], [0; LINES + 1]);
        for (due_after, heard_after) in (0..SEEDS).map(|seed| lines_before_alarm(seed, rate)) {
            due[due_after] += 1;
            heard[heard_after] += 1;
        }
        if nth == 0 {
            row("the timer is due", due); // The same at each rate.
        }
        row(label, heard);
    }
}

fn main() -> ExitCode {
    let seed = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => Some(1),
        [flag, number] if flag == "--seed" => number.parse().ok(),
        _ => None,
    };
    let Some(seed) = seed else {
        eprintln!("usage: step_cost [--seed N]    N: a whole number below 2^64; default 1");
        return ExitCode::from(2);
    };

    println!("1. Reading the clock until 10 ms have passed");
    print_polling(seed, 1);
    print_polling(seed, 2);
    println!("\n2. How many lines are done, by seeds");
    print_alarms();
    println!("\n3. Waiting in a loop, with a limit of 10 ms");
    let outcome = simulate(Config::seed(seed).time_limit(Duration::from_millis(10)), || {
        let (never, begun) = (AtomicBool::new(false), Instant::now());
        while !never.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        begun.elapsed()
    });
    match outcome.result {
        Ok(waited) => println!("   it came after {waited:?}"),
        Err(failure) => println!("{failure}\n   {} steps", outcome.steps),
    }
    ExitCode::SUCCESS
}
