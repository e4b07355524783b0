//! Disks: named files that survive a crash, if they were synced.
//!
//! Writes are buffered until [`sync`](Disk::sync), which makes all of them
//! durable at once, or none: a crash before it leaves every file as the last
//! sync left it. There are no torn writes and no lost syncs. Reads see the
//! buffered state.
//!
//! A [`Disk`] is a node's disk as one life of it sees it. Once that life is
//! over its writes are void, so a thread that has not noticed its own death
//! cannot harm its successor.
//!
//! In a real world the files live in memory too, and survive the crashes of
//! that world's nodes.
//!
//! Boundary: bytes under names. Does not know what they mean.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::context::{self, Life, Mode};
use crate::node::NodeId;
use crate::rand::Stream;
use crate::record::Value;
use crate::watch::DiskObserver;
use crate::{real, record, sim};

mod image;

pub use self::image::{Image, image_of, version_of};

/// The name under which [`Disk::save`] keeps the state.
const STATE_FILE: &str = "state";

/// The name under which [`Disk::save`] keeps the snapshot.
const SNAPSHOT_FILE: &str = "snapshot";

/// A step of some node on its disk, as an observer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written<'a> {
    /// Whose disk it is.
    pub node: NodeId,
    /// The number of its event, if the run is recorded (see [`record`](mod@crate::record));
    /// else 0.
    pub event: u64,
    /// What was done.
    pub change: Change<'a>,
}

/// What was done to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// A file was written, which a crash would still undo.
    File {
        /// Its name.
        name: &'a str,
        /// Its length in bytes before.
        before: usize,
        /// Its length in bytes now.
        after: usize,
    },
    /// All that was written is durable now.
    Synced,
}

/// Shows every write and every sync in this world to `observer`, as soon as it is
/// done, on the thread that did it. It must not wait. It may end the run, change
/// links, and crash nodes, the one that it runs on included: so a crash between
/// two writes, or between a sync and what follows it, can be had on purpose. Of
/// several observers the first one is called first; one that ends the run or crashes
/// the node is the last one for that step.
///
/// ```
/// use labsim::disk::{self, Change};
/// use labsim::{Config, node::Node, simulate};
/// let outcome = simulate(Config::seed(1), || {
///     let node = Node::new("server");
///     disk::observe(move |written| {
///         if matches!(written.change, Change::File { name: "second", .. }) {
///             node.crash();
///         }
///     });
///     let disk = node.disk();
///     let writer = node.spawn("writer", move || {
///         disk.append("first", b"kept");
///         disk.sync();
///         disk.append("second", b"and lost");
///         disk.sync();
///     });
///     assert!(writer.join().is_err());
///     node.restart();
///     (node.disk().len("first"), node.disk().len("second"))
/// });
/// assert_eq!(outcome.result.unwrap(), (4, 0));
/// ```
///
/// # Panics
///
/// Outside of a world.
#[track_caller]
pub fn observe(observer: impl Fn(&Written<'_>) + Send + Sync + 'static) {
    let observer: DiskObserver = Arc::new(observer);
    context::on_world(|world| world.watchers.lock().disks.push(observer));
}

/// A node's disk, as one of its lives sees it. Clones are the same disk.
///
/// ```
/// use labsim::{Config, node::Node, simulate};
/// let outcome = simulate(Config::seed(1), || {
///     let node = Node::new("server");
///     node.disk().append("log", b"kept");
///     node.disk().sync();
///     node.disk().append("log", b" and lost");
///     node.crash();
///     node.restart();
///     node.disk().read("log")
/// });
/// assert_eq!(outcome.result.unwrap(), b"kept");
/// ```
#[derive(Clone, Debug)]
pub struct Disk {
    life: Life,
}

impl Disk {
    pub(crate) fn of(life: Life) -> Self {
        Self { life }
    }

    /// The file's bytes, unsynced ones included; empty if there is none.
    #[track_caller]
    pub fn read(&self, file: &str) -> Vec<u8> {
        self.with(|disk| disk.files.get(file).cloned()).flatten().unwrap_or_default()
    }

    /// The file's length in bytes; 0 if there is none.
    #[track_caller]
    pub fn len(&self, file: &str) -> usize {
        self.with(|disk| disk.files.get(file).map(Vec::len)).flatten().unwrap_or_default()
    }

    /// True if the disk holds nothing, as on a new node.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.with(|disk| disk.files.is_empty()).unwrap_or(true)
    }

    /// The names of its files and their lengths in bytes, unsynced writes included.
    #[track_caller]
    pub fn files(&self) -> Vec<(String, usize)> {
        let list = |disk: &mut DiskEntry| disk.files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect();
        self.with(list).unwrap_or_default()
    }

    /// Adds `bytes` at the end of a file, which is made if there is none.
    #[track_caller]
    pub fn append(&self, file: &str, bytes: &[u8]) {
        self.write(file, usize::MAX, |content| content.extend_from_slice(bytes));
    }

    /// Cuts a file to its first `len` bytes. A shorter file stays as it is.
    #[track_caller]
    pub fn truncate(&self, file: &str, len: usize) {
        self.write(file, len, |content| content.truncate(len));
    }

    /// Gives a file another content, whatever it was.
    #[track_caller]
    pub fn replace(&self, file: &str, bytes: Vec<u8>) {
        self.write(file, 0, |content| *content = bytes);
    }

    /// Makes every write so far durable, all at once.
    ///
    /// When it returns, they survive a crash. If a crash comes first, none of
    /// them has happened. Takes the time set by
    /// [`set_sync_delay`](Self::set_sync_delay), and may be called with a lock
    /// held: a disk answers by itself.
    #[track_caller]
    pub fn sync(&self) {
        let place = Location::caller();
        self.wait_for_platter(place);
        if context::is_dying() {
            return;
        }
        let written = record::is_on().then(|| self.with(|disk| disk.unsynced())).flatten();
        if let Some(version) = self.with(DiskEntry::sync) {
            let event = record::emit("sync", || {
                vec![("version", version.into()), ("files", written.unwrap_or_default().into())]
            });
            self.show(event, Change::Synced);
        }
    }

    /// Saves the two byte strings of the labs, atomically and durably: Raft's
    /// state, and the service's snapshot. Reads with [`load`](Self::load).
    #[track_caller]
    pub fn save(&self, state: Vec<u8>, snapshot: Vec<u8>) {
        self.replace(STATE_FILE, state);
        self.replace(SNAPSHOT_FILE, snapshot);
        self.sync();
    }

    /// What [`save`](Self::save) saved last; two empty strings at first.
    #[track_caller]
    pub fn load(&self) -> (Vec<u8>, Vec<u8>) {
        (self.read(STATE_FILE), self.read(SNAPSHOT_FILE))
    }

    /// Lets every [`sync`](Self::sync) from now on take a time drawn anew from
    /// `range`. An empty range ends that.
    #[track_caller]
    pub fn set_sync_delay(&self, range: Range<Duration>) {
        self.with(|disk| disk.sync_delay = range);
    }

    #[track_caller]
    fn write(&self, file: &str, kept: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let place = Location::caller();
        match context::mode() {
            Mode::Simulated => sim::with(|core| core.point(place)),
            Mode::Real => real::check(),
            Mode::Outside => {}
        }
        if context::is_dying() {
            return;
        }
        if let Some((before, after)) = self.with(|disk| disk.write(file, kept, change)) {
            let fields = || vec![("file", file.to_owned().into()), ("before", before.into()), ("after", after.into())];
            let event = record::emit("write", fields);
            self.show(event, Change::File { name: file, before, after });
        }
    }

    /// Shows a step to whoever observes the disks, with no table locked.
    fn show(&self, event: u64, change: Change<'_>) {
        let observer = |at: usize| context::with_world(|world| world.watchers.lock().disks.get(at).map(Arc::clone));
        let mut at = 0;
        while let Some(observer) = observer(at).flatten() {
            at += 1;
            observer(&Written { node: self.life.node, event, change });
        }
    }

    fn wait_for_platter(&self, place: &'static Location<'static>) {
        let seed = crate::seed().unwrap_or_default();
        let delay = self.with(|disk| disk.draw_sync_delay(seed, self.life.node)).unwrap_or_default();
        match context::mode() {
            Mode::Simulated => sim::with(|core| {
                core.point(place);
                if !core.is_muted(place) && !delay.is_zero() {
                    core.sleep_in_world(delay, place);
                }
            }),
            Mode::Real => real::sleep(delay),
            Mode::Outside => {}
        }
    }

    /// Runs `f` on the disk, unless this life is over.
    #[track_caller]
    fn with<R>(&self, f: impl FnOnce(&mut DiskEntry) -> R) -> Option<R> {
        context::on_world(|world| {
            let mut disks = world.disks.lock();
            // Looked at with the disks locked: a crash that comes later loses
            // what is written now.
            if !world.is_current(self.life) {
                return None;
            }
            Some(f(disks.disks.entry(self.life.node).or_default()))
        })
    }
}

/// The disks of a world.
#[derive(Debug, Default)]
pub(crate) struct DiskTable {
    disks: BTreeMap<NodeId, DiskEntry>,
}

impl DiskTable {
    /// A crash: what was not synced has never been written.
    pub(crate) fn lose_unsynced(&mut self, node: NodeId) {
        if let Some(disk) = self.disks.get_mut(&node) {
            disk.lose_unsynced();
        }
    }
}

#[derive(Debug, Default)]
struct DiskEntry {
    /// The files as the running life sees them.
    files: BTreeMap<String, Vec<u8>>,
    /// The files as a crash would leave them.
    durable: BTreeMap<String, Vec<u8>>,
    /// For each file written since the last sync: how many of its first bytes
    /// are still those of the durable one. A sync copies what follows, so that
    /// it costs what was written, not what the file holds.
    kept: BTreeMap<String, usize>,
    /// Counts the syncs that had something to do.
    version: u64,
    /// The durable files as images have them, those excepted that have changed since.
    copies: BTreeMap<String, Arc<[u8]>>,
    /// All of them, if none has changed.
    image: Option<Image>,
    sync_delay: Range<Duration>,
    syncs: u64,
}

impl DiskEntry {
    /// Changes a file whose first `kept` bytes stay as they are. Returns how long
    /// it was, and is.
    fn write(&mut self, file: &str, kept: usize, change: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        // Nearly always the file is there; its name is copied only if not.
        if !self.files.contains_key(file) {
            self.files.insert(file.to_owned(), Vec::new());
        }
        let content = self.files.get_mut(file).expect("it was made above");
        let before = content.len();
        let kept = kept.min(before);
        match self.kept.get_mut(file) {
            Some(known) => *known = kept.min(*known),
            None => {
                self.kept.insert(file.to_owned(), kept);
            }
        }
        change(content);
        (before, content.len())
    }

    /// Returns the version of what is durable now.
    fn sync(&mut self) -> u64 {
        if !self.kept.is_empty() {
            self.version += 1;
            self.image = None;
        }
        for (name, kept) in std::mem::take(&mut self.kept) {
            self.copies.remove(&name);
            let content = &self.files[&name];
            let durable = self.durable.entry(name).or_default();
            durable.truncate(kept);
            durable.extend_from_slice(&content[durable.len()..]);
        }
        self.version
    }

    /// The files that were written since the last sync, as an event has them.
    fn unsynced(&self) -> Vec<Value> {
        self.kept.keys().map(|name| name.clone().into()).collect()
    }

    fn lose_unsynced(&mut self) {
        for name in std::mem::take(&mut self.kept).into_keys() {
            match self.durable.get(&name) {
                Some(durable) => self.files.insert(name, durable.clone()),
                None => self.files.remove(&name),
            };
        }
    }

    fn draw_sync_delay(&mut self, seed: u64, node: NodeId) -> Duration {
        self.syncs += 1;
        if self.sync_delay.is_empty() {
            return Duration::ZERO;
        }
        Stream::new(seed, "sync", u64::from(node.0), self.syncs).between(self.sync_delay.clone())
    }
}
