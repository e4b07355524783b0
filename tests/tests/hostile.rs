//! Bad programs, and the supervisor that survives them.
//!
//! The programs are those of the `hostile` executable, which says itself how each
//! one must be reported. Each is run between two innocent ones, in one worker.
//!
//! Boundary: the command from outside, by processes, lines and exit codes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What each of them may take, the innocent ones included.
const WALL_MAX: Duration = Duration::from_secs(10);

/// A limit lower than a student's, to spare the machine.
const MEMORY: [&str; 2] = ["--limit-memory-mib", "64"];
/// Another, for programs that stand still: others may be slow on a busy machine.
const WALL: [&str; 2] = ["--limit-wall-ms", "1500"];

/// The innocent ones have parts of their own, the first and the last.
const INNOCENT: [&str; 2] = ["innocent_first", "innocent_last"];

/// The command, in a folder that looks like a workspace, and is nobody else's.
fn hostile(arguments: &[&str]) -> Command {
    let test = std::thread::current().name().expect("libtest names its threads").replace("::", "-");
    let root: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile").join(test);
    for package in ["raft", "tests"] {
        fs::create_dir_all(root.join(package)).expect("the folder can be made");
        fs::write(root.join(package).join("Cargo.toml"), "").expect("the file can be written");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile"));
    command.args(arguments).current_dir(root).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    hostile(&[&["run"], words, &MEMORY].concat()).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

/// How each program must be reported: its exit code, and a part of a line.
fn expected() -> BTreeMap<String, (i32, String)> {
    let listed = text(&hostile(&["expected"]).output().expect("the command starts").stdout);
    let read = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("each line is JSON");
        let string = |field: &str| row[field].as_str().expect("a string").to_owned();
        let exit_code = row["exit_code"].as_i64().expect("a number");
        (string("test"), (i32::try_from(exit_code).expect("a small one"), string("says")))
    };
    listed.lines().map(read).collect()
}

/// The row of the card says that the only run of a test passed.
fn has_passed(card: &str, test: &str) -> bool {
    card.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(&[test, "1.0/1", "1/1"]))
}

/// The line that says what broke: the second one of the report.
fn what_broke(report: &str, test: &str) -> String {
    let mut lines = report.lines();
    lines.find(|line| line.starts_with(&format!("FAILED {test}:")));
    lines.next().unwrap_or_default().to_owned()
}

fn survives(program: &str) {
    let (exit_code, says) = expected().remove(program).expect("the program is in the registry");
    let begun = Instant::now();
    let wall_limit = if program.ends_with("_standstills") { &WALL[..] } else { &[][..] };
    let output = run(&[&[INNOCENT[0], program, INNOCENT[1], "--seeds", "2", "--jobs", "1"], wall_limit].concat());
    let wall = begun.elapsed();
    let printed = text(&output.stdout);

    assert!(wall < WALL_MAX, "it took {wall:?}");
    assert_eq!(output.status.code(), Some(exit_code), "{printed}");
    let passed = |test: &str| {
        printed.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(&[test, "1.0/1", "2/2"]))
    };
    for test in INNOCENT {
        assert!(passed(test), "{test} has suffered:\n{printed}");
    }
    assert_eq!(passed(program), exit_code == 0, "{printed}");
    if exit_code != 0 {
        let line = what_broke(&printed, program);
        assert!(line.contains(&says), "expected `{says}`:\n{printed}");
        assert!(printed.contains("2 of 2 seeds failed"), "{printed}");
    }
    let report_lines = printed.lines().take_while(|line| !line.starts_with("test  ")).count();
    assert!(report_lines <= 41, "a report of {report_lines} lines");
}

macro_rules! programs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                survives(stringify!($name));
            }
        )*

        /// A program that is missing here would never be run.
        #[test]
        fn every_program_is_here() {
            let here = [$(stringify!($name)),*];
            let registry = expected();
            let missing: Vec<_> = registry.keys().filter(|name| !here.contains(&name.as_str())).collect();
            assert_eq!(missing, INNOCENT);
        }
    };
}

programs! {
    exit_endings
    exit_0_endings
    now_and_then_endings
    abort_endings
    overflow_endings
    panic_endings
    panic_in_drop_endings
    deadlock_endings
    spin_standstills
    std_lock_standstills
    stdin_standstills
    memory_floods
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
}

#[test]
fn all_at_once_cost_each_other_nothing() {
    let parts = ["first", "endings", "floods", "pretenders", "last"];
    let output = run(&[&parts[..], &["--seeds", "1", "--jobs", "3"]].concat());
    let printed = text(&output.stdout);
    let programs = expected().into_iter().filter(|(name, _)| !name.ends_with("_standstills"));
    for (test, (exit_code, says)) in programs {
        assert_eq!(has_passed(&printed, &test), exit_code == 0, "{test}:\n{printed}");
        assert!(exit_code == 0 || what_broke(&printed, &test).contains(&says), "{test}: expected `{says}`\n{printed}");
    }
    assert_eq!(output.status.code(), Some(13), "a panic is the worst of it");
}

#[test]
fn what_waits_behind_a_run_that_dies_is_made_by_another() {
    for jobs in ["1", "2"] {
        let output = run(&["now_and_then", "--seeds", "80", "--jobs", jobs, "--json"]);
        let printed = text(&output.stdout);
        let lines: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        for (seed, line) in lines[..80].iter().enumerate() {
            let verdict = if seed % 8 < 2 { "fail" } else { "pass" };
            assert_eq!((&line["seed"], &line["verdict"]), (&seed.to_string().into(), &verdict.into()), "{line}");
        }
        assert_eq!((&lines[80]["passed"], &lines[80]["failed"]), (&60.into(), &20.into()));
    }
}

#[test]
fn what_a_red_run_prints_is_in_its_report_and_nowhere_else() {
    let output = run(&["innocent_first", "exit_endings", "stderr_floods", "--seeds", "1", "--jobs", "1"]);
    let (printed, announced) = (text(&output.stdout), text(&output.stderr));
    assert!(printed.contains("  it printed a line:\n  | so long\n"), "{printed}");
    assert!(printed.contains("  | line 0 of very many\n"), "{printed}");
    assert!(!printed.contains("nobody needs to read this"), "{printed}");
    assert!(announced.lines().all(|line| line.starts_with("run ")), "{announced}");
}

#[test]
fn a_single_run_prints_as_it_comes() {
    let output = run(&["exit_endings", "--seed", "3"]);
    assert_eq!(text(&output.stderr), "run exit_endings --seed 3\nso long\n");
    assert!(!text(&output.stdout).contains("so long"), "{}", text(&output.stdout));

    let flood = run(&["stdout_floods", "--seed", "3"]);
    assert_eq!(flood.status.code(), Some(17));
    let shown = flood.stderr.len();
    assert!((3 << 20..5 << 20).contains(&shown), "{shown} bytes were shown");
}

#[test]
fn a_debugger_gets_the_code_in_this_very_process() {
    let output = run(&["innocent_first", "exit_endings", "innocent_last", "--seeds", "1", "--jobs", "1", "--debug"]);
    assert_eq!(output.status.code(), Some(3), "the whole command ended");
    assert!(text(&output.stdout).ends_with("so long\n"), "{}", text(&output.stdout));
}

#[test]
fn workers_that_cannot_start_are_the_machines_fault() {
    let begun = Instant::now();
    let mut command = hostile(&["run", "innocent", "--seeds", "100", "--jobs", "2"]);
    let output = command.env("HOSTILE_WORKERS_DIE", "1").output().expect("the command starts");
    assert!(begun.elapsed() < WALL_MAX, "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(70));
    let error = text(&output.stderr);
    for part in ["died before they began a run", "code 9", "does not even start", "200 runs were not made"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// A record goes on where it was, also past the runs that died.
#[test]
fn what_died_is_recorded_and_can_be_run_again() {
    let output = run(&["innocent_first", "exit_endings", "--seeds", "2", "--json"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let verdicts: Vec<_> = lines.iter().map(|line| (line["test"].as_str(), line["verdict"].as_str())).collect();
    let (green, red) = ((Some("innocent_first"), Some("pass")), (Some("exit_endings"), Some("fail")));
    assert_eq!(verdicts, [green, green, red, red, (None, None)]);
    assert_eq!((&lines[2]["kind"], &lines[2]["rule"]), (&"panic".into(), &"OutsideWorld".into()));
    assert_eq!((&lines[4]["passed"], &lines[4]["failed"]), (&2.into(), &2.into()));

    let again = run(&["--failed", "--json"]);
    assert_eq!(text(&again.stdout).lines().count(), 3, "{}", text(&again.stdout));
}

#[cfg(target_os = "linux")]
mod orphans {
    use super::*;

    /// Every process that is alive, with its parent.
    fn processes() -> Vec<(u32, u32)> {
        let entries = fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
        let read = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
            let state = after_name.next()?;
            let parent = after_name.next()?.parse().ok()?;
            (state != "Z").then_some((pid, parent)) // A zombie burns nothing.
        };
        entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(begun.elapsed() < WALL_MAX, "not seen: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts two workers on `program`, kills their supervisor by `signal`, and
    /// waits for them to be gone.
    fn dies_with_its_supervisor(program: &str, signal: &str) {
        let mut command = hostile(&["run", program, "--seeds", "2", "--jobs", "2"]);
        let mut supervisor = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut announced = std::io::BufReader::new(supervisor.stderr.take().expect("it was asked for"));
        for _ in 0..2 {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut announced, &mut line).expect("it announces two runs");
            assert!(line.starts_with("run "), "{line}");
        }
        let of_supervisor = |(_, parent): &(u32, u32)| *parent == supervisor.id();
        let workers: Vec<u32> = processes().into_iter().filter(of_supervisor).map(|(pid, _)| pid).collect();
        assert_eq!(workers.len(), 2);

        let kill = Command::new("kill").args([signal, &supervisor.id().to_string()]).status();
        assert!(kill.expect("there is a kill command").success());
        supervisor.wait().expect("it ends");
        eventually("the workers end", || {
            let alive = processes();
            workers.iter().all(|worker| alive.iter().all(|(pid, _)| pid != worker)).then_some(())
        });
    }

    #[test]
    fn a_worker_in_a_loop_dies_with_its_supervisor() {
        dies_with_its_supervisor("spin_standstills", "-KILL");
    }

    #[test]
    fn a_worker_that_waits_dies_with_its_supervisor() {
        dies_with_its_supervisor("std_lock_standstills", "-KILL");
    }

    #[test]
    fn an_interrupt_ends_the_workers_too() {
        dies_with_its_supervisor("spin_standstills", "-INT");
    }
}
