//! Pauses: nothing runs, nothing is lost, and what came meanwhile is found afterwards.
//!
//! Boundary: simulated pauses; those of OS threads are in `real.rs`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use labsim::channel::RecvTimeoutError;
use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::time::Instant;
use labsim::{Config, FailureKind, channel, rand, simulate, thread, watch};

use crate::{MS, OnDrop, count_steps, failure, run, run_seeds};

// Nothing runs.

#[test]
fn a_paused_node_takes_not_one_more_step_until_it_is_resumed() {
    run_seeds(|| {
        let node = Node::new("counter");
        let steps = count_steps(&node);
        thread::sleep(MS);

        node.pause();
        let at_pause = steps.load(Ordering::Relaxed);
        thread::sleep(5 * MS);
        assert!(at_pause > 0 && node.is_paused());
        assert_eq!(steps.load(Ordering::Relaxed), at_pause);

        node.resume();
        thread::sleep(MS);
        assert!(steps.load(Ordering::Relaxed) > at_pause && !node.is_paused());
    });
}

#[test]
fn a_pause_leaves_other_nodes_running() {
    run_seeds(|| {
        let (paused, other) = (Node::new("paused"), Node::new("other"));
        let kept = paused.spawn("kept", || thread::sleep(MS));
        paused.pause();
        let works = other.spawn("worker", || {
            thread::sleep(10 * MS);
            7
        });
        assert_eq!(works.join().unwrap(), 7);
        assert!(!kept.is_finished());
    });
}

#[test]
fn threads_that_are_started_on_a_paused_node_begin_when_it_is_resumed() {
    run_seeds(|| {
        let node = Node::new("server");
        let early = node.spawn_after(5 * MS, "in flight", Instant::now);
        node.pause();
        let late = node.spawn("request", Instant::now);
        thread::sleep(20 * MS);
        assert!(!early.is_finished() && !late.is_finished());

        let resumed = Instant::now();
        node.resume();
        assert!(early.join().unwrap() > resumed && late.join().unwrap() > resumed);
    });
}

#[test]
fn a_thread_that_pauses_its_own_node_stops_there_and_goes_on_later() {
    run_seeds(|| {
        let node = Node::new("sleepy");
        let own = node.spawn("own", move || {
            node.pause();
            Instant::now()
        });
        thread::sleep(10 * MS);
        assert!(node.is_paused() && !own.is_finished());

        let resumed = Instant::now();
        node.resume();
        assert!(own.join().unwrap() > resumed);
    });
}

#[test]
fn an_observer_that_pauses_its_node_stops_it_with_the_lock_open() {
    run_seeds(|| {
        let node = Node::new("leader");
        watch::subscribe(move |_, elected: &bool| {
            if *elected {
                node.pause();
            }
        });
        let lock = Arc::new(Mutex::observed(false, |elected, watch| watch.publish(|| *elected)));
        let theirs = Arc::clone(&lock);
        let went_on = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&went_on);
        let leader = node.spawn("leader", move || {
            *theirs.lock() = true;
            flag.store(true, Ordering::Relaxed);
        });
        thread::sleep(5 * MS);
        assert!(node.is_paused() && !went_on.load(Ordering::Relaxed));
        assert!(*lock.try_lock().expect("nobody holds it"));

        node.resume();
        leader.join().unwrap();
        assert!(went_on.load(Ordering::Relaxed));
    });
}

// Nothing is lost.

#[test]
fn a_time_out_that_passes_in_a_pause_is_found_afterwards() {
    run_seeds(|| {
        let node = Node::new("waiter");
        let (_tx, rx) = channel::unbounded::<()>();
        let waits = node.spawn("waiter", move || (rx.recv_timeout(10 * MS), Instant::now()));
        thread::sleep(5 * MS);
        node.pause();
        thread::sleep(45 * MS);
        let resumed = Instant::now();
        node.resume();
        let (received, woke) = waits.join().unwrap();
        assert_eq!(received, Err(RecvTimeoutError::Timeout));
        assert!(woke > resumed && woke - resumed < MS);
    });
}

#[test]
fn a_wait_that_is_not_over_goes_on_after_the_pause() {
    run_seeds(|| {
        let node = Node::new("sleeper");
        let begun = Instant::now();
        let sleeps = node.spawn("sleeper", || thread::sleep(100 * MS));
        thread::sleep(5 * MS);
        node.pause();
        thread::sleep(5 * MS);
        node.resume();
        sleeps.join().unwrap();
        assert!(begun.elapsed() >= 100 * MS && begun.elapsed() < 101 * MS);
    });
}

#[test]
fn what_is_said_to_a_paused_node_is_there_when_it_is_resumed() {
    run_seeds(|| {
        let node = Node::new("listener");
        let (tx, rx) = channel::unbounded();
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&shared);
        // Its time is up before the message comes. It looks only after that.
        let receives = node.spawn("receiver", move || rx.recv_timeout(10 * MS));
        let waits = node.spawn("waiter", move || theirs.1.wait_while(&mut theirs.0.lock(), |said| !*said));
        let parks = node.spawn("parker", thread::park);
        thread::sleep(5 * MS);
        node.pause();
        thread::sleep(20 * MS);
        tx.send("message").unwrap();
        *shared.0.lock() = true;
        shared.1.notify_all();
        thread::sleep(20 * MS);
        assert!(!receives.is_finished() && !waits.is_finished());

        node.resume();
        assert_eq!(receives.join().unwrap(), Ok("message"));
        waits.join().unwrap();
        assert!(!parks.is_finished(), "it was woken by the resume alone");
    });
}

#[test]
fn a_lock_that_a_paused_thread_holds_stays_taken() {
    run_seeds(|| {
        let node = Node::new("holder");
        let (lock, done) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let theirs = (Arc::clone(&lock), Arc::clone(&done));
        node.spawn("holder", move || {
            let _held = theirs.0.lock();
            while !theirs.1.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        });
        thread::sleep(MS);
        node.pause();
        done.store(true, Ordering::Relaxed);
        assert!(lock.try_lock_for(10 * MS).is_none());
        node.resume();
        assert!(lock.try_lock_for(10 * MS).is_some());
    });
}

#[test]
fn pausing_and_resuming_twice_is_as_once_and_a_node_that_is_down_is_not_paused() {
    run_seeds(|| {
        let node = Node::new("server");
        node.resume();
        node.pause();
        node.pause();
        node.resume();
        assert_eq!(node.spawn("works", || 7).join().unwrap(), 7);
        node.crash();
        node.pause();
        assert!(!node.is_paused());
        node.restart();
        assert_eq!(node.spawn("works", || 8).join().unwrap(), 8);
    });
}

// Crashes, and the end.

#[test]
fn a_crash_of_a_paused_node_ends_its_threads_and_its_pause() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let dropped = Arc::new(AtomicU32::new(0));
        let lock = Arc::new(Mutex::new(()));
        let spawn = |body: fn()| {
            let (dropped, lock) = (Arc::clone(&dropped), Arc::clone(&lock));
            node.spawn("doomed", move || {
                let _last = OnDrop(|| {
                    dropped.fetch_add(1, Ordering::Relaxed);
                });
                let _held = lock.try_lock();
                body();
            })
        };
        let spins = spawn(|| {
            loop {
                thread::yield_now();
            }
        });
        let parks = spawn(thread::park);
        thread::sleep(MS);
        node.pause();
        node.crash();
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
        assert!(spins.join().is_err() && parks.join().is_err());
        assert!(lock.try_lock().is_some() && !node.is_paused());

        node.restart();
        assert!(!node.is_paused());
        assert_eq!(node.spawn("next life", || 7).join().unwrap(), 7);
        node.resume();
    });
}

#[test]
fn a_dying_thread_pauses_and_resumes_nobody() {
    run_seeds(|| {
        let (doomed, runs, stands) = (Node::new("doomed"), Node::new("runs"), Node::new("stands"));
        stands.pause();
        doomed.spawn("doomed", move || {
            let _last = OnDrop(|| {
                runs.pause();
                stands.resume();
            });
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
        assert!(!runs.is_paused() && stands.is_paused());
    });
}

#[test]
fn the_end_of_a_run_ends_paused_threads_too() {
    let dropped = Arc::new(AtomicU32::new(0));
    for seed in 0..100 {
        let theirs = Arc::clone(&dropped);
        run(seed, move || {
            let node = Node::new("left over");
            let theirs = [Arc::clone(&theirs), theirs];
            for (theirs, body) in theirs.into_iter().zip([thread::park as fn(), thread::yield_now]) {
                node.spawn("left over", move || {
                    let _last = OnDrop(|| {
                        theirs.fetch_add(1, Ordering::Relaxed);
                    });
                    loop {
                        body();
                    }
                });
            }
            thread::sleep(MS);
            node.pause();
        });
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 200);
}

#[test]
fn a_wait_for_a_paused_node_is_a_deadlock_at_once() {
    for seed in 0..50 {
        let failure = failure(seed, || {
            let node = Node::new("S1");
            let naps = node.spawn("naps", || thread::sleep(1000 * MS));
            let spins = node.spawn("spins", || {
                loop {
                    thread::yield_now();
                }
            });
            thread::sleep(5 * MS);
            node.pause();
            let _ = naps.join();
            drop(spins);
        });
        assert_eq!(failure.kind, FailureKind::Deadlock, "{failure}");
        assert!(failure.message.starts_with("deadlock: every thread waits or is paused"), "{failure}");
        assert!(failure.at < 10 * MS, "it waited for a timer that ends nothing: {failure}");
        let line = |name: &str| failure.message.lines().find(|line| line.contains(name)).expect(name).to_owned();
        assert!(line("  `main`").contains("for the end of thread `naps` of S1"), "{failure}");
        assert!(!line("  `main`").contains("paused"), "{failure}");
        assert!(line("  `naps`").ends_with("and its node is paused"), "{failure}");
        assert!(line("  `spins`").contains("`spins` of S1 is ready") && line("  `spins`").ends_with("paused"));
    }
}

#[test]
fn while_somebody_has_a_timer_a_pause_is_no_deadlock() {
    run_seeds(|| {
        let node = Node::new("S1");
        let nap = node.spawn("nap", || thread::sleep(MS));
        node.pause();
        thread::spawn("resumes later", move || {
            thread::sleep(1000 * MS);
            node.resume();
        });
        nap.join().unwrap();
    });
}

// One seed is one run.

#[test]
fn a_run_with_pauses_and_wrong_clocks_is_the_same_twice() {
    let story = || {
        let nodes = ["a", "b", "c"].map(Node::new);
        let lock = Arc::new(Mutex::new(0_u32));
        for (node, rate_ppm) in nodes.into_iter().zip([-200_000, 0, 300_000]) {
            let lock = Arc::clone(&lock);
            node.set_clock_rate(rate_ppm);
            node.spawn("worker", move || {
                loop {
                    thread::sleep(MS);
                    *lock.lock() += 1;
                }
            });
        }
        for _ in 0..10 {
            let node = nodes[rand::below(3) as usize];
            match rand::below(4) {
                0 => node.pause(),
                1 => node.put_clock_forward(MS),
                2 => node.set_clock_rate(rand::below(1000) as i32 * 100),
                _ => node.resume(),
            }
            thread::sleep(2 * MS);
        }
        nodes.into_iter().for_each(Node::resume);
        *lock.lock()
    };
    let mut hashes = BTreeSet::new();
    for seed in 0..1000 {
        let [one, two] = [(); 2].map(|()| simulate(Config::seed(seed), story));
        assert_eq!((one.hash, one.steps, one.elapsed), (two.hash, two.steps, two.elapsed), "seed {seed}");
        assert_eq!(one.result.unwrap(), two.result.unwrap());
        hashes.insert(one.hash);
    }
    assert_eq!(hashes.len(), 1000);
}
