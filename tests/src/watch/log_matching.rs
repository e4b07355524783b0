//! Figure3.LogMatching (§5.3): if two logs have an entry with the same index and
//! term, they have the same command there, and the same entries before it.
//!
//! Leaders show their logs by what they send. So it is enough that no two
//! AppendEntries have different commands for one index and term, nor entries of
//! different terms before it: all that lies before follows by induction, as in
//! the paper's proof.
//!
//! Boundary: one table of what was sent.

use std::time::Duration;

use raft::{Bytes, EntryId, Index, ServerId, Term};

use super::wire::{Said, Wire};
use super::{at, show};
use crate::check::{Broken, Kind};

/// No log of a run is that long: a number that is greater went wrong.
const INDEX_MAX: Index = 10_000_000;

/// What was sent for each index and term.
#[derive(Debug, Default)]
pub struct LogMatching {
    /// By index, from 1 on: the few terms that were sent for it.
    sent: Vec<Vec<Sent>>,
}

#[derive(Debug)]
struct Sent {
    term: Term,
    command: Bytes,
    /// The term of the entry before.
    term_before: Term,
    by: ServerId,
    at: Duration,
}

impl LogMatching {
    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it has an entry that was sent otherwise before.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        let Said::AppendEntries(args) = wire.said else { return Ok(()) };
        if !wire.leaves {
            return Ok(());
        }
        let mut before = args.prev;
        if before.index > INDEX_MAX {
            let message =
                format!("{} sends entries after index {}, which no log of a run reaches", wire.from, before.index);
            return Err(Broken::unnamed(Kind::Limit, message));
        }
        for entry in &args.entries {
            let id = EntryId { term: entry.term, index: before.index + 1 };
            let new = || Sent {
                term: id.term,
                // A copy: whoever started it sees by the original who still has it.
                command: Bytes::copy_from_slice(&entry.command),
                term_before: before.term,
                by: wire.from,
                at: wire.at,
            };
            let slot = usize::try_from(before.index).expect("a log fits in memory");
            if slot >= self.sent.len() {
                self.sent.resize_with(slot + 1, Vec::new);
            }
            match self.sent[slot].iter().find(|sent| sent.term == id.term) {
                None => self.sent[slot].push(new()),
                Some(first) if first.command != entry.command || first.term_before != before.term => {
                    return Err(breach(id, first, &new()));
                }
                Some(_) => {}
            }
            before = id;
        }
        Ok(())
    }
}

fn breach(id: EntryId, first: &Sent, second: &Sent) -> Broken {
    let (index, term) = (id.index, id.term);
    let describe = |sent: &Sent| {
        let Sent { command, term_before, by, at: when, .. } = sent;
        format!("{by} sent {} after an entry of term {term_before}, at {}", show(command), at(*when))
    };
    let message = format!("two entries of term {term} at index {index}: {}; {}", describe(first), describe(second));
    Broken::new(Kind::Safety, "Figure3.LogMatching", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::wire::wire;
    use raft::{AppendEntriesArgs, Entry, Index};

    fn sends(prev: (Term, Index), entries: &[(Term, &str)]) -> AppendEntriesArgs {
        let entry =
            |(term, text): &(Term, &str)| Entry { term: *term, command: Bytes::copy_from_slice(text.as_bytes()) };
        AppendEntriesArgs {
            term: 9,
            leader: ServerId(0),
            prev: EntryId { term: prev.0, index: prev.1 },
            entries: entries.iter().map(entry).collect(),
            leader_commit: 0,
        }
    }

    /// After a leader has sent [x1, y1, z2].
    fn then(args: &AppendEntriesArgs) -> Option<String> {
        let mut watcher = LogMatching::default();
        let first = sends((0, 0), &[(1, "x"), (1, "y"), (2, "z")]);
        watcher.hear(&wire(0, 1, true, Said::AppendEntries(&first))).unwrap();
        let broken = watcher.hear(&wire(2, 1, true, Said::AppendEntries(args))).err()?;
        assert_eq!(broken.rule, Some("Figure3.LogMatching"));
        Some(broken.message)
    }

    #[test]
    fn an_index_and_a_term_name_one_entry_and_all_before_it_2b() {
        assert_eq!(then(&sends((1, 1), &[(1, "y"), (2, "z"), (2, "more")])), None);
        assert_eq!(then(&sends((1, 1), &[(3, "other")])), None, "of another term");
        let expected = "two entries of term 1 at index 2: S0 sent `y` after an entry of term 1, at 0.000s; \
                        S2 sent `w` after an entry of term 1, at 0.000s";
        assert_eq!(then(&sends((1, 1), &[(1, "w")])), Some(expected.to_owned()));
        assert!(then(&sends((0, 1), &[(1, "y")])).is_some(), "another entry is before it");
    }

    #[test]
    fn an_index_that_went_wrong_costs_no_memory_2b() {
        let args = sends((1, u64::MAX), &[(1, "y")]);
        let broken = LogMatching::default().hear(&wire(0, 1, true, Said::AppendEntries(&args))).unwrap_err();
        assert_eq!(broken.kind, Kind::Limit);
    }
}
