//! Clients of the key-value service, and what became of each of their calls.
//!
//! Every client lives on a node of its own, and the network treats it as any other. What
//! it calls and what comes back is written down: that is the history, which must be one
//! that a single store, doing one thing at a time, could have made (Linearizable).
//!
//! Boundary: calls, and their history. What the clients do is in `suites`.

use kvraft::{Clerk, ClerkError};
use labsim::channel::{self, Receiver, RecvTimeoutError};
use labsim::links;
use labsim::node::Node;
use labsim::rand::Stream;
use labsim::time::Duration;
use parking_lot::Mutex;

use super::{Lab, TIME_LIMIT};
use crate::check::{Broken, Kind};
use crate::events;
use crate::linear::{self, BreachKind, Call, Limits, Model, Operation, Outcome, Verdict};

/// How many steps of its search the judge may take for a run: ten times what the longest
/// histories need.
const JUDGE_STEPS: u64 = 20_000_000;

/// How long a client may wait for one answer where a majority of servers is well: some
/// elections, and as many calls that nobody answers.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// So many calls of a client that is not done in time are timed.
const CALLS_TIMED: usize = 20;

/// How often that is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The calls of a run, and who made them.
#[derive(Default)]
pub(super) struct Clients {
    /// In the order in which they were made. A call that has not returned is Unknown.
    history: Mutex<Vec<Operation>>,
    /// Where they live, in the order in which they came.
    nodes: Mutex<Vec<Node>>,
}

/// A client that was told what to do.
pub struct Working<T> {
    number: u64,
    done: Receiver<T>,
}

/// A client at work: a clerk whose calls are written down.
pub struct Client {
    lab: Lab,
    number: u64,
    clerk: Clerk,
    /// Its chances.
    pub draws: Stream,
}

impl Lab {
    /// Lets a new client, which can reach those servers, do `body` on a thread of its own.
    pub fn client<T: Send + 'static>(
        &self,
        servers: &[usize],
        body: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> Working<T> {
        let (node, number) = {
            let mut nodes = self.shared.clients.nodes.lock();
            let number = nodes.len();
            nodes.push(Node::new(format!("C{number}")));
            (nodes[number], number as u64)
        };
        for server in (0..self.count()).filter(|server| !servers.contains(server)) {
            self.join_client(node, server, false);
        }
        let ends = (0..self.count()).map(|server| self.network().end(node, self.node(server))).collect();
        let (lab, draws) = (self.clone(), self.stream());
        let mut client = Client { lab, number, clerk: Clerk::new(ends), draws };
        let (done_tx, done_rx) = channel::bounded(1);
        node.spawn("client", move || {
            let _ = done_tx.send(body(&mut client)); // It may be that nobody waits.
        });
        Working { number, done: done_rx }
    }

    /// As [`client`](Self::client), for a client that can reach all servers and is waited
    /// for.
    pub fn with_client<T: Send + 'static>(&self, body: impl FnOnce(&mut Client) -> T + Send + 'static) -> T {
        let all: Vec<usize> = (0..self.count()).collect();
        self.finish(self.client(&all, body))
    }

    /// From now on every client can reach all servers.
    pub fn connect_clients(&self) {
        let nodes = self.shared.clients.nodes.lock().clone();
        for (node, server) in nodes.into_iter().flat_map(|node| (0..self.count()).map(move |server| (node, server))) {
            self.join_client(node, server, true);
        }
    }

    fn join_client(&self, client: Node, server: usize, up: bool) {
        links::change(client, self.node(server), |link| link.up = up);
        links::change(self.node(server), client, |link| link.up = up);
    }

    /// Waits for a client whose servers are well now. Ends the run if one of its calls
    /// takes long; how long all of them take is for the test to judge.
    pub fn finish<T>(&self, client: Working<T>) -> T {
        let begun = labsim::elapsed();
        loop {
            match client.done.recv_timeout(LOOK_AGAIN) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let message = format!("client {} has ended without a word", client.number);
                    self.fail(Broken::unnamed(Kind::Harness, message));
                }
            }
            if labsim::elapsed() + 2 * LOOK_AGAIN >= TIME_LIMIT {
                let calls = self.last_calls(client.number);
                let since = labsim::elapsed().saturating_sub(ANSWER_TIME);
                let message =
                    format!("the run ends at {} s, and client {} {calls}", TIME_LIMIT.as_secs(), client.number);
                self.fail_waiting("NoProgress", since, &self.connected(), &message)
            }
            let since = self.waits_since(client.number).map(|since| since.max(begun));
            let Some(since) = since.filter(|since| labsim::elapsed() >= *since + ANSWER_TIME) else { continue };
            let message = format!("client {} has waited for an answer for {} s", client.number, ANSWER_TIME.as_secs());
            self.fail_waiting("NoProgress", since, &self.connected(), &message)
        }
    }

    /// When a client has made the call that it waits for.
    fn waits_since(&self, client: u64) -> Option<Duration> {
        let history = self.shared.clients.history.lock();
        let last = history.iter().rev().find(|call| call.client == client)?;
        (last.returned_at == 0).then(|| Duration::from_nanos(last.called_at))
    }

    /// What a client has done so far, and how long that took it lately.
    fn last_calls(&self, client: u64) -> String {
        let history = self.shared.clients.history.lock();
        let is_done = |call: &&Operation| call.client == client && call.returned_at > 0;
        let done: Vec<&Operation> = history.iter().filter(is_done).collect();
        let lately = &done[done.len().saturating_sub(CALLS_TIMED)..];
        let took: u64 = lately.iter().map(|call| call.returned_at - call.called_at).sum();
        match lately.len() as u64 {
            0 => "has had no answer".to_owned(),
            count => format!(
                "is at its call number {}; the last {count} took {:.1} ms each",
                done.len() + 1,
                took as f64 / count as f64 / 1e6
            ),
        }
    }

    /// How many calls have returned.
    pub fn calls_returned(&self) -> usize {
        self.shared.clients.history.lock().iter().filter(|call| call.outcome != Outcome::Unknown).count()
    }

    /// Ends the run unless a single store that does one thing at a time could have
    /// answered all calls so far as they were answered.
    pub fn judge_history(&self) {
        let history = self.shared.clients.history.lock().clone();
        let limits = Limits { steps: Some(JUDGE_STEPS), threads: 1, ..Limits::default() };
        match linear::check(Model::KeyValue, &history, &limits).verdict {
            Verdict::Linearizable => {
                events::checks(|| format!("{} calls are linearizable", history.len()));
            }
            Verdict::Broken(breach) => {
                let rule = if breach.kind == BreachKind::Twice { "ExactlyOnce" } else { "Linearizable" };
                let moments = [Some(breach.first_bad), breach.other].into_iter().flatten();
                let moments = moments.map(|call| Duration::from_nanos(history[call].called_at));
                self.fail(Broken::new(Kind::NotLinearizable, rule, breach.message).since(moments));
            }
            Verdict::Unknown(why) => {
                let message = format!("whether {} calls are linearizable was not decided: {why}", history.len());
                self.fail(Broken::unnamed(Kind::Harness, message));
            }
        }
    }
}

impl Client {
    /// Its number, from 0 on.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The lab that it is in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A key's value.
    pub fn get(&mut self, key: &str) -> String {
        let call = self.calls(Call::Get { key: key.into() });
        let value = self.clerk.get(key);
        let outcome = value.as_ref().map(|value| Outcome::Value(Some(value.as_str().into())));
        self.returns(call, outcome);
        value.unwrap_or_default()
    }

    /// Gives a key a value.
    pub fn put(&mut self, key: &str, value: &str) {
        let call = self.calls(Call::Put { key: key.into(), value: value.into() });
        let done = self.clerk.put(key, value);
        self.returns(call, done.as_ref().map(|()| Outcome::Done));
    }

    /// Adds to a key's value.
    pub fn append(&mut self, key: &str, value: &str) {
        let call = self.calls(Call::Append { key: key.into(), value: value.into() });
        let done = self.clerk.append(key, value);
        self.returns(call, done.as_ref().map(|()| Outcome::Done));
    }

    /// Reads a key, and has the history judged at once if that is not its value: nobody
    /// else writes it, or whoever does came before.
    pub fn expect(&mut self, key: &str, value: &str) {
        let got = self.get(key);
        if got != value {
            self.lab.judge_history(); // It knows who wrote what, and when.
            let message = format!(
                "client {} reads {} from {key}, where {} was written last",
                self.number,
                linear::quoted(&got),
                linear::quoted(value)
            );
            self.lab.fail(Broken::new(Kind::NotLinearizable, "Linearizable", message));
        }
    }

    /// A call begins. Where it stands in the history, and its event.
    fn calls(&self, call: Call) -> (usize, u64) {
        let event = events::invokes(self.number, || call.to_string());
        let called_at = now();
        let operation = Operation { client: self.number, call, called_at, outcome: Outcome::Unknown, returned_at: 0 };
        let mut history = self.lab.shared.clients.history.lock();
        history.push(operation);
        (history.len() - 1, event)
    }

    /// A call is over. A clerk without a patience tries until it has an answer, and that is
    /// what the tests are about: an error ends the run.
    fn returns(&self, (call, event): (usize, u64), outcome: Result<Outcome, &ClerkError>) {
        events::results(event, || match &outcome {
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => error.to_string(),
        });
        let mut history = self.lab.shared.clients.history.lock();
        let operation = &mut history[call];
        let error = match outcome {
            Ok(outcome) => {
                (operation.outcome, operation.returned_at) = (outcome, now());
                return;
            }
            Err(error) => error,
        };
        let message = format!(
            "{} of client {} ends in an error: {error}; its clerk has all the time that it needs, and tries until it is \
             answered",
            operation.call, self.number
        );
        let moment = Duration::from_nanos(operation.called_at);
        drop(history);
        self.lab.fail(Broken::new(Kind::Liveness, "NoProgress", message).since([moment]));
    }
}

fn now() -> u64 {
    u64::try_from(labsim::elapsed().as_nanos()).expect("a run is short")
}
