//! The record of a run: what happened, in order, and what each thing came from.
//!
//! A stream of events, complete enough for a page to draw the run and to explain
//! it. labsim writes down what it does itself, labrpc the messages, and whoever
//! watches a run what it makes of that: [`emit`] adds an event, [`amend`] a field to
//! one that a lower layer has emitted a moment ago. With [`Config::record`](crate::Config::record) it is on,
//! in simulations only: in a real world nobody could say what came from what.
//! Recording takes no step, draws nothing and changes no hash.
//!
//! **Causes.** Each thread has a last event, which made it do what it does. What it
//! emits is caused by that one, and becomes the last one. A thread inherits it from
//! whoever spawns it, and takes it over from whoever wakes it: by a notification, a
//! message, an unpark, its end. Of a thread that was notified with a lock held it is
//! what was the last event when that lock opened, since it sees no sooner what is
//! new. Who waited for a lock keeps its own. Causes are numbers of earlier events. One
//! that is not there was dropped.
//!
//! | kind | fields | when |
//! |---|---|---|
//! | `thread`, `thread_end` | `name` | a thread takes its first step; has returned |
//! | `timer` | `waited_us`, `place` | a thread of a node goes on because its time was up |
//! | `lock_wait` | `place`, `holder`, `holder_node` | it begins to wait for a lock |
//! | `preempt` | `place` | it lost the processor where it could have gone on |
//! | `write` | `file`, `before`, `after` | a file was written, lengths in bytes |
//! | `sync` | `version`, `files` | and is durable, those files that were written; see [`disk::version_of`](crate::disk::version_of) |
//! | `crash`, `restart`, `pause`, `resume` | `target`, if it is not the thread's own node | |
//! | `cut`, `heal` | `from`, `to` | of a link only that has changed |
//! | `link` | `from`, `to`, and all of [`Link`](crate::links::Link); delays in `_us`, as `[from, to]` | any other change |
//! | `note` | `topic`, `text` | see [`note!`](crate::note!) |
//! | `fail` | `failure`, `message` | the run has failed |
//!
//! `thread`, `thread_end`, `lock_wait` and `preempt` lead to nothing: they have a cause,
//! and are none.
//!
//! Boundary: keeps events. What kinds of others mean is theirs to say.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::context::{self, Mode};
use crate::node::NodeId;
use crate::sim::{self, Causes};

mod store;

pub(crate) use self::store::{Recorder, fields_of};

/// Something that happened in a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// From 1 on, without gaps in the whole run. Those that were dropped keep theirs.
    pub number: u64,
    /// When, in virtual time. Serialized as `at_us`, microseconds.
    pub at: Duration,
    /// The node of the thread.
    pub node: Option<NodeId>,
    /// The thread, as an index into [`Record::threads`].
    pub thread: u32,
    /// What it is.
    pub kind: &'static str,
    /// Numbers of earlier events, in ascending order.
    pub causes: Vec<u64>,
    /// What else is known of it, by name.
    pub fields: Vec<Field>,
}

/// A name, and what stands under it.
pub type Field = (&'static str, Value);

impl Event {
    /// What stands under `name`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The number under `name`, if there is one.
    pub fn number_of(&self, name: &str) -> Option<u64> {
        match self.field(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text under `name`, if there is one.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        match self.field(name)? {
            Value::Text(text) => Some(text),
            Value::Shared(text) => Some(text),
            _ => None,
        }
    }
}

/// What a field of an event holds. Serialized as what it is, with no tag.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Nothing, as of a `None`.
    Nothing,
    /// True or false.
    Flag(bool),
    /// A count, an index, a size.
    Number(u64),
    /// A probability, or another fraction.
    Fraction(f64),
    /// A text.
    Text(Cow<'static, str>),
    /// A text that many events have: see [`place`].
    Shared(Arc<str>),
    /// Several numbers.
    Numbers(Vec<u64>),
    /// Several of anything.
    List(Vec<Value>),
    /// Fields of its own.
    Fields(Vec<Field>),
}

/// How long an event is kept when there are too many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// The first ones to be dropped, the oldest first.
    Detail,
    /// Dropped, the oldest first, when no detail is left.
    Normal,
    /// Never dropped.
    Milestone,
}

/// All that was recorded of a run, with its outcome.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Record {
    /// In the order of their numbers.
    pub events: Vec<Event>,
    /// The threads that the events name.
    pub threads: Vec<ThreadName>,
    /// What each node is called, by its number.
    pub nodes: Vec<String>,
    /// How many events are not there, because there were too many.
    pub dropped: u64,
}

/// A thread of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ThreadName {
    /// The name that it was spawned with.
    pub name: Cow<'static, str>,
    /// The node that it belongs to.
    pub node: Option<NodeId>,
}

impl Record {
    /// The event with that number, unless it was dropped.
    pub fn event(&self, number: u64) -> Option<&Event> {
        self.events.binary_search_by_key(&number, |event| event.number).ok().map(|at| &self.events[at])
    }
}

/// True if this run is recorded. Never in a real world.
#[inline]
pub fn is_on() -> bool {
    context::mode() == Mode::Simulated && sim::with(sim::Core::is_recording)
}

/// Adds an event, caused by the calling thread's last one. Returns its number; 0 if
/// nothing is recorded, and from the destructors of a dying thread.
///
/// `fields` is not called if nothing is recorded. It must not emit.
///
/// ```
/// use labsim::{Config, record, simulate, thread};
/// let outcome = simulate(Config::seed(1).record(true), || {
///     let asked = record::emit("asked", || vec![("term", 3_u64.into())]);
///     thread::spawn("voter", || record::emit("voted", Vec::new)).join().unwrap();
///     record::amend(asked, || vec![("granted", true.into())]);
/// });
/// let record = outcome.record;
/// let find = |kind| record.events.iter().find(|event| event.kind == kind).unwrap();
/// assert_eq!(find("voted").causes, [find("asked").number]);
/// assert_eq!(find("asked").number_of("term"), Some(3));
/// assert_eq!(find("asked").field("granted"), Some(&true.into()));
/// ```
pub fn emit(kind: &'static str, fields: impl FnOnce() -> Vec<Field>) -> u64 {
    emit_as(Class::Normal, kind, fields)
}

/// As [`emit`], of a class.
pub fn emit_as(class: Class, kind: &'static str, fields: impl FnOnce() -> Vec<Field>) -> u64 {
    write(class, kind, Causes::Last, fields)
}

/// As [`emit`], but caused by these events, and not by the calling thread's last one.
/// Zeros are left out.
pub fn emit_caused_by(kind: &'static str, causes: &[u64], fields: impl FnOnce() -> Vec<Field>) -> u64 {
    write(Class::Normal, kind, Causes::These(causes), fields)
}

/// As [`emit_caused_by`], also from the destructors of a thread that dies with its
/// node: for who has to say what becomes of something that the thread had in hand.
/// Its last event, which is the crash then, is a cause too. When the run is over
/// nothing is emitted: all threads are unwound then, and nothing has happened to
/// them.
pub fn emit_dying(kind: &'static str, causes: &[u64], fields: impl FnOnce() -> Vec<Field>) -> u64 {
    if !is_on() || sim::with(sim::Core::has_failed) {
        return 0;
    }
    if !context::is_dying() {
        return emit_caused_by(kind, causes, fields);
    }
    let causes = [causes, &[last()]].concat();
    let fields = fields();
    sim::with(|core| core.emit(Class::Normal, kind, Causes::These(&causes), fields))
}

fn write(class: Class, kind: &'static str, causes: Causes<'_>, fields: impl FnOnce() -> Vec<Field>) -> u64 {
    if !is_on() || context::is_dying() {
        return 0;
    }
    let fields = fields();
    sim::with(|core| core.emit(class, kind, causes, fields))
}

/// Adds fields to an event that was emitted a moment ago: for an observer who knows
/// more of it than the layer that emitted it. A field that is there already gets the
/// new value. Does nothing if there is no such event, or it was dropped.
pub fn amend(number: u64, fields: impl FnOnce() -> Vec<Field>) {
    if number != 0 && is_on() {
        let fields = fields();
        context::on_world(|world| world.record.lock().amend(number, fields));
    }
}

/// Says how long an event is kept. Does nothing if there is no such event.
pub fn set_class(number: u64, class: Class) {
    if number != 0 && is_on() {
        context::on_world(|world| world.record.lock().set_class(number, class));
    }
}

/// The calling thread's last event, which would be the cause of its next one; 0 if
/// there is none.
pub fn last() -> u64 {
    if is_on() { sim::with(sim::Core::last_event) } else { 0 }
}

/// True if the calling thread is on its way out, and [`emit`] does nothing: its node
/// has crashed, or its run is over.
pub fn is_dying() -> bool {
    context::is_dying()
}

/// A place in the source as a field has it, `file:line:column`: made once, however many
/// events are of it. Nothing if nothing is recorded.
pub fn place(place: &'static Location<'static>) -> Value {
    if is_on() { context::on_world(|world| world.record.lock().place(place)) } else { Value::Nothing }
}

/// Runs `waits` without an event for the timers that end its waits, nor for its locks:
/// for a layer that waits on behalf of the calling thread, which set no timer.
pub fn quietly<R>(waits: impl FnOnce() -> R) -> R {
    /// Also when the thread is unwound.
    struct Until(bool);
    impl Drop for Until {
        fn drop(&mut self) {
            sim::with(|core| core.set_quiet(self.0));
        }
    }
    if !is_on() {
        return waits();
    }
    let _until = Until(sim::with(|core| core.set_quiet(true)));
    waits()
}

/// Something is done to a machine.
pub(crate) fn machine(kind: &'static str, node: NodeId) {
    let target = || {
        let is_own = context::life().is_some_and(|life| life.node == node);
        if is_own { Vec::new() } else { vec![("target", node.into())] }
    };
    emit_as(Class::Milestone, kind, target);
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Event", 7)?;
        event.serialize_field("number", &self.number)?;
        // Exact to the nanosecond for the first eleven days.
        event.serialize_field("at_us", &(self.at.as_nanos() as f64 / 1000.0))?;
        event.serialize_field("node", &self.node)?;
        event.serialize_field("thread", &self.thread)?;
        event.serialize_field("kind", self.kind)?;
        event.serialize_field("causes", &self.causes)?;
        event.serialize_field("fields", &Fields(&self.fields))?;
        event.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Shared(text) => serializer.serialize_str(text),
            Self::Numbers(numbers) => numbers.serialize(serializer),
            Self::List(values) => values.serialize(serializer),
            Self::Fields(fields) => Fields(fields).serialize(serializer),
        }
    }
}

/// Written as what they are: names and values.
struct Fields<'a>(&'a [Field]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

macro_rules! value_from {
    ($($type:ty, $value:ident => $made:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        })+
    };
}

value_from! {
    bool, flag => Self::Flag(flag);
    u64, number => Self::Number(number);
    u32, number => Self::Number(number.into());
    usize, number => Self::Number(number as u64);
    f64, fraction => Self::Fraction(fraction);
    &'static str, text => Self::Text(Cow::Borrowed(text));
    String, text => Self::Text(Cow::Owned(text));
    Cow<'static, str>, text => Self::Text(text);
    Vec<u64>, numbers => Self::Numbers(numbers);
    Vec<Value>, values => Self::List(values);
    Vec<Field>, fields => Self::Fields(fields);
    NodeId, node => Self::Number(node.0.into());
}

impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}
