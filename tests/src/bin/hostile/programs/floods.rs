//! Programs that take more and more of the machine.
//!
//! Boundary: one program a function.

use std::hint::black_box;
use std::io::Write;

use labsim::channel;
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::{Needs, Program, UnderCargo};

pub(super) const PART: Part = Part { name: "floods", title: "programs that want everything" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "recursion_floods", recursion, Kind::Limit, "recurses", "`recurses` overflowed its stack"),
    Program::bad(PART, "threads_floods", threads, Kind::Limit, "spawns", "more than 10000 threads at once"),
    Program::bad(PART, "channel_floods", channel, Kind::Limit, "sends", "more than 1000000 messages wait in the"),
    Program::bad(PART, "memory_floods", memory, Kind::Limit, "hoards", "in a loop without a call into labsim")
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "memory_calls_floods", memory_calls, Kind::Limit, "hoards", "MiB of memory"),
    Program::lost(PART, "memory_killed_floods", memory, Kind::Limit, "used more than 64 MiB of memory")
        .needs(Needs::LittleMemory)
        .under_cargo(UnderCargo::Ends),
    Program::bad(PART, "allocation_floods", allocation, Kind::Limit, "asks", "ran out of memory"),
    Program::lost(PART, "stdout_floods", stdout, Kind::Limit, "printed more than 4 MiB").under_cargo(UnderCargo::Ends),
    Program::lost(PART, "stderr_floods", stderr, Kind::Limit, "printed more than 4 MiB").under_cargo(UnderCargo::Ends),
    Program::lost(PART, "one_line_floods", one_line, Kind::Limit, "printed more than 4 MiB")
        .under_cargo(UnderCargo::Spoils),
    Program::lost(PART, "brief_floods", brief, Kind::Limit, "printed more than 4 MiB").under_cargo(UnderCargo::Spoils),
];

fn run(name: &'static str, deed: impl FnOnce() + Send + 'static) {
    let _ = thread::spawn(name, deed).join();
}

fn recursion(_: &Lab) {
    fn depth(n: u64) -> u64 {
        let frame = black_box([n; 64]);
        if n == u64::MAX { 0 } else { depth(n + 1) + frame[1] }
    }
    run("recurses", || {
        black_box(depth(0));
    });
}

fn threads(_: &Lab) {
    run("spawns", || {
        loop {
            thread::spawn("idles", || thread::sleep(Duration::from_secs(3600)));
        }
    });
}

/// Nobody receives.
fn channel(_: &Lab) {
    let (tx, rx) = channel::unbounded();
    run("sends", move || {
        for n in 0_u64.. {
            tx.send(n).expect("the receiver is there");
        }
    });
    drop(rx);
}

/// A megabyte at a time, about one in a millisecond.
fn memory(_: &Lab) {
    run("hoards", || {
        let mut kept = Vec::new();
        loop {
            kept.push(vec![1_u8; 1 << 20]);
            black_box((0..200_000_u64).fold(0, |sum, n| black_box(sum ^ n)));
        }
    });
}

fn memory_calls(_: &Lab) {
    run("hoards", || {
        let mut kept = Vec::new();
        loop {
            kept.push(vec![1_u8; 1 << 20]);
            thread::yield_now();
        }
    });
}

/// More than the address space has.
fn allocation(_: &Lab) {
    run("asks", || {
        let bytes: Vec<u8> = Vec::with_capacity(isize::MAX as usize);
        println!("{}", black_box(&bytes).capacity());
    });
}

fn stdout(_: &Lab) {
    for n in 0_u64.. {
        println!("line {n} of very many");
    }
}

fn stderr(_: &Lab) {
    for n in 0_u64.. {
        eprintln!("line {n} of very many");
    }
}

fn one_line(_: &Lab) {
    loop {
        let _ = std::io::stderr().write_all(b"and then, ");
    }
}

/// Too much, and then it is done: being quick is no excuse.
fn brief(_: &Lab) {
    let _ = std::io::stderr().write_all(&vec![b'x'; (4 << 20) + 1]);
}
