//! The page for whoever writes a test or a service: what it shows is what runs.
//!
//! Below `<!-- is: FILE -->` stand lines of that file of this folder, as they are
//! there, one below the other. Below `<!-- prints: COMMAND -->` stands all that the
//! command prints. Each verb in a table is one that the harness has.
//!
//! Boundary: the page and its files. Whether these tests pass they say themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// At most so many lines, so that it is read.
const LINES_MAX: usize = 150;

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl Into<PathBuf>) -> String {
    let path = package().join(path.into());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks below marks of that name, each with what its mark says.
fn blocks<'a>(page: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let begin = format!("<!-- {mark}: ");
    let block = |part: &'a str| {
        let (says, rest) = part.split_once(" -->\n```").expect("a block follows the mark");
        let (_, rest) = rest.split_once('\n').expect("the fence ends its line");
        (says, rest.split_once("\n```").expect("a block ends").0)
    };
    page.split(&begin).skip(1).map(block).collect()
}

#[test]
fn the_code_of_the_page_is_compiled_and_run() {
    let page = text("README.md");
    let shown = blocks(&page, "is");
    for (file, block) in &shown {
        let source = text(Path::new("tests/project").join(file));
        assert!(source.contains(&format!("{block}\n")), "{file} has no such lines:\n{block}");
        let module = format!("mod {};", file.trim_end_matches(".rs"));
        assert!(include_str!("main.rs").contains(&module), "{file} is not compiled");
    }
    let rust = page.matches("```rust\n").count();
    assert_eq!((shown.len(), rust), (2, 2), "a block of code has no mark, or a mark was lost");
    assert_eq!(format!("{}\n", shown[0].1), text("tests/project/muted_leader.rs"), "it is to be saved as it stands");
}

#[test]
fn the_page_quotes_what_is_printed() {
    let page = text("README.md");
    let quotes = blocks(&page, "prints");
    for (command, quoted) in &quotes {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[..2], ["cargo", "run"], "{command}");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "-q", "--offline"]).args(&words[2..]).current_dir(package().join(".."));
        let output = cargo.env_remove("RUST_BACKTRACE").output().expect("cargo starts");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("an example prints text");
        assert_eq!(printed.trim_end(), *quoted, "{command}");
    }
    assert_eq!(quotes.len(), 1, "a mark was lost");
}

#[test]
fn the_harness_has_the_verbs_of_the_page() {
    let files = fs::read_dir(package().join("src/harness")).expect("the harness has sources");
    let harness: String = files.map(|file| text(file.expect("it can be read").path())).collect();
    let page = text("README.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("(`"));
    let verbs: Vec<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    for verb in &verbs {
        let is_there =
            [format!("pub fn {verb}("), format!("pub fn {verb}<")].iter().any(|begin| harness.contains(begin));
        assert!(is_there, "the harness has no {verb}");
    }
    assert!(verbs.len() > 30, "only {} verbs were recognised", verbs.len());
}

#[test]
fn the_page_is_short_and_leads_somewhere() {
    let page = text("README.md");
    assert!(page.lines().count() <= LINES_MAX, "{} lines", page.lines().count());
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    for link in &links {
        assert!(package().join(link).exists(), "there is no {link}");
    }
    assert!(links.len() > 5, "only {} links were recognised", links.len());
}
