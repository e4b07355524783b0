//! What can be seen of servers from outside, as it happens.
//!
//! Whoever looks on is shown it on the very thread that does it, before that goes
//! on. So a fault can strike at a moment that no clock would hit.
//!
//! Boundary: shows. Who makes what of it is not known here.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use labsim::disk::Change;
use raft::ServerId;

use super::{Lab, Shared};
use crate::watch::Wire;

/// Something that a server does.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// It sends a message, or has one.
    Message(&'a Wire<'a>),
    /// It has taken a command.
    Takes {
        /// Who.
        server: usize,
    },
    /// Its service has applied a command.
    Applies {
        /// Whose.
        server: usize,
        /// Nobody has applied that index before.
        is_first: bool,
    },
    /// Its service has taken a snapshot over.
    SnapshotTold {
        /// Whose.
        server: usize,
    },
    /// It has saved what its service wrote of itself.
    SnapshotSaved {
        /// Who.
        server: usize,
    },
    /// It has written to its disk, or synced it.
    Writes {
        /// Who.
        server: usize,
        /// A file has become shorter.
        is_cut: bool,
    },
}

type Look = Box<dyn Fn(&Happening<'_>) + Send + Sync>;

/// Whoever looks on, if anybody does.
#[derive(Default)]
pub(super) struct Onlooker(OnceLock<Look>);

impl Onlooker {
    pub(super) fn show(&self, happening: &Happening<'_>) {
        if let Some(look) = self.0.get() {
            look(happening);
        }
    }
}

impl Onlooker {
    /// Shows a step of a server on its disk.
    pub(super) fn show_written(&self, server: ServerId, change: &Change<'_>) {
        let is_cut = matches!(change, Change::File { before, after, .. } if after < before);
        self.show(&Happening::Writes { server: server.0 as usize, is_cut });
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "looks on" } else { "nobody looks on" })
    }
}

/// A lab that may be gone: for what the lab itself owns.
#[derive(Clone)]
pub struct WeakLab(Weak<Shared>);

impl WeakLab {
    /// The lab, unless the run is over.
    pub fn get(&self) -> Option<Lab> {
        self.0.upgrade().map(|shared| Lab { shared })
    }
}

impl Lab {
    /// The same lab, without keeping it.
    pub fn downgrade(&self) -> WeakLab {
        WeakLab(Arc::downgrade(&self.shared))
    }

    /// Shows all that happens from now on to `look`, after the watchers have seen
    /// it. It must not wait, and must own no lab. It may crash servers, the one
    /// that it is shown included, and change links; while a disk is written,
    /// only crash.
    ///
    /// # Panics
    ///
    /// If somebody looks on already.
    pub fn look_on(&self, look: impl Fn(&Happening<'_>) + Send + Sync + 'static) {
        let set = self.shared.onlooker.0.set(Box::new(look));
        assert!(set.is_ok(), "somebody looks on already");
    }
}
