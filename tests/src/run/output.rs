//! What the code under test has printed: its first and its last lines.
//!
//! A program that prints without end must not fill our memory too, so of each
//! run a few lines are kept, cut to a length that fits a report, and the rest
//! is counted.
//!
//! Boundary: lines. Who printed them, and when, is the caller's knowledge.

use std::collections::VecDeque;

/// How many of the first lines are kept.
const FIRST_LINES: usize = 4;
/// How many of the last lines are kept.
const LAST_LINES: usize = 8;
/// How much of a line is kept, in characters.
const LINE_CHARS_MAX: usize = 160;

/// The printed lines of one run, standard output and standard error together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// The first lines.
    pub first: Vec<String>,
    /// The last of those that came after them.
    pub last: VecDeque<String>,
    /// How many lines came between the two.
    pub left_out: u64,
    /// How many bytes there were, line ends included.
    pub bytes: u64,
}

impl Output {
    /// Takes in a line, without its end.
    pub fn add(&mut self, line: &[u8]) {
        self.bytes += line.len() as u64 + 1;
        if self.first.len() < FIRST_LINES {
            self.first.push(printable(line));
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(printable(line));
    }

    /// True if nothing was printed.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.first.len() as u64 + self.left_out + self.last.len() as u64
    }

    /// True if a line that was kept has this in it.
    pub fn contains(&self, text: &str) -> bool {
        self.first.iter().chain(&self.last).any(|line| line.contains(text))
    }
}

/// A line that can't move the cursor of whoever reads the report.
fn printable(line: &[u8]) -> String {
    // Four bytes a character at the most: no need to decode what is cut.
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * LINE_CHARS_MAX)]);
    let mut shown: String =
        text.chars().take(LINE_CHARS_MAX).map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
    if text.chars().nth(LINE_CHARS_MAX).is_some() || line.len() > 4 * LINE_CHARS_MAX {
        shown.push_str(" ..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_lines_are_kept() {
        let mut output = Output::default();
        assert!(output.is_empty());
        for n in 0..100 {
            output.add(format!("line {n}").as_bytes());
        }
        assert_eq!(output.first, ["line 0", "line 1", "line 2", "line 3"]);
        assert_eq!(
            output.last.iter().collect::<Vec<_>>(),
            Vec::from_iter(&["92", "93", "94", "95", "96", "97", "98", "99"].map(|n| format!("line {n}")))
        );
        assert_eq!((output.left_out, output.lines(), output.bytes), (88, 100, 790));
        assert!(output.contains("line 2") && output.contains("line 99") && !output.contains("line 50"));
    }

    #[test]
    fn a_line_fits_a_report() {
        let mut output = Output::default();
        output.add(b"\x1b[31mred\tor \xff not");
        output.add("\u{e9}".repeat(200).as_bytes());
        output.add(&[b'x'; 100_000]);
        assert_eq!(output.first[0], "?[31mred\tor \u{fffd} not");
        assert_eq!(output.first[1], "\u{e9}".repeat(160) + " ..");
        assert_eq!(output.first[2], "x".repeat(160) + " ..");
    }
}
