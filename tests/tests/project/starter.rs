//! `cargo lab starter`: what a student is given, and what not.
//!
//! Boundary: files. That a starter builds, and how its tests fail, `.ci/starter` shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::starter::Starter;
use tests::suites::{PART_2A, PART_2B, PART_2C, PART_3A, PART_3B, PARTS, Part};

use super::command::stderr;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

fn starter(parts: &[Part]) -> Starter {
    Starter::new(root(), parts).unwrap_or_else(|error| panic!("{error}"))
}

/// Lines of the solution that anybody would write, or that are in what is given.
const EXCEPTIONS: &[&str] = &[
    "//! # The order to read it in",
    "//! # What is left out",
    "/// A key's value; empty if it was never written.",
    "/// How many there are.",
    "A: Serialize + 'static,",
    "EntryId { term, index }",
    "R: DeserializeOwned + 'static,",
    "RequestVoteReply { term, granted: true }",
    "SessionExpired,",
    "const SNAPSHOT_FILE: &str = \"snapshot\";",
    "early: BTreeMap::new(),",
    "election_deadline: None,",
    "f.write_str(match self {",
    "fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {",
    "for step in steps {",
    "for voter in voters {",
    "if new.is_empty() {",
    "last_applied: 0,",
    "let (tx, rx) = channel::unbounded();",
    "let before = Instant::now();",
    "let mut bytes = Vec::new();",
    "let mut state = self.state.lock();",
    "let now = Instant::now();",
    "let outcome = simulate(Config::seed(1), || {",
    "max_raft_state: Option<usize>,",
    "nodes[0].restart();",
    "outcome.result.unwrap();",
    "pub fn count(&self) -> usize {",
    "pub fn raft(&self) -> &Arc<Raft> {",
    "pub number: u64,",
    "pub(crate) current_term: Term,",
    "pub(crate) voted_for: Option<ServerId>,",
    "term: self.current_term,",
    // The watchers know a log when they see one, and a majority.
    "id.index < self.base.index || self.term_at(id.index) == Some(id.term)",
    "let slot = index.checked_sub(self.base.index + 1)?;",
    "self.servers.len() / 2 + 1",
];

/// A line that is long enough to be somebody's.
fn is_telling(line: &str) -> bool {
    const LETTERS: usize = 12;
    line.chars().filter(char::is_ascii_alphanumeric).count() >= LETTERS
        && !["use ", "#[", "pub use "].iter().any(|begin| line.starts_with(begin))
}

#[test]
fn no_line_of_the_solution_is_given_away() {
    for parts in [PARTS, &[PART_2A], &[PART_3A, PART_3B]] {
        let starter = starter(parts);
        let cut = starter.cut().iter().filter(|(path, _)| path.starts_with("raft") || path.starts_with("kvraft"));
        let solution: BTreeSet<&str> =
            cut.flat_map(|(_, lines)| lines).map(|line| line.trim()).filter(|line| is_telling(line)).collect();
        let least = if parts.contains(&PART_2A) { 1500 } else { 300 };
        assert!(solution.len() >= least, "{} lines are hardly a solution", solution.len());

        let mut given = Vec::new();
        for (path, bytes) in starter.files() {
            let text = String::from_utf8_lossy(bytes);
            let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim().to_owned()));
            let lines =
                lines.filter(|(_, line)| solution.contains(line.as_str()) && !EXCEPTIONS.contains(&line.as_str()));
            given.extend(lines.map(|(number, line)| format!("{}:{number}: {line}", path.display())));
        }
        assert!(given.is_empty(), "{} lines of the solution are in the starter:\n{}", given.len(), given.join("\n"));
    }
}

#[test]
fn raft_is_given_to_whoever_begins_after_it() {
    let text = |starter: &Starter, path: &str| -> String {
        String::from_utf8_lossy(&starter.files()[Path::new(path)]).into_owned()
    };
    let service = starter(&[PART_3A]);
    let election = text(&service, "raft/src/election.rs");
    assert!(election.contains("fn begin_election") && !election.contains("not implemented yet"));
    assert!(text(&service, "kvraft/src/clerk.rs").contains("3A: not implemented yet: kvraft/README.md#3a"));
    let raft = starter(&[PART_2A, PART_2B]);
    let election = text(&raft, "raft/src/election.rs");
    assert!(!election.contains("fn begin_election") && election.contains("2A: not implemented yet: raft/README.md#2a"));
    for (starter, here, not_here) in [(&service, "basic_3a", "speed_3b"), (&raft, "basic_agree_2b", "persist1_2c")] {
        let labs = text(starter, "tests/labs/tests/labs.rs");
        assert!(labs.contains(&format!("fn {here}()")) && !labs.contains(&format!("fn {not_here}()")));
    }
    assert!(text(&raft, "tests/src/suites/mod.rs").contains("PARTS: &[Part] = &[PART_2A, PART_2B];"));
}

#[test]
fn no_mark_is_left() {
    for parts in [PARTS, &[PART_3A]] {
        for (path, bytes) in starter(parts).files() {
            let text = String::from_utf8_lossy(bytes);
            let is_mark =
                |line: &&str| ["// BEGIN ", "// STUB", "# BEGIN "].iter().any(|mark| line.trim().starts_with(mark));
            assert_eq!(text.lines().find(is_mark), None, "{}", path.display());
        }
    }
}

#[test]
fn parts_follow_each_other() {
    for parts in [&[PART_2B][..], &[PART_2A, PART_2C], &[PART_2C, PART_3A], &[PART_3B], &[]] {
        let error = Starter::new(root(), parts).err().unwrap_or_else(|| panic!("{parts:?} were taken"));
        assert!(error.contains("name"), "{error}");
    }
    assert_eq!(
        starter(&[PART_2B, PART_2A]).files().keys().collect::<Vec<_>>(),
        starter(&[PART_2A, PART_2B]).files().keys().collect::<Vec<_>>(),
        "in any order"
    );
}

/// A folder for a test's starter, which is not there yet.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("raftlab-starter-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn lab_in(workspace: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(arguments).current_dir(workspace).output().expect("the lab command starts")
}

#[test]
fn a_starter_is_a_repository_of_its_own() {
    let folder = folder("written");
    let shown = folder.to_str().expect("it has a name in UTF-8");
    let made = lab_in(root(), &["starter", shown]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    for file in ["README.md", "Cargo.lock", "raft/README.md", "kvraft/README.md", ".cargo/config.toml", "LICENSE"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(!folder.join("tests/bugs").exists() && !folder.join("raft/src/log.rs").exists());
    let git = |arguments: &[&str]| {
        let said = Command::new("git").arg("-C").arg(&folder).args(arguments).output().expect("git starts");
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert_eq!((git(&["log", "--format=%s"]).as_str(), git(&["status", "--short"]).as_str()), ("the starter\n", ""));

    // What is there is not touched.
    let again = lab_in(root(), &["starter", shown]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("is not empty; name a folder that does not exist yet"), "{}", stderr(&again));
    assert_eq!(git(&["status", "--short"]), "");

    // A starter has nothing to make a starter of.
    let other = format!("{shown}-other");
    let of_a_starter = lab_in(&folder, &["starter", &other]);
    assert!(stderr(&of_a_starter).contains("this workspace may be a starter itself"), "{}", stderr(&of_a_starter));
    assert!(!Path::new(&other).exists());
    let command = fs::read_to_string(folder.join("tests/src/cli/mod.rs")).expect("it is there");
    assert!(command.contains("Run(") && !command.contains("Bugs(") && !command.contains("Starter("), "{command}");
    fs::remove_dir_all(&folder).expect("it can go");
}

#[test]
fn a_wrong_folder_is_said() {
    let inside = root().join("target/starter");
    let taken = folder("file");
    fs::write(&taken, "").expect("it can be written");
    for (arguments, message) in [
        (vec!["starter"], "<DIR>"),
        (vec!["starter", inside.to_str().expect("a name")], "name a folder outside of it"),
        (vec!["starter", taken.to_str().expect("a name")], "Not a directory"),
        (vec!["starter", "/proc/nothing/here"], "/proc/nothing"),
        (vec!["starter", "x", "--parts", "2e"], "there are 2a, 2b, 2c, 2d, 3a, 3b"),
        (vec!["starter", "x", "--parts", "2b"], "2b is no row of parts"),
    ] {
        let refused = lab_in(root(), &arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&refused).contains(message), "{arguments:?}: {}", stderr(&refused));
    }
    assert!(!inside.exists() && !root().join("x").exists());
    // A way out of the workspace, and one that comes back.
    let name = root().file_name().and_then(|name| name.to_str()).expect("a name");
    let back = format!("../{name}/target/starter");
    assert!(stderr(&lab_in(root(), &["starter", &back])).contains("name a folder outside of it"));
    let beside = root().parent().expect("it is not the root").join(format!("{name}-starter-{}", std::process::id()));
    let out = format!("../{}", beside.file_name().and_then(|name| name.to_str()).expect("a name"));
    let made = lab_in(root(), &["starter", &out]);
    assert!(made.status.success() && beside.join("raft/README.md").exists(), "{}", stderr(&made));
    fs::remove_dir_all(beside).expect("it can go");
    fs::remove_file(taken).expect("it can go");
}
