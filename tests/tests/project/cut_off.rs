//! Leaders that are cut off: in one direction, and in both.
//!
//! Boundary: two stories of one's own. The graded ones are in `tests/src/suites`.

use tests::harness::{ELECTION_TIME, Lab, Retry, command};
use tests::run::cargo_test_of;
use tests::suites::{LabTest, PART_2B, PART_3A, Setup};
use tests::watch::Sight;

#[test]
fn muted_leader_2b() {
    const TEST: &LabTest = &LabTest {
        name: "muted_leader_2b",
        part: PART_2B,
        title: "what only the leader has gives way when nobody hears it",
        points: 0,
        setup: Setup::reliable(3).volatile(),
        must_see: &[Sight::LeaderDeposed, Sight::Conflict],
        body: muted_leader,
    };
    cargo_test_of(TEST);
}

/// Who is not heard cannot lead, and learns from its successor that it does not (§5.1).
fn muted_leader(lab: &Lab) {
    let old = lab.check_one_leader();
    lab.one(command(1), lab.count(), Retry::No);

    // It takes a command, and there is nobody to hear of it.
    lab.mute(old);
    lab.start(old, command(2));

    // The others elect one of themselves. Until then the old one says that it leads.
    lab.run_for(ELECTION_TIME);
    let new = lab.check_one_leader();
    lab.expect(new != old, "Candidates.2", || format!("nobody hears S{old}, and still it leads"));
    lab.one(command(3), lab.count() - 1, Retry::Yes);

    lab.heal();
    lab.one(command(4), lab.count(), Retry::Yes);
    let kept = lab.all_committed();
    lab.expect(!kept.contains(&command(2)), "Leaders.4", || format!("S{old} alone has committed: {kept:?}"));
}

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
