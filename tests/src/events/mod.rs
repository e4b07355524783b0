//! The record of a run, as far as it is about Raft.
//!
//! labsim and labrpc write down what threads, machines and messages do. The recorder
//! here adds what the messages say, and how each server's state has changed since its
//! last view. So whoever reads the events in order can have every server's state at any
//! moment ([`Fold`]), and follow each change back to what it came from.
//!
//! | file | is |
//! |---|---|
//! | `recorder.rs` | views and messages into events |
//! | `fold.rs` | events into states |
//! | `words.rs` | an event as a line to read |
//! | `story.rs` | what led to a failure, and how things stood then |
//! | `ndjson.rs` | the whole record as lines of JSON |
//! | `logs.rs` | the whole record as lines that other tools read |
//!
//! A message of Raft's has its fields; any other has `says`, its words as `Debug` has them.
//! Kinds besides those of [`labsim::record`] and of labrpc's messages:
//!
//! | kind | fields | when |
//! |---|---|---|
//! | `boot` | all of a server's state | it shows itself for the first time in a life |
//! | `state` | the same | now and then, so that a fold can begin in the middle |
//! | `term`, `role`, `vote` | `term`, `role`, `candidate` | it has changed |
//! | `truncate` | `from`, `to` | entries are gone |
//! | `append` | `from`, `terms`, `digests` | entries are new |
//! | `snapshot` | `index`, `term` | its snapshot goes up to there now |
//! | `commit`, `applied` | `index` | it has risen |
//! | `progress` | `peers`, `next`, `matched` | a leader knows something else |
//! | `saved` | `index` | its disk may have its log up to there, as far as can be seen |
//! | `deadline` | `due_us` | then it stands, unless it hears of a leader |
//! | `apply` | `index`, `command` | its service is told to execute a command |
//! | `installed` | `index` | its service has taken a snapshot over |
//! | `call`, `return` | `server`, `command`; `index`, `term` | a client offers a command; it was taken, or not |
//! | `invoke`, `result` | `client`, `what`; `invoke`, `outcome` | a client of the service makes a call; it has its answer |
//! | `check` | `what` | the test has looked, and found nothing wrong |
//! | `violation` | `rule`, `kind`, `message`, `moments_us` | a promise is broken: the run ends |
//!
//! Boundary: reads and writes events. Judges nothing.

mod fold;
mod logs;
mod ndjson;
mod recorder;
mod story;
mod words;

pub use self::fold::{Fold, Life};
pub use self::logs::{LogFormat, write_log};
pub use self::ndjson::{Header, VERSION, write_ndjson};
pub use self::recorder::{
    Recorder, amend, applies, calls, checks, installs, invokes, results, returns, short_digest, violation,
};
pub use self::story::{Story, why};
pub use self::words::words;
