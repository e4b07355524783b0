//! What a signal handler leaves behind for the watchdog to read.
//!
//! A handler may interrupt anything, an allocator or a lock included, so it may
//! only store into memory that is there already. This is that memory: a few
//! hundred atomics for each run. The handler fills them in and sets `state`
//! last; the watchdog, on another OS thread, looks at `state` first.
//!
//! Boundary: numbers in, numbers out. Raising and handling signals is in
//! `signals.rs`, turning addresses into text in `stack.rs`.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use crate::stack::DEPTH_MAX;

/// The longest thread name that is kept, in bytes.
const NAME_BYTES: usize = 64;

/// Of [`DEPTH_MAX`] frames, so many are the innermost. The rest goes round.
const INNERMOST: usize = DEPTH_MAX / 2;

/// Where the frame at a depth is kept.
fn place_of(depth: usize) -> usize {
    if depth < INNERMOST { depth } else { INNERMOST + (depth - INNERMOST) % (DEPTH_MAX - INNERMOST) }
}

const EMPTY: u32 = 0;
const BEING_FILLED: u32 = 1;

/// What a simulation's OS thread was caught in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caught {
    /// A simulated thread ran into the guard page of its stack. The OS thread
    /// sleeps in the handler for ever.
    StackOverflow = 2,
    /// The process was about to be aborted. The OS thread sleeps, as above.
    Abort = 3,
    /// Nothing: the watchdog wanted to know where it is. It goes on.
    Sampled = 4,
}

/// The mailbox of one run.
pub(super) struct Trap {
    state: AtomicU32,
    depth: AtomicUsize,
    addresses: [AtomicUsize; DEPTH_MAX],
    name_bytes: AtomicUsize,
    name: [AtomicU8; NAME_BYTES],
    /// The node of the thread, by number and one more; 0 for none.
    node: AtomicU32,
}

/// What was in the mailbox.
pub(super) struct Catch {
    pub(super) caught: Caught,
    pub(super) addresses: Vec<usize>,
    /// Empty if it could not be had.
    pub(super) thread: String,
    pub(super) node: Option<u32>,
}

// Filled by signal handlers, which are not everywhere.
#[cfg_attr(not(unix), allow(dead_code))]
impl Trap {
    pub(super) const fn new() -> Self {
        Self {
            state: AtomicU32::new(EMPTY),
            depth: AtomicUsize::new(0),
            addresses: [const { AtomicUsize::new(0) }; DEPTH_MAX],
            name_bytes: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME_BYTES],
            node: AtomicU32::new(0),
        }
    }

    /// Empties it for the next catch.
    pub(super) fn reset(&self) {
        self.depth.store(0, Ordering::Relaxed);
        self.name_bytes.store(0, Ordering::Relaxed);
        self.node.store(0, Ordering::Relaxed);
        self.state.store(EMPTY, Ordering::Release);
    }

    /// Begins to fill it in. False if something is in it already: the first
    /// catch counts. Called by a signal handler.
    pub(super) fn begin(&self) -> bool {
        self.state.compare_exchange(EMPTY, BEING_FILLED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Adds a caller's address. Of a deep stack the innermost frames are kept, and
    /// the outermost: where it began tells which locks it holds. Called by a
    /// signal handler.
    pub(super) fn add(&self, address: usize) {
        let depth = self.depth.load(Ordering::Relaxed);
        self.addresses[place_of(depth)].store(address, Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
    }

    /// Notes whose stack it is. Called by a signal handler.
    pub(super) fn set_thread(&self, name: &str, node: Option<u32>) {
        let bytes = name.len().min(NAME_BYTES);
        for (slot, byte) in self.name.iter().zip(name.bytes()) {
            slot.store(byte, Ordering::Relaxed);
        }
        self.name_bytes.store(bytes, Ordering::Relaxed);
        self.node.store(node.map_or(0, |node| node.saturating_add(1)), Ordering::Relaxed);
    }

    /// It is complete. Called by a signal handler.
    pub(super) fn finish(&self, caught: Caught) {
        self.state.store(caught as u32, Ordering::Release);
    }

    /// What is in it, if it is complete.
    pub(super) fn read(&self) -> Option<Catch> {
        let state = self.state.load(Ordering::Acquire);
        let all = [Caught::StackOverflow, Caught::Abort, Caught::Sampled];
        let caught = all.into_iter().find(|caught| *caught as u32 == state)?;
        let depth = self.depth.load(Ordering::Relaxed);
        let kept = (0..depth.min(INNERMOST)).chain(depth.saturating_sub(DEPTH_MAX - INNERMOST).max(INNERMOST)..depth);
        let addresses = kept.map(|depth| self.addresses[place_of(depth)].load(Ordering::Relaxed)).collect();
        let bytes = self.name_bytes.load(Ordering::Relaxed).min(NAME_BYTES);
        let name: Vec<u8> = self.name[..bytes].iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        let thread = String::from_utf8_lossy(&name).into_owned();
        Some(Catch { caught, addresses, thread, node: self.node.load(Ordering::Relaxed).checked_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_catch_counts_until_reset() {
        let trap = Trap::new();
        assert!(trap.read().is_none());
        assert!(trap.begin());
        assert!(trap.read().is_none(), "it is not complete");
        trap.add(7);
        trap.set_thread("ticker", Some(2));
        trap.finish(Caught::Sampled);
        assert!(!trap.begin(), "it is full");
        let catch = trap.read().expect("it is complete");
        assert_eq!((catch.caught, catch.addresses, catch.node), (Caught::Sampled, vec![7], Some(2)));
        assert_eq!(catch.thread, "ticker");
        trap.reset();
        assert!(trap.read().is_none() && trap.begin());
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let trap = Trap::new();
        assert!(trap.begin());
        (0..1000).for_each(|depth| trap.add(depth));
        trap.set_thread(&"x".repeat(NAME_BYTES + 10), None);
        trap.finish(Caught::Abort);
        let catch = trap.read().expect("it is complete");
        assert_eq!((catch.thread.len(), catch.node), (NAME_BYTES, None));
        let kept: Vec<usize> = (0..DEPTH_MAX / 2).chain(1000 - DEPTH_MAX / 2..1000).collect();
        assert_eq!(catch.addresses, kept, "the first and the last");
    }
}
