//! What is said of a run whose process did not outlive it.
//!
//! Boundary: words. Nothing is known here but how the process ended, why it was
//! killed if it was, and what the run had printed.

use std::process::ExitStatus;

use super::limits::{Limits, size};
use crate::check::{Broken, Kind};
use crate::run::Mode;
use crate::run::output::Output;

/// Why the supervisor has killed a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Killed {
    /// The run took too long.
    Late,
    /// The process took too much memory.
    Memory,
    /// The run printed too much.
    Output,
    /// It had orders, and did not begin. Or it kept quiet for good: it has
    /// closed the pipe, and did not end.
    Silent,
}

/// What broke.
pub(super) fn broken(
    status: Option<ExitStatus>,
    killed: Option<Killed>,
    output: &Output,
    limits: &Limits,
    mode: Mode,
) -> Broken {
    match killed {
        Some(Killed::Late) => Broken::new(
            Kind::Stuck,
            "Stuck",
            format!(
                "no end after {} s of wall time\nits steps are too slow to get anywhere, or it waits for something that \
                 labsim cannot see",
                limits.wall_of(mode).as_secs_f64()
            ),
        ),
        Some(Killed::Memory) => limit(format!("used more than {} of memory", size(limits.memory_kib))),
        Some(Killed::Output) => limit(format!("printed more than {}", size(limits.output_kib))),
        Some(Killed::Silent) => {
            Broken::new(Kind::Stuck, "OutsideWorld", "the program closed all its output, and went on")
        }
        None => ended(status, output),
    }
}

fn limit(message: String) -> Broken {
    Broken::unnamed(Kind::Limit, message)
}

/// It ended without our help.
fn ended(status: Option<ExitStatus>, output: &Output) -> Broken {
    let outside = |message: String| Broken::new(Kind::Panic, "OutsideWorld", message);
    let signal = status.and_then(|status| signal(&status));
    if output.contains("memory allocation of") {
        return limit("ran out of memory: an allocation failed".to_owned());
    }
    if output.contains("stack overflow") || output.contains("has overflowed its stack") {
        return Broken::unnamed(Kind::Panic, STACK_OVERFLOW.to_owned());
    }
    match (status.and_then(|status| status.code()), signal) {
        (Some(code), _) => outside(format!(
            "the program ended itself with code {code}\nsomething called `process::exit`, or ended the process in \
             another way; a server that has to stop returns"
        )),
        (None, Some(9)) => limit(
            "the program was killed by SIGKILL, and not by us: the system does that when memory is short".to_owned(),
        ),
        // A simulated thread that overflows its stack is caught where there are
        // signals, and named.
        (None, Some(SIGBUS | 11)) => {
            let message = format!(
                "the program was killed by {}: unsafe code touched memory that is not its own, or an OS thread \
                 overflowed its stack",
                name(signal)
            );
            Broken::unnamed(Kind::Panic, message)
        }
        (None, _) => outside(format!("the program was killed by {}", name(signal))),
    }
}

/// Some systems answer with it to a touched guard page.
const SIGBUS: i32 = if cfg!(target_os = "linux") { 7 } else { 10 };

const STACK_OVERFLOW: &str = "stack overflow: a thread calls itself without end, or keeps too much on its stack";

fn name(signal: Option<i32>) -> String {
    let Some(signal) = signal else { return "something unknown".to_owned() };
    let name = match signal {
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("{name}, signal {signal}")
}

#[cfg(unix)]
fn signal(status: &ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(status)
}

#[cfg(not(unix))]
fn signal(_status: &ExitStatus) -> Option<i32> {
    None
}

/// How a process ended, for a fault that is nobody's but ours.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), signal(&status))) {
        Some((Some(code), _)) => format!("code {code}"),
        Some((None, signal)) => name(signal),
        None => "no word".to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn judged(raw_status: i32, printed: &str) -> (Kind, String) {
        let mut output = Output::default();
        printed.lines().for_each(|line| output.add(line.as_bytes()));
        let status = Some(ExitStatus::from_raw(raw_status));
        let broken = broken(status, None, &output, &Limits::default(), Mode::Simulated);
        (broken.kind, broken.message)
    }

    #[test]
    fn each_way_to_die_has_its_name() {
        let rows = [
            (3 << 8, "", Kind::Panic, "ended itself with code 3"),
            (0, "", Kind::Panic, "ended itself with code 0"),
            (6, "", Kind::Panic, "SIGABRT"),
            (6, "thread 'main' has overflowed its stack", Kind::Panic, "stack overflow"),
            (6, "memory allocation of 99 bytes failed", Kind::Limit, "out of memory"),
            (11, "", Kind::Panic, "unsafe code touched memory that is not its own"),
            (9, "", Kind::Limit, "memory is short"),
            (15, "", Kind::Panic, "SIGTERM"),
        ];
        for (status, printed, kind, part) in rows {
            let (found, message) = judged(status, printed);
            assert_eq!(found, kind, "{status}: {message}");
            assert!(message.lines().next().is_some_and(|line| line.contains(part)), "{status}: {message}");
        }
    }

    #[test]
    fn what_we_killed_it_for_counts_more_than_how_it_died() {
        let says = |killed| {
            let status = Some(ExitStatus::from_raw(9));
            let broken = broken(status, Some(killed), &Output::default(), &Limits::default(), Mode::Simulated);
            (broken.kind, broken.message.lines().next().unwrap_or_default().to_owned())
        };
        assert_eq!(says(Killed::Late), (Kind::Stuck, "no end after 60 s of wall time".to_owned()));
        assert_eq!(says(Killed::Memory), (Kind::Limit, "used more than 2 GiB of memory".to_owned()));
        assert_eq!(says(Killed::Output), (Kind::Limit, "printed more than 4 MiB".to_owned()));
        assert_eq!(says(Killed::Silent).0, Kind::Stuck);
    }
}
