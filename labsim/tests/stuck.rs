//! Programs that take steps and get nowhere: locks that never open, lost wake-ups
//! beside a ticking timer, loops that poll. And busy or idle programs that are
//! nobody's fault.
//!
//! Boundary: one program a test, all of them through the facade. What goes past it
//! is in `outside.rs`.

use std::sync::Arc;
use std::time::Duration;

use labsim::node::Node;
use labsim::sync::atomic::{AtomicBool, Ordering};
use labsim::sync::{Condvar, Mutex};
use labsim::time::Instant;
use labsim::{Config, Failure, FailureKind, Outcome, channel, simulate, thread};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn failure<T: std::fmt::Debug>(outcome: Outcome<T>) -> Failure {
    assert!(!outcome.abandoned);
    outcome.result.expect_err("the program is a bad one")
}

/// A heartbeat: there is always another timer.
fn heartbeat() {
    thread::spawn("heartbeat", || {
        loop {
            thread::sleep(100 * MS);
        }
    });
}

/// Runs `body` on a node's thread beside a heartbeat, for a virtual minute.
fn beside_heartbeat(config: Config, body: impl Fn() + Send + 'static) -> Outcome<()> {
    simulate(config, move || {
        heartbeat();
        Node::new("S1").spawn("culprit", body);
        thread::sleep(60 * SECOND);
    })
}

#[test]
fn a_leaked_lock_is_named() {
    let program = || {
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        thread::spawn("leaker", move || std::mem::forget(theirs.lock())).join().unwrap();
        *lock.lock() += 1;
    };
    let failure = failure(beside_heartbeat(Config::seed(1), program));
    assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
    assert!(failure.message.contains("`culprit` of S1 has waited for 5."), "{failure}");
    assert!(failure.message.contains("a lock whose guard was leaked"), "{failure}");
    assert_eq!((failure.thread.as_str(), failure.node.as_deref()), ("culprit", Some("S1")));
    assert!(failure.place.is_some_and(|place| place.contains("tests/stuck.rs")));
}

#[test]
fn a_lock_is_followed_to_whoever_has_it_and_whom_that_one_waits_for() {
    let program = || {
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        let idler = thread::spawn("idler", thread::park);
        thread::spawn("holder", move || {
            let _guard = theirs.lock();
            let _ = idler.join();
        });
        thread::sleep(MS);
        *lock.lock() += 1;
    };
    let failure = failure(beside_heartbeat(Config::seed(1), program));
    assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
    for part in ["a lock that `holder` of S1 took at", "for the end of thread `idler` of S1", "for an unpark"] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    assert!(!failure.message.contains("heartbeat"), "{failure}");
}

/// A queue whose producer notifies, or forgets to.
fn queue_of(notifies: bool) -> impl Fn() + Send + 'static {
    move || {
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let theirs = Arc::clone(&queue);
        thread::spawn("producer", move || {
            thread::sleep(SECOND);
            theirs.0.lock().push(7);
            if notifies {
                theirs.1.notify_all();
            }
        });
        let (items, grown) = &*queue;
        let mut items = items.lock();
        grown.wait_while(&mut items, |items| items.is_empty());
        items.pop();
        // And from now on it is idle, with every right.
        grown.wait_while(&mut items, |items| items.is_empty());
    }
}

#[test]
fn a_lost_wake_up_is_proven() {
    for seed in 0..20 {
        let failure = failure(beside_heartbeat(Config::seed(seed), queue_of(false)));
        assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
        assert!(failure.message.contains("its condition has come true"), "{failure}");
        assert_eq!(failure.thread, "culprit");
    }
}

#[test]
fn an_idle_thread_is_nobodys_fault() {
    for seed in 0..20 {
        beside_heartbeat(Config::seed(seed), queue_of(true)).result.unwrap();
    }
}

#[test]
fn a_late_notification_is_in_time() {
    // The condition comes true while the waiter is looked at, again and again, and
    // the notification follows a moment later.
    for seed in 0..200 {
        let outcome = simulate(Config::seed(seed), move || {
            heartbeat();
            let shared = Arc::new((Mutex::new(false), Condvar::new()));
            let theirs = Arc::clone(&shared);
            thread::spawn("notifier", move || {
                thread::sleep(7 * SECOND - Duration::from_millis(seed % 20));
                *theirs.0.lock() = true;
                thread::sleep(Duration::from_millis(40));
                theirs.1.notify_one();
            });
            shared.1.wait_while(&mut shared.0.lock(), |ready| !*ready);
        });
        outcome.result.unwrap();
    }
}

#[test]
fn what_is_waited_for_holds_when_the_wait_ends() {
    // It comes true unsaid, is seen, and is false again before anybody says so.
    for seed in 0..200 {
        let outcome = simulate(Config::seed(seed), || {
            heartbeat();
            let shared = Arc::new((Mutex::new(false), Condvar::new()));
            let theirs = Arc::clone(&shared);
            thread::spawn("changes", move || {
                let changes = [(5500, true, false), (900, false, true), (2000, true, true)];
                for (after_ms, value, notifies) in changes {
                    thread::sleep(after_ms * MS);
                    *theirs.0.lock() = value;
                    if notifies {
                        theirs.1.notify_all();
                    }
                }
            });
            let mut ready = shared.0.lock();
            shared.1.wait_while(&mut ready, |ready| !*ready);
            *ready
        });
        assert!(outcome.result.unwrap(), "seed {seed}: it came back while the condition held");
    }
}

#[test]
fn a_look_costs_no_notification() {
    // There is no other timer than that of the changes. So all waiters are looked
    // at just when one is due, and each is to be heard at once.
    for seed in 0..200 {
        let outcome = simulate(Config::seed(seed), || {
            let shared = Arc::new((Mutex::new(0), Condvar::new()));
            let waits = |number: u32| {
                let theirs = Arc::clone(&shared);
                thread::spawn("waits", move || {
                    theirs.1.wait_while(&mut theirs.0.lock(), |reached| *reached < number);
                    Instant::now()
                })
            };
            let waiters: Vec<_> = (1..=4).map(waits).collect();
            let changed: Vec<_> = (1..=4)
                .map(|number| {
                    thread::sleep(if number == 1 { 6 * SECOND } else { SECOND });
                    *shared.0.lock() = number;
                    shared.1.notify_all();
                    Instant::now()
                })
                .collect();
            let heard: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
            heard.into_iter().zip(changed).map(|(heard, changed)| heard.duration_since(changed)).max().unwrap()
        });
        let latest = outcome.result.unwrap();
        assert!(latest < 10 * MS, "seed {seed}: heard {latest:?} later");
    }
}

#[test]
fn a_condition_that_flickers_goes_on_waiting() {
    let outcome = simulate(Config::seed(1), || {
        heartbeat();
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        thread::spawn("flicker", move || {
            for _ in 0..2000 {
                thread::sleep(5 * MS);
                *theirs.0.lock() ^= 1; // True and false again, nobody is told.
            }
            *theirs.0.lock() = 2;
            theirs.1.notify_all();
        });
        let mut number = shared.0.lock();
        shared.1.wait_while(&mut number, |number| *number < 2);
        *number
    });
    assert_eq!(outcome.result.unwrap(), 2);
}

#[test]
fn a_run_may_limit_every_wait() {
    let waits: [(&str, fn()); 3] = [
        ("a message", || {
            let (_tx, rx) = channel::unbounded::<()>();
            let _ = rx.recv();
        }),
        ("an unpark", thread::park),
        ("a condition", || Condvar::new().wait(&mut Mutex::new(()).lock())),
    ];
    for (what, wait) in waits {
        let limited = Config { wait_limit: Some(10 * SECOND), ..Config::seed(1) };
        let failure = failure(beside_heartbeat(limited, wait));
        assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
        assert!(failure.message.contains("has waited for 10.") || failure.message.contains("has waited for 11."));
        assert!(failure.message.contains("`culprit` of S1 waits at"), "{what}: {failure}");
        beside_heartbeat(Config::seed(1), wait).result.unwrap();
    }
}

fn assert_busy(program: impl Fn() + Send + 'static) {
    let failure = failure(beside_heartbeat(Config::seed(1), program));
    assert_eq!(failure.kind, FailureKind::BusyLoop, "{failure}");
    assert_eq!((failure.thread.as_str(), failure.node.as_deref()), ("culprit", Some("S1")), "{failure}");
    assert!(failure.message.contains(" % `culprit` of S1 at "), "{failure}");
    assert!(failure.place.as_deref().is_some_and(|place| place.contains("tests/stuck.rs")), "{failure}");
}

#[test]
fn a_loop_that_yields_is_named() {
    assert_busy(|| {
        loop {
            thread::yield_now();
        }
    });
}

#[test]
fn a_loop_that_locks_is_named() {
    assert_busy(|| {
        let stop = Mutex::new(false);
        while !*stop.lock() {}
    });
}

#[test]
fn a_loop_that_reads_an_atomic_is_named() {
    assert_busy(|| {
        let stop = AtomicBool::new(false);
        while !stop.load(Ordering::SeqCst) {}
    });
}

#[test]
fn a_loop_that_tries_to_receive_is_named() {
    assert_busy(|| {
        let (_tx, rx) = channel::unbounded::<()>();
        while rx.try_recv().is_err() {}
    });
}

#[test]
fn a_loop_of_two_threads_is_named() {
    assert_busy(|| {
        let (there_tx, there) = channel::unbounded();
        let (back_tx, back) = channel::unbounded();
        thread::spawn("culprit", move || there.iter().all(|n: u32| back_tx.send(n).is_ok()));
        there_tx.send(0).unwrap();
        while let Ok(n) = back.recv() {
            there_tx.send(n).unwrap();
        }
    });
}

#[test]
fn being_busy_at_many_things_is_no_loop() {
    // As busy as a loop, and for as long, but on a dozen different lines.
    let config = Config { busy_limit: 100_000, ..Config::seed(1) };
    let outcome = simulate(config, || {
        let lock = Mutex::new(0);
        for _ in 0..50_000 {
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
            *lock.lock() += 1;
        }
        *lock.lock()
    });
    assert_eq!(outcome.result.unwrap(), 600_000);
}

#[test]
fn a_failure_has_every_stack_on_request() {
    #[inline(never)]
    fn waits_here(rx: &channel::Receiver<()>) {
        std::hint::black_box(rx.recv().is_ok()); // Not a tail call, which leaves no frame.
    }
    let program = || {
        let (tx, rx) = channel::unbounded();
        let waiter = thread::spawn("waiter", move || waits_here(&rx));
        thread::sleep(MS);
        let _keep = tx;
        waiter.join().unwrap();
    };
    let asked = simulate(Config { stacks: true, ..Config::seed(1) }, program);
    let not_asked = simulate(Config::seed(1), program);
    assert_eq!(asked.hash, not_asked.hash, "looking changes nothing");
    let failure = asked.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadlock);
    let stack_of =
        |name: &str| failure.stacks.iter().find(|stack| stack.thread.contains(name)).map(|s| s.stack.clone());
    assert!(stack_of("waiter").is_some_and(|stack| stack.contains("waits_here")), "{:?}", failure.stacks);
    assert!(stack_of("main").is_some());
    assert!(not_asked.result.unwrap_err().stacks.is_empty());
}
