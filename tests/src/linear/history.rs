//! A history: what clients called, when, and what came back.
//!
//! Real time is all that a history fixes. Of two calls, the one that returned before
//! the other began came first; of two that overlap, either may have.
//!
//! Boundary: data and its words. Knows no search.

use std::fmt;
use std::sync::Arc;

/// Which object the clients were using, and so which calls they may make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// One value: [`Call::Read`], [`Call::Write`], [`Call::CompareAndSet`]. It starts as nil.
    Register,
    /// Texts by key: [`Call::Get`], [`Call::Put`], [`Call::Append`]. Each starts as "".
    KeyValue,
}

impl Model {
    /// Whether its objects have such a call.
    pub fn has(self, call: &Call) -> bool {
        (self == Self::KeyValue) == call.key().is_some()
    }
}

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// The text of a key.
    Get {
        /// Whose text.
        key: Arc<str>,
    },
    /// A new text for a key.
    Put {
        /// Whose text.
        key: Arc<str>,
        /// The text from then on.
        value: Arc<str>,
    },
    /// More text at the end of a key's.
    Append {
        /// Whose text.
        key: Arc<str>,
        /// What is added.
        value: Arc<str>,
    },
    /// The value of the register.
    Read,
    /// A new value for the register.
    Write(Arc<str>),
    /// A new value for the register, if it has the one that is expected.
    CompareAndSet {
        /// The value that it must have.
        expected: Arc<str>,
        /// The value from then on.
        new: Arc<str>,
    },
}

impl Call {
    /// The key that it is about. None in a register.
    pub fn key(&self) -> Option<&Arc<str>> {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Append { key, .. } => Some(key),
            Self::Read | Self::Write(_) | Self::CompareAndSet { .. } => None,
        }
    }

    /// Whether it asks and changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::Read)
    }
}

/// As a student writes it, with long texts cut in the middle.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get { key } => write!(f, "Get({key:?})"),
            Self::Put { key, value } => write!(f, "Put({key:?}, {})", quoted(value)),
            Self::Append { key, value } => write!(f, "Append({key:?}, {})", quoted(value)),
            Self::Read => write!(f, "Read()"),
            Self::Write(value) => write!(f, "Write({})", quoted(value)),
            Self::CompareAndSet { expected, new } => {
                write!(f, "CompareAndSet({}, {})", quoted(expected), quoted(new))
            }
        }
    }
}

/// What the client knows about the end of its call.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// What a get or a read returned. None is nil, which in a key is the same as "".
    Value(Option<Arc<str>>),
    /// A write of any sort has been carried out.
    Done,
    /// It surely changed nothing. Of a compare-and-set this says that its precondition
    /// did not hold, and it is judged by that; of any other call it says no more.
    Failed,
    /// No answer. It may take effect at any time after its call, or never.
    Unknown,
}

/// One call of a client, from its invocation to its return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who called. A client makes one call at a time, and its operations stand in a
    /// history in the order in which it made them.
    pub client: u64,
    /// What it asked for.
    pub call: Call,
    /// When it called, in nanoseconds since the start of the run.
    pub called_at: u64,
    /// What it knows of the end.
    pub outcome: Outcome,
    /// When that came back, in nanoseconds since the start of the run. Ignored where the
    /// outcome is [`Outcome::Unknown`].
    pub returned_at: u64,
}

impl Operation {
    /// Whether it surely came before `other`: it had returned when the other began.
    ///
    /// At one and the same moment only a client's own calls have an order, which is not
    /// asked here.
    pub fn precedes(&self, other: &Self) -> bool {
        self.is_over() && self.returned_at < other.called_at
    }

    /// Whether its effect, if any, has happened by its return.
    pub(super) fn is_over(&self) -> bool {
        self.outcome != Outcome::Unknown
    }

    /// Whether it can be left out: it surely did nothing, and saw nothing either.
    pub(super) fn says_nothing(&self) -> bool {
        match self.outcome {
            Outcome::Unknown => self.call.is_read(),
            Outcome::Failed => !matches!(self.call, Call::CompareAndSet { .. }),
            Outcome::Value(_) | Outcome::Done => false,
        }
    }

    /// It and its place in time: `client 3's Get("0") at 1.204s..1.209s`.
    pub(super) fn told(&self, clock: Clock) -> String {
        let end = match (self.is_over(), clock) {
            (true, Clock::Seconds) => seconds(self.returned_at),
            (true, Clock::Lines) => self.returned_at.to_string(),
            (false, _) => "?".to_owned(),
        };
        let (client, call) = (self.client, &self.call);
        match clock {
            Clock::Seconds => format!("client {client}'s {call} at {}..{end}", seconds(self.called_at)),
            Clock::Lines => format!("client {client}'s {call} at lines {}..{end}", self.called_at),
        }
    }
}

/// What the moments of a history are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Clock {
    /// Nanoseconds, told as seconds with three decimals.
    #[default]
    Seconds,
    /// Lines of a file that has no times.
    Lines,
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:03}s", nanos / 1_000_000_000, nanos / 1_000_000 % 1000)
}

/// How much of a text a message shows.
const SHOWN: usize = 60;

/// A text in quotes; of a long one its beginning, its end, and its length.
pub fn quoted(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN / 3).collect();
    let tail: String = text.chars().skip(count - SHOWN / 2).collect();
    format!("\"{}..{}\" ({count} characters)", head.escape_debug(), tail.escape_debug())
}
