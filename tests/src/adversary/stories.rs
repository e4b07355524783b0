//! The shapes' stories, one function each.
//!
//! L1 is who leads as the episode begins, L2 whoever follows. A wait that ends too
//! late ends the episode: `?` says so.
//!
//! Boundary: stories. The numbers come from `shapes.rs`, the verbs from `stage.rs`.

use labsim::time::Duration;

use super::plan::Episode;
use super::shapes::{Crashes, Down, End, Move, Shape, Snapshots, What};
use super::stage::{Director, LEADER_LIMIT_MS, Leader};
use super::triggers::{Deed, Moment, Trigger};

/// How long a shape waits for the next leader, in milliseconds.
const NEXT_LIMIT_MS: u64 = 2000;
/// How long it waits for one that may not come.
const DEAF_LIMIT_MS: u64 = 600;

/// Plays the story of an episode.
pub(super) fn tell(director: &mut Director<'_>, l1: Leader, episode: &Episode) -> Option<()> {
    match &episode.shape {
        Shape::Figure8 { .. } => figure_8(director, l1, &episode.shape),
        Shape::Contest { slow, leader_only, apart, rest } => contest(director, l1, *slow, *leader_only, *apart, *rest),
        Shape::OldLeader { .. } => old_leader(director, l1, &episode.shape),
        Shape::StaleReply { .. } => stale_reply(director, l1, &episode.shape),
        Shape::LateRequest { who, isolate_leader, late, rest } => {
            late_request(director, l1, *who, *isolate_leader, *late, *rest)
        }
        Shape::LateVote { apart } => late_vote(director, l1, *apart),
        Shape::Bump { who, held, rest } => bump(director, l1, episode, *who, *held, *rest),
        Shape::LostAck { commands, after, next, next_after, rest } => {
            lost_ack(director, l1, [*commands, *next], [*after, *next_after, *rest])
        }
        Shape::AllCrash { rounds } => rounds.iter().try_for_each(|round| all_crash(director, *round)),
        Shape::Flap { rounds } => flap(director, rounds),
        Shape::Lag { who, bursts, down, rest } => lag(director, l1, *who, bursts, *down, *rest),
        Shape::OneWay { .. } => one_way(director, l1, &episode.shape),
        Shape::Churn { moves } => {
            moves.iter().for_each(|step| churn(director, *step));
            Some(())
        }
        Shape::Snapshot(snapshots) => snapshot(director, l1, snapshots),
    }
}

/// Figure 8: an old entry gets onto a majority under a new leader that has added
/// nothing, and must not count as committed (§5.4.2).
fn figure_8(director: &mut Director<'_>, l1: Leader, shape: &Shape) -> Option<()> {
    let Shape::Figure8 { peers, commands, after, down, next_commands, next_after, command_then, lull, bare, rest } =
        shape
    else {
        return None;
    };
    // (a) L1 has an entry that it shares with less than a majority.
    director.keep(l1.server, *peers);
    director.give(l1.server, *commands);
    director.pass(*after);
    director.take_down(l1.server, down[0]);

    // (b) L2 takes another command for the same index, and shares it with nobody.
    let l2 = director.leader_after(l1.term, NEXT_LIMIT_MS)?;
    director.isolate(l2.server);
    director.give(l2.server, *next_commands);
    director.pass(*next_after);
    director.take_down(l2.server, down[1]);

    // (c) Whoever leads now may spread the old entry. In silence: a new command
    // would make it right to commit.
    director.bring_back(l1.server);
    let l3 = director.leader_after(l2.term, NEXT_LIMIT_MS)?;
    // And what is not on a majority yet makes nothing right: L3 is cut off as it
    // commits, and what it has sent last goes nowhere.
    const CUT_MS: u64 = 2000;
    match command_then {
        None => director.pass(*lull),
        Some((before, after)) => {
            let at_commit = Trigger { at: Moment::Commits, deed: Deed::Isolate(CUT_MS), p: 1.0, times: 1 };
            director.arm(&[at_commit], 0);
            director.pass(*before);
            director.give(l3.server, 1);
            director.pass(*after);
        }
    }

    // (d) L2 comes back, and its entry, which is of a later term, wins. In a bare
    // majority nobody else can be elected: all the others need L2's vote.
    director.take_down(l3.server, down[2]);
    if *bare {
        let others: Vec<usize> =
            (0..director.lab.count()).filter(|server| ![l2.server, l3.server].contains(server)).collect();
        others.into_iter().skip(director.lab.count() / 2).for_each(|server| director.isolate(server));
    }
    director.bring_back(l2.server);
    let l4 = director.leader_after(l3.term, NEXT_LIMIT_MS)?;
    director.give(l4.server, 1);
    director.pass(*rest);
    Some(())
}

/// Messages take long and everybody stands: votes are split, and asked for again.
fn contest(director: &mut Director<'_>, l1: Leader, slow: u64, leader_only: bool, apart: u64, rest: u64) -> Option<()> {
    let lab = director.lab;
    for from in 0..lab.count() {
        for to in (0..lab.count()).filter(|to| *to != from) {
            lab.change_link(from, to, |link| link.delay.end += Duration::from_millis(slow));
        }
    }
    let gone = if leader_only { l1.server..l1.server + 1 } else { 0..lab.count() };
    gone.clone().for_each(|server| director.isolate(server));
    director.pass(apart);
    gone.for_each(|server| director.bring_back(server));
    director.pass(rest);
    Some(())
}

/// A leader takes commands that it shares with nobody, is deposed, and comes back
/// to a cluster that has gone on (§5.3).
fn old_leader(director: &mut Director<'_>, l1: Leader, shape: &Shape) -> Option<()> {
    let Shape::OldLeader { cut, alone, next, pause, end, more, rest, last, last_rest } = shape else { return None };
    match cut {
        Deed::Mute(_) => director.lab.mute(l1.server),
        Deed::Deaf(_) => director.lab.deafen(l1.server),
        _ => director.isolate(l1.server),
    }
    director.give(l1.server, *alone);
    // There is none if L1 is deaf: it is still heard.
    let limit_ms = if matches!(cut, Deed::Deaf(_)) { DEAF_LIMIT_MS } else { NEXT_LIMIT_MS };
    if let Some(l2) = director.leader_but(Some(l1.server), l1.term, limit_ms) {
        director.give(l2.server, *next);
        director.pass(*pause);
        match end {
            End::Down(down) => director.take_down(l2.server, *down),
            End::HalfCut => director.keep(l2.server, director.lab.count() / 2),
            End::Left => {}
        }
        director.give(l2.server, *more);
    }
    director.bring_back(l1.server);
    director.pass(*rest);
    if let Some(leader) = director.last_leader() {
        director.give(leader.server, *last);
    }
    director.pass(*last_rest);
    Some(())
}

/// A follower's answers to L1 come when L1 leads again, in another term, and its
/// entries have given way (StaleReply).
fn stale_reply(director: &mut Director<'_>, l1: Leader, shape: &Shape) -> Option<()> {
    let Shape::StaleReply { who, hold, commands, after, next, next_after, one_fresh, more, more_after, rest } = shape
    else {
        return None;
    };
    let lab = director.lab;
    let follower = director.other(&[l1.server], *who);
    if *hold {
        lab.hold_from(follower, true);
    }
    for peer in (0..lab.count()).filter(|peer| *peer != l1.server && *peer != follower) {
        lab.join(l1.server, peer, false);
    }
    director.give(l1.server, *commands);
    // What waits at L1 for an answer that is held goes with the next heartbeat.
    const HEARTBEAT_MS: u64 = 110;
    director.pass(if *hold { HEARTBEAT_MS + after } else { *after });
    director.isolate(l1.server);
    director.isolate(follower);

    let l2 = director.leader_after(l1.term, NEXT_LIMIT_MS)?;
    director.give(l2.server, *next);
    director.pass(*next_after);

    // Whoever leads is sent away until L1 is elected; but not before L1 has had the
    // time to learn what it lacks, or nobody would vote for it.
    const TRIES: u32 = 5;
    const LEARN_MS: u64 = 150;
    let (mut gone, mut present) = (l2, l2);
    director.isolate(present.server);
    director.bring_back(l1.server);
    for _ in 0..TRIES {
        gone = present;
        present = director.leader_after(gone.term, NEXT_LIMIT_MS)?;
        if present.server == l1.server {
            break;
        }
        director.pass(LEARN_MS);
        director.isolate(present.server);
        director.bring_back(gone.server);
    }
    if present.server != l1.server {
        return None;
    }
    // One that hears L1. Of three there is none, and nothing to be seen.
    let known = [l1.server, follower, gone.server];
    let fresh = if lab.count() > known.len() { director.other(&known, *who) } else { gone.server };
    if *one_fresh {
        for peer in (0..lab.count()).filter(|peer| *peer != l1.server && *peer != fresh) {
            lab.join(l1.server, peer, false);
        }
    }
    director.give(l1.server, *more);
    director.pass(*more_after);
    lab.hold_from(follower, false);
    director.pass(*rest);

    // If L1 believed them, it has committed what only two servers have. Those two
    // go, and the others are a majority that knows nothing of it.
    const COMMIT_MS: u64 = 150;
    if *one_fresh && lab.count() > known.len() {
        let gone = [l1.server, fresh];
        gone.iter().for_each(|server| director.isolate(*server));
        let others = (0..lab.count()).filter(|server| !gone.contains(server));
        others.for_each(|server| director.bring_back(server));
        let leader = director.leader_after(present.term, NEXT_LIMIT_MS)?;
        director.give(leader.server, *more);
        director.pass(COMMIT_MS);
    }
    Some(())
}

/// A candidate's requests come when their term is won.
fn late_request(
    director: &mut Director<'_>,
    l1: Leader,
    who: usize,
    isolate_leader: bool,
    late: u64,
    rest: u64,
) -> Option<()> {
    const ASKS_IN_MS: u64 = 550;

    let lab = director.lab;
    let asker = director.other(&[l1.server], who);
    lab.deafen(asker);
    lab.hold_from(asker, true);
    let after = if isolate_leader { l1.term } else { 0 };
    if isolate_leader {
        director.isolate(l1.server);
    }
    director.leader_but(Some(asker), after, NEXT_LIMIT_MS)?;
    if !isolate_leader {
        director.pass(ASKS_IN_MS); // It has heard nobody for that long, and asks.
    }
    director.pass(late);
    lab.hold_from(asker, false);
    director.pass(rest);
    Some(())
}

/// Votes are held, and come as their candidate asks for others. The triggers do it.
fn late_vote(director: &mut Director<'_>, l1: Leader, apart: u64) -> Option<()> {
    const REST_MS: u64 = 100;

    director.isolate(l1.server);
    director.pass(apart);
    director.bring_back(l1.server);
    director.lab.release_all();
    director.pass(REST_MS);
    Some(())
}

/// The term of one that hears nothing climbs, and is told to a candidate at the
/// moment that it asks.
fn bump(director: &mut Director<'_>, l1: Leader, episode: &Episode, who: usize, held: u64, rest: u64) -> Option<()> {
    let lab = director.lab;
    let climber = director.other(&[l1.server], who);
    lab.deafen(climber);
    lab.hold_from(climber, true);
    director.pass(held);
    director.arm(&episode.triggers, episode.number);
    let leader = director.last_leader().unwrap_or(l1).server;
    for peer in (0..lab.count()).filter(|peer| *peer != leader && *peer != climber) {
        lab.join(leader, peer, false);
    }
    director.pass(rest);
    Some(())
}

/// Entries are committed by a bare majority, of which some crash as they have
/// acknowledged them. If they come back without, the others are a majority that
/// knows nothing of what was committed (Persistent).
fn lost_ack(
    director: &mut Director<'_>,
    l1: Leader,
    [commands, next]: [usize; 2],
    [after, next_after, rest]: [u64; 3],
) -> Option<()> {
    director.keep(l1.server, director.lab.count() / 2);
    director.give(l1.server, commands);
    director.pass(after);
    director.isolate(l1.server);
    // The triggers have struck: what follows is to be undisturbed.
    director.arm(&[], 0);
    let l2 = director.leader_after(l1.term, NEXT_LIMIT_MS)?;
    director.give(l2.server, next);
    director.pass(next_after);
    director.bring_back(l1.server);
    director.pass(rest);
    Some(())
}

/// Nobody is left. What they agreed on is on their disks.
fn all_crash(director: &mut Director<'_>, round: Crashes) -> Option<()> {
    let Crashes { commands, after, down, but, next, rest } = round;
    let lab = director.lab;
    let leader = director.leader_after(0, LEADER_LIMIT_MS)?;
    director.give(leader.server, commands);
    director.pass(after);
    (0..lab.count()).for_each(|server| lab.crash(server));
    director.pass(down);
    let away = but.map(|who| director.other(&[], who));
    (0..lab.count()).filter(|server| Some(*server) != away).for_each(|server| director.restart(server));
    let leader = director.leader_after(leader.term, NEXT_LIMIT_MS)?;
    director.give(leader.server, next);
    director.pass(rest);
    if let Some(away) = away {
        director.restart(away);
    }
    Some(())
}

/// Leaders that are lost as soon as they have begun.
fn flap(director: &mut Director<'_>, rounds: &[(usize, u64, Down, u64)]) -> Option<()> {
    for (commands, after, down, rest) in rounds {
        let leader = director.leader_after(0, NEXT_LIMIT_MS)?;
        director.give(leader.server, *commands);
        director.pass(*after);
        director.take_down(leader.server, *down);
        director.leader_after(leader.term, NEXT_LIMIT_MS)?;
        director.pass(*rest);
        director.bring_back(leader.server);
    }
    Some(())
}

/// A follower comes back to a long log as the leader goes.
fn lag(
    director: &mut Director<'_>,
    l1: Leader,
    who: usize,
    bursts: &[(usize, u64)],
    down: Down,
    rest: u64,
) -> Option<()> {
    let follower = director.other(&[l1.server], who);
    director.isolate(follower);
    for (commands, pause) in bursts {
        let leader = director.leader_after(0, NEXT_LIMIT_MS)?;
        director.give(leader.server, *commands);
        director.pass(*pause);
    }
    let leader = director.leader_after(0, NEXT_LIMIT_MS)?;
    director.take_down(leader.server, down);
    director.bring_back(follower);
    director.pass(rest);
    Some(())
}

/// A server hears nobody, or nobody hears it.
fn one_way(director: &mut Director<'_>, l1: Leader, shape: &Shape) -> Option<()> {
    let Shape::OneWay { leader, who, deaf, ms, commands, rest } = shape else { return None };
    let server = if *leader { l1.server } else { director.other(&[], *who) };
    if *deaf {
        director.lab.deafen(server);
    } else {
        director.lab.mute(server);
    }
    director.give(l1.server, *commands);
    director.pass(*ms);
    director.bring_back(server);
    director.pass(*rest);
    Some(())
}

/// Anything to anybody.
fn churn(director: &mut Director<'_>, step: Move) {
    director.pass(step.after);
    let lab = director.lab;
    match step.what {
        What::Do(deed) => {
            let leader = director.last_leader().filter(|_| step.leader).map(|leader| leader.server);
            director.strike(leader.unwrap_or_else(|| director.other(&[], step.who)), deed);
        }
        What::Split => {
            let side = |server: usize| (step.who >> server) & 1;
            for one in 0..lab.count() {
                (0..one).for_each(|other| lab.join(one, other, side(one) == side(other)));
            }
        }
        What::Heal => (0..lab.count()).for_each(|server| director.bring_back(server)),
    }
}

/// One server misses what the others have only in a snapshot; then those who were
/// just started again must teach (§7).
fn snapshot(director: &mut Director<'_>, l1: Leader, snapshots: &Snapshots) -> Option<()> {
    let lab = director.lab;
    let away = if snapshots.leader { l1.server } else { director.other(&[l1.server], snapshots.who) };
    if snapshots.held_before {
        lab.hold_to(away, true);
    }
    director.isolate(away);
    if snapshots.leader {
        director.give(away, snapshots.alone); // They will be replaced, by a snapshot.
    }
    if snapshots.down == Down::Crash {
        lab.crash(away);
    }

    let mut leader = director.leader_but(Some(away), 0, NEXT_LIMIT_MS)?;
    for (commands, changes) in &snapshots.rounds {
        give_slowly(director, leader, *commands);
        if *changes {
            director.isolate(leader.server);
            let gone = leader;
            // Of three there is no majority until it returns, and then any may win.
            director.leader_but(Some(away), gone.term, DEAF_LIMIT_MS);
            director.bring_back(gone.server);
            leader = director.leader_but(Some(away), gone.term, NEXT_LIMIT_MS)?;
        }
    }

    director.pass(snapshots.late);
    if snapshots.held_after {
        lab.hold_to(away, true);
    }
    director.bring_back(away);
    director.pass(snapshots.pauses[0]);
    director.give(leader.server, snapshots.after);
    director.pass(snapshots.pauses[1]);
    lab.hold_to(away, false);
    director.pass(snapshots.rest);

    if snapshots.taught.contains(&true) {
        let crashed = (0..lab.count()).filter(|server| snapshots.taught[*server]);
        crashed.clone().for_each(|server| lab.crash(server));
        crashed.for_each(|server| director.restart(server));
        let leader = director.leader_after(0, NEXT_LIMIT_MS)?;
        director.give(leader.server, snapshots.taught_commands);
        director.pass(snapshots.rest);
    }
    Some(())
}

/// Commands a few at a time, so that services come to make snapshots of them.
fn give_slowly(director: &mut Director<'_>, leader: Leader, commands: usize) {
    const AT_ONCE: usize = 5;
    const PAUSE_MS: u64 = 20;

    let mut left = commands;
    while left > 0 {
        let now = left.min(AT_ONCE);
        director.give(leader.server, now);
        director.pass(PAUSE_MS);
        left -= now;
    }
}
