//! What the services are told: ApplyOrder, Figure3.StateMachineSafety, and
//! SnapshotMatches (§5.3, §5.4.3, §7).
//!
//! The first server that applies an index decides, as far as anybody outside can
//! tell, what is committed there. Every other has to say the same, ever after,
//! restarts included; each in order; and a snapshot has to stand for just that.
//!
//! Boundary: tables of what was applied. Knows no terms and no leaders.

use std::time::Duration;

use raft::{Bytes, Index, ServerId};

use super::at;
use crate::check::{Broken, Kind};

/// What each server's service was told, and what all of them agree on.
#[derive(Debug, Default)]
pub struct Applies {
    /// The last index that each one's service was told in its present life, by a
    /// command or by a snapshot.
    last: Vec<Index>,
    /// By index, from 1 on: what was applied there first, by whom, and when.
    agreed: Vec<(Bytes, ServerId, Duration)>,
}

impl Applies {
    /// For so many servers.
    pub fn new(count: usize) -> Self {
        Self { last: vec![0; count], agreed: Vec::new() }
    }

    /// A service starts, and has forgotten everything.
    pub fn begin_life(&mut self, server: ServerId) {
        self.last[slot(server)] = 0;
    }

    /// A service is told to execute `command`.
    ///
    /// # Errors
    ///
    /// If that is out of order, or another command than somebody else was told.
    pub fn command(&mut self, moment: Duration, server: ServerId, index: Index, command: &Bytes) -> Result<(), Broken> {
        let due = self.last(server) + 1;
        if index != due {
            let message = format!("{server} applied index {index}, and {due} was due, at {}", at(moment));
            return Err(Broken::new(Kind::Safety, "ApplyOrder", message));
        }
        self.last[slot(server)] = index;
        self.agree(moment, server, index, command)
    }

    fn agree(&mut self, moment: Duration, server: ServerId, index: Index, command: &Bytes) -> Result<(), Broken> {
        let slot = usize::try_from(index - 1).expect("a log fits in memory");
        let Some((first, by, since)) = self.agreed.get(slot) else {
            // In order, so the next free one.
            // A copy: whoever started it sees by the original who still has it.
            self.agreed.push((Bytes::copy_from_slice(command), server, moment));
            return Ok(());
        };
        if first == command {
            return Ok(());
        }
        let message = format!(
            "two commands at index {index}: {by} applied {} at {}, and {server} {} at {}",
            show(first),
            at(*since),
            show(command),
            at(moment)
        );
        Err(Broken::new(Kind::Safety, "Figure3.StateMachineSafety", message))
    }

    /// A service is told to forget everything and take `data` over, the state as
    /// of `index`.
    ///
    /// # Errors
    ///
    /// If that takes the service back, or is not what was applied up to there.
    pub fn snapshot(&mut self, moment: Duration, server: ServerId, index: Index, data: &[u8]) -> Result<(), Broken> {
        let last = self.last(server);
        if index <= last {
            let message = format!(
                "{server} was told to take over a snapshot up to index {index}, after it had applied {last}, at {}",
                at(moment)
            );
            return Err(Broken::new(Kind::Safety, "ApplyOrder", message));
        }
        let wrong = |what: String| {
            let message = format!("the snapshot up to index {index} on {server} {what}, at {}", at(moment));
            Err(Broken::new(Kind::Safety, "SnapshotMatches", message))
        };
        let Ok((said, commands)) = labrpc::decode::<(Index, Vec<Bytes>)>(data) else {
            return wrong("is none that a service wrote".to_owned());
        };
        if said != index || commands.len() as Index != index {
            return wrong(format!("is one up to index {said}, with {} commands", commands.len()));
        }
        for (at_index, (command, agreed)) in (1..).zip(commands.iter().zip(&self.agreed)) {
            let (first, by, since) = agreed;
            if command != first {
                let (has, was) = (show(command), show(first));
                return wrong(format!("has {has} at index {at_index}, where {by} applied {was} at {}", at(*since)));
            }
        }
        if commands.len() > self.agreed.len() {
            return wrong(format!("has more than the {} commands that anybody applied", self.agreed.len()));
        }
        self.last[slot(server)] = index;
        Ok(())
    }

    /// What a service writes down of itself: everything it was told.
    pub fn write_snapshot(&self, server: ServerId) -> Vec<u8> {
        let last = self.last(server);
        let count = usize::try_from(last).expect("a log fits in memory");
        let commands: Vec<&Bytes> = self.agreed[..count].iter().map(|(command, ..)| command).collect();
        labrpc::encode(&(last, commands))
    }

    /// How many servers have applied `index`, and what.
    pub fn at(&self, index: Index) -> (usize, Option<&Bytes>) {
        let count = self.last.iter().filter(|last| **last >= index).count();
        let Some(slot) = index.checked_sub(1).filter(|_| count > 0) else { return (0, None) };
        (count, self.agreed.get(usize::try_from(slot).expect("a log fits in memory")).map(|(command, ..)| command))
    }

    /// The last index that a server has applied in its present life.
    pub fn last(&self, server: ServerId) -> Index {
        self.last[slot(server)]
    }

    /// The last index that anybody has ever applied.
    pub fn highest(&self) -> Index {
        self.agreed.len() as Index
    }

    /// All that anybody has applied, in order.
    pub fn agreed(&self) -> impl Iterator<Item = &Bytes> {
        self.agreed.iter().map(|(command, ..)| command)
    }
}

fn slot(server: ServerId) -> usize {
    server.0 as usize
}

/// A command as a report shows it: those of the suites are text.
pub fn show(command: &Bytes) -> String {
    const CHARS_MAX: usize = 24;
    const BYTES_MAX: usize = 8;
    match std::str::from_utf8(command) {
        Ok(text) if text.len() <= CHARS_MAX && !text.is_empty() => format!("`{text}`"),
        // The first few, and how many there are: a command may have thousands.
        _ => format!("{} bytes {:02x?}", command.len(), &command[..command.len().min(BYTES_MAX)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServerId = ServerId(0);
    const B: ServerId = ServerId(1);

    fn command(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    /// Two servers; the first has applied `x` and `y`.
    fn applied() -> Applies {
        let mut applies = Applies::new(2);
        for (index, text) in [(1, "x"), (2, "y")] {
            applies.command(Duration::from_millis(100 * index), A, index, &command(text)).unwrap();
        }
        applies
    }

    fn rule(result: Result<(), Broken>) -> Option<&'static str> {
        result.err().and_then(|broken| broken.rule)
    }

    #[test]
    fn the_same_on_every_server_is_fine_2b() {
        let mut applies = applied();
        assert_eq!(applies.at(1), (1, Some(&command("x"))));
        applies.command(Duration::ZERO, B, 1, &command("x")).unwrap();
        assert_eq!((applies.at(1).0, applies.at(2).0, applies.at(3)), (2, 1, (0, None)));
        // In its next life it is told everything again.
        applies.begin_life(A);
        assert_eq!(applies.at(2), (0, None));
        applies.command(Duration::ZERO, A, 1, &command("x")).unwrap();
    }

    #[test]
    fn another_command_at_an_index_is_named_with_the_first_2b() {
        let mut applies = applied();
        let broken = applies.command(Duration::from_millis(250), B, 1, &command("z")).unwrap_err();
        assert_eq!(broken.rule, Some("Figure3.StateMachineSafety"));
        let expected = "two commands at index 1: S0 applied `x` at 0.100s, and S1 `z` at 0.250s";
        assert_eq!(broken.message, expected);
    }

    #[test]
    fn a_gap_and_a_repetition_are_out_of_order_2b() {
        for index in [1, 2, 4] {
            let broken = rule(applied().command(Duration::ZERO, A, index, &command("y")));
            assert_eq!(broken, Some("ApplyOrder"), "index {index}");
        }
    }

    #[test]
    fn a_snapshot_stands_for_what_was_applied_2d() {
        let snapshot = applied().write_snapshot(A);
        let take = |index, data: &[u8]| {
            let mut applies = applied();
            let judged = rule(applies.snapshot(Duration::ZERO, B, index, data));
            (judged, applies.last(B))
        };
        assert_eq!(take(2, &snapshot), (None, 2));
        assert_eq!(take(1, &snapshot), (Some("SnapshotMatches"), 0), "it is of another index");
        assert_eq!(take(2, b"?"), (Some("SnapshotMatches"), 0));
        let forged = labrpc::encode(&(2u64, vec![command("x"), command("z")]));
        assert_eq!(take(2, &forged), (Some("SnapshotMatches"), 0));
        let longer = labrpc::encode(&(3u64, vec![command("x"), command("y"), command("z")]));
        assert_eq!(take(3, &longer), (Some("SnapshotMatches"), 0), "nobody has applied index 3");
        let mut applies = applied();
        assert_eq!(rule(applies.snapshot(Duration::ZERO, A, 2, &snapshot)), Some("ApplyOrder"), "it has applied that");
    }
}
