//! Where handlers run: each on a thread of its own, of the serving node.
//!
//! Boundary: the threads of handlers. What they take and return is in
//! `errors.rs` and `memory.rs`.

use labrpc::{CallError, Service};
use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{channel, thread};

use super::{STEPS, assert_took, ms, story, timed};

#[test]
fn a_handler_runs_on_the_serving_node() {
    story(|pair| {
        let ask = |(): ()| Node::current().map(|node| node.id().0);
        pair.network.serve(pair.server, Service::new().method("who", ask));

        let who: Option<u32> = pair.end.call("who", &()).unwrap();
        assert_eq!(who, Some(pair.server.id().0));
    });
}

#[test]
fn a_handler_is_named_after_its_method() {
    story(|pair| {
        let ask = |(): ()| thread::current().name().to_owned();
        let service = Service::new().method("RequestVote", ask).method("AppendEntries", ask);
        pair.network.serve(pair.server, service);

        for method in ["RequestVote", "AppendEntries"] {
            let name: String = pair.end.call(method, &()).unwrap();
            assert_eq!(name, method);
        }
    });
}

#[test]
fn handlers_overlap() {
    story(|pair| {
        pair.serve_slow();
        let calls: Vec<_> = (0..20).map(|_| pair.echo_aside()).collect();
        for call in calls {
            let (result, took) = call.join().unwrap();
            assert_eq!(result, Ok(7));
            assert_took(took, super::SLOW_MS);
        }
    });
}

/// Were there one thread for all requests, the first would wait for ever.
#[test]
fn a_handler_may_wait_for_another() {
    story(|pair| {
        let bell = Arc::new((Mutex::new(false), Condvar::new()));
        let (ring, hear) = (Arc::clone(&bell), bell);
        let hear = move |(): ()| {
            let (rung, heard) = &*hear;
            heard.wait_while(&mut rung.lock(), |rung| !*rung);
        };
        let ring = move |(): ()| {
            let (rung, heard) = &*ring;
            *rung.lock() = true;
            heard.notify_all();
        };
        pair.network.serve(pair.server, Service::new().method("hear", hear).method("ring", ring));

        let end = pair.end.clone();
        let hearing = thread::spawn("hearing", move || end.call::<(), ()>("hear", &()));
        thread::sleep(ms(1000));
        assert!(!hearing.is_finished());
        assert_eq!(pair.end.call("ring", &()), Ok(()));
        assert_eq!(hearing.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_handler_may_call_another_server() {
    story(|pair| {
        pair.serve_echo();
        let front = Node::new("front");
        let end = pair.network.end(front, pair.server);
        let forward = move |n: u64| end.call::<u64, u64>("echo", &n).unwrap_or(0) + 1;
        pair.network.serve(front, Service::new().method("forward", forward));

        let client_end = pair.network.end(pair.client, front);
        let (result, took) = timed(|| client_end.call("forward", &7u64));
        assert_eq!(result, Ok(8u64));
        assert!(took < STEPS, "it took {took:?}");
    });
}

#[test]
fn a_node_may_call_itself() {
    story(|pair| {
        pair.serve_echo();
        let end = pair.network.end(pair.server, pair.server);
        assert_eq!(end.server(), pair.server);
        let call = pair.server.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        assert_eq!(call.join().unwrap(), Ok(7));
    });
}

/// Between a node and itself there is no wire, so there is none to cut.
#[test]
fn a_node_reaches_itself_whatever_is_cut() {
    story(|pair| {
        pair.serve_echo();
        for from in [pair.client, pair.server] {
            for to in [pair.client, pair.server] {
                labsim::links::change(from, to, |link| link.up = false);
            }
        }
        let end = pair.network.end(pair.server, pair.server);
        assert_eq!(end.call("echo", &7u64), Ok(7u64));
    });
}

#[test]
fn a_handler_that_never_ends_is_waited_for_until_its_server_goes() {
    story(|pair| {
        let (tx, rx) = channel::unbounded::<()>();
        let wait = move |(): ()| {
            let _ = rx.recv();
        };
        pair.network.serve(pair.server, Service::new().method("wait", wait));
        pair.after(100_010, |pair| pair.server.crash());

        let (result, took) = timed(|| pair.end.call::<(), ()>("wait", &()));
        assert_eq!(result, Err(CallError::Lost));
        assert!((ms(100_010)..ms(100_110)).contains(&took), "it took {took:?}");
        drop(tx);
    });
}
