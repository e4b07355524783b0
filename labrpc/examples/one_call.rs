//! One call over a link that does one thing to it; then over one that does all.
//!
//! The moments of each call in order, as the record of the run has them: what
//! the client sees on the left, what the server sees on the right. The link to
//! the server is the one that loses, delays, duplicates or holds; the way back
//! is perfect. What is held is released after 10 ms.
//!
//! Try: `-- --seed N`. The link in the other direction. A `reorder` of 1.0, with a
//! `reorder_delay`. `up = false` after 3 ms, in place of `held = false` after 10.
//!
//! Boundary: one call. A client that asks until it is answered is in `echo`.

use std::process::ExitCode;

use labrpc::{Network, Service};
use labsim::links::{self, Link};
use labsim::node::Node;
use labsim::record::Event;
use labsim::time::Duration;
use labsim::{Config, note, simulate, thread};

const MS: Duration = Duration::from_millis(1);

/// Makes one call over such a link, and prints what becomes of it.
fn print_call(seed: u64, label: &str, link: Link) {
    let outcome = simulate(Config::seed(seed).record(true), move || {
        let (client, server) = (Node::new("client"), Node::new("server"));
        let network = Network::new();
        network.serve(server, Service::new().method("double", |n: u64| 2 * n));
        links::change(client, server, |to_server| *to_server = link);
        let end = network.end(client, server);
        let caller = client.spawn("caller", move || {
            if let Err(error) = end.call::<u64, u64>("double", &21) {
                note!("the caller gets", "{error:?}");
            }
        });
        thread::sleep(10 * MS);
        links::change(client, server, |to_server| to_server.held = false);
        caller.join().expect("nobody crashes");
        thread::sleep(20 * MS); // A second copy may be on its way.
    });
    outcome.result.expect("nothing here fails a run");

    let mut label = label;
    for event in outcome.record.events.iter().skip_while(|event| event.kind != "send") {
        let Some(what) = describe(event) else { continue };
        let side = match event.node {
            Some(node) if outcome.record.nodes[node.0 as usize] == "server" => 28,
            Some(_) => 0,
            None => 14, // Between the two.
        };
        println!("{label:<10}{:>8.3}  {:side$}{what}", event.at.as_secs_f64() * 1e3, "");
        label = "";
    }
}

/// None for what is not about messages.
fn describe(event: &Event) -> Option<String> {
    let text = |name| event.text_of(name).unwrap_or_default();
    match event.kind {
        "send" => Some(format!("{} leaves", text("leg"))),
        "duplicate" => Some(format!("{} is copied", text("leg"))),
        "deliver" => Some(format!("{} arrives", text("leg"))),
        "loss" => Some(format!("{}: {}", text("leg"), text("why"))),
        "link" => Some("the link is released".to_owned()),
        "note" => Some(format!("{} {}", text("topic"), text("text"))),
        _ => None,
    }
}

fn main() -> ExitCode {
    let seed = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => Some(1),
        [flag, number] if flag == "--seed" => number.parse().ok(),
        _ => None,
    };
    let Some(seed) = seed else {
        eprintln!("usage: one_call [--seed N]    N: a whole number below 2^64; default 1");
        return ExitCode::from(2);
    };

    println!("{:<10}{:>8}  {:<28}server", "", "ms", "client");
    let delay = 5 * MS..15 * MS;
    print_call(seed, "loss", Link { loss: 1.0, ..Link::PERFECT });
    print_call(seed, "delay", Link { delay: delay.clone(), ..Link::PERFECT });
    print_call(seed, "duplicate", Link { duplicate: 1.0, ..Link::PERFECT });
    print_call(seed, "hold", Link { held: true, ..Link::PERFECT });
    print_call(seed, "all", Link { loss: 0.2, delay, duplicate: 0.8, held: true, ..Link::PERFECT });
    ExitCode::SUCCESS
}
