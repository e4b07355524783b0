//! Lines of files: what they mean, and what is said of wrong ones.
//!
//! Boundary: tests.

use std::sync::Arc;

use crate::linear::{Call, Operation, Outcome, parse};

fn operation(client: u64, call: Call, called_at: u64, outcome: Outcome, returned_at: u64) -> Operation {
    Operation { client, call, called_at, outcome, returned_at }
}

fn value(text: &str) -> Outcome {
    Outcome::Value(Some(text.into()))
}

#[test]
fn jepsen_logs_are_read() {
    let text = "\u{feff}INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - 1\t:invoke\t:cas\t[0 3]\n\
                \n\
                INFO  jepsen.util - 0\t:ok\t:read\tnil\n\
                INFO  jepsen.util - 1\t:fail\t:cas\t[0 3]\n\
                INFO  jepsen.util - 1\t:invoke\t:write\t4\r\n\
                INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n\
                INFO  jepsen.util - 1\t:info\t:write\t:timed-out\n\
                INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
                INFO  jepsen.util - 2\t:ok\t:read\t4\n\
                INFO  jepsen.util - 3\t:invoke\t:write\t-5";
    let (old, new): (Arc<str>, Arc<str>) = ("0".into(), "3".into());
    let expected = [
        operation(0, Call::Read, 1, Outcome::Value(None), 4),
        operation(1, Call::CompareAndSet { expected: old, new }, 2, Outcome::Failed, 5),
        operation(1, Call::Write("4".into()), 6, Outcome::Unknown, 9),
        operation(0, Call::Read, 7, Outcome::Failed, 8),
        operation(2, Call::Read, 10, value("4"), 11),
        operation(3, Call::Write("-5".into()), 12, Outcome::Unknown, 0),
    ];
    assert_eq!(parse(text).expect("it is right"), expected);
}

#[test]
fn maps_are_read() {
    let text = r#"{:process 0, :type :invoke, :f :append, :key "0", :value "x 0 \"0\" }\n"}
{:type :invoke :process 1 :f :get :key "0" :value nil :time 17 :index [1 2]}
{:process 0, :type :ok, :f :append, :key "0", :value "x 0 \"0\" }\n"}
  {:process 1, :type :ok, :f :get, :key "0", :value ""}
{:process 1, :type :invoke, :f :put, :key 7, :value 8}
{:process 1, :type :info, :f :put, :key 7, :value :timed-out}
{:process 1, :type :invoke, :f :cas, :key nil, :value ["a" "nil"]}"#;
    let key: Arc<str> = "0".into();
    let cas = Call::CompareAndSet { expected: "a".into(), new: "nil".into() };
    let expected = [
        operation(0, Call::Append { key: key.clone(), value: "x 0 \"0\" }\n".into() }, 1, Outcome::Done, 3),
        operation(1, Call::Get { key }, 2, value(""), 4),
        operation(1, Call::Put { key: "7".into(), value: "8".into() }, 5, Outcome::Unknown, 6),
        operation(1, cas, 7, Outcome::Unknown, 0),
    ];
    assert_eq!(parse(text).expect("it is right"), expected);
}

#[test]
fn a_wrong_line_is_named_with_what_was_expected() {
    let get = r#"{:process 1, :type :invoke, :f :get, :key "0", :value nil}"#;
    let put = r#"{:process 1, :type :invoke, :f :put, :key "0", :value "a"}"#;
    let rows: &[(&[&str], &str)] = &[
        (
            &["INFO jepsen.core - 0 :invoke :read nil"],
            "line 1: expected `INFO jepsen.util - PROCESS :KIND :OP VALUE`, or a map in {}",
        ),
        (&["INFO jepsen.util - 0 :invoke :read"], "line 1: expected a number, and found the end of the line"),
        (&["INFO jepsen.util - 0 :begin :read nil"], "line 1: expected :invoke, :ok, :fail or :info, and found :begin"),
        (&["INFO jepsen.util - 0 :invoke :read nil 7"], "line 1: expected the end of the line, and found \"7\""),
        (&["INFO jepsen.util - x :invoke :read nil"], "line 1: expected a number, and found \"x :invoke :read nil\""),
        (&["INFO jepsen.util - -1 :invoke :read nil"], "line 1: expected the number of a process, and found -1"),
        (
            &["INFO jepsen.util - 0 :invoke :cas 7"],
            "line 1: expected the old value and the new one, as [0 3], and found \"7\"",
        ),
        (&["INFO jepsen.util - 0 :invoke :cas [7 8"], "line 1: expected ], and found the end of the line"),
        (&["INFO jepsen.util - 0 :invoke :write nil"], "line 1: expected a text or a number to write, and found nil"),
        (
            &["INFO jepsen.util - 0 :invoke :swap nil"],
            "line 1: expected :get, :put, :append, :read, :write or :cas, and found :swap",
        ),
        (&["INFO jepsen.util - 0 :invoke :get nil"], "line 1: expected :key, because :get is about one"),
        (
            &[r#"{:process 1, :type :invoke, :f :read, :key "0"}"#],
            "line 1: expected no :key, because :read is of a register",
        ),
        (&["{:process 1, :process 2}"], "line 1: expected :process once in the map, and found it twice"),
        (
            &[r#"{:process 1, :type :invoke, :f :get, :key "0", :key "1"}"#],
            "line 1: expected :key once in the map, and found it twice",
        ),
        (&["{:time 1, :process 1, :time 1}"], "line 1: expected :time once in the map, and found it twice"),
        (&["{:process 1, :type :invoke}"], "line 1: expected a :f in the map"),
        (
            &["{:process 1, :type :invoke"],
            "line 1: expected a word that begins with a colon, and found the end of the line",
        ),
        (
            &[r#"{:process 1, :type :invoke, :f :put, :key "0", :value "a}"#],
            "line 1: expected a \" at the end of the text, and found the end of the line",
        ),
        (
            &[r#"{:process 1, :type :invoke, :f :put, :key "0", :value "\q"}"#],
            "line 1: expected \\n, \\t, \\r, \\\" or \\\\, and found \\q",
        ),
        (&[get, get], "line 2: process 1 calls, but its Get(\"0\") of line 1 has not returned"),
        (
            &["", r#"{:process 1, :type :ok, :f :get, :key "0", :value "a"}"#],
            "line 2: process 1 returns, but has called nothing",
        ),
        (
            &[get, r#"{:process 1, :type :ok, :f :get, :key "1", :value "a"}"#],
            "line 2: process 1 returns from :get of key \"1\", but what it called in line 1 is Get(\"0\")",
        ),
        (
            &[get, r#"{:process 1, :type :ok, :f :get, :key "0", :value [1 2]}"#],
            "line 2: expected what was read, a text, a number or nil, and found [1 2]",
        ),
        (
            &[put, r#"{:process 1, :type :ok, :f :put, :key "0", :value "b"}"#],
            "line 2: process 1 returns \"b\", but what it called in line 1 is Put(\"0\", \"a\")",
        ),
    ];
    for (lines, message) in rows {
        let malformed = parse(&lines.join("\n")).expect_err(message);
        assert_eq!(malformed.to_string(), *message);
    }
}
