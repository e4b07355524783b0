//! A node's own clock: what it shows when, and when it will show what.
//!
//! A world has one time. A node's clock starts out showing that, and parts from
//! it when its rate is changed or it is put forward. It never goes back: at a
//! change it continues from what it shows. Both directions round so that a
//! clock never shows less at a moment than the reading it was asked about.
//!
//! Boundary: arithmetic. Who reads the clock, and what waits by it, is decided
//! by the callers.

use std::time::Duration;

/// The world's time passes this many parts at a time.
const MILLION: u128 = 1_000_000;

/// The clock of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    /// Parts per million that it gains on the world's time.
    rate_ppm: i32,
    /// World time, in nanoseconds, when it was last changed.
    changed_at: u64,
    /// What it showed then.
    showed: u64,
}

impl NodeClock {
    /// Shows the world's time.
    pub(crate) const TRUE: Self = Self { rate_ppm: 0, changed_at: 0, showed: 0 };

    /// How far a rate may lie from the true one, either way.
    pub(crate) const RATE_PPM_MAX: i32 = 900_000;

    /// What it shows at the world's `now`.
    pub(crate) fn reading(self, now: u64) -> u64 {
        let passed = u128::from(now.saturating_sub(self.changed_at));
        let counted = nanos(passed * self.parts() / MILLION);
        self.showed.saturating_add(counted)
    }

    /// The first moment of the world at which it shows `reading`. The end of
    /// the one clock is the end of the other: never.
    pub(crate) fn when(self, reading: u64) -> u64 {
        if reading == u64::MAX {
            return u64::MAX;
        }
        let counted = u128::from(reading.saturating_sub(self.showed));
        self.changed_at.saturating_add(nanos(self.passes(counted)))
    }

    /// How much time passes in the world while it counts `duration`.
    pub(crate) fn world_time(self, duration: Duration) -> Duration {
        Duration::from_nanos(nanos(self.passes(duration.as_nanos())))
    }

    /// The same clock, with another rate from the world's `now` on.
    pub(crate) fn with_rate(self, now: u64, rate_ppm: i32) -> Self {
        Self { rate_ppm, changed_at: now, showed: self.reading(now) }
    }

    /// The same clock, put forward by `ahead` at the world's `now`. `None` past
    /// the end of the clock.
    pub(crate) fn put_forward(self, now: u64, ahead: Duration) -> Option<Self> {
        let showed = self.reading(now).checked_add(u64::try_from(ahead.as_nanos()).ok()?)?;
        Some(Self { changed_at: now, showed, ..self })
    }

    /// How many parts it counts while a million pass.
    fn parts(self) -> u128 {
        u128::from((1_000_000 + self.rate_ppm).unsigned_abs())
    }

    /// World nanoseconds until it has counted so many.
    fn passes(self, counted: u128) -> u128 {
        (counted * MILLION).div_ceil(self.parts())
    }
}

/// As many nanoseconds as a clock can show.
fn nanos(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
