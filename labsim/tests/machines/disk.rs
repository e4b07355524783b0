//! Disks: what was synced is there after a crash, and nothing else.
//!
//! Boundary: one node at a time; what a crash does to threads is in `crash.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use labsim::disk::{self, Change};
use labsim::node::Node;
use labsim::sync::Arc;
use labsim::time::Instant;
use labsim::{Config, simulate, thread};
use proptest::prelude::*;

use crate::{MS, run, run_seeds};

/// Crashes the node and brings it up again.
fn reboot(node: Node) {
    node.crash();
    node.restart();
}

/// What an observer of disks is shown, and that it may crash whoever writes: in a
/// simulation and on OS threads.
#[test]
fn an_observer_sees_each_step_and_may_crash_its_node() {
    let body = || {
        let node = Node::new("server");
        let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let theirs = Arc::clone(&seen);
        disk::observe(move |written| {
            theirs.lock().push(format!("{} {:?}", written.node.0, written.change));
            if matches!(written.change, Change::File { before: 4, after: 2, .. }) {
                node.crash();
            }
        });
        let disk = node.disk();
        let writer = node.spawn("writer", move || {
            disk.append("log", b"kept");
            disk.sync();
            disk.truncate("log", 2);
            disk.sync(); // Not any more.
        });
        assert!(writer.join().is_err());
        node.restart();
        assert_eq!(node.disk().read("log"), b"kept");
        let expected = [
            "0 File { name: \"log\", before: 0, after: 4 }",
            "0 Synced",
            "0 File { name: \"log\", before: 4, after: 2 }",
        ];
        assert_eq!(*seen.lock(), expected);
    };
    simulate(Config::seed(1), body).result.unwrap();
    labsim::run_real(Config::seed(1), body).result.unwrap();
}

#[test]
fn what_was_not_synced_is_lost() {
    run(1, || {
        let node = Node::new("server");
        let disk = node.disk();
        disk.append("log", b"kept");
        disk.sync();
        disk.append("log", b" lost");
        disk.replace("vote", b"lost too".to_vec());
        assert_eq!(disk.read("log"), b"kept lost", "reads see what is buffered");
        assert_eq!(disk.len("vote"), 8);

        reboot(node);
        assert_eq!(node.disk().read("log"), b"kept");
        assert_eq!(node.disk().len("vote"), 0);
    });
}

#[test]
fn a_restart_alone_loses_nothing_that_was_synced() {
    run(1, || {
        let node = Node::new("server");
        node.disk().append("log", b"kept");
        node.disk().sync();
        for _ in 0..3 {
            reboot(node);
            assert_eq!(node.disk().read("log"), b"kept");
        }
    });
}

#[test]
fn every_node_has_a_disk_of_its_own() {
    run(1, || {
        let (a, b) = (Node::new("a"), Node::new("b"));
        a.disk().append("log", b"a's");
        b.disk().append("log", b"b's");
        b.disk().sync();
        a.crash();
        assert_eq!(b.disk().read("log"), b"b's");
        a.restart();
        assert!(a.disk().is_empty());
    });
}

#[test]
fn a_sync_is_atomic_over_all_files() {
    let kept = run_seeds(|| {
        let node = Node::new("server");
        node.disk().set_sync_delay(MS..3 * MS);
        node.spawn("writer", move || {
            for round in 0..100_u8 {
                for file in ["a", "b", "c"] {
                    node.disk().append(file, &[round]);
                }
                node.disk().sync();
            }
        });
        thread::sleep(labsim::rand::between(MS..20 * MS));
        reboot(node);
        let lengths = ["a", "b", "c"].map(|file| node.disk().len(file));
        assert!(lengths.iter().all(|len| *len == lengths[0]), "a sync was torn: {lengths:?}");
        lengths[0]
    });
    assert!(kept.iter().any(|len| *len > 0), "no seed had time for a sync");
}

#[test]
fn a_crash_during_a_sync_leaves_the_state_of_the_sync_before() {
    run_seeds(|| {
        let node = Node::new("server");
        node.disk().append("log", b"old");
        node.disk().sync();
        node.disk().set_sync_delay(5 * MS..6 * MS);
        node.spawn("writer", move || {
            node.disk().append("log", b" new");
            node.disk().sync();
        });
        thread::sleep(3 * MS);
        reboot(node);
        assert_eq!(node.disk().read("log"), b"old");
        thread::sleep(10 * MS);
        assert_eq!(node.disk().read("log"), b"old", "the sync of a dead life took effect");
    });
}

#[test]
fn a_sync_takes_the_time_that_it_is_told() {
    run_seeds(|| {
        let disk = Node::new("server").disk();
        let sync_time = || {
            let begun = Instant::now();
            disk.sync();
            begun.elapsed()
        };
        assert!(sync_time() < MS);
        disk.set_sync_delay(5 * MS..10 * MS);
        let slow = sync_time();
        assert!((5 * MS..11 * MS).contains(&slow), "a sync took {slow:?}");
        disk.set_sync_delay(MS..MS);
        assert!(sync_time() < MS, "an empty range ends the delay");
    });
}

#[test]
fn sync_delays_depend_on_seed_node_and_number_only() {
    let delays = |neighbours: usize| {
        run(5, move || {
            let node = Node::new("server");
            node.disk().set_sync_delay(MS..1000 * MS);
            for _ in 0..neighbours {
                let other = Node::new("other");
                other.disk().set_sync_delay(MS..2 * MS);
                other.disk().sync();
            }
            (0..5)
                .map(|_| {
                    let begun = Instant::now();
                    node.disk().sync();
                    begun.elapsed().as_millis()
                })
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(delays(0), delays(3));
}

#[test]
fn a_disk_of_a_dead_life_writes_nothing_and_reads_nothing() {
    run(1, || {
        let node = Node::new("server");
        let old = node.disk();
        old.append("log", b"kept");
        old.sync();
        reboot(node);

        old.append("log", b" by a ghost");
        old.replace("log", b"by a ghost".to_vec());
        old.truncate("log", 0);
        old.save(b"ghost".to_vec(), b"ghost".to_vec());
        assert!(old.read("log").is_empty() && old.is_empty());
        assert_eq!(node.disk().read("log"), b"kept");
        assert_eq!(node.disk().load(), (vec![], vec![]));
    });
}

#[test]
fn a_sync_of_a_dead_life_does_not_sync_for_the_next_one() {
    run(1, || {
        let node = Node::new("server");
        let old = node.disk();
        reboot(node);
        node.disk().append("log", b"unsynced");
        old.sync();
        reboot(node);
        assert!(node.disk().is_empty());
    });
}

#[test]
fn the_disk_of_a_node_that_is_down_cannot_be_asked_for() {
    let failure = crate::failure(1, || {
        let node = Node::new("server");
        node.crash();
        node.disk()
    });
    assert!(failure.message.contains("restart it first"), "{failure}");
}

#[test]
fn save_and_load_keep_the_last_pair() {
    run(1, || {
        let node = Node::new("server");
        assert_eq!(node.disk().load(), (vec![], vec![]));
        node.disk().save(b"state 1".to_vec(), b"snapshot 1".to_vec());
        node.disk().save(b"state 2".to_vec(), vec![]);
        reboot(node);
        assert_eq!(node.disk().load(), (b"state 2".to_vec(), vec![]));
    });
}

#[test]
fn a_save_cut_short_leaves_the_old_pair_or_the_new_one() {
    let pairs = run_seeds(|| {
        let node = Node::new("server");
        node.disk().save(vec![0], vec![0]);
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        node.spawn("saver", move || {
            node.disk().save(vec![1], vec![1]);
            theirs.store(true, Ordering::Relaxed);
        });
        for _ in 0..labsim::rand::below(6) {
            thread::yield_now();
        }
        reboot(node);
        let (state, snapshot) = node.disk().load();
        assert_eq!(state, snapshot, "a save was torn");
        assert!(state == [1] || !done.load(Ordering::Relaxed), "a save that returned was lost");
        state[0]
    });
    assert!(pairs.contains(&0) && pairs.contains(&1), "both must have been seen");
}

#[test]
fn a_sync_may_be_slow_with_a_lock_held() {
    run(1, || {
        let disk = Node::new("server").disk();
        disk.set_sync_delay(MS..2 * MS);
        let lock = labsim::sync::Mutex::new(());
        let _held = lock.lock();
        disk.sync();
    });
}

/// One thing that happens to a disk.
#[derive(Clone, Debug)]
enum Act {
    Append(usize, Vec<u8>),
    Truncate(usize, usize),
    Replace(usize, Vec<u8>),
    Sync,
    Crash,
}

const FILES: [&str; 3] = ["log", "vote", "snapshot"];

fn act() -> impl Strategy<Value = Act> {
    let file = 0..FILES.len();
    let bytes = proptest::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        4 => (file.clone(), bytes.clone()).prop_map(|(file, bytes)| Act::Append(file, bytes)),
        3 => (file.clone(), 0..12_usize).prop_map(|(file, len)| Act::Truncate(file, len)),
        2 => (file, bytes).prop_map(|(file, bytes)| Act::Replace(file, bytes)),
        2 => Just(Act::Sync),
        1 => Just(Act::Crash),
    ]
}

/// A disk that copies everything at each sync.
#[derive(Default)]
struct Model {
    files: BTreeMap<usize, Vec<u8>>,
    durable: BTreeMap<usize, Vec<u8>>,
}

impl Model {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Append(file, bytes) => self.files.entry(*file).or_default().extend(bytes),
            Act::Truncate(file, len) => self.files.entry(*file).or_default().truncate(*len),
            Act::Replace(file, bytes) => drop(self.files.insert(*file, bytes.clone())),
            Act::Sync => self.durable = self.files.clone(),
            Act::Crash => self.files = self.durable.clone(),
        }
    }
}

fn act_on(node: Node, act: &Act) {
    let disk = node.disk();
    match act {
        Act::Append(file, bytes) => disk.append(FILES[*file], bytes),
        Act::Truncate(file, len) => disk.truncate(FILES[*file], *len),
        Act::Replace(file, bytes) => disk.replace(FILES[*file], bytes.clone()),
        Act::Sync => disk.sync(),
        Act::Crash => reboot(node),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_behaves_like_one_that_copies_everything(acts in proptest::collection::vec(act(), 0..40)) {
        let outcome = simulate(Config::seed(1), move || {
            let node = Node::new("server");
            let mut model = Model::default();
            for (at, act) in acts.iter().chain([&Act::Crash]).enumerate() {
                act_on(node, act);
                model.act(act);
                for (file, name) in FILES.iter().enumerate() {
                    let want = model.files.get(&file).cloned().unwrap_or_default();
                    assert_eq!(node.disk().read(name), want, "file {name} after act {at}, {act:?}");
                    assert_eq!(node.disk().len(name), want.len());
                }
                assert_eq!(node.disk().is_empty(), model.files.is_empty(), "after act {at}, {act:?}");
            }
        });
        prop_assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    }
}
