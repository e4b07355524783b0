//! Where events are kept until the run is over, and which are dropped.
//!
//! There is a limit. When there are a quarter more than that, the oldest details
//! go, then the oldest of the rest, and milestones never: what is left tells the
//! end of the run in full and the whole of it in outline.
//!
//! Boundary: a list. Who emits what, and what it came from, is decided elsewhere.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::{Class, Event, Field, Record, ThreadName, Value};
use crate::outcome::Failure;

/// The kind under which the end of a failed run is recorded.
pub(crate) const FAIL: &str = "fail";

/// The record of a run while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: bool,
    limit: usize,
    /// How many events there may be before some are dropped.
    drop_at: usize,
    events: Vec<(Class, Event)>,
    threads: Vec<ThreadName>,
    emitted: u64,
    /// Places as texts, by address. Looked up, and never gone through: the order means nothing.
    places: BTreeMap<usize, Arc<str>>,
}

impl Recorder {
    /// One that keeps `limit` events.
    pub(crate) fn new(limit: usize) -> Self {
        Self { is_on: true, limit, drop_at: limit + limit / 4, ..Self::default() }
    }

    /// Names a thread. Returns its index.
    pub(crate) fn add_thread(&mut self, thread: ThreadName) -> u32 {
        self.threads.push(thread);
        self.threads.len() as u32 - 1
    }

    /// A place as events have it.
    pub(crate) fn place(&mut self, place: &'static Location<'static>) -> Value {
        let text = self.places.entry(std::ptr::from_ref(place).addr()).or_insert_with(|| place.to_string().into());
        Value::Shared(Arc::clone(text))
    }

    /// Adds an event, whose number is yet to be given. Returns it.
    pub(crate) fn push(&mut self, class: Class, mut event: Event) -> u64 {
        self.emitted += 1;
        event.number = self.emitted;
        event.causes.retain(|cause| (1..event.number).contains(cause));
        if event.causes.len() > 1 {
            event.causes.sort_unstable();
            event.causes.dedup();
        }
        self.events.push((class, event));
        if self.events.len() > self.drop_at {
            self.drop_some();
            // Were all that is left milestones, they would be looked through for
            // each one more.
            self.drop_at = self.events.len().max(self.limit) + self.limit / 4;
        }
        self.emitted
    }

    pub(crate) fn amend(&mut self, number: u64, fields: Vec<Field>) {
        let Some((_, event)) = self.find(number) else { return };
        event.fields.reserve_exact(fields.len());
        for (name, value) in fields {
            match event.fields.iter_mut().find(|(known, _)| *known == name) {
                Some(field) => field.1 = value,
                None => event.fields.push((name, value)),
            }
        }
    }

    pub(crate) fn set_class(&mut self, number: u64, class: Class) {
        if let Some(found) = self.find(number) {
            found.0 = class;
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut (Class, Event)> {
        // Nearly always it is one of the last, before which none was dropped.
        let since = usize::try_from(self.emitted.checked_sub(number)?).ok()?;
        let guess = self.events.len().checked_sub(since + 1);
        let at = match guess.filter(|at| self.events[*at].1.number == number) {
            Some(at) => at,
            None => self.events.binary_search_by_key(&number, |(_, event)| event.number).ok()?,
        };
        Some(&mut self.events[at])
    }

    /// Drops what there is too much of.
    fn drop_some(&mut self) {
        let count = |class| self.events.iter().filter(|(known, _)| *known == class).count();
        let excess = self.events.len().saturating_sub(self.limit);
        let mut details = count(Class::Detail).min(excess);
        let mut others = count(Class::Normal).min(excess - details);
        self.events.retain(|(class, _)| {
            let left = match class {
                Class::Detail => &mut details,
                Class::Normal => &mut others,
                Class::Milestone => return true,
            };
            let is_kept = *left == 0;
            *left = left.saturating_sub(1);
            is_kept
        });
    }

    /// What was recorded of a run that has ended, with `failure` if with one. Not
    /// every failure was told by the run itself.
    pub(crate) fn take(&mut self, failure: Option<&Failure>) -> Record {
        if !self.is_on {
            return Record::default();
        }
        let is_told = self.events.iter().rev().any(|(_, event)| event.kind == FAIL);
        if let Some(failure) = failure.filter(|_| !is_told) {
            let last = self.events.last().map_or(Duration::ZERO, |(_, event)| event.at);
            let thread = self.add_thread(ThreadName { name: failure.thread.clone().into(), node: None });
            let (causes, fields) = (Vec::new(), fields_of(failure));
            let at = failure.at.max(last);
            self.push(Class::Milestone, Event { number: 0, at, node: None, thread, kind: FAIL, causes, fields });
        }
        self.drop_some();
        let Self { events, threads, emitted, .. } = std::mem::take(self);
        let mut record = Record { dropped: emitted - events.len() as u64, ..Record::default() };
        // Most threads of a long run are named by no event that is left.
        let mut numbers: Vec<Option<u32>> = vec![None; threads.len()];
        record.events.extend(events.into_iter().map(|(_, mut event)| {
            let former = event.thread as usize;
            event.thread = *numbers[former].get_or_insert_with(|| {
                record.threads.push(threads[former].clone());
                record.threads.len() as u32 - 1
            });
            event
        }));
        record
    }
}

/// What a `fail` event says.
pub(crate) fn fields_of(failure: &Failure) -> Vec<Field> {
    vec![("failure", format!("{:?}", failure.kind).into()), ("message", failure.message.clone().into())]
}
