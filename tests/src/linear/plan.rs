//! What a search is about: the operations of some events, as numbers.
//!
//! Boundary: prepares. The search itself is in `search`.

use std::ops::Range;

use super::history::{Model, Operation};
use super::model::{Effect, Machine, State, Table};

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// The return of what never returns.
pub(super) const NEVER: u32 = u32::MAX;

/// A call or a return, in the order of their times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Event {
    pub(super) at: u64,
    /// At one moment all calls come before all returns, so that these operations
    /// overlap.
    pub(super) is_return: bool,
    /// The operation's index in the history.
    pub(super) index: usize,
}

/// The events of some operations of a history.
pub(super) fn events(history: &[Operation], indexes: &[usize]) -> Vec<Event> {
    let mut events = Vec::with_capacity(2 * indexes.len());
    for &index in indexes {
        let operation = &history[index];
        if operation.says_nothing() {
            continue;
        }
        events.push(Event { at: operation.called_at, is_return: false, index });
        if operation.is_over() {
            let (from, to) = (operation.called_at, operation.returned_at);
            assert!(from <= to, "operation {index}, a {}, returned before it began", operation.call);
            events.push(Event { at: to, is_return: true, index });
        }
    }
    events.sort_unstable();
    events
}

/// An operation, as the search sees it.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) key: u32,
    pub(super) effect: Effect,
    /// Its call and return, as positions among the events.
    pub(super) call: u32,
    pub(super) returned: u32,
    /// The client's operation before it, if that returned in the very moment of this
    /// call: time does not order them, but the client did.
    pub(super) after: u32,
    /// Whether it is `after` for another one.
    pub(super) leads: bool,
    /// Whether one that returned has its effect too.
    pub(super) has_twins: bool,
    /// If it need not be placed: its number among the [`Optional`] ones.
    pub(super) class: u32,
    /// Its [`Line`], and its number in that. Of what is in none: [`NONE`].
    pub(super) line: u32,
    pub(super) rank: u32,
    /// Its index in the history.
    pub(super) index: usize,
}

/// Operations of one effect that need not be placed, in the order of their calls.
pub(super) struct Optional {
    pub(super) steps: Range<u32>,
    /// The first that is not placed.
    pub(super) next: u32,
}

/// Operations in some order, of which the first that is not placed matters.
#[derive(Default)]
pub(super) struct Line {
    steps: Vec<u32>,
    next: usize,
}

impl Line {
    /// The first that is not placed.
    pub(super) fn first(&self) -> Option<u32> {
        self.steps.get(self.next).copied()
    }

    /// One of them has been placed.
    pub(super) fn advance(&mut self, is_placed: impl Fn(u32) -> bool) {
        while self.first().is_some_and(&is_placed) {
            self.next += 1;
        }
    }

    /// The one of this rank has been put back.
    pub(super) fn retreat(&mut self, rank: u32) {
        self.next = self.next.min(rank as usize);
    }
}

/// For a key and a text, numbers of lines.
pub(super) type Origins = Table<(u32, State), Vec<u32>>;

/// All that a search has to know.
pub(super) struct Plan {
    pub(super) machine: Machine,
    /// Those that returned, by their calls; then the optional ones, by their effects.
    pub(super) steps: Vec<Step>,
    pub(super) returned_count: u32,
    pub(super) optional: Vec<Optional>,
    pub(super) key_count: usize,
    /// First each key's reads, by their returns. Then, of keys with texts, what sets a
    /// key to one state, by its call.
    pub(super) lines: Vec<Line>,
    /// For the text of a read, the lines of the sets that it may have grown from.
    pub(super) origins: Origins,
    /// Which operation that returned has the event at a position. [`NONE`] for others.
    pub(super) owner: Vec<u32>,
}

impl Plan {
    /// # Panics
    ///
    /// If the model has no such call, or a call no such outcome.
    pub(super) fn new(model: Model, history: &[Operation], events: &[Event]) -> Self {
        let returned = events.iter().filter(|event| event.is_return);
        let mut machine = Machine::new(model, returned.map(|event| &history[event.index]));
        let mut returns: Table<usize, u32> = Table::default();
        returns.extend((0..).zip(events).filter(|(_, event)| event.is_return).map(|(at, event)| (event.index, at)));
        let mut keys: Table<Option<&str>, u32> = Table::default();
        let (mut steps, mut open) = (Vec::new(), Vec::new());
        for (call, event) in (0..).zip(events).filter(|(_, event)| !event.is_return) {
            let operation = &history[event.index];
            let returned = returns.get(&event.index).copied();
            let Some(effect) = machine.effect(operation, returned.is_some()) else { continue };
            let next = count(keys.len());
            let key = *keys.entry(operation.call.key().map(|key| &**key)).or_insert(next);
            let step = Step {
                key,
                effect,
                call,
                returned: returned.unwrap_or(NEVER),
                after: NONE,
                leads: false,
                has_twins: false,
                class: NONE,
                line: NONE,
                rank: NONE,
                index: event.index,
            };
            if returned.is_some() { steps.push(step) } else { open.push(step) }
        }
        let returned_count = count(steps.len());
        follow_clients(history, &mut steps, &mut open);
        let mut owner = vec![NONE; events.len()];
        for (number, step) in (0..).zip(&steps) {
            owner[step.call as usize] = number;
            owner[step.returned as usize] = number;
        }
        let optional = add_optional(&mut steps, open);
        mark_twins(&mut steps);
        let key_count = keys.len();
        let (lines, origins) = lines(&machine, &mut steps, key_count);
        Self { machine, steps, returned_count, optional, key_count, lines, origins, owner }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).ok().filter(|count| *count < u32::MAX).expect("a history has fewer than 2^31 operations")
}

/// Finds the operations that began when their client's last one returned.
fn follow_clients(history: &[Operation], steps: &mut [Step], open: &mut [Step]) {
    let numbers = |steps: &[Step], is_open| -> Vec<(usize, bool, u32)> {
        (0..).zip(steps).map(|(number, step)| (step.index, is_open, number)).collect()
    };
    let mut order = numbers(steps, false);
    order.extend(numbers(open, true));
    order.sort_unstable();
    let mut last: Table<u64, (u64, u32)> = Table::default();
    for (index, is_open, number) in order {
        let Operation { client, called_at, returned_at, .. } = history[index];
        if let Some(&(_, before)) = last.get(&client).filter(|(at, _)| *at == called_at) {
            steps[before as usize].leads = true;
            let step = if is_open { &mut open[number as usize] } else { &mut steps[number as usize] };
            step.after = before;
        }
        if !is_open {
            last.insert(client, (returned_at, number));
        }
    }
}

/// Adds what never returned, equals beside each other.
fn add_optional(steps: &mut Vec<Step>, open: Vec<Step>) -> Vec<Optional> {
    let mut classes: Table<(u32, Effect), usize> = Table::default();
    let mut grouped: Vec<Vec<Step>> = Vec::new();
    for step in open {
        let class = *classes.entry((step.key, step.effect)).or_insert(grouped.len());
        if class == grouped.len() {
            grouped.push(Vec::new());
        }
        grouped[class].push(Step { class: count(class), ..step });
    }
    let mut optional = Vec::new();
    for class in grouped {
        let start = count(steps.len());
        steps.extend(class);
        optional.push(Optional { steps: start..count(steps.len()), next: start });
    }
    optional
}

fn mark_twins(steps: &mut [Step]) {
    let mut returned: Table<(u32, Effect), u32> = Table::default();
    for step in steps.iter().filter(|step| step.class == NONE) {
        *returned.entry((step.key, step.effect)).or_default() += 1;
    }
    for step in steps {
        let others = returned.get(&(step.key, step.effect)).map_or(0, |all| *all - u32::from(step.class == NONE));
        step.has_twins = others > 0;
    }
}

/// The lines that operations stand in, and which sets may matter to which read.
fn lines(machine: &Machine, steps: &mut [Step], key_count: usize) -> (Vec<Line>, Origins) {
    let mut lines: Vec<Line> = (0..key_count).map(|_| Line::default()).collect();
    let mut numbers: Table<(u32, State), u32> = Table::default();
    let mut texts: Vec<(u32, u32, State)> = Vec::new();
    for number in 0..count(steps.len()) {
        let Step { key, effect, .. } = steps[number as usize];
        let line = match effect {
            Effect::Expect(text) => {
                texts.extend(machine.range(text).map(|range| (key, range.start, text)));
                key
            }
            Effect::Set(to) if machine.range(to).is_some() => {
                let next = count(lines.len());
                let line = *numbers.entry((key, to)).or_insert(next);
                if line == next {
                    lines.push(Line::default());
                }
                line
            }
            _ => continue,
        };
        steps[number as usize].line = line;
        lines[line as usize].steps.push(number);
    }
    for (number, line) in lines.iter_mut().enumerate() {
        if number < key_count {
            line.steps.sort_unstable_by_key(|step| steps[*step as usize].returned);
        } else {
            line.steps.sort_unstable_by_key(|step| steps[*step as usize].call);
        }
        (0..).zip(&line.steps).for_each(|(rank, step)| steps[*step as usize].rank = rank);
    }

    texts.sort_unstable();
    texts.dedup();
    let mut origins = Origins::default();
    for (number, line) in (0..).zip(&lines).skip(key_count) {
        let Step { key, effect: Effect::Set(from), .. } = steps[line.steps[0] as usize] else { continue };
        let Some(range) = machine.range(from) else { continue };
        let start = texts.partition_point(|(other, low, _)| (*other, *low) < (key, range.start));
        let near = texts[start..].iter().take_while(|(other, low, _)| *other == key && *low < range.end);
        for (.., text) in near.filter(|(.., text)| machine.may_grow(from, *text)) {
            origins.entry((key, *text)).or_default().push(number);
        }
    }
    (lines, origins)
}
