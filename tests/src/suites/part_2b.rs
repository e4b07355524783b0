//! Part 2B: the log, and agreement on it (§5.3, §5.4.1).
//!
//! Boundary: ten stories. Their verbs are in `harness`.

use super::{LabTest, PART_2B, Setup};
use crate::harness::{ELECTION_TIME, Lab, Retry, command};
use crate::watch::Sight;
use labsim::thread;
use labsim::time::Duration;
use raft::Bytes;

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "basic_agree_2b",
        part: PART_2B,
        title: "commands are committed in order",
        points: 1,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: basic_agree,
    },
    LabTest {
        name: "rpc_bytes_2b",
        part: PART_2B,
        title: "each command crosses the network about once for each peer",
        points: 1,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: rpc_bytes,
    },
    LabTest {
        name: "follower_failure_2b",
        part: PART_2B,
        title: "a majority goes on without a follower, and one server alone does not",
        points: 2,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: follower_failure,
    },
    LabTest {
        name: "leader_failure_2b",
        part: PART_2B,
        title: "a majority goes on without its leader",
        points: 2,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: leader_failure,
    },
    LabTest {
        name: "fail_agree_2b",
        part: PART_2B,
        title: "a follower that was away catches up",
        points: 2,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: fail_agree,
    },
    LabTest {
        name: "fail_no_agree_2b",
        part: PART_2B,
        title: "nothing is committed without a majority",
        points: 2,
        setup: Setup::reliable(5).volatile(),
        must_see: &[Sight::Conflict],
        body: fail_no_agree,
    },
    LabTest {
        name: "concurrent_starts_2b",
        part: PART_2B,
        title: "commands that are offered at once are all committed",
        points: 2,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: concurrent_starts,
    },
    LabTest {
        name: "rejoin_2b",
        part: PART_2B,
        title: "what a leader accepted alone gives way when it returns",
        points: 3,
        setup: Setup::reliable(3).volatile(),
        must_see: &[Sight::Conflict],
        body: rejoin,
    },
    LabTest {
        name: "backup_2b",
        part: PART_2B,
        title: "long logs that disagree are brought together in time",
        points: 3,
        setup: Setup::reliable(5).volatile(),
        must_see: &[Sight::Conflict],
        body: backup,
    },
    LabTest {
        name: "count_2b",
        part: PART_2B,
        title: "no more calls than agreement needs",
        points: 2,
        setup: Setup::reliable(3).volatile(),
        must_see: &[],
        body: count,
    },
];

/// Asserts that a command was committed where it had to be.
fn expect_index(lab: &Lab, index: u64, due: u64) {
    lab.expect(index == due, "Leaders.2", || format!("a command was committed at index {index}, and {due} was due"));
}

/// The server that comes `steps` after another, round and round.
fn after(lab: &Lab, server: usize, steps: usize) -> usize {
    (server + steps) % lab.count()
}

/// 2B. Three commands, one by one, take the first three places.
fn basic_agree(lab: &Lab) {
    for index in 1..=3 {
        lab.check_not_committed(index);
        expect_index(lab, lab.one(command(100 * index), 3, Retry::No), index);
    }
}

/// 2B. A leader sends an entry to each peer once, not the whole log each time.
fn rpc_bytes(lab: &Lab) {
    const COMMANDS: u64 = 10;
    const COMMAND_BYTES: u64 = 5000;
    /// Ten commands to two peers are 100,000 bytes. Twice that is allowed: a Raft
    /// may not know at once that a peer has them.
    const BYTES_MAX: u64 = 4 * COMMANDS * COMMAND_BYTES;

    lab.one(command(99), 3, Retry::No);
    let traffic = lab.network().traffic();
    let before = traffic.bytes();
    for index in 2..2 + COMMANDS {
        let random: Vec<u8> = (0..COMMAND_BYTES).map(|_| b'a' + (lab.below(26) as u8)).collect();
        expect_index(lab, lab.one(random, 3, Retry::No), index);
    }
    let bytes = traffic.bytes() - before;
    lab.economy(bytes, BYTES_MAX, "bytes for ten commands of 5000");
}

/// 2B. Two of three go on without the third; the leader alone commits nothing.
fn follower_failure(lab: &Lab) {
    lab.one(command(101), 3, Retry::No);
    let leader = lab.check_one_leader();
    lab.disconnect(after(lab, leader, 1));
    lab.one(command(102), 2, Retry::No);
    lab.run_for(ELECTION_TIME);
    lab.one(command(103), 2, Retry::No);

    let leader = lab.check_one_leader();
    lab.disconnect(after(lab, leader, 1));
    lab.disconnect(after(lab, leader, 2));
    let taken = lab.start(leader, command(104));
    lab.expect(taken.is_some_and(|(index, _)| index == 4), "Leaders.2", || {
        format!("S{leader} leads and is offered its fourth command; it answers {taken:?}")
    });
    lab.run_for(2 * ELECTION_TIME);
    lab.check_not_committed(4);
}

/// 2B. Two of three go on without their leader; with one alone nothing does,
/// whoever is asked.
fn leader_failure(lab: &Lab) {
    lab.one(command(101), 3, Retry::No);
    lab.disconnect(lab.check_one_leader());
    lab.one(command(102), 2, Retry::No);
    lab.run_for(ELECTION_TIME);
    lab.one(command(103), 2, Retry::No);

    lab.disconnect(lab.check_one_leader());
    for server in 0..lab.count() {
        lab.start(server, command(104));
    }
    lab.run_for(2 * ELECTION_TIME);
    lab.check_not_committed(4);
}

/// 2B. A follower returns, and has what was agreed on without it.
fn fail_agree(lab: &Lab) {
    lab.one(command(101), 3, Retry::No);
    let leader = lab.check_one_leader();
    let away = after(lab, leader, 1);
    lab.disconnect(away);
    lab.one(command(102), 2, Retry::No);
    lab.one(command(103), 2, Retry::No);
    lab.run_for(ELECTION_TIME);
    lab.one(command(104), 2, Retry::No);
    lab.one(command(105), 2, Retry::No);

    // It may return with a higher term, and depose the leader.
    lab.connect(away);
    lab.one(command(106), 3, Retry::Yes);
    lab.run_for(ELECTION_TIME);
    lab.one(command(107), 3, Retry::Yes);
}

/// 2B. A leader that keeps one of four peers commits nothing; when the others
/// return, what it took alone may be replaced.
fn fail_no_agree(lab: &Lab) {
    lab.one(command(10), 5, Retry::No);
    let leader = lab.check_one_leader();
    let away = [1, 2, 3].map(|steps| after(lab, leader, steps));
    for server in away {
        lab.disconnect(server);
    }
    let taken = lab.start(leader, command(20));
    lab.expect(taken.is_some_and(|(index, _)| index == 2), "Leaders.2", || {
        format!("S{leader} leads and is offered its second command; it answers {taken:?}")
    });
    lab.run_for(2 * ELECTION_TIME);
    lab.check_not_committed(2);

    for server in away {
        lab.connect(server);
    }
    // Those that were away may have elected another, who never heard of it.
    let leader = lab.check_one_leader();
    let taken = lab.start(leader, command(30));
    lab.expect(taken.is_some_and(|(index, _)| (2..=3).contains(&index)), "Leaders.2", || {
        format!("S{leader} leads with one or two entries and is offered another; it answers {taken:?}")
    });
    lab.one(command(1000), 5, Retry::Yes);
}

/// 2B. Five threads offer commands to one leader at once.
fn concurrent_starts(lab: &Lab) {
    const TRIES: u32 = 5;
    const PAUSE: Duration = Duration::from_secs(3);
    const THREADS: u64 = 5;

    for attempt in 0..TRIES {
        if attempt > 0 {
            lab.run_for(PAUSE); // For things to settle.
        }
        let leader = lab.check_one_leader();
        let Some((_, term)) = lab.start(leader, command(1)) else { continue };
        let offer = |n| {
            let lab = lab.clone();
            thread::spawn("client", move || lab.start(leader, command(100 + n)).filter(|(_, now)| *now == term))
        };
        let clients: Vec<_> = (0..THREADS).map(offer).collect();
        let taken = clients.into_iter().filter_map(|client| client.join().expect("it only asks"));
        let indexes: Vec<u64> = taken.map(|(index, _)| index).collect();
        if lab.status(leader).is_none_or(|(now, _)| now != term) {
            continue; // The term has moved on: what was taken may be lost.
        }
        let committed: Option<Vec<Bytes>> = indexes.iter().map(|index| lab.wait(*index, 3, Some(term))).collect();
        let Some(committed) = committed else { continue };
        for n in 0..THREADS {
            lab.expect(committed.contains(&command(100 + n)), "Leaders.2", || {
                format!("the command {} is missing at indexes {indexes:?}: there are {committed:?}", 100 + n)
            });
        }
        return;
    }
    terms_keep_changing(lab, TRIES)
}

/// 2B. A leader that was cut off took commands that nobody else has. They give
/// way; so do those of the next one.
fn rejoin(lab: &Lab) {
    lab.one(command(101), 3, Retry::Yes);
    let first = lab.check_one_leader();
    lab.disconnect(first);
    for doomed in [102, 103, 104] {
        lab.start(first, command(doomed));
    }
    lab.one(command(103), 2, Retry::Yes);

    let second = lab.check_one_leader();
    lab.disconnect(second);
    lab.connect(first);
    lab.one(command(104), 2, Retry::Yes);

    lab.connect(second);
    lab.one(command(105), 3, Retry::Yes);
}

/// 2B. Two leaders in a row take fifty commands each that are never committed.
/// Logs that disagree at length come together in the time of a few calls (§5.3).
fn backup(lab: &Lab) {
    const COMMANDS: u32 = 50;
    let offer = |server: usize| {
        for _ in 0..COMMANDS {
            lab.start(server, lab.any_command());
        }
    };
    let agree = |expected: usize| {
        for _ in 0..COMMANDS {
            lab.one(lab.any_command(), expected, Retry::Yes);
        }
    };

    lab.one(lab.any_command(), 5, Retry::Yes);
    // The first leader is left with one follower.
    let first = lab.check_one_leader();
    let others = [2, 3, 4].map(|steps| after(lab, first, steps));
    for server in others {
        lab.disconnect(server);
    }
    offer(first);
    lab.run_for(ELECTION_TIME / 2);

    // The other three agree on much.
    lab.disconnect(first);
    lab.disconnect(after(lab, first, 1));
    for server in others {
        lab.connect(server);
    }
    agree(3);

    // Then their leader, too, is left with one follower.
    let second = lab.check_one_leader();
    let spare = others.into_iter().find(|server| *server != second).expect("there are three");
    lab.disconnect(spare);
    offer(second);
    lab.run_for(ELECTION_TIME / 2);

    // The first pair returns, with the one that has what was agreed on.
    (0..lab.count()).for_each(|server| lab.disconnect(server));
    for server in [first, after(lab, first, 1), spare] {
        lab.connect(server);
    }
    agree(3);

    lab.connect_all();
    lab.one(lab.any_command(), 5, Retry::Yes);
}

/// Nothing has failed, and no leader stays one.
fn terms_keep_changing(lab: &Lab, tries: u32) -> ! {
    let all: Vec<usize> = (0..lab.count()).collect();
    let message = format!(
        "in each of {tries} tries the term was soon another one than `start` or `status` had said, though nothing failed"
    );
    lab.fail_waiting("NoLeader", Duration::ZERO, &all, &message)
}

/// 2B. Elections, agreement and idleness cost no more calls than they need.
fn count(lab: &Lab) {
    const TRIES: u32 = 5;
    const PAUSE: Duration = Duration::from_secs(3);
    const COMMANDS: u64 = 10;
    const ELECTION_MAX: u64 = 30;
    const AGREEMENT_MAX: u64 = (COMMANDS + 1 + 3) * 3;
    const IDLE_MAX: u64 = 3 * 20;

    lab.check_one_leader();
    let calls = lab.requests();
    lab.expect(calls >= 1, "Candidates.1", || "a leader was elected without a single call".to_owned());
    lab.economy(calls, ELECTION_MAX, "calls for the first election");

    let agreed = (0..TRIES).any(|attempt| {
        if attempt > 0 {
            lab.run_for(PAUSE); // For things to settle.
        }
        let leader = lab.check_one_leader();
        let before = lab.requests();
        let Some((first, term)) = lab.start(leader, command(1)) else { return false };
        let commands: Vec<Bytes> = (0..COMMANDS + 1).map(|_| lab.any_command()).collect();
        for (due, offered) in (first + 1..).zip(&commands) {
            match lab.start(leader, offered.clone()) {
                Some((index, now)) if now == term => expect_index(lab, index, due),
                _ => return false, // The term has moved on.
            }
        }
        for (index, offered) in (first + 1..first + 1 + COMMANDS).zip(&commands) {
            let Some(applied) = lab.wait(index, 3, Some(term)) else { return false };
            lab.expect(applied == *offered, "Leaders.2", || {
                format!("{applied:?} was applied at index {index}, where {offered:?} was taken in the same term")
            });
        }
        let is_undisturbed = |server| lab.status(server).is_some_and(|(now, _)| now == term);
        if !(0..lab.count()).all(is_undisturbed) {
            return false;
        }
        lab.economy(lab.requests() - before, AGREEMENT_MAX, "calls for agreement on ten commands");
        true
    });
    if !agreed {
        terms_keep_changing(lab, TRIES);
    }

    let before = lab.requests();
    lab.run_for(ELECTION_TIME);
    lab.economy(lab.requests() - before, IDLE_MAX, "calls in a second in which nothing happened");
}
