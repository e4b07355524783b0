//! What is wrong with an operation, in a student's words.
//!
//! The search knows that no order exists, and with which return. People want to see two
//! operations that cannot both be right. So the usual contradictions are looked for one
//! after the other, each of which is a proof by itself; if there is none, the breach is
//! told as what it is, an operation that fits in nowhere.
//!
//! Boundary: judges nothing; what comes here is broken.

use std::sync::Arc;

use super::history::{Call, Clock, Model, Operation, Outcome, quoted};
use super::judge::{Breach, BreachKind};
use super::texts;

/// What was found: the kind, the operation that is contradicted, and the end of the
/// sentence that begins with the bad one.
pub(super) struct Finding {
    pub(super) kind: BreachKind,
    pub(super) other: Option<usize>,
    pub(super) says: String,
}

/// A broken history, as it is looked at.
pub(super) struct Case<'a> {
    pub(super) history: &'a [Operation],
    /// The operations on the bad one's key, it included.
    pub(super) indexes: Vec<usize>,
    pub(super) bad: usize,
    pub(super) clock: Clock,
}

impl Case<'_> {
    pub(super) fn operation(&self, index: usize) -> &Operation {
        &self.history[index]
    }

    pub(super) fn told(&self, index: usize) -> String {
        self.history[index].told(self.clock)
    }

    /// Whether the one surely came before the other: in time, or by their client.
    pub(super) fn precedes(&self, first: usize, second: usize) -> bool {
        let (one, other) = (&self.history[first], &self.history[second]);
        let is_clients_order =
            one.client == other.client && first < second && one.is_over() && one.returned_at == other.called_at;
        one.precedes(other) || is_clients_order
    }

    /// Whether it began after the bad one's return, and cannot have been seen by it.
    pub(super) fn is_to_come(&self, index: usize) -> bool {
        self.precedes(self.bad, index)
    }

    fn found(&self, kind: BreachKind, other: usize, says: String) -> Finding {
        _ = self;
        Finding { kind, other: Some(other), says }
    }
}

pub(super) fn explain(model: Model, history: &[Operation], prefix: Vec<usize>, bad: usize, clock: Clock) -> Breach {
    let key = history[bad].call.key().cloned();
    let has_part = |&index: &usize| history[index].call.key() == key.as_ref() && !history[index].says_nothing();
    let indexes = (0..history.len()).filter(has_part).collect();
    let case = Case { history, indexes, bad, clock };
    let finding = match model {
        Model::Register => register(&case),
        Model::KeyValue => texts::explain(&case),
    };
    let Finding { kind, other, says } = finding.unwrap_or_else(|| misfit(&case, &prefix));
    let message = format!("{} {says}", case.told(bad));
    Breach { key, prefix, first_bad: bad, other, kind, message }
}

/// No pair of operations is to blame.
fn misfit(case: &Case<'_>, prefix: &[usize]) -> Finding {
    let key = case.operation(case.bad).call.key();
    let mut value: Option<String> = key.map(|_| String::new());
    let mut count = 0;
    for &index in prefix.iter().filter(|index| case.operation(**index).call.key() == key) {
        count += 1;
        match &case.operation(index).call {
            Call::Put { value: new, .. } | Call::Write(new) => value = Some(new.to_string()),
            Call::Append { value: more, .. } => value.get_or_insert_default().push_str(more),
            Call::CompareAndSet { expected, new } if value.as_deref() == Some(expected) => {
                value = Some(new.to_string());
            }
            Call::CompareAndSet { .. } | Call::Get { .. } | Call::Read => {}
        }
    }
    let held = value.map_or("nil".to_owned(), |value| quoted(&value));
    let says = format!(
        "{}, which fits into no order of what was called before that; an order of the {count} operations without it \
         ends in {held}",
        claim(case.operation(case.bad)),
    );
    Finding { kind: BreachKind::Other, other: None, says }
}

/// What an operation says about the state that it met.
pub(super) fn claim(operation: &Operation) -> String {
    match (&operation.call, &operation.outcome) {
        (_, Outcome::Value(None)) => "returned nil".to_owned(),
        (_, Outcome::Value(Some(value))) => format!("returned {}", quoted(value)),
        (Call::CompareAndSet { expected, .. }, Outcome::Done) => format!("found {}", quoted(expected)),
        (Call::CompareAndSet { expected, .. }, _) => format!("found something else than {}", quoted(expected)),
        _ => "was carried out".to_owned(),
    }
}

/// The value that an operation on a register met, if it says so. Some(None) is nil.
fn met(operation: &Operation) -> Option<Option<&Arc<str>>> {
    match (&operation.call, &operation.outcome) {
        (Call::Read, Outcome::Value(value)) => Some(value.as_ref()),
        (Call::CompareAndSet { expected, .. }, Outcome::Done) => Some(Some(expected)),
        _ => None,
    }
}

/// The value that an operation on a register leaves, if it has an effect.
fn left(operation: &Operation) -> Option<&Arc<str>> {
    match (&operation.call, &operation.outcome) {
        (Call::Write(value), Outcome::Done | Outcome::Unknown) => Some(value),
        (Call::CompareAndSet { new, .. }, Outcome::Done | Outcome::Unknown) => Some(new),
        _ => None,
    }
}

fn register(case: &Case<'_>) -> Option<Finding> {
    let bad = case.bad;
    let value = met(case.operation(bad))?;
    let claim = claim(case.operation(bad));
    let others = || case.indexes.iter().copied().filter(|index| *index != bad);
    let writers: Vec<usize> =
        others().filter(|index| value.is_some() && left(case.operation(*index)) == value).collect();

    if value.is_some() {
        if writers.is_empty() {
            let says = format!("{claim}, which nobody wrote");
            return Some(Finding { kind: BreachKind::FromNowhere, other: None, says });
        }
        if writers.iter().all(|writer| case.is_to_come(*writer)) {
            let writer = *writers.iter().min_by_key(|writer| case.operation(**writer).called_at)?;
            let says = format!("{claim}, which was written by {}: it had not begun", case.told(writer));
            return Some(case.found(BreachKind::FromTheFuture, writer, says));
        }
    }

    // All who wrote this value came before another write, and that before the bad one.
    let is_overwritten =
        |by: usize| writers.iter().all(|writer| case.precedes(*writer, by) || case.is_to_come(*writer));
    let newer = others().filter(|index| case.precedes(*index, bad) && is_overwritten(*index));
    let last = |index: &usize| (case.operation(*index).returned_at, *index);
    let write = newer.clone().filter(|index| left(case.operation(*index)).is_some()).max_by_key(last);
    if let Some(write) = write {
        let says = format!("{claim}, but {} had returned before, and is newer", case.told(write));
        return Some(case.found(BreachKind::Stale, write, says));
    }

    // Another read saw a newer value: all who wrote that one came after all who wrote this.
    let mut readers = others().filter(|index| case.precedes(*index, bad));
    let reader = readers.find(|index| {
        let Some(Some(seen)) = met(case.operation(*index)) else { return false };
        Some(seen) != value
            && others()
                .filter(|writer| left(case.operation(*writer)) == Some(seen))
                .all(|newer| writers.iter().all(|older| case.precedes(*older, newer)))
    });
    if let Some(reader) = reader {
        let seen = self::claim(case.operation(reader));
        let says = format!("{claim}, but {} had {seen}, which is newer", case.told(reader));
        return Some(case.found(BreachKind::Stale, reader, says));
    }

    // One write, and reads that saw its value, another one, and its value again.
    if let [writer] = writers[..] {
        let sees = |index: usize| met(case.operation(index)).is_some_and(|seen| seen == value);
        let between = others().find(|index| {
            met(case.operation(*index)).is_some_and(|seen| seen != value)
                && case.precedes(*index, bad)
                && others().any(|first| sees(first) && case.precedes(first, *index))
        });
        if let Some(between) = between {
            let says = format!(
                "{claim}, which was written once, by {}, and had been read and overwritten before {} {}",
                case.told(writer),
                case.told(between),
                self::claim(case.operation(between)),
            );
            return Some(case.found(BreachKind::Order, between, says));
        }
    }
    None
}
