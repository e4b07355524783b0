//! What a crash does to those who wait: locks come free, turns and messages are
//! passed on, channels lose an end.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`. Read-write
//! locks, initialisers and barriers are in `locks.rs`.

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{channel, select, thread};

use crate::{MS, let_others_run, must_hit, run_seeds};

// Locks and waits.

#[test]
fn a_lock_held_by_a_dead_thread_goes_to_a_waiter_on_another_node() {
    run_seeds(|| {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        let lock = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&lock);
        doomed.spawn("holder", move || {
            let mut number = theirs.lock();
            *number = 1;
            let never = Condvar::new();
            let unrelated = Mutex::new(());
            never.wait(&mut unrelated.lock()); // With the other lock in hand.
            *number = 2;
        });
        thread::sleep(MS);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let lock = Arc::clone(&lock);
                other.spawn("waiter", move || *lock.lock())
            })
            .collect();
        thread::sleep(MS);
        assert!(lock.is_locked() && waiters.iter().all(|waiter| !waiter.is_finished()));

        doomed.crash();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn the_turn_at_a_lock_is_passed_on_when_the_chosen_waiter_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let lock = Arc::new(Mutex::new(()));
        let waiting = |lock: &Arc<Mutex<()>>| {
            let lock = Arc::clone(lock);
            move || drop(lock.lock())
        };
        let held = lock.lock();
        let dead = doomed.spawn("to be killed", waiting(&lock));
        let live = thread::spawn("to go on", waiting(&lock));
        let_others_run();
        drop(held);
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        live.join().expect("the lock is free and nobody was told");
        chosen_is_next
    });
}

#[test]
fn a_notification_is_passed_on_when_the_chosen_waiter_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let waiting = |shared: &Arc<(Mutex<i32>, Condvar)>| {
            let shared = Arc::clone(shared);
            move || {
                let mut tickets = shared.0.lock();
                shared.1.wait_while(&mut tickets, |tickets| *tickets == 0);
                *tickets -= 1;
            }
        };
        let dead = doomed.spawn("to be killed", waiting(&shared));
        let live = thread::spawn("to go on", waiting(&shared));
        thread::sleep(MS);
        *shared.0.lock() = 1;
        assert!(shared.1.notify_one());
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        // Had the dead one the time to take the ticket, there is none left.
        if *shared.0.lock() == 1 || live.is_finished() {
            live.join().expect("there is a ticket, and nobody was told");
            return chosen_is_next;
        }
        false
    });
}

#[test]
fn a_message_is_passed_on_when_the_chosen_receiver_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let (tx, rx) = channel::unbounded();
        let receiving = |rx: &channel::Receiver<i32>| {
            let rx = rx.clone();
            move || rx.recv().unwrap()
        };
        let dead = doomed.spawn("to be killed", receiving(&rx));
        let live = thread::spawn("to go on", receiving(&rx));
        thread::sleep(MS);
        tx.send(1).unwrap();
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        if rx.len() == 1 || live.is_finished() {
            assert_eq!(live.join().expect("there is a message, and nobody was told"), 1);
            return chosen_is_next;
        }
        false
    });
}

#[test]
fn room_in_a_channel_is_passed_on_when_the_chosen_sender_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let (tx, rx) = channel::bounded(1);
        tx.send(0).unwrap();
        let sending = |tx: &channel::Sender<i32>| {
            let tx = tx.clone();
            move || tx.send(1).unwrap()
        };
        let dead = doomed.spawn("to be killed", sending(&tx));
        let live = thread::spawn("to go on", sending(&tx));
        thread::sleep(MS);
        assert_eq!(rx.recv(), Ok(0));
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        if rx.is_empty() || live.is_finished() {
            live.join().expect("there is room, and nobody was told");
            return chosen_is_next;
        }
        false
    });
}

#[test]
fn a_message_is_passed_on_when_the_chosen_selection_is_killed() {
    must_hit(|| {
        let doomed = Node::new("doomed");
        let (tx, rx) = channel::unbounded();
        let selecting = |rx: &channel::Receiver<i32>| {
            let rx = rx.clone();
            move || {
                select! {
                    recv(channel::after(1000 * MS)) -> _ => 0,
                    recv(rx) -> message => message.unwrap(),
                    recv(rx) -> message => message.unwrap(),
                }
            }
        };
        let dead = doomed.spawn("to be killed", selecting(&rx));
        let live = thread::spawn("to go on", selecting(&rx));
        thread::sleep(MS);
        tx.send(1).unwrap();
        let chosen_is_next = !dead.is_finished() && !live.is_finished();
        doomed.crash();
        if rx.len() == 1 || live.is_finished() {
            assert_eq!(live.join().unwrap(), 1, "there is a message, and nobody was told");
            return chosen_is_next;
        }
        false
    });
}

/// How long a crowd has before one half of it is killed.
fn a_moment(steps: u64) {
    (0..labsim::rand::below(steps)).for_each(|_| thread::yield_now());
}

/// Half of those who receive are killed at any moment. A message was sent if
/// and only if somebody took it: what happens at the taking is no step.
#[test]
fn who_is_told_that_a_message_was_taken_is_told_the_truth() {
    type Receive = fn(&channel::Receiver<u64>) -> Option<u64>;
    type Send = fn(&channel::Sender<u64>, u64) -> bool;
    const RECEIVES: [Receive; 3] = [
        |rx| rx.recv().ok(),
        |rx| rx.recv_timeout(MS / 100).ok(),
        |rx| select! { recv(channel::never::<()>()) -> _ => None, recv(rx) -> message => message.ok() },
    ];
    const SENDS: [Send; 4] = [
        |tx, n| tx.send(n).is_ok(),
        |tx, n| tx.send_timeout(n, MS / 100).is_ok(),
        |tx, n| tx.try_send(n).is_ok(),
        |tx, n| select! { recv(channel::never::<()>()) -> _ => false, send(tx, n) -> sent => sent.is_ok() },
    ];
    for receive in RECEIVES {
        for send in SENDS {
            let fell = run_seeds(move || {
                let (doomed, lasting) = (Node::new("doomed"), Node::new("lasting"));
                let (tx, rx) = channel::bounded(0);
                let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
                for node in [doomed, doomed, lasting] {
                    let (rx, taken) = (rx.clone(), Arc::clone(&taken));
                    node.spawn("receiver", move || {
                        loop {
                            if let Some(message) = receive(&rx) {
                                taken.lock().unwrap().push(message);
                            }
                            thread::yield_now();
                        }
                    });
                }
                let sender = thread::spawn("sender", move || {
                    let told = |n: &u64| {
                        let told = send(&tx, *n);
                        a_moment(3);
                        told
                    };
                    (0..10).filter(told).collect::<Vec<u64>>()
                });
                a_moment(60);
                let before = taken.lock().unwrap().len();
                doomed.crash();
                let told = sender.join().unwrap();
                let taken = taken.lock().unwrap().clone();
                assert_eq!(told, taken);
                (1..9).contains(&before)
            });
            assert!(fell.into_iter().any(|fell| fell), "no crash fell among the messages");
        }
    }
}

/// The other way round: senders are killed. What was taken was sent by somebody,
/// once, and whoever waits for it goes on with another.
#[test]
fn a_receiver_goes_on_when_the_sender_that_it_met_is_killed() {
    let fell = run_seeds(|| {
        let (doomed, lasting) = (Node::new("doomed"), Node::new("lasting"));
        let (tx, rx) = channel::bounded(0);
        for (base, node) in (0..).zip([doomed, doomed, lasting]) {
            let tx = tx.clone();
            node.spawn("sender", move || {
                for n in 20 * base..20 * base + 10 {
                    let make = || {
                        thread::yield_now();
                        n
                    };
                    match n % 3 {
                        0 => tx.send(n).unwrap(),
                        1 => tx.send_timeout(n, 1000 * MS).unwrap(),
                        _ => select! { send(tx, make()) -> sent => sent.unwrap() },
                    }
                }
            });
        }
        drop(tx);
        let receivers = [0, 1].map(|which| {
            let rx = rx.clone();
            thread::spawn("receiver", move || {
                let mut received = Vec::new();
                loop {
                    let message = match which {
                        0 => rx.recv().ok(),
                        _ => select! { recv(rx) -> message => message.ok() },
                    };
                    match message {
                        Some(message) => received.push(message),
                        None => return received,
                    }
                }
            })
        });
        a_moment(100);
        doomed.crash();
        let mut received: Vec<u32> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        received.sort_unstable();
        let count = received.len();
        received.dedup();
        assert_eq!(received.len(), count, "a message came twice");
        assert!((40..50).all(|n| received.contains(&n)), "a live sender's messages are {received:?}");
        count < 30 && count > 10
    });
    assert!(fell.into_iter().any(|fell| fell), "no crash fell among the messages");
}

#[test]
fn a_killed_thread_gives_back_the_room_that_it_has_selected() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let (tx, rx) = channel::bounded(1);
        let theirs = tx.clone();
        node.spawn("selecting", move || {
            let stay = || {
                thread::park();
                1
            };
            select! { send(theirs, stay()) -> _ => () }
        });
        thread::sleep(MS);
        assert!(tx.try_send(2).is_err(), "the room is promised");
        let waiting = thread::spawn("waiting", move || tx.send(3));
        thread::sleep(MS);
        node.crash();
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(rx.iter().collect::<Vec<_>>(), [3]);
    });
}

#[test]
fn a_message_to_a_thread_of_a_dead_node_comes_back() {
    run_seeds(|| {
        for capacity in [None, Some(1), Some(0)] {
            let node = Node::new("doomed");
            let (tx, rx) = capacity.map_or_else(channel::unbounded, channel::bounded);
            node.spawn("receiver", move || {
                thread::park();
                drop(rx);
            });
            // One that is too early to know, unless it has to wait.
            let early = tx.clone();
            let early = thread::spawn("early", move || [early.send(1), early.send(2)]);
            thread::sleep(MS);
            node.crash();
            assert_eq!(tx.send(3), Err(channel::SendError(3)));
            assert_eq!(tx.try_send(4), Err(channel::TrySendError::Disconnected(4)));
            assert_eq!(select! { send(tx, 5) -> sent => sent }, Err(channel::SendError(5)));
            node.restart();
            assert_eq!(tx.send(6), Err(channel::SendError(6)), "the next life has no such thread");
            let lost = [Err(channel::SendError(1)), Err(channel::SendError(2))];
            let expected = match capacity {
                None => [Ok(()), Ok(())],
                Some(1) => [Ok(()), lost[1]],
                _ => lost,
            };
            assert_eq!(early.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_dead_thread_drops_its_ends_of_its_channels() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let (tx, rx) = channel::unbounded::<()>();
        node.spawn("sender", move || {
            thread::park();
            drop(tx);
        });
        let waiter = thread::spawn("receiver", move || rx.recv());
        thread::sleep(MS);
        node.crash();
        assert!(waiter.join().unwrap().is_err());
    });
}
