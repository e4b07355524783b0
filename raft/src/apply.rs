//! How the service learns what is committed (Figure 2, AllServers.1).
//!
//! Boundary: order. What the service does with it is its own affair.

use bytes::Bytes;
// BEGIN 2B
use labsim::channel::Sender;
// END 2B

use crate::message::{Index, Term};
// BEGIN 2B
// STUB #[cfg(doc)]
// STUB use crate::peer::Raft;
use crate::peer::Raft;
use crate::state::State;
// END 2B

/// What a service is told, in the order of the log.
///
/// A service starts empty, in each life anew. If this server has a snapshot, then
/// that comes first. Each command's index is one more than that of the message
/// before, and a snapshot's is greater.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyMsg {
    /// An entry was committed: do what it says.
    Command {
        /// Its place in the log.
        index: Index,
        /// The term that wrote it.
        term: Term,
        /// What to do.
        command: Bytes,
    },
    /// Forget everything, and take this state over.
    Snapshot {
        /// The last entry whose effect is in it.
        index: Index,
        /// The term of that entry.
        term: Term,
        /// What a service once gave to [`Raft::snapshot`].
        data: Bytes,
    },
}

impl ApplyMsg {
    /// The last entry of which this tells.
    pub fn index(&self) -> Index {
        match self {
            Self::Command { index, .. } | Self::Snapshot { index, .. } => *index,
        }
    }
}

// BEGIN 2B
impl Raft {
    /// Tells the service what is committed, each thing once in this life. Ends
    /// when this server is killed, or the service is gone.
    ///
    /// The only thread that moves `last_applied`. So the lock may be open while
    /// the service is told, and the order is kept.
    pub(crate) fn run_applier(&self, apply: &Sender<ApplyMsg>) {
        while let Some(messages) = self.next_to_apply() {
            for message in messages {
                // With the lock open: the service may call `start` meanwhile.
                if apply.send(message).is_err() {
                    return;
                }
            }
        }
    }

    /// Waits until something is committed that was not applied. None if this
    /// server was killed.
    fn next_to_apply(&self) -> Option<Vec<ApplyMsg>> {
        let mut state = self.lock();
        // AllServers.1.
        self.commit_advanced.wait_while(&mut state, |state| !state.killed && state.last_applied == state.commit_index);
        if state.killed {
            return None;
        }
        let messages = state.take_unapplied();
        state.check_invariants();
        Some(messages)
    }
}

impl State {
    /// What is committed and was not applied yet, which from now on it is.
    pub(crate) fn take_unapplied(&mut self) -> Vec<ApplyMsg> {
        let base = self.log.base();
        let mut messages = Vec::new();
        if self.last_applied < base.index {
            // The entries are gone; the snapshot is what they came to.
            messages.push(ApplyMsg::Snapshot { index: base.index, term: base.term, data: self.snapshot.clone() });
            self.last_applied = base.index;
        }
        let count = usize::try_from(self.commit_index - self.last_applied).expect("a log fits in memory");
        let entries = self.log.entries_from(self.last_applied + 1, count).iter();
        messages.extend((self.last_applied + 1..).zip(entries).map(|(index, entry)| ApplyMsg::Command {
            index,
            term: entry.term,
            command: entry.command.clone(),
        }));
        self.last_applied = self.commit_index;
        messages
    }
}
// END 2B
