//! Watchers: they see every state that a server publishes, as it happens.
//!
//! A test that polls sees a moment here and there. A watcher sees each critical
//! section's end, and stops the run at the first broken promise: the report is
//! about the cause then, and not about a symptom seconds later.
//!
//! One promise, one file. A watcher is a table that is stepped with what was
//! seen, so that it can be tested without a cluster.
//!
//! Boundary: knows published views. Does not know which test is running.

mod election_safety;
mod one_vote_per_term;
mod sights;

use std::sync::Arc;

use labsim::watch::{self, Seen};
use parking_lot::Mutex;
use raft::View;

pub use self::election_safety::ElectionSafety;
pub use self::one_vote_per_term::OneVotePerTerm;
pub use self::sights::{Sight, Sights};

/// Sets all watchers on the calling thread's world.
///
/// `sights` collects what the run has shown, and can be read when it is over.
pub fn install(sights: Arc<Mutex<Sights>>) {
    let mut election_safety = ElectionSafety::default();
    let mut one_vote_per_term = OneVotePerTerm::default();
    watch::subscribe(move |seen: &Seen, view: &View| {
        sights.lock().note(view);
        let judged = one_vote_per_term.observe(seen.at, view).and_then(|()| election_safety.observe(seen.at, view));
        if let Err(broken) = judged {
            labsim::fail(broken.message.clone(), broken);
        }
    });
}

/// A moment of a run, as reports show it.
fn at(moment: std::time::Duration) -> String {
    let millis = moment.as_millis();
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}
