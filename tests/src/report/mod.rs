//! Results as text and JSON.
//!
//! Boundary: turns results into lines. Runs nothing and decides nothing.

mod card;
mod json;
mod text;

pub use self::card::{Card, Tally};
pub use self::json::{run_line, summary_line, test_line};
pub use self::text::{Told, announce, failure, notices, to_stderr};
