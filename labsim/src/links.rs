//! Links: what lies between each pair of nodes, as plain data.
//!
//! There is a link in each direction between any two nodes, and each has its
//! own [`Link`]: up or cut, how much it loses, delays, duplicates and reorders,
//! and whether it holds everything back. Tests change it while the world runs.
//! A link carries nothing by itself. Whoever moves messages asks it, for each
//! one, what becomes of it: [`send`] answers from the link's data, by the
//! stream of that one message, so that one message more or less on a link
//! leaves the fate of all others as it was.
//!
//! What a link does to a message, in this order: a cut loses it; chance loses
//! it; a delay is drawn; chance adds the reordering delay, so that later ones
//! overtake it; chance makes a second copy with a delay of its own. Holding
//! comes on top: a message that is due waits until the link is released. It
//! survives cuts meanwhile.
//!
//! Boundary: decides fates. Knows no bytes, and not who sends them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex as PlainMutex;

use crate::context::{self, Mode};
use crate::node::{Node, NodeId};
use crate::rand::Stream;
use crate::record::{self, Class};
use crate::sync::{Condvar, Mutex};
use crate::world::World;
use crate::{real, sim};

/// One direction between two nodes. The default is perfect: up, no delay.
#[derive(Clone, PartialEq, Debug)]
pub struct Link {
    /// False if it is cut: nothing that is sent arrives.
    pub up: bool,
    /// The probability that a message is lost.
    pub loss: f64,
    /// How long a message takes, each drawn anew. Empty means no time at all.
    pub delay: Range<Duration>,
    /// The probability that a message arrives twice, the second copy with a
    /// delay of its own.
    pub duplicate: f64,
    /// The probability that a message takes `reorder_delay` besides.
    pub reorder: f64,
    /// What reordering adds to a message's delay.
    pub reorder_delay: Range<Duration>,
    /// While true, messages that have travelled wait at the link's far end.
    pub held: bool,
}

impl Link {
    /// A link as it is made.
    pub const PERFECT: Self = Self {
        up: true,
        loss: 0.0,
        delay: Duration::ZERO..Duration::ZERO,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_delay: Duration::ZERO..Duration::ZERO,
        held: false,
    };
}

impl Default for Link {
    fn default() -> Self {
        Self::PERFECT
    }
}

/// What becomes of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The link was cut when it left.
    Cut,
    /// Chance took it.
    Lost,
    /// It arrives this much later, and perhaps once more.
    Arrives {
        /// How long it travels.
        after: Duration,
        /// How long a second copy travels, if there is one.
        again_after: Option<Duration>,
    },
}

/// The present state of the link from `from` to `to`.
#[track_caller]
pub fn get(from: Node, to: Node) -> Link {
    context::on_world(|world| world.links.look(from.id(), to.id(), Link::clone))
}

/// Changes the link from `from` to `to`, for messages that leave from now on.
/// Clearing [`Link::held`] releases what it holds at once.
///
/// ```
/// use labsim::{Config, links, node::Node, simulate};
/// let outcome = simulate(Config::seed(1), || {
///     let (a, b) = (Node::new("a"), Node::new("b"));
///     links::change(a, b, |link| link.up = false);
///     (links::send(a, b), links::send(b, a) == links::Fate::Cut)
/// });
/// assert_eq!(outcome.result.unwrap(), (links::Fate::Cut, false));
/// ```
#[track_caller]
pub fn change(from: Node, to: Node, change: impl FnOnce(&mut Link)) {
    if context::is_dying() {
        return; // The dead change nothing for others.
    }
    // On a copy: no table is locked while somebody else's code runs.
    let mut link = get(from, to);
    change(&mut link);
    let now = link.clone();
    context::on_world(|world| {
        let former = {
            let mut links = world.links.entries.lock();
            let entry = links.entry((from.id(), to.id())).or_default();
            std::mem::replace(&mut entry.link, link)
        };
        world.links.touched.store(true, Ordering::Relaxed);
        record_change(from.id(), to.id(), &former, &now);
        if former.held && !now.held {
            world.links.interrupt();
        }
    });
}

/// Writes down what has changed, if anything has.
fn record_change(from: NodeId, to: NodeId, former: &Link, now: &Link) {
    let ends = || vec![("from", from.into()), ("to", to.into())];
    if former == now {
        return;
    }
    if *former == (Link { up: former.up, ..now.clone() }) {
        record::emit_as(Class::Milestone, if now.up { "heal" } else { "cut" }, ends);
        return;
    }
    let micros = |range: &Range<Duration>| vec![range.start.as_micros() as u64, range.end.as_micros() as u64].into();
    let all = || {
        let Link { up, loss, delay, duplicate, reorder, reorder_delay, held } = now;
        let rest = vec![
            ("up", (*up).into()),
            ("held", (*held).into()),
            ("loss", (*loss).into()),
            ("delay_us", micros(delay)),
            ("duplicate", (*duplicate).into()),
            ("reorder", (*reorder).into()),
            ("reorder_delay_us", micros(reorder_delay)),
        ];
        [ends(), rest].concat()
    };
    record::emit_as(Class::Milestone, "link", all);
}

/// Sends one message over the link, and says what becomes of it.
///
/// A message from a node to itself arrives at once.
#[track_caller]
pub fn send(from: Node, to: Node) -> Fate {
    context::look_up();
    context::on_world(|world| world.links.send(world.seed, from.id(), to.id()))
}

/// True if a message that left now would not be cut off. No cut parts a node
/// from itself.
#[track_caller]
pub fn is_up(from: Node, to: Node) -> bool {
    from == to || context::on_world(|world| world.links.look(from.id(), to.id(), |link| link.up))
}

/// True if the link takes no time and holds nothing back at present: what it
/// carries, it carries at once.
#[track_caller]
pub fn is_instant(from: Node, to: Node) -> bool {
    if from == to {
        return true;
    }
    context::on_world(|world| {
        world.links.look(from.id(), to.id(), |link| {
            !link.held && link.delay.is_empty() && link.reorder <= 0.0 && link.duplicate <= 0.0
        })
    })
}

/// Waits as long as a message is on its way: by the world's time, whatever the
/// clock of the calling thread's node shows.
///
/// # Panics
///
/// Outside of a world. Fails the run if the calling thread holds a lock.
#[track_caller]
pub fn travel(duration: Duration) {
    let place = Location::caller();
    match context::mode() {
        Mode::Simulated => sim::with(|core| {
            if core.is_muted(place) {
                return;
            }
            core.no_lock_held("waits for a message on its way", place);
            core.sleep_in_world(duration, place);
        }),
        Mode::Real => real::sleep(duration),
        Mode::Outside => panic!("links exist only inside `simulate` or `run_real`"),
    }
}

/// Waits, as a message does at the far end of its way, until the link is not
/// held.
#[track_caller]
pub fn wait_until_released(from: Node, to: Node) {
    let wait = |world: &World| {
        let mut gate = world.links.gate.lock();
        while world.links.look(from.id(), to.id(), |link| link.held) {
            world.links.released.wait(&mut gate);
        }
    };
    record::quietly(|| context::on_world(wait));
}

/// The links of a world. Only those that were ever touched have an entry.
#[derive(Debug, Default)]
pub(crate) struct LinkTable {
    /// False while every link is as it was made: then nobody looks further.
    touched: AtomicBool,
    entries: PlainMutex<BTreeMap<(NodeId, NodeId), LinkEntry>>,
    gate: Mutex<()>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct LinkEntry {
    link: Link,
    /// Messages sent since the link was first changed. The n-th one has the n-th
    /// stream.
    sent: u64,
}

impl LinkTable {
    /// What `f` says of the link, if it was ever changed, or else of a perfect
    /// one.
    fn look<R>(&self, from: NodeId, to: NodeId, f: impl FnOnce(&Link) -> R) -> R {
        static PERFECT: Link = Link::PERFECT;
        if !self.touched.load(Ordering::Relaxed) {
            return f(&PERFECT);
        }
        f(self.entries.lock().get(&(from, to)).map_or(&PERFECT, |entry| &entry.link))
    }

    /// Lets those who wait for a release look again.
    pub(crate) fn interrupt(&self) {
        // With the gate shut nobody is between having looked and waiting.
        let gate = self.gate.lock();
        self.released.notify_all();
        drop(gate);
    }

    fn send(&self, seed: u64, from: NodeId, to: NodeId) -> Fate {
        let at_once = Fate::Arrives { after: Duration::ZERO, again_after: None };
        if from == to || !self.touched.load(Ordering::Relaxed) {
            return at_once;
        }
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&(from, to)) else { return at_once };
        // Every message has a number, whatever becomes of it: a cut that is taken
        // away from a run leaves the fates of later messages as they were.
        entry.sent += 1;
        let link = &entry.link;
        if !link.up {
            return Fate::Cut;
        }
        let is_plain = link.loss <= 0.0 && link.delay.is_empty() && link.duplicate <= 0.0 && link.reorder <= 0.0;
        if is_plain {
            return at_once;
        }
        let owner = (u64::from(from.0) << 32) | u64::from(to.0);
        let mut draws = Stream::new(seed, "link", owner, entry.sent);
        if draws.chance(link.loss) {
            return Fate::Lost;
        }
        let mut travel = || {
            let mut travel = draws.between(link.delay.clone());
            if draws.chance(link.reorder) {
                travel += draws.between(link.reorder_delay.clone());
            }
            travel
        };
        let after = travel();
        let again = travel();
        let again_after = draws.chance(link.duplicate).then_some(again);
        Fate::Arrives { after, again_after }
    }
}
