//! The record of a run: that it is the run, and that it is whole.
//!
//! Boundary: `cargo lab replay` and `why` as a user meets them, and the events as
//! somebody reads them who has nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use labsim::disk::{self, Change};
use labsim::{Config, record, simulate, watch};
use parking_lot::Mutex;
use raft::{ServerId, Shown, View};
use serde_json::Value;
use tests::events::{Fold, Life, short_digest};
use tests::harness::{Lab, Trail};

use super::command::{lab, stderr, stdout};

/// What a server showed, after which event, with its whole log.
struct Showed {
    event: u64,
    view: View,
    log: Vec<Shown>,
    /// Its disk was synced since its last view: it may have all of that.
    is_synced: bool,
}

/// The base and the entries of each server's log.
type Logs = BTreeMap<ServerId, (u64, Vec<Shown>)>;

/// Whoever has the events has every server's state, at every moment at which one of
/// them has shown it.
#[test]
fn events_add_up_to_the_state_of_each_server() {
    for (name, seed) in [("figure8_2c", 2), ("backup_2b", 1), ("snapshot_install_crash_2d", 1), ("adversary_2d", 3)] {
        let test = tests::suites::find(name).expect("it is in the registry");
        let setup = test.setup.under(seed);
        let showed: Arc<Mutex<Vec<Showed>>> = Arc::default();
        let theirs = Arc::clone(&showed);
        let outcome = simulate(Config { record: true, ..Config::seed(seed) }, move || {
            let logs: Arc<Mutex<Logs>> = Arc::default();
            let known = Arc::clone(&logs);
            // Before anybody else: what the log is like.
            watch::subscribe(move |_, view: &View| {
                let mut logs = known.lock();
                let (base, log) = logs.entry(view.server).or_default();
                if view.changed_from == view.base.index + 1 {
                    log.clear();
                } else {
                    log.truncate(usize::try_from(view.changed_from - *base - 1).unwrap());
                    log.drain(..usize::try_from(view.base.index - *base).unwrap());
                }
                *base = view.base.index;
                log.extend(&view.changed);
            });
            let synced: Arc<Mutex<BTreeSet<ServerId>>> = Arc::default();
            let theirs_synced = Arc::clone(&synced);
            disk::observe(move |written| {
                if written.change == Change::Synced {
                    theirs_synced.lock().insert(ServerId(written.node.0));
                }
            });
            let lab = Lab::new(&setup, Trail::default());
            // After everybody else: it has been written down.
            watch::subscribe(move |_, view: &View| {
                let log = logs.lock()[&view.server].1.clone();
                let event = record::emit("shown", Vec::new);
                let is_synced = synced.lock().remove(&view.server);
                theirs.lock().push(Showed { event, view: view.clone(), log, is_synced });
            });
            (test.body)(&lab);
        });
        outcome.result.unwrap();
        assert_eq!(outcome.record.dropped, 0);
        let showed = std::mem::take(&mut *showed.lock());
        assert!(showed.len() > 100, "{name}: {} views", showed.len());
        let mut fold = Fold::new(setup.servers);
        let mut events = outcome.record.events.iter().peekable();
        for Showed { event, view, log, is_synced } in showed {
            while let Some(next) = events.next_if(|next| next.number <= event) {
                if next.kind == "append" {
                    let life = fold.server_of(next).and_then(|server| fold.servers[server].as_ref());
                    let end = life.map(|life| life.last().0 + 1);
                    assert_eq!(next.number_of("from"), end, "{name}, event {}: what is new is at the end", next.number);
                }
                fold.step(next);
            }
            let life = fold.servers[view.server.0 as usize].as_ref().expect("it has shown itself");
            let saved = if is_synced { view.last.index } else { life.saved };
            assert_eq!(*life, expected(&view, &log, saved), "{name}, {} at event {event}", view.server);
        }
    }
}

/// What a fold must have.
fn expected(view: &View, log: &[Shown], saved: u64) -> Life {
    Life {
        term: view.term,
        role: format!("{:?}", view.role).to_lowercase(),
        vote: view.voted_for.map(|candidate| candidate.0.into()),
        base: (view.base.index, view.base.term),
        entries: log.iter().map(|entry| (entry.term, short_digest(entry.digest))).collect(),
        commit: view.commit_index,
        applied: view.last_applied,
        saved,
        progress: view.progress.iter().map(|peer| (peer.server.0.into(), peer.next, peer.matched)).collect(),
    }
}

#[test]
fn a_recorded_run_is_the_same_run() {
    for name in ["reelection_2a", "fail_agree_2b", "persist2_2c", "snapshot_install_unreliable_2d", "adversary_2c"] {
        let test = tests::suites::find(name).expect("it is in the registry");
        let plain = tests::run::run_once(test, 5, tests::run::Mode::Simulated);
        let (recorded, record) = tests::run::run_recorded(test, 5);
        assert_eq!(
            (plain.hash, plain.steps, plain.elapsed),
            (recorded.hash, recorded.steps, recorded.elapsed),
            "{name}"
        );
        assert!(record.events.len() > 100, "{name}");
    }
}

#[test]
fn a_replay_writes_lines_that_a_program_can_read_and_replay() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay.ndjson");
    let path = file.to_str().expect("the folder has a name in UTF-8");
    let replayed = lab(&["replay", "persist1_2c", "--seed", "3", "--ndjson", path]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    assert!(stdout(&replayed).starts_with("passed persist1_2c --seed 3: "), "{}", stdout(&replayed));

    let text = fs::read_to_string(&file).expect("it was written");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let header = lines.next().expect("there is a header");
    assert_eq!((&header["version"], &header["test"], &header["seed"]), (&1.into(), &"persist1_2c".into(), &"3".into()));
    assert_eq!((&header["servers"], &header["verdict"], &header["dropped"]), (&3.into(), &"pass".into(), &0.into()));
    let events: Vec<Value> = lines.collect();
    assert_eq!(header["events"].as_u64(), Some(events.len() as u64));
    let mut before = (0, 0.0);
    for event in &events {
        let (number, at) = (event["number"].as_u64().expect("a number"), event["at_us"].as_f64().expect("a time"));
        assert!(number == before.0 + 1 && at >= before.1, "{event}");
        let causes = event["causes"].as_array().expect("causes");
        assert!(causes.iter().all(|cause| cause.as_u64().is_some_and(|cause| cause < number)), "{event}");
        before = (number, at);
    }
    for kind in [
        "send", "deliver", "timer", "term", "role", "vote", "append", "commit", "apply", "sync", "crash", "restart",
        "boot", "call", "check",
    ] {
        assert!(events.iter().any(|event| event["kind"] == kind), "no event is a {kind}");
    }

    let other = lab(&["replay", path, "--seed", "4"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("has its seed"), "{}", stderr(&other));
    let again = lab(&["replay", path]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&replayed));
    assert!(!stderr(&again).contains("another build"), "{}", stderr(&again));
}

/// A longer record than there was is written over the old one, and no shorter one is left
/// under it.
#[test]
fn a_file_has_one_record() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("twice.ndjson");
    let path = file.to_str().expect("the folder has a name in UTF-8");
    let lines = |test| {
        let replayed = lab(&["replay", test, "--seed", "3", "--ndjson", path]);
        assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
        let text = fs::read_to_string(&file).expect("it was written");
        let header: Value = text.lines().next().and_then(|line| serde_json::from_str(line).ok()).expect("a header");
        let count = text.lines().count() as u64;
        assert_eq!(header["events"].as_u64(), Some(count - 1), "{test}");
        count
    };
    let (long, short) = (lines("persist1_2c"), lines("initial_election_2a"));
    assert!(short < long && lines("persist1_2c") == long, "{short} after {long} lines");
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_said_beside_the_report() {
    let full = lab(&["replay", "initial_election_2a", "--seed", "3", "--ndjson", "/dev/full"]);
    assert_eq!(full.status.code(), Some(2));
    assert!(stdout(&full).starts_with("passed initial_election_2a"), "{}", stdout(&full));
    assert!(stderr(&full).contains("/dev/full cannot be written"), "{}", stderr(&full));
}

/// Where the text begins in a line of a short log.
const COLUMNS: usize = 57;

#[test]
fn a_log_has_lines_that_others_read() {
    let dslogs = lab(&["replay", "persist1_2c", "--seed", "3", "--log", "dslogs"]);
    assert!(stderr(&dslogs).contains("passed persist1_2c"), "{}", stderr(&dslogs));
    let mut topics = std::collections::BTreeSet::new();
    for line in stdout(&dslogs).lines() {
        let mut words = line.split(' ');
        let [time, topic, server] = [(); 3].map(|()| words.next().unwrap_or_else(|| panic!("too short: {line}")));
        assert!(time.len() >= 6 && time.bytes().all(|byte| byte.is_ascii_digit()), "{line}");
        assert!(topic.len() == 4 && (server == "T" || server.starts_with('S')), "{line}");
        topics.insert(topic.to_owned());
    }
    assert!(topics.len() >= 8, "{topics:?}");
    let short = stdout(&lab(&["replay", "persist1_2c", "--seed", "3", "--log", "short"]));
    let numbers = short.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    assert!(numbers.eq(1..=short.lines().count() as u64), "one line for each event");
    for line in short.lines() {
        if let Some((before, due)) = line.split_once("it will stand at ") {
            let now = before.split_whitespace().nth(1).expect("the time is the second column");
            let wait = due.parse::<f64>().unwrap() - now.parse::<f64>().unwrap();
            assert!((0.001..0.6).contains(&wait), "within an election timeout: {line}");
        }
        let kind = line.split_whitespace().nth(3).unwrap_or_else(|| panic!("too short: {line}"));
        let text: String = line.chars().skip(COLUMNS).collect();
        assert!(!["", kind].contains(&text.trim()), "an event has no words: {line}");
    }
    let service = stdout(&lab(&["replay", "one_partition_3a", "--seed", "3", "--log", "short"]));
    let says = |text: &str| service.lines().any(|line| line.contains(text));
    assert!(says("Write request: Request { ") && says("Write reply: Ok("), "what its own messages say");
}

#[test]
fn why_tells_each_change_and_its_cause() {
    let told = lab(&["why", "basic_agree_2b", "--seed", "1", "--server", "0", "--field", "commit"]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    let text = stdout(&told);
    for index in 1..=3 {
        let change = format!("commit index {} -> {index} (section at raft/src/", index - 1);
        let at =
            text.lines().position(|line| line.contains(&change)).unwrap_or_else(|| panic!("no `{change}`:\n{text}"));
        let because = text.lines().nth(at + 1).unwrap_or_default();
        assert!(because.trim_start().starts_with("because ") && because.contains("AppendEntries"), "{because}");
    }
    for (arguments, part) in [
        (&["why", "basic_agree_2b", "--seed", "1", "--server", "3", "--field", "commit"][..], "the servers 0 to 2"),
        (&["why", "basic_agree_2b", "--seed", "1", "--server", "0", "--field", "luck"], "there are term, role, vote"),
        (&["replay", "basic_agree_2b"], "say --seed"),
        (&["replay", "2b", "--seed", "1"], "say which"),
        (&["replay", "basic_agree_2b", "--seed", "1", "--ndjson", "no/such/folder"], "cannot be written"),
        (&["replay", "Cargo.toml", "--seed", "1"], "no part or test is called"),
    ] {
        let output = lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    }
}
