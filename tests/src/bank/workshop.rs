//! The copy of the workspace that bugs are put into, and built in.
//!
//! There is one copy, in `target/bank`. A bug changes a file or two of it, and the
//! next bug changes them back: so a build compiles what differs, and takes
//! seconds.
//!
//! Boundary: files and cargo. Does not run what it has built.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::ASSERTIONS;
use super::bug::Bug;
use super::edit::Edit;

/// What a copy has of the workspace: all that is built from, and nothing else.
const COPIED: [&str; 7] = ["Cargo.toml", "Cargo.lock", "labsim", "labrpc", "raft", "kvraft", "tests"];
/// The program that is built.
const PROGRAM: &str = "lab";
/// How much is shown of what the compiler says, if it refuses.
const ERROR_LINES_SHOWN: usize = 20;

/// A file with a lock on it, so that two commands do not change one copy.
#[derive(Debug)]
pub struct Workshop {
    workspace: PathBuf,
    _lock: File,
}

/// What becomes of the solution's own assertions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assertions {
    /// They go: a student's Raft has none.
    Out,
    /// They stay, and may find a bug before a watcher does.
    Kept,
}

impl Workshop {
    /// Opens the workshop of a workspace.
    ///
    /// # Errors
    ///
    /// If another process has it open, or the folder cannot be written.
    pub fn open(workspace: &Path) -> Result<Self, String> {
        let folder = workspace.join("target/bank");
        let opened = fs::create_dir_all(&folder).and_then(|()| File::create(folder.join("lock")));
        let lock = opened.map_err(|error| format!("{}: {error}", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { workspace: workspace.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err("another `cargo lab bugs` is at work in this workspace; wait until it is done".to_owned())
            }
            Err(TryLockError::Error(error)) => Err(format!("{}: {error}", folder.display())),
        }
    }

    /// Puts a bug into the copy and builds that. Returns the `lab` program of it,
    /// which is there until the next build.
    ///
    /// # Errors
    ///
    /// If the edits do not fit this solution, or what comes of them is no Rust.
    pub fn build(&self, bug: &Bug, assertions: Assertions) -> Result<PathBuf, String> {
        let mut edits = bug.edits.clone();
        if assertions == Assertions::Out {
            let path = self.workspace.join(ASSERTIONS);
            let text = fs::read_to_string(path).map_err(|error| format!("{ASSERTIONS}: {error}"))?;
            edits.extend(Edit::parse(&text, 1).map_err(|error| format!("{ASSERTIONS}: {error}"))?);
        }
        let made = self.copy_with(&edits);
        made.map_err(|error| format!("{} does not fit, for the bank is made for the solution: {error}", bug.name))?;
        self.compile().map_err(|said| format!("{} does not compile:\n{said}", bug.name))
    }

    /// Makes the copy equal to the workspace, but for the edits. Files that are
    /// right already are left alone, so that cargo sees what has changed.
    fn copy_with(&self, edits: &[Edit]) -> Result<(), String> {
        let mut wanted = BTreeMap::new();
        for name in COPIED {
            collect(&self.workspace, Path::new(name), &mut wanted)?;
        }
        for edit in edits {
            let path = Path::new(&edit.file);
            let known = wanted.get_mut(path).ok_or_else(|| format!("{} is not there", edit.file))?;
            let text = std::str::from_utf8(known).map_err(|_| format!("{} is no text", edit.file))?;
            *known = edit.apply(text)?.into_bytes();
        }
        let root = self.root();
        let mut there = BTreeMap::new();
        for name in COPIED.iter().filter(|name| root.join(name).exists()) {
            collect(&root, Path::new(name), &mut there)?;
        }
        for path in there.keys().filter(|path| !wanted.contains_key(*path)) {
            fs::remove_file(root.join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        for (path, bytes) in wanted.iter().filter(|(path, bytes)| there.get(*path) != Some(*bytes)) {
            let target = root.join(path);
            let written = target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&target, bytes));
            written.map_err(|error| format!("{}: {error}", target.display()))?;
        }
        Ok(())
    }

    /// Builds the copy as `cargo lab` builds the workspace.
    fn compile(&self) -> Result<PathBuf, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(self.root())
            .args(["build", "--release", "--locked", "--package", "tests", "--bin", PROGRAM])
            .args(["--message-format", "json-render-diagnostics"])
            .arg("--target-dir")
            .arg(self.workspace.join("target/bank/target"))
            .output()
            .map_err(|error| format!("cargo cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&built.stderr);
        if !built.status.success() {
            let lines: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("error")).collect();
            return Err(lines[..lines.len().min(ERROR_LINES_SHOWN)].join("\n"));
        }
        program_in(&String::from_utf8_lossy(&built.stdout)).ok_or_else(|| "cargo has built no program".to_owned())
    }

    fn root(&self) -> PathBuf {
        self.workspace.join("target/bank/tree")
    }
}

/// What cargo says of a thing that it has built.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The program, in what cargo says of all that it has built.
fn program_in(messages: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.filter(|built| built.target.name == PROGRAM).find_map(|built| built.executable)
}

/// Reads all files at and below `path`, by their names from `root` on.
pub(crate) fn collect(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let whole = root.join(path);
    let failed = |error: std::io::Error| format!("{}: {error}", whole.display());
    if !whole.is_dir() {
        files.insert(path.to_owned(), fs::read(&whole).map_err(failed)?);
        return Ok(());
    }
    for entry in fs::read_dir(&whole).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "target" && name != ".git" {
            collect(root, &path.join(name), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with one file of each name that is copied.
    fn workspace(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("raftlab-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for name in COPIED {
            let path = if name.starts_with("Cargo") { root.join(name) } else { root.join(name).join("src/lib.rs") };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("this is {name}")).unwrap();
        }
        root
    }

    #[test]
    fn a_copy_differs_by_the_edits_and_comes_back() {
        let root = workspace("copies");
        let workshop = Workshop::open(&root).unwrap();
        let copied = |path: &str| fs::read_to_string(root.join("target/bank/tree").join(path)).unwrap();
        let touched = |path: &str| fs::metadata(root.join("target/bank/tree").join(path)).unwrap().modified().unwrap();
        let edits = Edit::parse("in raft/src/lib.rs\nreplace  this\nwith     that", 1).unwrap();
        workshop.copy_with(&edits).unwrap();
        assert_eq!(
            (copied("raft/src/lib.rs"), copied("Cargo.toml")),
            ("that is raft".into(), "this is Cargo.toml".into())
        );

        let before = touched("Cargo.toml");
        fs::write(root.join("raft/src/new.rs"), "new").unwrap();
        fs::remove_file(root.join("labsim/src/lib.rs")).unwrap();
        workshop.copy_with(&[]).unwrap();
        assert_eq!((copied("raft/src/lib.rs"), copied("raft/src/new.rs")), ("this is raft".into(), "new".into()));
        assert!(!root.join("target/bank/tree/labsim/src/lib.rs").exists(), "what is gone is gone");
        assert_eq!(touched("Cargo.toml"), before, "what is right is left alone");
        assert_eq!(fs::read_to_string(root.join("raft/src/lib.rs")).unwrap(), "this is raft", "the workspace stays");

        let missing = Edit::parse("in raft/src/old.rs\nreplace  a\nwith  b", 1).unwrap();
        assert!(workshop.copy_with(&missing).unwrap_err().contains("raft/src/old.rs is not there"));
        assert!(Workshop::open(&root).unwrap_err().contains("another `cargo lab bugs`"));
        drop(workshop);
        Workshop::open(&root).unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_program_is_where_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tests"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lab"},"executable":"some/where/lab"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(program_in(messages), Some("some/where/lab".into()));
        assert_eq!(program_in("{}"), None);
    }
}
