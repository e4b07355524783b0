//! What a broken promise is: its kind, its id, and its words.
//!
//! Comments in the code, reports and JSON name promises and rules by these ids
//! and no others. Figure 2 numbers only its receivers' rules; its bullets for
//! servers are counted here from the top.
//!
//! | id | says |
//! |---|---|
//! | `AppendEntries.1` to `.5` | the receiver's rules: a term that is over; no entry at prev; a conflict goes, with all after it; new ones are appended; commit up to the last new one |
//! | `RequestVote.1`, `.2` | the receiver's rules: a term that is over; one vote, for an up-to-date log |
//! | `InstallSnapshot.1` to `.8` | Figure 13's rules: a term that is over; chunks; an older one is dropped; what follows it stays, or nothing does; the service is reset |
//! | `AllServers.1`, `.2` | what is committed is applied; a higher term makes a follower |
//! | `Followers.1`, `.2` | answer; stand if neither a leader was heard nor a vote given for an election timeout |
//! | `Candidates.1` to `.4` | stand: term, own vote, timer, requests; a majority leads; a leader of the term is followed; the timer starts anew |
//! | `Leaders.1` to `.4` | heartbeats; commands are appended; entries are sent from next index; commit by majority in the own term |
//! | `Persistent` | term, vote and log are on disk before anyone can rely on them |
//! | `StaleReply` | an answer counts in the term, role and question it was asked in |
//! | `Figure3.ElectionSafety` | at most one leader in a term; the other four properties of Figure 3 by their names |
//! | `OneVotePerTerm` | one vote for a server and term, restarts included |
//! | `LockHeld`, `Deadlock` | a lock held where the thread waits for others; nobody can run |
//! | `Stuck`, `BusyLoop` | a thread waits for what will not come; threads run and get nowhere |
//! | `OutsideWorld` | std or the machine where labsim belongs; the process was ended from inside |
//! | `Monotone` | terms never go back, restarts included; commit and applied never within a life |
//! | `ApplyOrder`, `SnapshotMatches` | what is applied, in order and once a life; a snapshot equals the log that it replaces |
//! | `NoLeader`, `NoProgress` | nobody is elected, or nothing is committed, though a majority is up and connected |
//! | `Economy` | too many calls or bytes, too long a log |
//!
//! Boundary: names. Who finds a breach is in `watch`, `harness` and labsim.

use std::time::Duration;

use labsim::{Failure, FailureKind};
use serde::{Deserialize, Serialize};

/// The sort of thing that went wrong. Each has its name in JSON and its exit
/// code; of several, a command ends with the lowest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// A promise of the paper was broken.
    Safety,
    /// Clients saw what no single store could have shown them.
    NotLinearizable,
    /// A message promised what was not on disk.
    PromisedBeforePersisted,
    /// A thread panicked, or broke a rule of the labs about threads.
    Panic,
    /// No thread could ever run again.
    Deadlock,
    /// One thread was blocked for too long.
    Stuck,
    /// What had to happen did not, in the time that it had.
    Liveness,
    /// Too many steps or threads, too much memory or output.
    Limit,
    /// One seed gave two different runs.
    NotDeterministic,
    /// The fault is the tests' own.
    Harness,
}

impl Kind {
    /// All of them, in the order of their exit codes.
    pub const ALL: [Kind; 10] = [
        Kind::Safety,
        Kind::NotLinearizable,
        Kind::PromisedBeforePersisted,
        Kind::Panic,
        Kind::Deadlock,
        Kind::Stuck,
        Kind::Liveness,
        Kind::Limit,
        Kind::NotDeterministic,
        Kind::Harness,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::NotLinearizable => "not_linearizable",
            Self::PromisedBeforePersisted => "promised_before_persisted",
            Self::Panic => "panic",
            Self::Deadlock => "deadlock",
            Self::Stuck => "stuck",
            Self::Liveness => "liveness",
            Self::Limit => "limit",
            Self::NotDeterministic => "not_deterministic",
            Self::Harness => "harness",
        }
    }

    /// The exit code of a command that found it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Safety => 10,
            Self::NotLinearizable => 11,
            Self::PromisedBeforePersisted => 12,
            Self::Panic => 13,
            Self::Deadlock => 14,
            Self::Stuck => 15,
            Self::Liveness => 16,
            Self::Limit => 17,
            Self::NotDeterministic => 18,
            Self::Harness => 70,
        }
    }
}

/// The rules of Figures 2 and 13, and two that the figures take for granted. raft
/// cites each of them at the line that obeys it.
pub const RULES: [&str; 29] = [
    "AppendEntries.1",
    "AppendEntries.2",
    "AppendEntries.3",
    "AppendEntries.4",
    "AppendEntries.5",
    "RequestVote.1",
    "RequestVote.2",
    "InstallSnapshot.1",
    "InstallSnapshot.2",
    "InstallSnapshot.3",
    "InstallSnapshot.4",
    "InstallSnapshot.5",
    "InstallSnapshot.6",
    "InstallSnapshot.7",
    "InstallSnapshot.8",
    "AllServers.1",
    "AllServers.2",
    "Followers.1",
    "Followers.2",
    "Candidates.1",
    "Candidates.2",
    "Candidates.3",
    "Candidates.4",
    "Leaders.1",
    "Leaders.2",
    "Leaders.3",
    "Leaders.4",
    "Persistent",
    "StaleReply",
];

/// Promises besides: the five of Figure 3, and those that follow.
pub const PROMISES: [&str; 20] = [
    "Figure3.ElectionSafety",
    "Figure3.LeaderAppendOnly",
    "Figure3.LogMatching",
    "Figure3.LeaderCompleteness",
    "Figure3.StateMachineSafety",
    "OneVotePerTerm",
    "Monotone",
    "PersistedBeforePromised",
    "ApplyOrder",
    "SnapshotMatches",
    "LockHeld",
    "Deadlock",
    "Stuck",
    "BusyLoop",
    "OutsideWorld",
    "NoLeader",
    "NoProgress",
    "Economy",
    "Linearizable",
    "ExactlyOnce",
];

/// Where the paper says it: sections of the extended version. None for what is not its
/// concern.
pub fn section(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "AppendEntries.1" | "RequestVote.1" | "InstallSnapshot.1" | "AllServers.2" | "Monotone" => "Figure 2, sec. 5.1",
        "Followers.1"
        | "Followers.2"
        | "Candidates.1"
        | "Candidates.2"
        | "Candidates.3"
        | "Candidates.4"
        | "Leaders.1"
        | "OneVotePerTerm"
        | "Figure3.ElectionSafety" => "Figure 2, sec. 5.2",
        "AppendEntries.2"
        | "AppendEntries.3"
        | "AppendEntries.4"
        | "AppendEntries.5"
        | "Leaders.2"
        | "Leaders.3"
        | "AllServers.1"
        | "ApplyOrder"
        | "Figure3.LeaderAppendOnly"
        | "Figure3.LogMatching" => "Figure 2, sec. 5.3",
        "RequestVote.2" => "Figure 2, sec. 5.2, sec. 5.4.1",
        "Leaders.4" => "Figure 2, sec. 5.4.2, Figure 8",
        "Figure3.LeaderCompleteness" | "Figure3.StateMachineSafety" => "Figure 3, sec. 5.4.3",
        "Persistent" | "PersistedBeforePromised" => "Figure 2, persistent state",
        "StaleReply" => "Figure 2, taken for granted; sec. 5.1",
        "SnapshotMatches" => "sec. 7",
        "Linearizable" | "ExactlyOnce" => "sec. 8",
        _ if rule.starts_with("InstallSnapshot.") => "Figure 13, sec. 7",
        _ => return None,
    })
}

/// What a promise or a rule says, in a sentence of ours. Empty for a word that is no id.
pub fn says(rule: &str) -> &'static str {
    match rule {
        "AppendEntries.1" => "an AppendEntries of a term that is over is refused",
        "AppendEntries.2" => "it is refused, and changes nothing, if the log lacks the entry at prev",
        "AppendEntries.3" => "an entry that conflicts with a new one goes, with all after it, and nothing else goes",
        "AppendEntries.4" => "new entries that are not in the log yet are appended",
        "AppendEntries.5" => {
            "a follower commits up to the leader's commit index, and no further than the last new entry"
        }
        "RequestVote.1" => {
            "a candidate of a term that is over gets no vote, and a vote is of the term that it was asked for in"
        }
        "RequestVote.2" => {
            "a server votes once a term, and only for a log at least as up to date: later last term, or same and longer"
        }
        "InstallSnapshot.5" => "a snapshot of less than what is there already is dropped",
        "InstallSnapshot.6" => "entries that follow the snapshot stay if the log has the entry that it ends with",
        "InstallSnapshot.7" => "if the log has another one there, then nothing that followed it stays",
        "AllServers.1" => "what is committed is applied, in order, and nothing else",
        "AllServers.2" => "whoever hears of a higher term takes it on, and is a follower in it",
        "Followers.2" => "a server stands when it has heard of no leader and given no vote for an election timeout",
        "Candidates.2" => "a candidate leads with the votes of a majority of all servers, its own included",
        "Leaders.3" => "match index is what a follower has confirmed in this term; it begins at 0",
        "Leaders.4" => "a leader commits by counting only up to an entry of its own term that a majority has stored",
        "Persistent" => "term, vote and log, and the snapshot with it, are on disk, and are read again",
        "StaleReply" => "an answer counts only in the term, role and question that it was asked in",
        "Figure3.ElectionSafety" => "a term has at most one leader",
        "Figure3.LeaderAppendOnly" => "a leader never removes or replaces entries of its own log",
        "Figure3.LogMatching" => "logs with an entry of one index and term are the same up to there",
        "Figure3.LeaderCompleteness" => "what is committed is in the log of every leader of a later term",
        "Figure3.StateMachineSafety" => "no two servers apply different commands at one index",
        "OneVotePerTerm" => "a vote that is given stays given, restarts included",
        "Monotone" => "terms, commit index and applied index never go back",
        "PersistedBeforePromised" => "what a message promises is on disk before it leaves",
        "ApplyOrder" => "a service is told each index once a life, in order",
        "SnapshotMatches" => "a snapshot is what the commands up to its index come to",
        "Linearizable" => "each call takes effect at one moment between its begin and its end, on one store",
        "ExactlyOnce" => "a command that clients call once is executed once, however often it is sent",
        _ => "",
    }
}

/// What a run took of something that has a limit ([`PROMISES`]: `Economy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spent {
    /// The most that it took.
    pub most: u64,
    /// The most that is allowed.
    pub allowed: u64,
}

impl Spent {
    /// Takes the greater of two runs.
    pub fn merge(&mut self, other: Self) {
        self.most = self.most.max(other.most);
    }
}

/// A promise that was broken, by its id where it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The sort of thing it is.
    pub kind: Kind,
    /// The id of the promise or rule, such as `Figure3.ElectionSafety`.
    pub rule: Option<&'static str>,
    /// The facts that contradict each other.
    pub message: String,
    /// When those facts came about, to the nanosecond: what is in the run's record at
    /// these moments is the evidence. May be empty.
    pub moments: Vec<Duration>,
}

impl Broken {
    /// A breach of the promise `rule`.
    ///
    /// # Panics
    ///
    /// If that is no id of [`RULES`] or [`PROMISES`].
    pub fn new(kind: Kind, rule: &'static str, message: impl Into<String>) -> Self {
        assert!(RULES.contains(&rule) || PROMISES.contains(&rule), "{rule} is no id of a rule or a promise");
        Self { rule: Some(rule), ..Self::unnamed(kind, message) }
    }

    /// What is wrong, and has no id.
    pub fn unnamed(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, rule: None, message: message.into(), moments: Vec::new() }
    }

    /// The same, with the moments at which its facts came about.
    #[must_use]
    pub fn since(self, moments: impl IntoIterator<Item = Duration>) -> Self {
        Self { moments: moments.into_iter().collect(), ..self }
    }

    /// What labsim or a watcher found, in the words of the labs.
    pub fn from_failure(failure: &Failure) -> Self {
        if let Some(broken) = failure.payload.as_ref().and_then(|payload| payload.downcast_ref::<Broken>()) {
            return broken.clone();
        }
        let (kind, rule) = match failure.kind {
            FailureKind::Panic => (Kind::Panic, None),
            FailureKind::Deadlock => (Kind::Deadlock, Some("Deadlock")),
            FailureKind::LockHeld => (Kind::Panic, Some("LockHeld")),
            FailureKind::OutsideWorld => (Kind::Panic, Some("OutsideWorld")),
            FailureKind::Stuck => (Kind::Stuck, Some("Stuck")),
            FailureKind::BusyLoop => (Kind::Stuck, Some("BusyLoop")),
            FailureKind::TimeLimit => (Kind::Liveness, None),
            FailureKind::Limit | FailureKind::CpuLimit | FailureKind::StackOverflow | FailureKind::Memory => {
                (Kind::Limit, None)
            }
            FailureKind::Raised => (Kind::Harness, None),
        };
        Self { rule, ..Self::unnamed(kind, failure.message.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_rise_and_names_differ() {
        for pair in Kind::ALL.windows(2) {
            assert!(pair[0].exit_code() < pair[1].exit_code(), "{pair:?}");
            assert!(pair[0] < pair[1] && pair[0].name() != pair[1].name(), "{pair:?}");
        }
    }
}
