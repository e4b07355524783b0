//! How a thread of a crashed node ends: its stack is unwound, and destructors run.
//!
//! Each part has a node of its own, which crashes while its threads are at work.
//! What they do from then on is in a log: memory behind a lock, which destructors
//! may use. Notes of the dead are not part of the story.
//!
//! 1. Youngest first. But the youngest wants a lock that the oldest holds, so the
//!    oldest goes in between. Within a thread Rust's own order holds: last made,
//!    first dropped.
//! 2. A destructor does nothing to others, and does not wait.
//! 3. and 4. `catch_unwind` gets the unwinding, and again at the next call into labsim.
//!    A thread that goes on like that is given up, and its run with it.
//!
//! Try: no `_held` in the oldest. A `thread::sleep` in place of `yield_now`: with a
//! lock held, that fails the run. `let _log = log.lock();` in `crash`, before the
//! crash: a destructor must not wait for the living.
//!
//! Boundary: how threads die. What a node loses with them is in `crash`.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

use labsim::channel::{Receiver, Sender, unbounded};
use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::time::Duration;
use labsim::{Config, Outcome, note, simulate, thread};

const HOUR: Duration = Duration::from_secs(3600);

type Log = Arc<Mutex<Vec<String>>>;

/// Runs `prepare`, which starts threads on a node, and crashes that a little later.
fn crash(prepare: impl FnOnce(Node, Log) + Send + 'static) -> Outcome<Vec<String>> {
    simulate(Config::seed(1), move || {
        let (server, log) = (Node::new("server"), Log::default());
        prepare(server, Arc::clone(&log));
        thread::sleep(Duration::from_millis(1));
        server.crash();
        std::mem::take(&mut *log.lock())
    })
}

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn youngest_first(server: Node, log: Log) {
    let shared = Arc::new(Mutex::new(()));
    let says = move |text: &str| log.lock().push(text.to_owned());
    let (theirs, says_oldest, says_middle) = (Arc::clone(&shared), says.clone(), says.clone());
    server.spawn("oldest", move || {
        let _first = OnDrop(|| says_oldest("oldest: drops what it made first"));
        let _second = OnDrop(|| says_oldest("oldest: drops what it made second"));
        let _held = theirs.lock();
        loop {
            thread::yield_now();
        }
    });
    server.spawn("middle", move || {
        let _only = OnDrop(|| says_middle("middle: drops what it made"));
        thread::sleep(HOUR);
    });
    server.spawn("youngest", move || {
        let _needs_lock = OnDrop(|| {
            says("youngest: wants the lock");
            let _guard = shared.lock();
            says("youngest: has the lock");
        });
        thread::sleep(HOUR);
    });
}

fn nothing_to_others(server: Node, log: Log) {
    let ((tx, rx), other) = (unbounded(), Node::new("other"));
    server.spawn("worker", move || {
        tx.send("from life").expect("somebody may receive");
        let _tries = OnDrop(|| try_all(&tx, &rx, other, &log));
        thread::sleep(HOUR);
    });
}

fn try_all(tx: &Sender<&str>, rx: &Receiver<&str>, other: Node, log: &Log) {
    let begun = labsim::elapsed();
    note!("note", "nobody will read this");
    other.crash();
    thread::sleep(HOUR);
    let tries = [
        format!("a send: {:?}", tx.send("from death")),
        format!("a receive, with a message there: {:?}", rx.recv()),
        format!("a spawn and join: {:?}", thread::spawn("child", || ()).join().map_err(|_| "it never began")),
        format!("a crash of another node: it is {}", if other.is_up() { "up" } else { "down" }),
        format!("an hour's sleep, and all of this: {} us", (labsim::elapsed() - begun).as_micros()),
    ];
    log.lock().extend(tries);
}

/// Catches its own end so many times, and counts how often it was caught. The
/// counter is std's, since it is changed by code that is no destructor.
fn catches(server: Node, times: u32, caught: Arc<AtomicU32>) {
    server.spawn("survivor", move || {
        while caught.load(Ordering::Relaxed) < times {
            let slept = catch_unwind(|| thread::sleep(HOUR));
            caught.fetch_add(u32::from(slept.is_err()), Ordering::Relaxed);
        }
        thread::sleep(HOUR); // Thrown once more, and not caught.
        caught.store(0, Ordering::Relaxed);
    });
}

fn print(outcome: Outcome<Vec<String>>) {
    match outcome.result {
        Ok(log) => log.iter().for_each(|line| println!("   {line}")),
        Err(failure) => println!("{failure}"),
    }
    outcome.notes.iter().for_each(|note| println!("{note}")); // There are none.
}

fn main() {
    println!("1. The oldest, the middle and the youngest thread");
    print(crash(youngest_first));
    println!("\n2. What a destructor tries");
    print(crash(nothing_to_others));
    for (part, times) in [(3, 3), (4, 2000)] {
        println!("\n{part}. A thread that would catch its end {times} times");
        let caught = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&caught);
        print(crash(move |server, _| catches(server, times, counter)));
        println!("   caught {} times", caught.load(Ordering::Relaxed));
    }
}
