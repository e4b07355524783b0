//! Programs that run on and on, and get nowhere.
//!
//! Boundary: one program a function.

use std::hint::black_box;

use labsim::sync::Mutex;
use labsim::sync::atomic::{AtomicBool, Ordering};
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::{Needs, Program, UnderCargo};

pub(super) const PART: Part = Part { name: "loops", title: "programs that never end" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "yield_loops", yields, Kind::Stuck, "spins", "BusyLoop: "),
    Program::bad(PART, "lock_loops", locks, Kind::Stuck, "spins", "BusyLoop: "),
    Program::bad(PART, "atomic_loops", reads_an_atomic, Kind::Stuck, "spins", "BusyLoop: "),
    Program::bad(PART, "bare_loops", bare, Kind::Stuck, "spins", "`spins` runs without a call into labsim"),
    Program::bad(PART, "holding_loops", holding, Kind::Stuck, "spins", "`spins` runs without a call into labsim")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "hook_loops", hook, Kind::Stuck, "panics", "`panics` runs without a call into labsim")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "everywhere_loops", everywhere, Kind::Limit, "main", SLOW).needs(Needs::ItsTime),
    Program::bad(PART, "slow_loops", slow, Kind::Limit, "plods", SLOW).needs(Needs::ItsTime),
];

/// What is said of a run that has used up its CPU time.
const SLOW: &str = "the run has used 8.";

fn spin(body: impl FnOnce() + Send + 'static) {
    let _ = thread::spawn("spins", body).join();
}

fn yields(_: &Lab) {
    spin(|| {
        loop {
            thread::yield_now();
        }
    });
}

fn locks(_: &Lab) {
    spin(|| {
        let stop = Mutex::new(false);
        while !*stop.lock() {}
    });
}

fn reads_an_atomic(_: &Lab) {
    spin(|| {
        let stop = AtomicBool::new(false);
        while !stop.load(Ordering::SeqCst) {}
    });
}

/// In a panic hook, under a lock that whoever wants to set another one waits for.
fn hook(_: &Lab) {
    let panics = || {
        std::panic::set_hook(Box::new(|_| while black_box(true) {}));
        panic!("the hook is told");
    };
    let _: Result<(), _> = thread::spawn("panics", panics).join();
}

fn bare(_: &Lab) {
    println!("into the loop");
    spin(|| {
        let mut n = 0_u64;
        while black_box(true) {
            n = black_box(n.wrapping_add(1));
        }
    });
}

/// Busy at more places than a loop has, as an honest program may be. But for the
/// limit on its CPU time, it would end at that of its virtual time, after more of
/// the machine's than anybody has.
fn everywhere(_: &Lab) {
    let lock = Mutex::new(0_u64);
    loop {
        black_box((0..100_000_u64).fold(0, |sum, n| black_box(sum ^ n)));
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
        *lock.lock() += 1;
    }
}

/// Sleeps between its steps, and has computed for some milliseconds before each.
fn slow(_: &Lab) {
    let done = thread::spawn("plods", || {
        loop {
            black_box((0..2_000_000_u64).fold(0, |sum, n| black_box(sum ^ n)));
            thread::sleep(Duration::from_millis(1));
        }
    });
    let _: Result<(), _> = done.join();
}

/// As `bare`, with std's lock on standard output in hand.
fn holding(_: &Lab) {
    let done = thread::spawn("spins", || {
        let _held = std::io::stdout().lock();
        while std::hint::black_box(true) {}
    });
    let _: Result<(), _> = done.join();
}
