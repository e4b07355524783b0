//! One small bad program for each way in which a run fails, and its report.
//!
//! `docs/failures.md` explains what each report means, with this program's
//! output. All runs have seed 1. The first group ends in an orderly way: every
//! thread is unwound. The second leaves the simulation's OS thread behind, asleep
//! or spinning (`Outcome::abandoned`), which is why it comes last.
//!
//! Try: `-- NAME` for one of them. `stacks: true` among the limits in `run`. A `Mutex` of labsim's
//! in `std_lock`. Without `interpose!`, `std_sleep` and `std_thread` are green,
//! and what they do takes real time, or happens in no order that a seed knows.
//!
//! Boundary: one culprit a program. Bugs of algorithms are in `lost_update`.

use std::process::ExitCode;

use labsim::channel::unbounded;
use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::time::Duration;
use labsim::{Config, fail, simulate, thread};

labsim::interpose!();

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// By name, in the order in which they are run.
const PROGRAMS: [(&str, fn()); 20] = [
    ("panic", panics),
    ("deadlock", deadlock),
    ("locked_again", locked_again),
    ("lock_order", lock_order),
    ("lock_held", lock_held),
    ("leaked_lock", leaked_lock),
    ("lost_wake_up", lost_wake_up),
    ("busy_loop", busy_loop),
    ("time_limit", time_limit),
    ("step_limit", step_limit),
    ("channel_limit", channel_limit),
    ("raised", raised),
    ("two_panics", two_panics),
    ("abort", abort),
    ("stack_overflow", stack_overflow),
    ("std_lock", std_lock),
    ("std_sleep", std_sleep),
    ("std_thread", std_thread),
    ("no_calls", no_calls),
    ("process_exit", process_exit),
];

/// A server whose heart beats while it does `work`: nothing here is a deadlock.
fn server(work: impl FnOnce() + Send + 'static) {
    let server = Node::new("S1");
    server.spawn("heartbeat", || {
        loop {
            thread::sleep(100 * MS);
        }
    });
    server.spawn("worker", work);
    thread::sleep(60 * SECOND);
}

fn panics() {
    server(|| panic!("there is no such candidate"));
}

fn deadlock() {
    let (_tx, rx) = unbounded::<u8>();
    let reader = thread::spawn("reader", move || rx.recv());
    let _ = reader.join();
}

fn locked_again() {
    let number = Mutex::new(0);
    let guard = number.lock();
    *number.lock() += *guard;
}

fn lock_held() {
    let number = Mutex::new(0);
    let _guard = number.lock();
    thread::sleep(MS);
}

fn leaked_lock() {
    server(|| {
        let number = Arc::new(Mutex::new(0));
        std::mem::forget(number.lock());
        let theirs = Arc::clone(&number);
        let _ = thread::spawn("adder", move || *theirs.lock() += 1).join();
    });
}

fn lost_wake_up() {
    server(|| {
        let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let theirs = Arc::clone(&queue);
        thread::spawn("producer", move || {
            thread::sleep(SECOND);
            theirs.0.lock().push(7); // And nobody is told.
        });
        let (items, grown) = &*queue;
        grown.wait_while(&mut items.lock(), |items| items.is_empty());
    });
}

fn busy_loop() {
    server(|| {
        let (_tx, rx) = unbounded::<u8>();
        while rx.try_recv().is_err() {
            thread::yield_now();
        }
    });
}

fn time_limit() {
    server(|| thread::sleep(SECOND));
    thread::sleep(3600 * SECOND);
}

fn step_limit() {
    loop {
        thread::sleep(MS); // Idle for a moment: no busy loop, and no end.
    }
}

fn channel_limit() {
    let (tx, _rx) = unbounded();
    while tx.send(0).is_ok() {}
}

fn raised() {
    server(|| fail("two leaders in term 3", ()));
}

fn two_panics() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("and a consequence");
        }
    }
    let _bomb = Bomb;
    panic!("the cause");
}

fn abort() {
    std::process::abort();
}

fn stack_overflow() {
    fn depth(of: u64) -> u64 {
        if of == u64::MAX { 0 } else { 1 + std::hint::black_box(depth(of + 1)) }
    }
    server(|| {
        depth(0);
    });
}

fn std_lock() {
    let number = std::sync::Mutex::new(0);
    let _first = number.lock();
    let _second = number.lock();
}

fn std_sleep() {
    server(|| {
        std::thread::sleep(MS);
        thread::sleep(MS);
    });
}

fn std_thread() {
    let _ = std::thread::spawn(|| ()).join();
}

fn no_calls() {
    loop {
        std::hint::spin_loop();
    }
}

fn process_exit() {
    std::process::exit(3);
}

fn transfer(from: &Mutex<u32>, to: &Mutex<u32>) {
    let mut from = from.lock();
    *to.lock() += 1;
    *from -= 1;
}

fn lock_order() {
    let accounts = Arc::new([Mutex::new(10), Mutex::new(10)]);
    let theirs = Arc::clone(&accounts);
    let back = Node::new("bank").spawn("back", move || {
        thread::sleep(MS); // They never meet.
        transfer(&theirs[1], &theirs[0]);
    });
    transfer(&accounts[0], &accounts[1]);
    let _ = back.join();
}

/// Runs one of them, and prints what came of it.
fn run(name: &str, program: fn()) {
    // Lower than usual, to be reached sooner.
    let limits = Config { busy_limit: 50_000, step_limit: 100_000, channel_limit: 1000, ..Config::seed(1) };
    let limits = Config { lock_order: true, ..limits };
    let outcome = simulate(limits, program);
    let left = if outcome.abandoned { "; its OS thread is left behind" } else { "" };
    println!("{name}: {} steps{left}", outcome.steps);
    match outcome.result {
        Ok(()) => println!("green"),
        Err(failure) => {
            println!("{failure:?}");
            for stack in failure.stacks {
                print!("stack of {}:\n{}", stack.thread, stack.stack);
            }
        }
    }
    println!();
    if outcome.fatal {
        labsim::exit(0); // A simulated thread ends the process: say with which code.
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| PROGRAMS.iter().any(|(known, _)| known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names = PROGRAMS.map(|(name, _)| name).join(" ");
        eprintln!("failures: there is no `{unknown}`\nusage: failures [NAME..]    NAME: {names}");
        return ExitCode::from(2);
    }
    for (name, program) in PROGRAMS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run(name, program);
        }
    }
    ExitCode::SUCCESS
}
