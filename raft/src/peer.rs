//! A peer: one lock, one door, and the threads that go through it.
//!
//! Boundary: locks and threads. What is decided under the lock is in `state.rs`
//! and its neighbours.

use std::ops::Range;
use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labsim::disk::Disk;
use labsim::sync::{Condvar, Mutex};
use labsim::thread;
use labsim::time::Duration;

use crate::message::{ServerId, Term};
use crate::persist::Promises;
use crate::state::State;

/// How long a server waits for a leader before it stands for election (§5.2).
/// Drawn anew at each restart of the timer; the end is excluded.
///
/// At least twice the heartbeat interval, so that one lost heartbeat deposes
/// nobody; and short enough that several elections fit into the five seconds
/// within which a new leader is due.
pub const ELECTION_TIMEOUT: Range<Duration> = Duration::from_millis(250)..Duration::from_millis(500);

/// How often an idle leader sends to each peer: ten times a second, which is as
/// often as the labs allow.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// One server of a Raft cluster.
pub struct Raft {
    /// Publishes a [`View`](crate::View) whenever it opens.
    pub(crate) state: Mutex<State>,
    /// This server came to lead, was deposed, or was killed.
    pub(crate) role_changed: Condvar,

    // Fixed when the peer starts, or with a lock of its own.
    disk: Disk,
    ends: Vec<ClientEnd>,
}

impl Raft {
    /// Starts server `me` of the cluster that `ends` lead to, with what its disk
    /// has kept from earlier lives.
    ///
    /// `ends[i]` calls server `i`; the one at `me` is never used. The caller has
    /// to offer [`service`](Self::service) to the others. Its threads belong to
    /// the calling thread's node.
    ///
    /// # Panics
    ///
    /// If `me` is not one of the servers.
    pub fn new(ends: Vec<ClientEnd>, me: ServerId, disk: Disk) -> Arc<Self> {
        assert!((me.0 as usize) < ends.len(), "{me} is not one of {} servers", ends.len());
        let servers = (0..ends.len() as u32).map(ServerId).collect();
        let state = State::new(me, servers, Promises::load(&disk));
        let raft = Arc::new(Self {
            state: Mutex::observed(state, |state, watch| watch.publish(|| state.view())),
            role_changed: Condvar::new(),
            disk,
            ends,
        });
        let elections = Arc::clone(&raft);
        thread::spawn("elections", move || elections.run_elections());
        let heartbeats = Arc::clone(&raft);
        thread::spawn("heartbeats", move || heartbeats.run_heartbeats());
        raft
    }

    /// What this server offers to the others: the RPCs of Figure 2.
    pub fn service(self: &Arc<Self>) -> Service {
        let (votes, entries) = (Arc::clone(self), Arc::clone(self));
        Service::new()
            .method("RequestVote", move |args| votes.answer_request_vote(&args))
            .method("AppendEntries", move |args| entries.answer_append_entries(&args))
    }

    /// The server's term, and whether it leads it. Both may have changed by the
    /// time the caller reads this; that it *did* lead that term stays true.
    pub fn status(&self) -> (Term, bool) {
        let state = self.state.lock();
        (state.current_term, state.is_leader())
    }

    /// Ends the peer's threads. It answers no more elections of its own, and
    /// sends nothing; calls that are out already may still come back.
    pub fn kill(&self) {
        self.with_state(|state| state.killed = true);
        self.role_changed.notify_all();
    }

    /// The end that leads to `peer`.
    pub(crate) fn end(&self, peer: ServerId) -> &ClientEnd {
        &self.ends[peer.0 as usize]
    }

    /// The one door to the state: runs `body` with the lock held, and leaves the
    /// peer fit to be seen.
    pub(crate) fn with_state<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let was_leader = state.is_leader();

        let result = body(&mut state);

        state.check_invariants();
        if state.is_leader() != was_leader {
            self.role_changed.notify_all();
        }
        result
    }

    /// As `with_state`, for a section whose result is a promise to others.
    ///
    /// Figure 2 wants the persistent state "updated on stable storage before
    /// responding to RPCs". This is the one place that saves, and it saves all
    /// that is unsaved (Persistent).
    pub(crate) fn promise<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        self.with_state(|state| {
            let result = body(state);
            state.save_unsaved(&self.disk);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use labrpc::Network;
    use labsim::node::Node;
    use labsim::{Config, simulate};

    /// A cluster of one needs nobody, and says so to itself at once.
    #[test]
    fn a_single_server_leads_2a() {
        let outcome = simulate(Config::seed(1), || {
            let node = Node::new("S0");
            let network = Network::new();
            let ends = vec![network.end(node, node)];
            let disk = node.disk();
            let raft = node.spawn("start", move || Raft::new(ends, ServerId(0), disk)).join().expect("it starts");
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            raft.status()
        });
        assert_eq!(outcome.result.unwrap(), (1, true));
    }

    /// Persistent: a server that stood in a term still knows so after a crash.
    #[test]
    fn a_restarted_server_keeps_its_promises_2a() {
        let outcome = simulate(Config::seed(1), || {
            let (node, dead) = (Node::new("S0"), Node::new("S1"));
            let network = Network::new();
            let start = move |network: &Network| {
                let ends = vec![network.end(node, node), network.end(node, dead)];
                let disk = node.disk();
                node.spawn("start", move || Raft::new(ends, ServerId(0), disk)).join().expect("it starts")
            };
            let first = start(&network);
            thread::sleep(ELECTION_TIMEOUT.end * 2); // It stands, alone of two, and never wins.
            let (term_before, _) = first.status();
            node.crash();
            node.restart();
            let (term_after, _) = start(&network).status();
            (term_before, term_after)
        });
        let (before, after) = outcome.result.unwrap();
        assert!(before >= 1 && after == before, "in term {before} before the crash, in {after} after it");
    }

    #[test]
    fn a_killed_peer_ends_its_threads_2a() {
        let outcome = simulate(Config::seed(1).time_limit(Duration::from_secs(60)), || {
            let node = Node::new("S0");
            let network = Network::new();
            let (ends, disk) = (vec![network.end(node, node)], node.disk());
            let raft = node.spawn("start", move || Raft::new(ends, ServerId(0), disk)).join().expect("it starts");
            thread::sleep(ELECTION_TIMEOUT.end * 2);
            raft.kill();
            thread::sleep(Duration::from_secs(1));
            Arc::strong_count(&raft)
        });
        assert_eq!(outcome.result.unwrap(), 1, "a thread of the killed peer still holds it");
    }
}
