//! Programs that neither end nor call into labsim: nothing in their process can
//! end them.
//!
//! Boundary: one program a function.

use std::hint::black_box;

use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use crate::Program;

pub(super) const PART: Part = Part { name: "standstills", title: "programs that never end" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::new(PART, "spin_standstills", spin, Some(Kind::Stuck), "no end after"),
    Program::new(PART, "std_lock_standstills", std_lock, Some(Kind::Stuck), "no end after"),
    Program::new(PART, "stdin_standstills", stdin, Some(Kind::Stuck), "no end after"),
];

fn spin(_: &mut Lab) {
    println!("into the loop");
    let mut n = 0_u64;
    while black_box(true) {
        n = black_box(n.wrapping_add(1));
    }
}

fn std_lock(_: &mut Lab) {
    let lock = std::sync::Mutex::new(());
    let _first = lock.lock();
    let _second = lock.lock(); // std's own: the simulator does not see it.
}

fn stdin(_: &mut Lab) {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("this never returns");
}
