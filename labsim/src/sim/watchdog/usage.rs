//! What the system tells of an OS thread, and of the process.
//!
//! Boundary: reads `/proc` on Linux, and knows nothing on other systems. What it
//! means is decided in `verdict.rs`.

use std::fs;
use std::time::Duration;

/// What the kernel knows of an OS thread.
#[derive(Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) page_faults: u64,
    pub(super) is_asleep: bool,
    pub(super) is_known: bool,
}

/// Reads `/proc`. On other systems nothing is known.
pub(super) fn usage_of(thread: i32) -> Usage {
    /// Hundredths of a second: the unit of these files on every Linux.
    const TICK: Duration = Duration::from_millis(10);
    let read = || -> Option<Usage> {
        let text = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
        // The name in the second field may hold anything, a bracket included.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // Counted from the state, which is field 3 in proc(5).
        let (state, page_faults, user, system) = (fields.first()?, number(7)?, number(11)?, number(12)?);
        let cpu = TICK * u32::try_from(user + system).ok()?;
        Some(Usage { cpu, page_faults, is_asleep: *state != "R", is_known: true })
    };
    if cfg!(target_os = "linux") { read().unwrap_or_default() } else { Usage::default() }
}

/// Bytes of memory that the process has in use; 0 if that is not known.
pub(super) fn memory_in_use() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let resident = || fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse::<u64>().ok();
    resident().unwrap_or(0) * PAGE_BYTES
}

/// True if a debugger is attached, or `LAB_WATCHDOG=off` says that nobody should
/// look.
pub(in crate::sim) fn is_traced() -> bool {
    if std::env::var_os("LAB_WATCHDOG").is_some_and(|value| value == "off") {
        return true;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sim::signals::OsThread;

    #[test]
    fn a_thread_that_works_is_told_from_one_that_sleeps() {
        let (id_tx, id_rx) = mpsc::channel();
        let (go_tx, go_rx) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            id_tx.send(OsThread::current().id).unwrap();
            let _ = go_rx.recv();
        });
        let id = id_rx.recv().unwrap();
        while !usage_of(id).is_asleep {
            std::thread::yield_now();
        }
        drop(go_tx);
        other.join().unwrap();

        let me = OsThread::current().id;
        let before = usage_of(me);
        assert!(before.is_known && !before.is_asleep);
        while usage_of(me).cpu == before.cpu {}
        assert!(!usage_of(i32::MAX).is_known);
        assert!(memory_in_use() > 0);
    }
}
