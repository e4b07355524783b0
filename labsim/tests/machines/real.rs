//! The same machines on OS threads, in real time.
//!
//! Nothing here depends on how long the machine takes: a thread that must not
//! go on is joined, and what must happen is waited for. Only a test that would
//! hang runs into `PATIENCE`.
//!
//! Boundary: asserts no time of the machine, which is as busy as it is.

use std::sync::Mutex as Plain;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use labsim::node::Node;
use labsim::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceState, RwLock};
use labsim::time::{Duration, Instant};
use labsim::{Config, Failure, FailureKind, channel, links, note, run_real, thread, watch};

use crate::scope::Frame;
use crate::{MS, OnDrop};

/// How long a run may take before it is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any run may take.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[track_caller]
fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    run_real(Config::seed(1).time_limit(PATIENCE), body).result.unwrap_or_else(|failure| panic!("{failure}"))
}

#[track_caller]
fn failure<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Failure {
    match run_real(Config::seed(1).time_limit(PATIENCE), body).result {
        Ok(_) => panic!("the run was to fail, and passed"),
        Err(failure) => failure,
    }
}

/// A crash must end a thread that is in `wait`, before and while it waits.
fn ends_in(wait: impl Fn() + Clone + Send + 'static) {
    run(move || {
        for pause in [Duration::ZERO, 20 * MS] {
            let node = Node::new("doomed");
            let (tx, rx) = channel::unbounded();
            let (wait, dropped) = (wait.clone(), Arc::new(AtomicBool::new(false)));
            let theirs = Arc::clone(&dropped);
            let ended = node.spawn("waiter", move || {
                let _last = OnDrop(|| theirs.store(true, Ordering::SeqCst));
                tx.send(()).unwrap();
                wait();
            });
            rx.recv().unwrap();
            thread::sleep(pause);
            node.crash();
            assert!(ended.join().is_err(), "it came back from its wait");
            assert!(dropped.load(Ordering::SeqCst), "its destructors did not run");
        }
    });
}

#[test]
fn a_crash_ends_a_sleep() {
    ends_in(|| thread::sleep(FOR_EVER));
}

#[test]
fn a_crash_ends_a_receive() {
    ends_in(|| {
        let (_tx, rx) = channel::unbounded::<()>();
        let _ = rx.recv();
    });
}

#[test]
fn a_crash_ends_a_receive_with_a_time_out() {
    ends_in(|| {
        let (_tx, rx) = channel::unbounded::<()>();
        let _ = rx.recv_timeout(FOR_EVER);
    });
}

#[test]
fn a_crash_ends_a_send_into_a_full_channel() {
    ends_in(|| {
        let (tx, _rx) = channel::bounded(1);
        let _ = (tx.send(1), tx.send(2));
    });
}

#[test]
fn a_crash_ends_a_send_without_room_and_a_receive_without_end() {
    ends_in(|| _ = channel::never::<u32>().recv());
    let (tx, _rx) = channel::bounded(0);
    ends_in(move || _ = tx.send(1));
    ends_in(|| _ = channel::after(FOR_EVER).recv());
    ends_in(|| _ = channel::tick(FOR_EVER).recv_timeout(FOR_EVER));
}

#[test]
fn a_crash_ends_a_selection() {
    let (tx, rx) = channel::bounded::<u32>(0);
    ends_in(move || {
        labsim::select! {
            recv(rx) -> _ => {}
            recv(channel::after(FOR_EVER)) -> _ => {}
        }
    });
    let (_, rx) = (tx, channel::never::<u32>());
    ends_in(move || labsim::select! { recv(rx) -> _ => (), default(FOR_EVER) => () });
}

/// Whoever is at the other end counts on what was selected, and would spin.
#[test]
fn a_dead_thread_finishes_what_it_has_selected() {
    run(|| {
        let (tx, rx) = channel::bounded(0);
        let node = Node::new("doomed");
        let (selected, crashed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let theirs = (Arc::clone(&selected), Arc::clone(&crashed));
        let sender = node.spawn("sender", move || {
            let make = || {
                theirs.0.store(true, Ordering::SeqCst);
                while !theirs.1.load(Ordering::SeqCst) {
                    thread::yield_now(); // At which it would end otherwise.
                }
                7
            };
            labsim::select! {
                send(tx, make()) -> sent => sent.unwrap(),
            }
            thread::yield_now();
        });
        let receiver = thread::spawn("receiver", move || rx.recv());
        while !selected.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        node.crash();
        crashed.store(true, Ordering::SeqCst);
        assert_eq!(receiver.join().unwrap(), Ok(7));
        assert!(sender.join().is_err());
    });
}

/// What a destructor of the dead selects has failed.
#[test]
fn a_selection_of_a_dying_destructor_waits_for_nobody() {
    ends_in(|| {
        let _last = OnDrop(|| {
            let (tx, rx) = channel::bounded::<u32>(0);
            let received = labsim::select! { recv(rx) -> message => message.is_ok() };
            let sent = labsim::select! { send(tx, 1) -> sent => sent.is_ok() };
            assert!(!received && !sent);
        });
        thread::sleep(FOR_EVER);
    });
}

#[test]
fn a_crash_ends_a_wait_for_a_condition() {
    ends_in(|| Condvar::new().wait(&mut Mutex::new(()).lock()));
}

#[test]
fn a_crash_ends_a_wait_for_a_condition_with_a_time_out() {
    ends_in(|| assert!(!Condvar::new().wait_for(&mut Mutex::new(()).lock(), FOR_EVER).timed_out()));
}

#[test]
fn a_crash_ends_a_park() {
    ends_in(thread::park);
}

#[test]
fn a_crash_ends_a_park_with_a_time_out() {
    ends_in(|| thread::park_timeout(FOR_EVER));
}

#[test]
fn a_crash_ends_a_join() {
    ends_in(|| drop(thread::spawn_off_node("sleeper", || thread::sleep(FOR_EVER)).join()));
}

#[test]
fn a_crash_ends_a_wait_at_a_barrier() {
    ends_in(|| _ = Barrier::new(2).wait());
}

#[test]
fn a_crash_ends_a_wait_for_an_initialiser() {
    ends_in(|| {
        let once = Arc::new(Once::new());
        let theirs = Arc::clone(&once);
        let (tx, rx) = channel::unbounded();
        thread::spawn_off_node("initialiser", move || {
            theirs.call_once(|| {
                let _ = tx.send(()); // The waiter may be dead already.
                thread::sleep(FOR_EVER);
            });
        });
        rx.recv().unwrap();
        once.call_once(|| panic!("two at once"));
    });
}

#[test]
fn another_takes_over_when_the_initialiser_dies() {
    run(|| {
        let node = Node::new("doomed");
        let once = Arc::new(Once::new());
        let (tx, rx) = channel::unbounded();
        let theirs = Arc::clone(&once);
        node.spawn("first", move || {
            theirs.call_once(|| {
                tx.send(()).unwrap();
                thread::sleep(FOR_EVER);
            });
        });
        rx.recv().unwrap();
        let theirs = Arc::clone(&once);
        let second = thread::spawn("second", move || {
            theirs.call_once_force(|state| assert_eq!(state, OnceState::New, "a crash is no panic"));
        });
        thread::sleep(10 * MS);
        node.crash();
        second.join().unwrap();
        assert!(once.is_completed());
    });
}

#[test]
fn the_dead_have_not_come_to_a_barrier() {
    run(|| {
        let node = Node::new("doomed");
        let barrier = Arc::new(Barrier::new(2));
        let theirs = Arc::clone(&barrier);
        let (tx, rx) = channel::unbounded();
        let dead = node.spawn("dead", move || {
            tx.send(()).unwrap();
            theirs.wait();
        });
        rx.recv().unwrap();
        thread::sleep(10 * MS);
        node.crash();
        assert!(dead.join().is_err());
        let theirs = Arc::clone(&barrier);
        let live = thread::spawn("live", move || theirs.wait().is_leader());
        thread::sleep(10 * MS);
        assert!(!live.is_finished(), "the dead one was counted");
        assert!(barrier.wait().is_leader() != live.join().unwrap());
    });
}

// Scopes.

#[test]
fn a_crash_ends_a_scope_wherever_its_parent_is() {
    let waits: [fn(); 2] = [|| thread::sleep(FOR_EVER), || ()];
    for wait in waits {
        ends_in(move || {
            let frame = Frame::default();
            let (began, begins) = channel::unbounded();
            thread::scope(|scope| {
                (0..2).for_each(|_| _ = scope.spawn("child", || frame.use_while(&began, || thread::sleep(FOR_EVER))));
                begins.recv().unwrap();
                wait();
            });
        });
    }
}

/// Nobody can stop an OS thread. Its parent's frame stays until it notices.
#[test]
fn a_dead_parent_waits_for_a_child_that_makes_no_call() {
    run(|| {
        let node = Node::new("doomed");
        let (is_released, is_gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (release, goes) = (Arc::clone(&is_released), Arc::clone(&is_gone));
        // To have begun is to be past the last call: in a send it would still die.
        let is_past_calls = Arc::new(AtomicBool::new(false));
        let (is_busy, (began, _begins)) = (Arc::clone(&is_past_calls), channel::unbounded());
        let parent = node.spawn("parent", move || {
            let _last = OnDrop(|| goes.store(true, Ordering::SeqCst));
            let frame = Frame::default();
            thread::scope(|scope| {
                scope.spawn("busy", || {
                    frame.use_while(&began, || {
                        is_busy.store(true, Ordering::SeqCst);
                        while !is_released.load(Ordering::SeqCst) {
                            std::thread::yield_now();
                        }
                    });
                });
                thread::sleep(FOR_EVER);
            });
        });
        while !is_past_calls.load(Ordering::SeqCst) {
            thread::sleep(MS);
        }
        node.crash();
        thread::sleep(20 * MS);
        assert!(!is_gone.load(Ordering::SeqCst), "the frame has gone, and the child has not");
        release.store(true, Ordering::SeqCst);
        assert!(parent.join().is_err());
        assert!(is_gone.load(Ordering::SeqCst));
    });
}

#[test]
fn a_crash_ends_a_loop_of_calls() {
    ends_in(|| {
        loop {
            thread::yield_now();
        }
    });
}

#[test]
fn a_crash_ends_a_wait_at_a_held_link() {
    ends_in(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.held = true);
        links::wait_until_released(a, b);
    });
}

#[test]
fn a_thread_that_waits_for_the_lock_of_another_dead_one_ends_too() {
    run(|| {
        let node = Node::new("doomed");
        let lock = Arc::new(Mutex::new(()));
        let (tx, rx) = channel::unbounded();
        let theirs = Arc::clone(&lock);
        let holder = node.spawn("holder", move || {
            let _held = theirs.lock();
            tx.send(()).unwrap();
            thread::sleep(FOR_EVER);
        });
        rx.recv().unwrap();
        let theirs = Arc::clone(&lock);
        let waiter = node.spawn("waiter", move || {
            let _held = theirs.lock();
            thread::sleep(FOR_EVER);
        });
        thread::sleep(10 * MS);
        node.crash();
        assert!(holder.join().is_err() && waiter.join().is_err());
        drop(lock.lock());
    });
}

#[test]
fn a_thread_that_crashes_its_own_node_does_not_return() {
    run(|| {
        let node = Node::new("suicidal");
        let survived = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&survived);
        let ended = node.spawn("crasher", move || {
            node.crash();
            theirs.store(true, Ordering::SeqCst);
        });
        assert!(ended.join().is_err());
        assert!(!survived.load(Ordering::SeqCst));
    });
}

#[test]
fn a_restarted_node_runs_and_a_node_that_is_down_does_not() {
    run(|| {
        let node = Node::new("phoenix");
        node.crash();
        assert!(node.spawn("never", || panic!("it started")).join().is_err());
        node.restart();
        assert_eq!(node.spawn("again", || Node::current().unwrap().life()).join().unwrap(), 1);
        let other = Node::new("other");
        assert_eq!(other.spawn("unharmed", || 7).join().unwrap(), 7);
    });
}

#[test]
fn what_a_dead_life_does_to_its_disk_is_void() {
    run(|| {
        let node = Node::new("server");
        let (told, died) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (tx, rx) = std::sync::mpsc::channel(); // No call into labsim, either.
        let theirs = (Arc::clone(&told), Arc::clone(&died));
        let ended = node.spawn("deaf", move || {
            let disk = node.disk();
            let _last = OnDrop(|| {
                disk.append("log", b" from a destructor");
                disk.sync();
            });
            disk.append("log", b"kept");
            disk.sync();
            tx.send(()).unwrap();
            // It makes no call into labsim, so it does not notice its death.
            while !theirs.0.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            theirs.1.store(true, Ordering::SeqCst);
            disk.append("log", b" by a ghost");
            disk.sync();
        });
        rx.recv().unwrap();
        node.crash();
        node.restart();
        told.store(true, Ordering::SeqCst);
        assert!(ended.join().is_err());
        assert!(died.load(Ordering::SeqCst), "it was deaf, and yet did not come to its write");
        assert_eq!(node.disk().read("log"), b"kept");
        node.crash();
        node.restart();
        assert_eq!(node.disk().read("log"), b"kept");
    });
}

#[test]
fn what_was_not_synced_is_lost() {
    run(|| {
        let node = Node::new("server");
        node.disk().append("log", b"kept");
        node.disk().sync();
        node.disk().append("log", b" lost");
        node.crash();
        node.restart();
        assert_eq!(node.disk().read("log"), b"kept");
    });
}

#[test]
fn a_panic_fails_the_run_and_ends_the_others() {
    let failure = failure(|| {
        Node::new("S2").spawn("applier", || panic!("S2 commits {}", 7));
        thread::sleep(FOR_EVER);
    });
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Panic, "panicked: S2 commits 7"));
    assert_eq!((failure.node.as_deref(), failure.thread.as_str()), (Some("S2"), "applier"));
    assert!(failure.place.as_ref().unwrap().contains("real.rs:"), "{failure}");
}

#[test]
fn a_panic_of_the_first_thread_fails_the_run() {
    let failure = failure(|| panic!("at once"));
    assert_eq!((failure.message.as_str(), failure.thread.as_str()), ("panicked: at once", "main"));
}

#[test]
fn a_run_past_its_time_limit_fails() {
    let outcome = run_real(Config::seed(1).time_limit(50 * MS), || thread::sleep(FOR_EVER));
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimeLimit);
    assert!(failure.message.contains("limit of 0.050s"), "{failure}");
    assert!(outcome.elapsed >= 50 * MS);
}

#[test]
fn fail_stops_a_real_run_with_its_payload() {
    let failure = failure(|| {
        watch::subscribe(|_, number: &u32| labsim::fail("enough", *number));
        let lock = Mutex::observed(0_u32, |number, watch| watch.publish(|| *number));
        *lock.lock() = 17;
        thread::sleep(FOR_EVER);
    });
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Raised, "enough"));
    assert_eq!(failure.payload.unwrap().downcast_ref(), Some(&17_u32));
}

#[test]
fn an_observed_lock_publishes_on_os_threads_too() {
    let heard = Arc::new(Plain::new(Vec::new()));
    let theirs = Arc::clone(&heard);
    run(move || {
        watch::subscribe(move |_, number: &u32| theirs.lock().unwrap().push(*number));
        let lock = Mutex::observed(0, |number: &u32, watch| watch.publish(|| *number));
        *lock.lock() = 1;
        let mut number = lock.lock();
        *number = 2;
        Condvar::new().wait_for(&mut number, MS);
        *number = 3;
    });
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3]);
}

#[test]
fn threads_that_are_left_end_with_the_run() {
    let dropped = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&dropped);
    run(move || {
        let (tx, rx) = channel::unbounded();
        Node::new("S0").spawn("left over", move || {
            let _last = OnDrop(|| theirs.store(true, Ordering::SeqCst));
            tx.send(()).unwrap();
            thread::sleep(FOR_EVER);
        });
        rx.recv().unwrap();
    });
    assert!(dropped.load(Ordering::SeqCst));
}

#[test]
fn notes_of_a_real_run_carry_node_and_thread() {
    let outcome = run_real(Config::seed(1).time_limit(PATIENCE), || {
        Node::new("S1").spawn("talker", || note!("vote", "granted to {}", 3)).join().unwrap();
    });
    let [note] = &outcome.notes[..] else { panic!("{} notes", outcome.notes.len()) };
    assert_eq!((note.node.as_deref(), note.thread.as_str()), (Some("S1"), "talker"));
    assert_eq!((note.topic.as_str(), note.text.as_str()), ("vote", "granted to 3"));
}

#[test]
fn draws_and_fates_of_a_real_run_are_those_of_its_seed() {
    let story = || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.loss = 0.5);
        let drawn = a.spawn("draws", labsim::rand::next_u64).join().unwrap();
        (drawn, (0..50).map(|_| links::send(a, b)).collect::<Vec<_>>())
    };
    assert_eq!(run(story), crate::run(1, story));
}

// Pauses.

/// A pause must keep a thread whose `wait` ends meanwhile; `end` ends it.
fn stays_after(wait: impl FnOnce() + Send + 'static, end: impl FnOnce()) {
    let node = Node::new("paused");
    let went_on = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&went_on);
    let waiter = node.spawn("waiter", move || {
        wait();
        theirs.store(true, Ordering::SeqCst);
    });
    thread::sleep(20 * MS);
    node.pause();
    end();
    thread::sleep(60 * MS);
    assert!(!went_on.load(Ordering::SeqCst), "it went on while its node was paused");
    node.resume();
    waiter.join().unwrap();
}

#[test]
fn a_thread_whose_wait_ends_in_a_pause_stays_until_it_is_resumed() {
    run(|| {
        stays_after(|| thread::sleep(50 * MS), || ());
        stays_after(|| thread::park_timeout(50 * MS), || ());
        let (tx, rx) = channel::unbounded();
        stays_after(move || rx.recv().unwrap(), || tx.send(()).unwrap());
        let (_tx, rx) = channel::unbounded::<()>();
        stays_after(move || assert!(rx.recv_timeout(50 * MS).is_err()), || ());
        let (tx, rx) = channel::bounded(1);
        tx.send(1).unwrap();
        stays_after(move || tx.send(2).unwrap(), || assert_eq!(rx.recv(), Ok(1)));
        let (tx, rx) = channel::unbounded::<()>();
        let other = thread::spawn_off_node("other", move || rx.recv().unwrap());
        stays_after(move || other.join().unwrap(), || tx.send(()).unwrap());
        stays_after(|| assert!(Condvar::new().wait_for(&mut Mutex::new(()).lock(), 50 * MS).timed_out()), || ());
    });
}

#[test]
fn a_paused_thread_that_gets_a_lock_leaves_it_to_others() {
    run(|| {
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        let held = lock.lock();
        let others = Arc::clone(&lock);
        stays_after(
            move || drop(theirs.lock()),
            move || {
                drop(held);
                for _ in 0..20 {
                    drop(others.lock());
                    thread::sleep(MS);
                }
            },
        );
        // The same of one that comes back from a condition.
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        stays_after(
            move || theirs.1.wait(&mut theirs.0.lock()),
            move || {
                shared.1.notify_all();
                thread::sleep(20 * MS);
                drop(shared.0.lock());
            },
        );
    });
}

#[test]
fn a_paused_thread_stays_at_its_next_call() {
    run(|| {
        let node = Node::new("counter");
        let calls = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&calls);
        node.spawn("counter", move || {
            loop {
                theirs.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        let wait_past = |count: u32| {
            while calls.load(Ordering::SeqCst) <= count {
                thread::sleep(MS);
            }
        };
        wait_past(0);
        node.pause();
        let at_pause = calls.load(Ordering::SeqCst);
        thread::sleep(20 * MS);
        let later = calls.load(Ordering::SeqCst);
        // One that it was on its way to.
        assert!(later <= at_pause + 1, "{at_pause} calls, and later {later}");
        let late = node.spawn("late", || ());
        thread::sleep(10 * MS);
        assert!(node.is_paused() && !late.is_finished());
        node.resume();
        late.join().unwrap();
        wait_past(later);
    });
}

#[test]
fn a_thread_that_pauses_its_own_node_stays_until_it_is_resumed_or_crashed() {
    run(|| {
        let node = Node::new("sleepy");
        let goes_on = node.spawn("own", move || node.pause());
        let wait_for_pause = || {
            while !node.is_paused() {
                thread::sleep(MS);
            }
        };
        wait_for_pause();
        thread::sleep(20 * MS);
        assert!(!goes_on.is_finished());
        node.resume();
        goes_on.join().unwrap();

        let dies = node.spawn("own", move || node.pause());
        wait_for_pause();
        node.crash();
        assert!(dies.join().is_err() && !node.is_paused());
        node.restart();
        assert!(!node.is_paused());
        assert_eq!(node.spawn("next life", || 7).join().unwrap(), 7);
    });
}

#[test]
fn a_listener_that_pauses_the_node_of_its_publisher_is_free_for_others() {
    run(|| {
        let node = Node::new("leader");
        watch::subscribe(move |_, elected: &bool| {
            if *elected {
                node.pause();
                thread::yield_now();
            }
        });
        let publish = |value: bool| drop(Mutex::observed(value, |elected, watch| watch.publish(|| *elected)).lock());
        let leader = node.spawn("leader", move || {
            publish(true);
            thread::yield_now();
        });
        while !node.is_paused() {
            thread::sleep(MS);
        }
        publish(false);
        assert!(!leader.is_finished());
        node.resume();
        leader.join().unwrap();
    });
}

#[test]
fn a_paused_thread_ends_with_the_run() {
    let dropped = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&dropped);
    run(move || {
        let node = Node::new("left over");
        node.spawn("left over", move || {
            let _last = OnDrop(|| theirs.store(true, Ordering::SeqCst));
            node.pause();
        });
        while !node.is_paused() {
            thread::sleep(MS);
        }
    });
    assert!(dropped.load(Ordering::SeqCst));
}

// Clocks. A slow one makes waits longer than they can be otherwise, and a fast
// one counts more than the machine's does.

#[test]
fn every_wait_of_a_node_with_a_slow_clock_takes_longer() {
    let waits: [fn(); 8] = [
        || thread::sleep(5 * MS),
        || thread::park_timeout(5 * MS),
        || {
            let (_tx, rx) = channel::unbounded::<()>();
            assert!(rx.recv_timeout(5 * MS).is_err());
        },
        || {
            let (tx, _rx) = channel::bounded(1);
            tx.send(1).unwrap();
            assert!(tx.send_timeout(2, 5 * MS).is_err());
        },
        || assert!(Condvar::new().wait_for(&mut Mutex::new(()).lock(), 5 * MS).timed_out()),
        || {
            let lock = Mutex::new(());
            let _held = lock.lock();
            assert!(lock.try_lock_for(5 * MS).is_none());
        },
        || {
            let lock = RwLock::new(());
            let _held = lock.read();
            assert!(lock.try_write_for(5 * MS).is_none());
        },
        || {
            let lock = RwLock::new(());
            let _held = lock.write();
            assert!(lock.try_read_for(5 * MS).is_none());
        },
    ];
    run(move || {
        let node = Node::new("slow");
        node.set_clock_rate(-900_000);
        for (number, wait) in waits.into_iter().enumerate() {
            let begun = std::time::Instant::now();
            node.spawn("waiter", wait).join().unwrap();
            assert!(begun.elapsed() >= 50 * MS, "wait {number} took {:?}", begun.elapsed());
        }
    });
}

#[test]
fn the_clock_of_a_node_is_what_its_threads_read() {
    run(|| {
        let node = Node::new("fast");
        node.set_clock_rate(900_000);
        node.spawn("reader", move || {
            let begun = Instant::now();
            let machine = std::time::Instant::now();
            std::thread::sleep(20 * MS);
            let passed = machine.elapsed();
            assert!(begun.elapsed() >= passed * 19 / 10);

            let before = Instant::now();
            node.put_clock_forward(FOR_EVER);
            assert!(before.elapsed() >= FOR_EVER);
            node.set_clock_rate(-900_000);
            assert!(before.elapsed() >= FOR_EVER, "it went back");
        })
        .join()
        .unwrap();
        assert!(node.spawn("reader", Instant::now).join().unwrap() > Instant::now() + FOR_EVER / 2);
    });
}
