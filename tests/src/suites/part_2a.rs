//! Part 2A: leader election and heartbeats (§5.1, §5.2).
//!
//! Boundary: three stories. Their verbs are in `harness`.

use super::{LabTest, PART_2A, Setup};
use crate::harness::{ELECTION_TIME, Lab};
use crate::watch::Sight;
use labsim::time::Duration;

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "initial_election_2a",
        part: PART_2A,
        title: "a leader is elected, and stays while nothing fails",
        points: 4,
        setup: Setup::reliable(3).volatile(),
        must_see: &[Sight::Election],
        body: initial_election,
    },
    LabTest {
        name: "reelection_2a",
        part: PART_2A,
        title: "a new leader follows a lost one, and none without a majority",
        points: 4,
        setup: Setup::reliable(3).volatile(),
        must_see: &[Sight::LeaderDeposed, Sight::SplitVote],
        body: reelection,
    },
    LabTest {
        name: "many_elections_2a",
        part: PART_2A,
        title: "elections go on while servers come and go",
        points: 5,
        setup: Setup::reliable(7).volatile(),
        must_see: &[Sight::LeaderDeposed, Sight::RivalCandidates],
        body: many_elections,
    },
];

/// 2A. A leader is elected, and its heartbeats keep it in office (§5.2).
/// The course's `TestInitialElection`.
fn initial_election(lab: &Lab) {
    lab.check_one_leader();

    // Those who have just voted hear of the new term a moment later.
    lab.run_for(Duration::from_millis(50));
    let term = lab.check_terms();
    lab.expect(term >= 1, "Candidates.1", || {
        format!("the term is {term} although a leader was elected, and should be at least 1")
    });

    // With nobody cut off and nothing lost, there is no reason for another.
    lab.run_for(2 * ELECTION_TIME);
    let later = lab.check_terms();
    if later != term {
        lab.warn(format!("the term changed from {term} to {later} although nothing failed"));
    }
    lab.check_one_leader();
}

/// 2A. A leader that is cut off is replaced, a returning one gives way, and a
/// minority elects nobody (§5.2). The course's `TestReElection`.
fn reelection(lab: &Lab) {
    let first = lab.check_one_leader();

    // The other two are a majority.
    lab.disconnect(first);
    let second = lab.check_one_leader();

    // The old leader returns, and does not disturb the new one.
    lab.connect(first);
    let still = lab.check_one_leader();
    if still != second {
        lab.warn(format!("S{first} returned, and S{still} leads in place of S{second}"));
    }

    // One of three is no majority.
    lab.disconnect(still);
    lab.disconnect((still + 1) % lab.count());
    lab.run_for(2 * ELECTION_TIME);
    lab.check_no_leader();

    // Two of three are.
    lab.connect((still + 1) % lab.count());
    lab.check_one_leader();

    // The last one's return changes nothing.
    lab.connect(still);
    lab.check_one_leader();
}

/// 2A. Whichever servers are cut off, a majority has a leader (§5.2). The
/// course's `TestManyElections`.
fn many_elections(lab: &Lab) {
    const ROUNDS: u32 = 9;

    lab.check_one_leader();
    for _ in 0..ROUNDS {
        // Three draws of seven may name one server twice: then fewer are cut.
        // Four at the least remain, and four of seven are a majority.
        let cut = [lab.any_server(), lab.any_server(), lab.any_server()];
        for server in cut {
            lab.disconnect(server);
        }

        // The leader is still there, or the others have elected another.
        lab.check_one_leader();

        for server in cut {
            lab.connect(server);
        }
    }
    lab.check_one_leader();
}
