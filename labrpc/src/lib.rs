//! Typed calls between nodes, over links that lose, delay and hold them.
//!
//! A [`Network`] joins nodes. A node offers a [`Service`], and holds a
//! [`ClientEnd`] for each node that it calls. Only bytes cross: arguments and
//! replies are encoded, counted, and decoded on the other side, so nothing is
//! ever shared between two machines. Each request is handled on a new thread of
//! the serving node.
//!
//! ```
//! use labrpc::{Network, Service};
//! use labsim::node::Node;
//!
//! let outcome = labsim::simulate(labsim::Config::seed(1), || {
//!     let (client, server) = (Node::new("client"), Node::new("server"));
//!     let network = Network::new();
//!     network.serve(server, Service::new().method("double", |n: u64| 2 * n));
//!
//!     let end = network.end(client, server);
//!     client.spawn("caller", move || end.call::<u64, u64>("double", &21)).join().unwrap()
//! });
//! assert_eq!(outcome.result.unwrap(), Ok(42));
//! ```
//!
//! # What can go wrong on the way
//!
//! Two layers decide, and both can be changed while the world runs.
//!
//! The *links* of [`labsim::links`] are the wires: each direction between two
//! nodes is up or cut, loses, delays, duplicates, reorders, holds.
//!
//! The *rules* are those of the classic course network, per call, and belong to
//! the [`Network`]: [`set_reliable`](Network::set_reliable),
//! [`set_long_delays`](Network::set_long_delays),
//! [`set_long_reordering`](Network::set_long_reordering). One call goes through
//! them in this order, and `call.rs` reads in the same order:
//!
//! 1. It is counted, with the bytes of its arguments.
//! 2. If the link is cut, or nobody serves there: an error, after up to 7 s
//!    (100 ms without long delays).
//! 3. Unreliable: a delay below 27 ms, then one request in ten is lost.
//! 4. The handler runs, on its own thread.
//! 5. Every 100 ms meanwhile, and once more after the handler is done, the
//!    network looks whether the server was replaced or a link was cut. If so the
//!    caller gets an error, *although the handler may have taken effect*.
//! 6. Unreliable: one reply in ten is lost.
//! 7. Long reordering: two replies in three are late by 200 ms and up to 2 s
//!    more, most of them by less.
//! 8. The reply is counted, with its bytes.
//!
//! # What is left out
//!
//! Connections, flow control and partial messages: a call arrives whole or not
//! at all. Encryption and authentication: everybody is who they say.
//!
//! Boundary: moves bytes between nodes. Does not know what the calls mean.

mod call;
mod codec;
mod error;
mod network;
mod observe;
mod passage;
mod service;

pub use call::ClientEnd;
pub use codec::{DecodeError, decode, encode};
pub use error::CallError;
pub use network::{Network, Traffic};
pub use observe::{Message, Moment, Passing};
pub use service::Service;
