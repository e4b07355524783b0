//! Fibers: stacks that a simulated thread runs on, and the switch between them.
//!
//! A fiber runs until it suspends itself; then whoever resumed it goes on. Both
//! ways cost a few nanoseconds, no system call, and no other OS thread: that is
//! what makes a simulation of threads fast, and what makes it deterministic.
//!
//! Stacks come from a pool, because mapping a new one costs more than a hundred
//! times what taking a used one does. They end in a guard page.
//!
//! Boundary: knows stacks and switches. Knows no scheduler, and does not know
//! why anyone is suspended.

use std::cell::Cell;
use std::ptr::NonNull;

use corosensei::stack::{DefaultStack, Stack as _};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use parking_lot::Mutex;

/// How many stacks the process keeps for later runs: 256 MiB of address space
/// at the usual size, of which only touched pages take memory.
const POOL_LIMIT: usize = 1024;

/// The largest closure that is moved onto the stack it runs on, in bytes.
const BODY_BYTES_MAX: usize = 512;

/// How many stacks a simulation takes from the pool at a time.
const POOL_BATCH: usize = 16;

/// Stacks of finished simulations, with their size.
static POOL: Mutex<Vec<(usize, DefaultStack)>> = Mutex::new(Vec::new());

thread_local! {
    /// The way out of the fiber that runs on this OS thread, if one does. None
    /// also on the way into one and out of it.
    static CURRENT: Cell<Option<NonNull<Yielder<(), ()>>>> = const { Cell::new(None) };

    /// The lowest address of the stack of that fiber; 0 if none runs.
    static LIMIT: Cell<usize> = const { Cell::new(0) };
}

/// No guard page is larger. It begins at the stack's lowest address, and what
/// lies above it never faults.
const GUARD_BYTES_MAX: usize = 64 * 1024;

/// True if `address` is in the guard page of the fiber that runs on this OS
/// thread: it has overflowed its stack. May be called in a signal handler.
#[cfg_attr(not(unix), expect(dead_code))]
pub(super) fn is_in_guard(address: usize) -> bool {
    let limit = LIMIT.get();
    limit != 0 && (limit..limit + GUARD_BYTES_MAX).contains(&address)
}

/// True if this OS thread is on its way from one stack to another, where no stack
/// can be walked. May be called in a signal handler.
#[cfg_attr(not(unix), expect(dead_code))]
pub(super) fn is_switching() -> bool {
    LIMIT.get() != 0 && CURRENT.get().is_none()
}

/// The stack of one simulated thread, and where on it the thread stopped.
pub(super) struct Fiber {
    coroutine: Coroutine<(), (), (), DefaultStack>,
    limit: usize,
}

impl Fiber {
    /// False until the first `resume`.
    pub(super) fn has_begun(&self) -> bool {
        self.coroutine.started()
    }

    /// A fiber that will run `body` on `stack` when first resumed.
    ///
    /// `body` must not unwind: what it throws would surface in `resume`.
    pub(super) fn new<F: FnOnce() + 'static>(stack: DefaultStack, body: F) -> Self {
        // A body lies at the top of the stack it runs on. A large one is boxed:
        // corosensei refuses more than a kilobyte.
        if size_of::<F>() > BODY_BYTES_MAX {
            Self::with_small(stack, Box::new(body) as Box<dyn FnOnce()>)
        } else {
            Self::with_small(stack, body)
        }
    }

    fn with_small(stack: DefaultStack, body: impl FnOnce() + 'static) -> Self {
        let limit = stack.limit().get();
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            CURRENT.set(Some(NonNull::from(yielder)));
            body();
            CURRENT.set(None);
        });
        Self { coroutine, limit }
    }

    /// Runs the fiber until it suspends or ends. Returns true if it ended.
    ///
    /// May be called from within another fiber, which then waits for this one.
    pub(super) fn resume(&mut self) -> bool {
        // Restored on every way out, also if the fiber's end throws.
        let _outer = Restore { outer: CURRENT.take(), limit: LIMIT.replace(self.limit) };
        let result = self.coroutine.resume(());
        matches!(result, CoroutineResult::Return(()))
    }

    /// Gives the stack back for another fiber.
    ///
    /// # Panics
    ///
    /// If the fiber has not ended.
    pub(super) fn into_stack(self) -> DefaultStack {
        self.coroutine.into_stack()
    }
}

/// Makes the outer fiber current again when it is dropped.
struct Restore {
    outer: Option<NonNull<Yielder<(), ()>>>,
    limit: usize,
}

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
        LIMIT.set(self.limit);
    }
}

/// Stops the fiber that calls this, until it is resumed.
///
/// # Panics
///
/// If the caller runs on no fiber.
#[inline]
pub(super) fn suspend() {
    let yielder = CURRENT.take().expect("only a simulated thread can be suspended");
    // SAFETY: `CURRENT` names the yielder of the fiber that is running on this
    // OS thread, which is the caller:
    // - A fiber sets it before its body begins and again, below, each time it
    //   is resumed; `resume` clears it before it enters a fiber, and restores
    //   the outer fiber's when the inner one stops, by a guard, so also when
    //   it unwinds. So it never names a fiber
    //   that is suspended or has ended while other code runs.
    // - The yielder lies on the fiber's own stack, beneath the frame of `body`,
    //   until `body` returns. We are called from within `body`.
    // - The variable is thread-local and a fiber never moves to another OS
    //   thread: `Coroutine` is not `Send`.
    unsafe { yielder.as_ref() }.suspend(());
    CURRENT.set(Some(yielder));
}

/// A simulation's own supply of stacks, taken from the pool and returned to it.
pub(super) struct Stacks {
    bytes: usize,
    free: Vec<DefaultStack>,
}

impl Stacks {
    pub(super) const fn new(bytes: usize) -> Self {
        Self { bytes, free: Vec::new() }
    }

    #[inline]
    pub(super) fn take(&mut self) -> std::io::Result<DefaultStack> {
        match self.free.pop() {
            Some(stack) => Ok(stack),
            None => self.take_from_pool(),
        }
    }

    /// Takes a batch from the pool, or makes one stack if the pool has none.
    #[cold]
    fn take_from_pool(&mut self) -> std::io::Result<DefaultStack> {
        let mut pool = POOL.lock();
        // Stacks of another size stay for the runs that want them.
        let mut at = pool.len();
        while at > 0 && self.free.len() < POOL_BATCH {
            at -= 1;
            if pool[at].0 == self.bytes {
                self.free.push(pool.swap_remove(at).1);
            }
        }
        drop(pool);
        match self.free.pop() {
            Some(stack) => Ok(stack),
            None => DefaultStack::new(self.bytes),
        }
    }

    #[inline]
    pub(super) fn give(&mut self, stack: DefaultStack) {
        self.free.push(stack);
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        if self.free.is_empty() {
            return;
        }
        let mut pool = POOL.lock();
        let room = POOL_LIMIT.saturating_sub(pool.len()).min(self.free.len());
        pool.extend(self.free.drain(..room).map(|stack| (self.bytes, stack)));
        // What does not fit is unmapped with `self.free`.
    }
}
