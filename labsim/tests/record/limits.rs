//! What is dropped when there is too much, what may be added later, and how a record
//! is serialized.
//!
//! Boundary: events, whatever they are about.

use labsim::node::Node;
use labsim::record::{self, Class, Event, Record, Value};
use labsim::{Config, links, note, simulate, thread};
use serde_json::json;

use crate::{MS, only, recorded};

const LIMIT: usize = 100;

fn limited(body: impl FnOnce() + Send + 'static) -> Record {
    let outcome = simulate(Config { record_limit: LIMIT, ..Config::seed(1).record(true) }, body);
    outcome.result.unwrap();
    outcome.record
}

fn count(record: &Record, kind: &str) -> usize {
    record.events.iter().filter(|event| event.kind == kind).count()
}

fn emit_many(class: Class, kind: &'static str, count: usize) {
    (0..count).for_each(|_| _ = record::emit_as(class, kind, Vec::new));
}

#[test]
fn the_oldest_details_go_first_and_milestones_never() {
    let record = limited(|| {
        let (a, b) = (Node::new("a"), Node::new("b"));
        links::change(a, b, |link| link.up = false);
        emit_many(Class::Normal, "early", 60);
        for _ in 0..1000 {
            emit_many(Class::Detail, "detail", 1);
        }
        emit_many(Class::Normal, "late", 30);
        b.crash();
    });
    let counts = ["cut", "early", "late", "crash"].map(|kind| count(&record, kind));
    assert_eq!((counts, record.events.len()), ([1, 60, 30, 1], LIMIT));
    let details: Vec<u64> =
        record.events.iter().filter(|event| event.kind == "detail").map(|event| event.number).collect();
    assert_eq!(details.len(), LIMIT - 92 - count(&record, "thread_end"), "{record:#?}");
    assert!(details.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{details:?}");
    let last = record.events.iter().find(|event| event.kind == "late").unwrap().number;
    assert_eq!(details.last(), Some(&(last - 1)), "the youngest are kept");
    let emitted = record.events.last().unwrap().number;
    assert_eq!(record.dropped, emitted - LIMIT as u64);
}

#[test]
fn then_the_oldest_of_the_rest_go() {
    let record = limited(|| {
        emit_many(Class::Detail, "detail", 50);
        emit_many(Class::Normal, "normal", 500);
        emit_many(Class::Milestone, "mark", 20);
    });
    assert_eq!(
        ["detail", "normal", "mark"].map(|kind| count(&record, kind)),
        [0, 80 - count(&record, "thread_end"), 20]
    );
    let record = limited(|| emit_many(Class::Milestone, "mark", 500));
    assert_eq!(count(&record, "mark"), 500, "not even if they are too many");
}

#[test]
fn a_class_may_be_given_later() {
    let record = limited(|| {
        let kept = record::emit("kept", Vec::new);
        record::set_class(kept, Class::Milestone);
        let not_kept = record::emit_as(Class::Milestone, "not kept", Vec::new);
        record::set_class(not_kept, Class::Detail);
        emit_many(Class::Normal, "normal", 500);
        record::set_class(not_kept, Class::Milestone); // It is gone.
        record::amend(not_kept, || vec![("too", "late".into())]);
        record::set_class(1_000_000, Class::Normal);
    });
    assert_eq!(["kept", "not kept"].map(|kind| count(&record, kind)), [1, 0]);
}

#[test]
fn threads_that_no_event_names_are_not_listed() {
    let record = limited(|| {
        for _ in 0..200 {
            thread::spawn("short", || record::emit("normal", Vec::new)).join().unwrap();
        }
    });
    assert!(record.threads.len() <= LIMIT + 1, "{}", record.threads.len());
    for event in record.events.iter().filter(|event| event.kind == "normal") {
        assert_eq!(record.threads[event.thread as usize].name, "short");
    }
}

#[test]
fn an_event_can_be_found_and_amended() {
    let record = recorded(1, || {
        let event = record::emit("sends", || vec![("to", 1_u64.into()), ("term", 2_u64.into())]);
        emit_many(Class::Normal, "other", 10);
        record::amend(event, || vec![("term", 3_u64.into()), ("entries", vec![4, 5].into())]);
    });
    let sends = only(&record, "sends");
    assert_eq!(sends.fields, [("to", 1_u64.into()), ("term", 3_u64.into()), ("entries", vec![4, 5].into())]);
    assert_eq!(record.event(sends.number), Some(sends));
    assert_eq!(record.event(u64::MAX), None);
}

/// Of what came after it some is gone: it is not so many from the end as its number says.
#[test]
fn an_event_is_found_where_some_were_dropped() {
    let record = limited(|| {
        emit_many(Class::Normal, "before", 60);
        let event = record::emit("sends", Vec::new);
        emit_many(Class::Detail, "detail", 30);
        emit_many(Class::Normal, "after", 35);
        record::amend(event, || vec![("term", 3_u64.into())]);
    });
    assert!(count(&record, "detail") < 30, "some were dropped");
    assert_eq!(only(&record, "sends").number_of("term"), Some(3));
}

#[test]
fn a_record_is_serialized_as_what_it_is() {
    let record = recorded(1, || {
        let node = Node::new("S");
        node.spawn("talker", || {
            thread::sleep(MS);
            let fields = || {
                let entry: Vec<record::Field> = vec![("term", 1_u32.into())];
                vec![
                    ("flag", true.into()),
                    ("number", 7_usize.into()),
                    ("chance", 0.25.into()),
                    ("text", "words".into()),
                    ("numbers", vec![1, 2].into()),
                    ("list", vec![Value::Nothing, entry.into()].into()),
                    ("nobody", None::<u64>.into()),
                    ("node", Some(labsim::node::NodeId(3)).into()),
                ]
            };
            record::emit_caused_by("said", &[2, 0, 1, 2, 99], fields);
        });
        thread::sleep(2 * MS);
        note!("topic", "text");
    });
    let event: &Event = only(&record, "said");
    let thread = &record.threads[event.thread as usize];
    assert_eq!(serde_json::to_value(thread).unwrap(), json!({"name": "talker", "node": 0}));
    let nanos = event.at.as_nanos();
    assert!((1_000_000..1_100_000).contains(&nanos) && !nanos.is_multiple_of(1000), "{nanos}");
    let text = serde_json::to_string(event).unwrap();
    let expected = format!(
        r#"{{"number":{},"at_us":{}.{},"node":0,"thread":{},"kind":"said","causes":[1,2],"fields":{{"flag":true,"number":7,"chance":0.25,"text":"words","numbers":[1,2],"list":[null,{{"term":1}}],"nobody":null,"node":3}}}}"#,
        event.number,
        nanos / 1000,
        format!("{:03}", nanos % 1000).trim_end_matches('0'),
        event.thread
    );
    assert_eq!(text, expected);
    let whole = serde_json::to_value(&record).unwrap();
    assert_eq!(whole["events"].as_array().unwrap().len(), record.events.len());
    assert_eq!(whole["dropped"], 0);
}
