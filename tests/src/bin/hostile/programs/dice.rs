//! Programs that let something decide which is not the seed, or seems not to be.
//!
//! All of them pass, the first three times in a process. Run twice under one seed, each time in another
//! process, the first ones are found out. `thread_local_dice` and those with std's
//! dice obey the seed, and so do two that try the supervisor: a run has an OS thread of its own, and on Linux std's clocks
//! and chance are the simulation's. Elsewhere they do differ.
//!
//! Boundary: one program a function.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use labsim::thread;
use labsim::time::Duration;
use rand::Rng;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::{Needs, Program};

pub(super) const PART: Part = Part { name: "dice", title: "programs that throw dice" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "static_dice", of_static, Kind::NotDeterministic, "decides", "two runs of one seed differ")
        .needs(Needs::CheckDeterminism),
    Program::bad(PART, "once_dice", of_once, Kind::NotDeterministic, "decides", "two runs of one seed differ")
        .needs(Needs::CheckDeterminism),
    Program::bad(PART, "process_dice", of_process, Kind::NotDeterministic, "decides", "two runs of one seed differ")
        .needs(Needs::CheckDeterminism),
    Program::bad(PART, "address_dice", of_address, Kind::NotDeterministic, "decides", "two runs of one seed differ")
        .needs(Needs::CheckDeterminism),
    Program::bad(PART, "ending_dice", of_ending, Kind::NotDeterministic, "main", "in one of two processes: ")
        .needs(Needs::CheckDeterminism),
    Program::bad(PART, "panicking_dice", of_panicking, Kind::NotDeterministic, "main", "two runs of one seed differ")
        .needs(Needs::CheckDeterminism),
    Program::good(PART, "wordy_dice", of_words).needs(Needs::CheckDeterminism),
    Program::good(PART, "single_dice", of_single).needs(Needs::CheckDeterminism),
    Program::good(PART, "thread_local_dice", of_thread_local).needs(Needs::CheckDeterminism),
    Program::new(PART, "hash_map_dice", of_hash_map, STD_OBEYS, "").needs(Needs::CheckDeterminism),
    Program::new(PART, "rng_dice", of_rng, STD_OBEYS, "").needs(Needs::CheckDeterminism),
    Program::new(PART, "instant_dice", of_instant, STD_OBEYS, "").needs(Needs::CheckDeterminism),
];

/// What std's clocks and chance come to.
const STD_OBEYS: Option<Kind> =
    if cfg!(all(target_os = "linux", target_env = "gnu")) { None } else { Some(Kind::NotDeterministic) };

/// One more step for each number that was thrown.
fn decide(number: u64) {
    let thrown = thread::spawn("decides", move || {
        for _ in 0..number {
            thread::sleep(Duration::from_millis(1));
        }
    });
    thrown.join().expect("it only sleeps");
}

/// Another order of steps for each number.
fn decide_bits(number: u32) {
    (0..u32::BITS).filter(|bit| number >> bit & 1 == 1).for_each(|bit| decide(bit.into()));
}

/// What one run leaves in a static is there in the next.
fn of_static(_: &Lab) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    decide(RUNS.fetch_add(1, Ordering::Relaxed));
}

/// The first run of a process fills a static for all of them.
fn of_once(_: &Lab) {
    static NUMBER: OnceLock<u32> = OnceLock::new();
    decide_bits(*NUMBER.get_or_init(std::process::id));
}

/// No two processes that live have the same number, and one of them has it always.
fn of_process(_: &Lab) {
    decide_bits(std::process::id());
}

/// Twenty boxes in an order that their addresses decide. The system lays out each
/// process in another way.
fn of_address(_: &Lab) {
    let mut boxes: Vec<Box<u64>> = (1..=20).map(Box::new).collect();
    boxes.sort_by_key(|one| {
        let mut hasher = DefaultHasher::new(); // Without a key of its own.
        (&raw const **one).hash(&mut hasher);
        hasher.finish()
    });
    boxes.into_iter().for_each(|number| decide(*number));
}

/// So many words that two runs together would be too many.
fn of_words(_: &Lab) {
    let kibibyte = "word ".repeat(1024 / 5);
    (0..3 << 10).for_each(|_| println!("{kibibyte}"));
}

/// Where a file is named, it holds that no other run takes place beside this one.
fn of_single(_: &Lab) {
    let Some(file) = std::env::var_os("HOSTILE_SINGLE") else { return };
    std::fs::File::create_new(&file).expect("no other run is there");
    decide(10_000);
    std::fs::remove_file(&file).expect("it was made above");
}

/// Each run has a fresh OS thread and so fresh thread-locals: what one leaves
/// there is gone with it, and the seed still decides.
fn of_thread_local(_: &Lab) {
    thread_local! {
        static RUNS: Cell<u64> = const { Cell::new(0) };
    }
    let runs = RUNS.replace(RUNS.get() + 1);
    assert_eq!(runs, 0, "a run sees the thread-locals of another");
    decide(runs);
}

/// The fourth run of a process panics.
fn of_panicking(_: &Lab) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    assert!(RUNS.fetch_add(1, Ordering::Relaxed) != 3, "three runs before have left too much");
}

/// The fourth run of a process ends it.
fn of_ending(_: &Lab) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    if RUNS.fetch_add(1, Ordering::Relaxed) == 3 {
        std::process::exit(3);
    }
}

fn of_hash_map(_: &Lab) {
    let order: HashMap<u64, ()> = (0..20).map(|n| (n, ())).collect();
    order.into_keys().take(5).for_each(decide);
}

fn of_rng(_: &Lab) {
    decide(rand::rng().next_u64() % 20);
}

fn of_instant(_: &Lab) {
    let begun = std::time::Instant::now();
    let others: Vec<_> = (0..3).map(|_| thread::spawn("other", thread::yield_now)).collect();
    for other in others {
        other.join().expect("it only yields");
    }
    decide(begun.elapsed().as_nanos() as u64 % 20);
}
