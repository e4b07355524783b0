//! A run of the adversary as plain data, all of it drawn before the run starts.
//!
//! An episode draws from a stream of its own, by its number in the bag. So taking
//! one away, or its triggers, leaves all others as they were: that is what makes a
//! failing run smaller.
//!
//! Boundary: data. Who carries it out is in `play.rs`.

use std::fmt;

use labsim::time::Duration;
use raft::Index;

use super::dice::Dice;
use super::shapes::{Kind, Shape};
use super::triggers::Trigger;
use super::weather::Weather;

/// What a part's adversary may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// Commands may be started.
    pub commands: bool,
    /// Servers may crash. Where they may not, isolation stands for it.
    pub crashes: bool,
    /// Services make snapshots.
    pub snapshots: bool,
}

/// What the adversary of one part plays.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// What it may do.
    pub allowed: Allowed,
    /// How many servers there are: one of these.
    pub servers: &'static [usize],
    /// Each of these is played as often, in an order that is drawn.
    pub bag: &'static [(Kind, usize)],
}

/// Elections: cuts and delays, and no commands.
pub const RECIPE_2A: Recipe = Recipe {
    allowed: Allowed { commands: false, crashes: false, snapshots: false },
    servers: &[3, 5, 5, 7],
    bag: &[
        (Kind::Contest, 1),
        (Kind::OldLeader, 1),
        (Kind::Flap, 1),
        (Kind::OneWay, 1),
        (Kind::Churn, 1),
        (Kind::Lag, 1),
        (Kind::LateRequest, 2),
        (Kind::LateVote, 2),
        (Kind::Bump, 2),
    ],
};

/// Logs: cuts and delays.
pub const RECIPE_2B: Recipe = Recipe {
    allowed: Allowed { commands: true, crashes: false, snapshots: false },
    servers: &[3, 5, 5, 5, 5],
    bag: &[
        (Kind::Figure8, 1),
        (Kind::OldLeader, 2),
        (Kind::StaleReply, 2),
        (Kind::Contest, 1),
        (Kind::Flap, 1),
        (Kind::Churn, 1),
        (Kind::OneWay, 1),
        (Kind::Lag, 1),
        (Kind::LateRequest, 1),
        (Kind::Bump, 1),
    ],
};

/// The same, and crashes.
pub const RECIPE_2C: Recipe = Recipe {
    allowed: Allowed { commands: true, crashes: true, snapshots: false },
    servers: &[3, 5, 5, 5, 5],
    bag: &[
        (Kind::Figure8, 2),
        (Kind::DoubleVote, 2),
        (Kind::OldLeader, 1),
        (Kind::StaleReply, 2),
        (Kind::AllCrash, 1),
        (Kind::Flap, 1),
        (Kind::Churn, 1),
        (Kind::Lag, 1),
        (Kind::LateRequest, 1),
        (Kind::LostAck, 2),
    ],
};

/// The same, and snapshots.
pub const RECIPE_2D: Recipe = Recipe {
    allowed: Allowed { commands: true, crashes: true, snapshots: true },
    servers: &[3, 3, 5],
    bag: &[(Kind::Snapshot, 4), (Kind::AllCrash, 1), (Kind::Lag, 1), (Kind::Churn, 1), (Kind::OldLeader, 1)],
};

/// Commands that come besides those of the shape: at every server that says it
/// leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The shortest pause between two, in milliseconds, and the longest.
    pub every_ms: (u64, u64),
    /// How long it goes on before the shape begins, in milliseconds.
    pub before_ms: u64,
    /// It does not stop there.
    pub stays: bool,
}

/// One shape, and what it is played in.
#[derive(Clone, PartialEq, Debug)]
pub struct Episode {
    /// Its number in the bag, and so that of its stream.
    pub number: u64,
    /// The name of its shape.
    pub kind: Kind,
    /// Its shape.
    pub shape: Shape,
    /// Its network.
    pub network: Weather,
    /// What strikes at certain moments.
    pub triggers: Vec<Trigger>,
    /// Commands besides.
    pub client: Option<Client>,
}

/// All that the adversary does in one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// How many servers there are.
    pub servers: usize,
    /// The most entries in an AppendEntries.
    pub batch_entries: usize,
    /// How often services make a snapshot, if they do.
    pub snapshot_every: Option<Index>,
    /// In the order in which they are played.
    pub episodes: Vec<Episode>,
}

impl Plan {
    /// The plan of `seed`.
    pub fn draw(recipe: &Recipe, seed: u64) -> Self {
        let mut dice = Dice::of_run(seed);
        let servers = dice.one_of(recipe.servers);
        let batch_entries = dice.one_of(&[2, 10, 1000]);
        let every = dice.one_of(&[3, 10]);
        let kinds = recipe.bag.iter().flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times));
        let episode = |(number, kind)| Episode::draw(recipe, seed, number, kind, servers, every);
        let mut episodes: Vec<_> = (0..).zip(kinds).map(episode).collect();
        dice.shuffle(&mut episodes);
        Self { servers, batch_entries, snapshot_every: recipe.allowed.snapshots.then_some(every), episodes }
    }

    /// The latest that a thread may start, or a disk may answer, in any episode.
    pub fn slack(&self) -> Duration {
        let late = |weather: &Weather| {
            // Several may wait for one disk, one after the other.
            const IN_A_ROW: u32 = 4;
            Duration::from_micros(weather.start_us_max) + IN_A_ROW * Duration::from_millis(weather.disk_ms_max)
        };
        self.episodes.iter().map(|episode| late(&episode.network)).max().unwrap_or_default()
    }
}

impl Episode {
    fn draw(recipe: &Recipe, seed: u64, number: u64, kind: Kind, servers: usize, every: Index) -> Self {
        let dice = &mut Dice::of_fault(seed, number);
        let k = usize::try_from(every).expect("a small number");
        let (shape, mut triggers) = Shape::draw(dice, kind, recipe.allowed, servers, k);
        let is_delicate = kind.is_delicate();
        let is_clean = dice.chance(if is_delicate { 0.8 } else { 0.4 });
        let mut network = if is_clean { Weather::clean(dice, is_delicate) } else { Weather::rough(dice, servers) };
        // Threads that are late are late with a disk, too.
        if matches!(kind, Kind::Bump | Kind::LostAck) {
            network.start_us_max = network.start_us_max.max(30_000);
        }
        if !is_clean && dice.chance(0.6) {
            for _ in 0..dice.count(1, 3) {
                triggers.push(Trigger::draw(dice, recipe.allowed));
            }
        }
        let has_client = recipe.allowed.commands && !is_delicate && dice.chance(0.4);
        let client = has_client.then(|| Client {
            every_ms: dice.one_of(&[(5, 15), (20, 60), (100, 300)]),
            before_ms: dice.from(50, 300),
            stays: dice.chance(0.3),
        });
        Self { number, kind, shape, network, triggers, client }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, batch_entries, snapshot_every, .. } = self;
        write!(f, "{servers} servers, {batch_entries} entries a message")?;
        if let Some(every) = snapshot_every {
            write!(f, ", a snapshot every {every}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Figure8 => "figure 8",
            Kind::DoubleVote => "double vote",
            Kind::Contest => "contest",
            Kind::OldLeader => "old leader",
            Kind::StaleReply => "stale reply",
            Kind::LateRequest => "late request",
            Kind::LateVote => "late vote",
            Kind::Bump => "bump",
            Kind::LostAck => "lost acknowledgement",
            Kind::AllCrash => "all crash",
            Kind::Flap => "flap",
            Kind::Lag => "lag",
            Kind::OneWay => "one-way",
            Kind::Churn => "churn",
            Kind::Snapshot => "snapshot",
        };
        write!(f, "{name}: {}; {}", self.shape, self.network)?;
        if let Some(Client { every_ms: (low, high), stays, .. }) = self.client {
            write!(f, "; a client every {low}-{high} ms{}", if stays { ", to the end" } else { "" })?;
        }
        for trigger in &self.triggers {
            write!(f, "; {trigger}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Recipe; 4] = [RECIPE_2A, RECIPE_2B, RECIPE_2C, RECIPE_2D];

    #[test]
    fn a_plan_is_its_seeds_and_has_the_whole_bag() {
        for recipe in ALL {
            for seed in 0..50 {
                let plan = Plan::draw(&recipe, seed);
                assert_eq!(plan, Plan::draw(&recipe, seed));
                for (kind, times) in recipe.bag {
                    assert_eq!(plan.episodes.iter().filter(|episode| episode.kind == *kind).count(), *times);
                }
            }
            assert_ne!(Plan::draw(&recipe, 1), Plan::draw(&recipe, 2));
        }
    }

    #[test]
    fn a_part_does_what_it_may_and_no_more() {
        let text = |recipe: &Recipe| {
            let plans = (0..200).map(|seed| Plan::draw(recipe, seed));
            plans.flat_map(|plan| plan.episodes).map(|episode| format!("{episode:?}")).collect::<String>()
        };
        let [a, b, c, d] = ALL.map(|recipe| text(&recipe));
        for calm in [a, b] {
            assert!(!calm.contains("Crash(") && !calm.contains("down: Crash") && !calm.contains("Down(Crash"));
        }
        assert!(c.contains("deed: Crash(") && c.contains("Down(Crash)") && !c.contains("at: Snapshot"));
        assert!(d.contains("at: Snapshot"));
        assert!(Plan::draw(&RECIPE_2A, 1).episodes.iter().all(|episode| episode.client.is_none()));
    }

    #[test]
    fn an_episode_is_a_line() {
        for recipe in ALL {
            for seed in 0..50 {
                let plan = Plan::draw(&recipe, seed);
                assert!(plan.episodes.iter().all(|episode| !episode.to_string().contains('\n')));
            }
        }
    }
}
