//! Channels: messages in order, room, time-outs, and ends that are gone.
//!
//! Boundary: threads of one world; no nodes.

use labsim::channel::{
    self, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError,
};
use labsim::sync::Arc;
use labsim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use labsim::thread;
use labsim::time::{Duration, Instant};

use super::{LONG, SHORT, STEPS, everywhere, in_simulations, receive_all, timed, wait_until, waits};

#[test]
fn messages_arrive_in_the_order_of_their_sender() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        let send_all = |tx: Sender<(u32, u32)>, sender| (0..20).for_each(|n| tx.send((sender, n)).unwrap());
        let theirs = tx.clone();
        thread::spawn("first", move || send_all(theirs, 1));
        thread::spawn("second", move || send_all(tx, 2));

        let all: Vec<_> = rx.iter().collect();
        for sender in [1, 2] {
            let numbers = all.iter().filter(|(from, _)| *from == sender).map(|(_, n)| *n);
            assert!(numbers.eq(0..20), "sender {sender} in {all:?}");
        }
    });
}

#[test]
fn an_unbounded_channel_always_has_room() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        (0..1000).for_each(|n| tx.send(n).unwrap());
        assert_eq!((tx.len(), tx.capacity(), tx.is_full()), (1000, None, false));
        assert_eq!((rx.len(), rx.capacity(), rx.is_full()), (1000, None, false));
        assert!(rx.try_iter().eq(0..1000));
        assert!(tx.is_empty() && rx.is_empty());
    });
}

#[test]
fn a_bounded_channel_is_full_at_its_capacity() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(2);
        assert_eq!((tx.capacity(), rx.capacity()), (Some(2), Some(2)));
        assert_eq!(tx.try_send(1), Ok(()));
        assert!(!tx.is_full() && !rx.is_full());
        assert_eq!(tx.try_send(2), Ok(()));
        assert!(tx.is_full() && rx.is_full());
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!((tx.len(), rx.len()), (1, 1));
        assert_eq!(tx.try_send(4), Ok(()));
        assert!(rx.try_iter().eq([2, 4]));
    });
}

#[test]
fn a_sender_is_never_further_ahead_than_the_capacity() {
    everywhere(|| receive_all(2));
}

/// With all the time in the world a full channel still takes no more.
#[test]
fn a_full_channel_keeps_its_sender_waiting() {
    in_simulations(|| {
        let (tx, rx) = channel::bounded(2);
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        thread::spawn("producer", move || {
            for n in 0..5 {
                tx.send(n).unwrap();
                count.fetch_add(1, SeqCst);
            }
        });
        for sent_by_then in 2..5 {
            thread::sleep(LONG);
            assert_eq!(sent.load(SeqCst), sent_by_then);
            rx.recv().unwrap();
        }
    });
}

#[test]
fn an_empty_channel_is_waited_for_until_the_time_is_up() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<u32>();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(waits(|| rx.recv_timeout(SHORT)), Err(RecvTimeoutError::Timeout));
        assert_eq!(waits(|| rx.recv_deadline(Instant::now() + SHORT)), Err(RecvTimeoutError::Timeout));
        drop(tx);
    });
}

#[test]
fn a_full_channel_is_waited_for_until_the_time_is_up() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        tx.send(1).unwrap();
        assert_eq!(waits(|| tx.send_timeout(2, SHORT)), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(waits(|| tx.send_deadline(3, Instant::now() + SHORT)), Err(SendTimeoutError::Timeout(3)));
        assert!(rx.try_iter().eq([1]), "what timed out was sent all the same");
    });
}

#[test]
fn a_virtual_time_out_of_a_channel_is_on_time() {
    in_simulations(|| {
        let (tx, rx) = channel::bounded(1);
        let ten_minutes = Duration::from_secs(600);
        let (received, took) = timed(|| rx.recv_timeout(ten_minutes));
        assert!(received.is_err() && took < ten_minutes + STEPS, "over after {took:?}");
        tx.send(1).unwrap();
        let (sent, took) = timed(|| tx.send_timeout(2, ten_minutes));
        assert!(sent.is_err() && took < ten_minutes + STEPS, "over after {took:?}");
    });
}

#[test]
fn what_is_there_or_has_room_is_not_a_time_out() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        let past = Instant::now();
        assert_eq!(tx.send_timeout(1, Duration::ZERO), Ok(()));
        assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(1));
        assert_eq!(tx.send_deadline(2, past), Ok(()));
        assert_eq!(rx.recv_deadline(past), Ok(2));
    });
}

#[test]
fn a_wait_ends_with_the_message_or_the_room() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        let (asked_tx, asked_rx) = channel::unbounded();
        let other = thread::spawn("other", move || {
            asked_rx.iter().for_each(|()| thread::yield_now());
            let sent = [tx.send_timeout(1, LONG), tx.send_deadline(2, Instant::now() + LONG), tx.send_timeout(3, LONG)];
            sent.iter().all(Result::is_ok)
        });
        asked_tx.send(()).unwrap();
        drop(asked_tx);
        assert_eq!(rx.recv_timeout(LONG), Ok(1));
        assert_eq!(rx.recv_deadline(Instant::now() + LONG), Ok(2));
        assert_eq!(rx.recv(), Ok(3));
        assert!(other.join().unwrap());
    });
}

#[test]
fn without_receivers_every_send_gives_its_message_back() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        drop(rx);
        assert_eq!(tx.send(1), Err(SendError(1)));
        assert_eq!(tx.try_send(2), Err(TrySendError::Disconnected(2)));
        assert_eq!(tx.send_timeout(3, LONG), Err(SendTimeoutError::Disconnected(3)));
        assert_eq!(tx.send_deadline(4, Instant::now() + LONG), Err(SendTimeoutError::Disconnected(4)));
    });
}

#[test]
fn without_senders_what_was_sent_still_arrives() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        (0..3).for_each(|n| tx.send(n).unwrap());
        drop(tx);
        assert!((0..3).all(|n| rx.recv() == Ok(n)));
        assert_eq!(rx.recv(), Err(RecvError));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        assert_eq!(rx.recv_deadline(Instant::now() + LONG), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn the_last_sender_to_go_ends_a_receive() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<u32>();
        let receivers: Vec<_> = (0..2)
            .map(|n| {
                let rx = rx.clone();
                thread::spawn(format!("receiver {n}"), move || (rx.recv(), rx.recv_timeout(LONG)))
            })
            .collect();
        let last = tx.clone();
        drop(tx);
        thread::yield_now();
        drop(last);
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), (Err(RecvError), Err(RecvTimeoutError::Disconnected)));
        }
    });
}

#[test]
fn the_last_receiver_to_go_ends_a_send() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        tx.send(0).unwrap();
        let senders: Vec<_> = (1..3)
            .map(|n| {
                let tx = tx.clone();
                thread::spawn(format!("sender {n}"), move || (tx.send(n), tx.send_timeout(n, LONG)))
            })
            .collect();
        let last = rx.clone();
        drop(rx);
        thread::yield_now();
        drop(last);
        for (n, sender) in (1..3).zip(senders) {
            assert_eq!(sender.join().unwrap(), (Err(SendError(n)), Err(SendTimeoutError::Disconnected(n))));
        }
    });
}

/// A message may own anything, the other end of its own channel included.
#[test]
fn unread_messages_go_with_the_last_receiver() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<(Arc<()>, Sender<()>)>();
        let (token, (inner_tx, inner_rx)) = (Arc::new(()), channel::unbounded());
        tx.send((Arc::clone(&token), inner_tx)).unwrap();
        drop(rx);
        assert_eq!(Arc::strong_count(&token), 1);
        assert_eq!(inner_rx.recv(), Err(RecvError));
    });
}

#[test]
fn each_message_goes_to_one_of_the_receivers() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(3);
        let receivers: Vec<_> = (0..3)
            .map(|n| {
                let rx = rx.clone();
                thread::spawn(format!("receiver {n}"), move || rx.into_iter().collect::<Vec<u32>>())
            })
            .collect();
        drop(rx);
        (0..60).for_each(|n| tx.send(n).unwrap());
        drop(tx);
        let mut all: Vec<u32> = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..60));
    });
}

/// A message and a time-out meet. It was received, or it is still there.
#[test]
fn a_time_out_does_not_swallow_a_message() {
    in_simulations(|| {
        let (tx, rx) = channel::unbounded();
        let span = Duration::from_millis(1);
        let impatient: Vec<_> = (0..2)
            .map(|n| {
                let rx = rx.clone();
                thread::spawn(format!("impatient {n}"), move || rx.recv_timeout(span).is_ok())
            })
            .collect();
        thread::sleep(span);
        tx.send(()).unwrap();
        let received = impatient.into_iter().filter_map(|thread| thread.join().unwrap().then_some(())).count();
        assert_eq!(received + rx.len(), 1);
    });
}

#[test]
fn try_iter_takes_what_is_there_and_iter_what_comes() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        (0..3).for_each(|n| tx.send(n).unwrap());
        assert!(rx.try_iter().eq(0..3));
        assert_eq!(rx.try_iter().next(), None);

        let producer = thread::spawn("producer", move || (3..6).for_each(|n| tx.send(n).unwrap()));
        let mut expected = 3..6;
        for n in &rx {
            assert_eq!(Some(n), expected.next());
        }
        assert!(expected.is_empty());
        assert_eq!(rx.into_iter().next(), None);
        producer.join().unwrap();
    });
}

#[test]
fn clones_are_ends_of_one_channel() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<u32>();
        let (other_tx, other_rx) = channel::unbounded::<u32>();
        assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
        assert!(!tx.same_channel(&other_tx) && !rx.same_channel(&other_rx));
        tx.clone().send(1).unwrap();
        assert_eq!(rx.clone().recv(), Ok(1));
    });
}

#[test]
fn a_receiver_that_looks_again_and_again_gets_its_message() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded();
        thread::spawn("sender", move || tx.send(7).unwrap());
        wait_until(|| !rx.is_empty());
        assert_eq!(rx.try_recv(), Ok(7));
    });
}
