//! Programs that let something decide which is not the seed, or seems not to be.
//!
//! All of them pass. Run twice under one seed, the first one is found out. The
//! others obey the seed: a run has an OS thread of its own, and on Linux std's
//! clocks and chance are the simulation's. Elsewhere they do differ.
//!
//! Boundary: one program a function.

use std::cell::Cell;
use std::collections::HashMap;
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

/// What one run leaves in a static is there in the next.
fn of_static(_: &mut Lab) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    decide(RUNS.fetch_add(1, Ordering::Relaxed));
}

/// Each run has a fresh OS thread and so fresh thread-locals: what one leaves
/// there is gone with it, and the seed still decides.
fn of_thread_local(_: &mut Lab) {
    thread_local! {
        static RUNS: Cell<u64> = const { Cell::new(0) };
    }
    let runs = RUNS.replace(RUNS.get() + 1);
    assert_eq!(runs, 0, "a run sees the thread-locals of another");
    decide(runs);
}

fn of_hash_map(_: &mut Lab) {
    let order: HashMap<u64, ()> = (0..20).map(|n| (n, ())).collect();
    order.into_keys().take(5).for_each(decide);
}

fn of_rng(_: &mut Lab) {
    decide(rand::rng().next_u64() % 20);
}

fn of_instant(_: &mut Lab) {
    let begun = std::time::Instant::now();
    let others: Vec<_> = (0..3).map(|_| thread::spawn("other", thread::yield_now)).collect();
    for other in others {
        other.join().expect("it only yields");
    }
    decide(begun.elapsed().as_nanos() as u64 % 20);
}
