//! What a node offers: methods by name, each a typed function.
//!
//! Boundary: bytes in, bytes out. Does not know how they travel.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};
use crate::observe::{Message, Moment};

/// A method: the bytes of its arguments to those of its reply. Both are shown as
/// values, with their length in bytes, before it runs and after.
pub(crate) type Handler = Box<dyn Fn(&[u8], &dyn Fn(Moment, &dyn Message, usize)) -> Vec<u8> + Send + Sync>;

/// The methods of one server.
#[derive(Default)]
pub struct Service {
    methods: Vec<(&'static str, Handler)>,
}

impl Service {
    /// A service without methods.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one method more.
    ///
    /// Each request runs `handler` on a thread of its own, named after the
    /// method, on the serving node: requests overlap, and arrive in any order.
    ///
    /// # Panics
    ///
    /// If there is a method of that name. When called: if the caller's argument
    /// type is not `A`.
    #[must_use]
    pub fn method<A, R>(mut self, name: &'static str, handler: impl Fn(A) -> R + Send + Sync + 'static) -> Self
    where
        A: DeserializeOwned + Message,
        R: Serialize + Message,
    {
        assert!(self.handler(name).is_none(), "the method {name} is given twice");
        let handler = move |bytes: &[u8], show: &dyn Fn(Moment, &dyn Message, usize)| {
            let args: A = decode(bytes).unwrap_or_else(|error| {
                panic!("the arguments of {name} are no {}: {error}", std::any::type_name::<A>())
            });
            show(Moment::RequestArrives, &args, bytes.len());
            let reply = handler(args);
            let bytes = encode(&reply);
            show(Moment::ReplyLeaves, &reply, bytes.len());
            bytes
        };
        self.methods.push((name, Box::new(handler)));
        self
    }

    /// The handler of a method, if there is one.
    pub(crate) fn handler(&self, name: &str) -> Option<&Handler> {
        // A server has a handful of methods: a search is as quick as a table.
        self.methods.iter().find(|(known, _)| *known == name).map(|(_, handler)| handler)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods.iter().map(|(name, _)| name)).finish()
    }
}
