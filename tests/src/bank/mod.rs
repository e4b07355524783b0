//! The bug bank: mistakes that students make, and what finds them.
//!
//! Suites that are always green prove nothing. So each bug of the bank is put into
//! a copy of the solution, and the copy is given the same graded run that a
//! student's would be given. The solution itself reads as if the bank did not
//! exist: a bug is a file in `tests/bugs`, an edit with its story.
//!
//! | file | is |
//! |---|---|
//! | `bug.rs` | a bug as its file tells it |
//! | `edit.rs` | what is to be replaced by what, where |
//! | `workshop.rs` | the copy that bugs are put into, and built in |
//! | `hunt.rs` | the graded run of a copy, up to the first red test |
//! | `matrix.rs` | what was found, by what and how soon, as text and JSON |
//!
//! A copy has lost the solution's own assertions too (`tests/bugs/assertions.edit`):
//! a student's Raft has none, and what is measured is the suites.
//!
//! Boundary: knows files, builds and runs. Knows no bug.

mod bug;
mod edit;
mod hunt;
mod matrix;
mod workshop;

pub use self::bug::{Bug, load};
pub use self::edit::Edit;
pub use self::hunt::{Block, Find, block_seeds, hunt};
pub use self::matrix::{HEADING, Row, block_line};
pub(crate) use self::workshop::collect;
pub use self::workshop::{Assertions, Workshop};

/// The folder of the bank, in a workspace.
pub const FOLDER: &str = "tests/bugs";
/// The edit that takes the solution's own assertions out.
pub const ASSERTIONS: &str = "tests/bugs/assertions.edit";
