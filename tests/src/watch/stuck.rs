//! Stuck: what a server knows to be committed is handed to its service (Figure 2,
//! AllServers.1), and soon.
//!
//! An applier that waits for a notification which came a moment too early waits for
//! the next one. With a client that never pauses nobody notices.
//!
//! Boundary: judges by time, so only in simulations. Knows two indexes of each server.

use std::time::Duration;

use labsim::node::NodeId;
use labsim::watch;
use raft::{Index, View};

use super::at;
use crate::check::{Broken, Kind};

/// How long a service may be kept waiting. Handing over takes microseconds, and waits
/// for nothing but the state's lock, and so for a disk.
const PATIENCE: Duration = Duration::from_millis(1000);

/// What one entry may take besides, where many are handed over in one go: after a restart
/// without a snapshot that is the whole log.
const AN_ENTRY: Duration = Duration::from_micros(200);

/// Since when each server has been handing nothing over.
#[derive(Debug)]
pub struct Applying {
    waits: Vec<Option<Wait>>,
    /// What each has handed over last, and how many entries that were.
    handed: Vec<(Index, u32)>,
    slack: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Duration,
    applied: Index,
}

impl Applying {
    /// For so many servers, in a run that allows this much besides.
    pub fn new(servers: usize, slack: Duration) -> Self {
        Self { waits: vec![None; servers], handed: vec![(0, 0); servers], slack }
    }

    /// The run allows this much from now on, if that is more than before.
    pub fn allow(&mut self, slack: Duration) {
        self.slack = self.slack.max(slack);
    }

    /// A server starts.
    pub fn begin_life(&mut self, server: usize) {
        (self.waits[server], self.handed[server]) = (None, (0, 0));
    }

    /// Takes notice of a view.
    ///
    /// # Errors
    ///
    /// If it shows that its server has handed nothing over for too long, and could.
    pub fn observe(&mut self, view: &View, moment: Duration) -> Result<(), Broken> {
        let server = view.server.0 as usize;
        let (last, entries) = &mut self.handed[server];
        if view.last_applied > *last {
            (*last, *entries) = (view.last_applied, u32::try_from(view.last_applied - *last).unwrap_or(u32::MAX));
        }
        let allowed = PATIENCE + 10 * self.slack + AN_ENTRY * *entries;
        let wait = &mut self.waits[server];
        if view.last_applied >= view.commit_index {
            *wait = None;
            return Ok(());
        }
        match wait {
            Some(wait) if wait.applied == view.last_applied => {
                if moment < wait.since + allowed {
                    return Ok(());
                }
                let threads = watch::waiting_threads(NodeId(view.server.0));
                let threads: String = threads.iter().map(|thread| format!("\n  {thread}")).collect();
                let message = format!(
                    "{} knows since {} that index {} is committed, and at {} its service was told of nothing after {}: \
                     whoever tells it was not woken{threads}",
                    view.server,
                    at(wait.since),
                    view.commit_index,
                    at(moment),
                    view.last_applied
                );
                Err(Broken::new(Kind::Stuck, "Stuck", message).since([wait.since, moment]))
            }
            _ => {
                *wait = Some(Wait { since: moment, applied: view.last_applied });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::testing::{S1, Says, view};

    /// What S1 shows, by milliseconds: its commit index and what it has applied.
    fn judged(steps: &[(u64, Index, Index)]) -> Result<(), Broken> {
        let mut applying = Applying::new(2, Duration::from_millis(5));
        steps.iter().try_for_each(|(millis, commit, applied)| {
            let view = view(S1, 1, &[1; 9]).commits(*commit).applied(*applied);
            applying.observe(&view, Duration::from_millis(*millis))
        })
    }

    #[test]
    fn a_service_is_not_kept_waiting_2b() {
        judged(&[(0, 3, 3), (100, 4, 3), (101, 4, 4), (3000, 5, 4), (3001, 5, 5)]).unwrap();
        judged(&[(0, 4, 3), (900, 5, 4), (1800, 6, 5)]).unwrap(); // Slow, and it moves.
        judged(&[(0, 9000, 9000), (10, 9001, 9000), (2000, 9001, 9000)]).unwrap(); // Many at once.
        assert!(judged(&[(0, 9000, 9000), (10, 9001, 9000), (3000, 9001, 9000)]).is_err());
        let one_more = [(0, 9000, 9000), (5, 9001, 9001), (10, 9002, 9001), (2000, 9002, 9001)];
        assert!(judged(&one_more).is_err(), "the last was one entry");
        let broken = judged(&[(0, 3, 3), (100, 4, 3), (600, 4, 3), (1200, 4, 3)]).unwrap_err();
        assert_eq!(broken.rule, Some("Stuck"));
        assert!(broken.message.starts_with("S1 knows since 0.100s that index 4 is committed"), "{}", broken.message);
    }

    /// It begins at nothing again, and hands the whole log over.
    #[test]
    fn a_service_of_a_new_life_is_told_everything_again_2c() {
        let mut applying = Applying::new(2, Duration::from_millis(5));
        let mut shows = |millis, commit, applied| {
            applying.observe(&view(S1, 1, &[1; 9]).commits(commit).applied(applied), Duration::from_millis(millis))
        };
        shows(0, 9000, 0).unwrap();
        shows(1, 9000, 8999).unwrap();
        shows(2, 9000, 9000).unwrap();
        shows(3, 9001, 9000).unwrap();
        shows(4, 9001, 9001).unwrap();
        shows(5, 9002, 9001).unwrap();
        applying.begin_life(1);
        let mut shows = |millis, commit, applied| {
            applying.observe(&view(S1, 1, &[1; 9]).commits(commit).applied(applied), Duration::from_millis(millis))
        };
        shows(2000, 0, 0).unwrap();
        shows(2001, 9002, 0).unwrap();
        shows(2002, 9002, 9001).unwrap();
        shows(4000, 9002, 9001).unwrap();
        assert!(shows(5000, 9002, 9001).is_err());
        // What it waited for in its last life is over.
        applying.begin_life(1);
        applying.observe(&view(S1, 1, &[1; 9]).commits(9002), Duration::from_millis(6000)).unwrap();
        applying.begin_life(1);
        applying.observe(&view(S1, 1, &[1; 9]).commits(9002), Duration::from_millis(9000)).unwrap();
    }
}
