//! Programs that panic: in a thread, in a handler, in a destructor, and one that
//! will not hear of its end.
//!
//! Boundary: one program a function.

use std::panic::{AssertUnwindSafe, catch_unwind};

use labrpc::{Network, Service};
use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::Program;

pub(super) const PART: Part = Part { name: "panics", title: "programs that panic" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "thread_panics", in_thread, Kind::Panic, "panics", "panicked: the end"),
    Program::bad(PART, "handler_panics", in_handler, Kind::Panic, "answer", "panicked: there is no answer to 7"),
    Program::bad(PART, "drop_panics", in_drop, Kind::Panic, "drops", "panicked: in a destructor"),
    Program::bad(PART, "crash_panics", in_drop_while_crashing, Kind::Panic, "bomber", "panicked: in a destructor"),
    Program::bad(PART, "twice_panics", twice, Kind::Panic, "panics", "panicked: the first"),
    Program::bad(PART, "catches_panics", catches, Kind::Panic, "undead", "keeps catching the unwinding that ends it"),
    Program::bad(PART, "knot_panics", knot, Kind::Panic, "parent", "while its scoped thread `child` still stands"),
];

fn in_thread(_: &Lab) {
    let done = thread::spawn("panics", || panic!("the end"));
    let _: Result<(), _> = done.join();
}

fn in_handler(_: &Lab) {
    let (client, server, network) = (Node::new("client"), Node::new("server"), Network::new());
    let answer = |n: u64| -> u64 { panic!("there is no answer to {n}") };
    network.serve(server, Service::new().method("answer", answer));
    let end = network.end(client, server);
    let asked = client.spawn("asks", move || end.call::<u64, u64>("answer", &7));
    let _ = asked.join();
}

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

fn in_drop(_: &Lab) {
    let done = thread::spawn("drops", || drop(Bomb));
    let _: Result<(), _> = done.join();
}

/// The destructor runs while its thread is unwound by the crash: Rust would
/// abort the process.
fn in_drop_while_crashing(_: &Lab) {
    let node = Node::new("S1");
    node.spawn("bomber", || {
        let _bomb = Bomb;
        thread::sleep(Duration::from_secs(10));
    });
    thread::sleep(Duration::from_millis(1));
    node.crash();
}

/// The same, while its thread is unwound by a panic.
fn twice(_: &Lab) {
    let done = thread::spawn("panics", || {
        let _bomb = Bomb;
        panic!("the first");
    });
    let _: Result<(), _> = done.join();
}

/// Its node is dead, and each step tells it so.
fn catches(_: &Lab) {
    let node = Node::new("S1");
    node.spawn("undead", || {
        loop {
            let _ = catch_unwind(AssertUnwindSafe(|| thread::sleep(Duration::from_millis(5))));
        }
    });
    thread::sleep(Duration::from_millis(1));
    node.crash();
}

/// Whoever holds the lock waits for whoever wants it, and both are dead.
fn knot(_: &Lab) {
    struct Locks<'a>(&'a Mutex<u32>);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }
    let node = Node::new("S1");
    let shared = Arc::new(Mutex::new(0));
    node.spawn("parent", move || {
        let lock = &*shared;
        thread::scope(|scope| {
            scope.spawn("child", || {
                let _locks = Locks(lock);
                thread::sleep(Duration::from_secs(10));
            });
            thread::sleep(Duration::from_millis(1));
            std::mem::forget(lock.lock());
            node.crash();
        });
    });
    thread::sleep(Duration::from_secs(1));
}
