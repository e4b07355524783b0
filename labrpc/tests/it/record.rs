//! What the record of a run has of calls: where each message came from, and the one
//! end that each call comes to.
//!
//! Boundary: the events of labrpc. Those of labsim are tested there.

use std::collections::BTreeMap;

use labrpc::{CallError, Moment, Network, Service};
use labsim::node::{Node, NodeId};
use labsim::record::{self, Event, Record};
use labsim::{Config, links, simulate, thread};

use super::{Pair, SLOW_MS, STORY_SEEDS, ms};

/// Makes four nodes call each other over bad links, two of which crash; waits until
/// all that is under way has come to its end.
fn lossy() -> Network {
    let network = Network::new();
    network.set_reliable(false);
    network.set_long_reordering(true);
    let nodes = ["a", "b", "c", "d"].map(Node::new);
    let serve = |node: Node| {
        let network = network.clone();
        let echo = move |n: u64| {
            thread::sleep(ms(n % 7));
            n
        };
        network.serve(node, Service::new().method("echo", echo));
    };
    nodes.into_iter().for_each(serve);
    for (from, to) in [(0, 1), (1, 0), (2, 3), (3, 1)] {
        links::change(nodes[from], nodes[to], |link| {
            link.delay = ms(1)..ms(50);
            link.loss = 0.1;
            link.duplicate = 0.3;
        });
    }
    for from in nodes {
        for to in nodes {
            let end = network.end(from, to);
            from.spawn("caller", move || {
                for n in 0..20 {
                    let _ = end.call::<u64, u64>(if n == 19 { "other" } else { "echo" }, &n);
                }
            });
        }
    }
    for round in 0..4 {
        thread::sleep(ms(300));
        links::change(nodes[0], nodes[2], |link| link.up = round % 2 == 1);
        links::change(nodes[2], nodes[1], |link| link.up = round == 3);
        nodes[3].crash();
        nodes[3].restart();
        serve(nodes[3]);
    }
    nodes[1].crash();
    thread::sleep(ms(60_000));
    network
}

fn of<'a>(record: &'a Record, kind: &'a str, leg: &'a str) -> impl Iterator<Item = &'a Event> {
    record.events.iter().filter(move |event| event.kind == kind && event.text_of("leg") == Some(leg))
}

fn number(event: &Event, name: &str) -> u64 {
    event.number_of(name).unwrap_or_else(|| panic!("no {name}: {event:?}"))
}

#[test]
fn every_call_comes_to_one_end() {
    let mut whys: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut duplicates = 0;
    for seed in 0..STORY_SEEDS {
        let outcome = simulate(Config::seed(seed).record(true), || lossy().traffic().calls());
        let (calls, record) = (outcome.result.unwrap(), outcome.record);
        assert_eq!(record.dropped, 0);

        let mut left: BTreeMap<u64, i64> = BTreeMap::new();
        for event in of(&record, "send", "request").chain(of(&record, "duplicate", "request")) {
            *left.entry(number(event, "call")).or_default() += 1;
        }
        let losses = || record.events.iter().filter(|event| event.kind == "loss");
        for event in of(&record, "deliver", "reply").chain(losses()) {
            *left.entry(number(event, "call")).or_default() -= 1;
        }
        assert_eq!(left.len() as u64, calls, "seed {seed}");
        let odd: Vec<_> = left.into_iter().filter(|(_, left)| *left != 0).collect();
        assert!(odd.is_empty(), "seed {seed}: calls with another number of ends: {odd:?}");

        // The same for each leg by itself.
        let count = |kind: &str, leg: &str| of(&record, kind, leg).count();
        assert_eq!(
            count("send", "request") + count("duplicate", "request"),
            count("deliver", "request") + count("loss", "request")
        );
        let unanswered = count("deliver", "request") - count("send", "reply");
        assert_eq!(count("send", "reply") + unanswered, count("deliver", "reply") + count("loss", "reply"));
        duplicates += count("duplicate", "request");
        for event in losses() {
            let text = |name| event.text_of(name).unwrap().to_owned();
            *whys.entry((text("leg"), text("why"))).or_default() += 1;
        }
    }
    let all = ["lost", "cut", "crashed"].map(|why| ("request", why)).into_iter();
    let all = all.chain(["lost", "cut", "crashed", "late"].map(|why| ("reply", why)));
    let expected: Vec<_> = all.map(|(leg, why)| (leg.to_owned(), why.to_owned())).collect();
    assert!(expected.iter().all(|loss| whys.contains_key(loss)), "never seen: some of {expected:?}, only {whys:?}");
    assert!(whys.len() == expected.len() && duplicates > 100, "{whys:?}, {duplicates} duplicates");
}

#[test]
fn what_is_delivered_was_sent() {
    for seed in 0..STORY_SEEDS {
        let outcome = simulate(Config::seed(seed).record(true), || _ = lossy());
        outcome.result.unwrap();
        let record = outcome.record;
        let mut replies: BTreeMap<u64, u64> = BTreeMap::new();
        for leg in ["request", "reply"] {
            for event in of(&record, "deliver", leg) {
                let [cause] = event.causes[..] else { panic!("seed {seed}: {event:?}") };
                let send = record.event(cause).unwrap();
                assert_eq!((send.kind, send.text_of("leg")), ("send", Some(leg)));
                assert!(send.at <= event.at);
                for name in ["call", "from", "to", "method", "bytes"] {
                    assert_eq!(send.field(name), event.field(name), "{send:?} {event:?}");
                }
                assert_eq!(send.node, Some(NodeId(number(event, "from") as u32)));
                assert_eq!(event.node, Some(NodeId(number(event, "to") as u32)));
            }
            for event in of(&record, "loss", leg) {
                assert!(!event.causes.is_empty(), "{event:?}");
            }
        }
        for event in of(&record, "send", "reply") {
            let request = record.event(number(event, "delivery")).unwrap();
            assert_eq!((request.kind, request.text_of("leg")), ("deliver", Some("request")));
            assert_eq!(number(request, "call"), number(event, "call"));
            *replies.entry(request.number).or_default() += 1;
        }
        assert!(replies.values().all(|count| *count == 1), "seed {seed}: a delivery was answered twice");
    }
}

#[test]
fn recording_changes_nothing() {
    for seed in 0..STORY_SEEDS {
        let facts = |record| {
            let outcome = simulate(Config::seed(seed).record(record), || lossy().traffic().bytes());
            (outcome.hash, outcome.steps, outcome.elapsed, outcome.result.unwrap())
        };
        assert_eq!(facts(true), facts(false), "seed {seed}");
    }
}

/// The record of a story that ends well.
#[track_caller]
fn told(story: impl FnOnce(&Pair) + Send + 'static) -> Record {
    let outcome = simulate(Config::seed(1).record(true), move || story(&Pair::new()));
    outcome.result.unwrap();
    outcome.record
}

/// What was lost in a story: leg, why, and the kinds that it came from.
fn losses(story: fn(&Pair)) -> Vec<(String, String, Vec<&'static str>)> {
    let record = told(story);
    let losses = record.events.iter().filter(|event| event.kind == "loss");
    losses
        .map(|event| {
            let text = |name| event.text_of(name).unwrap().to_owned();
            let causes = event.causes.iter().map(|cause| record.event(*cause).unwrap().kind);
            (text("leg"), text("why"), causes.collect())
        })
        .collect()
}

#[test]
fn a_loss_says_why_and_what_it_came_from() {
    fn one(leg: &str, why: &str, causes: &[&'static str]) -> Vec<(String, String, Vec<&'static str>)> {
        vec![(leg.to_owned(), why.to_owned(), causes.to_vec())]
    }
    fn fails(pair: &Pair) {
        assert_eq!(pair.echo(7), Err(CallError::Lost));
    }
    assert_eq!(losses(fails), one("request", "crashed", &["send"]), "nobody serves");
    let cut = losses(|pair| {
        pair.serve_echo();
        pair.cut();
        fails(pair);
    });
    assert_eq!(cut, one("request", "cut", &["send"]));
    let lost = losses(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.loss = 1.0);
        fails(pair);
    });
    assert_eq!(lost, one("request", "lost", &["send"]));
    let lost_back = losses(|pair| {
        pair.serve_echo();
        pair.change_back(|link| link.loss = 1.0);
        fails(pair);
    });
    assert_eq!(lost_back, one("reply", "lost", &["send"]));
    let cut_back = losses(|pair| {
        pair.serve_slow();
        pair.after(SLOW_MS - 20, |pair| pair.change_back(|link| link.up = false));
        fails(pair);
    });
    assert_eq!(cut_back, one("reply", "cut", &["send"]));
    let dead_on_arrival = losses(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.delay = ms(10)..ms(11));
        pair.after(5, |pair| pair.server.crash());
        fails(pair);
    });
    assert_eq!(dead_on_arrival, one("request", "crashed", &["send"]));
    let dead_at_work = losses(|pair| {
        pair.serve_slow();
        pair.after(50, |pair| pair.server.crash());
        fails(pair);
    });
    assert_eq!(dead_at_work, one("reply", "crashed", &["deliver", "crash"]));
    let replaced = losses(|pair| {
        pair.network.serve(pair.server, Service::new().method("echo", |n: u64| (thread::sleep(ms(50)), n).1));
        pair.after(20, |pair| _ = pair.serve_echo());
        fails(pair);
    });
    assert_eq!(replaced, one("reply", "crashed", &["send"]), "who served does not serve any more");
    let dead_caller = losses(|pair| {
        pair.serve_echo();
        pair.change_back(|link| link.delay = ms(50)..ms(51));
        let end = pair.end.clone();
        pair.client.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        thread::sleep(ms(20));
        pair.client.crash();
    });
    assert_eq!(dead_caller, one("reply", "crashed", &["send", "crash"]));
    let given_up = losses(|pair| {
        pair.serve_slow();
        pair.after(50, Pair::cut);
        fails(pair);
        thread::sleep(ms(SLOW_MS));
    });
    assert_eq!(given_up, one("reply", "late", &["send"]));
    let twice = losses(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.duplicate = 1.0);
        assert_eq!(pair.echo(7), Ok(7));
        thread::sleep(ms(10));
    });
    assert_eq!(twice, one("reply", "late", &["send"]));
}

#[test]
fn a_run_that_is_over_loses_nothing() {
    let under_way = losses(|pair| {
        pair.serve_slow();
        let end = pair.end.clone();
        pair.client.spawn("caller", move || end.call::<u64, u64>("echo", &7));
        pair.change_there(|link| link.delay = ms(50)..ms(51));
        thread::sleep(ms(10));
    });
    assert_eq!(under_way, []);
}

#[test]
fn a_duplicated_request_is_delivered_and_answered_twice() {
    let record = told(|pair| {
        pair.serve_echo();
        pair.change_there(|link| link.duplicate = 1.0);
        assert_eq!(pair.echo(7), Ok(7));
        thread::sleep(ms(10));
    });
    let deliveries: Vec<u64> = of(&record, "deliver", "request").map(|event| event.number).collect();
    let mut answered: Vec<u64> = of(&record, "send", "reply").map(|event| number(event, "delivery")).collect();
    answered.sort_unstable();
    assert_eq!((deliveries.len(), &answered), (2, &deliveries));
    let send = of(&record, "send", "request").next().unwrap();
    assert_eq!(of(&record, "duplicate", "request").next().unwrap().causes, [send.number]);
}

#[test]
fn a_refusal_is_a_reply_too() {
    let record = told(|pair| {
        pair.serve_echo();
        assert_eq!(pair.end.call::<u64, u64>("ohce", &7), Err(CallError::Refused));
    });
    let [send, deliver] = ["send", "deliver"].map(|kind| of(&record, kind, "reply").next().unwrap());
    assert_eq!(send.field("refused"), Some(&true.into()));
    assert_eq!((number(deliver, "call"), number(deliver, "bytes")), (1, 0));
}

#[test]
fn what_a_message_leads_to_comes_from_its_delivery() {
    let record = told(|pair| {
        let method = |n: u64| {
            record::emit("handles", Vec::new);
            n
        };
        pair.network.serve(pair.server, Service::new().method("echo", method));
        let end = pair.end.clone();
        let caller = pair.client.spawn("caller", move || {
            record::emit("asks", Vec::new);
            end.call::<u64, u64>("echo", &7).unwrap();
            record::emit("knows", Vec::new);
        });
        caller.join().unwrap();
    });
    let find = |kind: &str| record.events.iter().find(|event| event.kind == kind).unwrap();
    let first = |kind, leg| of(&record, kind, leg).next().unwrap();
    assert_eq!(first("send", "request").causes, [find("asks").number]);
    assert_eq!(find("handles").causes, [first("deliver", "request").number]);
    assert_eq!(first("send", "reply").causes, [find("handles").number]);
    assert_eq!(find("knows").causes, [first("deliver", "reply").number]);
}

/// Whether a call still can be answered is the network's to ask.
#[test]
fn the_looks_of_a_waiting_call_are_no_timers() {
    let record = told(|pair| {
        pair.serve_slow();
        let end = pair.end.clone();
        let caller = move || {
            end.call::<u64, u64>("echo", &7).unwrap();
            thread::sleep(ms(3));
        };
        pair.client.spawn("caller", caller).join().unwrap();
    });
    let timers = record.events.iter().filter(|event| event.kind == "timer");
    let waited: Vec<(Option<NodeId>, u64)> = timers.map(|event| (event.node, number(event, "waited_us"))).collect();
    assert_eq!(waited, [(Some(NodeId(1)), SLOW_MS * 1000), (Some(NodeId(0)), 3000)]);
}

#[test]
fn observers_are_called_in_order_and_may_amend() {
    let record = told(|pair| {
        pair.serve_echo();
        for observer in [1_u64, 2] {
            pair.network.observe(move |passing| {
                assert_eq!(passing.event, record::last(), "it is the last event");
                let value: u64 = *passing.value.downcast_ref().unwrap();
                record::amend(passing.event, || vec![("said", (observer * value).into())]);
                if observer == 2 && passing.moment == Moment::RequestArrives {
                    record::emit("seen", Vec::new);
                }
            });
        }
        assert_eq!(pair.echo(7), Ok(7));
    });
    let messages =
        ["request", "reply"].map(|leg| ["send", "deliver"].map(|kind| of(&record, kind, leg).next().unwrap()));
    for event in messages.as_flattened() {
        assert_eq!(number(event, "said"), 14, "the second one comes second: {event:?}");
    }
    assert_eq!(record.events.iter().filter(|event| event.kind == "seen").count(), 1);
}
