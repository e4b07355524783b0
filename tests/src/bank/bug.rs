//! A bug, as its file tells it.
//!
//! ```text
//! # 02: an entry of an older term is committed by counting replicas
//! #
//! # Part:     2c
//! # Breaks:   Leaders.4, its last condition (§5.4.2).
//! # Leads to: Figure 8 (d): an entry that was counted onto a majority is committed,
//! #           and then overwritten.
//! # Named by: Leaders.4, Figure3.LeaderCompleteness
//! in raft/src/replication.rs
//! replace  ..
//! with     ..
//! ```
//!
//! Boundary: reads files. Who puts a bug where is in `workshop.rs`.

use std::fs;
use std::path::Path;

use super::FOLDER;
use super::edit::Edit;
use crate::check::{PROMISES, RULES};

/// A mistake, and its story.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bug {
    /// The name of its file, which begins with its number: `02-commit-old-term`.
    pub name: String,
    /// What is wrong, in a line.
    pub title: String,
    /// The part whose graded run must find it.
    pub part: String,
    /// The rule that it breaks.
    pub breaks: String,
    /// What happens then.
    pub leads_to: String,
    /// The ids that a report may call it by.
    pub named_by: Vec<String>,
    /// The mistake.
    pub edits: Vec<Edit>,
}

/// The keys of a header, in their order.
const KEYS: [&str; 4] = ["Part:", "Breaks:", "Leads to:", "Named by:"];

impl Bug {
    /// Reads the bug of that name.
    ///
    /// # Errors
    ///
    /// If the text is not as it must be.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let below: String = text.lines().skip(header.len()).fold(String::new(), |text, line| text + line + "\n");
        let mut said = header.iter().map(|line| line[1..].trim_end());
        let first = said.next().unwrap_or_default().trim();
        let number = name.split('-').next().unwrap_or_default();
        let title = first.strip_prefix(number).and_then(|rest| rest.strip_prefix(": "));
        let title = title.ok_or_else(|| format!("the first line is not `# {number}: what is wrong`"))?;

        let mut values: Vec<String> = Vec::new();
        for line in said.filter(|line| !line.trim().is_empty()) {
            let line = line.trim();
            let due = KEYS.get(values.len());
            if let Some(value) = due.and_then(|key| line.strip_prefix(key)) {
                values.push(value.trim().to_owned());
            } else if let Some(value) = values.last_mut() {
                *value = format!("{value} {line}");
            } else {
                return Err(format!("`{line}` is not `{}`", KEYS[0]));
            }
        }
        let [part, breaks, leads_to, named_by]: [String; 4] = values.try_into().map_err(|found: Vec<_>| {
            let missing = KEYS.get(found.len()).copied().unwrap_or_default();
            format!("the header lacks `{missing}`")
        })?;
        let named_by: Vec<String> = named_by.split(',').map(|id| id.trim().to_owned()).collect();
        let is_known = |id: &&String| !RULES.contains(&id.as_str()) && !PROMISES.contains(&id.as_str());
        if let Some(id) = named_by.iter().find(is_known) {
            return Err(format!("`{id}` is no id of a rule or a promise"));
        }
        let edits = Edit::parse(&below, header.len() + 1)?;
        Ok(Self { name: name.to_owned(), title: title.to_owned(), part, breaks, leads_to, named_by, edits })
    }

    /// True if that word means this bug: its number, or its name or a piece of it.
    pub fn is_meant_by(&self, word: &str) -> bool {
        let number = self.name.split('-').next().unwrap_or_default();
        let is_number = |word: &str| word.parse::<u32>().is_ok_and(|word| number.parse() == Ok(word));
        if word.chars().all(|letter| letter.is_ascii_digit()) { is_number(word) } else { self.name.contains(word) }
    }
}

/// Reads the bank of a workspace, in the order of the bugs' numbers.
///
/// # Errors
///
/// If a file cannot be read, or is not what it must be; with its name.
pub fn load(workspace: &Path) -> Result<Vec<Bug>, String> {
    let folder = workspace.join(FOLDER);
    let no_bank = |error| format!("this workspace has no bug bank, {FOLDER}: {error}");
    let entries = fs::read_dir(&folder).map_err(no_bank)?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bug"));
    paths.sort_unstable();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).map_err(|error| format!("{FOLDER}/{name}.bug: {error}"))?;
        Bug::parse(&name, &text).map_err(|error| format!("{FOLDER}/{name}.bug: {error}"))
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# 07: a reply counts in any term
#
# Part:     2b
# Breaks:   StaleReply.
# Leads to: A follower that is thought to have
#           what it has lost.
# Named by: StaleReply, Figure3.StateMachineSafety
in raft/src/replication.rs
replace  one
with     two
";

    #[test]
    fn a_bug_is_read() {
        let bug = Bug::parse("07-stale-reply", TEXT).unwrap();
        assert_eq!((bug.title.as_str(), bug.part.as_str()), ("a reply counts in any term", "2b"));
        assert_eq!(bug.leads_to, "A follower that is thought to have what it has lost.");
        assert_eq!(bug.named_by, ["StaleReply", "Figure3.StateMachineSafety"]);
        assert_eq!(bug.edits.len(), 1);
        for (word, is_meant) in [("7", true), ("07", true), ("stale", true), ("70", false), ("fresh", false)] {
            assert_eq!(bug.is_meant_by(word), is_meant, "{word}");
        }
    }

    #[test]
    fn what_is_no_bug_is_refused() {
        for (from, to, error) in [
            ("# 07:", "# 08:", "the first line is not `# 07: what is wrong`"),
            ("# Part:     2b\n", "", "is not `Part:`"),
            ("# Named by: StaleReply, Figure3.StateMachineSafety\n", "", "lacks `Named by:`"),
            ("StaleReply, Fig", "Stale, Fig", "`Stale` is no id"),
            ("with     two\n", "", "`with` is due"),
            ("replace  one", "exchange one", "line 9: begins with none"),
        ] {
            let found = Bug::parse("07-stale-reply", &TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(found.contains(error), "{from:?}: {found}");
        }
    }
}
