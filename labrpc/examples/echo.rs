//! A client, an echo server, and a network that does not do what it is told.
//!
//! The client asks until it is answered; the server sends back what it hears.
//! Three acts, told by the notes that the two leave as things happen:
//!
//! 1. *Lossy*: both links lose, delay and duplicate, and on top of that the
//!    network is an unreliable one of the classic kind. A try without a reply
//!    looks the same to the client whether its request was lost or its reply.
//! 2. *Cut and heal*: calls fail for as long as the link is down.
//! 3. *Hold and release*: nothing fails, it only takes longer.
//!
//! Then the counts of the first act, by somebody who sees both machines, for
//! this seed, for others, and for this one again: it repeats to the hash.
//!
//! Try: `-- --seed N`. `-- --real`, the same on OS threads in real time.
//! `duplicate: 1.0`: everything runs twice, and no client notices. The cut in
//! the other direction: then the server hears what fails.
//!
//! Boundary: one client, one call at a time. Bytes come back as they went.

use std::process::ExitCode;

use labrpc::{ClientEnd, Network, Service};
use labsim::links::{self, Link};
use labsim::node::Node;
use labsim::sync::{Arc, Mutex};
use labsim::thread::{self, JoinHandle};
use labsim::time::{Duration, Instant};
use labsim::{Config, Outcome, note, run_real, simulate};

/// How often the client asks one thing. To get so far is a bug, not bad luck.
const TRIES_MAX: u32 = 100;
const USAGE: &str = "usage: echo [--seed N] [--real]    N: default 2; --real: OS threads, real time";

/// The texts that the client sent, and whether each was answered.
type Tries = Vec<(String, bool)>;
/// What the server heard. It belongs to neither machine, but to whoever looks on.
type Heard = Arc<Mutex<Vec<String>>>;

/// Two machines, and what lies between them.
struct Stage {
    client: Node,
    server: Node,
    network: Network,
    heard: Heard,
}

impl Stage {
    fn set() -> Self {
        let (client, server) = (Node::new("client"), Node::new("server"));
        let network = Network::new();
        let heard = Heard::default();
        let hears = Arc::clone(&heard);
        let echo = move |text: String| {
            note!("hears", "{text}");
            hears.lock().push(text.clone());
            text
        };
        network.serve(server, Service::new().method("echo", echo));
        Self { client, server, network, heard }
    }

    fn lossy(&self) -> Counts {
        note!("act", "1, lossy");
        let delay = Duration::from_millis(5)..Duration::from_millis(15);
        let lossy = Link { loss: 0.2, delay, duplicate: 0.1, ..Link::PERFECT };
        self.set_links(&lossy);
        self.network.set_reliable(false);
        let tries = self.ask(&["one", "two", "three", "four", "five"]).join().expect("nobody crashes");
        thread::sleep(Duration::from_millis(100)); // A second copy may be on its way.
        self.set_links(&Link::PERFECT);
        self.network.set_reliable(true);
        count(&tries, &self.heard.lock())
    }

    fn cut_and_heal(&self) {
        note!("act", "2, cut and heal");
        self.network.set_long_delays(false); // A call over a cut link fails within 100 ms.
        links::change(self.client, self.server, |link| link.up = false);
        let asker = self.ask(&["anybody there"]);
        thread::sleep(Duration::from_millis(150));
        note!("link", "heals");
        links::change(self.client, self.server, |link| link.up = true);
        asker.join().expect("nobody crashes");
    }

    fn hold_and_release(&self) {
        note!("act", "3, hold and release");
        links::change(self.client, self.server, |link| link.held = true);
        let asker = self.ask(&["why so late"]);
        thread::sleep(Duration::from_millis(200));
        note!("link", "releases");
        links::change(self.client, self.server, |link| link.held = false);
        asker.join().expect("nobody crashes");
    }

    fn set_links(&self, link: &Link) {
        links::change(self.client, self.server, |there| *there = link.clone());
        links::change(self.server, self.client, |back| *back = link.clone());
    }

    /// Lets the client ask one question after the other, on a thread of its own.
    fn ask(&self, questions: &'static [&str]) -> JoinHandle<Tries> {
        let end = self.network.end(self.client, self.server);
        self.client.spawn("asker", move || questions.iter().flat_map(|text| ask_until_answered(&end, text)).collect())
    }
}

/// Every try has another text, since one that failed may have been executed.
fn ask_until_answered(end: &ClientEnd, question: &str) -> Tries {
    let mut tries = Tries::new();
    for number in 1..=TRIES_MAX {
        let text = format!("{question}? (try {number})");
        let asked = Instant::now();
        note!("asks", "{text}");
        let reply = end.call::<String, String>("echo", &text);
        let taken_ms = asked.elapsed().as_millis();
        tries.push((text, reply.is_ok()));
        match reply {
            Err(error) => note!("no reply", "{error:?}, after {taken_ms} ms"),
            Ok(echo) => {
                note!("reply", "{echo}, after {taken_ms} ms");
                return tries;
            }
        }
    }
    panic!("`{question}` was asked {TRIES_MAX} times in vain");
}

/// What became of all tries, seen from above: the client cannot tell these.
struct Counts {
    tries: usize,
    requests_lost: usize,
    replies_lost: usize,
    ran_twice: usize,
}

fn count(tries: &[(String, bool)], heard: &[String]) -> Counts {
    let mut counts = Counts { tries: tries.len(), requests_lost: 0, replies_lost: 0, ran_twice: 0 };
    for (text, is_answered) in tries {
        let runs = heard.iter().filter(|heard| *heard == text).count();
        counts.requests_lost += usize::from(runs == 0);
        counts.replies_lost += usize::from(runs > 0 && !is_answered);
        counts.ran_twice += usize::from(runs > 1);
    }
    counts
}

fn run(seed: u64, real: bool) -> Outcome<Counts> {
    let acts = || {
        let stage = Stage::set();
        let counts = stage.lossy();
        stage.cut_and_heal();
        stage.hold_and_release();
        counts
    };
    let config = Config::seed(seed).time_limit(Duration::from_secs(60));
    if real { run_real(config, acts) } else { simulate(config, acts) }
}

fn main() -> ExitCode {
    let (mut seed, mut real) = (2, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--real" => real = true,
            "--seed" => match args.next().map(|text| text.parse()) {
                Some(Ok(number)) => seed = number,
                _ => return usage("--seed needs a whole number below 2^64"),
            },
            _ => return usage(&format!("`{arg}` is not understood here")),
        }
    }

    let told = run(seed, real);
    told.notes.iter().for_each(|note| println!("{note}"));
    println!("\nAct 1  tries  requests lost  replies lost  ran twice  whole run  hash");
    print_row(&told);
    (1..=4).for_each(|n| print_row(&run(seed.wrapping_add(n), real)));
    let again = run(seed, real);
    print_row(&again);
    assert_eq!(told.hash, again.hash, "two runs of seed {seed} differ");
    ExitCode::from(u8::from(told.result.is_err()))
}

fn print_row(outcome: &Outcome<Counts>) {
    match &outcome.result {
        Err(failure) => println!("seed {}: {failure}", outcome.seed),
        Ok(Counts { tries, requests_lost, replies_lost, ran_twice }) => {
            print!("seed {:<4}{tries:>3} {requests_lost:>14} {replies_lost:>13} {ran_twice:>10}", outcome.seed);
            println!(" {:>7} ms  {:016x}", outcome.elapsed.as_millis(), outcome.hash);
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("echo: {problem}\n{USAGE}");
    ExitCode::from(2)
}
