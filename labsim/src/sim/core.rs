//! The state of a simulation, its clock, and what a step costs.
//!
//! What is touched at every step lies in cells; the rest is borrowed for a few
//! lines at a time, and never while anybody else's code runs.
//!
//! Boundary: counts and remembers. Who runs next is decided in `schedule.rs`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cpu_time::ThreadTime;

use super::Ended;
use super::busy::Busy;
use super::order::LockOrder;
use super::table::Schedule;
use super::threads::RawStack;
use super::watchdog::Pulse;
use crate::context::{self, Life};
use crate::outcome::{Failure, FailureKind, Preemption, Trace};
use crate::rand::Stream;
use crate::record::Recorder;
use crate::world::World;

/// A source line, kept for reports.
pub(crate) type Place = &'static Location<'static>;

/// Why a thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// It has not begun, or it lost the processor.
    Ready,
    /// For the lock with this serial number.
    Lock(u32),
    /// To read under that lock, once a writer that waits too has had its turn.
    BehindWriter(u32),
    /// For the initialisation that the thread with this serial number runs.
    Once(u32),
    Barrier,
    /// For a notification.
    Condvar,
    /// For a notification that ends a `wait_while`.
    Condition,
    Receive,
    Send,
    /// For a receiver to take the message out of its hands.
    HandOver,
    /// For one of several channels.
    Select,
    Sleep,
    Park,
    /// For the end of the thread with this serial number.
    Join(u32),
    /// For something between or below the nodes, by the world's time: a message
    /// on its way, a disk.
    World,
    /// For the rest of the run, which has failed.
    Failed,
}

/// A lock in the hands of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) serial: u32,
    pub(crate) place: Place,
    /// For reading: others may hold it too.
    pub(crate) is_shared: bool,
}

/// Virtual nanoseconds that a step costs: `512..1536`, about a microsecond.
const STEP_NANOS_MIN: u64 = 512;
const STEP_NANOS_BITS: u32 = 10;

/// How many objects of one kind a simulation can name: none runs so long.
const SERIAL_OVERFLOW: &str = "more than 4 billion locks in one run";

/// One simulation.
pub(crate) struct Core {
    /// Tells simulations of one process apart, so that an object of one that
    /// turns up in another is noticed. Plays no part in what a run does.
    pub(super) id: Cell<u32>,
    /// This run, as the watchdog sees it.
    pub(super) pulse: Cell<Option<&'static Pulse>>,
    // What every step touches.
    pub(super) now: Cell<u64>,
    pub(super) steps: Cell<u64>,
    /// Steps left until the next one at which the thread may be preempted.
    pub(super) countdown: Cell<u32>,
    /// No timer is due before this.
    pub(super) next_due: Cell<u64>,
    /// State of the generator of step costs.
    jitter: Cell<u64>,
    pub(super) hash: Cell<u64>,
    pub(super) current: Cell<u32>,
    /// The running fiber is being unwound: its node crashed, or the run is over.
    pub(super) dying: Cell<bool>,
    /// An observer of a lock is running: nobody else may.
    pub(super) observing: Cell<bool>,
    /// Calls made by destructors in the present unwinding.
    pub(super) unwinding_steps: Cell<u32>,
    /// How often `catch_unwind` has kept dying threads alive.
    pub(super) revivals: Cell<u32>,
    /// The run is over, by success or failure.
    pub(super) stopping: Cell<bool>,
    /// Somebody has to be unwound at the root.
    pub(super) kills_pending: Cell<bool>,
    /// An observer has paused the node of its own thread.
    pub(super) pause_pending: Cell<bool>,
    /// Some node's clock does not show the world's time.
    pub(super) own_clocks: Cell<bool>,
    pub(super) schedule: RefCell<Schedule>,
    // Fixed once the run begins.
    pub(super) preemption: Cell<Preemption>,
    pub(super) time_limit: Cell<u64>,
    pub(super) step_limit: Cell<u64>,
    pub(super) busy_limit: Cell<u64>,
    pub(super) stuck_after: Cell<u64>,
    pub(super) wait_limit: Cell<u64>,
    channel_limit: Cell<usize>,
    pub(super) tracing: Cell<bool>,
    pub(super) recording: Cell<bool>,
    pub(super) lock_order: Cell<bool>,
    pub(super) order: RefCell<LockOrder>,
    /// Failures are told with the stack of every thread.
    pub(super) with_stacks: Cell<bool>,
    world: RefCell<Option<Arc<World>>>,
    // Watching for loops and waits without end.
    /// Steps when the world was last idle.
    pub(super) busy_from: Cell<u64>,
    /// Steps after which it seems busy, unless it was idle before.
    pub(super) suspect_after: Cell<u64>,
    pub(super) busy_sightings: Cell<u32>,
    pub(super) busy: Busy,
    /// When all waits will be looked at.
    pub(super) next_look: Cell<u64>,
    /// Whoever is resumed shows its stack and stops again.
    pub(super) showing_stack: Cell<bool>,
    pub(super) shown_stack: RefCell<Vec<usize>>,
    pub(super) stacks: RefCell<Vec<RawStack>>,
    // The rest.
    pub(super) timer_events: Cell<u64>,
    next_serial: Cell<u32>,
    pub(super) trace: RefCell<Trace>,
    pub(super) begun: Cell<Option<ThreadTime>>,
}

/// Marks objects that are used outside of any simulation.
const OUTSIDE: u32 = 1;

impl Core {
    pub(super) const fn new() -> Self {
        Self {
            id: Cell::new(0),
            pulse: Cell::new(None),
            now: Cell::new(0),
            steps: Cell::new(0),
            countdown: Cell::new(1),
            next_due: Cell::new(u64::MAX),
            jitter: Cell::new(0),
            hash: Cell::new(0),
            current: Cell::new(0),
            dying: Cell::new(false),
            observing: Cell::new(false),
            unwinding_steps: Cell::new(0),
            revivals: Cell::new(0),
            stopping: Cell::new(false),
            kills_pending: Cell::new(false),
            pause_pending: Cell::new(false),
            own_clocks: Cell::new(false),
            schedule: RefCell::new(Schedule::EMPTY),
            preemption: Cell::new(Preemption::Never),
            time_limit: Cell::new(u64::MAX),
            step_limit: Cell::new(u64::MAX),
            busy_limit: Cell::new(u64::MAX),
            stuck_after: Cell::new(u64::MAX),
            wait_limit: Cell::new(u64::MAX),
            channel_limit: Cell::new(usize::MAX),
            tracing: Cell::new(false),
            recording: Cell::new(false),
            lock_order: Cell::new(false),
            order: RefCell::new(LockOrder::new()),
            with_stacks: Cell::new(false),
            busy_from: Cell::new(0),
            suspect_after: Cell::new(u64::MAX),
            busy_sightings: Cell::new(0),
            busy: Busy::new(),
            next_look: Cell::new(0),
            showing_stack: Cell::new(false),
            shown_stack: RefCell::new(Vec::new()),
            stacks: RefCell::new(Vec::new()),
            world: RefCell::new(None),
            timer_events: Cell::new(0),
            next_serial: Cell::new(1),
            trace: RefCell::new(Trace::EMPTY),
            begun: Cell::new(None),
        }
    }

    /// Sets the scene: what `config` fixes, and what the seed draws.
    pub(super) fn begin(&self, config: &crate::Config, ended: mpsc::Sender<Ended>) {
        static NEXT_ID: AtomicU32 = AtomicU32::new(OUTSIDE + 1);
        self.id.set(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let world = World::new(config.seed);
        if config.record {
            *world.record.lock() = Recorder::new(config.record_limit);
        }
        self.recording.set(config.record);
        self.lock_order.set(config.lock_order);
        let world = Arc::new(world);
        *self.world.borrow_mut() = Some(Arc::clone(&world));
        self.pulse.set(Some(Pulse::begin(config, world, ended)));
        let mut draws = Stream::new(config.seed, "scene", 0, 0);
        // Both are drawn in any case, so that fixing one does not move the other.
        let drawn = Preemption::ALL[draws.pick(Preemption::ALL.len())];
        self.jitter.set(draws.next_u64());
        self.preemption.set(config.preemption.unwrap_or(drawn));
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.time_limit.set(nanos(config.time_limit));
        self.stuck_after.set(nanos(config.stuck_after));
        self.wait_limit.set(config.wait_limit.map_or(u64::MAX, nanos));
        self.busy_limit.set(config.busy_limit);
        self.suspect_after.set(config.busy_limit);
        self.with_stacks.set(config.stacks);
        self.step_limit.set(config.step_limit);
        self.channel_limit.set(config.channel_limit);
        self.tracing.set(config.trace);
        self.hash.set(config.seed);
        *self.schedule.borrow_mut() = Schedule::new(config.seed, config.stack_bytes, config.thread_limit);
        self.draw_countdown();
    }

    /// Lets go of all that a run owns, when it is over.
    pub(super) fn forget(&self) {
        *self.schedule.borrow_mut() = Schedule::EMPTY;
        *self.order.borrow_mut() = LockOrder::new();
        *self.world.borrow_mut() = None;
        if let Some(pulse) = self.pulse.take() {
            pulse.end();
        }
    }

    /// Runs `f` on the tables of this world. They stay borrowed meanwhile, which
    /// keeps nobody out: the borrow is shared until the run is over.
    #[inline]
    pub(crate) fn with_world<R>(&self, f: impl FnOnce(&World) -> R) -> R {
        f(self.world.borrow().as_ref().expect("the run has begun"))
    }

    /// Virtual nanoseconds since the run began.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// What the running thread's clock shows: that of its node, if there is one.
    #[inline]
    pub(crate) fn clock_now(&self) -> u64 {
        let now = self.now.get();
        if self.own_clocks.get() { self.own_clock().reading(now) } else { now }
    }

    /// When the running thread's clock will show `reading`.
    #[inline]
    pub(super) fn when(&self, reading: u64) -> u64 {
        if self.own_clocks.get() { self.own_clock().when(reading) } else { reading }
    }

    /// How many messages may be queued in one channel.
    #[inline]
    pub(crate) fn channel_limit(&self) -> usize {
        self.channel_limit.get()
    }

    /// A deadline `timeout` from now on the running thread's clock; the end of
    /// the clock counts as never.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<u64> {
        self.clock_now().checked_add(u64::try_from(timeout.as_nanos()).ok()?)
    }

    /// A visible operation: takes a step of virtual time, lets timers fire that
    /// came due, and may hand the processor to another thread.
    ///
    /// Called at the start of what others can notice (a lock, a send), and at
    /// its end where leaving it is noticeable too (an unlock).
    #[inline]
    pub(crate) fn point(&self, place: Place) {
        self.take_step();
        let left = self.countdown.get() - 1;
        self.countdown.set(left);
        if left == 0 || self.now.get() >= self.next_due.get() {
            self.point_slow(place);
        }
    }

    /// Counts a step and lets it cost its time.
    ///
    /// Were steps free, a thread would do all of its work at one instant, timers
    /// would only ever fire between two waits, and a loop that polls would never
    /// get anywhere. The cost is jittered so that two threads that do the same do
    /// not stay in step.
    #[inline]
    pub(super) fn take_step(&self) {
        self.steps.set(self.steps.get() + 1);
        // Knuth's linear congruential generator: its high bits are good enough
        // for jitter, and this is the hottest line of the simulator.
        let jitter = self.jitter.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.jitter.set(jitter);
        self.now.set(self.now.get() + STEP_NANOS_MIN + (jitter >> (64 - STEP_NANOS_BITS)));
    }

    /// Draws how many steps the running thread may go on undisturbed: uniform
    /// around the rate, so that no pattern in the code keeps pace with it.
    pub(super) fn draw_countdown(&self) {
        let steps = match self.preemption.get() {
            // Even then the slow path is taken now and then, for the limits.
            Preemption::Never => 1000,
            Preemption::OneIn(1) => 1,
            Preemption::OneIn(rate) => 1 + self.pick(2 * rate as usize - 1) as u32,
        };
        self.countdown.set(steps);
    }

    /// Folds `value` into the run's hash.
    #[inline]
    pub(crate) fn mix(&self, value: u64) {
        let mixed = (self.hash.get() ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash.set(mixed ^ (mixed >> 29));
    }

    /// The scheduler's choice of one in `n`.
    #[inline]
    pub(crate) fn pick(&self, n: usize) -> usize {
        let picked = self.schedule.borrow_mut().pick(n);
        self.mix(picked as u64);
        picked
    }

    pub(crate) fn current_name(&self) -> Cow<'static, str> {
        // The panic hook asks too, whatever the panic has interrupted.
        let schedule = self.schedule.try_borrow();
        schedule.map_or(Cow::Borrowed("scheduler"), |schedule| schedule.name(self.current.get()))
    }

    /// 64 bits for whoever asks the machine for randomness.
    #[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
    pub(crate) fn draw_entropy(&self) -> u64 {
        let bits = self.with_world(|world| world.entropy.lock().next_u64());
        self.mix(bits);
        bits
    }

    /// The clock, for whoever reads the machine's. It costs the time of a step, so
    /// that a loop that waits for a moment comes to an end, but nobody else runs:
    /// a clock may be read from where no thread can be unwound.
    #[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code))]
    pub(crate) fn read_clock(&self) -> u64 {
        self.take_step();
        self.now.get()
    }

    /// Hands the name and node of the running thread to `f`, as far as they can
    /// be had. May be called in a signal handler: takes no lock, and allocates
    /// nothing. The table of threads is read only if nobody changes it.
    #[cfg_attr(not(unix), expect(dead_code))]
    pub(super) fn name_current(&self, f: impl FnOnce(&str, Option<u32>)) {
        if let Ok(schedule) = self.schedule.try_borrow()
            && let Some(slot) = schedule.slots.get(self.current.get() as usize)
        {
            f(&slot.name, slot.life.map(|life| life.node.0));
        }
    }

    /// The life that the running thread belongs to.
    #[inline]
    pub(crate) fn life(&self) -> Option<Life> {
        self.schedule.try_borrow().ok()?.life(self.current.get())
    }

    /// The running thread is being unwound, or its node is down and it is about
    /// to be.
    pub(crate) fn is_dying(&self) -> bool {
        self.dying.get()
    }

    // Locks in hand.

    #[inline]
    pub(crate) fn lock_taken(&self, serial: u32, place: Place) {
        self.schedule.borrow_mut().held(self.current.get()).push(Held { serial, place, is_shared: false });
    }

    /// As `lock_taken`, for reading.
    #[inline]
    pub(crate) fn lock_shared(&self, serial: u32, place: Place) {
        self.schedule.borrow_mut().held(self.current.get()).push(Held { serial, place, is_shared: true });
    }

    #[inline]
    pub(crate) fn lock_released(&self, serial: u32) -> Place {
        let mut schedule = self.schedule.borrow_mut();
        let held = schedule.held(self.current.get());
        // Nearly always the last one taken.
        let found = held.pop_if(|last| last.serial == serial).or_else(|| {
            let at = held.iter().rposition(|held| held.serial == serial);
            at.map(|at| held.remove(at))
        });
        if self.recording.get() {
            schedule.settle_notified(self.current.get());
        }
        drop(schedule); // The panic hook looks into it.
        found.expect("a guard was dropped by another thread than the one that took the lock").place
    }

    /// Where the locks in the running thread's hands were taken.
    pub(crate) fn locks_held(&self) -> Vec<Place> {
        self.schedule.borrow_mut().held(self.current.get()).iter().map(|held| held.place).collect()
    }

    /// Fails the run if the running thread holds a lock where it is about to
    /// wait for something that may take long.
    #[inline]
    pub(crate) fn no_lock_held(&self, doing: &str, place: Place) {
        let taken = self.schedule.borrow_mut().held(self.current.get()).last().map(|held| held.place);
        if let Some(taken) = taken {
            self.fail_held(doing, place, taken);
        }
    }

    #[cold]
    fn fail_held(&self, doing: &str, place: Place, taken: Place) {
        if self.must_not_switch() {
            return; // Unwinding: the guard is about to go, and nothing will wait.
        }
        self.fail(
            FailureKind::LockHeld,
            format!(
                "thread `{}` {doing} while it holds a lock, taken at {taken}; release it first",
                self.current_name()
            ),
            Some(place),
        );
        self.stop_here(place);
    }

    // Failure.

    /// Records a failure of the running thread, and that the run is over.
    pub(crate) fn fail(&self, kind: FailureKind, message: String, place: Option<Place>) {
        let place = place.map(ToString::to_string);
        self.fail_with(Failure { place, ..Failure::here(kind, message) });
    }

    /// As `fail`, for a failure that is already described, its node excepted.
    pub(crate) fn fail_with(&self, failure: Failure) {
        self.record_failure(self.current.get(), &failure);
        self.fail_on(self.life(), failure);
    }

    /// As `fail`, for the thread in `slot`, which need not be the running one.
    pub(super) fn fail_of(&self, slot: u32, kind: FailureKind, message: String, place: Place) {
        let (name, life) = {
            let schedule = self.schedule.borrow();
            (schedule.name(slot), schedule.life(slot))
        };
        let place = Some(place.to_string());
        let failure = Failure { place, ..Failure::new(kind, message, context::elapsed(), name) };
        self.record_failure(slot, &failure);
        self.fail_on(life, failure);
    }

    fn fail_on(&self, life: Option<Life>, mut failure: Failure) {
        self.with_world(|world| {
            failure.node = life.map(|life| world.name_if_free(life.node));
            world.fail(failure);
        });
        self.stopping.set(true);
    }

    pub(super) fn new_serial(&self) -> u32 {
        let serial = self.next_serial.get();
        self.next_serial.set(serial.checked_add(1).expect(SERIAL_OVERFLOW));
        serial
    }
}

/// The simulation that an object belongs to: the one that used it first.
///
/// A lock that simulated threads share with others would block an OS thread,
/// and one that outlives its run carries state into the next. So whoever comes
/// second from elsewhere panics.
#[derive(Debug, Default)]
pub(crate) struct Home {
    /// The simulation's id and the object's serial number in it; 0 at first.
    bound: AtomicU64,
}

impl Home {
    pub(crate) const fn new() -> Self {
        Self { bound: AtomicU64::new(0) }
    }

    /// The object's serial number in `core`, whose thread uses it at `place`.
    #[inline]
    pub(crate) fn in_simulation(&self, core: &Core, place: Place) -> u32 {
        let bound = self.bound.load(Ordering::Relaxed);
        if (bound >> 32) as u32 == core.id.get() { bound as u32 } else { self.bind(core, bound, place) }
    }

    #[cold]
    fn bind(&self, core: &Core, bound: u64, place: Place) -> u32 {
        if bound != 0 {
            foreign(bound, "a simulation", place);
        }
        let serial = core.new_serial();
        self.bound.store((u64::from(core.id.get()) << 32) | u64::from(serial), Ordering::Relaxed);
        serial
    }

    /// Claims the object for the threads outside of simulations.
    #[inline]
    #[track_caller]
    pub(crate) fn outside(&self) {
        let bound = self.bound.load(Ordering::Relaxed);
        if bound != u64::from(OUTSIDE) << 32 {
            self.bind_outside(bound);
        }
    }

    #[cold]
    #[track_caller]
    fn bind_outside(&self, bound: u64) {
        if bound != 0 {
            foreign(bound, "OS threads", Location::caller());
        }
        self.bound.store(u64::from(OUTSIDE) << 32, Ordering::Relaxed);
    }
}

#[cold]
fn foreign(bound: u64, here: &str, place: Place) -> ! {
    let owner = if bound >> 32 == u64::from(OUTSIDE) { "OS threads" } else { "another simulation" };
    panic!(
        "an object that belongs to {owner} was used by {here}, at {place}; \
         make it where it is used, not in a static"
    )
}
