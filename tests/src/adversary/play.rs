//! The run of the adversary: its three acts, and what surrounds each story.
//!
//! Boundary: the frame. The stories are in `stories.rs`.

use super::dice::Dice;
use super::heal::heal_test;
use super::plan::{Episode, Plan, Recipe};
use super::shapes::Kind;
use super::stage::{Director, LEADER_LIMIT_MS};
use super::stories::tell;
use crate::harness::Lab;

/// The index of the stream of an episode's client, among its triggers.
const CLIENT_STREAM: u64 = 1 << 32;

/// Plays the plan of this run's seed on a lab that was set up by it, and then the
/// heal test.
pub fn run(lab: &Lab, recipe: &Recipe) {
    let seed = labsim::seed().expect("a lab is in a world");
    let plan = Plan::draw(recipe, seed);
    lab.note_fault(plan.to_string());
    lab.allow_slack(plan.slack());

    let mut director = Director::new(lab);
    director.leader_after(0, LEADER_LIMIT_MS);
    for episode in &plan.episodes {
        lab.note_fault(format!("{:.3}s {episode}", labsim::elapsed().as_secs_f64()));
        // None where the story came to an end too soon.
        let _ = play_episode(&mut director, episode, seed);
        director.mend();
    }
    lab.note_fault(format!("{:.3}s heal test", labsim::elapsed().as_secs_f64()));
    heal_test(&mut director, recipe.allowed);
}

fn play_episode(director: &mut Director<'_>, episode: &Episode, seed: u64) -> Option<()> {
    episode.network.come_over(director.lab);
    let first = director.leader_after(0, LEADER_LIMIT_MS)?;
    if let Some(client) = episode.client {
        director.set_client(Some((client, Dice::of_trigger(seed, episode.number, CLIENT_STREAM))));
        director.pass(client.before_ms);
        if !client.stays {
            director.set_client(None);
        }
    }
    // A candidate that is being held must not release itself.
    if episode.kind != Kind::Bump {
        director.arm(&episode.triggers, episode.number);
    }
    let l1 = director.leader_after(0, LEADER_LIMIT_MS).unwrap_or(first);
    tell(director, l1, episode)
}
