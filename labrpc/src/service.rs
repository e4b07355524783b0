//! What a node offers: methods by name, each a typed function.
//!
//! Boundary: bytes in, bytes out. Does not know how they travel.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};

type Handler = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

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
        A: DeserializeOwned,
        R: Serialize,
    {
        assert!(self.find(name).is_none(), "the method {name} is given twice");
        let handler = move |bytes: &[u8]| {
            let args = decode(bytes).unwrap_or_else(|error| {
                panic!("the arguments of {name} are no {}: {error}", std::any::type_name::<A>())
            });
            encode(&handler(args))
        };
        self.methods.push((name, Box::new(handler)));
        self
    }

    /// The method of that name, as it is spelled here.
    pub(crate) fn find(&self, name: &str) -> Option<&'static str> {
        self.methods.iter().map(|(known, _)| *known).find(|known| *known == name)
    }

    /// Executes a request.
    pub(crate) fn handle(&self, name: &str, args: &[u8]) -> Option<Vec<u8>> {
        // A server has a handful of methods: a search is as quick as a table.
        let (_, handler) = self.methods.iter().find(|(known, _)| *known == name)?;
        Some(handler(args))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.methods.iter().map(|(name, _)| name)).finish()
    }
}
