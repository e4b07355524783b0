//! A world on OS threads, in real time.
//!
//! Nodes, lives and links are those of a simulation; threads, locks and clocks
//! are the machine's. Nobody can stop an OS thread from outside, so each life
//! has a *cord*: a channel that carries nothing and is disconnected when the
//! life ends. A thread looks at it at each call into labsim, and whatever it
//! waits for, it waits for the cord too. In the same way each life has a *gate*,
//! which is shut while its node is paused: a thread that comes to it on a call
//! into labsim, or out of a wait there, stays until it opens.
//!
//! Boundary: threads and lives of a real world. The facade's modules decide
//! what a call means; this one says whether its caller is still alive.

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use parking_lot::Mutex;

use crate::clock::NodeClock;
use crate::context::{self, Life, Mode};
use crate::outcome::{Config, Failure, FailureKind, Outcome, Trace};
use crate::panics;
use crate::sim::Dying;
use crate::thread::Slot;
use crate::world::World;

/// How long a real run waits at its end for threads that do not notice it.
const STRAGGLERS_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    static CURRENT: RefCell<Option<RealThread>> = const { RefCell::new(None) };
    /// How many observers of locks the thread is in.
    static OBSERVING: Cell<u32> = const { Cell::new(0) };
    /// How many selected operations the thread has yet to finish.
    static FINISHING: Cell<u32> = const { Cell::new(0) };
}

/// What an OS thread of a real world knows of itself.
#[derive(Clone)]
pub(crate) struct RealThread {
    pub(crate) world: Arc<World>,
    pub(crate) life: Option<Life>,
    shared: Arc<Shared>,
    /// Disconnected when this thread is to die.
    cord: Receiver<()>,
    /// Shut while its node is paused. A thread without a node has none.
    gate: Option<Arc<Gate>>,
    parker: Parker,
}

/// What the threads of one real world share besides the world.
struct Shared {
    /// The other ends of the cords: dropping one ends its life.
    cords: Mutex<Cords>,
    gates: Mutex<BTreeMap<(u32, u32), Arc<Gate>>>,
    threads: AtomicUsize,
}

struct Cords {
    /// For threads that belong to no node. Gone when the run is over.
    world: Option<(Sender<()>, Receiver<()>)>,
    lives: BTreeMap<(u32, u32), (Sender<()>, Receiver<()>)>,
}

impl RealThread {
    pub(crate) fn is_dead(&self) -> bool {
        self.cord.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn is_paused(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_shut.load(Ordering::SeqCst))
    }

    /// The clock of the thread's node, if some node's clock goes wrong.
    fn own_clock(&self) -> Option<NodeClock> {
        if !self.world.own_clocks.load(Ordering::SeqCst) {
            return None;
        }
        self.life.map(|life| self.world.nodes.lock().clock(life.node))
    }
}

/// Where the threads of a paused life stay.
#[derive(Default)]
struct Gate {
    is_shut: AtomicBool,
    /// While it is shut: a channel that carries nothing, and is disconnected
    /// when the gate opens.
    ends: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Gate {
    fn shut(&self) {
        let mut ends = self.ends.lock();
        ends.get_or_insert_with(|| crossbeam_channel::bounded(0));
        self.is_shut.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        let mut ends = self.ends.lock();
        self.is_shut.store(false, Ordering::SeqCst);
        let opened = ends.take();
        drop(ends);
        drop(opened); // Whoever stays here leaves now.
    }

    /// Waits until the gate is open, or the cord cut.
    fn pass(&self, cord: &Receiver<()>) {
        loop {
            let Some(opened) = self.ends.lock().as_ref().map(|(_, opened)| opened.clone()) else { return };
            crossbeam_channel::select_biased! {
                recv(cord) -> _ => return,
                recv(opened) -> _ => {}
            }
        }
    }
}

/// Runs `f` on the calling thread's own record; `None` outside of real worlds.
pub(crate) fn with<R>(f: impl FnOnce(&RealThread) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_ref().map(f))
}

/// Keeps the calling thread for as long as its node is paused, and ends it if
/// its node has crashed or its run is over.
///
/// Does nothing while it unwinds: destructors run to their end.
#[inline]
pub(crate) fn check() {
    if is_paused() {
        stay_while_paused();
    }
    check_alive();
}

/// As [`check`], but stays nowhere.
#[inline]
pub(crate) fn check_alive() {
    if with(RealThread::is_dead) == Some(true) && may_throw() {
        throw();
    }
}

/// True if the calling thread is to go no further at present: its node is
/// paused. Its observers are run to their end, since a listener to whom other
/// nodes publish too may be waiting for them.
#[inline]
pub(crate) fn is_paused() -> bool {
    with(|thread| thread.is_paused() && !thread.is_dead()) == Some(true) && OBSERVING.get() == 0 && FINISHING.get() == 0
}

#[cold]
fn stay_while_paused() {
    let stay = with(|thread| thread.gate.clone().map(|gate| (gate, thread.cord.clone())));
    if let Some((gate, cord)) = stay.flatten() {
        gate.pass(&cord);
    }
}

/// What a wait has come to, for a thread that may have been paused meanwhile.
pub(crate) fn stay<R>(result: R) -> R {
    check();
    result
}

/// Runs an observer of a lock: a pause takes effect after it.
pub(crate) fn observe(observer: impl FnOnce()) {
    struct Observing;
    impl Drop for Observing {
        fn drop(&mut self) {
            OBSERVING.set(OBSERVING.get() - 1);
        }
    }
    OBSERVING.set(OBSERVING.get() + 1);
    let observing = Observing;
    observer();
    drop(observing);
}

/// What the clock of the calling thread's node shows when the machine's shows
/// `nanos`.
pub(crate) fn clock_reading(nanos: u64) -> u64 {
    with(RealThread::own_clock).flatten().map_or(nanos, |clock| clock.reading(nanos))
}

/// How long the machine takes until the clock of the calling thread's node has
/// counted `duration`.
pub(crate) fn machine_time(duration: Duration) -> Duration {
    with(RealThread::own_clock).flatten().map_or(duration, |clock| clock.world_time(duration))
}

/// True unless the calling thread unwinds already, or owes somebody the end of
/// a [`Finishing`].
fn may_throw() -> bool {
    !std::thread::panicking() && FINISHING.get() == 0
}

/// For as long as it is there, its thread does not end: a selected operation
/// is half done, and whoever is at the other end spins until it is finished.
pub(crate) struct Finishing(());

impl Finishing {
    pub(crate) fn begin() -> Self {
        FINISHING.set(FINISHING.get() + 1);
        Self(())
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        FINISHING.set(FINISHING.get() - 1);
    }
}

/// Empties the calling thread's stack.
fn throw() -> ! {
    std::panic::resume_unwind(Box::new(Dying))
}

/// The calling thread's cord was cut while it waited. Returns only if the
/// thread is unwinding already, when its destructor must not wait any longer,
/// or has a selected operation to finish first.
pub(crate) fn die() {
    if may_throw() {
        throw();
    }
}

/// The calling thread's cord, to be waited for beside something else.
pub(crate) fn cord() -> Receiver<()> {
    with(|thread| thread.cord.clone()).expect("the caller runs in a real world")
}

/// Records a failure of the calling thread's world and ends its run.
pub(crate) fn fail(mut failure: Failure) {
    let Some(thread) = CURRENT.with_borrow(Clone::clone) else { return };
    failure.node = thread.world.node_name();
    thread.world.fail(failure);
    let cords = thread.shared.cut_all();
    drop(cords);
}

impl Shared {
    fn new() -> Self {
        let world = Some(crossbeam_channel::bounded(0));
        Self {
            cords: Mutex::new(Cords { world, lives: BTreeMap::new() }),
            gates: Mutex::default(),
            threads: AtomicUsize::new(0),
        }
    }

    fn cord_of(&self, life: Option<Life>) -> Receiver<()> {
        let mut cords = self.cords.lock();
        if cords.world.is_none() {
            return crossbeam_channel::bounded(0).1; // The run is over: born dead.
        }
        let key = life.map(|life| (life.node.0, life.number));
        match key {
            None => cords.world.as_ref().expect("checked above").1.clone(),
            Some(key) => cords.lives.entry(key).or_insert_with(|| crossbeam_channel::bounded(0)).1.clone(),
        }
    }

    fn gate_of(&self, life: Life) -> Arc<Gate> {
        Arc::clone(self.gates.lock().entry((life.node.0, life.number)).or_default())
    }

    /// Ends every life. The cords are returned, to be dropped without the lock.
    fn cut_all(&self) -> Cords {
        std::mem::replace(&mut *self.cords.lock(), Cords { world: None, lives: BTreeMap::new() })
    }
}

/// Kills the threads of `life`. Does not return if the caller is one of them.
pub(crate) fn crash(life: Life) {
    let shared = with(|thread| Arc::clone(&thread.shared)).expect("a world has threads");
    // A life that no thread has asked about yet gets a cord that is cut.
    let cord = shared.cords.lock().lives.insert((life.node.0, life.number), {
        let (_, receiver) = crossbeam_channel::bounded(0);
        (crossbeam_channel::bounded(0).0, receiver)
    });
    drop(cord);
    check();
}

/// Lets the threads of `life` go no further than to their next call into
/// labsim. If the caller is one of them, returns when they are resumed.
pub(crate) fn pause(life: Life) {
    gate_of(life).shut();
    check();
}

/// Lets the threads of `life` go on.
pub(crate) fn resume(life: Life) {
    gate_of(life).open();
}

fn gate_of(life: Life) -> Arc<Gate> {
    with(|thread| thread.shared.gate_of(life)).expect("a world has threads")
}

/// Starts an OS thread in `life`.
///
/// `body` begins with [`begin`] and does not unwind.
pub(crate) fn spawn(life: Option<Life>, name: Cow<'static, str>, body: Box<dyn FnOnce() + Send>) -> Ended {
    let me = CURRENT.with_borrow(Clone::clone).expect("the caller runs in a real world");
    let (ended_tx, ended_rx) = crossbeam_channel::bounded::<()>(0);
    let (cord, gate) = (me.shared.cord_of(life), life.map(|life| me.shared.gate_of(life)));
    let thread = RealThread { cord, gate, life, parker: Parker::default(), ..me };
    let shared = Arc::clone(&thread.shared);
    shared.threads.fetch_add(1, Ordering::SeqCst);
    let started = std::thread::Builder::new().name(name.into_owned()).spawn(move || {
        let shared = Arc::clone(&thread.shared);
        enter(thread);
        body();
        leave();
        drop(ended_tx); // Joiners wait for this end of the channel to go.
        shared.threads.fetch_sub(1, Ordering::SeqCst);
    });
    if let Err(error) = started {
        shared.threads.fetch_sub(1, Ordering::SeqCst);
        let message = format!("the operating system refuses another thread: {error}");
        fail(Failure::here(FailureKind::Limit, message));
        check();
    }
    Ended { gone: ended_rx }
}

/// The beginning of a thread's body, on the thread.
pub(crate) fn begin(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay);
    }
    check();
}

/// Fails the run for a panic that the hook has not seen: one thrown by
/// `resume_unwind`, or with the hook replaced.
pub(crate) fn report_silent_panic(payload: &(dyn Any + Send)) {
    if payload.is::<Dying>() || with(|thread| thread.world.has_failed()) != Some(false) {
        return;
    }
    fail(Failure::here(FailureKind::Panic, format!("panicked: {}", panics::message(payload))));
}

fn enter(thread: RealThread) {
    CURRENT.with_borrow_mut(|current| *current = Some(thread));
    context::set_mode(Mode::Real);
}

fn leave() {
    context::set_mode(Mode::Outside);
    let thread = CURRENT.with_borrow_mut(Option::take);
    drop(thread);
}

/// Runs `body` as the first thread of a world on OS threads, in real time.
///
/// The same program as in [`simulate`](crate::simulate), with the machine's own
/// scheduling and clock: no seed reproduces it. The seed still feeds
/// [`rand`](crate::rand) and what links draw. [`Config::time_limit`] counts
/// real time; steps, threads and stacks are not limited.
///
/// ```
/// use labsim::{Config, Outcome, channel, run_real, simulate, thread};
/// let body = || {
///     let (tx, rx) = channel::unbounded();
///     thread::spawn("sender", move || tx.send(7).unwrap());
///     rx.recv().unwrap()
/// };
/// let (simulated, real) = (simulate(Config::seed(1), body), run_real(Config::seed(1), body));
/// assert_eq!((simulated.result.unwrap(), real.result.unwrap()), (7, 7));
/// assert_eq!(real.hash, 0, "nobody could bring this run back");
/// ```
///
/// # Panics
///
/// If the caller is itself in a world.
pub fn run_real<T: Send + 'static>(config: Config, body: impl FnOnce() -> T + Send + 'static) -> Outcome<T> {
    assert!(context::mode() == Mode::Outside, "a real world was started inside another world");
    // What depends on the body's type is kept small: it is compiled for each body.
    let slot: Slot<T> = Arc::new(Mutex::new(None));
    let store = Arc::clone(&slot);
    let body = Box::new(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            begin(Duration::ZERO);
            body()
        }));
        if let Err(payload) = &ended {
            report_silent_panic(payload.as_ref());
        }
        *store.lock() = Some(ended);
    });
    let outcome = run(config, body);
    let value = slot.lock().take();
    outcome.map(|()| match value {
        Some(Ok(value)) => value,
        _ => unreachable!("the first thread ends with a value, or the run fails"),
    })
}

fn run(config: Config, body: Box<dyn FnOnce() + Send>) -> Outcome<()> {
    panics::install_hook();
    let begun = ProcessTime::now();
    let world = Arc::new(World::new(config.seed));
    let shared = Arc::new(Shared::new());
    let cord = shared.cord_of(None);
    let outer = RealThread {
        world: Arc::clone(&world),
        life: None,
        shared: Arc::clone(&shared),
        cord: cord.clone(),
        gate: None,
        parker: Parker::default(),
    };
    // The caller enters the world for a moment, so that the first thread is
    // spawned like any other.
    enter(outer);
    let ended = spawn(None, Cow::Borrowed("main"), body);
    leave();

    // A limit past the end of the machine's clock is none.
    let overdue = match Instant::now().checked_add(config.time_limit) {
        Some(deadline) => ended.gone.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout),
        None => {
            let _ = ended.gone.recv();
            false
        }
    };
    if overdue {
        let message = format!("the run went past its limit of {:.3}s", config.time_limit.as_secs_f64());
        world.fail(Failure::new(FailureKind::TimeLimit, message, world.wall_elapsed(), "main"));
    }
    let elapsed = world.wall_elapsed();
    drop(shared.cut_all());
    world.links.interrupt();
    let patience = Instant::now() + STRAGGLERS_WAIT;
    while shared.threads.load(Ordering::SeqCst) > 0 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }

    let result = match world.take_failure() {
        Some(failure) => Err(failure.resolved()),
        None => Ok(()),
    };
    let notes = world.notes.lock().take();
    Outcome {
        result,
        seed: config.seed,
        elapsed,
        steps: 0,
        timer_events: 0,
        threads: 0,
        hash: 0,
        cpu: begun.elapsed(),
        abandoned: false,
        fatal: false,
        notes,
        trace: Trace::default(),
    }
}

/// The end of an OS thread, to be waited for.
pub(crate) struct Ended {
    /// Disconnected when the thread is gone; nothing is ever sent.
    gone: Receiver<()>,
}

impl Ended {
    pub(crate) fn wait(&self) {
        if context::mode() != Mode::Real {
            let _ = self.gone.recv();
            return;
        }
        let cord = cord();
        crossbeam_channel::select_biased! {
            recv(self.gone) -> _ => {}
            recv(cord) -> _ => die(),
        }
        check();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.gone.try_recv() == Err(TryRecvError::Disconnected)
    }
}

/// Sleeps in real time, or until the calling thread is to die.
pub(crate) fn sleep(duration: Duration) {
    if cord().recv_timeout(duration) == Err(RecvTimeoutError::Disconnected) {
        die();
    }
    check();
}

/// The OS threads of a real world that wait on one condition.
///
/// Each has a channel of its own, so that it can wait for its notification, its
/// cord and its time-out at once. A notification that came is never lost: who
/// is taken off the list has got it.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<VecDeque<Sender<()>>>,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self { waiting: Mutex::new(VecDeque::new()) }
    }

    /// Wakes the one who waits longest. Returns whether there was one.
    pub(crate) fn wake_one(&self) -> bool {
        let first = self.waiting.lock().pop_front();
        first.is_some_and(|waiter| waiter.try_send(()).is_ok())
    }

    /// Wakes all who wait. Returns how many there were.
    pub(crate) fn wake_all(&self) -> usize {
        let all = std::mem::take(&mut *self.waiting.lock());
        all.into_iter().filter(|waiter| waiter.try_send(()).is_ok()).count()
    }

    /// Opens the lock, waits, and takes it again. Returns whether the time was
    /// up. Ends the calling thread if it is to die.
    pub(crate) fn wait<T>(&self, data: &mut parking_lot::MutexGuard<'_, T>, timeout: Option<Duration>) -> bool {
        let (woken_tx, woken_rx) = crossbeam_channel::bounded(1);
        let cord = cord();
        // On the list before the lock opens: whoever notifies after that finds us.
        self.waiting.lock().push_back(woken_tx.clone());
        let never = crossbeam_channel::never();
        let time_up = timeout.map_or(never, crossbeam_channel::after);
        let woken = parking_lot::MutexGuard::unlocked(data, || {
            let woken = crossbeam_channel::select! {
                recv(woken_rx) -> _ => true,
                recv(cord) -> _ => false,
                recv(time_up) -> _ => false,
            };
            if is_paused() {
                stay_while_paused(); // While the lock is open for others.
            }
            woken
        });
        if woken {
            if with(RealThread::is_dead) == Some(true) {
                self.wake_one(); // It was meant for somebody who lives.
                die();
            }
            return false;
        }
        let is_listed = {
            let mut waiting = self.waiting.lock();
            let listed = waiting.iter().position(|waiter| waiter.same_channel(&woken_tx));
            listed.map(|at| waiting.remove(at)).is_some()
        };
        if with(RealThread::is_dead) == Some(true) {
            if !is_listed {
                self.wake_one(); // It was meant for somebody who lives.
            }
            die();
        }
        // If somebody has taken us off the list meanwhile, we were notified.
        is_listed
    }
}

/// The parking token of an OS thread.
#[derive(Clone, Default, Debug)]
pub(crate) struct Parker {
    token: Arc<(Mutex<bool>, Waiters)>,
}

pub(crate) fn parker() -> Parker {
    with(|thread| thread.parker.clone()).expect("the caller runs in a real world")
}

impl Parker {
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        let (token, given) = &*self.token;
        let mut token = token.lock();
        if !*token {
            given.wait(&mut token, timeout);
        }
        *token = false;
        drop(token); // Nobody who unparks waits for a thread that is paused.
        check();
    }

    pub(crate) fn unpark(&self) {
        let (token, given) = &*self.token;
        *token.lock() = true;
        given.wake_all();
    }
}
