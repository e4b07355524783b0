//! Part 2C: what survives crashes, and bad networks (Figure 2's first box, §5.4).
//!
//! Boundary: eight stories. Their verbs are in `harness`.

use super::{LabTest, PART_2C, Setup};
use crate::harness::{ELECTION_TIME, Lab, Retry, command};
use crate::watch::Sight;
use labsim::thread;
use labsim::time::Duration;
use parking_lot::Mutex;
use raft::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "persist1_2c",
        part: PART_2C,
        title: "what was agreed on survives crashes, of one and of all",
        points: 2,
        setup: Setup::reliable(3),
        must_see: &[],
        body: persist1,
    },
    LabTest {
        name: "persist2_2c",
        part: PART_2C,
        title: "majorities that change hands keep the log",
        points: 2,
        setup: Setup::reliable(5),
        must_see: &[Sight::LeaderDeposed],
        body: persist2,
    },
    LabTest {
        name: "persist3_2c",
        part: PART_2C,
        title: "a leader and a follower crash while the third is cut off",
        points: 2,
        setup: Setup::reliable(3),
        must_see: &[],
        body: persist3,
    },
    LabTest {
        name: "figure8_2c",
        part: PART_2C,
        title: "leaders crash at the worst moments",
        points: 4,
        setup: Setup::reliable(5),
        must_see: &[],
        body: figure8,
    },
    LabTest {
        name: "unreliable_agree_2c",
        part: PART_2C,
        title: "agreement over a network that loses messages",
        points: 2,
        setup: Setup::unreliable(5),
        must_see: &[],
        body: unreliable_agree,
    },
    LabTest {
        name: "figure8_unreliable_2c",
        part: PART_2C,
        title: "leaders are cut off while messages are lost and late",
        points: 3,
        // On a network this bad, short messages make too little way.
        setup: Setup { batches: &[1000], ..Setup::unreliable(5) },
        must_see: &[Sight::Conflict],
        body: figure8_unreliable,
    },
    LabTest {
        name: "reliable_churn_2c",
        part: PART_2C,
        title: "clients lose nothing while servers come and go",
        points: 2,
        setup: Setup::reliable(5),
        must_see: &[Sight::LeaderDeposed],
        body: churn,
    },
    LabTest {
        name: "unreliable_churn_2c",
        part: PART_2C,
        title: "the same over a network that loses messages",
        points: 3,
        setup: Setup::unreliable(5),
        must_see: &[Sight::LeaderDeposed],
        body: churn,
    },
];

/// 2C. Servers crash one at a time and all at once, the leader, a follower, and
/// one that is cut off; what they agreed on stays.
fn persist1(lab: &Lab) {
    lab.one(command(11), 3, Retry::Yes);
    lab.restart_all();
    lab.one(command(12), 3, Retry::Yes);

    let leader = lab.check_one_leader();
    lab.crash(leader);
    lab.restart(leader);
    lab.one(command(13), 3, Retry::Yes);

    let leader = lab.check_one_leader();
    lab.disconnect(leader);
    lab.one(command(14), 2, Retry::Yes);
    lab.crash(leader);
    lab.restart(leader);
    lab.connect(leader);
    // It catches up before the next leader is lost.
    lab.wait(4, 3, None);

    let follower = (lab.check_one_leader() + 1) % lab.count();
    lab.disconnect(follower);
    lab.one(command(15), 2, Retry::Yes);
    lab.crash(follower);
    lab.restart(follower);
    lab.connect(follower);
    lab.one(command(16), 3, Retry::Yes);
}

/// 2C. Of five servers, now these three are there and now those; each majority
/// shares a server with the one before, and that is enough.
fn persist2(lab: &Lab) {
    const ROUNDS: u64 = 5;

    let mut value = 10;
    let mut next = || {
        value += 1;
        command(value)
    };
    for _ in 0..ROUNDS {
        lab.one(next(), 5, Retry::Yes);
        let leader = lab.check_one_leader();
        let server = |steps| (leader + steps) % lab.count();

        for steps in [1, 2] {
            lab.crash(server(steps));
        }
        lab.one(next(), 3, Retry::Yes);
        for steps in [0, 3, 4] {
            lab.crash(server(steps));
        }

        for steps in [1, 2] {
            lab.restart(server(steps));
        }
        lab.run_for(ELECTION_TIME);
        lab.restart(server(3));
        lab.one(next(), 3, Retry::Yes);
        for steps in [4, 0] {
            lab.restart(server(steps));
        }
    }
    lab.one(command(1000), 5, Retry::Yes);
}

/// 2C. The leader and a follower crash; the leader comes back to a server that
/// has missed something, and then the follower.
fn persist3(lab: &Lab) {
    lab.one(command(101), 3, Retry::Yes);
    let leader = lab.check_one_leader();
    let [follower, away] = [1, 2].map(|steps| (leader + steps) % lab.count());
    lab.disconnect(away);
    lab.one(command(102), 2, Retry::Yes);

    lab.crash(leader);
    lab.crash(follower);
    lab.connect(away);
    lab.restart(leader);
    lab.one(command(103), 2, Retry::Yes);
    lab.restart(follower);
    lab.one(command(104), 3, Retry::Yes);
}

/// How many rounds the two tests have that are named after Figure 8.
const FIGURE_8_ROUNDS: u32 = 1000;
/// A short pause of theirs, in milliseconds; and a long one, now and then.
const FIGURE_8_PAUSE_MS: u64 = 13;
const FIGURE_8_LONG_PAUSE_MS: u64 = 500;

fn figure_8_pause(lab: &Lab) {
    let max_ms = if lab.chance(0.1) { FIGURE_8_LONG_PAUSE_MS } else { FIGURE_8_PAUSE_MS };
    lab.run_for(Duration::from_millis(lab.below(max_ms)));
}

/// 2C. A leader crashes soon after it took a command, a thousand times: logs end
/// in entries of many terms, and what is committed must not be replaced
/// (Figure 8, §5.4.2).
fn figure8(lab: &Lab) {
    const UP_MIN: usize = 3;

    lab.one(lab.any_command(), 1, Retry::Yes);
    for _ in 0..FIGURE_8_ROUNDS {
        let taken_by: Vec<usize> =
            (0..lab.count()).filter(|server| lab.start(*server, lab.any_command()).is_some()).collect();
        figure_8_pause(lab);
        if let Some(leader) = taken_by.last() {
            lab.crash(*leader);
        }
        let up = (0..lab.count()).filter(|server| lab.is_up(*server)).count();
        let server = lab.any_server();
        if up < UP_MIN && !lab.is_up(server) {
            lab.restart(server);
        }
    }
    for server in 0..lab.count() {
        if !lab.is_up(server) {
            lab.restart(server);
        }
    }
    lab.one(lab.any_command(), 5, Retry::Yes);
}

/// 2C. Many clients at once, over a network that loses one message in ten.
fn unreliable_agree(lab: &Lab) {
    const ROUNDS: u64 = 49;
    const CLIENTS: u64 = 4;

    let mut clients = Vec::new();
    for round in 1..=ROUNDS {
        for client in 0..CLIENTS {
            let lab = lab.clone();
            clients.push(thread::spawn("client", move || {
                lab.one(command(100 * round + client), 1, Retry::Yes);
            }));
        }
        lab.one(command(round), 1, Retry::Yes);
    }
    lab.network().set_reliable(true);
    for client in clients {
        client.join().expect("a client that fails ends the run");
    }
    lab.one(command(100), 5, Retry::Yes);
}

/// 2C. As `figure8`, with leaders that are cut off instead of crashed, and
/// replies that come late by seconds.
fn figure8_unreliable(lab: &Lab) {
    const REORDERED_FROM: u32 = 200;
    const CONNECTED_MIN: usize = 3;

    lab.one(lab.any_command(), 1, Retry::Yes);
    for round in 0..FIGURE_8_ROUNDS {
        if round == REORDERED_FROM {
            lab.network().set_long_reordering(true);
        }
        let taken_by: Vec<usize> = (0..lab.count())
            .filter(|server| lab.start(*server, lab.any_command()).is_some() && lab.is_connected(*server))
            .collect();
        figure_8_pause(lab);
        if let Some(leader) = taken_by.last()
            && lab.chance(0.5)
        {
            lab.disconnect(*leader);
        }
        let connected = (0..lab.count()).filter(|server| lab.is_connected(*server)).count();
        let server = lab.any_server();
        if connected < CONNECTED_MIN && !lab.is_connected(server) {
            lab.connect(server);
        }
    }
    lab.connect_all();
    lab.one(lab.any_command(), 5, Retry::Yes);
}

/// 2C. Clients remember what they saw committed. However many servers were cut
/// off and crashed meanwhile, it is all in the log at the end.
fn churn(lab: &Lab) {
    const CLIENTS: u64 = 3;
    const ROUNDS: u32 = 20;
    const ROUND: Duration = Duration::from_millis(700);

    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let client = |_| {
        let (lab, stop, seen) = (lab.clone(), Arc::clone(&stop), Arc::clone(&seen));
        thread::spawn("client", move || churn_client(&lab, &stop, &seen))
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for _ in 0..ROUNDS {
        if lab.chance(0.2) {
            lab.disconnect(lab.any_server());
        }
        if lab.chance(0.5) {
            let server = lab.any_server();
            if !lab.is_up(server) {
                lab.restart(server);
            }
            lab.connect(server);
        }
        if lab.chance(0.2) {
            lab.crash(lab.any_server());
        }
        // Long enough for an election, and not always for more.
        lab.run_for(ROUND);
    }
    lab.run_for(ELECTION_TIME);
    lab.network().set_reliable(true);
    for server in 0..lab.count() {
        if !lab.is_up(server) {
            lab.restart(server);
        }
        lab.connect(server);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client only asks");
    }

    lab.run_for(ELECTION_TIME);
    lab.one(lab.any_command(), 5, Retry::Yes);
    let log: HashSet<Bytes> = lab.all_committed().into_iter().collect();
    for value in seen.lock().iter() {
        lab.expect(log.contains(value), "Figure3.LeaderCompleteness", || {
            format!("a client saw {value:?} committed, and it is not in the log")
        });
    }
}

/// Offers one command after the other, and notes those that it saw committed.
fn churn_client(lab: &Lab, stop: &AtomicBool, seen: &Mutex<Vec<Bytes>>) {
    const POLLS_MS: [u64; 5] = [10, 20, 50, 100, 200];
    const PAUSE_MS: u64 = 80;

    let mut draws = lab.stream();
    while !stop.load(Ordering::Relaxed) {
        let value = command(draws.next_u64());
        // Everybody is asked: of two that believe they lead, the last one counts.
        let mut taken = None;
        for server in 0..lab.count() {
            taken = lab.start(server, value.clone()).or(taken);
        }
        let Some((index, _)) = taken else {
            lab.run_for(Duration::from_millis(PAUSE_MS + draws.below(PAUSE_MS)));
            continue;
        };
        for poll_ms in POLLS_MS {
            if let Some(applied) = lab.committed(index) {
                if applied == value {
                    seen.lock().push(value);
                }
                break;
            }
            lab.run_for(Duration::from_millis(poll_ms));
        }
    }
}
