//! The shapes of trouble, as numbers: one variant for each.
//!
//! A shape is a short story that one family of bugs cannot survive: a leader that
//! replicates an old entry in silence, an answer that comes two terms late. What
//! chance adds is how many, how long and who.
//!
//! Numbers of commands count; all others are milliseconds. Who is meant is told by
//! role, or by a number that is brought down to one of those who are there.
//!
//! Boundary: what is drawn. How it reads is in `words.rs`, and how it is played in
//! `stories.rs`.

use std::fmt;

use super::dice::Dice;
use super::plan::Allowed;
use super::triggers::{Deed, Moment, Trigger, without_crash};

/// The name of a shape in a part's bag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A leader replicates an old entry, and no command comes.
    Figure8,
    /// Candidates compete, and voters crash as they vote.
    DoubleVote,
    /// The same, and nobody crashes.
    Contest,
    /// A deposed leader comes back with what it took alone.
    OldLeader,
    /// An acknowledgement comes when its sender has given way.
    StaleReply,
    /// A candidate asks for votes of a term that is won.
    LateRequest,
    /// A vote comes when its election is over.
    LateVote,
    /// A high term comes to a candidate as it asks.
    Bump,
    /// Servers crash as they have acknowledged entries.
    LostAck,
    /// Nobody is left, and then all come back, or all but one.
    AllCrash,
    /// Three leaders in a row are lost.
    Flap,
    /// A follower has much to catch up with.
    Lag,
    /// A server hears and is not heard, or the other way round.
    OneWay,
    /// Anything, and often.
    Churn,
    /// Somebody lacks what is only in a snapshot.
    Snapshot,
}

impl Kind {
    /// True if noise would spoil it.
    pub fn is_delicate(self) -> bool {
        use Kind as K;
        matches!(self, K::Figure8 | K::StaleReply | K::LateRequest | K::LateVote | K::Bump | K::DoubleVote | K::LostAck)
    }
}

/// How a server is taken down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// It loses what it had not synced.
    Crash,
    /// It goes on, alone.
    Isolate,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Crash { "crashed" } else { "isolated" })
    }
}

/// What becomes of the leader after the one that was cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It is taken down.
    Down(Down),
    /// It keeps half of the others.
    HalfCut,
    /// Nothing.
    Left,
}

/// Part of [`Shape::Snapshot`]: the interval is counted in halves of `k`.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshots {
    /// Whether it is about the leader; else about a follower.
    pub leader: bool,
    /// Which follower.
    pub who: usize,
    /// What is sent to it is held before it is cut off.
    pub held_before: bool,
    /// How many commands it takes alone, if it led.
    pub alone: usize,
    /// It crashes instead of being isolated.
    pub down: Down,
    /// Commands at the others, and whether their leader changes afterwards.
    pub rounds: Vec<(usize, bool)>,
    /// So long it stays away afterwards: long enough, it has stood for election in vain, and the
    /// leader learns of its term by the answer to a snapshot.
    pub late: u64,
    /// What is sent to it is held as it comes back.
    pub held_after: bool,
    /// Pauses after its return, and after the commands that follow.
    pub pauses: [u64; 2],
    /// Commands after its return.
    pub after: usize,
    /// A pause after the release.
    pub rest: u64,
    /// Who crashes at the end; and commands then, that they must teach.
    pub taught: Vec<bool>,
    /// How many.
    pub taught_commands: usize,
}

/// One step of [`Shape::Churn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The pause before it.
    pub after: u64,
    /// Whether it is about the leader; else about anybody.
    pub leader: bool,
    /// Who it is about, or how the cluster is split.
    pub who: usize,
    /// What it is.
    pub what: What,
}

/// What a step of churn does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// To one server.
    Do(Deed),
    /// Two sides, by the bits of a number.
    Split,
    /// All links are up again.
    Heal,
}

/// A story with its numbers.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "[`Kind`] has the stories, and `stories.rs` shows what each number is for")]
pub enum Shape {
    Figure8 {
        peers: usize,
        commands: usize,
        after: u64,
        down: [Down; 3],
        next_commands: usize,
        next_after: u64,
        /// A command after so long, and the end so long after it.
        command_then: Option<(u64, u64)>,
        lull: u64,
        bare: bool,
        rest: u64,
    },
    Contest {
        slow: u64,
        leader_only: bool,
        apart: u64,
        rest: u64,
    },
    OldLeader {
        cut: Deed,
        alone: usize,
        next: usize,
        pause: u64,
        end: End,
        more: usize,
        rest: u64,
        last: usize,
        last_rest: u64,
    },
    StaleReply {
        who: usize,
        hold: bool,
        commands: usize,
        after: u64,
        next: usize,
        next_after: u64,
        one_fresh: bool,
        more: usize,
        more_after: u64,
        rest: u64,
    },
    LateRequest {
        who: usize,
        isolate_leader: bool,
        late: u64,
        rest: u64,
    },
    LateVote {
        apart: u64,
    },
    Bump {
        who: usize,
        held: u64,
        rest: u64,
    },
    LostAck {
        commands: usize,
        after: u64,
        next: usize,
        next_after: u64,
        rest: u64,
    },
    AllCrash {
        rounds: Vec<Crashes>,
    },
    Flap {
        rounds: Vec<(usize, u64, Down, u64)>,
    },
    Lag {
        who: usize,
        bursts: Vec<(usize, u64)>,
        down: Down,
        rest: u64,
    },
    OneWay {
        leader: bool,
        who: usize,
        deaf: bool,
        ms: u64,
        commands: usize,
        rest: u64,
    },
    Churn {
        moves: Vec<Move>,
    },
    Snapshot(Snapshots),
}

/// One round of [`Shape::AllCrash`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crashes {
    /// Commands before it.
    pub commands: usize,
    /// The pause after them.
    pub after: u64,
    /// How long nobody is there.
    pub down: u64,
    /// Who stays down.
    pub but: Option<usize>,
    /// Commands afterwards.
    pub next: usize,
    /// The pause after those.
    pub rest: u64,
}

impl Shape {
    /// The numbers of one shape, and the triggers that belong to it.
    pub(super) fn draw(
        dice: &mut Dice,
        kind: Kind,
        allowed: Allowed,
        servers: usize,
        k: usize,
    ) -> (Self, Vec<Trigger>) {
        let d = dice;
        let none = Vec::new();
        // Where a part has no commands, there are none.
        let few = |d: &mut Dice, low: usize, high: usize| if allowed.commands { d.count(low, high) } else { 0 };
        let down = |d: &mut Dice| if allowed.crashes && d.chance(0.6) { Down::Crash } else { Down::Isolate };
        match kind {
            Kind::Figure8 => {
                let usual = (servers / 2).saturating_sub(1);
                let peers = if d.chance(0.75) { usual } else { d.count(0, usual) };
                let shape = Self::Figure8 {
                    peers,
                    commands: few(d, 1, 3),
                    after: d.from(5, 60),
                    // A crash of L2, cut off as it is, could only lose its entry.
                    down: [down(d), Down::Isolate, down(d)],
                    next_commands: few(d, 1, 2),
                    next_after: d.from(1, 30),
                    command_then: d.chance(0.5).then(|| (d.from(0, 10), d.from(1, 30))),
                    lull: d.from(120, 350),
                    bare: d.chance(0.75),
                    rest: d.from(30, 200),
                };
                (shape, none)
            }
            Kind::DoubleVote | Kind::Contest => {
                let shape = Self::Contest {
                    slow: d.from(0, 150),
                    leader_only: d.chance(0.5),
                    apart: d.from(350, 900),
                    rest: d.from(500, 1200),
                };
                if kind == Kind::Contest {
                    return (shape, none);
                }
                let voter = Trigger { at: Moment::VoteLeft, deed: Deed::Crash(d.from(1, 40)), p: 0.6, times: 4 };
                let asker = Trigger { at: Moment::AsksForVotes, deed: Deed::Crash(d.from(1, 400)), p: 0.3, times: 3 };
                (shape, vec![voter, asker])
            }
            Kind::OldLeader => {
                let cut = d.one_of(&[Deed::Isolate(0), Deed::Isolate(0), Deed::Mute(0), Deed::Deaf(0)]);
                let crash = if allowed.crashes { Down::Crash } else { Down::Isolate };
                let shape = Self::OldLeader {
                    cut,
                    alone: few(d, 1, 12),
                    next: few(d, 0, 8),
                    pause: d.from(2, 150),
                    end: d.one_of(&[End::Down(Down::Isolate), End::Down(crash), End::HalfCut, End::Left]),
                    more: few(d, 0, 4),
                    rest: d.from(100, 700),
                    last: few(d, 0, 3),
                    last_rest: d.from(10, 150),
                };
                (shape, none)
            }
            Kind::StaleReply => {
                let shape = Self::StaleReply {
                    who: d.count(0, servers),
                    hold: d.chance(0.5),
                    commands: few(d, 1, 6),
                    after: d.from(3, 60),
                    next: few(d, 0, 3),
                    next_after: d.from(10, 150),
                    one_fresh: d.chance(0.7),
                    more: few(d, 2, 6),
                    more_after: d.from(5, 40),
                    rest: d.from(20, 150),
                };
                (shape, none)
            }
            Kind::LateRequest => {
                let shape = Self::LateRequest {
                    who: d.count(0, servers),
                    // Of three, the third alone elects nobody.
                    isolate_leader: d.chance(0.6) && servers > 3,
                    late: d.from(5, 220),
                    rest: d.from(20, 400),
                };
                (shape, none)
            }
            Kind::LateVote => {
                let voter = Trigger { at: Moment::VoteLeaves, deed: Deed::Hold(d.from(300, 900)), p: 0.7, times: 4 };
                let asker = Trigger { at: Moment::AsksForVotes, deed: Deed::ReleaseAll, p: 0.5, times: 6 };
                (Self::LateVote { apart: d.from(700, 1600) }, vec![voter, asker])
            }
            Kind::Bump => {
                let shape = Self::Bump { who: d.count(0, servers), held: d.from(600, 1400), rest: d.from(350, 700) };
                let asker = Trigger { at: Moment::AsksForVotes, deed: Deed::ReleaseAll, p: 0.6, times: 6 };
                (shape, vec![asker])
            }
            Kind::LostAck => {
                let shape = Self::LostAck {
                    commands: few(d, 1, 3),
                    after: d.from(5, 40),
                    next: few(d, 1, 3),
                    next_after: d.from(30, 150),
                    rest: d.from(50, 300),
                };
                let acked = Trigger { at: Moment::AckLeft, deed: Deed::Crash(d.from(1, 40)), p: 0.7, times: 4 };
                (shape, vec![acked])
            }
            Kind::AllCrash => {
                let round = |d: &mut Dice| Crashes {
                    commands: few(d, 1, 12),
                    after: d.from(1, 200),
                    down: d.from(1, 20),
                    but: d.chance(0.6).then(|| d.count(0, servers)),
                    next: few(d, 0, 5),
                    rest: d.from(10, 150),
                };
                let count = d.count(1, 2);
                (Self::AllCrash { rounds: (0..count).map(|_| round(d)).collect() }, none)
            }
            Kind::Flap => {
                let rounds = (0..3).map(|_| (few(d, 0, 3), d.from(0, 20), down(d), d.from(0, 120))).collect();
                (Self::Flap { rounds }, none)
            }
            Kind::Lag => {
                let count = d.count(1, 4);
                let bursts = (0..count).map(|_| (few(d, 1, 12), d.from(0, 600))).collect();
                let shape = Self::Lag { who: d.count(0, servers), bursts, down: down(d), rest: d.from(400, 900) };
                (shape, none)
            }
            Kind::OneWay => {
                let shape = Self::OneWay {
                    leader: d.chance(0.7),
                    who: d.count(0, servers),
                    deaf: d.chance(0.5),
                    ms: d.from(400, 1200),
                    commands: few(d, 1, 5),
                    rest: d.from(500, 1300),
                };
                (shape, none)
            }
            Kind::Churn => (Self::Churn { moves: draw_moves(d, allowed) }, none),
            Kind::Snapshot => Self::draw_snapshots(d, allowed, servers, k),
        }
    }

    fn draw_snapshots(d: &mut Dice, allowed: Allowed, servers: usize, k: usize) -> (Self, Vec<Trigger>) {
        let rounds = d.count(1, 3);
        let crash = if allowed.crashes { Down::Crash } else { Down::Isolate };
        let at_end = d.chance(0.6);
        let shape = Snapshots {
            leader: d.chance(0.5),
            who: d.count(0, servers),
            held_before: d.chance(0.3),
            alone: d.count(1, 2 * k),
            down: if d.chance(0.4) { crash } else { Down::Isolate },
            rounds: (0..rounds).map(|_| (d.count(k / 2, 2 * k), d.chance(0.3))).collect(),
            held_after: d.chance(0.3),
            pauses: [d.from(5, 200), d.from(5, 200)],
            after: d.count(0, k),
            rest: d.from(50, 300),
            taught: (0..servers).map(|_| at_end && d.chance(0.6)).collect(),
            taught_commands: d.count(1, k),
            late: if d.chance(0.4) { d.from(600, 1300) } else { 0 },
        };
        let mut triggers = Vec::new();
        if d.chance(0.5) {
            let at = d.one_of(&[Moment::SnapshotLeaves, Moment::SnapshotTold, Moment::SnapshotSaved, Moment::Writes]);
            let deed = Deed::Crash(d.from(1, 300));
            triggers.push(Trigger { at, deed, p: 0.5, times: 2 });
        }
        (Self::Snapshot(shape), triggers)
    }
}

fn draw_moves(d: &mut Dice, allowed: Allowed) -> Vec<Move> {
    let total = d.from(700, 1800);
    let mut moves = Vec::new();
    let mut passed = 0;
    while passed < total {
        let after = d.from(30, 250);
        passed += after;
        let deeds = [Deed::Crash(d.from(1, 600)), Deed::Hold(d.from(50, 600)), Deed::Isolate(d.from(50, 700))];
        let what = match d.count(0, 4) {
            3 => What::Split,
            4 => What::Heal,
            deed if allowed.crashes => What::Do(deeds[deed]),
            deed => What::Do(without_crash(deeds[deed])),
        };
        moves.push(Move { after, leader: d.chance(0.5), who: d.count(0, 1 << 16), what });
    }
    moves
}
