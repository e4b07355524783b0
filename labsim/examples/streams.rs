//! Who draws from what: take something out, and the chances of the rest stay.
//!
//! 1. Five messages go from a to b, each right after one from c to d. How long do
//!    a's take, with c's messages and without? Once as links draw it, and once
//!    from a single generator, which is what the simulator does not have.
//! 2. What a node rolls in two lives, alone; with another node that rolls in
//!    between; and with more rolls in the first life. Its second life does not
//!    notice, as each life has a stream of its own.
//!
//! Try: `-- --seed N`. Two generators in `from_one_generator`, one for a and one
//! for c: then c's messages do not matter. A second thread on a that rolls at the
//! same time: they share a stream, and the scheduler chooses who gets which number.
//!
//! Boundary: draws. What a link makes of them is in labrpc's `one_call`.

use std::process::ExitCode;

use labsim::links::{self, Fate};
use labsim::node::Node;
use labsim::rand::{self, Stream};
use labsim::time::Duration;
use labsim::{Config, simulate};

const MESSAGES: usize = 5;
const TRAVEL: std::ops::Range<Duration> = Duration::ZERO..Duration::from_millis(20);

/// How long a's messages travel: each has a stream, named after its link and number.
fn from_streams(seed: u64, with_c: bool) -> String {
    let outcome = simulate(Config::seed(seed), move || {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Node::new);
        for (from, to) in [(a, b), (c, d)] {
            links::change(from, to, |link| link.delay = TRAVEL);
        }
        let message = || {
            if with_c {
                links::send(c, d);
            }
            match links::send(a, b) {
                Fate::Arrives { after, .. } => after.as_millis(),
                fate => panic!("a link that only delays has done this: {fate:?}"),
            }
        };
        row((0..MESSAGES).map(|_| message()))
    });
    outcome.result.expect("nothing here fails a run")
}

/// The same, if all who draw shared a generator.
fn from_one_generator(seed: u64, with_c: bool) -> String {
    let mut all = Stream::new(seed, "all", 0, 0);
    let mut message = || {
        if with_c {
            all.between(TRAVEL);
        }
        all.between(TRAVEL).as_millis()
    };
    row((0..MESSAGES).map(|_| message()))
}

/// What node a rolls: so many times in its first life, and five times in its second.
fn rolls(seed: u64, in_first: usize, with_b: bool) -> [String; 2] {
    let outcome = simulate(Config::seed(seed), move || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let roll = |node: Node| node.spawn("dice", || rand::below(6) + 1).join().expect("it is up");
        [in_first, 5].map(|times| {
            let rolls = (0..times).map(|_| {
                if with_b {
                    roll(b);
                }
                roll(a)
            });
            let rolls = row(rolls);
            a.crash();
            a.restart();
            rolls
        })
    });
    outcome.result.expect("nothing here fails a run")
}

fn row(numbers: impl Iterator<Item = impl ToString>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

fn main() -> ExitCode {
    let seed = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => Some(7),
        [flag, number] if flag == "--seed" => number.parse().ok(),
        _ => None,
    };
    let Some(seed) = seed else {
        eprintln!("usage: streams [--seed N]    N: a whole number below 2^64; default 7");
        return ExitCode::from(2);
    };

    println!("1. Milliseconds from a to b      with c's messages   without");
    for (label, delays) in [
        ("a stream for each message", from_streams as fn(u64, bool) -> String),
        ("one generator for all", from_one_generator),
    ] {
        println!("   {label:<30}{:<20}{}", delays(seed, true), delays(seed, false));
    }
    println!("\n2. What node a rolls             first life          second life");
    for (label, in_first, with_b) in
        [("alone", 5, false), ("b rolls in between", 5, true), ("two rolls more", 7, false)]
    {
        let [first, second] = rolls(seed, in_first, with_b);
        println!("   {label:<30}{first:<20}{second}");
    }
    ExitCode::SUCCESS
}
