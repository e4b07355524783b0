//! Replication without a thread: the rules on tables, Figure 7, Figure 8.
//!
//! Boundary: steps `State`s by hand.

// BEGIN 2B
use super::*;
use crate::message::RequestVoteReply;
use crate::testing::entries_of;
use crate::testing::{A, B, ME, leader_in, leader_of, server, stored};

fn append(term: Term, prev: (Term, Index), terms: &[Term], leader_commit: Index) -> AppendEntriesArgs {
    let prev = EntryId { term: prev.0, index: prev.1 };
    AppendEntriesArgs { term, leader: A, prev, entries: entries_of(terms), leader_commit }
}

fn heartbeat(term: Term) -> AppendEntriesArgs {
    append(term, (0, 0), &[], 0)
}

fn terms_of(state: &State) -> Vec<Term> {
    state.log.entries_from(state.log.base().index + 1, usize::MAX).iter().map(|entry| entry.term).collect()
}

/// What `leader` would send to `peer` now.
fn request_to(leader: &mut State, peer: ServerId) -> Request {
    match leader.next_request(peer, Instant::now()) {
        Due::Now(request) => request,
        other => panic!("nothing is due to {peer}: {other:?}"),
    }
}

fn append_to(leader: &mut State, peer: ServerId) -> AppendEntriesArgs {
    match request_to(leader, peer) {
        Request::Append(args) => args,
        Request::Install(args) => panic!("a snapshot is due to {peer}: {args:?}"),
    }
}

/// AppendEntries.1, and who restarts whose timer (Followers.2).
#[test]
fn a_heartbeat_counts_if_its_term_is_not_over_2a() {
    for (own, sent, success, term_after, heard) in
        [(3, 3, true, 3, true), (3, 5, true, 5, true), (3, 2, false, 3, false)]
    {
        let mut state = server(own, None);
        let before = state.election_deadline;
        let reply = state.handle_append_entries(&heartbeat(sent));
        assert_eq!((reply.term, reply.success), (term_after, success), "own {own}, sent {sent}");
        assert_eq!(state.election_deadline != before, heard, "own {own}, sent {sent}");
        state.check_invariants();
    }
}

/// Followers.2: a leader is heard also where the logs do not fit.
#[test]
fn a_refused_request_restarts_the_timer_2b() {
    let mut state = server(2, None);
    let before = state.election_deadline;
    assert!(!state.handle_append_entries(&append(2, (1, 1), &[], 0)).success);
    assert_ne!(state.election_deadline, before);
}

/// Candidates.3.
#[test]
fn a_candidate_follows_the_leader_of_its_term_2a() {
    let mut state = server(0, None);
    state.begin_election();
    state.handle_append_entries(&heartbeat(1));
    assert!(matches!(state.role, Role::Follower));
    assert_eq!(state.voted_for, Some(ME), "its vote in this term is given, and stays given");
    state.check_invariants();
}

#[test]
fn a_candidate_does_not_follow_a_leader_of_the_past_2a() {
    let mut state = server(4, None);
    state.begin_election();
    state.handle_append_entries(&heartbeat(4));
    assert!(matches!(state.role, Role::Candidate { .. }));
}

/// AllServers.2, in an answer.
#[test]
fn an_answer_of_a_later_term_deposes_2a() {
    let mut state = leader_of(3, &[]);
    let asked = append_to(&mut state, A);
    state.handle_append_reply(A, &asked, &AppendEntriesReply { term: 7, success: false, retry_at: 1 });
    assert!(!state.is_leader());
    assert_eq!((state.current_term, state.voted_for), (7, None));
    state.check_invariants();
}

/// AppendEntries.2 to .5, one request on one log: what becomes of it.
#[test]
fn the_receivers_rules_2b() {
    // log | prev, entries, leader's commit -> success, log after, commit after
    type Row = (&'static [Term], (Term, Index), &'static [Term], Index, bool, &'static [Term], Index);
    let rows: [Row; 11] = [
        (&[], (0, 0), &[1, 1], 0, true, &[1, 1], 0),
        (&[1, 1], (1, 2), &[2], 3, true, &[1, 1, 2], 3),
        (&[1, 1], (1, 3), &[2], 3, false, &[1, 1], 0),      // A gap.
        (&[1, 1], (2, 2), &[2], 3, false, &[1, 1], 0),      // Another entry there.
        (&[1, 1, 1], (1, 1), &[2], 2, true, &[1, 2], 2),    // A conflict, and its tail.
        (&[1, 1, 1], (1, 1), &[1], 0, true, &[1, 1, 1], 0), // An old request: nothing goes.
        (&[1, 1, 1], (1, 1), &[], 0, true, &[1, 1, 1], 0),  // A heartbeat: nothing goes.
        (&[1, 1, 1], (1, 1), &[], 9, true, &[1, 1, 1], 1),  // It vouches for the first only.
        (&[1, 1, 1], (0, 0), &[1, 1, 2, 2], 1, true, &[1, 1, 2, 2], 1),
        (&[1, 2, 2], (1, 1), &[2, 3], 2, true, &[1, 2, 3], 2),
        (&[1], (1, 1), &[1, 1], 2, true, &[1, 1, 1], 2),
    ];
    for (row, (log, prev, entries, leader_commit, success, log_after, commit_after)) in rows.into_iter().enumerate() {
        let mut state = server(4, None);
        state.log.merge(0, &entries_of(log));
        let reply = state.handle_append_entries(&append(4, prev, entries, leader_commit));
        assert_eq!(reply.success, success, "row {row}");
        assert_eq!((&*terms_of(&state), state.commit_index), (log_after, commit_after), "row {row}");
        assert_eq!(state.unsaved.log_from.is_some(), log != log_after, "row {row}: what changed is saved");
        state.check_invariants();
    }
}

/// Figure 7: six followers when the leader of term 8 comes to power. Each ends
/// with the leader's log, and it takes a request for each term that is in the
/// way, not one for each entry.
#[test]
fn the_six_logs_of_figure_7_2b() {
    let leaders_log = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let logs: [(&str, &[Term], usize); 6] = [
        ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6], 2),
        ("b", &[1, 1, 1, 4], 2),
        ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], 1),
        ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], 1),
        ("e", &[1, 1, 1, 4, 4, 4, 4], 3),
        ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 3),
    ];
    for (name, log, rounds) in logs {
        let mut leader = leader_in(8, 7, &leaders_log);
        leader.append_command(Bytes::default()).expect("it leads");
        let mut follower = server(7, None);
        follower.log.merge(0, &entries_of(log));
        let mut sent = 0;
        while leader.log != follower.log {
            let asked = append_to(&mut leader, A);
            let reply = follower.handle_append_entries(&asked);
            leader.handle_append_reply(A, &asked, &reply);
            sent += 1;
            assert!(sent <= rounds, "({name}): {sent} requests, and the logs differ still");
        }
        assert_eq!(sent, rounds, "({name})");
    }
}

/// Leaders.4 on a table: what is stored where, and what is committed by it.
/// The leader of term 3 has entries of these terms.
#[test]
fn a_majority_commits_what_is_of_the_own_term_2b() {
    let log = [1, 2, 2, 3, 3];
    let rows = [
        ([0, 0, 0, 0], 0),
        ([5, 0, 0, 0], 0),
        ([5, 5, 0, 0], 5),
        ([4, 5, 0, 0], 4),
        ([3, 5, 0, 0], 0), // Of term 2: not by counting.
        ([5, 4, 4, 4], 4),
        ([5, 5, 5, 5], 5),
    ];
    for (matched, commit) in rows {
        let mut leader = leader_of(5, &log[..3]);
        leader.unsaved.log_from = None;
        assert_eq!(leader.current_term, 3);
        for _ in &log[3..] {
            leader.append_command(Bytes::default()).expect("it leads");
        }
        leader.unsaved.log_from = None;
        for (peer, matched) in (1..).map(ServerId).zip(matched) {
            stored(&mut leader, peer, matched);
        }
        leader.advance_commit_by_majority();
        assert_eq!(leader.commit_index, commit, "{matched:?}");
        leader.check_invariants();
    }
}

/// A request that begins before the base is met by what the snapshot stands for:
/// what it brings beyond is stored, and nothing else changes.
#[test]
fn a_request_from_before_the_snapshot_brings_what_is_new_2d() {
    for (prev, terms, after) in
        [(0, &[1, 1, 2, 2, 2][..], &[2, 2][..]), (1, &[1, 2], &[]), (2, &[2, 2], &[2]), (3, &[2], &[2])]
    {
        let mut state = server(2, None);
        state.log.merge(0, &entries_of(&[1, 1, 2]));
        (state.commit_index, state.last_applied) = (3, 3);
        state.take_snapshot(3, Bytes::from(vec![3]));
        let reply = state.handle_append_entries(&append(2, (if prev > 2 { 2 } else { prev.min(1) }, prev), terms, 0));
        assert!(reply.success, "after {prev}");
        assert_eq!(terms_of(&state), after, "after {prev}");
        assert_eq!(state.unsaved.log_from.is_some(), !after.is_empty(), "after {prev}");
        state.check_invariants();
    }
}

/// AppendEntries.5: an old request does not take a commit back.
#[test]
fn a_commit_index_never_falls_2b() {
    let mut state = server(1, None);
    state.handle_append_entries(&append(1, (0, 0), &[1, 1, 1], 3));
    state.handle_append_entries(&append(1, (0, 0), &[1], 1));
    assert_eq!(state.commit_index, 3);
}

/// Leaders only send: one that was deposed has nothing due.
#[test]
fn whoever_was_deposed_sends_nothing_2a() {
    let mut leader = leader_of(3, &[]);
    leader.observe_term(9);
    assert!(matches!(leader.next_request(A, Instant::now()), Due::Never));
}

/// Persistent: what is not on the leader's own disk does not count as its own.
#[test]
fn a_leader_counts_itself_for_what_is_saved_2c() {
    let mut leader = leader_of(3, &[]);
    leader.append_command(Bytes::default()).expect("it leads");
    leader.append_command(Bytes::default()).expect("it leads");
    stored(&mut leader, A, 2);
    leader.unsaved.log_from = Some(2);
    leader.advance_commit_by_majority();
    assert_eq!(leader.commit_index, 1);
    leader.unsaved.log_from = None;
    leader.advance_commit_by_majority();
    assert_eq!(leader.commit_index, 2);
}

/// Figure 8, from (a) to (e), with the five servers' states and no network.
/// In (c) an entry of term 2 is on a majority and is not committed; in (d) it
/// is replaced; in (e) it is committed, with one of term 4.
#[test]
fn figure_8_step_by_step_2c() {
    /// Elects `candidate` with the votes of `voters`.
    fn elect(servers: &mut [State], candidate: usize, voters: &[usize]) {
        servers[candidate].begin_election();
        let asked = servers[candidate].request_vote_args();
        for voter in voters {
            let reply = servers[*voter].handle_request_vote(&asked);
            assert!(reply.granted, "S{voter} refuses S{candidate} term {}", asked.term);
            servers[candidate].handle_vote_reply(ServerId(*voter as u32), &asked, &reply);
        }
        assert!(servers[candidate].is_leader());
    }
    /// Lets `leader` send to `peer` until it has all, or `max` requests.
    fn replicate(servers: &mut [State], leader: usize, peer: usize, max: usize) {
        let id = ServerId(peer as u32);
        for _ in 0..max {
            let Due::Now(Request::Append(asked)) = servers[leader].next_request(id, Instant::now()) else { return };
            let reply = servers[peer].handle_append_entries(&asked);
            servers[leader].handle_append_reply(id, &asked, &reply);
            servers[leader].unsaved = Default::default(); // It saves before it counts.
            servers[leader].advance_commit_by_majority();
        }
    }
    fn crash(server: &mut State) {
        server.role = Role::Follower;
        server.reset_election_deadline();
    }
    for is_overwritten in [true, false] {
        let servers = &mut (0..5).map(|me| crate::testing::server_named(me, 5)).collect::<Vec<_>>();
        // Index 1, of term 1, is everywhere.
        elect(servers, 0, &[1, 2]);
        servers[0].append_command(Bytes::default()).expect("S0 leads");
        (1..5).for_each(|peer| replicate(servers, 0, peer, 2));
        // (a): S0 leads term 2 and replicates index 2 to S1 alone.
        crash(&mut servers[0]);
        elect(servers, 0, &[1, 2, 3, 4]);
        servers[0].append_command(Bytes::default()).expect("S0 leads");
        replicate(servers, 0, 1, 1);
        // (b): S0 crashes; S4 is elected in term 3 by S2 and S3, and takes another.
        crash(&mut servers[0]);
        elect(servers, 4, &[2, 3]);
        servers[4].append_command(Bytes::default()).expect("S4 leads");
        // (c): S4 crashes; S0 is elected in term 4, and goes on with index 2.
        crash(&mut servers[4]);
        servers[0].observe_term(3);
        elect(servers, 0, &[1, 2, 3]);
        (1..3).for_each(|peer| replicate(servers, 0, peer, 2));
        let stored = servers[..3].iter().filter(|server| server.log.term_at(2) == Some(2)).count();
        assert_eq!((stored, servers[0].commit_index), (3, 1), "on a majority, and not committed");
        if is_overwritten {
            // (d): S4 is elected by those whose last entry is of term 2, and
            // replaces it.
            crash(&mut servers[0]);
            servers[4].observe_term(4);
            elect(servers, 4, &[1, 2, 3]);
            (0..4).for_each(|peer| replicate(servers, 4, peer, 3));
            assert!(servers.iter().all(|server| terms_of(server) == [1, 3]));
        } else {
            // (e): S0 replicates one of its own term first. Now S4 cannot win.
            servers[0].append_command(Bytes::default()).expect("S0 leads");
            (1..3).for_each(|peer| replicate(servers, 0, peer, 1));
            assert_eq!(servers[0].commit_index, 3, "and index 2 with it");
            crash(&mut servers[0]);
            servers[4].observe_term(4);
            servers[4].begin_election();
            let asked = servers[4].request_vote_args();
            let granted = (1..4).filter(|voter| servers[*voter].handle_request_vote(&asked).granted).count();
            assert_eq!(granted, 1, "only S3 lacks what was committed");
        }
        servers.iter().for_each(State::check_invariants);
    }
}

/// StaleReply: an answer to what is not asked any more changes nothing.
#[test]
fn late_answers_move_nothing_2b() {
    let mut leader = leader_of(3, &[1, 1, 2, 2]);
    leader.append_command(Bytes::default()).expect("it leads");
    let before = stored(&mut leader, A, 3);
    let asked =
        |term, index| AppendEntriesArgs { term, prev: EntryId { term: 1, index }, ..append(term, (0, 0), &[1], 0) };
    let answer = |success| AppendEntriesReply { term: 0, success, retry_at: 1 };
    let term = leader.current_term;
    // Of an earlier term; of an earlier entry; refused where the guess is another.
    for (asked, reply) in [
        (asked(term - 1, 3), answer(true)),
        (asked(term, 1), answer(true)),
        (asked(term, 1), answer(false)),
        (asked(term - 1, 3), answer(false)),
    ] {
        assert!(!leader.handle_append_reply(A, &asked, &reply), "{asked:?}, {reply:?}");
        let Role::Leader { progress } = &leader.role else { panic!("it leads") };
        assert_eq!(progress[&A], before);
    }
}

/// One request at a time carries what came meanwhile, up to the limit, and
/// nothing is sent twice before a heartbeat is due.
#[test]
fn commands_that_come_together_go_together_2b() {
    let mut leader = leader_of(3, &[]);
    leader.settings.batch_entries = 3;
    append_to(&mut leader, A); // The first heartbeat.
    let started = |leader: &mut State, count: usize| {
        for _ in 0..count {
            leader.append_command(Bytes::default()).expect("it leads");
        }
    };
    started(&mut leader, 1);
    let first = append_to(&mut leader, A);
    assert_eq!(first.entries.len(), 1);
    started(&mut leader, 4);
    assert!(matches!(leader.next_request(A, Instant::now()), Due::At(_)), "one is on its way");
    let reply = AppendEntriesReply { term: leader.current_term, success: true, retry_at: 0 };
    assert!(leader.handle_append_reply(A, &first, &reply));
    assert_eq!(append_to(&mut leader, A).entries.len(), 3, "the limit");

    // No answer came: the heartbeat carries them again.
    let due = Instant::now() + HEARTBEAT_INTERVAL;
    let Due::Now(Request::Append(again)) = leader.next_request(A, due) else { panic!("a heartbeat is due") };
    assert_eq!((again.prev.index, again.entries.len()), (1, 3));
}

/// A new leader's first heartbeat is due at once (Leaders.1), and tells all.
#[test]
fn a_new_leader_is_heard_at_once_2a() {
    let mut leader = leader_of(3, &[1, 2]);
    for peer in [A, B] {
        let args = append_to(&mut leader, peer);
        assert_eq!((args.prev, args.entries.len()), (leader.log.last(), 0));
    }
    let asked = leader.request_vote_args();
    leader.handle_vote_reply(B, &asked, &RequestVoteReply { term: leader.current_term, granted: true });
    assert!(matches!(leader.next_request(A, Instant::now()), Due::At(_)), "a late vote changes nothing");
}
// END 2B
