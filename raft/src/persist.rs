//! What survives a crash (Figure 2, "Persistent state on all servers").
//!
//! Boundary: the file and its format. When to save is decided in `peer.rs`, at
//! the one door that promises leave through.

use labsim::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::message::{ServerId, Term};
use crate::state::State;

/// The file that holds the term and the vote.
const PROMISES_FILE: &str = "promises";

/// The term and the vote, as they are on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Promises {
    pub(crate) current_term: Term,
    pub(crate) voted_for: Option<ServerId>,
}

impl Promises {
    /// What an earlier life of this server promised; nothing on a new disk.
    pub(crate) fn load(disk: &Disk) -> Self {
        let bytes = disk.read(PROMISES_FILE);
        if bytes.is_empty() {
            return Self::default();
        }
        labrpc::decode(&bytes).expect("a synced file is whole, and only this program writes it")
    }
}

impl State {
    /// Puts on disk what is not there yet. When it returns, it is.
    pub(crate) fn save_unsaved(&mut self, disk: &Disk) {
        if !self.unsaved {
            return;
        }
        let promises = Promises { current_term: self.current_term, voted_for: self.voted_for };
        disk.replace(PROMISES_FILE, labrpc::encode(&promises));
        disk.sync();
        self.unsaved = false;
    }
}
