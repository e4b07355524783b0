//! A peer: one lock, one door, and the threads that go through it.
//!
//! Boundary: locks and threads. What is decided under the lock is in `state.rs`
//! and its neighbours.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labsim::channel::Sender;
use labsim::disk::Disk;
// BEGIN 2A
// STUB use labsim::node::Node;
// STUB use labsim::sync::{Mutex, MutexGuard};
use labsim::sync::{Condvar, Mutex, MutexGuard};
// END 2A
use labsim::thread;
use labsim::time::Duration;

use crate::apply::ApplyMsg;
use crate::message::{ServerId, Term};
// BEGIN 2C
use crate::persist::Kept;
// END 2C
use crate::state::State;
use crate::view::Publisher;

/// How long a server waits for a leader before it stands for election (§5.2).
/// Drawn anew at each restart of the timer; the end is excluded.
///
/// The tests judge by it: a server that stands earlier after it heard of a leader, or
/// noticeably later than its end, breaks Followers.2. (A loop that sleeps for a timeout
/// and then looks whether a leader was heard stands up to two timeouts late: then
/// this is the range of both together.)
///
// BEGIN 2A
// STUB /// Yours to choose (2A). Section 5.6 of the paper says what it depends on; the course
// STUB /// wants a new leader within five seconds of a failure.
// STUB pub const ELECTION_TIMEOUT: Range<Duration> = Duration::ZERO..Duration::ZERO;
// STUB
// STUB /// How often an idle leader sends to each peer. Yours to choose (2A): the labs allow ten
// STUB /// times a second.
// STUB pub const HEARTBEAT_INTERVAL: Duration = Duration::ZERO;
/// At least twice the heartbeat interval, so that one lost heartbeat starts no
/// election; and short enough that several elections fit into the five seconds
/// within which a new leader is due.
pub const ELECTION_TIMEOUT: Range<Duration> = Duration::from_millis(250)..Duration::from_millis(500);

/// How often an idle leader sends to each peer: ten times a second, which is as
/// often as the labs allow.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
// END 2A

/// What may be chosen when a peer is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The most entries in one AppendEntries; at least 1. A lower limit keeps
    /// messages short, a higher one their number low.
    pub batch_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch_entries: 1000 }
    }
}

/// Why a command was not taken. No variant is a bug; bugs panic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// This server does not lead, as far as it knows. Try another.
    NotLeader,
    /// [`Raft::kill`] was called. This server will never take anything again.
    Killed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader => write!(f, "this server does not lead; try another"),
            Self::Killed => write!(f, "this server was killed"),
        }
    }
}

impl std::error::Error for StartError {}

/// One server of a Raft cluster.
pub struct Raft {
    /// Publishes a [`View`](crate::View) whenever it opens.
    state: Mutex<State>,
    // BEGIN 2A
    /// This server came to lead, was deposed, or was killed.
    pub(crate) role_changed: Condvar,
    /// There is more to apply, or this server was killed.
    pub(crate) commit_advanced: Condvar,
    /// A peer has answered in a round of reads, or this server does not lead any more,
    /// or was killed.
    pub(crate) leadership_confirmed: Condvar,
    // END 2A

    // Fixed when the peer starts, or with a lock of its own.
    pub(crate) disk: Disk,
    // BEGIN 2A
    // STUB /// By the server that they lead to; the one to itself is not used.
    // STUB pub(crate) ends: Vec<ClientEnd>,
    /// By the server that they lead to.
    links: Vec<PeerLink>,
    // END 2A
}

// BEGIN 2A
/// The way to one of the servers.
pub(crate) struct PeerLink {
    pub(crate) end: ClientEnd,
    /// There may be entries to send there, or this server came to lead, was deposed,
    /// or was killed.
    pub(crate) something_to_send: Condvar,
}
// END 2A

impl Raft {
    /// Starts server `me` of the cluster that `ends` lead to, with what its disk
    /// has kept from earlier lives.
    ///
    /// `ends[i]` calls server `i`; the one at `me` is never used. The caller has
    /// to offer [`service`](Self::service) to the others, and to receive what is
    /// sent on `apply`. The threads belong to the calling thread's node, and go on
    /// until [`kill`](Self::kill), or until that node crashes.
    ///
    /// # Panics
    ///
    /// If `me` is not one of the servers, or a batch has no entries.
    pub fn new(
        ends: Vec<ClientEnd>,
        me: ServerId,
        disk: Disk,
        apply: Sender<ApplyMsg>,
        settings: Settings,
    ) -> Arc<Self> {
        assert!((me.0 as usize) < ends.len(), "{me} is not one of {} servers", ends.len());
        assert!(settings.batch_entries >= 1, "a batch has at least one entry");
        let servers = (0..ends.len() as u32).map(ServerId).collect();
        // BEGIN 2C
        // STUB if Node::current().is_some_and(|node| node.life() > 0) {
        // STUB     // This server has crashed and starts again: what has its disk kept?
        // STUB     panic!("2C: not implemented yet: raft/README.md#2c");
        // STUB }
        // STUB let state = State::new(me, servers, settings);
        let state = State::new(me, servers, settings, Kept::load(&disk));
        let peers = state.peers();
        // END 2C
        // BEGIN 2A
        // STUB let raft = Arc::new(Self { state: Mutex::observed(state, Publisher::observer()), disk, ends });
        let raft = Arc::new(Self {
            state: Mutex::observed(state, Publisher::observer()),
            role_changed: Condvar::new(),
            commit_advanced: Condvar::new(),
            leadership_confirmed: Condvar::new(),
            disk,
            links: ends.into_iter().map(|end| PeerLink { end, something_to_send: Condvar::new() }).collect(),
        });
        // END 2A
        let elections = Arc::clone(&raft);
        thread::spawn("elections", move || elections.run_elections());
        // BEGIN 2B
        // STUB let _ = apply; // 2B: where the service waits for what is committed.
        for peer in peers {
            let replicator = Arc::clone(&raft);
            thread::spawn(format!("replicator to {peer}"), move || replicator.run_replicator(peer));
        }
        let applier = Arc::clone(&raft);
        thread::spawn("applier", move || applier.run_applier(&apply));
        // END 2B
        raft
    }

    /// What this server offers to the others: the RPCs of Figures 2 and 13.
    pub fn service(self: &Arc<Self>) -> Service {
        let [votes, entries, snapshots] = [(); 3].map(|()| Arc::clone(self));
        Service::new()
            .method("RequestVote", move |args| votes.answer_request_vote(&args))
            .method("AppendEntries", move |args| entries.answer_append_entries(&args))
            .method("InstallSnapshot", move |args| snapshots.answer_install_snapshot(&args))
    }

    /// The server's term, and whether it leads it. Both may have changed by the
    /// time the caller reads this; that it *did* lead that term stays true.
    pub fn status(&self) -> (Term, bool) {
        let state = self.lock();
        (state.current_term, state.is_leader())
    }

    /// Tells the peer's threads to end, and does not wait for them.
    ///
    /// No election begins any more, and nothing is started. What was decided before
    /// may still be sent, or told to the service, which has to go on receiving or to
    /// drop its receiver. What others ask is still answered.
    pub fn kill(&self) {
        // BEGIN 2A
        // STUB self.lock().killed = true; // 2A: who waits for what, and would not see it?
        self.with_state(|state| state.killed = true);
        self.role_changed.notify_all();
        self.commit_advanced.notify_all();
        self.leadership_confirmed.notify_all();
        self.wake_replicators();
        // END 2A
    }

    // BEGIN 2A
    /// The way to `peer`.
    pub(crate) fn link(&self, peer: ServerId) -> &PeerLink {
        &self.links[peer.0 as usize]
    }

    pub(crate) fn wake_replicators(&self) {
        for link in &self.links {
            link.something_to_send.notify_one(); // One thread waits there.
        }
    }

    // END 2A
    // BEGIN 2A
    // STUB /// The state. Whenever the guard is dropped, what it guards is published.
    /// The state, to look at, or to wait until there is something to do and take
    /// that. All else that is done to it goes through the door.
    // END 2A
    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // BEGIN 2A
    /// The door to the state: runs `body` with the lock held, and leaves the peer fit
    /// to be seen.
    #[track_caller]
    pub(crate) fn with_state<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let (was_leader, commit_before) = (state.is_leader(), state.commit_index);

        let result = body(&mut state);

        state.check_invariants();
        if state.commit_index > commit_before {
            self.commit_advanced.notify_one(); // The applier, and nobody else.
        }
        if state.is_leader() != was_leader {
            self.role_changed.notify_all();
            self.wake_replicators();
            if state.read_round > 0 {
                self.leadership_confirmed.notify_all();
            }
        }
        result
    }

    /// As `with_state`, for a section whose result is a promise to others.
    ///
    /// Figure 2 wants the persistent state "updated on stable storage before
    /// responding to RPCs". It saves all that is unsaved (Persistent).
    #[track_caller]
    pub(crate) fn promise<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        self.with_state(|state| {
            let result = body(state);
            state.save_unsaved(&self.disk);
            result
        })
    }
    // END 2A
}

#[cfg(test)]
mod tests {
    use super::*;
    use labrpc::Network;
    use labsim::channel::{self, Receiver};
    use labsim::node::Node;
    use labsim::{Config, simulate};

    /// Starts the first of as many servers as there are nodes.
    fn start(network: &Network, nodes: &[Node]) -> (Arc<Raft>, Receiver<ApplyMsg>) {
        let (me, disk) = (nodes[0], nodes[0].disk());
        let ends = nodes.iter().map(|peer| network.end(me, *peer)).collect();
        let (tx, rx) = channel::unbounded();
        let raft = me.spawn("start", move || Raft::new(ends, ServerId(0), disk, tx, Settings::default()));
        (raft.join().expect("it starts"), rx)
    }

    /// A cluster of one needs nobody, and says so to itself at once.
    #[test]
    fn a_single_server_leads_and_commits_2b() {
        let outcome = simulate(Config::seed(1), || {
            let (network, nodes) = (Network::new(), [Node::new("S0")]);
            let (raft, applied) = start(&network, &nodes);
            assert_eq!(raft.start(vec![1]), Err(StartError::NotLeader));
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            assert_eq!(raft.status(), (1, true));
            let started = raft.start(vec![7]).expect("it leads");
            let told = applied.recv().expect("it lives");
            assert_eq!(told, ApplyMsg::Command { index: 1, term: 1, command: vec![7].into() });
            nodes[0].crash();
            nodes[0].restart();
            let (raft, applied) = start(&network, &nodes);
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            // It has the entry on disk; of its own term it needs one to commit it.
            raft.start(vec![8]).expect("it leads");
            (started.index, applied.iter().take(2).map(|told| told.index()).collect::<Vec<_>>())
        });
        assert_eq!(outcome.result.unwrap(), (1, vec![1, 2]));
    }

    /// Persistent: a server that stood in a term still knows so after a crash.
    #[test]
    fn a_restarted_server_keeps_its_promises_2c() {
        let outcome = simulate(Config::seed(1), || {
            let (network, nodes) = (Network::new(), [Node::new("S0"), Node::new("S1")]);
            let (first, _applied) = start(&network, &nodes);
            thread::sleep(ELECTION_TIMEOUT.end * 2); // It stands, alone of two, and never wins.
            let (term_before, _) = first.status();
            nodes[0].crash();
            nodes[0].restart();
            let (term_after, _) = start(&network, &nodes).0.status();
            (term_before, term_after)
        });
        let (before, after) = outcome.result.unwrap();
        assert!(before >= 1 && after == before, "in term {before} before the crash, in {after} after it");
    }

    /// Persistent: what a server has answered, it knows after a crash.
    #[test]
    fn an_answer_outlives_a_crash_2c() {
        use crate::message::{AppendEntriesArgs, Entry, EntryId, InstallSnapshotArgs, RequestVoteArgs};
        let outcome = simulate(Config::seed(1), || {
            let (network, nodes) = (Network::new(), [Node::new("S0"), Node::new("S1"), Node::new("S2")]);
            let ask = |term, candidate| RequestVoteArgs { term, candidate, last: EntryId { term: 9, index: 9 } };
            let asks_after_a_crash = |answer: &dyn Fn(&Raft)| {
                let (raft, _) = start(&network, &nodes);
                answer(&raft);
                nodes[0].crash();
                nodes[0].restart();
                start(&network, &nodes).0
            };
            let raft = asks_after_a_crash(&|raft| assert!(raft.answer_request_vote(&ask(5, ServerId(1))).granted));
            assert!(!raft.answer_request_vote(&ask(5, ServerId(2))).granted, "it has voted in term 5");

            let (term, leader) = (6, ServerId(1));
            let entries = vec![Entry { term, command: vec![1].into() }];
            let append = AppendEntriesArgs { term, leader, prev: EntryId::default(), entries, leader_commit: 0 };
            let raft = asks_after_a_crash(&|raft| assert!(raft.answer_append_entries(&append).success));
            assert_eq!(raft.lock().log.last(), EntryId { term, index: 1 });

            let last_included = EntryId { term, index: 4 };
            let install = InstallSnapshotArgs { term, leader, last_included, data: vec![4].into() };
            let raft = asks_after_a_crash(&|raft| assert_eq!(raft.answer_install_snapshot(&install).term, term));
            let state = raft.lock();
            assert_eq!((state.log.base(), &state.snapshot[..]), (last_included, &[4][..]));
        });
        outcome.result.unwrap();
    }

    /// A service that restarts is told its snapshot first, and then what follows.
    #[test]
    fn a_restarted_service_begins_with_its_snapshot_2d() {
        let outcome = simulate(Config::seed(1), || {
            let (network, nodes) = (Network::new(), [Node::new("S0")]);
            let (raft, applied) = start(&network, &nodes);
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            (1..=5).for_each(|n| assert!(raft.start(vec![n]).is_ok()));
            assert_eq!(applied.iter().take(5).last().map(|told| told.index()), Some(5));
            raft.snapshot(3, b"one to three".to_vec());
            raft.snapshot(2, b"too old".to_vec());
            nodes[0].crash();
            nodes[0].restart();
            let (raft, applied) = start(&network, &nodes);
            let snapshot = applied.recv().expect("it lives");
            assert_eq!(snapshot, ApplyMsg::Snapshot { index: 3, term: 1, data: b"one to three".to_vec().into() });
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            raft.start(vec![6]).expect("it leads");
            applied.iter().take(3).map(|told| told.index()).collect::<Vec<_>>()
        });
        assert_eq!(outcome.result.unwrap(), [4, 5, 6]);
    }

    #[test]
    fn a_killed_peer_ends_its_threads_2a() {
        let outcome = simulate(Config::seed(1).time_limit(Duration::from_secs(60)), || {
            let (network, nodes) = (Network::new(), [Node::new("S0"), Node::new("S1"), Node::new("S2")]);
            let (raft, applied) = start(&network, &nodes);
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            raft.kill();
            assert_eq!(raft.start(vec![1]), Err(StartError::Killed));
            thread::sleep(Duration::from_secs(10)); // For calls to nobody.
            (Arc::strong_count(&raft), applied.recv().is_err())
        });
        assert_eq!(outcome.result.unwrap(), (1, true), "a thread of the killed peer still holds it");
    }
}
