//! The kill matrix: what was found, by what, and how soon.
//!
//! Boundary: blocks in, lines out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::bug::Bug;
use super::hunt::Block;

/// A bug is found well enough if so many of 100 blocks find it.
const ENOUGH_PERCENT: usize = 95;

/// What stands above the rows.
pub const HEADING: &str =
    "bug                            part    found  seeds: median, worst   CPU to find    named  mostly as";

/// A bug, and what each block has found of it.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The bug.
    pub bug: &'a Bug,
    /// The blocks, at least one.
    pub blocks: Vec<Block>,
}

impl Row<'_> {
    /// True if the suites find it often enough.
    pub fn is_found(&self) -> bool {
        self.found() * 100 >= ENOUGH_PERCENT * self.blocks.len()
    }

    /// In how many blocks it was found.
    pub fn found(&self) -> usize {
        self.blocks.iter().filter(|block| block.find.is_some()).count()
    }

    /// In how many a report has called it by a name of its own.
    fn named(&self) -> usize {
        self.blocks.iter().filter(|block| is_named(self.bug, block)).count()
    }

    /// The row of a table.
    pub fn render(&self) -> String {
        let count = self.blocks.len();
        // Not found is worse than any number.
        let mut seeds: Vec<u64> =
            self.blocks.iter().map(|block| block.find.as_ref().map_or(u64::MAX, |find| find.seeds)).collect();
        seeds.sort_unstable();
        let seeds_at = |nth: usize| if seeds[nth] == u64::MAX { "-".to_owned() } else { seeds[nth].to_string() };
        let mut cpu: Vec<Duration> = self.blocks.iter().map(|block| block.cpu).collect();
        cpu.sort_unstable();
        format!(
            "{:<30} {:>4} {:>8} {:>9}, {:>5} {:>18} {:>8}  {}",
            self.bug.name,
            self.bug.part,
            format!("{}/{count}", self.found()),
            seeds_at(count / 2),
            seeds_at(count - 1),
            format!("{:.3}s", cpu[count / 2].as_secs_f64()),
            format!("{}/{count}", self.named()),
            self.mostly()
        )
        .trim_end()
        .to_owned()
    }

    /// The name and the test that come up most; of several, the first by name.
    fn mostly(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for find in self.blocks.iter().filter_map(|block| block.find.as_ref()) {
            let name = find.broken.rule.unwrap_or(find.broken.kind.name());
            *counts.entry(format!("{name} in {}", find.test)).or_default() += 1;
        }
        let most = counts.into_iter().max_by(|(one, a), (two, b)| a.cmp(b).then(two.cmp(one)));
        most.map(|(what, _)| what).unwrap_or_default()
    }
}

fn is_named(bug: &Bug, block: &Block) -> bool {
    let rule = block.find.as_ref().and_then(|find| find.broken.rule);
    rule.is_some_and(|rule| bug.named_by.iter().any(|id| id == rule))
}

#[derive(Serialize)]
struct BlockLine<'a> {
    bug: &'a str,
    part: &'a str,
    found: bool,
    seeds_to_find: Option<u64>,
    cpu_us: u64,
    rule_wanted: &'a [String],
    rule_named: Option<&'a str>,
    named: bool,
    first_seed: String,
    test: Option<&'a str>,
    seed: Option<String>,
    kind: Option<&'a str>,
    message: Option<&'a str>,
}

/// A block as a line of JSON.
pub fn block_line(bug: &Bug, block: &Block) -> String {
    let find = block.find.as_ref();
    let line = BlockLine {
        bug: &bug.name,
        part: &bug.part,
        found: find.is_some(),
        seeds_to_find: find.map(|find| find.seeds),
        cpu_us: u64::try_from(block.cpu.as_micros()).unwrap_or(u64::MAX),
        rule_wanted: &bug.named_by,
        rule_named: find.and_then(|find| find.broken.rule),
        named: is_named(bug, block),
        first_seed: block.first_seed.to_string(),
        test: find.map(|find| find.test),
        seed: find.map(|find| find.seed.to_string()),
        kind: find.map(|find| find.broken.kind.name()),
        message: find.map(|find| find.broken.message.as_str()),
    };
    serde_json::to_string(&line).expect("plain data is valid JSON")
}

#[cfg(test)]
mod tests {
    use super::super::hunt::Find;
    use super::*;
    use crate::check::{Broken, Kind};

    fn bug() -> Bug {
        let text = "# 07: a title\n# Part: 2b\n# Breaks: StaleReply.\n# Leads to: ruin.\n# Named by: StaleReply\n\
                    in a.rs\nreplace  a\nwith  b\n";
        Bug::parse("07-stale-reply", text).unwrap()
    }

    fn block(find: Option<(u64, &'static str)>) -> Block {
        let find = find.map(|(seeds, rule)| Find {
            seeds,
            test: "rejoin_2b",
            seed: 99 + seeds,
            broken: Broken::new(Kind::Safety, rule, "facts"),
        });
        Block { first_seed: 100, find, cpu: Duration::from_millis(5) }
    }

    #[test]
    fn a_row_sums_its_blocks_up() {
        let bug = bug();
        let mut blocks = vec![block(Some((1, "StaleReply"))); 94];
        blocks.extend(vec![block(Some((7, "Figure3.LogMatching"))); 2]);
        blocks.push(block(None));
        let row = Row { bug: &bug, blocks };
        assert!(row.is_found());
        let expected = "07-stale-reply                   2b    96/97         1,     -             0.005s    94/97  \
                        StaleReply in rejoin_2b";
        assert_eq!(row.render(), expected);
        let place = |what: &str| HEADING.find(what).unwrap() + what.len();
        assert_eq!(place("found"), expected.find("96/97").unwrap() + 5);
        assert_eq!(place("CPU to find"), expected.find("0.005s").unwrap() + 6);
        assert!(!Row { bug: &bug, blocks: vec![block(None)] }.is_found());
    }

    #[test]
    fn a_line_has_what_a_program_wants() {
        let found = block_line(&bug(), &block(Some((3, "StaleReply"))));
        let expected = r#"{"bug":"07-stale-reply","part":"2b","found":true,"seeds_to_find":3,"cpu_us":5000,"rule_wanted":["StaleReply"],"rule_named":"StaleReply","named":true,"first_seed":"100","test":"rejoin_2b","seed":"102","kind":"safety","message":"facts"}"#;
        assert_eq!(found, expected);
        let missed = block_line(&bug(), &block(None));
        assert!(missed.contains(r#""found":false,"seeds_to_find":null"#), "{missed}");
    }
}
