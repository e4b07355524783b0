//! A linearizable key-value service on Raft: parts 3A and 3B of the labs.
//!
//! The service is a replicated state machine. Each server gives its clients'
//! commands to its [`raft`] peer, applies what comes out of the log in the log's
//! order, and answers a client when the client's own command has come out. That
//! the answers are those of one single store, each command executed exactly
//! once, is what the tests of these parts hold it to.
//!
//! Nothing of it is written yet.
//!
//! Boundary: uses raft's public face, labrpc and labsim. Knows no test.
