//! What the one lock guards: Figure 2's "State", and the rules that need nothing
//! else.
//!
//! Boundary: no threads, no calls. Knows the disk, as it says when to write.

use bytes::Bytes;
use labrpc::{decode, encode};
use labsim::disk::Disk;
use labsim::time::Instant;
use labsim::{note, rand};

use crate::DRAWN_FROM;
use crate::log::Log;
use crate::types::{ApplyMsg, Entry, EntryId, Index, RequestVoteArgs, ServerId, Settings, Term};

pub(crate) use crate::view::RoleName as Role;

/// The part of the state that survives a crash, beside the snapshot: the term,
/// the vote in it, the end of the snapshot, the entries after it.
type Saved = (Term, Option<ServerId>, EntryId, Vec<Entry>);

/// What is kept of each server of the cluster, this one included. Of no meaning
/// but to a candidate (`voted`) or a leader (the rest).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Has given its vote in this term.
    pub(crate) voted: bool,
    pub(crate) next: Index,
    pub(crate) matched: Index,
    /// The number of the call that is to be answered before it is sent more.
    pub(crate) waits_for: Option<u64>,
    /// When it must be sent something, be it a heartbeat.
    pub(crate) due: Instant,
}

/// The state of a server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) me: ServerId,
    pub(crate) settings: Settings,
    disk: Disk,

    // On disk.
    pub(crate) term: Term,
    pub(crate) voted_for: Option<ServerId>,
    pub(crate) log: Log,
    pub(crate) snapshot: Bytes,
    /// Something above is not on disk yet.
    unsaved: bool,

    // In memory.
    pub(crate) role: Role,
    pub(crate) commit_index: Index,
    pub(crate) last_applied: Index,
    pub(crate) election_deadline: Instant,
    pub(crate) peers: Vec<Peer>,
    /// How many calls were made, to tell them apart.
    pub(crate) calls: u64,
    pub(crate) killed: bool,
}

impl State {
    /// A follower with what the disk kept.
    pub(crate) fn load(me: ServerId, servers: usize, disk: Disk, settings: Settings) -> Self {
        let (saved, snapshot) = disk.load();
        let saved: Saved = if saved.is_empty() {
            Saved::default()
        } else {
            decode(&saved).expect("the disk holds what an earlier life has saved")
        };
        let (term, voted_for, base, entries) = saved;
        let now = Instant::now();
        let peer = Peer { voted: false, next: 1, matched: 0, waits_for: None, due: now };
        Self {
            me,
            settings,
            disk,
            term,
            voted_for,
            log: Log::new(base, entries),
            snapshot: snapshot.into(),
            unsaved: false,
            role: Role::Follower,
            // What is in the snapshot was committed, and is handed out again.
            commit_index: base.index,
            last_applied: 0,
            election_deadline: now + rand::between(DRAWN_FROM),
            peers: vec![peer; servers],
            calls: 0,
            killed: false,
        }
    }

    /// Writes down what has changed. Before a message leaves that tells of it, and
    /// before this server counts itself.
    pub(crate) fn save(&mut self) {
        if self.unsaved {
            let state = encode(&(self.term, self.voted_for, self.log.base(), self.log.entries()));
            self.disk.save(state, self.snapshot.to_vec());
            self.unsaved = false;
        }
    }

    /// The log or the snapshot has changed.
    pub(crate) fn touch(&mut self) {
        self.unsaved = true;
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.my_place();
        (0..self.peers.len()).filter(move |peer| *peer != me)
    }

    fn my_place(&self) -> usize {
        self.me.0 as usize
    }

    /// Waits anew for a leader.
    pub(crate) fn reset_election_deadline(&mut self) {
        self.election_deadline = Instant::now() + rand::between(DRAWN_FROM);
    }

    /// "If RPC request or response contains term T > currentTerm: set currentTerm =
    /// T, convert to follower."
    pub(crate) fn see_term(&mut self, term: Term) {
        if term > self.term {
            self.term = term;
            self.voted_for = None;
            self.unsaved = true;
            self.follow();
        }
    }

    /// Is a follower from now on, in whatever term it is.
    pub(crate) fn follow(&mut self) {
        if self.role == Role::Leader {
            note!("election", "{} leads no more", self.me);
            self.reset_election_deadline();
        }
        self.role = Role::Follower;
    }

    /// "On conversion to candidate, start election."
    pub(crate) fn stand(&mut self) {
        self.role = Role::Candidate;
        self.vote_for(self.term + 1, self.me);
        self.save();
        self.reset_election_deadline();
        self.peers.iter_mut().for_each(|peer| peer.voted = false);
        note!("election", "{} stands in term {}", self.me, self.term);
        self.take_vote(self.my_place());
    }

    pub(crate) fn vote_request(&self) -> RequestVoteArgs {
        RequestVoteArgs { term: self.term, candidate: self.me, last: self.log.last() }
    }

    pub(crate) fn vote_for(&mut self, term: Term, candidate: ServerId) {
        self.term = term;
        self.voted_for = Some(candidate);
        self.unsaved = true;
    }

    /// A vote for this candidate. With a majority it leads.
    pub(crate) fn take_vote(&mut self, peer: usize) {
        self.peers[peer].voted = true;
        let votes = self.peers.iter().filter(|peer| peer.voted).count();
        if votes * 2 <= self.peers.len() {
            return;
        }
        note!("election", "{} leads term {}", self.me, self.term);
        self.role = Role::Leader;
        let (now, last) = (Instant::now(), self.log.last().index);
        for peer in &mut self.peers {
            *peer = Peer { next: last + 1, matched: 0, waits_for: None, due: now, ..*peer };
        }
        self.count_myself();
    }

    /// All of a leader's own log is on disk.
    pub(crate) fn count_myself(&mut self) {
        let me = self.my_place();
        self.peers[me].matched = self.log.last().index;
        self.advance_commit();
    }

    /// "If there exists an N such that N > commitIndex, a majority of matchIndex[i]
    /// ≥ N, and log[N].term == currentTerm: set commitIndex = N."
    pub(crate) fn advance_commit(&mut self) {
        let mut matched: Vec<Index> = self.peers.iter().map(|peer| peer.matched).collect();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let by_majority = matched[matched.len() / 2];
        if by_majority > self.commit_index && self.log.term(by_majority) == Some(self.term) {
            self.commit_index = by_majority;
        }
    }

    /// What the service is to be handed next. It counts as applied.
    pub(crate) fn next_to_apply(&mut self) -> Option<ApplyMsg> {
        let EntryId { term, index } = self.log.base();
        if self.last_applied < index {
            self.last_applied = index;
            return Some(ApplyMsg::Snapshot { index, term, data: self.snapshot.clone() });
        }
        if self.last_applied == self.commit_index {
            return None;
        }
        self.last_applied += 1;
        let index = self.last_applied;
        let Entry { term, command } = self.log.get(index).expect("what is committed is in the log").clone();
        Some(ApplyMsg::Command { index, term, command })
    }

    /// The service has written itself down as of `index`.
    pub(crate) fn take_snapshot(&mut self, index: Index, data: Bytes) {
        if index <= self.log.base().index || index > self.last_applied {
            return; // Old, or nothing that we have handed out.
        }
        let term = self.log.term(index).expect("what was applied and is not in the snapshot is in the log");
        self.log.start_after(EntryId { term, index });
        self.snapshot = data;
        self.unsaved = true;
        self.save();
    }
}
