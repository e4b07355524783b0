//! The lab tests, as cargo and editors see them: one `#[test]` for each.
//!
//! `cargo test 2a` runs a part, `cargo test reelection` one test, and
//! `LAB_SEED=17 cargo test reelection` one seed of it. What a test does stands
//! in `tests/src/suites`, in the file of its part.
//!
//! Boundary: names. What a test does, and its points, are in the registry.

use tests::run::cargo_test;

#[test]
fn initial_election_2a() {
    cargo_test("initial_election_2a");
}

#[test]
fn reelection_2a() {
    cargo_test("reelection_2a");
}

#[test]
fn many_elections_2a() {
    cargo_test("many_elections_2a");
}

/// A test of the registry that is missing here would never run under cargo.
#[test]
fn every_lab_test_is_here() {
    let here = include_str!("labs.rs");
    for test in tests::suites::all() {
        let line = format!("fn {}() {{\n    cargo_test(\"{}\");\n}}", test.name, test.name);
        assert!(here.contains(&line), "{} has no #[test] in tests/tests/labs.rs", test.name);
    }
}
