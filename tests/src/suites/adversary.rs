//! The adversary's test of each part.
//!
//! Boundary: four entries of the registry. What they play is in
//! [`crate::adversary`].

use super::{LabTest, PART_2A, PART_2B, PART_2C, PART_2D, Part, Service, Setup};
use crate::adversary::{self, Plan, RECIPE_2A, RECIPE_2B, RECIPE_2C, RECIPE_2D, Recipe};
use crate::harness::Lab;
use crate::watch::Sight;

/// 2A. Elections under cuts and delays that are made for them.
pub(super) static A: LabTest = LabTest {
    title: "elections against an adversary that cuts and delays",
    ..test("adversary_2a", PART_2A, 7, |seed| setup(&RECIPE_2A, seed), |lab| adversary::run(lab, &RECIPE_2A))
};

/// 2B. The same with commands.
pub(super) static B: LabTest = LabTest {
    title: "logs against an adversary that cuts and delays",
    must_see: &[Sight::LeaderDeposed, Sight::SplitVote, Sight::Conflict],
    ..test("adversary_2b", PART_2B, 10, |seed| setup(&RECIPE_2B, seed), |lab| adversary::run(lab, &RECIPE_2B))
};

/// 2C. The same with crashes.
pub(super) static C: LabTest = LabTest {
    title: "disks against an adversary that crashes servers, too",
    must_see: &[Sight::LeaderDeposed, Sight::SplitVote, Sight::Conflict],
    ..test("adversary_2c", PART_2C, 10, |seed| setup(&RECIPE_2C, seed), |lab| adversary::run(lab, &RECIPE_2C))
};

/// 2D. The same with snapshots.
pub(super) static D: LabTest = LabTest {
    title: "snapshots against the same adversary",
    must_see: &[Sight::LeaderDeposed, Sight::Conflict, Sight::SnapshotInstalled],
    ..test("adversary_2d", PART_2D, 7, |seed| setup(&RECIPE_2D, seed), |lab| adversary::run(lab, &RECIPE_2D))
};

/// What the four have in common.
const fn test(name: &'static str, part: Part, points: u32, drawn: fn(u64) -> Setup, body: fn(&Lab)) -> LabTest {
    let setup = Setup { drawn: Some(drawn), ..Setup::reliable(5) };
    LabTest { name, part, title: "", points, setup, must_see: &[Sight::LeaderDeposed, Sight::SplitVote], body }
}

/// What a run of that seed begins with.
fn setup(recipe: &Recipe, seed: u64) -> Setup {
    let plan = Plan::draw(recipe, seed);
    let batches: &[usize] = match plan.batch_entries {
        2 => &[2],
        10 => &[10],
        _ => &[1000],
    };
    let service = Service::Recorder { snapshot_every: plan.snapshot_every };
    // What part C adds are crashes.
    let volatile = !recipe.allowed.crashes;
    Setup { batches, service, volatile, ..Setup::reliable(plan.servers) }
}
