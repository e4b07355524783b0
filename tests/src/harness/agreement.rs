//! Commands, and whether they are committed, as far as a client can tell.
//!
//! Boundary: asks services what they were told. Knows no leaders but by trying.

use labsim::time::{Duration, Instant};
use raft::{Bytes, Index, ServerId, Term};

use super::Lab;
use crate::events;
use crate::watch::show;

/// What [`Lab::one`] has altogether.
const ONE_BUDGET: Duration = Duration::from_secs(10);
/// What a command that was accepted has to be committed.
const COMMIT_BUDGET: Duration = Duration::from_secs(2);
/// How often that is looked at.
const COMMIT_POLL: Duration = Duration::from_millis(20);
/// What [`Lab::one`] waits before it looks for a leader again.
const NO_LEADER_WAIT: Duration = Duration::from_millis(50);
/// How often [`Lab::wait`] looks, and what it waits at first and at the most.
const WAIT_POLLS: u32 = 30;
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(1280);

/// What to do with a command that was accepted and is not committed in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Offer it again, perhaps to another server.
    Yes,
    /// Fail: nothing has happened that would excuse it.
    No,
}

impl Lab {
    /// How many servers have applied `index`. That all have applied the same is
    /// watched anyhow.
    pub fn n_committed(&self, index: Index) -> usize {
        self.shared.applies.lock().at(index).0
    }

    /// What was applied at `index`, if any server has now.
    pub fn committed(&self, index: Index) -> Option<Bytes> {
        self.shared.applies.lock().at(index).1.cloned()
    }

    /// The last index that a server's service was told of in its present life.
    pub fn applied(&self, server: usize) -> Index {
        self.shared.applies.lock().last(ServerId(server as u32))
    }

    /// True if `command` was applied at `index`, by whomever.
    pub fn is_agreed(&self, index: Index, command: &Bytes) -> bool {
        index.checked_sub(1).is_some_and(|before| {
            self.shared.applies.lock().agreed().nth(usize::try_from(before).expect("a log fits in memory"))
                == Some(command)
        })
    }

    /// Everything that was ever applied, in order.
    pub fn all_committed(&self) -> Vec<Bytes> {
        self.shared.applies.lock().agreed().cloned().collect()
    }

    /// Fails if some server has applied `index`.
    pub fn check_not_committed(&self, index: Index) {
        let count = self.n_committed(index);
        self.expect(count == 0, "Leaders.4", || {
            format!("{count} servers have applied index {index}, which no majority can have stored")
        });
    }

    /// Has `command` agreed upon: offers it until a server takes it, and waits
    /// until `expected` servers have applied it. Returns its index.
    ///
    /// Fails after 10 seconds, or without retry if it was not applied 2 seconds
    /// after it was taken.
    pub fn one(&self, command: impl Into<Bytes>, expected: usize, retry: Retry) -> Index {
        let command = command.into();
        let (begun, since) = (Instant::now(), labsim::elapsed());
        let mut first = 0;
        while begun.elapsed() < ONE_BUDGET {
            // Everybody is asked in turn: the last to be asked may lead by now.
            let mut taken = None;
            for _ in 0..self.count() {
                first = (first + 1) % self.count();
                if self.is_connected(first) {
                    taken = self.start(first, command.clone());
                }
                if taken.is_some() {
                    break;
                }
            }
            let Some((index, _)) = taken else {
                self.run_for(NO_LEADER_WAIT);
                continue;
            };
            if self.is_applied_soon(index, &command, expected) {
                events::checks(|| format!("{expected} servers have applied index {index}"));
                return index;
            }
            if retry == Retry::No {
                break;
            }
        }
        let waited = begun.elapsed().as_secs_f64();
        let message = format!("one({}) failed to reach agreement in {waited:.1} s", show(&command));
        self.fail_waiting("NoProgress", since, &self.connected(), &message)
    }

    fn is_applied_soon(&self, index: Index, command: &Bytes, expected: usize) -> bool {
        let taken = Instant::now();
        while taken.elapsed() < COMMIT_BUDGET {
            let is_done = match self.shared.applies.lock().at(index) {
                (count, Some(applied)) => count >= expected && applied == command,
                (_, None) => false,
            };
            if is_done {
                return true;
            }
            self.run_for(COMMIT_POLL);
        }
        false
    }

    /// Waits until `expected` servers have applied `index`, and returns what they
    /// did. None if a server has gone beyond `term` first: then nobody can say
    /// whether it will ever be applied.
    pub fn wait(&self, index: Index, expected: usize, term: Option<Term>) -> Option<Bytes> {
        let since = labsim::elapsed();
        let mut pause = WAIT_MIN;
        for _ in 0..WAIT_POLLS {
            if self.n_committed(index) >= expected {
                break;
            }
            self.run_for(pause);
            pause = (2 * pause).min(WAIT_MAX);
            let is_over = |term| (0..self.count()).filter_map(|server| self.status(server)).any(|(now, _)| now > term);
            if term.is_some_and(is_over) {
                return None;
            }
        }
        let count = self.n_committed(index);
        if count < expected {
            let message = format!("{count} servers have applied index {index}, and {expected} should have");
            self.fail_waiting("NoProgress", since, &self.connected(), &message);
        }
        self.committed(index)
    }
}
