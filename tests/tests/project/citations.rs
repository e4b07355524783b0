//! The paper's rules in the solution's code: each is cited, and nothing else is.
//!
//! Boundary: text. Whether the code obeys is for the other tests to say.

use std::fs;
use std::path::Path;

use tests::check::RULES;

/// The code of raft, without its tests: file, line, and what the line says. A folder
/// has the tests of the file of its name.
fn lines() -> Vec<(String, usize, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../raft/src");
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).expect("raft has sources") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("it is text");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        lines.extend(code.lines().zip(1..).map(|(line, number)| (name.clone(), number, line.trim().to_owned())));
    }
    lines
}

/// What looks like the id of a rule of the figures: `Leaders.4`.
fn cited(line: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let ids = line.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
    let families: Vec<&str> = RULES.iter().filter_map(|rule| rule.split_once('.')).map(|(family, _)| family).collect();
    ids.filter(|word| word.split_once('.').is_some_and(|(family, _)| families.contains(&family))).collect()
}

#[test]
fn every_rule_is_cited_at_a_line_that_obeys_it() {
    let lines = lines();
    let comments: Vec<_> = lines.iter().filter(|(.., line)| line.contains("//")).collect();
    for rule in RULES {
        let is_cited = |line: &str| match rule.contains('.') {
            true => cited(line).contains(&rule),
            false => line.contains(&format!("({rule})")) || line.contains(&format!("{rule}:")),
        };
        // Essays do not count: the citation stands where the code is.
        let places = comments.iter().filter(|(.., line)| !line.starts_with("//!") && is_cited(line)).count();
        assert!(places > 0, "no line of raft/src cites {rule}");
    }
    assert!(lines.len() > 500, "raft was not found");
}

#[test]
fn no_rule_is_cited_that_the_paper_does_not_have() {
    for (file, number, line) in lines() {
        for id in cited(&line) {
            assert!(RULES.contains(&id), "raft/src/{file}:{number} cites {id}");
        }
    }
}
