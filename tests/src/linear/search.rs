//! The search: is there an order that time allows and the model too?
//!
//! The calls and returns of the operations stand in a list, in the order of their
//! times. The operations that may come next are those called before the first return
//! in the list: all others began after somebody had returned. One of them that the
//! model allows is *placed*: its call and its return are lifted out of the list, which
//! may bring others to the front. Where no operation can be placed, the last one is put
//! back, and another tried. The list is linked both ways and what is put back was the
//! last to be lifted, so both cost a few writes (Wing and Gong). What was placed and
//! the state that it led to say all about what can follow: a [`Memo`] of these pairs
//! makes sure that none is tried twice (Lowe).
//!
//! An operation whose outcome is unknown never returns. It is not in the list; it may
//! be placed at any time after its call, and need not be: the search is at its end when
//! the list is empty.
//!
//! Much need not be tried, because something else does as well:
//!
//! - A read that may come next and is right comes next. It changes nothing, and nobody
//!   had to wait for it to be placed.
//! - Of equal operations, the first to return comes first; one that returned comes
//!   before one that need not.
//! - What need not be placed is placed for the sake of what follows. So that has to be
//!   on the same key, and to come out differently than it would have without.
//! - The text of a read has to begin with what is there, or with what somebody may yet
//!   put there before the read returns.
//!
//! Boundary: numbers. Knows neither clients nor words, and starts no threads.

use std::time::Instant;

use super::history::{Model, Operation};
use super::memo::{Memo, Seen};
use super::model::{Effect, INITIAL, NOWHERE, State, mix};
use super::plan::{Event, NONE, Optional, Plan, Step};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 4096;

/// What a search may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) steps: u64,
    pub(super) bytes: usize,
    pub(super) deadline: Option<Instant>,
}

/// How a search ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// With an order of the history's operations, by their indexes.
    Found(Vec<usize>),
    /// There is none.
    Exhausted,
    /// Its steps were used up.
    Steps,
    /// Its memo was full.
    Memory,
    /// Its time was up.
    Deadline,
}

/// What a search has used.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Used {
    pub(super) steps: u64,
    pub(super) states: u64,
    pub(super) bytes: usize,
    /// The last return, as a position among the events, that everything before could be
    /// placed for, in a search that found nothing. Later ones may have been in reach.
    pub(super) reached: u32,
}

/// Looks for an order of what these events tell.
pub(super) fn search(model: Model, history: &[Operation], events: &[Event], budget: &Budget) -> (Ended, Used) {
    let mut search = Search::new(model, history, events, budget);
    let ended = search.run();
    let used = Used {
        steps: search.steps,
        states: search.memo.entries() as u64 + 1,
        bytes: search.memo.bytes(),
        reached: search.reached,
    };
    (ended, used)
}

/// Where the search goes on when it comes back.
#[derive(Clone, Copy)]
struct Cursor {
    phase: Phase,
    /// The event, or the optional operation, that was looked at last.
    at: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What has returned, and leads to a text that may be read.
    Returned,
    /// What has not.
    Optional,
    /// What has returned, and leads nowhere.
    Nowhere,
}

/// A placed operation that other ones were tried for.
struct Frame {
    /// How many were placed before.
    placed: usize,
    /// Where to look for the next one to try.
    cursor: Cursor,
}

struct Search {
    plan: Plan,
    has_texts: bool,

    // The list. Its ends meet in the position after the last event.
    next: Vec<u32>,
    previous: Vec<u32>,

    // What is placed, each with its key's state before; the sets of what must be and
    // of what may be; and the states of all keys.
    placed: Vec<(u32, State)>,
    must: Vec<u64>,
    must_count: u32,
    may: Vec<u64>,
    states: Vec<State>,
    /// Of `must` and `states`.
    hash: u64,

    memo: Memo,
    scratch: Vec<u64>,
    budget: Budget,
    steps: u64,
    reached: u32,
}

impl Search {
    fn new(model: Model, history: &[Operation], events: &[Event], budget: &Budget) -> Self {
        let plan = Plan::new(model, history, events);
        let (next, previous) = linked(&plan.owner);
        let words = |count: usize| vec![0; count.div_ceil(64)];
        Self {
            has_texts: model == Model::KeyValue,
            next,
            previous,
            placed: Vec::new(),
            must: words(plan.returned_count as usize),
            must_count: 0,
            may: words(plan.steps.len() - plan.returned_count as usize),
            states: vec![INITIAL; plan.key_count],
            hash: 0,
            plan,
            memo: Memo::new(budget.bytes),
            scratch: Vec::new(),
            budget: *budget,
            steps: 0,
            reached: 0,
        }
    }

    fn run(&mut self) -> Ended {
        let mut frames: Vec<Frame> = Vec::new();
        let mut cursor = self.start();
        self.place_reads();
        let mut next_look = 0;
        loop {
            if self.must_count == self.plan.returned_count {
                let index = |&(step, _): &(u32, State)| self.plan.steps[step as usize].index;
                return Ended::Found(self.placed.iter().map(index).collect());
            }
            if self.steps >= self.budget.steps {
                return Ended::Steps;
            }
            if self.steps >= next_look {
                next_look = self.steps + STEPS_PER_LOOK;
                if self.budget.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ended::Deadline;
                }
            }
            let Some((step, to)) = self.next_move(&mut cursor) else {
                self.reached = self.reached.max(self.first_return());
                let Some(frame) = frames.pop() else { return Ended::Exhausted };
                self.put_back(frame.placed);
                cursor = frame.cursor;
                continue;
            };
            let before = self.placed.len();
            self.place(step, to);
            self.place_reads();
            if !self.is_doomed(self.plan.steps[step as usize].key) {
                match self.visit() {
                    Seen::New => {
                        frames.push(Frame { placed: before, cursor });
                        cursor = self.start();
                        continue;
                    }
                    Seen::Before => {}
                    Seen::Full => return Ended::Memory,
                }
            }
            self.put_back(before);
        }
    }

    /// The position before the first event and after the last.
    fn end(&self) -> u32 {
        // As many as there are events, and these are counted in 32 bits.
        self.plan.owner.len() as u32
    }

    fn start(&self) -> Cursor {
        Cursor { phase: Phase::Returned, at: self.end() }
    }

    /// The next operation to try here, and the state that it leads to.
    fn next_move(&mut self, cursor: &mut Cursor) -> Option<(u32, State)> {
        let dangling = self.dangling();
        loop {
            match cursor.phase {
                Phase::Returned | Phase::Nowhere => {
                    let wants_nowhere = cursor.phase == Phase::Nowhere;
                    while let Some(step) = self.call_after(cursor.at) {
                        cursor.at = self.plan.steps[step as usize].call;
                        if let Some(to) = self.result(step, dangling)
                            && (to == NOWHERE) == wants_nowhere
                        {
                            return Some((step, to));
                        }
                    }
                    if wants_nowhere {
                        return None;
                    }
                    *cursor = Cursor { phase: Phase::Optional, at: 0 };
                }
                Phase::Optional => {
                    let limit = self.first_return();
                    while let Some(Optional { steps, next }) = self.plan.optional.get(cursor.at as usize) {
                        if self.plan.steps[steps.start as usize].call > limit {
                            break; // So are those after it.
                        }
                        // Of equal ones, the first that is free does for all.
                        let free = (*next..steps.end).find(|step| self.is_free(*step) && !self.is_placed(*step));
                        cursor.at += 1;
                        let Some(step) = free.filter(|step| self.plan.steps[*step as usize].call < limit) else {
                            continue;
                        };
                        let state = self.states[self.plan.steps[step as usize].key as usize];
                        // What leads nowhere serves nothing that follows.
                        if let Some(to) = self.result(step, dangling)
                            && to != state
                            && to != NOWHERE
                        {
                            return Some((step, to));
                        }
                    }
                    if !self.has_texts {
                        return None;
                    }
                    *cursor = Cursor { phase: Phase::Nowhere, at: self.end() };
                }
            }
        }
    }

    /// The operation whose call is next in the list. None at the first return.
    fn call_after(&self, position: u32) -> Option<u32> {
        let next = self.next[position as usize];
        let step = *self.plan.owner.get(next as usize)?;
        (self.plan.steps[step as usize].call == next).then_some(step)
    }

    /// The position of the first return in the list.
    fn first_return(&self) -> u32 {
        let mut at = self.end();
        while let Some(step) = self.call_after(at) {
            at = self.plan.steps[step as usize].call;
        }
        self.next[at as usize]
    }

    /// What need not have been placed, if nothing has followed it yet: its key, and the
    /// state without it.
    fn dangling(&self) -> Option<(u32, State)> {
        let &(step, from) = self.placed.last()?;
        let Step { key, class, .. } = self.plan.steps[step as usize];
        (class != NONE).then_some((key, from))
    }

    /// The state after an operation. None if it is wrong here, or need not be tried.
    fn result(&mut self, step: u32, dangling: Option<(u32, State)>) -> Option<State> {
        let Step { key, effect, has_twins, .. } = self.plan.steps[step as usize];
        if !self.is_free(step) {
            return None;
        }
        let to = self.plan.machine.apply(self.states[key as usize], effect)?;
        if let Some((dangling_key, without)) = dangling
            && (key != dangling_key || self.plan.machine.apply(without, effect) == Some(to))
        {
            return None;
        }
        (!has_twins || !self.has_better_twin(step)).then_some(to)
    }

    /// Whether an operation of the same effect may come next, and returned earlier.
    fn has_better_twin(&self, step: u32) -> bool {
        let this = &self.plan.steps[step as usize];
        if this.leads {
            return false; // Who follows it may not have to follow the twin.
        }
        let mut at = self.end();
        while let Some(other) = self.call_after(at) {
            let twin = &self.plan.steps[other as usize];
            at = twin.call;
            if (twin.key, twin.effect) == (this.key, this.effect)
                && twin.returned < this.returned
                && self.is_free(other)
            {
                return true;
            }
        }
        false
    }

    /// Places all reads that may come next and are right.
    fn place_reads(&mut self) {
        let mut at = self.end();
        while let Some(step) = self.call_after(at) {
            let Step { key, effect, call, .. } = self.plan.steps[step as usize];
            let state = self.states[key as usize];
            if effect.is_read() && self.is_free(step) && self.plan.machine.apply(state, effect).is_some() {
                self.place(step, state); // `at` is left in the list, and the next call follows it.
            } else {
                at = call;
            }
        }
    }

    /// Whether some read can no longer be right, whatever is placed before it.
    fn is_doomed(&self, key: u32) -> bool {
        let Some(read) = self.plan.lines[key as usize].first() else { return false };
        let Step { effect: Effect::Expect(text), returned, .. } = self.plan.steps[read as usize] else { return false };
        if !self.has_texts || self.plan.machine.may_grow(self.states[key as usize], text) {
            return false;
        }
        let may_come = |line: &u32| {
            let set = self.plan.lines[*line as usize].first();
            set.is_some_and(|set| self.plan.steps[set as usize].call < returned)
        };
        !self.plan.origins.get(&(key, text)).is_some_and(|lines| lines.iter().any(may_come))
    }

    /// Asks the memo.
    fn visit(&mut self) -> Seen {
        self.scratch.clear();
        // All before the list's first are placed, so only the words from there on
        // differ, up to the last that has a bit.
        let first =
            self.plan.owner.get(self.next[self.end() as usize] as usize).copied().unwrap_or(self.plan.returned_count);
        self.scratch.push(u64::from(first));
        let mut rest = self.must_count - first;
        let mut word = first as usize / 64;
        let mut mask = u64::MAX << (first % 64);
        while rest > 0 {
            let bits = self.must[word] & mask;
            self.scratch.push(bits);
            rest -= bits.count_ones();
            word += 1;
            mask = u64::MAX;
        }
        let pairs = self.states.chunks(2);
        self.scratch.extend(pairs.map(|pair| pair.iter().fold(0, |word, state| word << 32 | u64::from(*state))));
        self.memo.visit(self.hash, &self.scratch, &self.may)
    }

    /// Whether its client has come to it.
    fn is_free(&self, step: u32) -> bool {
        let after = self.plan.steps[step as usize].after;
        after == NONE || self.is_placed(after)
    }

    fn is_placed(&self, step: u32) -> bool {
        has(&self.must, &self.may, self.plan.returned_count, step)
    }

    fn place(&mut self, step: u32, to: State) {
        self.steps += 1;
        let Step { key, class, call, returned, line, .. } = self.plan.steps[step as usize];
        if class == NONE {
            self.lift(call);
            self.lift(returned);
            self.must_count += 1;
        }
        self.flip(step);
        let from = self.enter(key, to);
        self.placed.push((step, from));
        let is_placed = |step| has(&self.must, &self.may, self.plan.returned_count, step);
        if let Some(Optional { steps, next }) = self.plan.optional.get_mut(class as usize) {
            while *next < steps.end && is_placed(*next) {
                *next += 1;
            }
        }
        if let Some(line) = self.plan.lines.get_mut(line as usize) {
            line.advance(is_placed);
        }
    }

    /// Puts the last ones back, until so many are placed.
    fn put_back(&mut self, count: usize) {
        while self.placed.len() > count {
            let (step, from) = self.placed.pop().expect("it is longer");
            let Step { key, class, call, returned, line, rank, .. } = self.plan.steps[step as usize];
            if class == NONE {
                self.unlift(returned);
                self.unlift(call);
                self.must_count -= 1;
            } else {
                let next = &mut self.plan.optional[class as usize].next;
                *next = step.min(*next);
            }
            self.flip(step);
            self.enter(key, from);
            if let Some(line) = self.plan.lines.get_mut(line as usize) {
                line.retreat(rank);
            }
        }
    }

    /// Takes a position out of the list. It keeps its neighbours in mind.
    fn lift(&mut self, position: u32) {
        let (previous, next) = (self.previous[position as usize], self.next[position as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    /// Puts the position that was lifted last back between its neighbours.
    fn unlift(&mut self, position: u32) {
        let (previous, next) = (self.previous[position as usize], self.next[position as usize]);
        self.next[previous as usize] = position;
        self.previous[next as usize] = position;
    }

    /// Moves an operation between the placed ones and the others.
    fn flip(&mut self, step: u32) {
        match step.checked_sub(self.plan.returned_count) {
            None => {
                self.must[step as usize / 64] ^= 1 << (step % 64);
                self.hash ^= mix(u64::from(step));
            }
            Some(step) => self.may[step as usize / 64] ^= 1 << (step % 64),
        }
    }

    /// Gives a key another state, and returns the one before.
    fn enter(&mut self, key: u32, to: State) -> State {
        let from = std::mem::replace(&mut self.states[key as usize], to);
        // No step has such a number, and no other key such a state.
        let part = |state: State| mix(u64::from(key) << 32 | u64::from(state)).rotate_left(32);
        self.hash ^= part(from) ^ part(to);
        from
    }
}

/// Whether a set of placed operations has this one.
fn has(must: &[u64], may: &[u64], returned_count: u32, step: u32) -> bool {
    let (words, bit) = match step.checked_sub(returned_count) {
        None => (must, step),
        Some(bit) => (may, bit),
    };
    words[bit as usize / 64] >> (bit % 64) & 1 == 1
}

/// The list of all events that some operation owns: each one's next and previous.
fn linked(owner: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let end = owner.len();
    let (mut next, mut previous) = (vec![0; end + 1], vec![0; end + 1]);
    let mut last = end;
    for position in (0..end).filter(|position| owner[*position] != NONE).chain([end]) {
        // A history has fewer than 2^32 events: its plan has counted them.
        next[last] = position as u32;
        previous[position] = last as u32;
        last = position;
    }
    (next, previous)
}
