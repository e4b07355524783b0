//! What clients of the key-value service do in most tests of its parts: they write and
//! read for a while, as fast as they are answered, and whatever happens meanwhile to
//! servers and network, the answers are those of one store.
//!
//! Boundary: the course's `GenericTest`. Single stories are in the files of the parts.

use std::sync::Arc;

use labsim::sync::atomic::{AtomicBool, Ordering};
use labsim::thread;
use labsim::time::Duration;

use crate::check::{Broken, Kind};
use crate::harness::{Client, ELECTION_TIME, Lab, Service};

/// How long the clients work in each round.
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 3;
/// How long they work before the first partition, where there are any.
const QUIET: Duration = Duration::from_secs(1);

/// What is asked of the service, and done to it meanwhile.
#[derive(Clone, Copy, Default)]
pub(super) struct Workload {
    /// How many clients work at a time.
    pub(super) clients: u64,
    /// The servers are split in two again and again.
    pub(super) partitions: bool,
    /// All servers crash at the end of each round, and start again.
    pub(super) crash: bool,
    /// Clients write and read each other's keys; otherwise each one has its own.
    pub(super) random_keys: bool,
}

impl Workload {
    /// Does it, and judges all that was answered.
    pub(super) fn run(self, lab: &Lab) {
        for round in 0..ROUNDS {
            let is_over = Arc::new(AtomicBool::new(false));
            let all: Vec<usize> = (0..lab.count()).collect();
            let client = |number| {
                let is_over = Arc::clone(&is_over);
                lab.client(&all, move |client| self.work(client, round, number, &is_over))
            };
            let clients: Vec<_> = (0..self.clients).map(client).collect();
            if self.partitions {
                lab.run_for(QUIET);
            }
            let partitioner = self.partitions.then(|| {
                let (lab, is_over) = (lab.clone(), Arc::clone(&is_over));
                thread::spawn("partitioner", move || split_again_and_again(&lab, &is_over))
            });
            lab.run_for(ROUND);
            is_over.store(true, Ordering::Relaxed);

            if let Some(partitioner) = partitioner {
                partitioner.join().unwrap_or_default(); // If it panicked, the run is over.
                // Clients may wait in a minority: they are answered only now.
                lab.connect_all();
                lab.run_for(ELECTION_TIME);
            }
            if self.crash {
                (0..lab.count()).for_each(|server| lab.crash(server));
                lab.run_for(ELECTION_TIME);
                (0..lab.count()).for_each(|server| lab.restart(server));
            }
            let appended: Vec<u64> = clients.into_iter().map(|client| lab.finish(client)).collect();
            if !self.random_keys {
                lab.with_client(move |client| {
                    for (number, appends) in (0..).zip(appended) {
                        expect_appends(client, round, number, appends);
                    }
                });
            }
            check_sizes(lab);
        }
        lab.judge_history();
    }

    /// One client's round. Returns how often it has appended to its own key.
    fn work(self, client: &mut Client, round: u32, number: u64, is_over: &AtomicBool) -> u64 {
        let own = number.to_string();
        let (mut appends, mut expected) = (0, String::new());
        if !self.random_keys {
            client.put(&own, &expected);
        }
        while !is_over.load(Ordering::Relaxed) {
            let key = if self.random_keys { client.draws.below(self.clients).to_string() } else { own.clone() };
            let value = text(round, number, appends);
            if client.draws.chance(0.5) {
                client.append(&key, &value);
                expected.push_str(&value);
                appends += 1;
            } else if self.random_keys && client.draws.chance(0.1) {
                client.put(&key, &value);
                appends += 1; // No two values are the same.
            } else if self.random_keys {
                client.get(&key);
            } else {
                client.expect(&key, &expected);
            }
        }
        appends
    }
}

/// What a client appends, and nobody else, nor the same client in another round.
pub(super) fn text(round: u32, client: u64, count: u64) -> String {
    format!("x {client} {round}.{count} y")
}

/// A client's key has each of its appends once, in order, and nothing else.
pub(super) fn expect_appends(client: &mut Client, round: u32, of: u64, count: u64) {
    let expected: String = (0..count).map(|number| text(round, of, number)).collect();
    client.expect(&of.to_string(), &expected);
}

/// Splits the servers into two groups, each drawn by a coin for each server.
fn split_again_and_again(lab: &Lab, is_over: &AtomicBool) {
    const PERIOD_MS: u64 = 1000;
    const PERIOD_MORE_MS: u64 = 200;

    while !is_over.load(Ordering::Relaxed) {
        let first: Vec<usize> = (0..lab.count()).filter(|_| lab.chance(0.5)).collect();
        lab.split(&first);
        let until = labsim::elapsed() + Duration::from_millis(PERIOD_MS + lab.below(PERIOD_MORE_MS));
        while labsim::elapsed() < until && !is_over.load(Ordering::Relaxed) {
            lab.run_for(Duration::from_millis(100));
        }
    }
}

/// The log stays short where there are snapshots; without them there are none.
pub(super) fn check_sizes(lab: &Lab) {
    /// The log may have so many times what is asked for, between two snapshots.
    const SLACK: usize = 8;

    let Service::KeyValue { max_raft_state } = lab.service() else { return };
    let log = (0..lab.count()).map(|server| lab.state_bytes(server)).max().unwrap_or(0);
    match max_raft_state {
        Some(max) => lab.economy(log as u64, (SLACK * max) as u64, "bytes on a disk in other files than `snapshot`"),
        None => {
            let snapshot = (0..lab.count()).map(|server| lab.snapshot_bytes(server)).max().unwrap_or(0);
            if snapshot > 0 {
                let message = format!("there is a snapshot of {snapshot} bytes, and none was asked for");
                lab.fail(Broken::new(Kind::Limit, "Economy", message));
            }
        }
    }
}
