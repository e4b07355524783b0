//! Random histories: the checker and the slow one agree.
//!
//! A plan is drawn, and a store carries it out: each operation takes effect at some
//! moment between its call and its return, or, if it gets no answer, later or never.
//! What comes of it is linearizable. Half of the plans then get some results that they
//! did not have, which may still be linearizable, and mostly is not.
//!
//! 100,000 of them, in some seconds:
//! `LINEAR_CASES=100000 cargo test --release -p tests --lib linear::tests::random`
//!
//! Boundary: tests.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::brute;
use crate::linear::{Breach, Call, Limits, Model, Operation, Outcome, Verdict, check};

/// How many histories of each model to try, if the environment does not say.
const CASES: u32 = 3000;

/// One call of a plan.
#[derive(Clone, Debug)]
struct Planned {
    client: u64,
    call: Call,
    /// Moments from the client's last return to the call, to the effect, to the return.
    waits: [u64; 3],
    /// Without an answer: whether it takes effect all the same, and how much later.
    lost: Option<(bool, u64)>,
    /// A result that it did not have.
    forged: Option<Arc<str>>,
}

fn call(model: Model) -> BoxedStrategy<Call> {
    let value = || prop::sample::select(vec!["a", "b", "ab", "c"]).prop_map(Arc::<str>::from);
    let piece = || prop::sample::select(vec!["a", "b", "ab", "c", "d", ""]).prop_map(Arc::<str>::from);
    let key = || prop::sample::select(vec!["0", "0", "1"]).prop_map(Arc::<str>::from);
    match model {
        Model::Register => prop_oneof![
            3 => Just(Call::Read),
            2 => value().prop_map(Call::Write),
            2 => (value(), value()).prop_map(|(expected, new)| Call::CompareAndSet { expected, new }),
        ]
        .boxed(),
        Model::KeyValue => prop_oneof![
            4 => key().prop_map(|key| Call::Get { key }),
            1 => (key(), piece()).prop_map(|(key, value)| Call::Put { key, value }),
            4 => (key(), piece()).prop_map(|(key, value)| Call::Append { key, value }),
        ]
        .boxed(),
    }
}

fn plan(model: Model) -> impl Strategy<Value = Vec<Planned>> {
    let lost = prop::option::weighted(0.25, (any::<bool>(), 0..8_u64));
    let forged = prop::option::weighted(0.4, prop::sample::select(vec!["", "a", "b", "ab", "ba", "abc", "c", "ca"]));
    let planned = (0..4_u64, call(model), [0..3_u64, 0..4, 0..4], lost, forged).prop_map(
        |(client, call, waits, lost, forged)| Planned { client, call, waits, lost, forged: forged.map(Arc::from) },
    );
    (prop::collection::vec(planned, 1..9), any::<bool>()).prop_map(|(mut plan, is_honest)| {
        if is_honest {
            plan.iter_mut().for_each(|planned| planned.forged = None);
        }
        plan
    })
}

/// Carries a plan out.
fn carried_out(plan: &[Planned]) -> Vec<Operation> {
    let mut clocks: BTreeMap<u64, u64> = BTreeMap::new();
    let mut history = Vec::new();
    let mut effects = Vec::new();
    for (index, planned) in plan.iter().enumerate() {
        let [rest, work, answer] = planned.waits;
        let called_at = clocks.get(&planned.client).copied().unwrap_or_default() + rest;
        let returned_at = called_at + work + answer;
        clocks.insert(planned.client, returned_at);
        match planned.lost {
            None => effects.push((called_at + work, index)),
            Some((true, later)) => effects.push((called_at + work + later, index)),
            Some((false, _)) => {}
        }
        let (client, call) = (planned.client, planned.call.clone());
        history.push(Operation { client, call, called_at, outcome: Outcome::Unknown, returned_at });
    }

    effects.sort_unstable();
    let mut store: BTreeMap<Option<Arc<str>>, String> = BTreeMap::new();
    for (_, index) in effects {
        let planned = &plan[index];
        let key = planned.call.key().cloned();
        let before = store.get(&key).cloned();
        let outcome = match &planned.call {
            Call::Get { .. } | Call::Read => {
                let forged = planned.forged.clone().filter(|text| key.is_some() || !text.is_empty());
                Outcome::Value(forged.or(before.map(Arc::from)))
            }
            Call::Put { value, .. } | Call::Write(value) => {
                store.insert(key, value.to_string());
                Outcome::Done
            }
            Call::Append { value, .. } => {
                store.entry(key).or_default().push_str(value);
                Outcome::Done
            }
            Call::CompareAndSet { expected, new } => {
                let holds = before.as_deref() == Some(&**expected);
                if holds {
                    store.insert(key, new.to_string());
                }
                let is_forged = planned.forged.is_some();
                if holds != is_forged { Outcome::Done } else { Outcome::Failed }
            }
        };
        if planned.lost.is_none() {
            history[index].outcome = outcome;
        }
    }
    history
}

/// A breach is what it says: with the return of its operation the history is broken,
/// and before that it was not, for which the prefix is the proof.
fn assert_proven(history: &[Operation], breach: &Breach) {
    let of_key: Vec<usize> =
        (0..history.len()).filter(|index| history[*index].call.key() == breach.key.as_ref()).collect();
    let bad = breach.first_bad;
    let part: Vec<Operation> = of_key.iter().map(|index| history[*index].clone()).collect();
    let bad_in_part = of_key.iter().position(|index| *index == bad).expect("it is of the key");
    assert!(brute::is_linearizable(&brute::cut(&part, bad_in_part, false)), "broken before {bad}");
    assert!(!brute::is_linearizable(&brute::cut(&part, bad_in_part, true)), "not yet broken with {bad}");

    let mut store = BTreeMap::new();
    let mut placed: Vec<usize> = Vec::new();
    let has_returned = |index: usize| (history[index].returned_at, index) < (history[bad].returned_at, bad);
    for &index in &breach.prefix {
        let is_late = placed.iter().any(|&before| has_returned(index) && brute::is_before(history, index, before));
        assert!(!is_late, "{index} comes too late");
        let has_returned = has_returned(index);
        if has_returned {
            assert!(brute::is_right(&history[index], &mut store), "{index} is wrong in the prefix");
        } else {
            let pending = Operation { outcome: Outcome::Unknown, ..history[index].clone() };
            assert!(brute::is_right(&pending, &mut store));
        }
        placed.push(index);
    }
    for index in of_key {
        let operation = &history[index];
        let says_something = match operation.outcome {
            Outcome::Unknown => false,
            Outcome::Failed => matches!(operation.call, Call::CompareAndSet { .. }),
            Outcome::Value(_) | Outcome::Done => true,
        };
        let has_returned = (operation.returned_at, index) < (history[bad].returned_at, bad);
        assert!(!(says_something && has_returned) || placed.contains(&index), "{index} is not in the prefix");
    }
}

fn agrees(model: Model) {
    let cases = std::env::var("LINEAR_CASES").map_or(CASES, |cases| cases.parse().expect("LINEAR_CASES is a number"));
    let (broken, right) = (Cell::new(0), Cell::new(0));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)).run(&plan(model), |plan| {
            let history = carried_out(&plan);
            let expected = brute::is_linearizable(&history);
            prop_assert!(expected || plan.iter().any(|planned| planned.forged.is_some()), "the plan is wrong");
            for whole in [false, true] {
                let judgement = check(model, &history, &Limits { whole, ..Limits::default() });
                match &judgement.verdict {
                    Verdict::Linearizable => prop_assert!(expected, "passed, whole: {whole}: {history:#?}"),
                    Verdict::Broken(breach) => {
                        prop_assert!(!expected, "refused, whole: {whole}: {history:#?}");
                        if !whole {
                            assert_proven(&history, breach);
                        }
                    }
                    Verdict::Unknown(why) => prop_assert!(false, "{why}"),
                }
            }
            let count = if expected { &right } else { &broken };
            count.set(count.get() + 1);
            Ok(())
        });
    if let Err(error) = result {
        panic!("{error}");
    }
    // Both sorts have been seen, and none by chance.
    assert!(broken.get() > cases / 6 && right.get() > cases / 2, "{} broken, {} right", broken.get(), right.get());
}

#[test]
fn registers_are_judged_as_by_trying_every_order() {
    agrees(Model::Register);
}

#[test]
fn keys_are_judged_as_by_trying_every_order() {
    agrees(Model::KeyValue);
}
