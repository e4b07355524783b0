//! What holds of the project as a whole: the arrows between its crates, and the
//! `lab` command as a user meets it.

mod arrows;
mod command;
