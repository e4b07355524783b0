//! Simulations that are started inside others: the outer one stands still and does not
//! notice, whatever becomes of the inner one.
//!
//! This program is interposed, so that std's clock, threads and chance are those of a
//! simulation where there is one, and of the machine while one waits for another.
//!
//! Boundary: two worlds, one in the other. What each of them does is tested elsewhere.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labsim::disk::{self, Change};
use labsim::node::Node;
use labsim::{Config, Failure, FailureKind, Outcome, channel, record, simulate, sync, thread, time, watch};

labsim::interpose!();

const MS: Duration = Duration::from_millis(1);

/// Something that takes time, chance and threads, and an order from a std set.
fn busy() -> (Vec<u32>, Duration) {
    let threads = [3, 1, 2].map(|number| {
        thread::spawn("sleeper", move || {
            thread::sleep(number * 100 * MS);
            labsim::rand::below(1000)
        })
    });
    let mut order: Vec<u32> = (0..20).collect::<HashSet<u32>>().into_iter().collect();
    order.extend(threads.map(|thread| thread.join().unwrap() as u32));
    let begun = std::time::Instant::now();
    thread::sleep(5 * MS);
    (order, begun.elapsed())
}

fn facts<T>(outcome: &Outcome<T>) -> (u64, u64, Duration, u64) {
    (outcome.hash, outcome.steps, outcome.elapsed, outcome.timer_events)
}

#[test]
fn the_inner_run_is_the_one_that_it_is_alone() {
    for seed in 0..20 {
        let alone = simulate(Config::seed(seed), busy);
        let outer = simulate(Config::seed(7), move || simulate(Config::seed(seed), busy));
        let inner = outer.result.unwrap();
        assert_eq!(facts(&inner), facts(&alone));
        assert_eq!(inner.result.unwrap(), alone.result.unwrap(), "seed {seed}");
    }
}

/// Twenty writes, each of which ends in `inner`: called by observers of disks and of
/// locks, and once by a thread.
fn outer(inner: fn()) -> impl FnOnce() -> (Vec<u32>, Duration) {
    move || {
        let node = Node::new("S");
        disk::observe(move |written| {
            if written.change == Change::Synced {
                inner();
            }
        });
        watch::subscribe(move |_, _: &u32| inner());
        let lock = Arc::new(sync::Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number)));
        let theirs = Arc::clone(&lock);
        let writer = node.spawn("writer", move || {
            for number in 0..20 {
                *theirs.lock() += number;
                node.disk().append("log", &number.to_le_bytes());
                node.disk().sync();
            }
        });
        let now = labsim::elapsed();
        inner();
        assert_eq!(labsim::elapsed(), now, "the outer clock stands still");
        *lock.lock() += 1;
        writer.join().unwrap();
        busy()
    }
}

/// How a world ends, and what makes one that does.
type Inner = (Option<FailureKind>, fn() -> Outcome<()>);

/// Inner runs, by what is wrong with them.
const INNER: [Inner; 9] = [
    (None, || simulate(Config::seed(1), || drop(busy()))),
    (None, || simulate(Config { thread_limit: 1, stack_bytes: 64 << 10, ..Config::seed(1) }, || ())),
    (Some(FailureKind::Panic), || simulate(Config::seed(1), || panic!("inside"))),
    (Some(FailureKind::Deadlock), || simulate(Config::seed(1), thread::park)),
    (Some(FailureKind::TimeLimit), || simulate(Config::seed(1).time_limit(MS), || thread::sleep(5 * MS))),
    (Some(FailureKind::Limit), || simulate(Config { step_limit: 1000, ..Config::seed(1) }, naps)),
    (Some(FailureKind::Limit), || simulate(Config { channel_limit: 3, ..Config::seed(1) }, sends)),
    (Some(FailureKind::Limit), || simulate(Config { thread_limit: 1, ..Config::seed(1) }, spawns)),
    (Some(FailureKind::Raised), || simulate(Config { stacks: true, ..Config::seed(1) }, || labsim::fail("no", ()))),
];

fn naps() {
    loop {
        thread::sleep(MS);
    }
}

fn sends() {
    let (tx, _rx) = channel::unbounded();
    while tx.send(7).is_ok() {}
}

fn spawns() {
    let _ = thread::spawn("second", || ()).join();
}

#[test]
fn the_outer_run_does_not_notice() {
    static INNER_FACTS: [AtomicU64; INNER.len()] = [const { AtomicU64::new(0) }; INNER.len()];
    fn inner<const AT: usize>() {
        let (kind, run) = INNER[AT];
        let outcome = run();
        assert!(!outcome.abandoned);
        let hash = INNER_FACTS[AT].swap(outcome.hash, Ordering::Relaxed);
        assert!(hash == 0 || hash == outcome.hash, "the inner run is the same each time");
        assert_eq!(outcome.result.err().map(|failure| failure.kind), kind);
    }
    let inners: [fn(); INNER.len()] =
        [inner::<0>, inner::<1>, inner::<2>, inner::<3>, inner::<4>, inner::<5>, inner::<6>, inner::<7>, inner::<8>];
    let plain = simulate(Config::seed(3), outer(|| ()));
    let expected = (facts(&plain), plain.result.unwrap());
    for (at, inner) in inners.into_iter().enumerate() {
        let outcome = simulate(Config::seed(3), outer(inner));
        assert!(!outcome.abandoned);
        let found = (facts(&outcome), outcome.result.unwrap_or_else(|failure| panic!("inner run {at}: {failure}")));
        assert_eq!(found, expected, "inner run {at}");
    }
}

/// The inner run stands still for longer than the outer one may.
#[test]
fn the_watchdog_does_not_take_the_wait_for_a_stall() {
    let inner = || {
        let stalls = Config { stall_limit: 1500 * MS, ..Config::seed(1) };
        simulate(stalls, || {
            loop {
                std::hint::spin_loop();
            }
        })
    };
    let outcome = simulate(Config { stall_limit: 200 * MS, ..Config::seed(1) }, move || {
        let failure: Failure = Outcome::<()> { ..inner() }.result.unwrap_err();
        thread::sleep(5 * MS);
        failure.kind
    });
    assert_eq!(outcome.result.unwrap(), FailureKind::BusyLoop);
    assert!(outcome.abandoned, "an OS thread is left behind by the inner one");
    assert!(!outcome.fatal);
}

/// Waiting is not sleeping, but what the inner run uses is used.
#[test]
fn the_outer_run_pays_for_the_inner_one() {
    fn works() {
        for _ in 0..30_000 {
            thread::yield_now();
            std::hint::black_box((0..1000_u64).fold(0, |sum, number| sum ^ std::hint::black_box(number)));
        }
    }
    let outcome = simulate(Config { busy_limit: u64::MAX, ..Config::seed(1) }, || {
        simulate(Config { busy_limit: u64::MAX, ..Config::seed(2) }, works).cpu
    });
    let inner = outcome.result.unwrap();
    assert!(inner > 5 * MS && outcome.cpu >= inner, "{:?} with {inner:?} of the inner run's", outcome.cpu);

    fn one_after_the_other() {
        loop {
            drop(simulate(Config { busy_limit: u64::MAX, ..Config::seed(2) }, works));
        }
    }
    fn observed() {
        watch::subscribe(|_, (): &()| one_after_the_other());
        drop(sync::Mutex::observed((), |(): &(), watch| watch.publish(|| ())).lock());
    }
    // A thread obeys and stops. An observer can't stop, and is left behind.
    for (body, abandoned) in [(one_after_the_other as fn(), false), (observed, true)] {
        let endless = simulate(Config { cpu_limit: 300 * MS, ..Config::seed(1) }, body);
        let failure = endless.result.unwrap_err();
        assert_eq!((failure.kind, endless.abandoned), (FailureKind::CpuLimit, abandoned), "{failure}");
    }
}

#[test]
fn worlds_nest() {
    fn depth(left: u32) -> Duration {
        thread::sleep(left * MS);
        if left > 0 {
            simulate(Config::seed(left.into()), move || depth(left - 1)).result.unwrap();
        }
        labsim::elapsed()
    }
    let elapsed = simulate(Config::seed(1), || depth(5)).result.unwrap();
    assert!(elapsed >= 5 * MS && elapsed < 6 * MS, "{elapsed:?}");
}

#[test]
fn an_object_of_the_outer_world_is_none_of_the_inner_one() {
    let outcome = simulate(Config::seed(1), || {
        let lock = Arc::new(sync::Mutex::new(0));
        *lock.lock() += 1;
        let theirs = Arc::clone(&lock);
        let inner = simulate(Config::seed(1), move || *theirs.lock() += 1);
        *lock.lock() += 1;
        inner.result.unwrap_err().message
    });
    let message = outcome.result.unwrap();
    assert!(message.contains("an object that belongs to another simulation"), "{message}");
}

#[test]
fn each_world_has_its_own_record_and_watchers() {
    let outcome = simulate(Config::seed(1).record(true), || {
        watch::subscribe(|_, _: &u8| panic!("it is published in another world"));
        record::emit("outer", Vec::new);
        let inner = simulate(Config::seed(1), || {
            drop(sync::Mutex::observed(7_u8, |number, watch| watch.publish(|| *number)).lock());
            (record::is_on(), Node::new("first").id().0)
        });
        (record::is_on(), inner.result.unwrap(), time::Instant::now())
    });
    let (is_on, inner, _) = outcome.result.unwrap();
    assert_eq!((is_on, inner), (true, (false, 0)));
}

/// A panic that comes from waiting is the outer run's.
#[test]
fn whoever_waits_is_simulated_again_afterwards() {
    let outcome = simulate(Config::seed(1), || {
        let _ = simulate(Config::seed(1), || panic!("inside"));
        assert!(labsim::is_simulated());
        panic!("outside");
    });
    let failure = Outcome::<()> { ..outcome }.result.unwrap_err();
    assert!(failure.message.contains("outside"), "{failure}");
}

/// In a process of its own, which ends with it.
#[test]
fn an_inner_run_that_dooms_the_process_dooms_the_outer_one() {
    const ALONE: &str = "LABSIM_NESTED_ALONE";
    const TOLD: i32 = 99;
    if std::env::var_os(ALONE).is_some() {
        let outcome = simulate(Config::seed(1), || {
            let inner = simulate(Config::seed(1), || std::process::exit(3));
            inner.fatal && inner.abandoned
        });
        let is_told = outcome.fatal && outcome.abandoned && outcome.result.unwrap();
        labsim::exit(if is_told { TOLD } else { 1 });
    }
    let this = std::env::current_exe().expect("a test knows its own file");
    let name = "an_inner_run_that_dooms_the_process_dooms_the_outer_one";
    let status = std::process::Command::new(this).args([name, "--exact"]).env(ALONE, "").output().unwrap().status;
    let expected = if cfg!(all(target_os = "linux", target_env = "gnu")) { TOLD } else { 3 };
    assert_eq!(status.code(), Some(expected));
}
