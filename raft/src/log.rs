//! The log (§5.3), and the snapshot that stands for its beginning (§7).
//!
//! Indexes are 1-based, as in the paper. Index 0, of term 0, stands for the
//! empty beginning that all logs have in common. Once a prefix of the log is in
//! a snapshot its entries are dropped, and the last of them takes the place of
//! that empty beginning: the log knows its index and term, and nothing before.
//!
//! Boundary: a sequence with questions. Does not know who sends what to whom.

// BEGIN 2B
use crate::message::{Entry, EntryId, Index, Term};

/// A server's log. It begins right after the entry `base`.
///
/// Invariant: terms never fall from one entry to the next, `base` included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The last entry that is in the snapshot; the empty beginning if there is
    /// no snapshot.
    base: EntryId,
    entries: Vec<Entry>,
}

impl Log {
    /// A log as it was kept on disk.
    pub(crate) fn new(base: EntryId, entries: Vec<Entry>) -> Self {
        Self { base, entries }
    }

    /// The last entry that is in the snapshot.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    /// The last entry; `base` if there is none after it.
    pub(crate) fn last(&self) -> EntryId {
        let index = self.base.index + self.entries.len() as Index;
        EntryId { term: self.entries.last().map_or(self.base.term, |entry| entry.term), index }
    }

    /// The term of the entry at `index`. None beyond the end, and before `base`,
    /// where it is forgotten.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entries.get(self.slot(index)?).map(|entry| entry.term)
    }

    /// The place in history of the entry at `index`, as far as it is known.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// True if the log has that very entry: then, by the Log Matching Property
    /// (Figure 3), it has the same entries as any other log with it, up to there.
    ///
    /// What is in the snapshot was committed, and every later leader has it
    /// (Leader Completeness). So a leader that asks for an entry before `base`
    /// asks for one that was here, too.
    pub(crate) fn contains(&self, id: EntryId) -> bool {
        id.index < self.base.index || self.term_at(id.index) == Some(id.term)
    }

    /// Adds an entry at the end.
    pub(crate) fn append(&mut self, entry: Entry) -> EntryId {
        self.entries.push(entry);
        self.last()
    }

    /// Takes over the entries that follow the one at `prev`, which the log has.
    /// Returns the index from which it has changed, if it has.
    pub(crate) fn merge(&mut self, prev: Index, entries: &[Entry]) -> Option<Index> {
        let end = self.last().index;
        assert!(prev <= end, "entries after {prev} leave a gap: the log ends at {end}");
        // Those in the snapshot, and those that are here already, stay.
        let is_here =
            |(index, entry): &(Index, &Entry)| *index <= self.base.index || self.term_at(*index) == Some(entry.term);
        let known = (prev + 1..).zip(entries).take_while(is_here).count();
        let new = &entries[known..];
        if new.is_empty() {
            return None;
        }
        let first = prev + 1 + known as Index;
        // AppendEntries.3: a conflict goes, with all that follows it. If there is
        // none, the log ends here, and nothing goes.
        self.entries.truncate(self.slot(first)?);
        // AppendEntries.4: all that are not here yet.
        self.entries.extend_from_slice(new);
        Some(first)
    }

    /// All entries, from the one after `base` on.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries from `first` on, `max` at the most. None from before `base`.
    pub(crate) fn entries_from(&self, first: Index, max: usize) -> &[Entry] {
        let from = self.slot(first).unwrap_or(self.entries.len()).min(self.entries.len());
        &self.entries[from..self.entries.len().min(from.saturating_add(max))]
    }

    /// The first index that has the term of the entry at `index`, as far back as
    /// the log goes.
    pub(crate) fn first_of_term_at(&self, index: Index) -> Index {
        let Some(term) = self.term_at(index) else { return index };
        let before = self.entries.partition_point(|entry| entry.term < term);
        self.base.index + 1 + before as Index
    }

    /// Drops what a snapshot stands for, and keeps what follows `last_included`. If
    /// the log has another entry there, or ends before, then nothing of it is worth
    /// keeping (InstallSnapshot.6, InstallSnapshot.7).
    pub(crate) fn compact(&mut self, last_included: EntryId) {
        match self.slot(last_included.index) {
            Some(slot) if self.term_at(last_included.index) == Some(last_included.term) => {
                // Into new memory: what is dropped must not stay allocated.
                self.entries = self.entries[slot + 1..].to_vec();
            }
            _ => self.entries = Vec::new(),
        }
        self.base = last_included;
    }

    /// Where the entry at `index` lies, or would; nowhere for `base` and before.
    fn slot(&self, index: Index) -> Option<usize> {
        let slot = index.checked_sub(self.base.index + 1)?;
        Some(usize::try_from(slot).expect("a log fits in memory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entries_of;
    use proptest::prelude::*;

    fn log(terms: &[Term]) -> Log {
        Log::new(EntryId::default(), entries_of(terms))
    }

    fn id(term: Term, index: Index) -> EntryId {
        EntryId { term, index }
    }

    #[test]
    fn every_log_contains_the_empty_beginning_2a() {
        for terms in [&[][..], &[1], &[1, 1, 4]] {
            assert!(log(terms).contains(EntryId::default()));
        }
        assert_eq!(log(&[]).last(), id(0, 0));
        assert_eq!(log(&[1, 1, 4]).last(), id(4, 3));
    }

    #[test]
    fn an_entry_is_its_index_and_its_term_2b() {
        let log = log(&[1, 1, 4]);
        assert!(log.contains(id(4, 3)));
        assert!(!log.contains(id(1, 3)), "another term wrote index 3");
        assert!(!log.contains(id(4, 4)), "the log ends at 3");
        assert!(!log.contains(id(1, 0)), "the beginning is of term 0");
    }

    /// The edges of what is left when a prefix of [1, 1, 4, 4, 5] is dropped.
    #[test]
    fn what_follows_a_snapshot_stays_2d() {
        let whole = [1, 1, 4, 4, 5];
        for (last, left) in [
            (id(1, 1), &[1, 4, 4, 5][..]),
            (id(4, 3), &[4, 5]),
            (id(5, 5), &[]),
            (id(5, 4), &[]), // Another entry is there: none of ours follows it.
            (id(5, 9), &[]), // The log ends before.
        ] {
            let mut log = log(&whole);
            log.compact(last);
            assert_eq!(log, Log::new(last, entries_of(left)), "{last:?}");
            assert_eq!(log.last().index, last.index + left.len() as Index);
            assert_eq!((log.term_at(last.index), log.id_at(last.index)), (Some(last.term), Some(last)));
            assert_eq!(log.term_at(last.index - 1), None, "it is forgotten");
            assert!(log.contains(last) && log.contains(id(1, last.index - 1)));
            assert!(log.entries.capacity() <= left.len(), "what is dropped is freed");
        }
    }

    #[test]
    fn a_term_is_found_back_to_its_first_entry_2c() {
        let mut log = log(&[1, 1, 4, 4, 5]);
        let first = |log: &Log| (1..=6).map(|index| log.first_of_term_at(index)).collect::<Vec<_>>();
        assert_eq!(first(&log), [1, 1, 3, 3, 5, 6]);
        log.compact(id(4, 3));
        assert_eq!(first(&log)[2..], [4, 4, 5, 6], "as far back as the log goes");
    }

    /// What is done to a log, and to the model: a list that forgets nothing.
    #[derive(Clone, Debug)]
    enum Step {
        /// A leader's entries: these terms, after the entry that is so far back.
        Merge { back: usize, terms: Vec<Term> },
        /// A snapshot up to the entry that is so far back.
        Compact { back: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6usize, prop::collection::vec(0..3u64, 0..5)).prop_map(|(back, terms)| Step::Merge { back, terms }),
            (0..6usize).prop_map(|back| Step::Compact { back }),
        ]
    }

    proptest! {
        /// A log and the model give the same answers, whatever was done to them.
        #[test]
        fn a_log_is_a_list_that_forgets_its_beginning_2d(steps in prop::collection::vec(step(), 0..40)) {
            let mut log = Log::default();
            let mut model: Vec<Entry> = Vec::new(); // Its first entry has index 1.
            let mut forgotten = 0;
            for step in steps {
                match step {
                    Step::Merge { back, terms } => {
                        let prev = model.len().saturating_sub(back).max(forgotten);
                        // Terms do not fall; what differs may conflict with the model's tail.
                        let mut term = prev.checked_sub(1).map_or(1, |slot| model[slot].term);
                        let terms: Vec<Term> = terms.iter().map(|more| { term += more; term }).collect();
                        let new = entries_of(&terms);
                        let same = model[prev..].iter().zip(&new).take_while(|(a, b)| a == b).count();
                        let changed = same < new.len();
                        if changed {
                            model.truncate(prev + same);
                            model.extend_from_slice(&new[same..]);
                        }
                        let first = log.merge(prev as Index, &new);
                        prop_assert_eq!(first, changed.then_some((prev + same + 1) as Index));
                    }
                    Step::Compact { back } => {
                        let last = model.len().saturating_sub(back).max(forgotten);
                        if last > forgotten {
                            forgotten = last;
                            log.compact(id(model[last - 1].term, last as Index));
                        }
                    }
                }
                let at = |index: usize| index.checked_sub(1).map_or(0, |slot| model[slot].term);
                prop_assert_eq!(log.last(), id(at(model.len()), model.len() as Index));
                for index in 0..model.len() + 2 {
                    let known = (forgotten..=model.len()).contains(&index).then(|| at(index));
                    prop_assert_eq!(log.term_at(index as Index), known);
                    let from = log.entries_from(index as Index, 2);
                    let there = if index > forgotten { model.get(index - 1..).unwrap_or_default() } else { &[] };
                    prop_assert_eq!(from, &there[..there.len().min(2)]);
                }
            }
        }
    }
}
// END 2B
