//! Channels, with the names, signatures and errors of crossbeam-channel 0.5.
//!
//! A channel belongs to the world in which it was made. In a simulation each
//! send and receive is a step, and which of several waiting threads is woken is
//! chosen by the seed; elsewhere the channel is crossbeam's own.
//!
//! [`bounded(0)`](bounded) hands each message over from thread to thread.
//! [`after`], [`at`], [`tick`] and [`never()`] are receivers that nobody sends to.
//! [`select!`](crate::select) and [`Select`] wait for several ends at once.
//!
//! A thread that dies drops its ends of its channels like any other value, so
//! the other side sees the channel disconnected. A send out of a destructor of
//! a dying thread fails, as if nobody were left to receive it.
//!
//! Boundary: messages between threads of one world. Messages between nodes take
//! [`links`](crate::links), and are bytes.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

#[doc(inline)]
pub use crate::select;
pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

use crate::context::{self, Mode};
use crate::real;
use crate::sim::{self, Home, WaitList};
use crate::time::Instant;

mod choose;
mod iter;
mod machine;
mod macros;
mod rendezvous;
mod select;
mod simulated;
mod timers;

use self::choose::Selectable;
pub use self::iter::{IntoIter, Iter, TryIter};
use self::rendezvous::AT_ONCE;
pub use self::select::{Select, SelectTimeoutError, SelectedOperation, TrySelectError};
use self::simulated::{Channel, Empty, Queue, Unsent};
use self::timers::Timer;
pub use self::timers::{after, at, never, tick};

/// A channel that holds any number of messages: `send` never waits.
///
/// ```
/// use labsim::{channel, thread};
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let (tx, rx) = channel::unbounded();
///     thread::spawn("producer", move || (0..3).for_each(|n| tx.send(n).unwrap()));
///     rx.iter().sum::<i32>()
/// });
/// assert_eq!(outcome.result.unwrap(), 3);
/// ```
#[track_caller]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    match context::mode() {
        Mode::Simulated => simulated(None),
        Mode::Real | Mode::Outside => real_ends(crossbeam_channel::unbounded()),
    }
}

/// A channel that holds `capacity` messages: `send` waits while it is full.
///
/// With a capacity of 0 a message goes from hand to hand: `send` returns when a
/// receiver has taken it, and `try_send` fails unless one waits for it now.
///
/// ```
/// use labsim::{channel, thread};
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let (tx, rx) = channel::bounded(0);
///     assert!(tx.try_send("nobody waits").is_err());
///     let receiver = thread::spawn("receiver", move || rx.recv());
///     tx.send("taken").unwrap();
///     receiver.join().unwrap()
/// });
/// assert_eq!(outcome.result.unwrap(), Ok("taken"));
/// ```
#[track_caller]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    match context::mode() {
        Mode::Simulated => simulated(Some(capacity)),
        Mode::Real | Mode::Outside => real_ends(crossbeam_channel::bounded(capacity)),
    }
}

#[track_caller]
fn simulated<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let home = Home::new();
    sim::with(|core| home.in_simulation(core, Location::caller()));
    let channel = Arc::new(Channel {
        home,
        made: Location::caller(),
        capacity: capacity.unwrap_or(usize::MAX),
        queue: Mutex::new(Queue::new()),
        receivers_waiting: WaitList::new(),
        senders_waiting: WaitList::new(),
    });
    (Sender(SenderKind::Simulated(Arc::clone(&channel))), Receiver(ReceiverKind::Simulated(channel)))
}

/// A channel of a simulation without room.
#[track_caller]
fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    simulated(Some(0))
}

fn real_ends<T>((tx, rx): (crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>)) -> (Sender<T>, Receiver<T>) {
    (Sender(SenderKind::Real(tx)), Receiver(ReceiverKind::Real(rx)))
}

/// The caller's world, for an end that was made outside of simulations.
#[track_caller]
fn mode_outside() -> Mode {
    let mode = context::mode();
    if mode == Mode::Simulated {
        made_outside();
    }
    mode
}

#[cold]
#[track_caller]
fn made_outside() -> ! {
    panic!("a channel that was made outside of this simulation was used in it; make it inside")
}

/// The sending end. Clones send into the same channel.
pub struct Sender<T>(SenderKind<T>);

/// The receiving end. Clones take from the same channel; each message goes to
/// one of them.
pub struct Receiver<T>(ReceiverKind<T>);

enum SenderKind<T> {
    Simulated(Arc<Channel<T>>),
    Real(crossbeam_channel::Sender<T>),
}

enum ReceiverKind<T> {
    Simulated(Arc<Channel<T>>),
    Real(crossbeam_channel::Receiver<T>),
    /// Brings moments. Its messages are of type `Instant`, which only the one
    /// who made it knows: hence the function.
    Timer(Arc<Timer>, fn(Instant) -> T),
    RealTimer(crossbeam_channel::Receiver<std::time::Instant>, fn(Instant) -> T),
}

impl<T> Sender<T> {
    /// Sends, waiting for room if the channel is bounded and full.
    ///
    /// # Errors
    ///
    /// If every receiver is gone. The message comes back in the error.
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match &self.0 {
            SenderKind::Simulated(channel) => {
                channel.send(message, None, Location::caller()).map_err(|error| SendError(error.into_inner()))
            }
            SenderKind::Real(tx) => machine::send(tx, message),
        }
    }

    /// Sends, if there is room.
    ///
    /// # Errors
    ///
    /// If there is none, or every receiver is gone.
    #[track_caller]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match &self.0 {
            SenderKind::Simulated(channel) => {
                let place = Location::caller();
                sim::inside(place, |core| {
                    core.point(place);
                    channel.home.in_simulation(core, place);
                    if channel.is_rendezvous() {
                        return channel.try_send_rendezvous(core, message, place);
                    }
                    channel.put(core, message, place).map_err(|unsent| match unsent {
                        Unsent::Full(back) => TrySendError::Full(back),
                        Unsent::Disconnected(back) => TrySendError::Disconnected(back),
                    })
                })
            }
            SenderKind::Real(tx) => {
                mode_outside();
                real::check();
                tx.try_send(message)
            }
        }
    }

    /// Sends, waiting for room for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If there was none in time, or every receiver is gone.
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match &self.0 {
            SenderKind::Simulated(channel) => channel.send(message, Some(timeout), Location::caller()),
            SenderKind::Real(tx) => machine::send_timeout(tx, message, timeout),
        }
    }

    /// Sends, waiting for room until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If there was none in time, or every receiver is gone.
    #[track_caller]
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_timeout(message, deadline.saturating_duration_since(Instant::now()))
    }

    /// How many messages wait to be received.
    #[track_caller]
    pub fn len(&self) -> usize {
        context::step(Location::caller());
        match &self.0 {
            SenderKind::Simulated(channel) => channel.queue.lock().messages.len(),
            SenderKind::Real(tx) => tx.len(),
        }
    }

    /// True if no message waits to be received.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if `send` would wait.
    #[track_caller]
    pub fn is_full(&self) -> bool {
        self.capacity() == Some(self.len())
    }

    /// How many messages the channel holds; nothing if it is unbounded.
    pub fn capacity(&self) -> Option<usize> {
        match &self.0 {
            SenderKind::Simulated(channel) => (channel.capacity < usize::MAX).then_some(channel.capacity),
            SenderKind::Real(tx) => tx.capacity(),
        }
    }

    /// True if both send into the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        match (&self.0, &other.0) {
            (SenderKind::Simulated(a), SenderKind::Simulated(b)) => Arc::ptr_eq(a, b),
            (SenderKind::Real(a), SenderKind::Real(b)) => a.same_channel(b),
            _ => false,
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest message, waiting for one if there is none.
    ///
    /// # Errors
    ///
    /// If there is none and every sender is gone.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverKind::Simulated(channel) => channel.receive(None, Location::caller()).map_err(|_| RecvError),
            ReceiverKind::Timer(timer, as_message) => {
                let received = receive_moment(timer, None, Location::caller());
                received.map(as_message).map_err(|_| RecvError)
            }
            ReceiverKind::Real(rx) => machine::recv(rx),
            ReceiverKind::RealTimer(rx, as_message) => {
                machine::recv(rx).map(|moment| as_message(Instant::from_std(moment)))
            }
        }
    }

    /// Takes the oldest message, if there is one.
    ///
    /// # Errors
    ///
    /// If there is none, or none will ever come.
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.0 {
            ReceiverKind::Simulated(channel) => {
                let place = Location::caller();
                sim::inside(place, |core| {
                    core.point(place);
                    channel.home.in_simulation(core, place);
                    if channel.is_rendezvous() {
                        return channel.try_receive_rendezvous(core, place);
                    }
                    channel.take(core).map_err(|empty| match empty {
                        Empty::ForNow => TryRecvError::Empty,
                        Empty::ForEver => TryRecvError::Disconnected,
                    })
                })
            }
            ReceiverKind::Timer(timer, as_message) => {
                let place = Location::caller();
                sim::inside(place, |core| {
                    core.point(place);
                    timer.bind(core, place);
                    timer.receive(core, AT_ONCE, place).map(as_message).map_err(|error| match error {
                        RecvTimeoutError::Timeout => TryRecvError::Empty,
                        RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                    })
                })
            }
            ReceiverKind::Real(rx) => {
                mode_outside();
                real::check();
                rx.try_recv()
            }
            ReceiverKind::RealTimer(rx, as_message) => {
                mode_outside();
                real::check();
                rx.try_recv().map(|moment| as_message(Instant::from_std(moment)))
            }
        }
    }

    /// Takes the oldest message, waiting for one for `timeout` at most.
    ///
    /// # Errors
    ///
    /// If none came in time, or none will ever come.
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match &self.0 {
            ReceiverKind::Simulated(channel) => channel.receive(Some(timeout), Location::caller()),
            ReceiverKind::Timer(timer, as_message) => {
                receive_moment(timer, Some(timeout), Location::caller()).map(as_message)
            }
            ReceiverKind::Real(rx) => machine::recv_timeout(rx, timeout),
            ReceiverKind::RealTimer(rx, as_message) => {
                machine::recv_timeout(rx, timeout).map(|moment| as_message(Instant::from_std(moment)))
            }
        }
    }

    /// Takes the oldest message, waiting for one until `deadline` at most.
    ///
    /// # Errors
    ///
    /// If none came in time, or none will ever come.
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    }

    /// How many messages wait to be received.
    #[track_caller]
    pub fn len(&self) -> usize {
        context::step(Location::caller());
        match &self.0 {
            ReceiverKind::Simulated(channel) => channel.queue.lock().messages.len(),
            ReceiverKind::Timer(timer, _) => sim::inside(Location::caller(), |core| usize::from(timer.is_due(core))),
            ReceiverKind::Real(rx) => rx.len(),
            ReceiverKind::RealTimer(rx, _) => rx.len(),
        }
    }

    /// True if no message waits to be received.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if a bounded channel holds all that it can.
    #[track_caller]
    pub fn is_full(&self) -> bool {
        self.capacity() == Some(self.len())
    }

    /// How many messages the channel holds; nothing if it is unbounded.
    pub fn capacity(&self) -> Option<usize> {
        match &self.0 {
            ReceiverKind::Simulated(channel) => (channel.capacity < usize::MAX).then_some(channel.capacity),
            ReceiverKind::Timer(..) => Some(1),
            ReceiverKind::Real(rx) => rx.capacity(),
            ReceiverKind::RealTimer(rx, _) => rx.capacity(),
        }
    }

    /// True if both take from the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.0, &other.0) {
            (ReceiverKind::Simulated(a), ReceiverKind::Simulated(b)) => Arc::ptr_eq(a, b),
            (ReceiverKind::Timer(a, _), ReceiverKind::Timer(b, _)) => Arc::ptr_eq(a, b),
            (ReceiverKind::Real(a), ReceiverKind::Real(b)) => a.same_channel(b),
            (ReceiverKind::RealTimer(a, _), ReceiverKind::RealTimer(b, _)) => a.same_channel(b),
            _ => false,
        }
    }

    /// Messages as they come, until every sender is gone.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// The messages that are there, without waiting for more.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

/// Takes the moment that a simulated timer brings, waiting for it.
fn receive_moment(
    timer: &Timer,
    timeout: Option<Duration>,
    place: &'static Location<'static>,
) -> Result<Instant, RecvTimeoutError> {
    sim::inside(place, |core| {
        core.point(place);
        timer.bind(core, place);
        core.no_lock_held("receives", place);
        timer.receive(core, timeout.and_then(|timeout| core.deadline(timeout)), place)
    })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            SenderKind::Simulated(channel) => {
                channel.queue.lock().senders += 1;
                SenderKind::Simulated(Arc::clone(channel))
            }
            SenderKind::Real(tx) => SenderKind::Real(tx.clone()),
        })
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            ReceiverKind::Simulated(channel) => {
                channel.queue.lock().receivers += 1;
                ReceiverKind::Simulated(Arc::clone(channel))
            }
            ReceiverKind::Timer(timer, as_message) => ReceiverKind::Timer(Arc::clone(timer), *as_message),
            ReceiverKind::Real(rx) => ReceiverKind::Real(rx.clone()),
            ReceiverKind::RealTimer(rx, as_message) => ReceiverKind::RealTimer(rx.clone(), *as_message),
        })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let SenderKind::Simulated(channel) = &self.0 else { return };
        let mut queue = channel.queue.lock();
        queue.senders -= 1;
        let is_last = queue.senders == 0;
        drop(queue);
        // Dropped elsewhere, once its simulation is over, it wakes nobody.
        if is_last && context::mode() == Mode::Simulated {
            sim::with(|core| channel.receivers_waiting.wake_all(core));
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let ReceiverKind::Simulated(channel) = &self.0 else { return };
        let mut queue = channel.queue.lock();
        queue.receivers -= 1;
        if queue.receivers > 0 {
            return;
        }
        // Nobody will read these. They may own anything, this channel's other
        // end included, so they go when nothing is locked.
        let unread = std::mem::take(&mut queue.messages);
        drop(queue);
        if context::mode() == Mode::Simulated {
            sim::with(|core| {
                channel.senders_waiting.wake_all(core);
                channel.wake_offering(core);
            });
        }
        drop(unread);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}
