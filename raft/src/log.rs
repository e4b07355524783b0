//! The log (§5.3): entries in order, each with the term it was received in.
//!
//! Indexes are 1-based, as in the paper. Index 0, of term 0, stands for the
//! empty beginning that all logs have in common.
//!
//! Boundary: a sequence with questions. Does not know who sends what to whom.

use crate::message::{Entry, EntryId, Index, Term};

/// A server's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// The last entry; the empty beginning if there is none.
    pub(crate) fn last(&self) -> EntryId {
        match self.entries.last() {
            Some(entry) => EntryId { term: entry.term, index: self.entries.len() as Index },
            None => EntryId::default(),
        }
    }

    /// The term of the entry at `index`, if there is one.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        match slot(index) {
            None => Some(0),
            Some(slot) => self.entries.get(slot).map(|entry| entry.term),
        }
    }

    /// True if the log has that very entry: then, by the Log Matching Property
    /// (Figure 3), it has the same entries as the sender's up to there.
    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }
}

/// Where the entry at `index` lies; nowhere for index 0.
fn slot(index: Index) -> Option<usize> {
    let slot = index.checked_sub(1)?;
    Some(usize::try_from(slot).expect("a log fits in memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[Term]) -> Log {
        Log { entries: terms.iter().map(|term| Entry { term: *term, command: Vec::new() }).collect() }
    }

    #[test]
    fn every_log_contains_the_empty_beginning_2a() {
        for terms in [&[][..], &[1], &[1, 1, 4]] {
            assert!(log(terms).contains(EntryId::default()));
        }
        assert_eq!(log(&[]).last(), EntryId { term: 0, index: 0 });
        assert_eq!(log(&[1, 1, 4]).last(), EntryId { term: 4, index: 3 });
    }

    #[test]
    fn an_entry_is_its_index_and_its_term_2a() {
        let log = log(&[1, 1, 4]);
        assert!(log.contains(EntryId { term: 4, index: 3 }));
        assert!(!log.contains(EntryId { term: 1, index: 3 }), "another term wrote index 3");
        assert!(!log.contains(EntryId { term: 4, index: 4 }), "the log ends at 3");
        assert!(!log.contains(EntryId { term: 1, index: 0 }), "the beginning is of term 0");
    }
}
