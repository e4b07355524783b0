//! What a leader knows of its peers, and what it sends them (§5.3).
//!
//! A peer is either *streamed* to or *probed*. In a stream entries leave as they
//! come, a few messages ahead of the answers. A refusal or a loss ends it: then
//! one message at a time finds out how far the logs agree, and the first success
//! begins the stream anew. Each such turn is an *epoch* of the peer. A success
//! counts whenever it comes; what else is said of an older epoch is history.
//!
//! Heartbeats are empty and never wait. They find the peer that was away, and push
//! the commit index when nothing else does.
//!
//! Boundary: nextIndex and matchIndex. Terms are compared in `actor.rs`.

use labsim::time::{Duration, Instant};

use crate::callers::{Call, Callers};
use crate::log::Log;
use crate::message::{AppendEntriesArgs, EntryId, Index, InstallSnapshotArgs, ServerId, Term};
use crate::{Bytes, ELECTION_TIMEOUT};

/// Messages with entries that may be on their way to a peer.
const WINDOW: usize = 4;
/// A snapshot that was not answered is not sent again before.
const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(200);
/// A leader that has not heard of a majority for so long is none: two election
/// timeouts.
const SILENCE_MAX: Duration = Duration::from_millis(2 * ELECTION_TIMEOUT.end.as_millis() as u64);

/// What a leader remembers of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) term: Term,
    epoch: u64,
    /// The entry before; and the last one that the peer has if it says yes.
    prev: Index,
    end: Index,
}

/// What a leader needs of its server to say something.
pub(crate) struct Desk<'a> {
    pub(crate) term: Term,
    pub(crate) me: ServerId,
    pub(crate) commit: Index,
    pub(crate) log: &'a Log,
    pub(crate) snapshot: &'a Bytes,
    pub(crate) batch_entries: usize,
    pub(crate) callers: &'a mut Callers,
}

impl Desk<'_> {
    /// Sends up to `most` entries from `next` on. Where they end.
    fn append(&mut self, peer: &Peer, next: Index, most: usize) -> Index {
        let index = next - 1;
        let term = self.log.term_at(index).expect("who lacks more is sent the snapshot");
        let entries = if most == 0 { Vec::new() } else { self.log.from(next, most) };
        let end = index + entries.len() as Index;
        let sent = Sent { term: self.term, epoch: peer.epoch, prev: index, end };
        let prev = EntryId { term, index };
        let args = AppendEntriesArgs { term: self.term, leader: self.me, prev, entries, leader_commit: self.commit };
        self.callers.make(peer.id, Call::Append(args, sent));
        end
    }

    fn install(&mut self, peer: &Peer) {
        let last_included = self.log.base();
        let sent = Sent { term: self.term, epoch: peer.epoch, prev: 0, end: last_included.index };
        let args = InstallSnapshotArgs { term: self.term, leader: self.me, last_included, data: self.snapshot.clone() };
        self.callers.make(peer.id, Call::Install(args, sent));
    }
}

#[derive(Debug)]
struct Peer {
    id: ServerId,
    /// What it is sent next, and what it is known to have on its disk.
    next: Index,
    matched: Index,
    epoch: u64,
    is_stream: bool,
    /// Where the messages of this stream end that are not answered.
    on_the_way: Vec<Index>,
    snapshot_sent: Option<Instant>,
    heard: Instant,
}

impl Peer {
    /// Entries that are new to it, as far as the window goes.
    fn stream(&mut self, desk: &mut Desk<'_>) {
        while self.is_stream && self.next <= desk.log.last().index && self.on_the_way.len() < WINDOW {
            if self.next <= desk.log.base().index {
                return self.probe(desk);
            }
            let end = desk.append(self, self.next, desk.batch_entries);
            self.on_the_way.push(end);
            self.next = end + 1;
        }
    }

    /// One message, in a new epoch: from `next` on, if that is still in the log.
    fn probe(&mut self, desk: &mut Desk<'_>) {
        self.is_stream = false;
        self.on_the_way.clear();
        if self.next > desk.log.base().index {
            self.epoch += 1;
            desk.append(self, self.next, desk.batch_entries);
        } else if self.snapshot_sent.is_none_or(|sent| sent.elapsed() > SNAPSHOT_PATIENCE) {
            self.epoch += 1;
            self.snapshot_sent = Some(Instant::now());
            desk.install(self);
        }
    }

    /// It has everything up to where a message ended.
    fn accepts(&mut self, sent: Sent) {
        self.matched = self.matched.max(sent.end);
        self.next = self.next.max(self.matched + 1);
        self.on_the_way.retain(|end| *end > self.matched);
        self.is_stream |= sent.epoch == self.epoch;
    }

    /// It lacks the entry before a message, and says where to try.
    fn refuses(&mut self, sent: Sent, retry_at: Index, desk: &mut Desk<'_>) {
        if sent.epoch == self.epoch && sent.prev > self.matched {
            self.next = retry_at.clamp(self.matched + 1, sent.prev);
            self.probe(desk);
        }
    }

    /// A message is lost, or its answer. It is tried again once; after that a
    /// heartbeat has to find out whether the peer is there at all.
    fn misses(&mut self, sent: Sent, desk: &mut Desk<'_>) {
        if sent.epoch == self.epoch && self.is_stream && sent.end > self.matched && sent.end > sent.prev {
            self.next = self.matched + 1;
            self.probe(desk);
        }
    }
}

/// A leader's office in one term.
#[derive(Debug)]
pub(crate) struct Office {
    peers: Vec<Peer>,
    /// What the leader has on its own disk.
    own: Index,
    pub(crate) next_beat: Instant,
}

impl Office {
    /// Of a server that has just been elected, and has all of its log on disk.
    pub(crate) fn new(peers: impl Iterator<Item = ServerId>, last: Index) -> Self {
        let now = Instant::now();
        let peer = |id| Peer {
            id,
            next: last + 1,
            matched: 0,
            epoch: 0,
            is_stream: true,
            on_the_way: Vec::new(),
            snapshot_sent: None,
            heard: now,
        };
        Self { peers: peers.map(peer).collect(), own: last, next_beat: now }
    }

    fn peer(&mut self, id: ServerId) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.id == id).expect("only peers answer")
    }

    /// A heartbeat to everybody, with the commit index.
    pub(crate) fn beat(&mut self, desk: &mut Desk<'_>) {
        for peer in &self.peers {
            // Nothing is known to lie before the base: it is refused there.
            desk.append(peer, peer.next.max(desk.log.base().index + 1), 0);
        }
    }

    /// What is new, to those who are streamed to.
    pub(crate) fn stream(&mut self, desk: &mut Desk<'_>) {
        self.peers.iter_mut().for_each(|peer| peer.stream(desk));
    }

    /// A peer has answered in this term, to whatever.
    pub(crate) fn hears(&mut self, from: ServerId) {
        self.peer(from).heard = Instant::now();
    }

    pub(crate) fn accepts(&mut self, from: ServerId, sent: Sent) {
        self.peer(from).accepts(sent);
    }

    pub(crate) fn refuses(&mut self, from: ServerId, sent: Sent, retry_at: Index, desk: &mut Desk<'_>) {
        self.peer(from).refuses(sent, retry_at, desk);
    }

    pub(crate) fn misses(&mut self, from: ServerId, sent: Sent, desk: &mut Desk<'_>) {
        self.peer(from).misses(sent, desk);
    }

    /// A snapshot was lost: the next one need not wait.
    pub(crate) fn misses_snapshot(&mut self, from: ServerId) {
        self.peer(from).snapshot_sent = None;
    }

    /// The leader's own disk has everything up to there.
    pub(crate) fn stores(&mut self, end: Index) {
        self.own = self.own.max(end);
    }

    /// The last entry that a majority has on disk, the leader or not.
    pub(crate) fn stored_by_majority(&self) -> Index {
        let mut stored: Vec<Index> = self.peers.iter().map(|peer| peer.matched).chain([self.own]).collect();
        stored.sort_unstable();
        stored[(stored.len() - 1) / 2]
    }

    /// A majority, the leader included, was heard of not long ago.
    pub(crate) fn has_quorum(&self) -> bool {
        let heard = self.peers.iter().filter(|peer| peer.heard.elapsed() <= SILENCE_MAX).count();
        heard + 1 > self.peers.len().div_ceil(2)
    }
}
