//! The thread that writes, and what it finds at a restart.
//!
//! It takes whatever batches have come meanwhile, writes them, and syncs once for
//! all of them: the longer a sync takes, the more the next one is for.
//!
//! Three files. `ballot` has the term and the vote; `log` the entries after the
//! snapshot, one record after the other; `snapshot` what it stands for, and itself.
//!
//! Boundary: the only file that knows how state becomes bytes. Does not know what
//! waits for a sync.

use bytes::Bytes;
use labsim::channel::{Receiver, Sender};
use labsim::disk::Disk;

use crate::actor::Event;
use crate::message::{Entry, EntryId, Index, ServerId, Term};

const BALLOT: &str = "ballot";
const LOG: &str = "log";
const SNAPSHOT: &str = "snapshot";

/// The bytes of a record that say how long it is.
const LENGTH_BYTES: usize = 4;

/// Something to write down.
#[derive(Debug)]
pub(crate) enum Write {
    /// The term, and the vote in it.
    Ballot(Term, Option<ServerId>),
    /// The next entry.
    Append(Entry),
    /// Entries from here on are void.
    CutFrom(Index),
    /// A snapshot in place of all entries up to its base, or of all there are.
    Snapshot { base: EntryId, data: Bytes, keeps_rest: bool },
}

/// Writes of one turn. When a batch is synced, so are all with lower tickets.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ticket: u64,
    pub(crate) writes: Vec<Write>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) term: Term,
    pub(crate) vote: Option<ServerId>,
    pub(crate) base: EntryId,
    pub(crate) snapshot: Bytes,
    pub(crate) entries: Vec<Entry>,
}

/// The disk, and where its records end.
#[derive(Debug)]
pub(crate) struct Keeper {
    disk: Disk,
    base: Index,
    /// By entry: the length of the file up to its end.
    ends: Vec<usize>,
}

impl Keeper {
    /// Reads what earlier lives have left.
    pub(crate) fn open(disk: Disk) -> (Self, Stored) {
        const DAMAGED: &str = "a disk returns what was synced";
        let mut stored = Stored::default();
        if disk.len(BALLOT) > 0 {
            (stored.term, stored.vote) = labrpc::decode(&disk.read(BALLOT)).expect(DAMAGED);
        }
        if disk.len(SNAPSHOT) > 0 {
            (stored.base, stored.snapshot) = labrpc::decode(&disk.read(SNAPSHOT)).expect(DAMAGED);
        }
        let (bytes, mut ends, mut end) = (disk.read(LOG), Vec::new(), 0);
        while let Some((length, rest)) = bytes[end..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_le_bytes(*length) as usize;
            stored.entries.push(labrpc::decode(&rest[..length]).expect(DAMAGED));
            end += LENGTH_BYTES + length;
            ends.push(end);
        }
        (Self { disk, base: stored.base.index, ends }, stored)
    }

    /// Writes what comes until nobody sends any more.
    pub(crate) fn run(mut self, batches: &Receiver<Batch>, events: &Sender<Event>) {
        while let Ok(first) = batches.recv() {
            let mut ticket = 0;
            for batch in std::iter::once(first).chain(batches.try_iter()) {
                ticket = batch.ticket;
                batch.writes.into_iter().for_each(|write| self.write(write));
            }
            self.disk.sync();
            if events.send(Event::Synced(ticket)).is_err() {
                return;
            }
        }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Ballot(term, vote) => self.disk.replace(BALLOT, labrpc::encode(&(term, vote))),
            Write::Append(entry) => {
                let bytes = labrpc::encode(&entry);
                let length = u32::try_from(bytes.len()).expect("a command is no gigabytes");
                let record = [&length.to_le_bytes()[..], &bytes].concat();
                self.ends.push(self.end_of(self.ends.len()) + record.len());
                self.disk.append(LOG, &record);
            }
            Write::CutFrom(first) => {
                self.ends.truncate((first - self.base - 1) as usize);
                self.disk.truncate(LOG, self.end_of(self.ends.len()));
            }
            Write::Snapshot { base, data, keeps_rest } => {
                let dropped = if keeps_rest { (base.index - self.base) as usize } else { self.ends.len() };
                let cut = self.end_of(dropped);
                self.ends = self.ends[dropped..].iter().map(|end| end - cut).collect();
                self.base = base.index;
                self.disk.replace(SNAPSHOT, labrpc::encode(&(base, data)));
                self.disk.replace(LOG, self.disk.read(LOG).split_off(cut));
            }
        }
    }

    /// Where the first so many records end.
    fn end_of(&self, records: usize) -> usize {
        records.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use labsim::node::Node;
    use labsim::{Config, simulate};

    #[test]
    fn what_was_written_is_found() {
        let outcome = simulate(Config::seed(1), || {
            let entry = |term: Term| Entry { term, command: Bytes::from(format!("command {term}")) };
            let node = Node::new("server");
            let (mut keeper, _) = Keeper::open(node.disk());
            let base = EntryId { term: 2, index: 2 };
            let writes = [
                Write::Ballot(7, Some(ServerId(2))),
                Write::Append(entry(1)),
                Write::Append(entry(2)),
                Write::Append(entry(3)),
                Write::CutFrom(3),
                Write::Append(entry(4)),
                Write::Snapshot { base, data: Bytes::from_static(b"two"), keeps_rest: true },
                Write::Append(entry(5)),
            ];
            writes.into_iter().for_each(|write| keeper.write(write));
            let (mut keeper, stored) = Keeper::open(node.disk());
            assert_eq!((stored.term, stored.vote, stored.base), (7, Some(ServerId(2)), base));
            assert_eq!((&stored.snapshot[..], stored.entries), (&b"two"[..], vec![entry(4), entry(5)]));

            keeper.write(Write::CutFrom(4));
            let base = EntryId { term: 6, index: 9 };
            keeper.write(Write::Snapshot { base, data: Bytes::new(), keeps_rest: false });
            let (_, stored) = Keeper::open(node.disk());
            assert_eq!((stored.base, stored.entries), (base, Vec::new()));
        });
        outcome.result.unwrap();
    }
}
