//! What a run may take of the machine, and how much a process has taken.
//!
//! Boundary: numbers. Who is ended for them is decided in `supervisor`.

use std::time::Duration;

use crate::run::Mode;
use crate::run::once::TIME_LIMIT;

/// What a run may take of the machine before its process is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Wall time of a simulated run. One on OS threads gets more: see
    /// [`Limits::wall_of`].
    pub wall: Duration,
    /// Resident memory of the process that makes it, in KiB. Only held on Linux.
    pub memory_kib: u64,
    /// Standard output and standard error together, in KiB.
    pub output_kib: u64,
}

impl Default for Limits {
    /// 60 seconds, 2 GiB and 4 MiB.
    fn default() -> Self {
        Self { wall: Duration::from_secs(60), memory_kib: 2 << 20, output_kib: 4 << 10 }
    }
}

impl Limits {
    /// The wall time that one run of a mode may take.
    pub fn wall_of(&self, mode: Mode) -> Duration {
        match mode {
            // Each of the two has that.
            Mode::Simulated | Mode::Recorded | Mode::Twice => self.wall,
            // It has its own limit on the same clock, and is to reach it.
            Mode::Real => TIME_LIMIT + self.wall,
        }
    }
}

/// What Linux says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Status {
    /// Memory that is in RAM.
    pub(super) resident_kib: u64,
    /// A debugger has it: it may stand still for as long as somebody thinks.
    pub(super) is_traced: bool,
}

/// The status of a process, or of this one; all zero where the system is not
/// Linux, and for a process that has just ended.
pub(super) fn status(pid: Option<u32>) -> Status {
    let name = pid.map_or("self".to_owned(), |pid| pid.to_string());
    parse(&std::fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default())
}

fn parse(text: &str) -> Status {
    let number = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    Status { resident_kib: number("VmRSS").unwrap_or(0), is_traced: number("TracerPid").is_some_and(|pid| pid != 0) }
}

/// A size as a report shows it, in the greatest unit that is whole.
pub(super) fn size(kib: u64) -> String {
    match kib {
        _ if kib > 0 && kib.is_multiple_of(1 << 20) => format!("{} GiB", kib >> 20),
        _ if kib > 0 && kib.is_multiple_of(1 << 10) => format!("{} MiB", kib >> 10),
        _ => format!("{kib} KiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read() {
        let text = "Name:\tlab\nTracerPid:\t17\nVmPeak:\t 9 kB\nVmRSS:\t    5120 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse(text), Status { resident_kib: 5120, is_traced: true });
        assert_eq!(parse(&text.replace("17", "0")), Status { resident_kib: 5120, is_traced: false });
        assert_eq!(parse(""), Status::default());
        if cfg!(target_os = "linux") {
            assert!(status(None).resident_kib > 100);
        }
    }

    #[test]
    fn sizes_have_the_greatest_whole_unit() {
        let limits = Limits::default();
        assert_eq!((size(limits.memory_kib), size(limits.output_kib)), ("2 GiB".to_owned(), "4 MiB".to_owned()));
        assert_eq!(
            (size(1536 << 10), size(100), size(0)),
            ("1536 MiB".to_owned(), "100 KiB".to_owned(), "0 KiB".to_owned())
        );
    }

    #[test]
    fn a_run_in_real_time_reaches_its_own_limit_first() {
        let limits = Limits::default();
        assert!(limits.wall_of(Mode::Real) > TIME_LIMIT + Duration::from_secs(30));
        assert_eq!(limits.wall_of(Mode::Simulated), Duration::from_secs(60));
    }
}
