//! Log compaction (§7): the service writes down its state, and the log forgets
//! how it got there.
//!
//! A follower that lacks entries which the leader has forgotten is sent the
//! leader's snapshot instead, in one piece where Figure 13 has chunks.
//!
//! Boundary: InstallSnapshot. Does not look into a snapshot.

use crate::message::{EntryId, Index, InstallSnapshotArgs, InstallSnapshotReply, ServerId};
use crate::peer::Raft;
use crate::state::{Role, State};
use bytes::Bytes;

impl Raft {
    /// The service has written down its state as of the entry at `index`, the
    /// effect of that entry included. Entries up to there are forgotten. On disk
    /// when this returns.
    ///
    /// An older snapshot than one that is known is ignored.
    ///
    /// # Panics
    ///
    /// If the service has not been told of `index` yet.
    pub fn snapshot(&self, index: Index, data: impl Into<Bytes>) {
        let data = data.into();
        self.promise(|state| state.take_snapshot(index, data));
    }

    /// Answers a leader. What is in the answer is a promise.
    pub(crate) fn answer_install_snapshot(&self, args: &InstallSnapshotArgs) -> InstallSnapshotReply {
        self.promise(|state| state.handle_install_snapshot(args)) // Followers.1
    }
}

impl State {
    /// Replaces the log up to `index` by what the service made of it.
    pub(crate) fn take_snapshot(&mut self, index: Index, data: Bytes) {
        assert!(index <= self.last_applied, "a snapshot up to {index}, and {} was applied", self.last_applied);
        if index > self.log.base().index {
            let last = self.log.id_at(index).expect("what was applied after the snapshot is in the log");
            self.replace_prefix(last, data);
        }
    }

    pub(crate) fn install_snapshot_args(&self) -> InstallSnapshotArgs {
        InstallSnapshotArgs {
            term: self.current_term,
            leader: self.me,
            last: self.log.base(),
            data: self.snapshot.clone(),
        }
    }

    /// InstallSnapshot RPC, receiver implementation (Figure 13).
    pub(crate) fn handle_install_snapshot(&mut self, args: &InstallSnapshotArgs) -> InstallSnapshotReply {
        self.observe_term(args.term);

        // InstallSnapshot.1: a leader of a term that is over learns so.
        if args.term < self.current_term {
            return InstallSnapshotReply { term: self.current_term };
        }
        self.follow(args.leader);

        // InstallSnapshot.2, InstallSnapshot.3, InstallSnapshot.4 write chunks to a
        // file, and wait for the last: there is one, and it is here.
        // InstallSnapshot.5: one that tells us nothing new is dropped. The service
        // would go back in time.
        if args.last.index > self.commit_index {
            // InstallSnapshot.6, InstallSnapshot.7: entries that follow it stay, if
            // the log has the one that it ends with; otherwise none does.
            self.replace_prefix(args.last, args.data.clone());
            // InstallSnapshot.8: the service is reset by it. The applier sees that
            // it is behind the log's base, and there is only one applier: what it
            // tells of commands and of snapshots is in order.
            self.advance_commit(args.last.index);
        }
        InstallSnapshotReply { term: self.current_term }
    }

    fn replace_prefix(&mut self, last: EntryId, data: Bytes) {
        self.log.compact(last);
        self.snapshot = data;
        self.unsaved.snapshot = true;
    }

    /// Learns from an answer to a snapshot, and returns whether there was
    /// something to learn. See `handle_append_reply` on late answers (StaleReply).
    pub(crate) fn handle_install_reply(
        &mut self,
        from: ServerId,
        asked: &InstallSnapshotArgs,
        reply: &InstallSnapshotReply,
    ) -> bool {
        self.observe_term(reply.term);
        if asked.term != self.current_term {
            return false;
        }
        let Role::Leader { progress } = &mut self.role else { return false };
        progress.get_mut(&from).expect("only peers are asked").advance(asked.last.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::ApplyMsg;
    use crate::log::entries_of;
    use crate::message::Term;
    use crate::testing::{A, leader_of, server, stored};

    fn install(term: Term, last: (Term, Index)) -> InstallSnapshotArgs {
        let last = EntryId { term: last.0, index: last.1 };
        InstallSnapshotArgs { term, leader: A, last, data: Bytes::from(vec![9]) }
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
                    assert_eq!((asked.last.index, &asked.data[..]), (2, &[2][..]));
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
