//! Raft as an actor: no lock, one thread that owns the state, and a channel of
//! everything that happens to it.
//!
//! | file | has |
//! |---|---|
//! | `actor.rs` | the loop, and the rules of servers, followers and candidates |
//! | `office.rs` | what a leader knows of its peers |
//! | `log.rs`, `disk.rs` | the log in memory, and all of the state on disk |
//! | `callers.rs` | threads that wait for answers |
//! | `message.rs`, `view.rs` | the types of the public face |
//!
//! It publishes nothing: it is judged by its messages, its disk and what it
//! applies.
//!
//! Boundary: the public face. It asks the actor, and waits for the answer.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labsim::channel::{self, Receiver, Sender, select};
use labsim::disk::Disk;
use labsim::thread;
use labsim::time::{Duration, Instant};

mod actor;
mod callers;
mod disk;
mod log;
mod message;
mod office;
mod view;

pub use self::message::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply,
    RequestVoteArgs, RequestVoteReply, ServerId, Term,
};
pub use self::view::{PeerProgress, RoleName, Shown, View};
pub use bytes::Bytes;

use self::actor::{Actor, Event, Outlets};
use self::callers::Callers;
use self::disk::Keeper;

/// What a server waits before it stands for election.
pub const ELECTION_TIMEOUT: Range<Duration> = Duration::from_millis(250)..Duration::from_millis(500);

/// What a leader waits between two heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// Another server leads, or none.
    NotLeader,
    /// This server was killed.
    Killed,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "this server does not lead",
            Self::Killed => "this server was killed",
        })
    }
}

impl std::error::Error for StartError {}

/// Why a read has to go through the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// This server does not lead.
    NotLeader,
    /// It cannot be told what is committed.
    NothingCommitted,
    /// No majority has answered in time.
    TimedOut,
    /// It was killed.
    Killed,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}: read through the log, or ask another server")
    }
}

impl std::error::Error for ReadError {}

/// What may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The most entries in one AppendEntries, at least 1.
    pub batch_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch_entries: 1000 }
    }
}

/// What the service is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyMsg {
    /// A command was committed.
    Command {
        /// Where.
        index: Index,
        /// The term of its entry.
        term: Term,
        /// What to execute.
        command: Bytes,
    },
    /// The service is to forget its state, and take this one over.
    Snapshot {
        /// The last index that it stands for.
        index: Index,
        /// The term of that entry.
        term: Term,
        /// What a service wrote.
        data: Bytes,
    },
}

impl ApplyMsg {
    /// Up to where the service is when it has done that.
    pub fn index(&self) -> Index {
        match self {
            Self::Command { index, .. } | Self::Snapshot { index, .. } => *index,
        }
    }
}

/// A server, as others see it.
#[derive(Debug)]
pub struct Raft {
    events: Sender<Event>,
}

impl Raft {
    /// Starts server `me` from its disk. `ends[i]` calls server i.
    pub fn new(
        ends: Vec<ClientEnd>,
        me: ServerId,
        disk: Disk,
        apply: Sender<ApplyMsg>,
        settings: Settings,
    ) -> Arc<Self> {
        let (events_tx, events) = channel::unbounded();
        let (disk_tx, batches) = channel::unbounded();
        let (service, told) = channel::unbounded();
        let (alive, is_over) = channel::bounded::<()>(0);
        let servers = u32::try_from(ends.len()).expect("a few servers");
        let (keeper, stored) = Keeper::open(disk);
        let callers = Callers::new(ends, events_tx.clone());
        let actor = Actor::new(me, servers, settings, stored, Outlets { callers, disk: disk_tx, service });

        let synced = events_tx.clone();
        thread::spawn("disk", move || keeper.run(&batches, &synced));
        thread::spawn("applier", move || tell(&told, &is_over, &apply));
        thread::spawn("actor", move || {
            let _alive = alive;
            actor.run(&events);
        });
        Arc::new(Self { events: events_tx })
    }

    /// What other servers may call here.
    pub fn service(self: &Arc<Self>) -> Service {
        let [votes, entries, snapshots] = [(); 3].map(|()| Arc::clone(self));
        Service::new()
            .method("RequestVote", move |args| votes.answer(|reply_to| Event::RequestVote(args, reply_to)))
            .method("AppendEntries", move |args| entries.answer(|reply_to| Event::AppendEntries(args, reply_to)))
            .method("InstallSnapshot", move |args| snapshots.answer(|reply_to| Event::InstallSnapshot(args, reply_to)))
    }

    /// Its term, and whether it believes that it leads it. (0, false) if it was
    /// killed.
    pub fn status(&self) -> (Term, bool) {
        self.ask(Event::Status).unwrap_or_default()
    }

    /// Takes a command if this server leads: where it will be if it is committed.
    ///
    /// # Errors
    ///
    /// If it does not lead, or was killed.
    pub fn start(&self, command: impl Into<Bytes>) -> Result<EntryId, StartError> {
        let command = command.into();
        self.ask(|reply_to| Event::Start(command, reply_to)).unwrap_or(Err(StartError::Killed))
    }

    /// The service has written itself down as of `index`, which it has applied.
    /// Returns when that is on disk.
    ///
    /// # Panics
    ///
    /// On the actor's thread, if the service was not told of `index`.
    pub fn snapshot(&self, index: Index, data: impl Into<Bytes>) {
        let data = data.into();
        self.ask(|reply_to| Event::Snapshot(index, data, reply_to));
    }

    /// Every read goes through the log.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn read_index(&self, _deadline: labsim::time::Instant) -> Result<Index, ReadError> {
        Err(ReadError::NothingCommitted)
    }

    /// Ends this server's threads; does not wait for them.
    pub fn kill(&self) {
        let _ = self.events.send(Event::Kill);
    }

    /// The actor's answer. None if it is gone.
    fn ask<R>(&self, event: impl FnOnce(Sender<R>) -> Event) -> Option<R> {
        let (reply_to, reply) = channel::bounded(1);
        self.events.send(event(reply_to)).ok()?;
        reply.recv().ok()
    }

    /// The same for another server: who was killed says nothing ever again.
    fn answer<R>(&self, event: impl FnOnce(Sender<R>) -> Event) -> R {
        self.ask(event).unwrap_or_else(|| {
            let _ = channel::never::<Instant>().recv();
            unreachable!("that never comes")
        })
    }
}

/// Tells the service what comes, in order, until the actor is gone.
fn tell(told: &Receiver<ApplyMsg>, is_over: &Receiver<()>, service: &Sender<ApplyMsg>) {
    for message in told {
        select! {
            send(service, message) -> sent => if sent.is_err() { return },
            recv(is_over) -> _ => return,
        }
    }
}
