//! Programs that wait for the machine instead of the simulator.
//!
//! Boundary: one program a function.

use std::io::Read;

use labsim::sync::Arc;
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::Program;

pub(super) const PART: Part = Part { name: "outside", title: "programs that leave the simulation" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "sleep_outside", sleep, Kind::Panic, "naps", "`naps` sleeps by std::thread::sleep; use labsim"),
    Program::bad(PART, "spawn_outside", spawn, Kind::Panic, "starts", "`starts` starts an OS thread; use labsim"),
    Program::bad(
        PART,
        "mutex_outside",
        mutex,
        Kind::Panic,
        "wants",
        "`wants` waits for a std::sync::Mutex; use labsim",
    ),
    Program::bad(PART, "stdin_outside", stdin, Kind::Panic, "reads", "`reads` waits for standard input"),
    Program::bad(PART, "pipe_outside", pipe, Kind::Panic, "reads", "`reads` waits for the machine, in "),
    Program::bad(PART, "accept_outside", accept, Kind::Panic, "listens", "`listens` waits for the machine, in "),
];

fn run(name: &'static str, deed: impl FnOnce() + Send + 'static) {
    let _ = thread::spawn(name, deed).join();
}

fn sleep(_: &Lab) {
    run("naps", || std::thread::sleep(Duration::from_secs(3600)));
}

fn spawn(_: &Lab) {
    run("starts", || drop(std::thread::spawn(|| ())));
}

/// Whoever has the lock sleeps with it, which no simulator sees of a lock of
/// std's.
fn mutex(_: &Lab) {
    let lock = Arc::new(std::sync::Mutex::new(()));
    let theirs = Arc::clone(&lock);
    thread::spawn("has", move || {
        let _guard = theirs.lock();
        thread::sleep(Duration::from_secs(1));
    });
    thread::sleep(Duration::from_millis(1));
    run("wants", move || drop(lock.lock()));
}

/// In a worker the lock of standard input is taken; elsewhere nobody types.
fn stdin(_: &Lab) {
    run("reads", || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("this never returns");
    });
}

fn pipe(_: &Lab) {
    run("reads", || {
        let (mut reader, _writer) = std::io::pipe().expect("the machine has one more");
        let _ = reader.read(&mut [0; 1]);
    });
}

fn accept(_: &Lab) {
    run("listens", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let _ = listener.accept();
    });
}
