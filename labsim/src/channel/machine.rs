//! Waiting on crossbeam's channels, in a real world and outside.
//!
//! In a real world a thread that waits is to notice its death: beside its
//! channel it waits for its cord.
//!
//! Boundary: crossbeam's ends. What users hold is in `mod.rs`.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender};

use super::mode_outside;
use crate::context::Mode;
use crate::real;

#[track_caller]
pub(super) fn send<T>(tx: &Sender<T>, message: T) -> Result<(), SendError<T>> {
    if mode_outside() != Mode::Real {
        return tx.send(message);
    }
    real::check();
    let cord = real::cord();
    real::stay(crossbeam_channel::select! {
        send(tx, message) -> sent => sent,
        recv(cord) -> _ => { real::die(); Err(SendError(message)) }
    })
}

#[track_caller]
pub(super) fn send_timeout<T>(tx: &Sender<T>, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
    if mode_outside() != Mode::Real {
        return tx.send_timeout(message, timeout);
    }
    real::check();
    let cord = real::cord();
    let mut select = crossbeam_channel::Select::new();
    let sending = select.send(tx);
    select.recv(&cord);
    match select.select_timeout(real::machine_time(timeout)) {
        Ok(ready) if ready.index() == sending => {
            let sent = ready.send(tx, message);
            real::stay(sent.map_err(|error| SendTimeoutError::Disconnected(error.into_inner())))
        }
        Ok(dead) => {
            let _ = dead.recv(&cord);
            real::die();
            Err(SendTimeoutError::Disconnected(message))
        }
        Err(_) => real::stay(Err(SendTimeoutError::Timeout(message))),
    }
}

#[track_caller]
pub(super) fn recv<T>(rx: &Receiver<T>) -> Result<T, RecvError> {
    if mode_outside() != Mode::Real {
        return rx.recv();
    }
    real::check();
    let cord = real::cord();
    real::stay(crossbeam_channel::select! {
        recv(rx) -> received => received,
        recv(cord) -> _ => { real::die(); Err(RecvError) }
    })
}

#[track_caller]
pub(super) fn recv_timeout<T>(rx: &Receiver<T>, timeout: Duration) -> Result<T, RecvTimeoutError> {
    if mode_outside() != Mode::Real {
        return rx.recv_timeout(timeout);
    }
    real::check();
    let cord = real::cord();
    real::stay(crossbeam_channel::select! {
        recv(rx) -> received => received.map_err(|_| RecvTimeoutError::Disconnected),
        recv(cord) -> _ => { real::die(); Err(RecvTimeoutError::Disconnected) }
        default(real::machine_time(timeout)) => Err(RecvTimeoutError::Timeout),
    })
}
