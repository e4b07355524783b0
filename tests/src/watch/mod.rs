//! Watchers: they see every state that a server publishes, as it happens.
//!
//! A test that polls sees a moment here and there. A watcher sees each critical
//! section's end, and stops the run at the first broken promise: the report is
//! about the cause then, and not about a symptom seconds later.
//!
//! One promise, one file. A watcher is a table that is stepped with what was
//! seen, so that it can be tested without a cluster.
//!
//! | file | says when | of |
//! |---|---|---|
//! | `known.rs`, `held.rs`, `asked.rs` | | what each server has shown, may have on disk, and is being asked |
//! | `election_safety.rs` | a term has two leaders | Figure3.ElectionSafety |
//! | `log_matching.rs` | two entries of one index and term differ | Figure3.LogMatching |
//! | `log_rules.rs` | entries go, stay or come that must not | AppendEntries.3, AppendEntries.4, Leaders.2, InstallSnapshot.1, InstallSnapshot.6, InstallSnapshot.7, SnapshotMatches, Figure3.LeaderAppendOnly |
//! | `leader_completeness.rs` | a new leader lacks what is committed | Figure3.LeaderCompleteness |
//! | `electable.rs` | somebody who lacks it could still be elected | the same, before it happens |
//! | `committed.rs` | something is committed without the right to | Leaders.4, AppendEntries.5, Figure3.StateMachineSafety |
//! | `match_true.rs` | a leader believes more than it was told | Leaders.3, StaleReply |
//! | `claims.rs` | a message says what never was | Candidates.1, Candidates.3, Leaders.1, Leaders.3, SnapshotMatches, RequestVote.1, RequestVote.2, AppendEntries.1 to .4 |
//! | `persisted.rs`, `shadow.rs` | a message promises what is not on disk | PersistedBeforePromised, Persistent |
//! | `one_vote_per_term.rs` | a server votes twice, or takes its vote back | OneVotePerTerm |
//! | `quorum.rs` | somebody leads on too few votes, or does not on enough | Candidates.2, StaleReply |
//! | `monotone.rs`, `terms.rs` | something goes back | Monotone, InstallSnapshot.5, AllServers.2 |
//! | `heeded.rs` | a higher term in an answer changes nothing | AllServers.2, Candidates.1 |
//! | `campaigns.rs` | a server stands too early or too late | Followers.2 |
//! | `applies.rs` | a service is told something else, or in another order | ApplyOrder, SnapshotMatches, Figure3.StateMachineSafety |
//! | `stuck.rs` | a service is told nothing | Stuck |
//! | `liveness.rs` | (asked when a test has waited in vain) | NoLeader, NoProgress, with a reason |
//!
//! Which of several broken promises is told: that which broke first; of one moment,
//! the one that explains the others.
//!
//! Some need views, and most need only messages and disks. A server that publishes
//! nothing, or speaks in types of its own, is judged by what is left.
//!
//! Boundary: knows published views, messages and disks. Does not know which test is
//! running.

mod applies;
mod asked;
mod campaigns;
mod claims;
mod committed;
mod electable;
mod election_safety;
mod heeded;
mod held;
mod known;
mod leader_completeness;
mod liveness;
mod log_matching;
mod log_rules;
mod match_true;
mod monotone;
mod one_vote_per_term;
mod persisted;
mod quorum;
mod shadow;
mod sights;
mod stuck;
mod terms;
#[cfg(test)]
mod testing;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use labrpc::{Moment, Network, Passing};
use labsim::disk::{self, Change};
use labsim::node::Node;
use labsim::watch::{self, Seen};
use parking_lot::Mutex;
use raft::{ELECTION_TIMEOUT, EntryId, Index, ServerId, Settings, View};

pub use self::applies::{Applies, show};
pub use self::asked::{Asked, Open};
pub use self::campaigns::Campaigns;
pub use self::committed::{Commit, Committed};
pub use self::election_safety::ElectionSafety;
pub use self::heeded::Heeded;
pub use self::held::{Log, OnDisk};
pub use self::known::{Face, Known, Server, Step};
pub use self::liveness::{Liveness, Reason};
pub use self::log_matching::LogMatching;
pub use self::one_vote_per_term::OneVotePerTerm;
pub use self::persisted::{Persisted, Promise, Restart};
pub use self::quorum::Quorum;
pub use self::shadow::Shadows;
pub use self::sights::{Sight, Sights};
pub use self::stuck::Applying;
pub use self::terms::Terms;
pub use self::wire::{Said, Wire};
use crate::check::{Broken, Kind};
use crate::events::{self, Recorder};

/// All watchers of a run.
#[derive(Debug)]
pub struct Watchers {
    sights: Arc<Mutex<Sights>>,
    known: Known,
    election_safety: ElectionSafety,
    one_vote_per_term: OneVotePerTerm,
    quorum: Quorum,
    log_matching: LogMatching,
    committed: Committed,
    persisted: Persisted,
    /// Nobody crashes, and what is promised need not be on a disk.
    is_volatile: bool,
    liveness: Liveness,
    shadows: Shadows,
    /// Only while the run is recorded.
    recorder: Option<Recorder>,
    by_time: Option<ByTime>,
}

/// Who judges by time: not where that is the machine's.
#[derive(Debug)]
struct ByTime {
    terms: Terms,
    heeded: Heeded,
    campaigns: Campaigns,
    applying: Applying,
}

impl Watchers {
    /// For a cluster of so many servers. `sights` collects what the run has shown,
    /// and can be read when it is over. `slack` is how late threads may start and
    /// disks may be; without it nobody is judged by when they do something.
    pub fn new(servers: usize, slack: Option<Duration>, settings: Settings, sights: Arc<Mutex<Sights>>) -> Self {
        let by_time = |slack| ByTime {
            terms: Terms::new(servers, slack),
            heeded: Heeded::new(slack),
            campaigns: Campaigns::new(servers, ELECTION_TIMEOUT, slack),
            applying: Applying::new(servers, slack),
        };
        Self {
            sights,
            known: Known::new(servers),
            election_safety: ElectionSafety::default(),
            one_vote_per_term: OneVotePerTerm::default(),
            quorum: Quorum::new(servers),
            log_matching: LogMatching::default(),
            committed: Committed::default(),
            persisted: Persisted::new(servers),
            is_volatile: false,
            liveness: Liveness::default(),
            shadows: Shadows::new(servers, settings, labsim::seed().unwrap_or_default()),
            recorder: Recorder::new(servers),
            by_time: slack.map(by_time),
        }
    }

    /// The same for a run in which nobody crashes: what is promised need not be on a disk.
    #[must_use]
    pub fn without_disks(mut self) -> Self {
        self.known.without_disks();
        Self { is_volatile: true, ..self }
    }

    /// The same for a run in which every promise is compared with what a restart would know.
    #[must_use]
    pub fn thorough(mut self) -> Self {
        self.shadows.thorough();
        self
    }

    /// Threads may start this late from now on, and disks be this late, if that is
    /// more than before: for the whole run, since what is late comes later.
    pub fn allow(&mut self, slack: Duration) {
        if let Some(by_time) = &mut self.by_time {
            by_time.terms.allow(slack);
            by_time.heeded.allow(slack);
            by_time.campaigns.allow(slack);
            by_time.applying.allow(slack);
        }
    }

    /// A server has crashed.
    pub fn crashes(&mut self, server: ServerId) {
        if let Some(by_time) = &mut self.by_time {
            by_time.heeded.forget(server);
        }
    }

    /// All servers are killed: what they had to do in time they need not do any more.
    pub fn all_killed(&mut self) {
        self.by_time = None;
    }

    /// A server starts, for the first time or again.
    pub fn begin_life(&mut self, moment: Duration, server: ServerId) {
        self.persisted.end_life(&self.known, server);
        self.known.begin_life(server);
        self.one_vote_per_term.begin_life(server);
        self.liveness.begin_life(server);
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_life(server);
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.terms.begin_life(server);
            by_time.heeded.forget(server);
            by_time.campaigns.begin_life(moment, server);
            by_time.applying.begin_life(server.0 as usize);
        }
    }

    /// Takes notice of what a server publishes. Of several promises that it breaks the
    /// first counts, and they are asked in this order: what it forgot, what it is, what
    /// its log is like, what it believes of others, what it commits by that.
    ///
    /// # Errors
    ///
    /// If it breaks a promise.
    pub fn observe(&mut self, moment: Duration, view: &View) -> Result<(), Broken> {
        let server = view.server;
        if let Some(recorder) = &mut self.recorder {
            recorder.observe(view);
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.campaigns.shows_deadline(moment, view);
        }
        if self.known.is_repeated(view) {
            let is_applying = view.last_applied < view.commit_index;
            let Some(by_time) = &mut self.by_time else { return Ok(()) };
            by_time.heeded.look(&self.known, moment)?;
            return if is_applying { by_time.applying.observe(view, moment) } else { Ok(()) };
        }
        self.sights.lock().note(view);
        if let Some(by_time) = &mut self.by_time {
            by_time.campaigns.observe(moment, view);
            by_time.terms.observe(moment, view);
        }
        if self.known.server(server).face.is_none() {
            self.persisted.begins(&self.known, view, moment)?;
        }
        let step = self.known.take(moment, view);
        self.liveness.observe(moment, view);
        let known = &self.known;
        monotone::observe(known, &step, view, moment)?;
        self.one_vote_per_term.observe(moment, step.before, view)?;
        self.election_safety.observe(moment, view)?;
        self.quorum.leads(view, moment)?;
        if self.by_time.is_some() {
            self.quorum.observe(&step, view, moment)?;
        }
        log_rules::snapshot(known, &step, view, moment)?;
        if let Some((first, _)) = step.removed {
            log_rules::observe(known, &step, view, moment)?;
            self.persisted.removed(server, first, &known.server(server).log);
        }
        log_rules::adds(known, &step, view, moment)?;
        log_rules::keeps(known, &step, view, moment)?;
        leader_completeness::observe(known, &self.committed, &step, view, moment)?;
        match_true::observe(known, &step, view, moment)?;
        if let Some((first, last)) = self.committed.observe(known, &step, view)? {
            (first..=last).try_for_each(|index| electable::observe(known, view, index, moment))?;
        }
        let Some(by_time) = &mut self.by_time else { return Ok(()) };
        by_time.heeded.observe(view, moment);
        by_time.heeded.look(known, moment)?;
        by_time.applying.observe(view, moment)
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If it breaks a promise.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        self.known.hear(wire);
        let known = &self.known;
        self.liveness.hear(known, wire);
        claims::roles(known, wire)?;
        claims::own_log(known, wire)?;
        claims::terms(known, wire)?;
        self.one_vote_per_term.hear(known, wire)?;
        self.quorum.hear(known, wire)?;
        self.election_safety.hear(wire)?;
        claims::logs(known, wire)?;
        if !self.is_volatile {
            self.persisted.hear(known, wire)?;
            self.shadows.hear(known, wire)?;
        }
        self.log_matching.hear(wire)?;
        if let Some((view, first, last)) = self.committed.hear(known, wire)? {
            (first..=last).try_for_each(|index| electable::observe(known, &view, index, wire.at))?;
        }
        self.known.close(wire);
        let Some(by_time) = &mut self.by_time else { return Ok(()) };
        by_time.heeded.hear(&self.known, wire);
        by_time.heeded.look(&self.known, wire.at)?;
        by_time.terms.hear(&self.known, wire)?;
        by_time.campaigns.hear(wire)
    }

    /// What those servers have been doing since that moment instead of agreeing. `told` is the
    /// last index of which each server's service was told, where that is known.
    pub fn why_no_progress(&self, since: Duration, among: &[ServerId], told: &[Index]) -> Reason {
        let untold = Liveness::untold(&self.known, among, told);
        untold.unwrap_or_else(|| self.liveness.why(&self.known, since, labsim::elapsed(), among))
    }

    /// A server's service is told a command that is of `term`, so the server says.
    ///
    /// # Errors
    ///
    /// If its own log has another term there.
    pub fn applies(&self, moment: Duration, server: ServerId, id: EntryId) -> Result<(), Broken> {
        let known = self.known.server(server);
        let own = known.face.and_then(|_| known.log.term_at(id.index)).filter(|own| *own != id.term);
        let Some(own) = own else { return Ok(()) };
        let message = format!(
            "{server} tells its service at {} that the command at index {} is of term {}; in its log it is of term {own}",
            at(moment),
            id.index,
            id.term
        );
        Err(Broken::new(Kind::Safety, "AllServers.1", message).since([moment]))
    }

    /// A server's disk was written.
    pub fn written(&mut self, server: ServerId) {
        self.known.written(server);
    }

    /// A server's disk was synced.
    ///
    /// # Errors
    ///
    /// If what is on it does not fit together.
    pub fn synced(&mut self, moment: Duration, server: ServerId) -> Result<(), Broken> {
        self.known.synced(server);
        if let Some(recorder) = &mut self.recorder {
            recorder.synced(server);
        }
        if self.is_volatile { Ok(()) } else { self.shadows.synced(&self.known, server, moment) }
    }
}

/// Sets watchers on the calling thread's world, and on the network of its servers.
/// `then` is shown each message that they have found nothing wrong with, and
/// `then_written` each step of a server on its disk.
pub fn install(
    watchers: &Arc<Mutex<Watchers>>,
    network: &Network,
    then: impl Fn(&Wire<'_>) + Send + Sync + 'static,
    then_written: impl Fn(ServerId, &Change<'_>) + Send + Sync + 'static,
) {
    let views = Arc::clone(watchers);
    watch::subscribe(move |seen: &Seen, view: &View| {
        let judged = views.lock().observe(seen.at, view);
        end_if(judged);
    });
    let (disks, servers) = (Arc::clone(watchers), watchers.lock().known.count());
    disk::observe(move |written| {
        // A lab makes its servers before any other node.
        if (written.node.0 as usize) >= servers {
            return;
        }
        let server = ServerId(written.node.0);
        match written.change {
            Change::File { .. } => disks.lock().written(server),
            Change::Synced => {
                let judged = disks.lock().synced(labsim::elapsed(), server);
                end_if(judged);
            }
        }
        then_written(server, &written.change);
    });
    let messages = Arc::clone(watchers);
    network.observe(move |passing| {
        events::amend(passing);
        if passing.moment == Moment::RequestLeaves && labsim::is_simulated() {
            end_if(made_by_its_own(passing));
        }
        if let Some(wire) = Wire::read(labsim::elapsed(), passing) {
            let judged = messages.lock().hear(&wire);
            end_if(judged);
            then(&wire);
        }
    });
}

/// A call is made by a thread of the server that makes it. What another thread has
/// spawned outlives a crash, and speaks for a server that has forgotten all it says.
fn made_by_its_own(passing: &Passing<'_>) -> Result<(), Broken> {
    if Node::current() == Some(passing.caller) {
        return Ok(());
    }
    let by = Node::current().map_or("the test".to_owned(), |node| format!("S{}", node.id().0));
    let message = format!(
        "a call of S{} is made by a thread of {by}, where it was spawned: it would outlive a crash of S{0}. Let a thread \
         that `Raft::new` has started make it",
        passing.caller.id().0
    );
    Err(Broken::unnamed(Kind::Panic, message))
}

/// Ends the run at the first broken promise.
fn end_if(judged: Result<(), Broken>) {
    if let Err(broken) = judged {
        events::violation(&broken);
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
