//! Threads that wait for answers, so that the actor need not.
//!
//! A call may take seconds. Whoever is idle takes the next one; if nobody is, one
//! more is hired. So there are as many as calls were ever on their way at once.
//!
//! Boundary: carries messages. Does not know what they mean.

use std::sync::Arc;

use labrpc::ClientEnd;
use labsim::channel::{self, Receiver, Sender};
use labsim::thread;

use crate::actor::Event;
use crate::message::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, InstallSnapshotReply, RequestVoteArgs,
    RequestVoteReply, ServerId,
};
use crate::office::Sent;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Call {
    Vote(RequestVoteArgs),
    Append(AppendEntriesArgs, Sent),
    Install(InstallSnapshotArgs, Sent),
}

/// What came of it: nothing, if the call was lost.
#[derive(Debug)]
pub(crate) enum Answer {
    Vote(RequestVoteReply),
    Append(Sent, Option<AppendEntriesReply>),
    Install(Sent, Option<InstallSnapshotReply>),
    /// A lost question: it is asked again anyhow.
    None,
}

/// All of them, as the actor knows them.
#[derive(Debug)]
pub(crate) struct Callers {
    ends: Arc<[ClientEnd]>,
    events: Sender<Event>,
    calls_tx: Sender<(ServerId, Call)>,
    calls_rx: Receiver<(ServerId, Call)>,
    hired: usize,
    idle: usize,
}

impl Callers {
    pub(crate) fn new(ends: Vec<ClientEnd>, events: Sender<Event>) -> Self {
        let (calls_tx, calls_rx) = channel::unbounded();
        Self { ends: ends.into(), events, calls_tx, calls_rx, hired: 0, idle: 0 }
    }

    /// Has a call made. Its answer comes as an event.
    pub(crate) fn make(&mut self, to: ServerId, call: Call) {
        if self.idle > 0 {
            self.idle -= 1;
        } else {
            self.hired += 1;
            let (ends, calls, events) = (Arc::clone(&self.ends), self.calls_rx.clone(), self.events.clone());
            thread::spawn(format!("caller {}", self.hired), move || {
                for (to, call) in calls {
                    let answer = carry(&ends[to.0 as usize], call);
                    if events.send(Event::Answered(to, answer)).is_err() {
                        return;
                    }
                }
            });
        }
        self.calls_tx.send((to, call)).expect("the actor has the other end, too");
    }

    /// One of them has come back.
    pub(crate) fn note_idle(&mut self) {
        self.idle += 1;
    }
}

fn carry(end: &ClientEnd, call: Call) -> Answer {
    match call {
        Call::Vote(args) => end.call("RequestVote", &args).map_or(Answer::None, Answer::Vote),
        Call::Append(args, sent) => Answer::Append(sent, end.call("AppendEntries", &args).ok()),
        Call::Install(args, sent) => Answer::Install(sent, end.call("InstallSnapshot", &args).ok()),
    }
}
