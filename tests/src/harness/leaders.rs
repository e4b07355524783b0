//! Who leads, as far as a client can tell.
//!
//! Boundary: asks servers for their status. Knows no commands.

use labsim::time::Duration;
use raft::Term;

use super::Lab;
use crate::check::{Broken, Kind};
use crate::events;

/// How often [`Lab::check_one_leader`] looks before it gives up.
const LEADER_POLLS: u32 = 10;
/// What it waits before each look, in milliseconds, and what chance adds.
const LEADER_POLL_MS: u64 = 450;
const LEADER_POLL_MS_MORE: u64 = 100;

impl Lab {
    /// The connected servers that say they lead, with their terms.
    pub fn connected_leaders(&self) -> Vec<(Term, usize)> {
        let connected = (0..self.count()).filter(|server| self.is_connected(*server));
        connected
            .filter_map(|server| match self.status(server) {
                Some((term, true)) => Some((term, server)),
                _ => None,
            })
            .collect()
    }

    /// Waits for a leader among the connected servers, and returns the one of
    /// the highest term. Fails if a term has two, or if none comes in some five
    /// seconds.
    pub fn check_one_leader(&self) -> usize {
        let begun = labsim::elapsed();
        for _ in 0..LEADER_POLLS {
            let wait_ms = LEADER_POLL_MS + self.below(LEADER_POLL_MS_MORE);
            self.run_for(Duration::from_millis(wait_ms));

            let mut leaders = self.connected_leaders();
            leaders.sort_unstable();
            for pair in leaders.windows(2) {
                if pair[0].0 == pair[1].0 {
                    let message = format!("term {} has two leaders: S{} and S{}", pair[0].0, pair[0].1, pair[1].1);
                    self.fail(Broken::new(Kind::Safety, "Figure3.ElectionSafety", message));
                }
            }
            if let Some((term, server)) = leaders.last() {
                events::checks(|| format!("S{server} leads term {term}"));
                return *server;
            }
        }
        let waited = (labsim::elapsed() - begun).as_secs_f64();
        let message = format!("expected one leader, got none in {waited:.1} s");
        self.fail_waiting("NoLeader", begun, &self.connected(), &message)
    }

    /// The term that all connected servers agree on. Fails if they do not.
    pub fn check_terms(&self) -> Term {
        let connected = (0..self.count()).filter(|server| self.is_connected(*server));
        let terms: Vec<(usize, Term)> =
            connected.filter_map(|server| self.status(server).map(|(term, _)| (server, term))).collect();
        let Some((first, term)) = terms.first().copied() else {
            self.fail(Broken::unnamed(Kind::Harness, "no server is connected".to_owned()));
        };
        if let Some((other, other_term)) = terms.iter().find(|(_, other)| *other != term) {
            let message = format!("servers disagree on the term: S{first} is in {term}, S{other} in {other_term}");
            self.fail(Broken::new(Kind::Liveness, "AllServers.2", message));
        }
        term
    }

    /// Fails if a connected server says that it leads: without a quorum none can
    /// have been elected, and who led before was replaced.
    pub fn check_no_leader(&self) {
        if let Some((term, server)) = self.connected_leaders().first().copied() {
            let mut message = format!("expected no leader without a quorum, but S{server} says it leads term {term}");
            let terms = (0..self.count()).filter_map(|other| Some((self.status(other)?.0, other)));
            let rule = match terms.max().filter(|(latest, _)| *latest > term) {
                // An old leader, and others have gone on.
                Some((latest, other)) => {
                    message += &format!("; S{other} is in term {latest}, and S{server} has not heard of that");
                    "AllServers.2"
                }
                None => "Candidates.2",
            };
            self.fail(Broken::new(Kind::Safety, rule, message));
        }
    }
}
