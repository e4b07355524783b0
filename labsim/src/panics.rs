//! The panic hook: what a panic in one of our worlds leaves behind.
//!
//! A panic in a simulated or real world is that world's first failure, or a
//! consequence of it. Everything a report needs is taken at once, before the
//! stack unwinds, since the process may not survive long enough to ask later.
//! It prints nothing: the outcome does. A panic anywhere else goes to the hook
//! that was there before.
//!
//! Boundary: takes notes of panics. Does not decide what becomes of the run.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::Once;

use crate::context::{self, Mode};
use crate::outcome::{Failure, FailureKind};
use crate::sim::{self, Place};
use crate::{real, stack};

/// Installs the hook, once for the process.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match context::mode() {
            Mode::Outside => previous(info),
            Mode::Simulated => sim::with(|core| {
                core.fail_with(describe(info));
                // Rust aborts the process when a panic leaves a destructor that runs
                // while its thread unwinds. On Unix that is caught as a signal,
                // when std has let go of this hook; elsewhere the run ends here.
                if cfg!(not(unix)) && (core.is_dying() || is_nested()) {
                    core.abandon("panicked in a destructor while it was unwound", std::panic::Location::caller());
                }
            }),
            Mode::Real => real::fail(describe(info)),
        }));
    });
}

/// The thread was unwinding already when this panic began.
fn is_nested() -> bool {
    // The count is raised before the hook runs, so a first panic shows as
    // panicking too. Only a second one finds the marker set.
    NESTED.with(|first| first.replace(true))
}

/// A thread goes on: whatever panic there was has been caught.
#[inline]
pub(crate) fn forget_nesting() {
    if cfg!(not(unix)) {
        NESTED.set(false);
    }
}

thread_local! {
    static NESTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What a panic was thrown with, if it is text.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// What is said of a panic that the hook has not seen: one that was thrown by
/// `resume_unwind`, or with another hook in its place.
pub(crate) fn silent(payload: &(dyn Any + Send), spawned: Place) -> String {
    let message = message(payload);
    format!("panicked: {message}; it went past the panic hook, in a thread that was spawned at {spawned}")
}

fn describe(info: &PanicHookInfo<'_>) -> Failure {
    let message = message(info.payload());
    let wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    Failure {
        place: info.location().map(ToString::to_string),
        addresses: if wanted { stack::addresses() } else { Vec::new() },
        ..Failure::here(FailureKind::Panic, format!("panicked: {message}"))
    }
}
