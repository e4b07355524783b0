//! Watching: a lock that publishes as it opens, and a watcher that stops the run.
//!
//! Boundary: values of any type; no Raft.

use std::sync::Mutex as Plain;

use labsim::node::{Node, NodeId};
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::time::Duration;
use labsim::{Config, FailureKind, simulate, thread, watch};

use crate::{MS, failure, run, run_seeds};

/// An observed number, and everything that is heard of it.
fn observed() -> (Arc<Mutex<u32>>, Arc<Plain<Vec<u32>>>) {
    let heard = Arc::new(Plain::new(Vec::new()));
    let theirs = Arc::clone(&heard);
    watch::subscribe(move |_, number: &u32| theirs.lock().unwrap().push(*number));
    (Arc::new(Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number))), heard)
}

#[test]
fn an_observed_lock_publishes_at_each_unlock() {
    run_seeds(|| {
        let (lock, heard) = observed();
        *lock.lock() = 1;
        *lock.try_lock().unwrap() = 2;
        *lock.try_lock_for(MS).unwrap() = 3;
        let theirs = Arc::clone(&lock);
        thread::spawn("other", move || *theirs.lock() = 4).join().unwrap();
        assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 4]);
    });
}

#[test]
fn half_a_change_is_never_published() {
    run_seeds(|| {
        let (lock, heard) = observed();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let lock = Arc::clone(&lock);
                thread::spawn("changer", move || {
                    let mut number = lock.lock();
                    *number += 1;
                    thread::yield_now();
                    *number += 1;
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*heard.lock().unwrap(), [2, 4, 6]);
    });
}

#[test]
fn an_observed_lock_publishes_at_each_wait_on_a_condition() {
    run_seeds(|| {
        let (lock, heard) = observed();
        let condition = Arc::new(Condvar::new());
        let theirs = (Arc::clone(&lock), Arc::clone(&condition));
        let waiter = thread::spawn("waiter", move || {
            let mut number = theirs.0.lock();
            *number = 1;
            theirs.1.wait(&mut number);
            *number = 3;
            theirs.1.wait_for(&mut number, MS);
            *number = 4;
        });
        thread::sleep(MS);
        assert_eq!(*heard.lock().unwrap(), [1]);
        *lock.lock() = 2;
        condition.notify_one();
        waiter.join().unwrap();
        assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 4]);
    });
}

#[test]
fn an_observed_lock_publishes_nothing_when_its_holder_is_killed() {
    run_seeds(|| {
        let (lock, heard) = observed();
        let node = Node::new("doomed");
        let theirs = Arc::clone(&lock);
        node.spawn("holder", move || {
            *theirs.lock() = 1;
            let mut number = theirs.lock();
            *number = 99;
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(*heard.lock().unwrap(), [1]);
        assert_eq!(*lock.lock(), 99, "the lock is free all the same");
    });
}

#[test]
fn an_observed_lock_publishes_nothing_when_its_holder_panics() {
    let heard = Arc::new(Plain::new(Vec::new()));
    let theirs = Arc::clone(&heard);
    let failure = failure(1, move || {
        watch::subscribe(move |_, number: &u32| theirs.lock().unwrap().push(*number));
        let lock = Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number));
        *lock.lock() = 1;
        let mut number = lock.lock();
        *number = 99;
        panic!("in the middle of a change");
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert_eq!(*heard.lock().unwrap(), [1]);
}

#[test]
fn what_is_published_carries_time_and_node() {
    let seen: Vec<(Duration, Option<NodeId>)> = run(1, || {
        let seen = Arc::new(Plain::new(Vec::new()));
        let theirs = Arc::clone(&seen);
        watch::subscribe(move |seen, _: &u32| theirs.lock().unwrap().push((seen.at, seen.node)));
        let lock = Arc::new(Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number)));
        drop(lock.lock());
        let (_, node) = (Node::new("S0"), Node::new("S1"));
        thread::sleep(5 * MS);
        let theirs = Arc::clone(&lock);
        node.spawn("publisher", move || drop(theirs.lock())).join().unwrap();
        let seen = seen.lock().unwrap();
        seen.clone()
    });
    assert_eq!((seen[0].0.as_millis(), seen[0].1), (0, None));
    assert_eq!((seen[1].0.as_millis(), seen[1].1), (5, Some(NodeId(1))));
}

#[test]
fn every_listener_hears_its_own_type_and_only_that() {
    let (numbers, words) = run(1, || {
        let heard: [Arc<Plain<Vec<String>>>; 3] = Default::default();
        let [first, second, words] = heard.clone();
        watch::subscribe(move |_, number: &u32| first.lock().unwrap().push(number.to_string()));
        watch::subscribe(move |_, word: &&'static str| words.lock().unwrap().push((*word).to_owned()));
        watch::subscribe(move |_, number: &u32| second.lock().unwrap().push(number.to_string()));
        drop(Mutex::observed(7_u32, |number, watch| watch.publish(|| *number)).lock());
        drop(Mutex::observed("word", |word, watch| watch.publish(|| *word)).lock());
        let [first, second, words] = heard.map(|heard| heard.lock().unwrap().clone());
        assert_eq!(first, second);
        (first, words)
    });
    assert_eq!((numbers, words), (vec!["7".to_owned()], vec!["word".to_owned()]));
}

#[test]
fn a_view_is_not_even_made_if_nobody_listens() {
    run(1, || {
        let lock = Mutex::observed((), |(), watch| watch.publish(|| -> u32 { panic!("made for nobody") }));
        drop(lock.lock());
    });
}

/// What a watcher hands over.
#[derive(Debug, PartialEq)]
struct TwoLeaders(u32);

#[test]
fn fail_stops_the_run_at_once_with_its_payload() {
    let failure = failure(1, || {
        watch::subscribe(|_, number: &u32| {
            if *number == 3 {
                watch::fail("two leaders in term 3", TwoLeaders(3));
            }
        });
        let lock = Mutex::observed(0_u32, |number, watch| watch.publish(|| *number));
        let node = Node::new("S1");
        node.spawn("elected", move || {
            for number in 1..10 {
                assert!(number <= 4, "the run went on");
                *lock.lock() = number;
            }
        });
        thread::park();
    });
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Raised, "two leaders in term 3"));
    assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("S1"), "elected"));
    assert_eq!(failure.payload.unwrap().downcast_ref(), Some(&TwoLeaders(3)));
}

#[test]
fn fail_does_not_return_and_nobody_else_runs_on() {
    let went_on = Arc::new(Plain::new(Vec::new()));
    for seed in 0..crate::SEEDS {
        let theirs = Arc::clone(&went_on);
        failure(seed, move || {
            let others = Arc::clone(&theirs);
            thread::spawn("other", move || {
                loop {
                    thread::sleep(2 * MS);
                    others.lock().unwrap().push("another thread");
                }
            });
            thread::sleep(MS);
            labsim::fail("enough", ());
            theirs.lock().unwrap().push("the caller");
        });
    }
    assert!(went_on.lock().unwrap().is_empty(), "{:?}", went_on.lock().unwrap());
}

#[test]
fn the_first_failure_wins() {
    let failure = failure(1, || {
        let _last = crate::OnDrop(|| labsim::fail("the second", 2));
        let theirs = crate::OnDrop(|| labsim::fail("the third", 3));
        thread::spawn("other", move || {
            let _theirs = theirs;
            thread::park();
        });
        labsim::fail("the first", 1);
    });
    assert_eq!(failure.message, "the first");
    assert_eq!(failure.payload.unwrap().downcast_ref(), Some(&1));
}

#[test]
fn a_watcher_goes_with_its_world() {
    let alive = Arc::new(());
    let theirs = Arc::clone(&alive);
    simulate(Config::seed(1), move || watch::subscribe(move |_, (): &()| drop(Arc::clone(&theirs)))).result.unwrap();
    assert_eq!(Arc::strong_count(&alive), 1);
}
