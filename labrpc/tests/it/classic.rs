//! The numbers of the course's network, each measured over a few hundred calls
//! or more.
//!
//! Boundary: the rules of [`Network`](labrpc::Network). Wires are perfect here,
//! or cut both ways.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use labrpc::{CallError, Network, Service};
use labsim::time::{Duration, Instant};

use super::{Pair, STEPS, ms, run, story, timed, whole_ms};

/// What became of one call.
#[derive(Debug)]
struct Seen {
    result: Result<u64, CallError>,
    took: Duration,
    /// How long after the call its handler began, if it did.
    handled_after: Option<Duration>,
}

/// Makes so many calls, one after the other, in a network with these rules.
fn observe(seed: u64, calls: u64, rules: fn(&Network)) -> Vec<Seen> {
    run(seed, move || {
        let pair = Pair::new();
        rules(&pair.network);
        let handled_at = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&handled_at);
        let echo = move |n: u64| {
            *noted.lock().unwrap() = Some(Instant::now());
            n
        };
        pair.network.serve(pair.server, Service::new().method("echo", echo));

        let observe_one = |_| {
            let begun = Instant::now();
            let (result, took) = pair.timed_echo();
            let handled_at = handled_at.lock().unwrap().take();
            Seen { result, took, handled_after: handled_at.map(|at| at - begun) }
        };
        (0..calls).map(observe_one).collect()
    })
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len() as f64
}

#[test]
fn an_echo_comes_back() {
    story(|pair| {
        pair.serve_echo();
        assert_eq!(pair.echo(42), Ok(42));
    });
}

#[test]
fn a_reliable_network_takes_no_time_and_loses_nothing() {
    for call in observe(1, 1000, |_| {}) {
        assert_eq!(call.result, Ok(7));
        assert!(call.took < STEPS, "a call took {:?}", call.took);
    }
}

// Unreliable.

const UNRELIABLE_CALLS: u64 = 5000;

fn observe_unreliable() -> Vec<Seen> {
    observe(2, UNRELIABLE_CALLS, |network| network.set_reliable(false))
}

#[test]
fn an_unreliable_request_takes_0_to_26_ms() {
    let calls = observe_unreliable();
    let delays: Vec<u64> = calls.iter().filter_map(|call| call.handled_after).map(whole_ms).collect();

    let distinct: BTreeSet<u64> = delays.iter().copied().collect();
    assert_eq!(distinct, (0..27).collect());
    assert!((12.5..13.5).contains(&mean(&delays)), "the mean is {}", mean(&delays));
}

#[test]
fn an_unreliable_network_loses_one_request_in_ten() {
    let calls = observe_unreliable();
    let lost: Vec<&Seen> = calls.iter().filter(|call| call.handled_after.is_none()).collect();
    assert!((400..600).contains(&lost.len()), "{} of {UNRELIABLE_CALLS} requests were lost", lost.len());

    // The caller learns of it as late as the request would have arrived.
    for call in lost {
        assert_eq!(call.result, Err(CallError::Lost));
        assert!(whole_ms(call.took) < 27, "{call:?}");
    }
}

#[test]
fn an_unreliable_network_loses_one_reply_in_ten() {
    let calls = observe_unreliable();
    let handled: Vec<&Seen> = calls.iter().filter(|call| call.handled_after.is_some()).collect();
    let lost = handled.iter().filter(|call| call.result.is_err()).count();
    assert!((350..550).contains(&lost), "{lost} replies of {} were lost", handled.len());

    // Lost or not, the way back takes no time.
    for call in handled {
        assert!(call.took - call.handled_after.unwrap() < STEPS, "{call:?}");
    }
}

#[test]
fn the_losses_each_way_are_independent() {
    let calls = observe_unreliable();
    let came_through = calls.iter().filter(|call| call.result.is_ok()).count();
    assert!((3900..4200).contains(&came_through), "{came_through} of {UNRELIABLE_CALLS}, expected are 81 %");
}

#[test]
fn a_network_becomes_reliable_again_at_once() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.network.set_reliable(false);
        pair.network.set_long_reordering(true);
        let _ = pair.echo(1);

        pair.network.set_reliable(true);
        pair.network.set_long_reordering(false);

        let before = runs.get();
        for _ in 0..50 {
            let (result, took) = pair.timed_echo();
            assert_eq!(result, Ok(7));
            assert!(took < STEPS, "a call took {took:?}");
        }
        assert_eq!(runs.get(), before + 50);
    });
}

// Long reordering.

#[test]
fn long_reordering_delays_two_replies_in_three() {
    let calls = observe(3, 3000, |network| network.set_long_reordering(true));
    let late: Vec<&Seen> = calls.iter().filter(|call| call.took >= STEPS).collect();
    assert!((1850..2150).contains(&late.len()), "{} of 3000 replies were late", late.len());

    // Only replies, and none of them is lost.
    for call in &calls {
        assert_eq!(call.result, Ok(7));
        assert!(call.handled_after.unwrap() < STEPS, "{call:?}");
    }
}

/// 200 + rand(1 + rand(2000)): a bound that is drawn itself.
#[test]
fn late_replies_take_200_ms_and_mostly_little_more() {
    let calls = observe(4, 3000, |network| network.set_long_reordering(true));
    let late = calls.iter().filter(|call| call.took >= STEPS);
    let mut extra_ms: Vec<u64> = late
        .map(|call| {
            let late_ms = whole_ms(call.took);
            assert!((200..2200).contains(&late_ms), "a reply is late by {late_ms} ms");
            late_ms - 200
        })
        .collect();
    extra_ms.sort_unstable();

    // One draw alone would have its median at its mean, and both at 1000 ms.
    let median = extra_ms[extra_ms.len() / 2];
    assert!((320..430).contains(&median), "the median is {median} ms, expected are 373");
    assert!((450.0..550.0).contains(&mean(&extra_ms)), "the mean is {} ms, expected are 500", mean(&extra_ms));
    assert!(*extra_ms.last().unwrap() > 1700, "the long ones are missing");
}

#[test]
fn both_kinds_of_chance_add_up() {
    let calls = observe(5, 3000, |network| {
        network.set_reliable(false);
        network.set_long_reordering(true);
    });
    let came_through: Vec<&Seen> = calls.iter().filter(|call| call.result.is_ok()).collect();
    assert!((2300..2560).contains(&came_through.len()), "{} of 3000, expected are 81 %", came_through.len());

    let back = |call: &&&Seen| call.took - call.handled_after.unwrap();
    let late = came_through.iter().filter(|call| back(call) >= ms(200)).count();
    let share = late as f64 / came_through.len() as f64;
    assert!((0.63..0.70).contains(&share), "a share of {share} was late");
}

// A cut link, and nobody there.

/// How long calls take that get no answer: ten under each of forty seeds.
fn times_to_the_error(long_delays: bool, nobody_there: SetUp) -> Vec<u64> {
    let times_of_seed = |seed| {
        run(seed, move || {
            let pair = Pair::new();
            pair.network.set_long_delays(long_delays);
            nobody_there(&pair);
            let time_one = |_| {
                let (result, took) = pair.timed_echo();
                assert_eq!(result, Err(CallError::Lost));
                whole_ms(took)
            };
            (0..10).map(time_one).collect::<Vec<u64>>()
        })
    };
    (0..40).flat_map(times_of_seed).collect()
}

/// Asserts that the times are spread evenly below `bound_ms`.
#[track_caller]
fn assert_uniform(times_ms: &[u64], bound_ms: u64) {
    let last = *times_ms.iter().max().unwrap();
    assert!(last < bound_ms, "a call failed after {last} ms");

    let middle = bound_ms as f64 / 2.0;
    let mean = mean(times_ms);
    assert!((0.9 * middle..1.1 * middle).contains(&mean), "the mean is {mean} ms, expected are {middle}");

    // 100 of the 400 in each quarter, or somewhere near.
    for quarter in 0..4 {
        let range = quarter * bound_ms / 4..(quarter + 1) * bound_ms / 4;
        let share = times_ms.iter().filter(|time| range.contains(time)).count();
        assert!((65..135).contains(&share), "{share} of {} lie within {range:?} ms", times_ms.len());
    }
}

/// Arranges two nodes before a call.
type SetUp = fn(&Pair);

/// All the ways for a request to find nobody. The caller cannot tell them apart.
const NOBODY_THERE: [(&str, SetUp); 6] = [
    ("cut", |pair| {
        pair.serve_echo();
        pair.cut();
    }),
    ("the way there cut", |pair| {
        pair.serve_echo();
        pair.change_there(|link| link.up = false);
    }),
    ("no server", |_| {}),
    ("withdrawn", |pair| {
        pair.serve_echo();
        pair.network.withdraw(pair.server);
    }),
    ("crashed", |pair| {
        pair.serve_echo();
        pair.server.crash();
    }),
    ("restarted, not yet serving", |pair| {
        pair.serve_echo();
        pair.restart_server();
    }),
];

#[test]
fn nobody_there_takes_up_to_7_s_with_long_delays() {
    for (why, nobody_there) in NOBODY_THERE {
        println!("{why}");
        assert_uniform(&times_to_the_error(true, nobody_there), 7000);
    }
}

#[test]
fn nobody_there_takes_up_to_100_ms_without_long_delays() {
    for (why, nobody_there) in NOBODY_THERE {
        println!("{why}");
        assert_uniform(&times_to_the_error(false, nobody_there), 100);
    }
}

/// The caller cannot tell which way is cut, and one that asks again at once must
/// not be able to do so thousands of times in a second.
#[test]
fn a_cut_way_back_takes_as_long_as_a_cut_way_there() {
    let way_back_cut = |pair: &Pair| {
        pair.serve_echo();
        pair.change_back(|link| link.up = false);
    };
    assert_uniform(&times_to_the_error(true, way_back_cut), 7000);
    assert_uniform(&times_to_the_error(false, way_back_cut), 100);
}

/// "Up to 7 s" is drawn for each call anew, not once for a run.
#[test]
fn overlapping_calls_over_a_cut_link_fail_apart() {
    story(|pair| {
        pair.serve_echo();
        pair.cut();

        let calls: Vec<_> = (0..20).map(|_| pair.echo_aside()).collect();
        let times: BTreeSet<u64> = calls.into_iter().map(|call| call.join().unwrap().1.as_millis() as u64).collect();
        assert!(times.len() >= 18, "only {} different times: {times:?}", times.len());
    });
}

#[test]
fn a_healed_link_carries_at_once() {
    story(|pair| {
        let runs = pair.serve_echo();
        pair.cut();
        assert_eq!(pair.echo(1), Err(CallError::Lost));
        assert_eq!(runs.get(), 0);

        pair.heal();
        let (result, took) = timed(|| pair.echo(2));
        assert_eq!(result, Ok(2));
        assert!(took < STEPS, "it took {took:?}");
    });
}

#[test]
fn a_restarted_server_answers_once_it_serves() {
    story(|pair| {
        pair.serve_echo();
        pair.restart_server();
        assert_eq!(pair.echo(1), Err(CallError::Lost));

        pair.serve_echo();
        assert_eq!(pair.echo(2), Ok(2));
    });
}
