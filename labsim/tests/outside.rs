//! Programs that go past labsim: to std, to the machine, or nowhere at all.
//!
//! Each gets a report that names the thread and the place, and the process goes
//! on: these tests share one, and run at the same time.
//!
//! Boundary: one program a test. What ends the process for good is tested through
//! the `lab` command.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use labsim::node::Node;
use labsim::{Config, Failure, FailureKind, Outcome, simulate, thread};

labsim::interpose!();

const ON_LINUX: bool = cfg!(all(target_os = "linux", target_env = "gnu"));

/// Short enough for a test, and long enough that a busy machine raises no alarm:
/// it is the thread's own CPU time that counts.
fn impatient(seed: u64) -> Config {
    Config { stall_limit: Duration::from_millis(300), ..Config::seed(seed) }
}

fn failure<T: std::fmt::Debug>(outcome: Outcome<T>) -> Failure {
    assert!(outcome.abandoned, "{:?}", outcome.result);
    outcome.result.expect_err("the program is a bad one")
}

/// Checks kind, words, thread and node, and that the place is in this file.
fn assert_names(failure: &Failure, kind: FailureKind, part: &str) {
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.message.contains(part), "{failure}");
    assert!(failure.message.contains("`culprit`"), "{failure}");
    assert_eq!((failure.thread.as_str(), failure.node.as_deref()), ("culprit", Some("S1")), "{failure}");
    let place = failure.place.as_deref().unwrap_or("nowhere");
    assert!(place.contains("tests/outside.rs"), "{place}: {failure}");
}

/// Runs `deed` on a node's thread, beside one that sleeps.
fn run(config: Config, deed: impl FnOnce() + Send + 'static) -> Outcome<()> {
    simulate(config, move || {
        let node = Node::new("S1");
        node.spawn("bystander", || thread::sleep(Duration::from_secs(1)));
        node.spawn("culprit", move || {
            thread::sleep(Duration::from_millis(1));
            deed();
        })
        .join()
        .unwrap();
    })
}

#[inline(never)]
#[expect(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    1 + recurse(depth + 1) + frame[(depth % 32) as usize]
}

#[test]
fn a_stack_overflow_is_named_and_survived() {
    let deed = || {
        std::hint::black_box(recurse(0));
    };
    for seed in 0..3 {
        let failure = failure(run(Config::seed(seed), deed));
        assert_names(&failure, FailureKind::StackOverflow, "overflowed its stack");
        assert!(failure.backtrace.as_deref().is_some_and(|stack| stack.contains("recurse")), "{:?}", failure.backtrace);
    }
}

#[test]
fn an_abort_is_named_and_survived() {
    let failure = failure(run(Config::seed(1), || std::process::abort()));
    assert_names(&failure, FailureKind::Panic, "aborted the program");
}

/// Spins when it is dropped, with or without calls into labsim.
struct SpinsInDrop(bool);
impl Drop for SpinsInDrop {
    fn drop(&mut self) {
        loop {
            if self.0 {
                thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

/// Which of std's is waited for, and what to use in its place.
#[test]
fn waits_for_std_are_told_apart() {
    let deeds: [(fn(), &str); 3] = [
        (receives_for_ever, "a std::sync::mpsc channel; use labsim::channel"),
        (meets_nobody, "a std::sync::Barrier; use labsim::sync::Barrier"),
        (begins_again, "OnceLock or LazyLock; use labsim::sync::OnceLock"),
    ];
    for (deed, part) in deeds {
        assert_names(&failure(run(impatient(1), deed)), FailureKind::OutsideWorld, part);
    }
}

fn receives_for_ever() {
    let (_tx, rx) = std::sync::mpsc::channel::<()>();
    let _ = rx.recv();
}

fn meets_nobody() {
    std::sync::Barrier::new(2).wait();
}

fn begins_again() {
    static TWICE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| *TWICE + 1);
    println!("{}", *TWICE);
}

/// The thread is dead, and the report still names it.
#[test]
fn a_destructor_that_spins_while_its_thread_is_crashed_is_named() {
    for (calls, kind, part) in [
        (true, FailureKind::Panic, "spins in a destructor, while it is unwound"),
        (false, FailureKind::BusyLoop, "runs without a call into labsim"),
    ] {
        let outcome = simulate(impatient(1), move || {
            let node = Node::new("S1");
            node.spawn("culprit", move || {
                let _spins = SpinsInDrop(calls);
                thread::sleep(Duration::from_secs(1));
            });
            thread::sleep(Duration::from_millis(1));
            node.crash();
        });
        assert_names(&failure(outcome), kind, part);
    }
}

struct PanicsInDrop;
impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_panic_in_a_destructor_of_a_dying_thread_is_named_and_survived() {
    let outcome = simulate(Config::seed(1), || {
        let node = Node::new("S1");
        node.spawn("culprit", || {
            let _panics = PanicsInDrop;
            thread::sleep(Duration::from_secs(1));
        });
        thread::sleep(Duration::from_millis(1));
        node.crash();
    });
    let failure = failure(outcome);
    assert_eq!(failure.kind, FailureKind::Panic, "{failure}");
    assert!(failure.message.contains("in a destructor"), "{failure}");
    // The test runner does this when it ends: it must not wait for ever.
    let hook = std::panic::take_hook();
    std::panic::set_hook(hook);
}

#[test]
fn a_panic_during_a_panic_is_the_first_one() {
    let failure = failure(run(Config::seed(1), || {
        let _panics = PanicsInDrop;
        panic!("the cause");
    }));
    assert!(failure.message.contains("the cause"), "{failure}");
}

#[test]
fn a_panic_that_a_destructor_catches_is_no_abort() {
    struct Catches;
    impl Drop for Catches {
        fn drop(&mut self) {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
        }
    }
    let outcome = run(Config::seed(1), || {
        let _catches = Catches;
        panic!("the cause");
    });
    assert!(!outcome.abandoned);
    assert!(outcome.result.unwrap_err().message.contains("the cause"));
}

#[test]
fn a_loop_without_a_call_is_named() {
    let deed = || {
        let mut number = 1u64;
        while std::hint::black_box(number) != 0 {
            number = number.wrapping_mul(3);
        }
    };
    assert_names(&failure(run(impatient(1), deed)), FailureKind::BusyLoop, "without a call into labsim");
}

#[test]
fn a_contended_std_mutex_is_named() {
    let lock = Arc::new(std::sync::Mutex::new(()));
    let deed = move || {
        let theirs = Arc::clone(&lock);
        Node::current().unwrap().spawn("holder", move || {
            let _guard = theirs.lock().unwrap();
            thread::sleep(Duration::from_secs(1));
        });
        thread::sleep(Duration::from_millis(1));
        drop(lock.lock());
    };
    assert_names(&failure(run(impatient(1), deed)), FailureKind::OutsideWorld, "a std::sync::Mutex");
}

#[test]
fn blocking_input_is_named() {
    let deed = || {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut reader = reader;
        let _ = std::io::Read::read(&mut reader, &mut [0; 1]);
    };
    assert_names(&failure(run(impatient(1), deed)), FailureKind::OutsideWorld, "the machine, in ");
}

#[test]
fn a_std_channel_is_named() {
    let deed = || {
        let (_tx, rx) = std::sync::mpsc::channel::<()>();
        let _ = rx.recv();
    };
    assert_names(&failure(run(impatient(1), deed)), FailureKind::OutsideWorld, "mpsc");
}

#[test]
fn std_sleep_is_named_at_once() {
    if ON_LINUX {
        let failure = failure(run(Config::seed(1), || std::thread::sleep(Duration::from_secs(3600))));
        assert_names(&failure, FailureKind::OutsideWorld, "use labsim::thread::sleep");
    }
}

#[test]
fn std_spawn_is_named_at_once() {
    if ON_LINUX {
        let failure = failure(run(Config::seed(1), || drop(std::thread::spawn(|| ()))));
        assert_names(&failure, FailureKind::OutsideWorld, "use labsim::thread::spawn");
    }
}

#[test]
fn growth_between_steps_is_stopped_and_freed() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let outcome = simulate(Config { memory_limit: 200 << 20, ..Config::seed(1) }, || {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![1u8; 1 << 20]);
            thread::yield_now();
        }
    });
    assert!(!outcome.abandoned);
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Memory, "{failure}");
    assert!(failure.message.contains("MiB of memory"), "{failure}");
}

/// What a careless program decides things by.
fn careless() -> (Vec<u32>, u64, Duration, u64) {
    use rand::Rng;
    let set: HashSet<u32> = (0..50).collect();
    let begun = std::time::Instant::now();
    let drawn = rand::rng().next_u64();
    thread::sleep(Duration::from_millis(drawn % 20));
    let date = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(drawn % 20), "std's clock is the simulation's");
    assert!(date.as_secs() / 3600 == 1_704_067_200 / 3600, "it is the first hour of 2024");
    (set.into_iter().collect(), drawn, begun.elapsed(), RandomState::new().hash_one(7))
}

#[test]
fn chance_and_clocks_of_std_obey_the_seed() {
    if !ON_LINUX {
        return;
    }
    let run = |seed| {
        simulate(Config::seed(seed), || {
            let other = thread::spawn("other", careless);
            (careless(), other.join().unwrap())
        })
    };
    let mut seen = HashMap::new();
    for seed in 0..50 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        let value = first.result.unwrap();
        assert_eq!(value, second.result.unwrap(), "seed {seed}");
        assert_ne!(value.0.1, value.1.1, "the stream goes on");
        assert!(seen.insert(value.0.1, seed).is_none(), "seed {seed} draws what another one drew");
    }
}

#[test]
fn a_loop_on_the_clock_of_std_ends() {
    if !ON_LINUX {
        return;
    }
    let outcome = simulate(Config::seed(1), || {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {}
    });
    outcome.result.unwrap();
    assert!(outcome.elapsed >= Duration::from_millis(50));
}

#[test]
fn outside_of_simulations_std_is_itself() {
    let begun = std::time::Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(begun.elapsed() >= Duration::from_millis(2));
    std::thread::spawn(|| ()).join().unwrap();
    let date = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(date.as_secs() > 1_750_000_000, "{date:?}");
    assert_ne!(RandomState::new().hash_one(7), RandomState::new().hash_one(7));
}

/// Names the test whose story a process plays, if it was started for that.
const ALONE: &str = "LABSIM_ALONE";

/// The code of such a process that has come to the end of its story.
const PASSED: i32 = 42;

/// Plays a test's story in a process of its own: one that does not live long.
fn alone(test: &str, story: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        let ended = catch_unwind(AssertUnwindSafe(story));
        labsim::exit(if ended.is_ok() { PASSED } else { 1 });
    }
    let this = std::env::current_exe().expect("a test knows its own file");
    let inner = Command::new(this).args([test, "--exact", "--nocapture"]).env(ALONE, test).output();
    let inner = inner.expect("a test can be started again");
    let said = [inner.stdout, inner.stderr].concat();
    assert_eq!(inner.status.code(), Some(PASSED), "{}", String::from_utf8_lossy(&said));
}

/// Nobody calls `labsim::exit`: after some seconds the process ends as it wanted.
#[test]
fn a_process_whose_end_nobody_makes_ends_by_itself() {
    const TEST: &str = "a_process_whose_end_nobody_makes_ends_by_itself";
    if std::env::var_os(ALONE).is_some_and(|name| name == TEST) {
        assert!(run(Config::seed(1), || std::process::exit(3)).fatal);
        std::thread::sleep(Duration::from_secs(3600));
    }
    if ON_LINUX {
        let this = std::env::current_exe().expect("a test knows its own file");
        let inner = Command::new(this).args([TEST, "--exact"]).env(ALONE, TEST).output();
        assert_eq!(inner.expect("a test can be started again").status.code(), Some(3));
    }
}

/// However slow the machine is: the limit on memory is far away.
#[test]
fn a_loop_that_takes_memory_is_named_as_one_and_is_fatal() {
    if !cfg!(target_os = "linux") {
        return;
    }
    alone("a_loop_that_takes_memory_is_named_as_one_and_is_fatal", || {
        let program = || {
            let (mut kept, mut number) = (Vec::new(), 0_usize);
            while std::hint::black_box(true) {
                number += 1;
                // So that it is little when the test is over.
                if number.is_multiple_of(10_000) && kept.len() < 400 {
                    kept.push(vec![1_u8; 1 << 20]);
                }
            }
        };
        let outcome = run(Config { memory_limit: 1 << 60, ..impatient(1) }, program);
        assert!(outcome.fatal, "it takes more and more");
        let failure = failure(outcome);
        assert_names(&failure, FailureKind::Memory, "takes more and more memory, ");
        assert!(failure.message.contains("in a loop without a call into labsim"), "{failure}");
    });
}

/// What it keeps is the test runner's: the loop is what is wrong.
#[test]
fn a_loop_that_spins_is_none_that_takes_memory() {
    let outcome = run(impatient(1), || {
        let _little = vec![1_u8; 1 << 20];
        while std::hint::black_box(true) {}
    });
    assert!(!outcome.fatal, "it only spins");
    assert_eq!(failure(outcome).kind, FailureKind::BusyLoop);
}

/// Works for about a millisecond before each step, in one line.
fn plods(work: u64) {
    loop {
        (0..work).for_each(|number| _ = std::hint::black_box(number));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Few looks, so that one that is late does not matter.
fn in_a_hurry(seed: u64) -> Config {
    Config { cpu_limit: Duration::from_secs(1), ..Config::seed(seed) }
}

#[test]
fn steps_that_are_too_slow_are_named_and_the_run_ends_in_order() {
    let config = Config { stacks: true, ..in_a_hurry(1) };
    let outcome = run(config, || plods(500_000));
    assert!(!outcome.abandoned && !outcome.fatal, "it takes steps");
    assert!(outcome.cpu >= Duration::from_millis(900), "{:?}", outcome.cpu);
    let failure = outcome.result.unwrap_err();
    assert!(failure.message.contains(" and has got to "), "{failure}");
    assert!(!failure.stacks.is_empty(), "whoever is left shows its stack");
    assert!(failure.message.ends_with("its steps are too slow"), "{failure}");
    if cfg!(target_os = "linux") {
        assert_names(&failure, FailureKind::CpuLimit, " s of CPU time");
        assert!(failure.message.contains(" looks found thread `culprit` at labsim/tests/outside.rs:"), "{failure}");
    }
}

#[test]
fn a_step_that_is_too_slow_is_given_up() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let patient = Config { stall_limit: Duration::from_secs(3600), ..in_a_hurry(1) };
    let failure = failure(run(patient, || while std::hint::black_box(true) {}));
    assert_names(&failure, FailureKind::CpuLimit, "its steps are too slow");
}

#[test]
fn destructors_that_are_too_slow_are_given_up() {
    struct Plods;
    impl Drop for Plods {
        fn drop(&mut self) {
            // Less than the calls that a destructor may make.
            for _ in 0..40_000 {
                (0..5_000_000).for_each(|number: u64| _ = std::hint::black_box(number));
                drop(labsim::sync::Mutex::new(()).lock());
            }
        }
    }
    // It cannot obey there; and it may have obeyed before.
    let dies = failure(run(in_a_hurry(1), || {
        let _plods = Plods;
        panic!("the cause");
    }));
    assert!(dies.message.contains("the cause"), "{dies}");
    let outcome = run(in_a_hurry(1), || {
        let _plods = Plods;
        plods(500_000);
    });
    assert!(outcome.cpu < Duration::from_secs(10), "{:?}", outcome.cpu);
    let obeys = failure(outcome);
    assert_eq!(obeys.kind, FailureKind::CpuLimit, "{obeys}");
}

/// Each wait is short enough for the stall limit, and each is followed by a step.
#[test]
fn waits_for_the_machine_again_and_again_are_named() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let outcome = run(in_a_hurry(1), || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("it can wait");
        loop {
            let _ = socket.recv(&mut [0]);
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(!outcome.abandoned && outcome.cpu < Duration::from_millis(500), "{:?}", outcome.cpu);
    let failure = outcome.result.unwrap_err();
    assert_names(&failure, FailureKind::CpuLimit, "it waits for the machine again and again");
    assert!(failure.message.contains("most of it asleep, and has got to "), "{failure}");
    assert!(failure.message.contains(" looks found thread `culprit` at labsim/tests/outside.rs:"), "{failure}");
}

/// The run is over, and its OS thread is not.
#[test]
fn a_thread_local_whose_destructor_does_not_end_is_named() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            std::thread::park_timeout(Duration::from_secs(3600));
        }
    }
    thread_local! {
        static WAITS: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
    }
    let hurry = || Config { stall_limit: Duration::from_millis(500), ..Config::seed(1) };
    let outcome = simulate(hurry(), || WAITS.with(|waits| *waits.borrow_mut() = Some(Waits)));
    assert!(outcome.abandoned);
    let named = outcome.result.unwrap_err();
    assert_eq!(named.kind, FailureKind::Stuck, "{named}");
    assert!(named.message.contains("a thread-local value"), "{named}");
    // What broke before is what is told.
    let broken = simulate(hurry(), || {
        WAITS.with(|waits| *waits.borrow_mut() = Some(Waits));
        panic!("the cause");
    });
    assert!(broken.abandoned && broken.result.unwrap_err().message.contains("the cause"));
}

/// It is asked where it is already, and goes on.
#[test]
fn a_run_within_its_cpu_time_is_none_that_is_too_slow() {
    let outcome = run(Config { cpu_limit: Duration::from_secs(2), ..Config::seed(1) }, || {
        let used = cpu_time::ThreadTime::now();
        while used.elapsed() < Duration::from_millis(1700) {
            (0..500_000).for_each(|number: u64| _ = std::hint::black_box(number));
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert!(outcome.cpu > Duration::from_millis(1650), "{:?}", outcome.cpu);
}

/// The processor itself says that something is wrong, and where.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod faults {
    use super::*;

    fn is_named(test: &str, says: &str, deed: fn()) {
        if !cfg!(target_os = "linux") {
            return;
        }
        alone(test, || {
            let outcome = run(Config::seed(1), deed);
            assert!(outcome.fatal, "who knows what else was written to");
            let failure = failure(outcome);
            assert_names(&failure, FailureKind::Panic, says);
            assert!(failure.backtrace.as_deref().is_some_and(|stack| stack.contains("faults")), "{failure}");
        });
    }

    #[test]
    fn memory_that_is_nobodys_is_named() {
        is_named("faults::memory_that_is_nobodys_is_named", "was killed by SIGSEGV", || {
            let nobodys = std::hint::black_box(8_usize) as *mut u8;
            // SAFETY: it is not safe, and must not look so to the compiler.
            unsafe { nobodys.write_volatile(1) };
        });
    }

    /// Not an address at all, which the processor tells in another way.
    #[test]
    fn an_address_that_is_none_is_named() {
        is_named("faults::an_address_that_is_none_is_named", "was killed by SIG", || {
            let nowhere = std::hint::black_box(0x8000_0000_0000_0000_usize) as *mut u8;
            // SAFETY: as above.
            unsafe { nowhere.write_volatile(1) };
        });
    }

    #[test]
    fn an_instruction_that_is_none_is_named() {
        is_named("faults::an_instruction_that_is_none_is_named", "was killed by SIGILL", || {
            println!("what follows is no instruction");
            // SAFETY: as above.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                std::arch::asm!("ud2");
                #[cfg(target_arch = "aarch64")]
                std::arch::asm!("udf #0");
            }
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_division_by_zero_is_named() {
        is_named("faults::a_division_by_zero_is_named", "was killed by SIGFPE", || {
            // SAFETY: as above.
            unsafe { std::arch::asm!("idiv {0:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) };
        });
    }

    /// A thread that is nobody's simulation is none of our business.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_fault_of_another_os_thread_ends_the_process() {
        const TEST: &str = "faults::a_fault_of_another_os_thread_ends_the_process";
        if std::env::var_os(ALONE).is_some_and(|name| name == TEST) {
            simulate(Config::seed(1), || ()).result.unwrap();
            let nobodys = std::hint::black_box(8_usize) as *mut u8;
            // SAFETY: as above.
            unsafe { nobodys.write_volatile(1) };
        }
        let this = std::env::current_exe().expect("a test knows its own file");
        let inner = Command::new(this).args([TEST, "--exact"]).env(ALONE, TEST).output();
        let status = inner.expect("a test can be started again").status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(11), "{status:?}");
    }
}
