//! What survives a crash (Figure 2, "Persistent state on all servers", and the
//! snapshot of §7).
//!
//! Three files. The term and the vote are a few bytes, and replaced. Entries are
//! appended to the log's file as they come, and cut off it where they give way,
//! so that saving costs what changed and not what there is. A snapshot replaces
//! its file, and the log's with it, since its beginning has gone. One `sync`
//! makes all of it durable at once, or nothing: no crash leaves a new snapshot
//! with an old log.
//!
//! Boundary: the files and their format. When to save is decided by the threads.

// BEGIN 2C
use bytes::Bytes;
use labsim::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::log::Log;
use crate::message::{Entry, EntryId, Index, ServerId, Term};
use crate::state::State;

/// The file that holds the term and the vote.
const PROMISES_FILE: &str = "promises";
/// The file that holds the entries, one after the other, each after its length.
const LOG_FILE: &str = "log";
/// The file that holds the snapshot, and the last entry that is in it. The labs know
/// it by this name: in part 2D they measure all others.
const SNAPSHOT_FILE: &str = "snapshot";

/// Why a file can be read.
const WHOLE: &str = "a synced file is whole, and only this program writes it";

/// The length of an entry, as it stands before it.
type EntryLen = u32;

/// The term and the vote, as they are on disk. On first boot there are none: term
/// 0, and a vote for nobody.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Promises {
    pub(crate) current_term: Term,
    pub(crate) voted_for: Option<ServerId>,
}

/// What an earlier life of a server has left on its disk.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) promises: Promises,
    pub(crate) log: Log,
    pub(crate) snapshot: Bytes,
    pub(crate) journal: Journal,
}

/// What has changed since the last save.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unsaved {
    /// The term or the vote.
    pub(crate) promises: bool,
    /// The log, from this index on.
    pub(crate) log_from: Option<Index>,
    /// The snapshot, and with it the beginning of the log.
    pub(crate) snapshot: bool,
}

impl Unsaved {
    /// The log has changed from `first` on.
    pub(crate) fn note_log(&mut self, first: Index) {
        self.log_from = Some(self.log_from.map_or(first, |known| known.min(first)));
    }
}

/// Where in the log's file its entries end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Journal {
    /// The index before that of the first entry in the file.
    base: Index,
    /// For each entry, the length of the file up to its end.
    ends: Vec<usize>,
}

impl Journal {
    /// Forgets the entries from `first` on, and returns how long the file is
    /// without them.
    fn cut(&mut self, first: Index) -> usize {
        let kept = usize::try_from(first - self.base - 1).expect("a log fits in memory");
        self.ends.truncate(kept);
        self.len()
    }

    /// The bytes of more entries, which from now on are in the file.
    fn add(&mut self, entries: &[Entry]) -> Vec<u8> {
        let before = self.len();
        let mut bytes = Vec::new();
        for entry in entries {
            let encoded = labrpc::encode(entry);
            let len = EntryLen::try_from(encoded.len()).expect("an entry has less than 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&encoded);
            self.ends.push(before + bytes.len());
        }
        bytes
    }

    /// How long the file is.
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl Kept {
    /// Reads all of it; nothing on a new disk.
    pub(crate) fn load(disk: &Disk) -> Self {
        let (base, snapshot): (EntryId, Bytes) = read(disk, SNAPSHOT_FILE);
        let mut journal = Journal { base: base.index, ends: Vec::new() };
        let mut entries = Vec::new();
        let file = disk.read(LOG_FILE);
        while let Some((len, rest)) = file[journal.len()..].split_first_chunk() {
            let len = EntryLen::from_le_bytes(*len) as usize;
            entries.push(rest.get(..len).and_then(|entry| labrpc::decode(entry).ok()).expect(WHOLE));
            journal.ends.push(journal.len() + size_of::<EntryLen>() + len);
        }
        Self { promises: read(disk, PROMISES_FILE), log: Log::new(base, entries), snapshot, journal }
    }
}

fn read<T: Default + serde::de::DeserializeOwned>(disk: &Disk, file: &str) -> T {
    let bytes = disk.read(file);
    if bytes.is_empty() { T::default() } else { labrpc::decode(&bytes).expect(WHOLE) }
}

impl State {
    /// Puts on disk what is not there yet. When it returns, it is (Persistent).
    pub(crate) fn save_unsaved(&mut self, disk: &Disk) {
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved == Unsaved::default() {
            return;
        }
        if unsaved.promises {
            let promises = Promises { current_term: self.current_term, voted_for: self.voted_for };
            disk.replace(PROMISES_FILE, labrpc::encode(&promises));
        }
        let base = self.log.base();
        if unsaved.snapshot {
            disk.replace(SNAPSHOT_FILE, labrpc::encode(&(base, &self.snapshot)));
            self.journal = Journal { base: base.index, ends: Vec::new() };
            disk.replace(LOG_FILE, self.journal.add(self.log.entries_from(base.index + 1, usize::MAX)));
        } else if let Some(first) = unsaved.log_from {
            disk.truncate(LOG_FILE, self.journal.cut(first));
            disk.append(LOG_FILE, &self.journal.add(self.log.entries_from(first, usize::MAX)));
        }
        disk.sync();
    }

    /// The last entry that is on disk, together with all before it: a snapshot is
    /// saved in the section that took it, so none is ever missing here.
    pub(crate) fn last_saved(&self) -> Index {
        self.unsaved.log_from.map_or(self.log.last().index, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entries_of;
    use labsim::node::Node;
    use labsim::{Config, simulate};

    /// Whatever is done to the state, what is read back is the same.
    #[test]
    fn what_is_saved_is_read_back_2c() {
        let outcome = simulate(Config::seed(1), || {
            let disk = Node::new("S0").disk();
            let mut state = crate::testing::server_of(3);
            let saves_and_loads = |state: &mut State| {
                let before = disk.len(LOG_FILE);
                state.save_unsaved(&disk);
                let kept = Kept::load(&disk);
                let promises = Promises { current_term: state.current_term, voted_for: state.voted_for };
                assert_eq!((&kept.promises, &kept.log), (&promises, &state.log));
                assert_eq!((&kept.snapshot, &kept.journal), (&state.snapshot, &state.journal));
                (before, disk.len(LOG_FILE))
            };
            assert_eq!(saves_and_loads(&mut state), (0, 0));
            state.observe_term(7);
            saves_and_loads(&mut state);

            // Appended, replaced in the middle, and cut at the front.
            for (prev, terms) in [(0, &[1, 1, 2, 2][..]), (4, &[3]), (2, &[4, 4]), (4, &[7])] {
                if let Some(first) = state.log.merge(prev, &entries_of(terms)) {
                    state.unsaved.note_log(first);
                }
                saves_and_loads(&mut state);
            }
            let last = state.log.id_at(3).expect("it is there");
            state.log.compact(last);
            state.snapshot = Bytes::from(vec![1, 2, 3]);
            state.unsaved.snapshot = true;
            let (before, after) = saves_and_loads(&mut state);
            assert!(after < before, "what is in the snapshot is dropped from the log's file");
            state.unsaved.note_log(state.log.append(entries_of(&[7])[0].clone()).index);
            saves_and_loads(&mut state);
            for _ in 0..2 {
                state.unsaved.note_log(state.log.append(entries_of(&[7])[0].clone()).index);
            }
            saves_and_loads(&mut state); // Two that came since the last save.
        });
        outcome.result.unwrap();
    }

    #[test]
    fn one_entry_more_is_one_entry_written_2c() {
        let mut journal = Journal { base: 10, ends: Vec::new() };
        let all = journal.add(&entries_of(&[1; 100]));
        let one = journal.add(&entries_of(&[1]));
        assert_eq!(all.len(), 100 * one.len());
        assert_eq!(journal.cut(11 + 50), 50 * one.len());
    }
}
// END 2C
