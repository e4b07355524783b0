//! Clocks: a node's threads go by the node's clock, all else by the world's.
//!
//! Boundary: simulated clocks; those of OS threads are in `real.rs`.

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex, RwLock};
use labsim::time::{Duration, Instant};
use labsim::{Config, channel, links, note, rand, simulate, thread};

use crate::{MS, OnDrop, SEEDS, failure, run, run_seeds};

const SECOND: Duration = Duration::from_secs(1);

/// What a handful of steps may add to a time.
const STEPS: Duration = MS;

/// Every way to wait for a second.
const WAITS: [(&str, fn()); 11] = [
    ("sleep", || thread::sleep(SECOND)),
    ("sleep_until", || thread::sleep_until(Instant::now() + SECOND)),
    ("park_timeout", || thread::park_timeout(SECOND)),
    ("recv_timeout", || {
        let (_tx, rx) = channel::unbounded::<()>();
        assert!(rx.recv_timeout(SECOND).is_err());
    }),
    ("recv_deadline", || {
        let (_tx, rx) = channel::unbounded::<()>();
        assert!(rx.recv_deadline(Instant::now() + SECOND).is_err());
    }),
    ("send_timeout", || {
        let (tx, _rx) = channel::bounded(1);
        tx.send(1).unwrap();
        assert!(tx.send_timeout(2, SECOND).is_err());
    }),
    ("wait_for", || assert!(Condvar::new().wait_for(&mut Mutex::new(()).lock(), SECOND).timed_out())),
    ("wait_until", || {
        let deadline = Instant::now() + SECOND;
        assert!(Condvar::new().wait_until(&mut Mutex::new(()).lock(), deadline).timed_out());
    }),
    ("try_lock_for", || {
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        let (tx, rx) = channel::unbounded();
        thread::spawn("holder", move || {
            let _held = theirs.lock();
            tx.send(()).unwrap();
            Condvar::new().wait(&mut Mutex::new(()).lock());
        });
        rx.recv().unwrap();
        assert!(lock.try_lock_for(SECOND).is_none());
    }),
    ("try_read_for", || {
        let lock = RwLock::new(());
        let _held = lock.write();
        assert!(lock.try_read_for(SECOND).is_none());
    }),
    ("try_write_for", || {
        let lock = RwLock::new(());
        let _held = lock.read();
        assert!(lock.try_write_for(SECOND).is_none());
    }),
];

/// Checks that a time on the world's clock is `expected`, a few steps more at most.
#[track_caller]
fn assert_took(what: &str, took: Duration, expected: Duration) {
    assert!(took >= expected && took < expected + STEPS, "{what}: {took:?}, and not {expected:?}");
}

#[test]
fn every_wait_goes_by_the_clock_of_the_node() {
    for (name, wait) in WAITS {
        for (rate_ppm, expected) in [(0, 1000 * MS), (250_000, 800 * MS), (-200_000, 1250 * MS)] {
            for seed in 0..20 {
                let took = run(seed, move || {
                    let node = Node::new("S0");
                    node.set_clock_rate(rate_ppm);
                    let begun = Instant::now();
                    node.spawn("waiter", wait).join().unwrap();
                    begun.elapsed()
                });
                assert_took(name, took, expected);
            }
        }
    }
}

/// Checks how long a wait takes in all if the node's clock is changed after 400 ms.
#[track_caller]
fn assert_takes(what: &str, wait: fn(), change: impl Fn(Node) + Send + Copy + 'static, expected: Duration) {
    for seed in 0..20 {
        let took = run(seed, move || {
            let node = Node::new("S0");
            let begun = Instant::now();
            let waiter = node.spawn("waiter", wait);
            thread::sleep(400 * MS);
            change(node);
            waiter.join().unwrap();
            begun.elapsed()
        });
        assert_took(what, took, expected);
    }
}

#[test]
fn a_change_of_the_rate_moves_every_wait_that_is_under_way() {
    for (name, wait) in WAITS {
        // 400 ms are over, 600 to go.
        for (rate_ppm, expected) in [(500_000, 800 * MS), (-400_000, 1400 * MS)] {
            assert_takes(name, wait, move |node| node.set_clock_rate(rate_ppm), expected - STEPS.min(MS / 2));
        }
    }
}

#[test]
fn a_clock_that_is_put_forward_ends_every_wait_so_much_earlier() {
    for (name, wait) in WAITS {
        for (ahead, expected) in [(300 * MS, 700 * MS), (3000 * MS, 400 * MS)] {
            assert_takes(name, wait, move |node| node.put_clock_forward(ahead), expected);
        }
    }
}

#[test]
fn a_clock_never_goes_back_and_no_wait_ends_early() {
    for seed in 0..SEEDS {
        run(seed, || {
            let node = Node::new("S0");
            let reader = node.spawn("reader", || {
                let mut last = Instant::now();
                for _ in 0..200 {
                    let now = Instant::now();
                    assert!(now > last, "{now:?} after {last:?}");
                    let wait = Duration::from_nanos(rand::below(2_000_000));
                    thread::sleep(wait);
                    last = Instant::now();
                    assert!(last - now >= wait, "a sleep of {wait:?} took {:?}", last - now);
                }
            });
            while !reader.is_finished() {
                match rand::below(10) {
                    0 => node.put_clock_forward(Duration::from_nanos(rand::below(3_000_000))),
                    _ => node.set_clock_rate(rand::below(1_800_001) as i32 - 900_000),
                }
                thread::sleep(Duration::from_nanos(rand::below(1_000_000)));
            }
        });
    }
}

#[test]
fn a_wait_that_ends_at_a_fixed_rate_is_exact_on_the_clock_of_its_node() {
    for seed in 0..SEEDS {
        run(seed, || {
            let node = Node::new("S0");
            node.set_clock_rate(rand::below(1_800_001) as i32 - 900_000);
            let (asked, took) = node
                .spawn("sleeper", || {
                    let wait = Duration::from_nanos(rand::below(2_000_000_000));
                    let begun = Instant::now();
                    thread::sleep(wait);
                    (wait, begun.elapsed())
                })
                .join()
                .unwrap();
            assert_took("sleep", took, asked);
        });
    }
}

#[test]
fn what_lies_between_and_below_the_nodes_goes_by_the_clock_of_the_world() {
    run_seeds(|| {
        let node = Node::new("S0");
        node.set_clock_rate(900_000);
        let disk = node.disk();
        let syncs = move || {
            disk.set_sync_delay(SECOND..SECOND + MS / 10);
            disk.append("log", b"entry");
            disk.sync();
        };
        let timed = |start: &dyn Fn() -> thread::JoinHandle<()>| {
            let begun = Instant::now();
            start().join().unwrap();
            begun.elapsed()
        };
        assert_took("a delayed start", timed(&|| node.spawn_after(SECOND, "late", || ())), SECOND);
        assert_took("a message", timed(&|| node.spawn("travels", || links::travel(SECOND))), SECOND);
        assert_took("a thread off the node", timed(&|| thread::spawn("other", || thread::sleep(SECOND))), SECOND);
        assert_took("a disk", timed(&|| node.spawn("syncs", syncs.clone())), SECOND);

        let late = thread::spawn("a delayed start", move || node.spawn_after(SECOND, "late", || ()).join().unwrap());
        thread::sleep(100 * MS);
        let travels = node.spawn("travels", || links::travel(900 * MS));
        thread::sleep(100 * MS);
        let begun = Instant::now();
        node.put_clock_forward(10 * SECOND);
        late.join().unwrap();
        assert_took("a start that is under way", begun.elapsed() + MS / 2, 800 * MS);
        travels.join().unwrap();
    });
}

#[test]
fn notes_and_outcomes_show_the_time_of_the_world() {
    let outcome = simulate(Config::seed(1), || {
        let node = Node::new("S0");
        node.put_clock_forward(1000 * SECOND);
        node.set_clock_rate(-500_000);
        node.spawn("sleeper", || {
            thread::sleep(SECOND);
            note!("woke", "at {} here", Instant::now());
        })
        .join()
        .unwrap();
    });
    assert_took("the note", outcome.notes[0].at, 2 * SECOND);
    assert_eq!(outcome.notes[0].text, "at 1001.000s here");
    assert_took("the run", outcome.elapsed, 2 * SECOND);
}

#[test]
fn a_clock_runs_on_through_pauses_crashes_and_restarts() {
    run_seeds(|| {
        let node = Node::new("S0");
        let read = move || node.spawn("reader", Instant::now).join().unwrap();
        node.set_clock_rate(500_000);
        node.put_clock_forward(SECOND);
        let before = read();
        node.pause();
        thread::sleep(SECOND);
        node.resume();
        node.crash();
        thread::sleep(SECOND);
        node.restart();
        assert_took("the clock", read() - before, 3 * SECOND);
    });
}

#[test]
fn a_deadline_of_another_node_means_the_clock_of_whoever_waits() {
    run_seeds(|| {
        let (slow, fast) = (Node::new("slow"), Node::new("fast"));
        fast.put_clock_forward(600 * MS);
        let deadline = slow.spawn("asks", || Instant::now() + SECOND).join().unwrap();
        let begun = Instant::now();
        fast.spawn("waits", move || thread::sleep_until(deadline)).join().unwrap();
        assert_took("a second, less what the other is ahead", begun.elapsed() + MS / 2, 400 * MS);
    });
}

/// A leader may answer reads until its lease is over by its own clock, and a
/// follower waits as long by its own before it lets another one lead. Returns
/// whether both led at a time.
fn lease_is_broken(leader_ppm: i32, follower_ppm: i32) -> bool {
    const LEASE: Duration = Duration::from_millis(100);
    const MARGIN: Duration = Duration::from_millis(1);
    let (leader, follower) = (Node::new("leader"), Node::new("follower"));
    leader.set_clock_rate(leader_ppm);
    follower.set_clock_rate(follower_ppm);
    let leads = leader.spawn("leads", move || {
        let until = Instant::now() + LEASE;
        follower.spawn("grants", move || thread::sleep(LEASE + MARGIN)).join().unwrap();
        Instant::now() < until
    });
    leads.join().unwrap()
}

#[test]
fn a_fast_clock_of_the_follower_breaks_a_lease_and_so_does_a_slow_one_of_the_leader() {
    let told = |leader, follower| move || lease_is_broken(leader, follower);
    assert!(run_seeds(told(0, 0)).iter().all(|broken| !broken));
    assert!(run_seeds(told(200_000, 0)).iter().all(|broken| !broken));
    assert!(run_seeds(told(0, 200_000)).iter().all(|broken| *broken));
    assert!(run_seeds(told(-200_000, 0)).iter().all(|broken| *broken));
}

#[test]
fn a_clock_that_is_set_to_the_true_rate_changes_no_bit_of_a_run() {
    let story = |set: bool| {
        move || {
            let node = Node::new("S0");
            if set {
                node.set_clock_rate(0);
            }
            let (tx, rx) = channel::unbounded();
            node.spawn("sender", move || {
                (0..20).for_each(|n| {
                    thread::sleep(MS);
                    tx.send((n, Instant::now())).unwrap();
                })
            });
            let mut times = Vec::new();
            while let Ok(received) = rx.recv_timeout(10 * MS) {
                times.push(received);
            }
            times
        }
    };
    for seed in 0..SEEDS {
        let [with, without] = [true, false].map(|set| simulate(Config::seed(seed), story(set)));
        assert_eq!((with.hash, with.steps), (without.hash, without.steps), "seed {seed}");
        assert_eq!(with.result.unwrap(), without.result.unwrap());
    }
}

#[test]
fn a_dying_thread_turns_no_clock() {
    run_seeds(|| {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        doomed.spawn("doomed", move || {
            let _last = OnDrop(|| other.put_clock_forward(1000 * SECOND));
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
        assert!(other.spawn("reader", Instant::now).join().unwrap() < Instant::now());
    });
}

#[test]
fn a_clock_that_stands_still_is_refused() {
    let failure = failure(1, || Node::new("S0").set_clock_rate(-1_000_000));
    assert!(failure.message.contains("a clock that gains -1000000 ppm"), "{failure}");
}
