//! Where there are no Unix signals: a stack overflow or an abort ends the
//! process, and the watchdog cannot ask a thread where it is.
//!
//! Boundary: the same names as `signals.rs`, doing nothing.

/// An OS thread that cannot be asked.
#[derive(Debug)]
pub(super) struct OsThread {
    pub(super) id: i32,
}

pub(super) fn install() {}

pub(super) fn end_at_once(text: &str, code: i32) -> ! {
    eprint!("{text}");
    std::process::exit(code)
}

impl OsThread {
    pub(super) fn current() -> Self {
        Self { id: 0 }
    }

    pub(super) fn ask(&self) {}
}

/// None.
pub(super) struct AlternateStack;

impl AlternateStack {
    pub(super) fn install() -> Option<Self> {
        None
    }
}
