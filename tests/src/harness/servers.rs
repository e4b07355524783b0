//! Servers start, crash, and serve.
//!
//! Each has a service, which writes down what it is told and makes a snapshot of
//! that now and then.
//!
//! Boundary: one server at a time. Who is told to crash, and when, is for a test to
//! say.

use std::sync::Arc;

use kvraft::KvServer;
use labsim::channel;
use labsim::disk::Disk;
use labsim::time::Duration;
use raft::{ApplyMsg, EntryId, Index, Raft, ServerId};

use super::onlooker::Happening;
use super::{Lab, Service};
use crate::check::{Broken, Kind};
use crate::events;
use crate::watch::Sight;

/// Calls of a server that was killed may take so long to end.
const LAST_CALL: Duration = Duration::from_secs(8);
/// The thread on which a service is told what is committed.
const SERVICE: &str = "service";
/// Threads that wait for a Raft, and not in it: the service for what it is told; and on a
/// request that comes late, nobody need look at any more.
const NOT_RAFTS: [&str; 4] = [SERVICE, "RequestVote", "AppendEntries", "InstallSnapshot"];

impl Lab {
    /// True unless it has crashed and was not started since.
    pub fn is_up(&self, server: usize) -> bool {
        self.raft(server).is_some()
    }

    /// Stops a server dead: its threads end where they stand, and what it has
    /// not synced to its disk is lost. Does nothing if it is down.
    pub fn crash(&self, server: usize) {
        let (node, raft) = {
            let mut servers = self.shared.servers.lock();
            (servers[server].node, (servers[server].raft.take(), servers[server].kv.take()))
        };
        // First: a thread of that node does not come back from crashing it.
        self.shared.watchers.lock().crashes(ServerId(u32::try_from(server).expect("a few servers")));
        node.crash();
        self.shared.network.withdraw(node);
        drop(raft);
    }

    /// Starts a server that is down from its disk. Its links stay as they are. It
    /// may be down again when this returns: an onlooker may crash it.
    pub fn restart(&self, server: usize) {
        self.node(server).restart();
        self.start_server(server);
    }

    /// Crashes all, and starts them again.
    pub fn restart_all(&self) {
        (0..self.count()).for_each(|server| self.crash(server));
        (0..self.count()).for_each(|server| self.restart(server));
    }

    /// Kills all that are up, and fails the run if one of their threads waits for ever
    /// afterwards.
    pub fn kill_all(&self) {
        let begun = labsim::elapsed();
        self.shared.watchers.lock().all_killed();
        (0..self.count()).filter_map(|server| self.raft(server)).for_each(|raft| raft.kill());
        self.run_for(LAST_CALL);
        for server in (0..self.count()).filter(|server| self.is_up(*server)) {
            let is_its_own =
                |thread: &String| !NOT_RAFTS.iter().any(|name| thread.starts_with(&format!("`{name}` of ")));
            let mut waits = labsim::watch::waiting_threads(self.node(server).id()).into_iter();
            if let Some(thread) = waits.find(is_its_own) {
                let message = format!(
                    "S{server} was killed at {:.3}s, and {} s later one of its threads is there: {thread}; whatever a \
                     thread waits for, `Raft::kill` must end that",
                    begun.as_secs_f64(),
                    LAST_CALL.as_secs()
                );
                self.fail(Broken::new(Kind::Stuck, "Stuck", message));
            }
        }
    }

    pub(super) fn start_server(&self, id: usize) {
        let node = self.node(id);
        let ends = (0..self.count()).map(|peer| self.shared.network.end(node, self.node(peer))).collect();
        let disk: Disk = node.disk();
        let me = ServerId(u32::try_from(id).expect("a few servers"));
        let settings = self.shared.settings;
        self.shared.applies.lock().begin_life(me);
        self.shared.watchers.lock().begin_life(labsim::elapsed(), me);
        let life = node.life();
        if let Service::KeyValue { max_raft_state } = self.shared.service {
            let settings = kvraft::Settings {
                max_raft_state,
                reads: self.shared.reads,
                raft: settings,
                ..kvraft::Settings::default()
            };
            let started = node.spawn("start", move || KvServer::new(ends, me, disk, settings)).join();
            if !node.is_in_life(life) {
                return;
            }
            let Ok(kv) = started else {
                self.fail(Broken::unnamed(Kind::Harness, format!("{me} did not start")));
            };
            self.shared.network.serve(node, kv.service());
            let server = &mut self.shared.servers.lock()[id];
            (server.raft, server.kv) = (Some(Arc::clone(kv.raft())), Some(kv));
            return;
        }
        // Without room, as in the course: who tells the service waits for it.
        let (apply_tx, apply_rx) = channel::bounded(0);
        let started = node.spawn("start", move || Raft::new(ends, me, disk, apply_tx, settings)).join();
        if !node.is_in_life(life) {
            return;
        }
        let Ok(raft) = started else {
            self.fail(Broken::unnamed(Kind::Harness, format!("{me} did not start")));
        };
        let (lab, served) = (self.clone(), Arc::clone(&raft));
        node.spawn(SERVICE, move || {
            for told in apply_rx {
                lab.serve(me, &served, &told);
            }
        });
        self.shared.network.serve(node, raft.service());
        if node.is_in_life(life) {
            self.shared.servers.lock()[id].raft = Some(raft);
        }
    }

    fn snapshot_every(&self) -> Option<Index> {
        match self.shared.service {
            Service::Recorder { snapshot_every } => snapshot_every,
            Service::KeyValue { .. } => None,
        }
    }

    /// The service on a server: it writes down what it is told, and makes a
    /// snapshot of that now and then.
    fn serve(&self, me: ServerId, raft: &Raft, told: &ApplyMsg) {
        let at = labsim::elapsed();
        let before = self.shared.applies.lock().highest();
        match told {
            ApplyMsg::Command { index, command, .. } => events::applies(*index, command),
            ApplyMsg::Snapshot { index, .. } => events::installs(*index),
        }
        let judged = match told {
            ApplyMsg::Command { index, command, .. } => self.shared.applies.lock().command(at, me, *index, command),
            ApplyMsg::Snapshot { index, data, .. } => {
                let mut applies = self.shared.applies.lock();
                if applies.last(me) > 0 {
                    self.shared.trail.sights.lock().see(Sight::SnapshotInstalled);
                }
                applies.snapshot(at, me, *index, data)
            }
        };
        let judged = judged.and_then(|()| match told {
            ApplyMsg::Command { index, term, .. } => {
                let id = EntryId { term: *term, index: *index };
                self.shared.watchers.lock().applies(at, me, id)
            }
            ApplyMsg::Snapshot { .. } => Ok(()),
        });
        if let Err(broken) = judged {
            self.fail(broken);
        }
        let server = me.0 as usize;
        self.shared.onlooker.show(&match told {
            ApplyMsg::Command { index, .. } => Happening::Applies { server, is_first: *index > before },
            ApplyMsg::Snapshot { .. } => Happening::SnapshotTold { server },
        });
        if let (ApplyMsg::Command { index, .. }, Some(every)) = (told, self.snapshot_every())
            && (index + 1) % every == 0
        {
            let snapshot = self.shared.applies.lock().write_snapshot(me);
            raft.snapshot(*index, snapshot);
            self.shared.onlooker.show(&Happening::SnapshotSaved { server });
        }
    }
}
