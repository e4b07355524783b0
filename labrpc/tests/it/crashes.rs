//! What a call notices while it waits, and when: every 100 ms, and once more
//! when the handler is done.
//!
//! Handlers take 1050 ms here, so that their end is not one of those moments.
//!
//! Boundary: crashes and cuts during a call. Before it they are in `classic.rs`.

use labrpc::CallError;
use labsim::thread;

use super::{SLOW_MS, assert_took, ms, story};

#[test]
fn a_slow_handler_is_waited_for() {
    story(|pair| {
        let ended = pair.serve_slow();
        let (result, took) = pair.timed_echo();
        assert_eq!(result, Ok(7));
        assert_took(took, SLOW_MS);
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn a_crash_is_noticed_at_the_next_look() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(250, |pair| pair.server.crash());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);

        thread::sleep(ms(2000));
        assert_eq!(ended.get(), 0, "a handler outlived its node");
    });
}

#[test]
fn a_cut_is_noticed_at_the_next_look() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(720, |pair| pair.cut());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 800);

        // The server knows nothing of it: the handler takes effect.
        thread::sleep(ms(2000));
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn a_cut_of_either_way_is_noticed() {
    story(|pair| {
        pair.serve_slow();
        pair.after(120, |pair| pair.change_there(|link| link.up = false));
        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 200);

        pair.heal();
        pair.after(120, |pair| pair.change_back(|link| link.up = false));
        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 200);
    });
}

#[test]
fn a_cut_that_heals_between_two_looks_is_not_noticed() {
    story(|pair| {
        pair.serve_slow();
        pair.after(210, |pair| pair.cut());
        pair.after(290, |pair| pair.heal());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Ok(7));
        assert_took(took, SLOW_MS);
    });
}

#[test]
fn a_cut_that_heals_after_a_look_is_too_late() {
    story(|pair| {
        pair.serve_slow();
        pair.after(290, |pair| pair.cut());
        pair.after(310, |pair| pair.heal());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);
    });
}

/// The handler took effect, and the caller does not learn it.
#[test]
fn a_cut_just_before_the_handler_ends_loses_the_reply() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(SLOW_MS - 20, |pair| pair.cut());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, SLOW_MS);
        assert_eq!(ended.get(), 1);
    });
}

/// The look after the handler's end sees both ways, not only that of the reply.
#[test]
fn a_cut_way_there_just_before_the_handler_ends_loses_the_reply() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(SLOW_MS - 20, |pair| pair.change_there(|link| link.up = false));

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, SLOW_MS);
        assert_eq!(ended.get(), 1);
    });
}

#[test]
fn a_replaced_server_does_not_answer_for_the_former_one() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(250, |pair| {
            pair.restart_server();
            pair.serve_slow();
        });

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);
        thread::sleep(ms(2000));
        assert_eq!(ended.get(), 0);

        // Its successor does.
        assert_eq!(pair.echo(8), Ok(8));
    });
}

/// Replaced is replaced: a new service on a node that stays up is a new server.
#[test]
fn a_server_that_serves_anew_does_not_answer_for_the_former_one() {
    story(|pair| {
        pair.serve_slow();
        pair.after(250, |pair| {
            pair.serve_slow();
        });

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);
    });
}

#[test]
fn a_withdrawn_server_does_not_answer() {
    story(|pair| {
        pair.serve_slow();
        pair.after(250, |pair| pair.network.withdraw(pair.server));

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);
    });
}

#[test]
fn a_crash_just_before_the_handler_ends_loses_its_effect() {
    story(|pair| {
        let ended = pair.serve_slow();
        pair.after(SLOW_MS - 1, |pair| pair.server.crash());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 1100);
        assert_eq!(ended.get(), 0);
    });
}

#[test]
fn a_crash_ends_all_calls_to_the_node_and_no_other() {
    story(|pair| {
        pair.serve_slow();
        let other = labsim::node::Node::new("other");
        let echo = |n: u64| {
            thread::sleep(ms(SLOW_MS));
            n
        };
        pair.network.serve(other, labrpc::Service::new().method("echo", echo));

        let doomed: Vec<_> = (0..10).map(|_| pair.echo_aside()).collect();
        pair.after(250, |pair| pair.server.crash());

        assert_eq!(pair.network.end(pair.client, other).call("echo", &1u64), Ok(1u64));
        for call in doomed {
            assert_eq!(call.join().unwrap().0, Err(CallError::Lost));
        }
    });
}

// The sender crashes.

#[test]
fn a_request_on_a_slow_link_survives_its_sender() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));
        let end = pair.end.clone();
        let call = pair.client.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        thread::sleep(ms(500));

        pair.client.crash();
        assert!(call.join().is_err(), "the caller outlived its node");
        assert_eq!(runs.get(), 0);

        thread::sleep(ms(600));
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_request_in_an_unreliable_network_survives_its_sender() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.network.set_reliable(false);
        for _ in 0..100 {
            let end = pair.end.clone();
            pair.client.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        }
        thread::sleep(ms(1));

        pair.client.crash();
        let before = runs.get();
        assert!(before < 30, "{before} requests arrived within a millisecond");

        thread::sleep(ms(100));
        assert!((75..=100).contains(&runs.get()), "{} of 100 requests arrived, expected are 90", runs.get());
    });
}

#[test]
fn a_running_handler_survives_its_caller() {
    story(|pair| {
        let ended = pair.serve_slow();
        let end = pair.end.clone();
        pair.client.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        thread::sleep(ms(500));

        pair.client.crash();
        thread::sleep(ms(600));
        assert_eq!(ended.get(), 1);
    });
}

// The receiver crashes while a request travels.

#[test]
fn a_travelling_request_lands_in_the_next_life_of_its_receiver() {
    story(|pair| {
        let former_runs = pair.serve_echo();
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));
        let call = pair.echo_aside();
        thread::sleep(ms(250));

        pair.restart_server();
        let runs = pair.serve_echo();

        let (result, took) = call.join().unwrap();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);
        thread::sleep(ms(1000));
        assert_eq!((former_runs.get(), runs.get()), (0, 1));
    });
}

#[test]
fn a_travelling_request_is_lost_if_its_receiver_is_down() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));
        pair.after(950, |pair| pair.server.crash());

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 1000);
        thread::sleep(ms(1000));
        assert_eq!(runs.get(), 0);
    });
}

/// The request finds nobody. Its caller must not wait for ever.
#[test]
fn a_travelling_request_is_lost_if_its_receiver_withdraws() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));
        pair.after(950, |pair| pair.network.withdraw(pair.server));

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert!(took < ms(1101), "it took {took:?}");
        assert_eq!(runs.get(), 0);
    });
}

/// The request finds a server that offers something else.
#[test]
fn a_travelling_request_is_lost_if_its_method_is_gone() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));
        pair.after(950, |pair| {
            pair.network.serve(pair.server, labrpc::Service::new());
        });

        let (result, took) = pair.timed_echo();
        assert!(result.is_err());
        assert!(took < ms(1101), "it took {took:?}");
        assert_eq!(runs.get(), 0);
    });
}
