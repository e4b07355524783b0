//! Bad programs, and the supervisor that survives them.
//!
//! The programs are those of the `hostile` executable, which says itself how each
//! one must be reported. All are run at once, and those that are hard on their
//! process once more, each between two innocent ones, in one worker.
//! `hostile_under_cargo.rs` has the same programs as `#[test]`s.
//!
//! Boundary: the command from outside, by processes, lines and exit codes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A program that takes this long has hung. On a machine that has nothing else to
/// do, none takes ten seconds.
const WALL_MAX: Duration = Duration::from_secs(60);

/// A limit lower than a student's, to spare the machine. A report with a stack
/// takes some of it: the program's debug information.
const MEMORY: [&str; 2] = ["--limit-memory-mib", "1024"];
/// So little that nobody but the supervisor minds.
const LITTLE_MEMORY: [&str; 2] = ["--limit-memory-mib", "64"];
/// Another, for programs that stand still: others may be slow on a busy machine.
/// It is over before the watchdog inside the process loses its patience.
const WALL: [&str; 2] = ["--limit-wall-ms", "1500"];

/// The innocent ones have parts of their own, the first and the last.
const INNOCENT: [&str; 2] = ["innocent_first", "innocent_last"];

/// A folder that looks like a workspace, and is nobody else's.
fn root() -> PathBuf {
    let test = std::thread::current().name().expect("libtest names its threads").replace("::", "-");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile").join(test)
}

/// The command, in that folder.
fn hostile(arguments: &[&str]) -> Command {
    let root = root();
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

/// How a program must be reported.
#[derive(Debug)]
struct Expected {
    test: String,
    exit_code: i32,
    /// A part of the line that says what broke.
    says: String,
    /// The thread that did it, and the file where.
    names: Vec<String>,
    needs: String,
}

/// What the programs say of themselves, in their order.
fn expected() -> Vec<Expected> {
    let listed = text(&hostile(&["expected"]).output().expect("the command starts").stdout);
    let read = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("each line is JSON");
        let string = |field: &str| row[field].as_str().map(str::to_owned);
        let exit_code = row["exit_code"].as_i64().expect("a number");
        Expected {
            test: string("test").expect("a name"),
            exit_code: i32::try_from(exit_code).expect("a small one"),
            says: string("says").expect("words"),
            names: [string("thread").map(|name| format!("`{name}`")), string("place")].into_iter().flatten().collect(),
            needs: string("needs").expect("a word"),
        }
    };
    listed.lines().map(read).collect()
}

/// What the record of the last command holds of each test's only run.
fn wall_times() -> BTreeMap<String, Duration> {
    let record = fs::read_to_string(root().join("target/lab/last.ndjson")).expect("a run leaves a record");
    let read = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("each line is JSON");
        let wall_us = row["wall_us"].as_u64().expect("a number");
        (row["test"].as_str().expect("a name").to_owned(), Duration::from_micros(wall_us))
    };
    record.lines().skip(1).map(read).collect()
}

/// The row of the card says that all `seeds` runs of a test passed.
fn has_passed(card: &str, test: &str, seeds: u32) -> bool {
    let wanted = [test.to_owned(), "1.0/1".to_owned(), format!("{seeds}/{seeds}")];
    card.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(&wanted.each_ref().map(|s| &**s)))
}

/// The lines of the report on a test, without the stack that may follow.
fn report_of<'a>(printed: &'a str, test: &str) -> Vec<&'a str> {
    let start = format!("FAILED {test}:");
    let lines = printed.lines().skip_while(|line| !line.starts_with(&start));
    lines.take_while(|line| !line.is_empty() && !line.starts_with("stack of ")).collect()
}

/// What is wrong with the report on a program, by what it says of itself.
fn complaint(program: &Expected, printed: &str, seeds: u32) -> Option<String> {
    let Expected { test, exit_code, says, names, .. } = program;
    let report = report_of(printed, test);
    let is_red = *exit_code != 0;
    if has_passed(printed, test, seeds) == is_red || report.is_empty() == is_red {
        return Some(format!("{test} should have come to {exit_code}"));
    }
    let what_broke = report.get(1).copied().unwrap_or_default();
    let missing = names.iter().find(|name| !report.iter().any(|line| line.contains(*name)));
    let missing = if what_broke.contains(says) { missing } else { Some(says) };
    let is_long = report.len() > 40;
    missing
        .filter(|_| is_red)
        .map(|missing| format!("{test}: expected `{missing}` in\n{}", report.join("\n")))
        .or_else(|| is_long.then(|| format!("{test}: a report of {} lines", report.len())))
}

/// Asserts that each of them was reported as it says itself.
fn assert_reported<'a>(programs: impl IntoIterator<Item = &'a Expected>, printed: &str, seeds: u32) {
    let complaints: Vec<_> = programs.into_iter().filter_map(|program| complaint(program, printed, seeds)).collect();
    assert!(complaints.is_empty(), "{}\n\nin all:\n{printed}", complaints.join("\n"));
}

/// Runs a program between two innocent ones, which must not notice.
fn survives(program: &str) {
    let program = expected().into_iter().find(|known| known.test == program).expect("the program is in the registry");
    let begun = Instant::now();
    let limits = match &*program.needs {
        "LittleMemory" => LITTLE_MEMORY,
        _ => MEMORY,
    };
    let words = ["run", INNOCENT[0], &program.test, INNOCENT[1], "--seeds", "2", "--jobs", "1"];
    let output = hostile(&[&words[..], &limits].concat()).output().expect("the command starts");
    let wall = begun.elapsed();
    let printed = text(&output.stdout);

    assert!(wall < WALL_MAX, "it took {wall:?}");
    assert_eq!(output.status.code(), Some(program.exit_code), "{printed}");
    assert_reported([&program], &printed, 2);
    for test in INNOCENT {
        assert!(has_passed(&printed, test, 2), "{test} has suffered:\n{printed}");
    }
}

macro_rules! hard_on_their_process {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                survives(stringify!($name));
            }
        )*

        /// A program with a limit of its own that is missing here would never be run.
        #[test]
        fn every_program_with_a_limit_is_here() {
            let here = [$(stringify!($name)),*];
            let with_limit = expected().into_iter().filter(|program| program.needs.starts_with("Little"));
            let missing: Vec<_> = with_limit.filter(|program| !here.contains(&&*program.test)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

hard_on_their_process! {
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
    crash_panics
    recursion_floods
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
}

/// Each is reported as it should be, in seconds, and the others pass.
///
/// One command, with more workers than processors: those that wait for the
/// machine wait side by side.
#[test]
fn all_at_once_cost_each_other_nothing() {
    let programs: Vec<_> = expected().into_iter().filter(|program| program.needs == "Nothing").collect();
    let names = programs.iter().map(|program| &*program.test);
    let words: Vec<_> = ["run"].into_iter().chain(names).chain(["--seeds", "1", "--jobs", "8"]).collect();
    let output = hostile(&words).output().expect("the command starts");
    let printed = text(&output.stdout);

    assert_reported(&programs, &printed, 1);
    assert_eq!(output.status.code(), Some(13), "a panic is the worst of it");
    for (test, wall) in wall_times() {
        assert!(wall < WALL_MAX, "{test} took {wall:?}");
    }
}

/// What takes steps, and too slow ones, has its CPU time and no more. The clock
/// on the wall is not what counts: on a busy machine it takes a while.
#[test]
fn what_is_too_slow_has_its_cpu_time_and_no_more() {
    let programs: Vec<_> = expected().into_iter().filter(|program| program.needs == "ItsTime").collect();
    let names = programs.iter().map(|program| &*program.test);
    let patient = ["--seeds", "1", "--jobs", "2", "--limit-wall-ms", "600000"];
    let words: Vec<_> = names.chain([INNOCENT[1]]).chain(patient).collect();
    let output = run(&words);
    let printed = text(&output.stdout);

    assert!(programs.len() >= 2, "{programs:?}");
    assert_reported(&programs, &printed, 1);
    assert!(has_passed(&printed, INNOCENT[1], 1), "{printed}");
    assert_eq!(output.status.code(), Some(17), "{printed}");
    assert_eq!(printed.matches(": its steps are too slow").count(), programs.len(), "{printed}");
}

/// The kinds of all of them, each by itself: of several the command's code is
/// the lowest.
#[test]
fn each_kind_has_its_exit_code() {
    let rows = [
        ("thread_panics", 13),
        ("across_call_locks", 13),
        ("sleep_outside", 13),
        ("opposite_order_locks", 14),
        ("lost_wake_up_locks", 15),
        ("atomic_loops", 15),
        ("channel_floods", 17),
        ("threads_floods", 17),
        ("harmless", 0),
    ];
    for (words, exit_code) in rows {
        let output = hostile(&["run", words, "--seed", "0"]).output().expect("the command starts");
        assert_eq!(output.status.code(), Some(exit_code), "{words}:\n{}", text(&output.stdout));
    }
}

#[test]
fn what_is_not_the_seeds_is_found_by_running_twice() {
    let output = run(&["dice", "--seeds", "3", "--jobs", "1", "--check-determinism"]);
    let printed = text(&output.stdout);
    let programs = expected();
    assert_reported(programs.iter().filter(|program| program.needs == "CheckDeterminism"), &printed, 3);
    assert_eq!(output.status.code(), Some(18), "{printed}");

    // How they end, where both had no steps that differ.
    let (panicking, ending) = (report_of(&printed, "panicking_dice"), report_of(&printed, "ending_dice"));
    assert!(panicking.join("\n").contains("this is how they end: it passed; "), "{panicking:?}");
    assert!(ending[2].contains("in the other: it passed"), "{ending:?}");

    let once = run(&["dice", "--seeds", "3", "--jobs", "1"]);
    assert_eq!(once.status.code(), Some(0), "run once, they all pass:\n{}", text(&once.stdout));
}

/// One seed is enough, however many work: the two processes never have the same
/// history.
#[test]
fn two_processes_differ_at_once_and_at_a_place() {
    let temporary = root().join("temporary");
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).expect("the folder can be made");
    for test in ["static_dice", "once_dice", "process_dice", "address_dice"] {
        for jobs in ["1", "2", "3"] {
            let mut command = hostile(&["run", test, "--seed", "7", "--jobs", jobs, "--check-determinism"]);
            let output = command.env("TMPDIR", &temporary).output().expect("the command starts");
            let printed = text(&output.stdout);
            assert_eq!(output.status.code(), Some(18), "{printed}");
            let report = report_of(&printed, test).join("\n");
            let again = format!("again: cargo lab run {test} --seed 7 --check-determinism");
            for part in ["they part at switch ", "`decides` at ", "/dice.rs:", "had run until then", &again] {
                assert!(report.contains(part), "{part}:\n{report}");
            }
            assert_eq!(text(&output.stderr), format!("run {test} --seed 7\n"), "it is announced once");
        }
    }
    // Runs of other tests are no history.
    let output = run(&["innocent_first", "static_dice", "--seed", "7", "--jobs", "1", "--check-determinism"]);
    assert_eq!(output.status.code(), Some(18), "{}", text(&output.stdout));
    let left = fs::read_dir(&temporary).expect("it can be read").count();
    assert_eq!(left, 0, "the traces are gone");
}

#[cfg(unix)]
#[test]
fn without_room_for_traces_a_difference_is_still_found() {
    let mut command = hostile(&["run", "process_dice", "--seed", "7", "--check-determinism"]);
    let output = command.env("TMPDIR", root().join("nowhere")).output().expect("the command starts");
    let report = report_of(&text(&output.stdout), "process_dice").join("\n");
    assert!(report.contains("two runs of one seed differ") && report.contains("no trace of both: "), "{report}");
}

/// It sees what changes from run to run, and nothing that stays.
#[test]
fn in_one_process_a_seed_is_run_twice_there() {
    let output = run(&["static_dice", "process_dice", "--seed", "0", "--check-determinism", "--debug"]);
    let printed = text(&output.stdout);
    assert!(report_of(&printed, "static_dice").join("\n").contains("they part at switch "), "{printed}");
    assert!(has_passed(&printed, "process_dice", 1), "{printed}");
}

/// A run that is bad in both processes is as bad as once, and is told once.
#[test]
fn what_fails_twice_in_the_same_way_is_no_difference() {
    let bad = ["thread_panics", "exit_endings", "another_endings", "terminated_endings", "threads_floods"];
    let words = [&bad[..], &["innocent_last", "--seeds", "2", "--jobs", "2", "--check-determinism"]].concat();
    let output = run(&words);
    let printed = text(&output.stdout);
    let programs = expected();
    assert_reported(programs.iter().filter(|program| bad.contains(&&*program.test)), &printed, 2);
    assert!(has_passed(&printed, "innocent_last", 2), "{printed}");

    for jobs in ["1", "3"] {
        let output = run(&["now_and_then", "--seeds", "40", "--jobs", jobs, "--check-determinism", "--json"]);
        let printed = text(&output.stdout);
        let lines: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        assert_eq!(lines.len(), 41, "{printed}");
        for (seed, line) in lines[..40].iter().enumerate() {
            let kind = if seed % 8 < 2 { "panic".into() } else { Value::Null };
            assert_eq!((&line["seed"], &line["kind"]), (&seed.to_string().into(), &kind), "{line}");
        }
    }
}

#[test]
fn of_two_runs_one_takes_place_at_a_time_if_one_may() {
    let file = root().join("running");
    let _ = fs::remove_file(&file);
    let mut command = hostile(&["run", "single_dice", "--seeds", "40", "--jobs", "1", "--check-determinism"]);
    let output = command.env("HOSTILE_SINGLE", file).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

/// It was killed for its time, so another try would only take as much.
#[test]
fn what_takes_too_long_is_not_made_twice() {
    let words = ["run", "bare_loops", "--seed", "0", "--check-determinism"];
    let output = hostile(&[&words[..], &WALL].concat()).output().expect("the command starts");
    let printed = text(&output.stdout);
    assert!(report_of(&printed, "bare_loops")[1].contains("Stuck: no end after 1.5 s of wall time"), "{printed}");
    let wall = wall_times()["bare_loops"];
    assert!(wall < Duration::from_secs(3), "{wall:?}");
}

/// What is said to run it again does not, and the report knows.
#[test]
fn a_seed_that_fails_for_what_others_left_is_told_from_one_that_fails_alone() {
    let words = ["run", "panicking_dice", "thread_panics", "--seeds", "8", "--jobs", "1"];
    let printed = text(&hostile(&words).output().expect("the command starts").stdout);
    let (dice, honest) = (report_of(&printed, "panicking_dice"), report_of(&printed, "thread_panics"));
    let part = "but not by this seed alone: in a process that made no other run, it passed";
    assert!(dice[0].contains("seed 3") && dice.iter().any(|line| line.contains(part)), "{printed}");
    assert!(!honest.is_empty() && !honest.iter().any(|line| line.contains("but not by")), "{printed}");
}

/// The supervisor loses its patience first: whatever the watchdog would say, the
/// run is over.
#[test]
fn a_program_that_stands_still_has_only_the_supervisors_time() {
    let begun = Instant::now();
    let programs = ["bare_loops", "everywhere_loops", "mutex_outside"];
    let words = [&["run"], &programs[..], &["innocent_last", "--seeds", "1", "--jobs", "2"]].concat();
    let output = hostile(&[&words[..], &WALL].concat()).output().expect("the command starts");
    let printed = text(&output.stdout);
    for test in programs {
        assert!(report_of(&printed, test)[1].contains("Stuck: no end after 1.5 s of wall time"), "{printed}");
    }
    assert!(has_passed(&printed, "innocent_last", 1), "{printed}");
    assert_eq!(output.status.code(), Some(15));
    assert!(begun.elapsed() < WALL_MAX, "{:?}", begun.elapsed());
}

/// Three seeds of a test that had to be stopped are enough to know it, and its
/// first report does not wait for the others.
#[test]
fn a_test_that_only_costs_time_is_given_up() {
    let words = ["run", "bare_loops", "mutex_outside", "innocent_last", "--seeds", "40", "--jobs", "4"];
    let output = hostile(&[&words[..], &WALL].concat()).output().expect("the command starts");
    let printed = text(&output.stdout);
    for test in ["bare_loops", "mutex_outside"] {
        let row = [test, "0.0/1", "0/40"];
        assert!(printed.lines().any(|line| line.split_whitespace().take(3).eq(row)), "{printed}");
        let report = printed.find(&format!("FAILED {test}: ")).expect("it is reported");
        let notice = printed.find(&format!("note: {test} seed 3: not tried: 3 seeds in a row ")).expect("it is said");
        assert!(report < notice, "{printed}");
    }
    assert_eq!(printed.matches("FAILED ").count(), 2, "each once:\n{printed}");
    assert!(has_passed(&printed, "innocent_last", 40), "{printed}");
    // Six runs of 1.5 seconds, four at a time, and what was begun before that was known.
    let stopped = fs::read_to_string(root().join("target/lab/last.ndjson")).expect("a run leaves a record");
    assert_eq!(stopped.matches("no end after 1.5 s").count(), 6, "{stopped}");
    assert_eq!(stopped.matches("not tried").count(), 74, "{stopped}");
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
fn servers_that_show_nothing_are_told_of_unless_they_had_no_time_to() {
    let note = "note: no server has published what it is like";
    let red = run(&["sleep_outside", "--seeds", "1"]);
    assert!(!text(&red.stdout).contains(note), "{}", text(&red.stdout));
    let green = run(&["sleep_outside", "innocent_first", "--seeds", "1"]);
    assert!(text(&green.stdout).contains(note), "{}", text(&green.stdout));
}

/// What is wrong in the same way has one story; what was not done in time, each its own.
#[test]
fn a_mistake_that_many_tests_find_is_told_once() {
    let same = ["spawn_outside", "sleep_outside"];
    let each = ["opposite_order_locks", "twice_locks"];
    let output = run(&[&same[..], &each, &["--seeds", "1", "--jobs", "1"]].concat());
    let printed = text(&output.stdout);
    let red = |test: &&str| format!("FAILED {test}: ");
    let mut told = same.to_vec();
    told.sort_by_key(|test| printed.find(&red(test)).unwrap_or_else(|| panic!("{test} in\n{printed}")));
    let [first, second] = [report_of(&printed, told[0]), report_of(&printed, told[1])];
    let earlier = format!("  the same as in {}, above", told[0]);
    assert!(second.contains(&&*earlier) && !first.iter().any(|line| line.contains("the same as")), "{printed}");
    assert!(second.contains(&&*format!("  again: cargo lab run {} --seed 0", told[1])), "{printed}");
    let has_notes = |report: &[&str]| report.iter().any(|line| line.contains("no notes"));
    assert!(second[1].contains("OutsideWorld: ") && has_notes(&first) && !has_notes(&second), "{printed}");
    assert!(each.iter().all(|test| report_of(&printed, test).iter().all(|line| !line.contains("the same"))));
}

/// A record goes with the process that makes it, and the report does not.
#[test]
fn a_run_that_takes_its_record_along_is_reported_all_the_same() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_record.ndjson");
    let path = file.to_str().expect("the folder has a name in UTF-8");
    for way in [&[][..], &["--log", "short"], &["--ndjson", path]] {
        let arguments = [&["replay", "exit_endings", "--seed", "3"], way].concat();
        let output = hostile(&arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(13), "{arguments:?}: {}", text(&output.stderr));
        assert!(report_of(&text(&output.stdout), "exit_endings")[1].contains("process::exit(3)"), "{arguments:?}");
        assert!(text(&output.stderr).contains("there is no record"), "{arguments:?}");
    }
    assert!(!file.exists(), "an empty record is left");
}

/// Whoever follows `again:` must not be told less than before.
#[test]
fn a_red_seed_is_told_alike_alone_in_a_sweep_and_replayed() {
    let told = |arguments: &[&str]| {
        let output = hostile(arguments).output().expect("it starts");
        let printed = text(&output.stdout);
        let report = report_of(&printed, "across_call_locks");
        // The first line has the wall time.
        report.into_iter().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let alone = told(&["run", "across_call_locks", "--seed", "1"]);
    // Only who was told of a recorded rerun says where all of it is.
    let all = "  all of it: cargo lab replay across_call_locks --seed 1 --log short";
    assert!(alone.iter().any(|line| line == all), "{alone:#?}");
    assert_eq!(alone, told(&["run", "across_call_locks", "--seeds", "1..3", "--jobs", "1"]));
    assert_eq!(alone, told(&["replay", "across_call_locks", "--seed", "1"]));
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
    let begun = Instant::now();
    let words = ["innocent_first", "exit_endings", "innocent_last", "--seeds", "1", "--jobs", "1", "--debug"];
    let output = run(&words);
    let (printed, announced) = (text(&output.stdout), text(&output.stderr));
    assert!(printed.contains("so long\n"), "{printed}");
    assert!(has_passed(&printed, "innocent_first", 1), "{printed}");
    assert!(report_of(&printed, "exit_endings")[1].contains("process::exit(3)"), "{printed}");
    assert!(announced.contains("has ended the process; 1 were not made"), "{announced}");
    assert_eq!(output.status.code(), Some(13), "{printed}");
    assert!(begun.elapsed() < Duration::from_secs(4), "somebody waited: {:?}", begun.elapsed());
}

#[test]
fn workers_that_cannot_start_are_the_machines_fault() {
    let begun = Instant::now();
    let mut command = hostile(&["run", "innocent", "--seeds", "100", "--jobs", "2"]);
    let output = command.env("HOSTILE_WORKERS_DIE", root()).output().expect("the command starts");
    assert!(begun.elapsed() < WALL_MAX, "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(70));
    let error = text(&output.stderr);
    for part in ["died before they began a run", "code 9", "does not even start", "200 runs were not made"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

/// The first of two runs is made, and nobody can be found for the second.
#[test]
fn workers_that_cannot_start_second_are_so_too() {
    let begun = Instant::now();
    let mut command = hostile(&["run", "innocent_last", "--seeds", "2", "--jobs", "1", "--check-determinism"]);
    let first = root().join("first");
    let _ = fs::remove_file(&first);
    let output = command.env("HOSTILE_WORKERS_DIE", &first).output().expect("the command starts");
    assert!(begun.elapsed() < WALL_MAX, "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(70));
    assert!(text(&output.stderr).contains("2 runs were not made"), "{}", text(&output.stderr));
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
        let mut supervisor = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let of_supervisor = |(_, parent): &(u32, u32)| *parent == supervisor.id();
        let workers = eventually("two workers", || {
            let workers = processes().into_iter().filter(of_supervisor);
            let workers: Vec<u32> = workers.map(|(pid, _)| pid).collect();
            (workers.len() == 2).then_some(workers)
        });
        // By then both are in their runs; and if not, they have to end all the same.
        std::thread::sleep(Duration::from_millis(300));

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
        dies_with_its_supervisor("bare_loops", "-KILL");
    }

    #[test]
    fn a_worker_that_waits_dies_with_its_supervisor() {
        dies_with_its_supervisor("mutex_outside", "-KILL");
    }

    #[test]
    fn an_interrupt_ends_the_workers_too() {
        dies_with_its_supervisor("bare_loops", "-INT");
    }
}
