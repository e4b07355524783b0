//! What a programmer can do wrong, and how it is said.
//!
//! Boundary: errors of programs. The world's errors are in the other files.

use std::panic::catch_unwind;

use labrpc::{CallError, ClientEnd, Service};
use labsim::node::Node;
use labsim::sync::Mutex;
use labsim::{Config, Failure, FailureKind, simulate};

use super::{Pair, STEPS, story, timed};

/// Runs `body` on the client. It must fail the run.
fn fails(body: fn(&ClientEnd)) -> Failure {
    let outcome = simulate(Config::seed(1), move || {
        let pair = Pair::new();
        let greet = |name: String| format!("hello {name}");
        pair.network.serve(pair.server, Service::new().method("greet", greet));
        let end = pair.end.clone();
        let _ = pair.client.spawn("caller", move || body(&end)).join();
    });
    outcome.result.expect_err("the run did not fail")
}

#[test]
fn a_call_with_a_lock_held_names_both_places() {
    let failure = fails(|end| {
        let lock = Mutex::new(0);
        let guard = lock.lock();
        let _ = end.call::<String, String>("greet", &"you".to_owned());
        drop(guard);
    });
    let taken = format!("{}:{}:", file!(), line!() - 4);
    let called = format!("{}:{}:", file!(), line!() - 4);

    assert_eq!(failure.kind, FailureKind::LockHeld);
    assert!(failure.message.contains(&taken), "{taken} is missing: {failure}");
    let place = failure.place.as_deref().unwrap();
    assert!(place.starts_with(&called), "{called} is missing: {failure}");
    assert!(failure.message.contains("`caller` makes a call"), "{failure}");
    assert_eq!(failure.node.as_deref(), Some("client"));
}

/// It is an error whatever becomes of the call, or one run in many would show it.
#[test]
fn a_call_with_a_lock_held_fails_even_if_it_is_refused() {
    let failure = fails(|end| {
        let lock = Mutex::new(0);
        let _guard = lock.lock();
        let _ = end.call::<String, String>("no such method", &"you".to_owned());
    });
    assert_eq!(failure.kind, FailureKind::LockHeld);
}

#[test]
fn a_lock_that_was_released_in_time_is_no_error() {
    story(|pair| {
        pair.serve_echo();
        let lock = Mutex::new(7);
        let n = *lock.lock();
        assert_eq!(pair.echo(n), Ok(7));
    });
}

#[test]
fn an_unknown_method_is_refused() {
    story(|pair| {
        let runs = pair.serve_echo();
        let (result, took) = timed(|| pair.end.call::<u64, u64>("ohce", &7));
        assert_eq!(result, Err(CallError::Refused));
        assert!(took < STEPS, "it took {took:?}");
        assert_eq!(runs.get(), 0);

        assert_eq!(pair.echo(7), Ok(7));
    });
}

/// Whoever cannot be reached refuses nothing.
#[test]
fn an_unknown_method_behind_a_cut_is_lost() {
    story(|pair| {
        pair.serve_echo();
        pair.cut();
        assert_eq!(pair.end.call::<u64, u64>("ohce", &7), Err(CallError::Lost));
    });
}

#[test]
fn arguments_of_another_type_are_named() {
    let failure = fails(|end| {
        let _ = end.call::<u64, String>("greet", &300);
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    let said = "the arguments of greet are no alloc::string::String: not an encoding of the type asked for";
    assert!(failure.message.contains(said), "{failure}");
    assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("server"), "greet"));
}

/// Bytes that are left over would be a field that the server does not know.
#[test]
fn arguments_with_a_field_more_are_named() {
    let failure = fails(|end| {
        let _ = end.call::<(&str, u8), String>("greet", &("you", 1));
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("the arguments of greet"), "{failure}");
    assert!(failure.message.contains("1 bytes are left over"), "{failure}");
}

#[test]
fn a_reply_of_another_type_is_named() {
    let failure = fails(|end| {
        let _ = end.call::<String, (String, u64)>("greet", &"you".to_owned());
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    let said = "the reply of greet is no (alloc::string::String, u64): not an encoding of the type asked for";
    assert!(failure.message.contains(said), "{failure}");
    assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("client"), "caller"));
}

#[test]
fn a_handler_that_panics_fails_the_run() {
    let outcome = simulate(Config::seed(1), || {
        let pair = Pair::new();
        pair.network.serve(pair.server, Service::new().method("echo", |n: u64| -> u64 { panic!("S1 got {n}") }));
        pair.echo(7)
    });
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("S1 got 7"), "{failure}");
    assert_eq!(failure.node.as_deref(), Some("server"));
}

#[test]
fn a_method_given_twice_is_an_error() {
    let thrown = catch_unwind(|| Service::new().method("echo", |n: u64| n).method("echo", |n: u64| n)).unwrap_err();
    let message = thrown.downcast_ref::<String>().unwrap();
    assert!(message.contains("the method echo is given twice"), "{message}");
}

#[test]
fn the_ends_of_a_dropped_network_get_no_reply() {
    story(|pair| {
        let runs = pair.serve_echo();
        let network = labrpc::Network::new();
        let (client, server) = (Node::new("client 2"), Node::new("server 2"));
        network.serve(server, Service::new().method("echo", |n: u64| n));
        let end = network.end(client, server);
        assert_eq!(end.call("echo", &1u64), Ok(1u64));

        let clone = network.clone();
        drop(network);
        assert_eq!(end.call("echo", &2u64), Ok(2u64), "a clone keeps it");

        drop(clone);
        assert_eq!(end.call::<u64, u64>("echo", &3), Err(CallError::Lost));
        assert_eq!(pair.echo(4), Ok(4), "another network goes on");
        assert_eq!(runs.get(), 1);
    });
}
