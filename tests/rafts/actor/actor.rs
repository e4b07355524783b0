//! The actor: one thread that owns all of a server's state, without a lock.
//!
//! Whatever happens to the server is an event in its channel. It takes those that
//! are there, does what is due by the clock, and then lets go what came of it: new
//! entries to the peers, and one batch to the disk. That is a *turn*.
//!
//! It never waits for the disk. Whatever promises something (an answer, a
//! candidate's questions, a leader that counts itself) is kept as a closure with
//! the ticket of the turn's batch, and runs when the disk says that it is synced.
//! Meanwhile the actor goes on, and an answer may leave long after the question.
//!
//! Boundary: the rules of servers, followers and candidates (§5, §7). A leader's
//! messages are in `office.rs`.

use std::collections::{BTreeSet, VecDeque};

use labsim::channel::{Receiver, RecvTimeoutError, Sender};
use labsim::rand;
use labsim::time::{Duration, Instant};

use crate::callers::{Answer, Call, Callers};
use crate::disk::{Batch, Stored, Write};
use crate::log::Log;
use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, Entry, EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply,
    RequestVoteArgs, RequestVoteReply, ServerId, Term,
};
use crate::office::{Desk, Office, Sent};
use crate::{ApplyMsg, Bytes, ELECTION_TIMEOUT, HEARTBEAT_INTERVAL, Settings, StartError};

/// A candidate asks those again that have not answered.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Events in one turn: nobody may be kept waiting for ever.
const TURN_EVENTS: usize = 64;

/// What happens to a server. Who waits for an answer brings a channel for it.
#[derive(Debug)]
pub(crate) enum Event {
    RequestVote(RequestVoteArgs, Sender<RequestVoteReply>),
    AppendEntries(AppendEntriesArgs, Sender<AppendEntriesReply>),
    InstallSnapshot(InstallSnapshotArgs, Sender<InstallSnapshotReply>),
    /// A call of its own has come back.
    Answered(ServerId, Answer),
    /// The disk has everything up to this ticket.
    Synced(u64),
    Start(Bytes, Sender<Result<EntryId, StartError>>),
    Snapshot(Index, Bytes, Sender<()>),
    Status(Sender<(Term, bool)>),
    Kill,
}

#[derive(Debug)]
enum Role {
    Follower,
    Candidate(Campaign),
    Leader(Office),
}

/// The votes of a candidate, and who has answered at all.
#[derive(Debug, Default)]
struct Campaign {
    votes: usize,
    answered: BTreeSet<ServerId>,
    /// Not before its own vote is on disk.
    ask_at: Option<Instant>,
}

/// How far the log is known to agree with that of the term's leader, over all of
/// its messages; and the highest commit index in them.
#[derive(Debug, Default)]
struct Agreed {
    up_to: Index,
    leader_commit: Index,
}

/// What is done once the state is on disk.
type Promise = Box<dyn FnOnce(&mut Actor) + Send>;

/// Where the actor's work goes.
pub(crate) struct Outlets {
    pub(crate) callers: Callers,
    pub(crate) disk: Sender<Batch>,
    pub(crate) service: Sender<ApplyMsg>,
}

/// A server.
pub(crate) struct Actor {
    me: ServerId,
    servers: u32,
    batch_entries: usize,
    out: Outlets,
    term: Term,
    vote: Option<ServerId>,
    log: Log,
    snapshot: Bytes,
    role: Role,
    /// When it stands for election, unless it leads.
    deadline: Instant,
    agreed: Agreed,
    commit: Index,
    /// Up to where the service is being told.
    told: Index,
    /// Of this turn.
    writes: Vec<Write>,
    /// The last batch that was given to the disk, and the last that it has synced.
    given: u64,
    synced: u64,
    /// By ticket.
    promises: VecDeque<(u64, Promise)>,
}

impl Actor {
    pub(crate) fn new(me: ServerId, servers: u32, settings: Settings, stored: Stored, out: Outlets) -> Self {
        let Stored { term, vote, base, snapshot, entries } = stored;
        if base.index > 0 {
            let _ = out.service.send(ApplyMsg::Snapshot { index: base.index, term: base.term, data: snapshot.clone() });
        }
        Self {
            me,
            servers,
            batch_entries: settings.batch_entries.max(1),
            out,
            term,
            vote,
            log: Log::new(base, entries),
            snapshot,
            role: Role::Follower,
            deadline: Self::next_deadline(),
            agreed: Agreed::default(),
            commit: base.index,
            told: base.index,
            writes: Vec::new(),
            given: 0,
            synced: 0,
            promises: VecDeque::new(),
        }
    }

    /// Turn after turn, until it is killed.
    pub(crate) fn run(mut self, events: &Receiver<Event>) {
        loop {
            let first = match events.recv_deadline(self.wake_at()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = events.try_iter().take(if first.is_some() { TURN_EVENTS - 1 } else { 0 });
            for event in first.into_iter().chain(more) {
                if matches!(event, Event::Kill) {
                    return;
                }
                self.handle(event);
            }
            self.tick();
            self.let_go();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::RequestVote(args, reply_to) => {
                let reply = self.vote(&args);
                self.reply(reply_to, reply);
            }
            Event::AppendEntries(args, reply_to) => {
                let reply = self.append(args);
                self.reply(reply_to, reply);
            }
            Event::InstallSnapshot(args, reply_to) => {
                let reply = self.install(args);
                self.reply(reply_to, reply);
            }
            Event::Answered(from, answer) => {
                self.out.callers.note_idle();
                self.answered(from, answer);
            }
            Event::Synced(ticket) => self.synced(ticket),
            Event::Start(command, reply_to) => {
                let _ = reply_to.send(self.start(command));
            }
            Event::Snapshot(index, data, reply_to) => {
                self.compact(index, data);
                self.reply(reply_to, ());
            }
            Event::Status(reply_to) => {
                let _ = reply_to.send((self.term, matches!(self.role, Role::Leader(_))));
            }
            Event::Kill => unreachable!("it ends the loop"),
        }
    }

    // Time.

    fn next_deadline() -> Instant {
        Instant::now() + rand::between(ELECTION_TIMEOUT)
    }

    fn wake_at(&self) -> Instant {
        match &self.role {
            Role::Follower => self.deadline,
            Role::Candidate(campaign) => campaign.ask_at.map_or(self.deadline, |ask_at| ask_at.min(self.deadline)),
            Role::Leader(office) => office.next_beat,
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.wake_at() {
            return;
        }
        match &mut self.role {
            Role::Leader(office) if office.has_quorum() => {
                office.next_beat = now + HEARTBEAT_INTERVAL;
                let (office, mut desk) = self.office().expect("it leads");
                office.beat(&mut desk);
            }
            // Nobody may hear it any more: it gives up, in its own term.
            Role::Leader(_) => self.follow(self.term, None),
            _ if now >= self.deadline => self.stand(),
            _ => self.ask(),
        }
    }

    // What leaves, and when.

    /// The end of a turn.
    fn let_go(&mut self) {
        if let Some((office, mut desk)) = self.office() {
            office.stream(&mut desk);
        }
        if !self.writes.is_empty() {
            self.given += 1;
            let writes = std::mem::take(&mut self.writes);
            // If the disk's thread is gone, so is this server.
            let _ = self.out.disk.send(Batch { ticket: self.given, writes });
        }
    }

    /// Does it once all that was written so far is on disk: at once, if it is.
    fn when_synced(&mut self, promise: impl FnOnce(&mut Self) + Send + 'static) {
        let ticket = self.given + u64::from(!self.writes.is_empty());
        if ticket == self.synced {
            promise(self);
        } else {
            self.promises.push_back((ticket, Box::new(promise)));
        }
    }

    fn synced(&mut self, ticket: u64) {
        self.synced = ticket;
        while self.promises.front().is_some_and(|(due, _)| *due <= ticket) {
            let (_, promise) = self.promises.pop_front().expect("it was just seen");
            promise(self);
        }
    }

    fn reply<R: Send + 'static>(&mut self, reply_to: Sender<R>, reply: R) {
        self.when_synced(move |_| {
            let _ = reply_to.send(reply);
        });
    }

    fn write_ballot(&mut self) {
        self.writes.push(Write::Ballot(self.term, self.vote));
    }

    // Terms and elections (§5.1, §5.2).

    /// Follows, in this term or a higher one. Who hears a leader gives it the vote
    /// of the term, if that is still to be had.
    fn follow(&mut self, term: Term, leader: Option<ServerId>) {
        let before = (self.term, self.vote);
        if term > self.term {
            (self.term, self.vote, self.agreed) = (term, None, Agreed::default());
        }
        self.vote = self.vote.or(leader);
        if (self.term, self.vote) != before {
            self.write_ballot();
        }
        if let Role::Leader(_) = self.role {
            self.deadline = Self::next_deadline();
        }
        self.role = Role::Follower;
    }

    fn stand(&mut self) {
        (self.term, self.vote, self.agreed) = (self.term + 1, Some(self.me), Agreed::default());
        self.write_ballot();
        self.role = Role::Candidate(Campaign::default());
        self.deadline = Self::next_deadline();
        let term = self.term;
        self.when_synced(move |actor| {
            if actor.term == term {
                actor.count_vote(actor.me);
                actor.ask();
            }
        });
    }

    /// Asks everybody who has not answered.
    fn ask(&mut self) {
        let Role::Candidate(campaign) = &mut self.role else { return };
        campaign.ask_at = Some(Instant::now() + ASK_AGAIN);
        for peer in (0..self.servers).map(ServerId).filter(|peer| !campaign.answered.contains(peer)) {
            let args = RequestVoteArgs { term: self.term, candidate: self.me, last: self.log.last() };
            self.out.callers.make(peer, Call::Vote(args));
        }
    }

    fn count_vote(&mut self, from: ServerId) {
        let Role::Candidate(campaign) = &mut self.role else { return };
        if campaign.answered.insert(from) {
            campaign.votes += 1;
        }
        if campaign.votes > self.servers as usize / 2 {
            let peers = (0..self.servers).map(ServerId).filter(|peer| *peer != self.me);
            // All of the log was written before the vote that was synced.
            self.role = Role::Leader(Office::new(peers, self.log.last().index));
        }
    }

    fn vote(&mut self, args: &RequestVoteArgs) -> RequestVoteReply {
        if args.term > self.term {
            self.follow(args.term, None);
        }
        let is_free = self.vote.is_none_or(|candidate| candidate == args.candidate);
        let granted = args.term == self.term && is_free && args.last >= self.log.last();
        if granted {
            if self.vote.replace(args.candidate).is_none() {
                self.write_ballot();
            }
            self.deadline = Self::next_deadline();
        }
        RequestVoteReply { term: self.term, granted }
    }

    // Logs (§5.3).

    fn append(&mut self, args: AppendEntriesArgs) -> AppendEntriesReply {
        if !self.hear_leader(args.term, args.leader) {
            return AppendEntriesReply { term: self.term, ..Default::default() };
        }
        let AppendEntriesArgs { prev, entries, leader_commit, .. } = args;
        let (base, last) = (self.log.base(), self.log.last());
        // What a snapshot stands for is committed, and so agrees.
        if prev.index > base.index && self.log.term_at(prev.index) != Some(prev.term) {
            let retry_at = if prev.index > last.index {
                last.index + 1
            } else {
                // Halfway to what is committed: that the leader has, too.
                self.commit + prev.index.saturating_sub(self.commit).div_ceil(2)
            };
            return AppendEntriesReply { term: self.term, success: false, retry_at };
        }
        let end = prev.index + entries.len() as Index;
        for (index, entry) in (prev.index + 1..).zip(entries) {
            self.take(index, entry);
        }
        self.agreed.up_to = self.agreed.up_to.max(end);
        self.agreed.leader_commit = self.agreed.leader_commit.max(leader_commit);
        self.commit_to(self.agreed.leader_commit.min(self.agreed.up_to));
        AppendEntriesReply { term: self.term, success: true, retry_at: 0 }
    }

    /// False if the message is of an old term.
    fn hear_leader(&mut self, term: Term, leader: ServerId) -> bool {
        if term < self.term {
            return false;
        }
        assert!(term > self.term || !matches!(self.role, Role::Leader(_)), "{leader} leads the term of {}", self.me);
        self.follow(term, Some(leader));
        self.deadline = Self::next_deadline();
        true
    }

    /// Takes a leader's entry, unless it has it.
    fn take(&mut self, index: Index, entry: Entry) {
        if index <= self.log.base().index || self.log.term_at(index) == Some(entry.term) {
            return;
        }
        if index <= self.log.last().index {
            assert!(index > self.commit, "{}: index {index} is committed, and another entry comes for it", self.me);
            self.log.cut_from(index);
            self.writes.push(Write::CutFrom(index));
        }
        self.store(entry);
    }

    fn store(&mut self, entry: Entry) {
        self.writes.push(Write::Append(entry.clone()));
        self.log.push(entry);
    }

    fn commit_to(&mut self, index: Index) {
        self.commit = self.commit.max(index);
        while self.told < self.commit {
            self.told += 1;
            let Entry { term, command } = self.log.get(self.told).expect("what is committed is there").clone();
            let _ = self.out.service.send(ApplyMsg::Command { index: self.told, term, command });
        }
    }

    // Snapshots (§7).

    fn install(&mut self, args: InstallSnapshotArgs) -> InstallSnapshotReply {
        if !self.hear_leader(args.term, args.leader) {
            return InstallSnapshotReply { term: self.term };
        }
        let InstallSnapshotArgs { last_included, data, .. } = args;
        let EntryId { index, term } = last_included;
        if index > self.commit {
            self.rebase(last_included, data.clone());
            (self.commit, self.told) = (index, index);
            let _ = self.out.service.send(ApplyMsg::Snapshot { index, term, data });
        }
        self.agreed.up_to = self.agreed.up_to.max(index);
        InstallSnapshotReply { term: self.term }
    }

    /// The service has written itself down.
    fn compact(&mut self, index: Index, data: Bytes) {
        if index > self.log.base().index {
            assert!(index <= self.told, "a snapshot up to {index}, and the service was told {}", self.told);
            let term = self.log.term_at(index).expect("it was applied, and is not in a snapshot");
            self.rebase(EntryId { term, index }, data);
        }
    }

    fn rebase(&mut self, base: EntryId, data: Bytes) {
        let keeps_rest = self.log.rebase(base);
        self.snapshot = data.clone();
        self.writes.push(Write::Snapshot { base, data, keeps_rest });
    }

    // Leading.

    /// The office, and what is needed to say something in it.
    fn office(&mut self) -> Option<(&mut Office, Desk<'_>)> {
        let Role::Leader(office) = &mut self.role else { return None };
        let desk = Desk {
            term: self.term,
            me: self.me,
            commit: self.commit,
            log: &self.log,
            snapshot: &self.snapshot,
            batch_entries: self.batch_entries,
            callers: &mut self.out.callers,
        };
        Some((office, desk))
    }

    fn start(&mut self, command: Bytes) -> Result<EntryId, StartError> {
        let Role::Leader(_) = self.role else { return Err(StartError::NotLeader) };
        self.store(Entry { term: self.term, command });
        let id = self.log.last();
        self.when_synced(move |actor| actor.count_own(id));
        Ok(id)
    }

    /// An entry that this server took as a leader is on its disk.
    fn count_own(&mut self, id: EntryId) {
        if id.term == self.term
            && let Role::Leader(office) = &mut self.role
        {
            office.stores(id.index);
            self.commit_by_majority();
        }
    }

    /// Only an entry of its own term is committed by counting (§5.4.2).
    fn commit_by_majority(&mut self) {
        if let Role::Leader(office) = &self.role {
            let index = office.stored_by_majority();
            if self.log.term_at(index) == Some(self.term) {
                self.commit_to(index);
            }
        }
    }

    // Answers.

    fn answered(&mut self, from: ServerId, answer: Answer) {
        let term = match &answer {
            Answer::Vote(reply) => reply.term,
            Answer::Append(_, Some(reply)) => reply.term,
            Answer::Install(_, Some(reply)) => reply.term,
            _ => 0,
        };
        if term > self.term {
            return self.follow(term, None);
        }
        match answer {
            Answer::Vote(reply) => self.vote_answered(from, &reply),
            Answer::Append(sent, reply) if sent.term == self.term => self.append_answered(from, sent, reply),
            Answer::Install(sent, reply) if sent.term == self.term => self.install_answered(from, sent, reply),
            _ => {}
        }
    }

    fn vote_answered(&mut self, from: ServerId, reply: &RequestVoteReply) {
        if reply.term != self.term {
            return;
        }
        if reply.granted {
            self.count_vote(from);
        } else if let Role::Candidate(campaign) = &mut self.role {
            campaign.answered.insert(from);
        }
    }

    fn append_answered(&mut self, from: ServerId, sent: Sent, reply: Option<AppendEntriesReply>) {
        let Some((office, mut desk)) = self.office() else { return };
        match reply {
            None => return office.misses(from, sent, &mut desk),
            Some(reply) if reply.success => office.accepts(from, sent),
            Some(reply) => office.refuses(from, sent, reply.retry_at, &mut desk),
        }
        office.hears(from);
        self.commit_by_majority();
    }

    fn install_answered(&mut self, from: ServerId, sent: Sent, reply: Option<InstallSnapshotReply>) {
        let Some((office, _)) = self.office() else { return };
        office.misses_snapshot(from);
        if reply.is_some() {
            office.hears(from);
            office.accepts(from, sent);
            self.commit_by_majority();
        }
    }
}
