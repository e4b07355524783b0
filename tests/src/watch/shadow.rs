//! A server that is started from a copy of a disk, and asked what it knows.
//!
//! What a server has synced is bytes, and only the server can read them. So a fresh one
//! is started on a copy, in a world of its own, up to the first thing that it shows. It
//! speaks to nobody and no time passes for it. What it does not know then, it would not
//! know after a crash either: a field that is never saved, or never read again, is found
//! without any.
//!
//! When a red run is made again that is done for every promise and every sync, as long as
//! that is cheap, and then for one in a few. Otherwise fewer are drawn: a start costs about
//! as much as twenty calls, and more where there is a long log to be read.
//!
//! Boundary: starts servers. What they must know is in `persisted.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use labrpc::Network;
use labsim::disk::{self, Image};
use labsim::node::{Node, NodeId};
use labsim::{Config, FailureKind, channel, simulate, watch};
use parking_lot::Mutex;
use raft::{EntryId, Index, Raft, ServerId, Settings, Shown, Term, View};

use super::asked::{Asked, Open};
use super::at;
use super::known::Known;
use super::persisted::{Promise, Restart, is_excused, lacks, would_know};
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// Of so many promises of the server that is looked at, one is drawn.
const ONE_IN: u64 = 256;
/// Where every promise is looked at: what all the starts may cost before only some are made, in
/// starts from an almost empty disk.
const THOROUGH_COST: u64 = 1000;
/// So many bytes cost as much to read as another start.
const BYTES_A_START: u64 = 1000;
/// Of so many promises and syncs, one is looked at from then on.
const ONE_LATER: u64 = 32;
/// So much virtual and CPU time has a server to show itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// And so many steps.
const STEPS_MAX: u64 = 200_000;

/// Who starts shadows, and when.
#[derive(Debug)]
pub struct Shadows {
    servers: usize,
    settings: Settings,
    /// Every promise is looked at.
    is_thorough: bool,
    /// What the starts have cost so far.
    cost: u64,
    /// The one that is looked at otherwise.
    chosen: ServerId,
    /// Kinds of messages of it that were looked at once.
    seen: u8,
    count: u64,
    /// What each server's disk said last, and the version of it.
    cache: BTreeMap<ServerId, (u64, Arc<Knows>)>,
    /// The promises that were looked at, of that version.
    asked: BTreeMap<ServerId, Vec<Promise>>,
}

/// What a server knows that has just started.
#[derive(Debug)]
pub(super) struct Knows {
    /// What it shows. None if it publishes nothing.
    view: Option<View>,
    /// Its term, by its status.
    term: Term,
}

impl Knows {
    fn at(&self, index: Index) -> Option<Shown> {
        let view = self.view.as_ref()?;
        let slot = index.checked_sub(view.base.index + 1)?;
        view.changed.get(usize::try_from(slot).ok()?).copied()
    }
}

impl Restart for Knows {
    fn term(&self) -> Term {
        self.view.as_ref().map_or(self.term, |view| view.term)
    }
    fn voted_for(&self) -> Option<ServerId> {
        self.view.as_ref().and_then(|view| view.voted_for)
    }
    fn has(&self, id: EntryId) -> bool {
        let Some(view) = &self.view else { return true };
        id.index <= view.base.index || self.at(id.index).is_some_and(|entry| entry.term == id.term)
    }
}

impl Shadows {
    /// For so many servers with these settings. `seed` chooses whom to look at.
    pub fn new(servers: usize, settings: Settings, seed: u64) -> Self {
        Self {
            servers,
            settings,
            is_thorough: false,
            cost: 0,
            chosen: ServerId(u32::try_from(seed.checked_rem(servers as u64).unwrap_or(0)).expect("a few servers")),
            seen: 0,
            count: 0,
            cache: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// From now on every promise and every sync is looked at.
    pub fn thorough(&mut self) {
        self.is_thorough = true;
    }

    /// True if what leaves now is to be compared with the disk.
    fn is_drawn(&mut self, wire: &Wire<'_>) -> bool {
        if self.is_thorough {
            return self.is_affordable();
        }
        if wire.from != self.chosen {
            return false;
        }
        let kind = match wire.said {
            Said::RequestVote(_) => 0,
            Said::Vote(reply) if reply.granted => 1,
            Said::Appended(reply) if reply.success => 2,
            Said::Installed(_) => 3,
            _ => return false,
        };
        let is_first = self.seen & 1 << kind == 0;
        self.seen |= 1 << kind;
        self.count += 1;
        is_first || self.count.is_multiple_of(ONE_IN)
    }

    /// Where every promise is looked at: true if one more can be.
    fn is_affordable(&mut self) -> bool {
        self.count += 1;
        self.cost < THOROUGH_COST || self.count.is_multiple_of(ONE_LATER)
    }

    /// Takes notice of a message that leaves.
    ///
    /// # Errors
    ///
    /// If a restart from the disk would not know what it promises.
    pub fn hear(&mut self, known: &Known, wire: &Wire<'_>) -> Result<(), Broken> {
        if !wire.leaves || !labsim::is_simulated() || !self.is_drawn(wire) {
            return Ok(());
        }
        let server = wire.from;
        let promises: Vec<Promise> =
            Promise::of(known, wire).into_iter().filter(|promise| !is_excused(known, wire, *promise)).collect();
        let version = disk::version_of(NodeId(server.0));
        let is_known = self.cache.get(&server).is_some_and(|(known, _)| *known == version);
        let asked = self.asked.entry(server).or_default();
        if !is_known {
            asked.clear();
        }
        let new: Vec<Promise> = promises.into_iter().filter(|promise| !asked.contains(promise)).collect();
        if new.is_empty() {
            return Ok(());
        }
        asked.extend(&new);
        let knows = self.ask(server, wire.at)?;
        for promise in new {
            // Without a view only its term can be asked for.
            let can_tell = knows.view.is_some() || matches!(promise, Promise::Term(_));
            if can_tell && let Some(lacks) = lacks(&*knows, promise) {
                return Err(would_know(wire, promise, &lacks, "one was started from a copy of its disk, and asked"));
            }
        }
        Ok(())
    }

    /// Takes notice of a sync: what is on the disk now must fit together.
    ///
    /// # Errors
    ///
    /// If a restart would have an entry that nobody ever had there.
    pub fn synced(&mut self, known: &Known, server: ServerId, moment: Duration) -> Result<(), Broken> {
        if !self.is_thorough || !self.is_affordable() {
            return Ok(());
        }
        let knows = self.ask(server, moment)?;
        let Some(view) = &knows.view else { return Ok(()) };
        // What it is being told to store just now may be there, and in no view yet.
        let is_told = |open: &Open| !matches!(open.asked, Asked::Vote { .. });
        let live = known.server(server);
        if live.face.is_none() || live.open.iter().any(is_told) {
            return Ok(());
        }
        for (index, entry) in live.log.entries() {
            if let Some(stored) = knows.at(index).filter(|stored| *stored != entry) {
                let message = format!(
                    "{server} has synced its disk at {}: a restart would have an entry of term {} at index {index}, and a \
                     snapshot up to {}; the entry there was always another one, of term {}",
                    at(moment),
                    stored.term,
                    view.base.index,
                    entry.term
                );
                let broken = Broken::new(Kind::PromisedBeforePersisted, "Persistent", message);
                return Err(broken.since([moment]));
            }
        }
        Ok(())
    }

    fn ask(&mut self, server: ServerId, moment: Duration) -> Result<Arc<Knows>, Broken> {
        let node = NodeId(server.0);
        let version = disk::version_of(node);
        if let Some((known, knows)) = self.cache.get(&server)
            && *known == version
        {
            return Ok(Arc::clone(knows));
        }
        let image = disk::image_of(node);
        self.cost += 1 + image.files().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() / BYTES_A_START;
        let knows = start(self.servers, server, self.settings, image).map_err(|why| {
            let message = format!("{server} could not restart from its disk as it is at {}: {why}", at(moment));
            Broken::new(Kind::PromisedBeforePersisted, "Persistent", message).since([moment])
        })?;
        let knows = Arc::new(knows);
        self.cache.insert(server, (version, Arc::clone(&knows)));
        Ok(knows)
    }
}

/// Starts server `me` of so many from `image`, in a world of its own.
fn start(servers: usize, me: ServerId, settings: Settings, image: Image) -> Result<Knows, String> {
    let shown = Arc::new(Mutex::new(None));
    let first = Arc::clone(&shown);
    let limits = Config { cpu_limit: PATIENCE, step_limit: STEPS_MAX, ..Config::seed(0) };
    let outcome = simulate(limits.time_limit(PATIENCE), move || {
        let nodes: Vec<Node> = (0..servers).map(|server| Node::new(format!("S{server}"))).collect();
        let (network, node) = (Network::new(), nodes[me.0 as usize]);
        let disk = node.disk();
        disk.restore(&image);
        watch::subscribe(move |_, view: &View| {
            let mut first = first.lock();
            if first.is_none() {
                *first = Some(view.clone());
                drop(first);
                labsim::fail("it has shown itself", ()); // That is all that is wanted.
            }
        });
        let ends = nodes.iter().map(|peer| network.end(node, *peer)).collect();
        let (apply_tx, _apply_rx) = channel::unbounded();
        let raft = node.spawn("start", move || Raft::new(ends, me, disk, apply_tx, settings)).join();
        raft.map_or(0, |raft| raft.status().0)
    });
    let view = shown.lock().take();
    match outcome.result {
        Ok(term) => Ok(Knows { view, term }),
        Err(failure) if view.is_some() && failure.kind == FailureKind::Raised => Ok(Knows { view, term: 0 }),
        Err(failure) => Err(failure.to_string()),
    }
}
