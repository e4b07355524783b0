//! Commands that know whether anybody still has them.
//!
//! A log that has made a snapshot is to forget what is in it, in memory as well as
//! on disk. From outside only the disk can be read. But a command that a test makes
//! lies in the log of the leader that took it, and not in a copy of it: so it can
//! be seen when the last to hold it lets go.
//!
//! What other servers have came over the network, and is not counted.
//!
//! Boundary: counts. How many there may be is for a test to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft::Bytes;

use super::Lab;

/// How many of the commands that a lab has made are still held.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Arc<AtomicU64>,
}

/// The bytes of one command.
struct Counted {
    bytes: Vec<u8>,
    held: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    pub(super) fn command(&self, bytes: Vec<u8>) -> Bytes {
        self.held.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Counted { bytes, held: Arc::clone(&self.held) })
    }
}

impl Lab {
    /// How many commands that came from [`Lab::any_command`] are still in somebody's
    /// memory: in a log, in a message that is being sent, or with the caller.
    pub fn commands_held(&self) -> u64 {
        self.shared.memory.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_held_until_its_last_clone_goes() {
        let memory = Memory::default();
        let held = || memory.held.load(Ordering::Relaxed);
        let (first, second) = (memory.command(b"x".to_vec()), memory.command(b"y".to_vec()));
        let clone = first.clone();
        assert_eq!((held(), &clone[..], &second[..]), (2, &b"x"[..], &b"y"[..]));
        drop(first);
        assert_eq!(held(), 2);
        drop(clone);
        assert_eq!(held(), 1);
    }
}
