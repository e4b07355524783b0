//! What the checker is tested against: a slow one, and histories told by hand.
//!
//! Boundary: tests.

mod brute;
mod files;
mod limits;
mod random;
mod stories;
