//! Programs whose outcomes are counted by hand: does the model say the same, and
//! do the seeds reach them all?
//!
//! Boundary: a table of programs. Random ones are in `main.rs`.

use super::check::{Effort, Tally, examine};
use super::model::{Grain, explore};
use super::program::{EACH, Op, Program};

/// Enough for every outcome of these programs.
const EFFORT: Effort =
    Effort { states_max: 20_000, seeds_min: 300, seeds: 300, seeds_more: 3000, outside_runs: 30, real_world_runs: 10 };

struct Known {
    name: &'static str,
    scripts: &'static [&'static [Op]],
    capacities: [Option<usize>; EACH],
    /// How many outcomes there are, and in how many of them threads wait for ever.
    outcomes: usize,
    deadlocks: usize,
}

const UNBOUNDED: [Option<usize>; EACH] = [None, None];

const KNOWN: [Known; 17] = [
    Known {
        name: "two sections come in either order",
        scripts: &[&[Op::Lock(0), Op::Add(0), Op::Unlock(0)], &[Op::Lock(0), Op::Add(0)]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 0,
    },
    Known {
        name: "three sections come in any order",
        scripts: &[&[Op::Lock(0), Op::Add(0), Op::Unlock(0)], &[Op::Lock(0), Op::Add(0)], &[Op::Lock(0), Op::Add(0)]],
        capacities: UNBOUNDED,
        outcomes: 6,
        deadlocks: 0,
    },
    Known {
        name: "two locks taken in opposite orders",
        scripts: &[&[Op::Lock(0), Op::Lock(1)], &[Op::Lock(1), Op::Lock(0)]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 1,
    },
    Known {
        name: "of two stores and two loads, one load at least sees a store",
        scripts: &[&[Op::Store(0), Op::Load(1)], &[Op::Store(1), Op::Load(0)]],
        capacities: UNBOUNDED,
        outcomes: 3,
        deadlocks: 0,
    },
    Known {
        name: "one of two exchanges succeeds",
        scripts: &[&[Op::CompareExchange(0)], &[Op::CompareExchange(0)]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 0,
    },
    Known {
        name: "a notification before the wait is lost",
        scripts: &[&[Op::Lock(0), Op::Wait], &[Op::NotifyOne]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 1,
    },
    Known {
        name: "a condition that is looked at under the lock is not missed",
        scripts: &[&[Op::Lock(0), Op::Await(1)], &[Op::Lock(0), Op::Add(0), Op::Unlock(0), Op::NotifyOne]],
        capacities: UNBOUNDED,
        // The waiter was first and is woken, or it need not wait.
        outcomes: 2,
        deadlocks: 0,
    },
    Known {
        name: "one notification wakes one of two",
        scripts: &[&[Op::Lock(0), Op::Unlock(0), Op::NotifyOne], &[Op::Lock(0), Op::Wait], &[Op::Lock(0), Op::Wait]],
        capacities: UNBOUNDED,
        // Nobody waited yet, or either of them is woken.
        outcomes: 3,
        deadlocks: 3,
    },
    Known {
        name: "one notification to all wakes two of two",
        scripts: &[&[Op::Lock(0), Op::Unlock(0), Op::NotifyAll], &[Op::Lock(0), Op::Wait], &[Op::Lock(0), Op::Wait]],
        capacities: UNBOUNDED,
        // Nobody waited yet, or one of them, or both.
        outcomes: 4,
        deadlocks: 3,
    },
    Known {
        name: "a wait that nobody ends takes its time",
        scripts: &[&[Op::Lock(0), Op::WaitFor], &[Op::Lock(0), Op::Add(0)]],
        capacities: UNBOUNDED,
        outcomes: 1,
        deadlocks: 0,
    },
    Known {
        name: "notified, or out of time, or not yet there",
        scripts: &[&[Op::Lock(0), Op::WaitFor], &[Op::NotifyAll]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 0,
    },
    Known {
        name: "messages keep their order",
        scripts: &[&[Op::Recv(0), Op::Recv(0), Op::Recv(0)], &[Op::Send(0), Op::Send(0)]],
        capacities: [Some(1), None],
        outcomes: 1,
        deadlocks: 0,
    },
    Known {
        name: "a bounded channel is full, unless it is read in between",
        scripts: &[&[Op::TrySend(0), Op::TrySend(0)], &[Op::Recv(0)]],
        capacities: [Some(1), None],
        // Or the receiver came in between, and is gone.
        outcomes: 3,
        deadlocks: 0,
    },
    Known {
        name: "whoever sends to nobody is told",
        scripts: &[&[Op::Send(0), Op::Send(0)], &[Op::DropReceiver(0)]],
        capacities: [Some(1), None],
        // Nothing, or one message, or (the channel being full) never two.
        outcomes: 2,
        deadlocks: 0,
    },
    Known {
        name: "a receiver that keeps a sender waits for itself",
        scripts: &[&[Op::Recv(0), Op::DropSender(0)], &[Op::Load(0)]],
        capacities: UNBOUNDED,
        outcomes: 1,
        deadlocks: 1,
    },
    Known {
        name: "a message, or none yet, or none ever",
        scripts: &[&[Op::TryRecv(0), Op::TryRecv(0)], &[Op::Send(0)]],
        capacities: UNBOUNDED,
        // Empty twice, and the message comes, or finds nobody; empty, then the
        // message; the message, then the end or nothing yet.
        outcomes: 5,
        deadlocks: 0,
    },
    Known {
        name: "whoever was joined is finished",
        scripts: &[&[Op::IsFinished(1), Op::Join(1)], &[Op::FetchAdd(0)]],
        capacities: UNBOUNDED,
        outcomes: 2,
        deadlocks: 0,
    },
];

#[test]
fn programs_have_the_outcomes_that_are_counted_by_hand() {
    for known in KNOWN {
        let scripts: Vec<_> = known.scripts.iter().map(|script| script.to_vec()).collect();
        let program = Program::new(&scripts, known.capacities);
        let outcomes = explore(&program, Grain::Operations, EFFORT.states_max).expect("a small program");
        let deadlocks = outcomes.iter().filter(|outcome| outcome.end.is_none()).count();
        let told: Vec<_> = outcomes.iter().map(|outcome| program.told(Some(outcome))).collect();
        assert_eq!(
            (outcomes.len(), deadlocks),
            (known.outcomes, known.deadlocks),
            "{}: the model has\n{}",
            known.name,
            told.join("\n")
        );

        let mut tally = Tally::default();
        examine(&program, EFFORT, &mut tally).unwrap_or_else(|difference| panic!("{}: {difference}", known.name));
        assert!(tally.unreached.is_empty(), "{}: no seed does this:\n{}", known.name, tally.unreached.join("\n"));
    }
}
