//! The network, the disks and the threads of one episode.
//!
//! Delicate shapes play on a clean network mostly: what they are about is a
//! precise order of messages, and noise destroys it. Sturdy ones gain from noise.
//!
//! Boundary: numbers, and their way onto the links. Who is cut off is no weather.

use std::fmt;

use labsim::links::Link;
use labsim::time::Duration;

use super::dice::Dice;
use crate::harness::Lab;

/// The least time that a message takes, in microseconds.
const DELAY_US_MIN: u64 = 200;

/// What every message, every sync and every new thread may meet in an episode.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Weather {
    /// The longest usual delay of a message, in milliseconds.
    pub delay_ms_max: u64,
    /// The probability that a message is lost.
    pub loss: f64,
    /// The probability that a request arrives twice.
    pub duplicate: f64,
    /// The probability that a message takes longer, and by how many milliseconds at
    /// the most.
    pub tail: (f64, u64),
    /// Two replies in three come up to two seconds late, as in the course.
    pub long_reordering: bool,
    /// The longest time that a sync takes, in milliseconds.
    pub disk_ms_max: u64,
    /// The longest time until a new thread starts, in microseconds.
    pub start_us_max: u64,
    /// Directed links that take so many milliseconds more.
    pub slow: Vec<(usize, usize, u64)>,
}

impl Weather {
    /// Nothing is lost, and disks take no time.
    pub(super) fn clean(dice: &mut Dice, is_delicate: bool) -> Self {
        let delays: &[u64] = if is_delicate { &[1, 1, 5] } else { &[1, 5, 27] };
        Self { delay_ms_max: dice.one_of(delays), start_us_max: dice.one_of(&[200, 5_000, 30_000]), ..Self::default() }
    }

    /// Much may happen to a message.
    pub(super) fn rough(dice: &mut Dice, servers: usize) -> Self {
        let delay_ms_max = dice.one_of(&[1, 5, 27, 27, 60]);
        let loss = dice.one_of(&[0.0, 0.0, 0.05, 0.1, 0.2]);
        let duplicate = dice.one_of(&[0.0, 0.0, 0.1]);
        let tail = (dice.one_of(&[0.0, 0.0, 0.1, 0.3]), dice.one_of(&[200, 500, 1500]));
        let long_reordering = dice.chance(0.15);
        let disk_ms_max = dice.one_of(&[0, 0, 2, 10]);
        let start_us_max = dice.one_of(&[200, 200, 5_000, 20_000]);
        let mut slow = Vec::new();
        if dice.chance(0.3) {
            for from in 0..servers {
                for to in (0..servers).filter(|to| *to != from) {
                    if dice.chance(0.3) {
                        slow.push((from, to, dice.from(20, 150)));
                    }
                }
            }
        }
        Self { delay_ms_max, loss, duplicate, tail, long_reordering, disk_ms_max, start_us_max, slow }
    }

    /// True if something may go wrong in it.
    pub fn is_rough(&self) -> bool {
        let Self { loss, duplicate, tail, long_reordering, disk_ms_max, slow, .. } = self;
        let sum = loss + duplicate + tail.0;
        sum > 0.0 || *long_reordering || *disk_ms_max > 0 || !slow.is_empty()
    }

    /// Lets it come over a cluster whose servers are all up. What is cut or held
    /// stays so.
    pub(super) fn come_over(&self, lab: &Lab) {
        let micros = Duration::from_micros;
        let millis = Duration::from_millis;
        for from in 0..lab.count() {
            for to in (0..lab.count()).filter(|to| *to != from) {
                let slow = self.slow.iter().find(|link| (link.0, link.1) == (from, to)).map_or(0, |link| link.2);
                let (least, most) = (micros(DELAY_US_MIN), millis(self.delay_ms_max) + micros(1));
                lab.change_link(from, to, |link| {
                    *link = Link {
                        up: link.up,
                        held: link.held,
                        loss: self.loss,
                        delay: least + millis(slow)..most + millis(slow),
                        duplicate: self.duplicate,
                        reorder: self.tail.0,
                        reorder_delay: Duration::ZERO..millis(self.tail.1),
                    };
                });
            }
            lab.set_sync_delay(from, millis(self.disk_ms_max));
            lab.set_start_delay(from, micros(self.start_us_max));
        }
        lab.network().set_long_reordering(self.long_reordering);
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network {}", if self.is_rough() { "rough" } else { "clean" })?;
        write!(f, " 0-{} ms", self.delay_ms_max)?;
        if self.loss > 0.0 {
            write!(f, ", loses {} %", (100.0 * self.loss).round())?;
        }
        if self.duplicate > 0.0 {
            write!(f, ", doubles {} %", (100.0 * self.duplicate).round())?;
        }
        if self.tail.0 > 0.0 {
            write!(f, ", {} % late by 0-{} ms", (100.0 * self.tail.0).round(), self.tail.1)?;
        }
        if self.long_reordering {
            write!(f, ", replies reordered")?;
        }
        if !self.slow.is_empty() {
            write!(f, ", {} slow links", self.slow.len())?;
        }
        if self.disk_ms_max > 0 {
            write!(f, ", disk 0-{} ms", self.disk_ms_max)?;
        }
        if self.start_us_max >= 1000 {
            write!(f, ", threads 0-{} ms late", self.start_us_max / 1000)?;
        }
        Ok(())
    }
}
