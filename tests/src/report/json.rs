//! Results for programs: one compact object a line.
//!
//! A seed is a decimal string, because not every reader of JSON keeps 64 bits.
//! Times are whole microseconds. `rule` is null where no id fits.
//!
//! Boundary: the fields and their order.

use serde::Serialize;

use super::card::{Card, Points};
use crate::run::RunResult;
use crate::suites::{LabTest, Part, Registry};

#[derive(Serialize)]
struct RunLine<'a> {
    test: &'a str,
    part: &'a str,
    seed: String,
    verdict: &'a str,
    kind: Option<&'a str>,
    rule: Option<&'a str>,
    message: Option<&'a str>,
    virtual_us: u64,
    wall_us: u64,
    cpu_us: u64,
    steps: u64,
    rpcs: u64,
    bytes: u64,
    hash: String,
}

/// A run.
pub fn run_line(result: &RunResult) -> String {
    let broken = result.broken.as_ref();
    line(&RunLine {
        test: result.test.name,
        part: result.test.part.name,
        seed: result.seed.to_string(),
        verdict: if broken.is_some() { "fail" } else { "pass" },
        kind: broken.map(|broken| broken.kind.name()),
        rule: broken.and_then(|broken| broken.rule),
        message: broken.map(|broken| broken.message.as_str()),
        virtual_us: micros(result.elapsed),
        wall_us: micros(result.wall),
        cpu_us: micros(result.cpu),
        steps: result.steps,
        rpcs: result.rpcs,
        bytes: result.bytes,
        hash: format!("{:016x}", result.hash),
    })
}

#[derive(Serialize)]
struct SummaryLine {
    summary: bool,
    runs: u64,
    passed: u64,
    failed: u64,
    cpu_us: u64,
    points: f64,
    of: u64,
    parts: Vec<PartPoints>,
}

#[derive(Serialize)]
struct PartPoints {
    part: &'static str,
    points: f64,
    of: u64,
}

/// The last line of many runs.
pub fn summary_line(card: &Card, registry: &Registry) -> String {
    let (total, parts) = (card.total(), card.points(registry));
    let one = |(part, Points { tenths, of }): &(Part, Points)| PartPoints {
        part: part.name,
        points: *tenths as f64 / 10.0,
        of: *of,
    };
    line(&SummaryLine {
        points: parts.iter().map(|(_, points)| points.tenths).sum::<u64>() as f64 / 10.0,
        of: parts.iter().map(|(_, points)| points.of).sum(),
        parts: parts.iter().map(one).collect(),
        summary: true,
        runs: total.runs,
        passed: total.runs - total.failed,
        failed: total.failed,
        cpu_us: micros(total.cpu),
    })
}

#[derive(Serialize)]
struct TestLine<'a> {
    part: &'a str,
    test: &'a str,
    title: &'a str,
    points: u32,
}

/// A test of the registry.
pub fn test_line(test: &LabTest) -> String {
    line(&TestLine { part: test.part.name, test: test.name, title: test.title, points: test.points })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers are valid JSON")
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
