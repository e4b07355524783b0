//! Part 2D: log compaction (§7).
//!
//! Boundary: seven stories. Their verbs are in `harness`.

use super::{LabTest, PART_2D, Setup};
use crate::harness::{Lab, Retry};
use crate::watch::Sight;

/// A service makes a snapshot after so many commands.
const SNAPSHOT_EVERY: u64 = 10;

/// The most that Raft's state may ever take on a disk, in bytes: the log after a
/// snapshot, the term and the vote.
const STATE_BYTES_MAX: u64 = 1999;

/// The most commands that may be held in memory where all servers are well: those
/// since the last snapshot, and as many that are being forgotten.
const HELD_MAX: u64 = 2 * SNAPSHOT_EVERY;

const SNAPSHOTS: Setup = Setup::reliable(3).snapshot_every(SNAPSHOT_EVERY);
const UNRELIABLE: Setup = Setup::unreliable(3).snapshot_every(SNAPSHOT_EVERY);

/// The tests of this part.
pub(super) const TESTS: &[LabTest] = &[
    LabTest {
        name: "snapshot_basic_2d",
        part: PART_2D,
        title: "a log with snapshots stays short",
        points: 1,
        setup: SNAPSHOTS,
        must_see: &[],
        body: |lab| snapshots(lab, Fault::None),
    },
    LabTest {
        name: "snapshot_install_2d",
        part: PART_2D,
        title: "who was cut off is sent a snapshot",
        points: 2,
        setup: SNAPSHOTS,
        must_see: &[Sight::SnapshotInstalled],
        body: |lab| snapshots(lab, Fault::Cut),
    },
    LabTest {
        name: "snapshot_install_unreliable_2d",
        part: PART_2D,
        title: "the same over a network that loses messages",
        points: 2,
        setup: UNRELIABLE,
        must_see: &[Sight::SnapshotInstalled],
        body: |lab| snapshots(lab, Fault::Cut),
    },
    LabTest {
        name: "snapshot_install_crash_2d",
        part: PART_2D,
        title: "who was down is sent a snapshot",
        points: 2,
        setup: SNAPSHOTS,
        must_see: &[Sight::SnapshotInstalled],
        body: |lab| snapshots(lab, Fault::Crash),
    },
    LabTest {
        name: "snapshot_install_uncrash_2d",
        part: PART_2D,
        title: "the same over a network that loses messages",
        points: 2,
        setup: UNRELIABLE,
        must_see: &[Sight::SnapshotInstalled],
        body: |lab| snapshots(lab, Fault::Crash),
    },
    LabTest {
        name: "snapshot_all_crash_2d",
        part: PART_2D,
        title: "all crash, and go on from their snapshots",
        points: 2,
        setup: SNAPSHOTS,
        must_see: &[],
        body: snapshot_all_crash,
    },
    LabTest {
        name: "snapshot_init_2d",
        part: PART_2D,
        title: "a restart does not forget the snapshot of the one before",
        points: 2,
        setup: SNAPSHOTS,
        must_see: &[],
        body: snapshot_init,
    },
];

/// What happens to a server while the others go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Cut,
    Crash,
}

/// 2D. One server is away while the others make snapshots. When it returns, what
/// it lacks is in no log any more.
fn snapshots(lab: &Lab, fault: Fault) {
    const ROUNDS: u32 = 30;
    const STARTS_MIN: u64 = 5;
    const STARTS_MORE: u64 = 10;

    lab.one(lab.any_command(), lab.count(), Retry::Yes);
    for round in 0..ROUNDS {
        let leader = lab.check_one_leader();
        let follower = (leader + 1) % lab.count();
        // Now and then it is the leader that is away.
        let (victim, sender) = if round % 3 == 1 { (leader, follower) } else { (follower, leader) };
        match fault {
            Fault::None => {}
            Fault::Cut => lab.disconnect(victim),
            Fault::Crash => lab.crash(victim),
        }
        if fault != Fault::None {
            lab.one(lab.any_command(), lab.count() - 1, Retry::Yes);
        }
        // With or without a snapshot in between.
        for _ in 0..STARTS_MIN + lab.below(STARTS_MORE) {
            lab.start(sender, lab.any_command());
        }
        // And until they have made it.
        let up = if fault == Fault::None { lab.count() } else { lab.count() - 1 };
        lab.one(lab.any_command(), up, Retry::Yes);
        check_state_bytes(lab);
        if fault == Fault::None {
            lab.economy(lab.commands_held(), HELD_MAX, "commands held in memory");
        }
        match fault {
            Fault::None => continue,
            Fault::Cut => lab.connect(victim),
            Fault::Crash => lab.restart(victim),
        }
        lab.one(lab.any_command(), lab.count(), Retry::Yes);
    }
}

fn check_state_bytes(lab: &Lab) {
    for server in (0..lab.count()).filter(|server| lab.is_up(*server)) {
        let bytes = lab.state_bytes(server);
        lab.economy(bytes as u64, STATE_BYTES_MAX, "bytes on a disk in other files than `snapshot`");
    }
}

/// 2D. After a crash of all, the log goes on where it ended.
fn snapshot_all_crash(lab: &Lab) {
    const ROUNDS: u32 = 5;
    const COMMANDS_MIN: u64 = 5;
    const COMMANDS_MORE: u64 = 10;

    lab.one(lab.any_command(), 3, Retry::Yes);
    for _ in 0..ROUNDS {
        for _ in 0..COMMANDS_MIN + lab.below(COMMANDS_MORE) {
            lab.one(lab.any_command(), 3, Retry::Yes);
        }
        let before = lab.one(lab.any_command(), 3, Retry::Yes);
        lab.restart_all();
        let after = lab.one(lab.any_command(), 3, Retry::Yes);
        lab.expect(after > before, "Persistent", || {
            format!("a command was committed at index {after} after a crash of all, and one at {before} before it")
        });
    }
}

/// 2D. A restart reads the snapshot, and a second one finds it again: the first
/// has changed next to nothing, and must not have lost it.
fn snapshot_init(lab: &Lab) {
    lab.one(lab.any_command(), 3, Retry::Yes);
    // Enough for a snapshot.
    for _ in 0..=SNAPSHOT_EVERY {
        lab.one(lab.any_command(), 3, Retry::Yes);
    }
    lab.restart_all();
    // A little, so that something is saved.
    lab.one(lab.any_command(), 3, Retry::Yes);
    lab.restart_all();
    lab.one(lab.any_command(), 3, Retry::Yes);
}
