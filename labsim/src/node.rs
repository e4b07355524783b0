//! Nodes: machines that run threads, and crash.
//!
//! A node has a name, a disk, links to the other nodes, and one *life* after
//! another. Threads belong to the life in which they were spawned, and die with
//! it. A crash takes effect the moment it is said: no thread of the node takes
//! another step, what it had not synced to its disk is lost, and its destructors
//! run without effect on anybody else. A restart begins the next life, with
//! whatever the disk has kept.
//!
//! On OS threads nobody can be stopped from outside. There a crash takes effect
//! at the thread's next call into labsim, which also wakes it if it waits; until
//! then its effects on disk and links are void.
//!
//! A node can also be *paused*, as an operating system that is short of memory
//! or a virtual machine that is moved to another host pauses a process: nothing
//! in it runs for a while, and then it goes on and believes that no time has
//! passed. And it can have a clock that goes wrong. A lease that relies on one
//! or the other breaks here.
//!
//! Boundary: knows lives and thread start. Who talks to whom is in
//! [`links`](crate::links), what is stored in [`disk`](crate::disk).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::clock::NodeClock;
use crate::context::{self, Life, Mode};
use crate::disk::Disk;
use crate::rand::Stream;
use crate::thread::JoinHandle;
use crate::{real, record, sim, thread, time};

/// The number of a node: 0 for the first one made in a run, and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct NodeId(pub u32);

/// A machine of the running world. Copies name the same machine.
///
/// ```
/// use labsim::{Config, node::Node, simulate, thread, time::Duration};
/// let outcome = simulate(Config::seed(1), || {
///     let server = Node::new("server");
///     let (tx, rx) = labsim::channel::unbounded();
///     server.spawn("worker", move || {
///         thread::sleep(Duration::from_millis(10));
///         let _ = tx.send("done");
///     });
///     server.crash();
///     rx.recv() // The worker died, and its end of the channel with it.
/// });
/// assert!(outcome.result.unwrap().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Node {
    id: NodeId,
}

impl Node {
    /// Adds a machine to the world, up and with an empty disk.
    ///
    /// # Panics
    ///
    /// Outside of a world.
    #[track_caller]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let id = context::on_world(|world| world.nodes.lock().add(name));
        Self { id }
    }

    /// The machine that the calling thread belongs to, if any.
    pub fn current() -> Option<Self> {
        context::life().map(|life| Self { id: life.node })
    }

    /// The node's number.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The node's name.
    #[track_caller]
    pub fn name(self) -> Arc<str> {
        context::on_world(|world| world.nodes.lock().name(self.id))
    }

    /// True until the node crashes, and again once it is restarted.
    #[track_caller]
    pub fn is_up(self) -> bool {
        context::step(std::panic::Location::caller());
        context::on_world(|world| world.nodes.lock().get(self.id).up)
    }

    /// How often the node has been restarted.
    ///
    /// Two readings that agree prove that it did not restart between them.
    #[track_caller]
    pub fn life(self) -> u32 {
        context::step(std::panic::Location::caller());
        context::on_world(|world| world.nodes.lock().get(self.id).life)
    }

    /// True if the node is up, and in the life with that number. This is no
    /// step: a loop that does nothing else would never end.
    #[track_caller]
    pub fn is_in_life(self, life: u32) -> bool {
        context::on_world(|world| world.is_current(Life { node: self.id, number: life }))
    }

    /// Starts a thread on the node, in its present life.
    ///
    /// If the node is down the thread never starts, and joining it says so.
    #[track_caller]
    pub fn spawn<T: Send + 'static>(
        self,
        name: impl Into<Cow<'static, str>>,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.spawn_after(Duration::ZERO, name, body)
    }

    /// As [`spawn`](Self::spawn), but the thread takes its first step only
    /// `delay` later. This is how a message in flight is modelled: it is the
    /// receiver's from the start, and nobody waits for it.
    #[track_caller]
    pub fn spawn_after<T: Send + 'static>(
        self,
        delay: Duration,
        name: impl Into<Cow<'static, str>>,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let life = context::on_world(|world| world.nodes.lock().current_life(self.id));
        thread::spawn_in(life, delay, name.into(), std::panic::Location::caller(), body)
    }

    /// Lets every thread that starts on the node from now on begin late, by a
    /// time drawn anew for each from `range`. An empty range ends that.
    ///
    /// Slow starts bring to light what relies on threads starting in order.
    #[track_caller]
    pub fn set_start_delay(self, range: Range<Duration>) {
        if context::is_dying() {
            return;
        }
        context::on_world(|world| world.nodes.lock().get_mut(self.id).start_delay = range);
    }

    /// Crashes the node. Does nothing if it is down.
    ///
    /// When this returns, none of its threads will take another step, and what
    /// was not synced to its disk is gone. Does not return if the caller is one
    /// of its own threads.
    #[track_caller]
    pub fn crash(self) {
        context::look_up();
        if context::is_dying() {
            return; // The dead crash nobody.
        }
        let life = context::on_world(|world| {
            // Down first: a write that comes too late finds its life over.
            let life = world.nodes.lock().take_down(self.id);
            world.disks.lock().lose_unsynced(self.id);
            life
        });
        let Some(life) = life else { return };
        record::machine("crash", self.id);
        match context::mode() {
            Mode::Simulated => sim::with(|core| core.crash(life)),
            Mode::Real => real::crash(life),
            Mode::Outside => unreachable!("there is a world"),
        }
    }

    /// Begins the node's next life, with no threads.
    ///
    /// # Panics
    ///
    /// If the node is up: crash it first.
    #[track_caller]
    pub fn restart(self) {
        context::look_up();
        if context::is_dying() {
            return; // The dead wake nobody.
        }
        let was_up = context::on_world(|world| world.nodes.lock().get_mut(self.id).begin_life());
        assert!(!was_up, "{self} is restarted while it is up; crash it first");
        record::machine("restart", self.id);
    }

    /// Pauses the node: its threads stay where they are, as if the operating
    /// system had stopped the process. Does nothing if it is paused or down.
    ///
    /// When this returns, none of its threads will take another step until
    /// [`resume`](Self::resume). Meanwhile its timers come due and wake-ups
    /// arrive, and its threads find out when they go on: a lock that they hold
    /// stays taken, a lock or a message that one of them was just woken for is
    /// not offered to others. Threads that are started on it, such as requests,
    /// begin when it is resumed. Links, disk and clock are untouched. If the
    /// caller is one of its threads, this returns when it is resumed; if it is
    /// in an observer of a lock, it stays as soon as the lock is open.
    ///
    /// On OS threads a pause takes effect at each thread's next call into labsim,
    /// or where that returns from a wait.
    ///
    /// ```
    /// use labsim::{Config, node::Node, simulate, thread, time::{Duration, Instant}};
    /// let outcome = simulate(Config::seed(1), || {
    ///     let server = Node::new("server");
    ///     let nap = server.spawn("nap", || {
    ///         let begun = Instant::now();
    ///         thread::sleep(Duration::from_secs(1));
    ///         begun.elapsed()
    ///     });
    ///     thread::sleep(Duration::from_millis(500));
    ///     server.pause();
    ///     thread::sleep(Duration::from_secs(9));
    ///     server.resume();
    ///     nap.join().unwrap()
    /// });
    /// assert_eq!(outcome.result.unwrap().as_millis(), 9_500);
    /// ```
    #[track_caller]
    pub fn pause(self) {
        let place = std::panic::Location::caller();
        context::look_up();
        if context::is_dying() {
            return; // The dead stop nobody.
        }
        let Some(life) = context::on_world(|world| world.nodes.lock().change_paused(self.id, true)) else { return };
        record::machine("pause", self.id);
        match context::mode() {
            Mode::Simulated => sim::with(|core| core.pause(life, place)),
            Mode::Real => real::pause(life),
            Mode::Outside => unreachable!("there is a world"),
        }
    }

    /// Lets the threads of a paused node go on. Does nothing if it is not
    /// paused: a crash has ended that, too.
    #[track_caller]
    pub fn resume(self) {
        context::look_up();
        if context::is_dying() {
            return;
        }
        let Some(life) = context::on_world(|world| world.nodes.lock().change_paused(self.id, false)) else { return };
        record::machine("resume", self.id);
        match context::mode() {
            Mode::Simulated => sim::with(|core| core.resume(life)),
            Mode::Real => real::resume(life),
            Mode::Outside => unreachable!("there is a world"),
        }
    }

    /// True from [`pause`](Self::pause) until [`resume`](Self::resume) or a crash.
    #[track_caller]
    pub fn is_paused(self) -> bool {
        context::step(std::panic::Location::caller());
        context::on_world(|world| world.nodes.lock().get(self.id).paused)
    }

    /// Lets the node's clock gain `rate_ppm` parts per million from now on;
    /// below zero it loses them. 0 is the rate of a new node.
    ///
    /// On the node's threads [`Instant::now`](crate::time::Instant::now) reads
    /// this clock, and sleeps, time-outs and deadlines go by it, those that are
    /// under way included: a node that is fast wakes early. The clock continues
    /// from what it shows, so it never goes back. It runs on through pauses,
    /// crashes and restarts.
    ///
    /// All else goes by the world's time: links, disks, threads that begin late,
    /// notes, limits, [`Outcome::elapsed`](crate::Outcome::elapsed), and threads
    /// without a node. On OS threads a wait that is under way keeps its end.
    ///
    /// ```
    /// use labsim::{Config, node::Node, simulate, thread, time::Duration};
    /// let outcome = simulate(Config::seed(1), || {
    ///     let hasty = Node::new("hasty");
    ///     hasty.set_clock_rate(250_000); // Four seconds seem five to it.
    ///     hasty.spawn("sleeper", || thread::sleep(Duration::from_secs(5))).join().unwrap();
    /// });
    /// assert_eq!(outcome.elapsed.as_secs(), 4);
    /// ```
    ///
    /// # Panics
    ///
    /// If the rate is beyond 900,000 either way: a clock that stands still or
    /// runs back is none.
    #[track_caller]
    pub fn set_clock_rate(self, rate_ppm: i32) {
        let max = NodeClock::RATE_PPM_MAX;
        assert!((-max..=max).contains(&rate_ppm), "a clock that gains {rate_ppm} ppm; the most is {max} either way");
        self.change_clock(|clock, now| clock.with_rate(now, rate_ppm));
    }

    /// Puts the node's clock forward by `ahead`, all at once. What its threads
    /// wait for comes due so much earlier.
    ///
    /// There is no way to put a clock back: that of a running machine is
    /// monotone. To have one node behind the others, put those forward.
    ///
    /// ```
    /// use labsim::{Config, node::Node, simulate, time::{Duration, Instant}};
    /// let outcome = simulate(Config::seed(1), || {
    ///     let ahead = Node::new("ahead");
    ///     ahead.put_clock_forward(Duration::from_secs(60));
    ///     ahead.spawn("reader", Instant::now).join().unwrap() - Instant::now()
    /// });
    /// assert!(outcome.result.unwrap() > Duration::from_secs(59));
    /// ```
    ///
    /// # Panics
    ///
    /// If the clock would show more than 584 years.
    #[track_caller]
    pub fn put_clock_forward(self, ahead: Duration) {
        self.change_clock(|clock, now| clock.put_forward(now, ahead).expect("the clock ends after 584 years"));
    }

    #[track_caller]
    fn change_clock(self, change: impl FnOnce(NodeClock, u64) -> NodeClock) {
        context::look_up();
        if context::is_dying() {
            return; // The dead turn no clocks.
        }
        let now = match context::mode() {
            Mode::Simulated => sim::with(sim::Core::now),
            Mode::Real | Mode::Outside => time::machine_nanos(),
        };
        let (former, clock) = context::on_world(|world| {
            let mut nodes = world.nodes.lock();
            let node = nodes.get_mut(self.id);
            let former = node.clock;
            node.clock = change(former, now);
            world.own_clocks.store(true, Ordering::SeqCst);
            (former, node.clock)
        });
        if context::mode() == Mode::Simulated {
            sim::with(|core| core.clock_changed(self.id, former, clock));
        }
    }

    /// The node's disk, as its present life sees it.
    ///
    /// # Panics
    ///
    /// If the node is down.
    #[track_caller]
    pub fn disk(self) -> Disk {
        if context::mode() == Mode::Real {
            real::check(); // A thread that died with the node has no disk to ask for.
        }
        let life = context::on_world(|world| world.nodes.lock().current_life(self.id));
        let life = life.unwrap_or_else(|_| panic!("the disk of a node that is down was asked for; restart it first"));
        Disk::of(life.expect("a node has lives"))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match context::with_world(|world| world.nodes.lock().name(self.id)) {
            Some(name) => f.write_str(&name),
            None => write!(f, "node {}", self.id.0),
        }
    }
}

/// The node is down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Down;

/// What the world knows of each node.
#[derive(Debug, Default)]
pub(crate) struct NodeTable {
    nodes: Vec<NodeEntry>,
}

#[derive(Debug)]
pub(crate) struct NodeEntry {
    name: Arc<str>,
    up: bool,
    paused: bool,
    clock: NodeClock,
    life: u32,
    start_delay: Range<Duration>,
    threads_delayed: u64,
    /// What threads of this life draw from. Made at the first draw.
    draws: Option<Stream>,
}

impl NodeEntry {
    /// Begins the next life, unless the node is up. Returns whether it was.
    fn begin_life(&mut self) -> bool {
        if !self.up {
            self.up = true;
            self.life += 1;
            self.draws = None;
            return false;
        }
        true
    }
}

impl NodeTable {
    fn add(&mut self, name: Arc<str>) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("4 billion nodes"));
        self.nodes.push(NodeEntry {
            name,
            up: true,
            paused: false,
            clock: NodeClock::TRUE,
            life: 0,
            start_delay: Duration::ZERO..Duration::ZERO,
            threads_delayed: 0,
            draws: None,
        });
        id
    }

    #[track_caller]
    fn get(&self, id: NodeId) -> &NodeEntry {
        self.nodes.get(id.0 as usize).expect("a node of another world was used in this one")
    }

    #[track_caller]
    fn get_mut(&mut self, id: NodeId) -> &mut NodeEntry {
        self.nodes.get_mut(id.0 as usize).expect("a node of another world was used in this one")
    }

    #[track_caller]
    pub(crate) fn name(&self, id: NodeId) -> Arc<str> {
        Arc::clone(&self.get(id).name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.to_string()).collect()
    }

    #[track_caller]
    fn current_life(&self, id: NodeId) -> Result<Option<Life>, Down> {
        let node = self.get(id);
        if node.up { Ok(Some(Life { node: id, number: node.life })) } else { Err(Down) }
    }

    pub(crate) fn is_current(&self, life: Life) -> bool {
        let node = self.get(life.node);
        node.up && node.life == life.number
    }

    fn take_down(&mut self, id: NodeId) -> Option<Life> {
        let node = self.get_mut(id);
        node.up.then(|| {
            node.up = false;
            node.paused = false;
            Life { node: id, number: node.life }
        })
    }

    /// Pauses or resumes. Returns the life concerned, if that changes anything.
    fn change_paused(&mut self, id: NodeId, paused: bool) -> Option<Life> {
        let node = self.get_mut(id);
        (node.up && node.paused != paused).then(|| {
            node.paused = paused;
            Life { node: id, number: node.life }
        })
    }

    /// The node's own clock.
    pub(crate) fn clock(&self, id: NodeId) -> NodeClock {
        self.get(id).clock
    }

    /// How late a thread that starts now takes its first step.
    pub(crate) fn draw_start_delay(&mut self, seed: u64, id: NodeId) -> Duration {
        let node = self.get_mut(id);
        if node.start_delay.is_empty() {
            return Duration::ZERO;
        }
        node.threads_delayed += 1;
        Stream::new(seed, "thread start", u64::from(id.0), node.threads_delayed).between(node.start_delay.clone())
    }

    pub(crate) fn draw(&mut self, seed: u64, life: Life) -> u64 {
        let node = self.get_mut(life.node);
        let fresh = || Stream::new(seed, "node", u64::from(life.node.0), u64::from(life.number));
        if node.life != life.number {
            return fresh().next_u64(); // A dead life's last words; nobody listens.
        }
        node.draws.get_or_insert_with(fresh).next_u64()
    }
}
