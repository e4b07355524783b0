//! What the documents quote is what programs print, and where code is.
//!
//! A block of text below a line `<!-- prints: EXAMPLE -->` is output of that
//! example. It consists of paragraphs, and each must be one of those that the
//! example prints; the page as a whole must quote all of them. `..` in a quoted
//! line stands for anything there, and a line `..` for any lines.
//!
//! A block of code below a line `<!-- from: FILE -->` is a part of that file.
//!
//! A line `FUNCTION at FILE:LINE`, as in a stack, must name the function that this
//! line of the file is in. Of any other `FILE:LINE` the file must have that line.
//!
//! Boundary: the pages and the examples of labsim and labrpc. Programs that stand
//! on a page only are not run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: [&str; 7] = [
    "README.md",
    "labrpc/README.md",
    "labsim/README.md",
    "labsim/docs/debugger.md",
    "labsim/docs/failures.md",
    "labsim/docs/machines.md",
    "labsim/docs/systems.md",
];

/// The examples that pages quote, with the crate that each belongs to.
const EXAMPLES: [(&str, &str); 8] = [
    ("crash", "labsim"),
    ("echo", "labrpc"),
    ("failures", "labsim"),
    ("lost_update", "labsim"),
    ("one_call", "labrpc"),
    ("step_cost", "labsim"),
    ("streams", "labsim"),
    ("unwinding", "labsim"),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The paragraphs that an example prints.
fn paragraphs_of(package: &str, example: &str) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "-q", "--offline", "-p", package, "--example", example]).current_dir(workspace());
    // The settings of whoever runs the tests are not those of the documents.
    let output = cargo.env_remove("RUST_BACKTRACE").env_remove("LAB_WATCHDOG").output().expect("cargo starts");
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    paragraphs(&String::from_utf8(output.stdout).expect("an example prints text"))
}

fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n")
        .map(|paragraph| paragraph.trim_matches('\n').to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

/// The quoted paragraphs of a page, by the example that prints them.
fn quotes(page: &str) -> BTreeMap<String, Vec<String>> {
    let mut quotes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in page.split("<!-- prints: ").skip(1) {
        let (example, rest) = part.split_once(" -->\n").expect("the mark ends its line");
        let block = rest.strip_prefix("```text\n").unwrap_or_else(|| panic!("no block of text follows {example}"));
        let (block, _) = block.split_once("\n```").expect("a block ends");
        quotes.entry(example.to_owned()).or_default().extend(paragraphs(block));
    }
    quotes
}

/// True if a quoted paragraph stands for a printed one.
fn is_quote(quoted: &str, printed: &str) -> bool {
    fn lines_match(quoted: &[&str], printed: &[&str]) -> bool {
        match quoted {
            [] => printed.is_empty(),
            [first, rest @ ..] if first.trim() == ".." => {
                (0..=printed.len()).any(|at| lines_match(rest, &printed[at..]))
            }
            [first, rest @ ..] => {
                printed.split_first().is_some_and(|(line, after)| line_matches(first, line) && lines_match(rest, after))
            }
        }
    }
    lines_match(&quoted.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>())
}

fn line_matches(quoted: &str, printed: &str) -> bool {
    match quoted.split_once("..") {
        None => quoted == printed,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

#[test]
fn what_a_page_quotes_is_what_the_example_prints() {
    let (examples, mut printed_by) = (BTreeMap::from(EXAMPLES), BTreeMap::new());
    for name in PAGES {
        for (example, quoted) in quotes(&page(name)) {
            if example == "failures" && !cfg!(all(target_os = "linux", target_env = "gnu")) {
                continue; // Some reports say less, as `systems.md` tells.
            }
            let package = examples.get(&*example).unwrap_or_else(|| panic!("{name}: `{example}` is not in the list"));
            let printed = printed_by.entry(example.clone()).or_insert_with(|| paragraphs_of(package, &example));
            for quote in &quoted {
                assert!(
                    printed.iter().any(|printed| is_quote(quote, printed)),
                    "{name} quotes what `cargo run -p {package} --example {example}` does not print:\n{quote}\n\nIt prints\n{}",
                    printed.join("\n\n")
                );
            }
            let missing: Vec<_> =
                printed.iter().filter(|printed| !quoted.iter().any(|quote| is_quote(quote, printed))).collect();
            assert!(missing.is_empty(), "{name} does not quote what `{example}` prints: {missing:#?}");
        }
    }
    let marked: BTreeSet<String> = PAGES.iter().flat_map(|name| quotes(&page(name)).into_keys()).collect();
    assert!(marked.iter().eq(examples.keys()), "a mark was lost: {marked:?}");
}

#[test]
fn code_that_a_page_takes_from_a_file_is_there() {
    let mut blocks = 0;
    for name in PAGES {
        for part in page(name).split("<!-- from: ").skip(1) {
            let (file, rest) = part.split_once(" -->\n").expect("the mark ends its line");
            let block = rest.strip_prefix("```rust\n").unwrap_or_else(|| panic!("{name}: no code follows {file}"));
            let (block, _) = block.split_once("```").expect("a block ends");
            assert!(page(file).contains(block), "{name} shows code that is not in {file}:\n{block}");
            blocks += 1;
        }
    }
    assert!(blocks > 0, "a mark was lost");
}

#[test]
fn two_dots_stand_for_what_is_left_out() {
    let printed = "deadlock: 6 steps\n  `main` waits at a.rs:1:2 for `reader`\n  in thread `main`";
    for (quoted, expected) in [
        (printed, true),
        ("deadlock: .. steps\n  `main` waits at a.rs:.. for ..\n  in thread `main`", true),
        ("deadlock: 6 steps\n  ..\n  in thread `main`", true),
        ("deadlock: 6 steps\n..", true),
        ("deadlock: 7 steps\n..", false),
        ("deadlock: 6 steps\n  in thread `main`", false),
        ("deadlock: 6 steps", false),
        ("deadlock: .. steps too many\n..", false),
    ] {
        assert_eq!(is_quote(quoted, printed), expected, "{quoted}");
    }
}

/// A place that a page names.
struct Named<'a> {
    /// What stands before it in its line, `at` included.
    before: &'a str,
    file: PathBuf,
    line: usize,
}

/// The places in a line, as far as they are files of the workspace.
fn places(line: &str) -> Vec<Named<'_>> {
    let mut places = Vec::new();
    for (at, _) in line.match_indices(".rs:") {
        let is_path = |letter: char| letter.is_alphanumeric() || "_-/.".contains(letter);
        let begin = line[..at].rfind(|letter| !is_path(letter)).map_or(0, |before| before + 1);
        let digits: String = line[at + 4..].chars().take_while(char::is_ascii_digit).collect();
        let file = workspace().join(&line[begin..at + 3]);
        if let Ok(number) = digits.parse()
            && file.is_file()
        {
            places.push(Named { before: &line[..begin], file, line: number });
        }
    }
    places
}

/// The function at the end of a path such as `raft::peer::Raft::new::{{closure}}`,
/// with what a debugger writes around it.
fn function(before: &str) -> Option<String> {
    let before = before.strip_suffix(" at ")?.trim();
    let before = before.rsplit_once(" (").map_or(before, |(path, _arguments)| path);
    let mut depth = 0;
    let mut plain = String::new();
    for letter in before.chars() {
        match letter {
            '<' | '{' => depth += 1,
            '>' | '}' => depth -= 1,
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    let path = plain.split_whitespace().last()?;
    let name = path.split("::").filter(|part| !part.is_empty()).last()?;
    // Stacks of a release build give a name without its path, and nothing else in the line.
    let is_name = (path.contains("::") || path == plain.trim())
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    is_name.then(|| name.to_owned())
}

#[test]
fn a_place_that_a_page_names_is_there() {
    let mut functions = 0;
    for name in PAGES {
        for line in page(name).lines() {
            for Named { before, file, line: number } in places(line) {
                let text = std::fs::read_to_string(&file).unwrap();
                let above: Vec<&str> = text.lines().take(number).collect();
                assert_eq!(above.len(), number, "{name}: {} has fewer lines: {line}", file.display());
                let Some(function) = function(before) else { continue };
                let begins = |text: &&&str| text.contains("fn ") && !text.trim_start().starts_with("//");
                let found = above.iter().rev().find(begins).copied().unwrap_or_default();
                let is_it =
                    [format!("fn {function}("), format!("fn {function}<")].iter().any(|begin| found.contains(begin));
                assert!(is_it, "{name}: {} is in `{}`: {line}", number, found.trim());
                functions += 1;
            }
        }
    }
    assert!(functions > 10, "only {functions} functions were recognised");
}
