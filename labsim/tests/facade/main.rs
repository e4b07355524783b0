//! The facade, seen from outside: one behaviour in every world.
//!
//! A test tells a short story with labsim's threads, locks, channels and clock.
//! The helpers below tell the same story in simulations under many seeds, in a
//! real world, and outside of both. What only a simulation can promise (exact
//! times, what no seed may do) is told there alone.
//!
//! No test looks at how long the machine took: in a real world a time is only
//! ever compared with what it cannot be shorter than.
//!
//! | file | is about |
//! |---|---|
//! | `mutex.rs` | locks, and what is said of a thread that holds one too long |
//! | `rwlock.rs` | readers and writers, and who goes first |
//! | `once.rs` | what is done once, and a value made once |
//! | `barrier.rs` | threads that wait for each other |
//! | `condvar.rs` | every wait, who is woken, and what the calls return |
//! | `atomic.rs` | single words, and that each operation is a step |
//! | `channel.rs` | messages, room, and ends that are gone |
//! | `select.rs` | channels without room, timers, and one of several channels |
//! | `thread.rs` | spawn, join, park, names |
//! | `scope.rs` | threads that borrow |
//! | `time.rs` | moments, and virtual time |
//! | `worlds.rs` | one program in two worlds: wrong use, the end, scheduling |
//!
//! Boundary: threads, sync, channel and time. Knows no nodes, links or disks.

mod atomic;
mod barrier;
mod channel;
mod condvar;
mod mutex;
mod once;
mod rwlock;
mod scope;
mod select;
mod thread;
mod time;
mod worlds;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use labsim::channel::RecvError;
use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use labsim::time::{Duration, Instant};
use labsim::{Config, Failure, FailureKind, run_real, simulate};

/// How many seeds a story is told under. They differ in who runs first.
const STORY_SEEDS: u64 = 50;

/// How many seeds are searched for a bug that some of them must show.
const SEARCH_SEEDS: u64 = 200;

/// A time-out that is meant to pass. Short, since it is real in a real world.
const SHORT: Duration = Duration::from_millis(5);

/// A time-out that is not meant to pass, however slow the machine is.
const LONG: Duration = Duration::from_secs(60);

/// What a handful of steps may add to a time in a simulation.
const STEPS: Duration = Duration::from_micros(500);

/// Tells `story` in every world, and outside of them.
#[track_caller]
fn everywhere(story: impl Fn() + Clone + Send + 'static) {
    in_both_worlds(story.clone());
    story();
}

/// Tells `story` in simulations and in a real world.
#[track_caller]
fn in_both_worlds(story: impl Fn() + Clone + Send + 'static) {
    in_simulations(story.clone());
    in_a_real_world(story);
}

/// Tells `story` under each of the first seeds.
#[track_caller]
fn in_simulations(story: impl Fn() + Clone + Send + 'static) {
    for seed in 0..STORY_SEEDS {
        let outcome = simulate(Config::seed(seed), story.clone());
        outcome.result.unwrap_or_else(|failure| panic!("under seed {seed}: {failure}"));
    }
}

/// Tells `story` on OS threads that belong to a world.
#[track_caller]
fn in_a_real_world(story: impl FnOnce() + Send + 'static) {
    let outcome = run_real(Config::seed(0).time_limit(LONG), story);
    outcome.result.unwrap_or_else(|failure| panic!("in a real world: {failure}"));
}

/// The failure that `story` ends in under `seed`.
#[track_caller]
fn failure_of<T: Send + 'static>(seed: u64, story: impl FnOnce() -> T + Send + 'static) -> Failure {
    match simulate(Config::seed(seed), story).result {
        Ok(_) => panic!("nothing failed under seed {seed}"),
        Err(failure) => failure,
    }
}

/// Checks the sort of `failure`, and that its message says `what`.
#[track_caller]
fn assert_failed(failure: &Failure, kind: FailureKind, what: &str) {
    assert_eq!(failure.kind, kind, "another sort of failure: {failure}");
    assert!(failure.message.contains(what), "nothing of `{what}` in: {failure}");
}

/// What `call` says when it panics, outside of every world.
#[track_caller]
fn panic_of<R>(call: impl FnOnce() -> R) -> String {
    let payload = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    };
    text_of(&*payload)
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).expect("a panic with a message")
}

/// Lets others run until `condition` holds.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        labsim::thread::yield_now();
    }
}

/// Sends 20 numbers through a channel of this `capacity`, and receives them.
/// The sender is never further ahead than that.
fn receive_all(capacity: usize) {
    let (tx, rx) = labsim::channel::bounded(capacity);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let producer = labsim::thread::spawn("producer", move || {
        for n in 0..20 {
            tx.send(n).unwrap();
            count.fetch_add(1, SeqCst);
        }
    });
    for received in 0..20 {
        labsim::thread::yield_now();
        let sent = sent.load(SeqCst);
        assert!(sent <= received + capacity, "{sent} sent, {received} received");
        assert_eq!(rx.recv(), Ok(received));
    }
    assert_eq!(rx.recv(), Err(RecvError));
    producer.join().unwrap();
}

/// Checks that `call` waits for [`SHORT`] at least, and returns what it returned.
#[track_caller]
fn waits<R>(call: impl FnOnce() -> R) -> R {
    let (result, took) = timed(call);
    assert!(took >= SHORT, "over after {took:?}");
    result
}

/// Runs `call` and returns how long it took, on the clock of this world.
fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let begun = Instant::now();
    let result = call();
    (result, begun.elapsed())
}
