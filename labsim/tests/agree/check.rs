//! One program in every world, against the model, and the count of what was seen.
//!
//! Boundary: compares sets of outcomes. How they are had is in `model.rs` and
//! `run.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::model::{Grain, explore};
use super::program::{Outcome, Program};
use super::run;

/// So many outcomes are few: none of them is so rare that seeds must miss it.
const FEW: usize = 8;

/// How much is done for one program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// A program with more states is left out.
    pub(crate) states_max: usize,
    /// Simulations in any case.
    pub(crate) seeds_min: u64,
    /// Simulations, unless every outcome has turned up before.
    pub(crate) seeds: u64,
    /// As many more at most, if there is an outcome that should have turned up.
    pub(crate) seeds_more: u64,
    /// Runs on OS threads, outside of worlds.
    pub(crate) outside_runs: u64,
    /// Runs in a real world.
    pub(crate) real_world_runs: u64,
}

/// What was seen of some programs. An outcome counts once for each program.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) programs: u64,
    /// Left out: too many states.
    pub(crate) too_large: u64,
    /// That may wait for ever, and were not run on OS threads.
    pub(crate) may_deadlock: u64,
    pub(crate) simulations: u64,
    pub(crate) os_runs: u64,
    /// Outcomes of the model, with a step between any two operations.
    pub(crate) possible: u64,
    /// Those that are possible with steps where the simulation has points.
    pub(crate) at_points: u64,
    /// Those that some simulation had.
    pub(crate) simulated: u64,
    /// Simulated, though not possible at the points that the model knows of.
    pub(crate) beyond_points: u64,
    /// Outcomes of programs that cannot wait for ever.
    pub(crate) possible_on_os: u64,
    /// Those that OS threads had.
    pub(crate) on_os: u64,
    /// Those among them that only points not there keep the simulation from.
    pub(crate) on_os_between_points: u64,
    /// Those that the seeds might have reached, and did not.
    pub(crate) missed: u64,
    /// Outcomes, told, that no seed reached though their programs have few.
    pub(crate) unreached: Vec<String>,
    /// Programs all of whose outcomes at points were simulated.
    pub(crate) complete: u64,
    /// Programs with outcomes that are not possible at points.
    pub(crate) with_gap: u64,
}

/// Runs `program` in every world.
///
/// # Errors
///
/// What is not as it should be, with the outcome that shows it.
pub(crate) fn examine(program: &Program, effort: Effort, tally: &mut Tally) -> Result<(), String> {
    let explored = |grain| explore(program, grain, effort.states_max);
    let Some((possible, at_points)) = explored(Grain::Operations).zip(explored(Grain::Points)) else {
        tally.too_large += 1;
        return Ok(());
    };
    assert!(at_points.is_subset(&possible), "the model contradicts itself about{program:?}");
    let program = Arc::new(program.clone());

    let mut simulated = BTreeSet::new();
    let mut seeds = 0..effort.seeds;
    while (seeds.start < effort.seeds_min || simulated.len() < at_points.len())
        && let Some(seed) = seeds.next()
    {
        simulate_once(&program, seed, &possible, &mut simulated)?;
    }
    tally.simulations += seeds.start;

    let may_deadlock = possible.iter().any(|outcome| outcome.end.is_none());
    let on_os = if may_deadlock { BTreeSet::new() } else { run_on_os(&program, effort, &possible)? };

    // What OS threads do, a later seed does if none of the first did. And of a
    // program with few outcomes, the seeds reach every one.
    let must_reach: BTreeSet<&Outcome> = match at_points.len() {
        ..=FEW => at_points.iter().collect(),
        _ => on_os.intersection(&at_points).collect(),
    };
    let mut seeds = effort.seeds..effort.seeds + effort.seeds_more;
    while !must_reach.iter().all(|outcome| simulated.contains(*outcome))
        && let Some(seed) = seeds.next()
    {
        simulate_once(&program, seed, &possible, &mut simulated)?;
        tally.simulations += 1;
    }
    let missed: Vec<_> = must_reach.into_iter().filter(|outcome| !simulated.contains(*outcome)).collect();
    if at_points.len() <= FEW {
        tally.unreached.extend(missed.iter().map(|outcome| program.told(Some(outcome))));
    }

    tally.programs += 1;
    tally.may_deadlock += u64::from(may_deadlock);
    tally.possible += possible.len() as u64;
    tally.at_points += at_points.len() as u64;
    tally.simulated += simulated.len() as u64;
    tally.beyond_points += simulated.difference(&at_points).count() as u64;
    tally.complete += u64::from(at_points.is_subset(&simulated));
    tally.with_gap += u64::from(at_points.len() < possible.len());
    if !may_deadlock {
        tally.possible_on_os += possible.len() as u64;
        tally.on_os += on_os.len() as u64;
        tally.os_runs += effort.outside_runs + effort.real_world_runs;
        tally.missed += missed.iter().filter(|outcome| on_os.contains(**outcome)).count() as u64;
        tally.on_os_between_points += on_os.difference(&at_points).count() as u64;
    }
    Ok(())
}

/// What `program` does on OS threads, outside of worlds and in real ones.
fn run_on_os(
    program: &Arc<Program>,
    effort: Effort,
    possible: &BTreeSet<Outcome>,
) -> Result<BTreeSet<Outcome>, String> {
    let outside = run::outside(program, effort.outside_runs).map(|outcome| ("OS threads", outcome));
    let real = (0..effort.real_world_runs).map(|seed| ("a real world", run::in_a_real_world(program, seed)));
    let mut on_os = BTreeSet::new();
    for (world, outcome) in outside.chain(real) {
        let outcome = outcome.map_err(|failure| format!("{world} failed: {failure}"))?;
        if !possible.contains(&outcome) {
            return Err(format!("{world} did what the model rules out:\n{}", program.told(Some(&outcome))));
        }
        on_os.insert(outcome);
    }
    Ok(on_os)
}

/// The program that is left if everything goes without which `program` still
/// differs, and how that one differs.
pub(crate) fn smallest(mut program: Program, mut difference: String, effort: Effort) -> (Program, String) {
    // A difference may be rare: each candidate gets all of the seeds. What they
    // do not reach is no difference.
    let effort = Effort { seeds_min: effort.seeds, seeds_more: 0, ..effort };
    let mut smaller = program.smaller();
    while let Some(candidate) = smaller.next() {
        if let Err(still) = examine(&candidate, effort, &mut Tally::default()) {
            smaller = candidate.smaller();
            (program, difference) = (candidate, still);
        }
    }
    (program, difference)
}

fn simulate_once(
    program: &Arc<Program>,
    seed: u64,
    possible: &BTreeSet<Outcome>,
    simulated: &mut BTreeSet<Outcome>,
) -> Result<(), String> {
    let outcome = run::in_simulation(program, seed).map_err(|failure| format!("seed {seed} failed: {failure}"))?;
    if !possible.contains(&outcome) {
        return Err(format!("seed {seed} did what the model rules out:\n{}", program.told(Some(&outcome))));
    }
    simulated.insert(outcome);
    Ok(())
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        writeln!(
            f,
            "{} programs ({} more are too large); {} may wait for ever",
            self.programs, self.too_large, self.may_deadlock
        )?;
        writeln!(
            f,
            "{} outcomes are possible, {} of them ({:.1} %) with switches at the simulation's points, where {} programs miss some",
            self.possible,
            self.at_points,
            share(self.at_points, self.possible),
            self.with_gap
        )?;
        writeln!(
            f,
            "{} simulations reach {} of these ({:.1} %), all of them in {} programs; {} besides",
            self.simulations,
            self.simulated - self.beyond_points,
            share(self.simulated - self.beyond_points, self.at_points),
            self.complete,
            self.beyond_points
        )?;
        write!(
            f,
            "{} runs on OS threads reach {} of {} ({:.1} %), {} of them where the simulation has no point, and {} that no seed did",
            self.os_runs,
            self.on_os,
            self.possible_on_os,
            share(self.on_os, self.possible_on_os),
            self.on_os_between_points,
            self.missed
        )
    }
}
