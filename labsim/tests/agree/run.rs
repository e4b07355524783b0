//! Programs as threads: one interpreter, three worlds.
//!
//! Every operation is one call into labsim, the same in each world. What is not
//! part of the program goes past labsim, so that it is no step: the log of what
//! was returned, and on OS threads a loop now and then that shakes their order.
//!
//! Boundary: runs programs, once each. Knows nothing of what they may do.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use labsim::channel::{self, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError};
use labsim::sync::atomic::{AtomicU32, Ordering::SeqCst};
use labsim::sync::{Condvar, Mutex, MutexGuard};
use labsim::thread::{self, JoinHandle};
use labsim::time::Duration;
use labsim::{Config, FailureKind, run_real, simulate};

use super::program::{EACH, MAIN, Op, Outcome, Program, Ret};

/// Steps that no program comes near to.
const STEPS_MAX: u64 = 10_000;

/// Time-outs in a simulation, where a step takes about 1 us: some that pass at
/// once, some in the middle of things, and one that outlasts any program.
const SIMULATED_TIMEOUTS_US: [u64; 8] = [0, 1, 2, 4, 8, 16, 40, 10_000];

/// Time-outs on OS threads. Short, since somebody waits for them.
const REAL_TIMEOUTS_US: [u64; 4] = [0, 20, 100, 400];

/// No run on OS threads takes so long, on any machine, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `program` under a seed.
///
/// # Errors
///
/// If it ended in any other way than by its last operation or in a deadlock.
pub(crate) fn in_simulation(program: &Arc<Program>, seed: u64) -> Result<Outcome, String> {
    let stage = Stage::new(program, Pace { seed, real: false });
    let log = Arc::clone(&stage.log);
    let config = Config { step_limit: STEPS_MAX, ..Config::seed(seed) };
    let end = match simulate(config, move || stage.play_main()).result {
        Ok(end) => Some(end),
        Err(failure) if failure.kind == FailureKind::Deadlock => None,
        Err(failure) => return Err(format!("{failure:?}")),
    };
    Ok(Outcome { returned: log.taken(), end })
}

/// Runs `program` so many times on OS threads, outside of worlds.
///
/// # Errors
///
/// If a thread panicked, or waits for ever: then the rest is not run.
pub(crate) fn outside(program: &Arc<Program>, runs: u64) -> impl Iterator<Item = Result<Outcome, String>> {
    let program = Arc::clone(program);
    let (outcome_tx, outcome_rx) = mpsc::channel();
    // A thread of its own, so that one that waits for ever can be left behind.
    std::thread::spawn(move || {
        for seed in 0..runs {
            let stage = Stage::new(&program, Pace { seed, real: true });
            let end = Some(stage.play_main());
            if outcome_tx.send(Outcome { returned: stage.log.taken(), end }).is_err() {
                return;
            }
        }
    });
    (0..runs).map(move |_| outcome_rx.recv_timeout(PATIENCE).map_err(|error| format!("no outcome: {error}")))
}

/// Runs `program` on the OS threads of a real world, with the same condition.
///
/// # Errors
///
/// If a thread panicked, or waits for ever.
pub(crate) fn in_a_real_world(program: &Arc<Program>, seed: u64) -> Result<Outcome, String> {
    let stage = Stage::new(program, Pace { seed, real: true });
    let log = Arc::clone(&stage.log);
    let end = run_real(Config::seed(seed).time_limit(PATIENCE), move || stage.play_main()).result;
    let end = end.map_err(|failure| format!("{failure:?}"))?;
    Ok(Outcome { returned: log.taken(), end: Some(end) })
}

/// What was returned, for each thread.
struct Log(Vec<parking_lot::Mutex<Vec<Ret>>>);

impl Log {
    fn taken(&self) -> Vec<Vec<Ret>> {
        self.0.iter().map(|returned| std::mem::take(&mut *returned.lock())).collect()
    }
}

/// How fast the threads of one run are.
#[derive(Clone, Copy)]
struct Pace {
    seed: u64,
    real: bool,
}

impl Pace {
    /// A number that belongs to this place of this run.
    fn draw(self, thread: usize, at: usize) -> u64 {
        let mut bits = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((thread as u64) << 32) ^ at as u64;
        for _ in 0..2 {
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        }
        bits ^ (bits >> 31)
    }

    fn timeout(self, thread: usize, at: usize) -> Duration {
        let drawn = (self.draw(thread, at) >> 16) as usize;
        let table: &[u64] = if self.real { &REAL_TIMEOUTS_US } else { &SIMULATED_TIMEOUTS_US };
        Duration::from_micros(table[drawn % table.len()])
    }

    /// Wastes a moment, on OS threads.
    fn dawdle(self, thread: usize, at: usize) {
        if !self.real {
            return;
        }
        let drawn = self.draw(thread, at);
        match drawn % 8 {
            0..4 => {}
            4 => std::thread::yield_now(),
            5 => (0..drawn >> 8 & 63).for_each(|_| spin_loop()),
            6 => (0..drawn >> 8 & 511).for_each(|_| spin_loop()),
            _ => (0..drawn >> 8 & 4095).for_each(|n| _ = black_box(n)),
        }
    }
}

/// The objects that a program's threads share.
#[derive(Default)]
struct Shared {
    locks: [Mutex<u8>; EACH],
    changed: Condvar,
    words: [AtomicU32; EACH],
}

/// One run of one program, as all of its threads see it.
#[derive(Clone)]
struct Stage {
    program: Arc<Program>,
    shared: Arc<Shared>,
    log: Arc<Log>,
    pace: Pace,
}

/// The ends of channels that one thread owns.
#[derive(Default)]
struct Ends {
    senders: [Option<Sender<u8>>; EACH],
    receivers: [Option<Receiver<u8>>; EACH],
}

/// What a thread has in its hands.
struct Hands<'a> {
    me: usize,
    guards: [Option<MutexGuard<'a, u8>>; EACH],
    ends: Ends,
    /// For each thread not yet started, what it will own.
    theirs: Vec<Option<Ends>>,
    handles: Vec<Option<JoinHandle<()>>>,
}

impl Stage {
    fn new(program: &Arc<Program>, pace: Pace) -> Self {
        let log = Log(program.threads.iter().map(|_| parking_lot::Mutex::default()).collect());
        Self { program: Arc::clone(program), shared: Arc::default(), log: Arc::new(log), pace }
    }

    /// Plays the main thread. Returns both counters and both words in the end.
    fn play_main(&self) -> [u8; 2 * EACH] {
        let mut ends: Vec<Ends> = self.program.threads.iter().map(|_| Ends::default()).collect();
        for channel in 0..EACH {
            let (tx, rx) = self.program.capacities[channel].map_or_else(channel::unbounded, channel::bounded);
            for (thread, ends) in ends.iter_mut().enumerate() {
                ends.senders[channel] = self.program.sends(thread, channel).then(|| tx.clone());
                ends.receivers[channel] = self.program.receives(thread, channel).then(|| rx.clone());
            }
        }
        let own = std::mem::take(&mut ends[MAIN]);
        self.play(MAIN, own, ends.into_iter().map(Some).collect());

        let [m0, m1] = &self.shared.locks;
        let [a0, a1] = self.shared.words.each_ref().map(|word| word.load(SeqCst) as u8);
        [*m0.lock(), *m1.lock(), a0, a1]
    }

    /// Plays thread `me` to its end.
    fn play(&self, me: usize, ends: Ends, theirs: Vec<Option<Ends>>) {
        let handles = theirs.iter().map(|_| None).collect();
        let mut hands = Hands { me, guards: [None, None], ends, theirs, handles };
        for (at, op) in self.program.threads[me].iter().enumerate() {
            self.pace.dawdle(me, at);
            let is_skipped = op.needs().is_some_and(|lock| hands.guards[lock].is_none());
            let ret = if is_skipped { Ret::Skipped } else { self.perform(*op, at, &mut hands) };
            self.log.0[me].lock().push(ret);
        }
    }

    fn perform<'a>(&'a self, op: Op, at: usize, hands: &mut Hands<'a>) -> Ret {
        let Shared { locks, changed, words } = &*self.shared;
        let me = hands.me;
        let mark = Program::mark(me, at);
        let timeout = || self.pace.timeout(me, at);
        let Hands { guards, ends: Ends { senders, receivers }, theirs, handles, .. } = hands;
        match op {
            Op::Lock(lock) => {
                guards[lock] = Some(locks[lock].lock());
                Ret::Done
            }
            Op::TryLock(lock) => {
                guards[lock] = locks[lock].try_lock();
                Ret::Is(guards[lock].is_some())
            }
            Op::TryLockFor(lock) => {
                guards[lock] = locks[lock].try_lock_for(timeout());
                Ret::Is(guards[lock].is_some())
            }
            Op::IsLocked(lock) => Ret::Is(locks[lock].is_locked()),
            Op::Unlock(lock) => {
                guards[lock] = None;
                Ret::Done
            }
            Op::Add(lock) => {
                let counter = held(guards, lock);
                **counter += 1;
                Ret::Value(**counter - 1)
            }

            Op::Wait => {
                changed.wait(held(guards, 0));
                Ret::Done
            }
            Op::WaitFor => Ret::Is(changed.wait_for(held(guards, 0), timeout()).timed_out()),
            Op::Await(least) => {
                changed.wait_while(held(guards, 0), |counter| *counter < least);
                Ret::Done
            }
            Op::AwaitFor(least) => {
                Ret::Is(changed.wait_while_for(held(guards, 0), |counter| *counter < least, timeout()).timed_out())
            }
            Op::NotifyOne => Ret::Is(changed.notify_one()),
            Op::NotifyAll => Ret::Value(changed.notify_all() as u8),

            Op::Send(channel) => owned(&senders[channel]).send(mark).map_or(Ret::Disconnected, |()| Ret::Done),
            Op::TrySend(channel) => match owned(&senders[channel]).try_send(mark) {
                Ok(()) => Ret::Done,
                Err(TrySendError::Full(back)) if back == mark => Ret::Full,
                Err(TrySendError::Disconnected(back)) if back == mark => Ret::Disconnected,
                Err(other) => panic!("another message came back: {other:?}"),
            },
            Op::SendTimeout(channel) => match owned(&senders[channel]).send_timeout(mark, timeout()) {
                Ok(()) => Ret::Done,
                Err(SendTimeoutError::Timeout(back)) if back == mark => Ret::Timeout,
                Err(SendTimeoutError::Disconnected(back)) if back == mark => Ret::Disconnected,
                Err(other) => panic!("another message came back: {other:?}"),
            },
            Op::Recv(channel) => owned(&receivers[channel]).recv().map_or(Ret::Disconnected, Ret::Value),
            Op::TryRecv(channel) => match owned(&receivers[channel]).try_recv() {
                Ok(message) => Ret::Value(message),
                Err(TryRecvError::Empty) => Ret::Empty,
                Err(TryRecvError::Disconnected) => Ret::Disconnected,
            },
            Op::RecvTimeout(channel) => match owned(&receivers[channel]).recv_timeout(timeout()) {
                Ok(message) => Ret::Value(message),
                Err(RecvTimeoutError::Timeout) => Ret::Timeout,
                Err(RecvTimeoutError::Disconnected) => Ret::Disconnected,
            },
            Op::Len(channel) => Ret::Value(owned(&receivers[channel]).len() as u8),
            Op::DropSender(channel) => {
                senders[channel] = None;
                Ret::Done
            }
            Op::DropReceiver(channel) => {
                receivers[channel] = None;
                Ret::Done
            }

            Op::Load(word) => Ret::Value(words[word].load(SeqCst) as u8),
            Op::Store(word) => {
                words[word].store(mark.into(), SeqCst);
                Ret::Done
            }
            Op::CompareExchange(word) => match words[word].compare_exchange(0, mark.into(), SeqCst, SeqCst) {
                Ok(found) | Err(found) => Ret::Value(found as u8),
            },
            Op::FetchAdd(word) => Ret::Value(words[word].fetch_add(1, SeqCst) as u8),

            Op::Spawn(other) => {
                let ends = theirs[other].take().expect("a thread is started once");
                handles[other] = Some(self.spawn(other, ends));
                Ret::Done
            }
            Op::Join(other) => {
                let handle = handles[other].take().expect("a thread is joined once, after its start");
                handle.join().unwrap_or_else(|_| panic!("thread {other} died"));
                Ret::Done
            }
            Op::IsFinished(other) => Ret::Is(owned(&handles[other]).is_finished()),
        }
    }

    fn spawn(&self, thread: usize, ends: Ends) -> JoinHandle<()> {
        // A new OS thread is slow: half of the time its parent waits until it
        // runs, or the parent would be done before anybody else begins.
        let is_awaited = self.pace.real && self.pace.draw(thread, usize::MAX).is_multiple_of(2);
        let runs = Arc::new(AtomicBool::new(!is_awaited));
        let (stage, begun) = (self.clone(), Arc::clone(&runs));
        let handle = thread::spawn(format!("t{thread}"), move || {
            begun.store(true, Ordering::Relaxed);
            stage.play(thread, ends, Vec::new());
        });
        while !runs.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        handle
    }
}

fn held<'g, 'a>(guards: &'g mut [Option<MutexGuard<'a, u8>>; EACH], lock: usize) -> &'g mut MutexGuard<'a, u8> {
    guards[lock].as_mut().expect("looked at before")
}

fn owned<T>(object: &Option<T>) -> &T {
    object.as_ref().expect("a well-formed program owns what it uses")
}
