//! One run, as other OS threads see it.
//!
//! The run publishes how far it is; its signal handlers, where it is. The
//! watchdog gives it orders. And whoever of them comes first tells its outcome.
//!
//! Boundary: keeps and passes on. What is made of it is decided in `verdict.rs`
//! and `slow.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::slow::{Spending, TooSlow};
use crate::node::NodeId;
use crate::outcome::{Config, Failure, FailureKind, Outcome, Trace};
use crate::record::Record;
use crate::sim::signals::OsThread;
use crate::sim::trap::{Catch, Caught, Trap};
use crate::sim::{Ended, ending};
use crate::stack::Stack;
use crate::world::World;

/// How long the watchdog waits for a thread to say where it is, or for a table
/// that the thread may have been interrupted with.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Kept for the next run when this one is over, because a signal handler may
/// look at it at any time. That of an abandoned run is never used again.
pub(in crate::sim) struct Pulse {
    /// Published by the run at each switch.
    pub(super) steps: AtomicU64,
    // Published by its signal handlers and at its end, when it is known exactly.
    pub(super) nanos: AtomicU64,
    pub(super) hash: AtomicU64,
    /// The outcome has been sent; the run must not go on.
    over: AtomicBool,
    /// The run has got its only order.
    has_order: AtomicBool,
    /// That order, until it is carried out by whoever takes it.
    order: Mutex<Option<Order>>,
    pub(in crate::sim) trap: Trap,
    /// Whoever takes this tells the outcome.
    ended: Mutex<Option<mpsc::Sender<Ended>>>,
    world: Mutex<Option<Arc<World>>>,
    /// The run's OS thread, as long as it may be asked.
    thread: Mutex<Option<OsThread>>,
    stall_nanos: AtomicU64,
    pub(super) memory_limit: AtomicU64,
    // Of simulations that it has started.
    /// It waits for one.
    waits: AtomicBool,
    /// CPU time of those that are over.
    others_nanos: AtomicU64,
    /// One has left its OS thread behind.
    left_behind: AtomicBool,
    /// One has doomed the process.
    doomed: AtomicBool,
    // What the watchdog remembers of its last looks.
    pub(super) seen: Mutex<Seen>,
    pub(super) spending: Mutex<Spending>,
    /// Memory in use when the watchdog first looked; 0 before that.
    pub(super) memory_before: AtomicU64,
}

/// Why a run that still takes steps is to fail at its next one.
pub(super) enum Order {
    /// It has used up the process's memory.
    OutOfMemory,
    /// It has used up its CPU time.
    TooSlow(Box<TooSlow>),
}

/// What becomes of a run's OS thread when the outcome is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::sim) enum Fate {
    /// It ends.
    Ends,
    /// It sleeps or spins for as long as the process lives.
    Abandoned,
    /// And the process won't live long.
    Fatal,
}

/// What was seen of a run when it last took a step.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) steps: u64,
    /// CPU time its OS thread had used then.
    pub(super) cpu: Duration,
    /// How long ago that is, in time during which the watchdog was awake: a
    /// process that is stopped does not stall.
    pub(super) still_for: Duration,
    /// How long it has been seen asleep, at each look.
    pub(super) asleep_for: Duration,
    pub(super) page_faults: u64,
    /// Of these, since the last look.
    pub(super) new_page_faults: u64,
    /// Of these, since it last took a step.
    pub(super) still_page_faults: u64,
    /// Memory the process had in use then.
    pub(super) memory: u64,
}

/// Those of runs that are over.
static SPARE: Mutex<Vec<&'static Pulse>> = Mutex::new(Vec::new());

/// Those of runs that go on, and the signal that there is one.
pub(super) static RUNS: Mutex<Vec<&'static Pulse>> = Mutex::new(Vec::new());
pub(super) static RUN_BEGAN: Condvar = Condvar::new();

impl Pulse {
    fn new() -> Self {
        Self {
            steps: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            hash: AtomicU64::new(0),
            over: AtomicBool::new(false),
            has_order: AtomicBool::new(false),
            order: Mutex::new(None),
            trap: Trap::new(),
            ended: Mutex::new(None),
            world: Mutex::new(None),
            thread: Mutex::new(None),
            stall_nanos: AtomicU64::new(0),
            memory_limit: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            others_nanos: AtomicU64::new(0),
            left_behind: AtomicBool::new(false),
            doomed: AtomicBool::new(false),
            seen: Mutex::default(),
            spending: Mutex::default(),
            memory_before: AtomicU64::new(0),
        }
    }

    /// The calling OS thread begins a run. Its outcome goes to `ended`.
    pub(in crate::sim) fn begin(config: &Config, world: Arc<World>, ended: mpsc::Sender<Ended>) -> &'static Self {
        let pulse = SPARE.lock().pop().unwrap_or_else(|| Box::leak(Box::new(Self::new())));
        for number in [&pulse.steps, &pulse.nanos, &pulse.hash, &pulse.others_nanos] {
            number.store(0, Ordering::Relaxed);
        }
        for flag in [&pulse.over, &pulse.has_order, &pulse.waits, &pulse.left_behind, &pulse.doomed] {
            flag.store(false, Ordering::Relaxed);
        }
        *pulse.order.lock() = None;
        pulse.trap.reset();
        *pulse.ended.lock() = Some(ended);
        *pulse.world.lock() = Some(world);
        *pulse.thread.lock() = Some(OsThread::current());
        let stall = u64::try_from(config.stall_limit.as_nanos()).unwrap_or(u64::MAX);
        pulse.stall_nanos.store(stall, Ordering::Relaxed);
        pulse.memory_limit.store(config.memory_limit, Ordering::Relaxed);
        *pulse.seen.lock() = Seen::default();
        *pulse.spending.lock() = Spending::within(config.cpu_limit);
        pulse.memory_before.store(0, Ordering::Relaxed);

        let mut runs = RUNS.lock();
        runs.push(pulse);
        if runs.len() == 1 {
            RUN_BEGAN.notify_one();
        }
        pulse
    }

    /// The run is over and its OS thread about to end.
    pub(in crate::sim) fn end(&'static self) {
        RUNS.lock().retain(|pulse| !std::ptr::eq(*pulse, self));
        *self.thread.lock() = None;
        *self.world.lock() = None;
        *self.ended.lock() = None;
        if !self.is_over() {
            SPARE.lock().push(self);
        }
    }

    /// Tells the outcome, if nobody has: the run's own OS thread and the watchdog
    /// may both want to. Unless its OS thread ends by itself, the run is over from
    /// now on. `failure` counts if nothing went wrong before; `complete` adds what
    /// only the caller knows.
    pub(in crate::sim) fn tell(&self, fate: Fate, failure: Option<Failure>, complete: impl FnOnce(&mut Ended)) {
        let Some(listener) = self.ended.lock().take() else { return };
        self.over.store(fate != Fate::Ends, Ordering::Relaxed);
        let world = self.world.lock().clone();
        let (first, notes, record) = world.map_or_else(Default::default, |world| {
            if let Some(failure) = failure {
                world.fail(failure); // A panic in a destructor comes before the abort that it leads to.
            }
            let notes = world.notes.try_lock_for(ANSWER_WITHIN).map(|mut notes| notes.take());
            let first = world.take_failure();
            let record = world.record.try_lock_for(ANSWER_WITHIN).map(|mut record| record.take(first.as_ref()));
            let record = record.filter(|record| !record.events.is_empty());
            let record = record.map(|record| Record { nodes: world.node_names_if_free(), ..record });
            (first, notes.unwrap_or_default(), record.unwrap_or_default())
        });
        if fate == Fate::Fatal {
            ending::doom(first.as_ref());
        }
        let mut ended = Ended {
            abandoned: fate != Fate::Ends,
            fatal: fate == Fate::Fatal || self.doomed.load(Ordering::Relaxed),
            left_behind: self.left_behind.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            timer_events: 0,
            threads: 0,
            nanos: self.nanos.load(Ordering::Relaxed),
            hash: self.hash.load(Ordering::Relaxed),
            trace: Trace::default(),
            stacks: Vec::new(),
            cpu: Duration::ZERO,
            failure: first,
            notes,
            record,
        };
        complete(&mut ended);
        // Nobody waits only if the caller of `simulate` is gone with its process.
        let _ = listener.send(ended);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn has_orders(&self) -> bool {
        self.over.load(Ordering::Relaxed) | self.has_order.load(Ordering::Relaxed)
    }

    /// Orders the run to fail at its next step. False if it had an order before.
    pub(super) fn order(&self, order: Order) -> bool {
        let mut slot = self.order.lock();
        if self.has_order.load(Ordering::Relaxed) {
            return false;
        }
        *slot = Some(order);
        self.has_order.store(true, Ordering::Relaxed);
        true
    }

    /// The order, for whoever comes first: the run to obey it, or the watchdog if
    /// the run does not.
    pub(super) fn take_order(&self) -> Option<Order> {
        self.order.lock().take()
    }

    // Simulations that it has started.

    pub(in crate::sim) fn wait_for_another(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    pub(super) fn waits_for_another(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    pub(in crate::sim) fn account(&self, other: &Outcome<()>) {
        let nanos = u64::try_from(other.cpu.as_nanos()).unwrap_or(u64::MAX);
        self.others_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.left_behind.fetch_or(other.abandoned, Ordering::Relaxed);
        self.doomed.fetch_or(other.fatal, Ordering::Relaxed);
    }

    /// The CPU time that they have used.
    pub(in crate::sim) fn others_cpu(&self) -> Duration {
        Duration::from_nanos(self.others_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn stall_limit(&self) -> Duration {
        Duration::from_nanos(self.stall_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn thread_id(&self) -> Option<i32> {
        self.thread.lock().as_ref().map(|thread| thread.id)
    }

    /// Asks the run's OS thread where it is. The answer will be in the trap.
    pub(super) fn ask(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.ask();
        }
    }

    /// Asks, and waits for the answer. An older one is as good.
    pub(super) fn ask_and_wait(&self) -> Option<Catch> {
        self.ask();
        let mut waited = Duration::ZERO;
        while waited < ANSWER_WITHIN {
            if let Some(catch) = self.trap.take() {
                return Some(catch);
            }
            let moment = Duration::from_millis(1);
            std::thread::sleep(moment);
            waited += moment;
        }
        None
    }

    /// A failure of the thread that was caught.
    pub(super) fn failure(
        &self,
        kind: FailureKind,
        message: String,
        catch: Option<&Catch>,
        stack: Option<&Stack>,
    ) -> Failure {
        let at = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        let world = self.world.lock().clone();
        let node = catch.and_then(|catch| catch.node);
        Failure {
            node: node.and_then(|node| Some(world?.name_if_free(NodeId(node)))),
            place: stack.and_then(|stack| stack.place().map(str::to_owned)),
            backtrace: stack.map(Stack::render).filter(|text| !text.is_empty()),
            ..Failure::new(kind, message, at, name_of(catch))
        }
    }
}

/// The thread that was caught, by name.
pub(super) fn name_of(catch: Option<&Catch>) -> &str {
    catch.map(|catch| &*catch.thread).filter(|name| !name.is_empty()).unwrap_or("unknown")
}

/// True if the thread was caught in something that it does not return from.
pub(super) fn is_fatal(catch: &Catch) -> bool {
    catch.caught != Caught::Sampled
}
