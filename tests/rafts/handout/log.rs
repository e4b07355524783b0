//! The log: a vector of entries behind what the snapshot replaced.
//!
//! Boundary: indexes and terms. Knows no servers and no disk.

use std::cell::Cell;

use crate::types::{Entry, EntryId, Index, Term};

/// Entries `base.index + 1` and on. The base counts as an entry whose command is
/// gone.
#[derive(Debug)]
pub(crate) struct Log {
    base: EntryId,
    entries: Vec<Entry>,
    /// The first index that was touched since somebody was shown the log.
    touched: Cell<Index>,
}

impl Log {
    pub(crate) fn new(base: EntryId, entries: Vec<Entry>) -> Self {
        Self { base, entries, touched: Cell::new(0) }
    }

    /// The last entry that is in the snapshot.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn last(&self) -> EntryId {
        let term = self.entries.last().map_or(self.base.term, |entry| entry.term);
        EntryId { term, index: self.base.index + self.entries.len() as Index }
    }

    /// The term of the entry at `index`, if it is known.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// The entry at `index`, unless it is beyond the end or in the snapshot.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    /// The entries from `first` on, but no more than `most`.
    pub(crate) fn copy_from(&self, first: Index, most: usize) -> Vec<Entry> {
        let start = self.position(first).expect("who wants entries of the snapshot is sent the snapshot");
        self.entries[start..].iter().take(most).cloned().collect()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.touch(self.last().index + 1);
        self.entries.push(entry);
    }

    /// Removes the entry at `index` and all that follow.
    pub(crate) fn truncate(&mut self, index: Index) {
        let kept = self.position(index).expect("what is in the snapshot is committed");
        self.touch(index);
        self.entries.truncate(kept);
    }

    /// The snapshot reaches up to `base` now. Keeps what follows, if the log has
    /// that entry, and nothing otherwise.
    pub(crate) fn start_after(&mut self, base: EntryId) {
        if self.term(base.index) == Some(base.term) {
            self.entries.drain(..(base.index - self.base.index) as usize);
        } else {
            self.entries.clear();
            self.touch(base.index + 1);
        }
        self.base = base;
    }

    /// The first index at or below `prev.index`, but above `floor`, from which on
    /// nothing here can be the leader's, who has `prev` where we have not.
    pub(crate) fn first_in_doubt(&self, prev: EntryId, floor: Index) -> Index {
        let ours = self.term(prev.index);
        let mut first = prev.index;
        while first > floor + 1 && self.term(first - 1).is_some_and(|term| Some(term) == ours || term > prev.term) {
            first -= 1;
        }
        first
    }

    /// The last index up to `from` whose term is at most `term`; the base if there
    /// is none.
    pub(crate) fn last_up_to_term(&self, from: Index, term: Term) -> Index {
        let mut index = from.min(self.last().index);
        while index > self.base.index && self.term(index).is_some_and(|here| here > term) {
            index -= 1;
        }
        index
    }

    /// From where on the log differs from what was shown last; from now on it
    /// counts as shown.
    pub(crate) fn take_touched(&self) -> Index {
        self.touched.replace(Index::MAX).clamp(self.base.index + 1, self.last().index + 1)
    }

    fn touch(&self, index: Index) {
        self.touched.set(index.min(self.touched.get()));
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.checked_sub(self.base.index + 1).map(|position| position as usize)
    }
}
