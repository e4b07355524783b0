//! How a shape reads in a report: a line that tells its story with its numbers.
//!
//! Boundary: words. What is drawn is in `shapes.rs`.

use std::fmt;

use super::shapes::{Crashes, End, Shape, Snapshots};
use super::triggers::Deed;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure8 {
                peers,
                commands,
                after,
                down,
                next_commands,
                next_after,
                command_then,
                lull,
                bare,
                rest,
            } => {
                let bare = if *bare { "of a bare majority " } else { "" };
                let then = match command_then {
                    Some((before, after)) => format!("{before} ms, a command, cut at a commit, {after} ms"),
                    None => format!("no command, {lull} ms"),
                };
                write!(
                    f,
                    "L1 keeps {peers} peers, takes {commands}, after {after} ms {}; L2 alone takes {next_commands}, after \
                     {next_after} ms {}; L1 back, {then}, the leader {}, L2 {bare}back, {rest} ms",
                    down[0], down[1], down[2]
                )
            }
            Self::Contest { slow, leader_only, apart, rest } => {
                let who = if *leader_only { "L1" } else { "everybody" };
                write!(f, "messages up to {slow} ms slower, {who} isolated {apart} ms, then {rest} ms")
            }
            Self::OldLeader { cut, alone, next, pause, end, more, rest, last, last_rest } => {
                let cut = match cut {
                    Deed::Mute(_) => "mute",
                    Deed::Deaf(_) => "deaf",
                    _ => "isolated",
                };
                let end = match end {
                    End::Down(down) => down.to_string(),
                    End::HalfCut => "half cut off".to_owned(),
                    End::Left => "left alone".to_owned(),
                };
                write!(
                    f,
                    "L1 {cut}, takes {alone}; L2 takes {next}, {pause} ms, is {end}; {more} more; L1 back, {rest} ms, \
                     {last} more, {last_rest} ms"
                )
            }
            Self::StaleReply { hold, commands, after, next, next_after, one_fresh, more, more_after, rest, .. } => {
                let hold = if *hold { ", whose answers are held" } else { "" };
                let keeps = if *one_fresh { "one fresh peer" } else { "its peers" };
                write!(
                    f,
                    "L1 keeps one follower{hold}, takes {commands}, {after} ms, both isolated; L2 takes {next}, \
                     {next_after} ms; L1 leads again, keeps {keeps}, takes {more}, {more_after} ms, answers released, \
                     {rest} ms"
                )
            }
            Self::LateRequest { isolate_leader, late, rest, .. } => {
                let leader = if *isolate_leader { ", L1 isolated" } else { "" };
                write!(f, "one is deaf and held{leader}; {late} ms after an election it is heard; {rest} ms")
            }
            Self::LateVote { apart } => write!(f, "L1 isolated {apart} ms"),
            Self::Bump { held, rest, .. } => {
                write!(f, "one is deaf and held {held} ms, L1 left with it, {rest} ms")
            }
            Self::LostAck { commands, after, next, next_after, rest } => {
                write!(
                    f,
                    "L1 keeps a bare majority, takes {commands}, after {after} ms isolated; L2 takes {next}, {next_after} \
                     ms; L1 back, {rest} ms"
                )
            }
            Self::AllCrash { rounds } => {
                for (at, Crashes { commands, after, down, but, next, rest }) in rounds.iter().enumerate() {
                    let again = if at > 0 { "; again: " } else { "" };
                    let but = if but.is_some() { "all but one" } else { "all" };
                    write!(
                        f,
                        "{again}{commands} commands, {after} ms, all crash {down} ms, {but} back, {next} commands, {rest} ms"
                    )?;
                }
                Ok(())
            }
            Self::Flap { rounds } => {
                for (at, (commands, after, down, rest)) in rounds.iter().enumerate() {
                    let sep = if at > 0 { "; " } else { "" };
                    write!(f, "{sep}L{} takes {commands}, after {after} ms {down}, {rest} ms", at + 1)?;
                }
                Ok(())
            }
            Self::Lag { bursts, down, rest, .. } => {
                write!(f, "a follower isolated;")?;
                for (commands, pause) in bursts {
                    write!(f, " {commands} commands, {pause} ms,")?;
                }
                write!(f, " back, and the leader {down}, {rest} ms")
            }
            Self::OneWay { leader, deaf, ms, commands, rest, .. } => {
                let who = if *leader { "L1" } else { "one" };
                let how = if *deaf { "deaf" } else { "mute" };
                write!(f, "{who} {how} {ms} ms, {commands} commands, {rest} ms")
            }
            Self::Churn { moves } => {
                let total: u64 = moves.iter().map(|step| step.after).sum();
                write!(f, "{} moves in {total} ms", moves.len())
            }
            Self::Snapshot(snapshots) => {
                let Snapshots { leader, held_before, alone, down, rounds, late, held_after, after, taught, .. } =
                    snapshots;
                let who = if *leader { "L1" } else { "a follower" };
                if *held_before {
                    write!(f, "held, ")?;
                }
                write!(f, "{who} {down}")?;
                if *leader {
                    write!(f, " with {alone} alone")?;
                }
                for (commands, changes) in rounds {
                    write!(f, ", {commands} commands{}", if *changes { " and a new leader" } else { "" })?;
                }
                if *late > 0 {
                    write!(f, ", {late} ms")?;
                }
                write!(f, ", back{}, {after} more", if *held_after { " but held" } else { "" })?;
                match taught.iter().filter(|crashes| **crashes).count() {
                    0 => Ok(()),
                    count => write!(f, ", {count} restarted, {} more", snapshots.taught_commands),
                }
            }
        }
    }
}
