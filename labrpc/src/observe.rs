//! Seeing calls go by: for whoever judges a program by what it says.
//!
//! A program under test shows its messages to nobody but their receivers. An
//! observer sees each one as it leaves and as it arrives, as a value and not as
//! bytes, with its number and that of its call.
//!
//! Boundary: shows. What an observer makes of it is its own affair.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use labsim::node::Node;
use parking_lot::Mutex;

/// A message at one end of its way.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The number of the call that it belongs to, from 1 on, in the order in which
    /// calls were made on this network. A request and its replies have the same.
    pub call: u64,
    /// Who made the call.
    pub caller: Node,
    /// Who was called.
    pub server: Node,
    /// The method.
    pub method: &'static str,
    /// Which message it is, and at which end.
    pub moment: Moment,
    /// The number of its event, if the run is recorded, for an observer to
    /// [`amend`](labsim::record::amend); else 0.
    pub event: u64,
    /// The arguments or the reply, of the type that the program gave.
    pub value: &'a dyn Message,
}

/// What a message says: arguments or a reply, of whatever type the program has for
/// them. An observer that knows the type has its fields; any other has its words.
pub trait Message: Any + fmt::Debug {}

impl<T: Any + fmt::Debug> Message for T {}

impl dyn Message + '_ {
    /// The message, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Which of the two messages of a call it is, and where.
///
/// A request that is lost never arrives. A duplicated one arrives twice, and two
/// replies leave, of which one at the most arrives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Moment {
    /// The caller sends its request. The program may crash right now: then it has
    /// not.
    RequestLeaves,
    /// The server is about to handle it.
    RequestArrives,
    /// The server has handled it and sends its reply.
    ReplyLeaves,
    /// The caller has it.
    ReplyArrives,
}

impl Passing<'_> {
    /// Whose message it is.
    pub fn from(&self) -> Node {
        match self.moment {
            Moment::RequestLeaves | Moment::RequestArrives => self.caller,
            Moment::ReplyLeaves | Moment::ReplyArrives => self.server,
        }
    }

    /// Whom it is for.
    pub fn to(&self) -> Node {
        if self.from() == self.caller { self.server } else { self.caller }
    }

    /// True where it leaves, false where it arrives.
    pub fn leaves(&self) -> bool {
        matches!(self.moment, Moment::RequestLeaves | Moment::ReplyLeaves)
    }
}

type Observer = Arc<dyn Fn(&Passing<'_>) + Send + Sync>;

/// A network's observers, in the order in which they came.
#[derive(Default)]
pub(crate) struct Observers {
    /// There is one: else nobody takes the lock.
    any: AtomicBool,
    list: Mutex<Vec<Observer>>,
}

impl Observers {
    pub(crate) fn add(&self, observer: Observer) {
        self.list.lock().push(observer);
        self.any.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn show(&self, passing: &Passing<'_>) {
        if self.any.load(Ordering::Relaxed) {
            self.show_all(passing);
        }
    }

    fn show_all(&self, passing: &Passing<'_>) {
        // Taken out one by one, so that the list is free while they run.
        let observer = |at: usize| self.list.lock().get(at).map(Arc::clone);
        let mut at = 0;
        while let Some(observer) = observer(at) {
            observer(passing);
            at += 1;
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observers", self.list.lock().len())
    }
}
