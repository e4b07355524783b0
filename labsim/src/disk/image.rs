//! What a crash would leave of a disk: to be compared, kept, and put on another.
//!
//! Boundary: durable bytes. How they became durable is in `disk.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Disk, DiskEntry};
use crate::context;
use crate::node::NodeId;

/// The durable files of a disk at some moment. Clones share the bytes, and so do
/// images of one disk, as far as its files have stayed the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Image {
    files: Arc<BTreeMap<String, Arc<[u8]>>>,
}

impl Image {
    /// The bytes of a file, if there is one.
    pub fn read(&self, file: &str) -> Option<&[u8]> {
        self.files.get(file).map(|bytes| &**bytes)
    }

    /// The files, in the order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (&**name, &**bytes))
    }

    /// True if it has no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl<N: Into<String>, B: Into<Arc<[u8]>>> FromIterator<(N, B)> for Image {
    fn from_iter<I: IntoIterator<Item = (N, B)>>(files: I) -> Self {
        let files = files.into_iter().map(|(name, bytes)| (name.into(), bytes.into()));
        Self { files: Arc::new(files.collect()) }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.files().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

/// What a crash now would leave of a node's disk, whether the node is up or not. This
/// is no step, and may be called from any thread of the world, an observer included.
///
/// It copies the files that were synced since the last image of this disk, and shares
/// the others.
///
/// # Panics
///
/// Outside of a world.
#[track_caller]
pub fn image_of(node: NodeId) -> Image {
    context::on_world(|world| world.disks.lock().disks.entry(node).or_default().image())
}

/// Counts the syncs of a node's disk that made something durable. As long as it stays
/// the same, so does [`image_of`] the disk. This is no step either.
///
/// # Panics
///
/// Outside of a world.
#[track_caller]
pub fn version_of(node: NodeId) -> u64 {
    context::on_world(|world| world.disks.lock().disks.get(&node).map_or(0, |disk| disk.version))
}

impl Disk {
    /// What a crash now would leave of this disk; see [`image_of`].
    #[track_caller]
    pub fn image(&self) -> Image {
        image_of(self.life.node)
    }

    /// Counts what was made durable; see [`version_of`].
    #[track_caller]
    pub fn version(&self) -> u64 {
        version_of(self.life.node)
    }

    /// Makes the disk what another one was, durable at once: for a node that is to
    /// begin where that one was. Takes no step and no time, and no observer sees it.
    ///
    /// Here a server is tried out while it runs: at each sync a copy of it starts in
    /// a world of its own, as after a crash.
    ///
    /// ```
    /// use labsim::disk::{self, Change, Disk};
    /// use labsim::{Config, fail, node::Node, simulate, thread};
    ///
    /// /// What a server does when it starts.
    /// fn recover(disk: &Disk) -> u64 {
    ///     String::from_utf8(disk.read("term")).unwrap().parse().expect("a term was saved")
    /// }
    ///
    /// let outcome = simulate(Config::seed(1), || {
    ///     disk::observe(|written| {
    ///         if written.change != Change::Synced {
    ///             return;
    ///         }
    ///         let image = disk::image_of(written.node);
    ///         let copy = simulate(Config::seed(1), move || {
    ///             let copy = Node::new("copy");
    ///             copy.disk().restore(&image);
    ///             copy.spawn("recover", move || recover(&copy.disk())).join().unwrap()
    ///         });
    ///         if let Err(failure) = copy.result {
    ///             fail(format!("a restart would fail: {failure}"), ());
    ///         }
    ///     });
    ///     let server = Node::new("S1");
    ///     let save = move |term: &str| {
    ///         server.disk().replace("term", term.as_bytes().to_vec());
    ///         server.disk().sync();
    ///     };
    ///     server.spawn("saves", move || ["1", "2", ""].map(save));
    ///     thread::park();
    /// });
    /// let failure = outcome.result.unwrap_err();
    /// assert!(failure.message.contains("a term was saved"), "{failure}");
    /// assert_eq!(failure.node.as_deref(), Some("S1"));
    /// ```
    #[track_caller]
    pub fn restore(&self, image: &Image) {
        if context::is_dying() {
            return;
        }
        self.with(|disk| disk.restore(image));
    }
}

impl DiskEntry {
    fn image(&mut self) -> Image {
        if let Some(image) = &self.image {
            return image.clone();
        }
        let Self { durable, copies, .. } = self;
        for (name, bytes) in durable.iter() {
            if !copies.contains_key(name) {
                copies.insert(name.clone(), bytes.as_slice().into());
            }
        }
        let image = Image { files: Arc::new(copies.clone()) };
        self.image = Some(image.clone());
        image
    }

    fn restore(&mut self, image: &Image) {
        self.durable = image.files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
        self.files.clone_from(&self.durable);
        self.kept.clear();
        self.copies.clone_from(&image.files);
        self.image = Some(image.clone());
        self.version += 1;
    }
}
