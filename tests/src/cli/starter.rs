//! `lab starter`: a student's workspace.
//!
//! Boundary: a folder and parts in, what was made out. How, `starter` knows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{record, workspace};
use crate::starter::Starter;
use crate::suites::{PARTS, Part};

/// Make a student's workspace: all but the solution, and places to fill in.
///
/// It is a workspace of its own, with its own README, and a git repository.
#[derive(Args)]
pub(super) struct StarterArguments {
    /// The folder to make; it must not exist yet, or be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The parts that the student writes, as 2a,2b: 2a and what follows it, or, with Raft
    /// given, 3a and what follows [default: all]
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = part)]
    parts: Vec<Part>,
}

fn part(word: &str) -> Result<Part, String> {
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    let part = PARTS.iter().copied().find(|part| part.name == word.to_lowercase());
    part.ok_or_else(|| format!("there are {}", names.join(", ")))
}

impl StarterArguments {
    pub(super) fn execute(self) -> Result<ExitCode, String> {
        let parts = if self.parts.is_empty() { PARTS } else { &self.parts };
        let root = workspace()?;
        let starter = Starter::new(&root, parts)?;
        let here = std::env::current_dir().map_err(|error| format!("the working folder cannot be read: {error}"))?;
        let folder = without_detours(&here.join(&self.folder));
        if folder.starts_with(without_detours(&root)) {
            return Err(format!("{} lies in this workspace; name a folder outside of it", self.folder.display()));
        }
        if !starter.untracked().is_empty() {
            let names: Vec<String> = starter.untracked().iter().map(|path| path.display().to_string()).collect();
            eprintln!("warning: not handed out, since git does not know it: {}", names.join(", "));
        }
        if let Some(trouble) = starter.write(&folder)? {
            eprintln!("warning: it is no git repository: {trouble}");
        }
        let first = parts.iter().map(|part| part.name).min().unwrap_or("2a");
        let shown = self.folder.display();
        record::print(&format!(
            "{shown} is there, {} files. Begin with its README.md:\n  cd {shown} && cargo test {first}\n",
            starter.files().len()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// The same folder by its real name, as far as it exists: `..` and links are followed.
fn without_detours(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let Some((part, real)) = there else { return folder.to_owned() };
    folder.strip_prefix(part).map_or_else(|_| folder.to_owned(), |rest| real.join(rest))
}
