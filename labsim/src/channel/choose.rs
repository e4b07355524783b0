//! Choosing between operations of which several may be ready, in a simulation.
//!
//! It takes two moves. `choose` *claims* one operation that is ready: a message
//! is set aside, room is kept, a partner is called. Then the caller finishes it,
//! and nobody can have been faster meanwhile. Of several that are ready the seed
//! takes one.
//!
//! While none is ready the thread waits in the list of each channel, and for the
//! first of the times. When it is woken it looks at all of them again. If it
//! takes another operation than the one it was woken for, or is killed before it
//! takes any, it wakes somebody else for that.
//!
//! Boundary: which operation, and when. What each of them does is with its
//! channel; the lists that a student makes are in `select.rs`.

use crate::sim::{Core, Place, WaitList, Waiter, Why};

/// Which end of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Send,
    Receive,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Side::Send => Side::Receive,
            Side::Receive => Side::Send,
        }
    }
}

/// What a selection has set aside, to be finished by its thread.
#[derive(Debug)]
pub(super) enum Claim {
    /// It can only fail: nobody is at the other end, or the caller is dying.
    Closed,
    /// The message under this ticket.
    Taken(u64),
    /// Room for a message.
    Room,
    /// A partner who waits for this thread, or is on its way.
    Meeting(u64),
    /// A moment that has come.
    Due(u64),
}

/// What can be selected in a simulation: a channel, or a timer.
pub(super) trait Selectable {
    /// Claims it for the simulation that uses it at `place`.
    fn bind(&self, core: &Core, place: Place);

    fn is_ready(&self, core: &Core, side: Side) -> bool;

    /// Claims what is ready, for a thread that has looked for it since `since`.
    fn claim(&self, core: &Core, side: Side, since: u64) -> Claim;

    /// Gives up a claim that will not be finished.
    fn unclaim(&self, _core: &Core, _side: Side, _claim: Claim) {}

    /// What the thread that waited as `waiter` was called to, if it was.
    fn called(&self, _core: &Core, _side: Side, _waiter: Waiter) -> Option<Claim> {
        None
    }

    /// The thread that waited as `waiter` was woken, and is unwound instead.
    fn forsake(&self, _core: &Core, _side: Side, _waiter: Waiter) {}

    /// Who waits at that side.
    fn list(&self, _side: Side) -> Option<&WaitList> {
        None
    }

    /// When it will be ready by itself, if that is known.
    fn due(&self) -> Option<u64> {
        None
    }
}

/// One of the things that a selection may do.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) target: &'a dyn Selectable,
    pub(super) side: Side,
}

impl Operation<'_> {
    fn list(&self) -> Option<&WaitList> {
        self.target.list(self.side)
    }
}

/// Waits until one of the operations is ready, until `until` at most, and claims
/// it. Of several that are ready it takes one by the seed.
pub(super) fn choose(
    core: &Core,
    operations: &[Operation<'_>],
    until: Option<u64>,
    why: Why,
    place: Place,
) -> Option<(usize, Claim)> {
    let since = core.clock_now();
    let mut last_wait = None;
    loop {
        if core.is_dying() && !operations.is_empty() {
            return Some((0, Claim::Closed)); // The dead exchange nothing with the living.
        }
        let ready = || (0..operations.len()).filter(|at| operations[*at].target.is_ready(core, operations[*at].side));
        let count = ready().count();
        let nth = if count > 1 { core.pick(count) } else { 0 };
        let chosen = ready().nth(nth);
        let claim = chosen.map(|at| (at, operations[at].target.claim(core, operations[at].side, since)));
        if let Some(waiter) = last_wait.take() {
            leave_lists(core, operations, waiter, chosen);
        }
        if claim.is_some() {
            return claim;
        }
        if until.is_some_and(|until| core.clock_now() >= until) {
            return None;
        }

        let waiter = core.next_wait();
        operations.iter().filter_map(Operation::list).for_each(|list| _ = list.add(core));
        let waiting = Waiting { core, operations, waiter };
        let due = operations.iter().filter_map(|operation| operation.target.due()).min();
        core.wait(why, place, [due, until].into_iter().flatten().min());
        std::mem::forget(waiting);

        // A call is binding: the caller counts on this very thread.
        let called = operations.iter().enumerate().find_map(|(at, operation)| {
            let claim = operation.target.called(core, operation.side, waiter)?;
            Some((at, claim))
        });
        if let Some((at, claim)) = called {
            leave_lists(core, operations, waiter, Some(at));
            return Some((at, claim));
        }
        last_wait = Some(waiter);
    }
}

/// Takes a thread that runs again out of the lists that it waited in. A list
/// without it may be the one that woke it: if the thread has `chosen` something
/// else, somebody else there must have a look.
fn leave_lists(core: &Core, operations: &[Operation<'_>], waiter: Waiter, chosen: Option<usize>) {
    let taken = chosen.and_then(|at| operations[at].list());
    for list in operations.iter().filter_map(Operation::list) {
        let is_taken = taken.is_some_and(|taken| std::ptr::eq(taken, list));
        if !list.remove(waiter) && chosen.is_some() && !is_taken {
            list.wake_one(core);
        }
    }
}

/// A wait in several lists, passed on if its thread dies between being woken
/// and running.
struct Waiting<'a> {
    core: &'a Core,
    operations: &'a [Operation<'a>],
    waiter: Waiter,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        for operation in self.operations {
            let is_listed = operation.list().is_none_or(|list| list.remove(self.waiter));
            if !is_listed {
                operation.target.forsake(self.core, operation.side, self.waiter);
            }
        }
    }
}
