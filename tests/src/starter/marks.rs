//! Marks in the solution: what is the student's to write, and what stands there instead.
//!
//! A mark is a comment on a line of its own, in Rust, TOML or Markdown:
//!
//! ```text
//! // BEGIN 2A
//! // STUB panic!("2A: not implemented yet: raft/README.md#2a")
//! self.promise(|state| state.handle_request_vote(args))
//! // END 2A
//! ```
//!
//! A region that is cut leaves what its `STUB` lines say; one that is not, itself. In both
//! cases the marks go. Regions may lie in each other.
//!
//! Boundary: one text. Which regions are cut is somebody else's affair.

/// A text without its marks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) kept: String,
    /// The lines that were cut.
    pub(super) cut: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mark<'a> {
    Begin(&'a str),
    End(&'a str),
    Stub(&'a str),
}

/// An open region.
struct Region<'a> {
    name: &'a str,
    line: usize,
    is_cut: bool,
}

/// Cuts the regions of which `is_cut` says so; it knows no name that it answers with None.
pub(super) fn cut(text: &str, is_cut: impl Fn(&str) -> Option<bool>) -> Result<Cut, String> {
    let mut open: Vec<Region<'_>> = Vec::new();
    let mut told = Cut { kept: String::new(), cut: Vec::new() };
    for (number, line) in (1..).zip(text.lines()) {
        let at = |message: String| format!("line {number}: {message}");
        let outer_is_cut = open.iter().rev().skip(1).any(|region| region.is_cut);
        let is_hidden = outer_is_cut || open.last().is_some_and(|region| region.is_cut);
        match mark(line) {
            Some(Mark::Begin(name)) => {
                let is_cut = is_cut(name).ok_or_else(|| at(format!("nothing is called {name}")))?;
                open.push(Region { name, line: number, is_cut });
            }
            Some(Mark::End(name)) => match open.pop() {
                Some(region) if region.name == name => {}
                Some(Region { name: other, line, .. }) => {
                    return Err(at(format!("END {name}, but {other} has begun in line {line}")));
                }
                None => return Err(at(format!("END {name}, but nothing has begun"))),
            },
            Some(Mark::Stub(code)) => {
                let region = open.last().ok_or_else(|| at("STUB, but nothing has begun".to_owned()))?;
                if region.is_cut && !outer_is_cut {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    push_line(&mut told.kept, if code.is_empty() { "" } else { indent }, code);
                }
            }
            None if is_hidden => told.cut.push(line.to_owned()),
            None => push_line(&mut told.kept, "", line),
        }
    }
    match open.pop() {
        Some(Region { name, line, .. }) => Err(format!("line {line}: {name} begins, and does not end")),
        None => Ok(told),
    }
}

fn push_line(text: &mut String, indent: &str, line: &str) {
    text.push_str(indent);
    text.push_str(line);
    text.push('\n');
}

fn mark(line: &str) -> Option<Mark<'_>> {
    let line = line.trim();
    let comment = ["// ", "# ", "<!-- "].iter().find_map(|opener| line.strip_prefix(opener))?;
    let comment = comment.strip_suffix(" -->").unwrap_or(comment);
    let (word, rest) = comment.split_once(' ').unwrap_or((comment, ""));
    match word {
        "STUB" => Some(Mark::Stub(rest)),
        "BEGIN" if is_name(rest) => Some(Mark::Begin(rest)),
        "END" if is_name(rest) => Some(Mark::End(rest)),
        _ => None,
    }
}

/// Prose may have a line that begins with BEGIN; a mark has one short word after it.
fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit())
}

/// Takes a file's own tests off its end, and returns them.
pub(super) fn cut_own_tests(text: &mut String) -> String {
    match text.find("\n#[cfg(test)]\nmod tests") {
        Some(at) => text.split_off(at + 1),
        None => String::new(),
    }
}

/// No two empty lines follow each other, and none stands where a block begins or ends.
pub(super) fn tidy(text: &str) -> String {
    let mut tidy: Vec<&str> = Vec::new();
    for line in text.lines() {
        let ends = line.trim_start().starts_with(['}', ')', ']']);
        if ends && tidy.last().is_some_and(|last| last.is_empty()) {
            tidy.pop();
        }
        let is_welcome = tidy.last().is_some_and(|last| !last.is_empty() && !last.ends_with('{'));
        if !line.is_empty() || is_welcome {
            tidy.push(line);
        }
    }
    tidy.join("\n").trim_end().to_owned() + "\n"
}

/// Whether anything is left but comments.
pub(super) fn has_code(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_2a(name: &str) -> Option<bool> {
        ["2A", "2B"].contains(&name).then_some(name == "2A")
    }

    #[test]
    fn a_region_gives_way_to_its_stub() {
        let text = "a\n  // BEGIN 2A\n  // STUB b(1);\n  // STUB\n  c\n  // END 2A\nd\n";
        let cut_lines = |cut: &Cut| cut.cut.iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        let without = cut(text, of_2a).expect("its marks are right");
        assert_eq!((without.kept.as_str(), cut_lines(&without)), ("a\n  b(1);\n\nd\n", vec!["c".to_owned()]));
        let with = cut(text, |_| Some(false)).expect("its marks are right");
        assert_eq!((with.kept.as_str(), with.cut.len()), ("a\n  c\nd\n", 0));
    }

    #[test]
    fn regions_lie_in_each_other() {
        let text = "// BEGIN 2B\n// STUB x\na\n// BEGIN 2A\n// STUB b\nc\n// END 2A\nd\n// END 2B\n";
        let kept = |is_cut: &dyn Fn(&str) -> Option<bool>| cut(text, is_cut).expect("its marks are right").kept;
        assert_eq!(kept(&of_2a), "a\nb\nd\n");
        assert_eq!(kept(&|_| Some(true)), "x\n");
        assert_eq!(kept(&|name| Some(name == "2B")), "x\n");
        assert_eq!(kept(&|_| Some(false)), "a\nc\nd\n");
    }

    #[test]
    fn other_comments_have_marks_too() {
        for (begin, stub, end) in [
            ("# BEGIN 2A", "# STUB x", "# END 2A"),
            ("<!-- BEGIN 2A -->", "<!-- STUB x -->", "<!-- END 2A -->"),
            ("    // BEGIN 2A", "// STUB x", "// END 2A"),
        ] {
            let text = format!("{begin}\n{stub}\ny\n{end}\n");
            assert_eq!(cut(&text, of_2a).expect("its marks are right").kept, "x\n");
        }
        let prose = "// BEGIN here\n//! END 2A\n// The END\nBEGIN 2A\n";
        assert_eq!(cut(prose, of_2a).expect("it has no marks").kept, prose);
    }

    #[test]
    fn a_wrong_mark_is_said_with_its_line() {
        for (text, message) in [
            ("// BEGIN 2A\n", "line 1: 2A begins, and does not end"),
            ("a\n// END 2A\n", "line 2: END 2A, but nothing has begun"),
            ("// BEGIN 2A\n// END 2B\n", "line 2: END 2B, but 2A has begun in line 1"),
            ("// BEGIN 7X\n// END 7X\n", "line 1: nothing is called 7X"),
            ("// STUB a\n", "line 1: STUB, but nothing has begun"),
        ] {
            assert_eq!(cut(text, of_2a).expect_err(text), message);
        }
    }

    #[test]
    fn what_is_left_is_tidy() {
        let mut text = "fn a() {\n\n    b\n\n\n    c\n\n}\n\n\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        assert_eq!(cut_own_tests(&mut text), "#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(tidy(&text), "fn a() {\n    b\n\n    c\n}\n");
        assert!(has_code(&text) && !has_code("//! a\n\n// b\n/// c\n"));
    }
}
