//! Bad programs as `#[test]`s: what becomes of a process of `cargo test`.
//!
//! There is a test for each program of the `hostile` executable. It does nothing
//! unless [`ASKED`] is set, and then it is that program, run as a lab test is.
//! The tests at the end start this very executable again with the variable set:
//! once for all programs that their process survives, as a student's tests share
//! one, and once for each of the others.
//!
//! Boundary: the test runner from outside, by what it prints and its exit code.
//! The same through `lab run`, with its limits, is in `hostile.rs`.

#[path = "../src/bin/hostile/programs/mod.rs"]
mod programs;

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use self::programs::{Needs, Program, UnderCargo};

/// Set, a test is the program of its name.
const ASKED: &str = "HOSTILE_UNDER_CARGO";

/// The code of a process of libtest in which something failed.
const FAILED: i32 = 101;

/// A process with one program that takes this long has hung, and one with all of
/// them after this. It is CPU time that the watchdog counts: a busy machine needs
/// more of the other.
const WALL_MAX: Duration = Duration::from_secs(90);
const ALL_WALL_MAX: Duration = Duration::from_secs(240);
/// And what those may take that use up all of their CPU time.
const SLOW_WALL_MAX: Duration = Duration::from_secs(600);

/// A program that prints without end may print so much until it is found out.
const SHOWN_BYTES_MAX: usize = 16 << 20;

fn program(name: &str) -> &'static Program {
    programs::all().find(|program| program.test.name == name).expect("the program is in the registry")
}

/// The body of each of the tests that are programs.
fn play(name: &str) {
    if std::env::var_os(ASKED).is_some() {
        tests::run::cargo_test_of(&program(name).test);
    }
}

macro_rules! programs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )*

        /// A program that is missing here would never be run.
        #[test]
        fn every_program_is_here() {
            let here = [$(stringify!($name)),*];
            let registry: Vec<_> = programs::all().map(|program| program.test.name).collect();
            assert_eq!(here[..], registry);
            assert!(programs::all().all(|program| programs::PARTS.contains(&program.test.part)));
        }
    };
}

programs! {
    innocent_first
    thread_panics
    handler_panics
    drop_panics
    crash_panics
    twice_panics
    catches_panics
    knot_panics
    exit_endings
    exit_0_endings
    now_and_then_endings
    abort_endings
    midway_endings
    allocating_endings
    fault_endings
    another_endings
    another_0_endings
    killed_endings
    sent_fault_endings
    terminated_endings
    opposite_order_locks
    opposite_order_timer_locks
    twice_locks
    leaked_locks
    lost_wake_up_locks
    across_call_locks
    across_sleep_locks
    across_receive_locks
    yield_loops
    lock_loops
    atomic_loops
    bare_loops
    holding_loops
    hook_loops
    everywhere_loops
    slow_loops
    sleep_outside
    spawn_outside
    mutex_outside
    stdin_outside
    pipe_outside
    accept_outside
    recursion_floods
    threads_floods
    channel_floods
    memory_floods
    memory_calls_floods
    memory_killed_floods
    allocation_floods
    stdout_floods
    stderr_floods
    one_line_floods
    brief_floods
    protocol_pretenders
    half_lines_pretenders
    no_stdout_pretenders
    locked_stdout_pretenders
    forger_pretenders
    disk_write_harmless
    scope_harmless
    send_to_dead_harmless
    call_to_dead_harmless
    static_dice
    once_dice
    process_dice
    address_dice
    ending_dice
    panicking_dice
    wordy_dice
    single_dice
    thread_local_dice
    hash_map_dice
    rng_dice
    instant_dice
    innocent_last
}

/// What a process has left behind.
struct Ended {
    status: ExitStatus,
    /// Standard output, where libtest prints.
    printed: String,
    /// Standard error, where runs are announced.
    announced: String,
}

/// Runs the tests of some programs in one process, as cargo would. It is killed
/// if that takes longer than `wall_max`.
fn run(names: &[&str], wall_max: Duration) -> Ended {
    let begun = Instant::now();
    let mut command = Command::new(std::env::current_exe().expect("a process has a program"));
    command.args(names).arg("--exact").env(ASKED, "1").env("LAB_SEEDS", "1").env("RUST_BACKTRACE", "0");
    // A terminal at which nobody types: the pipe stays open.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env_remove("LAB_SEED").spawn().expect("the process starts");
    let stdout = read_in_background(child.stdout.take().expect("it was asked for"));
    let stderr = read_in_background(child.stderr.take().expect("it was asked for"));
    let status = wait(&mut child, begun + wall_max);
    let wall = begun.elapsed();
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().expect("it only reads")).into_owned()
    };
    let (printed, announced) = (text(stdout), text(stderr));
    let Some(status) = status else {
        panic!("no end after {wall:?}:\n{printed}\n{announced}");
    };
    Ended { status, printed, announced }
}

/// Reads all that there is, and keeps what a test may want to see of it.
fn read_in_background(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            let room = SHOWN_BYTES_MAX.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(&bytes[..room]);
        }
        kept
    })
}

/// Waits for the end of a process, or makes it.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// True if libtest says of a test that it went so. The word may stand on
/// another line than the name: what runs announce comes between.
fn is_listed(printed: &str, heading: &str, test: &str) -> bool {
    let after = printed.rsplit(&format!("\n{heading}:\n")).next().unwrap_or_default();
    let names = after.lines().map_while(|line| line.strip_prefix("    "));
    printed.contains(&format!("\n{heading}:\n")) && names.into_iter().any(|name| name == test)
}

/// The lines of the report on a test, without the stack that may follow.
fn report_of(shown: &str, test: &str) -> String {
    let start = format!("FAILED {test}:");
    let lines = shown.lines().skip_while(|line| !line.starts_with(&start));
    lines.take_while(|line| !line.is_empty() && !line.starts_with("stack of ")).collect::<Vec<_>>().join("\n")
}

/// Asserts that `shown` has a report on the program, as the program says itself.
fn assert_reported(program: &Program, shown: &str) {
    let name = program.test.name;
    let report = report_of(shown, name);
    let what_broke = report.lines().nth(1).unwrap_or_default();
    assert!(what_broke.contains(program.says), "{name}: expected `{}`:\n{report}\n\n{shown}", program.says);
    if let Some(thread) = program.thread {
        assert!(report.contains(&format!("`{thread}`")), "{name}: expected `{thread}`:\n{report}");
    }
    if program.has_place {
        // A loop may be caught at an instruction that belongs to no line.
        let place = format!("/{}.rs", program.test.part.name);
        assert!(report.contains(&place), "{name}: expected {place}:\n{report}");
    }
}

/// The programs that end so, and need nothing of a supervisor.
fn those(which: UnderCargo) -> impl Iterator<Item = &'static Program> {
    programs::all().filter(move |program| program.under_cargo == which && program.needs == Needs::Nothing)
}

#[test]
fn a_process_survives_what_it_can_and_its_innocent_tests_pass() {
    let names: Vec<_> = those(UnderCargo::Lives).map(|program| program.test.name).collect();
    let ended = run(&names, ALL_WALL_MAX);
    assert_eq!(ended.status.code(), Some(FAILED), "{}\n{}", ended.printed, ended.announced);
    for program in those(UnderCargo::Lives) {
        let name = program.test.name;
        let is_bad = program.kind.is_some();
        assert_eq!(is_listed(&ended.printed, "failures", name), is_bad, "{name}:\n{}", ended.printed);
        if is_bad {
            assert_reported(program, &ended.printed);
        }
    }
    let bad = those(UnderCargo::Lives).filter(|program| program.kind.is_some()).count();
    let counted = format!("{} passed; {bad} failed; 0 ignored", names.len() - bad);
    assert!(ended.printed.contains(&counted), "{counted}:\n{}", ended.printed);
}

#[test]
fn a_process_survives_what_uses_up_its_cpu_time() {
    let slow = || programs::all().filter(|program| program.needs == Needs::ItsTime);
    let names: Vec<_> = slow().map(|program| program.test.name).collect();
    let ended = run(&[&names[..], &["innocent_last"]].concat(), SLOW_WALL_MAX);
    assert_eq!(ended.status.code(), Some(FAILED), "{}\n{}", ended.printed, ended.announced);
    slow().for_each(|program| assert_reported(program, &ended.printed));
    let counted = format!("1 passed; {} failed; 0 ignored", names.len());
    assert!(ended.printed.contains(&counted), "{counted}:\n{}", ended.printed);
}

/// Such a process reports, and ends with the code of a failure. What it says goes
/// past the capture, since nobody will come to show what was captured.
#[test]
fn a_process_that_must_end_reports_first() {
    for program in those(UnderCargo::Ends) {
        let name = program.test.name;
        let ended = run(&[name], WALL_MAX);
        assert_eq!(ended.status.code(), Some(FAILED), "{name}:\n{}\n{}", ended.printed, ended.announced);
        assert!(ended.announced.contains("it has ended the process"), "{name}:\n{}", ended.announced);
        match program.thread {
            Some(_) => assert_reported(program, &ended.announced),
            None if program.kind.is_none() => {
                assert!(ended.announced.contains("keeps the lock on what tests print to"), "{}", ended.announced);
            }
            // The runner keeps what it prints, so that a flood is one of memory.
            None => assert!(ended.announced.contains("without a call into labsim"), "{name}:\n{}", ended.announced),
        }
    }
}

/// Nobody is left to report: the last line that was printed says which run it
/// was.
#[test]
fn a_process_that_is_gone_has_said_which_run_it_was() {
    for program in those(UnderCargo::Dies) {
        let name = program.test.name;
        let ended = run(&[name], WALL_MAX);
        assert_ne!(ended.status.code(), Some(0), "{name}:\n{}", ended.printed);
        assert!(ended.announced.ends_with(&format!("run {name} --seed 0\n")), "{name}:\n{}", ended.announced);
    }
}

/// It comes to an end, and what it prints is worth nothing to a test runner.
#[test]
fn a_process_that_spoils_its_output_ends() {
    for program in those(UnderCargo::Spoils) {
        let name = program.test.name;
        let ended = run(&[name], WALL_MAX);
        assert!(ended.announced.starts_with(&format!("run {name} --seed 0\n")), "{name}:\n{}", ended.announced);
    }
}
