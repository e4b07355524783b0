//! `cargo lab` as a user meets it: what it prints, and how it exits.
//!
//! Boundary: arguments, lines and exit codes; not what the runs find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn lab(arguments: &[&str]) -> Output {
    let test = std::thread::current().name().expect("libtest names its threads").replace("::", "-");
    lab_in(&workspace(&test), arguments)
}

fn lab_in(workspace: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments).current_dir(workspace).output().expect("the lab command starts")
}

/// A folder that looks like a workspace: the record of its last run is nobody
/// else's.
fn workspace(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for package in ["raft", "tests"] {
        fs::create_dir_all(root.join(package)).expect("the folder can be made");
        fs::write(root.join(package).join("Cargo.toml"), "").expect("the file can be written");
    }
    root
}

fn record_of(workspace: &Path) -> PathBuf {
    workspace.join("target/lab/last.ndjson")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("output is text")
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// Runs, checks that it is all green, and returns the lines of the runs.
fn green(arguments: &[&str]) -> Vec<Value> {
    let output = lab(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    let mut lines = lines(&output);
    let summary = lines.pop().expect("there is a summary");
    assert_eq!(summary["summary"], true);
    assert!(summary["of"].as_u64() > Some(0) && summary["points"].as_f64() == summary["of"].as_f64(), "{summary}");
    assert_eq!(summary["parts"][0]["part"], lines[0]["part"]);
    assert_eq!(summary["runs"], lines.len());
    assert_eq!((&summary["passed"], &summary["failed"]), (&summary["runs"], &Value::from(0)));
    lines
}

#[test]
fn a_wrong_word_is_answered_with_the_nearest_right_one() {
    let rows: &[(&[&str], &str)] = &[
        (&["rum"], "'run'"),
        (&["run", "inital"], "did you mean initial_election_2a?"),
        (&["run", "2z"], "did you mean 2"),
        (&["run", "--sed", "1"], "'--seed'"),
        (&["run", "--seed", "x"], "write a number such as 17"),
        (&["run", "--seed", "-1"], "write a number such as 17"),
        (&["run", "--seed", "99999999999999999999"], "too great"),
        (&["run", "--seeds", "9..3"], "write 3..9"),
        (&["run", "--seeds", "0"], "write 0..1"),
        (&["run", "--seeds", "1..=4"], "`..=` is not read"),
        (&["run", "--seed", "1", "--seeds", "2"], "cannot be used with"),
        (&["run", "--jobs", "0"], "0 is not in 1.."),
        (&["run", "--real", "--check-determinism"], "cannot be used with"),
        (&[], "Usage"),
    ];
    for (arguments, part) in rows {
        let output = lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?} printed: {}", stdout(&output));
    }
}

#[test]
fn help_is_no_error() {
    for arguments in [&["--help"][..], &["run", "--help"], &["list", "--help"], &["help", "run"]] {
        let output = lab(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains("Usage"), "{arguments:?}");
    }
}

#[test]
fn the_list_has_every_test_with_its_points() {
    let listed = lines(&lab(&["list", "--json"]));
    let names: Vec<_> = listed.iter().map(|line| line["test"].as_str().expect("a name").to_owned()).collect();
    let registry: Vec<_> = tests::suites::all().map(|test| test.name).collect();
    assert_eq!(names, registry);
    let points: u64 = listed.iter().map(|line| line["points"].as_u64().expect("points")).sum();
    assert_eq!(points, 200, "100 for Raft, 100 for the service");
    let parts = ["2a", "2b", "2c", "2d", "3a", "3b"];
    assert!(listed.iter().all(|line| parts.iter().any(|part| line["part"] == *part) && line["title"].is_string()));
}

#[test]
fn a_run_has_every_field() {
    let runs = green(&["run", "initial_election_2a", "--seed", "0x11", "--json"]);
    let run = &runs[0];
    assert_eq!((&run["test"], &run["part"], &run["seed"]), (&"initial_election_2a".into(), &"2a".into(), &"17".into()));
    assert_eq!(
        (&run["verdict"], &run["kind"], &run["rule"], &run["message"]),
        (&"pass".into(), &Value::Null, &Value::Null, &Value::Null)
    );
    for field in ["virtual_us", "wall_us", "cpu_us", "steps", "rpcs", "bytes"] {
        assert!(run[field].as_u64().is_some_and(|number| number > 0), "{field}: {}", run[field]);
    }
    assert_eq!(run["hash"].as_str().map(str::len), Some(16));
}

/// The heart of the matter: a seed is a run, however it is run.
#[test]
fn a_seed_has_one_hash_whoever_runs_it() {
    let hashes = |runs: Vec<Value>| -> Vec<String> {
        runs.iter().map(|run| format!("{} {} {} {}", run["test"], run["seed"], run["hash"], run["steps"])).collect()
    };
    let alone = hashes(green(&["run", "2a", "--seeds", "10..16", "--jobs", "1", "--json"]));
    let together = hashes(green(&["run", "2a", "--seeds", "10..16", "--jobs", "4", "--json"]));
    assert_eq!(alone, together);
    let checked = hashes(green(&["run", "2a", "--seeds", "10..16", "--check-determinism", "--json"]));
    assert_eq!(alone, checked);

    let test = tests::suites::find("reelection_2a").expect("it is in the registry");
    let here = tests::run::run_once(test, 12, tests::run::Mode::Simulated);
    assert!(alone.iter().any(|line| line.contains(&format!("{:016x}", here.hash))), "seed 12 in this process");

    let distinct: BTreeSet<_> = alone.iter().collect();
    assert_eq!(distinct.len(), alone.len());
}

#[test]
fn a_single_run_is_announced_and_a_sweep_in_a_file_has_no_line_for_each() {
    let output = lab(&["run", "reelection", "--seed", "5"]);
    assert_eq!(stderr(&output), "run reelection_2a --seed 5\n");
    let output = lab(&["run", "reelection", "--seeds", "5..7"]);
    assert_eq!(stderr(&output), "");
    let card = stdout(&output);
    let points = tests::suites::find("reelection_2a").expect("it is in the registry").points;
    assert!(
        card.contains(&format!("{points}.0/{points} ")) && card.contains("2/2") && card.contains("total"),
        "{card}"
    );
}

#[test]
fn the_card_sums_each_part_and_tells_what_was_spent() {
    let card = stdout(&lab(&["run", "rpc_bytes_2b", "count_2b", "reelection_2a", "--seeds", "2"]));
    let points = |name: &str| tests::suites::find(name).expect("it is in the registry").points;
    let both = points("rpc_bytes_2b") + points("count_2b");
    let row = card.lines().find(|line| line.starts_with("part 2b: ")).unwrap_or_else(|| panic!("{card}"));
    assert!(row.contains(&format!("{both}.0/{both} ")) && row.contains("4/4"), "{row}");
    assert!(!card.contains("part 2a"), "one test is no sum: {card}");
    let spent = card.lines().find(|line| line.contains("bytes for ten commands")).unwrap_or_else(|| panic!("{card}"));
    assert!(spent.starts_with("rpc_bytes_2b: at most 10") && spent.ends_with("200000 are allowed"), "{spent}");
}

/// What finds a bug takes a build, and is measured elsewhere.
#[test]
fn a_bug_that_is_not_in_the_bank_is_answered_with_those_that_are() {
    let output = lab_in(Path::new(env!("CARGO_MANIFEST_DIR")), &["bugs", "02", "nope"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("no bug is called `nope`") && said.contains("02-commit-old-term"), "{said}");

    let workspace = workspace("bankless");
    let output = lab_in(&workspace, &["bugs"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("has no bug bank"), "{}", stderr(&output));
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let workspace = workspace("interrupted");
    let record = record_of(&workspace);
    let _ = fs::remove_file(&record);
    for flag in ["--resume", "--failed"] {
        let output = lab_in(&workspace, &["run", flag]);
        assert_eq!(output.status.code(), Some(2), "{flag}: nothing was ever run here");
        assert!(stderr(&output).contains("no earlier run"), "{flag}: {}", stderr(&output));
    }

    let whole = lab_in(&workspace, &["run", "reelection", "--seeds", "4", "--json"]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    for (flag, answer) in [("--resume", "the last run is complete"), ("--failed", "nothing failed")] {
        let output = lab_in(&workspace, &["run", flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}: {}", stderr(&output));
        assert!(stdout(&output).contains(answer), "{flag}: {}", stdout(&output));
    }

    // As if the command had been killed while it wrote the line of its third run.
    let written = fs::read_to_string(&record).expect("there is a record");
    let kept: Vec<_> = written.lines().take(3).collect();
    fs::write(&record, format!("{}\n{{\"test\":\"reel", kept.join("\n"))).expect("the record can be cut");
    let rest = lab_in(&workspace, &["run", "--resume", "--json"]);
    assert_eq!(rest.status.code(), Some(0), "{}", stderr(&rest));
    let seeds: BTreeSet<_> = lines(&rest).iter().filter_map(|line| line["seed"].as_str().map(str::to_owned)).collect();
    let seed_of = |line: &str| -> Value { serde_json::from_str(line).expect("each line is JSON") };
    let missing: BTreeSet<_> =
        written.lines().skip(3).filter_map(|line| seed_of(line)["seed"].as_str().map(str::to_owned)).collect();
    assert_eq!((missing.len(), &seeds), (2, &missing));
    let complete = lab_in(&workspace, &["run", "--resume"]);
    assert!(stdout(&complete).contains("the last run is complete"), "{}", stdout(&complete));
}
