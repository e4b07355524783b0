//! The watchdog: another OS thread that sees when a simulation gets no further.
//!
//! Whatever goes through labsim is under the scheduler's eye. What does not, is
//! not: a loop that calls nothing, a lock of std's that will never open, a read
//! from a terminal, a stack that overflows, memory without end. One thread of
//! the process therefore looks at all running simulations a few times a second.
//! A run that takes no step although it had the processor for some seconds, or
//! that waits for the machine, is asked where it is, and its outcome is sent from
//! here. Its own OS thread cannot be ended. It is *abandoned*: it sleeps, or
//! spins on, until the process ends, or until its next call into labsim.
//!
//! What is measured is the CPU time of the thread, so a busy machine raises no
//! alarm. Under a debugger nothing is measured at all: a thread at a breakpoint
//! takes no steps either.
//!
//! Boundary: reads what runs publish, and `/proc` on Linux. No verdict on a run
//! that still takes steps depends on the machine's clock, memory excepted.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Ended;
use super::core::{Core, Place};
use super::signals::{self, OsThread};
use super::trap::{Catch, Caught, Trap};
use crate::node::NodeId;
use crate::outcome::{Config, Failure, FailureKind, Trace};
use crate::stack::Stack;
use crate::world::World;

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long it waits for a thread to say where it is.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How long a run may take no step when it has grown too large.
const GROWING_WITHOUT_STEPS: Duration = Duration::from_millis(300);

/// A run that stands still and yet grows, by so much and in so many pages at the
/// least, goes on growing when it is given up. A page may be a large one.
const GROWS_BYTES: u64 = 64 << 20;
const GROWS_PAGE_FAULTS: u64 = 64;

/// One run, as other OS threads see it.
///
/// Kept for the next run when this one is over, because a signal handler may
/// look at it at any time. That of an abandoned run is never used again.
pub(super) struct Pulse {
    /// Published by the run at each switch.
    steps: AtomicU64,
    // Published by its signal handlers, which know it exactly.
    nanos: AtomicU64,
    hash: AtomicU64,
    /// The outcome has been sent; the run must not go on.
    over: AtomicBool,
    /// The watchdog asks a run that still takes steps to fail: it has used up
    /// the process's memory.
    out_of_memory: AtomicBool,
    pub(super) trap: Trap,
    /// Whoever takes this tells the outcome.
    ended: Mutex<Option<mpsc::Sender<Ended>>>,
    world: Mutex<Option<Arc<World>>>,
    /// The run's OS thread, as long as it may be asked.
    thread: Mutex<Option<OsThread>>,
    stall_nanos: AtomicU64,
    memory_limit: AtomicU64,
    // What the watchdog remembers of its last looks.
    seen: Mutex<Seen>,
    /// Memory in use when the watchdog first looked; 0 before that.
    memory_before: AtomicU64,
}

/// What was seen of a run when it last took a step.
#[derive(Default)]
struct Seen {
    steps: u64,
    /// CPU time its OS thread had used then.
    cpu: Duration,
    /// How long ago that is, in time during which the watchdog was awake: a
    /// process that is stopped does not stall.
    still_for: Duration,
    /// How long it has been seen asleep, at each look.
    asleep_for: Duration,
    page_faults: u64,
    /// Of these, since the last look.
    new_page_faults: u64,
    /// Of these, since it last took a step.
    still_page_faults: u64,
    /// Memory the process had in use then.
    memory: u64,
}

/// Those of runs that are over.
static SPARE: Mutex<Vec<&'static Pulse>> = Mutex::new(Vec::new());

/// Those of runs that go on, and the signal that there is one.
static RUNS: Mutex<Vec<&'static Pulse>> = Mutex::new(Vec::new());
static RUN_BEGAN: Condvar = Condvar::new();

impl Pulse {
    fn new() -> Self {
        Self {
            steps: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            hash: AtomicU64::new(0),
            over: AtomicBool::new(false),
            out_of_memory: AtomicBool::new(false),
            trap: Trap::new(),
            ended: Mutex::new(None),
            world: Mutex::new(None),
            thread: Mutex::new(None),
            stall_nanos: AtomicU64::new(0),
            memory_limit: AtomicU64::new(0),
            seen: Mutex::default(),
            memory_before: AtomicU64::new(0),
        }
    }

    /// The calling OS thread begins a run. Its outcome goes to `ended`.
    pub(super) fn begin(config: &Config, world: Arc<World>, ended: mpsc::Sender<Ended>) -> &'static Self {
        let pulse = SPARE.lock().pop().unwrap_or_else(|| Box::leak(Box::new(Self::new())));
        for number in [&pulse.steps, &pulse.nanos, &pulse.hash] {
            number.store(0, Ordering::Relaxed);
        }
        pulse.over.store(false, Ordering::Relaxed);
        pulse.out_of_memory.store(false, Ordering::Relaxed);
        pulse.trap.reset();
        *pulse.ended.lock() = Some(ended);
        *pulse.world.lock() = Some(world);
        *pulse.thread.lock() = Some(OsThread::current());
        let stall = u64::try_from(config.stall_limit.as_nanos()).unwrap_or(u64::MAX);
        pulse.stall_nanos.store(stall, Ordering::Relaxed);
        pulse.memory_limit.store(config.memory_limit, Ordering::Relaxed);
        *pulse.seen.lock() = Seen::default();
        pulse.memory_before.store(0, Ordering::Relaxed);

        start_watchdog();
        let mut runs = RUNS.lock();
        runs.push(pulse);
        if runs.len() == 1 {
            RUN_BEGAN.notify_one();
        }
        pulse
    }

    /// The run is over and its OS thread about to end.
    pub(super) fn end(&'static self) {
        RUNS.lock().retain(|pulse| !std::ptr::eq(*pulse, self));
        *self.thread.lock() = None;
        *self.world.lock() = None;
        *self.ended.lock() = None;
        if !self.over.load(Ordering::Relaxed) {
            SPARE.lock().push(self);
        }
    }

    /// The right to tell the outcome, for whoever comes first. If the OS thread is
    /// to be abandoned, the run is over from now on.
    pub(super) fn tell(&self, abandoned: bool) -> Option<mpsc::Sender<Ended>> {
        let ended = self.ended.lock().take()?;
        self.over.store(abandoned, Ordering::Relaxed);
        Some(ended)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    #[inline]
    fn has_orders(&self) -> bool {
        self.over.load(Ordering::Relaxed) | self.out_of_memory.load(Ordering::Relaxed)
    }

    /// Tells the outcome of a run that cannot tell it itself.
    fn give_up(&self, failure: Failure, fatal: bool, threads_cpu: Duration) {
        let Some(ended) = self.tell(true) else { return };
        let world = self.world.lock().clone();
        let (first, notes) = world.map_or((None, Vec::new()), |world| {
            // A panic in a destructor comes before the abort that it leads to.
            world.fail(failure);
            let notes = world.notes.try_lock_for(ANSWER_WITHIN).map(|mut notes| notes.take());
            (world.take_failure(), notes.unwrap_or_default())
        });
        if fatal {
            let told = first.as_ref().map(ToString::to_string).unwrap_or_default();
            *DOOM.lock() = Some(Doom { told, left: END_WITHIN });
        }
        let _ = ended.send(Ended {
            abandoned: true,
            fatal,
            steps: self.steps.load(Ordering::Relaxed),
            timer_events: 0,
            threads: 0,
            nanos: self.nanos.load(Ordering::Relaxed),
            hash: self.hash.load(Ordering::Relaxed),
            trace: Trace::default(),
            stacks: Vec::new(),
            cpu: threads_cpu,
            failure: first,
            notes,
        });
    }

    fn failure(&self, kind: FailureKind, message: String, catch: &Catch, stack: Option<&Stack>) -> Failure {
        let at = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        let thread = if catch.thread.is_empty() { "unknown" } else { &catch.thread };
        let world = self.world.lock().clone();
        Failure {
            node: catch.node.and_then(|node| Some(world?.name_if_free(NodeId(node)))),
            place: stack.and_then(|stack| stack.place().map(str::to_owned)),
            backtrace: stack.map(Stack::render).filter(|text| !text.is_empty()),
            ..Failure::new(kind, message, at, thread)
        }
    }

    /// Looks at the run once. The list of runs is locked meanwhile, so the run's
    /// OS thread exists.
    fn look(&self) {
        if self.is_over() {
            return;
        }
        if let Some(catch) = self.trap.read() {
            if catch.caught == Caught::Sampled {
                self.trap.reset(); // Somebody else asked, or the answer is late.
            } else {
                self.judge_catch(&catch);
                return;
            }
        }
        let Some(id) = self.thread.lock().as_ref().map(|thread| thread.id) else { return };
        let usage = usage_of(id);
        let mut seen = self.seen.lock();
        seen.new_page_faults = usage.page_faults.saturating_sub(seen.page_faults);
        seen.page_faults = usage.page_faults;
        let steps = self.steps.load(Ordering::Relaxed);
        if steps != seen.steps {
            let (still_for, asleep_for, memory) = (Duration::ZERO, Duration::ZERO, memory_in_use());
            *seen = Seen { steps, cpu: usage.cpu, still_for, asleep_for, still_page_faults: 0, memory, ..*seen };
            return;
        }
        seen.still_page_faults += seen.new_page_faults;
        seen.still_for += LOOK_EVERY;
        // A thread that works is asleep for a moment now and then: on a page
        // fault, or for the allocator's lock.
        seen.asleep_for = if usage.is_asleep { seen.asleep_for + LOOK_EVERY } else { Duration::ZERO };
        let limit = Duration::from_nanos(self.stall_nanos.load(Ordering::Relaxed));
        let used = usage.cpu.saturating_sub(seen.cpu);
        // Where the CPU time of a thread cannot be had, time must do.
        let is_stalled =
            seen.still_for >= limit && (seen.asleep_for >= limit / 2 || !usage.is_known || used >= limit / 2);
        drop(seen);
        if is_stalled {
            self.judge_stall(used, limit);
        }
    }

    /// A signal handler has caught the run's OS thread.
    fn judge_catch(&self, catch: &Catch) {
        let stack = Stack::from_addresses(&catch.addresses);
        let (kind, message) = match catch.caught {
            Caught::StackOverflow => (
                FailureKind::StackOverflow,
                format!(
                    "thread `{}` overflowed its stack; does it recurse without end? \
                     (each simulated thread has Config::stack_bytes of stack)",
                    catch.thread
                ),
            ),
            Caught::Abort if stack.mentions("handle_alloc_error") => {
                (FailureKind::Memory, format!("thread `{}` ran out of memory: an allocation failed", catch.thread))
            }
            Caught::Abort => (
                FailureKind::Panic,
                format!("thread `{}` aborted the program: by `abort`, or by a panic that may not unwind", catch.thread),
            ),
            Caught::Sampled => return,
        };
        let is_fatal = holds_a_lock_of_the_process(&stack);
        self.give_up(self.failure(kind, message, catch, Some(&stack)), is_fatal, Duration::ZERO);
    }

    /// The run takes no steps.
    #[cold]
    fn judge_stall(&self, used: Duration, limit: Duration) {
        if is_traced() {
            *self.seen.lock() = Seen::default();
            return;
        }
        let Some(catch) = self.ask() else {
            let nobody = Catch { caught: Caught::Sampled, addresses: Vec::new(), thread: String::new(), node: None };
            let message = format!("the run took no step for {} s, and its thread does not answer", limit.as_secs());
            self.give_up(self.failure(FailureKind::Stuck, message, &nobody, None), false, used);
            return;
        };
        if catch.caught != Caught::Sampled {
            self.judge_catch(&catch);
            return;
        }
        let stack = Stack::from_addresses(&catch.addresses);
        let busy = used >= limit / 2;
        if !busy && stack.mentions("std::io::") && ["print", "Stdout", "Stderr"].iter().any(|to| stack.mentions(to)) {
            // Whoever reads what it prints takes their time: a pager, for one.
            *self.seen.lock() = Seen::default();
            self.trap.reset();
            return;
        }
        let (kind, message) = describe_stall(&catch.thread, &stack, busy, limit);
        let is_fatal = busy && self.grows();
        self.give_up(self.failure(kind, message, &catch, Some(&stack)), is_fatal, used);
    }

    /// A loop takes more and more memory, such as one that prints where a test
    /// runner keeps what is printed. Given up, it would go on until there is none.
    fn grows(&self) -> bool {
        let seen = self.seen.lock();
        // The process's growth may be another run's doing; the faults are not.
        let grown = memory_in_use().saturating_sub(seen.memory);
        grown >= GROWS_BYTES && seen.still_page_faults >= GROWS_PAGE_FAULTS
    }

    /// Asks the run's OS thread where it is.
    fn ask(&self) -> Option<Catch> {
        match &*self.thread.lock() {
            Some(thread) => thread.ask(),
            None => return None,
        }
        let mut waited = Duration::ZERO;
        while waited < ANSWER_WITHIN {
            if let Some(catch) = self.trap.read() {
                return Some(catch);
            }
            let moment = Duration::from_millis(1);
            std::thread::sleep(moment);
            waited += moment;
        }
        None
    }

    /// By how much the process has grown during this run, if that is too much.
    /// What earlier runs have left behind is not its fault.
    fn growth(&self, used: u64) -> Option<u64> {
        let before = self.memory_before.load(Ordering::Relaxed);
        if before == 0 {
            self.memory_before.store(used, Ordering::Relaxed);
            return None;
        }
        let grown = used.saturating_sub(before);
        (grown > self.memory_limit.load(Ordering::Relaxed)).then_some(grown)
    }

    /// The process has grown beyond the run's limit.
    #[cold]
    fn judge_memory(&self, grown: u64) {
        // A run that takes steps fails at the next one, and its memory is freed.
        if !self.out_of_memory.swap(true, Ordering::Relaxed) {
            return;
        }
        let stands_still = self.seen.lock().still_for >= GROWING_WITHOUT_STEPS;
        if !stands_still && grown < 2 * self.memory_limit.load(Ordering::Relaxed) {
            return;
        }
        let catch = self.ask();
        let message = format!("{}, in a loop without a call into labsim", memory_message(grown));
        let failure = match &catch {
            Some(catch) => {
                let stack = Stack::from_addresses(&catch.addresses);
                self.failure(FailureKind::Memory, message, catch, Some(&stack))
            }
            None => {
                let at = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
                Failure::new(FailureKind::Memory, message, at, "unknown")
            }
        };
        self.give_up(failure, true, Duration::ZERO);
    }
}

fn memory_message(grown: u64) -> String {
    format!("the run has taken {} MiB of memory, and its limit is below that", grown >> 20)
}

/// True if the thread that stands there has a lock that all threads need: the
/// allocator's, or that of a standard stream. It will never give it back.
fn holds_a_lock_of_the_process(stack: &Stack) -> bool {
    stack.is_in_allocator() || stack.mentions("std::io::")
}

/// A process whose end is near, since a run in it could not be ended.
struct Doom {
    /// What has not been told if nobody does.
    told: String,
    /// How long whoever runs the simulation may take to tell it.
    left: Duration,
}

static DOOM: Mutex<Option<Doom>> = Mutex::new(None);

/// See [`Outcome::fatal`](crate::Outcome::fatal).
const END_WITHIN: Duration = Duration::from_secs(5);

/// Ends the process if it was to have ended by now. Whoever should have done so
/// may wait for the very lock that the abandoned thread holds.
fn end_if_doomed() {
    let mut doom = DOOM.lock();
    let Some(Doom { told, left }) = &mut *doom else { return };
    *left = left.saturating_sub(LOOK_EVERY);
    if left.is_zero() && !is_traced() {
        signals::end_at_once(&format!("{told}\nand the process could not go on after that\n"), 101);
    }
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
    let known: [(&[&str], &str, &str); 6] = [
        // Before the lock that std has around it, which may be what it waits for.
        (&["Stdin"], "standard input", "a constant"),
        (&["Mutex", "lock_contended"], "a std::sync::Mutex", "labsim::sync::Mutex"),
        (&["RwLock", "contended"], "a std::sync::RwLock", "labsim::sync::RwLock"),
        (&["Condvar", "wait"], "a std::sync::Condvar", "labsim::sync::Condvar"),
        (&["mpsc"], "a std::sync::mpsc channel", "labsim::channel"),
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

/// What the kernel knows of an OS thread.
#[derive(Default)]
struct Usage {
    cpu: Duration,
    page_faults: u64,
    is_asleep: bool,
    is_known: bool,
}

/// Reads `/proc`. On other systems nothing is known.
fn usage_of(thread: i32) -> Usage {
    /// Hundredths of a second: the unit of these files on every Linux.
    const TICK: Duration = Duration::from_millis(10);
    let read = || -> Option<Usage> {
        let text = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The name in the second field may hold anything, a bracket included.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // Counted from the state, which is field 3 in proc(5).
        let (state, page_faults, user, system) = (fields.first()?, number(7)?, number(11)?, number(12)?);
        let cpu = TICK * u32::try_from(user + system).ok()?;
        Some(Usage { cpu, page_faults, is_asleep: *state != "R", is_known: true })
    };
    if cfg!(target_os = "linux") { read().unwrap_or_default() } else { Usage::default() }
}

/// Bytes of memory that the process has in use; 0 if that is not known.
fn memory_in_use() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let resident = || fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok();
    resident().unwrap_or(0) * PAGE_BYTES
}

/// True if a debugger is attached, or `LAB_WATCHDOG=off` says that nobody should
/// look.
fn is_traced() -> bool {
    if std::env::var_os("LAB_WATCHDOG").is_some_and(|value| value == "off") {
        return true;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

fn start_watchdog() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
    watchdog.spawn(watch).expect("the operating system refuses another thread");
}

fn watch() {
    loop {
        let mut runs = RUNS.lock();
        while runs.is_empty() {
            RUN_BEGAN.wait(&mut runs);
        }
        drop(runs);
        std::thread::sleep(LOOK_EVERY);
        end_if_doomed();
        let runs = RUNS.lock();
        for pulse in runs.iter() {
            pulse.look();
        }
        let used = memory_in_use();
        // Of several runs, the one that touched most new memory is at fault.
        let greedy = runs.iter().filter(|pulse| !pulse.is_over()).max_by_key(|pulse| pulse.seen.lock().new_page_faults);
        if let Some(pulse) = greedy
            && let Some(grown) = pulse.growth(used)
            && !is_traced()
        {
            pulse.judge_memory(grown);
        }
    }
}

impl Core {
    /// Publishes that the run takes steps.
    #[inline]
    pub(super) fn beat(&self) {
        if let Some(pulse) = self.pulse.get() {
            pulse.steps.store(self.steps.get(), Ordering::Relaxed);
        }
    }

    /// Publishes where the run is. May be called in a signal handler.
    #[cfg_attr(not(unix), expect(dead_code))]
    pub(super) fn publish_position(&self) {
        if let Some(pulse) = self.pulse.get() {
            pulse.steps.store(self.steps.get(), Ordering::Relaxed);
            pulse.nanos.store(self.now.get(), Ordering::Relaxed);
            pulse.hash.store(self.hash.get(), Ordering::Relaxed);
        }
    }

    /// Obeys the watchdog. Stops for ever if the outcome of this run has been
    /// told; fails the run if it is to blame for the process's memory. Returns
    /// whether it has failed now.
    #[inline]
    pub(super) fn obey_watchdog(&self, place: Option<Place>) -> bool {
        self.pulse.get().is_some_and(|pulse| pulse.has_orders() && self.obey(pulse, place))
    }

    #[cold]
    fn obey(&self, pulse: &Pulse, place: Option<Place>) -> bool {
        if pulse.is_over() {
            loop {
                std::thread::park();
            }
        }
        let is_to_fail = !self.stopping.get();
        if is_to_fail {
            // Between two threads it is the one that has just run, where it stopped.
            let stopped = || Some(self.schedule.borrow().slots.get(self.current.get() as usize)?.place);
            let place = place.or_else(stopped);
            let grown = memory_in_use().saturating_sub(pulse.memory_before.load(Ordering::Relaxed));
            let message = format!("{}; thread `{}` was running", memory_message(grown), self.current_name());
            self.fail(FailureKind::Memory, message, place);
        }
        is_to_fail
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_is_told_from_one_that_sleeps() {
        let (id_tx, id_rx) = mpsc::channel();
        let (go_tx, go_rx) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            id_tx.send(OsThread::current().id).unwrap();
            let _ = go_rx.recv();
        });
        let id = id_rx.recv().unwrap();
        while !usage_of(id).is_asleep {
            std::thread::yield_now();
        }
        drop(go_tx);
        other.join().unwrap();

        let me = OsThread::current().id;
        let before = usage_of(me);
        assert!(before.is_known && !before.is_asleep);
        while usage_of(me).cpu == before.cpu {}
        assert!(!usage_of(i32::MAX).is_known);
        assert!(memory_in_use() > 0);
    }
}
