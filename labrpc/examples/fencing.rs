//! A lease is not enough: a lock that runs out, and a write that comes too late.
//!
//! Clients add 1 to the number of a `store`. Who adds has a lease from a `lock`
//! server first, reads, and writes the sum. Leases run out, so that a client that
//! crashed stops nobody. But one that looks at the clock and is paused before it
//! writes, or whose write has to be tried again, does not know that its time is
//! over. So each lease has a token, greater than those before it, and the store
//! refuses a token smaller than one it has seen. With `--careless` it does not look.
//!
//! Meanwhile the network loses a message in ten, servers crash and come back with
//! their disks, clients crash and are paused. An add is lost when the number is
//! less than the writes that were executed: the store asserts that it is not.
//!
//! Try: `-- --careless`. Then, in the careful way, let `write` take notice of the
//! token in place of `read`: 5 seeds are red. Let a new lock server grant at once:
//! none is, so the tokens protect, and the wait is a courtesy. Do not `save` the
//! token: none is either, and yet there are fewer adds. Why?
//!
//! Boundary: one number, one lock. How a service survives its server is Raft's affair.

use std::collections::BTreeSet;
use std::process::ExitCode;

use labrpc::{ClientEnd, Message, Network, Service, decode, encode};
use labsim::disk::Disk;
use labsim::node::Node;
use labsim::rand::{below, between};
use labsim::sync::{Arc, Mutex};
use labsim::time::{Duration, Instant};
use labsim::{Config, Outcome, note, simulate, thread};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const SEEDS: u64 = 200;
const FAULTS: u32 = 12; // In a run.
const LEASE: Duration = Duration::from_millis(100);

type Token = u64;

/// What the store has on its disk.
#[derive(Default, Serialize, Deserialize)]
struct Store {
    number: u64,
    newest: Token,
    /// Under which leases a write was executed: so a second try is recognised.
    written: BTreeSet<Token>,
}

fn load<T: Default + DeserializeOwned>(disk: &Disk, file: &str) -> T {
    decode(&disk.read(file)).unwrap_or_default()
}

fn save(disk: &Disk, file: &str, value: &impl Serialize) {
    disk.replace(file, encode(value));
    disk.sync();
}

/// Only the last token is on the disk. So a new life waits for as long as a lease
/// takes: somebody may still be at work under one of the life before.
fn lock_service(disk: Disk) -> Service {
    let lease = Mutex::new((load::<Token>(&disk, "token"), Instant::now() + LEASE));
    let acquire = move |name: String| {
        let (token, until) = &mut *lease.lock();
        (Instant::now() >= *until).then(|| {
            (*token, *until) = (*token + 1, Instant::now() + LEASE);
            save(&disk, "token", token); // Before anybody hears of it: no token is given twice.
            note!("grants", "lease {token} to {name}");
            *token
        })
    };
    Service::new().method("acquire", acquire)
}

/// Both methods answer None to an old token.
fn store_service(disk: Disk, careless: bool) -> Service {
    let store = Arc::new(Mutex::new((load::<Store>(&disk, "store"), disk)));
    let to_read = Arc::clone(&store);
    let is_old = move |store: &Store, token| token < store.newest && !careless;
    let read = move |token: Token| {
        let (store, disk) = &mut *to_read.lock();
        (!is_old(store, token)).then(|| {
            store.newest = store.newest.max(token); // What was read, no older lease changes.
            save(disk, "store", store);
            store.number
        })
    };
    let write = move |(token, number): (Token, u64)| {
        let (store, disk) = &mut *store.lock();
        if is_old(store, token) && !store.written.contains(&token) {
            note!("refuses", "{number} under lease {token}");
            return None;
        }
        if store.written.insert(token) {
            note!("writes", "{number} under lease {token}");
            store.number = number;
            let writes = store.written.len() as u64;
            assert!(number == writes, "an add is lost: after {writes} writes the number is {number}");
            save(disk, "store", store);
        }
        Some(())
    };
    Service::new().method("read", read).method("write", write)
}

/// Adds for ever. All that it knows may be lost in a crash.
fn run_client(name: &str, lock: &ClientEnd, store: &ClientEnd) {
    loop {
        let asked = Instant::now();
        let Some(token) = ask::<_, Option<Token>>(lock, "acquire", &name.to_owned()) else {
            thread::sleep(between(Duration::ZERO..LEASE / 4));
            continue;
        };
        let number = ask::<_, Option<u64>>(store, "read", &token);
        note!("reads", "{number:?} under lease {token}");
        if let Some(number) = number
            && asked.elapsed() < LEASE
        {
            // The lease still runs, or did a line ago.
            ask::<_, Option<()>>(store, "write", &(token, number + 1));
        }
    }
}

/// Asks until it is answered: what is asked may be executed several times.
fn ask<A: Serialize + Message, R: DeserializeOwned + Message>(end: &ClientEnd, method: &'static str, args: &A) -> R {
    std::iter::repeat_with(|| end.call(method, args)).find_map(Result::ok).expect("it asks for ever")
}

/// Servers, clients and faults. Returns what the number came to.
fn run(seed: u64, careless: bool) -> Outcome<u64> {
    simulate(Config::seed(seed), move || {
        let network = Network::new();
        network.set_reliable(false);
        network.set_long_delays(false); // Who calls a server that is down hears so within 100 ms.
        let nodes @ [lock, store, ..] = ["lock", "store", "C0", "C1", "C2"].map(Node::new);
        let start = |node: Node| match &*node.name() {
            "lock" => network.serve(node, lock_service(node.disk())),
            "store" => network.serve(node, store_service(node.disk(), careless)),
            _ => {
                let (lock, store) = (network.end(node, lock), network.end(node, store));
                drop(node.spawn("adds", move || run_client(&node.name(), &lock, &store)));
            }
        };
        nodes.into_iter().for_each(start);

        for _ in 0..FAULTS {
            thread::sleep(between(Duration::ZERO..2 * LEASE));
            let node = nodes[below(nodes.len() as u64) as usize];
            if node.name().starts_with('C') && below(4) > 0 {
                note!("pauses", "{}", node.name());
                node.pause();
                thread::sleep(between(Duration::ZERO..4 * LEASE));
                node.resume();
            } else {
                note!("crashes", "{}", node.name());
                node.crash();
                node.restart();
                start(node);
            }
        }
        load::<Store>(&store.disk(), "store").number
    })
}

/// Runs all seeds, and returns the first that loses an add.
fn sweep(careless: bool) -> Option<Outcome<u64>> {
    let (red, green): (Vec<_>, Vec<_>) =
        (0..SEEDS).map(|seed| run(seed, careless)).partition(|run| run.result.is_err());
    let adds: u64 = green.iter().flat_map(|run| &run.result).sum();
    let way = if careless { "careless" } else { "careful" };
    println!("The {way} store: {} of {SEEDS} seeds lose an add. {adds} adds in the others.", red.len());
    red.into_iter().next()
}

/// What befell the last write since it got its lease, and the write before it.
fn tell(outcome: &Outcome<u64>) {
    let lease = outcome.notes.last().and_then(|last| last.text.split_once("lease ")).map_or("", |(_, lease)| lease);
    let is_its = |text: &str| text.split_once("lease ").is_some_and(|(_, rest)| rest.split(' ').next() == Some(lease));
    let granted = outcome.notes.iter().position(|note| is_its(&note.text)).unwrap_or(0);
    let before = outcome.notes.len().saturating_sub(3);
    println!("\nSeed {}, the story of lease {lease}", outcome.seed);
    for (at, note) in outcome.notes.iter().enumerate().skip(granted) {
        if is_its(&note.text) || at >= before || ["pauses", "crashes"].contains(&&*note.topic) {
            println!("{note}");
        }
    }
    if let Err(failure) = &outcome.result {
        println!("  {}\n", failure.message);
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--careless") {
        sweep(true).iter().for_each(tell);
    }
    ExitCode::from(u8::from(sweep(false).is_some()))
}
