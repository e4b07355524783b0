//! Limits: exceeding one is never a pass, and large histories keep within them.
//!
//! Boundary: tests.

use std::sync::Arc;
use std::time::Instant;

use crate::linear::{BreachKind, Call, Judgement, Limits, Model, Operation, Outcome, Verdict, check};

fn append(client: u64, key: &str, text: &str, called_at: u64, returned_at: u64) -> Operation {
    let call = Call::Append { key: key.into(), value: text.into() };
    Operation { client, call, called_at, outcome: Outcome::Done, returned_at }
}

fn get(client: u64, key: &str, text: &str, called_at: u64, returned_at: u64) -> Operation {
    let outcome = Outcome::Value(Some(text.into()));
    Operation { client, call: Call::Get { key: key.into() }, called_at, outcome, returned_at }
}

/// Writes of a register that all overlap, and a read of what nobody wrote: each set of
/// them has to be tried.
fn hard(writes: u64) -> Vec<Operation> {
    let write = |client| Operation {
        client,
        call: Call::Write(client.to_string().into()),
        called_at: client,
        outcome: Outcome::Done,
        returned_at: 1000 + client,
    };
    // Each write is read twice at the end, which is once too often.
    let read = |client: u64, value: u64, at| Operation {
        client,
        call: Call::Read,
        called_at: at,
        outcome: Outcome::Value(Some(value.to_string().into())),
        returned_at: at + 1,
    };
    let mut history: Vec<Operation> = (0..writes).map(write).collect();
    history.extend([read(100, 0, 2000), read(100, 1, 3000)]);
    history
}

fn judged(history: &[Operation], limits: Limits) -> Judgement {
    check(Model::Register, history, &limits)
}

#[test]
fn what_exceeds_a_limit_is_unknown() {
    let broken = judged(&hard(10), Limits::default());
    assert!(matches!(broken.verdict, Verdict::Broken(_)), "{broken:?}");
    let cases = [
        (Limits { steps: Some(500), ..Limits::default() }, "500 steps did not suffice for the search"),
        (Limits { memory: 20_000, ..Limits::default() }, "the search had no room left in its 20000 bytes of memory"),
        (
            Limits { deadline: Some(Instant::now()), ..Limits::default() },
            "the time was up before the search was at its end",
        ),
    ];
    for (limits, why) in cases {
        for threads in [1, 2] {
            let judgement = judged(&hard(10), Limits { threads, ..limits.clone() });
            assert_eq!(judgement.verdict, Verdict::Unknown(why.to_owned()));
            assert!(judgement.memo_bytes <= limits.memory && judgement.steps <= limits.steps.unwrap_or(u64::MAX));
        }
    }
}

/// A hard key before it, and few steps, do not hide a breach.
#[test]
fn each_key_gets_a_look() {
    let mut history = Vec::new();
    for client in 0..20 {
        history.push(append(client, "hard", &format!("{client};"), client, 1000));
    }
    history.push(get(99, "hard", "", 0, 1001));
    history.push(Operation { call: Call::Put { key: "hard".into(), value: "x".into() }, ..history[0].clone() });
    history.push(get(50, "easy", "x", 0, 1));
    for threads in [1, 3] {
        let limits = Limits { steps: Some(100_000), threads, ..Limits::default() };
        let judgement = check(Model::KeyValue, &history, &limits);
        let Verdict::Broken(breach) = judgement.verdict else { panic!("{:?}", judgement.verdict) };
        assert_eq!((breach.key.as_deref(), breach.kind), (Some("easy"), BreachKind::FromNowhere));
    }
}

/// The same bits each time, and the same verdict on any number of threads.
#[test]
fn a_judgement_is_the_same_each_time() {
    let mut history = Vec::new();
    // Enough for the threads to be started.
    history.extend((0..8000).map(|number| append(number % 10, "much", "", number, number + 5)));
    for key in ["a", "b", "c", "d"] {
        for client in 0..6 {
            history.push(append(client, key, &format!("{client};"), client, 100));
        }
        history.push(get(9, key, if key < "c" { "0;1;2;3;4;5;" } else { "0;1;2;" }, 101, 102));
    }
    let first = check(Model::KeyValue, &history, &Limits::default());
    assert!(matches!(&first.verdict, Verdict::Broken(breach) if breach.key.as_deref() == Some("c")), "{first:?}");
    for threads in [1, 1, 2, 4] {
        let again = check(Model::KeyValue, &history, &Limits { threads, ..Limits::default() });
        assert_eq!(again.verdict, first.verdict);
        assert!(threads > 1 || again == first, "{again:?} after {first:?}");
    }
}

/// Thousands of appends to one key are judged in as many steps, more or less.
#[test]
fn a_long_text_is_no_burden() {
    let (clients, rounds) = (8, 500);
    let mut history = Vec::new();
    let mut text = String::new();
    for round in 0..rounds {
        for client in 0..clients {
            let at = 1000 * round + client;
            let piece = format!("x {client} {round} y");
            history.push(append(client, "0", &piece, at, at + 900));
        }
        // They take effect the other way round than they were called.
        for client in (0..clients).rev() {
            text += &format!("x {client} {round} y");
        }
        history.push(get(100, "0", &text, 1000 * round + 950, 1000 * round + 960));
    }
    let judgement = check(Model::KeyValue, &history, &Limits::default());
    assert_eq!(judgement.verdict, Verdict::Linearizable);
    let operations = (clients + 1) * rounds;
    // Each order of one round may have to be tried, and no two of them together.
    assert!(judgement.steps < 20 * operations, "{} steps for {operations} operations", judgement.steps);
    assert!(judgement.memo_bytes < 4 << 20, "{} bytes", judgement.memo_bytes);

    // Nor is what is wrong with it, at its very end.
    let last = history.last_mut().expect("it has some");
    last.outcome = Outcome::Value(Some(Arc::from(text.replacen("x 3 250 y", "", 1))));
    let judgement =
        check(Model::KeyValue, &history, &Limits { steps: Some(40 * 20 * operations), ..Limits::default() });
    let Verdict::Broken(breach) = judgement.verdict else { panic!("{:?}", judgement.verdict) };
    assert_eq!((breach.first_bad, breach.kind), (history.len() - 1, BreachKind::Lost), "{}", breach.message);
}

/// Calls without an answer cost nothing where nobody needs them.
#[test]
fn many_calls_without_an_answer_do_not_explode() {
    let mut history = Vec::new();
    for number in 0..200_u64 {
        let lost = append(number, "0", &format!("lost{number};"), number, number);
        history.push(Operation { outcome: Outcome::Unknown, ..lost });
    }
    let mut text = String::new();
    for number in 0..100_u64 {
        let at = 1000 + 10 * number;
        let took = 199 - number;
        text += &format!("lost{took};");
        history.push(append(500, "0", &format!("{number};"), at, at + 1));
        text += &format!("{number};");
        history.push(get(500, "0", &text, at + 2, at + 3));
    }
    let limits = Limits { steps: Some(100_000), ..Limits::default() };
    assert_eq!(check(Model::KeyValue, &history, &limits).verdict, Verdict::Linearizable);

    let mut register = Vec::new();
    for number in 0..60_u64 {
        let call = Call::Write((number % 5).to_string().into());
        register.push(Operation { client: number, call, called_at: number, outcome: Outcome::Unknown, returned_at: 0 });
    }
    for number in 0..30_u64 {
        let at = 1000 + 10 * number;
        let value = (number * 7 % 5).to_string();
        let outcome = Outcome::Value(Some(value.into()));
        register.push(Operation { client: 500, call: Call::Read, called_at: at, outcome, returned_at: at + 1 });
    }
    assert_eq!(judged(&register, limits).verdict, Verdict::Linearizable);
}
