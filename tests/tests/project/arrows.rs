//! The arrows go one way: `labsim <- labrpc <- raft <- kvraft <- tests`.
//!
//! Between crates cargo would refuse a circle, but not an arrow that skips or
//! points where it should not. Within `tests` nobody else looks at all.
//!
//! Boundary: reads sources and manifests; runs nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and those it may know.
const CRATES: &[(&str, &[&str])] = &[
    ("labsim", &[]),
    ("labrpc", &["labsim"]),
    ("raft", &["labsim", "labrpc"]),
    ("kvraft", &["labsim", "labrpc", "raft"]),
    ("tests", &["labsim", "labrpc", "raft", "kvraft"]),
];

/// The modules of `tests`, each knowing only those before it.
const MODULES: &[&str] = &[
    "linear",
    "check",
    "events",
    "watch",
    "harness",
    "adversary",
    "suites",
    "report",
    "run",
    "bank",
    "starter",
    "cli",
];

/// `report` prints what `run` found, and `run` prints through `report` when it
/// runs for cargo: the one pair that knows each other.
const PAIR: [&str; 2] = ["report", "run"];

/// The only files with unsafe code. The last is a program that is bad on purpose:
/// it writes to memory that nobody has, to see that it is named.
const UNSAFE_FILES: [&str; 5] = [
    "labsim/src/interposed.rs",
    "labsim/src/sim/fiber.rs",
    "labsim/src/sim/signals.rs",
    "labsim/src/thread/scope.rs",
    "tests/src/bin/hostile/programs/endings.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            found.push((path, text));
        }
    }
    found
}

/// The names in the sections of a manifest that are about dependencies.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut about_dependencies = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            about_dependencies = section.trim_end_matches(']').ends_with("dependencies");
        } else if about_dependencies && let Some((name, _)) = line.split_once(['=', '.']) {
            names.push(name.trim());
        }
    }
    names
}

#[test]
fn crates_know_only_those_to_their_left() {
    for (name, may_know) in CRATES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let known = dependencies(&manifest);
        for (other, _) in CRATES {
            let knows = known.contains(other);
            assert!(!knows || may_know.contains(other), "{name} depends on {other}");
        }
        assert!(!known.is_empty(), "{name} depends on nothing: was its manifest read?");
    }
}

#[test]
fn raft_and_kvraft_depend_on_nothing_that_blocks_or_chooses() {
    for name in ["raft", "kvraft"] {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        for banned in ["parking_lot", "crossbeam-channel", "rand", "rand_chacha", "tokio", "corosensei"] {
            assert!(!dependencies(&manifest).contains(&banned), "{name} depends on {banned}; labsim has it");
        }
        let clippy = read(&root().join(name).join("clippy.toml"));
        assert!(clippy.contains("std::sync::Mutex") && clippy.contains("std::thread::sleep"), "{name}/clippy.toml");
    }
}

#[test]
fn modules_of_tests_know_only_those_above_them() {
    let src = root().join("tests/src");
    for (level, module) in MODULES.iter().enumerate() {
        let files = sources(&src.join(module));
        assert!(!files.is_empty(), "{module} is empty");
        for (path, text) in files {
            for below in &MODULES[level + 1..] {
                let excused = PAIR.contains(module) && PAIR.contains(below);
                let knows = text.contains(&format!("crate::{below}"));
                assert!(excused || !knows, "{} knows {below}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_is() {
    for (name, _) in CRATES {
        for (path, text) in sources(&root().join(name).join("src")) {
            let has_unsafe = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
            });
            let is_its_place = UNSAFE_FILES.iter().any(|file| path.ends_with(file));
            assert!(!has_unsafe || is_its_place, "unsafe in {}", path.display());
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_and_its_boundary() {
    for (name, _) in CRATES {
        for (path, text) in sources(&root().join(name)) {
            // What is a student's own may be marked in there.
            let lines = text
                .lines()
                .filter(|line| !["// BEGIN ", "// STUB", "// END "].iter().any(|mark| line.starts_with(mark)));
            let doc: Vec<&str> = lines.take_while(|line| line.starts_with("//!")).collect();
            assert!(!doc.is_empty(), "{} has no module doc", path.display());
            let has_boundary = doc.iter().any(|line| line.starts_with("//! Boundary:"));
            assert!(has_boundary, "{} says no boundary", path.display());
        }
    }
}
