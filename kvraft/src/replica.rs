//! A replicated state machine: any deterministic machine, on a Raft log.
//!
//! Two threads meet here. A call *submits* a command, and waits. The service thread
//! takes what comes out of the log, in order, applies it, and wakes the call whose very
//! command it was: the same place *and* the same term. At the same place another
//! leader's command may stand, and its answer is not ours.
//!
//! Raft is asked with the lock open: it may take its time. So a command may come out of
//! the log before its call has begun to wait. While a call is at that, answers that
//! nobody waits for are kept.
//!
//! | what comes out of the log | says of a command that waits at (index, term) |
//! |---|---|
//! | that index, that term | it was executed: here is the answer |
//! | that index, another term | lost |
//! | an earlier index, a later term | lost: terms never fall along a log |
//! | a snapshot beyond it | nobody knows: maybe executed |
//!
//! Boundary: order and answers. What a command does is the machine's affair; who sends
//! it, the service's.

// BEGIN 3A
use std::collections::BTreeMap;
use std::sync::Arc;

use labsim::channel::Receiver;
use labsim::sync::{Condvar, Mutex};
use labsim::thread;
use labsim::time::{Duration, Instant};
use raft::{ApplyMsg, Bytes, EntryId, Index, Raft, ReadError, StartError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a call waits for its command to come out of the log. A leader that was cut
/// off cannot know it, and its clients are better served elsewhere.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What an entry takes in a log besides its command: an estimate.
const ENTRY_BYTES: usize = 8;

/// Something that is replicated. The same commands in the same order must lead to the
/// same state and answers, wherever and whenever they are applied.
pub trait Machine: Send + 'static {
    /// What it can be told.
    type Command: Serialize + DeserializeOwned;
    /// What that comes to.
    type Answer: Send;

    /// Executes the command at `index` of the log.
    fn apply(&mut self, index: Index, command: Self::Command) -> Self::Answer;

    /// Its whole state, as bytes.
    fn snapshot(&self) -> Bytes;

    /// Takes a state over that [`snapshot`](Self::snapshot) has written, here or
    /// elsewhere.
    fn restore(&mut self, snapshot: &[u8]);
}

/// Why a command has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmitError {
    /// It was not taken: this server does not lead, or was killed.
    NotTaken,
    /// It was taken, and will never be executed.
    Lost,
    /// It may have been executed, or may yet be.
    Unknown,
}

/// A machine, and the log that tells it what to do.
pub struct Replica<M: Machine> {
    raft: Arc<Raft>,
    state: Mutex<State<M>>,
    /// More is applied, and somebody waits for that to read.
    applied: Condvar,
    /// The log may grow so long before there is a snapshot, in bytes. None: for ever.
    max_raft_state: Option<usize>,
}

struct State<M: Machine> {
    machine: M,
    /// The last entry that the machine has executed.
    last_applied: Index,
    /// Bytes of the commands since the last snapshot.
    log_bytes: usize,
    /// The last snapshot that was taken over goes up to there.
    restored_to: Index,
    /// Calls that wait for their commands.
    waiting: BTreeMap<Place, Waiting<M::Answer>>,
    /// Calls that are about to wait, by the order in which they came, and what was applied
    /// then.
    submitting: BTreeMap<u64, Index>,
    /// How many calls there were.
    calls: u64,
    /// Answers that a call which is about to wait may want.
    early: BTreeMap<Place, M::Answer>,
    /// How many calls wait to read.
    readers: usize,
}

/// Where a command will be if it is ever committed. In the log's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    index: Index,
    term: u64,
}

struct Waiting<A> {
    fate: Option<Result<A, SubmitError>>,
    /// It is known. One call waits for that.
    known: Arc<Condvar>,
}

impl<M: Machine> Replica<M> {
    /// Starts the service thread. `apply` is what `raft` was given to tell the service.
    pub fn new(raft: Arc<Raft>, apply: Receiver<ApplyMsg>, machine: M, max_raft_state: Option<usize>) -> Arc<Self> {
        let state = State::new(machine);
        let replica = Arc::new(Self { raft, state: Mutex::new(state), applied: Condvar::new(), max_raft_state });
        let service = Arc::clone(&replica);
        thread::spawn("service", move || service.run_service(&apply));
        replica
    }

    /// The server of the log.
    pub fn raft(&self) -> &Arc<Raft> {
        &self.raft
    }

    /// Has a command executed on all servers, and returns what it came to.
    ///
    /// # Errors
    ///
    /// See [`SubmitError`]. [`SubmitError::Unknown`] after [`ANSWER_TIMEOUT`] at most.
    pub fn submit(&self, command: &M::Command) -> Result<M::Answer, SubmitError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let command = labrpc::encode(command);
        let call = self.state.lock().begin_call();
        let started = self.raft.start(command);
        let mut state = self.state.lock();
        let place = match started {
            Ok(EntryId { index, term }) => Place { index, term },
            Err(StartError::NotLeader | StartError::Killed) => {
                state.end_call(call);
                return Err(SubmitError::NotTaken);
            }
        };
        let known = Arc::new(Condvar::new());
        let fate = state.fate_so_far(place);
        state.end_call(call);
        state.waiting.insert(place, Waiting { fate, known: Arc::clone(&known) });
        known.wait_while_until(&mut state, |state| state.waiting[&place].fate.is_none(), deadline);
        let waited = state.waiting.remove(&place).expect("only its own call removes it");
        waited.fate.unwrap_or(Err(SubmitError::Unknown))
    }

    /// Reads the machine as it is after every command that was answered before this
    /// call, without an entry in the log.
    ///
    /// # Errors
    ///
    /// Those of [`Raft::read_index`]; [`ReadError::TimedOut`] also if this server is so
    /// far behind.
    pub fn read<T>(&self, body: impl FnOnce(&M) -> T) -> Result<T, ReadError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let index = self.raft.read_index(deadline)?;
        let mut state = self.state.lock();
        state.readers += 1;
        self.applied.wait_while_until(&mut state, |state| state.last_applied < index, deadline);
        state.readers -= 1;
        if state.last_applied < index {
            return Err(ReadError::TimedOut);
        }
        Ok(body(&state.machine))
    }

    /// Applies what comes out of the log. Ends when this server is killed.
    fn run_service(&self, apply: &Receiver<ApplyMsg>) {
        for told in apply {
            let mut state = self.state.lock();
            match told {
                ApplyMsg::Command { index, term, command } => state.execute(Place { index, term }, &command),
                ApplyMsg::Snapshot { index, data, .. } => state.take_over(index, &data),
            }
            if state.readers > 0 {
                self.applied.notify_all();
            }
            let snapshot = state.snapshot_if_due(self.max_raft_state);
            drop(state); // Raft writes to the disk now.
            if let Some((index, data)) = snapshot {
                self.raft.snapshot(index, data);
            }
        }
    }
}

impl<M: Machine> State<M> {
    fn new(machine: M) -> Self {
        Self {
            machine,
            last_applied: 0,
            log_bytes: 0,
            restored_to: 0,
            waiting: BTreeMap::new(),
            submitting: BTreeMap::new(),
            calls: 0,
            early: BTreeMap::new(),
            readers: 0,
        }
    }

    /// A call is about to ask Raft. Returns its number.
    fn begin_call(&mut self) -> u64 {
        self.calls += 1;
        self.submitting.insert(self.calls, self.last_applied);
        self.calls
    }

    /// What is known already of a command that Raft has just taken.
    fn fate_so_far(&mut self, place: Place) -> Option<Result<M::Answer, SubmitError>> {
        match self.early.remove(&place) {
            Some(answer) => Some(Ok(answer)),
            None if place.index <= self.restored_to => Some(Err(SubmitError::Unknown)),
            None if place.index <= self.last_applied => Some(Err(SubmitError::Lost)),
            None => None,
        }
    }

    /// The call has asked Raft. What came early is kept for those who came later only.
    fn end_call(&mut self, call: u64) {
        self.submitting.remove(&call);
        let applied_before = self.submitting.values().min().copied().unwrap_or(Index::MAX);
        self.early.retain(|place, _| place.index > applied_before);
    }

    fn execute(&mut self, place: Place, command: &[u8]) {
        let decoded = labrpc::decode(command).expect("what is in the log was put there by a service like this one");
        let answer = self.machine.apply(place.index, decoded);
        self.last_applied = place.index;
        self.log_bytes += command.len() + ENTRY_BYTES;
        let mut answer = Some(answer);
        for (waits, waiting) in &mut self.waiting {
            if *waits == place {
                waiting.settle(Ok(answer.take().expect("a place is waited for once")));
            } else if waits.index <= place.index || waits.term < place.term {
                waiting.settle(Err(SubmitError::Lost));
            }
        }
        if let Some(answer) = answer.filter(|_| !self.submitting.is_empty()) {
            self.early.insert(place, answer);
        }
    }

    fn take_over(&mut self, index: Index, snapshot: &[u8]) {
        self.machine.restore(snapshot);
        (self.last_applied, self.restored_to) = (index, index);
        self.log_bytes = 0;
        for (_, waiting) in self.waiting.range_mut(..Place { index: index + 1, term: 0 }) {
            waiting.settle(Err(SubmitError::Unknown));
        }
    }

    fn snapshot_if_due(&mut self, max_raft_state: Option<usize>) -> Option<(Index, Bytes)> {
        if self.log_bytes < max_raft_state? {
            return None;
        }
        self.log_bytes = 0;
        Some((self.last_applied, self.machine.snapshot()))
    }
}

impl<A> Waiting<A> {
    /// The first to know is right; the call may not have looked yet.
    fn settle(&mut self, fate: Result<A, SubmitError>) {
        if self.fate.is_none() {
            self.fate = Some(fate);
            self.known.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up what it is told.
    #[derive(Default)]
    struct Adder(u64);

    impl Machine for Adder {
        type Command = u64;
        type Answer = u64;
        fn apply(&mut self, _index: Index, command: u64) -> u64 {
            self.0 += command;
            self.0
        }
        fn snapshot(&self) -> Bytes {
            labrpc::encode(&self.0).into()
        }
        fn restore(&mut self, snapshot: &[u8]) {
            self.0 = labrpc::decode(snapshot).expect("it was written by an adder");
        }
    }

    const fn place(index: Index, term: u64) -> Place {
        Place { index, term }
    }

    /// A machine whose calls wait at those places.
    fn waiting_at(places: &[Place]) -> State<Adder> {
        let waiting = |place: &Place| (*place, Waiting { fate: None, known: Arc::new(Condvar::new()) });
        let waiting = places.iter().map(waiting).collect();
        State { waiting, ..State::new(Adder::default()) }
    }

    fn fates(state: &State<Adder>) -> Vec<Option<Result<u64, SubmitError>>> {
        state.waiting.values().map(|waiting| waiting.fate).collect()
    }

    #[test]
    fn a_call_is_answered_for_its_own_command_only_3a() {
        let lost = Some(Err(SubmitError::Lost));
        let rows = [
            // What waits, what is committed, what is known then.
            (vec![place(1, 1)], place(1, 1), vec![Some(Ok(5))]),
            (vec![place(1, 1)], place(1, 2), vec![lost]),
            (vec![place(2, 1)], place(1, 1), vec![None]),
            (vec![place(2, 1)], place(1, 2), vec![lost]),
            (vec![place(2, 2)], place(1, 1), vec![None]),
            (vec![place(1, 2)], place(1, 1), vec![lost]),
            (vec![place(1, 1), place(1, 2), place(2, 2)], place(1, 2), vec![lost, Some(Ok(5)), None]),
        ];
        for (waits, committed, known) in rows {
            let mut state = waiting_at(&waits);
            state.execute(committed, &labrpc::encode(&5_u64));
            assert_eq!(fates(&state), known);
            assert_eq!(state.last_applied, committed.index);
        }
    }

    /// Raft has taken a command, and it comes out of the log before its call waits.
    #[test]
    fn an_answer_may_come_early_3a() {
        let mut state = waiting_at(&[]);
        let first = state.begin_call();
        for index in 1..=2 {
            state.execute(place(index, 1), &labrpc::encode(&5_u64));
        }
        let (second, third) = (state.begin_call(), state.begin_call());
        state.execute(place(3, 1), &labrpc::encode(&5_u64));
        state.end_call(third);
        assert_eq!(state.fate_so_far(place(1, 1)), Some(Ok(5)), "the first may want it");
        assert_eq!(state.fate_so_far(place(2, 2)), Some(Err(SubmitError::Lost)));
        assert_eq!(state.fate_so_far(place(4, 1)), None);
        state.end_call(first);
        assert_eq!(state.early.len(), 1, "the second came later than the others");
        assert_eq!(state.fate_so_far(place(3, 1)), Some(Ok(15)), "the second may want it");
        state.execute(place(4, 1), &labrpc::encode(&5_u64));
        state.end_call(second);
        assert!(state.early.is_empty(), "nobody is left who may want it");
        state.execute(place(5, 1), &labrpc::encode(&5_u64));
        assert!(state.early.is_empty());

        let call = state.begin_call();
        state.take_over(6, &Adder(7).snapshot());
        assert_eq!(state.fate_so_far(place(6, 1)), Some(Err(SubmitError::Unknown)));
        state.end_call(call);
    }

    #[test]
    fn a_snapshot_leaves_a_call_in_doubt_3b() {
        let mut state = waiting_at(&[place(2, 1), place(3, 1), place(4, 1)]);
        state.take_over(3, &Adder(7).snapshot());
        let unknown = Some(Err(SubmitError::Unknown));
        assert_eq!((fates(&state), state.machine.0), (vec![unknown, unknown, None], 7));
        assert_eq!(state.last_applied, 3);
        state.execute(place(4, 1), &labrpc::encode(&1_u64));
        assert_eq!(fates(&state), [unknown, unknown, Some(Ok(8))], "what is known stays");
    }

    #[test]
    fn a_snapshot_is_due_after_so_many_bytes_3b() {
        let mut state = waiting_at(&[]);
        let mut snapshots = Vec::new();
        for index in 1..=10 {
            state.execute(place(index, 1), &labrpc::encode(&1_u64)); // 1 byte, and 8 for the entry.
            snapshots.extend(state.snapshot_if_due(Some(30)).map(|(index, _)| index));
        }
        assert_eq!(snapshots, [4, 8]);
        state.take_over(12, &Adder(7).snapshot());
        state.execute(place(13, 1), &labrpc::encode(&1_u64));
        assert_eq!(state.snapshot_if_due(Some(10)), None, "the log begins anew");
        state.log_bytes = usize::MAX;
        assert_eq!(state.snapshot_if_due(None), None);
    }
}
// END 3A
