//! A client: finds the leader, asks again until it knows, and numbers its calls so that
//! nothing is executed twice.
//!
//! Boundary: one call at a time. Knows messages, and nothing of servers.

use std::fmt;

// BEGIN 3A
// STUB use labrpc::ClientEnd;
// STUB use labsim::time::Duration;
use labrpc::{CallError, ClientEnd};
use labsim::thread;
use labsim::time::{Duration, Instant};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Refusal, Request, SessionId, Write, WriteOutcome};
// END 3A

// BEGIN 3A
/// How long to wait when every server was asked and none leads: an election takes a
/// few hundred milliseconds.
const NO_LEADER_PAUSE: Duration = Duration::from_millis(30);
// END 3A

/// Why a call was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The clerk's patience was over.
    OutOfPatience,
    /// The service has forgotten this clerk: too many others were there since its last
    /// call. The next call opens another session.
    SessionExpired,
}

/// A call without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClerkError {
    /// It has not been executed, and never will be. To call again is safe, on a network
    /// that does not double requests.
    NotExecuted(Why),
    /// It has been executed, or will be, or never: once at most. To call again may do it
    /// twice.
    MaybeExecuted(Why),
}

impl fmt::Display for ClerkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotExecuted(why) | Self::MaybeExecuted(why)) = self;
        f.write_str(match why {
            Why::OutOfPatience => "no server has answered in time; ",
            Why::SessionExpired => "the service has forgotten this session; ",
        })?;
        f.write_str(match self {
            Self::NotExecuted(_) => "it was not executed, so call again",
            Self::MaybeExecuted(_) => "it may have been executed, so read before you call again",
        })
    }
}

impl std::error::Error for ClerkError {}

/// One client of the service.
///
/// ```
/// # use kvraft::{Clerk, KvServer, Settings};
/// # use labrpc::Network;
/// # use labsim::node::Node;
/// # use raft::ServerId;
/// # let outcome = labsim::simulate(labsim::Config::seed(1), || {
/// # let network = Network::new();
/// # let node = Node::new("S0");
/// # let server = node.spawn("start", move || KvServer::new(vec![network.end(node, node)], ServerId(0), node.disk(), Settings::default())).join().unwrap();
/// # let network = Network::new();
/// # network.serve(node, server.service());
/// # let client = Node::new("client");
/// # let servers = vec![network.end(client, node)];
/// # client.spawn("client", move || {
/// let mut clerk = Clerk::new(servers);
/// clerk.put("x", "1")?;
/// clerk.append("x", "2")?;
/// assert_eq!(clerk.get("x")?, "12");
/// # Ok::<(), kvraft::ClerkError>(())
/// # }).join().unwrap().unwrap();
/// # });
/// # outcome.result.unwrap();
/// ```
pub struct Clerk {
    servers: Vec<ClientEnd>,
    // BEGIN 3A
    /// Who led when last asked: an index into `servers`.
    leader: usize,
    // END 3A
    /// How long a call may take. None: as long as it takes.
    patience: Option<Duration>,
    // BEGIN 3A
    session: Option<SessionId>,
    /// The last call of the session.
    number: u64,
    // END 3A
}

// BEGIN 3A
/// What came of asking around.
struct Asked<R> {
    /// None if the clerk's patience was over first.
    answer: Option<R>,
    /// A try before the answer may have been executed, or may yet be.
    is_in_doubt: bool,
}
// END 3A

impl Clerk {
    /// A clerk of the service on these servers, in any order, with all the time in the
    /// world. It must be used by threads of the node that the ends belong to.
    ///
    /// # Panics
    ///
    /// If there are no servers.
    pub fn new(servers: Vec<ClientEnd>) -> Self {
        assert!(!servers.is_empty(), "there is nobody to ask");
        // BEGIN 3A
        // STUB Self { servers, patience: None }
        Self { servers, leader: 0, patience: None, session: None, number: 0 }
        // END 3A
    }

    /// The same, which gives a call up when it has taken so long. A try that is under way
    /// then ends first: that may be another 7 seconds on a bad network.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// A key's value; empty if it was never written.
    ///
    /// # Errors
    ///
    /// [`ClerkError::NotExecuted`] only, and only with a patience: a read changes nothing.
    pub fn get(&mut self, key: impl Into<String>) -> Result<String, ClerkError> {
        // BEGIN 3A
        // STUB let _ = key.into();
        // STUB panic!("3A: not implemented yet: kvraft/README.md#3a")
        let asked = self.ask("Get", &key.into(), self.deadline());
        asked.answer.ok_or(ClerkError::NotExecuted(Why::OutOfPatience))
        // END 3A
    }

    /// Gives a key a value.
    ///
    /// # Errors
    ///
    /// See [`ClerkError`]. Without a patience, only if the session has expired.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<String>) -> Result<(), ClerkError> {
        // BEGIN 3A
        // STUB let _ = (key.into(), value.into());
        // STUB panic!("3A: not implemented yet: kvraft/README.md#3a")
        self.write(key.into(), Write::Put(value.into()))
        // END 3A
    }

    /// Adds to the end of a key's value.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn append(&mut self, key: impl Into<String>, value: impl Into<String>) -> Result<(), ClerkError> {
        // BEGIN 3A
        // STUB let _ = (key.into(), value.into());
        // STUB panic!("3A: not implemented yet: kvraft/README.md#3a")
        self.write(key.into(), Write::Append(value.into()))
        // END 3A
    }

    // BEGIN 3A
    fn write(&mut self, key: String, write: Write) -> Result<(), ClerkError> {
        let deadline = self.deadline();
        let session = match self.session {
            Some(session) => session,
            // It does no harm if this is executed twice, and another session is left.
            None => self.ask("OpenSession", &(), deadline).answer.ok_or(ClerkError::NotExecuted(Why::OutOfPatience))?,
        };
        self.session = Some(session);
        self.number += 1;
        let request = Request { session, number: self.number, key, write };
        let asked = self.ask("Write", &request, deadline);
        let why = match asked.answer {
            Some(WriteOutcome::Done) => return Ok(()),
            Some(WriteOutcome::SessionExpired) => {
                (self.session, self.number) = (None, 0);
                Why::SessionExpired
            }
            None => Why::OutOfPatience,
        };
        Err(if asked.is_in_doubt { ClerkError::MaybeExecuted(why) } else { ClerkError::NotExecuted(why) })
    }

    fn deadline(&self) -> Option<Instant> {
        self.patience.map(|patience| Instant::now() + patience)
    }

    /// Asks one server after the other, the last known leader first, until one answers.
    fn ask<A, R>(&mut self, method: &'static str, args: &A, deadline: Option<Instant>) -> Asked<R>
    where
        A: Serialize + fmt::Debug + 'static,
        R: DeserializeOwned + fmt::Debug + 'static,
    {
        let mut is_in_doubt = false;
        for tries in 1_usize.. {
            match self.servers[self.leader].call::<A, Result<R, Refusal>>(method, args) {
                Ok(Ok(answer)) => return Asked { answer: Some(answer), is_in_doubt },
                Ok(Err(refusal)) => is_in_doubt |= !refusal.is_certain(),
                Err(CallError::Lost) => is_in_doubt = true,
                Err(CallError::Refused) => panic!("there is no method {method}: this is another service"),
            }
            self.leader = (self.leader + 1) % self.servers.len();
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            if tries.is_multiple_of(self.servers.len()) {
                thread::sleep(NO_LEADER_PAUSE);
            }
        }
        Asked { answer: None, is_in_doubt }
    }
    // END 3A
}
