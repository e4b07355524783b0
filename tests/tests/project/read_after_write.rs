//! A client that reaches nobody but a deposed leader.
//!
//! Boundary: one story of one's own. The graded ones are in `tests/src/suites`.

use tests::harness::{ELECTION_TIME, Lab};
use tests::run::cargo_test_of;
use tests::suites::{LabTest, PART_3A, Setup};

#[test]
fn read_after_write_3a() {
    const TEST: &LabTest = &LabTest {
        name: "read_after_write_3a",
        part: PART_3A,
        title: "who asks a deposed leader is not told what was true before",
        points: 0,
        setup: Setup::reliable(3).key_value(None),
        must_see: &[],
        body: read_after_write,
    };
    cargo_test_of(TEST);
}

/// A leader that cannot ask the others does not know whether it still leads (§8).
fn read_after_write(lab: &Lab) {
    lab.with_client(|client| client.put("k", "old"));
    let old = lab.check_one_leader();
    let others: Vec<usize> = (0..lab.count()).filter(|server| *server != old).collect();

    // Clients are machines too: whom each can reach is said for it.
    lab.split(&[old]);
    let writer = lab.client(&others, |client| client.put("k", "new"));
    lab.finish(writer);
    let reader = lab.client(&[old], |client| client.get("k"));
    lab.run_for(ELECTION_TIME);
    lab.heal();
    lab.connect_clients();
    lab.finish(reader);
    lab.judge_history();
}
