//! States to begin a test with.
//!
//! Boundary: for the tests of this crate. Knows no threads.

// BEGIN 2A
use bytes::Bytes;

use crate::message::{Entry, Index, RequestVoteReply, ServerId, Term};
use crate::peer::Settings;
use crate::persist::{Kept, Promises};
use crate::replication::Progress;
use crate::state::{Role, State};

pub(crate) const ME: ServerId = ServerId(0);
pub(crate) const A: ServerId = ServerId(1);
pub(crate) const B: ServerId = ServerId(2);

/// Entries of these terms.
pub(crate) fn entries_of(terms: &[Term]) -> Vec<Entry> {
    terms.iter().map(|term| Entry { term: *term, command: Bytes::default() }).collect()
}

/// Server `me` of `count`, as it starts the first time.
pub(crate) fn server_named(me: u32, count: u32) -> State {
    State::new(ServerId(me), (0..count).map(ServerId).collect(), Settings::default(), Kept::default())
}

/// One of `count` servers, as it starts the first time.
pub(crate) fn server_of(count: u32) -> State {
    server_named(ME.0, count)
}

/// One of three servers, with promises from an earlier life.
pub(crate) fn server(current_term: Term, voted_for: Option<ServerId>) -> State {
    let kept = Kept { promises: Promises { current_term, voted_for }, ..Kept::default() };
    State::new(ME, (0..3).map(ServerId).collect(), Settings::default(), kept)
}

/// One of `count` servers, which has entries of these terms and was elected in
/// the term after them.
pub(crate) fn leader_of(count: u32, terms: &[Term]) -> State {
    leader_in(terms.last().copied().unwrap_or(0) + 1, count, terms)
}

/// One of `count` servers, which has entries of these terms and was elected in
/// `term`.
pub(crate) fn leader_in(term: Term, count: u32, terms: &[Term]) -> State {
    let mut state = server_of(count);
    state.log.merge(0, &entries_of(terms));
    state.observe_term(term - 1);
    state.begin_election();
    let asked = state.request_vote_args();
    for voter in 1..count {
        let granted = RequestVoteReply { term: state.current_term, granted: true };
        state.handle_vote_reply(ServerId(voter), &asked, &granted);
    }
    assert!(state.is_leader());
    state
}

/// Lets a leader know that `peer` has stored its log up to `matched`.
pub(crate) fn stored(leader: &mut State, peer: ServerId, matched: Index) -> Progress {
    let Role::Leader { progress } = &mut leader.role else { panic!("it does not lead") };
    let progress = progress.get_mut(&peer).expect("it is a peer");
    progress.next = matched + 1;
    progress.matched = matched;
    *progress
}
// END 2A
