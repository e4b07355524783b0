//! A channel of a simulation: messages in a queue, and who waits at its ends.
//!
//! Boundary: one channel under the scheduler. What users hold is in `mod.rs`.

use std::collections::VecDeque;
use std::panic::Location;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError};
use parking_lot::Mutex;

use crate::sim::{self, Core, Home, WaitList, Why};
use crate::sync::Chosen;

/// A simulated channel.
pub(super) struct Channel<T> {
    pub(super) home: Home,
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
    pub(super) fn put(&self, core: &Core, message: T) -> Result<(), Unsent<T>> {
        let mut queue = self.queue.lock();
        if queue.receivers == 0 || core.is_dying() {
            return Err(Unsent::Disconnected(message));
        }
        if queue.messages.len() >= self.capacity {
            return Err(Unsent::Full(message));
        }
        queue.messages.push_back(message);
        drop(queue); // Waking looks into the scheduler.
        self.receivers_waiting.wake_one(core);
        Ok(())
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
            loop {
                match self.put(core, message) {
                    Ok(()) => {
                        core.point(place);
                        return Ok(());
                    }
                    Err(Unsent::Disconnected(back)) => return Err(SendTimeoutError::Disconnected(back)),
                    Err(Unsent::Full(back)) => message = back,
                }
                if until.is_some_and(|until| core.now() >= until) {
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
            loop {
                match self.take(core) {
                    Ok(message) => return Ok(message),
                    Err(Empty::ForEver) => return Err(RecvTimeoutError::Disconnected),
                    Err(Empty::ForNow) => {}
                }
                if until.is_some_and(|until| core.now() >= until) {
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
}
