//! What a program may do, by the documented meaning of its operations alone.
//!
//! The model is a set of states and of steps between them, and [`explore`]
//! follows every one. There is no time in it: a time-out may pass at any moment
//! while the thread waits, and not at all if the wait ends otherwise first. What
//! the operations mean:
//!
//! - a lock has one holder. Whoever comes when it is free gets it: there is no
//!   queue, and whoever was woken has no right to it;
//! - a wait opens the lock and begins in one step. It ends by a notification or
//!   a time-out, never without. `notify_one` wakes any one of those who wait at
//!   that moment, and counts as nothing if nobody does;
//! - a channel is a queue. A send waits, or fails, while it is full; a receive
//!   while it is empty. Without receivers a send fails, and what was unread is
//!   gone; without senders a receive fails once everything is read;
//! - a time-out fails an operation only if it could not be done;
//! - atomic words are one memory, the same for all;
//! - a thread has ended once all that it owned is gone.
//!
//! Two sizes of step, see [`Grain`]. Their difference is what the simulation does
//! not show for want of points.
//!
//! Boundary: knows programs. Knows nothing of labsim, and shares no code with it.

use std::collections::{BTreeSet, HashSet};

use super::program::{EACH, MAIN, Op, Outcome, Program, Ret};

/// Between which operations of a thread others may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grain {
    /// Between any two, as on OS threads.
    Operations,
    /// Where the simulation has a point: at the start of most operations, after
    /// an unlock, a notify and a send, and wherever a thread waits.
    Points,
}

/// Every outcome that `program` may have; nothing if it has more than
/// `states_max` states.
pub(crate) fn explore(program: &Program, grain: Grain, states_max: usize) -> Option<BTreeSet<Outcome>> {
    let model = Model { program, grain };
    let start = model.start();
    let mut seen = HashSet::from([start.clone()]);
    let mut unexplored = vec![start];
    let mut outcomes = BTreeSet::new();
    while let Some(state) = unexplored.pop() {
        let next = model.next(&state);
        if next.is_empty() {
            outcomes.insert(state.outcome());
        }
        for state in next {
            if !seen.contains(&state) {
                seen.insert(state.clone());
                unexplored.push(state);
            }
        }
        if seen.len() > states_max {
            return None;
        }
    }
    Some(outcomes)
}

struct Model<'a> {
    program: &'a Program,
    grain: Grain,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    threads: Vec<Thread>,
    /// Who has each lock.
    holders: [Option<usize>; EACH],
    counters: [u8; EACH],
    channels: [Channel; EACH],
    words: [u8; EACH],
    /// Who goes on before anybody else does: it is between two points.
    alone: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Thread {
    phase: Phase,
    /// One for each operation that is over: the next one has this index.
    returned: Vec<Ret>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Unborn,
    /// About to begin its next operation, or to try again.
    Ready,
    /// On the condition.
    Waiting,
    /// Off the condition, without the lock.
    Woken {
        timed_out: bool,
    },
    /// With the lock, about to look whether to wait again.
    Looking {
        timed_out: bool,
    },
    Ended,
}

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
struct Channel {
    messages: Vec<u8>,
    senders: usize,
    receivers: usize,
}

impl State {
    fn outcome(&self) -> Outcome {
        let all_ended = self.threads.iter().all(|thread| thread.phase == Phase::Ended);
        let [[m0, m1], [a0, a1]] = [self.counters, self.words];
        Outcome {
            returned: self.threads.iter().map(|thread| thread.returned.clone()).collect(),
            end: all_ended.then_some([m0, m1, a0, a1]),
        }
    }

    /// The same after `thread` is through with its operation.
    fn done(&self, thread: usize, ret: Ret) -> State {
        self.changed(|state| state.end_op(thread, ret))
    }

    fn end_op(&mut self, thread: usize, ret: Ret) {
        self.threads[thread].returned.push(ret);
        self.threads[thread].phase = Phase::Ready;
    }

    fn changed(&self, change: impl FnOnce(&mut State)) -> State {
        let mut next = self.clone();
        change(&mut next);
        next
    }
}

impl Model<'_> {
    fn start(&self) -> State {
        let threads = 0..self.program.threads.len();
        let channels = std::array::from_fn(|channel| Channel {
            messages: Vec::new(),
            senders: threads.clone().filter(|thread| self.program.sends(*thread, channel)).count(),
            receivers: threads.clone().filter(|thread| self.program.receives(*thread, channel)).count(),
        });
        let thread =
            |number| Thread { phase: if number == MAIN { Phase::Ready } else { Phase::Unborn }, returned: Vec::new() };
        State {
            threads: threads.map(thread).collect(),
            holders: [None; EACH],
            counters: [0; EACH],
            channels,
            words: [0; EACH],
            alone: None,
        }
    }

    /// Every state that is one step away.
    fn next(&self, state: &State) -> Vec<State> {
        if let Some(thread) = state.alone {
            return self.steps(state, thread);
        }
        let threads = 0..state.threads.len();
        // What nobody else can notice may as well happen first. It does not bind
        // the thread to go on: the point before it is now the one behind it.
        if let Some(thread) = threads.clone().find(|thread| self.is_private(state, *thread)) {
            let mut next = self.steps(state, thread);
            next.iter_mut().for_each(|after| after.alone = None);
            return next;
        }
        threads.flat_map(|thread| self.steps(state, thread)).collect()
    }

    /// The operation that `thread` is in or about to begin.
    fn op(&self, state: &State, thread: usize) -> Option<Op> {
        self.program.threads[thread].get(state.threads[thread].returned.len()).copied()
    }

    fn is_skipped(state: &State, thread: usize, op: Op) -> bool {
        op.needs().is_some_and(|lock| state.holders[lock] != Some(thread))
    }

    /// True of a step that no other thread can notice or prevent.
    fn is_private(&self, state: &State, thread: usize) -> bool {
        state.threads[thread].phase == Phase::Ready
            && self.op(state, thread).is_some_and(|op| matches!(op, Op::Add(_)) || Self::is_skipped(state, thread, op))
    }

    /// What `thread` may do next: nothing, one thing, or several.
    fn steps(&self, state: &State, thread: usize) -> Vec<State> {
        let op = self.op(state, thread);
        let mut next = match (state.threads[thread].phase, op) {
            (Phase::Unborn | Phase::Ended, _) => Vec::new(),
            (Phase::Ready, None) => vec![state.changed(|state| state.threads[thread].phase = Phase::Ended)],
            (Phase::Ready, Some(op)) if Self::is_skipped(state, thread, op) => vec![state.done(thread, Ret::Skipped)],
            (Phase::Ready, Some(op)) => self.begin(state, thread, op),
            (Phase::Waiting, Some(Op::WaitFor | Op::AwaitFor(_))) => {
                vec![state.changed(|state| state.threads[thread].phase = Phase::Woken { timed_out: true })]
            }
            (Phase::Woken { timed_out }, Some(op)) if state.holders[0].is_none() => {
                vec![state.changed(|state| {
                    state.holders[0] = Some(thread);
                    match op {
                        Op::Wait => state.end_op(thread, Ret::Done),
                        Op::WaitFor => state.end_op(thread, Ret::Is(timed_out)),
                        _ => state.threads[thread].phase = Phase::Looking { timed_out },
                    }
                })]
            }
            (Phase::Looking { timed_out }, Some(op)) => look(state, thread, op, timed_out),
            (Phase::Waiting | Phase::Woken { .. } | Phase::Looking { .. }, _) => Vec::new(),
        };
        for after in &mut next {
            let goes_on = self.grain == Grain::Points && !self.is_point(state, after, thread);
            after.alone = goes_on.then_some(thread);
        }
        next
    }

    /// Every way in which `op` may be done now; none if the thread has to wait.
    fn begin(&self, state: &State, thread: usize, op: Op) -> Vec<State> {
        let mark = Program::mark(thread, state.threads[thread].returned.len());
        let done = |ret| vec![state.done(thread, ret)];
        let done_with = |ret, change: &dyn Fn(&mut State)| {
            vec![state.changed(|state| {
                change(state);
                state.end_op(thread, ret);
            })]
        };
        match op {
            Op::Lock(lock) | Op::TryLock(lock) | Op::TryLockFor(lock) => match (state.holders[lock], op) {
                (None, Op::Lock(_)) => done_with(Ret::Done, &|state| state.holders[lock] = Some(thread)),
                (None, _) => done_with(Ret::Is(true), &|state| state.holders[lock] = Some(thread)),
                (Some(_), Op::Lock(_)) => Vec::new(),
                (Some(_), _) => done(Ret::Is(false)),
            },
            Op::IsLocked(lock) => done(Ret::Is(state.holders[lock].is_some())),
            Op::Unlock(lock) => done_with(Ret::Done, &|state| state.holders[lock] = None),
            Op::Add(lock) => done_with(Ret::Value(state.counters[lock]), &|state| state.counters[lock] += 1),

            Op::Wait | Op::WaitFor | Op::Await(_) | Op::AwaitFor(_) => look(state, thread, op, false),
            Op::NotifyOne | Op::NotifyAll => notify(state, thread, op),

            Op::Send(channel) | Op::TrySend(channel) | Op::SendTimeout(channel) => {
                let capacity = self.program.capacities[channel].unwrap_or(usize::MAX);
                let Channel { messages, receivers, .. } = &state.channels[channel];
                match op {
                    _ if *receivers == 0 => done(Ret::Disconnected),
                    _ if messages.len() < capacity => {
                        done_with(Ret::Done, &|state| state.channels[channel].messages.push(mark))
                    }
                    Op::TrySend(_) => done(Ret::Full),
                    Op::SendTimeout(_) => done(Ret::Timeout),
                    _ => Vec::new(),
                }
            }
            Op::Recv(channel) | Op::TryRecv(channel) | Op::RecvTimeout(channel) => {
                let Channel { messages, senders, .. } = &state.channels[channel];
                match (messages.first(), op) {
                    (Some(first), _) => {
                        done_with(Ret::Value(*first), &|state| _ = state.channels[channel].messages.remove(0))
                    }
                    (None, _) if *senders == 0 => done(Ret::Disconnected),
                    (None, Op::TryRecv(_)) => done(Ret::Empty),
                    (None, Op::RecvTimeout(_)) => done(Ret::Timeout),
                    (None, _) => Vec::new(),
                }
            }
            Op::Len(channel) => done(Ret::Value(state.channels[channel].messages.len() as u8)),
            Op::DropSender(channel) => done_with(Ret::Done, &|state| state.channels[channel].senders -= 1),
            Op::DropReceiver(channel) => done_with(Ret::Done, &|state| {
                let channel = &mut state.channels[channel];
                channel.receivers -= 1;
                if channel.receivers == 0 {
                    channel.messages.clear();
                }
            }),

            Op::Load(word) => done(Ret::Value(state.words[word])),
            Op::Store(word) => done_with(Ret::Done, &|state| state.words[word] = mark),
            Op::CompareExchange(word) => done_with(Ret::Value(state.words[word]), &|state| {
                if state.words[word] == 0 {
                    state.words[word] = mark;
                }
            }),
            Op::FetchAdd(word) => done_with(Ret::Value(state.words[word]), &|state| state.words[word] += 1),

            Op::Spawn(other) => done_with(Ret::Done, &|state| state.threads[other].phase = Phase::Ready),
            Op::Join(other) if state.threads[other].phase == Phase::Ended => done(Ret::Done),
            Op::Join(_) => Vec::new(),
            Op::IsFinished(other) => done(Ret::Is(state.threads[other].phase == Phase::Ended)),
        }
    }

    /// True if the simulation has a point between the step of `thread` that led
    /// from `before` to `after`, and the thread's next one.
    fn is_point(&self, before: &State, after: &State, thread: usize) -> bool {
        let (was, is) = (&before.threads[thread], &after.threads[thread]);
        match is.phase {
            Phase::Waiting | Phase::Woken { .. } | Phase::Ended | Phase::Unborn => return true,
            // Before it waits once more, it looks at the clock if it has one.
            Phase::Looking { timed_out } => {
                let op = self.op(after, thread);
                return matches!(op, Some(Op::AwaitFor(least)) if !timed_out && after.counters[0] < least);
            }
            Phase::Ready => {}
        }
        let ended = self.op(before, thread).zip(is.returned.get(was.returned.len()));
        let leaves = ended.is_some_and(|(op, ret)| ends_with_a_point(op, *ret));
        let next = self.op(after, thread);
        leaves || next.is_some_and(|op| starts_with_a_point(op) && !Self::is_skipped(after, thread, op))
    }
}

/// Waits, or goes on, as what the lock guards has it.
fn look(state: &State, thread: usize, op: Op, timed_out: bool) -> Vec<State> {
    let wait = || {
        state.changed(|state| {
            state.holders[0] = None;
            state.threads[thread].phase = Phase::Waiting;
        })
    };
    match op {
        Op::Await(least) if state.counters[0] >= least => vec![state.done(thread, Ret::Done)],
        Op::AwaitFor(least) if state.counters[0] >= least => vec![state.done(thread, Ret::Is(false))],
        Op::AwaitFor(_) if timed_out => vec![state.done(thread, Ret::Is(true))],
        // The time may be up already.
        Op::AwaitFor(_) => vec![wait(), state.done(thread, Ret::Is(true))],
        _ => vec![wait()],
    }
}

fn notify(state: &State, thread: usize, op: Op) -> Vec<State> {
    let waiting: Vec<usize> =
        (0..state.threads.len()).filter(|other| state.threads[*other].phase == Phase::Waiting).collect();
    let woken = Phase::Woken { timed_out: false };
    match op {
        Op::NotifyOne if waiting.is_empty() => vec![state.done(thread, Ret::Is(false))],
        Op::NotifyOne => {
            let wake = |other: &usize| {
                let mut next = state.done(thread, Ret::Is(true));
                next.threads[*other].phase = woken;
                next
            };
            waiting.iter().map(wake).collect()
        }
        _ => {
            let mut next = state.done(thread, Ret::Value(waiting.len() as u8));
            waiting.iter().for_each(|other| next.threads[*other].phase = woken);
            vec![next]
        }
    }
}

/// True if the simulation has a point before the operation takes effect.
fn starts_with_a_point(op: Op) -> bool {
    !matches!(op, Op::Unlock(_) | Op::Add(_) | Op::DropSender(_) | Op::DropReceiver(_))
}

/// True if the simulation has a point after the operation took effect.
fn ends_with_a_point(op: Op, ret: Ret) -> bool {
    match op {
        Op::Unlock(_) | Op::NotifyOne | Op::NotifyAll => ret != Ret::Skipped,
        Op::Send(_) | Op::SendTimeout(_) => ret == Ret::Done,
        _ => false,
    }
}
