//! Calls between nodes, seen from outside: what arrives, when, and what is counted.
//!
//! A test is a story about two nodes and the network between them. Its times are
//! virtual and its chances are those of fixed seeds, so that a bound on a mean is
//! as exact as an equality: it holds always or never.
//!
//! | file | is about |
//! |---|---|
//! | `classic.rs` | the numbers of the course's network |
//! | `links.rs` | wires: one-way cuts, delays, duplicates, holding |
//! | `crashes.rs` | what a call notices of a crash or a cut while it waits |
//! | `counts.rs` | calls, requests and bytes |
//! | `handlers.rs` | where handlers run, and that they overlap |
//! | `errors.rs` | a lock in hand, unknown methods, wrong types |
//! | `memory.rs` | nothing is shared, and nothing is left when a run is over |
//! | `record.rs` | what the record of a run has of calls |
//! | `seeds.rs` | one seed is one run, and a draw is nobody else's |
//! | `real.rs` | the same calls on OS threads |
//!
//! Boundary: uses what labrpc and labsim make public, and nothing of Raft.

mod classic;
mod counts;
mod crashes;
mod errors;
mod handlers;
mod links;
mod memory;
mod real;
mod record;
mod seeds;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use labrpc::{CallError, ClientEnd, Network, Service};
use labsim::links::Link;
use labsim::node::Node;
use labsim::time::{Duration, Instant};
use labsim::{Config, links as wires, simulate, thread};

/// How many seeds a story is told under. They differ in who runs first.
const STORY_SEEDS: u64 = 20;

/// What steps may add to a time that is otherwise whole milliseconds.
const STEPS: Duration = Duration::from_micros(500);

/// How long the handlers of [`Pair::serve_slow`] take.
const SLOW_MS: u64 = 1050;

/// Two nodes, and a network between them. Nobody serves yet.
struct Pair {
    client: Node,
    server: Node,
    network: Network,
    /// From the client to the server.
    end: ClientEnd,
}

impl Pair {
    fn new() -> Self {
        let (client, server, network) = (Node::new("client"), Node::new("server"), Network::new());
        let end = network.end(client, server);
        Self { client, server, network, end }
    }

    /// Serves `echo`, which returns its number. The count is of its runs.
    fn serve_echo(&self) -> Count {
        let runs = Count::default();
        let counted = runs.clone();
        let echo = move |n: u64| {
            counted.add();
            n
        };
        self.network.serve(self.server, Service::new().method("echo", echo));
        runs
    }

    /// Serves `echo` by handlers that take [`SLOW_MS`]. The count is of those
    /// that came to their end.
    fn serve_slow(&self) -> Count {
        let ended = Count::default();
        let counted = ended.clone();
        let echo = move |n: u64| {
            thread::sleep(ms(SLOW_MS));
            counted.add();
            n
        };
        self.network.serve(self.server, Service::new().method("echo", echo));
        ended
    }

    fn echo(&self, n: u64) -> Result<u64, CallError> {
        self.end.call("echo", &n)
    }

    /// The result of one `echo`, and how long it took.
    fn timed_echo(&self) -> (Result<u64, CallError>, Duration) {
        timed(|| self.echo(7))
    }

    /// Makes one `echo` from a thread of its own.
    fn echo_aside(&self) -> thread::JoinHandle<(Result<u64, CallError>, Duration)> {
        let end = self.end.clone();
        thread::spawn("aside", move || timed(|| end.call("echo", &7u64)))
    }

    /// Changes the way of the requests.
    fn change_there(&self, change: impl FnOnce(&mut Link)) {
        wires::change(self.client, self.server, change);
    }

    /// Changes the way of the replies.
    fn change_back(&self, change: impl FnOnce(&mut Link)) {
        wires::change(self.server, self.client, change);
    }

    fn cut(&self) {
        self.change_there(|link| link.up = false);
        self.change_back(|link| link.up = false);
    }

    fn heal(&self) {
        self.change_there(|link| link.up = true);
        self.change_back(|link| link.up = true);
    }

    fn restart_server(&self) {
        self.server.crash();
        self.server.restart();
    }

    /// Does something to the two at a moment, whoever waits meanwhile.
    fn after(&self, delay_ms: u64, act: impl FnOnce(&Pair) + Send + 'static) {
        let pair = Pair { end: self.end.clone(), network: self.network.clone(), ..*self };
        thread::spawn("fate", move || {
            thread::sleep(ms(delay_ms));
            act(&pair);
        });
    }
}

/// A count that a handler and its test share.
#[derive(Clone, Default, Debug)]
struct Count(Arc<AtomicU64>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// How many still hold it, the asker included.
    fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// Runs `body` in a simulation that must not fail.
fn run<T: Send + 'static>(seed: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    simulate(Config::seed(seed), body).result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
}

/// Tells a story of two nodes, under many seeds.
fn story(body: fn(&Pair)) {
    for seed in 0..STORY_SEEDS {
        run(seed, move || body(&Pair::new()));
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = act();
    (value, begun.elapsed())
}

/// The whole milliseconds of a time that is made of nothing else but steps.
#[track_caller]
fn whole_ms(took: Duration) -> u64 {
    let millis = took.as_millis() as u64;
    assert!(took - ms(millis) < STEPS, "{took:?} is not a whole number of milliseconds");
    millis
}

/// Asserts that a time is `millis` milliseconds and a few steps.
#[track_caller]
fn assert_took(took: Duration, millis: u64) {
    assert!(took >= ms(millis) && took < ms(millis) + STEPS, "it took {took:?} and not {millis} ms");
}
