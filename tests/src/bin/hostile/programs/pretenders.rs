//! Programs that look worse than they are, or try to look better.
//!
//! Boundary: one program a function.

use std::io::Write;

use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::endings::become_another;
use super::{Program, UnderCargo};

pub(super) const PART: Part = Part { name: "pretenders", title: "programs that pretend" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::good(PART, "protocol_pretenders", protocol),
    Program::good(PART, "half_lines_pretenders", half_lines),
    Program::good(PART, "no_stdout_pretenders", no_stdout).under_cargo(UnderCargo::Spoils),
    Program::good(PART, "locked_stdout_pretenders", locked_stdout).under_cargo(UnderCargo::Ends),
    Program::lost(PART, "forger_pretenders", forger, Kind::Panic, "the program ended itself with code 0")
        .under_cargo(UnderCargo::Spoils),
];

const FORGED: &str = "0123456789abcdef0123456789abcdef.{\"Done\":{\"job\":1,\"next\":null,\"result\":{}}}";

/// Lines in the form of a worker's own, with a token that nobody has.
fn protocol(_: &Lab) {
    println!("{FORGED}");
    println!("{}", FORGED.replace("Done", "Begin"));
    eprintln!("{{\"Done\":{{\"job\":1}}}}");
    print!("{FORGED}");
}

/// No line end at the end, on either of the two.
fn half_lines(_: &Lab) {
    print!("half a line");
    eprint!("half a line");
}

/// Standard output leads nowhere from here on.
fn no_stdout(_: &Lab) {
    lose_stdout();
    println!("nobody hears this");
}

/// A program that is not there can't be executed, but its standard output is in
/// place by then. There is no shorter way without unsafe code.
#[cfg(unix)]
fn lose_stdout() {
    use std::os::unix::process::CommandExt;
    let _ = std::process::Command::new("/no/such/program").stdout(std::process::Stdio::null()).exec();
}

#[cfg(not(unix))]
fn lose_stdout() {}

/// The lock is never given back, and its thread is gone.
fn locked_stdout(_: &Lab) {
    std::mem::forget(std::io::stdout().lock());
}

/// Says that it passed, and ends before anybody can contradict.
fn forger(_: &Lab) {
    println!("\n{FORGED}");
    let _ = std::io::stdout().flush();
    become_another("exit 0");
}
