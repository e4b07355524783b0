//! The report when no thread can run and no timer will change that.
//!
//! Boundary: reads the table of threads and writes text.

use std::fmt::Write;

use super::core::{Core, Why};
use super::schedule::Status;
use crate::outcome::FailureKind;

/// Threads listed in a report; a deadlock of more is told by these.
const THREADS_SHOWN: usize = 16;

/// Holders named for each lock, which many threads may read at once.
const HOLDERS_SHOWN: usize = 4;

impl Core {
    /// Fails the run with a line for each waiting thread: what it waits for,
    /// where, since when, and who has it.
    #[cold]
    pub(super) fn report_deadlock(&self) {
        let message = self.describe_threads("deadlock: every thread waits, and no timer is set");
        // No thread is at fault by itself; the first one lends its name.
        let first = self.schedule.borrow().alive().first().copied();
        self.current.set(first.unwrap_or_default());
        self.fail(FailureKind::Deadlock, message, None);
    }

    /// A thread locks what it holds already: it will never go on.
    #[cold]
    pub(crate) fn report_relock(&self, serial: u32, place: super::core::Place) {
        let holders = self.schedule.borrow().holders(serial);
        let mine = holders.into_iter().find(|(holder, _)| *holder == self.current.get());
        let Some((_, taken)) = mine else { return };
        if self.must_not_switch() {
            return;
        }
        let name = self.current_name();
        let message = format!(
            "deadlock: thread `{name}` locks again, at {place}, the lock that it took at {taken} and still holds"
        );
        self.fail(FailureKind::Deadlock, message, Some(place));
        self.stop_here(place);
    }

    /// An initialiser needs what it is about to make: it will never go on.
    #[cold]
    pub(crate) fn report_reinit(&self, place: super::core::Place) {
        let name = self.current_name();
        let message =
            format!("deadlock: thread `{name}` waits, at {place}, for the initialisation that it runs itself");
        self.fail(FailureKind::Deadlock, message, Some(place));
        self.stop_here(place);
    }

    fn describe_threads(&self, headline: &str) -> String {
        let schedule = self.schedule.borrow();
        let full_name = |slot: u32| {
            let thread = &schedule.slots[slot as usize];
            match thread.life {
                Some(life) => {
                    let node = self.with_world(|world| world.nodes.lock().name(life.node));
                    format!("`{}` of {node}", thread.name)
                }
                None => format!("`{}`", thread.name),
            }
        };
        let lock_of = |serial: u32| {
            let mut holders = schedule.holders(serial);
            holders.reverse(); // Oldest first, as the lines of the report.
            let shown = holders.iter().take(HOLDERS_SHOWN);
            let mut owners: Vec<String> =
                shown.map(|(holder, taken)| format!("{} took at {taken}", full_name(*holder))).collect();
            if holders.len() > HOLDERS_SHOWN {
                owners.push(format!("{} more threads took", holders.len() - HOLDERS_SHOWN));
            }
            match owners.is_empty() {
                true => "a lock whose guard was leaked".to_owned(),
                false => format!("a lock that {}", owners.join(" and ")),
            }
        };
        let mut text = headline.to_owned();
        let alive = schedule.alive();
        for slot in alive.iter().take(THREADS_SHOWN) {
            let thread = &schedule.slots[*slot as usize];
            let what = match thread.why {
                Why::Lock(serial) => lock_of(serial),
                Why::BehindWriter(serial) => format!("its turn behind a writer at {}", lock_of(serial)),
                Why::Once(serial) => match schedule.slot_of(serial) {
                    Some(slot) => format!("the initialisation that {} runs", full_name(slot)),
                    None => "an initialisation".to_owned(),
                },
                Why::Barrier => "others at a barrier".to_owned(),
                Why::Condvar => "a condition to be notified".to_owned(),
                Why::Receive => "a message".to_owned(),
                Why::Send => "room in a channel".to_owned(),
                Why::Park => "an unpark".to_owned(),
                Why::Join(serial) => {
                    let target = alive.iter().find(|slot| schedule.slots[**slot as usize].serial == serial);
                    match target {
                        Some(target) => format!("the end of thread {}", full_name(*target)),
                        None => "the end of a thread".to_owned(),
                    }
                }
                Why::Sleep | Why::Ready | Why::Failed => "its turn".to_owned(),
            };
            let millis = thread.since / 1_000_000;
            let state = if thread.status == Status::Waiting { "waits" } else { "is ready" };
            let _ = write!(
                text,
                "\n  {} {state} at {} for {what}, since {}.{:03}s",
                full_name(*slot),
                thread.place,
                millis / 1000,
                millis % 1000
            );
        }
        if alive.len() > THREADS_SHOWN {
            let _ = write!(text, "\n  and {} more threads", alive.len() - THREADS_SHOWN);
        }
        text
    }
}
