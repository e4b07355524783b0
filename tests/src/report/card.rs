//! The report card: what each test cost and earned.
//!
//! A test's points are earned in proportion to the seeds that it passed, and
//! not rounded up: the last tenth of a point needs the last seed.
//!
//! Boundary: sums. What a run did is in its result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use super::text::seconds;
use crate::check::Kind;
use crate::run::RunResult;
use crate::suites::{LabTest, Registry};
use crate::watch::Sight;

/// Sums over runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub runs: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Virtual time that passed in them.
    pub elapsed: Duration,
    /// CPU time that they took.
    pub cpu: Duration,
    /// Calls that they made.
    pub rpcs: u64,
    /// Bytes that crossed their networks.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, result: &RunResult) {
        self.runs += 1;
        self.failed += u64::from(result.broken.is_some());
        self.elapsed += result.elapsed;
        self.cpu += result.cpu;
        self.rpcs += result.rpcs;
        self.bytes += result.bytes;
    }
}

/// A report card in the making.
#[derive(Debug, Default)]
pub struct Card {
    rows: BTreeMap<&'static str, (Tally, BTreeSet<Sight>)>,
    total: Tally,
    worst: Option<Kind>,
}

impl Card {
    /// Takes a result in.
    pub fn add(&mut self, result: &RunResult) {
        let (tally, sights) = self.rows.entry(result.test.name).or_default();
        tally.add(result);
        sights.extend(&result.sights);
        self.total.add(result);
        let kind = result.broken.as_ref().map(|broken| broken.kind);
        self.worst = self.worst.into_iter().chain(kind).min();
    }

    /// All runs together.
    pub fn total(&self) -> &Tally {
        &self.total
    }

    /// The failure with the lowest exit code.
    pub fn worst(&self) -> Option<Kind> {
        self.worst
    }

    /// What a test must show, and no seed of it did.
    fn unseen(&self, test: &LabTest) -> Vec<&'static str> {
        let Some((tally, sights)) = self.rows.get(test.name) else { return Vec::new() };
        if tally.failed > 0 {
            return Vec::new(); // A failed run ended before it could.
        }
        test.must_see.iter().filter(|sight| !sights.contains(sight)).map(|sight| sight.describe()).collect()
    }

    /// The card as a table, a row a test of the registry. `wall` is the time it
    /// all took.
    pub fn render(&self, registry: &Registry, wall: Duration) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<26} {:>9} {:>13} {:>11} {:>9} {:>10} {:>12}",
            "test", "points", "seeds", "virtual", "CPU", "RPCs", "bytes"
        );
        let mut earned_tenths_sum = 0;
        let mut points_sum = 0;
        for test in registry.all() {
            let Some((tally, _)) = self.rows.get(test.name) else { continue };
            let passed = tally.runs - tally.failed;
            let earned_tenths = u64::from(test.points) * 10 * passed / tally.runs;
            earned_tenths_sum += earned_tenths;
            points_sum += u64::from(test.points);
            row(&mut text, test.name, earned_tenths, u64::from(test.points), tally);
        }
        row(&mut text, "total", earned_tenths_sum, points_sum, &self.total);
        for test in registry.all() {
            for what in self.unseen(test) {
                let _ = writeln!(text, "note: no seed of {} has shown {what}; try more seeds", test.name);
            }
        }
        let _ = writeln!(text, "{} runs in {} of wall time", self.total.runs, seconds(wall));
        text
    }
}

fn row(text: &mut String, name: &str, earned_tenths: u64, points: u64, tally: &Tally) {
    let _ = writeln!(
        text,
        "{name:<26} {:>9} {:>13} {:>11} {:>9} {:>10} {:>12}",
        format!("{}.{}/{points}", earned_tenths / 10, earned_tenths % 10),
        format!("{}/{}", tally.runs - tally.failed, tally.runs),
        seconds(tally.elapsed),
        seconds(tally.cpu),
        tally.rpcs,
        tally.bytes
    );
}
