//! Rendezvous, timers, and the selection among several channels.
//!
//! Boundary: threads of one world; who is killed meanwhile is told elsewhere.

use std::collections::BTreeSet;

use labsim::channel::{
    self, RecvError, RecvTimeoutError, Select, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use labsim::sync::atomic::{AtomicBool, Ordering::SeqCst};
use labsim::sync::{Arc, Mutex};
use labsim::time::{Duration, Instant};
use labsim::{Config, FailureKind, select, simulate, thread};

use super::{
    LONG, SEARCH_SEEDS, SHORT, STEPS, assert_failed, everywhere, failure_of, in_simulations, panic_of, receive_all,
    timed, wait_until, waits,
};

// Rendezvous.

#[test]
fn a_channel_without_room_holds_nothing() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        assert_eq!((tx.capacity(), rx.capacity()), (Some(0), Some(0)));
        assert_eq!((tx.len(), tx.is_empty(), tx.is_full()), (0, true, true));
        assert_eq!((rx.len(), rx.is_empty(), rx.is_full()), (0, true, true));
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(waits(|| tx.send_timeout(2, SHORT)), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(waits(|| rx.recv_timeout(SHORT)), Err(RecvTimeoutError::Timeout));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "what timed out was sent all the same");
    });
}

#[test]
fn a_send_without_room_returns_when_its_message_is_taken() {
    everywhere(|| receive_all(0));
}

/// Nobody receives, however long it takes.
#[test]
fn a_send_without_room_waits_for_a_receiver() {
    in_simulations(|| {
        let (tx, rx) = channel::bounded(0);
        let sent = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&sent);
        thread::spawn("sender", move || {
            tx.send(7).unwrap();
            theirs.store(true, SeqCst);
        });
        thread::sleep(LONG);
        assert!(!sent.load(SeqCst));
        assert_eq!(rx.try_recv(), Ok(7), "a sender waits, and its message is not to be had");
        thread::sleep(SHORT);
        assert!(sent.load(SeqCst));
    });
}

#[test]
fn a_try_send_without_room_wants_a_receiver_that_waits() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        let receiver = thread::spawn("receiver", move || (rx.recv(), rx.recv_timeout(LONG)));
        for message in [1, 2] {
            wait_until(|| tx.try_send(message).is_ok());
        }
        assert_eq!(receiver.join().unwrap(), (Ok(1), Ok(2)));
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    });
}

#[test]
fn a_try_recv_without_room_wants_a_sender_that_waits() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        let sender = thread::spawn("sender", move || (tx.send(1), tx.send_timeout(2, LONG)));
        let mut received = Vec::new();
        while received.len() < 2 {
            received.extend(rx.try_recv());
            thread::yield_now();
        }
        assert_eq!(received, [1, 2]);
        assert_eq!(sender.join().unwrap(), (Ok(()), Ok(())));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn the_last_receiver_to_go_gives_a_message_in_hand_back() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        let senders: Vec<_> = (1..4)
            .map(|n| {
                let tx = tx.clone();
                thread::spawn(format!("sender {n}"), move || (tx.send(n), tx.send_timeout(n, LONG)))
            })
            .collect();
        let last = rx.clone();
        drop(rx);
        thread::sleep(SHORT); // In a simulation they all wait now.
        drop(last);
        for (n, sender) in (1..4).zip(senders) {
            assert_eq!(sender.join().unwrap(), (Err(SendError(n)), Err(SendTimeoutError::Disconnected(n))));
        }
    });
}

#[test]
fn the_last_sender_to_go_ends_a_receive_without_room() {
    everywhere(|| {
        let (tx, rx) = channel::bounded::<u32>(0);
        let receiver = thread::spawn("receiver", move || (rx.recv(), rx.recv_timeout(LONG), rx.try_recv()));
        thread::sleep(SHORT);
        drop(tx);
        let gone = (Err(RecvError), Err(RecvTimeoutError::Disconnected), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.join().unwrap(), gone);
    });
}

/// Time-outs, senders and receivers in a crowd: what was sent was received,
/// once, and what was not came back.
#[test]
fn a_rendezvous_loses_and_doubles_nothing() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        let span = Duration::from_micros(300);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let tx = tx.clone();
                let send_all = move || {
                    let send = |n| match (sender + n) % 4 {
                        0 => tx.send(n).is_ok(),
                        1 => tx.send_timeout(n, span).is_ok(),
                        2 => tx.try_send(n).is_ok(),
                        _ => select! {
                            send(tx, n) -> sent => sent.is_ok(),
                            default(span) => false,
                        },
                    };
                    (20 * sender..20 * (sender + 1)).filter(|n| send(*n)).collect::<Vec<u32>>()
                };
                thread::spawn(format!("sender {sender}"), send_all)
            })
            .collect();
        drop(tx);
        let receivers: Vec<_> = (0..3)
            .map(|receiver| {
                let rx = rx.clone();
                let receive_all = move || {
                    let mut received = Vec::new();
                    loop {
                        let message = match (receiver + received.len()) % 3 {
                            0 => rx.recv().map_err(|_| true),
                            1 => rx.recv_timeout(span).map_err(|error| error == RecvTimeoutError::Disconnected),
                            _ => select! {
                                recv(rx) -> message => message.map_err(|_| true),
                                default(span) => Err(false),
                            },
                        };
                        match message {
                            Ok(message) => received.push(message),
                            Err(true) => return received,
                            Err(false) => thread::sleep(span / 3),
                        }
                    }
                };
                thread::spawn(format!("receiver {receiver}"), receive_all)
            })
            .collect();
        drop(rx);
        let sent: Vec<u32> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        let mut received: Vec<u32> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        received.sort_unstable();
        assert!(!sent.is_empty());
        assert_eq!(received, sent);
    });
}

// Timers.

#[test]
fn after_brings_its_moment_once() {
    everywhere(|| {
        let begun = Instant::now();
        let rx = channel::after(SHORT);
        assert_eq!(rx.capacity(), Some(1));
        let clone = rx.clone();
        assert!(rx.same_channel(&clone) && !rx.same_channel(&channel::after(SHORT)));
        let moment = clone.recv().unwrap();
        assert!(moment >= begun + SHORT && moment <= Instant::now());
        assert!(rx.is_empty());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn at_a_moment_that_has_passed_is_there_at_once() {
    everywhere(|| {
        let past = Instant::now();
        let rx = channel::at(past);
        assert_eq!((rx.len(), rx.is_full()), (1, true));
        assert_eq!(rx.try_recv(), Ok(past));
        let soon = Instant::now() + SHORT;
        let rx = channel::at(soon);
        assert_eq!(rx.recv_timeout(LONG), Ok(soon));
        assert!(Instant::now() >= soon);
    });
}

#[test]
fn ticks_come_one_by_one() {
    everywhere(|| {
        let begun = Instant::now();
        let rx = channel::tick(SHORT);
        let moments: Vec<_> = rx.iter().take(5).collect();
        for (n, moment) in (1..).zip(&moments) {
            assert!(*moment >= begun + n * SHORT, "tick {n} after {:?}", *moment - begun);
        }
        assert!(Instant::now() >= moments[4]);
        thread::sleep(3 * SHORT);
        assert!(rx.recv().is_ok());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "missed ticks pile up");
    });
}

#[test]
fn virtual_ticks_are_on_time_and_do_not_drift() {
    in_simulations(|| {
        let (begun, minute) = (Instant::now(), Duration::from_secs(60));
        let (rx, never) = (channel::tick(minute), channel::never::<()>());
        for n in 1..=10 {
            let moment = select! {
                recv(rx) -> moment => moment.unwrap(),
                recv(never) -> _ => unreachable!(),
            };
            assert!(moment - begun < n * minute + STEPS / 10, "tick {n} after {:?}", moment - begun);
            assert!(moment.elapsed() < STEPS);
        }
    });
}

/// A message of a timer goes to one of those who wait for it.
#[test]
fn clones_of_a_timer_share_its_message() {
    in_simulations(|| {
        let rx = channel::after(SHORT);
        let theirs = rx.clone();
        let other = thread::spawn("other", move || theirs.recv_timeout(10 * SHORT).is_ok());
        let mine = rx.recv_timeout(10 * SHORT).is_ok();
        assert!(mine != other.join().unwrap());
    });
}

#[test]
fn never_never_comes_and_costs_no_thread() {
    everywhere(|| {
        let rx = channel::never::<u32>();
        assert_eq!((rx.len(), rx.capacity()), (0, Some(0)));
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(channel::after(Duration::MAX).try_recv(), Err(TryRecvError::Empty));
    });
    let outcome = simulate(Config::seed(0), || {
        let _ = (channel::never::<u32>(), channel::tick(SHORT).recv(), channel::after(SHORT).recv());
    });
    assert_eq!((outcome.result.unwrap(), outcome.threads), ((), 1));
}

#[test]
fn waiting_for_a_timer_that_was_taken_is_a_deadlock() {
    let failure = failure_of(0, || {
        let rx = channel::after(SHORT);
        let _ = (rx.recv(), rx.recv());
    });
    assert_failed(&failure, FailureKind::Deadlock, "for a message, since 0.005s");
}

// Selection.

#[test]
fn a_selection_takes_what_is_ready() {
    everywhere(|| {
        let (full, _unread) = channel::bounded(1);
        full.send(0).unwrap();
        let (tx, rx) = channel::unbounded();
        let silent = channel::never::<u32>();
        let turn = |message: Option<u32>| {
            if let Some(message) = message {
                tx.send(message).unwrap();
            }
            select! {
                recv(silent) -> message => format!("silent: {message:?}"),
                send(full, 1) -> sent => format!("full: {sent:?}"),
                recv(rx) -> message => format!("rx: {message:?}"),
                default(SHORT) => "nothing".to_owned(),
            }
        };
        assert_eq!(turn(Some(7)), "rx: Ok(7)");
        assert_eq!(turn(None), "nothing");
        _unread.recv().unwrap();
        assert_eq!(turn(None), "full: Ok(())");
        assert_eq!(_unread.try_recv(), Ok(1));
    });
}

#[test]
fn a_selection_waits_for_what_comes_first() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        let (pong, ponged) = channel::bounded(0);
        let other = thread::spawn("other", move || {
            thread::sleep(SHORT);
            tx.send("ping").unwrap();
            ponged.recv()
        });
        let silent = channel::never::<()>();
        let first = select! {
            recv(silent) -> _ => "silent",
            recv(rx) -> message => message.unwrap(),
            recv(channel::after(LONG)) -> _ => "too late",
        };
        assert_eq!(first, "ping");
        select! {
            send(pong, first.len()) -> sent => sent.unwrap(),
            recv(silent) -> _ => {}
        }
        assert_eq!(other.join().unwrap(), Ok(4));
        let gone = select! {
            recv(rx) -> message => message.is_err(),
            recv(channel::after(LONG)) -> _ => false,
        };
        assert!(gone, "an end that is gone is not waited for");
    });
}

#[test]
fn a_selection_gives_up_in_time() {
    everywhere(|| {
        let (tx, rx) = channel::bounded::<u32>(0);
        let (outcome, took) = timed(|| {
            select! {
                recv(rx) -> _ => "received",
                send(tx, 1) -> _ => "sent to itself",
                default(SHORT) => "gave up",
            }
        });
        assert_eq!(outcome, "gave up");
        assert!(took >= SHORT, "over after {took:?}");
        assert_eq!(select! { recv(rx) -> _ => 1, default => 2 }, 2);
        assert_eq!(select! { default => 3 }, 3);
        let mut nothing = Select::new();
        assert!(nothing.try_select().is_err());
        let (gave_up, took) = timed(|| nothing.select_deadline(Instant::now() + SHORT).is_err());
        assert!(gave_up && took >= SHORT, "over after {took:?}");
    });
}

/// Two threads that both select meet, and a third that only looks meets them.
#[test]
fn selections_meet_each_other() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(0);
        let (back, answer) = channel::bounded(0);
        let silent = channel::never::<u32>();
        let other = thread::spawn("other", move || {
            let silent = channel::never::<u32>();
            for n in 0..10 {
                select! {
                    send(tx, n) -> sent => sent.unwrap(),
                    recv(silent) -> _ => unreachable!(),
                }
            }
            let mut last = None;
            while last.is_none() {
                last = select! {
                    recv(answer) -> answer => Some(answer),
                    default => {
                        thread::yield_now();
                        None
                    }
                };
            }
            last
        });
        for n in 0..10 {
            if n % 2 == 0 {
                wait_until(|| select! { recv(rx) -> message => message == Ok(n), default => false });
            } else {
                select! {
                    recv(rx) -> message => assert_eq!(message, Ok(n)),
                    recv(silent) -> _ => unreachable!(),
                }
            }
        }
        select! {
            recv(silent) -> _ => unreachable!(),
            send(back, "done") -> sent => sent.unwrap(),
        }
        assert_eq!(other.join().unwrap(), Some(Ok("done")));
    });
}

/// What is set aside for an operation stays, whatever others do meanwhile. On OS
/// threads these others would spin.
#[test]
fn a_selected_operation_can_be_finished_later() {
    in_simulations(|| {
        let (tx, rx) = channel::bounded(1);
        let mut sending = Select::new();
        let index = sending.send(&tx);
        let selected = sending.select();
        assert_eq!(selected.index(), index);
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)), "the room was promised to another");
        thread::yield_now();
        selected.send(&tx, 2).unwrap();

        let mut receiving = Select::new();
        receiving.recv(&rx);
        let selected = receiving.try_select().unwrap();
        assert_eq!(rx.clone().try_recv(), Err(TryRecvError::Empty), "the message was promised to another");
        assert_eq!(selected.recv(&rx), Ok(2));
        assert!(receiving.try_select().is_err());
        tx.send(3).unwrap();
        assert_eq!(rx.recv(), Ok(3));
    });
}

#[test]
fn indexes_stay_when_an_operation_is_removed() {
    everywhere(|| {
        let ends: Vec<_> = (0..3).map(|_| channel::unbounded()).collect();
        ends.iter().for_each(|(tx, _)| tx.send(7).unwrap());
        let mut select = Select::new();
        let indexes: Vec<usize> = ends.iter().map(|(_, rx)| select.recv(rx)).collect();
        assert_eq!(indexes, [0, 1, 2]);
        select.remove(0);
        select.remove(2);
        let selected = select.select_timeout(LONG).unwrap();
        assert_eq!(selected.index(), 1);
        assert_eq!(selected.recv(&ends[1].1), Ok(7));
    });
}

#[test]
fn an_operation_that_is_dropped_or_mistaken_panics() {
    let (tx, rx) = channel::unbounded();
    let (_, other) = channel::unbounded::<u32>();
    tx.send(1).unwrap();
    let select = || {
        let mut select = Select::new();
        select.recv(&rx);
        drop(select.select());
    };
    assert!(panic_of(select).contains("without completing the operation"));
    assert!(panic_of(|| Select::new().select().index()).contains("no operations have been added"));
    let failure = failure_of(0, || {
        let (tx, rx) = channel::unbounded();
        tx.send(1).unwrap();
        let mut select = Select::new();
        select.recv(&rx);
        let _ = select.select().index();
    });
    assert_failed(&failure, FailureKind::Panic, "without completing the operation");
    let failure = failure_of(0, || {
        let (tx, rx) = channel::unbounded();
        tx.send(1).unwrap();
        let mut select = Select::new();
        select.recv(&rx);
        select.select().recv(&rx.clone())
    });
    assert_failed(&failure, FailureKind::Panic, "passed a receiver that wasn't selected");
    let failure = failure_of(0, move || select! { recv(other) -> _ => (), default => () });
    assert_failed(&failure, FailureKind::Panic, "made outside of this simulation");
    let (_tx, theirs) = simulate(Config::seed(0), channel::unbounded::<u32>).result.unwrap();
    assert!(panic_of(|| select! { recv(theirs) -> _ => (), default => () }).contains("selected outside of it"));
    let timer = simulate(Config::seed(0), || channel::after(SHORT)).result.unwrap();
    let failure = failure_of(0, move || timer.recv());
    assert_failed(&failure, FailureKind::Panic, "belongs to another simulation");
}

#[test]
fn the_seed_draws_among_what_is_ready() {
    let story = || {
        let ends: Vec<_> = (0..3).map(|_| channel::unbounded()).collect();
        ends.iter().for_each(|(tx, _)| tx.send(()).unwrap());
        (0..3)
            .map(|_| {
                select! {
                    recv(ends[0].1) -> _ => 0,
                    recv(ends[1].1) -> _ => 1,
                    recv(ends[2].1) -> _ => 2,
                    default => 9,
                }
            })
            .collect::<Vec<u32>>()
    };
    let run = |seed| simulate(Config::seed(seed), story).result.unwrap();
    let orders: BTreeSet<Vec<u32>> = (0..SEARCH_SEEDS).map(run).collect();
    let expected = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(Vec::from);
    assert_eq!(orders, BTreeSet::from(expected));
    assert_eq!(run(17), run(17));
}

/// Whoever is woken for one channel and takes from another wakes somebody else.
#[test]
fn a_wake_up_that_a_selection_does_not_use_is_passed_on() {
    in_simulations(|| {
        let ((a_tx, a), (b_tx, b)) = (channel::unbounded(), channel::unbounded());
        let b_too = b.clone();
        let both = thread::spawn("both", move || select! { recv(a) -> n => n, recv(b) -> n => n });
        let only = thread::spawn("only b", move || b_too.recv_timeout(LONG));
        thread::sleep(SHORT);
        b_tx.send(2).unwrap();
        let _ = a_tx.send(1); // It is gone if it has taken the other.
        let both = both.join().unwrap().unwrap();
        let (only, took) = timed(|| only.join().unwrap());
        if both == 1 {
            assert_eq!(only, Ok(2));
            assert!(took < SHORT, "a message was there, and nobody was told for {took:?}");
        }
    });
}

#[test]
fn a_selection_with_a_lock_held_is_reported() {
    let selections: [fn(); 2] = [
        || select! { recv(channel::after(SHORT)) -> _ => () },
        || select! { recv(channel::never::<()>()) -> _ => (), default(SHORT) => () },
    ];
    for selection in selections {
        let failure = failure_of(0, move || {
            let lock = Mutex::new(());
            let _held = lock.lock();
            selection();
        });
        assert_failed(&failure, FailureKind::LockHeld, "selects while it holds a lock");
    }
    let waits: [fn(); 2] = [|| _ = channel::after(SHORT).recv(), || _ = channel::bounded(0).0.send(1)];
    for (wait, doing) in waits.into_iter().zip(["receives while", "waits to send while"]) {
        let failure = failure_of(0, move || {
            let lock = Mutex::new(());
            let _held = lock.lock();
            wait();
        });
        // A send whose receiver is gone fails at once, and yet it is said.
        assert_failed(&failure, FailureKind::LockHeld, doing);
    }
    simulate(Config::seed(0), || {
        let lock = Mutex::new(());
        let _held = lock.lock();
        select! { recv(channel::never::<()>()) -> _ => (), default => () }
    })
    .result
    .unwrap();
}

/// Arms may end in a comma or a block, patterns may take apart, bodies may
/// leave the loop they are in, and ends may be expressions.
#[test]
fn the_macro_reads_as_crossbeams_does() {
    fn first(ends: &[channel::Receiver<(u32, u32)>], done: &channel::Sender<()>) -> Result<u32, RecvError> {
        let mut sum = 0;
        loop {
            select! {
                recv(ends[0]) -> message => {
                    let (a, b) = message?;
                    sum += a * b;
                    continue;
                }
                recv(&ends[1]) -> message => if let Ok((_, b)) = message { sum += b } else { break Ok(sum) },
                send(done, ()) -> _result => { return Ok(sum + 1000) },
                default() => return Ok(sum),
            }
        }
    }
    everywhere(|| {
        let ((a_tx, a), (b_tx, b), (done, is_done)) =
            (channel::unbounded(), channel::unbounded(), channel::bounded::<()>(0));
        let ends = [a, b];
        a_tx.send((2, 3)).unwrap();
        b_tx.send((4, 5)).unwrap();
        assert_eq!(first(&ends, &done), Ok(11));
        drop(is_done);
        assert_eq!(first(&ends, &done), Ok(1000));
    });
}

/// The message of an arm that is not taken is not made, and not moved.
#[test]
fn a_message_is_made_only_if_it_is_sent() {
    everywhere(|| {
        let ((a, _a), (b, b_rx)) = (channel::bounded(1), channel::bounded(1));
        a.send("room for one".to_owned()).unwrap();
        let message = "one".to_owned();
        select! {
            send(a, message) -> sent => sent.unwrap(),
            send(b, message) -> sent => sent.unwrap(),
        }
        assert_eq!(b_rx.recv().unwrap(), "one");
    });
}
