//! An edit: what is to be replaced by what, in which file.
//!
//! ```text
//! in raft/src/replication.rs
//! replace  self.follow(args.leader);
//! with     self.become_follower();
//! ```
//!
//! Text that does not fit on the keyword's line follows it, up to the next line
//! that begins with a keyword. An `in` may have several pairs.
//!
//! Boundary: text. Reads and writes no file.

/// A piece of a file that gives way to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The file, from the root of the workspace.
    pub file: String,
    /// What is there, exactly once.
    pub replace: String,
    /// What is to be there.
    pub with: String,
}

impl Edit {
    /// Reads edits, one after the other.
    ///
    /// # Errors
    ///
    /// If that is not what they are; with the line, counted from `first_line`.
    pub fn parse(text: &str, first_line: usize) -> Result<Vec<Self>, String> {
        let mut edits: Vec<Self> = Vec::new();
        let (mut file, mut replace) = (None, None);
        let mut lines = (first_line..).zip(text.lines()).peekable();
        while let Some((number, line)) = lines.next() {
            let at = |what: &str| format!("line {number}: {what}");
            let Some((keyword, rest)) = keyword(line) else {
                if line.trim().is_empty() {
                    continue;
                }
                return Err(at("begins with none of `in`, `replace` and `with`"));
            };
            // A block: what follows, as it is.
            let mut block = Vec::new();
            while keyword != "in"
                && rest.is_empty()
                && let Some((_, line)) = lines.next_if(|(_, line)| self::keyword(line).is_none())
            {
                block.push(line);
            }
            let text = if rest.is_empty() { block.join("\n") } else { rest.to_owned() };
            match keyword {
                _ if keyword != "with" && replace.is_some() => return Err(at("`with` is due: it says by what")),
                "in" if rest.is_empty() => return Err(at("`in` without a file")),
                "in" => file = Some(text),
                "replace" if text.trim().is_empty() => return Err(at("`replace` without what")),
                "replace" => replace = Some(text),
                _ => {
                    let file = file.clone().ok_or_else(|| at("no `in` before it: which file?"))?;
                    let replace = replace.take().ok_or_else(|| at("no `replace` before it: what?"))?;
                    if replace == text {
                        return Err(at("replaces a text by itself"));
                    }
                    edits.push(Self { file, replace, with: text });
                }
            }
        }
        if replace.is_some() || edits.is_empty() {
            return Err("the file ends where `with` is due".to_owned());
        }
        Ok(edits)
    }

    /// The file's text with this edit made.
    ///
    /// # Errors
    ///
    /// If what is to be replaced is not there exactly once.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.replace).count() {
            1 => Ok(text.replacen(&self.replace, &self.with, 1)),
            count => Err(format!(
                "{} has {count} times what the bug replaces, and must have it once:\n{}",
                self.file, self.replace
            )),
        }
    }
}

/// A line that begins with a keyword, and what follows on it.
fn keyword(line: &str) -> Option<(&'static str, &str)> {
    ["in", "replace", "with"].into_iter().find_map(|keyword| {
        let rest = line.strip_prefix(keyword)?;
        (rest.is_empty() || rest.starts_with(' ')).then_some((keyword, rest.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(file: &str, replace: &str, with: &str) -> Edit {
        Edit { file: file.to_owned(), replace: replace.to_owned(), with: with.to_owned() }
    }

    #[test]
    fn a_line_or_a_block_or_nothing() {
        let text = "in a.rs\nreplace  one\nwith     1\nreplace\n    two\n\n    three\nwith\nin b.rs\n\nreplace\n  x\n\
                    with\n  y\n";
        let edits = Edit::parse(text, 1).unwrap();
        let expected = [edit("a.rs", "one", "1"), edit("a.rs", "    two\n\n    three", ""), edit("b.rs", "  x", "  y")];
        assert_eq!(edits, expected);
    }

    #[test]
    fn what_is_no_edit_is_said_with_its_line() {
        for (text, error) in [
            ("", "ends where `with` is due"),
            ("replace a\nwith b", "line 8: no `in`"),
            ("in a.rs\nwith b", "line 8: no `replace`"),
            ("in a.rs\nreplace a\nreplace b\nwith c", "line 9: `with` is due"),
            ("in a.rs\nreplace a", "ends where `with` is due"),
            ("in a.rs\nreplace\nwith b", "line 8: `replace` without what"),
            ("in\nreplace a\nwith b", "line 7: `in` without a file"),
            ("in a.rs\nreplace a\nwith a", "line 9: replaces a text by itself"),
            ("inside a.rs\n", "line 7: begins with none"),
        ] {
            let found = Edit::parse(text, 7).unwrap_err();
            assert!(found.contains(error), "{text:?}: {found}");
        }
    }

    #[test]
    fn what_is_replaced_is_there_once() {
        let edit = edit("a.rs", "b", "x");
        assert_eq!(edit.apply("abc"), Ok("axc".to_owned()));
        assert!(edit.apply("ac").unwrap_err().contains("a.rs has 0 times"));
        assert!(edit.apply("abcb").unwrap_err().contains("a.rs has 2 times"));
    }
}
