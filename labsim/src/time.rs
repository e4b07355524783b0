//! Virtual time: a clock that moves only when nobody can run, or by a step.
//!
//! A simulated thread never waits for the machine. Each of its steps costs
//! about a microsecond of virtual time, and when every thread is blocked, the
//! scheduler takes the earliest deadline, sets the clock to it, and wakes
//! whoever asked for it. A ten-second election therefore costs microseconds,
//! and two runs of one seed see the same moments in the same order.
//!
//! Outside a simulation the same [`Instant`] reads the machine's monotonic
//! clock. The two kinds never mix: comparing or subtracting them panics.
//!
//! A node may have a clock of its own, which goes fast or slow
//! ([`Node::set_clock_rate`](crate::node::Node::set_clock_rate)) or ahead. Its
//! threads read that one and wait by it. Moments of two nodes can be compared,
//! as numbers that two machines disagree about.
//!
//! Units: nanoseconds, shown as seconds with three decimals (`12.345s`).
//! Intervals are [`Duration`].
//!
//! Boundary: reads clocks and compares moments. Waiting is in
//! [`thread`](crate::thread), [`sync`](crate::sync) and
//! [`channel`](crate::channel).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::OnceLock;

pub use std::time::Duration;

use crate::context::{self, Mode};
use crate::real;

/// A moment. In a simulation: virtual time since the run began.
///
/// ```
/// use labsim::time::{Duration, Instant};
/// use labsim::{Config, simulate, thread};
/// let outcome = simulate(Config::seed(1), || {
///     let (begun, nap) = (Instant::now(), Duration::from_secs(3600 / 2));
///     thread::sleep(nap);
///     begun.elapsed() - nap
/// });
/// // Half an hour, which took no time, and a step or two.
/// assert!(outcome.result.unwrap() < Duration::from_micros(10));
/// ```
#[derive(Clone, Copy)]
pub struct Instant {
    nanos: u64,
    clock: Clock,
}

/// Which clock a moment was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    Virtual,
    Machine,
}

impl Instant {
    /// The present moment, on the clock of the world that the caller runs in;
    /// on a node whose clock goes wrong, on that one.
    ///
    /// In a simulation this is a step like any other: it costs time, so two
    /// readings of one thread always differ.
    #[inline]
    #[track_caller]
    pub fn now() -> Self {
        match context::mode() {
            Mode::Simulated => {
                let place = std::panic::Location::caller();
                Self::at(crate::sim::with(|core| {
                    core.point(place);
                    core.clock_now()
                }))
            }
            Mode::Real => {
                real::check();
                Self { nanos: real::clock_reading(machine_nanos()), clock: Clock::Machine }
            }
            Mode::Outside => Self { nanos: machine_nanos(), clock: Clock::Machine },
        }
    }

    /// How long after the start of its simulation this moment is. None for a moment of
    /// the machine's clock. It costs no step.
    pub fn since_start(self) -> Option<Duration> {
        (self.clock == Clock::Virtual).then(|| Duration::from_nanos(self.nanos))
    }

    /// The moment `nanos` after the start of a simulation.
    pub(crate) fn at(nanos: u64) -> Self {
        Self { nanos, clock: Clock::Virtual }
    }

    /// Nanoseconds from the start of a simulation to this moment of it.
    #[track_caller]
    pub(crate) fn virtual_nanos(self) -> u64 {
        self.same_clock(&Self::at(0));
        self.nanos
    }

    /// The same moment of the machine's clock, as std has it.
    pub(crate) fn from_std(moment: std::time::Instant) -> Self {
        let nanos = moment.saturating_duration_since(machine_origin()).as_nanos() as u64;
        Self { nanos, clock: Clock::Machine }
    }

    /// The same moment of the machine's clock, for std; nothing past its end.
    #[track_caller]
    pub(crate) fn to_std(self) -> Option<std::time::Instant> {
        self.same_clock(&Self { nanos: 0, clock: Clock::Machine });
        machine_origin().checked_add(Duration::from_nanos(self.nanos))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[track_caller]
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[track_caller]
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.checked_duration_since(earlier).unwrap_or_default()
    }

    /// How long ago `earlier` was, or nothing if it lies ahead.
    #[track_caller]
    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.same_clock(&earlier);
        self.nanos.checked_sub(earlier.nanos).map(Duration::from_nanos)
    }

    /// How long ago this moment was; zero if it lies ahead.
    #[track_caller]
    pub fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    /// The moment `duration` later, or nothing past the end of the clock (584
    /// years).
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        let nanos = self.nanos.checked_add(u64::try_from(duration.as_nanos()).ok()?)?;
        Some(Self { nanos, ..*self })
    }

    /// The moment `duration` earlier, or nothing before the clock began.
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        let nanos = self.nanos.checked_sub(u64::try_from(duration.as_nanos()).ok()?)?;
        Some(Self { nanos, ..*self })
    }

    #[track_caller]
    fn same_clock(&self, other: &Instant) {
        assert!(
            self.clock == other.clock,
            "an Instant of the {:?} clock met one of the {:?} clock; \
             do not carry moments into or out of a simulation",
            self.clock,
            other.clock
        );
    }
}

/// Nanoseconds on the machine's monotonic clock since this process first asked.
pub(crate) fn machine_nanos() -> u64 {
    machine_origin().elapsed().as_nanos() as u64
}

fn machine_origin() -> std::time::Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(std::time::Instant::now)
}

impl PartialEq for Instant {
    #[track_caller]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Instant {}

impl Hash for Instant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl PartialOrd for Instant {
    #[track_caller]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Instant {
    #[track_caller]
    fn cmp(&self, other: &Self) -> Ordering {
        self.same_clock(other);
        self.nanos.cmp(&other.nanos)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    #[track_caller]
    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration).expect("the clock ends 584 years after it began")
    }
}

impl AddAssign<Duration> for Instant {
    #[track_caller]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    #[track_caller]
    fn sub(self, duration: Duration) -> Instant {
        self.checked_sub(duration).expect("a moment before the run began")
    }
}

impl SubAssign<Duration> for Instant {
    #[track_caller]
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    #[track_caller]
    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(f, self.nanos)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(f, self.nanos)
    }
}

/// Seconds with three decimals, cut off and not rounded: an event is never
/// shown later than it was.
fn write_seconds(f: &mut fmt::Formatter<'_>, nanos: u64) -> fmt::Result {
    let millis = nanos / 1_000_000;
    write!(f, "{}.{:03}s", millis / 1000, millis % 1000)
}
