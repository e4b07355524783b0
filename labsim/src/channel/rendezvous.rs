//! A simulated channel without room: a message goes from hand to hand.
//!
//! A sender and a receiver meet. Whoever comes first waits, whoever comes second
//! calls one of those who wait; a call is binding, so that a thread that waits
//! in a selection is called to this channel and no other. A sender that finds
//! nobody lays its message open, and any receiver may take it.
//!
//! **When a message is received.** When a receiver that *runs* takes it out of
//! the meeting, and the sender is told no sooner. To be called is not enough: a
//! receiver that was called may be killed before it takes a step, and the sender
//! would believe what never was. So a sender keeps waiting, `try_send` too, for
//! the few steps until the one it called runs; if that one is killed instead,
//! the message comes back and goes to somebody else. From the taking to the
//! receiver's own code there is no step at which it could be killed. One that is
//! killed later had the message, and whoever sent it must be prepared for that,
//! here as with any channel.
//!
//! Boundary: meetings of one channel. What a selection waits for is in
//! `choose.rs`.

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};

use super::choose::{Claim, Operation, Side, choose};
use super::simulated::{Channel, Queue};
use crate::sim::{Core, Place, Waiter, Why};

/// A `choose` that does not wait.
pub(super) const AT_ONCE: Option<u64> = Some(0);

/// A sender and a receiver on their way to each other. There is one for as long
/// as the message was not taken.
pub(super) struct Meeting<T> {
    ticket: u64,
    /// Who was called, in which wait. Nobody: the message is open to all.
    called: Option<(Side, Waiter)>,
    /// Nothing yet, if the sender selects: it makes its message last.
    message: Option<T>,
    /// Whoever waits for the other one to act.
    waiting: Option<Waiter>,
}

/// Leaves a meeting when its thread is unwound.
struct Leaving<'a, T> {
    channel: &'a Channel<T>,
    core: &'a Core,
    ticket: u64,
    side: Side,
}

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        self.channel.leave(self.core, self.ticket, self.side);
    }
}

impl<T> Queue<T> {
    fn meeting(&mut self, ticket: u64) -> Option<&mut Meeting<T>> {
        self.meetings.iter_mut().find(|meeting| meeting.ticket == ticket)
    }

    fn remove_meeting(&mut self, ticket: u64) -> Option<Meeting<T>> {
        let at = self.meetings.iter().position(|meeting| meeting.ticket == ticket)?;
        Some(self.meetings.remove(at))
    }

    fn open_offers(&self) -> impl Iterator<Item = u64> {
        let open = self.meetings.iter().filter(|meeting| meeting.called.is_none() && meeting.message.is_some());
        open.map(|meeting| meeting.ticket)
    }
}

impl<T> Channel<T> {
    /// Sends from hand to hand, until `until` at most.
    pub(super) fn send_rendezvous(
        &self,
        core: &Core,
        mut message: T,
        until: Option<u64>,
        place: Place,
    ) -> Result<(), SendTimeoutError<T>> {
        core.no_lock_held("waits to send", place);
        loop {
            if core.is_dying() || self.queue.lock().receivers == 0 {
                return Err(SendTimeoutError::Disconnected(message));
            }
            let called = self.receivers_waiting.call_one(core);
            if called.is_none() && until.is_some_and(|until| core.clock_now() >= until) {
                return Err(SendTimeoutError::Timeout(message));
            }
            // Who was called is ready to run: the time is not up for that.
            let until = if called.is_some() { None } else { until };
            let ticket = self.meet(called.map(|waiter| (Side::Receive, waiter)), Some(message));
            match self.hand_over(core, ticket, until, place) {
                None => return Ok(()),
                Some(back) => message = back,
            }
        }
    }

    /// Sends to a receiver that waits now.
    pub(super) fn try_send_rendezvous(&self, core: &Core, mut message: T, place: Place) -> Result<(), TrySendError<T>> {
        loop {
            if core.is_dying() || self.queue.lock().receivers == 0 {
                return Err(TrySendError::Disconnected(message));
            }
            // To hand over takes two, and from here nobody else can run.
            let called = if core.must_not_switch() { None } else { self.receivers_waiting.call_one(core) };
            let Some(called) = called else { return Err(TrySendError::Full(message)) };
            let ticket = self.meet(Some((Side::Receive, called)), Some(message));
            match self.hand_over(core, ticket, None, place) {
                None => return Ok(()),
                Some(back) => message = back,
            }
        }
    }

    /// Receives from hand to hand, until `until` at most.
    pub(super) fn receive_rendezvous(
        &self,
        core: &Core,
        until: Option<u64>,
        place: Place,
    ) -> Result<T, RecvTimeoutError> {
        loop {
            let operation = Operation { target: self, side: Side::Receive };
            let Some((_, claim)) = choose(core, &[operation], until, Why::Receive, place) else {
                return Err(RecvTimeoutError::Timeout);
            };
            if let Claim::Closed = claim {
                return Err(RecvTimeoutError::Disconnected);
            }
            if let Some(message) = self.finish_receive(core, claim, place) {
                return Ok(message);
            }
            // The sender was killed before it had made its message.
        }
    }

    /// Receives from a sender that waits now.
    pub(super) fn try_receive_rendezvous(&self, core: &Core, place: Place) -> Result<T, TryRecvError> {
        self.receive_rendezvous(core, AT_ONCE, place).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    pub(super) fn is_ready_rendezvous(&self, core: &Core, side: Side) -> bool {
        let queue = self.queue.lock();
        let is_ready = match side {
            Side::Send => queue.receivers == 0,
            Side::Receive => queue.senders == 0 || queue.open_offers().next().is_some(),
        };
        drop(queue); // Looking for the other side looks into the scheduler.
        is_ready || (!core.must_not_switch() && self.waiting(side.other()).has_waiter(core))
    }

    pub(super) fn claim_rendezvous(&self, core: &Core, side: Side) -> Claim {
        if side == Side::Receive {
            let offers: Vec<u64> = self.queue.lock().open_offers().collect();
            if !offers.is_empty() {
                let at = if offers.len() == 1 { 0 } else { core.pick(offers.len()) };
                return self.take_offer(core, offers[at]);
            }
        }
        match self.waiting(side.other()).call_one(core) {
            Some(called) => Claim::Meeting(self.meet(Some((side.other(), called)), None)),
            None => Claim::Closed,
        }
    }

    /// What a thread that waited as `waiter` was called to, if it was.
    pub(super) fn called_rendezvous(&self, core: &Core, side: Side, waiter: Waiter) -> Option<Claim> {
        let (ticket, is_made) = {
            let queue = self.queue.lock();
            let meeting = queue.meetings.iter().find(|meeting| meeting.called == Some((side, waiter)))?;
            (meeting.ticket, meeting.message.is_some())
        };
        Some(if is_made { self.take_offer(core, ticket) } else { Claim::Meeting(ticket) })
    }

    /// The thread that waited as `waiter` is unwound. If it was called, whoever
    /// called it has to look for another.
    pub(super) fn forsake_rendezvous(&self, core: &Core, side: Side, waiter: Waiter) {
        let called = Some((side, waiter));
        let ticket = self.queue.lock().meetings.iter().find(|meeting| meeting.called == called).map(|m| m.ticket);
        if let Some(ticket) = ticket {
            self.leave(core, ticket, side);
        }
    }

    /// Takes a message that is made, and tells its sender.
    fn take_offer(&self, core: &Core, ticket: u64) -> Claim {
        let mut queue = self.queue.lock();
        let meeting = queue.remove_meeting(ticket).expect("the meeting was found a moment ago");
        queue.claimed.push((ticket, meeting.message.expect("the message is made")));
        drop(queue); // Waking looks into the scheduler.
        meeting.waiting.map(|sender| core.wake(sender));
        Claim::Taken(ticket)
    }

    fn meet(&self, called: Option<(Side, Waiter)>, message: Option<T>) -> u64 {
        let mut queue = self.queue.lock();
        let ticket = queue.new_ticket();
        queue.meetings.push(Meeting { ticket, called, message, waiting: None });
        ticket
    }

    /// Waits until the message of a meeting is taken. Comes back with it if it
    /// was not: the time is up, the one who was called is dead, or every
    /// receiver is gone.
    fn hand_over(&self, core: &Core, ticket: u64, until: Option<u64>, place: Place) -> Option<T> {
        self.wait_for_the_other(core, ticket, Side::Send, until, place);
        self.queue.lock().remove_meeting(ticket).and_then(|meeting| meeting.message)
    }

    /// The sender of a meeting has made its message. It comes back if the
    /// receiver is dead.
    pub(super) fn fill_meeting(&self, core: &Core, ticket: u64, message: T, place: Place) -> Result<(), T> {
        let mut queue = self.queue.lock();
        let Some(meeting) = queue.meeting(ticket) else { return Err(message) };
        meeting.message = Some(message);
        let receiver = meeting.waiting.take();
        drop(queue); // Waking looks into the scheduler.
        receiver.map(|receiver| core.wake(receiver));
        self.hand_over(core, ticket, None, place).map_or(Ok(()), Err)
    }

    /// The receiver of a meeting waits for the message. `None` if the sender is
    /// dead.
    pub(super) fn collect_meeting(&self, core: &Core, ticket: u64, place: Place) -> Option<T> {
        loop {
            let mut queue = self.queue.lock();
            if queue.meeting(ticket)?.message.is_some() {
                let meeting = queue.remove_meeting(ticket)?;
                drop(queue); // Waking looks into the scheduler.
                meeting.waiting.map(|sender| core.wake(sender));
                return meeting.message;
            }
            drop(queue);
            self.wait_for_the_other(core, ticket, Side::Receive, None, place);
        }
    }

    fn wait_for_the_other(&self, core: &Core, ticket: u64, side: Side, until: Option<u64>, place: Place) {
        let leaving = Leaving { channel: self, core, ticket, side };
        let waiter = core.next_wait();
        let mut queue = self.queue.lock();
        queue.meeting(ticket).expect("only who waits here ends the meeting").waiting = Some(waiter);
        drop(queue);
        core.wait(if side == Side::Send { Why::HandOver } else { Why::Receive }, place, until);
        std::mem::forget(leaving);
    }

    /// One of the two is unwound. The other is woken, and finds the meeting
    /// gone; or, if it is a sender, its message untaken.
    pub(super) fn leave(&self, core: &Core, ticket: u64, side: Side) {
        let mut queue = self.queue.lock();
        let Some(meeting) = queue.meeting(ticket) else { return };
        let other = meeting.waiting.take();
        let mut gone = None;
        if side == Side::Receive && meeting.message.is_some() {
            meeting.called = None; // The message is its sender's, which is alive.
        } else {
            gone = queue.remove_meeting(ticket);
        }
        drop(queue); // A message may own anything: it goes when nothing is locked.
        other.map(|other| core.wake(other));
        drop(gone);
    }

    /// Wakes the senders that hold a message in their hands: nobody is left to
    /// take it.
    pub(super) fn wake_offering(&self, core: &Core) {
        let offering: Vec<Waiter> = self.queue.lock().meetings.iter().filter_map(|meeting| meeting.waiting).collect();
        offering.into_iter().for_each(|sender| _ = core.wake(sender));
    }
}
