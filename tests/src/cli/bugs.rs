//! `lab bugs`: the bug bank against the suites.
//!
//! Boundary: which bugs and blocks, what is shown, and the exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;

use super::{progress_bar, record, workspace};
use crate::bank::{self, Assertions, Bug, HEADING, Row, Workshop, block_line, block_seeds, hunt};
use crate::check::Kind;
use crate::run::parse_seed;
use crate::suites::{LabTest, Registry};

/// Put known bugs into a copy of the solution, and see what finds them.
#[derive(Args)]
pub(super) struct Bugs {
    /// Bugs, by number, by name, or by a piece of a name [default: all]
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    /// How many blocks of seeds to try, each as many as a graded run has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    blocks: u32,
    /// The first seed of the first block, decimal or 0x
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = parse_seed)]
    from: u64,
    /// Keep the solution's own assertions, which a student's Raft does not have
    #[arg(long)]
    assertions: bool,
    /// How many runs at a time [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// One JSON object a line for each bug and block
    #[arg(long)]
    json: bool,
}

impl Bugs {
    pub(super) fn execute(self, registry: &Registry) -> Result<ExitCode, String> {
        let root = workspace()?;
        let bank = bank::load(&root)?;
        let bugs = self.choose(&bank)?;
        let (rows, untried) = self.carry_out(registry, &root, &bugs)?;
        let missed: Vec<&str> = rows.iter().filter(|row| !row.is_found()).map(|row| row.bug.name.as_str()).collect();
        if !self.json {
            record::print(&format!("{} of {} bugs are found\n", rows.len() - missed.len(), rows.len()));
        }
        if !missed.is_empty() {
            eprintln!("not found in 95 of 100 blocks: {}", missed.join(", "));
        }
        if untried > 0 {
            return Err(format!("{untried} bugs could not be tried"));
        }
        Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::Harness.exit_code()) })
    }

    fn choose<'a>(&self, bank: &'a [Bug]) -> Result<Vec<&'a Bug>, String> {
        if let Some(word) = self.words.iter().find(|word| !bank.iter().any(|bug| bug.is_meant_by(word))) {
            let names: Vec<&str> = bank.iter().map(|bug| bug.name.as_str()).collect();
            return Err(format!("no bug is called `{word}`; there are {}", names.join(", ")));
        }
        let is_wanted = |bug: &&Bug| self.words.is_empty() || self.words.iter().any(|word| bug.is_meant_by(word));
        Ok(bank.iter().filter(is_wanted).collect())
    }

    /// The rows, and how many bugs could not be tried. Of those it is said at once why.
    fn carry_out<'a>(
        &self,
        registry: &Registry,
        root: &Path,
        bugs: &[&'a Bug],
    ) -> Result<(Vec<Row<'a>>, usize), String> {
        let workshop = Workshop::open(root)?;
        let bar = progress_bar(bugs.len() as u64 * u64::from(self.blocks));
        if !self.json {
            record::print(&format!("{HEADING}\n"));
        }
        let mut rows = Vec::new();
        for bug in bugs {
            let row = match self.measure(registry, &workshop, bug, &bar) {
                Ok(row) => row,
                Err(error) => {
                    bar.suspend(|| eprintln!("error: {error}"));
                    continue;
                }
            };
            if !self.json {
                bar.suspend(|| record::print(&format!("{}\n", row.render())));
            }
            rows.push(row);
        }
        bar.finish_and_clear();
        let untried = bugs.len() - rows.len();
        Ok((rows, untried))
    }

    fn measure<'a>(
        &self,
        registry: &Registry,
        workshop: &Workshop,
        bug: &'a Bug,
        bar: &ProgressBar,
    ) -> Result<Row<'a>, String> {
        let tests: Vec<&'static LabTest> = registry.all().filter(|test| test.part.name == bug.part).collect();
        if tests.is_empty() {
            return Err(format!("{}: there is no part {}", bug.name, bug.part));
        }
        let width = block_seeds(&tests);
        let first_seed = |nth: u32| u64::from(nth).checked_mul(width).and_then(|seeds| self.from.checked_add(seeds));
        if first_seed(self.blocks).is_none() {
            return Err(format!(
                "{} blocks of {width} seeds from {} on pass the greatest seed",
                self.blocks, self.from
            ));
        }
        bar.set_message(format!("{}: builds", bug.name));
        let assertions = if self.assertions { Assertions::Kept } else { Assertions::Out };
        let program = workshop.build(bug, assertions)?;
        bar.set_message(bug.name.clone());
        let workers = self.jobs.map_or_else(super::processors, usize::from);
        let mut blocks = Vec::new();
        for first_seed in (0..self.blocks).filter_map(first_seed) {
            let block = hunt(&program, &tests, first_seed, workers)?;
            if self.json {
                bar.suspend(|| record::print(&format!("{}\n", block_line(bug, &block))));
            }
            blocks.push(block);
            bar.inc(1);
        }
        Ok(Row { bug, blocks })
    }
}
