//! Followers.2 (§5.2): a server stands for election when an election timeout has
//! passed since it last had a reason to wait, not before, and not much later.
//!
//! Reasons are: its start; a message from the leader of its term, also one that
//! it refused for a gap; a vote that it gave; its own candidacy. What a leader
//! waits for when it is deposed is nobody's business, so that once is passed over.
//!
//! When exactly a server restarted its timer is not seen. It was after the message
//! arrived, and before the answer left. Both ends get the benefit of the doubt.
//! Nor is it seen when it decided to stand: that may have been a moment before it
//! asked, so what it heard within that moment is no reason.
//!
//! And a server may stand, and hear of a higher term before it has asked anybody: its
//! timer has restarted, and no message says so. A server that publishes shows it. Of
//! one that does not, a higher term that comes when its timer may have rung is taken for
//! such a moment.
//!
//! Boundary: judges by messages. Knows the timeouts that raft declares.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use labsim::time::Instant;
use raft::{RoleName, ServerId, Term, View};

use super::at;
use super::wire::{Said, Wire};
use crate::check::{Broken, Kind};

/// A timer may ring this much too early: a message waits in a thread.
const EARLY: Duration = Duration::from_millis(5);
/// And this much too late: a thread waits for its turn, or for a lock.
const LATE: Duration = Duration::from_millis(60);

/// When each server last had a reason to wait.
#[derive(Debug)]
pub struct Campaigns {
    timeout: Range<Duration>,
    /// What the run allows besides: threads that start late, disks that take time.
    slack: Duration,
    servers: Vec<Known>,
    /// When the requests came that are not answered yet, and their terms.
    arrived: BTreeMap<u64, (Duration, Term)>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// The last reasons, in order. Of those that are older than a decision may be,
    /// only the last is kept. None if it is not known.
    reasons: VecDeque<Reason>,
    /// The last term that it stood in, as its requests say.
    stood: Term,
    /// The candidacy that it shows, and since when.
    shows: Option<(Term, Duration)>,
    /// It publishes what it is.
    is_shown: bool,
    /// When it will stand, as it shows.
    deadline: Option<Instant>,
    /// When it changed that last, other than by standing.
    moved: Option<Duration>,
    /// The highest term that it has spoken in, or was told of.
    term: Term,
    /// The vote that it has given last, and said.
    voted: Option<(Term, ServerId)>,
}

/// A reason to wait, which came at the earliest and at the latest then.
#[derive(Clone, Copy, Debug)]
struct Reason {
    since: Duration,
    until: Duration,
    what: &'static str,
}

impl Campaigns {
    /// For a cluster of so many servers whose election timeouts are in that range.
    pub fn new(servers: usize, timeout: Range<Duration>, slack: Duration) -> Self {
        Self { timeout, slack, servers: vec![Known::default(); servers], arrived: BTreeMap::new() }
    }

    /// The run allows this much from now on, if that is more than before.
    pub fn allow(&mut self, slack: Duration) {
        self.slack = self.slack.max(slack);
    }

    /// A server starts.
    pub fn begin_life(&mut self, moment: Duration, server: ServerId) {
        self.leads(server);
        let known = &mut self.servers[server.0 as usize];
        (known.shows, known.deadline, known.moved) = (None, None, None);
        self.note(server, Reason { since: moment, until: moment, what: "it started" });
    }

    /// A server publishes when it will stand.
    pub fn shows_deadline(&mut self, moment: Duration, view: &View) {
        let known = &mut self.servers[view.server.0 as usize];
        if known.deadline == view.election_deadline {
            return; // Nearly always.
        }
        known.deadline = view.election_deadline;
        let stands = view.role == RoleName::Candidate && known.shows.is_none_or(|(term, _)| term != view.term);
        known.moved = Some(moment).filter(|_| !stands).or(known.moved);
    }

    /// A server publishes.
    pub fn observe(&mut self, moment: Duration, view: &View) {
        if view.role == RoleName::Leader {
            self.leads(view.server);
        }
        let known = &mut self.servers[view.server.0 as usize];
        known.is_shown = true;
        // Whoever stands has voted for itself. Any other is slow to follow.
        let stands = view.role == RoleName::Candidate && view.voted_for == Some(view.server);
        let shows = known.shows.filter(|(term, _)| stands && *term == view.term);
        let hidden = known.shows.filter(|(term, _)| shows.is_none() && *term > known.stood);
        known.shows = shows;
        if stands && shows.is_none() {
            known.shows = Some((view.term, moment));
        }
        if let Some((term, since)) = hidden.filter(|_| view.role != RoleName::Leader) {
            known.stood = term; // Its requests may leave yet: it saves first.
            self.note(view.server, Reason { since, until: since, what: "it stood for election" });
        }
    }

    /// A server leads: it waits for nobody.
    pub fn leads(&mut self, server: ServerId) {
        self.servers[server.0 as usize].reasons.clear();
    }

    fn note(&mut self, server: ServerId, reason: Reason) {
        let decided = reason.since.saturating_sub(EARLY + self.slack);
        let reasons = &mut self.servers[server.0 as usize].reasons;
        while reasons.get(1).is_some_and(|second| second.since <= decided) {
            reasons.pop_front();
        }
        reasons.push_back(reason);
    }

    /// Takes notice of a message.
    ///
    /// # Errors
    ///
    /// If its sender stands for election too early or too late.
    pub fn hear(&mut self, wire: &Wire<'_>) -> Result<(), Broken> {
        let moment = wire.at;
        self.hears_of_a_term(wire);
        if !wire.leaves {
            if wire.is_a_leaders() || matches!(wire.said, Said::RequestVote(_)) {
                self.arrived.insert(wire.call, (moment, wire.term()));
            }
            return Ok(());
        }
        let reason = match wire.said {
            Said::Vote(reply) if reply.granted => Some("it gave a vote"),
            Said::Appended(_) | Said::Installed(_) => Some("it heard of its leader"),
            _ => None,
        };
        if let Said::Vote(_) | Said::Appended(_) | Said::Installed(_) = wire.said {
            let arrived = self.arrived.remove(&wire.call);
            // An answer in a higher term is to a leader that is none any more.
            let is_repeated = matches!(wire.said, Said::Vote(reply) if reply.granted) && self.has_voted(wire);
            if let (Some(reason), Some((since, term))) = (reason, arrived)
                && term == wire.term()
            {
                if is_repeated {
                    // Its timer may run on from when it gave that vote.
                    if let Some(last) = self.servers[wire.from.0 as usize].reasons.back_mut() {
                        last.until = moment;
                        return Ok(());
                    }
                }
                self.note(wire.from, Reason { since, until: moment, what: reason });
            }
        }
        if wire.is_a_leaders() {
            self.leads(wire.from);
        }
        if let Said::RequestVote(args) = wire.said {
            return self.stands(wire.from, args.term, moment);
        }
        Ok(())
    }

    /// True if the sender has said this before; else it has now.
    fn has_voted(&mut self, wire: &Wire<'_>) -> bool {
        let vote = Some((wire.term(), wire.to));
        let before = &mut self.servers[wire.from.0 as usize].voted;
        std::mem::replace(before, vote) == vote
    }

    /// A higher term may hide a candidacy of a server that does not say what it is.
    fn hears_of_a_term(&mut self, wire: &Wire<'_>) {
        let server = if wire.leaves { wire.from } else { wire.to };
        let known = &mut self.servers[server.0 as usize];
        if wire.term() <= known.term {
            return;
        }
        known.term = wire.term();
        if wire.leaves || known.is_shown {
            return;
        }
        if let Some(last) = known.reasons.back_mut()
            && wire.at + EARLY + self.slack >= last.since + self.timeout.start
            && wire.at <= last.until + self.timeout.end + LATE + self.slack
        {
            last.until = wire.at;
        }
    }

    fn stands(&mut self, server: ServerId, term: Term, moment: Duration) -> Result<(), Broken> {
        let (timeout, slack) = (self.timeout.clone(), self.slack);
        let known = &mut self.servers[server.0 as usize];
        if term <= known.stood {
            return Ok(()); // The same candidacy, to another server.
        }
        known.stood = term;
        known.shows = None;
        let moved = known.moved.take();
        let decided = moment.saturating_sub(EARLY + slack);
        let last = known.reasons.iter().rfind(|reason| reason.since <= decided).copied();
        self.note(server, Reason { since: decided, until: moment, what: "it stood for election" });
        let Some(Reason { since, until, what: why }) = last else { return Ok(()) };
        let longest = moment - since;
        let shortest = moment.saturating_sub(until);
        let (what, waited) = if longest + EARLY + slack < timeout.start {
            ("too early", longest)
        } else if shortest > timeout.end + LATE + slack {
            ("too late", shortest)
        } else {
            return Ok(());
        };
        // What it set its deadline for is in the record of that moment.
        let moved = moved.filter(|moved| what == "too late" && *moved > until);
        let again = moved.map_or(String::new(), |moved| {
            format!("; it set its timer again at {}, which is no reason to wait", at(moved))
        });
        let message = format!(
            "{server} stands for term {term} at {}, {what}: {why} {} ms before, and raft::ELECTION_TIMEOUT is {} to {} ms{again}",
            at(moment),
            waited.as_millis(),
            timeout.start.as_millis(),
            timeout.end.as_millis()
        );
        Err(Broken::new(Kind::Liveness, "Followers.2", message).since(moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::wire::wire;
    use raft::{AppendEntriesReply, EntryId, RequestVoteArgs, RequestVoteReply};

    /// What happens to S0, and when in milliseconds.
    #[derive(Clone, Copy)]
    enum Step {
        Starts(u64),
        Leads,
        /// It stands in that term.
        Stands(u64, Term),
        /// It shows itself as a candidate of a term, or as a follower.
        Shows(u64, Term, bool),
        /// It shows itself as a candidate of a term in which it has not voted for itself.
        Keeps(u64, Term),
        /// It sets its timer.
        Waits(u64),
        /// It is told of a term by an answer.
        Told(u64, Term),
        /// A leader of a term is answered in a term.
        Heard(u64, Term, Term),
        /// It refuses its vote of a term to another.
        Other(u64, Term),
        /// It is asked for a vote of a term, and grants it or not.
        Asked(u64, Term, bool),
    }
    use Step::{Asked, Heard, Keeps, Leads, Other, Shows, Stands, Starts, Told, Waits};

    fn judged(steps: &[Step]) -> Result<(), Broken> {
        let timeout = Duration::from_millis(250)..Duration::from_millis(500);
        let mut watcher = Campaigns::new(3, timeout, Duration::ZERO);
        for (call, step) in (1..).zip(steps) {
            let at = |millis, wire| Wire { at: Duration::from_millis(millis), call, ..wire };
            let asks = |term, candidate| RequestVoteArgs { term, candidate, last: EntryId::default() };
            match *step {
                Starts(millis) => watcher.begin_life(Duration::from_millis(millis), ServerId(0)),
                Leads => watcher.leads(ServerId(0)),
                Stands(millis, term) => {
                    let args = asks(term, ServerId(0));
                    watcher.hear(&at(millis, wire(0, 1, true, Said::RequestVote(&args))))?;
                }
                Shows(millis, term, stands) => {
                    let role = if stands { RoleName::Candidate } else { RoleName::Follower };
                    let voted_for = stands.then_some(ServerId(0));
                    let view = View { term, role, voted_for, ..crate::watch::view_of(0) };
                    watcher.observe(Duration::from_millis(millis), &view);
                }
                Keeps(millis, term) => {
                    let view = View { term, role: RoleName::Candidate, ..crate::watch::view_of(0) };
                    watcher.observe(Duration::from_millis(millis), &view);
                }
                Waits(millis) => {
                    let election_deadline = Some(Instant::now());
                    let view = View { election_deadline, ..crate::watch::view_of(0) };
                    watcher.shows_deadline(Duration::from_millis(millis), &view);
                }
                Told(millis, term) => {
                    let reply = RequestVoteReply { term, granted: false };
                    watcher.hear(&at(millis, wire(1, 0, false, Said::Vote(&reply))))?;
                }
                Heard(millis, asked, answered) => {
                    let args = raft::AppendEntriesArgs {
                        term: asked,
                        leader: ServerId(1),
                        prev: EntryId::default(),
                        entries: Vec::new(),
                        leader_commit: 0,
                    };
                    let reply = AppendEntriesReply { term: answered, ..Default::default() };
                    watcher.hear(&at(millis, wire(1, 0, false, Said::AppendEntries(&args))))?;
                    watcher.hear(&at(millis, wire(0, 1, true, Said::Appended(&reply))))?;
                }
                Other(millis, term) => {
                    let (args, reply) = (asks(term, ServerId(2)), RequestVoteReply { term, granted: false });
                    watcher.hear(&at(millis, wire(2, 0, false, Said::RequestVote(&args))))?;
                    watcher.hear(&at(millis, wire(0, 2, true, Said::Vote(&reply))))?;
                }
                Asked(millis, term, granted) => {
                    let (args, reply) = (asks(term, ServerId(1)), RequestVoteReply { term, granted });
                    watcher.hear(&at(millis, wire(1, 0, false, Said::RequestVote(&args))))?;
                    watcher.hear(&at(millis, wire(0, 1, true, Said::Vote(&reply))))?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn whoever_waits_an_election_timeout_may_stand_2a() {
        judged(&[Starts(0), Stands(250, 1), Stands(750, 2)]).unwrap();
        judged(&[Starts(0), Heard(200, 1, 1), Stands(600, 2)]).unwrap();
        judged(&[Starts(0), Asked(200, 1, true), Stands(600, 2)]).unwrap();
        judged(&[Starts(0), Stands(300, 1), Stands(301, 1)]).unwrap(); // Another is asked.
        judged(&[Starts(0), Stands(300, 1), Leads, Stands(900, 2)]).unwrap();
        judged(&[Starts(0), Heard(298, 1, 1), Stands(300, 2)]).unwrap(); // It had decided.
    }

    /// A request that comes twice is answered twice; the vote is given once.
    #[test]
    fn a_vote_that_is_said_again_may_restart_the_timer_or_not_2a() {
        for stands in [460, 960] {
            judged(&[Starts(0), Asked(200, 1, true), Asked(400, 1, true), Stands(stands, 2)]).unwrap();
            // Another was refused meanwhile.
            let refused = Other(300, 1);
            judged(&[Starts(0), Asked(200, 1, true), refused, Asked(400, 1, true), Stands(stands, 2)]).unwrap();
        }
        let too_early = "too early: it gave a vote 200 ms before";
        let broken =
            judged(&[Starts(0), Asked(200, 1, true), Asked(400, 2, true), Stands(600, 3)]).expect_err(too_early);
        assert!(broken.message.contains(too_early), "{}", broken.message);
    }

    #[test]
    fn who_is_slow_to_follow_does_not_stand_2a() {
        judged(&[Starts(0), Shows(300, 1, true), Keeps(500, 7), Stands(620, 8)]).unwrap();
    }

    /// It stands, and hears of a higher term before it has asked anybody.
    #[test]
    fn a_candidacy_that_nobody_hears_of_restarts_the_timer_2a() {
        judged(&[Starts(0), Told(300, 7), Stands(750, 8)]).unwrap(); // It publishes nothing.
        judged(&[Starts(0), Shows(300, 1, true), Shows(301, 7, false), Stands(750, 8)]).unwrap();
        // Its requests leave when it is none any more.
        judged(&[Starts(0), Shows(300, 1, true), Shows(301, 7, false), Stands(340, 1), Stands(750, 8)]).unwrap();
        for (steps, why) in [
            (&[Starts(0), Told(100, 7), Stands(650, 8)][..], "too late: it started 650 ms before"),
            (&[Starts(0), Shows(300, 0, false), Told(300, 7), Stands(750, 8)], "too late: it started 750 ms before"),
        ] {
            let broken = judged(steps).expect_err(why);
            assert!(broken.message.contains(why), "{}", broken.message);
        }
    }

    /// What moved the timer is the mistake, and that moment is the evidence.
    #[test]
    fn a_timer_that_is_set_for_no_reason_is_told_2a() {
        let steps = [Starts(0), Waits(0), Heard(100, 1, 1), Waits(100), Stands(700, 2)];
        let broken = judged(&steps).expect_err("600 ms are too many");
        assert!(broken.message.ends_with("250 to 500 ms"), "{}", broken.message);
        assert_eq!(broken.moments, []);
        let steps = [Starts(0), Waits(0), Heard(100, 1, 1), Waits(100), Waits(300), Stands(700, 2)];
        let broken = judged(&steps).expect_err("600 ms are too many");
        let again = "250 to 500 ms; it set its timer again at 0.300s, which is no reason to wait";
        assert!(broken.message.ends_with(again), "{}", broken.message);
        assert_eq!(broken.moments, [Duration::from_millis(300)]);
    }

    #[test]
    fn whoever_stands_too_early_or_too_late_is_named_with_the_reason_2a() {
        let rows: [(&[Step], &str); 7] = [
            (&[Starts(0), Stands(200, 1)], "too early: it started 200 ms before"),
            (&[Starts(0), Stands(600, 1)], "too late: it started 600 ms before"),
            (&[Starts(0), Stands(300, 1), Stands(400, 2)], "too early: it stood for election 105 ms before"),
            // It was refused, and yet a leader was heard.
            (&[Starts(0), Heard(200, 1, 1), Stands(300, 2)], "too early: it heard of its leader 100 ms before"),
            (&[Starts(0), Asked(200, 1, true), Stands(300, 2)], "too early: it gave a vote 100 ms before"),
            // A refusal is no reason to wait longer; nor is a leader of the past.
            (
                &[Starts(0), Shows(0, 0, false), Asked(400, 1, false), Stands(700, 2)],
                "too late: it started 700 ms before",
            ),
            (&[Starts(0), Shows(0, 0, false), Heard(400, 1, 2), Stands(700, 3)], "too late: it started 700 ms before"),
        ];
        for (steps, why) in rows {
            let broken = judged(steps).expect_err(why);
            assert_eq!(broken.rule, Some("Followers.2"));
            assert!(broken.message.contains(why), "{}", broken.message);
        }
    }
}
