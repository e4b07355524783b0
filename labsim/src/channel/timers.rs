//! Receivers that bring the time: `after`, `at`, `tick`, and `never`.
//!
//! In a simulation nobody sends these messages. Such a receiver is a moment at
//! which it has one, and whoever waits for it sets a timer: no thread, no queue.
//!
//! Boundary: when a message is there. Waiting for it is in `choose.rs`.

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use parking_lot::Mutex;

use super::choose::{Claim, Operation, Selectable, Side, choose};
use super::{Receiver, ReceiverKind, rendezvous};
use crate::context::{self, Mode};
use crate::sim::{self, Core, Home, Place, Why};
use crate::time::Instant;

/// A receiver that brings one message, `duration` from now: the moment that it
/// is due. It is never disconnected: a second receive waits for ever.
///
/// The time runs from this call, not from the receive. Clones share the message.
///
/// ```
/// use labsim::channel::{self, after};
/// use labsim::time::Duration;
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let (_tx, rx) = channel::unbounded::<u32>();
///     labsim::select! {
///         recv(rx) -> message => panic!("nobody sends, and yet {message:?} came"),
///         recv(after(Duration::from_secs(5))) -> moment => moment.unwrap(),
///     }
/// });
/// assert_eq!(outcome.result.unwrap().to_string(), "5.000s");
/// ```
#[track_caller]
pub fn after(duration: Duration) -> Receiver<Instant> {
    Instant::now().checked_add(duration).map_or_else(never, at)
}

/// A receiver that brings one message at `moment`: that moment. If it has
/// passed already, the message is there at once.
///
/// # Panics
///
/// If `moment` is one of another clock: see [`Instant`].
#[track_caller]
pub fn at(moment: Instant) -> Receiver<Instant> {
    match context::mode() {
        Mode::Simulated => Timer::receiver(moment, None),
        Mode::Real | Mode::Outside => match moment.to_std() {
            Some(moment) => Receiver(ReceiverKind::RealTimer(crossbeam_channel::at(moment), |moment| moment)),
            None => never(),
        },
    }
}

/// A receiver that brings a message each `duration`, the first one `duration`
/// from now: the moments that they are due. It is never disconnected.
///
/// At most one message waits to be received. If nobody took it in time, the
/// next one is due `duration` after it was taken.
///
/// ```
/// use labsim::channel::tick;
/// use labsim::time::Duration;
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let ticks = tick(Duration::from_millis(100));
///     ticks.iter().take(3).map(|moment| moment.to_string()).collect::<Vec<_>>()
/// });
/// assert_eq!(outcome.result.unwrap(), ["0.100s", "0.200s", "0.300s"]);
/// ```
#[track_caller]
pub fn tick(duration: Duration) -> Receiver<Instant> {
    match context::mode() {
        Mode::Simulated => match Instant::now().checked_add(duration) {
            Some(first) => Timer::receiver(first, Some(duration)),
            None => never(),
        },
        Mode::Real | Mode::Outside => {
            crate::real::check();
            Receiver(ReceiverKind::RealTimer(crossbeam_channel::tick(duration), |moment| moment))
        }
    }
}

/// A receiver that never brings anything, and is never disconnected: an arm of
/// a selection that is switched off.
#[track_caller]
pub fn never<T>() -> Receiver<T> {
    match context::mode() {
        Mode::Simulated => {
            let (tx, rx) = rendezvous();
            std::mem::forget(tx); // A sender that is never gone, and never sends.
            rx
        }
        Mode::Real | Mode::Outside => Receiver(ReceiverKind::Real(crossbeam_channel::never())),
    }
}

/// A moment at which somebody can receive.
pub(super) struct Timer {
    home: Home,
    /// Virtual nanoseconds at which the next message is there, if one will be.
    due: Mutex<Option<u64>>,
    /// From one message to the next, if there is a next.
    period: Option<Duration>,
}

impl Timer {
    #[track_caller]
    fn receiver(first: Instant, period: Option<Duration>) -> Receiver<Instant> {
        let place = std::panic::Location::caller();
        let due = Mutex::new(Some(first.virtual_nanos()));
        let timer = Timer { home: Home::new(), due, period };
        sim::with(|core| timer.home.in_simulation(core, place));
        Receiver(ReceiverKind::Timer(std::sync::Arc::new(timer), |moment| moment))
    }

    /// Takes the message that is there, or waits for it until `until` at most.
    pub(super) fn receive(&self, core: &Core, until: Option<u64>, place: Place) -> Result<Instant, RecvTimeoutError> {
        let operation = Operation { target: self, side: Side::Receive };
        match choose(core, &[operation], until, Why::Receive, place) {
            Some((_, Claim::Due(nanos))) => Ok(Instant::at(nanos)),
            Some(_) => Err(RecvTimeoutError::Disconnected), // The caller is dying.
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// True if a message is there.
    pub(super) fn is_due(&self, core: &Core) -> bool {
        self.due.lock().is_some_and(|due| due <= core.clock_now())
    }
}

impl Selectable for Timer {
    fn bind(&self, core: &Core, place: Place) {
        self.home.in_simulation(core, place);
    }

    fn is_ready(&self, core: &Core, _: Side) -> bool {
        self.is_due(core)
    }

    /// Who waited when it came due takes nothing from the time to the next one,
    /// though it takes a step or two until it runs.
    fn claim(&self, _: &Core, _: Side, since: u64) -> Claim {
        let mut next = self.due.lock();
        let due = next.take().expect("a timer that is ready is due");
        let nanos = self.period.and_then(|period| u64::try_from(period.as_nanos()).ok());
        *next = nanos.and_then(|nanos| due.max(since).checked_add(nanos));
        Claim::Due(due)
    }

    fn due(&self) -> Option<u64> {
        *self.due.lock()
    }
}
