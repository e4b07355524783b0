//! Links: what becomes of a message, and what that depends on.
//!
//! Boundary: fates, not messages: those are in labrpc.

use labsim::links::{self, Fate, Link};
use labsim::node::Node;
use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicBool, Ordering};
use labsim::time::Duration;
use labsim::{channel, thread};

use crate::{MS, run, run_seeds};

const AT_ONCE: Fate = Fate::Arrives { after: Duration::ZERO, again_after: None };

/// The fates of `count` messages over one link, set up by `change`.
fn fates(seed: u64, count: usize, change: impl FnOnce(&mut Link) + Send + 'static) -> Vec<Fate> {
    run(seed, move || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, change);
        (0..count).map(|_| links::send(a, b)).collect()
    })
}

#[test]
fn a_link_is_perfect_at_first() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        assert_eq!(links::get(a, b), Link::PERFECT);
        assert_eq!(Link::default(), Link::PERFECT);
        assert!(links::is_up(a, b) && links::is_instant(a, b));
        assert_eq!(links::send(a, b), AT_ONCE);
    });
}

#[test]
fn a_cut_takes_everything_in_its_direction_only() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.up = false);
        assert!((0..100).all(|_| links::send(a, b) == Fate::Cut));
        assert_eq!(links::send(b, a), AT_ONCE);
        assert!(!links::is_up(a, b) && links::is_up(b, a));
    });
}

#[test]
fn a_cut_comes_before_every_chance() {
    let fates = fates(1, 100, |link| {
        *link = Link { up: false, loss: 1.0, duplicate: 1.0, delay: MS..2 * MS, ..Link::PERFECT };
    });
    assert!(fates.iter().all(|fate| *fate == Fate::Cut));
}

#[test]
fn a_node_reaches_itself_over_any_link() {
    run(1, || {
        let a = Node::new("a");
        links::change(a, a, |link| *link = Link { up: false, loss: 1.0, ..Link::PERFECT });
        assert_eq!(links::send(a, a), AT_ONCE);
    });
}

#[test]
fn loss_takes_its_share_and_no_more() {
    assert!(fates(1, 100, |link| link.loss = 1.0).iter().all(|fate| *fate == Fate::Lost));
    let fates = fates(1, 10_000, |link| link.loss = 0.1);
    let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
    assert!((850..1150).contains(&lost), "{lost} of 10000 lost at p = 0.1");
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Lost | &AT_ONCE)));
}

#[test]
fn a_delay_is_drawn_anew_within_its_range() {
    let fates = fates(1, 1000, |link| link.delay = 5 * MS..10 * MS);
    let mut seen = std::collections::BTreeSet::new();
    for fate in fates {
        let Fate::Arrives { after, again_after: None } = fate else { panic!("{fate:?}") };
        assert!((5 * MS..10 * MS).contains(&after), "a delay of {after:?}");
        seen.insert(after);
    }
    assert!(seen.len() > 990, "only {} delays in 1000", seen.len());
}

#[test]
fn a_duplicate_has_a_delay_of_its_own() {
    let fates = fates(1, 10_000, |link| {
        link.duplicate = 0.2;
        link.delay = 5 * MS..10 * MS;
    });
    let mut copies = 0;
    for fate in fates {
        let Fate::Arrives { after, again_after } = fate else { panic!("{fate:?}") };
        let Some(again_after) = again_after else { continue };
        assert!((5 * MS..10 * MS).contains(&again_after));
        assert_ne!(after, again_after);
        copies += 1;
    }
    assert!((1800..2200).contains(&copies), "{copies} of 10000 duplicated at p = 0.2");
}

#[test]
fn reordering_adds_its_delay_to_some() {
    let fates = fates(1, 10_000, |link| {
        link.delay = MS..2 * MS;
        link.reorder = 0.3;
        link.reorder_delay = 100 * MS..200 * MS;
    });
    let mut late = 0;
    for fate in fates {
        let Fate::Arrives { after, .. } = fate else { panic!("{fate:?}") };
        let (plain, reordered) = (MS..2 * MS, 101 * MS..202 * MS);
        assert!(plain.contains(&after) || reordered.contains(&after), "a delay of {after:?}");
        late += usize::from(reordered.contains(&after));
    }
    assert!((2800..3200).contains(&late), "{late} of 10000 reordered at p = 0.3");
}

// What a fate depends on.

/// A link with a bit of everything.
fn bad(link: &mut Link) {
    *link = Link {
        loss: 0.2,
        delay: MS..20 * MS,
        duplicate: 0.3,
        reorder: 0.3,
        reorder_delay: 50 * MS..90 * MS,
        ..Link::PERFECT
    };
}

#[test]
fn fates_are_a_function_of_the_seed() {
    assert_eq!(fates(7, 100, bad), fates(7, 100, bad));
    assert_ne!(fates(7, 100, bad), fates(8, 100, bad));
}

#[test]
fn every_link_draws_for_itself() {
    let (alone, beside_others, others) = run(7, || {
        let nodes = [Node::new("a"), Node::new("b"), Node::new("c")];
        let [a, b, c] = nodes;
        let pairs = [(b, a), (a, c), (c, a), (b, c), (c, b)];
        for (from, to) in pairs {
            links::change(from, to, bad);
        }
        links::change(a, b, bad);
        let mut others = Vec::new();
        let fates: Vec<Fate> = (0..100)
            .map(|n| {
                for (from, to) in &pairs[..n % 6] {
                    others.push(links::send(*from, *to));
                }
                links::send(a, b)
            })
            .collect();
        (fates, (0..100).map(|_| links::send(b, a)).collect::<Vec<_>>(), others)
    });
    assert_eq!(alone, fates(7, 100, bad), "other links' messages changed the fates of this one");
    assert_ne!(alone, beside_others, "two directions share a stream");
    assert!(!others.is_empty());
}

#[test]
fn the_two_directions_between_two_nodes_draw_apart() {
    let (there, back): (Vec<Fate>, Vec<Fate>) = run(7, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, bad);
        links::change(b, a, bad);
        (0..100).map(|_| (links::send(a, b), links::send(b, a))).unzip()
    });
    assert_ne!(there, back, "the n-th messages of two links share a stream");
}

#[test]
fn fates_do_not_depend_on_time_threads_or_other_draws() {
    let busy = run(7, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, bad);
        (0..100)
            .map(|_| {
                labsim::rand::next_u64();
                thread::sleep(MS);
                a.spawn("sender", move || links::send(a, b)).join().unwrap()
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(busy, fates(7, 100, bad));
}

#[test]
fn what_is_lost_does_not_depend_on_the_delay() {
    let losses = |change: fn(&mut Link)| {
        let fates = fates(7, 500, move |link| {
            link.loss = 0.3;
            change(link);
        });
        fates.iter().map(|fate| *fate == Fate::Lost).collect::<Vec<_>>()
    };
    let plain = losses(|_| {});
    assert_eq!(plain, losses(|link| link.delay = MS..2 * MS));
    assert_eq!(plain, losses(|link| link.duplicate = 0.5));
}

// Changing.

#[test]
fn a_change_counts_for_messages_that_leave_later() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        for round in 1..5 {
            links::change(a, b, |link| link.delay = round * MS..round * MS + Duration::from_nanos(1));
            assert_eq!(links::send(a, b), Fate::Arrives { after: round * MS, again_after: None });
            links::change(a, b, |link| link.up = false);
            assert_eq!(links::send(a, b), Fate::Cut);
            links::change(a, b, |link| link.up = true);
        }
        links::change(a, b, |link| *link = Link::PERFECT);
        assert_eq!(links::send(a, b), AT_ONCE);
    });
}

#[test]
fn a_change_by_another_thread_is_seen_at_once() {
    run_seeds(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let cut = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&cut);
        thread::spawn("cutter", move || {
            thread::sleep(MS);
            links::change(a, b, |link| link.up = false);
            theirs.store(true, Ordering::SeqCst);
        });
        let mut sent = 0;
        while links::send(a, b) != Fate::Cut {
            assert!(!cut.load(Ordering::SeqCst) || links::send(a, b) == Fate::Cut, "a message went over a cut link");
            sent += 1;
            thread::yield_now();
        }
        assert!(sent > 0);
    });
}

#[test]
fn a_crash_and_a_restart_leave_links_as_they_are() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, bad);
        let before = links::get(a, b);
        b.crash();
        b.restart();
        assert_eq!(links::get(a, b), before);
    });
}

#[test]
fn an_instant_link_is_one_that_neither_delays_nor_holds() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        let changes: [fn(&mut Link); 4] = [
            |link| link.held = true,
            |link| link.delay = MS..2 * MS,
            |link| link.reorder = 0.1,
            |link| link.duplicate = 0.1,
        ];
        for change in changes {
            links::change(a, b, |link| *link = Link::PERFECT);
            assert!(links::is_instant(a, b));
            links::change(a, b, change);
            assert!(!links::is_instant(a, b), "{:?}", links::get(a, b));
        }
    });
}

// Holding.

#[test]
fn a_link_that_is_not_held_lets_through_at_once() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::wait_until_released(a, b);
        links::change(a, b, bad);
        links::wait_until_released(a, b);
    });
}

#[test]
fn a_held_link_lets_everything_through_when_it_is_released() {
    run_seeds(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.held = true);
        let (tx, rx) = channel::unbounded();
        for _ in 0..5 {
            let tx = tx.clone();
            thread::spawn("message", move || {
                links::wait_until_released(a, b);
                tx.send(()).unwrap();
            });
        }
        // Neither time nor a cut nor another link's release opens it.
        thread::sleep(10 * MS);
        links::change(a, b, |link| link.up = false);
        links::change(b, a, |link| link.held = true);
        links::change(b, a, |link| link.held = false);
        thread::sleep(10 * MS);
        assert!(rx.is_empty(), "a held link let a message through");

        links::change(a, b, |link| link.held = false);
        for _ in 0..5 {
            rx.recv_timeout(MS).expect("a released link kept a message");
        }
    });
}

#[test]
fn a_message_that_waits_at_a_held_link_dies_with_its_node() {
    run_seeds(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.held = true);
        let message = b.spawn("message", move || links::wait_until_released(a, b));
        thread::sleep(MS);
        b.crash();
        assert!(message.join().is_err());
        links::change(a, b, |link| link.held = false);
        links::wait_until_released(a, b);
    });
}
