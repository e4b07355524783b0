//! OS threads that die and pause when their node does: cords and gates.
//!
//! Nobody can stop an OS thread from outside, so each life has a *cord*: a channel
//! that carries nothing and is disconnected when the life ends. A thread looks at
//! it at each call into labsim, and whatever it waits for, it waits for the cord
//! too. In the same way each life has a *gate*, which is shut while its node is
//! paused: a thread that comes to it on a call into labsim, or out of a wait
//! there, stays until it opens.
//!
//! Boundary: says whether the calling thread is still alive, and may go on. What
//! it then does is decided by the facade's modules.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use parking_lot::Mutex;

use super::wait::Parker;
use crate::clock::NodeClock;
use crate::context::{self, Life, Mode};
use crate::outcome::Failure;
use crate::sim::Dying;
use crate::world::World;

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
    pub(super) shared: Arc<Shared>,
    /// Disconnected when this thread is to die.
    pub(super) cord: Receiver<()>,
    /// Shut while its node is paused. A thread without a node has none.
    pub(super) gate: Option<Arc<Gate>>,
    pub(super) parker: Parker,
}

/// What the threads of one real world share besides the world.
pub(super) struct Shared {
    /// The other ends of the cords: dropping one ends its life.
    cords: Mutex<Cords>,
    gates: Mutex<BTreeMap<(u32, u32), Arc<Gate>>>,
    pub(super) threads: AtomicUsize,
}

pub(super) struct Cords {
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
pub(super) struct Gate {
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
pub(super) fn stay_while_paused() {
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
    pub(super) fn new() -> Self {
        let world = Some(crossbeam_channel::bounded(0));
        Self {
            cords: Mutex::new(Cords { world, lives: BTreeMap::new() }),
            gates: Mutex::default(),
            threads: AtomicUsize::new(0),
        }
    }

    pub(super) fn cord_of(&self, life: Option<Life>) -> Receiver<()> {
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

    pub(super) fn gate_of(&self, life: Life) -> Arc<Gate> {
        Arc::clone(self.gates.lock().entry((life.node.0, life.number)).or_default())
    }

    /// Ends every life. The cords are returned, to be dropped without the lock.
    pub(super) fn cut_all(&self) -> Cords {
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
pub(super) fn enter(thread: RealThread) {
    CURRENT.with_borrow_mut(|current| *current = Some(thread));
    context::set_mode(Mode::Real);
}

pub(super) fn leave() {
    context::set_mode(Mode::Outside);
    let thread = CURRENT.with_borrow_mut(Option::take);
    drop(thread);
}
