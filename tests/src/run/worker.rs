//! A worker process: makes the runs that it is told, until nobody tells it more.
//!
//! It lives in one process with code that may do anything, so it depends on as
//! little as it can. It speaks through a duplicate of its standard output: the
//! code under test may hold std's lock on that, or close it. A worker that is not
//! fit for another run says so, and leaves. It keeps the lock
//! on standard input for itself, so that code which reads there waits for ever
//! and is found out, instead of eating orders.
//!
//! Boundary: one process. Who it belongs to, and what happens when it dies, is
//! in `supervisor`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use super::once::{RunResult, run_once, run_traced};
use super::trace;
use super::wire::{Carried, Order, Said, Token, say};
use crate::suites::{LabTest, Registry};

/// How long standard output may be locked after a run. Longer, and it is for
/// ever: a thread of that run is gone with the lock, or sleeps with it.
const FLUSH_PATIENCE: Duration = Duration::from_millis(200);

/// Serves the supervisor at the other end of standard input and output.
///
/// Does not return while the supervisor lives, and ends the process when it
/// does not, whatever a run is doing then.
pub fn serve(registry: &Registry) -> ExitCode {
    let Ok(mut voice) = own_stdout() else { return ExitCode::FAILURE };
    let (token, orders) = listen();
    let Ok(token) = token.recv() else { return ExitCode::FAILURE };
    let mut tell = |said: &Said| {
        if say(&mut voice, &token, said).is_err() {
            std::process::exit(0); // Nobody is left to be told.
        }
    };

    let flusher = Flusher::start();
    let mut waiting: Option<Order> = None;
    loop {
        let order = match waiting.take() {
            Some(order) => order,
            None => {
                let Ok(order) = orders.recv() else { return ExitCode::SUCCESS };
                tell(&Said::Begin { job: order.job });
                order
            }
        };
        let test = registry.find(&order.test).expect("the supervisor has the same registry");
        let rehearsal = order.rehearses.then(|| run_once(test, order.seed, order.mode));
        let mut result = rehearsal.unwrap_or_else(|| make(test, &order));
        let mut leaves = result.abandoned || !flusher.flush();
        if order.rehearses && !leaves && !result.fatal {
            tell(&Said::Rehearsed);
            result = make(test, &order);
            leaves = result.abandoned || !flusher.flush();
        }

        // A run that could not be ended sleeps for ever with whatever it locked.
        let is_fatal = result.fatal;
        if !leaves {
            waiting = orders.try_recv().ok();
        }
        let next = waiting.as_ref().map(|order| order.job);
        tell(&Said::Done { job: order.job, next, leaves, result: Box::new(Carried::pack(result)) });
        if is_fatal {
            labsim::exit(0);
        } else if leaves {
            std::process::exit(0);
        }
    }
}

fn make(test: &'static LabTest, order: &Order) -> RunResult {
    let Some(path) = &order.trace else { return run_once(test, order.seed, order.mode) };
    let (result, trace) = run_traced(test, order.seed);
    // The file is the supervisor's. If it does not take the trace, that is seen
    // when it is read.
    let file = OpenOptions::new().write(true).truncate(true).open(path);
    let _ = file.and_then(|file| trace::write(&trace, file));
    result
}

/// Reads the token and then orders, on a thread of its own, which ends the
/// process when nobody can send more: a run without end dies with its sweep.
fn listen() -> (mpsc::Receiver<Token>, mpsc::Receiver<Order>) {
    let (token_tx, token_rx) = mpsc::channel();
    let (orders_tx, orders_rx) = mpsc::channel();
    std::thread::spawn(move || {
        // Taken before the first test begins, and never given back.
        let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
        if let Some(line) = lines.next() {
            let _ = token_tx.send(Token::read(&line));
        }
        for line in &mut lines {
            let order = serde_json::from_str(&line).expect("the supervisor sends orders");
            if orders_tx.send(order).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    (token_rx, orders_rx)
}

/// Lets half a line out that a run has printed, before the next one begins.
///
/// Another thread does it, for it may wait for ever: then the next run's first
/// line would wait as long, and be blamed for it.
struct Flusher {
    ask: mpsc::Sender<()>,
    done: mpsc::Receiver<()>,
}

impl Flusher {
    fn start() -> Self {
        let (ask, asked) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        std::thread::spawn(move || {
            for () in asked {
                let _ = std::io::stdout().flush(); // Where it leads is not our concern.
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
        Self { ask, done }
    }

    /// True if standard output is free, and empty.
    fn flush(&self) -> bool {
        self.ask.send(()).is_ok() && self.done.recv_timeout(FLUSH_PATIENCE).is_ok()
    }
}

/// A standard output that nobody else can lock or close.
#[cfg(unix)]
fn own_stdout() -> std::io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
}

/// A standard output that nobody else can lock or close.
#[cfg(windows)]
fn own_stdout() -> std::io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(std::io::stdout().as_handle().try_clone_to_owned()?))
}
