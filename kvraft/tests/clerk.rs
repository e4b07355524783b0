//! What a clerk is told, and may conclude.
//!
//! Boundary: a small cluster, and calls. Histories are judged in `tests`.

use std::sync::Arc;

use kvraft::{Clerk, ClerkError, KvServer, Reads, Settings, Why};
use labrpc::{ClientEnd, Network};
use labsim::node::Node;
use labsim::time::Duration;
use labsim::{Config, links, simulate, thread};
use raft::ServerId;

const SEEDS: u64 = 20;

struct Cluster {
    network: Network,
    nodes: Vec<Node>,
    servers: Vec<Arc<KvServer>>,
}

impl Cluster {
    fn new(settings: Settings) -> Self {
        let network = Network::new();
        network.set_long_delays(false);
        let nodes: Vec<Node> = (0..3).map(|id| Node::new(format!("S{id}"))).collect();
        let start = |(id, node): (u32, &Node)| {
            let (ends, node) = (nodes.iter().map(|peer| network.end(*node, *peer)).collect(), *node);
            let server =
                node.spawn("start", move || KvServer::new(ends, ServerId(id), node.disk(), settings)).join().unwrap();
            network.serve(node, server.service());
            server
        };
        let servers = (0..).zip(&nodes).map(start).collect();
        Self { network, nodes, servers }
    }

    /// Runs `body` on a node of its own, with the ways to all servers.
    fn client<T: Send + 'static>(&self, name: &str, body: impl FnOnce(Vec<ClientEnd>) -> T + Send + 'static) -> T {
        let client = Node::new(name);
        let ends = self.nodes.iter().map(|node| self.network.end(client, *node)).collect();
        client.spawn("client", move || body(ends)).join().unwrap()
    }

    fn set_joined(&self, joined: bool) {
        for (from, to) in self.nodes.iter().flat_map(|from| self.nodes.iter().map(move |to| (*from, *to))) {
            if from != to {
                links::change(from, to, |link| link.up = joined);
            }
        }
    }
}

fn on_each_seed(settings: Settings, body: impl Fn(&Cluster) + Clone + Send + 'static) {
    for seed in 0..SEEDS {
        let body = body.clone();
        simulate(Config::seed(seed), move || body(&Cluster::new(settings))).result.unwrap();
    }
}

const PATIENCE: Duration = Duration::from_millis(1500);

#[test]
fn what_is_written_is_read_either_way_3a() {
    for reads in [Reads::Log, Reads::Index] {
        on_each_seed(Settings { reads, ..Settings::default() }, move |cluster| {
            cluster.client("client", |ends| {
                let mut clerk = Clerk::new(ends);
                assert_eq!(clerk.get("k"), Ok(String::new()));
                clerk.put("k", "a").unwrap();
                clerk.append("k", "b").unwrap();
                assert_eq!(clerk.get("k"), Ok("ab".to_owned()));
            });
            // BEGIN COURSE
            let committed = || {
                let servers = cluster.servers.iter();
                servers
                    .filter_map(|server| server.raft().read_index(labsim::time::Instant::now() + PATIENCE).ok())
                    .max()
            };
            let before = committed().expect("there is a leader");
            // END COURSE
            cluster.client("reader", |ends| assert_eq!(Clerk::new(ends).get("k"), Ok("ab".to_owned())));
            // BEGIN COURSE
            let entries = u64::from(reads == Reads::Log);
            assert_eq!(committed(), Some(before + entries), "what a read takes in the log ({reads:?})");
            // END COURSE
        });
    }
}

#[test]
fn a_call_that_no_server_takes_is_not_executed_3a() {
    on_each_seed(Settings::default(), |cluster| {
        let servers = cluster.servers.clone();
        cluster.client("client", move |ends| {
            let mut clerk = Clerk::new(ends.clone()).with_patience(PATIENCE);
            clerk.put("k", "z").unwrap();
            servers.iter().for_each(|server| server.kill());
            let nobody = ClerkError::NotExecuted(Why::OutOfPatience);
            assert_eq!(clerk.put("k", "a"), Err(nobody), "it has a session");
            assert_eq!(Clerk::new(ends).with_patience(PATIENCE).put("k", "a"), Err(nobody), "it has none");
            assert_eq!(clerk.get("k"), Err(nobody));
        });
    });
}

/// A leader takes the command, and nobody can say whether others will.
#[test]
fn a_call_that_was_taken_and_not_answered_is_in_doubt_3a() {
    on_each_seed(Settings::default(), |cluster| {
        let shared = (cluster.network.clone(), cluster.nodes.clone());
        let cluster_of = move || Cluster { network: shared.0.clone(), nodes: shared.1.clone(), servers: Vec::new() };
        cluster.client("client", move |ends| {
            let mut clerk = Clerk::new(ends).with_patience(PATIENCE);
            clerk.put("k", "a").unwrap();
            cluster_of().set_joined(false);
            assert_eq!(clerk.append("k", "b"), Err(ClerkError::MaybeExecuted(Why::OutOfPatience)));
            cluster_of().set_joined(true);
            thread::sleep(Duration::from_secs(1));
            let mut clerk = clerk.with_patience(Duration::from_secs(10));
            // The next call settles it: the one before is executed now, or never.
            clerk.append("k", "c").unwrap();
            let value = clerk.get("k").unwrap();
            assert!(["abc", "ac"].contains(&value.as_str()), "{value}");
            thread::sleep(Duration::from_secs(1));
            assert_eq!(clerk.get("k"), Ok(value));
        });
    });
}

#[test]
fn a_clerk_that_was_forgotten_is_told_3a() {
    on_each_seed(Settings { sessions_max: 1, ..Settings::default() }, |cluster| {
        let network = cluster.network.clone();
        let nodes = cluster.nodes.clone();
        cluster.client("first", move |ends| {
            let mut first = Clerk::new(ends);
            first.put("k", "a").unwrap();
            let other = Node::new("second");
            let ends = nodes.iter().map(|node| network.end(other, *node)).collect();
            other.spawn("client", move || Clerk::new(ends).append("k", "b")).join().unwrap().unwrap();
            assert_eq!(first.append("k", "c"), Err(ClerkError::NotExecuted(Why::SessionExpired)));
            assert_eq!(first.get("k"), Ok("ab".to_owned()), "a read needs no session");
            first.append("k", "d").unwrap();
            assert_eq!(first.get("k"), Ok("abd".to_owned()));
        });
    });
}
