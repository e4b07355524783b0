//! Who serves where, under which rules, and what has been counted.
//!
//! Boundary: tables. What happens to one call is in `call.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use labsim::node::{Node, NodeId};
use parking_lot::Mutex;

use crate::call::ClientEnd;
use crate::observe::{Observers, Passing};
use crate::service::Service;

/// The nodes of a world, joined. Clones are the same network.
///
/// New networks are reliable, with long delays and no long reordering, as in the
/// Raft labs.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    // The classic rules.
    pub(crate) reliable: AtomicBool,
    pub(crate) long_delays: AtomicBool,
    pub(crate) long_reordering: AtomicBool,
    pub(crate) traffic: Traffic,
    pub(crate) observers: Observers,
    /// Held for a look-up, never while anybody's code runs.
    servers: Mutex<BTreeMap<NodeId, Arc<Server>>>,
    /// Calls per directed pair of nodes: the n-th call has the n-th stream.
    pairs: Mutex<BTreeMap<(NodeId, NodeId), Arc<AtomicU64>>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            reliable: AtomicBool::new(true),
            long_delays: AtomicBool::new(true),
            long_reordering: AtomicBool::new(false),
            traffic: Traffic::default(),
            observers: Observers::default(),
            servers: Mutex::default(),
            pairs: Mutex::default(),
        }
    }
}

/// What a network has carried since it was made. Clones read the same counts.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    counts: Arc<(AtomicU64, AtomicU64)>,
}

impl Traffic {
    /// Calls made, whatever became of them.
    pub fn calls(&self) -> u64 {
        self.counts.0.load(Ordering::Relaxed)
    }

    /// Bytes of the arguments of all calls, and of the replies that arrived.
    pub fn bytes(&self) -> u64 {
        self.counts.1.load(Ordering::Relaxed)
    }

    /// Counts a call, and returns its number.
    pub(crate) fn count_call(&self) -> u64 {
        self.counts.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.counts.1.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One server: what a node offers in one life.
#[derive(Debug)]
pub(crate) struct Server {
    node: Node,
    life: u32,
    pub(crate) service: Service,
    /// Requests handed to a handler.
    pub(crate) requests: AtomicU64,
}

impl Server {
    /// True while the node lives on in the life that offered this.
    pub(crate) fn is_alive(&self) -> bool {
        self.node.is_in_life(self.life)
    }
}

impl Network {
    /// A network that joins all nodes of the world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers `service` on `node` for as long as its present life lasts, in
    /// place of what it offered before. Its requests are counted from 0.
    ///
    /// A restarted node serves nobody until it is told to. A handler that needs
    /// the network should hold ends, not the network itself: the two would keep
    /// each other from being dropped when the run is over.
    pub fn serve(&self, node: Node, service: Service) {
        let server = Server { node, life: node.life(), service, requests: AtomicU64::new(0) };
        let former = self.shared.servers.lock().insert(node.id(), Arc::new(server));
        // Its handlers own whatever they captured: dropped with nothing locked.
        drop(former);
    }

    /// Offers nothing on `node` any more.
    pub fn withdraw(&self, node: Node) {
        let former = self.shared.servers.lock().remove(&node.id());
        drop(former);
    }

    /// The right of `from` to call `to`. Calls get no reply once every clone of
    /// this network is dropped.
    pub fn end(&self, from: Node, to: Node) -> ClientEnd {
        let calls = Arc::clone(self.shared.pairs.lock().entry((from.id(), to.id())).or_default());
        ClientEnd::new(Arc::downgrade(&self.shared), from, to, calls)
    }

    /// Reliable or not: in an unreliable network a request takes up to 27 ms,
    /// and one request and one reply in ten are lost.
    pub fn set_reliable(&self, reliable: bool) {
        self.shared.reliable.store(reliable, Ordering::Relaxed);
    }

    /// Whether a call over a cut link fails within 7 s or within 100 ms.
    pub fn set_long_delays(&self, long_delays: bool) {
        self.shared.long_delays.store(long_delays, Ordering::Relaxed);
    }

    /// Whether two replies in three come late, by 200 ms and up to 2 s more.
    pub fn set_long_reordering(&self, long_reordering: bool) {
        self.shared.long_reordering.store(long_reordering, Ordering::Relaxed);
    }

    /// What has been counted, and goes on being counted: the result can be read
    /// when the network is gone.
    pub fn traffic(&self) -> Traffic {
        self.shared.traffic.clone()
    }

    /// Shows every message of this network to `observer`, on the thread that sends
    /// or receives it, with no lock of the network held. It must not wait. It may
    /// end the run, change links, and crash nodes, the one that it runs on
    /// included. Of several observers the first one is called first; one that
    /// ends the run or crashes its own node is the last one for that message.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use labrpc::{Moment, Network, Service};
    /// use labsim::node::Node;
    ///
    /// let outcome = labsim::simulate(labsim::Config::seed(1), || {
    ///     let (client, server) = (Node::new("client"), Node::new("server"));
    ///     let network = Network::new();
    ///     network.serve(server, Service::new().method("double", |n: u64| 2 * n));
    ///     let sum = Arc::new(AtomicU64::new(0));
    ///     let seen = Arc::clone(&sum);
    ///     network.observe(move |passing| {
    ///         if passing.moment == Moment::ReplyLeaves {
    ///             seen.fetch_add(*passing.value.downcast_ref::<u64>().unwrap(), Ordering::Relaxed);
    ///         }
    ///     });
    ///     let end = network.end(client, server);
    ///     client.spawn("caller", move || end.call::<u64, u64>("double", &21)).join().unwrap().unwrap();
    ///     sum.load(Ordering::Relaxed)
    /// });
    /// assert_eq!(outcome.result.unwrap(), 42);
    /// ```
    pub fn observe(&self, observer: impl Fn(&Passing<'_>) + Send + Sync + 'static) {
        self.shared.observers.add(Arc::new(observer));
    }

    /// Requests that `node` has begun to handle since it last began to serve.
    pub fn requests_to(&self, node: Node) -> u64 {
        self.shared.server(node).map_or(0, |server| server.requests.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// What `node` offers at present, even if it is down.
    pub(crate) fn server(&self, node: Node) -> Option<Arc<Server>> {
        self.servers.lock().get(&node.id()).map(Arc::clone)
    }

    /// True if `server` is still who serves on its node, and its node lives on.
    pub(crate) fn still_serves(&self, server: &Arc<Server>) -> bool {
        let is_same = self.servers.lock().get(&server.node.id()).is_some_and(|present| Arc::ptr_eq(present, server));
        is_same && server.is_alive()
    }
}
