//! What a crash loses, and what it leaves.
//!
//! A session on a server sends `hello`, writes to its disk, and says `goodbye`
//! when it is dropped. The server runs once to the end of the session, and once
//! it crashes before that and is restarted. What others have already, they keep;
//! what was synced is there. What the dead send is not.
//!
//! Try: a second `sync`, after the second `append`. A crash after 20 ms. A clone of
//! `tx` that `run` keeps: the second `recv` is a deadlock then, and not an error.
//! `server.spawn` between `crash` and `restart`: the thread never begins.
//!
//! Boundary: one node, one crash. What the destructors of a dead node may do is
//! in `unwinding`.

use labsim::channel::{Sender, unbounded};
use labsim::node::Node;
use labsim::time::Duration;
use labsim::{Config, note, simulate, thread};

/// Says goodbye when it is dropped.
struct Session(Sender<&'static str>);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.send("goodbye");
    }
}

fn run(crashes: bool) {
    let server = Node::new("server");
    let (tx, rx) = unbounded();
    server.spawn("session", move || {
        let session = Session(tx);
        let _ = session.0.send("hello");
        server.disk().append("log", b"synced, ");
        server.disk().sync();
        server.disk().append("log", b"buffered");
        thread::sleep(Duration::from_millis(10));
    });
    thread::sleep(Duration::from_millis(5));
    if crashes {
        server.crash();
        server.restart();
    }
    note!("crashes", "{crashes}");
    note!("heard", "{:?}, {:?}", rx.recv(), rx.recv());
    note!("disk", "{:?}", String::from_utf8_lossy(&server.disk().read("log")));
}

fn main() {
    let outcome = simulate(Config::seed(1), || [false, true].into_iter().for_each(run));
    outcome.result.expect("nothing here fails a run");
    outcome.notes.iter().for_each(|note| println!("{note}"));
}
