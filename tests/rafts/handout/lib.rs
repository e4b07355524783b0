//! Raft in blocking threads, written from the handout and the paper.
//!
//! One lock guards all state (`state.rs`, `log.rs`), and publishes it (`view.rs`).
//! Three threads live as long as the server: a ticker wakes every 10 ms and looks
//! what is due, a sender makes a leader's calls (`replication.rs`), an applier hands
//! to the service what is committed. Each call has a thread of its own, as it may
//! take seconds. Who stands for election asks for votes in `election.rs`.
//!
//! Whoever changes what must survive a crash writes it to disk before the lock
//! opens, so nobody ever acts on a state that may be forgotten.
//!
//! Boundary: one server. Knows others by their ends only.

use std::fmt;
use std::ops::Range;

use labrpc::{ClientEnd, Service};
use labsim::channel::{SendTimeoutError, Sender};
use labsim::disk::Disk;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::thread;
use labsim::time::{Duration, Instant};

mod election;
mod log;
mod replication;
mod state;
mod types;
mod view;

use self::state::{Role, State};

pub use self::types::{
    AppendEntriesArgs, AppendEntriesReply, ApplyMsg, Entry, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply,
    ReadError, RequestVoteArgs, RequestVoteReply, ServerId, Settings, StartError, Term,
};
pub use self::view::{PeerProgress, RoleName, Shown, View};
pub use bytes::Bytes;

/// How long a server waits for a leader before it stands for election. The upper
/// end leaves room for the ticker, which looks only now and then.
pub const ELECTION_TIMEOUT: Range<Duration> = Duration::from_millis(300)..Duration::from_millis(600);

/// What a deadline is drawn from.
const DRAWN_FROM: Range<Duration> = Duration::from_millis(300)..Duration::from_millis(580);

/// How often an idle leader tells each of the others that it is there.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// How often the ticker looks.
const TICK: Duration = Duration::from_millis(10);

/// How long a hand-over to the service goes on before it looks for a kill.
const APPLY_PATIENCE: Duration = Duration::from_millis(500);

/// One Raft server.
pub struct Raft {
    ends: Vec<ClientEnd>,
    state: Mutex<State>,
    /// There may be something to send or to apply, or the server was killed.
    changed: Condvar,
}

impl Raft {
    /// Starts server `me` with what `disk` kept of earlier lives.
    ///
    /// `ends[i]` calls server i; the one at `me` is never used. Commands that are
    /// committed go to `apply`.
    pub fn new(
        ends: Vec<ClientEnd>,
        me: ServerId,
        disk: Disk,
        apply: Sender<ApplyMsg>,
        settings: Settings,
    ) -> Arc<Self> {
        let state = State::load(me, ends.len(), disk, settings);
        let raft = Arc::new(Self { ends, state: Mutex::observed(state, view::show), changed: Condvar::new() });
        let ticker = Arc::clone(&raft);
        thread::spawn("ticker", move || ticker.tick());
        let sender = Arc::clone(&raft);
        thread::spawn("sender", move || sender.send());
        let applier = Arc::clone(&raft);
        thread::spawn("applier", move || applier.apply(&apply));
        raft
    }

    /// The RPCs that other servers may call here.
    pub fn service(self: &Arc<Self>) -> Service {
        let [votes, entries, snapshots] = [(); 3].map(|()| Arc::clone(self));
        Service::new()
            .method("RequestVote", move |args| votes.request_vote(&args))
            .method("AppendEntries", move |args| entries.append_entries(args))
            .method("InstallSnapshot", move |args| snapshots.install_snapshot(args))
    }

    /// The current term, and whether this server believes that it leads it.
    pub fn status(&self) -> (Term, bool) {
        let state = self.state.lock();
        (state.term, state.role == Role::Leader)
    }

    /// Takes a command if this server leads: where it will be if it is committed.
    ///
    /// # Errors
    ///
    /// If this server does not lead, or was killed.
    pub fn start(&self, command: impl Into<Bytes>) -> Result<EntryId, StartError> {
        let mut state = self.state.lock();
        if state.killed {
            return Err(StartError::Killed);
        }
        if state.role != Role::Leader {
            return Err(StartError::NotLeader);
        }
        let term = state.term;
        state.log.push(Entry { term, command: command.into() });
        state.touch();
        state.save();
        state.count_myself();
        self.changed.notify_all();
        Ok(state.log.last())
    }

    /// The service has written itself down as of `index`, which it has applied.
    pub fn snapshot(&self, index: Index, data: impl Into<Bytes>) {
        let mut state = self.state.lock();
        if !state.killed {
            state.take_snapshot(index, data.into());
        }
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
        self.state.lock().killed = true;
        self.changed.notify_all();
    }

    /// The ticker's life.
    fn tick(self: &Arc<Self>) {
        loop {
            thread::sleep(TICK);
            let mut state = self.state.lock();
            if state.killed {
                return;
            }
            if state.role != Role::Leader && Instant::now() >= state.election_deadline {
                state.stand();
                let (args, others) = (state.vote_request(), state.others());
                drop(state);
                self.ask_all(&args, others);
            }
            self.changed.notify_all(); // Somebody may be due to hear from this leader.
        }
    }

    /// The applier's life.
    fn apply(&self, service: &Sender<ApplyMsg>) {
        loop {
            let mut state = self.state.lock();
            let mut message = loop {
                if state.killed {
                    return;
                }
                match state.next_to_apply() {
                    Some(message) => break message,
                    None => self.changed.wait(&mut state),
                }
            };
            drop(state);
            // The service may take its time, but a killed server shall end.
            while let Err(error) = service.send_timeout(message, APPLY_PATIENCE) {
                match error {
                    SendTimeoutError::Timeout(_) if self.state.lock().killed => return,
                    SendTimeoutError::Timeout(unsent) => message = unsent,
                    SendTimeoutError::Disconnected(_) => return,
                }
            }
        }
    }
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("servers", &self.ends.len()).finish_non_exhaustive()
    }
}
