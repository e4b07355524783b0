//! The lab tests, as cargo and editors see them: one `#[test]` for each.
//!
//! `cargo test 2a` runs a part, `cargo test reelection` one test, and
//! `LAB_SEED=17 cargo test reelection` one seed of it. What a test does stands
//! in `tests/src/suites`, in the file of its part.
//!
//! Boundary: names. What a test does, and its points, are in the registry.

use tests::run::cargo_test;

#[test]
fn initial_election_2a() {
    cargo_test("initial_election_2a");
}

#[test]
fn reelection_2a() {
    cargo_test("reelection_2a");
}

#[test]
fn many_elections_2a() {
    cargo_test("many_elections_2a");
}

#[test]
fn adversary_2a() {
    cargo_test("adversary_2a");
}

#[test]
fn basic_agree_2b() {
    cargo_test("basic_agree_2b");
}

#[test]
fn rpc_bytes_2b() {
    cargo_test("rpc_bytes_2b");
}

#[test]
fn follower_failure_2b() {
    cargo_test("follower_failure_2b");
}

#[test]
fn leader_failure_2b() {
    cargo_test("leader_failure_2b");
}

#[test]
fn fail_agree_2b() {
    cargo_test("fail_agree_2b");
}

#[test]
fn fail_no_agree_2b() {
    cargo_test("fail_no_agree_2b");
}

#[test]
fn concurrent_starts_2b() {
    cargo_test("concurrent_starts_2b");
}

#[test]
fn rejoin_2b() {
    cargo_test("rejoin_2b");
}

#[test]
fn backup_2b() {
    cargo_test("backup_2b");
}

#[test]
fn count_2b() {
    cargo_test("count_2b");
}

#[test]
fn adversary_2b() {
    cargo_test("adversary_2b");
}

#[test]
fn persist1_2c() {
    cargo_test("persist1_2c");
}

#[test]
fn persist2_2c() {
    cargo_test("persist2_2c");
}

#[test]
fn persist3_2c() {
    cargo_test("persist3_2c");
}

#[test]
fn figure8_2c() {
    cargo_test("figure8_2c");
}

#[test]
fn unreliable_agree_2c() {
    cargo_test("unreliable_agree_2c");
}

#[test]
fn figure8_unreliable_2c() {
    cargo_test("figure8_unreliable_2c");
}

#[test]
fn reliable_churn_2c() {
    cargo_test("reliable_churn_2c");
}

#[test]
fn unreliable_churn_2c() {
    cargo_test("unreliable_churn_2c");
}

#[test]
fn adversary_2c() {
    cargo_test("adversary_2c");
}

#[test]
fn snapshot_basic_2d() {
    cargo_test("snapshot_basic_2d");
}

#[test]
fn snapshot_install_2d() {
    cargo_test("snapshot_install_2d");
}

#[test]
fn snapshot_install_unreliable_2d() {
    cargo_test("snapshot_install_unreliable_2d");
}

#[test]
fn snapshot_install_crash_2d() {
    cargo_test("snapshot_install_crash_2d");
}

#[test]
fn snapshot_install_uncrash_2d() {
    cargo_test("snapshot_install_uncrash_2d");
}

#[test]
fn snapshot_all_crash_2d() {
    cargo_test("snapshot_all_crash_2d");
}

#[test]
fn snapshot_init_2d() {
    cargo_test("snapshot_init_2d");
}

#[test]
fn adversary_2d() {
    cargo_test("adversary_2d");
}

/// A test of the registry that is missing here would never run under cargo.
#[test]
fn every_lab_test_is_here() {
    let here = include_str!("labs.rs");
    for test in tests::suites::all() {
        let line = format!("fn {}() {{\n    cargo_test(\"{}\");\n}}", test.name, test.name);
        assert!(here.contains(&line), "{} has no #[test] in tests/labs/tests/labs.rs", test.name);
    }
}

#[test]
fn basic_3a() {
    cargo_test("basic_3a");
}

#[test]
fn speed_3a() {
    cargo_test("speed_3a");
}

#[test]
fn concurrent_3a() {
    cargo_test("concurrent_3a");
}

#[test]
fn unreliable_3a() {
    cargo_test("unreliable_3a");
}

#[test]
fn unreliable_one_key_3a() {
    cargo_test("unreliable_one_key_3a");
}

#[test]
fn one_partition_3a() {
    cargo_test("one_partition_3a");
}

#[test]
fn many_partitions_one_client_3a() {
    cargo_test("many_partitions_one_client_3a");
}

#[test]
fn many_partitions_many_clients_3a() {
    cargo_test("many_partitions_many_clients_3a");
}

#[test]
fn persist_one_client_3a() {
    cargo_test("persist_one_client_3a");
}

#[test]
fn persist_concurrent_3a() {
    cargo_test("persist_concurrent_3a");
}

#[test]
fn persist_concurrent_unreliable_3a() {
    cargo_test("persist_concurrent_unreliable_3a");
}

#[test]
fn persist_partition_3a() {
    cargo_test("persist_partition_3a");
}

#[test]
fn persist_partition_unreliable_3a() {
    cargo_test("persist_partition_unreliable_3a");
}

#[test]
fn persist_partition_unreliable_linearizable_3a() {
    cargo_test("persist_partition_unreliable_linearizable_3a");
}

#[test]
fn snapshot_rpc_3b() {
    cargo_test("snapshot_rpc_3b");
}

#[test]
fn snapshot_size_3b() {
    cargo_test("snapshot_size_3b");
}

#[test]
fn speed_3b() {
    cargo_test("speed_3b");
}

#[test]
fn snapshot_recover_3b() {
    cargo_test("snapshot_recover_3b");
}

#[test]
fn snapshot_recover_many_clients_3b() {
    cargo_test("snapshot_recover_many_clients_3b");
}

#[test]
fn snapshot_unreliable_3b() {
    cargo_test("snapshot_unreliable_3b");
}

#[test]
fn snapshot_unreliable_recover_3b() {
    cargo_test("snapshot_unreliable_recover_3b");
}

#[test]
fn snapshot_unreliable_recover_concurrent_partition_3b() {
    cargo_test("snapshot_unreliable_recover_concurrent_partition_3b");
}

#[test]
fn snapshot_unreliable_recover_concurrent_partition_linearizable_3b() {
    cargo_test("snapshot_unreliable_recover_concurrent_partition_linearizable_3b");
}
