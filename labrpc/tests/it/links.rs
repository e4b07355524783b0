//! What wires do to calls that the course's network never does: cuts in one
//! direction, delays, duplicates, overtaking, holding back.
//!
//! Boundary: [`labsim::links`] as calls feel them. How a link draws its fates is
//! tested in labsim.

use std::sync::{Arc, Mutex};

use labrpc::{CallError, Service};
use labsim::thread;

use super::{Pair, STEPS, assert_took, ms, run, story};

// Cut in one direction.

#[test]
fn with_the_way_there_cut_no_handler_runs() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.up = false);

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert!(took < ms(7000), "it took {took:?}");
        thread::sleep(ms(10_000));
        assert_eq!(runs.get(), 0);
    });
}

#[test]
fn with_the_way_back_cut_the_handler_took_effect() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_back(|link| link.up = false);

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Err(CallError::Lost));
        assert!(took < ms(7000), "it took {took:?}");
        thread::sleep(ms(1));
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_half_cut_link_fails_within_100_ms_without_long_delays() {
    story(|pair| {
        pair.serve_echo();
        pair.network.set_long_delays(false);
        let cuts: [fn(&Pair); 2] =
            [|pair| pair.change_there(|link| link.up = false), |pair| pair.change_back(|link| link.up = false)];
        for cut in cuts {
            cut(pair);
            let (result, took) = pair.timed_echo();
            assert_eq!(result, Err(CallError::Lost));
            assert!(took < ms(100), "it took {took:?}");
            pair.heal();
        }
    });
}

#[test]
fn a_cut_between_two_nodes_is_no_cut_for_a_third() {
    story(|pair| {
        pair.serve_echo();
        let third = labsim::node::Node::new("third");
        pair.cut();

        let end = pair.network.end(third, pair.server);
        assert_eq!(end.call("echo", &9u64), Ok(9u64));
    });
}

// Chance.

#[test]
fn a_lossy_way_there_loses_the_request() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.loss = 1.0);
        assert_eq!(pair.echo(1), Err(CallError::Lost));
        thread::sleep(ms(1));
        assert_eq!(runs.get(), 0);
    });
}

#[test]
fn a_lossy_way_back_loses_the_reply() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_back(|link| link.loss = 1.0);
        assert_eq!(pair.echo(1), Err(CallError::Lost));
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_duplicated_request_runs_twice_and_is_answered_once() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| {
            link.duplicate = 1.0;
            link.delay = ms(10)..ms(50);
        });

        assert_eq!(pair.echo(5), Ok(5));
        thread::sleep(ms(50));
        assert_eq!(runs.get(), 2);
        assert_eq!(pair.network.requests_to(pair.server), 2);

        assert_eq!(pair.echo(6), Ok(6));
        thread::sleep(ms(50));
        assert_eq!(runs.get(), 4);
    });
}

/// Its handlers race, and the caller takes what comes first.
#[test]
fn the_first_reply_of_a_duplicate_is_the_reply() {
    story(|pair| {
        let turn = super::Count::default();
        let counted = turn.clone();
        let which = move |(): ()| {
            counted.add();
            let mine = counted.get();
            // The first to start is the last to end.
            thread::sleep(if mine == 1 { ms(1000) } else { ms(1) });
            mine
        };
        pair.network.serve(pair.server, Service::new().method("which", which));
        pair.change_there(|link| {
            link.duplicate = 1.0;
            link.delay = ms(10)..ms(11);
        });

        let first = pair.end.call("which", &());
        assert_eq!(first, Ok(2u64));
        thread::sleep(ms(2000));
        assert_eq!(turn.get(), 2);
    });
}

// Time.

#[test]
fn each_way_takes_what_its_link_takes() {
    story(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.delay = ms(300)..ms(301));
        pair.change_back(|link| link.delay = ms(50)..ms(51));

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Ok(7));
        assert!((ms(350)..ms(352) + STEPS).contains(&took), "it took {took:?}");
    });
}

#[test]
fn the_delays_of_link_and_rules_add_up() {
    story(|pair| {
        pair.serve_echo();
        pair.network.set_reliable(false);
        pair.change_there(|link| link.delay = ms(1000)..ms(1001));

        let times: Vec<_> = (0..30).map(|_| pair.timed_echo()).collect();
        for (_, took) in times.iter().filter(|(result, _)| result.is_ok()) {
            assert!((ms(1000)..ms(1027) + STEPS).contains(took), "it took {took:?}");
        }
        assert!(times.iter().any(|(_, took)| *took > ms(1005)), "no call was delayed by the rules");
    });
}

#[test]
fn requests_overtake_each_other() {
    /// The order in which the numbers from 0 on arrive.
    fn arrivals(reorder: f64) -> Vec<u64> {
        run(1, move || {
            let pair = Pair::new();
            let arrived = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&arrived);
            let note = move |n: u64| noted.lock().unwrap().push(n);
            pair.network.serve(pair.server, Service::new().method("note", note));
            pair.change_there(|link| {
                link.delay = ms(10)..ms(11);
                link.reorder = reorder;
                link.reorder_delay = ms(100)..ms(500);
            });

            let call_later = |n| {
                let end = pair.end.clone();
                thread::spawn("caller", move || {
                    thread::sleep(ms(5 * n));
                    end.call::<u64, ()>("note", &n)
                })
            };
            let calls: Vec<_> = (0..20).map(call_later).collect();
            for call in calls {
                assert_eq!(call.join().unwrap(), Ok(()));
            }
            let arrived = arrived.lock().unwrap();
            arrived.clone()
        })
    }
    let in_order: Vec<u64> = (0..20).collect();
    assert_eq!(arrivals(0.0), in_order);

    let mut reordered = arrivals(0.5);
    assert_ne!(reordered, in_order);
    reordered.sort_unstable();
    assert_eq!(reordered, in_order, "each arrives once all the same");
}

#[test]
fn replies_overtake_each_other() {
    story(|pair| {
        pair.serve_echo();
        pair.change_back(|link| link.delay = ms(500)..ms(501));
        let slow = pair.echo_aside();
        thread::sleep(ms(10));

        pair.change_back(|link| link.delay = ms(0)..ms(0));
        assert_eq!(pair.echo(2), Ok(2));
        assert!(!slow.is_finished());

        let (result, took) = slow.join().unwrap();
        assert_eq!(result, Ok(7));
        assert!((ms(500)..ms(501) + STEPS).contains(&took), "it took {took:?}");
    });
}

// Hold and release.

#[test]
fn a_held_request_waits_for_its_release() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(60_000));
        assert_eq!(runs.get(), 0);

        pair.change_there(|link| link.held = false);
        let (result, took) = call.join().unwrap();
        assert_eq!(result, Ok(7));
        assert_took(took, 60_000);
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_held_request_survives_a_cut() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(250));

        // The caller hears of the cut and gives up. The request does not.
        pair.cut();
        let (result, took) = call.join().unwrap();
        assert_eq!(result, Err(CallError::Lost));
        assert_took(took, 300);

        // Not even while it is cut: it has travelled, and is let in.
        pair.change_there(|link| link.held = false);
        thread::sleep(ms(1));
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_held_request_lands_in_the_next_life_of_its_receiver() {
    story(|pair| {
        let former_runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(250));

        pair.restart_server();
        let runs = pair.serve_echo();
        let (result, took) = call.join().unwrap();
        assert_eq!(result, Err(CallError::Lost), "the server it was asked of is gone");
        assert_took(took, 300);

        pair.change_there(|link| link.held = false);
        thread::sleep(ms(1));
        assert_eq!((former_runs.get(), runs.get()), (0, 1));
    });
}

#[test]
fn a_held_request_is_lost_if_nobody_serves_at_its_release() {
    story(|pair| {
        let former_runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(250));
        pair.restart_server();

        pair.change_there(|link| link.held = false);
        thread::sleep(ms(1));
        let runs = pair.serve_echo();

        assert_eq!(call.join().unwrap().0, Err(CallError::Lost));
        thread::sleep(ms(1000));
        assert_eq!((former_runs.get(), runs.get()), (0, 0));
    });
}

#[test]
fn what_was_held_comes_before_what_is_sent_later() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_there(|link| link.held = true);
        let calls: Vec<_> = (0..5).map(|_| pair.echo_aside()).collect();
        thread::sleep(ms(10));
        pair.change_there(|link| link.held = false);
        for call in calls {
            assert_eq!(call.join().unwrap().0, Ok(7));
        }

        let (result, took) = pair.timed_echo();
        assert_eq!(result, Ok(7));
        assert!(took < STEPS, "a released link holds still: {took:?}");
        assert_eq!(runs.get(), 6);
    });
}

#[test]
fn a_held_reply_waits_for_its_release() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.change_back(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(60_000));
        assert!(!call.is_finished());
        assert_eq!(runs.get(), 1, "only the reply is held");

        pair.change_back(|link| link.held = false);
        let (result, took) = call.join().unwrap();
        assert_eq!(result, Ok(7));
        assert_took(took, 60_000);
    });
}

/// A reply on its way is the network's: neither its sender's crash nor a cut
/// takes it back.
#[test]
fn a_held_reply_survives_a_cut_and_the_crash_of_its_sender() {
    story(|pair| {
        pair.serve_echo();
        pair.change_back(|link| link.held = true);
        let call = pair.echo_aside();
        thread::sleep(ms(250));
        pair.server.crash();
        pair.cut();
        thread::sleep(ms(1000));

        pair.change_back(|link| link.held = false);
        let (result, took) = call.join().unwrap();
        assert_eq!(result, Ok(7));
        assert_took(took, 1250);
    });
}
