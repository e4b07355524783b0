//! The bug bank fits the solution: every edit finds its place, outside of tests.
//!
//! Boundary: reads and edits texts; builds nothing. What finds a bug is measured
//! by `cargo lab bugs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::bank::{ASSERTIONS, Edit, load};
use tests::suites::PARTS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

/// The solution's file with an edit made, and nothing of its tests touched.
fn edited(name: &str, edit: &Edit) -> Result<String, String> {
    let is_solution = edit.file.starts_with("raft/src/") || edit.file.starts_with("kvraft/src/");
    if !is_solution {
        return Err(format!("{name}: {} is not of the solution", edit.file));
    }
    let text =
        fs::read_to_string(root().join(&edit.file)).map_err(|error| format!("{name}: {}: {error}", edit.file))?;
    let after = edit.apply(&text).map_err(|error| format!("{name}: {error}"))?;
    let tests_of = |text: &str| text.split_once("#[cfg(test)]\nmod tests").map(|(_, tests)| tests.to_owned());
    if tests_of(&after) != tests_of(&text) {
        return Err(format!("{name} changes a test of {}", edit.file));
    }
    Ok(after)
}

#[test]
fn every_bug_finds_its_place_in_the_solution() {
    let bank = load(root()).unwrap();
    assert!(bank.len() >= 30, "{} bugs", bank.len());
    let assertions = fs::read_to_string(root().join(ASSERTIONS)).unwrap();
    let [assertions] = &Edit::parse(&assertions, 1).unwrap()[..] else { panic!("{ASSERTIONS} has one edit") };
    edited(ASSERTIONS, assertions).unwrap();
    let misfits: Vec<String> = bank
        .iter()
        .flat_map(|bug| bug.edits.iter().map(move |edit| (bug, edit)))
        .filter_map(|(bug, edit)| edited(&bug.name, edit).err())
        .collect();
    assert!(misfits.is_empty(), "{}", misfits.join("\n\n"));
    for bug in &bank {
        assert!(PARTS.iter().any(|part| part.name == bug.part), "{}: there is no part {}", bug.name, bug.part);
        for (what, text) in [("story", &bug.leads_to), ("rule", &bug.breaks), ("title", &bug.title)] {
            assert!(text.len() > 10, "{} has no {what}", bug.name);
        }
    }
    let numbers: BTreeSet<_> = bank.iter().map(|bug| bug.name.split('-').next()).collect();
    assert_eq!(numbers.len(), bank.len(), "two bugs have one number");
}
