//! Programs that look as bad as others, and are right. Each asserts what it
//! relies on.
//!
//! Boundary: one program a function.

use labrpc::{CallError, Network, Service};
use labsim::channel;
use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::thread;
use labsim::time::{Duration, Instant};
use tests::harness::Lab;
use tests::suites::Part;

use super::Program;

pub(super) const PART: Part = Part { name: "harmless", title: "programs that look bad and are right" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::good(PART, "disk_write_harmless", disk_write),
    Program::good(PART, "scope_harmless", scope),
    Program::good(PART, "send_to_dead_harmless", send_to_dead),
    Program::good(PART, "call_to_dead_harmless", call_to_dead),
];

/// A lock is held while the disk syncs: it answers by itself, and others wait no
/// longer than it takes.
fn disk_write(_: &Lab) {
    const SYNC: Duration = Duration::from_millis(7);
    let node = Node::new("S1");
    node.disk().set_sync_delay(SYNC..SYNC + Duration::from_nanos(1));
    let state = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&state);
    let saved = node.spawn("saves", move || {
        let begun = Instant::now();
        let mut state = theirs.lock();
        *state += 1;
        node.disk().append("log", b"one");
        node.disk().sync();
        drop(state);
        begun.elapsed()
    });
    thread::sleep(Duration::from_millis(1));
    let begun = Instant::now();
    assert_eq!(*state.lock(), 1, "the lock was free while it was held");
    let (waited, took) = (begun.elapsed(), saved.join().expect("it only saves"));
    assert!(took >= SYNC, "a sync took {took:?} of virtual time");
    assert!(waited >= SYNC - Duration::from_millis(2), "a reader waited for {waited:?}");
}

/// A thread dies that others borrow from: they die first, and its frame stays
/// until they have.
fn scope(_: &Lab) {
    struct Reads<'a>(&'a [u64], channel::Sender<u64>);
    impl Drop for Reads<'_> {
        fn drop(&mut self) {
            assert_eq!(self.0, [1, 2, 3], "what was borrowed is gone");
            let _ = self.1.send(0); // It is dead: nobody hears this.
        }
    }
    let node = Node::new("S1");
    let (tx, rx) = channel::unbounded();
    let parent = node.spawn("parent", move || {
        let lent = vec![1, 2, 3];
        thread::scope(|scope| {
            for name in ["one", "two"] {
                let reads = Reads(&lent, tx.clone());
                scope.spawn(name, move || {
                    thread::sleep(Duration::from_secs(10));
                    drop(reads);
                });
            }
        });
    });
    thread::sleep(Duration::from_millis(1));
    node.crash();
    assert!(parent.join().is_err(), "the parent outlived its node");
    assert!(rx.recv().is_err(), "a dead thread was heard");
}

fn send_to_dead(_: &Lab) {
    let node = Node::new("S1");
    let (tx, rx) = channel::unbounded();
    node.spawn("hears", move || while rx.recv().is_ok() {});
    assert!(tx.send(1).is_ok());
    thread::sleep(Duration::from_millis(1));
    node.crash();
    assert!(tx.send(2).is_err(), "a dead thread still listens");
}

fn call_to_dead(_: &Lab) {
    let (client, server, network) = (Node::new("client"), Node::new("server"), Network::new());
    network.serve(server, Service::new().method("echo", |n: u64| n));
    let end = network.end(client, server);
    let asks = client.spawn("asks", move || {
        let alive = end.call::<u64, u64>("echo", &7);
        server.crash();
        (alive, end.call::<u64, u64>("echo", &7))
    });
    assert_eq!(asks.join().expect("it only asks"), (Ok(7), Err(CallError::Lost)));
}
