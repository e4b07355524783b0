//! Small histories told by hand, and exactly what is said of them.
//!
//! Boundary: tests.

use std::sync::Arc;

use crate::linear::{Breach, BreachKind, Call, Clock, Limits, Model, Operation, Outcome, Verdict, check};

/// Milliseconds.
const MS: u64 = 1_000_000;

/// A history from lines: `CLIENT CALL..RETURN OPERATION [-> RESULT]`, in milliseconds.
/// A return of `?` never came. In a result `nil` is nil, and `no` a failure.
fn history(lines: &[&str]) -> Vec<Operation> {
    lines.iter().map(|line| operation(line)).collect()
}

fn operation(line: &str) -> Operation {
    let (head, result) = line.split_once(" -> ").map_or((line, None), |(head, result)| (head, Some(result)));
    let words: Vec<&str> = head.split(' ').collect();
    let text = |at: usize| -> Arc<str> { words[at].replace('_', " ").into() };
    let call = match words[2] {
        "get" => Call::Get { key: text(3) },
        "put" => Call::Put { key: text(3), value: words[4].trim_matches('"').replace('_', " ").into() },
        "append" => Call::Append { key: text(3), value: text(4) },
        "read" => Call::Read,
        "write" => Call::Write(text(3)),
        "cas" => Call::CompareAndSet { expected: text(3), new: text(4) },
        other => panic!("{other}"),
    };
    let (from, to) = words[1].split_once("..").expect("a time has two ends");
    let outcome = match (to, result) {
        ("?", _) => Outcome::Unknown,
        (_, None) => Outcome::Done,
        (_, Some("no")) => Outcome::Failed,
        (_, Some("nil")) => Outcome::Value(None),
        (_, Some(text)) => Outcome::Value(Some(text.trim_matches('"').replace('_', " ").into())),
    };
    let at = |word: &str| word.parse::<u64>().map_or(0, |ms| ms * MS);
    Operation { client: words[0].parse().expect("a client"), call, called_at: at(from), outcome, returned_at: at(to) }
}

fn model(history: &[Operation]) -> Model {
    if Model::KeyValue.has(&history[0].call) { Model::KeyValue } else { Model::Register }
}

fn passes(lines: &[&str]) {
    let history = history(lines);
    let judgement = check(model(&history), &history, &Limits::default());
    assert_eq!(judgement.verdict, Verdict::Linearizable, "{lines:?}");
}

fn breach(lines: &[&str]) -> Breach {
    let history = history(lines);
    match check(model(&history), &history, &Limits::default()).verdict {
        Verdict::Broken(breach) => breach,
        other => panic!("{other:?}: {lines:?}"),
    }
}

/// Checks what is said, and of which operations.
fn says(lines: &[&str], kind: BreachKind, bad: usize, other: Option<usize>, message: &str) {
    let breach = breach(lines);
    assert_eq!(breach.message, message);
    assert_eq!((breach.kind, breach.first_bad, breach.other), (kind, bad, other));
}

#[test]
fn what_may_happen_passes() {
    passes(&["0 0..1 get k -> \"\"", "0 2..3 put k a", "0 4..5 append k b", "0 6..7 get k -> ab"]);
    // A get may see a put that overlaps it, or not.
    passes(&["0 0..10 put k a", "1 1..2 get k -> a", "2 3..4 get k -> a"]);
    passes(&["0 0..10 put k a", "1 1..2 get k -> \"\"", "2 3..4 get k -> a"]);
    // No answer: at once, late, or never.
    passes(&["0 0..? append k a", "1 1..2 get k -> a"]);
    passes(&["0 0..? append k a", "1 1..2 get k -> \"\"", "1 3..4 get k -> \"\"", "1 5..6 get k -> a"]);
    passes(&["0 0..? append k a", "1 1..2 append k b", "1 3..4 get k -> b"]);
    passes(&["0 0..1 read -> nil", "1 2..3 write 1", "0 4..5 cas 1 2", "1 6..7 cas 1 3 -> no", "0 8..9 read -> 2"]);
    passes(&["0 0..? cas 1 2", "1 1..2 write 1", "1 3..4 read -> 2"]);
    // Keys have nothing to do with each other.
    passes(&["0 0..1 put a x", "0 2..3 get b -> \"\"", "0 4..5 get a -> x"]);
    // A put that failed changed nothing; a get that failed saw nothing.
    passes(&["0 0..1 put k a -> no", "0 2..3 get k -> no", "0 4..5 get k -> \"\""]);
}

/// At one moment, a client's own calls follow each other, and others' overlap.
#[test]
fn a_clients_next_call_comes_after_its_last() {
    passes(&["0 0..1 put k a", "1 1..2 get k -> \"\""]);
    let lines = ["0 0..1 put k a", "0 1..2 get k -> \"\""];
    assert_eq!(breach(&lines).kind, BreachKind::Stale);
}

#[test]
fn from_nowhere() {
    says(
        &["1 0..1000 append 0 x_0_0_y", "3 1204..1209 get 0 -> x_0_1_y"],
        BreachKind::FromNowhere,
        1,
        None,
        "client 3's Get(\"0\") at 1.204s..1.209s returned \"x 0 1 y\", which nobody wrote",
    );
    says(
        &["1 0..1000 append 0 ab", "3 1204..1209 get 0 -> abc"],
        BreachKind::FromNowhere,
        1,
        None,
        "client 3's Get(\"0\") at 1.204s..1.209s returned \"abc\", of which nobody wrote \"c\"",
    );
    says(
        &["1 0..1000 write 1", "3 1204..1209 read -> 2"],
        BreachKind::FromNowhere,
        1,
        None,
        "client 3's Read() at 1.204s..1.209s returned \"2\", which nobody wrote",
    );
}

#[test]
fn from_the_future() {
    says(
        &["3 1204..1209 get 0 -> x_0_1_y", "1 1310..1312 append 0 x_0_1_y"],
        BreachKind::FromTheFuture,
        0,
        Some(1),
        "client 3's Get(\"0\") at 1.204s..1.209s returned \"x 0 1 y\", which was written by client 1's Append(\"0\", \
         \"x 0 1 y\") at 1.310s..1.312s: it had not begun",
    );
    says(
        &["0 0..1 append 0 a", "3 1204..1209 get 0 -> ab", "1 1310..? append 0 b"],
        BreachKind::FromTheFuture,
        1,
        Some(2),
        "client 3's Get(\"0\") at 1.204s..1.209s returned \"ab\", of which \"b\" was written by client 1's \
         Append(\"0\", \"b\") at 1.310s..?: it had not begun",
    );
    says(
        &["3 4..9 cas 7 8", "1 10..12 write 7"],
        BreachKind::FromTheFuture,
        0,
        Some(1),
        "client 3's CompareAndSet(\"7\", \"8\") at 0.004s..0.009s found \"7\", which was written by client 1's \
         Write(\"7\") at 0.010s..0.012s: it had not begun",
    );
}

#[test]
fn stale() {
    says(
        &["0 0..1 append k a", "1 2..3 append k b", "2 4..5 get k -> a"],
        BreachKind::Stale,
        2,
        Some(1),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"a\", which misses \"b\": client 1's Append(\"k\", \"b\") \
         at 0.002s..0.003s had returned before",
    );
    says(
        &["0 0..9 append k a", "1 2..3 get k -> a", "2 4..5 get k -> \"\""],
        BreachKind::Stale,
        2,
        Some(1),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"\", which misses \"a\": client 1's Get(\"k\") at \
         0.002s..0.003s had returned it before",
    );
    // A put that had returned is not there, nor one that may have replaced it.
    says(
        &["0 0..1 put k a", "1 2..3 put k b", "2 4..5 get k -> a"],
        BreachKind::Stale,
        2,
        Some(1),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"a\", which misses \"b\": client 1's Put(\"k\", \"b\") at \
         0.002s..0.003s had returned before",
    );
    says(
        &["0 0..1 write 1", "1 2..3 write 2", "2 4..5 read -> 1"],
        BreachKind::Stale,
        2,
        Some(1),
        "client 2's Read() at 0.004s..0.005s returned \"1\", but client 1's Write(\"2\") at 0.002s..0.003s had \
         returned before, and is newer",
    );
    says(
        &["0 0..1 write 1", "1 2..9 write 2", "2 3..4 read -> 2", "2 5..6 read -> 1"],
        BreachKind::Stale,
        3,
        Some(2),
        "client 2's Read() at 0.005s..0.006s returned \"1\", but client 2's Read() at 0.003s..0.004s had returned \
         \"2\", which is newer",
    );
    says(
        &["0 0..1 write 1", "2 5..6 read -> nil"],
        BreachKind::Stale,
        1,
        Some(0),
        "client 2's Read() at 0.005s..0.006s returned nil, but client 0's Write(\"1\") at 0.000s..0.001s had returned \
         before, and is newer",
    );
}

#[test]
fn lost() {
    says(
        &["0 0..1 append k a", "1 2..3 append k b", "2 4..5 get k -> b"],
        BreachKind::Lost,
        2,
        Some(0),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"b\", which lacks \"a\" of client 0's Append(\"k\", \"a\") \
         at 0.000s..0.001s, and has \"b\" of client 1's Append(\"k\", \"b\") at 0.002s..0.003s, which is later",
    );
    says(
        &["0 0..9 append k a", "1 0..9 append k b", "2 4..5 get k -> a", "3 6..7 get k -> b"],
        BreachKind::Lost,
        3,
        Some(2),
        "client 3's Get(\"k\") at 0.006s..0.007s returned \"b\", which lacks \"a\" before \"b\": client 2's \
         Get(\"k\") at 0.004s..0.005s has it there",
    );
}

#[test]
fn twice() {
    says(
        &["0 0..9 append k x_0_0_y", "1 4..5 get k -> x_0_0_yx_0_0_y"],
        BreachKind::Twice,
        1,
        Some(0),
        "client 1's Get(\"k\") at 0.004s..0.005s returned \"x 0 0 yx 0 0 y\", which has \"x 0 0 y\" 2 times: client \
         0's Append(\"k\", \"x 0 0 y\") at 0.000s..0.009s took effect more than once",
    );
}

/// Where it is not known which texts stand there, none is said to stand there twice.
#[test]
fn cut_in_several_ways() {
    let appends = ["0 0..1 append k a", "0 2..3 append k b", "0 4..5 append k ab", "0 6..7 append k c"];
    let found = breach(&[&appends[..], &["1 8..9 get k -> abab"]].concat());
    assert_eq!((found.kind, found.other), (BreachKind::Other, None), "{}", found.message);
    let found = breach(&[&appends[..], &["1 8..9 get k -> cc"]].concat());
    assert_eq!((found.kind, found.other), (BreachKind::Twice, Some(3)), "{}", found.message);
    // A put may be what two appends look like.
    let puts = ["0 0..1 append k a", "0 2..3 append k b", "0 4..5 put k ab", "1 6..7 get k -> abb"];
    assert_eq!(breach(&puts).kind, BreachKind::Other);
}

/// An empty put shows in no text, and hides all that was before it.
#[test]
fn overwritten_by_nothing() {
    says(
        &["0 0..1 put k a", "1 2..3 put k \"\"", "2 4..5 get k -> a"],
        BreachKind::Stale,
        2,
        Some(1),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"a\", which has \"a\" of client 0's Put(\"k\", \"a\") at \
         0.000s..0.001s: client 1's Put(\"k\", \"\") at 0.002s..0.003s had overwritten it",
    );
    says(
        &["0 0..1 append k p", "0 2..3 append k q", "0 4..5 put k \"\"", "0 6..7 append k p", "1 8..9 get k -> pp"],
        BreachKind::Twice,
        4,
        Some(2),
        "client 1's Get(\"k\") at 0.008s..0.009s returned \"pp\", which has \"p\" 2 times, and of these only 1 can be \
         newer than client 0's Put(\"k\", \"\") at 0.004s..0.005s",
    );
    // Who may come after it is not hidden by it.
    let lines = ["0 0..1 put k \"\"", "0 2..3 append k p", "0 4..5 append k q", "1 6..7 get k -> p"];
    assert_eq!((breach(&lines).kind, breach(&lines).other), (BreachKind::Stale, Some(2)));
    // What begins with a put is not what was appended before that one.
    let lines =
        ["0 0..1 append k a", "0 2..3 put k a", "1 4..9 append k b", "0 5..6 get k -> ab", "1 10..11 get k -> a"];
    assert_eq!((breach(&lines).kind, breach(&lines).other), (BreachKind::Stale, Some(2)));
    let lines =
        ["0 0..1 append k a", "0 2..3 put k a", "1 4..20 append k b", "0 5..6 get k -> ab", "2 10..11 get k -> a"];
    assert_eq!((breach(&lines).kind, breach(&lines).other), (BreachKind::Stale, Some(3)));
    // Nor does a put hide or overwrite anything that has not begun, or not returned.
    let lines = ["0 0..1 append k a", "1 2..3 get k -> \"\"", "0 4..5 put k \"\""];
    assert_eq!((breach(&lines).kind, breach(&lines).other), (BreachKind::Stale, Some(0)));
    let lines = ["0 0..1 append k a", "0 2..3 append k b", "1 4..9 put k \"\"", "2 5..6 get k -> ba"];
    assert_eq!((breach(&lines).kind, breach(&lines).other), (BreachKind::Order, Some(0)));
    // A piece that was written again is not overwritten.
    let lines =
        ["0 0..1 append k p", "0 2..3 put k \"\"", "0 4..5 append k p", "0 6..7 append k q", "0 8..9 append k r"];
    let breach = breach(&[&lines[..], &["1 10..11 get k -> prq"]].concat());
    assert_eq!((breach.kind, breach.other), (BreachKind::Order, Some(3)));
}

#[test]
fn order() {
    says(
        &["0 0..1 append k a", "1 2..3 append k b", "2 4..5 get k -> ba"],
        BreachKind::Order,
        2,
        Some(0),
        "client 2's Get(\"k\") at 0.004s..0.005s returned \"ba\", which has \"b\" before \"a\", but client 0's \
         Append(\"k\", \"a\") at 0.000s..0.001s had returned before client 1's Append(\"k\", \"b\") at \
         0.002s..0.003s began",
    );
    says(
        &["0 0..9 append k a", "1 0..9 append k b", "2 4..5 get k -> ab", "3 6..7 get k -> ba"],
        BreachKind::Order,
        3,
        Some(2),
        "client 3's Get(\"k\") at 0.006s..0.007s returned \"ba\", which has \"b\" before \"a\": client 2's Get(\"k\") \
         at 0.004s..0.005s had them the other way round",
    );
    says(
        &["0 0..9 write 1", "1 0..9 write 2", "2 1..2 read -> 1", "2 3..4 read -> 2", "2 5..6 read -> 1"],
        BreachKind::Order,
        4,
        Some(3),
        "client 2's Read() at 0.005s..0.006s returned \"1\", which was written once, by client 0's Write(\"1\") at \
         0.000s..0.009s, and had been read and overwritten before client 2's Read() at 0.003s..0.004s returned \"2\"",
    );
}

#[test]
fn other() {
    // Two swaps of one value: the loser should have failed.
    says(
        &["0 0..1 write 1", "1 2..9 cas 1 2", "2 2..9 cas 1 3"],
        BreachKind::Other,
        2,
        None,
        "client 2's CompareAndSet(\"1\", \"3\") at 0.002s..0.009s found \"1\", which fits into no order of what was \
         called before that; an order of the 2 operations without it ends in \"2\"",
    );
    says(
        &["0 0..1 write 1", "1 2..3 cas 1 2 -> no"],
        BreachKind::Other,
        1,
        None,
        "client 1's CompareAndSet(\"1\", \"2\") at 0.002s..0.003s found something else than \"1\", which fits into no \
         order of what was called before that; an order of the 1 operations without it ends in \"1\"",
    );
}

/// Of equal writes, one that had not begun is not taken for the other.
#[test]
fn equal_writes_are_two() {
    let lines = ["0 0..? write 1", "1 1..2 read -> 1", "1 3..4 write 2", "1 5..6 read -> 1"];
    assert_eq!(breach(&lines).first_bad, 3);
    assert_eq!(breach(&[&lines[..], &["2 7..? write 1"]].concat()).first_bad, 3);
    passes(&[&lines[..], &["2 4..? write 1"]].concat());
    // The second one to return comes first, because its client goes on at once.
    passes(&["0 0..2 write 1", "1 0..2 write 1", "1 2..2 cas 1 2", "2 3..4 read -> 1"]);
}

/// The first moment counts: what comes later, and is wrong too, is not told.
#[test]
fn the_first_breach_is_told_with_its_prefix() {
    let lines = [
        "0 0..1 append k a",
        "1 2..3 get k -> \"\"",
        "0 4..5 append k b",
        "1 6..7 get k -> \"\"",
        "1 8..9 get other -> x",
    ];
    let breach = breach(&lines);
    assert_eq!((breach.first_bad, breach.prefix, breach.key.as_deref()), (1, vec![0], Some("k")));
}

#[test]
fn a_long_text_is_shown_by_its_ends() {
    let piece = "0123456789".repeat(9);
    let breach = breach(&[&format!("0 0..1 append k {piece}"), "1 2..3 get k -> \"\""]);
    let shown = "\"01234567890123456789..012345678901234567890123456789\" (90 characters)";
    assert!(
        breach.message.contains(&format!("misses {shown}: client 0's Append(\"k\", {shown})")),
        "{}",
        breach.message
    );
}

#[test]
fn moments_may_be_lines() {
    let mut history = history(&["0 0..1 put k a", "1 2..3 get k -> \"\""]);
    for operation in &mut history {
        (operation.called_at, operation.returned_at) = (operation.called_at / MS + 1, operation.returned_at / MS + 1);
    }
    let Verdict::Broken(breach) =
        check(Model::KeyValue, &history, &Limits { clock: Clock::Lines, ..Limits::default() }).verdict
    else {
        panic!("it is broken");
    };
    assert_eq!(
        breach.message,
        "client 1's Get(\"k\") at lines 3..4 returned \"\", which misses \"a\": client 0's Put(\"k\", \"a\") at lines \
         1..2 had returned before"
    );
}
