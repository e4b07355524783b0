//! Programs that lock in the wrong order, twice, for ever, or for too long.
//!
//! Each has a timer running, as every Raft has: that nobody can run is not what
//! gives them away, except where two of a kind wait for each other at once.
//!
//! Boundary: one program a function.

use labrpc::{Network, Service};
use labsim::channel;
use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::thread;
use labsim::time::Duration;
use tests::check::Kind;
use tests::harness::Lab;
use tests::suites::Part;

use super::Program;

pub(super) const PART: Part = Part { name: "locks", title: "programs that lock" };

pub(super) const PROGRAMS: &[Program] = &[
    Program::bad(PART, "opposite_order_locks", opposite_order, Kind::Deadlock, "main", "Deadlock: every thread waits"),
    Program::bad(
        PART,
        "opposite_order_timer_locks",
        opposite_order_timer,
        Kind::Deadlock,
        "main",
        "two locks in opposite orders",
    ),
    Program::bad(PART, "twice_locks", twice, Kind::Deadlock, "main", "Deadlock: thread `main` locks again"),
    Program::bad(PART, "leaked_locks", leaked, Kind::Stuck, "wants", "Stuck: `wants` has waited for 5."),
    Program::bad(PART, "lost_wake_up_locks", lost_wake_up, Kind::Stuck, "waits", "its condition has come true"),
    Program::bad(
        PART,
        "across_call_locks",
        across_call,
        Kind::Panic,
        "asks",
        "`asks` makes a call while it holds a lock",
    ),
    Program::bad(PART, "across_sleep_locks", across_sleep, Kind::Panic, "naps", "`naps` sleeps while it holds a lock"),
    Program::bad(
        PART,
        "across_receive_locks",
        across_receive,
        Kind::Panic,
        "hears",
        "`hears` receives while it holds a lock",
    ),
];

/// What ticks on, so that the world is never quite still.
fn heartbeat() {
    thread::spawn("heartbeat", || {
        loop {
            thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Sooner or later each has what the other one wants.
fn opposite_order(_: &Lab) {
    fn transfer(from: &Mutex<i64>, to: &Mutex<i64>) {
        for _ in 0..10_000 {
            let mut from = from.lock();
            let mut to = to.lock();
            *from -= 1;
            *to += 1;
        }
    }
    let accounts = Arc::new([Mutex::new(0), Mutex::new(0)]);
    let theirs = Arc::clone(&accounts);
    let back = thread::spawn("back", move || transfer(&theirs[1], &theirs[0]));
    transfer(&accounts[0], &accounts[1]);
    let _ = back.join();
}

fn opposite_order_timer(lab: &Lab) {
    heartbeat();
    opposite_order(lab);
}

fn twice(_: &Lab) {
    heartbeat();
    let lock = Arc::new(Mutex::new(()));
    let first = lock.lock();
    let second = lock.lock();
    drop((first, second));
}

fn leaked(_: &Lab) {
    heartbeat();
    let lock = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&lock);
    let leaker = thread::spawn("leaks", move || std::mem::forget(theirs.lock()));
    let _ = leaker.join();
    let _ = thread::spawn("wants", move || *lock.lock() += 1).join();
}

/// Somebody changes what somebody else waits for, and keeps it to themselves.
fn lost_wake_up(_: &Lab) {
    heartbeat();
    let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let theirs = Arc::clone(&queue);
    let waiter = thread::spawn("waits", move || {
        let mut items = theirs.0.lock();
        theirs.1.wait_while(&mut items, |items| items.is_empty());
        items.pop()
    });
    thread::sleep(Duration::from_secs(1));
    queue.0.lock().push(7);
    let _ = waiter.join();
}

fn across_call(_: &Lab) {
    heartbeat();
    let (client, server, network) = (Node::new("client"), Node::new("server"), Network::new());
    network.serve(server, Service::new().method("echo", |n: u64| n));
    let end = network.end(client, server);
    let asks = client.spawn("asks", move || {
        let state = Mutex::new(7);
        let state = state.lock();
        end.call::<u64, u64>("echo", &state)
    });
    let _ = asks.join();
}

fn across_sleep(_: &Lab) {
    heartbeat();
    let naps = thread::spawn("naps", || {
        let state = Mutex::new(());
        let _state = state.lock();
        thread::sleep(Duration::from_millis(1));
    });
    let _ = naps.join();
}

fn across_receive(_: &Lab) {
    heartbeat();
    let (tx, rx) = channel::unbounded();
    let hears = thread::spawn("hears", move || {
        let state = Mutex::new(0);
        let mut state = state.lock();
        *state += rx.recv().unwrap_or(0);
    });
    let _ = tx.send(7);
    let _ = hears.join();
}
