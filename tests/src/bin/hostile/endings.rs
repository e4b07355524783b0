//! Programs that end, and some of them their process.
//!
//! Boundary: one program a function.

use std::hint::black_box;

use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use crate::Program;

pub(super) const PART: Part = Part { name: "endings", title: "programs that end" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::new(PART, "exit_endings", exit, Some(Kind::Panic), "the program ended itself with code 3"),
    Program::new(PART, "exit_0_endings", exit_0, Some(Kind::Panic), "the program ended itself with code 0"),
    Program::new(PART, "now_and_then_endings", now_and_then, Some(Kind::Panic), "ended itself with code 4"),
    Program::new(PART, "abort_endings", abort, Some(Kind::Panic), "the program was killed by SIGABRT"),
    Program::new(PART, "overflow_endings", overflow, Some(Kind::Panic), "stack overflow"),
    Program::new(PART, "panic_endings", panic, Some(Kind::Panic), "panicked: the end"),
    Program::new(PART, "panic_in_drop_endings", panic_in_drop, Some(Kind::Panic), "panicked: in a destructor"),
    Program::new(PART, "deadlock_endings", deadlock, Some(Kind::Deadlock), "deadlock: thread `main` locks again"),
];

fn exit(_: &mut Lab) {
    let done = thread::spawn("exits", || {
        println!("so long");
        std::process::exit(3);
    });
    let _: Result<(), _> = done.join();
}

fn exit_0(_: &mut Lab) {
    std::process::exit(0);
}

/// Two seeds of eight, and the others wait behind them.
fn now_and_then(_: &mut Lab) {
    if labsim::seed().is_some_and(|seed| seed % 8 < 2) {
        std::process::exit(4);
    }
}

fn abort(_: &mut Lab) {
    eprintln!("the end is near");
    std::process::abort();
}

fn overflow(_: &mut Lab) {
    fn depth(n: u64) -> u64 {
        let frame = black_box([n; 64]);
        if n == u64::MAX { 0 } else { depth(n + 1) + frame[1] }
    }
    black_box(depth(0));
}

fn panic(_: &mut Lab) {
    let done = thread::spawn("panics", || panic!("the end"));
    let _: Result<(), _> = done.join();
}

/// The destructor runs while its thread is unwound by the crash: Rust would
/// abort the process.
fn panic_in_drop(_: &mut Lab) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let node = Node::new("bomber");
    node.spawn("bomber", || {
        let _bomb = Bomb;
        thread::sleep(Duration::from_secs(10));
    });
    thread::sleep(Duration::from_millis(1));
    node.crash();
}

fn deadlock(_: &mut Lab) {
    let lock = Arc::new(Mutex::new(()));
    let first = lock.lock();
    let second = lock.lock();
    drop((first, second));
}
