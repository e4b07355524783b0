//! What the watchdog makes of what it has seen, in words.
//!
//! Boundary: verdicts on one run, and their reports. When a run is looked at is
//! decided in `mod.rs`; runs whose steps are too slow have `slow.rs`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::pulse::{Fate, Order, Pulse, Seen, is_fatal, name_of};
use super::usage::{is_traced, memory_in_use};
use crate::outcome::{Failure, FailureKind};
use crate::sim::trap::{Catch, Caught};
use crate::stack::Stack;

/// How long a run may take no step when it has grown too large.
const GROWING_WITHOUT_STEPS: Duration = Duration::from_millis(300);

/// A run that stands still and yet grows, by so much and in so many pages at the
/// least, goes on growing when it is given up. A page may be a large one.
const GROWS_BYTES: u64 = 64 << 20;
const GROWS_PAGE_FAULTS: u64 = 64;

impl Pulse {
    /// Tells the outcome of a run that cannot tell it itself.
    pub(super) fn give_up(&self, failure: Failure, is_fatal: bool, threads_cpu: Duration) {
        let fate = if is_fatal { Fate::Fatal } else { Fate::Abandoned };
        self.tell(fate, Some(failure), |ended| ended.cpu = threads_cpu + self.others_cpu());
    }

    /// A signal handler has caught the run's OS thread for good.
    pub(super) fn judge_catch(&self, catch: &Catch) {
        let stack = Stack::from_addresses(&catch.addresses);
        let thread = name_of(Some(catch));
        let (kind, message) = match catch.caught {
            Caught::StackOverflow => (
                FailureKind::StackOverflow,
                format!(
                    "thread `{thread}` overflowed its stack; does it recurse without end? \
                     (each simulated thread has Config::stack_bytes of stack)"
                ),
            ),
            Caught::Abort if stack.mentions("handle_alloc_error") => {
                (FailureKind::Memory, format!("thread `{thread}` ran out of memory: an allocation failed"))
            }
            Caught::Abort => (
                FailureKind::Panic,
                format!("thread `{thread}` aborted the program: by `abort`, or by a panic that may not unwind"),
            ),
            Caught::Segv | Caught::Bus | Caught::Ill | Caught::Fpe | Caught::Sampled => {
                let Some((signal, why)) = catch.caught.fault() else { return };
                (FailureKind::Panic, format!("thread `{thread}` was killed by {signal}: {why}"))
            }
        };
        // Whatever else unsafe code has written to, nobody knows.
        let is_fatal = catch.caught.fault().is_some() || holds_a_lock_of_the_process(&stack);
        self.give_up(self.failure(kind, message, Some(catch), Some(&stack)), is_fatal, Duration::ZERO);
    }

    /// The run takes no steps.
    #[cold]
    pub(super) fn judge_stall(&self, used: Duration, limit: Duration) {
        if is_traced() {
            *self.seen.lock() = Seen::default();
            return;
        }
        let Some(catch) = self.ask_and_wait() else {
            let message = format!("the run took no step for {} s, and its thread does not answer", limit.as_secs());
            self.give_up(self.failure(FailureKind::Stuck, message, None, None), false, used);
            return;
        };
        if is_fatal(&catch) {
            self.judge_catch(&catch);
            return;
        }
        let stack = Stack::from_addresses(&catch.addresses);
        let busy = used >= limit / 2;
        let prints = stack.is_in_printing();
        if !busy && prints {
            // Whoever reads what it prints takes their time: a pager, for one.
            *self.seen.lock() = Seen::default();
            return;
        }
        let grows = busy && self.grows();
        let (kind, message) = if grows && !prints {
            (FailureKind::Memory, takes_memory(Some(&catch), self.grown(memory_in_use())))
        } else {
            describe_stall(&catch.thread, &stack, busy, limit)
        };
        // A panic hook runs under a lock that test runners want, too.
        let is_fatal = grows || stack.mentions("panic_with_hook");
        self.give_up(self.failure(kind, message, Some(&catch), Some(&stack)), is_fatal, used);
    }

    /// A loop takes more and more memory, such as one that prints where a test
    /// runner keeps what is printed. Given up, it would go on until there is none.
    pub(super) fn grows(&self) -> bool {
        let seen = self.seen.lock();
        // The process's growth may be another run's doing; the faults are not.
        let grown = memory_in_use().saturating_sub(seen.memory);
        grown >= GROWS_BYTES && seen.still_page_faults >= GROWS_PAGE_FAULTS
    }

    /// By how much the process has grown during this run. What earlier runs have
    /// left behind is not its fault.
    pub(super) fn grown(&self, used: u64) -> u64 {
        match self.memory_before.load(Ordering::Relaxed) {
            0 => {
                self.memory_before.store(used, Ordering::Relaxed);
                0
            }
            before => used.saturating_sub(before),
        }
    }

    /// The process has grown beyond the run's limit.
    #[cold]
    pub(super) fn judge_memory(&self, grown: u64) {
        // A run that takes steps fails at the next one, and its memory is freed.
        if self.order(Order::OutOfMemory) {
            return;
        }
        let stands_still = self.seen.lock().still_for >= GROWING_WITHOUT_STEPS;
        if !stands_still && grown < 2 * self.memory_limit.load(Ordering::Relaxed) {
            return;
        }
        let catch = self.ask_and_wait();
        if let Some(catch) = catch.as_ref().filter(|catch| is_fatal(catch)) {
            self.judge_catch(catch);
            return;
        }
        let stack = catch.as_ref().map(|catch| Stack::from_addresses(&catch.addresses));
        let message = takes_memory(catch.as_ref(), grown);
        let failure = self.failure(FailureKind::Memory, message, catch.as_ref(), stack.as_ref());
        self.give_up(failure, true, Duration::ZERO);
    }
}

/// Of a thread that takes memory and no steps.
fn takes_memory(catch: Option<&Catch>, grown: u64) -> String {
    format!(
        "thread `{}` takes more and more memory, {} MiB so far, in a loop without a call into labsim",
        name_of(catch),
        grown >> 20
    )
}

/// True if the thread that stands there has a lock that all threads need: the
/// allocator's, or that of a standard stream. It will never give it back.
fn holds_a_lock_of_the_process(stack: &Stack) -> bool {
    stack.is_in_allocator() || stack.mentions("std::io::")
}

/// What a thread that takes no steps is doing, as far as its stack tells.
fn describe_stall(thread: &str, stack: &Stack, busy: bool, limit: Duration) -> (FailureKind, String) {
    let at = stack.place().map_or(String::new(), |place| format!(", at {place}"));
    let seconds = limit.as_secs_f32();
    if busy {
        let message = format!(
            "thread `{thread}` runs without a call into labsim, for {seconds:.1} s of the machine's time{at}; \
             nobody else can run meanwhile: wait with a Condvar, a channel or a sleep"
        );
        return (FailureKind::BusyLoop, message);
    }
    // Names of std's own functions; where they change, the general word remains.
    let known: [(&[&str], &str, &str); 9] = [
        // Before the lock that std has around it, which may be what it waits for.
        (&["Stdin"], "standard input", "a constant"),
        (&["Mutex", "lock_contended"], "a std::sync::Mutex", "labsim::sync::Mutex"),
        (&["RwLock", "contended"], "a std::sync::RwLock", "labsim::sync::RwLock"),
        (&["std::sync::barrier"], "a std::sync::Barrier", "labsim::sync::Barrier"),
        (&["std::sync::mpsc"], "a std::sync::mpsc channel", "labsim::channel"),
        (&["std::sync::mpmc"], "a std::sync::mpsc channel", "labsim::channel"),
        (&["sync::once::"], "a std::sync::Once, OnceLock or LazyLock", "labsim::sync::OnceLock"),
        (&["Condvar", "wait"], "a std::sync::Condvar", "labsim::sync::Condvar"),
        (&["thread", "park"], "std::thread::park", "labsim::thread::park"),
    ];
    let found = known.into_iter().find(|(parts, ..)| parts.iter().all(|part| stack.mentions(part)));
    let what = match (found, stack.callee()) {
        (Some((_, what, instead)), _) => format!("{what}; use {instead}"),
        (None, Some(callee)) => format!("the machine, in {callee}; a simulation does no blocking I/O"),
        (None, None) => "the machine; a simulation does no blocking I/O".to_owned(),
    };
    (FailureKind::OutsideWorld, format!("thread `{thread}` waits for {what}{at}"))
}
