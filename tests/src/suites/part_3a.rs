//! Part 3A: a key-value service on Raft (§8).
//!
//! Boundary: fourteen stories. What most clients do is in `workload.rs`, and their verbs
//! are in `harness`.

use labsim::time::Duration;

use super::workload::{Workload, expect_appends, text};
use super::{LabTest, PART_3A, Setup};
use crate::check::{Broken, Kind};
use crate::harness::{ELECTION_TIME, Lab};

/// What 1000 appends of one client may take, one after the other: 33.3 ms each, a third of
/// a heartbeat interval.
const SPEED_LIMIT: Duration = Duration::from_millis(33_300);

const RELIABLE: Setup = Setup::reliable(5).key_value(None);
const UNRELIABLE: Setup = Setup::unreliable(5).key_value(None);

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "basic_3a",
        title: "one client reads what it has written",
        body: |lab| Workload { clients: 1, ..Workload::default() }.run(lab),
        ..test(3, RELIABLE)
    },
    LabTest {
        name: "speed_3a",
        title: "a call does not wait for the next heartbeat",
        body: speed,
        ..test(3, Setup::reliable(3).key_value(None))
    },
    LabTest {
        name: "concurrent_3a",
        title: "many clients, each with a key of its own",
        body: |lab| Workload { clients: 5, ..Workload::default() }.run(lab),
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "unreliable_3a",
        title: "the same over a network that loses messages",
        body: |lab| Workload { clients: 5, ..Workload::default() }.run(lab),
        ..test(4, UNRELIABLE)
    },
    LabTest {
        name: "unreliable_one_key_3a",
        title: "many clients append to one key, and each append is there once",
        body: unreliable_one_key,
        ..test(4, Setup::unreliable(3).key_value(None))
    },
    LabTest {
        name: "one_partition_3a",
        title: "a minority answers nobody, and a majority goes on",
        body: one_partition,
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "many_partitions_one_client_3a",
        title: "the servers are split again and again",
        body: |lab| Workload { clients: 1, partitions: true, ..Workload::default() }.run(lab),
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "many_partitions_many_clients_3a",
        title: "the same with many clients",
        body: |lab| Workload { clients: 5, partitions: true, ..Workload::default() }.run(lab),
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "persist_one_client_3a",
        title: "all servers crash, and nothing is forgotten",
        body: |lab| Workload { clients: 1, crash: true, ..Workload::default() }.run(lab),
        ..test(5, RELIABLE)
    },
    LabTest {
        name: "persist_concurrent_3a",
        title: "the same with many clients",
        body: |lab| Workload { clients: 5, crash: true, ..Workload::default() }.run(lab),
        ..test(5, RELIABLE)
    },
    LabTest {
        name: "persist_concurrent_unreliable_3a",
        title: "and over a network that loses messages",
        body: |lab| Workload { clients: 5, crash: true, ..Workload::default() }.run(lab),
        ..test(5, UNRELIABLE)
    },
    LabTest {
        name: "persist_partition_3a",
        title: "crashes and partitions",
        body: |lab| Workload { clients: 5, crash: true, partitions: true, ..Workload::default() }.run(lab),
        ..test(5, RELIABLE)
    },
    LabTest {
        name: "persist_partition_unreliable_3a",
        title: "crashes, partitions and lost messages",
        body: |lab| Workload { clients: 5, crash: true, partitions: true, ..Workload::default() }.run(lab),
        ..test(5, UNRELIABLE)
    },
    LabTest {
        name: "persist_partition_unreliable_linearizable_3a",
        title: "all that, and clients that write each other's keys",
        body: |lab| Workload { clients: 15, crash: true, partitions: true, random_keys: true }.run(lab),
        ..test(5, Setup::unreliable(7).key_value(None))
    },
];

const fn test(points: u32, setup: Setup) -> LabTest {
    LabTest { name: "", part: PART_3A, title: "", points, setup, must_see: &[], body: |_| {} }
}

/// A client that appends again and again waits for a majority each time, and for
/// nothing else.
pub(super) fn speed(lab: &Lab) {
    const APPENDS: u64 = 1000;

    lab.check_one_leader();
    let made = lab.with_client(|client| {
        client.put("0", "");
        let begun = labsim::elapsed();
        for number in 0..APPENDS {
            client.append("0", &text(0, 0, number));
            if labsim::elapsed() - begun > SPEED_LIMIT {
                return number + 1;
            }
        }
        expect_appends(client, 0, 0, APPENDS);
        APPENDS
    });

    lab.judge_history();
    if made < APPENDS {
        let message = format!(
            "{made} appends of one client take {} ms, in which {APPENDS} have to be done: each waits for something else \
             than a majority",
            SPEED_LIMIT.as_millis()
        );
        lab.fail(Broken::new(Kind::Limit, "Economy", message));
    }
}

/// Clients append to one and the same key. In the end it has all of it, each one's in the
/// order in which it was appended.
fn unreliable_one_key(lab: &Lab) {
    const CLIENTS: u64 = 5;
    const APPENDS: u64 = 10;

    let all: Vec<usize> = (0..lab.count()).collect();
    lab.with_client(|client| client.put("k", ""));
    let work = |number| {
        lab.client(&all, move |client| (0..APPENDS).for_each(|count| client.append("k", &text(0, number, count))))
    };
    let clients: Vec<_> = (0..CLIENTS).map(work).collect();
    clients.into_iter().for_each(|client| lab.finish(client));
    lab.with_client(|client| client.get("k"));
    lab.judge_history();
}

/// A leader in a minority answers nobody. A majority elects another one and goes on, and
/// when all is well again the calls of the minority's clients come to their end.
fn one_partition(lab: &Lab) {
    let first = lab.check_one_leader();
    lab.with_client(|client| {
        client.put("1", "13");
        client.expect("1", "13");
        // What is called twice is done twice, though it looks the same.
        client.append("2", "x");
        client.append("2", "x");
        client.expect("2", "xx");
    });

    // The leader, and one more, apart from the other three.
    let minority = [first, (first + 1) % lab.count()];
    let majority: Vec<usize> = (0..lab.count()).filter(|server| !minority.contains(server)).collect();
    lab.split(&minority);
    let writes_14 = lab.client(&majority, |client| {
        client.put("1", "14");
        client.expect("1", "14");
    });
    lab.finish(writes_14);

    let put = lab.client(&minority, |client| client.put("1", "15"));
    let get = lab.client(&minority, |client| client.get("1"));
    let before = lab.calls_returned();
    lab.run_for(ELECTION_TIME);
    let returned = lab.calls_returned() - before;
    lab.judge_history(); // If an answer is wrong, that says more.
    lab.expect(returned == 0, "Linearizable", || {
        format!("{returned} of two calls have returned, and their clients can reach {minority:?} of five servers only")
    });

    let goes_on = lab.client(&majority, |client| {
        client.expect("1", "14");
        client.put("1", "16");
        client.expect("1", "16");
    });
    lab.finish(goes_on);

    lab.connect_all();
    lab.connect_clients();
    lab.finish(put);
    lab.finish(get);
    lab.with_client(|client| client.expect("1", "15"));
    lab.judge_history();
}
