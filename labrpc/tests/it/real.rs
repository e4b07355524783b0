//! The same calls on OS threads, in real time.
//!
//! Nothing here asserts how long something took: the machine may be busy.
//!
//! Boundary: that it works there too. What the numbers are is in `classic.rs`.

use labrpc::{CallError, Service};
use labsim::node::Node;
use labsim::time::Duration;
use labsim::{Config, FailureKind, Outcome, channel, run_real, thread};

use super::{Count, Pair, ms};

/// What ends a test that would wait for ever. A busy machine needs a second.
const GIVE_UP: Duration = Duration::from_secs(60);

fn in_real_time<T: Send + 'static>(body: impl FnOnce(&Pair) -> T + Send + 'static) -> Outcome<T> {
    run_real(Config::seed(1).time_limit(GIVE_UP), || {
        let pair = Pair::new();
        pair.network.set_long_delays(false);
        body(&pair)
    })
}

#[test]
fn an_echo_comes_back_in_real_time() {
    in_real_time(|pair| {
        let runs = pair.serve_echo();
        for n in 0..100 {
            assert_eq!(pair.echo(n), Ok(n));
        }
        assert_eq!(runs.get(), 100);

        let traffic = pair.network.traffic();
        assert_eq!((traffic.calls(), traffic.bytes()), (100, 200));
        assert_eq!(pair.network.requests_to(pair.server), 100);
    })
    .result
    .unwrap();
}

#[test]
fn real_handlers_run_on_their_node_and_are_named() {
    in_real_time(|pair| {
        let ask = |(): ()| (Node::current().map(|node| node.id().0), thread::current().name().to_owned());
        pair.network.serve(pair.server, Service::new().method("who", ask));
        let who: (Option<u32>, String) = pair.end.call("who", &()).unwrap();
        assert_eq!(who, (Some(pair.server.id().0), "who".to_owned()));
    })
    .result
    .unwrap();
}

#[test]
fn real_calls_overlap() {
    in_real_time(|pair| {
        let (tx, rx) = channel::bounded::<u64>(0);
        let service = Service::new()
            .method("give", move |n: u64| tx.send(n).is_ok())
            .method("take", move |(): ()| rx.recv().ok());
        pair.network.serve(pair.server, service);

        let end = pair.end.clone();
        let taking = thread::spawn("taking", move || end.call::<(), Option<u64>>("take", &()));
        assert_eq!(pair.end.call("give", &7u64), Ok(true));
        assert_eq!(taking.join().unwrap(), Ok(Some(7)));
    })
    .result
    .unwrap();
}

#[test]
fn a_real_cut_loses_calls_until_it_heals() {
    in_real_time(|pair| {
        let runs = pair.serve_echo();
        pair.cut();
        assert_eq!(pair.echo(1), Err(CallError::Lost));
        assert_eq!(runs.get(), 0);

        pair.heal();
        assert_eq!(pair.echo(2), Ok(2));
        assert_eq!(pair.end.call::<u64, u64>("ohce", &3), Err(CallError::Refused));
    })
    .result
    .unwrap();
}

#[test]
fn a_real_crash_ends_the_call_and_a_restart_serves_anew() {
    in_real_time(|pair| {
        let (tx, rx) = channel::unbounded::<()>();
        let begun = Count::default();
        let counted = begun.clone();
        let wait = move |(): ()| {
            counted.add();
            let _ = rx.recv();
        };
        pair.network.serve(pair.server, Service::new().method("wait", wait));
        let end = pair.end.clone();
        let call = thread::spawn("caller", move || end.call::<(), ()>("wait", &()));
        while begun.get() == 0 {
            thread::yield_now();
        }

        pair.server.crash();
        assert_eq!(call.join().unwrap(), Err(CallError::Lost));
        assert_eq!(pair.echo(1), Err(CallError::Lost));

        pair.server.restart();
        pair.serve_echo();
        assert_eq!(pair.echo(2), Ok(2));
        drop(tx);
    })
    .result
    .unwrap();
}

#[test]
fn a_bad_real_network_loses_some_and_answers_some() {
    in_real_time(|pair| {
        let runs = pair.serve_echo();
        pair.network.set_reliable(false);
        pair.change_there(|link| link.duplicate = 1.0);
        let calls: Vec<_> = (0..100).map(|_| pair.echo_aside()).collect();
        let results: Vec<_> = calls.into_iter().map(|call| call.join().unwrap().0).collect();

        let answered = results.iter().filter(|result| **result == Ok(7)).count();
        assert!((50..100).contains(&answered), "{answered} of 100 were answered");
        // Each of some 90 requests runs twice. The copies may still be on their way.
        while runs.get() <= 100 {
            thread::sleep(ms(1));
        }
    })
    .result
    .unwrap();
}

#[test]
fn a_held_request_waits_in_real_time_too() {
    in_real_time(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let call = pair.echo_aside();
        while pair.network.traffic().calls() == 0 {
            thread::yield_now();
        }
        assert_eq!(runs.get(), 0);

        pair.change_there(|link| link.held = false);
        assert_eq!(call.join().unwrap().0, Ok(7));
        assert_eq!(runs.get(), 1);
    })
    .result
    .unwrap();
}

#[test]
fn a_wrong_type_fails_a_real_run() {
    let failure = in_real_time(|pair| {
        pair.serve_echo();
        pair.end.call::<String, u64>("echo", &"seven".to_owned())
    })
    .result
    .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("the arguments of echo are no u64"), "{failure}");
    assert_eq!(failure.node.as_deref(), Some("server"));
}

#[test]
fn a_real_run_leaves_no_service_behind() {
    let runs = in_real_time(|pair| {
        let runs = pair.serve_echo();
        // A handler that calls keeps an end, which must not keep the network.
        let end = pair.network.end(pair.server, pair.client);
        pair.network.serve(pair.client, Service::new().method("ask", move |n: u64| end.server().id().0 + n as u32));
        assert_eq!(pair.echo(1), Ok(1));
        runs
    })
    .result
    .unwrap();
    assert_eq!(runs.holders(), 1);
}
