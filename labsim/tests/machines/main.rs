//! What labsim promises of machines: how they die, what they keep, what is told of them.
//!
//! A test states one promise in its name. Where chance decides whether the
//! interesting thing happens at all, the test runs under many seeds and says
//! what it must have seen among them. Times are virtual, except in `real.rs`,
//! where nothing depends on how long the machine takes.
//!
//! | file | is about |
//! |---|---|
//! | `crash.rs` | dead at once, and the lives of a node |
//! | `waits.rs` | what a crash does to locks, conditions and channels |
//! | `locks.rs` | the same for read-write locks, initialisers and barriers |
//! | `dying.rs` | what the destructors of the dead may do, and who catches what |
//! | `pause.rs` | what a pause keeps from happening, and what not |
//! | `clock.rs` | nodes whose clocks go wrong |
//! | `scope.rs` | scoped threads, and the frames they borrow from |
//! | `disk.rs` | what a crash leaves of files |
//! | `image.rs` | the same without a crash, and on another disk |
//! | `links.rs` | what becomes of a message |
//! | `reports.rs` | what a failed run says |
//! | `watch.rs` | observed locks, listeners, and who stops the run |
//! | `note.rs` | notes |
//! | `determinism.rs` | one seed is one run, and a draw is nobody else's |
//! | `real.rs` | the same machines on OS threads |
//!
//! Boundary: uses what labsim makes public.

mod clock;
mod crash;
mod determinism;
mod disk;
mod dying;
mod image;
mod links;
mod locks;
mod note;
mod pause;
mod real;
mod reports;
mod scope;
mod waits;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use labsim::node::Node;
use labsim::sync::Arc;
use labsim::time::Duration;
use labsim::{Config, Failure, simulate, thread};

/// How many seeds a story is told under. They differ in who runs first.
const SEEDS: u64 = 200;

const MS: Duration = Duration::from_millis(1);

/// What `body` returns under `seed`. No failure is expected.
#[track_caller]
fn run<T: Send + 'static>(seed: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    simulate(Config::seed(seed), body).result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
}

/// Tells the story under every seed and collects what came out.
#[track_caller]
fn run_seeds<T: Send + 'static>(story: impl Fn() -> T + Send + Copy + 'static) -> Vec<T> {
    (0..SEEDS).map(|seed| run(seed, story)).collect()
}

/// Tells a story whose point not every seed meets. It returns whether it did;
/// that it went through at all is what it asserts.
#[track_caller]
fn must_hit(story: impl Fn() -> bool + Send + Copy + 'static) {
    let hits = run_seeds(story).into_iter().filter(|hit| *hit).count();
    assert!(hits > 0, "none of {SEEDS} seeds killed the chosen waiter before it ran");
}

/// Lets threads go as far as they get. Unlike a sleep, with a lock in hand too.
fn let_others_run() {
    (0..100).for_each(|_| thread::yield_now());
}

/// Three threads of `node` that take steps for ever, and the count of these.
fn count_steps(node: &Node) -> Arc<AtomicU32> {
    let steps = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let steps = Arc::clone(&steps);
        node.spawn("count", move || {
            loop {
                steps.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        });
    }
    steps
}

/// How `body` fails under `seed`.
#[track_caller]
fn failure<T: Send + 'static>(seed: u64, body: impl FnOnce() -> T + Send + 'static) -> Failure {
    failure_of(Config::seed(seed), body)
}

#[track_caller]
fn failure_of<T: Send + 'static>(config: Config, body: impl FnOnce() -> T + Send + 'static) -> Failure {
    let seed = config.seed;
    match simulate(config, body).result {
        Ok(_) => panic!("seed {seed}: the run was to fail, and passed"),
        Err(failure) => failure,
    }
}

/// Set to the name of the test in the process that [`alone`] starts.
const ALONE: &str = "LABSIM_TEST_ALONE";

/// How that process says that the test passed.
const PASSED: i32 = 99;

/// Tells the story of `test` in a process of its own.
///
/// The panic hook belongs to the process. A story that replaces it would touch
/// other tests, and one that panics in a destructor leaves an OS thread parked
/// within it, so that libtest waits for ever when it takes its own hook back.
fn alone(test: &str, story: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        let ended = catch_unwind(AssertUnwindSafe(story));
        std::process::exit(if ended.is_ok() { PASSED } else { 1 });
    }
    let this = std::env::current_exe().expect("a test knows its own file");
    let inner = Command::new(this).args([test, "--exact", "--nocapture"]).env(ALONE, test).output();
    let inner = inner.expect("a test can be started again");
    let said = [inner.stdout, inner.stderr].concat();
    assert_eq!(inner.status.code(), Some(PASSED), "{}", String::from_utf8_lossy(&said));
}

/// Acts when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
