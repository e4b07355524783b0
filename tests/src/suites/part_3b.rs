//! Part 3B: the key-value service with snapshots (§7).
//!
//! Boundary: nine stories. What most clients do is in `workload.rs`, and their verbs are in
//! `harness`.

use super::part_3a::speed;
use super::workload::{Workload, check_sizes};
use super::{LabTest, PART_3B, Setup};
use crate::harness::{Client, ELECTION_TIME, Lab};

/// A snapshot is due when the log has so many bytes.
const MAX_RAFT_STATE: Option<usize> = Some(1000);

/// What a snapshot of one key with one digit, and of a few clients, may take.
const SMALL_SNAPSHOT: u64 = 500;

const RELIABLE: Setup = Setup::reliable(5).key_value(MAX_RAFT_STATE);
const UNRELIABLE: Setup = Setup::unreliable(5).key_value(MAX_RAFT_STATE);
const THREE: Setup = Setup::reliable(3).key_value(MAX_RAFT_STATE);

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "snapshot_rpc_3b",
        title: "who was cut off is sent a snapshot, and serves",
        body: snapshot_rpc,
        ..test(4, THREE)
    },
    LabTest {
        name: "snapshot_size_3b",
        title: "snapshots are as small as the store",
        body: snapshot_size,
        ..test(4, THREE)
    },
    LabTest { name: "speed_3b", title: "snapshots do not keep a client waiting", body: speed, ..test(4, THREE) },
    LabTest {
        name: "snapshot_recover_3b",
        title: "all crash, and go on from their snapshots",
        body: |lab| Workload { clients: 1, crash: true, ..Workload::default() }.run(lab),
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "snapshot_recover_many_clients_3b",
        title: "the same with many clients",
        body: |lab| Workload { clients: 20, crash: true, ..Workload::default() }.run(lab),
        ..test(4, RELIABLE)
    },
    LabTest {
        name: "snapshot_unreliable_3b",
        title: "snapshots over a network that loses messages",
        body: |lab| Workload { clients: 5, ..Workload::default() }.run(lab),
        ..test(5, UNRELIABLE)
    },
    LabTest {
        name: "snapshot_unreliable_recover_3b",
        title: "the same with crashes",
        body: |lab| Workload { clients: 5, crash: true, ..Workload::default() }.run(lab),
        ..test(5, UNRELIABLE)
    },
    LabTest {
        name: "snapshot_unreliable_recover_concurrent_partition_3b",
        title: "crashes, partitions and lost messages",
        body: |lab| Workload { clients: 5, crash: true, partitions: true, ..Workload::default() }.run(lab),
        ..test(5, UNRELIABLE)
    },
    LabTest {
        name: "snapshot_unreliable_recover_concurrent_partition_linearizable_3b",
        title: "all that, and clients that write each other's keys",
        body: |lab| Workload { clients: 15, crash: true, partitions: true, random_keys: true }.run(lab),
        ..test(5, Setup::unreliable(7).key_value(MAX_RAFT_STATE))
    },
];

const fn test(points: u32, setup: Setup) -> LabTest {
    LabTest { name: "", part: PART_3B, title: "", points, setup, must_see: &[], body: |_| {} }
}

/// One server misses more than the others' logs still have. With one of them it is a
/// majority later, and must know everything then.
fn snapshot_rpc(lab: &Lab) {
    const PUTS: u64 = 50;

    lab.with_client(|client| {
        client.put("a", "A");
        client.expect("a", "A");
    });

    lab.split(&[0, 1]);
    let puts = lab.client(&[0, 1], |client| {
        for number in 0..PUTS {
            client.put(&number.to_string(), &number.to_string());
        }
        client.lab().run_for(ELECTION_TIME);
        client.put("b", "B");
    });
    lab.finish(puts);
    check_sizes(lab);

    lab.split(&[0, 2]);
    let reads = lab.client(&[0, 2], |client| {
        client.put("c", "C");
        client.put("d", "D");
        for (key, value) in [("a", "A"), ("b", "B"), ("1", "1"), ("49", "49")] {
            client.expect(key, value);
        }
    });
    lab.finish(reads);

    lab.connect_all();
    lab.with_client(|client| {
        client.put("e", "E");
        for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
            client.expect(key, value);
        }
    });
    lab.judge_history();
}

/// One key is written again and again. What is kept is what it is, and not what it was.
fn snapshot_size(lab: &Lab) {
    const ROUNDS: u32 = 200;

    lab.with_client(|client: &mut Client| {
        for _ in 0..ROUNDS {
            for value in ["0", "1"] {
                client.put("x", value);
                client.expect("x", value);
            }
        }
    });
    check_sizes(lab);
    let snapshot = (0..lab.count()).map(|server| lab.snapshot_bytes(server)).max().unwrap_or(0);
    lab.economy(snapshot as u64, SMALL_SNAPSHOT, "bytes in a snapshot of one key");
    lab.judge_history();
}
