//! What a simulated world and a real one have in common: nodes, links, disks,
//! notes, watchers, the record, and the first failure.
//!
//! Each table has its own lock and is held for a few instructions, never while
//! anybody else's code runs: what must be dropped or called is taken out first.
//! In a simulation these locks are never contended.
//!
//! Boundary: holds the tables. The modules named after them say what they mean.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use crate::context::{self, Life};
use crate::disk::DiskTable;
use crate::links::LinkTable;
use crate::node::{NodeId, NodeTable};
use crate::note::NoteRing;
use crate::outcome::Failure;
use crate::rand::Stream;
use crate::record::Recorder;
use crate::watch::WatchTable;

/// The tables of one run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// When a real world began. A simulation has its own clock.
    wall_start: std::time::Instant,
    pub(crate) nodes: Mutex<NodeTable>,
    pub(crate) links: LinkTable,
    pub(crate) disks: Mutex<DiskTable>,
    pub(crate) notes: Mutex<NoteRing>,
    pub(crate) watchers: Mutex<WatchTable>,
    /// Off but in a simulation that is recorded.
    pub(crate) record: Mutex<Recorder>,
    /// The stream of threads that belong to no node.
    draws: Mutex<Stream>,
    /// What the machine's source of randomness would give.
    pub(crate) entropy: Mutex<Stream>,
    /// Some node's clock does not show the world's time. For real worlds; a
    /// simulation keeps it where every step finds it.
    pub(crate) own_clocks: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            wall_start: std::time::Instant::now(),
            nodes: Mutex::default(),
            links: LinkTable::default(),
            disks: Mutex::default(),
            notes: Mutex::default(),
            watchers: Mutex::default(),
            record: Mutex::default(),
            draws: Mutex::new(Stream::new(seed, "no node", 0, 0)),
            entropy: Mutex::new(Stream::new(seed, "entropy", 0, 0)),
            own_clocks: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    pub(crate) fn wall_elapsed(&self) -> Duration {
        self.wall_start.elapsed()
    }

    pub(crate) fn draw(&self, life: Option<Life>) -> u64 {
        match life {
            Some(life) => self.nodes.lock().draw(self.seed, life),
            None => self.draws.lock().next_u64(),
        }
    }

    /// True if effects of `life` count: its node is up, and still in that life.
    pub(crate) fn is_current(&self, life: Life) -> bool {
        self.nodes.lock().is_current(life)
    }

    /// Keeps the first failure of a run; later ones are consequences.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock();
        if first.is_none() {
            *first = Some(failure);
        }
    }

    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().take()
    }

    /// The calling thread's node, by name.
    pub(crate) fn node_name(&self) -> Option<String> {
        context::life().map(|life| self.name_if_free(life.node))
    }

    /// A node's name; its number if the caller interrupted whoever has the
    /// table, as the panic hook may.
    pub(crate) fn name_if_free(&self, node: NodeId) -> String {
        match self.nodes.try_lock() {
            Some(nodes) => nodes.name(node).to_string(),
            None => format!("node {}", node.0),
        }
    }

    /// Every node's name, unless somebody has the table.
    pub(crate) fn node_names_if_free(&self) -> Vec<String> {
        self.nodes.try_lock().map_or(Vec::new(), |nodes| nodes.names())
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.lock().is_some()
    }
}
