//! A cluster under test, and the verbs that tests are written in.
//!
//! A [`Lab`] makes the servers, joins and cuts them, crashes and restarts them,
//! and looks for leaders as the course's tests do. What it asserts is what a
//! client could see. The promises inside are watched all the while (`watch`).
//!
//! Its own chances come from a stream of the seed, by name, so that a server
//! that draws more or less does not change what the test does to it.
//!
//! Boundary: knows raft's public face. Knows no particular test.

use std::sync::Arc;

use labrpc::{Network, Traffic};
use labsim::disk::Disk;
use labsim::links;
use labsim::node::Node;
use labsim::rand::Stream;
use labsim::thread;
use labsim::time::Duration;
use parking_lot::Mutex;
use raft::{Raft, ServerId, Term};

use crate::check::{Broken, Kind};
use crate::watch::{self, Sights};

/// A generous time for an election to be over (RET in the course).
pub const ELECTION_TIME: Duration = Duration::from_millis(1000);

/// How often [`Lab::check_one_leader`] looks before it gives up.
const LEADER_POLLS: u32 = 10;
/// What it waits before each look, in milliseconds, and what chance adds.
const LEADER_POLL_MS: u64 = 450;
const LEADER_POLL_MS_MORE: u64 = 100;

/// How late a new thread may start, in microseconds: drawn for each run.
///
/// On a machine that is busy a thread starts when it starts. Where all start at
/// once, a vote is won before the next server's timer fires, and a Raft whose
/// timeouts are all the same looks fine.
const THREAD_START_US: [u64; 5] = [0, 0, 200, 1000, 5000];

/// What a run leaves behind for whoever started it, also if it failed.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// What the run has shown.
    pub sights: Arc<Mutex<Sights>>,
    /// What its network has carried.
    pub traffic: Arc<Mutex<Traffic>>,
    /// What deserves a word without being a failure.
    pub warnings: Arc<Mutex<Vec<String>>>,
}

/// A cluster of Raft servers, each on a node of its own.
pub struct Lab {
    network: Network,
    servers: Vec<Server>,
    draws: Stream,
    trail: Trail,
}

struct Server {
    node: Node,
    /// Gone while its node is down.
    raft: Option<Arc<Raft>>,
    /// Whether the test has it connected. Both its ends must be for a link.
    connected: bool,
}

impl Lab {
    /// Makes `count` servers, starts them and connects them all.
    ///
    /// The network is reliable, or loses and delays as the course's unreliable
    /// one does. Must be called in a world.
    pub fn new(count: usize, reliable: bool, trail: Trail) -> Self {
        watch::install(Arc::clone(&trail.sights));
        let network = Network::new();
        network.set_reliable(reliable);
        *trail.traffic.lock() = network.traffic();
        let seed = labsim::seed().expect("a lab is set up in a world");
        let mut weather = Stream::new(seed, "weather", 0, 0);
        let start_us = THREAD_START_US[weather.below(THREAD_START_US.len() as u64) as usize];
        let server = |id| {
            let node = Node::new(format!("S{id}"));
            node.set_start_delay(Duration::ZERO..Duration::from_micros(start_us));
            Server { node, raft: None, connected: true }
        };
        let servers = (0..count).map(server).collect();
        let mut lab = Self { network, servers, draws: Stream::new(seed, "harness", 0, 0), trail };
        for server in 0..count {
            lab.start(server);
        }
        lab
    }

    /// How many servers there are, up or down.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// A server drawn by chance, each equally likely.
    pub fn any_server(&mut self) -> usize {
        self.draws.below(self.servers.len() as u64) as usize
    }

    /// Lets time pass.
    pub fn run_for(&self, duration: Duration) {
        thread::sleep(duration);
    }

    /// Cuts all links of a server, both ways.
    pub fn disconnect(&mut self, server: usize) {
        self.servers[server].connected = false;
        self.update_links(server);
    }

    /// Joins a server with every other one that is connected.
    pub fn connect(&mut self, server: usize) {
        self.servers[server].connected = true;
        self.update_links(server);
    }

    fn update_links(&self, server: usize) {
        for peer in (0..self.count()).filter(|peer| *peer != server) {
            let up = self.servers[server].connected && self.servers[peer].connected;
            let (a, b) = (self.servers[server].node, self.servers[peer].node);
            links::change(a, b, |link| link.up = up);
            links::change(b, a, |link| link.up = up);
        }
    }

    /// Stops a server dead: its threads end where they stand, and what it has
    /// not synced to its disk is lost. Does nothing if it is down.
    pub fn crash(&mut self, server: usize) {
        let server = &mut self.servers[server];
        server.node.crash();
        self.network.withdraw(server.node);
        server.raft = None;
    }

    /// Starts a server that is down from its disk. Its links stay as they are.
    pub fn restart(&mut self, server: usize) {
        self.servers[server].node.restart();
        self.start(server);
    }

    fn start(&mut self, id: usize) {
        let node = self.servers[id].node;
        let ends = self.servers.iter().map(|peer| self.network.end(node, peer.node)).collect();
        let disk: Disk = node.disk();
        let me = ServerId(id as u32);
        let started = node.spawn("start", move || Raft::new(ends, me, disk)).join();
        let Ok(raft) = started else {
            self.fail(Broken { kind: Kind::Harness, rule: None, message: format!("{me} did not start") });
        };
        self.network.serve(node, raft.service());
        self.servers[id].raft = Some(raft);
    }

    /// The term of a server that is up, and whether it says that it leads.
    pub fn status(&self, server: usize) -> Option<(Term, bool)> {
        self.servers[server].raft.as_ref().map(|raft| raft.status())
    }

    /// The connected servers that say they lead, with their terms.
    fn connected_leaders(&self) -> Vec<(Term, usize)> {
        let connected = (0..self.count()).filter(|server| self.servers[*server].connected);
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
    pub fn check_one_leader(&mut self) -> usize {
        for _ in 0..LEADER_POLLS {
            let wait_ms = LEADER_POLL_MS + self.draws.below(LEADER_POLL_MS_MORE);
            self.run_for(Duration::from_millis(wait_ms));

            let mut leaders = self.connected_leaders();
            leaders.sort_unstable();
            for pair in leaders.windows(2) {
                if pair[0].0 == pair[1].0 {
                    let message = format!("term {} has two leaders: S{} and S{}", pair[0].0, pair[0].1, pair[1].1);
                    self.fail(Broken::new(Kind::Safety, "Figure3.ElectionSafety", message));
                }
            }
            if let Some((_, server)) = leaders.last() {
                return *server;
            }
        }
        let message = format!("expected one leader, got none\n{}", self.describe());
        self.fail(Broken::new(Kind::Liveness, "NoLeader", message))
    }

    /// The term that all connected servers agree on. Fails if they do not.
    pub fn check_terms(&mut self) -> Term {
        let connected = (0..self.count()).filter(|server| self.servers[*server].connected);
        let terms: Vec<(usize, Term)> =
            connected.filter_map(|server| self.status(server).map(|(term, _)| (server, term))).collect();
        let Some((first, term)) = terms.first().copied() else {
            self.fail(Broken { kind: Kind::Harness, rule: None, message: "no server is connected".to_owned() });
        };
        if let Some((other, other_term)) = terms.iter().find(|(_, other)| *other != term) {
            let message = format!("servers disagree on the term: S{first} is in {term}, S{other} in {other_term}");
            self.fail(Broken::new(Kind::Liveness, "AllServers.2", message));
        }
        term
    }

    /// Fails if a connected server says that it leads: without a quorum none can
    /// have been elected.
    pub fn check_no_leader(&mut self) {
        if let Some((term, server)) = self.connected_leaders().first() {
            let message = format!("expected no leader without a quorum, but S{server} says it leads term {term}");
            self.fail(Broken::new(Kind::Safety, "Candidates.2", message));
        }
    }

    /// A line for each server, as the test sees it.
    fn describe(&self) -> String {
        let line = |id: usize| {
            let server = &self.servers[id];
            let cut = if server.connected { "" } else { ", disconnected" };
            match self.status(id) {
                Some((term, true)) => format!("  S{id}: leads term {term}{cut}"),
                Some((term, false)) => format!("  S{id}: in term {term}{cut}"),
                None => format!("  S{id}: down{cut}"),
            }
        };
        (0..self.count()).map(line).collect::<Vec<_>>().join("\n")
    }

    /// Says something that deserves a word without being a failure.
    pub fn warn(&self, message: impl Into<String>) {
        self.trail.warnings.lock().push(message.into());
    }

    /// Ends the run.
    pub fn fail(&self, broken: Broken) -> ! {
        labsim::fail(broken.message.clone(), broken);
        unreachable!("the run is over")
    }
}
