//! Log compaction (§7): the service writes down its state, and the log forgets
//! how it got there.
//!
//! A follower that lacks entries which the leader has forgotten is sent the
//! leader's snapshot instead, in one piece where Figure 13 has chunks.
//!
//! Boundary: InstallSnapshot. Does not look into a snapshot.

// BEGIN 2D
// STUB use crate::message::{Index, InstallSnapshotArgs, InstallSnapshotReply};
use crate::message::{EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply, ServerId};
// END 2D
use crate::peer::Raft;
// BEGIN 2D
use crate::state::State;
// END 2D
use bytes::Bytes;

impl Raft {
    /// The service has written down its state as of the entry at `index`, the
    /// effect of that entry included. Entries up to there are forgotten. When this
    /// returns, it is on disk.
    ///
    /// An older snapshot than one that is known is ignored.
    ///
    /// # Panics
    ///
    /// If the entry at `index` was not handed out to the service yet.
    pub fn snapshot(&self, index: Index, data: impl Into<Bytes>) {
        let data = data.into();
        // BEGIN 2D
        // STUB let _ = (index, data);
        // STUB panic!("2D: not implemented yet: raft/README.md#2d")
        self.promise(|state| state.take_snapshot(index, data));
        // END 2D
    }

    /// Answers a leader. What is in the answer is a promise.
    pub(crate) fn answer_install_snapshot(&self, args: &InstallSnapshotArgs) -> InstallSnapshotReply {
        // BEGIN 2D
        // STUB let _ = args;
        // STUB panic!("2D: not implemented yet: raft/README.md#2d")
        self.promise(|state| state.handle_install_snapshot(args)) // Followers.1
        // END 2D
    }
}

// BEGIN 2D
impl State {
    /// Replaces the log up to `index` by what the service made of it.
    pub(crate) fn take_snapshot(&mut self, index: Index, data: Bytes) {
        let Self { me, last_applied, .. } = self;
        assert!(index <= *last_applied, "{me} has a snapshot up to {index}, and has applied {last_applied}");
        if index > self.log.base().index {
            let last_included = self.log.id_at(index).expect("what was applied after the snapshot is in the log");
            self.replace_prefix(last_included, data);
        }
    }

    pub(crate) fn install_snapshot_args(&self) -> InstallSnapshotArgs {
        InstallSnapshotArgs {
            term: self.current_term,
            leader: self.me,
            last_included: self.log.base(),
            data: self.snapshot.clone(),
        }
    }

    /// InstallSnapshot RPC, receiver implementation (Figure 13).
    pub(crate) fn handle_install_snapshot(&mut self, args: &InstallSnapshotArgs) -> InstallSnapshotReply {
        self.observe_term(args.term); // AllServers.2

        // InstallSnapshot.1: a leader of a term that is over learns so.
        if args.term < self.current_term {
            return InstallSnapshotReply { term: self.current_term };
        }
        self.follow(args.leader); // Candidates.3, Followers.2

        // InstallSnapshot.2, InstallSnapshot.3, InstallSnapshot.4 write chunks to a
        // file, and wait for the last: there is one, and it is here.
        // Not in Figure 13: a snapshot of nothing but what is known to be committed
        // here is dropped. The service must not go back in time.
        if args.last_included.index > self.commit_index {
            self.replace_prefix(args.last_included, args.data.clone());
            // InstallSnapshot.8: the service is reset. The figure stops before that
            // if entries follow, for the service could apply those that led here.
            // They are dropped, so it takes the snapshot in either case. There is
            // one applier, and it sees that it is behind the log's base: what it
            // tells of commands and of snapshots is in order.
            self.advance_commit(args.last_included.index);
        }
        InstallSnapshotReply { term: self.current_term }
    }

    fn replace_prefix(&mut self, last_included: EntryId, data: Bytes) {
        // InstallSnapshot.6, InstallSnapshot.7: entries that follow it stay, if the
        // log has the one that it ends with; otherwise none does.
        self.log.compact(last_included);
        self.snapshot = data; // InstallSnapshot.5: the one before is discarded.
        self.unsaved.snapshot = true;
    }

    /// Learns from an answer to a snapshot, and returns whether there was
    /// something to learn.
    pub(crate) fn handle_install_reply(
        &mut self,
        from: ServerId,
        asked: &InstallSnapshotArgs,
        reply: &InstallSnapshotReply,
    ) -> bool {
        let progress = self.progress_if_current(from, asked.term, reply.term);
        progress.is_some_and(|progress| progress.advance(asked.last_included.index))
    }
}
// END 2D

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::ApplyMsg;
    use crate::message::Term;
    use crate::testing::entries_of;
    use crate::testing::{A, leader_of, server, stored};

    fn install(term: Term, last: (Term, Index)) -> InstallSnapshotArgs {
        let last_included = EntryId { term: last.0, index: last.1 };
        InstallSnapshotArgs { term, leader: A, last_included, data: Bytes::from(vec![9]) }
    }

    /// InstallSnapshot.1, .5, .6, .7 on a log with entries of terms 1, 1, 2, 2, of
    /// which the first is committed and applied.
    #[test]
    fn the_receivers_rules_2d() {
        // term, last -> base, last entry, commit
        let rows = [
            (2, (2, 3), (0, 0), (2, 4), 1), // A term that is over.
            (3, (1, 1), (0, 0), (2, 4), 1), // Nothing new.
            (3, (1, 2), (1, 2), (2, 4), 2), // Entries that follow it stay.
            (3, (2, 4), (2, 4), (2, 4), 4),
            (3, (3, 3), (3, 3), (3, 3), 3), // Another entry is there: nothing stays.
            (3, (3, 9), (3, 9), (3, 9), 9),
        ];
        for (term, last, base_after, last_after, commit_after) in rows {
            let mut state = server(3, None);
            state.log.merge(0, &entries_of(&[1, 1, 2, 2]));
            (state.commit_index, state.last_applied) = (1, 1);
            let before = state.election_deadline;
            assert_eq!(state.handle_install_snapshot(&install(term, last)).term, 3);
            let (base, end) = (state.log.base(), state.log.last());
            assert_eq!(((base.term, base.index), (end.term, end.index)), (base_after, last_after), "{last:?}");
            assert_eq!(state.commit_index, commit_after, "{last:?}");
            assert_eq!(state.unsaved.snapshot, base_after != (0, 0), "{last:?}");
            assert_eq!(state.election_deadline != before, term == 3, "{last:?}: the leader was heard");
            state.check_invariants();

            // InstallSnapshot.8: the service is told, and told in order.
            let told: Vec<Index> = state.take_unapplied().iter().map(ApplyMsg::index).collect();
            let is_news = commit_after > 1;
            assert_eq!(told, if is_news { vec![commit_after] } else { vec![] }, "{last:?}");
        }
    }

    #[test]
    fn an_older_snapshot_changes_nothing_2d() {
        let mut state = server(3, None);
        state.log.merge(0, &entries_of(&[1, 1, 2, 2]));
        (state.commit_index, state.last_applied) = (4, 4);
        state.take_snapshot(3, Bytes::from(vec![3]));
        let after = (state.log.clone(), state.snapshot.clone());
        state.unsaved.snapshot = false;
        for older in [1, 3] {
            state.take_snapshot(older, Bytes::from(vec![1]));
            assert_eq!((&state.log, &state.snapshot), (&after.0, &after.1));
            assert!(!state.unsaved.snapshot);
        }
    }

    /// StaleReply: the follower refused it in a later term. That this server leads
    /// that term by now does not make it an answer.
    #[test]
    fn a_late_answer_to_a_snapshot_moves_nothing_2d() {
        let mut leader = leader_of(3, &[1, 1, 1, 1]);
        (leader.commit_index, leader.last_applied) = (4, 4);
        leader.take_snapshot(4, Bytes::from(vec![4]));
        let before = stored(&mut leader, A, 0);
        let asked = InstallSnapshotArgs { term: leader.current_term - 1, ..leader.install_snapshot_args() };
        let reply = InstallSnapshotReply { term: leader.current_term };
        assert!(!leader.handle_install_reply(A, &asked, &reply));
        let crate::state::Role::Leader { progress } = &leader.role else { panic!("it leads") };
        assert_eq!(progress[&A], before);
    }

    /// AllServers.2: also where a snapshot brings the term, or its answer.
    #[test]
    fn a_snapshot_of_a_higher_term_deposes_2d() {
        let mut leader = leader_of(3, &[1]);
        leader.handle_install_snapshot(&install(9, (1, 1)));
        assert_eq!((leader.is_leader(), leader.current_term), (false, 9));
        let mut leader = leader_of(3, &[1]);
        let asked = leader.install_snapshot_args();
        leader.handle_install_reply(A, &asked, &InstallSnapshotReply { term: 9 });
        assert_eq!((leader.is_leader(), leader.current_term), (false, 9));
    }

    /// A follower that is behind the base gets the snapshot, and its answer moves
    /// both indexes; one that is not gets entries.
    #[test]
    fn the_snapshot_is_for_those_who_lack_what_is_in_it_2d() {
        use crate::replication::{Due, Request};
        use labsim::time::Instant;
        for next in 1..=5 {
            let mut leader = leader_of(3, &[1, 1, 1, 1]);
            (leader.commit_index, leader.last_applied) = (4, 4);
            leader.take_snapshot(2, Bytes::from(vec![2]));
            stored(&mut leader, A, next - 1);
            let Due::Now(request) = leader.next_request(A, Instant::now()) else { panic!("the first is due at once") };
            match request {
                Request::Install(asked) => {
                    assert!(next <= 2, "next {next}");
                    assert_eq!((asked.last_included.index, &asked.data[..]), (2, &[2][..]));
                    let reply = InstallSnapshotReply { term: leader.current_term };
                    assert!(leader.handle_install_reply(A, &asked, &reply));
                    assert!(!leader.handle_install_reply(A, &asked, &reply), "it says nothing new");
                }
                Request::Append(asked) => {
                    assert!(next >= 3, "next {next}");
                    assert_eq!((asked.prev.index, asked.entries.len()), (next - 1, 5 - next as usize));
                }
            }
        }
    }
}
