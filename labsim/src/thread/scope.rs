//! Threads that may borrow from the one that spawned them.
//!
//! A scope ends when all of its threads have, so what they borrow outlives them.
//! The compiler cannot see that: a thread's body must own all it uses. Here its
//! lifetime is stretched, by the one unsafe line of this file, and everything
//! else in it sees to it that nobody notices.
//!
//! The rule is a count. `Data::running` is the number of bodies that exist, begun
//! or not. It goes down when a body and all that it owned is gone, and whatever
//! happens to the thread of the scope, its frame stays until the count is 0.
//!
//! Boundary: lifetimes. How threads start, end and die is in `thread.rs` and below.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Inner, JoinHandle, Result, report_silent_panic, spawn_in};
use crate::context::{self, Life, Mode};
use crate::real;
use crate::sim::{self, Dying, Home, Place, ThreadKey};

/// Runs `body`, which may spawn threads that borrow what the caller owns, and
/// waits for all of them, as `std::thread::scope`.
///
/// ```
/// use labsim::{Config, simulate, thread};
/// let outcome = simulate(Config::seed(1), || {
///     let log = vec![1, 2, 3, 4];
///     let (early, late) = log.split_at(2);
///     thread::scope(|scope| {
///         let early = scope.spawn("early", || early.iter().sum::<i32>());
///         let late = scope.spawn("late", || late.iter().sum::<i32>());
///         (early.join().unwrap(), late.join().unwrap())
///     })
/// });
/// assert_eq!(outcome.result.unwrap(), (3, 7));
/// ```
///
/// The scope's threads belong to the caller's node and die with it. On OS threads
/// a crash takes effect at each one's next call into labsim, and the caller's
/// stack stays until they all have noticed.
///
/// # Panics
///
/// If `body` does, after the threads have ended; or if a thread did that nobody
/// joined. In a world the whole run has failed then.
///
/// A simulated run is given up if the calling thread must be unwound while one of
/// its threads cannot be: when a destructor of that one needs a lock that the
/// caller holds.
#[track_caller]
pub fn scope<'env, F, T>(body: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let place = Location::caller();
    let scope = Scope {
        home: Home::new(),
        mode: context::mode(),
        life: context::life(),
        opened_while_dying: context::is_dying(),
        children: Mutex::new(Vec::new()),
        data: Arc::new(Data::default()),
        scope: PhantomData,
        env: PhantomData,
    };
    scope.enter(place);

    let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
    let nobody_leaves = NobodyLeaves;
    let end_of_caller = scope.wait_for_children(place);
    scope.assert_nobody_runs(place);
    std::mem::forget(nobody_leaves);

    if let Err(end) = end_of_caller {
        resume_unwind(end); // What there is in `result` goes with the stack.
    }
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.data.has_panicked.load(Ordering::SeqCst) => panic!("a scoped thread panicked"),
        Ok(value) => value,
    }
}

/// Guards a frame that must stay. Nothing is thrown through it; if something
/// were, that would be a bug of this crate, and the end of the process.
struct NobodyLeaves;

impl Drop for NobodyLeaves {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Where scoped threads are spawned. See [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    home: Home,
    mode: Mode,
    /// That of the thread that opened the scope: its threads live no longer.
    life: Option<Life>,
    /// By a destructor of a dead thread: nothing starts in here.
    opened_while_dying: bool,
    /// Simulated threads of the scope, oldest first; those that have ended go
    /// when the list would grow.
    children: Mutex<Vec<ThreadKey>>,
    data: Arc<Data>,
    // Invariant in both, as std's: a scope must not pass for a longer or a
    // shorter one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What a scope and its threads share. Borrows nothing.
#[derive(Default)]
struct Data {
    /// Bodies that exist, begun or not.
    running: Mutex<usize>,
    /// Notified when `running` gets to 0. For OS threads only.
    over: Condvar,
    /// The panic of a thread was not taken by a join.
    has_panicked: AtomicBool,
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread of the scope, which ends before the scope does.
    ///
    /// # Panics
    ///
    /// If the calling thread is not one of the world that the scope is in.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, name: impl Into<Cow<'static, str>>, body: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let place = Location::caller();
        self.check_home(place);
        let packet = Arc::new(Packet { result: Mutex::new(None), data: Arc::clone(&self.data) });
        let child = Child { body, packet: Arc::clone(&packet), running: Running::new(&self.data), place };
        let handle =
            spawn_in(Ok(self.life), Duration::ZERO, name.into(), place, stretch(Box::new(move || child.run())));
        if let Inner::Simulated(key, _) = &handle.inner {
            self.add_child(*key);
        }
        ScopedJoinHandle { handle, packet, scope: PhantomData }
    }

    /// Claims the scope for the caller's world.
    #[track_caller]
    fn enter(&self, place: Place) {
        match self.mode {
            Mode::Simulated => sim::inside(place, |core| _ = self.home.in_simulation(core, place)),
            Mode::Real | Mode::Outside => self.home.outside(),
        }
    }

    #[track_caller]
    fn check_home(&self, place: Place) {
        self.enter(place);
        let is_at_home = context::mode() == self.mode && context::life() == self.life;
        assert!(is_at_home, "a thread of another world or node spawned in a scope, at {place}");
    }

    fn add_child(&self, key: ThreadKey) {
        let mut children = self.children.lock();
        if children.len() == children.capacity() {
            sim::with(|core| children.retain(|child| !core.is_finished(*child)));
        }
        children.push(key);
    }

    /// Waits until every thread of the scope has ended. Does not unwind. An
    /// error is what has ended the calling thread meanwhile.
    fn wait_for_children(&self, place: Place) -> Result<()> {
        match self.mode {
            Mode::Simulated => self.wait_simulated(place),
            mode => {
                // Nothing cuts this short, not even the end of this thread: OS
                // threads end when they notice that they are dead.
                let mut running = self.data.running.lock();
                while *running > 0 {
                    self.data.over.wait(&mut running);
                }
                drop(running);
                if mode == Mode::Real { catch_unwind(real::check) } else { Ok(()) }
            }
        }
    }

    fn wait_simulated(&self, place: Place) -> Result<()> {
        if sim::with(sim::Core::is_dying) {
            if self.opened_while_dying {
                return Ok(());
            }
            // The body was thrown out of, or has caught that.
            self.unwind_children(place);
            return Err(Box::new(Dying));
        }
        let waited = catch_unwind(AssertUnwindSafe(|| {
            sim::with(|core| {
                core.point(place);
                // Threads of the scope may spawn more while we wait.
                while let Some(child) = self.last_child() {
                    core.join(child, place);
                    self.forget_child(child);
                }
            });
        }));
        if waited.is_err() {
            self.unwind_children(place);
        }
        waited
    }

    /// We are dead, and so are they. Mostly they are gone already, since they
    /// are younger than we.
    fn unwind_children(&self, place: Place) {
        let children = self.children.lock().clone();
        sim::with(|core| core.unwind_children(&children, place));
    }

    fn last_child(&self) -> Option<ThreadKey> {
        self.children.lock().last().copied()
    }

    fn forget_child(&self, child: ThreadKey) {
        let mut children = self.children.lock();
        if children.pop_if(|last| *last == child).is_none() {
            children.retain(|other| *other != child); // Others came meanwhile.
        }
    }

    /// The count is what the borrows rest on, whatever the waiting came to.
    fn assert_nobody_runs(&self, place: Place) {
        if *self.data.running.lock() == 0 {
            return;
        }
        if self.mode == Mode::Simulated {
            sim::with(|core| core.abandon("leaves a scope whose threads still stand", place));
        }
        std::process::abort(); // On OS threads the wait ends at 0 and not before.
    }
}

/// A scoped thread's body, and what is left to do after it.
struct Child<F, T> {
    // The order matters where a body is dropped without having run: fields are
    // dropped as they stand here, the count last.
    body: F,
    packet: Arc<Packet<T>>,
    running: Running,
    place: Place,
}

impl<F: FnOnce() -> T, T> Child<F, T> {
    fn run(self) {
        let Child { body, packet, running, place } = self;
        let ended = catch_unwind(AssertUnwindSafe(body));
        if let Err(payload) = &ended {
            report_silent_panic(payload.as_ref(), place);
        }
        *packet.result.lock() = Some(ended);
        drop(packet); // With the result, if nobody wants it. It may throw: then
        drop(running); // this still comes after.
    }
}

/// Counts one body for as long as it exists.
struct Running(Arc<Data>);

impl Running {
    fn new(data: &Arc<Data>) -> Self {
        *data.running.lock() += 1;
        Self(Arc::clone(data))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.0.running.lock();
        *running -= 1;
        if *running == 0 {
            self.0.over.notify_all();
        }
    }
}

/// Where a thread leaves its result for whoever joins it.
struct Packet<T> {
    result: Mutex<Option<Result<T>>>,
    data: Arc<Data>,
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        // Nobody joined. To have died with one's node is no panic.
        if let Some(Err(payload)) = self.result.get_mut()
            && !payload.is::<Dying>()
        {
            self.data.has_panicked.store(true, Ordering::SeqCst);
        }
    }
}

/// Lets a body pass for one that borrows nothing.
fn stretch<'scope>(body: Box<dyn FnOnce() + Send + 'scope>) -> Box<dyn FnOnce() + Send> {
    // SAFETY: the two types differ in nothing but the lifetime. What `body`
    // borrows is alive for `'scope`, which lasts at least until `scope` returns
    // or is unwound, because `body` in there is handed a `&'scope Scope` that
    // points into that frame. So it is enough that no frame of `scope` goes while
    // a body exists. Each body owns a `Running`, which is the last thing of it to
    // go: at the end of `Child::run`, after the closure and its result, or as the
    // last of its fields if it never ran. `scope` leaves its frame at four
    // lines, all below `assert_nobody_runs`, which returns only if no `Running`
    // exists; and none can be made after that, since `spawn` takes a
    // `&'scope Scope`, and whoever has one is the scope's body, which has
    // returned, or one of the bodies that are gone. It remains
    // that nothing leaves the frame earlier (`NobodyLeaves` makes sure), and that
    // bodies do go. Case by case:
    //
    // - Normal end: `wait_for_children` joins them (simulated), or waits for the
    //   count (OS threads). The handles that are left own at most a result, and
    //   cannot get out of `'scope`.
    // - Panic in the scope's body: caught, and thrown again below the check.
    //   In a simulation the run has failed; see its end, below.
    // - Panic in a child: caught in `Child::run`. One from the destructor of its
    //   result unwinds `run`, and drops `running` on its way.
    // - A spawn that fails (no memory for a stack, too many threads, the
    //   operating system refuses) drops the body, and `Running` with it, before it
    //   returns or throws. So does one that never starts, since its life is over
    //   or the caller is dying: `spawn_in` drops the body before it returns.
    // - A thread that is killed before its first step drops the body unrun, on
    //   its own stack, like any thread that is unwound.
    // - Crash of the node, simulated: all of the scope's threads are in the life
    //   of the one that opened it, so parent and children die together.
    //   Unwinding goes from the youngest to the oldest, and a child is younger
    //   than its parent. Then the parent's stack throws, out of the scope's body
    //   or out of our own wait; both are caught, and all children are found gone.
    // - The same, out of turn: a destructor of a third thread needs a lock that
    //   the parent holds, and the parent is unwound first. `unwind_children` then
    //   empties the stacks of its children, nested. If one of them is the thread
    //   that is being unwound beneath us, it cannot be finished, as it waits for
    //   us: `abandon` ends the run from there, and parks this OS thread for ever.
    //   Parent and child are fibers of this one OS thread, so neither of them
    //   runs again, and neither stack is ever freed.
    // - End of the run: `tear_down` marks every thread as dead, and goes as in a
    //   crash. If the scheduler itself fails, its fibers are leaked as they are,
    //   since the core in its thread-local is never dropped.
    // - The waiting itself fails, because `scope` was called where nobody may
    //   wait (a destructor during a panic, an observer of a lock): `abandon`,
    //   by `join` itself, by `unwind_children`, or by `assert_nobody_runs`.
    // - Somebody catches the unwinding of a dead thread: `catch_unwind` in the
    //   scope's body ends there, and we wait as above. The frame of `scope` is
    //   below it. A dead thread spawns nothing.
    // - Mode::Real and Mode::Outside: the wait for the count is a plain condition
    //   without a time-out, and no crash cuts it short. Children notice that they
    //   are dead at their next call, and unwind; one that makes none keeps the
    //   parent's frame with it.
    // - `abort` and `exit` end all threads together.
    //
    // After its `Running` has gone, a child's stack holds only what `spawn_in`
    // has put there, which is `'static`.
    unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send + 'static>>(body) }
}

/// The right to wait for the end of a scoped thread. Dropping it leaves that to
/// the scope.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<()>,
    packet: Arc<Packet<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the thread to end and returns its value.
    ///
    /// # Errors
    ///
    /// If it panicked (in a world the whole run has failed then), or never
    /// started because its node was down.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let ended = self.handle.join();
        let result = self.packet.result.lock().take();
        match (result, ended) {
            (Some(result), _) => result,
            (None, Err(end)) => Err(end),
            (None, Ok(())) => Err(Box::new("the thread's result was lost") as Box<dyn Any + Send>),
        }
    }

    /// True once the thread has ended, in whichever way.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
