//! A checker that tries every order. It shares no line with the one it checks.
//!
//! Boundary: small histories only.

use std::collections::BTreeMap;

use crate::linear::{Call, Operation, Outcome};

/// The objects: a value by key, with the register under no key. Absent is nil, or "".
type Store = BTreeMap<Option<String>, String>;

/// Whether some order explains the history.
pub(super) fn is_linearizable(history: &[Operation]) -> bool {
    let left: Vec<usize> = (0..history.len()).collect();
    is_explained(history, &left, &Store::new())
}

fn is_explained(history: &[Operation], left: &[usize], store: &Store) -> bool {
    if left.iter().all(|index| history[*index].outcome == Outcome::Unknown) {
        return true;
    }
    left.iter().any(|&index| {
        if left.iter().any(|&other| is_before(history, other, index)) {
            return false;
        }
        let mut after = store.clone();
        let rest: Vec<usize> = left.iter().copied().filter(|other| *other != index).collect();
        is_right(&history[index], &mut after) && is_explained(history, &rest, &after)
    })
}

/// Whether the one operation has to come before the other.
pub(super) fn is_before(history: &[Operation], one: usize, other: usize) -> bool {
    let (first, second) = (&history[one], &history[other]);
    first.outcome != Outcome::Unknown
        && (first.returned_at < second.called_at
            || first.returned_at == second.called_at && first.client == second.client && one < other)
}

/// Carries it out. False if it could not have ended as it did.
pub(super) fn is_right(operation: &Operation, store: &mut Store) -> bool {
    let key = operation.call.key().map(|key| key.to_string());
    let known = store.get(&key).cloned();
    match (&operation.call, &operation.outcome) {
        (Call::Get { .. } | Call::Read, Outcome::Unknown | Outcome::Failed)
        | (Call::Put { .. } | Call::Append { .. } | Call::Write(_), Outcome::Failed) => true,
        (Call::Get { .. }, Outcome::Value(value)) => {
            value.as_deref().unwrap_or_default() == known.as_deref().unwrap_or_default()
        }
        (Call::Read, Outcome::Value(value)) => value.as_deref() == known.as_deref(),
        (Call::Put { value, .. } | Call::Write(value), _) => {
            store.insert(key, value.to_string());
            true
        }
        (Call::Append { value, .. }, _) => {
            store.entry(key).or_default().push_str(value);
            true
        }
        (Call::CompareAndSet { expected, new }, outcome) => {
            let holds = known.as_deref() == Some(&**expected);
            if holds && *outcome != Outcome::Failed {
                store.insert(key, new.to_string());
            }
            match outcome {
                Outcome::Done => holds,
                Outcome::Failed => !holds,
                _ => true,
            }
        }
        (Call::Get { .. } | Call::Read, Outcome::Done) => false,
    }
}

/// The history as it was when an operation returned, or just before. What had not
/// returned by then has no outcome yet.
pub(super) fn cut(history: &[Operation], at: usize, with: bool) -> Vec<Operation> {
    let end = |index: usize| (history[index].returned_at, index);
    let is_there = |index: &usize| history[*index].called_at <= history[at].returned_at;
    let known = |index: usize| end(index) < end(at) || with && index == at;
    let operation = |index: usize| match known(index) {
        true => history[index].clone(),
        false => Operation { outcome: Outcome::Unknown, ..history[index].clone() },
    };
    (0..history.len()).filter(is_there).map(operation).collect()
}
