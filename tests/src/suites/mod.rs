//! The registry: every lab test, its part, its points, and its body.
//!
//! `cargo test` and `cargo lab` read this one list. A test's full name is its
//! name in the course, `_`, and its part.
//!
//! Boundary: the list. What a test does is in the file of its part; how it is
//! run is in `run`.

mod adversary;
mod part_2a;
mod part_2b;
mod part_2c;
mod part_2d;
mod part_3a;
mod part_3b;
mod workload;

use crate::harness::Lab;
pub use crate::harness::{Service, Setup};
use crate::watch::Sight;

/// A part of the labs, handed in and graded by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Part {
    /// Its name, in lower case, as it ends its tests' names: `2a`.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
}

/// Leader election and heartbeats.
pub const PART_2A: Part = Part { name: "2a", title: "leader election" };

/// Replication and agreement.
pub const PART_2B: Part = Part { name: "2b", title: "log agreement" };

/// Crashes and bad networks.
pub const PART_2C: Part = Part { name: "2c", title: "persistence" };

/// Snapshots.
pub const PART_2D: Part = Part { name: "2d", title: "log compaction" };

/// A key-value service on Raft.
pub const PART_3A: Part = Part { name: "3a", title: "key-value service" };

/// The same, with snapshots.
pub const PART_3B: Part = Part { name: "3b", title: "key-value service with snapshots" };

/// The parts of this course, in the order in which they are solved.
pub const PARTS: &[Part] = &[PART_2A, PART_2B, PART_2C, PART_2D, PART_3A, PART_3B];

/// One graded test.
#[derive(Clone, Copy, Debug)]
pub struct LabTest {
    /// Its full name: `initial_election_2a`.
    pub name: &'static str,
    /// The part that it grades.
    pub part: Part,
    /// What it shows, in a line.
    pub title: &'static str,
    /// What passing it is worth.
    pub points: u32,
    /// What it begins with.
    pub setup: Setup,
    /// What a sweep over seeds must have seen.
    pub must_see: &'static [Sight],
    /// What it does.
    pub body: fn(&Lab),
}

/// The seeds of a graded run are 0 up to this.
const SEEDS: u64 = 20;
/// The same for a test whose seeds say what happens in it: there is more to draw.
const DRAWN_SEEDS: u64 = 40;

impl LabTest {
    /// How many seeds a graded run gives it.
    pub fn seeds(&self) -> u64 {
        if self.setup.drawn.is_some() { DRAWN_SEEDS } else { SEEDS }
    }
}

/// Every test of [`PARTS`], part by part, in the order of the course; the adversary's last.
pub fn all() -> impl Iterator<Item = &'static LabTest> {
    let [a, b, c, d] = [&adversary::A, &adversary::B, &adversary::C, &adversary::D];
    let parts = [(part_2a::TESTS, a), (part_2b::TESTS, b), (part_2c::TESTS, c), (part_2d::TESTS, d)];
    let raft = parts.into_iter().flat_map(|(course, adversary)| course.iter().chain(std::iter::once(adversary)));
    raft.chain(part_3a::TESTS).chain(part_3b::TESTS).filter(|test| PARTS.contains(&test.part))
}

/// The test of that full name.
pub fn find(name: &str) -> Option<&'static LabTest> {
    all().find(|test| test.name == name)
}

/// Tests that one command runs, and their parts.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The parts, in the order in which they are listed.
    pub parts: &'static [Part],
    /// The tests, part by part.
    pub tests: Vec<&'static LabTest>,
}

impl Registry {
    /// That of the labs.
    pub fn labs() -> Self {
        Self { parts: PARTS, tests: all().collect() }
    }

    /// Every test, in order.
    pub fn all(&self) -> impl Iterator<Item = &'static LabTest> {
        self.tests.iter().copied()
    }

    /// The test of that full name.
    pub fn find(&self, name: &str) -> Option<&'static LabTest> {
        self.all().find(|test| test.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_in_their_part() {
        let mut names: Vec<_> = all().map(|test| test.name).collect();
        assert!(all().all(|test| test.name.ends_with(&format!("_{}", test.part.name))));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn every_part_has_its_points() {
        let points = |part: Part| all().filter(|test| test.part == part).map(|test| test.points).sum::<u32>();
        assert_eq!(
            PARTS.iter().map(|part| (part.name, points(*part))).collect::<Vec<_>>(),
            [("2a", 20), ("2b", 30), ("2c", 30), ("2d", 20), ("3a", 60), ("3b", 40)]
        );
    }
}
