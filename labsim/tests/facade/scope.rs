//! Scoped threads: what they may borrow, and that none outlives its scope.
//!
//! Boundary: no crashes; those are in `machines`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use labsim::sync::Mutex;
use labsim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use labsim::{Config, FailureKind, channel, run_real, thread};

use super::{LONG, SHORT, assert_failed, everywhere, failure_of, in_both_worlds, panic_of, text_of, wait_until};

#[test]
fn a_scoped_thread_borrows_and_returns_a_borrow() {
    everywhere(|| {
        let words = ["one".to_owned(), "three".to_owned()];
        let mut lengths = [0; 2];
        let longest = thread::scope(|scope| {
            let measure = |(length, word): (&mut usize, &str)| *length = word.len();
            let ([first, second], words) = (&mut lengths, &words);
            scope.spawn("first", move || measure((first, &words[0])));
            let second = scope.spawn("second", move || {
                *second = words[1].len();
                words[1].as_str()
            });
            second.join().unwrap().to_owned()
        });
        assert_eq!((longest.as_str(), lengths), ("three", [3, 5]));
    });
}

#[test]
fn a_scope_waits_for_threads_that_nobody_joins() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            for n in 0..5 {
                let ended = &ended;
                scope.spawn(format!("sleeper {n}"), move || {
                    thread::sleep(SHORT);
                    ended.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(ended.load(SeqCst), 5);
    });
}

#[test]
fn a_scope_waits_for_the_threads_of_its_threads() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn("parent", || {
                for _ in 0..3 {
                    scope.spawn("child", || {
                        thread::sleep(SHORT);
                        scope.spawn("grandchild", || {
                            thread::sleep(SHORT);
                            ended.fetch_add(1, SeqCst)
                        });
                    });
                }
            });
        });
        assert_eq!(ended.load(SeqCst), 3);
    });
}

#[test]
fn scopes_nest() {
    everywhere(|| {
        let sum = Mutex::new(0);
        let value = thread::scope(|outer| {
            let inner = outer.spawn("outer", || {
                let two = 2;
                thread::scope(|inner| {
                    inner.spawn("inner", || *sum.lock() += two);
                });
                *sum.lock()
            });
            inner.join().unwrap()
        });
        assert_eq!(value, 2);
    });
}

/// More than a scope keeps track of at first, of which few live at once.
#[test]
fn a_scope_has_room_for_many_threads() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..20 {
                let pair = ["even", "odd"].map(|name| scope.spawn(name, || ended.fetch_add(1, SeqCst)));
                pair.into_iter().for_each(|one| _ = one.join().unwrap());
            }
        });
        assert_eq!(ended.load(SeqCst), 40);
    });
}

#[test]
fn a_scoped_thread_has_its_name_and_is_finished_when_it_has_returned() {
    everywhere(|| {
        let (tx, rx) = channel::unbounded::<()>();
        thread::scope(|scope| {
            let waiting = scope.spawn("waiting", || {
                let _ = rx.recv();
                thread::current().name().to_owned()
            });
            thread::yield_now();
            assert!(!waiting.is_finished());
            drop(tx);
            wait_until(|| waiting.is_finished());
            assert_eq!(waiting.join().unwrap(), "waiting");
        });
    });
}

#[test]
fn a_result_that_nobody_wants_is_dropped_before_the_scope_ends() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    everywhere(|| {
        let dropped = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn("unwanted", || Counts(&dropped));
            let kept = scope.spawn("kept", || Counts(&dropped));
            wait_until(|| kept.is_finished());
        });
        assert_eq!(dropped.load(SeqCst), 2);
    });
}

// Panics.

#[test]
fn a_panic_outside_comes_back_from_the_join() {
    thread::scope(|scope| {
        let unlucky = scope.spawn("unlucky", || panic!("out of luck"));
        assert_eq!(text_of(&*unlucky.join().unwrap_err()), "out of luck");
    });
}

#[test]
fn a_panic_outside_that_nobody_joined_fails_the_scope() {
    let ended = AtomicBool::new(false);
    let text = panic_of(|| {
        thread::scope(|scope| {
            scope.spawn("unlucky", || panic!("out of luck"));
            scope.spawn("slow", || {
                thread::sleep(SHORT);
                ended.store(true, SeqCst);
            });
        });
    });
    assert_eq!(text, "a scoped thread panicked");
    assert!(ended.load(SeqCst));
}

/// The frame that the threads borrow from stays until they are gone.
#[test]
fn a_scope_whose_body_panics_outside_waits_for_its_threads() {
    let ended = AtomicBool::new(false);
    let text = panic_of(|| {
        thread::scope(|scope| {
            scope.spawn("slow", || {
                thread::sleep(SHORT);
                ended.store(true, SeqCst);
            });
            panic!("out of luck");
        });
    });
    assert_eq!(text, "out of luck");
    assert!(ended.load(SeqCst));
}

/// Checks when it is dropped that no child uses it.
struct Frame {
    users: AtomicUsize,
}

impl Frame {
    fn use_for_ever(&self) {
        struct User<'a>(&'a Frame);
        impl Drop for User<'_> {
            fn drop(&mut self) {
                self.0.users.fetch_sub(1, SeqCst);
            }
        }
        self.users.fetch_add(1, SeqCst);
        let _user = User(self);
        thread::sleep(LONG);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // No panic: this is a destructor, and a user would run on freed memory.
        if self.users.load(SeqCst) > 0 {
            std::process::abort();
        }
    }
}

#[test]
fn a_panic_in_a_world_fails_the_run_and_takes_the_children_first() {
    let in_the_body = || {
        let frame = Frame { users: AtomicUsize::new(0) };
        thread::scope(|scope| {
            (0..3).for_each(|_| _ = scope.spawn("child", || frame.use_for_ever()));
            wait_until(|| frame.users.load(SeqCst) > 0);
            panic!("out of luck");
        });
    };
    let in_a_child = || {
        let frame = Frame { users: AtomicUsize::new(0) };
        thread::scope(|scope| {
            (0..3).for_each(|_| _ = scope.spawn("child", || frame.use_for_ever()));
            scope.spawn("unlucky", || panic!("out of luck"));
        });
    };
    for story in [in_the_body as fn(), in_a_child] {
        for seed in 0..super::STORY_SEEDS {
            assert_failed(&failure_of(seed, story), FailureKind::Panic, "out of luck");
        }
        assert_failed(&run_real(Config::seed(0), story).result.unwrap_err(), FailureKind::Panic, "out of luck");
    }
}

#[test]
fn a_panic_past_the_hook_fails_the_run() {
    let story = || {
        thread::scope(|scope| {
            let silent = scope.spawn("silent", || std::panic::resume_unwind(Box::new("out of luck")));
            let _ = silent.join();
        });
    };
    for failure in [failure_of(0, story), run_real(Config::seed(0), story).result.unwrap_err()] {
        assert_failed(&failure, FailureKind::Panic, "out of luck");
        assert_eq!(failure.thread, "silent");
    }
}

#[test]
fn a_deadlock_says_whom_the_scope_waits_for() {
    let failure = failure_of(0, || thread::scope(|scope| _ = scope.spawn("parked", thread::park)));
    assert_failed(&failure, FailureKind::Deadlock, "`main` waits at labsim/tests/facade/scope.rs");
    assert_failed(&failure, FailureKind::Deadlock, "for the end of thread `parked`");
}

#[test]
fn too_many_scoped_threads_are_a_failure() {
    let config = Config { thread_limit: 10, ..Config::seed(0) };
    let outcome = labsim::simulate(config, || {
        let frame = Frame { users: AtomicUsize::new(0) };
        thread::scope(|scope| (0..100).for_each(|_| _ = scope.spawn("child", || frame.use_for_ever())));
    });
    assert_failed(&outcome.result.unwrap_err(), FailureKind::Limit, "more than 10 threads at once");
}

#[test]
fn a_body_that_catches_its_own_panic_still_waits() {
    in_both_worlds(|| {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn("slow", || {
                thread::sleep(SHORT);
                ended.store(true, SeqCst);
            });
        });
        assert!(ended.load(SeqCst));
    });
    let ended = AtomicBool::new(false);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        thread::scope(|scope| {
            scope.spawn("slow", || ended.store(true, SeqCst));
            let _ = catch_unwind(|| panic!("on purpose"));
        });
    }));
    assert!(caught.is_ok() && ended.load(SeqCst));
}
