//! Crashes: dead at once, and alive again in another life.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`. Who waited
//! for the dead is in `waits.rs`, what the dead still do in `dying.rs`.

use std::sync::atomic::{AtomicBool, Ordering};

use labsim::node::Node;
use labsim::sync::Arc;
use labsim::{FailureKind, channel, thread};

use crate::{MS, count_steps, failure, run, run_seeds};

// Dead at once.

#[test]
fn a_crashed_node_takes_not_one_more_step() {
    run_seeds(|| {
        let node = Node::new("counter");
        let steps = count_steps(&node);
        thread::sleep(MS);

        node.crash();
        let at_crash = steps.load(Ordering::Relaxed);
        thread::sleep(5 * MS);
        assert!(at_crash > 0);
        assert_eq!(steps.load(Ordering::Relaxed), at_crash);
    });
}

#[test]
fn a_thread_that_crashes_its_own_node_does_not_return() {
    run_seeds(|| {
        let node = Node::new("suicidal");
        let survived = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&survived);
        let ended = node.spawn("crasher", move || {
            node.crash();
            theirs.store(true, Ordering::Relaxed);
        });
        assert!(ended.join().is_err());
        assert!(!survived.load(Ordering::Relaxed));
        assert!(!node.is_up());
    });
}

#[test]
fn a_crash_leaves_other_nodes_running() {
    run_seeds(|| {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        let forever = doomed.spawn("sleeper", thread::park);
        let works = other.spawn("worker", || {
            thread::sleep(10 * MS);
            7
        });
        thread::sleep(MS);
        doomed.crash();
        assert!(forever.join().is_err());
        assert_eq!(works.join().unwrap(), 7);
    });
}

#[test]
fn children_die_with_the_node_of_the_thread_that_spawned_them() {
    run_seeds(|| {
        let node = Node::new("parent");
        let (tx, rx) = channel::unbounded();
        node.spawn("parent", move || {
            thread::spawn("child", move || {
                thread::sleep(2 * MS);
                let _ = tx.send("a child outlived its node");
            });
        });
        thread::sleep(MS);
        node.crash();
        assert!(rx.recv().is_err());
    });
}

#[test]
fn a_thread_off_every_node_survives_the_crash_of_the_one_that_spawned_it() {
    let arrived = run(1, || {
        let node = Node::new("sender");
        let (tx, rx) = channel::unbounded();
        node.spawn("sender", move || {
            thread::spawn_off_node("message", move || {
                thread::sleep(2 * MS);
                let _ = tx.send("arrived");
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        rx.recv()
    });
    assert_eq!(arrived, Ok("arrived"));
}

#[test]
fn a_thread_that_has_not_begun_dies_too() {
    run_seeds(|| {
        let node = Node::new("slow");
        let begun = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&begun);
        let ended = node.spawn_after(2 * MS, "late", move || theirs.store(true, Ordering::Relaxed));
        thread::sleep(MS);
        node.crash();
        assert!(ended.is_finished());
        assert!(ended.join().is_err());
        thread::sleep(5 * MS);
        assert!(!begun.load(Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&begun), 1, "the closure of a dead thread was never dropped");
    });
}

#[test]
fn joining_a_dead_thread_is_an_error_before_and_after_its_death() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let first = node.spawn("first", thread::park);
        let second = node.spawn("second", thread::park);
        let joiner = thread::spawn("joiner", move || first.join().is_err());
        thread::sleep(MS);
        node.crash();
        assert!(joiner.join().unwrap(), "joined while it lived");
        assert!(second.join().is_err(), "joined when it was dead");
    });
}

#[test]
fn crashing_a_node_that_is_down_does_nothing() {
    run(1, || {
        let node = Node::new("down");
        node.crash();
        node.crash();
        assert_eq!((node.is_up(), node.life()), (false, 0));
    });
}

// Lives.

#[test]
fn a_restart_begins_a_new_life_without_threads() {
    run_seeds(|| {
        let node = Node::new("phoenix");
        let old = node.spawn("old", thread::park);
        assert!(node.is_in_life(0));
        node.crash();
        assert!(!node.is_in_life(0));

        node.restart();
        assert!(node.is_up() && node.is_in_life(1) && !node.is_in_life(0));
        assert!(old.is_finished());
        let new = node.spawn("new", || Node::current().map(|node| node.life()));
        assert_eq!(new.join().unwrap(), Some(1));
    });
}

#[test]
fn a_second_crash_kills_only_the_second_life() {
    run_seeds(|| {
        let node = Node::new("phoenix");
        for life in 1..4 {
            node.crash();
            node.restart();
            let ended = node.spawn("of this life", thread::park);
            thread::sleep(MS);
            assert!(!ended.is_finished(), "a thread of life {life} died of an earlier crash");
            assert_eq!(node.life(), life);
        }
    });
}

#[test]
fn a_spawn_on_a_node_that_is_down_never_starts() {
    run(1, || {
        let node = Node::new("down");
        node.crash();
        let ended = node.spawn("never", || panic!("it started"));
        assert!(ended.is_finished());
        assert!(ended.join().is_err());
        node.restart();
        thread::sleep(MS);
    });
}

#[test]
fn restarting_a_node_that_is_up_panics() {
    let failure = failure(1, || Node::new("up").restart());
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("up is restarted while it is up"), "{failure}");
}
