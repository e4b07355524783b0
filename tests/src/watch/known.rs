//! What is known of each server: what it has published, what its disk may hold, and
//! what it is being asked.
//!
//! Watchers judge by this. It errs on the side of the server, always: a disk *may*
//! hold what was synced after it was published, or in the very critical section that
//! made it; a question is open from its arrival until its answer has left, and what is
//! said in the answer may have been true at any moment in between.
//!
//! Boundary: remembers. Judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft::{EntryId, Index, PeerProgress, RoleName, ServerId, Shown, Term, View};

use super::asked::{Asked, Open};
use super::held::{Log, OnDisk, slot_after};
use super::wire::{Said, Wire};

/// So many AppendEntries that a server has refused are kept.
const REFUSED_KEPT: usize = 64;

/// All servers of a run.
#[derive(Debug)]
pub struct Known {
    servers: Vec<Server>,
    /// Nobody crashes: what a server knows is as good as what is on its disk.
    is_volatile: bool,
    /// What each call has asked, by its number, from 1 on.
    calls: Vec<Option<Asked>>,
    /// What each leader has shown as the entries of its term, by index, from 1 on.
    written: Vec<Vec<Shown>>,
}

/// One server, in its present life.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// What it published last. None before it has published anything.
    pub face: Option<Face>,
    /// Its log then.
    pub log: Log,
    /// What its disk may hold.
    pub disk: OnDisk,
    /// How many views it has published in this life.
    pub views: u64,
    /// Its disk was written and synced after its last view: this is the critical section
    /// that did it, and what it has changed besides is not known here.
    pub is_synced: bool,
    /// When its disk was written.
    written: Written,
    /// What it believes of the others, in its last view.
    progress: Vec<PeerProgress>,
    /// The terms in which it has shown itself as a candidate or leader, in order.
    pub stood: Vec<Term>,
    /// Those in which it was a leader.
    pub led: Vec<Term>,
    /// The snapshots that it was sent, by their last entries.
    pub snapshots: Vec<EntryId>,
    /// What it was asked, and has not answered.
    pub open: Vec<Open>,
    /// The last AppendEntries of its term that it has refused: it may have kept what they
    /// bring until there is a place for it.
    pub refused: VecDeque<Open>,
    /// The last answer to an AppendEntries that came from each peer: the term that it was
    /// asked in, and whether it was a yes.
    answers: BTreeMap<ServerId, (Term, bool)>,
    /// What the others have confirmed to it, by the term that it asked in, the latest
    /// last: for each, the last entry.
    confirmed: Vec<(Term, Vec<Index>)>,
}

/// When a disk was written, as far as it matters for what may be on it: one thread may write
/// first and show it then, and another's sync come between.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    since_sync: bool,
    /// Since the last view that has changed what must be saved.
    since_change: bool,
    /// Between the one before and that one.
    before_change: bool,
}

/// What a view says in a few numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Face {
    /// When it was published.
    pub at: Duration,
    /// Its current term.
    pub term: Term,
    /// What it is in that term.
    pub role: RoleName,
    /// Whom it voted for in that term.
    pub voted_for: Option<ServerId>,
    /// The last entry that it knows to be committed.
    pub commit_index: Index,
    /// The last entry that its service was told of.
    pub last_applied: Index,
}

/// How a server's log has changed from one view to the next.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it had published before in this life.
    pub before: Option<Face>,
    /// Its last snapshot then.
    pub base_before: EntryId,
    /// The first index from which entries have gone, other than into a snapshot, and
    /// those entries.
    pub removed: Option<(Index, Vec<Shown>)>,
    /// What it had before where its snapshot ends now, if that was in the log.
    pub was_at_base: Option<Term>,
    /// The last entry that it had before, and has still.
    pub kept_to: Index,
    /// What it believed of the others.
    pub progress_before: Vec<PeerProgress>,
}

impl Server {
    /// All that it has published may be on its disk now.
    fn settle(&mut self) {
        let Some(face) = &self.face else { return };
        self.disk = OnDisk {
            term: face.term,
            voted_for: face.voted_for,
            base: self.log.base,
            view: self.views,
            agrees_to: self.log.last().index,
            tail: Vec::new(),
        };
    }

    /// Its disk may have that very entry.
    pub fn has_on_disk(&self, id: EntryId) -> bool {
        self.disk.contains(&self.log, id)
    }

    /// The last entry that its disk may have.
    pub fn last_on_disk(&self) -> EntryId {
        self.disk.last(&self.log)
    }

    /// The last entry that `peer` has confirmed in answer to requests of `term`.
    pub fn confirmed(&self, term: Term, peer: ServerId) -> Index {
        let of_term = self.confirmed.iter().rfind(|(asked, _)| *asked == term);
        of_term.map_or(0, |(_, by_peer)| by_peer[peer.0 as usize])
    }

    /// The same, in answer to requests of any other term that it led in this life, with
    /// that term.
    pub fn confirmed_otherwise(&self, term: Term, peer: ServerId) -> Option<(Term, Index)> {
        let others = self.confirmed.iter().filter(|(asked, _)| *asked != term);
        others.map(|(asked, by_peer)| (*asked, by_peer[peer.0 as usize])).max_by_key(|(_, index)| *index)
    }

    /// The last answer to an AppendEntries that came from `peer`: the term that it was asked
    /// in, and whether it was a yes.
    pub fn last_answer(&self, peer: ServerId) -> Option<(Term, bool)> {
        self.answers.get(&peer).copied()
    }

    fn confirm(&mut self, servers: usize, term: Term, peer: ServerId, index: Index) {
        let at = self.confirmed.iter().rposition(|(asked, _)| *asked == term).unwrap_or_else(|| {
            self.confirmed.push((term, vec![0; servers]));
            self.confirmed.len() - 1
        });
        let most = &mut self.confirmed[at].1[peer.0 as usize];
        *most = index.max(*most);
    }

    /// Takes notice, for every open question, of what the log is like now.
    fn look_at_open(&mut self) {
        let (log, views) = (&self.log, self.views);
        for open in &mut self.open {
            match open.asked {
                Asked::Append { prev, last, .. } => {
                    if open.had_prev.is_none() && log.contains(prev) {
                        open.had_prev = Some(views);
                    }
                    if open.had_last.is_none() && log.contains(last) && open.lacks(log).is_none() {
                        open.had_last = Some(views);
                    }
                }
                Asked::Install { last, .. } => {
                    if open.had_last.is_none() && log.contains(last) {
                        open.had_last = Some(views);
                    }
                }
                Asked::Vote { last, .. } => open.was_behind |= log.last() <= last,
            }
        }
    }
}

impl Known {
    /// So many servers, of which nothing is known.
    pub fn new(servers: usize) -> Self {
        Self { servers: vec![Server::default(); servers], is_volatile: false, calls: Vec::new(), written: Vec::new() }
    }

    /// From now on nobody crashes, and nothing need be on a disk.
    pub fn without_disks(&mut self) {
        self.is_volatile = true;
    }

    /// One of them.
    pub fn server(&self, server: ServerId) -> &Server {
        &self.servers[server.0 as usize]
    }

    /// All of them, in order.
    pub fn servers(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        (0..).map(ServerId).zip(&self.servers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// How many are a majority of all.
    pub fn majority(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    /// What a call has asked, if it is one of Raft's.
    pub fn asked(&self, call: u64) -> Option<Asked> {
        self.calls.get(usize::try_from(call).ok()?).copied().flatten()
    }

    /// The candidate for whom the sender's vote is given by a message, and in which term: a
    /// vote is of the term that it was asked for in, also if the answer leaves in a later one.
    pub fn vote(&self, wire: &Wire<'_>) -> Option<(Term, ServerId)> {
        match wire.said {
            Said::RequestVote(args) => Some((args.term, args.candidate)),
            Said::Vote(reply) if reply.granted => {
                Some((self.asked(wire.call).map_or(reply.term, |asked| asked.term()), wire.to))
            }
            _ => None,
        }
    }

    /// A server starts, and knows what its disk holds. What that may be is still here;
    /// all else is of its former life.
    pub fn begin_life(&mut self, server: ServerId) {
        let known = &mut self.servers[server.0 as usize];
        *known =
            Server { log: std::mem::take(&mut known.log), disk: std::mem::take(&mut known.disk), ..Server::default() };
    }

    /// A server's disk was written.
    pub fn written(&mut self, server: ServerId) {
        let written = &mut self.servers[server.0 as usize].written;
        (written.since_sync, written.since_change) = (true, true);
    }

    /// A server's disk was synced. That of one that has written nothing has nothing new.
    pub fn synced(&mut self, server: ServerId) {
        let known = &mut self.servers[server.0 as usize];
        let Written { since_sync, since_change, before_change } = known.written;
        known.written.since_sync = false;
        if since_sync || since_change || before_change {
            known.is_synced = true;
            known.settle();
        }
    }

    /// What a leader would show if it had committed `index` since its last view.
    pub fn leader_commits(&self, leader: ServerId, index: Index) -> Option<View> {
        let server = self.server(leader);
        let face = server.face.filter(|face| face.role == RoleName::Leader)?;
        let last = server.log.last();
        Some(View {
            server: leader,
            term: face.term,
            role: face.role,
            voted_for: face.voted_for,
            last,
            base: server.log.base,
            commit_index: index,
            last_applied: face.last_applied,
            changed_from: last.index + 1,
            changed: Vec::new(),
            progress: server.progress.clone(),
            election_deadline: None,
        })
    }

    /// A server publishes. Returns whether that is what it has published last: most
    /// critical sections change nothing.
    pub fn is_repeated(&mut self, view: &View) -> bool {
        let known = &mut self.servers[view.server.0 as usize];
        let is_same = known.face.is_some_and(|face| {
            (face.term, face.role, face.voted_for) == (view.term, view.role, view.voted_for)
                && (face.commit_index, face.last_applied) == (view.commit_index, view.last_applied)
        }) && view.changed.is_empty()
            && (known.log.base, known.log.last()) == (view.base, view.last)
            && known.progress == view.progress;
        if is_same && known.is_synced {
            known.is_synced = false;
            known.settle();
        }
        is_same
    }

    /// A server publishes something else than before.
    pub fn take(&mut self, moment: Duration, view: &View) -> Step {
        let known = &mut self.servers[view.server.0 as usize];
        let (before, base_before) = (known.face, known.log.base);
        if before.is_none() {
            known.log = Log::default(); // What was known of it was of its former life.
        }
        let was_at_base = known.log.term_at(view.base.index);
        let kept_to = known.log.last().index.min(view.changed_from.saturating_sub(1));
        let removed = known.log.fold(view);
        if let Some((first, removed)) = &removed {
            known.disk.keep_removed(*first, removed);
        }
        known.views += 1;
        if before.is_none_or(|before| before.term != view.term) {
            known.refused.clear();
        }
        let has_kept = before.is_some_and(|before| {
            (before.term, before.voted_for, base_before) == (view.term, view.voted_for, view.base)
        }) && removed.is_none()
            && view.changed.is_empty();
        if !has_kept {
            let Written { since_sync, since_change, .. } = known.written;
            known.written = Written { since_sync, since_change: false, before_change: since_change };
        }
        known.face = Some(Face {
            at: moment,
            term: view.term,
            role: view.role,
            voted_for: view.voted_for,
            commit_index: view.commit_index,
            last_applied: view.last_applied,
        });
        for (terms, is_so) in
            [(&mut known.stood, view.role != RoleName::Follower), (&mut known.led, view.role == RoleName::Leader)]
        {
            if is_so && terms.last() != Some(&view.term) {
                terms.push(view.term);
            }
        }
        // What was synced since its last view may have been made in this section; and
        // what it begins its life with is from its disk.
        if self.is_volatile || known.is_synced || before.is_none() {
            known.settle();
        }
        known.is_synced = false;
        let progress_before = std::mem::replace(&mut known.progress, view.progress.clone());
        known.look_at_open();
        if view.role == RoleName::Leader {
            self.note_written(view);
        }
        Step { before, base_before, removed, was_at_base, kept_to, progress_before }
    }

    fn note_written(&mut self, view: &View) {
        for (index, entry) in (view.changed_from..).zip(&view.changed).filter(|(_, entry)| entry.term == view.term) {
            let slot = slot_after(0, index);
            if slot >= self.written.len() {
                self.written.resize_with(slot + 1, Vec::new);
            }
            if self.written[slot].iter().all(|known| known.term != entry.term) {
                self.written[slot].push(*entry);
            }
        }
    }

    /// The entry of that index and term as the leader of that term has shown it.
    pub fn written_as(&self, id: EntryId) -> Option<Shown> {
        let slot = usize::try_from(id.index.checked_sub(1)?).ok()?;
        self.written.get(slot)?.iter().find(|entry| entry.term == id.term).copied()
    }

    /// A message leaves or arrives. Call it before those who judge the message; and
    /// [`close`](Self::close) after them.
    pub fn hear(&mut self, wire: &Wire<'_>) {
        let Some(asked) = Asked::read(&wire.said) else {
            return self.hear_answer(wire);
        };
        if wire.leaves {
            let call = usize::try_from(wire.call).expect("calls can be counted");
            if self.calls.len() <= call {
                self.calls.resize(call + 1, None);
            }
            self.calls[call] = Some(asked);
            return;
        }
        let known = &mut self.servers[wire.to.0 as usize];
        if let Some(open) = known.open.iter_mut().find(|open| open.call == wire.call) {
            open.count += 1;
            return;
        }
        let (term_before, commit_index) = known.face.map_or((0, 0), |face| (face.term, face.commit_index));
        if let Asked::Install { last, .. } = asked
            && !known.snapshots.contains(&last)
        {
            known.snapshots.push(last);
        }
        let was_committed = matches!(asked, Asked::Install { last, .. } if last.index <= commit_index);
        let terms = match wire.said {
            Said::AppendEntries(args) => args.entries.iter().map(|entry| entry.term).collect(),
            _ => Vec::new(),
        };
        known.open.push(Open {
            call: wire.call,
            count: 1,
            since: wire.at,
            asked,
            had_prev: None,
            had_last: None,
            term_before,
            was_committed,
            was_behind: false,
            terms,
        });
        known.look_at_open();
    }

    /// An answer arrives: its receiver knows what it confirms.
    fn hear_answer(&mut self, wire: &Wire<'_>) {
        let Some(asked) = self.asked(wire.call).filter(|_| !wire.leaves) else { return };
        if let Said::Appended(reply) = wire.said {
            self.servers[wire.to.0 as usize].answers.insert(wire.from, (asked.term(), reply.success));
        }
        let confirmed = match (wire.said, asked) {
            (Said::Appended(reply), Asked::Append { term, last, .. }) if reply.success => Some((term, last)),
            (Said::Installed(reply), Asked::Install { term, last }) if reply.term == term => Some((term, last)),
            _ => None,
        };
        if let Some((term, last)) = confirmed {
            let count = self.count();
            self.servers[wire.to.0 as usize].confirm(count, term, wire.from, last.index);
        }
    }

    /// True once any message of Raft's was heard: a Raft with wire types of its own is
    /// not judged by what it says.
    pub fn has_heard(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The open question that an answer of a server is about.
    pub fn open(&self, server: ServerId, call: u64) -> Option<&Open> {
        self.server(server).open.iter().find(|open| open.call == call)
    }

    /// An answer has left: its question is closed.
    pub fn close(&mut self, wire: &Wire<'_>) {
        if !wire.leaves || Asked::read(&wire.said).is_some() {
            return;
        }
        let Server { open, refused, face, .. } = &mut self.servers[wire.from.0 as usize];
        let Some(at) = open.iter().position(|open| open.call == wire.call) else { return };
        open[at].count -= 1;
        if open[at].count > 0 {
            return;
        }
        let open = open.remove(at);
        let is_of_its_term = face.is_some_and(|face| face.term == open.asked.term());
        if matches!(wire.said, Said::Appended(reply) if !reply.success) && is_of_its_term && !open.terms.is_empty() {
            if refused.len() == REFUSED_KEPT {
                refused.pop_front();
            }
            refused.push_back(open);
        }
    }
}
