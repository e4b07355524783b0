//! Sequential models: what an operation makes of a state.
//!
//! A state is a small number, so that the search can copy, hash and compare it for
//! nothing. In a register it stands for a value.
//!
//! In a key it stands for a place among the texts that were ever read. Only reads look
//! at a state, so a text matters as far as it may become one that was read: a state is
//! a common prefix of such texts, or [`NOWHERE`] if it begins none of them, and all
//! texts of that sort are one state. The texts that were read are sorted; those with
//! one prefix are neighbours, and adding to it narrows their range by bisection. Each
//! pair of a state and a piece does so once. Ten thousand appends to a key therefore
//! cost no more than reading the longest text, and two ways to build one text meet in
//! one state without the text being built.
//!
//! Boundary: states and steps. Knows neither time nor clients.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::history::{Call, Model, Operation, Outcome};

/// A value of the register, or a place among the texts that were read.
pub(super) type State = u32;

/// Nil in a register, "" in a key.
pub(super) const INITIAL: State = 0;

/// A text that begins none of those that were read. No read matches it, and no append
/// leads away from it.
pub(super) const NOWHERE: State = State::MAX;

/// What an operation asks of the state, and makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Effect {
    /// Is right in this state only. Changes nothing.
    Expect(State),
    /// Is right in all states but this. Changes nothing.
    Refuse(State),
    /// Is right in any state, and leads to this one.
    Set(State),
    /// Is right in one state, and leads to the other.
    Swap { from: State, to: State },
    /// Is right in any state, and adds the piece of this number.
    Append(u32),
}

impl Effect {
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::Expect(_) | Self::Refuse(_))
    }
}

/// A prefix of texts that were read: of those in `low..high`, the first `length` bytes.
#[derive(Clone, Copy)]
struct Place {
    low: u32,
    high: u32,
    length: usize,
}

/// The states of one history, numbered as they are met.
pub(super) struct Machine {
    model: Model,
    /// Register: each value's number. Key: each piece's.
    numbers: Table<Arc<str>, u32>,

    // Of keys only.
    pieces: Vec<Arc<str>>,
    /// The texts that were read, sorted, each once.
    texts: Vec<Arc<str>>,
    places: Vec<Place>,
    place_numbers: Table<(u32, usize), State>,
    appended: Table<(State, u32), State>,
}

impl Machine {
    pub(super) fn new<'a>(model: Model, operations: impl Iterator<Item = &'a Operation>) -> Self {
        let mut texts: Vec<Arc<str>> = Vec::new();
        if model == Model::KeyValue {
            texts.extend(operations.filter_map(|operation| match &operation.outcome {
                Outcome::Value(text) => Some(text.clone().unwrap_or_default()),
                _ => None,
            }));
            // One text of a growing key begins the next. So by length they nearly are in
            // order, and few long texts have to be compared.
            texts.sort_by_key(|text| text.len());
            texts.sort();
            texts.dedup();
        }
        let high = u32::try_from(texts.len()).expect("a history has fewer than 2^32 operations");
        Self {
            model,
            numbers: Table::default(),
            pieces: Vec::new(),
            texts,
            places: vec![Place { low: 0, high, length: 0 }],
            place_numbers: Table::from_iter([((0, 0), INITIAL)]),
            appended: Table::default(),
        }
    }

    /// What the operation does, if it has returned. None if there is nothing to judge.
    ///
    /// # Panics
    ///
    /// If the model has no such call, or the call no such outcome.
    pub(super) fn effect(&mut self, operation: &Operation, has_returned: bool) -> Option<Effect> {
        let Operation { call, outcome, .. } = operation;
        assert!(self.model.has(call), "the model {:?} has no {call}", self.model);
        let outcome = if has_returned { outcome } else { &Outcome::Unknown };
        match (call, outcome) {
            (Call::Get { .. } | Call::Read, Outcome::Unknown | Outcome::Failed)
            | (Call::Put { .. } | Call::Append { .. } | Call::Write(_), Outcome::Failed) => None,
            (Call::Get { .. }, Outcome::Value(text)) => {
                let state = self.text(text.as_deref().unwrap_or_default());
                Some(Effect::Expect(state))
            }
            (Call::Read, Outcome::Value(None)) => Some(Effect::Expect(INITIAL)),
            (Call::Read, Outcome::Value(Some(value))) => Some(Effect::Expect(self.value(value))),
            (Call::Put { value, .. }, Outcome::Done | Outcome::Unknown) => Some(Effect::Set(self.text(value))),
            (Call::Append { value, .. }, Outcome::Done | Outcome::Unknown) => Some(Effect::Append(self.piece(value))),
            (Call::Write(value), Outcome::Done | Outcome::Unknown) => Some(Effect::Set(self.value(value))),
            (Call::CompareAndSet { expected, .. }, Outcome::Failed) => Some(Effect::Refuse(self.value(expected))),
            (Call::CompareAndSet { expected, new }, Outcome::Done | Outcome::Unknown) => {
                let (from, to) = (self.value(expected), self.value(new));
                match (from == to, outcome) {
                    (false, _) => Some(Effect::Swap { from, to }),
                    (true, Outcome::Done) => Some(Effect::Expect(from)),
                    (true, _) => None,
                }
            }
            (_, Outcome::Done | Outcome::Value(_)) => panic!("a {call} cannot end in {outcome:?}"),
        }
    }

    /// The state after it. None if it is not right in this one.
    pub(super) fn apply(&mut self, state: State, effect: Effect) -> Option<State> {
        match effect {
            Effect::Expect(expected) => (state == expected).then_some(state),
            Effect::Refuse(refused) => (state != refused).then_some(state),
            Effect::Set(to) => Some(to),
            Effect::Swap { from, to } => (state == from).then_some(to),
            Effect::Append(_) if state == NOWHERE => Some(NOWHERE),
            Effect::Append(piece) => Some(self.append(state, piece)),
        }
    }

    /// Whether appends alone may lead from the one state to the other.
    pub(super) fn may_grow(&self, from: State, to: State) -> bool {
        if from == NOWHERE || to == NOWHERE {
            return false;
        }
        let (from, to) = (self.places[from as usize], self.places[to as usize]);
        from.length <= to.length && (from.low..from.high).contains(&to.low)
    }

    /// The texts that begin with this one, by their order. None in a register, and for
    /// a text that leads nowhere.
    pub(super) fn range(&self, state: State) -> Option<Range<u32>> {
        let place = self.places.get(state as usize).filter(|_| self.model == Model::KeyValue)?;
        Some(place.low..place.high)
    }

    fn value(&mut self, value: &Arc<str>) -> State {
        let next = u32::try_from(self.numbers.len()).expect("a history has fewer than 2^32 operations") + 1;
        *self.numbers.entry(Arc::clone(value)).or_insert(next)
    }

    fn piece(&mut self, piece: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(piece) {
            return *number;
        }
        let number = u32::try_from(self.pieces.len()).expect("a history has fewer than 2^32 operations");
        self.pieces.push(Arc::clone(piece));
        self.numbers.insert(Arc::clone(piece), number);
        number
    }

    fn append(&mut self, state: State, piece: u32) -> State {
        if let Some(to) = self.appended.get(&(state, piece)) {
            return *to;
        }
        let text = Arc::clone(&self.pieces[piece as usize]);
        let to = self.grow(state, &text);
        self.appended.insert((state, piece), to);
        to
    }

    fn text(&mut self, text: &str) -> State {
        self.grow(INITIAL, text)
    }

    /// Narrows the texts of a state to those that go on with `piece`.
    fn grow(&mut self, state: State, piece: &str) -> State {
        let Place { low, high, length } = self.places[state as usize];
        let range = &self.texts[low as usize..high as usize];
        let skipped = range.partition_point(|text| &text.as_bytes()[length..] < piece.as_bytes());
        let range = &range[skipped..];
        let kept = range.partition_point(|text| text.as_bytes()[length..].starts_with(piece.as_bytes()));
        if kept == 0 && !piece.is_empty() {
            return NOWHERE;
        }
        let narrow = |count: usize| u32::try_from(count).expect("part of a range that fits");
        let low = low + narrow(skipped);
        let place = Place { low, high: low + narrow(kept), length: length + piece.len() };
        let next = narrow(self.places.len());
        let number = *self.place_numbers.entry((place.low, place.length)).or_insert(next);
        if number == next {
            self.places.push(place);
        }
        number
    }
}

/// A table that is the same in each run: its order depends on no chance and no address.
pub(super) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// A cheap hash of a few words. Nobody attacks it; who could only harms himself.
#[derive(Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Spreads the bits of a number over all of it (the finalizer of splitmix64).
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
