//! The adversary: a run that looks for the bug, in place of one that waits for it.
//!
//! Random faults are the worst plan there is: a server that crashes now and then
//! crashes between two interesting moments. What finds bugs in few seeds are
//! *shapes*, short stories that one family of bugs cannot survive, each played
//! with other numbers in every run; and *triggers*, faults at the very moment that
//! a server does something. So a run of the adversary has three acts:
//!
//! 1. a first leader;
//! 2. the part's bag of shapes, each once or twice, in an order that is drawn, each
//!    on a network of its own, clean or rough; after each everything is mended;
//! 3. the heal test: a bare majority by itself, and then all, must elect and commit
//!    in time. No time limit is judged before.
//!
//! All the while the watchers judge what servers say. The adversary judges nothing
//! else: a wait that ends too late ends its episode, and not the run.
//!
//! | file | is |
//! |---|---|
//! | `plan.rs` | a run as data, and the bag of each part |
//! | `shapes.rs` | the shapes with their numbers |
//! | `weather.rs` | networks, disks and threads that are slow or lose |
//! | `triggers.rs` | moments, and what is done then |
//! | `dice.rs` | how numbers are drawn |
//! | `stage.rs` | who does it: cuts, crashes, and what mends them later |
//! | `play.rs` | the run, act by act |
//! | `stories.rs` | how each shape is played |
//! | `words.rs` | how it reads in a report |
//! | `heal.rs` | the last act |
//!
//! Read `plan.rs` first, then a shape in `stories.rs`; `figure_8` is the one that the
//! paper tells.
//!
//! Left out: messages in flight that a cut takes along (labrpc's requests and
//! replies survive it once they travel), and triggers that would need to see into
//! a server.
//!
//! Boundary: plays on a `Lab`. Knows which part it is only by its recipe.

mod dice;
mod heal;
mod plan;
mod play;
mod shapes;
mod stage;
mod stories;
mod triggers;
mod weather;
mod words;

pub use self::plan::{Allowed, Client, Episode, Plan, RECIPE_2A, RECIPE_2B, RECIPE_2C, RECIPE_2D, Recipe};
pub use self::play::run;
pub use self::shapes::{Crashes, Down, End, Kind, Move, Shape, Snapshots, What};
pub use self::triggers::{Deed, Moment, Trigger};
pub use self::weather::Weather;
