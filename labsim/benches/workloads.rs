//! What the simulator costs: steps, timers, spawns, locks, and heartbeats.
//!
//! `cargo bench -p labsim` prints nanoseconds of CPU time for one operation, the
//! median of several runs, and operations per CPU-second. CPU time and medians,
//! because wall time on a shared machine says little. Words after `--` choose
//! workloads by part of their name.
//!
//! The heartbeat workload is what a Raft that does nothing does: three nodes,
//! and every 10 ms a request from each to each other one, in a thread of the
//! sender, answered in a thread of the receiver, with a random delay on either
//! way and the bytes encoded and decoded at both ends.
//!
//! Boundary: costs, in CPU time. That the results are right is for the tests.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labsim::node::Node;
use labsim::sync::{Condvar, Mutex};
use labsim::{Config, Outcome, Preemption, channel, rand, simulate, thread};
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 7;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let bench = |name: &str, run: &dyn Fn() -> (u64, Duration)| {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            return;
        }
        let mut nanos: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let (operations, cpu) = run();
                cpu.as_nanos() as f64 / operations as f64
            })
            .collect();
        nanos.sort_by(f64::total_cmp);
        let median = nanos[ROUNDS / 2];
        println!("{name:44} {median:9.1} ns   {:12.0} per CPU-second", 1e9 / median);
    };

    for threads in [2, 30, 1000] {
        bench(&format!("step: yield, {threads} threads"), &|| yields(threads));
    }
    bench("step: channel ping-pong", &ping_pong);
    for rate in [Preemption::Never, Preemption::OneIn(1), Preemption::OneIn(10)] {
        bench(&format!("step: condition ping-pong, {rate:?}"), &|| condition(rate));
    }
    for threads in [10, 1000] {
        bench(&format!("timer: sleep, {threads} threads"), &|| sleeps(threads));
    }
    bench("spawn and join", &spawns);
    bench("lock: parking_lot's own", &parking_lot_lock);
    bench("lock: outside a simulation", &outside_lock);
    bench("lock: simulated, one thread", &simulated_lock);
    for rate in [Preemption::Never, Preemption::OneIn(1), Preemption::OneIn(10), Preemption::OneIn(100)] {
        bench(&format!("lock: 4 threads contend, {rate:?}"), &|| contended_lock(rate));
    }
    bench("clock: Instant::now outside", &outside_now);
    for rate in [Preemption::Never, Preemption::OneIn(10), Preemption::OneIn(1)] {
        for (nodes, peers) in [(3, 2), (5, 4), (1000, 2)] {
            bench(&format!("heartbeat: {nodes} nodes, {rate:?}"), &|| heartbeats(nodes, peers, rate));
        }
    }
    bench("crash and restart, 3 blocked threads", &crashes);
}

/// Runs one simulation and returns its CPU time with `operations`.
fn measure<T: Send + 'static>(
    rate: Preemption,
    operations: impl FnOnce(&Outcome<T>) -> u64,
    body: impl FnOnce() -> T + Send + 'static,
) -> (u64, Duration) {
    let outcome = simulate(Config { busy_limit: u64::MAX, ..Config::seed(1).preemption(rate) }, body);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result.err());
    (operations(&outcome), outcome.cpu)
}

fn yields(threads: u64) -> (u64, Duration) {
    measure(
        Preemption::Never,
        |outcome| outcome.steps,
        move || {
            let body = move || (0..1_000_000 / threads).for_each(|_| thread::yield_now());
            let all: Vec<_> = (0..threads).map(|_| thread::spawn("yielder", body)).collect();
            all.into_iter().for_each(|handle| handle.join().expect("it only yields"));
        },
    )
}

fn ping_pong() -> (u64, Duration) {
    measure(
        Preemption::Never,
        |_| 4 * 200_000,
        || {
            let (ping, pinged) = channel::unbounded::<u64>();
            let (pong, ponged) = channel::unbounded();
            thread::spawn("pong", move || pinged.iter().for_each(|n| pong.send(n).expect("main receives")));
            for n in 0..200_000 {
                ping.send(n).expect("pong receives");
                ponged.recv().expect("pong answers");
            }
        },
    )
}

fn condition(rate: Preemption) -> (u64, Duration) {
    measure(
        rate,
        |outcome| outcome.steps,
        || {
            let shared = Arc::new((Mutex::new(0u64), Condvar::new()));
            let player = |me: u64| {
                let shared = Arc::clone(&shared);
                thread::spawn("player", move || {
                    for _ in 0..100_000 {
                        let mut turn = shared.0.lock();
                        shared.1.wait_while(&mut turn, |turn| *turn % 2 != me);
                        *turn += 1;
                        shared.1.notify_one();
                    }
                })
            };
            let players = [player(0), player(1)];
            players.into_iter().for_each(|handle| handle.join().expect("it only plays"));
        },
    )
}

fn sleeps(threads: u64) -> (u64, Duration) {
    measure(
        Preemption::Never,
        |outcome| outcome.timer_events,
        move || {
            let body = move || {
                for _ in 0..400_000 / threads {
                    thread::sleep(Duration::from_micros(rand::below(10_000) + 1));
                }
            };
            let all: Vec<_> = (0..threads).map(|_| thread::spawn("sleeper", body)).collect();
            all.into_iter().for_each(|handle| handle.join().expect("it only sleeps"));
        },
    )
}

fn spawns() -> (u64, Duration) {
    measure(
        Preemption::Never,
        |_| 200_000,
        || {
            for _ in 0..200_000 {
                thread::spawn("empty", || {}).join().expect("it does nothing");
            }
        },
    )
}

const LOCKS: u64 = 5_000_000;

fn on_cpu(operations: u64, run: impl FnOnce()) -> (u64, Duration) {
    let begun = cpu_time::ThreadTime::now();
    run();
    (operations, begun.elapsed())
}

fn parking_lot_lock() -> (u64, Duration) {
    let mutex = parking_lot::Mutex::new(0u64);
    on_cpu(LOCKS, || (0..LOCKS).for_each(|_| *black_box(&mutex).lock() += 1))
}

fn outside_lock() -> (u64, Duration) {
    let mutex = Mutex::new(0u64);
    on_cpu(LOCKS, || (0..LOCKS).for_each(|_| *black_box(&mutex).lock() += 1))
}

fn outside_now() -> (u64, Duration) {
    on_cpu(LOCKS, || {
        (0..LOCKS).for_each(|_| {
            black_box(labsim::time::Instant::now());
        });
    })
}

fn simulated_lock() -> (u64, Duration) {
    measure(
        Preemption::Never,
        |_| LOCKS,
        || {
            let mutex = Mutex::new(0u64);
            (0..LOCKS).for_each(|_| *black_box(&mutex).lock() += 1);
        },
    )
}

fn contended_lock(rate: Preemption) -> (u64, Duration) {
    measure(
        rate,
        |_| LOCKS / 10,
        || {
            let mutex = Arc::new(Mutex::new(0u64));
            let adder = || {
                let mutex = Arc::clone(&mutex);
                thread::spawn("adder", move || (0..LOCKS / 40).for_each(|_| *mutex.lock() += 1))
            };
            let all: Vec<_> = (0..4).map(|_| adder()).collect();
            all.into_iter().for_each(|handle| handle.join().expect("it only adds"));
        },
    )
}

#[derive(Serialize, Deserialize)]
struct Request {
    term: u64,
    leader: u32,
    prev: u64,
    prev_term: u64,
    entries: Vec<(u64, Vec<u8>)>,
    commit: u64,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    term: u64,
    success: bool,
}

#[derive(Default)]
struct Server {
    term: u64,
    heard: u64,
    answered: u64,
}

fn encode(value: impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::legacy()).expect("plain data")
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> T {
    bincode::serde::decode_from_slice(bytes, bincode::config::legacy()).expect("encoded above").0
}

/// Each node calls its next `peers`, again and again, until about 180,000 calls
/// are made, at moments of its own. Many nodes call less often: a step costs
/// virtual time whoever takes it, and a world that never rests falls behind its
/// timers.
fn heartbeats(nodes: u64, peers: u64, rate: Preemption) -> (u64, Duration) {
    let period_ms = if nodes > 100 { 1000 } else { 10 };
    let virtual_ms = 180_000 * period_ms / (nodes * peers);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let measured = measure(
        rate,
        |_| counted.load(Ordering::Relaxed),
        move || {
            let server = |id| (Node::new(format!("S{id}")), Arc::new(Mutex::new(Server::default())));
            let servers: Arc<Vec<_>> = Arc::new((0..nodes).map(server).collect());
            for me in 0..nodes as usize {
                let (servers, calls) = (Arc::clone(&servers), Arc::clone(&calls));
                servers[me].0.spawn("ticker", {
                    let servers = Arc::clone(&servers);
                    let mut is_first = true;
                    move || loop {
                        let first = std::mem::take(&mut is_first).then(|| rand::below(period_ms * 1000));
                        thread::sleep(Duration::from_micros(first.unwrap_or(period_ms * 1000)));
                        let term = servers[me].1.lock().term;
                        for peer in (1..=peers as usize).map(|offset| (me + offset) % servers.len()) {
                            let (servers, calls) = (Arc::clone(&servers), Arc::clone(&calls));
                            thread::spawn("caller", move || {
                                if let Some(reply) = call(&servers[peer], me as u32, term) {
                                    calls.fetch_add(1, Ordering::Relaxed);
                                    let mut state = servers[me].1.lock();
                                    state.answered += u64::from(reply.success && reply.term == state.term);
                                }
                            });
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(virtual_ms));
        },
    );
    assert!(measured.0 >= 150_000, "{} calls were answered", measured.0);
    measured
}

/// One call: a thread of the receiver, a delay on each way, bytes in between.
fn call(receiver: &(Node, Arc<Mutex<Server>>), leader: u32, term: u64) -> Option<Reply> {
    let entries = vec![(1, vec![0; 64])];
    let request = encode(Request { term, leader, prev: 7, prev_term: 1, entries, commit: 3 });
    let (reply_tx, reply_rx) = channel::unbounded();
    let state = Arc::clone(&receiver.1);
    receiver.0.spawn("handler", move || {
        thread::sleep(Duration::from_micros(rand::below(3000)));
        let request: Request = decode(&request);
        let reply = {
            let mut state = state.lock();
            state.heard += 1;
            state.term = state.term.max(request.term);
            encode(Reply { term: state.term, success: true })
        };
        thread::sleep(Duration::from_micros(rand::below(3000)));
        let _ = reply_tx.send(reply);
    });
    let reply = reply_rx.recv_timeout(Duration::from_millis(100)).ok()?;
    Some(decode(&reply))
}

fn crashes() -> (u64, Duration) {
    measure(
        Preemption::Never,
        |_| 5000,
        || {
            let node = Node::new("victim");
            for _ in 0..5000 {
                let shared = Arc::new((Mutex::new(()), Condvar::new()));
                for _ in 0..3 {
                    let shared = Arc::clone(&shared);
                    node.spawn("blocked", move || shared.1.wait_while(&mut shared.0.lock(), |()| true));
                }
                thread::sleep(Duration::from_millis(1));
                node.crash();
                node.restart();
            }
        },
    )
}
