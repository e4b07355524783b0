//! What the record of a run has of a call (see [`labsim::record`]).
//!
//! | kind | fields | on which thread |
//! |---|---|---|
//! | `send` | `call`, `method`, `from`, `to`, `bytes`, `leg`; of a reply also `delivery` | who sends |
//! | `duplicate` | `call`, `from`, `to`, `leg` | who sends |
//! | `deliver` | as of `send` | who receives; it comes from its `send` |
//! | `loss` | `call`, `from`, `to`, `leg`, `why` | whoever had it in hand |
//!
//! `leg` is `request` or `reply`, `delivery` the number of the request's `deliver`, and
//! `why` is `lost` by chance; `cut`, by a link; `crashed`, when nobody is there to send
//! or receive it any more; `late`, of a reply that nobody waits for. A call to a
//! method that there is not has a reply with `refused`.
//!
//! A call comes to one end: its reply is delivered, or one loss says what became of
//! it. A duplicate comes to an end of its own. Only a call that is under way when the
//! run is over has none. So whoever has a message in hand has a [`Passage`], which
//! says at the latest when it is dropped that the message is lost: with the thread
//! that was to handle it, for one.
//!
//! Boundary: words. What becomes of a message is decided in `call.rs`.

use std::cell::Cell;

use labsim::node::NodeId;
use labsim::record::{self, Field};

use crate::call::Call;

/// One copy of a request, and then the reply to it.
pub(crate) struct Passage {
    call: Call,
    at: Cell<At>,
    /// The event that it comes from; 0 if nothing is recorded.
    event: Cell<u64>,
}

/// How far it has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The request is on its way.
    Request,
    /// It is being handled.
    Server,
    /// The reply is on its way.
    Reply,
    /// It has come to an end.
    End,
}

impl Passage {
    /// The caller sends its request.
    pub(crate) fn begin(call: Call, bytes: usize) -> Self {
        let event = record::emit("send", || sent(call, At::Request, bytes));
        Self { call, at: Cell::new(At::Request), event: Cell::new(event) }
    }

    /// The event of its last step.
    pub(crate) fn event(&self) -> u64 {
        self.event.get()
    }

    /// The request arrives a second time.
    pub(crate) fn duplicate(&self) -> Self {
        record::emit_caused_by("duplicate", &[self.event()], || ends(self.call, At::Request));
        Self { call: self.call, at: Cell::new(At::Request), event: self.event.clone() }
    }

    /// The request is with its server.
    pub(crate) fn request_arrives(&self, bytes: usize) {
        self.deliver(At::Server, || sent(self.call, At::Request, bytes));
    }

    /// The server sends its reply; `None` if it has no such method.
    pub(crate) fn reply_leaves(&self, bytes: Option<usize>) {
        let delivery = self.event();
        let fields = || {
            let mut fields = sent(self.call, At::Reply, bytes.unwrap_or(0));
            fields.push(("delivery", delivery.into()));
            fields.extend(bytes.is_none().then_some(("refused", true.into())));
            fields
        };
        self.at.set(At::Reply);
        self.event.set(record::emit("send", fields));
    }

    /// The caller has its reply. Returns the number of the event.
    pub(crate) fn reply_arrives(self, bytes: usize) -> u64 {
        self.deliver(At::End, || sent(self.call, At::Reply, bytes));
        self.event()
    }

    fn deliver(&self, at: At, fields: impl FnOnce() -> Vec<Field>) {
        self.at.set(at);
        self.event.set(record::emit_caused_by("deliver", &[self.event()], fields));
    }

    /// It comes to nothing.
    pub(crate) fn lost(self, why: &'static str) {
        self.lose(why);
    }

    fn lose(&self, why: &'static str) {
        let at = self.at.replace(At::End);
        if at == At::End || self.event() == 0 {
            return;
        }
        let fields = || [ends(self.call, at), vec![("why", why.into())]].concat();
        record::emit_dying("loss", &[self.event()], fields);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // A reply that is dropped by a thread that lives is one that nobody waits for.
        // A request was for a server that is gone, and so is who was to answer it.
        let is_late = self.at.get() == At::Reply && !record::is_dying();
        self.lose(if is_late { "late" } else { "crashed" });
    }
}

fn ends(call: Call, at: At) -> Vec<Field> {
    let Call { number, caller, server, .. } = call;
    let (leg, from, to) = if at == At::Request { ("request", caller, server) } else { ("reply", server, caller) };
    let [from, to]: [NodeId; 2] = [from.id(), to.id()];
    vec![("call", number.into()), ("from", from.into()), ("to", to.into()), ("leg", leg.into())]
}

fn sent(call: Call, at: At, bytes: usize) -> Vec<Field> {
    [ends(call, at), vec![("method", call.method.into()), ("bytes", bytes.into())]].concat()
}
