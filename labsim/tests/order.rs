//! Locks that are taken in opposite orders: found where no deadlock happens, and not
//! found where none can.
//!
//! The threads of these stories come by one after the other, some milliseconds apart,
//! so that no schedule lets them meet.
//!
//! Boundary: `Config::lock_order`. Deadlocks that do happen are tested elsewhere.

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex, RwLock};
use labsim::{Config, Failure, FailureKind, simulate, thread, time::Duration};

const SEEDS: u64 = 50;
const MS: Duration = Duration::from_millis(1);

type Locks = Arc<[Mutex<u32>; 4]>;

fn watched(seed: u64) -> Config {
    Config { lock_order: true, ..Config::seed(seed) }
}

/// Each of `stories` on a thread of its own, one after the other.
fn apart(stories: &[fn(&Locks)]) {
    let locks = Locks::default();
    for (number, story) in stories.iter().enumerate() {
        let (locks, story) = (Arc::clone(&locks), *story);
        thread::spawn(format!("thread {number}"), move || {
            thread::sleep((number as u32 + 1) * MS);
            story(&locks);
        });
    }
    thread::sleep(10 * MS);
}

/// Fails under every seed if orders are looked at, and under none if not.
#[track_caller]
fn assert_found(story: fn()) -> Failure {
    let mut found = None;
    for seed in 0..SEEDS {
        simulate(Config::seed(seed), story).result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let outcome = simulate(watched(seed), story);
        assert!(!outcome.abandoned);
        let failure = outcome.result.expect_err(&format!("seed {seed} finds nothing"));
        assert_eq!(failure.kind, FailureKind::Deadlock, "{failure}");
        found = Some(failure);
    }
    found.expect("there are seeds")
}

#[track_caller]
fn assert_silent(story: fn()) {
    for seed in 0..SEEDS {
        let plain = simulate(Config::seed(seed), story);
        let outcome = simulate(watched(seed), story);
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert_eq!((outcome.hash, outcome.steps), (plain.hash, plain.steps), "it changes nothing");
    }
}

fn take(first: &Mutex<u32>, second: &Mutex<u32>) {
    let _first = first.lock();
    *second.lock() += 1;
}

#[test]
fn two_locks_in_opposite_orders() {
    let failure = assert_found(|| apart(&[|locks| take(&locks[0], &locks[1]), |locks| take(&locks[1], &locks[0])]));
    assert_eq!(failure.thread, "thread 1");
    let lines: Vec<&str> = failure.message.lines().collect();
    let [headline, second, first] = lines[..] else { panic!("{failure}") };
    assert_eq!(
        headline,
        "deadlock: `thread 1` and `thread 0` take two locks in opposite orders; \
         under another schedule they wait for each other for ever"
    );
    let line = |text: &str| {
        let row = text.split("labsim/tests/order.rs:").nth(1).expect(text).split(':').next().expect(text);
        row.parse::<u32>().expect(text)
    };
    let (at_first, at_second) = (line(first), line(second));
    assert_eq!(at_first, at_second, "both in `take`");
    assert!(second.starts_with("  `thread 1` took the first one at ") && second.ends_with(", at 0.002s"), "{second}");
    assert!(second.contains(" and then the second one at labsim/tests/order.rs:"), "{second}");
    assert!(first.starts_with("  `thread 0` took the second one at ") && first.ends_with(", at 0.001s"), "{first}");
    assert!(first.contains(" and then the first one at "), "{first}");
}

#[test]
fn three_locks_in_a_circle() {
    let failure = assert_found(|| {
        apart(&[
            |locks| take(&locks[1], &locks[2]),
            |locks| take(&locks[0], &locks[1]),
            |locks| take(&locks[2], &locks[0]),
        ]);
    });
    let expected = "deadlock: `thread 2` and `thread 1` and `thread 0` take three locks in a circle; ";
    assert!(failure.message.starts_with(expected), "{failure}");
    assert_eq!(failure.message.lines().count(), 4);
    assert!(failure.message.contains("`thread 0` took the third one at "), "{failure}");
}

#[test]
fn the_report_names_nodes() {
    let failure = assert_found(|| {
        let locks = Locks::default();
        for number in [0, 1] {
            let theirs = Arc::clone(&locks);
            Node::new(format!("S{number}")).spawn("server", move || {
                thread::sleep((number + 1) * MS);
                take(&theirs[number as usize], &theirs[1 - number as usize]);
            });
        }
        thread::sleep(10 * MS);
    });
    assert!(failure.message.starts_with("deadlock: `server` of S1 and `server` of S0 take two locks"), "{failure}");
    assert_eq!(failure.node.as_deref(), Some("S1"));
}

#[test]
fn one_order_is_no_finding() {
    assert_silent(|| apart(&[|locks| take(&locks[0], &locks[1]), |locks| take(&locks[0], &locks[1])]));
    assert_silent(|| {
        apart(&[
            |locks| take(&locks[0], &locks[1]),
            |locks| take(&locks[1], &locks[2]),
            |locks| take(&locks[0], &locks[2]),
        ]);
    });
}

#[test]
fn one_thread_alone_is_no_finding() {
    assert_silent(|| {
        apart(&[|locks| {
            take(&locks[0], &locks[1]);
            take(&locks[1], &locks[0]);
        }]);
    });
    // Two threads would have to be in three places.
    assert_silent(|| {
        apart(&[
            |locks| {
                take(&locks[0], &locks[1]);
                take(&locks[1], &locks[2]);
            },
            |locks| take(&locks[2], &locks[0]),
        ]);
    });
}

fn gated(locks: &Locks, first: usize, second: usize) {
    let _gate = locks[3].lock();
    take(&locks[first], &locks[second]);
}

#[test]
fn a_gate_silences() {
    assert_silent(|| apart(&[|locks| gated(locks, 0, 1), |locks| gated(locks, 1, 0)]));
    assert_silent(|| {
        apart(&[|locks| gated(locks, 0, 1), |locks| take(&locks[1], &locks[2]), |locks| gated(locks, 2, 0)]);
    });
    assert_found(|| apart(&[|locks| gated(locks, 0, 1), |locks| take(&locks[1], &locks[0])]));
    assert_found(|| apart(&[|locks| take(&locks[1], &locks[0]), |locks| gated(locks, 0, 1)]));
}

#[test]
fn who_starts_later_cannot_have_met() {
    assert_silent(|| {
        let locks = Locks::default();
        take(&locks[0], &locks[1]);
        let theirs = Arc::clone(&locks);
        thread::spawn("later", move || take(&theirs[1], &theirs[0])).join().unwrap();
    });
    // The same again, and now it could have.
    assert_found(|| {
        let locks = Locks::default();
        take(&locks[0], &locks[1]);
        let theirs = Arc::clone(&locks);
        thread::spawn("later", move || {
            take(&theirs[1], &theirs[0]);
            thread::sleep(5 * MS);
        });
        thread::sleep(MS);
        take(&locks[0], &locks[1]);
    });
}

#[test]
fn a_lock_that_is_only_tried_is_in_nobodys_way() {
    assert_silent(|| {
        apart(&[
            |locks| take(&locks[0], &locks[1]),
            |locks| {
                let _first = locks[1].lock();
                drop(locks[0].try_lock().unwrap());
                drop(locks[0].try_lock_for(MS).unwrap());
            },
        ]);
    });
    assert_found(|| {
        apart(&[
            |locks| take(&locks[0], &locks[1]),
            |locks| {
                let _tried = locks[1].try_lock().unwrap();
                *locks[0].lock() += 1;
            },
        ]);
    });
}

/// A wait on a condition takes its lock again, whatever is held by then.
#[test]
fn a_wait_takes_its_lock_again() {
    assert_found(|| {
        apart(&[
            |locks| {
                let mut first = locks[0].lock();
                let _second = locks[1].lock();
                Condvar::new().wait_for(&mut first, MS / 2);
            },
            |locks| take(&locks[0], &locks[1]),
        ]);
    });
}

/// Two read-write locks, and a gate.
type Shared = Arc<[RwLock<u32>; 3]>;

fn shared_apart(stories: [fn(&Shared); 2]) {
    let locks = Shared::default();
    for (number, story) in stories.into_iter().enumerate() {
        let locks = Arc::clone(&locks);
        thread::spawn(format!("thread {number}"), move || {
            thread::sleep((number as u32 + 1) * MS);
            story(&locks);
        });
    }
    thread::sleep(10 * MS);
}

#[test]
fn readers_are_not_in_each_others_way() {
    fn reads(locks: &Shared, first: usize, second: usize) -> u32 {
        let first = locks[first].read();
        *first + *locks[second].read()
    }
    fn reads_and_writes(locks: &Shared, first: usize, second: usize) {
        let first = locks[first].read();
        *locks[second].write() += *first;
    }
    assert_silent(|| shared_apart([|locks| _ = reads(locks, 0, 1), |locks| _ = reads(locks, 1, 0)]));
    assert_silent(|| shared_apart([|locks| _ = reads(locks, 0, 1), |locks| reads_and_writes(locks, 1, 0)]));
    assert_found(|| shared_apart([|locks| reads_and_writes(locks, 0, 1), |locks| reads_and_writes(locks, 1, 0)]));
    // It reads twice what it reads.
    assert_silent(|| {
        shared_apart([
            |locks| {
                let first = locks[0].read();
                let _again = locks[0].read();
                assert!(locks[1].try_write().is_some(), "{}", *first);
            },
            |locks| reads_and_writes(locks, 1, 0),
        ]);
    });
}

#[test]
fn a_gate_that_both_read_is_open() {
    fn behind_read(locks: &Shared, first: usize, second: usize) {
        let _gate = locks[2].read();
        let _first = locks[first].write();
        *locks[second].write() += 1;
    }
    assert_found(|| shared_apart([|locks| behind_read(locks, 0, 1), |locks| behind_read(locks, 1, 0)]));
    assert_silent(|| {
        shared_apart([
            |locks| behind_read(locks, 0, 1),
            |locks| {
                let _gate = locks[2].write();
                let _first = locks[1].write();
                *locks[0].write() += 1;
            },
        ]);
    });
}

/// The thread comes by twice: what counts is that it may come by again.
#[test]
fn the_last_time_counts_as_the_first() {
    assert_found(|| {
        let locks = Locks::default();
        take(&locks[0], &locks[1]);
        let theirs = Arc::clone(&locks);
        let later = thread::spawn("later", move || {
            thread::sleep(2 * MS);
            take(&theirs[1], &theirs[0]);
        });
        take(&locks[0], &locks[1]);
        later.join().unwrap();
    });
}

/// Of the many that came by, the one that matters is neither the first nor the last.
#[test]
fn the_youngest_sights_are_remembered() {
    assert_found(|| {
        let locks = Locks::default();
        for _ in 0..20 {
            let locks = Arc::clone(&locks);
            thread::spawn("former", move || take(&locks[0], &locks[1])).join().unwrap();
        }
        let stories: [fn(&Locks); 3] =
            [|locks| take(&locks[0], &locks[1]), |locks| gated(locks, 0, 1), |locks| gated(locks, 1, 0)];
        for (number, story) in stories.into_iter().enumerate().rev() {
            let locks = Arc::clone(&locks);
            thread::spawn("present", move || {
                thread::sleep((number as u32 + 1) * MS);
                story(&locks);
            });
        }
        thread::sleep(10 * MS);
    });
}

/// Locks and threads without end are forgotten, and what goes on is learned again.
#[test]
fn many_locks_and_threads_are_no_burden() {
    fn many(opposite: bool) {
        let locks = Locks::default();
        for number in 0..500 {
            let theirs = Arc::clone(&locks);
            let request = thread::spawn("request", move || {
                let state = theirs[0].lock();
                (0..20).for_each(|_| *Mutex::new(0).lock() += *state);
                *theirs[1].lock() += 1;
            });
            if opposite && number == 450 {
                take(&locks[1], &locks[0]);
            }
            request.join().unwrap();
        }
    }
    simulate(watched(1), || many(false)).result.unwrap();
    let found = (0..SEEDS).filter(|seed| simulate(watched(*seed), || many(true)).result.is_err()).count() as u64;
    assert_eq!(found, SEEDS);
}
