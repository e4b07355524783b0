//! One call, from its arguments to its reply, in the order of the rules.
//!
//! The caller's thread goes through the whole of it: it waits in any case. Only
//! the handler runs elsewhere, and a message that must outlive its sender.
//!
//! The course's network is followed to the number. What it leaves to chance
//! (a delay, a loss each way, a late reply) is drawn from the stream of that
//! one call, so that one call more between two nodes moves no other.
//!
//! Boundary: one call. Who serves, and what is counted, is in `network.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use labsim::channel::{self, RecvTimeoutError, Sender};
use labsim::links::{self, Fate};
use labsim::node::Node;
use labsim::rand::Stream;
use labsim::time::Instant;
use labsim::{record, sync, thread};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};
use crate::error::CallError;
use crate::network::{Server, Shared};
use crate::observe::{Message, Moment, Passing};
use crate::passage::Passage;

/// A call over a cut link fails within so many milliseconds.
const CUT_MS: u64 = 100;
/// The same with long delays.
const CUT_LONG_MS: u64 = 7000;
/// A call whose request or reply a link has lost fails within so many
/// milliseconds.
const LOSS_MS: u64 = 100;
/// An unreliable network delays a request by less than this many milliseconds.
const REQUEST_DELAY_MS: u64 = 27;
/// The probability that an unreliable network loses a request; and a reply.
const LOSS: f64 = 0.1;
/// How often a waiting call looks whether it still can be answered.
const DEADNESS_CHECK: Duration = Duration::from_millis(100);
/// The probability that long reordering delays a reply.
const REORDER: f64 = 2.0 / 3.0;
/// What a reordered reply waits at the least, in milliseconds.
const REORDER_MS_MIN: u64 = 200;
/// The bound on the bound of what it waits besides, in milliseconds.
const REORDER_MS: u64 = 2000;

/// The right of one node to call another. Clones call the same node.
#[derive(Clone, Debug)]
pub struct ClientEnd {
    /// Weak, because servers own ends and the network owns servers.
    network: Weak<Shared>,
    from: Node,
    to: Node,
    /// Calls between the two whose chances were drawn.
    drawn: Arc<AtomicU64>,
}

/// Why there is no reply.
enum GaveUp {
    Refused,
    /// The caller learns of it only after this long.
    LostAfter(Duration),
}

/// What chance has in store for one call.
#[derive(Default)]
struct Chances {
    request_delay: Duration,
    request_lost: bool,
    reply_lost: bool,
    reply_delay: Duration,
}

impl ClientEnd {
    pub(crate) fn new(network: Weak<Shared>, from: Node, to: Node, drawn: Arc<AtomicU64>) -> Self {
        Self { network, from, to, drawn }
    }

    /// The node that is called.
    pub fn server(&self) -> Node {
        self.to
    }

    /// Sends `args` to the server and waits for its reply.
    ///
    /// Returns when the reply arrives or the network gives up: on a cut link
    /// within 7 s of virtual time, or 100 ms without long delays. A handler that
    /// never returns is waited for as long as its server lives and can be
    /// reached. Calls may overlap, and may arrive in another order than they were
    /// made. `A` and `R` must be the types that the server's method has, and derive
    /// `Debug`, so that a log of the run can show what was said.
    ///
    /// # Errors
    ///
    /// - [`CallError::Lost`]: no reply. The request may have been executed, may
    ///   yet be, or may have been executed twice.
    /// - [`CallError::Refused`]: the server has no such method. It was not
    ///   executed.
    ///
    /// # Panics
    ///
    /// Fails the run if the calling thread holds a lock: a server that waits for
    /// the network with its state locked cannot answer the one that waits for
    /// it. Panics if the reply is no `R`.
    #[track_caller]
    pub fn call<A, R>(&self, method: &'static str, args: &A) -> Result<R, CallError>
    where
        A: Serialize + Message,
        R: DeserializeOwned + Message,
    {
        sync::assert_no_lock_held("makes a call");
        let Some(network) = self.network.upgrade() else {
            return Err(CallError::Lost); // The network itself is gone.
        };

        // 1. Counted, whatever becomes of it.
        let call = Call { number: network.traffic.count_call(), caller: self.from, server: self.to, method };
        let bytes = encode(args);
        let passage = Passage::begin(call, bytes.len());
        call.show(&network, passage.event(), Moment::RequestLeaves, args);
        let wait = match self.call_bytes(&network, call, passage, bytes) {
            Ok((event, reply)) => {
                let reply = decode(&reply).unwrap_or_else(|error| {
                    panic!("the reply of {method} is no {}: {error}", std::any::type_name::<R>())
                });
                call.show(&network, event, Moment::ReplyArrives, &reply);
                return Ok(reply);
            }
            Err(GaveUp::Refused) => return Err(CallError::Refused),
            Err(GaveUp::LostAfter(wait)) => wait,
        };
        // Here and not where it was decided: nothing is left to clear up should
        // the caller's node crash meanwhile. A leader that is cut off has
        // hundreds of calls that end here.
        links::travel(wait);
        Err(CallError::Lost)
    }

    /// Returns the event of the reply's arrival, and its bytes.
    fn call_bytes(
        &self,
        network: &Arc<Shared>,
        call: Call,
        passage: Passage,
        args: Vec<u8>,
    ) -> Result<(u64, Vec<u8>), GaveUp> {
        let lost = Err(GaveUp::LostAfter(Duration::ZERO));
        network.traffic.count_bytes(args.len());

        // 2. A cut link, or no server. The caller learns only that it took long.
        let server = network.server(self.to).filter(|server| server.is_alive());
        let fate = links::send(self.from, self.to);
        let Some(server) = server.filter(|_| fate != Fate::Cut) else {
            passage.lost(if fate == Fate::Cut { "cut" } else { "crashed" });
            return Err(self.lost_after_cut(network));
        };

        // 3. The way there.
        let chances = self.draw_chances(network);
        let Fate::Arrives { after, again_after } = fate else {
            passage.lost("lost");
            return Err(self.lost_after_loss());
        };
        if chances.request_lost {
            passage.lost("lost");
            return Err(GaveUp::LostAfter(chances.request_delay));
        }
        let (reply_tx, reply_rx) = channel::bounded(1);
        let request = Request { call, args: args.into(), reply_tx, network: Weak::clone(&self.network), passage };
        if let Some(again_after) = again_after {
            // The handler runs twice. The caller sees the first reply only.
            self.carry(request.duplicate(), chances.request_delay + again_after);
        }
        if links::is_instant(self.from, self.to) {
            // 4. The receiver's from the start: no thread for the way.
            hand_over(&server, self.to, chances.request_delay, request);
        } else {
            self.carry(request, chances.request_delay + after);
        }

        // 5. Wait, and look now and then whether that still makes sense.
        let mut next_check = Instant::now() + chances.request_delay + DEADNESS_CHECK;
        // The looks are the network's: the caller has set no timer.
        let Reply { bytes: reply, passage } = loop {
            match record::quietly(|| reply_rx.recv_deadline(next_check)) {
                Ok(reply) => break reply,
                Err(RecvTimeoutError::Timeout) => {}
                // The handler died with its server. That shows at the next look,
                // as it would if the handler were still at it.
                Err(RecvTimeoutError::Disconnected) => record::quietly(|| thread::sleep_until(next_check)),
            }
            next_check += DEADNESS_CHECK;
            if !network.still_serves(&server) || !self.is_joined() {
                return lost;
            }
        };
        let still_serves = network.still_serves(&server);
        if !still_serves || !links::is_up(self.from, self.to) {
            passage.lost(if still_serves { "cut" } else { "crashed" });
            return lost;
        }
        if !links::is_up(self.to, self.from) {
            // Cut on the way back only, which the course's network never is. The
            // caller can't tell it from any other cut.
            passage.lost("cut");
            return Err(self.lost_after_cut(network));
        }

        // 6. and 7. The way back.
        if chances.reply_lost {
            passage.lost("lost");
            return lost;
        }
        let Fate::Arrives { after, .. } = links::send(self.to, self.from) else {
            passage.lost("lost");
            return Err(self.lost_after_loss());
        };
        let delay = chances.reply_delay + after;
        if !delay.is_zero() {
            links::travel(delay);
        }
        if !links::is_instant(self.to, self.from) {
            links::wait_until_released(self.to, self.from);
        }

        // 8. Counted as it arrives.
        let event = passage.reply_arrives(reply.as_ref().map_or(0, Vec::len));
        let reply = reply.ok_or(GaveUp::Refused)?;
        network.traffic.count_bytes(reply.len());
        Ok((event, reply))
    }

    /// A call between the two could come through both ways.
    fn is_joined(&self) -> bool {
        links::is_up(self.from, self.to) && links::is_up(self.to, self.from)
    }

    /// What a caller learns of a cut link or a dead server: that it took long.
    fn lost_after_cut(&self, network: &Shared) -> GaveUp {
        let long = network.long_delays.load(Ordering::Relaxed);
        let wait_ms = self.stream().below(if long { CUT_LONG_MS } else { CUT_MS });
        GaveUp::LostAfter(Duration::from_millis(wait_ms))
    }

    /// What a caller learns of a message that a link has lost. The course's
    /// links lose nothing, so this time is ours; were it none, a caller that
    /// asks again at once would flood the network.
    fn lost_after_loss(&self) -> GaveUp {
        GaveUp::LostAfter(Duration::from_millis(self.stream().below(LOSS_MS)))
    }

    /// Sends a request on a way that takes time. It is part of the network now:
    /// its sender may crash, its receiver may restart before it arrives.
    fn carry(&self, request: Request, travel: Duration) {
        let (network, from, to) = (Weak::clone(&self.network), self.from, self.to);
        thread::spawn_off_node("message", move || {
            links::travel(travel);
            links::wait_until_released(from, to);
            let server = network.upgrade().and_then(|network| network.server(to));
            if let Some(server) = server.filter(|server| server.is_alive()) {
                hand_over(&server, to, Duration::ZERO, request);
            }
        });
    }

    /// The stream of the next call between the two nodes that needs one.
    fn stream(&self) -> Stream {
        let index = self.drawn.fetch_add(1, Ordering::Relaxed);
        let owner = (u64::from(self.from.id().0) << 32) | u64::from(self.to.id().0);
        Stream::new(labsim::seed().unwrap_or_default(), "call", owner, index)
    }

    fn draw_chances(&self, network: &Shared) -> Chances {
        let reliable = network.reliable.load(Ordering::Relaxed);
        let reordering = network.long_reordering.load(Ordering::Relaxed);
        let mut chances = Chances::default();
        if reliable && !reordering {
            return chances;
        }
        let mut draws = self.stream();
        if !reliable {
            chances.request_delay = Duration::from_millis(draws.below(REQUEST_DELAY_MS));
            chances.request_lost = draws.chance(LOSS);
            chances.reply_lost = draws.chance(LOSS);
        }
        if reordering && draws.chance(REORDER) {
            // A bound that is drawn itself: short delays are the likelier ones.
            let bound = 1 + draws.below(REORDER_MS);
            chances.reply_delay = Duration::from_millis(REORDER_MS_MIN + draws.below(bound));
        }
        chances
    }
}

/// What everybody knows of a call.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) caller: Node,
    pub(crate) server: Node,
    pub(crate) method: &'static str,
}

impl Call {
    /// Shows one of its messages to the network's observers.
    fn show(self, network: &Shared, event: u64, moment: Moment, value: &dyn Message) {
        let Self { number, caller, server, method } = self;
        network.observers.show(&Passing { call: number, caller, server, method, moment, event, value });
    }
}

/// What a request brings to the serving node.
struct Request {
    call: Call,
    /// Weak, as everywhere.
    network: Weak<Shared>,
    args: Arc<[u8]>,
    reply_tx: Sender<Reply>,
    passage: Passage,
}

impl Request {
    /// A second copy of it.
    fn duplicate(&self) -> Self {
        let Self { call, network, args, reply_tx, passage } = self;
        let (network, args, reply_tx) = (Weak::clone(network), Arc::clone(args), reply_tx.clone());
        Self { call: *call, network, args, reply_tx, passage: passage.duplicate() }
    }
}

/// What comes back of it.
struct Reply {
    /// Nothing, if there is no such method.
    bytes: Option<Vec<u8>>,
    passage: Passage,
}

/// Runs the request's handler on a new thread of the serving node.
fn hand_over(server: &Arc<Server>, node: Node, delay: Duration, request: Request) {
    let server = Arc::clone(server);
    node.spawn_after(delay, request.call.method, move || {
        let Request { call, network, args, reply_tx, passage } = request;
        passage.request_arrives(args.len());
        let bytes = server.service.handler(call.method).map(|handler| {
            server.requests.fetch_add(1, Ordering::Relaxed);
            handler(&args, &|moment, value, bytes| {
                if moment == Moment::ReplyLeaves {
                    passage.reply_leaves(Some(bytes));
                }
                if let Some(network) = network.upgrade() {
                    call.show(&network, passage.event(), moment, value);
                }
            })
        });
        if bytes.is_none() {
            passage.reply_leaves(None);
        }
        // The caller may be gone, or have the reply of a duplicate already.
        let _ = reply_tx.try_send(Reply { bytes, passage });
    });
}
