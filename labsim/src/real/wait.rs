//! How an OS thread of a real world waits, so that its death wakes it.
//!
//! Boundary: the end of a thread, a sleep, a condition and a parking token.
//! Channels wait for the cord themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use parking_lot::Mutex;

use super::lives::{RealThread, check, cord, die, is_paused, stay_while_paused, with};
use crate::context::{self, Mode};

/// The end of an OS thread, to be waited for.
pub(crate) struct Ended {
    /// Disconnected when the thread is gone; nothing is ever sent.
    pub(super) gone: Receiver<()>,
}

impl Ended {
    pub(crate) fn wait(&self) {
        if context::mode() != Mode::Real {
            let _ = self.gone.recv();
            return;
        }
        let cord = cord();
        crossbeam_channel::select_biased! {
            recv(self.gone) -> _ => {}
            recv(cord) -> _ => die(),
        }
        check();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.gone.try_recv() == Err(TryRecvError::Disconnected)
    }
}

/// Sleeps in real time, or until the calling thread is to die.
pub(crate) fn sleep(duration: Duration) {
    if cord().recv_timeout(duration) == Err(RecvTimeoutError::Disconnected) {
        die();
    }
    check();
}

/// The OS threads of a real world that wait on one condition.
///
/// Each has a channel of its own, so that it can wait for its notification, its
/// cord and its time-out at once. A notification that came is never lost: who
/// is taken off the list has got it.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<VecDeque<Sender<()>>>,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self { waiting: Mutex::new(VecDeque::new()) }
    }

    /// Wakes the one who waits longest. Returns whether there was one.
    pub(crate) fn wake_one(&self) -> bool {
        let first = self.waiting.lock().pop_front();
        first.map(Self::wake).is_some()
    }

    /// Wakes all who wait. Returns how many there were.
    pub(crate) fn wake_all(&self) -> usize {
        let all = std::mem::take(&mut *self.waiting.lock());
        all.into_iter().map(Self::wake).count()
    }

    /// Wakes who is off the list already. If its time is up just now, nobody
    /// receives; it is notified all the same, for it will not find itself there.
    fn wake(waiter: Sender<()>) {
        let _ = waiter.try_send(());
    }

    /// Opens the lock, waits, and takes it again. Returns whether the time was
    /// up. Ends the calling thread if it is to die.
    pub(crate) fn wait<T>(&self, data: &mut parking_lot::MutexGuard<'_, T>, timeout: Option<Duration>) -> bool {
        let (woken_tx, woken_rx) = crossbeam_channel::bounded(1);
        let cord = cord();
        // On the list before the lock opens: whoever notifies after that finds us.
        self.waiting.lock().push_back(woken_tx.clone());
        let never = crossbeam_channel::never();
        let time_up = timeout.map_or(never, crossbeam_channel::after);
        let woken = parking_lot::MutexGuard::unlocked(data, || {
            let woken = crossbeam_channel::select! {
                recv(woken_rx) -> _ => true,
                recv(cord) -> _ => false,
                recv(time_up) -> _ => false,
            };
            if is_paused() {
                stay_while_paused(); // While the lock is open for others.
            }
            woken
        });
        if woken {
            if with(RealThread::is_dead) == Some(true) {
                self.wake_one(); // It was meant for somebody who lives.
                die();
            }
            return false;
        }
        let is_listed = {
            let mut waiting = self.waiting.lock();
            let listed = waiting.iter().position(|waiter| waiter.same_channel(&woken_tx));
            listed.map(|at| waiting.remove(at)).is_some()
        };
        if with(RealThread::is_dead) == Some(true) {
            if !is_listed {
                self.wake_one(); // It was meant for somebody who lives.
            }
            die();
        }
        // If somebody has taken us off the list meanwhile, we were notified.
        is_listed
    }
}

/// The parking token of an OS thread.
#[derive(Clone, Default, Debug)]
pub(crate) struct Parker {
    token: Arc<(Mutex<bool>, Waiters)>,
}

pub(crate) fn parker() -> Parker {
    with(|thread| thread.parker.clone()).expect("the caller runs in a real world")
}

impl Parker {
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        let (token, given) = &*self.token;
        let mut token = token.lock();
        if !*token {
            given.wait(&mut token, timeout);
        }
        *token = false;
        drop(token); // Nobody who unparks waits for a thread that is paused.
        check();
    }

    pub(crate) fn unpark(&self) {
        let (token, given) = &*self.token;
        *token.lock() = true;
        given.wake_all();
    }
}
