//! What a signal handler leaves behind for the watchdog to read.
//!
//! A handler may interrupt anything, an allocator or a lock included, so it may
//! only store into memory that is there already. This is that memory: a few
//! hundred atomics for each run. The handler fills them in and sets `state`
//! last; the watchdog, on another OS thread, looks at `state` first.
//!
//! Boundary: numbers in, numbers out. Raising and handling signals is in
//! `signals.rs`, turning addresses into text in `stack.rs`.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

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

/// Added to what it is filled in for, until it is complete.
const BEING_FILLED: u32 = 1 << 8;

/// What a simulation's OS thread was caught in. All but the last are fatal: the
/// OS thread sleeps in the handler for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(unix), allow(dead_code))]
pub(super) enum Caught {
    /// A simulated thread ran into the guard page of its stack.
    StackOverflow = 1,
    /// The process was about to be aborted.
    Abort = 2,
    /// A fault of the processor's, by the signal that it is told with.
    Segv = 3,
    Bus = 4,
    Ill = 5,
    Fpe = 6,
    /// Nothing: the watchdog wanted to know where it is. It goes on.
    Sampled = 7,
}

impl Caught {
    const ALL: [Self; 7] =
        [Self::StackOverflow, Self::Abort, Self::Segv, Self::Bus, Self::Ill, Self::Fpe, Self::Sampled];

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|caught| *caught as u32 == code)
    }

    /// The name of a fault's signal, and what leads to it.
    pub(super) fn fault(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Segv => Some(("SIGSEGV", "unsafe code touched memory that is not its own")),
            Self::Bus => Some(("SIGBUS", "unsafe code touched memory that is not there")),
            Self::Ill => {
                Some(("SIGILL", "it ran into what is no instruction, as unsafe code may that was wrong before"))
            }
            Self::Fpe => Some(("SIGFPE", "unsafe code divided what cannot be divided")),
            Self::StackOverflow | Self::Abort | Self::Sampled => None,
        }
    }
}

/// The mailbox of one run.
///
/// Filled by the handlers of one OS thread, which may interrupt each other, and
/// emptied by the watchdog. What is fatal is never lost: it takes the place of a
/// sample, also of one that is being read.
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

    /// Empties it for the next run.
    pub(super) fn reset(&self) {
        self.state.store(EMPTY, Ordering::Release);
    }

    /// Begins to fill it in. False if it must be left as it is: a sample waits
    /// until the last one was taken out, and of fatal catches the first one
    /// counts. Called by a signal handler.
    pub(super) fn begin(&self, caught: Caught) -> bool {
        let is_free = |state: u32| {
            let holds_sample = state & !BEING_FILLED == Caught::Sampled as u32;
            state == EMPTY || caught != Caught::Sampled && holds_sample
        };
        let begun = |state: u32| is_free(state).then_some(caught as u32 | BEING_FILLED);
        if self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun).is_err() {
            return false;
        }
        // Whoever reads anything of what is stored from here on, reads that state.
        fence(Ordering::SeqCst);
        self.depth.store(0, Ordering::Relaxed);
        self.name_bytes.store(0, Ordering::Relaxed);
        self.node.store(0, Ordering::Relaxed);
        true
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

    /// It is complete, or as complete as it will ever be. Called by a signal
    /// handler.
    pub(super) fn finish(&self) {
        self.state.fetch_and(!BEING_FILLED, Ordering::Release);
    }

    /// What is in it, if it is complete. A sample is taken out; what is fatal
    /// stays.
    pub(super) fn take(&self) -> Option<Catch> {
        let state = self.state.load(Ordering::Acquire);
        let caught = Caught::from_code(state)?;
        let catch = self.copy(caught);
        if caught == Caught::Sampled {
            // Was something fatal put in meanwhile, the copy is of both.
            fence(Ordering::SeqCst);
            self.state.compare_exchange(state, EMPTY, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        }
        Some(catch)
    }

    fn copy(&self, caught: Caught) -> Catch {
        let depth = self.depth.load(Ordering::Relaxed);
        let kept = (0..depth.min(INNERMOST)).chain(depth.saturating_sub(DEPTH_MAX - INNERMOST).max(INNERMOST)..depth);
        let addresses = kept.map(|depth| self.addresses[place_of(depth)].load(Ordering::Relaxed)).collect();
        let bytes = self.name_bytes.load(Ordering::Relaxed).min(NAME_BYTES);
        let name: Vec<u8> = self.name[..bytes].iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        let thread = String::from_utf8_lossy(&name).into_owned();
        Catch { caught, addresses, thread, node: self.node.load(Ordering::Relaxed).checked_sub(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(trap: &Trap, caught: Caught, addresses: impl IntoIterator<Item = usize>) {
        assert!(trap.begin(caught));
        addresses.into_iter().for_each(|address| trap.add(address));
        trap.finish();
    }

    #[test]
    fn a_sample_is_there_until_it_is_taken_out() {
        let trap = Trap::new();
        assert!(trap.take().is_none());
        assert!(trap.begin(Caught::Sampled));
        assert!(trap.take().is_none(), "it is not complete");
        trap.add(7);
        trap.set_thread("ticker", Some(2));
        trap.finish();
        assert!(!trap.begin(Caught::Sampled), "it is full");
        let catch = trap.take().expect("it is complete");
        assert_eq!((catch.caught, catch.addresses, catch.node), (Caught::Sampled, vec![7], Some(2)));
        assert_eq!(catch.thread, "ticker");
        assert!(trap.take().is_none(), "it was taken out");
        fill(&trap, Caught::Sampled, [8, 9]);
        assert_eq!(trap.take().map(|catch| (catch.addresses, catch.thread)), Some((vec![8, 9], String::new())));
    }

    #[test]
    fn a_fatal_catch_takes_the_place_of_a_sample_and_of_nothing_else() {
        for fatal in Caught::ALL.into_iter().filter(|caught| *caught != Caught::Sampled) {
            for is_complete in [false, true] {
                let trap = Trap::new();
                assert!(trap.begin(Caught::Sampled));
                trap.add(7);
                if is_complete {
                    trap.finish();
                }
                fill(&trap, fatal, [1, 2]);
                for later in Caught::ALL {
                    assert!(!trap.begin(later), "{later:?} after {fatal:?}");
                }
                for _ in 0..2 {
                    let catch = trap.take().expect("it is complete, and stays");
                    assert_eq!((catch.caught, catch.addresses), (fatal, vec![1, 2]));
                }
            }
        }
    }

    /// One thread fills in samples and then what is fatal, another one reads: it
    /// must get that, and no mixture of the two.
    #[test]
    fn a_fatal_catch_is_not_lost_to_whoever_reads_a_sample() {
        for round in 0..2000 {
            let trap = Trap::new();
            let first_read = std::thread::scope(|scope| {
                let filler = scope.spawn(|| {
                    for _ in 0..round % 4 {
                        if trap.begin(Caught::Sampled) {
                            (0..round % 50).for_each(|_| trap.add(7));
                            trap.finish();
                        }
                    }
                    fill(&trap, Caught::Abort, [1; 60]);
                });
                loop {
                    let is_filled = filler.is_finished();
                    match trap.take() {
                        Some(catch) if catch.caught == Caught::Sampled => {
                            assert!(catch.addresses.iter().all(|address| *address == 7), "round {round}");
                        }
                        Some(catch) => return catch,
                        None => assert!(!is_filled, "it is lost"),
                    }
                }
            });
            assert_eq!((first_read.caught, first_read.addresses), (Caught::Abort, vec![1; 60]), "round {round}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let trap = Trap::new();
        assert!(trap.begin(Caught::Abort));
        (0..1000).for_each(|depth| trap.add(depth));
        trap.set_thread(&"x".repeat(NAME_BYTES + 10), None);
        trap.finish();
        let catch = trap.take().expect("it is complete");
        assert_eq!((catch.thread.len(), catch.node), (NAME_BYTES, None));
        let kept: Vec<usize> = (0..DEPTH_MAX / 2).chain(1000 - DEPTH_MAX / 2..1000).collect();
        assert_eq!(catch.addresses, kept, "the first and the last");
    }
}
