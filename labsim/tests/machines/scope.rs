//! Scoped threads in a crash: what they borrow outlives them, or the run ends.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`.

use std::sync::atomic::{AtomicU32, Ordering};

use labsim::channel::{Sender, unbounded};
use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::time::Duration;
use labsim::{Config, FailureKind, simulate, thread};

use crate::{MS, OnDrop, SEEDS, failure, run_seeds};

/// What scoped threads borrow. Knows when it goes whether somebody still does.
#[derive(Default)]
pub(crate) struct Frame {
    users: AtomicU32,
}

impl Frame {
    /// Tells `began` and uses the frame until `wait` returns, or throws.
    pub(crate) fn use_while(&self, began: &Sender<()>, wait: impl FnOnce()) {
        self.users.fetch_add(1, Ordering::SeqCst);
        let _last = OnDrop(|| _ = self.users.fetch_sub(1, Ordering::SeqCst));
        let _ = began.send(());
        wait();
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // No panic: whoever uses this would go on with freed memory.
        if self.users.load(Ordering::SeqCst) > 0 {
            eprintln!("a frame has gone that a scoped thread uses");
            std::process::abort();
        }
    }
}

/// Where the parent stands when its node crashes.
const PARENTS: [(&str, fn()); 3] =
    [("in its body", thread::park), ("at the end of the scope", || ()), ("in a loop", spin)];

fn spin() {
    loop {
        thread::yield_now();
    }
}

#[test]
fn a_crash_takes_the_children_and_then_the_frame_they_borrow_from() {
    for (parent, stands) in PARENTS {
        for seed in 0..SEEDS / 4 {
            let outcome = simulate(Config::seed(seed), move || {
                let (node, gone) = (Node::new("doomed"), Arc::new(AtomicU32::new(0)));
                let (began, begins) = unbounded();
                let goes = Arc::clone(&gone);
                let ended = node.spawn("parent", move || {
                    let _parent = OnDrop(|| _ = goes.fetch_add(1, Ordering::SeqCst));
                    let frame = Frame::default();
                    thread::scope(|scope| {
                        scope.spawn("parked", || frame.use_while(&began, thread::park));
                        scope.spawn("spins", || frame.use_while(&began, spin));
                        scope.spawn("has a child", || {
                            scope.spawn("grandchild", || frame.use_while(&began, || thread::sleep(Duration::MAX)));
                            frame.use_while(&began, thread::park);
                        });
                        stands();
                    });
                });
                (0..4).for_each(|_| begins.recv().unwrap());
                node.crash();
                assert!(ended.is_finished() && ended.join().is_err());
                assert_eq!(gone.load(Ordering::SeqCst), 1);
            });
            outcome.result.unwrap_or_else(|failure| panic!("{parent}, under seed {seed}: {failure}"));
        }
    }
}

/// At any moment, so also while children are made and end.
#[test]
fn a_crash_at_any_moment_leaves_no_child() {
    let mut caught = 0;
    for seed in 0..SEEDS {
        let outcome = simulate(Config::seed(seed), move || {
            let node = Node::new("doomed");
            node.set_start_delay(Duration::ZERO..MS / 100);
            let parent = node.spawn("parent", move || {
                let frame = Frame::default();
                let (began, _rx) = unbounded();
                loop {
                    thread::scope(|scope| {
                        let joined = scope.spawn("joined", || frame.use_while(&began, thread::yield_now));
                        scope.spawn("sleeper", || frame.use_while(&began, || thread::sleep(MS / 50)));
                        let _ = joined.join();
                        scope.spawn("late", || frame.use_while(&began, || ()));
                    });
                }
            });
            thread::sleep(MS / 20 + MS / 500 * seed as u32);
            node.crash();
            assert!(parent.join().is_err());
        });
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        caught += u32::from(outcome.threads > 3);
    }
    assert!(caught > 0, "no seed had children at all");
}

#[test]
fn a_child_that_has_not_begun_is_dropped_unrun_before_the_frame() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let made = Arc::new(AtomicU32::new(0));
        let makes = Arc::clone(&made);
        node.spawn("parent", move || {
            node.set_start_delay(100 * MS..200 * MS);
            let frame = Frame::default();
            thread::scope(|scope| {
                frame.users.fetch_add(1, Ordering::SeqCst);
                let owned = OnDrop(|| _ = frame.users.fetch_sub(1, Ordering::SeqCst));
                scope.spawn("late", move || {
                    let _owned = owned;
                    panic!("it started");
                });
                makes.fetch_add(1, Ordering::SeqCst);
            });
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(made.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_child_that_crashes_its_own_node_does_not_outlive_it() {
    run_seeds(|| {
        let node = Node::new("suicidal");
        let ended = node.spawn("parent", move || {
            let frame = Frame::default();
            let (began, _rx) = unbounded();
            thread::scope(|scope| {
                scope.spawn("crasher", || frame.use_while(&began, || node.crash()));
                scope.spawn("parked", || frame.use_while(&began, thread::park));
            });
        });
        assert!(ended.join().is_err());
    });
}

#[test]
fn a_spawn_of_the_dead_never_starts_and_its_body_is_dropped_at_once() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&outcomes);
        node.spawn("parent", move || {
            let _last = OnDrop(|| {
                let frame = Frame::default();
                thread::scope(|scope| {
                    frame.users.fetch_add(1, Ordering::SeqCst);
                    let owned = OnDrop(|| _ = frame.users.fetch_sub(1, Ordering::SeqCst));
                    let never = scope.spawn("never", move || drop(owned));
                    let is_dropped = frame.users.load(Ordering::SeqCst) == 0;
                    theirs.lock().unwrap().push((is_dropped, never.join().is_err()));
                });
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(*outcomes.lock().unwrap(), [(true, true)]);
    });
}

#[test]
fn children_go_first_when_the_run_ends() {
    for seed in 0..SEEDS {
        let outcome = simulate(Config::seed(seed), || {
            let (began, begins) = unbounded();
            thread::spawn("parent", move || {
                let frame = Frame::default();
                thread::scope(|scope| {
                    (0..3).for_each(|_| _ = scope.spawn("child", || frame.use_while(&began, thread::park)));
                });
            });
            begins.recv().unwrap();
        });
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

/// A destructor of the youngest thread needs the parent's lock, so the parent is
/// unwound out of turn, and its children before it.
#[test]
fn a_parent_that_is_unwound_out_of_turn_takes_its_children_first() {
    run_seeds(|| take_children_first(|| ()));
    run_seeds(|| take_children_first(thread::park));
}

/// The parent stands at `stands`, in its scope, with a lock in hand.
fn take_children_first(stands: fn()) {
    let node = Node::new("doomed");
    let number = Arc::new(Mutex::new(7));
    let theirs = Arc::clone(&number);
    let (began, begins) = unbounded();
    node.spawn("parent", move || {
        let frame = Frame::default();
        let _held = theirs.lock();
        thread::scope(|scope| {
            (0..2).for_each(|_| _ = scope.spawn("child", || frame.use_while(&began, thread::park)));
            stands();
        });
    });
    (0..2).for_each(|_| begins.recv().unwrap());
    let theirs = Arc::clone(&number);
    node.spawn("youngest", move || {
        let _last = OnDrop(|| *theirs.lock() += 1);
        thread::park();
    });
    thread::sleep(MS);
    node.crash();
    assert_eq!(*number.lock(), 8);
}

/// As above, but the one who needs the lock is the child itself: neither can go
/// before the other.
#[test]
fn a_child_whose_destructor_needs_its_parents_lock_ends_the_run() {
    let needs_it: [fn(&Mutex<u32>); 2] = [
        |number| {
            let _held = number.lock();
            thread::scope(|scope| {
                scope.spawn("child", || {
                    let _last = OnDrop(|| *number.lock() += 1);
                    thread::park();
                });
            });
        },
        // The lock is free by the time the parent gets to the end of its scope,
        // and still the child stands beneath it.
        |number| {
            thread::scope(|scope| {
                let _held = number.lock();
                scope.spawn("child", || {
                    let _last = OnDrop(|| *number.lock() += 1);
                    thread::park();
                });
                thread::park();
            });
        },
    ];
    for story in needs_it {
        let failure = failure(1, move || {
            let node = Node::new("doomed");
            node.spawn("parent", move || {
                let frame = Frame::default(); // Never freed, with all of this stack.
                frame.users.fetch_add(1, Ordering::SeqCst);
                story(&Mutex::new(7));
            });
            thread::sleep(MS);
            node.crash();
        });
        assert_eq!(failure.kind, FailureKind::Panic);
        assert!(
            failure.message.contains("`parent` is unwound while its scoped thread `child` still stands"),
            "{failure}"
        );
    }
}

#[test]
fn a_scope_in_a_destructor_that_would_have_to_wait_ends_the_run() {
    let failure = failure(1, || {
        let _last = OnDrop(|| {
            let frame = Frame::default();
            let (began, _rx) = unbounded();
            thread::scope(|scope| _ = scope.spawn("child", || frame.use_while(&began, thread::park)));
        });
        panic!("on purpose");
    });
    assert!(failure.message.contains("on purpose"), "{failure}");
}

#[test]
fn catching_the_unwinding_in_a_scope_does_not_keep_it_alive() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let survived = Arc::new(AtomicU32::new(0));
        let survives = Arc::clone(&survived);
        let ended = node.spawn("parent", move || {
            let frame = Frame::default();
            let (began, _rx) = unbounded();
            thread::scope(|scope| {
                scope.spawn("child", || frame.use_while(&began, thread::park));
                let _ = std::panic::catch_unwind(thread::park);
            });
            survives.fetch_add(1, Ordering::SeqCst);
        });
        thread::sleep(MS);
        node.crash();
        assert!(ended.join().is_err());
        assert_eq!(survived.load(Ordering::SeqCst), 0);
    });
}
