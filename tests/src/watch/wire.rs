//! What servers say to each other, as watchers see it.
//!
//! Watched so, a server need not publish anything: its messages are enough for
//! much of Figure 3. What is here is that the messages of a term name their
//! sender, so each promise is one look into a table.
//!
//! Boundary: names messages. Judges nothing.

use std::time::Duration;

use labrpc::{Moment, Passing};
use raft::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, InstallSnapshotReply, RequestVoteArgs,
    RequestVoteReply, ServerId, Term,
};

/// A message at one end of its way.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    /// When.
    pub at: Duration,
    /// The number of its call: a reply has that of its request.
    pub call: u64,
    /// Whose message it is.
    pub from: ServerId,
    /// Whom it is for.
    pub to: ServerId,
    /// True where it leaves, false where it arrives.
    pub leaves: bool,
    /// What it says.
    pub said: Said<'a>,
}

/// The messages of Figures 2 and 13.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// A candidate asks for a vote.
    RequestVote(&'a RequestVoteArgs),
    /// It is answered.
    Vote(&'a RequestVoteReply),
    /// A leader sends entries, or none.
    AppendEntries(&'a AppendEntriesArgs),
    /// It is answered.
    Appended(&'a AppendEntriesReply),
    /// A leader sends its snapshot.
    InstallSnapshot(&'a InstallSnapshotArgs),
    /// It is answered.
    Installed(&'a InstallSnapshotReply),
}

impl<'a> Wire<'a> {
    /// What an observer of the network was shown. None if it is no message of
    /// Raft's.
    pub fn read(at: Duration, passing: &Passing<'a>) -> Option<Self> {
        let value = passing.value;
        let is_request = matches!(passing.moment, Moment::RequestLeaves | Moment::RequestArrives);
        let said = match (passing.method, is_request) {
            ("RequestVote", true) => Said::RequestVote(value.downcast_ref()?),
            ("RequestVote", false) => Said::Vote(value.downcast_ref()?),
            ("AppendEntries", true) => Said::AppendEntries(value.downcast_ref()?),
            ("AppendEntries", false) => Said::Appended(value.downcast_ref()?),
            ("InstallSnapshot", true) => Said::InstallSnapshot(value.downcast_ref()?),
            ("InstallSnapshot", false) => Said::Installed(value.downcast_ref()?),
            _ => return None,
        };
        // A lab makes its servers before any other node.
        let server = |node: labsim::node::Node| ServerId(node.id().0);
        let (from, to) = (server(passing.from()), server(passing.to()));
        Some(Self { at, call: passing.call, from, to, leaves: passing.leaves(), said })
    }

    /// The term in the message, which is its sender's when it was made.
    pub fn term(&self) -> Term {
        match self.said {
            Said::RequestVote(args) => args.term,
            Said::Vote(reply) => reply.term,
            Said::AppendEntries(args) => args.term,
            Said::Appended(reply) => reply.term,
            Said::InstallSnapshot(args) => args.term,
            Said::Installed(reply) => reply.term,
        }
    }

    /// True if only the leader of its term may say that.
    pub fn is_a_leaders(&self) -> bool {
        matches!(self.said, Said::AppendEntries(_) | Said::InstallSnapshot(_))
    }
}

/// A message at time 0, of a call with number 1, for tests.
#[cfg(test)]
pub(super) fn wire(from: u32, to: u32, leaves: bool, said: Said<'_>) -> Wire<'_> {
    Wire { at: Duration::ZERO, call: 1, from: ServerId(from), to: ServerId(to), leaves, said }
}
