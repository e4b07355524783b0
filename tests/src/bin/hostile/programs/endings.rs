//! Programs that end their process. Some tell nobody.
//!
//! Boundary: one program a function.

use std::process::Command;

use labsim::thread;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::{Program, UnderCargo};

pub(super) const PART: Part = Part { name: "endings", title: "programs that end" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "exit_endings", exit, Kind::Panic, "exits", "`exits` ended the program by process::exit(3)")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "exit_0_endings", exit_0, Kind::Panic, "main", "`main` ended the program by process::exit(0)")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "now_and_then_endings", now_and_then, Kind::Panic, "main", "by process::exit(4)")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "abort_endings", abort, Kind::Panic, "aborts", "`aborts` aborted the program"),
    Program::bad(PART, "midway_endings", midway, Kind::Panic, "prints", "`prints` aborted the program")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "allocating_endings", allocating, Kind::Limit, "allocates", "`allocates` overflowed its stack")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "fault_endings", fault, Kind::Panic, "writes", "`writes` was killed by SIGSEGV: unsafe code")
        .under_cargo(UnderCargo::Ends),
    Program::lost(PART, "another_endings", another, Kind::Panic, "the program ended itself with code 5")
        .under_cargo(UnderCargo::Dies),
    Program::lost(PART, "another_0_endings", another_0, Kind::Panic, "the program ended itself with code 0")
        .under_cargo(UnderCargo::Spoils),
    Program::lost(PART, "killed_endings", killed, Kind::Limit, "the program was killed by SIGKILL, and not by us")
        .under_cargo(UnderCargo::Dies),
    Program::lost(PART, "sent_fault_endings", sent_fault, Kind::Panic, "the program was killed by SIGSEGV")
        .under_cargo(UnderCargo::Dies),
    Program::lost(PART, "terminated_endings", terminated, Kind::Panic, "the program was killed by SIGTERM")
        .under_cargo(UnderCargo::Dies),
];

fn exit(_: &Lab) {
    let done = thread::spawn("exits", || {
        println!("so long");
        std::process::exit(3);
    });
    let _: Result<(), _> = done.join();
}

fn exit_0(_: &Lab) {
    std::process::exit(0);
}

/// Two seeds of eight, and the others wait behind them.
fn now_and_then(_: &Lab) {
    if labsim::seed().is_some_and(|seed| seed % 8 < 2) {
        std::process::exit(4);
    }
}

fn abort(_: &Lab) {
    eprintln!("the end is near");
    let done = thread::spawn("aborts", || std::process::abort());
    let _: Result<(), _> = done.join();
}

/// In the middle of printing: std's lock on standard output is never given back.
fn midway(_: &Lab) {
    struct Aborts;
    impl std::fmt::Display for Aborts {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            std::process::abort()
        }
    }
    let done = thread::spawn("prints", || println!("{Aborts}"));
    let _: Result<(), _> = done.join();
}

/// The stack ends in the allocator, whose lock is never given back: its own
/// frames are the largest of the recursion.
fn allocating(_: &Lab) {
    fn depth(n: usize) -> usize {
        let kept: Vec<u8> = std::hint::black_box(Vec::with_capacity(16 + n * 1009 % 5000));
        if n == usize::MAX { 0 } else { depth(n + 1) + kept.capacity() }
    }
    let done = thread::spawn("allocates", || std::hint::black_box(depth(0)));
    let _: Result<usize, _> = done.join();
}

/// To where no memory is. The only unsafe code of all these programs: nothing
/// else makes a processor fault.
fn fault(_: &Lab) {
    let done = thread::spawn("writes", || {
        let nobodys = std::hint::black_box(8_usize) as *mut u8;
        // SAFETY: it is not safe, and must not look so to the compiler.
        unsafe { nobodys.write_volatile(1) };
    });
    let _: Result<(), _> = done.join();
}

/// The process becomes another program, and that ends: nobody in it could tell.
fn another(_: &Lab) {
    become_another("exit 5");
}

fn another_0(_: &Lab) {
    become_another("exit 0");
}

#[cfg(unix)]
pub(super) fn become_another(script: &str) {
    use std::os::unix::process::CommandExt;
    let error = Command::new("sh").args(["-c", script]).exec();
    panic!("there is no shell: {error}");
}

#[cfg(not(unix))]
pub(super) fn become_another(_script: &str) {}

fn killed(_: &Lab) {
    signal_myself("-KILL");
}

/// Nobody's code is to blame: what is sent is meant for the process.
fn sent_fault(_: &Lab) {
    signal_myself("-SEGV");
}

fn terminated(_: &Lab) {
    signal_myself("-TERM");
}

/// As the system does when memory is short, or somebody who has lost patience.
fn signal_myself(signal: &str) {
    let myself = std::process::id().to_string();
    let _ = Command::new("kill").args([signal, &myself]).status();
}
