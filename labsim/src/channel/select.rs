//! Selection: one of several sends and receives, whichever can go on first.
//!
//! [`Select`] is the list of operations, [`SelectedOperation`] the one that was
//! claimed for the thread, which has to finish it. In a simulation `choose.rs`
//! claims; outside, crossbeam does, with the thread's cord as one operation more.
//!
//! Left out: crossbeam's `ready`, which finishes nothing, and its biased
//! selection.
//!
//! Boundary: operations as a student sees them. What each of them does is with
//! its channel.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crossbeam_channel::{RecvError, SendError};
pub use crossbeam_channel::{SelectTimeoutError, TrySelectError};

use super::choose::{Claim, Operation, Selectable, Side, choose};
use super::rendezvous::AT_ONCE;
use super::{Receiver, ReceiverKind, Sender, SenderKind, mode_outside};
use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Place, Why};
use crate::time::Instant;

/// An end of a channel, of whatever type its messages are.
pub(super) trait End {
    /// What it is in a simulation; nothing if it was made outside.
    fn operation(&self) -> Option<Operation<'_>>;

    /// Adds it to a selection on OS threads.
    fn add_to<'s>(&'s self, select: &mut crossbeam_channel::Select<'s>);
}

const ELSEWHERE: &str = "a channel that belongs to a simulation was selected outside of it";

impl<T> End for Sender<T> {
    fn operation(&self) -> Option<Operation<'_>> {
        match &self.0 {
            SenderKind::Simulated(channel) => Some(Operation { target: &**channel, side: Side::Send }),
            SenderKind::Real(_) => None,
        }
    }

    fn add_to<'s>(&'s self, select: &mut crossbeam_channel::Select<'s>) {
        match &self.0 {
            SenderKind::Simulated(_) => panic!("{ELSEWHERE}"),
            SenderKind::Real(tx) => _ = select.send(tx),
        }
    }
}

impl<T> End for Receiver<T> {
    fn operation(&self) -> Option<Operation<'_>> {
        let target: &dyn Selectable = match &self.0 {
            ReceiverKind::Simulated(channel) => &**channel,
            ReceiverKind::Timer(timer, _) => &**timer,
            ReceiverKind::Real(_) | ReceiverKind::RealTimer(..) => return None,
        };
        Some(Operation { target, side: Side::Receive })
    }

    fn add_to<'s>(&'s self, select: &mut crossbeam_channel::Select<'s>) {
        match &self.0 {
            ReceiverKind::Simulated(_) | ReceiverKind::Timer(..) => panic!("{ELSEWHERE}"),
            ReceiverKind::Real(rx) => _ = select.recv(rx),
            ReceiverKind::RealTimer(rx, _) => _ = select.recv(rx),
        }
    }
}

/// How long a selection waits.
#[derive(Clone, Copy)]
enum Patience {
    Now,
    For(Duration),
    ForEver,
}

/// A list of sends and receives, of which the first that can go on is taken.
///
/// As `crossbeam_channel::Select`; [`select!`](crate::select) is easier where
/// the list is known beforehand. An operation is ready too if it would fail
/// because the other end is gone.
///
/// ```
/// use labsim::channel::{self, Select};
/// use labsim::thread;
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| channel::unbounded()).unzip();
///     thread::spawn("sender", move || senders[1].send("from the second"));
///
///     let mut select = Select::new();
///     for rx in &receivers {
///         select.recv(rx);
///     }
///     let first = select.select();
///     let index = first.index();
///     (index, first.recv(&receivers[index]))
/// });
/// let (index, message) = outcome.result.unwrap();
/// assert!(index != 1 || message == Ok("from the second"));
/// ```
pub struct Select<'a> {
    /// Each with the index that the caller knows it by.
    ends: Vec<(usize, &'a dyn End)>,
    added: usize,
    /// The thread's own, in a real world: whoever waits is to notice its death.
    cord: Option<crossbeam_channel::Receiver<()>>,
}

impl<'a> Select<'a> {
    /// A list without operations.
    pub fn new() -> Self {
        Self { ends: Vec::new(), added: 0, cord: None }
    }

    /// Adds the sending of a message. Returns its index: 0 for the first
    /// operation, and so on.
    pub fn send<T>(&mut self, tx: &'a Sender<T>) -> usize {
        self.add(tx)
    }

    /// Adds the receiving of a message. Returns its index.
    pub fn recv<T>(&mut self, rx: &'a Receiver<T>) -> usize {
        self.add(rx)
    }

    fn add(&mut self, end: &'a dyn End) -> usize {
        self.ends.push((self.added, end));
        self.added += 1;
        self.added - 1
    }

    /// Takes an operation out of the list. The others keep their indexes.
    ///
    /// # Panics
    ///
    /// If there is none under `index`.
    pub fn remove(&mut self, index: usize) {
        let at = self.ends.iter().position(|(known_as, _)| *known_as == index);
        self.ends.remove(at.expect("no operation has this index"));
    }

    /// Takes an operation that is ready.
    ///
    /// # Errors
    ///
    /// If none is.
    ///
    /// # Panics
    ///
    /// If a channel of the list belongs to another world.
    #[track_caller]
    pub fn try_select(&mut self) -> Result<SelectedOperation<'_>, TrySelectError> {
        self.run(Patience::Now, Location::caller()).ok_or(TrySelectError)
    }

    /// Takes an operation that is ready, waiting for one if none is. In a
    /// simulation no lock may be held meanwhile.
    ///
    /// # Panics
    ///
    /// If the list is empty, or a channel of it belongs to another world.
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'_> {
        assert!(!self.ends.is_empty(), "no operations have been added to `Select`");
        self.run(Patience::ForEver, Location::caller()).expect("a wait without end ends with an operation")
    }

    /// As [`select`](Self::select), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// If none was ready in time.
    ///
    /// # Panics
    ///
    /// If a channel of the list belongs to another world.
    #[track_caller]
    pub fn select_timeout(&mut self, timeout: Duration) -> Result<SelectedOperation<'_>, SelectTimeoutError> {
        self.run(Patience::For(timeout), Location::caller()).ok_or(SelectTimeoutError)
    }

    /// As [`select`](Self::select), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// If none was ready in time.
    ///
    /// # Panics
    ///
    /// If a channel of the list, or the moment, belongs to another world.
    #[track_caller]
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'_>, SelectTimeoutError> {
        self.select_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    fn run(&mut self, patience: Patience, place: Place) -> Option<SelectedOperation<'_>> {
        match context::mode() {
            Mode::Simulated => self.run_simulated(patience, place),
            Mode::Real | Mode::Outside => self.run_outside(patience),
        }
    }

    fn run_simulated(&self, patience: Patience, place: Place) -> Option<SelectedOperation<'_>> {
        sim::with(|core| {
            core.point(place);
            let operation = |(_, end): &(usize, &'a dyn End)| end.operation().unwrap_or_else(|| super::made_outside());
            let operations: Vec<_> = self.ends.iter().map(operation).collect();
            operations.iter().for_each(|operation| operation.target.bind(core, place));
            let until = match patience {
                Patience::Now => AT_ONCE,
                Patience::For(timeout) => core.deadline(timeout),
                Patience::ForEver => None,
            };
            if !matches!(patience, Patience::Now) {
                core.no_lock_held("selects", place); // As with a receive: what is ready is chance.
            }
            let (at, claim) = choose(core, &operations, until, Why::Select, place)?;
            let (index, end) = self.ends[at];
            Some(SelectedOperation { index, state: Some(State::Simulated(end, claim)) })
        })
    }

    fn run_outside(&mut self, patience: Patience) -> Option<SelectedOperation<'_>> {
        let is_real = mode_outside() == Mode::Real;
        real::check();
        self.cord = is_real.then(real::cord);
        let mut select = crossbeam_channel::Select::new();
        self.ends.iter().for_each(|(_, end)| end.add_to(&mut select));
        let cord = self.cord.as_ref().map(|cord| (select.recv(cord), cord));
        let ready = match patience {
            Patience::Now => select.try_select().ok()?,
            Patience::For(timeout) => match select.select_timeout(real::machine_time(timeout)) {
                Ok(ready) => ready,
                Err(_) => return real::stay(None),
            },
            Patience::ForEver => select.select(),
        };
        if let Some((index, cord)) = cord
            && index == ready.index()
        {
            let _ = ready.recv(cord);
            real::die();
            // A destructor of the dead: everybody is gone, as far as it can see.
            let index = self.ends.first()?.0;
            return Some(SelectedOperation { index, state: Some(State::Dead) });
        }
        let index = self.ends[ready.index()].0;
        let finishing = real::Finishing::begin();
        Some(SelectedOperation { index, state: Some(State::Outside(ready, finishing)) })
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Select<'_> {
    fn clone(&self) -> Self {
        Self { ends: self.ends.clone(), added: self.added, cord: None }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Select { .. }")
    }
}

/// An operation that was selected, and must now be finished, by
/// [`send`](Self::send) or [`recv`](Self::recv) with the end that it was added
/// with. Dropping it panics.
///
/// Nobody can take the message or the room away meanwhile. In a simulation, a
/// thread that is killed with an operation in its hands had received that
/// message, and has sent none.
#[must_use = "an operation that was selected must be finished"]
pub struct SelectedOperation<'a> {
    index: usize,
    /// Empty once it is finished.
    state: Option<State<'a>>,
}

enum State<'a> {
    Simulated(&'a dyn End, Claim),
    Outside(crossbeam_channel::SelectedOperation<'a>, real::Finishing),
    /// The thread is dying, and must not wait.
    Dead,
}

const FINISHED: &str = "an operation is finished once, by the call that takes it";

impl SelectedOperation<'_> {
    /// The index under which it was added.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sends the message.
    ///
    /// In a channel of capacity 0, the receiver that waits may be killed first.
    /// Then this waits for another one, as [`Sender::send`] does.
    ///
    /// # Errors
    ///
    /// If every receiver is gone. The message comes back in the error.
    ///
    /// # Panics
    ///
    /// If `tx` is not what the operation was added with.
    #[track_caller]
    pub fn send<T>(mut self, tx: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        match (self.state.take().expect(FINISHED), &tx.0) {
            (State::Simulated(end, claim), SenderKind::Simulated(channel)) if is_same(end, tx) => {
                let place = Location::caller();
                sim::inside(place, |core| channel.finish_send(core, claim, message, place))
            }
            (State::Outside(ready, _finishing), SenderKind::Real(tx)) => ready.send(tx, message),
            (State::Dead, _) => Err(SendError(message)),
            (state, _) => {
                self.state = Some(state);
                panic!("passed a sender that wasn't selected");
            }
        }
    }

    /// Receives the message.
    ///
    /// In a channel of capacity 0, a sender that selects may be killed before it
    /// has made its message. Then this waits for another one, as
    /// [`Receiver::recv`] does.
    ///
    /// # Errors
    ///
    /// If there is none, and every sender is gone.
    ///
    /// # Panics
    ///
    /// If `rx` is not what the operation was added with.
    #[track_caller]
    pub fn recv<T>(mut self, rx: &Receiver<T>) -> Result<T, RecvError> {
        match (self.state.take().expect(FINISHED), &rx.0) {
            (State::Simulated(end, claim), ReceiverKind::Simulated(channel)) if is_same(end, rx) => {
                let place = Location::caller();
                sim::inside(place, |core| match claim {
                    Claim::Closed => Err(RecvError),
                    claim => match channel.finish_receive(core, claim, place) {
                        Some(message) => Ok(message),
                        None => channel.receive_rendezvous(core, None, place).map_err(|_| RecvError),
                    },
                })
            }
            (State::Simulated(end, claim), ReceiverKind::Timer(_, as_message)) if is_same(end, rx) => match claim {
                Claim::Due(nanos) => Ok(as_message(Instant::at(nanos))),
                _ => Err(RecvError),
            },
            (State::Outside(ready, _finishing), ReceiverKind::Real(rx)) => ready.recv(rx),
            (State::Outside(ready, _finishing), ReceiverKind::RealTimer(rx, as_message)) => {
                ready.recv(rx).map(|moment| as_message(Instant::from_std(moment)))
            }
            (State::Dead, _) => Err(RecvError),
            (state, _) => {
                self.state = Some(state);
                panic!("passed a receiver that wasn't selected");
            }
        }
    }
}

fn is_same<E>(added: &dyn End, passed: &E) -> bool {
    std::ptr::addr_eq(std::ptr::from_ref(added), std::ptr::from_ref(passed))
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        match state {
            State::Simulated(end, claim) => {
                if context::mode() == Mode::Simulated
                    && let Some(operation) = end.operation()
                {
                    sim::with(|core| operation.target.unclaim(core, operation.side, claim));
                }
            }
            // Crossbeam's own would panic, and a second panic is an abort.
            State::Outside(ready, _finishing) => std::mem::forget(ready),
            State::Dead => return,
        }
        if !std::thread::panicking() {
            panic!("dropped `SelectedOperation` without completing the operation");
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SelectedOperation { .. }")
    }
}
