//! `lab list`: the parts, their tests, and what they are worth.
//!
//! Boundary: prints the registry.

use std::process::ExitCode;

use clap::Args;

use crate::report;
use crate::suites::Registry;

/// List the parts, their tests and their points.
#[derive(Args)]
pub(super) struct List {
    /// One JSON object a line: part, test, title, points
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn execute(self, registry: &Registry) -> Result<ExitCode, String> {
        let mut text = String::new();
        for part in registry.parts {
            let tests: Vec<_> = registry.all().filter(|test| test.part == *part).collect();
            if self.json {
                tests.iter().for_each(|test| text += &(report::test_line(test) + "\n"));
                continue;
            }
            let points: u32 = tests.iter().map(|test| test.points).sum();
            text += &format!("{}  {} ({points} points)\n", part.name, part.title);
            for test in tests {
                text += &format!("  {:<26} {:>3}  {}\n", test.name, test.points, test.title);
            }
        }
        super::record::print(&text);
        Ok(ExitCode::SUCCESS)
    }
}
