//! What a server holds: its log, as it shows that, and what its disk may have at best.
//!
//! Boundary: entries, by index. Whose they are is in `known.rs`.

use raft::{EntryId, Index, ServerId, Shown, Term, View};

/// A server's log, from the entry after its snapshot on.
#[derive(Clone, Default, Debug)]
pub struct Log {
    /// The last entry in the snapshot.
    pub base: EntryId,
    entries: Vec<Shown>,
}

/// What a disk may hold at best: what the server has published, up to the last view
/// that was followed by a sync.
#[derive(Clone, Default, Debug)]
pub struct OnDisk {
    /// The term.
    pub term: Term,
    /// The vote in that term.
    pub voted_for: Option<ServerId>,
    /// The last entry in its snapshot.
    pub base: EntryId,
    /// Which view it may be equal to.
    pub view: u64,
    /// Up to here it has what the server's log has now.
    pub(super) agrees_to: Index,
    /// What it may have after that, where the log has something else or nothing now.
    pub(super) tail: Vec<Shown>,
}

impl Log {
    /// The last entry.
    pub fn last(&self) -> EntryId {
        EntryId {
            term: self.entries.last().map_or(self.base.term, |entry| entry.term),
            index: self.base.index + self.entries.len() as Index,
        }
    }

    /// The entry at an index that is after the snapshot.
    pub fn at(&self, index: Index) -> Option<Shown> {
        let slot = index.checked_sub(self.base.index + 1)?;
        self.entries.get(usize::try_from(slot).ok()?).copied()
    }

    /// The term at an index, as far as it is known.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.at(index).map(|entry| entry.term) }
    }

    /// True if the log has that very entry, in its snapshot perhaps.
    pub fn contains(&self, id: EntryId) -> bool {
        id.index < self.base.index || self.term_at(id.index) == Some(id.term)
    }

    /// All after the snapshot, with their indexes.
    pub fn entries(&self) -> impl Iterator<Item = (Index, Shown)> + '_ {
        (self.base.index + 1..).zip(self.entries.iter().copied())
    }

    /// Takes a view over. Returns what has gone, other than into a snapshot.
    pub(super) fn fold(&mut self, view: &View) -> Option<(Index, Vec<Shown>)> {
        let first = view.base.index + 1;
        let kept = view.changed_from.max(first);
        let gone_from = slot_after(self.base.index, kept).min(self.entries.len());
        let removed: Vec<Shown> = self.entries[gone_from..].to_vec();
        let removed = (!removed.is_empty()).then_some((kept.max(self.base.index + 1), removed));
        self.entries.truncate(gone_from);
        let trimmed = slot_after(self.base.index, first).min(self.entries.len());
        self.entries.drain(..trimmed);
        self.base = view.base;
        self.entries.extend_from_slice(&view.changed);
        removed
    }
}

pub(super) fn slot_after(base: Index, index: Index) -> usize {
    usize::try_from(index.saturating_sub(base + 1)).expect("a log fits in memory")
}

impl OnDisk {
    /// True if the disk may have that very entry, `log` being the server's own.
    pub fn contains(&self, log: &Log, id: EntryId) -> bool {
        if id.index <= self.base.index {
            return true; // In the snapshot: it was committed.
        }
        if id.index <= self.agrees_to {
            return log.contains(id);
        }
        let slot = slot_after(self.agrees_to, id.index);
        self.tail.get(slot).is_some_and(|entry| entry.term == id.term)
    }

    /// The last entry that it may have.
    pub fn last(&self, log: &Log) -> EntryId {
        match self.tail.last() {
            Some(entry) => EntryId { term: entry.term, index: self.agrees_to + self.tail.len() as Index },
            None => EntryId { term: log.term_at(self.agrees_to).unwrap_or_default(), index: self.agrees_to },
        }
    }

    /// The log has lost entries from `first` on, before anything was synced.
    pub(super) fn keep_removed(&mut self, first: Index, removed: &[Shown]) {
        if first <= self.agrees_to {
            let shared = usize::try_from(self.agrees_to + 1 - first).expect("a log fits in memory");
            let mut tail = removed[..shared.min(removed.len())].to_vec();
            tail.append(&mut self.tail);
            self.tail = tail;
            self.agrees_to = first - 1;
        }
    }
}
