//! Random programs of everything at once: the same seed is the same run.
//!
//! Each program is drawn from its seed. Threads of three nodes and of none lock,
//! wait, select, scope, sleep, write to disks and send over links, while others
//! crash, restart and pause nodes and bend their clocks; and what dies has
//! destructors that do some of it again. Most of these programs end badly, and
//! that is as good: they must end, and twice in the same way.
//!
//! `LABSIM_MIXTURE_SEEDS` sets how many there are. The digest that a run with
//! `--nocapture` prints is that of every outcome: a debug build and a release
//! build must print the same.
//!
//! Boundary: two runs of one seed. What the operations mean is tested elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use labsim::channel::{self, Receiver, Sender};
use labsim::links::{self, Fate};
use labsim::node::Node;
use labsim::sync::atomic::{AtomicU64, Ordering};
use labsim::sync::{Barrier, Condvar, Mutex, Once, RwLock};
use labsim::{Config, Outcome, note, rand, select, simulate, thread, time};

labsim::interpose!();

const MS: Duration = Duration::from_millis(1);
const STEPS_MAX: u64 = 60_000;
const DEPTH_MAX: u32 = 3;

/// What all threads of a program share.
struct Shared {
    nodes: [Node; 3],
    locks: [Mutex<u64>; 3],
    changed: Condvar,
    table: RwLock<Vec<u64>>,
    barrier: Barrier,
    once: Once,
    count: AtomicU64,
    queues: [(Sender<Owned>, Receiver<Owned>); 3],
}

/// A value whose end is an event.
struct Owned(Option<Arc<Shared>>, u64);

impl Drop for Owned {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        shared.count.fetch_add(1, Ordering::SeqCst);
        match self.1 % 8 {
            0 => drop(shared.locks[0].try_lock().map(|mut value| *value += 1)),
            1 => drop(shared.changed.notify_all()),
            2 => drop(shared.queues[2].0.try_send(Owned(None, self.1))),
            3 => drop(thread::spawn("from a destructor", || thread::sleep(MS))),
            4 => drop(shared.table.try_write().map(|mut table| table.push(self.1))),
            5 => thread::yield_now(),
            _ => {}
        }
    }
}

fn below(n: usize) -> usize {
    rand::below(n as u64) as usize
}

fn some_time() -> Duration {
    rand::between(Duration::ZERO..20 * MS)
}

/// One random step of a thread.
fn act(shared: &Arc<Shared>, depth: u32) {
    let node = shared.nodes[below(3)];
    let (tx, rx) = &shared.queues[below(3)];
    let owned = || Owned(Some(Arc::clone(shared)), rand::below(100));
    let here = Node::current();
    match below(26) {
        0 => *shared.locks[below(3)].lock() += 1,
        1 => {
            let (first, second) = (below(3), below(3));
            if first < second {
                let mut low = shared.locks[first].lock();
                *low += *shared.locks[second].lock();
            }
        }
        2 => {
            let mut value = shared.locks[1].lock();
            let _ = shared.changed.wait_for(&mut value, some_time());
        }
        3 => shared.changed.wait_while(&mut shared.locks[2].lock(), |value| *value == 0),
        4 => drop(shared.changed.notify_one()),
        5 => shared.table.write().push(1),
        6 => {
            let table = shared.table.read();
            thread::yield_now();
            shared.count.fetch_add(table.len() as u64, Ordering::SeqCst);
        }
        7 => drop(tx.send_timeout(owned(), some_time())),
        8 => drop(rx.recv_timeout(some_time())),
        9 => select! {
            recv(shared.queues[0].1) -> taken => drop(taken),
            send(shared.queues[1].0, owned()) -> sent => drop(sent),
            recv(shared.queues[2].1) -> taken => drop(taken),
            default(some_time()) => {}
        },
        10 if depth < DEPTH_MAX => {
            let mut sums = [0; 3];
            thread::scope(|scope| {
                for sum in &mut sums {
                    scope.spawn("scoped", || {
                        let _owned = owned();
                        act(shared, depth + 1);
                        *sum += rand::below(5);
                    });
                }
                act(shared, depth + 1);
            });
            note!("sums", "{sums:?}");
        }
        11 => node.crash(),
        12 => {
            if !node.is_up() {
                node.restart();
                let shared = Arc::clone(shared);
                node.spawn("reborn", move || live(&shared, depth + 1));
            }
        }
        // Nobody who is paused could resume.
        13 if here.is_none() => {
            node.pause();
            thread::sleep(some_time());
            node.resume();
        }
        14 if node.is_up() => node.set_clock_rate(below(400_000) as i32 - 200_000),
        15 if node.is_up() => node.put_clock_forward(some_time()),
        16 => {
            if let Some(node) = here {
                let disk = node.disk();
                disk.append("log", &[depth as u8]);
                if rand::chance(0.3) {
                    disk.sync();
                }
                note!("disk", "{}", disk.len("log"));
            }
        }
        17 => {
            let (from, to) = (shared.nodes[below(3)], node);
            if from.id() != to.id() {
                links::change(from, to, |link| {
                    link.loss = 0.2;
                    link.up = rand::chance(0.8);
                });
                if matches!(links::send(from, to), Fate::Lost) {
                    note!("lost", "{}", from.name());
                }
            }
        }
        18 if depth < DEPTH_MAX => {
            let theirs = Arc::clone(shared);
            let child = thread::spawn("child", move || live(&theirs, depth + 1));
            if rand::chance(0.5) {
                let _ = child.join();
            }
        }
        19 => shared.once.call_once(|| thread::sleep(MS)),
        20 => {
            if rand::chance(0.1) {
                shared.barrier.wait();
            }
        }
        21 => {
            // Whoever catches its own end gets it again.
            let _ = catch_unwind(AssertUnwindSafe(|| thread::sleep(some_time())));
        }
        22 => {
            let before = time::Instant::now();
            let set: std::collections::HashSet<u64> = (0..5).collect();
            if cfg!(target_os = "linux") && set.iter().next() == Some(&0) {
                thread::yield_now();
            }
            note!("time", "{:?}", before.elapsed());
        }
        23 => thread::park_timeout(some_time()),
        _ => thread::sleep(some_time()),
    }
}

fn live(shared: &Arc<Shared>, depth: u32) {
    let _owned = Owned(Some(Arc::clone(shared)), rand::below(100));
    for _ in 0..3 + below(12) {
        act(shared, depth);
    }
}

fn program() -> u64 {
    let queue = |capacity: Option<usize>| capacity.map_or_else(channel::unbounded, channel::bounded);
    let shared = Arc::new(Shared {
        nodes: ["a", "b", "c"].map(Node::new),
        locks: [const { Mutex::new(0) }; 3],
        changed: Condvar::new(),
        table: RwLock::new(Vec::new()),
        barrier: Barrier::new(2),
        once: Once::new(),
        count: AtomicU64::new(0),
        queues: [Some(0), Some(2), None].map(queue),
    });
    for node in shared.nodes {
        for name in ["left", "right"] {
            let theirs = Arc::clone(&shared);
            node.spawn(name, move || live(&theirs, 0));
        }
    }
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let theirs = Arc::clone(&shared);
            thread::spawn("helper", move || live(&theirs, 0))
        })
        .collect();
    live(&shared, 0);
    for thread in threads {
        let _ = thread.join();
    }
    shared.count.load(Ordering::SeqCst)
}

fn run(seed: u64) -> Outcome<u64> {
    let config = Config { trace: true, step_limit: STEPS_MAX, ..Config::seed(seed) };
    simulate(config, program)
}

/// All of an outcome that the seed decides.
fn told(outcome: &Outcome<u64>) -> String {
    let notes: Vec<String> = outcome.notes.iter().map(|note| format!("{note:?}")).collect();
    let Outcome { result, elapsed, steps, timer_events, threads, hash, abandoned, .. } = outcome;
    format!("{result:?} {elapsed:?} {steps} {timer_events} {threads} {hash:016x} {abandoned} {notes:?}")
}

#[test]
fn two_runs_of_a_seed_are_one() {
    let count = std::env::var("LABSIM_MIXTURE_SEEDS").map_or(150, |text| text.parse().expect("a number of programs"));
    let (mut digest, mut green, mut abandoned) = (0_u64, 0, 0);
    for seed in 0..count {
        let (first, second) = (run(seed), run(seed));
        let differs = first.trace.steps.iter().zip(&second.trace.steps).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: the switch at which the two part");
        assert_eq!(told(&first), told(&second), "seed {seed}");
        for byte in told(&first).bytes() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        green += u64::from(first.result.is_ok());
        abandoned += u64::from(first.abandoned);
        if std::env::var_os("LABSIM_MIXTURE_SHOW").is_some()
            && let Err(failure) = &first.result
        {
            println!("{seed}: {failure:?}");
        }
    }
    println!("{count} programs, {green} green, {abandoned} abandoned, digest {digest:016x}");
    assert!(green > 0 && green < count, "{green} of {count} are green: too few, or too many");
}
