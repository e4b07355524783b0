//! Calls, requests and bytes: what is counted, and what is not.
//!
//! Boundary: [`Traffic`](labrpc::Traffic) and
//! [`Network::requests_to`](labrpc::Network::requests_to).

use labrpc::{CallError, Service, encode};
use labsim::thread;

use super::{Pair, ms, run, story};

/// Replies are longer than arguments here, so that neither counts for the other.
fn serve_shout(pair: &Pair) {
    let shout = |word: String| format!("{}!!", word.to_uppercase());
    pair.network.serve(pair.server, Service::new().method("shout", shout));
}

fn shout(pair: &Pair) -> Result<String, CallError> {
    pair.end.call("shout", &"hey".to_owned())
}

/// `hey` and its length.
const ARGS_BYTES: u64 = 4;
/// `HEY!!` and its length.
const REPLY_BYTES: u64 = 6;

#[test]
fn the_bytes_are_those_of_the_encoding() {
    assert_eq!(encode("hey").len() as u64, ARGS_BYTES);
    assert_eq!(encode("HEY!!").len() as u64, REPLY_BYTES);
}

#[test]
fn a_new_network_has_counted_nothing() {
    story(|pair| {
        serve_shout(pair);
        let traffic = pair.network.traffic();
        assert_eq!((traffic.calls(), traffic.bytes(), pair.network.requests_to(pair.server)), (0, 0, 0));
    });
}

#[test]
fn a_call_counts_with_both_its_messages() {
    story(|pair| {
        serve_shout(pair);
        for _ in 0..10 {
            assert_eq!(shout(pair), Ok("HEY!!".to_owned()));
        }
        let traffic = pair.network.traffic();
        assert_eq!(traffic.calls(), 10);
        assert_eq!(traffic.bytes(), 10 * (ARGS_BYTES + REPLY_BYTES));
        assert_eq!(pair.network.requests_to(pair.server), 10);
    });
}

#[test]
fn a_call_counts_though_nobody_is_there() {
    story(|pair| {
        let traffic = pair.network.traffic();
        let _ = shout(pair);
        assert_eq!((traffic.calls(), traffic.bytes()), (1, ARGS_BYTES), "nobody serves");

        serve_shout(pair);
        pair.cut();
        let _ = shout(pair);
        assert_eq!((traffic.calls(), traffic.bytes()), (2, 2 * ARGS_BYTES), "the link is cut");

        pair.heal();
        pair.server.crash();
        let _ = shout(pair);
        assert_eq!((traffic.calls(), traffic.bytes()), (3, 3 * ARGS_BYTES), "the server is down");

        pair.server.restart();
        let _ = shout(pair);
        assert_eq!((traffic.calls(), traffic.bytes()), (4, 4 * ARGS_BYTES), "the server restarted");
        assert_eq!(pair.network.requests_to(pair.server), 0);
    });
}

#[test]
fn a_refused_call_counts_and_is_no_request() {
    story(|pair| {
        serve_shout(pair);
        let traffic = pair.network.traffic();
        assert_eq!(pair.end.call::<String, ()>("whisper", &"hey".to_owned()), Err(CallError::Refused));
        assert_eq!((traffic.calls(), traffic.bytes()), (1, ARGS_BYTES));
        assert_eq!(pair.network.requests_to(pair.server), 0);
    });
}

#[test]
fn a_lost_request_is_no_request() {
    story(|pair| {
        serve_shout(pair);
        pair.change_there(|link| link.loss = 1.0);
        let _ = shout(pair);
        let traffic = pair.network.traffic();
        assert_eq!((traffic.calls(), traffic.bytes()), (1, ARGS_BYTES));
        assert_eq!(pair.network.requests_to(pair.server), 0);
    });
}

#[test]
fn a_lost_reply_counts_no_bytes() {
    story(|pair| {
        serve_shout(pair);
        pair.change_back(|link| link.loss = 1.0);
        let _ = shout(pair);
        let traffic = pair.network.traffic();
        assert_eq!((traffic.calls(), traffic.bytes()), (1, ARGS_BYTES));
        assert_eq!(pair.network.requests_to(pair.server), 1);
    });
}

#[test]
fn in_an_unreliable_network_the_counts_are_those_of_what_happened() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.network.set_reliable(false);
        let answered = (0..200).filter(|_| pair.echo(7).is_ok()).count() as u64;

        let traffic = pair.network.traffic();
        assert_eq!(traffic.calls(), 200);
        assert_eq!(traffic.bytes(), 200 + answered, "one byte each way");
        assert_eq!(pair.network.requests_to(pair.server), runs.get());
        assert!(answered < runs.get() && runs.get() < 200, "nothing was lost");
    });
}

/// A reply counts when it arrives, not when it is sent.
#[test]
fn a_reply_on_its_way_is_not_counted() {
    story(|pair| {
        pair.serve_echo();
        pair.change_back(|link| link.delay = ms(500)..ms(501));
        let call = pair.echo_aside();
        thread::sleep(ms(400));
        let traffic = pair.network.traffic();
        assert_eq!(traffic.bytes(), 1);

        assert_eq!(call.join().unwrap().0, Ok(7));
        assert_eq!(traffic.bytes(), 2);
    });
}

#[test]
fn a_request_on_its_way_is_not_counted() {
    story(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.delay = ms(500)..ms(501));
        let call = pair.echo_aside();
        thread::sleep(ms(400));
        assert_eq!(pair.network.requests_to(pair.server), 0);

        assert_eq!(call.join().unwrap().0, Ok(7));
        assert_eq!(pair.network.requests_to(pair.server), 1);
    });
}

/// What a server was handed counts, even what it never answers.
#[test]
fn a_request_counts_when_its_handler_begins() {
    story(|pair| {
        pair.serve_slow();
        let call = pair.echo_aside();
        thread::sleep(ms(10));
        assert_eq!(pair.network.requests_to(pair.server), 1);

        pair.server.crash();
        assert_eq!(call.join().unwrap().0, Err(CallError::Lost));
        assert_eq!(pair.network.requests_to(pair.server), 1);
    });
}

#[test]
fn requests_are_counted_from_0_by_each_server() {
    story(|pair| {
        serve_shout(pair);
        for _ in 0..3 {
            shout(pair).unwrap();
        }
        assert_eq!(pair.network.requests_to(pair.server), 3);

        pair.restart_server();
        serve_shout(pair);
        assert_eq!(pair.network.requests_to(pair.server), 0);
        shout(pair).unwrap();
        assert_eq!(pair.network.requests_to(pair.server), 1);

        // Serving anew is enough.
        serve_shout(pair);
        assert_eq!(pair.network.requests_to(pair.server), 0);
        assert_eq!(pair.network.traffic().calls(), 4, "the network's own counts go on");
    });
}

#[test]
fn requests_are_counted_by_server() {
    story(|pair| {
        serve_shout(pair);
        let other = labsim::node::Node::new("other");
        pair.network.serve(other, Service::new().method("shout", |word: String| word));
        shout(pair).unwrap();
        shout(pair).unwrap();
        pair.network.end(pair.client, other).call::<String, String>("shout", &"hey".to_owned()).unwrap();

        assert_eq!(pair.network.requests_to(pair.server), 2);
        assert_eq!(pair.network.requests_to(other), 1);
        assert_eq!(pair.network.requests_to(pair.client), 0);
        assert_eq!(pair.network.traffic().calls(), 3);
    });
}

#[test]
fn counts_can_be_read_when_the_run_is_over() {
    let traffic = run(1, || {
        let pair = Pair::new();
        serve_shout(&pair);
        shout(&pair).unwrap();
        pair.network.traffic()
    });
    assert_eq!((traffic.calls(), traffic.bytes()), (1, ARGS_BYTES + REPLY_BYTES));
}
