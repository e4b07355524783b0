//! A channel of a simulation: messages in a queue, and who waits at its ends.
//!
//! Boundary: one channel under the scheduler. What users hold is in `mod.rs`.

use std::collections::VecDeque;
use std::panic::Location;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendError, SendTimeoutError};
use parking_lot::Mutex;

use super::choose::{Claim, Selectable, Side};
use super::rendezvous::Meeting;
use crate::outcome::FailureKind;
use crate::sim::{self, Core, Home, Place, WaitList, Waiter, Why};
use crate::sync::Chosen;

/// A simulated channel.
pub(super) struct Channel<T> {
    pub(super) home: Home,
    /// Where it was made, for reports.
    pub(super) made: Place,
    pub(super) capacity: usize,
    /// Never contended: one OS thread runs a simulation.
    pub(super) queue: Mutex<Queue<T>>,
    pub(super) receivers_waiting: WaitList,
    pub(super) senders_waiting: WaitList,
}

pub(super) struct Queue<T> {
    pub(super) messages: VecDeque<T>,
    pub(super) senders: usize,
    pub(super) receivers: usize,
    // What selections have set aside.
    pub(super) claimed: Vec<(u64, T)>,
    pub(super) rooms_claimed: usize,
    /// In a channel without room: who hands a message to whom.
    pub(super) meetings: Vec<Meeting<T>>,
    pub(super) tickets: u64,
}

impl<T> Queue<T> {
    /// With one end at each side.
    pub(super) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            senders: 1,
            receivers: 1,
            claimed: Vec::new(),
            rooms_claimed: 0,
            meetings: Vec::new(),
            tickets: 0,
        }
    }

    pub(super) fn new_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn occupied(&self) -> usize {
        self.messages.len() + self.claimed.len() + self.rooms_claimed
    }
}

/// Why a send came back, with the message.
pub(super) enum Unsent<T> {
    Full(T),
    Disconnected(T),
}

/// Why a receive came back without one.
#[derive(PartialEq, Eq)]
pub(super) enum Empty {
    ForNow,
    ForEver,
}

impl<T> Channel<T> {
    /// Puts a message in, unless the channel is full or nobody is left to
    /// receive it.
    pub(super) fn put(&self, core: &Core, message: T, place: Place) -> Result<(), Unsent<T>> {
        let mut queue = self.queue.lock();
        if queue.receivers == 0 || core.is_dying() {
            return Err(Unsent::Disconnected(message));
        }
        if queue.occupied() >= self.capacity {
            return Err(Unsent::Full(message));
        }
        if queue.messages.len() >= core.channel_limit() {
            drop(queue); // Failing reads names.
            self.fail_limit(core, place);
            return Err(Unsent::Disconnected(message));
        }
        queue.messages.push_back(message);
        drop(queue); // Waking looks into the scheduler.
        self.receivers_waiting.wake_one(core);
        Ok(())
    }

    /// Somebody sends and sends, and nobody keeps up.
    #[cold]
    fn fail_limit(&self, core: &Core, place: Place) {
        let (limit, made, name) = (core.channel_limit(), self.made, core.current_name());
        let message = format!(
            "thread `{name}` sends, and more than {limit} messages wait in the channel made at {made}; \
             does anybody receive them?"
        );
        core.fail(FailureKind::Limit, message, Some(place));
        core.stop_here(place);
    }

    /// Takes the oldest message out.
    pub(super) fn take(&self, core: &Core) -> Result<T, Empty> {
        if core.is_dying() {
            return Err(Empty::ForEver); // The dead take nothing from the living.
        }
        let mut queue = self.queue.lock();
        match queue.messages.pop_front() {
            Some(message) => {
                drop(queue);
                self.senders_waiting.wake_one(core);
                Ok(message)
            }
            None if queue.senders == 0 => Err(Empty::ForEver),
            None => Err(Empty::ForNow),
        }
    }

    pub(super) fn send(
        &self,
        mut message: T,
        timeout: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Result<(), SendTimeoutError<T>> {
        sim::inside(place, |core| {
            core.point(place);
            self.home.in_simulation(core, place);
            let until = timeout.and_then(|timeout| core.deadline(timeout));
            if self.is_rendezvous() {
                return self.send_rendezvous(core, message, until, place);
            }
            loop {
                match self.put(core, message, place) {
                    Ok(()) => {
                        core.point(place);
                        return Ok(());
                    }
                    Err(Unsent::Disconnected(back)) => return Err(SendTimeoutError::Disconnected(back)),
                    Err(Unsent::Full(back)) => message = back,
                }
                if until.is_some_and(|until| core.clock_now() >= until) {
                    return Err(SendTimeoutError::Timeout(message));
                }
                core.no_lock_held("waits to send", place);
                self.wait(core, &self.senders_waiting, Why::Send, place, until);
            }
        })
    }

    pub(super) fn receive(
        &self,
        timeout: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Result<T, RecvTimeoutError> {
        sim::inside(place, |core| {
            core.point(place);
            self.home.in_simulation(core, place);
            // Whether a message is there already is chance; that the lock is
            // held is not. So this is said in any case.
            core.no_lock_held("receives", place);
            let until = timeout.and_then(|timeout| core.deadline(timeout));
            if self.is_rendezvous() {
                return self.receive_rendezvous(core, until, place);
            }
            loop {
                match self.take(core) {
                    Ok(message) => return Ok(message),
                    Err(Empty::ForEver) => return Err(RecvTimeoutError::Disconnected),
                    Err(Empty::ForNow) => {}
                }
                if until.is_some_and(|until| core.clock_now() >= until) {
                    return Err(RecvTimeoutError::Timeout);
                }
                self.wait(core, &self.receivers_waiting, Why::Receive, place, until);
            }
        })
    }

    fn wait(&self, core: &Core, list: &WaitList, why: Why, place: &'static Location<'static>, until: Option<u64>) {
        let chosen = Chosen { list, core, waiter: list.add(core) };
        let timed_out = core.wait(why, place, until);
        chosen.settle(timed_out);
    }
    /// True if it has no room: messages go from hand to hand.
    pub(super) fn is_rendezvous(&self) -> bool {
        self.capacity == 0
    }

    /// Who waits at that side. In a channel without room a sender waits here
    /// only while it selects: others lay their message open.
    pub(super) fn waiting(&self, side: Side) -> &WaitList {
        match side {
            Side::Send => &self.senders_waiting,
            Side::Receive => &self.receivers_waiting,
        }
    }

    /// Sends what a selection has room or a partner for.
    pub(super) fn finish_send(&self, core: &Core, claim: Claim, message: T, place: Place) -> Result<(), SendError<T>> {
        match claim {
            Claim::Room => {
                self.queue.lock().rooms_claimed -= 1;
                match self.put(core, message, place) {
                    Ok(()) => {
                        core.point(place);
                        Ok(())
                    }
                    Err(Unsent::Full(back) | Unsent::Disconnected(back)) => Err(SendError(back)),
                }
            }
            Claim::Meeting(ticket) => match self.fill_meeting(core, ticket, message, place) {
                Ok(()) => Ok(()),
                // The receiver was killed. A select that has chosen to send is a send.
                Err(back) => {
                    let sent = self.send_rendezvous(core, back, None, place);
                    sent.map_err(|error| SendError(error.into_inner()))
                }
            },
            Claim::Closed | Claim::Taken(_) | Claim::Due(_) => Err(SendError(message)),
        }
    }

    /// Receives what a selection has set aside. `None` if its sender was killed
    /// before it had made it.
    pub(super) fn finish_receive(&self, core: &Core, claim: Claim, place: Place) -> Option<T> {
        match claim {
            Claim::Taken(ticket) => {
                let mut queue = self.queue.lock();
                let at = queue.claimed.iter().position(|(of, _)| *of == ticket);
                let (_, message) = queue.claimed.remove(at.expect("what is claimed stays until it is finished"));
                drop(queue); // Waking looks into the scheduler.
                if !self.is_rendezvous() {
                    self.senders_waiting.wake_one(core);
                }
                Some(message)
            }
            Claim::Meeting(ticket) => self.collect_meeting(core, ticket, place),
            Claim::Closed | Claim::Room | Claim::Due(_) => None,
        }
    }
}

impl<T> Selectable for Channel<T> {
    fn bind(&self, core: &Core, place: Place) {
        self.home.in_simulation(core, place);
    }

    fn is_ready(&self, core: &Core, side: Side) -> bool {
        if self.is_rendezvous() {
            return self.is_ready_rendezvous(core, side);
        }
        let queue = self.queue.lock();
        match side {
            Side::Send => queue.receivers == 0 || queue.occupied() < self.capacity,
            Side::Receive => queue.senders == 0 || !queue.messages.is_empty(),
        }
    }

    fn claim(&self, core: &Core, side: Side, _: u64) -> Claim {
        if self.is_rendezvous() {
            return self.claim_rendezvous(core, side);
        }
        let mut queue = self.queue.lock();
        match side {
            Side::Send if queue.receivers == 0 => Claim::Closed,
            Side::Send => {
                queue.rooms_claimed += 1;
                Claim::Room
            }
            Side::Receive => match queue.messages.pop_front() {
                Some(message) => {
                    let ticket = queue.new_ticket();
                    queue.claimed.push((ticket, message));
                    Claim::Taken(ticket)
                }
                None => Claim::Closed,
            },
        }
    }

    fn unclaim(&self, core: &Core, side: Side, claim: Claim) {
        match claim {
            Claim::Room => {
                self.queue.lock().rooms_claimed -= 1;
                self.senders_waiting.wake_one(core);
            }
            // It was received, and ends with its receiver.
            Claim::Taken(ticket) => drop(self.finish_receive(core, Claim::Taken(ticket), self.made)),
            Claim::Meeting(ticket) => self.leave(core, ticket, side),
            Claim::Closed | Claim::Due(_) => {}
        }
    }

    fn called(&self, core: &Core, side: Side, waiter: Waiter) -> Option<Claim> {
        if self.is_rendezvous() { self.called_rendezvous(core, side, waiter) } else { None }
    }

    fn forsake(&self, core: &Core, side: Side, waiter: Waiter) {
        if self.is_rendezvous() {
            self.forsake_rendezvous(core, side, waiter);
        } else {
            self.waiting(side).wake_one(core);
        }
    }

    fn list(&self, side: Side) -> Option<&WaitList> {
        Some(self.waiting(side))
    }
}
