//! What a peer shows of itself whenever its lock opens.
//!
//! The lock publishes, so nobody can forget to. All that a peer has to say is what
//! its state looks like at that moment ([`StateView`], which `State::view` fills
//! in); from that the publisher here makes a [`View`], which has of the log only what
//! is new since the last one. So publishing costs what changed, and not what there is.
//!
//! Boundary: shows. Who looks, and what for, is not known here.

use labsim::time::Instant;
use labsim::watch::Watch;

use crate::message::{Entry, EntryId, Index, ServerId, Term};
use crate::state::State;

/// A role without what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoleName {
    /// Answers candidates and leaders.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Was elected for its term.
    Leader,
}

/// What a leader knows of one other server's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// Whose log.
    pub server: ServerId,
    /// Figure 2's `nextIndex`: the first entry to send.
    pub next: Index,
    /// Figure 2's `matchIndex`: the last entry known to be stored there.
    pub matched: Index,
}

/// A peer's state as the lock opens: the boxes of Figure 2, by reference where that
/// is cheaper.
#[derive(Debug)]
pub struct StateView<'a> {
    /// Who it is.
    pub server: ServerId,
    /// Its current term.
    pub term: Term,
    /// What it is in that term. Whoever has not raised its term is no candidate of it.
    pub role: RoleName,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// The last entry that is in its snapshot; the default if it has none.
    pub base: EntryId,
    /// All entries after that, in order.
    pub entries: &'a [Entry],
    /// The highest entry that it knows to be committed.
    pub commit_index: Index,
    /// The last entry that its service was, or is being, told of.
    pub last_applied: Index,
    /// What a leader knows of the others. May be left empty: less is watched then.
    pub progress: Vec<PeerProgress>,
    /// When it stands for election unless it hears of a leader; `None` if it does not
    /// say.
    pub election_deadline: Option<Instant>,
}

/// What a peer has published: its state at the end of a critical section, and how its
/// log has changed since its last one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Who it is.
    pub server: ServerId,
    /// Its current term.
    pub term: Term,
    /// What it is in that term.
    pub role: RoleName,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// Its last entry.
    pub last: EntryId,
    /// The last entry that is in its snapshot.
    pub base: EntryId,
    /// The highest entry that it knows to be committed.
    pub commit_index: Index,
    /// The last entry that its service was, or is being, told of.
    pub last_applied: Index,
    /// The first index whose entry is another one than in this peer's last view, or is
    /// gone; one more than the last if nothing has changed.
    pub changed_from: Index,
    /// The entries from there on, up to `last`.
    pub changed: Vec<Shown>,
    /// What a leader knows of the others.
    pub progress: Vec<PeerProgress>,
    /// When it stands for election unless it hears of a leader.
    pub election_deadline: Option<Instant>,
}

/// An entry as a view has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shown {
    /// The term in which a leader received it.
    pub term: Term,
    /// The command's digest: two that differ have different ones, for all that matters.
    pub digest: u64,
}

impl Shown {
    /// How a view shows `entry`.
    pub fn of(entry: &Entry) -> Self {
        Self { term: entry.term, digest: digest(&entry.command) }
    }
}

/// Remembers what a peer has shown of its log.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    base: Index,
    terms: Vec<Term>,
}

impl Publisher {
    /// What the lock that guards a state has to call whenever it opens.
    pub(crate) fn observer() -> impl FnMut(&State, &Watch) + Send + 'static {
        let mut publisher = Self::default();
        move |state: &State, watch: &Watch| watch.publish(|| publisher.publish(state.view()))
    }

    fn publish(&mut self, state: StateView<'_>) -> View {
        let StateView { base, entries, .. } = state;
        let changed_from = self.note(base.index, entries);
        let new = &entries[slot(base.index, changed_from)..];
        View {
            server: state.server,
            term: state.term,
            role: state.role,
            voted_for: state.voted_for,
            last: EntryId {
                term: entries.last().map_or(base.term, |entry| entry.term),
                index: base.index + entries.len() as Index,
            },
            base,
            commit_index: state.commit_index,
            last_applied: state.last_applied,
            changed_from,
            changed: new.iter().map(Shown::of).collect(),
            progress: state.progress,
            election_deadline: state.election_deadline,
        }
    }

    /// Takes notice of a log, and returns from which index on it is new.
    ///
    /// Two logs with the same entry at an index, which is one of the same term, are
    /// the same up to there (Log Matching, Figure 3): so the search goes from the end
    /// to the first entry that is known.
    fn note(&mut self, base: Index, entries: &[Entry]) -> Index {
        let last = base + entries.len() as Index;
        let known_last = self.base + self.terms.len() as Index;
        let first = base + 1;
        let changed_from = if base < self.base || base > known_last {
            first // Nothing that was known is there, or it is another log altogether.
        } else {
            let is_known = |index: &Index| self.terms[slot(self.base, *index)] == entries[slot(base, *index)].term;
            let mut both = (first..=last.min(known_last)).rev();
            both.find(is_known).map_or(first, |index| index + 1)
        };
        if base != self.base {
            let gone = base.saturating_sub(self.base).min(self.terms.len() as Index);
            self.terms.drain(..usize::try_from(gone).expect("no more than there are"));
            self.base = base;
        }
        self.terms.truncate(slot(base, changed_from));
        self.terms.extend(entries[slot(base, changed_from)..].iter().map(|entry| entry.term));
        changed_from
    }
}

/// Where the entry at `index` lies in a log that begins after `base`.
fn slot(base: Index, index: Index) -> usize {
    usize::try_from(index - base - 1).expect("a log fits in memory")
}

/// FNV-1a over words of eight bytes.
fn digest(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (words, rest) = bytes.as_chunks::<8>();
    let mixed =
        words.iter().fold(OFFSET, |hash, word| (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29));
    let rest = rest.iter().fold(mixed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    (rest ^ bytes.len() as u64).wrapping_mul(PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entries_of;
    use proptest::prelude::*;

    /// What a publisher says of one log after another: each a base and terms.
    fn said(logs: &[(Index, &[Term])]) -> Vec<Index> {
        let mut publisher = Publisher::default();
        logs.iter().map(|(base, terms)| publisher.note(*base, &entries_of(terms))).collect()
    }

    #[test]
    fn a_view_says_from_where_on_the_log_is_new_2b() {
        assert_eq!(said(&[(0, &[]), (0, &[1]), (0, &[1]), (0, &[1, 1, 2])]), [1, 1, 2, 2]);
        assert_eq!(said(&[(0, &[1, 1, 2, 2]), (0, &[1, 1, 3])]), [1, 3], "a tail has given way");
        assert_eq!(said(&[(0, &[1, 1, 2, 2]), (0, &[1, 1])]), [1, 3], "a tail is gone");
    }

    #[test]
    fn a_snapshot_is_no_change_of_what_follows_it_2d() {
        assert_eq!(said(&[(0, &[1, 1, 2, 2]), (2, &[2, 2]), (2, &[2, 2, 2])]), [1, 5, 5]);
        assert_eq!(said(&[(0, &[1, 1]), (9, &[]), (9, &[3])]), [1, 10, 10]);
        assert_eq!(said(&[(0, &[1, 1, 2, 2]), (3, &[])]), [1, 4], "the tail after it is gone");
        assert_eq!(said(&[(2, &[2, 2]), (1, &[1, 2, 2])]), [3, 2], "it has gone back, which none should");
    }

    proptest! {
        /// Whoever folds views has the log.
        #[test]
        fn views_add_up_to_the_log_2d(steps in prop::collection::vec((0..8_usize, 0..4_usize, 0..4_usize), 1..20)) {
            let mut publisher = Publisher::default();
            let (mut base, mut log) = (0, Vec::<Entry>::new());
            let mut folded: Vec<Term> = Vec::new(); // From index 1 on.
            for (term, (cut, add, compact)) in (1..).zip(steps) {
                log.truncate(log.len().saturating_sub(cut));
                log.extend(entries_of(&vec![term; add]));
                let gone = compact.min(log.len());
                log.drain(..gone);
                base += gone as Index;

                let from = publisher.note(base, &log);
                folded.resize(usize::try_from(base).unwrap().max(folded.len()), 0);
                folded.truncate(usize::try_from(from - 1).unwrap());
                folded.extend(log[slot(base, from)..].iter().map(|entry| entry.term));
                let terms: Vec<Term> = log.iter().map(|entry| entry.term).collect();
                prop_assert_eq!(&folded[usize::try_from(base).unwrap()..], &terms[..]);
            }
        }
    }

    #[test]
    fn other_commands_have_other_digests_2b() {
        let mut digests: Vec<u64> = (0..64).map(|len| digest(&vec![0; len])).collect();
        digests.extend([&b"x"[..], b"y", b"12345678", b"12345679", b"123456789"].map(digest));
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
