//! Single links, and what else can be slow or lossy.
//!
//! A link is one direction between two servers. These verbs see nothing but links:
//! whether a test has a server connected (`connect`, `disconnect`) is another
//! matter, and [`Lab::heal`] mends both.
//!
//! Boundary: puts data on links, disks and nodes. Decides nothing.

use labsim::links::{self, Link};
use labsim::time::Duration;

use super::Lab;

impl Lab {
    /// Changes the link from one server to another.
    pub fn change_link(&self, from: usize, to: usize, change: impl FnOnce(&mut Link)) {
        links::change(self.node(from), self.node(to), change);
    }

    /// Cuts or joins two servers, both ways.
    pub fn join(&self, one: usize, other: usize, up: bool) {
        self.change_link(one, other, |link| link.up = up);
        self.change_link(other, one, |link| link.up = up);
    }

    /// Splits the servers: those that are named can reach each other, and all others can;
    /// clients can reach whom they know.
    pub fn split(&self, group: &[usize]) {
        for one in 0..self.count() {
            for other in 0..one {
                self.join(one, other, group.contains(&one) == group.contains(&other));
            }
        }
        self.note_fault(format!("{:.3}s {group:?} apart from the others", labsim::elapsed().as_secs_f64()));
    }

    /// Cuts what a server sends: it hears, and is not heard.
    pub fn mute(&self, server: usize) {
        self.others(server).for_each(|peer| self.change_link(server, peer, |link| link.up = false));
    }

    /// Cuts what is sent to a server: it is heard, and does not hear.
    pub fn deafen(&self, server: usize) {
        self.others(server).for_each(|peer| self.change_link(peer, server, |link| link.up = false));
    }

    /// Holds back what a server sends, or lets all of it come at once.
    pub fn hold_from(&self, server: usize, held: bool) {
        self.others(server).for_each(|peer| self.change_link(server, peer, |link| link.held = held));
    }

    /// Holds back what is sent to a server, or lets all of it come at once.
    pub fn hold_to(&self, server: usize, held: bool) {
        self.others(server).for_each(|peer| self.change_link(peer, server, |link| link.held = held));
    }

    /// Lets everything come that is held back anywhere.
    pub fn release_all(&self) {
        (0..self.count()).for_each(|server| self.hold_from(server, false));
    }

    /// From now on a sync of a server that is up takes up to this long.
    pub fn set_sync_delay(&self, server: usize, longest: Duration) {
        self.node(server).disk().set_sync_delay(Duration::ZERO..longest);
    }

    /// From now on a thread of a server starts up to this late.
    pub fn set_start_delay(&self, server: usize, longest: Duration) {
        self.node(server).set_start_delay(Duration::ZERO..longest);
    }

    /// The watchers expect threads and disks to be this late.
    pub fn allow_slack(&self, slack: Duration) {
        self.shared.watchers.lock().allow(slack);
    }

    /// Makes every link perfect and joins all servers, lets come what is held back,
    /// and starts those that are down.
    pub fn heal(&self) {
        self.connect_all();
        for server in 0..self.count() {
            self.others(server).for_each(|peer| self.change_link(server, peer, |link| *link = Link::PERFECT));
            if !self.is_up(server) {
                self.crash(server); // Its node may be up, if it crashed as it started.
                self.restart(server);
            }
        }
        self.network().set_long_reordering(false);
    }

    /// All servers but one.
    fn others(&self, server: usize) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(move |peer| *peer != server)
    }
}
