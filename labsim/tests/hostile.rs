//! Programs that were written to break the simulator, and what they get now.
//!
//! Each of them once hung it, aborted it, or made it lie.
//!
//! Boundary: one program a test. What a crash and a lock mean otherwise is
//! tested beside this file.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use labsim::node::Node;
use labsim::sync::{Condvar, Mutex};
use labsim::{Config, FailureKind, Preemption, channel, run_real, simulate, thread, time, watch};

const MS: Duration = Duration::from_millis(1);

fn every_step(seed: u64) -> Config {
    Config::seed(seed).preemption(Preemption::OneIn(1))
}

#[test]
fn a_closure_may_own_more_than_a_kilobyte() {
    let large = [7u8; 3000];
    let outcome = simulate(Config::seed(1), move || {
        let copy = large;
        thread::spawn("large", move || copy.len()).join().unwrap() + large.len()
    });
    assert_eq!(outcome.result.unwrap(), 6000);
}

#[test]
fn nothing_starts_in_a_life_that_is_over() {
    for seed in 0..200 {
        let outcome = simulate(every_step(seed), || {
            let node = Node::new("n");
            let (tx, rx) = channel::unbounded();
            thread::spawn("starter", move || {
                node.spawn("late", move || {
                    thread::sleep(MS);
                    let _ = tx.send(node.life());
                });
            });
            thread::yield_now();
            let before = node.life();
            node.crash();
            node.restart();
            rx.iter().all(|life| life > before)
        });
        assert!(outcome.result.unwrap(), "seed {seed}: a thread outlived its node");
    }
}

#[test]
fn a_thread_that_never_began_may_lock_in_its_destructors() {
    struct Raft(Arc<Mutex<bool>>);
    impl Drop for Raft {
        fn drop(&mut self) {
            *self.0.lock() = true;
        }
    }
    let outcome = simulate(Config::seed(1), || {
        let raft = Raft(Arc::default());
        Node::new("n").spawn_after(10 * MS, "late", move || drop(raft));
        7
    });
    assert_eq!(outcome.result.unwrap(), 7);
}

#[test]
fn a_listener_that_takes_steps_loses_no_wake_up() {
    for seed in 0..100 {
        let outcome = simulate(every_step(seed), || {
            watch::subscribe(|_, _: &u32| {
                time::Instant::now();
            });
            let number = Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number));
            let shared = Arc::new((number, Condvar::new()));
            let theirs = Arc::clone(&shared);
            let adder = thread::spawn("adder", move || {
                *theirs.0.lock() += 1;
                theirs.1.notify_one();
            });
            shared.1.wait_while(&mut shared.0.lock(), |number| *number == 0);
            adder.join().unwrap();
        });
        assert!(outcome.result.is_ok(), "seed {seed}: {:?}", outcome.result);
    }
}

#[test]
fn a_listener_may_crash_the_node_that_publishes() {
    for seed in 0..100 {
        let outcome = simulate(every_step(seed), || {
            let node = Node::new("n");
            watch::subscribe(move |_, _: &u32| node.crash());
            let shared = Arc::new(Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number)));
            let theirs = Arc::clone(&shared);
            let went_on = Arc::new(Mutex::new(false));
            let marker = Arc::clone(&went_on);
            let publisher = node.spawn("publisher", move || {
                *theirs.lock() += 1;
                *marker.lock() = true;
            });
            assert!(publisher.join().is_err());
            assert!(!*went_on.lock(), "a dead thread went on");
            *shared.lock()
        });
        assert_eq!(outcome.result.unwrap(), 1, "seed {seed}");
    }
}

#[test]
fn a_listener_that_waits_or_publishes_is_named() {
    let waits = simulate(Config::seed(1), || {
        watch::subscribe(|_, _: &u32| thread::sleep(MS));
        *Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number)).lock() += 1;
    });
    let failure = waits.result.unwrap_err();
    assert!(failure.message.contains("must not"), "{failure}");
}

#[test]
fn a_destructor_that_spins_while_its_thread_unwinds_ends_the_run() {
    struct Spins(Arc<Mutex<bool>>);
    impl Drop for Spins {
        fn drop(&mut self) {
            while !*self.0.lock() {
                thread::yield_now();
            }
        }
    }
    let outcome = simulate(Config::seed(1), || {
        let _spins = Spins(Arc::default());
        panic!("the cause");
    });
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("the cause"), "{failure}");
}

#[test]
fn a_panic_that_the_hook_does_not_see_fails_the_run() {
    fn quiet() {
        let quiet = thread::spawn("quiet", || resume_unwind(Box::new("boom")));
        let _ = quiet.join();
    }
    let spawned = format!("panicked: boom; it went past the panic hook, in a thread that was spawned at {}", file!());
    for result in [simulate(Config::seed(1), quiet).result, run_real(Config::seed(1), quiet).result] {
        let failure = result.unwrap_err();
        assert!(failure.message.starts_with(&spawned), "{failure}");
        // Nobody knows where it was thrown: no place is better than a wrong one.
        assert_eq!((failure.thread.as_str(), failure.place), ("quiet", None));
    }

    let main: Result<(), _> = simulate(Config::seed(1), || resume_unwind(Box::new("main"))).result;
    let failure = main.unwrap_err();
    assert!(failure.message.contains("main") && failure.place.is_none(), "{failure}");
}

#[test]
fn a_notification_outlives_the_thread_it_was_meant_for() {
    for seed in 0..100 {
        let outcome = simulate(Config::seed(seed), || {
            let (doomed, living) = (Node::new("doomed"), Node::new("living"));
            let shared = Arc::new((Mutex::new(0u32), Condvar::new()));
            let waiter = |node: Node| {
                let shared = Arc::clone(&shared);
                node.spawn("waiter", move || shared.1.wait(&mut shared.0.lock()))
            };
            let (first, second) = (waiter(doomed), waiter(living));
            thread::sleep(MS);

            // Chosen or not, the doomed one can't have the lock before it dies.
            let guard = shared.0.lock();
            shared.1.notify_one();
            doomed.crash();
            drop(guard);
            shared.1.notify_one();
            (first.join().is_err(), second.join().is_ok())
        });
        assert_eq!(outcome.result.unwrap(), (true, true), "seed {seed}");
    }
}

#[test]
fn a_node_of_another_run_is_an_error_and_no_hang() {
    let (tx, rx) = std::sync::mpsc::channel();
    simulate(Config::seed(1), move || {
        Node::new("a");
        tx.send(Node::new("b")).unwrap();
    });
    let foreign = rx.recv().unwrap();
    let outcome = simulate(Config::seed(1), move || {
        Node::new("only");
        foreign.is_up()
    });
    assert!(outcome.result.unwrap_err().message.contains("another world"));
}

#[test]
fn what_a_listener_owns_may_lock_and_sleep_in_its_destructor() {
    struct Last(Arc<Mutex<u32>>);
    impl Drop for Last {
        fn drop(&mut self) {
            *self.0.lock() += 1;
            thread::sleep(MS);
            thread::spawn("too late", || ());
        }
    }
    for seed in 0..20 {
        let outcome = simulate(every_step(seed), || {
            let last = Last(Arc::default());
            watch::subscribe(move |_, _: &u32| drop(last.0.lock()));
        });
        assert!(outcome.result.is_ok(), "seed {seed}: {:?}", outcome.result);
        assert_eq!(outcome.threads, 1, "seed {seed}");
    }
}

#[test]
fn destructors_that_take_long_and_take_steps_raise_no_alarm() {
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            for _ in 0..4 {
                let begun = std::time::Instant::now();
                while begun.elapsed() < 50 * MS {}
                drop(Mutex::new(()).lock());
            }
        }
    }
    let impatient = Config { stall_limit: 200 * MS, ..Config::seed(1) };
    let outcome = simulate(impatient, || {
        for _ in 0..6 {
            thread::spawn("slow", || {
                let _slow = Slow;
                thread::sleep(1_000_000 * MS);
            });
        }
        thread::sleep(MS);
    });
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
}
