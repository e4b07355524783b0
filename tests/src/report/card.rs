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
use crate::check::{Kind, Spent};
use crate::run::RunResult;
use crate::suites::{LabTest, Part, Registry};
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
    /// The machine's time that passed in them, one after the other.
    pub wall: Duration,
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
        self.wall += result.wall;
        self.cpu += result.cpu;
        self.rpcs += result.rpcs;
        self.bytes += result.bytes;
    }

    fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.elapsed += other.elapsed;
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.rpcs += other.rpcs;
        self.bytes += other.bytes;
    }
}

/// The runs of one test.
#[derive(Debug, Default)]
struct Row {
    tally: Tally,
    sights: BTreeSet<Sight>,
    spent: BTreeMap<String, Spent>,
    /// Of the red runs, the one that ends soonest: its time, and its seed.
    shortest: Option<(Duration, u64)>,
}

/// A report card in the making.
#[derive(Debug, Default)]
pub struct Card {
    rows: BTreeMap<&'static str, Row>,
    total: Tally,
    worst: Option<Kind>,
}

impl Card {
    /// Takes a result in.
    pub fn add(&mut self, result: &RunResult) {
        let row = self.rows.entry(result.test.name).or_default();
        row.tally.add(result);
        row.sights.extend(&result.sights);
        for (what, spent) in &result.spent {
            row.spent.entry(what.clone()).or_insert(*spent).merge(*spent);
        }
        if result.broken.is_some() && result.died.is_none() {
            row.shortest = row.shortest.into_iter().chain([(result.elapsed, result.seed)]).min();
        }
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

    /// What each part has come to, of the tests that were run.
    pub(super) fn points(&self, registry: &Registry) -> Vec<(Part, Points)> {
        let of_part = |part: &Part| {
            let tests = registry.all().filter(|test| test.part == *part);
            let earned = tests.filter_map(|test| Some(Points::earned(test, &self.rows.get(test.name)?.tally)));
            earned.reduce(|mut all, points| {
                all.add(points);
                all
            })
        };
        registry.parts.iter().filter_map(|part| Some((*part, of_part(part)?))).collect()
    }

    /// What a test must show, and no seed of it did.
    fn unseen(&self, test: &LabTest) -> Vec<&'static str> {
        let Some(Row { tally, sights, .. }) = self.rows.get(test.name) else { return Vec::new() };
        if tally.failed > 0 || !sights.contains(&Sight::View) {
            return Vec::new(); // A failed run ended before it could.
        }
        test.must_see.iter().filter(|sight| !sights.contains(sight)).map(|sight| sight.describe()).collect()
    }

    /// What was spent most of what has a limit, test by test; of several tests with
    /// one limit, by that which spent most.
    fn spent(&self, registry: &Registry) -> Vec<(&'static str, &str, Spent)> {
        let mut all: Vec<(&'static str, &str, Spent)> = Vec::new();
        for test in registry.all() {
            let Some(row) = self.rows.get(test.name) else { continue };
            for (what, spent) in &row.spent {
                match all.iter_mut().find(|(_, known, _)| known == what) {
                    Some(known) if known.2.most >= spent.most => {}
                    Some(known) => *known = (test.name, what, *spent),
                    None => all.push((test.name, what, *spent)),
                }
            }
        }
        all
    }

    /// The card as a table, a row a test of the registry, and one for each part of
    /// which there are several. `wall` is the time it all took.
    pub fn render(&self, registry: &Registry, wall: Duration) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<31} {:>10} {:>13} {:>11} {:>9} {:>10} {:>12}",
            "test", "points", "seeds", "virtual", "wall", "RPCs", "bytes"
        );
        let mut total = Points::default();
        for part in registry.parts {
            let rows: Vec<_> = registry
                .all()
                .filter(|test| test.part == *part)
                .filter_map(|test| Some((test, &self.rows.get(test.name)?.tally)))
                .collect();
            let (mut points, mut all) = (Points::default(), Tally::default());
            for (test, tally) in &rows {
                let earned = Points::earned(test, tally);
                line(&mut text, test.name, earned, tally);
                points.add(earned);
                all.merge(tally);
            }
            if rows.len() > 1 {
                line(&mut text, &format!("part {}: {}", part.name, part.title), points, &all);
            }
            total.add(points);
        }
        line(&mut text, "total", total, &self.total);
        for (name, what, Spent { most, allowed }) in self.spent(registry) {
            let _ = writeln!(text, "{name}: at most {most} {what}; {allowed} are allowed");
        }
        for test in registry.all() {
            let Some(row) = self.rows.get(test.name).filter(|row| row.tally.runs > 1) else { continue };
            if let Some((elapsed, seed)) = row.shortest {
                let Tally { failed, runs, .. } = row.tally;
                let time = seconds(elapsed);
                let name = test.name;
                let _ =
                    writeln!(text, "{name}: {failed} of {runs} seeds failed; the shortest is --seed {seed}, {time}");
            }
        }
        // Runs that all fail at once have shown nothing for want of time.
        let has_views = self.rows.values().any(|row| row.sights.contains(&Sight::View));
        if self.total.runs > self.total.failed && !has_views {
            text +=
                "note: no server has published what it is like (raft/README.md): less is watched, and found later\n";
        }
        for test in registry.all() {
            for what in self.unseen(test) {
                let _ = writeln!(text, "note: no seed of {} has shown {what}; try more seeds", test.name);
            }
        }
        let (runs, cpu) = (self.total.runs, seconds(self.total.cpu));
        let _ = writeln!(text, "{runs} runs in {} of wall time, {cpu} of CPU time", seconds(wall));
        text
    }
}

/// Points that can be earned, and tenths of those that were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Points {
    pub(super) tenths: u64,
    pub(super) of: u64,
}

impl Points {
    fn earned(test: &LabTest, tally: &Tally) -> Self {
        let of = u64::from(test.points);
        Self { tenths: of * 10 * (tally.runs - tally.failed) / tally.runs, of }
    }

    fn add(&mut self, other: Self) {
        self.tenths += other.tenths;
        self.of += other.of;
    }
}

fn line(text: &mut String, name: &str, points: Points, tally: &Tally) {
    let Points { tenths, of } = points;
    let _ = writeln!(
        text,
        "{name:<31} {:>10} {:>13} {:>11} {:>9} {:>10} {:>12}",
        format!("{}.{}/{of}", tenths / 10, tenths % 10),
        format!("{}/{}", tally.runs - tally.failed, tally.runs),
        seconds(tally.elapsed),
        seconds(tally.wall),
        tally.rpcs,
        tally.bytes
    );
}
