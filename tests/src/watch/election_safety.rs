//! Election Safety (Figure 3, §5.2): at most one leader is elected in a term.
//!
//! Sees every election of a run, including leaders that no test ever asked.
//!
//! Boundary: one table, term by term. Knows no votes.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::{RoleName, ServerId, Term, View};

use super::at;
use super::wire::Wire;
use crate::check::{Broken, Kind};

/// Who was elected in which term, and when that was seen first.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    winners: BTreeMap<Term, (ServerId, Duration)>,
}

impl ElectionSafety {
    /// Takes notice of a view.
    ///
    /// # Errors
    ///
    /// If it shows a second leader of a term.
    pub fn observe(&mut self, moment: Duration, view: &View) -> Result<(), Broken> {
        if view.role == RoleName::Leader { self.leads(moment, view.server, view.term) } else { Ok(()) }
    }

    /// Takes notice of a message: whoever sends entries leads.
    ///
    /// # Errors
    ///
    /// If it is of a second leader of a term.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        if wire.leaves && wire.is_a_leaders() { self.leads(wire.at, wire.from, wire.term()) } else { Ok(()) }
    }

    fn leads(&mut self, moment: Duration, server: ServerId, term: Term) -> Result<(), Broken> {
        let (first, since) = *self.winners.entry(term).or_insert((server, moment));
        if first == server {
            return Ok(());
        }
        let message =
            format!("two leaders in term {term}: {first} since {} and {server} since {}", at(since), at(moment));
        Err(Broken::new(Kind::Safety, "Figure3.ElectionSafety", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::view_of;

    fn view(server: u32, term: Term, role: RoleName) -> View {
        View { term, role, ..view_of(server) }
    }

    #[test]
    fn one_leader_in_each_term_is_fine_2a() {
        let mut watcher = ElectionSafety::default();
        for (server, term) in [(0, 1), (0, 1), (1, 2), (0, 1), (0, 3)] {
            watcher.observe(Duration::ZERO, &view(server, term, RoleName::Leader)).unwrap();
        }
        watcher.observe(Duration::ZERO, &view(2, 3, RoleName::Candidate)).unwrap();
    }

    #[test]
    fn a_second_leader_of_a_term_is_named_with_the_first_2a() {
        let mut watcher = ElectionSafety::default();
        watcher.observe(Duration::from_millis(100), &view(0, 4, RoleName::Leader)).unwrap();
        watcher.observe(Duration::from_millis(150), &view(1, 5, RoleName::Leader)).unwrap();
        let broken = watcher.observe(Duration::from_millis(200), &view(2, 4, RoleName::Leader)).unwrap_err();
        assert_eq!(broken.rule, Some("Figure3.ElectionSafety"));
        assert_eq!(broken.message, "two leaders in term 4: S0 since 0.100s and S2 since 0.200s");
    }
}
