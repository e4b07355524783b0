//! Watchers: they see every state that a server publishes, as it happens.
//!
//! A test that polls sees a moment here and there. A watcher sees each critical
//! section's end, and stops the run at the first broken promise: the report is
//! about the cause then, and not about a symptom seconds later.
//!
//! One promise, one file. A watcher is a table that is stepped with what was
//! seen, so that it can be tested without a cluster.
//!
//! Boundary: knows published views. Does not know which test is running.

mod applies;
mod campaigns;
mod election_safety;
mod log_matching;
mod one_vote_per_term;
mod quorum;
mod sights;
mod terms;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use labrpc::Network;
use labsim::watch::{self, Seen};
use parking_lot::Mutex;
use raft::{ELECTION_TIMEOUT, RoleName, ServerId, View};

pub use self::applies::{Applies, show};
pub use self::campaigns::Campaigns;
pub use self::election_safety::ElectionSafety;
pub use self::log_matching::LogMatching;
pub use self::one_vote_per_term::OneVotePerTerm;
pub use self::quorum::Quorum;
pub use self::sights::{Sight, Sights};
pub use self::terms::Terms;
pub use self::wire::{Said, Wire};
use crate::check::Broken;

/// All watchers of a run.
#[derive(Debug)]
pub struct Watchers {
    sights: Arc<Mutex<Sights>>,
    election_safety: ElectionSafety,
    one_vote_per_term: OneVotePerTerm,
    quorum: Quorum,
    log_matching: LogMatching,
    /// Judge by time: not where that is the machine's.
    terms: Option<Terms>,
    campaigns: Option<Campaigns>,
}

impl Watchers {
    /// For a cluster of so many servers. `sights` collects what the run has shown,
    /// and can be read when it is over. `slack` is how late threads may start and
    /// disks may be; without it nobody is judged by when they do something.
    pub fn new(servers: usize, slack: Option<Duration>, sights: Arc<Mutex<Sights>>) -> Self {
        Self {
            sights,
            election_safety: ElectionSafety::default(),
            one_vote_per_term: OneVotePerTerm::default(),
            quorum: Quorum::new(servers),
            log_matching: LogMatching::default(),
            terms: slack.map(|_| Terms::new(servers)),
            campaigns: slack.map(|slack| Campaigns::new(servers, ELECTION_TIMEOUT, slack)),
        }
    }

    /// Threads may start this late from now on, and disks be this late, if that is
    /// more than before: for the whole run, since what is late comes later.
    pub fn allow(&mut self, slack: Duration) {
        if let Some(campaigns) = &mut self.campaigns {
            campaigns.allow(slack);
        }
    }

    /// A server starts, for the first time or again.
    pub fn begin_life(&mut self, moment: Duration, server: ServerId) {
        if let Some(terms) = &mut self.terms {
            terms.begin_life(server);
        }
        if let Some(campaigns) = &mut self.campaigns {
            campaigns.begin_life(moment, server);
        }
    }

    /// Takes notice of what a server publishes.
    ///
    /// # Errors
    ///
    /// If it breaks a promise.
    pub fn observe(&mut self, moment: Duration, view: &View) -> Result<(), Broken> {
        self.sights.lock().note(view);
        if let Some(campaigns) = self.campaigns.as_mut().filter(|_| view.role == RoleName::Leader) {
            campaigns.leads(view.server);
        }
        self.one_vote_per_term.observe(moment, view)?;
        self.election_safety.observe(moment, view)
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it breaks a promise.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        self.one_vote_per_term.hear(wire)?;
        self.quorum.hear(wire)?;
        self.election_safety.hear(wire)?;
        self.log_matching.hear(wire)?;
        if let Some(terms) = &mut self.terms {
            terms.hear(wire)?;
        }
        self.campaigns.as_mut().map_or(Ok(()), |campaigns| campaigns.hear(wire))
    }
}

/// Sets watchers on the calling thread's world, and on the network of its servers.
/// `then` is shown each message that they have found nothing wrong with.
pub fn install(
    watchers: Watchers,
    network: &Network,
    then: impl Fn(&Wire<'_>) + Send + Sync + 'static,
) -> Arc<Mutex<Watchers>> {
    let watchers = Arc::new(Mutex::new(watchers));
    let views = Arc::clone(&watchers);
    watch::subscribe(move |seen: &Seen, view: &View| {
        let judged = views.lock().observe(seen.at, view);
        end_if(judged);
    });
    let messages = Arc::clone(&watchers);
    network.observe(move |passing| {
        if let Some(wire) = Wire::read(labsim::elapsed(), passing) {
            let judged = messages.lock().hear(&wire);
            end_if(judged);
            then(&wire);
        }
    });
    watchers
}

/// Ends the run at the first broken promise.
fn end_if(judged: Result<(), Broken>) {
    if let Err(broken) = judged {
        labsim::fail(broken.message.clone(), broken);
    }
}

/// A moment of a run, as reports show it.
fn at(moment: std::time::Duration) -> String {
    let millis = moment.as_millis();
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}

/// What a server shows that has just started, for tests.
#[cfg(test)]
fn view_of(server: u32) -> View {
    View {
        server: raft::ServerId(server),
        term: 0,
        role: raft::RoleName::Follower,
        voted_for: None,
        last: raft::EntryId::default(),
        base: raft::EntryId::default(),
        commit_index: 0,
        last_applied: 0,
        changed_from: 1,
        changed: Vec::new(),
        progress: Vec::new(),
        election_deadline: None,
    }
}
