//! Where the search has been: which operations were placed, and in which state.
//!
//! An entry is what was placed of the operations that must be, the state, and what was
//! placed of those that need not. Who has placed the same, is in the same state, and
//! has used up the same optional operations or more, can do nothing from there that was
//! not tried before. So the last is compared as a set with its subsets, and hashes
//! leave it out. The rest is compared word by word: a hash alone decides nothing.
//!
//! Boundary: words and bytes. Does not know what the bits stand for.

/// No entry.
const NONE: u32 = u32::MAX;

/// Words before an entry's own: its hash, the next entry of its bucket, its lengths.
const HEADER: usize = 3;

/// Buckets of an empty memo.
const BUCKETS_MIN: usize = 64;

/// A set of places in the search, of a bounded size.
pub(super) struct Memo {
    /// Entries, one after the other.
    words: Vec<u64>,
    /// Each bucket's newest entry, as an index into `words`.
    buckets: Vec<u32>,
    entries: usize,
    bytes_max: usize,
}

/// What the memo knew of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// It is new, and known from now on.
    New,
    /// Nothing new can come of it.
    Before,
    /// It may be new, and there is no room for it.
    Full,
}

impl Memo {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { words: Vec::new(), buckets: vec![NONE; BUCKETS_MIN], entries: 0, bytes_max }
    }

    /// Asks for a place, and adds it. `must` has to be the same; `may` has to contain
    /// what was placed then. Zeros at its end count for nothing.
    pub(super) fn visit(&mut self, hash: u64, must: &[u64], may: &[u64]) -> Seen {
        let mut at = self.buckets[self.bucket(hash)];
        while at != NONE {
            let entry = &self.words[at as usize..];
            let (must_length, may_length) = lengths(entry[2]);
            if entry[0] == hash
                && must_length == must.len()
                && entry[HEADER..HEADER + must_length] == *must
                && is_subset(&entry[HEADER + must_length..HEADER + must_length + may_length], may)
            {
                return Seen::Before;
            }
            at = next(entry);
        }
        let may = &may[..may.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1)];
        if !self.make_room(HEADER + must.len() + may.len()) {
            return Seen::Full;
        }
        let bucket = self.bucket(hash);
        let at = u32::try_from(self.words.len()).expect("there was room");
        let lengths = (must.len() as u64) << 32 | may.len() as u64;
        self.words.extend([hash, u64::from(self.buckets[bucket]), lengths]);
        self.words.extend_from_slice(must);
        self.words.extend_from_slice(may);
        self.buckets[bucket] = at;
        self.entries += 1;
        Seen::New
    }

    /// How many places it has.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// What it takes of the machine's memory.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.buckets.capacity() * size_of::<u32>()
    }

    /// Makes room for another entry of so many words. False if that is too much.
    fn make_room(&mut self, more: usize) -> bool {
        let needed = self.words.len() + more;
        if needed > NONE as usize {
            return false;
        }
        if needed > self.words.capacity() {
            let buckets = self.buckets.capacity() * size_of::<u32>();
            let allowed = self.bytes_max.saturating_sub(buckets) / size_of::<u64>();
            let capacity = (2 * needed).max(1024).min(allowed);
            if capacity < needed {
                return false;
            }
            self.words.reserve_exact(capacity - self.words.len());
        }
        // Full buckets are slow and not wrong: there they stay if memory is short.
        let doubled = self.bytes() + self.buckets.len() * size_of::<u32>();
        if self.entries >= self.buckets.len() && doubled <= self.bytes_max {
            self.double_buckets();
        }
        true
    }

    fn double_buckets(&mut self) {
        let count = 2 * self.buckets.len();
        self.buckets = vec![NONE; count];
        let mut at = 0;
        while at < self.words.len() {
            let bucket = self.bucket(self.words[at]);
            let (must_length, may_length) = lengths(self.words[at + 2]);
            self.words[at + 1] = u64::from(self.buckets[bucket]);
            self.buckets[bucket] = u32::try_from(at).expect("there was room");
            at += HEADER + must_length + may_length;
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        // The count is a power of two.
        hash as usize & (self.buckets.len() - 1)
    }
}

fn next(entry: &[u64]) -> u32 {
    u32::try_from(entry[1]).expect("it was written from 32 bits")
}

fn lengths(word: u64) -> (usize, usize) {
    ((word >> 32) as usize, (word & u64::from(u32::MAX)) as usize)
}

/// Whether the one set has nothing that the other lacks.
fn is_subset(one: &[u64], other: &[u64]) -> bool {
    one.len() <= other.len() && one.iter().zip(other).all(|(one, other)| one & !other == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_with_all_that_used_up_more() {
        let mut memo = Memo::new(1 << 20);
        assert_eq!(memo.visit(7, &[1, 2], &[0b0110, 0]), Seen::New);
        assert_eq!(memo.visit(7, &[1, 2], &[0b0110, 0]), Seen::Before);
        assert_eq!(memo.visit(7, &[1, 2], &[0b1110, 1]), Seen::Before);
        assert_eq!(memo.visit(7, &[1, 2], &[0b0100, 1]), Seen::New);
        assert_eq!(memo.visit(7, &[1, 3], &[0b0110, 0]), Seen::New);
        assert_eq!(memo.visit(7, &[1], &[0b0110, 0]), Seen::New);
        assert_eq!(memo.visit(8, &[1, 2], &[0b0110, 0]), Seen::New);
        assert_eq!(memo.entries(), 5);
    }

    #[test]
    fn a_memo_keeps_to_its_size_and_forgets_nothing() {
        let mut memo = Memo::new(100_000);
        let count = (0..).find(|&number| memo.visit(number % 50, &[number], &[]) == Seen::Full).expect("it gets full");
        assert!(memo.bytes() <= 100_000 && memo.bytes() > 90_000, "{} bytes", memo.bytes());
        assert!(count > 2_500, "{count}");
        for number in 0..count {
            assert_eq!(memo.visit(number % 50, &[number], &[]), Seen::Before, "{number}");
        }
    }
}
