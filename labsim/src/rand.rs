//! Randomness by name: every draw comes from a stream that says whose it is.
//!
//! The seed is the only entropy of a simulation. If everybody drew from one
//! generator, one message more would shift every later draw of everybody, and
//! a failing run could not be made smaller step by step. So a [`Stream`] is
//! keyed by `(seed, name, owner, index)`: the scheduler has one, each message
//! of a link has one, each life of a node has one. Taking one of them away
//! leaves the others as they were.
//!
//! The generator is ChaCha with 8 rounds. The library's distributions change
//! between versions, so [`below`](Stream::below), [`chance`](Stream::chance)
//! and [`between`](Stream::between) are made here from `next_u64` alone, and a
//! golden test pins what they return.
//!
//! Students draw with the free functions of this module. In a simulation and
//! in a real world they draw from the stream of the calling thread's node and
//! life; outside of both, from the operating system.
//!
//! Boundary: knows seeds and names. Does not know who draws, or why.

use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::context;

/// A reproducible source of random numbers.
///
/// Two streams with the same key yield the same numbers on every machine, in
/// every build. Streams whose keys differ in anything are independent.
#[derive(Clone, Debug)]
pub struct Stream {
    chacha: ChaCha8Rng,
}

impl Stream {
    /// The stream of `owner`'s `index`-th use of `name` under `seed`.
    ///
    /// `name` says what is drawn (`"link"`), `owner` the smallest thing that
    /// lives on when others go (the link from 2 to 0), and `index` counts
    /// within that owner (its 17th message).
    ///
    /// ```
    /// use labsim::rand::Stream;
    /// let mut a = Stream::new(7, "fault", 0, 3);
    /// let mut b = Stream::new(7, "fault", 0, 3);
    /// assert_eq!(a.next_u64(), b.next_u64());
    /// assert_ne!(a.next_u64(), Stream::new(7, "fault", 0, 4).next_u64());
    /// ```
    pub fn new(seed: u64, name: &str, owner: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(name.as_bytes()).to_le_bytes());
        key[16..24].copy_from_slice(&owner.to_le_bytes());
        // The last eight bytes stay zero. The index is ChaCha's stream number,
        // which is made for this: same key, independent output.
        let mut chacha = ChaCha8Rng::from_seed(key);
        chacha.set_stream(index);
        Self { chacha }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.chacha.next_u64()
    }

    /// A number in `0..n`, each equally likely.
    ///
    /// # Panics
    ///
    /// If `n` is 0: there is no such number.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        below_with(n, || self.chacha.next_u64())
    }

    /// True with probability `p`, which is taken to lie within 0 and 1.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        chance_of(p, self.chacha.next_u64())
    }

    /// A time span within `range`, to the nanosecond; its end is excluded.
    /// An empty range yields its start.
    #[inline]
    pub fn between(&mut self, range: Range<Duration>) -> Duration {
        between_with(range, |n| self.below(n))
    }

    /// A number in `0..n` for the scheduler, which draws at every switch: one
    /// 32-bit draw, with a bias below 2^-32 * n that no run can notice.
    #[inline]
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        ((u64::from(self.chacha.next_u32()) * n as u64) >> 32) as usize
    }
}

/// The next 64 random bits of the calling thread's node.
pub fn next_u64() -> u64 {
    context::draw()
}

/// A number in `0..n`, each equally likely.
///
/// ```
/// let outcome = labsim::simulate(labsim::Config::seed(3), || labsim::rand::below(6) + 1);
/// assert!((1..=6).contains(&outcome.result.unwrap()));
/// ```
///
/// # Panics
///
/// If `n` is 0.
#[track_caller]
pub fn below(n: u64) -> u64 {
    below_with(n, context::draw)
}

/// True with probability `p`, which is taken to lie within 0 and 1.
pub fn chance(p: f64) -> bool {
    chance_of(p, context::draw())
}

/// A time span within `range`, to the nanosecond; its end is excluded. An empty
/// range yields its start.
///
/// This is how an election timeout is drawn:
///
/// ```
/// use std::time::Duration;
/// let timeout = labsim::rand::between(Duration::from_millis(250)..Duration::from_millis(500));
/// assert!(timeout >= Duration::from_millis(250) && timeout < Duration::from_millis(500));
/// ```
pub fn between(range: Range<Duration>) -> Duration {
    between_with(range, below)
}

/// Lemire's multiply-and-shift, with the few draws rejected that would make
/// small numbers likelier.
#[inline]
#[track_caller]
fn below_with(n: u64, mut draw: impl FnMut() -> u64) -> u64 {
    assert!(n > 0, "a number below 0 was asked for; give a bound of at least 1");
    loop {
        let product = u128::from(draw()) * u128::from(n);
        let low = product as u64;
        // Only the lowest 2^64 mod n values of `low` are biased.
        if low >= n || low >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

/// 53 of the bits, as many as a double holds exactly, against `p`.
#[inline]
fn chance_of(p: f64, bits: u64) -> bool {
    ((bits >> 11) as f64) < p * (1u64 << 53) as f64
}

fn between_with(range: Range<Duration>, below: impl FnOnce(u64) -> u64) -> Duration {
    let width = range.end.saturating_sub(range.start).as_nanos();
    let width = u64::try_from(width).unwrap_or(u64::MAX);
    if width == 0 {
        return range.start;
    }
    range.start + Duration::from_nanos(below(width))
}

/// FNV-1a: spreads a name over 64 bits. It need not be strong, ChaCha is.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds are published, in reports and in grades. A library that changes
    /// what it returns must not change what they mean.
    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut stream = Stream::new(42, "golden", 1, 2);
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(drawn, GOLDEN_BITS);
        let small: Vec<u64> = (0..8).map(|_| stream.below(10)).collect();
        assert_eq!(small, GOLDEN_BELOW_10);
        let flips: Vec<bool> = (0..8).map(|_| stream.chance(0.25)).collect();
        assert_eq!(flips, GOLDEN_QUARTERS);
        let millis = Duration::from_millis(250)..Duration::from_millis(500);
        assert_eq!(stream.between(millis), GOLDEN_TIMEOUT);
    }
    const GOLDEN_BITS: [u64; 3] = [858_811_149_650_431_938, 15_124_275_265_475_331_461, 2_527_745_772_374_039_275];
    const GOLDEN_BELOW_10: [u64; 8] = [5, 9, 0, 8, 9, 7, 5, 0];
    const GOLDEN_QUARTERS: [bool; 8] = [false, false, false, false, true, true, true, false];
    const GOLDEN_TIMEOUT: Duration = Duration::from_nanos(295_247_892);

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |seed, name, owner, index| Stream::new(seed, name, owner, index).next_u64();
        let base = first(1, "a", 1, 1);
        for other in [first(2, "a", 1, 1), first(1, "b", 1, 1), first(1, "a", 2, 1), first(1, "a", 1, 2)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn bounds_hold_and_every_value_occurs() {
        let mut stream = Stream::new(5, "bounds", 0, 0);
        for n in [1, 2, 3, 7, 1000, u64::MAX] {
            for _ in 0..1000 {
                assert!(stream.below(n) < n, "a draw below {n} reached it");
            }
        }
        let seen: std::collections::BTreeSet<u64> = (0..1000).map(|_| stream.below(7)).collect();
        assert_eq!(seen.len(), 7);
        assert!((0..1000).all(|_| !stream.chance(0.0) && stream.chance(1.0)));
        let heads = (0..100_000).filter(|_| stream.chance(0.3)).count();
        assert!((29_000..31_000).contains(&heads), "{heads} of 100000 at p = 0.3");
        let start = Duration::from_millis(3);
        assert_eq!(stream.between(start..start), start);
    }
}
