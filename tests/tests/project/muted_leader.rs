//! A leader that hears everybody, and that nobody hears.
//!
//! Boundary: one story of one's own. The graded ones are in `tests/src/suites`.

use tests::harness::{ELECTION_TIME, Lab, Retry, command};
use tests::run::cargo_test_of;
use tests::suites::{LabTest, PART_2B, Setup};
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
    let (muted_at, others) = (labsim::elapsed(), [(old + 1) % 3, (old + 2) % 3]);
    lab.mute(old);
    lab.start(old, command(2));

    // The others elect one of themselves. Until then the old one says that it leads.
    lab.run_for(ELECTION_TIME);
    if lab.check_one_leader() == old {
        lab.fail_waiting("NoLeader", muted_at, &others, "the leader is not heard, and has no successor");
    }
    lab.one(command(3), others.len(), Retry::Yes);

    lab.heal();
    lab.one(command(4), lab.count(), Retry::Yes);
    let kept = lab.all_committed();
    lab.expect(!kept.contains(&command(2)), "Leaders.4", || format!("S{old} alone has committed: {kept:?}"));
}
