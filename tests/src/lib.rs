//! The lab suites: what grades a Raft.
//!
//! Inside, the arrows go one way, as between the crates. Each module knows those
//! above it in this table and none below.
//!
//! | module | is |
//! |---|---|
//! | [`linear`] | whether clients saw one store: a history and its verdict |
//! | [`check`] | what a broken promise is: its kind, its id, its words |
//! | [`events`] | the record of a run: what happened to whom, and why |
//! | [`watch`] | who looks at every step of a run, and stops it at the first wrong one |
//! | [`harness`] | a cluster under test: connect, crash, and look for leaders |
//! | [`adversary`] | runs that look for the bug: shapes, triggers, and a heal test |
//! | [`suites`] | the tests, and the registry that lists them |
//! | [`run`] | a test under a seed, and many of them at once, in worker processes |
//! | [`report`] | results as text and JSON |
// BEGIN COURSE
//! | [`bank`] | bugs that are put into a copy of the solution, and what finds them |
//! | [`starter`] | a student's workspace, made from this one |
// END COURSE
//! | [`cli`] | the `lab` command |
//!
//! `cargo test 2a` and `cargo lab run 2a` run the same bodies from the same
//! registry: the first one test by test, for editors and debuggers, with few
//! seeds, the second many seeds at a time.
//!
//! Boundary: sees of raft what its public face shows, and what it publishes.

pub mod adversary;
// BEGIN COURSE
pub mod bank;
// END COURSE
pub mod check;
pub mod cli;
pub mod events;
pub mod harness;
pub mod linear;
pub mod report;
pub mod run;
// BEGIN COURSE
pub mod starter;
// END COURSE
pub mod suites;
pub mod watch;

// A student's HashMap, `rand::rng()`, and std clocks obey the seed too.
labsim::interpose!();
