//! What holds of the project as a whole: the arrows between its crates, and the
//! `lab` command as a user meets it.
//!
//! Boundary: the project from outside; each crate tests its own inside.

mod arrows;
mod bank;
mod citations;
mod command;
mod history;
mod muted_leader;
mod own;
mod pages;
mod read_after_write;
mod record;
mod starter;
