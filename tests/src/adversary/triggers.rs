//! Triggers: a fault at the very moment that a server does something.
//!
//! A random crash falls between two interesting moments nearly always: a step
//! takes a microsecond, and a run seventeen seconds. So a trigger waits for its
//! moment, as it is seen from outside the server, and strikes then: before a vote
//! leaves, after a disk write, as the first command is applied.
//!
//! | moment | is seen as |
//! |---|---|
//! | a vote leaves, or has left | a reply to RequestVote, at one end or the other |
//! | RequestVotes leave | the last of them: all others are on their way |
//! | leads | its first message that only a leader sends |
//! | a command is taken | `start` returned |
//! | an acknowledgement leaves, or has left | a reply to AppendEntries that had entries |
//! | a disk write | a write or a sync, as it is done |
//! | a commit | an index is applied for the first time anywhere |
//! | a term rises | the first message of a term |
//! | a snapshot is sent, got, saved | InstallSnapshot leaves; the service is told; `snapshot` returned |
//! | a log is cut | a file that becomes shorter |
//!
//! Each occurrence is taken with the trigger's probability, and a trigger strikes
//! a few times only. What it draws is its own: it shifts nobody else's chances.
//!
//! Boundary: moments and deeds as data, and which deed is due. Who does it is in
//! `stage.rs`.

use std::collections::BTreeSet;
use std::fmt;

use raft::{ServerId, Term};

use super::dice::Dice;
use super::plan::Allowed;
use crate::harness::Happening;
use crate::watch::{Said, Wire};

/// A moment of one server that can be seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moment {
    /// Its vote is about to leave.
    VoteLeaves,
    /// Its vote has arrived.
    VoteLeft,
    /// It has asked all others but one for their votes.
    AsksForVotes,
    /// It sends its first message as a leader of a term.
    Leads,
    /// It has taken a command.
    Takes,
    /// It is about to say that it has stored entries.
    AckLeaves,
    /// That has arrived.
    AckLeft,
    /// It has written to its disk, or synced it.
    Writes,
    /// It is the first to apply an index.
    Commits,
    /// It is the first to speak in a term.
    TermRises,
    /// It sends its snapshot.
    SnapshotLeaves,
    /// Its service was told to take a snapshot over.
    SnapshotTold,
    /// It has saved a snapshot of its service.
    SnapshotSaved,
    /// It has made a file shorter.
    Cuts,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::VoteLeaves => "before a vote leaves",
            Self::VoteLeft => "after a vote",
            Self::AsksForVotes => "as a candidate asks",
            Self::Leads => "as a server leads",
            Self::Takes => "as a command is taken",
            Self::AckLeaves => "before an acknowledgement",
            Self::AckLeft => "after an acknowledgement",
            Self::Writes => "at a disk write",
            Self::Commits => "at a commit",
            Self::TermRises => "as the term rises",
            Self::SnapshotLeaves => "as a snapshot leaves",
            Self::SnapshotTold => "as a snapshot is told",
            Self::SnapshotSaved => "as a snapshot is saved",
            Self::Cuts => "as a log is cut",
        }
    }
}

/// What is done to a server, and for how many milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// It crashes, and is started again.
    Crash(u64),
    /// The same, the first number of milliseconds later.
    CrashLater(u64, u64),
    /// All its links are cut.
    Isolate(u64),
    /// It keeps less than a majority, itself included.
    Minority(u64),
    /// What it sends is cut off.
    Mute(u64),
    /// What is sent to it is cut off.
    Deaf(u64),
    /// What it sends is held back, and comes late.
    Hold(u64),
    /// Whatever is held back anywhere comes now.
    ReleaseAll,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(ms) => write!(f, "crash it {ms} ms"),
            Self::CrashLater(after_ms, ms) => write!(f, "crash it {after_ms} ms later, {ms} ms"),
            Self::Isolate(ms) => write!(f, "isolate it {ms} ms"),
            Self::Minority(ms) => write!(f, "leave it a minority {ms} ms"),
            Self::Mute(ms) => write!(f, "mute it {ms} ms"),
            Self::Deaf(ms) => write!(f, "deafen it {ms} ms"),
            Self::Hold(ms) => write!(f, "hold its messages {ms} ms"),
            Self::ReleaseAll => write!(f, "release all"),
        }
    }
}

/// A deed that waits for its moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Trigger {
    /// The moment.
    pub at: Moment,
    /// What is done to the server whose moment it is.
    pub deed: Deed,
    /// The probability that an occurrence is taken.
    pub p: f64,
    /// How often at the most.
    pub times: u32,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, deed, p, times } = self;
        write!(f, "{} {deed} (p {p}, {times}x)", at.name())
    }
}

impl Trigger {
    /// One that the faults of its part allow.
    pub(super) fn draw(dice: &mut Dice, allowed: Allowed) -> Self {
        use Moment as M;
        let mut moments = vec![M::VoteLeaves, M::VoteLeft, M::AsksForVotes, M::Leads, M::TermRises];
        if allowed.commands {
            moments.extend([M::Takes, M::AckLeaves, M::AckLeft, M::Commits]);
        }
        if allowed.crashes {
            moments.extend([M::Writes, M::Writes, M::Cuts]);
        }
        if allowed.snapshots {
            moments.extend([M::SnapshotLeaves, M::SnapshotTold, M::SnapshotSaved]);
        }
        let at = dice.one_of(&moments);
        let deed = Self::draw_deed(dice, at);
        let deed = if allowed.crashes { deed } else { without_crash(deed) };
        Self { at, deed, p: dice.one_of(&[0.05, 0.2, 0.5]), times: dice.count(1, 4) as u32 }
    }

    fn draw_deed(dice: &mut Dice, at: Moment) -> Deed {
        use Moment as M;
        let short = Deed::Crash(dice.from(1, 50));
        let long = Deed::Crash(dice.from(300, 1200));
        match at {
            M::VoteLeaves | M::VoteLeft => {
                let hold = Deed::Hold(dice.from(200, 900));
                dice.one_of(&[short, long, hold])
            }
            M::AsksForVotes => {
                let (crash, hold) = (Deed::Crash(dice.from(1, 400)), Deed::Hold(dice.from(200, 900)));
                dice.one_of(&[crash, hold])
            }
            M::Leads => {
                let ms = dice.from(300, 1000);
                dice.one_of(&[long, Deed::Isolate(ms), Deed::Minority(ms), Deed::Deaf(ms)])
            }
            M::Takes => {
                let (later, ms, hold) = (dice.from(0, 30), dice.from(200, 1200), dice.from(100, 800));
                let crash_later = Deed::CrashLater(later, ms);
                dice.one_of(&[short, long, crash_later, Deed::Isolate(ms), Deed::Minority(ms), Deed::Hold(hold)])
            }
            M::AckLeaves | M::AckLeft => {
                let (mute, hold) = (Deed::Mute(dice.from(200, 1000)), Deed::Hold(dice.from(200, 1500)));
                dice.one_of(&[short, long, mute, hold])
            }
            // A disk answers by itself: while it is shown, its server can only crash.
            M::Writes | M::Cuts => short,
            M::Commits => {
                let ms = dice.from(300, 1200);
                dice.one_of(&[short, long, Deed::Isolate(ms)])
            }
            M::TermRises => Deed::ReleaseAll,
            M::SnapshotLeaves => Deed::Hold(dice.from(100, 900)),
            M::SnapshotTold | M::SnapshotSaved => dice.one_of(&[short, long]),
        }
    }
}

/// Where nothing is on disk yet, isolation stands for a crash.
pub(super) fn without_crash(deed: Deed) -> Deed {
    match deed {
        Deed::Crash(ms) | Deed::CrashLater(_, ms) => Deed::Isolate(ms),
        _ => deed,
    }
}

/// The triggers of the present episode, and what it takes to see their moments.
#[derive(Debug, Default)]
pub(super) struct Armed {
    triggers: Vec<(Trigger, Dice)>,
    servers: usize,
    /// The term that each server has stood in last, and how many it asked.
    asked: Vec<(Term, usize)>,
    /// The highest term that each one has led.
    led: Vec<Term>,
    highest_term: Term,
    /// Calls that brought entries and are not answered.
    with_entries: BTreeSet<u64>,
}

impl Armed {
    pub(super) fn new(servers: usize) -> Self {
        Self { servers, asked: vec![(0, 0); servers], led: vec![0; servers], ..Self::default() }
    }

    /// Puts these in place of those that were armed.
    pub(super) fn arm(&mut self, triggers: Vec<(Trigger, Dice)>) {
        self.triggers = triggers;
        self.with_entries.clear();
    }

    /// What is to be done to which server, now that this happens.
    pub(super) fn due(&mut self, happening: &Happening<'_>) -> Vec<(usize, Deed)> {
        let mut deeds = Vec::new();
        for (moment, server) in self.read(happening).into_iter().flatten() {
            let waits = self.triggers.iter_mut().filter(|(trigger, _)| trigger.at == moment && trigger.times > 0);
            for (trigger, dice) in waits {
                if dice.chance(trigger.p) {
                    trigger.times -= 1;
                    deeds.push((server, trigger.deed));
                }
            }
        }
        deeds
    }

    /// Which moments it is of whom.
    fn read(&mut self, happening: &Happening<'_>) -> [Option<(Moment, usize)>; 3] {
        use Moment as M;
        let one = |moment, server| [Some((moment, server)), None, None];
        match happening {
            Happening::Message(wire) => self.read_message(wire),
            Happening::Takes { server } => one(M::Takes, *server),
            Happening::Applies { server, is_first: true } => one(M::Commits, *server),
            Happening::Applies { .. } => [None; 3],
            Happening::SnapshotTold { server } => one(M::SnapshotTold, *server),
            Happening::SnapshotSaved { server } => one(M::SnapshotSaved, *server),
            Happening::Writes { server, is_cut } => {
                [Some((M::Writes, *server)), is_cut.then_some((M::Cuts, *server)), None]
            }
        }
    }

    fn read_message(&mut self, wire: &Wire<'_>) -> [Option<(Moment, usize)>; 3] {
        use Moment as M;
        let slot = |server: ServerId| server.0 as usize;
        let (from, term) = (slot(wire.from), wire.term());
        let mut moments = [None; 3];
        if wire.leaves && term > self.highest_term {
            self.highest_term = term;
            moments[0] = Some((M::TermRises, from));
        }
        if wire.leaves && wire.is_a_leaders() && term > self.led[from] {
            self.led[from] = term;
            moments[1] = Some((M::Leads, from));
        }
        moments[2] = match (&wire.said, wire.leaves) {
            (Said::RequestVote(_), true) => {
                let (asked_in, count) = &mut self.asked[from];
                (*asked_in, *count) = if *asked_in == term { (term, *count + 1) } else { (term, 1) };
                (*count + 1 == self.servers).then_some((M::AsksForVotes, from))
            }
            (Said::Vote(reply), leaves) if reply.granted => {
                Some((if leaves { M::VoteLeaves } else { M::VoteLeft }, from))
            }
            (Said::AppendEntries(args), false) if !args.entries.is_empty() => {
                self.with_entries.insert(wire.call);
                None
            }
            (Said::Appended(reply), leaves) if reply.success && self.with_entries.contains(&wire.call) => {
                Some((if leaves { M::AckLeaves } else { M::AckLeft }, from))
            }
            (Said::InstallSnapshot(_), true) => Some((M::SnapshotLeaves, from)),
            _ => None,
        };
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{AppendEntriesArgs, AppendEntriesReply, Bytes, Entry, EntryId, RequestVoteArgs, RequestVoteReply};
    use std::time::Duration;

    fn wire(from: u32, to: u32, leaves: bool, said: Said<'_>) -> Wire<'_> {
        Wire { at: Duration::ZERO, call: 7, from: ServerId(from), to: ServerId(to), leaves, said }
    }

    /// The moments that a message is, to one who has seen nothing in term 1 yet but
    /// the message itself.
    fn moments(armed: &mut Armed, wire: &Wire<'_>) -> Vec<(Moment, usize)> {
        armed.read(&Happening::Message(wire)).into_iter().flatten().collect()
    }

    #[test]
    fn an_election_has_its_moments() {
        let mut armed = Armed::new(3);
        let asks = RequestVoteArgs { term: 1, candidate: ServerId(0), last: EntryId::default() };
        let first = moments(&mut armed, &wire(0, 1, true, Said::RequestVote(&asks)));
        assert_eq!(first, [(Moment::TermRises, 0)]);
        let last = moments(&mut armed, &wire(0, 2, true, Said::RequestVote(&asks)));
        assert_eq!(last, [(Moment::AsksForVotes, 0)]);
        for (granted, expected) in [(true, vec![(Moment::VoteLeaves, 1)]), (false, vec![])] {
            let vote = RequestVoteReply { term: 1, granted };
            assert_eq!(moments(&mut armed, &wire(1, 0, true, Said::Vote(&vote))), expected);
        }
    }

    #[test]
    fn a_leader_leads_once_and_an_acknowledgement_is_of_entries() {
        let mut armed = Armed::new(3);
        let entries = vec![Entry { term: 1, command: Bytes::default() }];
        let full =
            AppendEntriesArgs { term: 1, leader: ServerId(0), prev: EntryId::default(), entries, leader_commit: 0 };
        let empty = AppendEntriesArgs { entries: Vec::new(), ..full.clone() };
        let reply = AppendEntriesReply { term: 1, success: true, ..Default::default() };
        let leads = moments(&mut armed, &wire(0, 1, true, Said::AppendEntries(&empty)));
        assert_eq!(leads, [(Moment::TermRises, 0), (Moment::Leads, 0)]);
        for (args, expected) in [(&empty, vec![]), (&full, vec![(Moment::AckLeaves, 1)])] {
            assert_eq!(moments(&mut armed, &wire(0, 1, true, Said::AppendEntries(args))), []);
            moments(&mut armed, &wire(0, 1, false, Said::AppendEntries(args)));
            assert_eq!(moments(&mut armed, &wire(1, 0, true, Said::Appended(&reply))), expected);
        }
    }

    #[test]
    fn a_trigger_strikes_so_often_and_no_more() {
        let mut armed = Armed::new(3);
        let trigger = Trigger { at: Moment::Cuts, deed: Deed::Crash(5), p: 1.0, times: 2 };
        armed.arm(vec![(trigger, Dice::of_trigger(1, 0, 0))]);
        let cut = Happening::Writes { server: 2, is_cut: true };
        let whole = Happening::Writes { server: 2, is_cut: false };
        assert_eq!(armed.due(&whole), []);
        assert_eq!(armed.due(&cut), [(2, Deed::Crash(5))]);
        assert_eq!(armed.due(&cut), [(2, Deed::Crash(5))]);
        assert_eq!(armed.due(&cut), []);
    }
}
