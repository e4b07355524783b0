//! Programs as data: what threads do, and what came of it.
//!
//! A program is a list of operations for each thread, on two locks with a
//! counter each, a condition, two channels and two atomic words. Thread 0 is the
//! main thread: it starts the others and joins them. Each operation is one call
//! into labsim, and has one result.
//!
//! [`Program::new`] makes a program out of any scripts, by leaving out what has
//! no meaning (an unlock of what is not locked) and adding what Rust does at the
//! end of a scope: guards open, ends of channels go. What remains is well-formed,
//! so a smaller program is one too, which shrinking relies on. Two things are
//! left out because labsim refuses them: to receive, or to wait for room, with a
//! lock in hand.
//!
//! # Another operation
//!
//! takes a variant of [`Op`], a line in its `Display`, one in [`Op::is_allowed`]
//! if it may not stand everywhere, one in a strategy below; its call in `run.rs`; its
//! meaning in `model.rs` (`begin`, and `starts_with_a_point` or
//! `ends_with_a_point`). A new kind of object takes a field of `Shared` in
//! `run.rs` and of `State` in `model.rs` besides.
//!
//! Boundary: plain data and its printing. Runs nothing.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The thread that starts the others.
pub(crate) const MAIN: usize = 0;

/// Operations that a script keeps, not counting the beginning of a thread and
/// the end of a critical section.
const OPS_MAX: usize = 5;

/// Locks, channels and atomic words: so many of each.
pub(crate) const EACH: usize = 2;

/// One call into labsim. Numbers name objects and threads; the condition goes
/// with lock 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Lock(usize),
    TryLock(usize),
    TryLockFor(usize),
    IsLocked(usize),
    Unlock(usize),
    /// Adds 1 to what the lock guards. Yields the value before.
    Add(usize),

    Wait,
    WaitFor,
    /// `wait_while` the counter is less.
    Await(u8),
    /// `wait_while_for`.
    AwaitFor(u8),
    NotifyOne,
    NotifyAll,

    Send(usize),
    TrySend(usize),
    SendTimeout(usize),
    Recv(usize),
    TryRecv(usize),
    RecvTimeout(usize),
    /// How many messages wait, as the receiving end sees it.
    Len(usize),
    DropSender(usize),
    DropReceiver(usize),

    Load(usize),
    /// Stores what [`Program::mark`] says. So does the next one, if it finds 0.
    Store(usize),
    CompareExchange(usize),
    FetchAdd(usize),

    Spawn(usize),
    Join(usize),
    IsFinished(usize),
}

/// What an operation returned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Ret {
    Done,
    Value(u8),
    Is(bool),
    Timeout,
    Full,
    Empty,
    Disconnected,
    /// It needs a lock that a `try_lock` before it did not get.
    Skipped,
}

/// How a run ended. Two runs with equal outcomes cannot be told apart by the
/// program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Outcome {
    /// What each thread's operations returned, as far as they did.
    pub(crate) returned: Vec<Vec<Ret>>,
    /// Both counters and both words; nothing if the threads wait for ever.
    pub(crate) end: Option<[u8; 2 * EACH]>,
}

/// Two or three threads, and the channels between them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) threads: Vec<Vec<Op>>,
    /// How many messages each channel holds; nothing if it is unbounded.
    pub(crate) capacities: [Option<usize>; EACH],
}

impl Program {
    /// The program that `scripts` come to, the main thread's first.
    pub(crate) fn new(scripts: &[Vec<Op>], capacities: [Option<usize>; EACH]) -> Self {
        let threads = scripts.iter().enumerate();
        let threads = threads.map(|(thread, script)| complete(thread, scripts.len(), script, &capacities));
        Self { threads: threads.collect(), capacities }
    }

    /// The same without its last thread; without one operation; with a channel
    /// that holds any number of messages.
    pub(crate) fn smaller(&self) -> impl Iterator<Item = Program> + use<> {
        let Program { threads, capacities } = self;
        let mut smaller = Vec::new();
        if threads.len() > 2 {
            smaller.push(Self::new(&threads[..threads.len() - 1], *capacities));
        }
        for (thread, ops) in threads.iter().enumerate() {
            for at in (0..ops.len()).rev() {
                let mut threads = threads.clone();
                threads[thread].remove(at);
                smaller.push(Self::new(&threads, *capacities));
            }
        }
        for channel in 0..EACH {
            let mut capacities = *capacities;
            capacities[channel] = None;
            smaller.push(Self::new(threads, capacities));
        }
        // What is added to any program comes back if it is taken away.
        let size = |program: &Program| {
            let bounds = program.capacities.iter().flatten().count();
            bounds + program.threads.iter().map(Vec::len).sum::<usize>()
        };
        let limit = size(self);
        smaller.into_iter().filter(move |program| size(program) < limit)
    }

    /// A number that only this operation stores or sends. Not 0.
    pub(crate) fn mark(thread: usize, at: usize) -> u8 {
        u8::try_from(thread * 20 + at + 1).expect("short programs")
    }

    /// True if the thread owns a sending end from the start.
    pub(crate) fn sends(&self, thread: usize, channel: usize) -> bool {
        self.threads[thread].contains(&Op::DropSender(channel))
    }

    /// True if the thread owns a receiving end from the start.
    pub(crate) fn receives(&self, thread: usize, channel: usize) -> bool {
        self.threads[thread].contains(&Op::DropReceiver(channel))
    }
}

/// What is known of a thread at one place of its script.
struct Scope {
    /// Locks that it may hold.
    held: [bool; EACH],
    senders_gone: [bool; EACH],
    receivers_gone: [bool; EACH],
    unborn: Vec<usize>,
    unjoined: Vec<usize>,
}

/// Leaves out of `script` what has no meaning, and ends it as Rust would.
fn complete(thread: usize, threads: usize, script: &[Op], capacities: &[Option<usize>; EACH]) -> Vec<Op> {
    let others: Vec<usize> = if thread == MAIN { (1..threads).collect() } else { Vec::new() };
    let mut scope = Scope {
        held: [false; EACH],
        senders_gone: [false; EACH],
        receivers_gone: [false; EACH],
        unborn: others.clone(),
        unjoined: others.clone(),
    };
    let mut ops = Vec::new();
    // Whom the script forgets to start is started first.
    for other in others {
        if !script.contains(&Op::Spawn(other)) {
            ops.push(Op::Spawn(other));
            scope.note(Op::Spawn(other));
        }
    }
    let mut kept = 0;
    for op in script {
        let counts = !matches!(op, Op::Spawn(_) | Op::Unlock(_));
        if op.is_allowed(&scope, capacities) && (kept < OPS_MAX || !counts) {
            kept += usize::from(counts);
            ops.push(*op);
            scope.note(*op);
        }
    }
    for object in 0..EACH {
        if scope.held[object] {
            ops.push(Op::Unlock(object));
        }
    }
    for channel in 0..EACH {
        if !scope.senders_gone[channel] && ops.iter().any(|op| op.sends_into() == Some(channel)) {
            ops.push(Op::DropSender(channel));
        }
        if !scope.receivers_gone[channel] && ops.iter().any(|op| op.takes_from() == Some(channel)) {
            ops.push(Op::DropReceiver(channel));
        }
    }
    ops.extend(scope.unjoined.iter().map(|other| Op::Join(*other)));
    ops
}

impl Scope {
    fn note(&mut self, op: Op) {
        match op {
            Op::Lock(lock) | Op::TryLock(lock) | Op::TryLockFor(lock) => self.held[lock] = true,
            Op::Unlock(lock) => self.held[lock] = false,
            Op::DropSender(channel) => self.senders_gone[channel] = true,
            Op::DropReceiver(channel) => self.receivers_gone[channel] = true,
            Op::Spawn(other) => self.unborn.retain(|unborn| *unborn != other),
            Op::Join(other) => self.unjoined.retain(|unjoined| *unjoined != other),
            _ => {}
        }
    }
}

impl Op {
    /// True if the operation has a meaning here, and labsim allows it.
    fn is_allowed(self, scope: &Scope, capacities: &[Option<usize>; EACH]) -> bool {
        let any_held = scope.held.contains(&true);
        let has_end = self.sends_into().is_none_or(|channel| !scope.senders_gone[channel])
            && self.takes_from().is_none_or(|channel| !scope.receivers_gone[channel]);
        has_end
            && match self {
                Op::Lock(lock) | Op::TryLock(lock) | Op::TryLockFor(lock) => !scope.held[lock],
                Op::Unlock(lock) | Op::Add(lock) => scope.held[lock],
                Op::Wait | Op::WaitFor | Op::Await(_) | Op::AwaitFor(_) => scope.held[0],
                Op::Recv(_) | Op::RecvTimeout(_) => !any_held,
                Op::Send(channel) | Op::SendTimeout(channel) => !any_held || capacities[channel].is_none(),
                Op::Spawn(other) => scope.unborn.contains(&other),
                Op::Join(other) | Op::IsFinished(other) => {
                    scope.unjoined.contains(&other) && !scope.unborn.contains(&other)
                }
                _ => true,
            }
    }

    /// The channel whose sending end it uses.
    fn sends_into(self) -> Option<usize> {
        match self {
            Op::Send(channel) | Op::TrySend(channel) | Op::SendTimeout(channel) | Op::DropSender(channel) => {
                Some(channel)
            }
            _ => None,
        }
    }

    /// The channel whose receiving end it uses.
    fn takes_from(self) -> Option<usize> {
        match self {
            Op::Recv(channel)
            | Op::TryRecv(channel)
            | Op::RecvTimeout(channel)
            | Op::Len(channel)
            | Op::DropReceiver(channel) => Some(channel),
            _ => None,
        }
    }

    /// The lock that the thread must hold.
    pub(crate) fn needs(self) -> Option<usize> {
        match self {
            Op::Unlock(lock) | Op::Add(lock) => Some(lock),
            Op::Wait | Op::WaitFor | Op::Await(_) | Op::AwaitFor(_) => Some(0),
            _ => None,
        }
    }
}

// Random programs.

/// Any program of two or three threads.
pub(crate) fn any_program() -> impl Strategy<Value = Program> {
    // Threads that all use the same few things meet more often. Three threads
    // have many more outcomes to look for than two; but with two, nobody can tell
    // one notification from two.
    let two_or_three = prop_oneof![3 => Just(2), 2 => Just(3)];
    prop_oneof![
        2 => any_program_of(any_lock_phrase().boxed(), two_or_three.clone().boxed(), 5),
        2 => any_program_of(any_channel_phrase().boxed(), two_or_three.clone().boxed(), 5),
        2 => any_program_of(any_condition_phrase().boxed(), Just(3).boxed(), 2),
        3 => any_program_of(any_phrase().boxed(), two_or_three.boxed(), 5),
    ]
}

fn any_program_of(
    phrase: BoxedStrategy<Vec<Op>>,
    threads: BoxedStrategy<usize>,
    phrases_max: usize,
) -> impl Strategy<Value = Program> {
    let script = vec(phrase.clone(), 1..=phrases_max).prop_map(|phrases| phrases.concat());
    let main = vec(prop_oneof![4 => phrase, 1 => any_thread_op().prop_map(|op| vec![op])], 1..=phrases_max + 1)
        .prop_map(|phrases| phrases.concat());
    let capacity = || prop_oneof![Just(None), Just(Some(1)), Just(Some(2))];
    let scripts = (main, vec(script, 2), threads).prop_map(|(main, mut scripts, threads)| {
        scripts.insert(MAIN, main);
        scripts.truncate(threads);
        scripts
    });
    (scripts, capacity(), capacity()).prop_map(|(scripts, first, second)| Program::new(&scripts, [first, second]))
}

/// Operations that make sense together, or any one of them alone.
fn any_phrase() -> impl Strategy<Value = Vec<Op>> {
    prop_oneof![2 => any_lock_phrase(), 1 => any_channel_phrase()]
}

fn any_lock_phrase() -> impl Strategy<Value = Vec<Op>> {
    let section = any_object().prop_map(|lock| vec![Op::Lock(lock), Op::Add(lock), Op::Unlock(lock)]);
    let look = any_object().prop_map(|lock| vec![Op::TryLock(lock), Op::Add(lock), Op::Unlock(lock)]);
    let alone = prop_oneof![
        3 => any_lock_op(),
        2 => any_word_op(),
        2 => any_notify(),
        1 => any_wait(),
    ];
    prop_oneof![
        4 => alone.prop_map(|op| vec![op]),
        2 => section,
        1 => look,
        6 => any_condition_phrase(),
    ]
}

fn any_condition_phrase() -> impl Strategy<Value = Vec<Op>> {
    let tell = any_notify().prop_map(|notify| vec![Op::Lock(0), Op::Add(0), notify, Op::Unlock(0)]);
    let tell_late = any_notify().prop_map(|notify| vec![Op::Lock(0), Op::Add(0), Op::Unlock(0), notify]);
    let hear = any_wait().prop_map(|wait| vec![Op::Lock(0), wait, Op::Unlock(0)]);
    let hear_and_add = any_wait().prop_map(|wait| vec![Op::Lock(0), wait, Op::Add(0), Op::Unlock(0)]);
    prop_oneof![
        2 => tell,
        1 => tell_late,
        2 => hear,
        1 => hear_and_add,
    ]
}

fn any_channel_phrase() -> impl Strategy<Value = Vec<Op>> {
    prop_oneof![4 => any_channel_op(), 1 => any_word_op()].prop_map(|op| vec![op])
}

fn any_notify() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::NotifyOne), Just(Op::NotifyAll)]
}

fn any_wait() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Wait),
        2 => Just(Op::WaitFor),
        3 => (1..=2u8).prop_map(Op::Await),
        2 => (1..=2u8).prop_map(Op::AwaitFor),
    ]
}

fn any_thread_op() -> impl Strategy<Value = Op> {
    (1..3usize, 0..3usize)
        .prop_map(|(thread, which)| [Op::Spawn(thread), Op::Join(thread), Op::IsFinished(thread)][which])
}

/// One object more often than the other, so that threads meet.
fn any_object() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn any_lock_op() -> impl Strategy<Value = Op> {
    let ops = [Op::Lock, Op::TryLock, Op::TryLockFor, Op::IsLocked, Op::Unlock, Op::Add];
    (select(ops.to_vec()), any_object()).prop_map(|(op, lock)| op(lock))
}

fn any_channel_op() -> impl Strategy<Value = Op> {
    let ops = prop_oneof![
        4 => select(vec![Op::Send, Op::TrySend, Op::SendTimeout]),
        4 => select(vec![Op::Recv, Op::TryRecv, Op::RecvTimeout, Op::Len]),
        1 => select(vec![Op::DropSender, Op::DropReceiver]),
    ];
    (ops, any_object()).prop_map(|(op, channel)| op(channel))
}

fn any_word_op() -> impl Strategy<Value = Op> {
    let ops = [Op::Load, Op::Store, Op::CompareExchange, Op::FetchAdd];
    (select(ops.to_vec()), any_object()).prop_map(|(op, word)| op(word))
}

// Printing.

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Lock(lock) => write!(f, "m{lock}.lock()"),
            Op::TryLock(lock) => write!(f, "m{lock}.try_lock()"),
            Op::TryLockFor(lock) => write!(f, "m{lock}.try_lock_for(t)"),
            Op::IsLocked(lock) => write!(f, "m{lock}.is_locked()"),
            Op::Unlock(lock) => write!(f, "m{lock}.unlock()"),
            Op::Add(lock) => write!(f, "*m{lock} += 1"),
            Op::Wait => write!(f, "c.wait(m0)"),
            Op::WaitFor => write!(f, "c.wait_for(m0, t)"),
            Op::Await(least) => write!(f, "c.wait_while(m0, < {least})"),
            Op::AwaitFor(least) => write!(f, "c.wait_while_for(m0, < {least}, t)"),
            Op::NotifyOne => write!(f, "c.notify_one()"),
            Op::NotifyAll => write!(f, "c.notify_all()"),
            Op::Send(channel) => write!(f, "tx{channel}.send()"),
            Op::TrySend(channel) => write!(f, "tx{channel}.try_send()"),
            Op::SendTimeout(channel) => write!(f, "tx{channel}.send_timeout(t)"),
            Op::Recv(channel) => write!(f, "rx{channel}.recv()"),
            Op::TryRecv(channel) => write!(f, "rx{channel}.try_recv()"),
            Op::RecvTimeout(channel) => write!(f, "rx{channel}.recv_timeout(t)"),
            Op::Len(channel) => write!(f, "rx{channel}.len()"),
            Op::DropSender(channel) => write!(f, "drop(tx{channel})"),
            Op::DropReceiver(channel) => write!(f, "drop(rx{channel})"),
            Op::Load(word) => write!(f, "a{word}.load()"),
            Op::Store(word) => write!(f, "a{word}.store()"),
            Op::CompareExchange(word) => write!(f, "a{word}.compare_exchange(0)"),
            Op::FetchAdd(word) => write!(f, "a{word}.fetch_add(1)"),
            Op::Spawn(thread) => write!(f, "spawn(t{thread})"),
            Op::Join(thread) => write!(f, "t{thread}.join()"),
            Op::IsFinished(thread) => write!(f, "t{thread}.is_finished()"),
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ret::Done => write!(f, "."),
            Ret::Value(value) => write!(f, "{value}"),
            Ret::Is(is) => write!(f, "{is}"),
            Ret::Timeout => write!(f, "Timeout"),
            Ret::Full => write!(f, "Full"),
            Ret::Empty => write!(f, "Empty"),
            Ret::Disconnected => write!(f, "Disconnected"),
            Ret::Skipped => write!(f, "skipped"),
        }
    }
}

impl Program {
    /// A line for each operation. With an outcome, what it returned.
    pub(crate) fn told(&self, outcome: Option<&Outcome>) -> String {
        let mut text = String::new();
        for (number, capacity) in self.capacities.iter().enumerate() {
            let kind = capacity.map_or("unbounded()".to_owned(), |capacity| format!("bounded({capacity})"));
            text += &format!("channel {number}: {kind}\n");
        }
        for (thread, ops) in self.threads.iter().enumerate() {
            text += &if thread == MAIN { "main:\n".to_owned() } else { format!("t{thread}:\n") };
            for (at, op) in ops.iter().enumerate() {
                let returned = match outcome.map(|outcome| outcome.returned[thread].get(at)) {
                    None => String::new(),
                    Some(Some(ret)) => format!(" -> {ret}"),
                    Some(None) => " -> did not return".to_owned(),
                };
                text += &format!("    {op}{returned}\n");
            }
        }
        match outcome {
            None => {}
            Some(Outcome { end: Some([m0, m1, a0, a1]), .. }) => {
                text += &format!("in the end m0 = {m0}, m1 = {m1}, a0 = {a0}, a1 = {a1}\n");
            }
            Some(Outcome { end: None, .. }) => text += "in the end whoever is left waits for ever\n",
        }
        text
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.told(None))
    }
}
