//! A cluster under test, and the verbs that tests are written in.
//!
//! A [`Lab`] makes the servers, joins and cuts them, crashes and restarts them.
//! It looks for leaders and for agreement as the course's tests do: what it
//! asserts is what a client could see. The promises inside are watched all the
//! while (`watch`).
//!
//! | file | has the verbs about |
//! |---|---|
//! | `mod.rs` | the cluster as a whole, and its links |
//! | `servers.rs` | starts and crashes, and the service on each server |
//! | `leaders.rs` | who leads |
//! | `agreement.rs` | commands, and whether they are committed |
//! | `ways.rs` | single links, and what else is slow or lossy |
//! | `clients.rs` | clients of the key-value service, and their history |
//! | `memory.rs` | commands that are still held |
//! | `onlooker.rs` | what can be seen from outside, as it happens |
//!
//! Its own chances come from a stream of the seed, by name, so that a server
//! that draws more or less does not change what the test does to it.
//!
//! Boundary: knows raft's public face. Knows no particular test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvraft::{KvServer, Reads};
use labrpc::{Network, Traffic};
use labsim::links;
use labsim::node::Node;
use labsim::rand::Stream;
use labsim::thread;
use labsim::time::Duration;
use parking_lot::Mutex;
use raft::{Bytes, Index, Raft, ServerId, Settings, StartError, Term};

use crate::check::{Broken, Kind, Spent};
use crate::events;
use crate::watch::{self, Applies, Sights, Watchers};

use self::clients::Clients;
use self::memory::Memory;
use self::onlooker::Onlooker;

mod agreement;
mod clients;
mod leaders;
mod memory;
mod onlooker;
mod servers;
mod ways;

pub use self::agreement::Retry;
pub use self::clients::{Client, Working};
pub use self::onlooker::{Happening, WeakLab};

/// Every test has so much time: virtual, or real on OS threads.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A generous time for an election to be over (RET in the course).
pub const ELECTION_TIME: Duration = Duration::from_millis(1000);

/// How late a new thread may start, in microseconds: drawn for each run.
///
/// On a machine that is busy a thread starts when it starts. Where all start at
/// once, a vote is won before the next server's timer fires, and a Raft whose
/// timeouts are all the same looks fine.
const THREAD_START_US: [u64; 5] = [0, 0, 200, 1000, 5000];

/// The same in the labs of the key-value service. A client that is answered calls again at
/// once: on threads that start at once it would make thousands of calls a second, which
/// no machine does that has a network in between.
const KV_THREAD_START_US: [u64; 3] = [3000, 6000, 10000];

/// The file in which servers keep their snapshot; all others are Raft's state.
const SNAPSHOT_FILE: &str = "snapshot";

/// What a test begins with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many servers there are.
    pub servers: usize,
    /// Whether the network is reliable at first.
    pub reliable: bool,
    /// What runs on each server, on top of Raft.
    pub service: Service,
    /// The most entries in an AppendEntries: one of these, drawn for each run.
    pub batches: &'static [usize],
    /// What it is under a seed, where the seed says more than that.
    pub drawn: Option<fn(u64) -> Setup>,
    /// Nobody crashes, and nothing need be on a disk.
    pub volatile: bool,
    /// How closely it is watched.
    pub watching: Watching,
}

impl Setup {
    /// So many servers and a network that loses nothing.
    pub const fn reliable(servers: usize) -> Self {
        let service = Service::Recorder { snapshot_every: None };
        Self {
            servers,
            reliable: true,
            service,
            batches: &[10, 1000],
            drawn: None,
            volatile: false,
            watching: Watching::Steps,
        }
    }

    /// So many servers and the course's unreliable network.
    pub const fn unreliable(servers: usize) -> Self {
        Self { reliable: false, ..Self::reliable(servers) }
    }

    /// The same where nobody crashes: what a server promises need not be on its disk.
    pub const fn volatile(self) -> Self {
        Self { volatile: true, ..self }
    }

    /// The same with the key-value service, which makes a snapshot when the log has so
    /// many bytes.
    pub const fn key_value(self, max_raft_state: Option<usize>) -> Self {
        Self { service: Service::KeyValue { max_raft_state }, ..self }
    }

    /// The same with a service that makes a snapshot where the index and one more is a
    /// multiple of that.
    pub const fn snapshot_every(self, every: Index) -> Self {
        Self { service: Service::Recorder { snapshot_every: Some(every) }, ..self }
    }

    /// What it is under a seed.
    pub fn under(&self, seed: u64) -> Self {
        self.drawn.map_or(*self, |draw| draw(seed))
    }
}

/// How closely a run is watched.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Watching {
    /// Not at all, to see what watching costs.
    Nothing,
    /// Every step, and now and then a server is started from a copy of a disk.
    #[default]
    Steps,
    /// Besides, that is done for every promise.
    Promises,
}

/// What runs on each server, on top of Raft.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// It writes down what it is told, and compares that with what the others were told.
    Recorder {
        /// It makes a snapshot where the index and one more is a multiple of this.
        snapshot_every: Option<Index>,
    },
    /// The key-value service.
    KeyValue {
        /// It makes a snapshot when the log has so many bytes. None: never.
        max_raft_state: Option<usize>,
    },
}

/// What a run leaves behind for whoever started it, also if it failed.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// What the run has shown.
    pub sights: Arc<Mutex<Sights>>,
    /// What its network has carried.
    pub traffic: Arc<Mutex<Traffic>>,
    /// What deserves a word without being a failure.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// What was done to its servers, a line each.
    pub faults: Arc<Mutex<Vec<String>>>,
    /// What it took of things that have a limit, by their names.
    pub spent: Arc<Mutex<BTreeMap<String, Spent>>>,
}

/// A cluster of Raft servers, each on a node of its own. Clones are the same
/// cluster, for the threads of a test that has several.
#[derive(Clone)]
pub struct Lab {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    network: Network,
    /// Never locked while a server is asked something.
    servers: Mutex<Vec<Server>>,
    settings: Settings,
    service: Service,
    /// How the key-value service reads.
    reads: Reads,
    clients: Clients,
    watchers: Arc<Mutex<Watchers>>,
    applies: Mutex<Applies>,
    onlooker: Arc<Onlooker>,
    draws: Mutex<Stream>,
    memory: Memory,
    /// Streams that were handed out.
    streams: AtomicU64,
    trail: Trail,
}

struct Server {
    node: Node,
    /// Gone while its node is down.
    raft: Option<Arc<Raft>>,
    /// The same with its service, where that is the key-value service.
    kv: Option<Arc<KvServer>>,
    /// Whether the test has it connected. Both its ends must be for a link.
    connected: bool,
}

impl Lab {
    /// Makes servers, starts them and connects them all. Must be called in a
    /// world.
    pub fn new(setup: &Setup, trail: Trail) -> Self {
        let network = Network::new();
        network.set_reliable(setup.reliable);
        *trail.traffic.lock() = network.traffic();
        let seed = labsim::seed().expect("a lab is set up in a world");
        let mut weather = Stream::new(seed, "weather", 0, 0);
        let mut any_of = |choices: usize| usize::try_from(weather.below(choices as u64)).expect("a few choices");
        let is_recorded = matches!(setup.service, Service::Recorder { .. });
        let starts_us: &[u64] = if is_recorded { &THREAD_START_US } else { &KV_THREAD_START_US };
        let start_us = starts_us[any_of(starts_us.len())];
        let batch_entries = setup.batches[any_of(setup.batches.len())];
        let reads = [Reads::Log, Reads::Index][if is_recorded { 0 } else { any_of(2) }];
        network.set_long_delays(is_recorded);
        let server = |id| {
            let node = Node::new(format!("S{id}"));
            node.set_start_delay(Duration::ZERO..Duration::from_micros(start_us));
            Server { node, raft: None, kv: None, connected: true }
        };
        let servers: Vec<_> = (0..setup.servers).map(server).collect();
        let settings = Settings { batch_entries };
        let slack = labsim::is_simulated().then(|| Duration::from_micros(start_us));
        let watchers = Watchers::new(setup.servers, slack, settings, Arc::clone(&trail.sights));
        let watchers = if setup.volatile { watchers.without_disks() } else { watchers };
        let watchers = if setup.watching == Watching::Promises { watchers.thorough() } else { watchers };
        let onlooker = Arc::new(Onlooker::default());
        let (shown, shown_written) = (Arc::clone(&onlooker), Arc::clone(&onlooker));
        let watchers = Arc::new(Mutex::new(watchers));
        if setup.watching != Watching::Nothing {
            watch::install(
                &watchers,
                &network,
                move |wire| shown.show(&Happening::Message(wire)),
                move |server, change| shown_written.show_written(server, change),
            );
        }
        let lab = Self {
            shared: Arc::new(Shared {
                seed,
                network,
                watchers,
                onlooker,
                applies: Mutex::new(Applies::new(servers.len())),
                servers: Mutex::new(servers),
                settings,
                service: setup.service,
                reads,
                clients: Clients::default(),
                draws: Mutex::new(Stream::new(seed, "harness", 0, 0)),
                memory: Memory::default(),
                streams: AtomicU64::new(0),
                trail,
            }),
        };
        (0..setup.servers).for_each(|server| lab.start_server(server));
        lab
    }

    /// How many servers there are, up or down.
    pub fn count(&self) -> usize {
        self.shared.servers.lock().len()
    }

    /// The network that joins them.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// A number below `n`, drawn by chance, each equally likely.
    pub fn below(&self, n: u64) -> u64 {
        self.shared.draws.lock().below(n)
    }

    /// True with probability `p`.
    pub fn chance(&self, p: f64) -> bool {
        self.shared.draws.lock().chance(p)
    }

    /// A server drawn by chance, each equally likely.
    pub fn any_server(&self) -> usize {
        usize::try_from(self.below(self.count() as u64)).expect("a few servers")
    }

    /// A command drawn by chance: another one each time, for all that matters.
    pub fn any_command(&self) -> Bytes {
        let number = self.shared.draws.lock().next_u64();
        self.shared.memory.command(decimal(number))
    }

    /// A stream of chances for one thread of a test: were several to share one,
    /// each would disturb the others.
    pub fn stream(&self) -> Stream {
        Stream::new(self.shared.seed, "client", 0, self.shared.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn run_for(&self, duration: Duration) {
        thread::sleep(duration);
    }

    /// Cuts all links of a server, both ways.
    pub fn disconnect(&self, server: usize) {
        self.set_connected(server, false);
    }

    /// Joins a server with every other one that is connected.
    pub fn connect(&self, server: usize) {
        self.set_connected(server, true);
    }

    /// Connects all.
    pub fn connect_all(&self) {
        (0..self.count()).for_each(|server| self.connect(server));
    }

    fn set_connected(&self, server: usize, connected: bool) {
        let nodes: Vec<_> = {
            let mut servers = self.shared.servers.lock();
            servers[server].connected = connected;
            servers.iter().map(|server| (server.node, server.connected)).collect()
        };
        let (node, _) = nodes[server];
        for (peer, peer_connected) in nodes {
            if peer != node {
                let up = connected && peer_connected;
                links::change(node, peer, |link| link.up = up);
                links::change(peer, node, |link| link.up = up);
            }
        }
    }

    /// True unless the test has cut it off.
    pub fn is_connected(&self, server: usize) -> bool {
        self.shared.servers.lock()[server].connected
    }

    fn node(&self, server: usize) -> Node {
        self.shared.servers.lock()[server].node
    }

    fn raft(&self, server: usize) -> Option<Arc<Raft>> {
        self.shared.servers.lock()[server].raft.clone()
    }

    /// The term of a server that is up, and whether it says that it leads.
    pub fn status(&self, server: usize) -> Option<(Term, bool)> {
        self.raft(server).map(|raft| raft.status())
    }

    /// Offers a command to one server. Where it will be if it is ever committed,
    /// and None if the server is down or does not lead.
    pub fn start(&self, server: usize, command: impl Into<Bytes>) -> Option<(Index, Term)> {
        let (raft, command) = (self.raft(server)?, command.into());
        let call = events::calls(server, &command);
        let taken = match raft.start(command) {
            Ok(id) => {
                self.shared.onlooker.show(&Happening::Takes { server });
                Some((id.index, id.term))
            }
            Err(StartError::NotLeader | StartError::Killed) => None,
        };
        events::returns(call, taken);
        taken
    }

    /// How many bytes Raft's state takes on the disk of a server that is up,
    /// without the snapshot.
    pub fn state_bytes(&self, server: usize) -> usize {
        let files = self.node(server).disk().files();
        files.iter().filter(|(name, _)| name != SNAPSHOT_FILE).map(|(_, bytes)| bytes).sum()
    }

    /// How many bytes the snapshot takes on the disk of a server.
    pub fn snapshot_bytes(&self, server: usize) -> usize {
        let files = self.node(server).disk().files();
        files.iter().filter(|(name, _)| name == SNAPSHOT_FILE).map(|(_, bytes)| bytes).sum()
    }

    /// What runs on each server.
    pub fn service(&self) -> Service {
        self.shared.service
    }

    /// Requests that servers have begun to handle, all together, since each one's
    /// last start.
    pub fn requests(&self) -> u64 {
        (0..self.count()).map(|server| self.shared.network.requests_to(self.node(server))).sum()
    }

    /// A line for each server, as the test sees it.
    pub fn describe(&self) -> String {
        let line = |id: usize| {
            let cut = if self.is_connected(id) { "" } else { ", disconnected" };
            let applied = self.shared.applies.lock().last(ServerId(id as u32));
            match self.status(id) {
                Some((term, true)) => format!("  S{id}: leads term {term}, applied {applied}{cut}"),
                Some((term, false)) => format!("  S{id}: in term {term}, applied {applied}{cut}"),
                None => format!("  S{id}: down{cut}"),
            }
        };
        (0..self.count()).map(line).collect::<Vec<_>>().join("\n")
    }

    /// Says something that deserves a word without being a failure.
    pub fn warn(&self, message: impl Into<String>) {
        self.shared.trail.warnings.lock().push(message.into());
    }

    /// Says what is being done to the servers: a report shows the last of these.
    pub fn note_fault(&self, line: impl Into<String>) {
        self.shared.trail.faults.lock().push(line.into());
    }

    /// Ends the run.
    pub fn fail(&self, broken: Broken) -> ! {
        events::violation(&broken);
        labsim::fail(broken.message.clone(), broken);
        unreachable!("the run is over")
    }

    /// Ends the run, for what had to happen has not: `rule` is `NoLeader` or
    /// `NoProgress`, and `message` what was waited for. Why, is asked of the watchers:
    /// what `servers` have been doing since that moment instead.
    pub fn fail_waiting(&self, rule: &'static str, since: Duration, servers: &[usize], message: &str) -> ! {
        let among: Vec<ServerId> = servers.iter().map(|server| ServerId(*server as u32)).collect();
        // What a service of the student's was told, nobody knows.
        let is_known = matches!(self.shared.service, Service::Recorder { .. });
        let told: Vec<Index> = (0..self.count()).filter(|_| is_known).map(|server| self.applied(server)).collect();
        let reason = self.shared.watchers.lock().why_no_progress(since, &among, &told);
        // Whoever waits for a leader wants nothing else.
        let rule = if rule == "NoLeader" { rule } else { reason.rule };
        let kind = if rule == "Stuck" { Kind::Stuck } else { Kind::Liveness };
        let message = format!("{message}: {}\n{}", reason.text, self.describe());
        self.fail(Broken::new(kind, rule, message).since(reason.moments));
    }

    /// The servers that the test has not cut off.
    pub(super) fn connected(&self) -> Vec<usize> {
        (0..self.count()).filter(|server| self.is_connected(*server)).collect()
    }

    /// Ends the run if it took more of something than is allowed; in the report
    /// card is the most that any run took. `what` reads on after a number.
    pub fn economy(&self, most: u64, allowed: u64, what: &str) {
        let spent = Spent { most, allowed };
        self.shared.trail.spent.lock().entry(what.to_owned()).or_insert(spent).merge(spent);
        if most > allowed {
            let message = format!("{most} {what}, where {allowed} are allowed");
            self.fail(Broken::new(Kind::Limit, "Economy", message));
        }
    }

    /// Ends the run unless `holds`: `message` says what does not, and `rule` which
    /// promise it was. What is only late is for [`fail_waiting`](Self::fail_waiting).
    pub fn expect(&self, holds: bool, rule: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            self.fail(Broken::new(Kind::Safety, rule, message()));
        }
    }
}

/// A number as a command: its decimal digits, so that a report can show it.
pub fn command(number: u64) -> Bytes {
    decimal(number).into()
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}
