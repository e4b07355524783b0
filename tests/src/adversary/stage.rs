//! The stage: who cuts, holds and crashes, and mends it later.
//!
//! Two hands do everything. The *director* is the test's own thread: it plays the
//! shapes, and while it waits it does what has come due, a restart after 40 ms, the
//! next command of a client. The *stage* is what servers' threads run into: it sees
//! what they do, and strikes at the moments that triggers wait for. What mends such
//! a strike goes into the director's list. So nothing is mended when the director
//! has closed the list: a reconnection that was still to come cannot disturb the
//! heal test.
//!
//! Between the decision to strike and the strike nobody else takes a step: a crash
//! that was decided on before the list was closed has happened by then.
//!
//! Boundary: deeds. Which ones, and when, is in `stories.rs` and `triggers.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use labsim::time::Duration;
use parking_lot::Mutex;
use raft::Term;

use super::dice::Dice;
use super::plan::Client;
use super::shapes::Down;
use super::triggers::{Armed, Deed, Trigger};
use crate::check::{Broken, Kind};
use crate::harness::{Happening, Lab, WeakLab, command};

/// How long the first leader may take, and an episode's, in milliseconds.
pub(super) const LEADER_LIMIT_MS: u64 = 1500;

/// How often the director looks around while it waits. Short against a message's
/// way, and cheap: seventeen thousand looks in a run.
const LOOK_AROUND: Duration = Duration::from_millis(1);

/// More calls than any run that gets anywhere makes: the reference makes some
/// thousands.
const CALLS_MAX: u64 = 80_000;

/// A server that leads, and its term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leader {
    pub(super) server: usize,
    pub(super) term: Term,
}

/// What has to be done later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Later {
    Restart(usize),
    Rejoin(usize),
    Release(usize),
    Do(usize, Deed),
}

/// What the servers' threads run into.
pub(super) struct Stage {
    lab: WeakLab,
    /// Never locked while a server or the world is asked something.
    scene: Mutex<Scene>,
}

struct Scene {
    armed: Armed,
    /// Who has spoken as the leader of the highest term.
    leader: Option<Leader>,
    /// Who is cut off as a whole: a join with one of these waits for its return.
    apart: Vec<bool>,
    later: BTreeMap<(Duration, u64), Later>,
    listed: u64,
}

impl Stage {
    fn look(&self, happening: &Happening<'_>) {
        let deeds = {
            let mut scene = self.scene.lock();
            if let Happening::Message(wire) = happening
                && wire.leaves
                && wire.is_a_leaders()
                && scene.leader.is_none_or(|leader| leader.term < wire.term())
            {
                scene.leader = Some(Leader { server: wire.from.0 as usize, term: wire.term() });
            }
            scene.armed.due(happening)
        };
        if deeds.is_empty() {
            return;
        }
        if let Some(lab) = self.lab.get() {
            for (server, deed) in deeds {
                self.strike(&lab, server, deed);
            }
        }
    }

    /// Does it to a server, and lists what mends it. Does not return if that is the
    /// crash of the server whose thread this is.
    fn strike(&self, lab: &Lab, server: usize, deed: Deed) {
        match deed {
            Deed::Crash(ms) => {
                self.list(ms, Later::Restart(server));
                lab.crash(server);
            }
            Deed::CrashLater(after_ms, ms) => self.list(after_ms, Later::Do(server, Deed::Crash(ms))),
            Deed::Isolate(ms) => {
                self.list(ms, Later::Rejoin(server));
                self.isolate(lab, server);
            }
            Deed::Minority(ms) => {
                self.list(ms, Later::Rejoin(server));
                self.keep(lab, server, (lab.count() / 2).saturating_sub(1));
            }
            Deed::Mute(ms) => {
                self.list(ms, Later::Rejoin(server));
                lab.mute(server);
            }
            Deed::Deaf(ms) => {
                self.list(ms, Later::Rejoin(server));
                lab.deafen(server);
            }
            Deed::Hold(ms) => {
                self.list(ms, Later::Release(server));
                lab.hold_from(server, true);
            }
            Deed::ReleaseAll => lab.release_all(),
        }
    }

    fn list(&self, after_ms: u64, what: Later) {
        let scene = &mut *self.scene.lock();
        scene.listed += 1;
        scene.later.insert((labsim::elapsed() + Duration::from_millis(after_ms), scene.listed), what);
    }

    fn isolate(&self, lab: &Lab, server: usize) {
        self.scene.lock().apart[server] = true;
        (0..lab.count()).filter(|peer| *peer != server).for_each(|peer| lab.join(server, peer, false));
    }

    /// Leaves a server its links to so many others, the next ones in a circle.
    fn keep(&self, lab: &Lab, server: usize, peers: usize) {
        for steps in 1 + peers..lab.count() {
            lab.join(server, (server + steps) % lab.count(), false);
        }
    }

    /// Joins a server with all who are not cut off as a whole.
    fn rejoin(&self, lab: &Lab, server: usize) {
        let apart = {
            let mut scene = self.scene.lock();
            scene.apart[server] = false;
            scene.apart.clone()
        };
        for (peer, is_apart) in apart.iter().enumerate() {
            if peer != server && !is_apart {
                lab.join(server, peer, true);
            }
        }
    }
}

/// The test's own hand.
pub(super) struct Director<'a> {
    pub(super) lab: &'a Lab,
    stage: Arc<Stage>,
    commands: u64,
    client: Option<(Client, Dice, Duration)>,
}

impl<'a> Director<'a> {
    /// Sets the stage on a lab that nobody looks at yet.
    pub(super) fn new(lab: &'a Lab) -> Self {
        let scene = Scene {
            armed: Armed::new(lab.count()),
            leader: None,
            apart: vec![false; lab.count()],
            later: BTreeMap::new(),
            listed: 0,
        };
        let stage = Arc::new(Stage { lab: lab.downgrade(), scene: Mutex::new(scene) });
        let eyes = Arc::clone(&stage);
        lab.look_on(move |happening| eyes.look(happening));
        Self { lab, stage, commands: 0, client: None }
    }

    /// Arms an episode's triggers in place of any others.
    pub(super) fn arm(&self, triggers: &[Trigger], fault: u64) {
        let seed = labsim::seed().expect("a lab is in a world");
        let with_dice = |(index, trigger): (u64, &Trigger)| (trigger.clone(), Dice::of_trigger(seed, fault, index));
        let armed = (0..).zip(triggers).map(with_dice).collect();
        self.stage.scene.lock().armed.arm(armed);
    }

    /// Lets a client offer commands from now on, or nobody.
    pub(super) fn set_client(&mut self, client: Option<(Client, Dice)>) {
        self.client = client.map(|(client, dice)| (client, dice, labsim::elapsed()));
    }

    /// Ends all that was begun: nothing strikes any more, nothing is mended later,
    /// and everything is mended now.
    pub(super) fn mend(&mut self) {
        self.client = None;
        {
            let scene = &mut *self.stage.scene.lock();
            scene.armed.arm(Vec::new());
            scene.later.clear();
            scene.apart.fill(false);
        }
        self.lab.heal();
    }

    // Waiting.

    /// Lets time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        self.wait(ms, |_| None::<()>);
    }

    /// Waits until `look` sees something, for so long at the most. Meanwhile does
    /// what comes due.
    pub(super) fn wait<T>(&mut self, limit_ms: u64, mut look: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        let deadline = labsim::elapsed() + Duration::from_millis(limit_ms);
        loop {
            self.do_what_is_due();
            if let Some(seen) = look(self) {
                return Some(seen);
            }
            let left = deadline.saturating_sub(labsim::elapsed());
            if left.is_zero() {
                return None;
            }
            self.lab.run_for(left.min(LOOK_AROUND));
        }
    }

    fn do_what_is_due(&mut self) {
        let calls = self.lab.network().traffic().calls();
        if calls > CALLS_MAX {
            let message = format!("message storm: {calls} calls, and {CALLS_MAX} are plenty for a run");
            self.lab.fail(Broken::new(Kind::Limit, "Economy", message));
        }
        loop {
            let next = {
                let scene = &mut *self.stage.scene.lock();
                let is_due = scene.later.first_key_value().is_some_and(|((at, _), _)| *at <= labsim::elapsed());
                if is_due { scene.later.pop_first() } else { None }
            };
            let Some((_, what)) = next else { break };
            match what {
                Later::Restart(server) => self.restart(server),
                Later::Rejoin(server) => self.stage.rejoin(self.lab, server),
                Later::Release(server) => self.lab.hold_from(server, false),
                Later::Do(server, deed) => self.strike(server, deed),
            }
        }
        let Some((client, dice, due)) = &mut self.client else { return };
        if *due > labsim::elapsed() {
            return;
        }
        *due = labsim::elapsed() + Duration::from_millis(dice.from(client.every_ms.0, client.every_ms.1));
        for server in 0..self.lab.count() {
            self.give(server, 1);
        }
    }

    /// A leader that has spoken in a higher term than `after`, and is not cut off.
    pub(super) fn leader_after(&mut self, after: Term, limit_ms: u64) -> Option<Leader> {
        self.leader_but(None, after, limit_ms)
    }

    /// The same, and not that server.
    pub(super) fn leader_but(&mut self, but: Option<usize>, after: Term, limit_ms: u64) -> Option<Leader> {
        self.wait(limit_ms, |director| {
            let leader = {
                let scene = director.stage.scene.lock();
                scene.leader.filter(|leader| !scene.apart[leader.server])
            };
            let leader = leader.filter(|leader| leader.term > after && Some(leader.server) != but)?;
            (director.lab.status(leader.server) == Some((leader.term, true))).then_some(leader)
        })
    }

    /// Whoever has led last, whatever became of it.
    pub(super) fn last_leader(&self) -> Option<Leader> {
        self.stage.scene.lock().leader
    }

    /// One of the servers that are not among `but`, by a number of any size.
    pub(super) fn other(&self, but: &[usize], who: usize) -> usize {
        let others: Vec<usize> = (0..self.lab.count()).filter(|server| !but.contains(server)).collect();
        others[who % others.len()]
    }

    // Deeds.

    /// Offers so many commands to a server, each another one. Stops at the first
    /// that it does not take.
    pub(super) fn give(&mut self, server: usize, count: usize) {
        for _ in 0..count {
            self.commands += 1;
            if self.lab.start(server, command(self.commands)).is_none() {
                return;
            }
        }
    }

    /// A command that was not offered before.
    pub(super) fn next_command(&mut self) -> raft::Bytes {
        self.commands += 1;
        command(self.commands)
    }

    pub(super) fn strike(&self, server: usize, deed: Deed) {
        self.stage.strike(self.lab, server, deed);
    }

    pub(super) fn isolate(&self, server: usize) {
        self.stage.isolate(self.lab, server);
    }

    pub(super) fn keep(&self, server: usize, peers: usize) {
        self.stage.keep(self.lab, server, peers);
    }

    /// Takes a server down until it is brought back.
    pub(super) fn take_down(&self, server: usize, how: Down) {
        match how {
            Down::Crash => self.lab.crash(server),
            Down::Isolate => self.isolate(server),
        }
    }

    /// Starts a server if it is down, and joins it with the others.
    pub(super) fn bring_back(&self, server: usize) {
        self.stage.rejoin(self.lab, server);
        self.restart(server);
    }

    /// Starts a server if it is down.
    pub(super) fn restart(&self, server: usize) {
        if !self.lab.is_up(server) {
            self.lab.restart(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::triggers::Moment;
    use super::*;
    use crate::harness::{Setup, Trail};
    use labsim::{Config, simulate};

    /// Plays on three servers that have just started.
    fn play(body: impl FnOnce(&mut Director<'_>) + Send + 'static) {
        let outcome = simulate(Config::seed(3), move || {
            let lab = Lab::new(&Setup::reliable(3), Trail::default());
            body(&mut Director::new(&lab));
        });
        outcome.result.unwrap();
    }

    #[test]
    fn what_was_to_be_mended_later_is_void_once_all_is_mended() {
        play(|director| {
            director.strike(0, Deed::Crash(40));
            assert!(!director.lab.is_up(0));
            director.pass(60);
            assert!(director.lab.is_up(0), "it was down for 40 ms");

            director.strike(1, Deed::Isolate(40));
            director.strike(2, Deed::Crash(40));
            director.mend();
            assert!(director.lab.is_up(2));
            director.lab.crash(2);
            director.pass(100);
            assert!(!director.lab.is_up(2), "its restart was of a fault that is over");
        });
    }

    /// A crash at a disk write is of the very thread that writes, and of a server
    /// that may just be starting.
    #[test]
    fn a_trigger_strikes_the_server_whose_moment_it_is() {
        play(|director| {
            let trigger = Trigger { at: Moment::Writes, deed: Deed::Crash(10_000), p: 1.0, times: 1 };
            director.arm(&[trigger], 0);
            director.pass(1500);
            let down = (0..3).filter(|server| !director.lab.is_up(*server)).count();
            assert_eq!(down, 1, "whoever stood first has written");
            assert!(director.leader_after(0, 2000).is_some(), "two of three go on");
            director.mend();
            assert!((0..3).all(|server| director.lab.is_up(server)));
        });
    }
}
