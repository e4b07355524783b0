//! Crashes: dead at once, locks free, wake-ups passed on, destructors without effect.
//!
//! Boundary: simulated crashes; those of OS threads are in `real.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use labsim::node::Node;
use labsim::sync::{Arc, Condvar, Mutex};
use labsim::{Config, FailureKind, channel, note, select, simulate, thread};

use crate::{MS, OnDrop, SEEDS, alone, failure, run, run_seeds};

// Dead at once.

#[test]
fn a_crashed_node_takes_not_one_more_step() {
    run_seeds(|| {
        let node = Node::new("counter");
        let steps = Arc::new(AtomicU32::new(0));
        for _ in 0..3 {
            let steps = Arc::clone(&steps);
            node.spawn("count", move || {
                loop {
                    steps.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
        thread::sleep(MS);

        node.crash();
        let at_crash = steps.load(Ordering::Relaxed);
        thread::sleep(5 * MS);
        assert!(at_crash > 0);
        assert_eq!(steps.load(Ordering::Relaxed), at_crash);
    });
}

#[test]
fn a_thread_that_crashes_its_own_node_does_not_return() {
    run_seeds(|| {
        let node = Node::new("suicidal");
        let survived = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&survived);
        let ended = node.spawn("crasher", move || {
            node.crash();
            theirs.store(true, Ordering::Relaxed);
        });
        assert!(ended.join().is_err());
        assert!(!survived.load(Ordering::Relaxed));
        assert!(!node.is_up());
    });
}

#[test]
fn a_crash_leaves_other_nodes_running() {
    run_seeds(|| {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        let forever = doomed.spawn("sleeper", thread::park);
        let works = other.spawn("worker", || {
            thread::sleep(10 * MS);
            7
        });
        thread::sleep(MS);
        doomed.crash();
        assert!(forever.join().is_err());
        assert_eq!(works.join().unwrap(), 7);
    });
}

#[test]
fn children_die_with_the_node_of_the_thread_that_spawned_them() {
    run_seeds(|| {
        let node = Node::new("parent");
        let (tx, rx) = channel::unbounded();
        node.spawn("parent", move || {
            thread::spawn("child", move || {
                thread::sleep(2 * MS);
                let _ = tx.send("a child outlived its node");
            });
        });
        thread::sleep(MS);
        node.crash();
        assert!(rx.recv().is_err());
    });
}

#[test]
fn a_thread_off_every_node_survives_the_crash_of_the_one_that_spawned_it() {
    let arrived = run(1, || {
        let node = Node::new("sender");
        let (tx, rx) = channel::unbounded();
        node.spawn("sender", move || {
            thread::spawn_off_node("message", move || {
                thread::sleep(2 * MS);
                let _ = tx.send("arrived");
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        rx.recv()
    });
    assert_eq!(arrived, Ok("arrived"));
}

#[test]
fn a_thread_that_has_not_begun_dies_too() {
    run_seeds(|| {
        let node = Node::new("slow");
        let begun = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&begun);
        let ended = node.spawn_after(2 * MS, "late", move || theirs.store(true, Ordering::Relaxed));
        thread::sleep(MS);
        node.crash();
        assert!(ended.is_finished());
        assert!(ended.join().is_err());
        thread::sleep(5 * MS);
        assert!(!begun.load(Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&begun), 1, "the closure of a dead thread was never dropped");
    });
}

#[test]
fn joining_a_dead_thread_is_an_error_before_and_after_its_death() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let first = node.spawn("first", thread::park);
        let second = node.spawn("second", thread::park);
        let joiner = thread::spawn("joiner", move || first.join().is_err());
        thread::sleep(MS);
        node.crash();
        assert!(joiner.join().unwrap(), "joined while it lived");
        assert!(second.join().is_err(), "joined when it was dead");
    });
}

#[test]
fn crashing_a_node_that_is_down_does_nothing() {
    run(1, || {
        let node = Node::new("down");
        node.crash();
        node.crash();
        assert_eq!((node.is_up(), node.life()), (false, 0));
    });
}

// Lives.

#[test]
fn a_restart_begins_a_new_life_without_threads() {
    run_seeds(|| {
        let node = Node::new("phoenix");
        let old = node.spawn("old", thread::park);
        assert!(node.is_in_life(0));
        node.crash();
        assert!(!node.is_in_life(0));

        node.restart();
        assert!(node.is_up() && node.is_in_life(1) && !node.is_in_life(0));
        assert!(old.is_finished());
        let new = node.spawn("new", || Node::current().map(|node| node.life()));
        assert_eq!(new.join().unwrap(), Some(1));
    });
}

#[test]
fn a_second_crash_kills_only_the_second_life() {
    run_seeds(|| {
        let node = Node::new("phoenix");
        for life in 1..4 {
            node.crash();
            node.restart();
            let ended = node.spawn("of this life", thread::park);
            thread::sleep(MS);
            assert!(!ended.is_finished(), "a thread of life {life} died of an earlier crash");
            assert_eq!(node.life(), life);
        }
    });
}

#[test]
fn a_spawn_on_a_node_that_is_down_never_starts() {
    run(1, || {
        let node = Node::new("down");
        node.crash();
        let ended = node.spawn("never", || panic!("it started"));
        assert!(ended.is_finished());
        assert!(ended.join().is_err());
        node.restart();
        thread::sleep(MS);
    });
}

#[test]
fn restarting_a_node_that_is_up_panics() {
    let failure = failure(1, || Node::new("up").restart());
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.message.contains("up is restarted while it is up"), "{failure}");
}

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

/// Runs `story` under many seeds. It returns whether it hit the case that it is
/// about; that it went through at all is what it asserts.
fn must_hit(story: impl Fn() -> bool + Send + Copy + 'static) {
    let hits = run_seeds(story).into_iter().filter(|hit| *hit).count();
    assert!(hits > 0, "none of {SEEDS} seeds killed the chosen waiter before it ran");
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
        // Both wait: they have had all the steps they want.
        (0..100).for_each(|_| thread::yield_now());
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

// Destructors.

#[test]
fn destructors_run_youngest_thread_first_before_the_crash_returns() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for age in 0..5 {
            let order = Arc::clone(&order);
            node.spawn("with a destructor", move || {
                let _last = OnDrop(|| order.lock().unwrap().push(age));
                thread::park();
            });
            thread::sleep(MS);
        }
        node.crash();
        assert_eq!(*order.lock().unwrap(), [4, 3, 2, 1, 0]);
    });
}

#[test]
fn a_send_out_of_a_dying_destructor_fails() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let (tx, rx) = channel::unbounded();
        let failed = Arc::new(AtomicBool::new(false));
        let (theirs, sender) = (Arc::clone(&failed), tx.clone());
        node.spawn("sender", move || {
            let _last =
                OnDrop(|| theirs.store(sender.send(1).is_err() && sender.try_send(2).is_err(), Ordering::Relaxed));
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert!(failed.load(Ordering::Relaxed));
        assert!(rx.is_empty());
    });
}

#[test]
fn a_selection_of_a_dying_destructor_takes_and_gives_nothing() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let ((tx, rx), (giving, hand)) = (channel::unbounded(), channel::bounded(0));
        let receiver = thread::spawn("receiver", move || hand.recv_timeout(10 * MS).is_err());
        tx.send(1).unwrap();
        let (last_words, theirs) = (Arc::new(AtomicU32::new(9)), rx.clone());
        let heard = Arc::clone(&last_words);
        node.spawn("selecting", move || {
            let _last = OnDrop(|| {
                let received = select! { recv(theirs) -> message => message.is_ok() };
                let given = select! { send(giving, 1) -> sent => sent.is_ok() };
                let handed = giving.try_send(2).is_ok() || giving.send(3).is_ok();
                let timed = channel::at(labsim::time::Instant::now()).recv().is_ok();
                heard.store([received, given, handed, timed].map(u32::from).iter().sum(), Ordering::Relaxed);
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(last_words.load(Ordering::Relaxed), 0);
        assert_eq!(rx.len(), 1);
        assert!(receiver.join().unwrap());
    });
}

#[test]
fn a_spawn_out_of_a_dying_destructor_starts_nothing() {
    run_seeds(|| {
        let (node, other) = (Node::new("doomed"), Node::new("other"));
        let outcomes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&outcomes);
        node.spawn("spawner", move || {
            let _last = OnDrop(|| {
                let mut outcomes = theirs.lock().unwrap();
                outcomes.push(thread::spawn("here", || panic!("it started")).join().is_err());
                outcomes.push(other.spawn("there", || panic!("it started")).join().is_err());
                outcomes.push(thread::spawn_off_node("between", || panic!("it started")).join().is_err());
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        thread::sleep(MS);
        assert_eq!(*outcomes.lock().unwrap(), [true, true, true]);
    });
}

#[test]
fn a_notify_and_an_unpark_out_of_a_dying_destructor_wake_nobody() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn("waiter", move || theirs.1.wait_for(&mut theirs.0.lock(), 10 * MS).timed_out());
        let (tx, rx) = channel::unbounded();
        let parked = thread::spawn("parked", move || {
            tx.send(thread::current()).unwrap();
            let begun = labsim::time::Instant::now();
            thread::park_timeout(10 * MS);
            begun.elapsed() >= 10 * MS
        });
        let parked_thread = rx.recv().unwrap();
        let woken = Arc::new(AtomicU32::new(99));
        let theirs = (Arc::clone(&shared), Arc::clone(&woken));
        node.spawn("notifier", move || {
            let _last = OnDrop(|| {
                let (shared, woken) = &theirs;
                parked_thread.unpark();
                let count = u32::from(shared.1.notify_one()) + shared.1.notify_all() as u32;
                woken.store(count, Ordering::Relaxed);
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        assert!(waiter.join().unwrap(), "a dead thread's notify woke somebody");
        assert!(parked.join().unwrap(), "a dead thread's unpark woke somebody");
    });
}

#[test]
fn what_a_dying_destructor_notes_and_writes_is_void() {
    let outcome = simulate(Config::seed(1), || {
        let node = Node::new("doomed");
        node.spawn("writer", || {
            let disk = Node::current().unwrap().disk();
            let _last = OnDrop(|| {
                note!("last", "words");
                disk.append("log", b"too late");
                disk.sync();
            });
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
        node.restart();
        node.disk().is_empty()
    });
    assert!(outcome.result.unwrap());
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
}

#[test]
fn a_dying_destructor_does_not_sleep() {
    let (before, after) = run(1, || {
        let node = Node::new("doomed");
        node.spawn("sleeper", || {
            let _last = OnDrop(|| thread::sleep(1000 * MS));
            thread::park();
        });
        thread::sleep(MS);
        let before = labsim::time::Instant::now();
        node.crash();
        (before, labsim::time::Instant::now())
    });
    assert!(after - before < MS, "a crash took {:?}", after - before);
}

#[test]
fn a_dying_destructor_gets_a_lock_of_another_dead_thread() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let locks: Arc<[Mutex<u32>; 3]> = Arc::default();
        // Each holds one lock and wants the next one's in its destructor, so
        // that the youngest thread's unwinding nests two levels deep.
        for at in 0..3 {
            let locks = Arc::clone(&locks);
            node.spawn("holder", move || {
                let wanted = Arc::clone(&locks);
                let _last = OnDrop(|| {
                    if at > 0 {
                        *wanted[at - 1].lock() += 1;
                    }
                });
                let _held = locks[at].lock();
                thread::park();
            });
            thread::sleep(MS);
        }
        node.crash();
        let counts: Vec<u32> = locks.iter().map(|lock| *lock.lock()).collect();
        assert_eq!(counts, [1, 1, 0]);
    });
}

#[test]
fn a_dying_destructor_that_needs_a_lock_of_a_live_node_fails_the_run() {
    let failure = failure(1, || {
        let (doomed, other) = (Node::new("doomed"), Node::new("other"));
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        other.spawn("holder", move || {
            let _held = theirs.lock();
            thread::park();
        });
        thread::sleep(MS);
        doomed.spawn("wanter", move || {
            let _last = OnDrop(|| drop(lock.lock()));
            thread::park();
        });
        thread::sleep(MS);
        doomed.crash();
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert_eq!(failure.node.as_deref(), Some("doomed"));
    assert!(
        failure.message.contains("`wanter` needs in a destructor the lock that thread `holder` took at"),
        "{failure}"
    );
    assert!(failure.message.contains("crash.rs:"), "{failure}");
}

#[test]
fn dying_destructors_that_need_each_others_locks_fail_the_run() {
    let failure = failure(1, || {
        let node = Node::new("doomed");
        let locks: Arc<[Mutex<()>; 2]> = Arc::default();
        for at in 0..2 {
            let locks = Arc::clone(&locks);
            node.spawn("holder", move || {
                let _held = locks[at].lock();
                let _last = OnDrop(|| drop(locks[1 - at].lock()));
                thread::park();
            });
        }
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("needs in a destructor the lock that thread `holder` took"), "{failure}");
}

#[test]
fn a_dying_destructor_that_waits_for_a_condition_fails_the_run() {
    let failure = failure(1, || {
        let node = Node::new("doomed");
        node.spawn("waiter", || {
            let (lock, never) = (Mutex::new(()), Condvar::new());
            let _last = OnDrop(|| never.wait(&mut lock.lock()));
            thread::park();
        });
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("waits in a destructor for a condition"), "{failure}");
}

#[test]
fn a_destructor_that_panics_while_its_thread_dies_fails_the_run() {
    alone("crash::a_destructor_that_panics_while_its_thread_dies_fails_the_run", || {
        let failure = failure(1, || {
            let node = Node::new("doomed");
            node.spawn("panicker", || {
                let _last = OnDrop(|| panic!("from a destructor"));
                thread::park();
            });
            thread::sleep(MS);
            node.crash();
        });
        assert_eq!(failure.kind, FailureKind::Panic);
        assert!(failure.message.contains("from a destructor"), "{failure}");
        assert_eq!(failure.thread, "panicker");
        assert_eq!(failure.node.as_deref(), Some("doomed"));
    });
}

#[test]
fn a_destructor_that_panics_when_the_run_is_over_fails_it() {
    alone("crash::a_destructor_that_panics_when_the_run_is_over_fails_it", || {
        let failure = failure(1, || {
            thread::spawn("panicker", || {
                let _last = OnDrop(|| panic!("from a destructor"));
                thread::park();
            });
            thread::sleep(MS);
        });
        assert!(failure.message.contains("from a destructor"), "{failure}");
    });
}

// Catching the unwinding.

#[test]
fn catching_the_unwinding_once_does_not_keep_a_thread_alive() {
    run_seeds(|| {
        let node = Node::new("doomed");
        let survived = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&survived);
        let ended = node.spawn("catcher", move || {
            let _ = catch_unwind(thread::park);
            thread::sleep(MS);
            theirs.store(true, Ordering::Relaxed);
        });
        thread::sleep(MS);
        node.crash();
        assert!(ended.join().is_err());
        assert!(!survived.load(Ordering::Relaxed));
    });
}

/// A thread that catches whatever `wait` throws and calls it again, for ever.
fn catches_for_ever(wait: impl Fn() + Send + 'static) {
    let failure = failure(1, move || {
        let node = Node::new("doomed");
        node.spawn("catcher", move || {
            loop {
                let _ = catch_unwind(AssertUnwindSafe(&wait));
            }
        });
        thread::sleep(MS);
        node.crash();
    });
    assert!(failure.message.contains("`catcher` keeps catching the unwinding that ends it"), "{failure}");
}

#[test]
fn catching_in_a_loop_around_a_sleep_is_reported() {
    catches_for_ever(|| thread::sleep(MS));
}

#[test]
fn catching_in_a_loop_around_a_park_is_reported() {
    catches_for_ever(thread::park);
}

#[test]
fn catching_in_a_loop_around_a_yield_is_reported() {
    catches_for_ever(thread::yield_now);
}

#[test]
fn catching_in_a_loop_around_a_lock_is_reported() {
    catches_for_ever(|| drop(Mutex::new(()).lock()));
}

#[test]
fn catching_in_a_loop_around_a_receive_is_reported() {
    catches_for_ever(|| {
        let (_tx, rx) = channel::unbounded::<()>();
        let _ = rx.recv();
    });
}

#[test]
fn catching_in_a_loop_around_a_full_send_is_reported() {
    catches_for_ever(|| {
        let (tx, _rx) = channel::bounded(1);
        let _ = (tx.send(1), tx.send(2));
    });
}

#[test]
fn catching_in_a_loop_around_a_condition_is_reported() {
    catches_for_ever(|| {
        let lock = Mutex::new(());
        Condvar::new().wait(&mut lock.lock());
    });
}

#[test]
fn catching_in_a_loop_around_a_join_is_reported() {
    catches_for_ever(|| drop(thread::spawn("never ends", thread::park).join()));
}

#[test]
fn catching_in_a_loop_around_a_selection_is_reported() {
    catches_for_ever(|| select! { recv(channel::never::<()>()) -> _ => () });
    catches_for_ever(|| select! { recv(channel::never::<()>()) -> _ => (), default => () });
    catches_for_ever(|| {
        let (tx, _rx) = channel::bounded(0);
        let _ = tx.send(1);
    });
    catches_for_ever(|| _ = channel::after(1000 * MS).recv());
}
