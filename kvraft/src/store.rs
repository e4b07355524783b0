//! The store: keys with their values, and who has written what.
//!
//! Deterministic: the same commands in the same order make the same store and the same
//! answers, on every server and in every life.
//!
//! Boundary: one machine. Knows no log and no network.

// BEGIN 3A
use std::collections::BTreeMap;

use raft::{Bytes, Index};
use serde::{Deserialize, Serialize};

use crate::message::{Command, SessionId, Write, WriteOutcome};
use crate::replica::Machine;
use crate::sessions::{Freshness, Sessions};

/// What a command comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A session is open.
    Opened(SessionId),
    /// A key's value; empty if it was never written.
    Value(String),
    /// What came of a write.
    Written(WriteOutcome),
}

/// Keys with their values, and the sessions of those who write them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Store {
    values: BTreeMap<String, String>,
    sessions: Sessions,
}

impl Store {
    /// Nothing, for at most so many sessions.
    pub fn new(sessions_max: usize) -> Self {
        Self { values: BTreeMap::new(), sessions: Sessions::new(sessions_max) }
    }

    /// A key's value; empty if it was never written.
    pub fn get(&self, key: &str) -> String {
        self.values.get(key).cloned().unwrap_or_default()
    }

    fn write(&mut self, key: String, write: Write) {
        match write {
            Write::Put(value) => {
                self.values.insert(key, value);
            }
            Write::Append(value) => self.values.entry(key).or_default().push_str(&value),
        }
    }
}

impl Machine for Store {
    type Command = Command;
    type Answer = Answer;

    fn apply(&mut self, index: Index, command: Command) -> Answer {
        match command {
            Command::OpenSession => Answer::Opened(self.sessions.open(index)),
            Command::Get { key } => Answer::Value(self.get(&key)),
            Command::Write(request) => {
                let freshness = self.sessions.use_number(request.session, request.number, index);
                if freshness == Freshness::New {
                    self.write(request.key, request.write);
                }
                Answer::Written(match freshness {
                    Freshness::New | Freshness::Seen => WriteOutcome::Done,
                    Freshness::Expired => WriteOutcome::SessionExpired,
                })
            }
        }
    }

    fn snapshot(&self) -> Bytes {
        labrpc::encode(self).into()
    }

    fn restore(&mut self, snapshot: &[u8]) {
        *self = labrpc::decode(snapshot).expect("a snapshot is what a store has written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    fn write(session: SessionId, number: u64, write: Write) -> Command {
        Command::Write(Request { session, number, key: "k".to_owned(), write })
    }

    /// A store with an open session, and `k` = "ab".
    fn store() -> (Store, SessionId) {
        let mut store = Store::new(2);
        let Answer::Opened(session) = store.apply(1, Command::OpenSession) else { panic!("it opens") };
        store.apply(2, write(session, 1, Write::Put("a".to_owned())));
        store.apply(3, write(session, 2, Write::Append("b".to_owned())));
        (store, session)
    }

    #[test]
    fn a_command_is_executed_once_3a() {
        let (mut store, session) = store();
        assert_eq!(store.get("k"), "ab");
        for index in 4..6 {
            let answer = store.apply(index, write(session, 2, Write::Append("b".to_owned())));
            assert_eq!(answer, Answer::Written(WriteOutcome::Done));
        }
        assert_eq!(store.apply(6, Command::Get { key: "k".to_owned() }), Answer::Value("ab".to_owned()));
        assert_eq!(store.apply(7, Command::Get { key: "other".to_owned() }), Answer::Value(String::new()));
    }

    #[test]
    fn a_snapshot_knows_what_was_executed_3b() {
        let (mut store, session) = store();
        let mut other = Store::new(2);
        other.restore(&store.snapshot());
        assert_eq!(other, store);
        for machine in [&mut store, &mut other] {
            machine.apply(4, write(session, 2, Write::Append("b".to_owned())));
            assert_eq!(machine.get("k"), "ab");
        }
    }

    #[test]
    fn an_expired_session_changes_nothing_3a() {
        let (mut store, session) = store();
        store.apply(4, Command::OpenSession);
        store.apply(5, Command::OpenSession);
        let answer = store.apply(6, write(session, 3, Write::Put("c".to_owned())));
        assert_eq!((answer, store.get("k")), (Answer::Written(WriteOutcome::SessionExpired), "ab".to_owned()));
    }
}
// END 3A
