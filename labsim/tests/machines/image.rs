//! Images: what a crash would leave of a disk, without the crash.
//!
//! Boundary: whole disks. What becomes of single writes is in `disk.rs`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex as Plain;

use labsim::disk::{self, Change, Image};
use labsim::node::Node;
use labsim::sync::Arc;
use labsim::{Config, rand, run_real, simulate, thread};

use crate::{OnDrop, run, run_seeds};

fn image(files: &[(&str, &[u8])]) -> Image {
    files.iter().copied().collect()
}

/// Writes at random, and compares each image with what a crash leaves.
#[test]
fn an_image_is_what_a_crash_leaves() {
    run_seeds(|| {
        let node = Node::new("n");
        for _ in 0..20 {
            let disk = node.disk();
            for number in 0..rand::below(8) {
                let file = ["a", "b", "c"][rand::below(3) as usize];
                match rand::below(5) {
                    0 => disk.truncate(file, rand::below(4) as usize),
                    1 => disk.replace(file, vec![7; rand::below(5) as usize]),
                    2 => disk.sync(),
                    _ => disk.append(file, &[number as u8; 3]),
                }
                if rand::below(2) == 0 {
                    disk.image(); // What was asked before makes no difference.
                }
            }
            let (image, version) = (disk.image(), disk.version());
            node.crash();
            assert_eq!((disk::image_of(node.id()), disk::version_of(node.id())), (image.clone(), version));
            node.restart();
            let names: Vec<(String, usize)> = node.disk().files();
            assert!(image.files().map(|(name, bytes)| (name.to_owned(), bytes.len())).eq(names));
            assert!(image.files().all(|(name, bytes)| node.disk().read(name) == bytes));
            assert_eq!(node.disk().image(), image);
        }
    });
}

#[test]
fn equal_versions_are_equal_images() {
    run(1, || {
        let node = Node::new("n");
        let disk = node.disk();
        assert_eq!((disk.version(), disk.image()), (0, Image::default()));
        disk.append("a", b"1");
        assert_eq!((disk.version(), disk.image().is_empty()), (0, true));
        disk.sync();
        let first = disk.image();
        assert_eq!((disk.version(), &first), (1, &image(&[("a", b"1")])));
        disk.sync(); // Nothing to do.
        disk.append("a", b"2");
        assert_eq!((disk.version(), disk.image()), (1, first.clone()));
        disk.sync();
        let second = disk.image();
        assert_eq!((disk.version(), &second), (2, &image(&[("a", b"12")])));
        assert_ne!(second, first);
        assert_eq!((second.read("a"), second.read("b")), (Some(b"12".as_slice()), None));

        disk.replace("a", b"1".to_vec());
        disk.sync();
        let again = disk.image();
        let hashes = RandomState::new();
        assert_eq!((disk.version(), hashes.hash_one(&again)), (3, hashes.hash_one(&first)));
        assert_eq!(again, first);
    });
}

#[test]
fn images_share_what_has_not_changed() {
    run(1, || {
        let disk = Node::new("n").disk();
        disk.append("large", b"1");
        disk.append("small", b"1");
        disk.sync();
        let first = disk.image();
        disk.append("small", b"2");
        disk.sync();
        let second = disk.image();
        let bytes = |image: &Image, file| image.read(file).unwrap().as_ptr();
        assert_eq!(bytes(&first, "large"), bytes(&second, "large"));
        assert_ne!(bytes(&first, "small"), bytes(&second, "small"));
        assert_eq!(format!("{second:?}"), r#"{"large": 1, "small": 2}"#);
    });
}

/// From the thread of another node, in an observer, where nobody may wait.
#[test]
fn an_image_is_no_step() {
    let steps = |looks: bool| {
        let outcome = simulate(Config::seed(1), move || {
            let (server, other) = (Node::new("server"), Node::new("other"));
            server.disk().append("log", b"12");
            server.disk().sync();
            disk::observe(move |_| {
                if looks {
                    let image = disk::image_of(server.id());
                    assert_eq!((image.read("log"), disk::version_of(server.id())), (Some(b"12".as_slice()), 1));
                }
            });
            other.spawn("writer", move || other.disk().append("log", b"1")).join().unwrap();
        });
        outcome.result.unwrap();
        (outcome.steps, outcome.hash)
    };
    assert_eq!(steps(true), steps(false));
}

#[test]
fn a_restored_disk_is_durable_at_once() {
    run(1, || {
        let node = Node::new("n");
        let disk = node.disk();
        disk.append("a", b"old");
        disk.append("b", b"old");
        disk.sync();
        disk.append("b", b", and unsynced");
        disk.append("gone", b"unsynced");
        let seen = Arc::new(Plain::new(0));
        let theirs = Arc::clone(&seen);
        disk::observe(move |_| *theirs.lock().unwrap() += 1);
        let new = image(&[("b", b"new"), ("c", b"")]);
        disk.restore(&new);
        assert_eq!((disk.read("b"), disk.files().len(), disk.version()), (b"new".to_vec(), 2, 2));
        assert_eq!((disk.image(), *seen.lock().unwrap()), (new.clone(), 0));

        disk.sync();
        assert_eq!((disk.version(), disk.image()), (2, new.clone()), "there is nothing to make durable");
        disk.append("b", b"er");
        node.crash();
        disk.restore(&image(&[("b", b"by the dead")])); // Its life is over.
        node.restart();
        assert_eq!((node.disk().read("b"), node.disk().image()), (b"new".to_vec(), new));
        node.disk().append("b", b"er");
        node.disk().sync();
        assert_eq!(node.disk().image(), image(&[("b", b"newer"), ("c", b"")]));
    });
}

#[test]
fn the_dead_restore_nothing() {
    run_seeds(|| {
        let (dead, alive) = (Node::new("dead"), Node::new("alive"));
        dead.spawn("restorer", move || {
            let disk = alive.disk();
            let _restores = OnDrop(move || disk.restore(&image(&[("a", b"by the dead")])));
            thread::park();
        });
        thread::sleep(crate::MS);
        dead.crash();
        assert!(alive.disk().image().is_empty());
    });
}

#[test]
fn observers_of_disks_are_called_in_order() {
    let heard = run(1, || {
        let heard = Arc::new(Plain::new(Vec::new()));
        let node = Node::new("n");
        for observer in ["first", "crashes", "last"] {
            let heard = Arc::clone(&heard);
            disk::observe(move |written| {
                let is_sync = written.change == Change::Synced;
                heard.lock().unwrap().push((observer, is_sync));
                if is_sync && observer == "crashes" {
                    node.crash();
                }
            });
        }
        let writer = node.spawn("writer", move || {
            node.disk().append("a", b"1");
            node.disk().sync();
        });
        writer.join().unwrap_err();
        heard.lock().unwrap().clone()
    });
    let expected = [("first", false), ("crashes", false), ("last", false), ("first", true), ("crashes", true)];
    assert_eq!(heard, expected);
}

#[test]
fn disks_of_real_worlds_have_images_too() {
    let outcome = run_real(Config::seed(1), || {
        let (one, two) = (Node::new("one"), Node::new("two"));
        one.disk().append("a", b"kept");
        one.disk().sync();
        one.disk().append("a", b" and lost");
        let image = one.disk().image();
        two.disk().restore(&image);
        (two.disk().read("a"), two.disk().version(), disk::image_of(one.id()) == two.disk().image())
    });
    assert_eq!(outcome.result.unwrap(), (b"kept".to_vec(), 1, true));
}
