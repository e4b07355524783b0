//! Chances that become plain data.
//!
//! Boundary: one stream, and the few ways in which a plan draws from it.

use labsim::rand::Stream;

/// Draws the numbers of one thing of a plan, from a stream of its own.
#[derive(Debug)]
pub(super) struct Dice(Stream);

impl Dice {
    /// The dice of the `index`-th fault of a run.
    pub(super) fn of_fault(seed: u64, index: u64) -> Self {
        Self(Stream::new(seed, "faults", 0, index))
    }

    /// The dice of what a run has once.
    pub(super) fn of_run(seed: u64) -> Self {
        Self(Stream::new(seed, "plan", 0, 0))
    }

    /// The dice of one trigger's occurrences, which are drawn while the run goes.
    pub(super) fn of_trigger(seed: u64, fault: u64, index: u64) -> Self {
        Self(Stream::new(seed, "trigger", fault, index))
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn from(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// The same, to count with.
    pub(super) fn count(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.from(low as u64, high as u64)).expect("a small number")
    }

    /// One of several, each equally likely.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.count(0, choices.len() - 1)]
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.0.chance(p)
    }

    /// Another order, each equally likely.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.count(0, last));
        }
    }
}
