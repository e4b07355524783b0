//! Notes: a run's story in its own order, which changes nothing.
//!
//! Boundary: what is kept, not how it is shown.

use labsim::node::Node;
use labsim::{Config, channel, note, simulate, thread};

use crate::MS;

#[test]
fn notes_come_in_order_with_time_node_and_thread() {
    let outcome = simulate(Config::seed(1), || {
        note!("test", "begins");
        let node = Node::new("S1");
        let said = node.spawn("talker", || {
            thread::sleep(5 * MS);
            note!("vote", "granted to {}", 3);
        });
        said.join().unwrap();
        note!("test", "ends");
    });
    let notes = outcome.notes;
    let told: Vec<_> = notes.iter().map(|note| (note.topic.as_str(), note.text.as_str())).collect();
    assert_eq!(told, [("test", "begins"), ("vote", "granted to 3"), ("test", "ends")]);

    let vote = &notes[1];
    assert_eq!((vote.node.as_deref(), vote.thread.as_str()), (Some("S1"), "talker"));
    assert!((5 * MS..6 * MS).contains(&vote.at), "noted at {:?}", vote.at);
    assert_eq!((notes[0].node.as_deref(), notes[0].thread.as_str()), (None, "main"));
    assert!(notes.is_sorted_by_key(|note| note.at));
    assert!(vote.to_string().starts_with("   0.005"), "{vote}");
    assert!(vote.to_string().ends_with("S1   talker         vote: granted to 3"), "{vote}");
}

#[test]
fn the_last_thousand_notes_are_kept() {
    let outcome = simulate(Config::seed(1), || (0..1500).for_each(|n| note!("count", "{n}")));
    let kept: Vec<u32> = outcome.notes.iter().map(|note| note.text.parse().unwrap()).collect();
    assert_eq!(kept, (500..1500).collect::<Vec<_>>());
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let outcome = simulate(Config::seed(1), || {
        note!("long", "{}", "x".repeat(600));
        note!("long", "x{}", "\u{e4}".repeat(300));
        note!("fits", "{}", "x".repeat(500));
    });
    let [ascii, umlauts, fits] = &outcome.notes[..] else { panic!("{} notes", outcome.notes.len()) };
    assert_eq!(ascii.text, format!("{} ..", "x".repeat(500)));
    assert_eq!(umlauts.text, format!("x{} ..", "\u{e4}".repeat(249)));
    assert_eq!(fits.text.len(), 500);
}

#[test]
fn a_failed_run_has_its_notes() {
    let outcome = simulate(Config::seed(1), || {
        note!("before", "the end");
        panic!("the end");
    });
    assert!(outcome.result.is_err());
    assert_eq!(outcome.notes.len(), 1);
}

#[test]
fn a_note_changes_nothing_in_a_run() {
    let run = |notes: bool, seed| {
        let outcome = simulate(Config::seed(seed), move || {
            let (tx, rx) = channel::unbounded();
            for n in 0..5 {
                let tx = tx.clone();
                Node::new("talker").spawn("talker", move || {
                    for _ in 0..10 {
                        if notes {
                            note!("talker", "{n}");
                        }
                        tx.send(labsim::rand::next_u64()).unwrap();
                        thread::yield_now();
                    }
                });
            }
            drop(tx);
            rx.iter().collect::<Vec<_>>()
        });
        assert_eq!(outcome.notes.len(), if notes { 50 } else { 0 });
        (outcome.hash, outcome.steps, outcome.elapsed, outcome.result.unwrap())
    };
    for seed in 0..50 {
        assert_eq!(run(false, seed), run(true, seed), "seed {seed}");
    }
}
