//! The service that clients call.
//!
// BEGIN 3A
// STUB //! Boundary: messages in, answers out.
//! Boundary: messages in, answers out. Order and waiting are in `replica.rs`, what
//! commands do in `store.rs`.
// END 3A

use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labsim::channel;
use labsim::disk::Disk;
// BEGIN 3A
// STUB use raft::{Raft, ServerId};
use raft::{Raft, ReadError, ServerId};

use crate::message::{Command, Refusal, Request, SessionId, WriteOutcome};
use crate::replica::{Replica, SubmitError};
use crate::store::{Answer, Store};
// END 3A

/// How a Get is answered. Both are linearizable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reads {
    /// By an entry in the log, like everything else.
    #[default]
    Log,
    /// By asking whether this server leads still (§8), where that is possible.
    Index,
}

/// What may be chosen when a server is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A snapshot is made when the log has so many bytes, about. None: never.
    pub max_raft_state: Option<usize>,
    /// How a Get is answered.
    pub reads: Reads,
    /// So many clerks are remembered; at least 1. The same on all servers.
    pub sessions_max: usize,
    /// Raft's own.
    pub raft: raft::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_raft_state: None, reads: Reads::Log, sessions_max: 1000, raft: raft::Settings::default() }
    }
}

/// One server of the key-value service.
pub struct KvServer {
    // BEGIN 3A
    // STUB raft: Arc<Raft>,
    replica: Arc<Replica<Store>>,
    // END 3A
    reads: Reads,
}

impl KvServer {
    /// Starts server `me` of the cluster that `ends` lead to, with what its disk has kept.
    /// The caller has to offer [`service`](Self::service) to the others and to clients.
    /// The threads belong to the calling thread's node.
    ///
    /// # Panics
    ///
    /// As [`Raft::new`]; if `sessions_max` is 0.
    pub fn new(ends: Vec<ClientEnd>, me: ServerId, disk: Disk, settings: Settings) -> Arc<Self> {
        let (apply_tx, apply_rx) = channel::unbounded();
        let raft = Raft::new(ends, me, disk, apply_tx, settings.raft);
        // BEGIN 3A
        // STUB if settings.max_raft_state.is_some() {
        // STUB     panic!("3B: not implemented yet: kvraft/README.md#3b");
        // STUB }
        // STUB // What is committed comes out of `apply_rx`.
        // STUB let _ = (Self { raft, reads: settings.reads }, apply_rx);
        // STUB panic!("3A: not implemented yet: kvraft/README.md#3a")
        let store = Store::new(settings.sessions_max);
        let replica = Replica::new(raft, apply_rx, store, settings.max_raft_state);
        Arc::new(Self { replica, reads: settings.reads })
        // END 3A
    }

    /// What this server offers: to clients, and Raft's own to the other servers.
    pub fn service(self: &Arc<Self>) -> Service {
        // BEGIN 3A
        // STUB self.raft.service() // 3A: and what clerks may call.
        let [opens, reads, writes] = [(); 3].map(|()| Arc::clone(self));
        let raft = self.raft().service();
        raft.method("OpenSession", move |()| opens.open_session())
            .method("Get", move |key: String| reads.get(key))
            .method("Write", move |request: Request| writes.write(request))
        // END 3A
    }

    /// Its Raft.
    pub fn raft(&self) -> &Arc<Raft> {
        // BEGIN 3A
        // STUB &self.raft
        self.replica.raft()
        // END 3A
    }

    /// Tells this server's threads to end. What others ask is still answered, mostly by
    /// a refusal.
    pub fn kill(&self) {
        self.raft().kill();
    }

    // BEGIN 3A
    fn open_session(&self) -> Result<SessionId, Refusal> {
        match self.submit(&Command::OpenSession)? {
            Answer::Opened(id) => Ok(id),
            answer => panic!("a session was opened, and the answer is {answer:?}"),
        }
    }

    fn write(&self, request: Request) -> Result<WriteOutcome, Refusal> {
        match self.submit(&Command::Write(request))? {
            Answer::Written(outcome) => Ok(outcome),
            answer => panic!("a key was written, and the answer is {answer:?}"),
        }
    }

    fn get(&self, key: String) -> Result<String, Refusal> {
        if self.reads == Reads::Index {
            match self.replica.read(|store| store.get(&key)) {
                Ok(value) => return Ok(value),
                Err(ReadError::NothingCommitted) => {} // A new leader: through the log.
                Err(ReadError::NotLeader | ReadError::Killed) => return Err(Refusal::NotLeader),
                Err(ReadError::TimedOut) => return Err(Refusal::TimedOut),
            }
        }
        match self.submit(&Command::Get { key })? {
            Answer::Value(value) => Ok(value),
            answer => panic!("a key was read, and the answer is {answer:?}"),
        }
    }

    fn submit(&self, command: &Command) -> Result<Answer, Refusal> {
        self.replica.submit(command).map_err(|error| match error {
            SubmitError::NotTaken => Refusal::NotLeader,
            SubmitError::Lost => Refusal::Lost,
            SubmitError::Unknown => Refusal::TimedOut,
        })
    }
    // END 3A
}
