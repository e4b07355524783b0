//! Programs that take more and more of the machine.
//!
//! Boundary: one program a function.

use std::io::Write;

use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use crate::Program;

pub(super) const PART: Part = Part { name: "floods", title: "programs that want everything" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::new(PART, "memory_floods", memory, Some(Kind::Limit), "used more than"),
    Program::new(PART, "allocation_floods", allocation, Some(Kind::Limit), "ran out of memory"),
    Program::new(PART, "stdout_floods", stdout, Some(Kind::Limit), "printed more than 4 MiB"),
    Program::new(PART, "stderr_floods", stderr, Some(Kind::Limit), "printed more than 4 MiB"),
    Program::new(PART, "one_line_floods", one_line, Some(Kind::Limit), "printed more than 4 MiB"),
    Program::new(PART, "brief_floods", brief, Some(Kind::Limit), "printed more than 4 MiB"),
];

fn memory(_: &mut Lab) {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
    }
}

/// More than the address space has.
fn allocation(_: &mut Lab) {
    let bytes: Vec<u8> = Vec::with_capacity(isize::MAX as usize);
    println!("{}", bytes.capacity());
}

fn stdout(_: &mut Lab) {
    for n in 0_u64.. {
        println!("line {n} of very many");
    }
}

fn stderr(_: &mut Lab) {
    for n in 0_u64.. {
        eprintln!("line {n} of very many");
    }
}

fn one_line(_: &mut Lab) {
    loop {
        let _ = std::io::stderr().write_all(b"and then, ");
    }
}

/// Too much, and then it is done: being quick is no excuse.
fn brief(_: &mut Lab) {
    let _ = std::io::stderr().write_all(&vec![b'x'; (4 << 20) + 1]);
}
