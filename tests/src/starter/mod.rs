//! A student's workspace, made from this one.
//!
//! The solution has marks: what stands between `BEGIN` and `END` is the student's to write
//! (`marks.rs`). So the starter cannot fall behind the solution, and what is given is code that
//! the tests have seen. All else is copied, but for what holds pieces of a solution or tests
//! this workspace.
//!
//! Boundary: files in, files out. What a part is, `suites` knows; nothing is built here.

mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bank::collect;
use crate::suites::{PARTS, Part};
use marks::Cut;

/// What a starter has of the workspace.
const COPIED: [&str; 11] = [
    ".cargo",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "labrpc",
    "labsim",
    "raft",
    "kvraft",
];
/// The crate of the tests comes without what has solutions in it, and without what tests the
/// workspace that it came from.
const TESTS: &str = "tests";
const LEFT_OUT: [&str; 13] = [
    "labsim/tests/docs.rs",
    "tests/benches",
    "tests/bugs",
    "tests/docs/instructors.md",
    "tests/rafts",
    "tests/src/bank",
    "tests/src/bin/hostile",
    "tests/src/cli/bugs.rs",
    "tests/src/cli/starter.rs",
    "tests/src/starter",
    "tests/tests/hostile.rs",
    "tests/tests/hostile_under_cargo.rs",
    "tests/tests/project",
];
/// What a starter has at other places: its own README, and settings for editors.
const TEMPLATES: &str = "tests/starter";
/// The crate of parts 2A to 2D, and that of 3A and 3B.
const RAFT: &str = "raft";
const KVRAFT: &str = "kvraft";
/// Lines for this workspace alone are in regions of this name.
const COURSE: &str = "COURSE";

/// The list of the parts, as it stands in `tests/src/suites/mod.rs`.
const PARTS_FILE: &str = "tests/src/suites/mod.rs";
/// The tests as cargo sees them.
const LABS_FILE: &str = "tests/labs/tests/labs.rs";

/// A student's workspace, not written yet.
#[derive(Debug)]
pub struct Starter {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The lines of the solution that are not in it, with the files that they are from.
    cut: BTreeMap<PathBuf, Vec<String>>,
    /// Files that lie there, and are not handed out: git does not know them.
    untracked: Vec<PathBuf>,
}

impl Starter {
    /// Makes a starter for these parts, which follow each other: up to the last of them
    /// there are tests. If none of them is of Raft, the solution's Raft is in it.
    ///
    /// # Errors
    ///
    /// If the parts do not begin with 2A or 3A, or leave one out; if a mark is wrong; or if
    /// there are none.
    pub fn new(workspace: &Path, parts: &[Part]) -> Result<Self, String> {
        let parts = in_a_row(parts)?;
        let gives_raft = !parts.iter().any(|part| part.name.starts_with('2'));
        let mut starter = Self { files: BTreeMap::new(), cut: BTreeMap::new(), untracked: Vec::new() };
        for name in COPIED.into_iter().chain([TESTS]) {
            collect(workspace, Path::new(name), &mut starter.files)?;
        }
        starter.files.retain(|path, _| !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)));
        // An editor's backup of the solution has no marks that would be cut.
        if let Some(tracked) = tracked(workspace) {
            starter.untracked = starter.files.keys().filter(|path| !tracked.contains(*path)).cloned().collect();
            starter.untracked.iter().for_each(|path| drop(starter.files.remove(path)));
        }
        starter.cut_solution(gives_raft)?;
        if starter.cut.is_empty() {
            return Err("there is no solution here to take out; this workspace may be a starter itself".to_owned());
        }
        starter.keep_tests_of(&parts)?;
        starter.move_templates(&parts, gives_raft)?;
        Ok(starter)
    }

    /// Takes out what is between marks, and the marks.
    fn cut_solution(&mut self, gives_raft: bool) -> Result<(), String> {
        let mut empty = Vec::new();
        for (path, bytes) in &mut self.files {
            let Ok(text) = std::str::from_utf8(bytes) else { continue };
            let is_solution = path.starts_with(RAFT) && !gives_raft || path.starts_with(KVRAFT);
            let names: Vec<String> = PARTS.iter().map(|part| part.name.to_uppercase()).collect();
            let is_cut = |name: &str| match name {
                COURSE => Some(true),
                name if names.iter().any(|part| part == name) => Some(is_solution),
                _ => None,
            };
            let Cut { mut kept, mut cut } =
                marks::cut(text, is_cut).map_err(|error| format!("{}: {error}", path.display()))?;
            if is_solution && path.extension().is_some_and(|extension| extension == "rs") {
                // A file's own tests are of what stood there.
                cut.extend(marks::cut_own_tests(&mut kept).lines().map(str::to_owned));
                kept = marks::tidy(&kept);
                if !marks::has_code(&kept) {
                    empty.push(path.clone());
                }
            }
            if !cut.is_empty() {
                self.cut.insert(path.clone(), cut);
            }
            *bytes = kept.into_bytes();
        }
        empty.iter().for_each(|path| drop(self.files.remove(path)));
        Ok(())
    }

    /// Leaves out the tests of later parts.
    fn keep_tests_of(&mut self, parts: &[Part]) -> Result<(), String> {
        let is_kept = |part: &Part| parts.contains(part);
        let list = |parts: &mut dyn Iterator<Item = &Part>| {
            let names: Vec<String> = parts.map(|part| format!("PART_{}", part.name.to_uppercase())).collect();
            format!("pub const PARTS: &[Part] = &[{}];", names.join(", "))
        };
        let (all, kept) = (list(&mut PARTS.iter()), list(&mut parts.iter()));
        self.edit(PARTS_FILE, |text| text.contains(&all).then(|| text.replace(&all, &kept)))?;
        self.edit(LABS_FILE, |text| {
            let is_left_out = |paragraph: &&str| {
                let name = paragraph.strip_prefix("#[test]\nfn ").and_then(|rest| rest.split('(').next());
                let is_of = |part: &Part| name.is_some_and(|name| name.ends_with(&format!("_{}", part.name)));
                !PARTS.iter().any(|part| is_of(part) && !is_kept(part))
            };
            let kept: Vec<&str> = text.trim_end().split("\n\n").filter(is_left_out).collect();
            Some(kept.join("\n\n") + "\n")
        })
    }

    /// Puts the files of a student's own where they belong.
    fn move_templates(&mut self, parts: &[Part], gives_raft: bool) -> Result<(), String> {
        let templates: Vec<PathBuf> = self.files.keys().filter(|path| path.starts_with(TEMPLATES)).cloned().collect();
        for path in templates {
            let place = path.strip_prefix(TEMPLATES).expect("it lies there").to_owned();
            let bytes = self.files.remove(&path).unwrap_or_default();
            self.files.insert(place, bytes);
        }
        let first = parts.first().map_or("2a", |part| part.name);
        let given = if gives_raft { "Raft is given, in `raft/`. " } else { "" };
        let [word, test, crate_] =
            if gives_raft { ["basic", "basic_3a", "kvraft"] } else { ["reelection", "reelection_2a", "raft"] };
        let filled = [("{first}", first), ("{given}", given), ("{word}", word), ("{test}", test), ("{crate}", crate_)];
        self.edit("README.md", |text| {
            Some(filled.iter().fold(text.to_owned(), |text, (place, what)| text.replace(place, what)))
        })
    }

    fn edit(&mut self, path: &str, body: impl FnOnce(&str) -> Option<String>) -> Result<(), String> {
        let bytes = self.files.get_mut(Path::new(path)).ok_or_else(|| format!("{path} is not there"))?;
        let text = std::str::from_utf8(bytes).ok().and_then(body);
        *bytes = text.ok_or_else(|| format!("{path} is not as a starter expects it"))?.into_bytes();
        Ok(())
    }

    /// Its files, by their names from its root on.
    pub fn files(&self) -> &BTreeMap<PathBuf, Vec<u8>> {
        &self.files
    }

    /// What lies in the workspace, and is not handed out: git does not know it.
    pub fn untracked(&self) -> &[PathBuf] {
        &self.untracked
    }

    /// What is not in it of the solution, by file.
    pub fn cut(&self) -> &BTreeMap<PathBuf, Vec<String>> {
        &self.cut
    }

    /// Writes it into a folder that is new, or empty, and makes that a git repository with
    /// one commit. Returns what could not be done, if git is the reason.
    ///
    /// # Errors
    ///
    /// If there is something in the folder already, or it cannot be written. Then nothing of
    /// it is left behind.
    pub fn write(&self, folder: &Path) -> Result<Option<String>, String> {
        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let is_free = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(folder, error)),
        };
        if !is_free {
            return Err(format!("{} is not empty; name a folder that does not exist yet", folder.display()));
        }
        let was_there = folder.exists();
        let written = self.files.iter().try_for_each(|(path, bytes)| {
            let target = folder.join(path);
            target.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| failed(&target, error))?;
            fs::write(&target, bytes).map_err(|error| failed(&target, error))
        });
        if let Err(error) = written {
            let tops: BTreeSet<_> = self.files.keys().filter_map(|path| path.components().next()).collect();
            for top in tops.into_iter().map(|top| folder.join(top)) {
                let _ = if top.is_dir() { fs::remove_dir_all(&top) } else { fs::remove_file(&top) };
            }
            if !was_there {
                let _ = fs::remove_dir(folder);
            }
            return Err(error);
        }
        Ok(make_repository(folder).err())
    }
}

/// The files that git knows in a workspace. None if it is no repository, or there is no git.
fn tracked(workspace: &Path) -> Option<BTreeSet<PathBuf>> {
    let listed = Command::new("git").arg("-C").arg(workspace).args(["ls-files", "-z"]).output().ok()?;
    let names = String::from_utf8(listed.stdout).ok().filter(|_| listed.status.success())?;
    let tracked: BTreeSet<PathBuf> = names.split_terminator('\0').map(PathBuf::from).collect();
    // A copy inside of another repository is none of its own.
    tracked.contains(Path::new("Cargo.toml")).then_some(tracked)
}

/// The parts in their order, if they are 2A or 3A and what follows.
fn in_a_row(parts: &[Part]) -> Result<Vec<Part>, String> {
    let chosen: Vec<Part> = PARTS.iter().copied().filter(|part| parts.contains(part)).collect();
    let Some(first) = chosen.first() else { return Err("name at least one part".to_owned()) };
    let from = PARTS.iter().position(|part| part == first).unwrap_or(0);
    let wanted: Vec<Part> = PARTS[from..].iter().copied().take(chosen.len()).collect();
    if !first.name.ends_with('a') || wanted != chosen {
        let names: Vec<&str> = chosen.iter().map(|part| part.name).collect();
        return Err(format!(
            "{} is no row of parts: name 2a and what follows it, up to where you like, or 3a (Raft is given then) and \
             what follows",
            names.join(",")
        ));
    }
    Ok(chosen)
}

/// A repository with one commit, so that `git diff` shows what the student has written.
fn make_repository(folder: &Path) -> Result<(), String> {
    let commit = ["-c", "user.name=Raftlab", "-c", "user.email=raftlab@localhost", "commit", "--quiet"];
    let steps: [&[&str]; 3] = [
        &["init", "--quiet"],
        &["add", "--all"],
        &[&commit[..], &["--no-verify", "--no-gpg-sign", "--message", "the starter"]].concat(),
    ];
    for step in steps {
        let done = Command::new("git").arg("-C").arg(folder).args(step).output();
        let done = done.map_err(|error| format!("git cannot be started: {error}"))?;
        if !done.status.success() {
            return Err(format!("git {}: {}", step[0], String::from_utf8_lossy(&done.stderr).trim_end()));
        }
    }
    Ok(())
}
