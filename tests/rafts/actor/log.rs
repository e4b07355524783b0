//! The log in memory: what follows the snapshot, in a ring.
//!
//! Boundary: entries by index. What of them is on the disk is in `disk.rs`.

use std::collections::VecDeque;

use crate::message::{Entry, EntryId, Index, Term};

/// The entries after `base`, which is the last one in the snapshot.
#[derive(Debug)]
pub(crate) struct Log {
    base: EntryId,
    entries: VecDeque<Entry>,
}

impl Log {
    pub(crate) fn new(base: EntryId, entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { base, entries: entries.into_iter().collect() }
    }

    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn last(&self) -> EntryId {
        let index = self.base.index + self.entries.len() as Index;
        EntryId { term: self.entries.back().map_or(self.base.term, |entry| entry.term), index }
    }

    fn slot(&self, index: Index) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index + 1)?).ok()
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.slot(index)?)
    }

    /// The term at `index`, the base included. None if it is before or beyond.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// At most so many entries from `first` on, which is after the base.
    pub(crate) fn from(&self, first: Index, most: usize) -> Vec<Entry> {
        let slot = self.slot(first).expect("what is in the snapshot is not sent as entries");
        self.entries.iter().skip(slot).take(most).cloned().collect()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    /// Drops the entries from `first` on.
    pub(crate) fn cut_from(&mut self, first: Index) {
        let slot = self.slot(first).expect("what is in the snapshot is committed, and is not cut");
        self.entries.truncate(slot);
    }

    /// A snapshot stands for everything up to `base` now. What follows stays if
    /// the log has that very entry; otherwise nothing does. True if it stays.
    pub(crate) fn rebase(&mut self, base: EntryId) -> bool {
        let keeps_rest = self.term_at(base.index) == Some(base.term);
        let dropped = if keeps_rest { (base.index - self.base.index) as usize } else { self.entries.len() };
        self.entries.drain(..dropped);
        self.base = base;
        keeps_rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Terms 1, 1, 2, 3 after a base at index 5 of term 1.
    fn log() -> Log {
        let entry = |term| Entry { term, command: Bytes::new() };
        Log::new(EntryId { term: 1, index: 5 }, [1, 1, 2, 3].map(entry))
    }

    #[test]
    fn entries_are_found_by_index() {
        let log = log();
        assert_eq!(log.last(), EntryId { term: 3, index: 9 });
        let terms: Vec<_> = (4..=10).map(|index| log.term_at(index)).collect();
        assert_eq!(terms, [None, Some(1), Some(1), Some(1), Some(2), Some(3), None]);
        assert_eq!((log.from(8, 5).len(), log.from(6, 3).len(), log.from(10, 3).len()), (2, 3, 0));
    }

    #[test]
    fn a_snapshot_keeps_what_follows_it_only_if_it_agrees() {
        for (id, keeps, last) in [((2, 8), true, (3, 9)), ((3, 8), false, (3, 8)), ((3, 12), false, (3, 12))] {
            let mut log = log();
            assert_eq!(log.rebase(EntryId { term: id.0, index: id.1 }), keeps);
            assert_eq!(log.last(), EntryId { term: last.0, index: last.1 });
            assert_eq!(log.base().index, id.1);
        }
    }
}
