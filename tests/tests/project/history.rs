//! `cargo lab history`: files in, verdicts and exit codes out.
//!
//! Boundary: the command as a user meets it; not how it judges.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{lab, stderr, stdout};

/// A file of this test, with these lines.
fn file(name: &str, lines: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("histories");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let path: PathBuf = folder.join(name);
    fs::write(&path, lines.join("\n") + "\n").expect("the file can be written");
    path.to_str().expect("the folder has a name in UTF-8").to_owned()
}

fn right() -> String {
    let lines = [
        r#"{:process 0, :type :invoke, :f :append, :key "a", :value "x 0 0 y"}"#,
        r#"{:process 1, :type :invoke, :f :get, :key "a", :value nil}"#,
        r#"{:process 0, :type :ok, :f :append, :key "a", :value "x 0 0 y"}"#,
        r#"{:process 1, :type :ok, :f :get, :key "a", :value "x 0 0 y"}"#,
        r#"{:process 1, :type :invoke, :f :put, :key "b", :value ""}"#,
    ];
    file("right.edn", &lines)
}

fn wrong() -> String {
    let lines = [
        "INFO  jepsen.util - 0\t:invoke\t:write\t4",
        "INFO  jepsen.util - 0\t:ok\t:write\t4",
        "INFO  jepsen.util - 1\t:invoke\t:read\tnil",
        "INFO  jepsen.util - 1\t:ok\t:read\tnil",
    ];
    file("wrong.log", &lines)
}

const WRONG: &str = "client 1's Read() at lines 3..4 returned nil, but client 0's Write(\"4\") at lines 1..2 had returned before, and is newer";

/// Many writes that overlap, and two reads that no order explains: all sets of them
/// have to be tried.
fn hard() -> String {
    let mut lines: Vec<String> = Vec::new();
    for kind in [":invoke", ":ok"] {
        lines.extend((0..30).map(|process| format!("INFO  jepsen.util - {process}\t{kind}\t:write\t{process}")));
    }
    for value in ["0", "1"] {
        lines.push("INFO  jepsen.util - 50\t:invoke\t:read\tnil".to_owned());
        lines.push(format!("INFO  jepsen.util - 50\t:ok\t:read\t{value}"));
    }
    file("hard.log", &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_line_a_file_tells_its_verdict() {
    let right = right();
    let told = lab(&["history", "--model", "kv", &right]);
    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    assert!(stdout(&told).starts_with(&format!("{right}: linearizable, 3 operations in ")), "{}", stdout(&told));
    assert_eq!(stdout(&told).lines().count(), 1);

    let wrong = wrong();
    let told = lab(&["history", "--model", "register", &wrong]);
    assert_eq!(told.status.code(), Some(1));
    let text = stdout(&told);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{wrong}: not linearizable, 2 operations in ")), "{text}");
    assert_eq!(lines[1..], [format!("  {WRONG}")]);
}

#[test]
fn json_has_every_field() {
    for (model, file, code, verdict, operations, keys, message) in
        [("kv", right(), 0, "linearizable", 3, 2, Value::Null), ("register", wrong(), 1, "not", 2, 1, WRONG.into())]
    {
        for flags in [&["--json"][..], &["--json", "--whole"]] {
            let told = lab(&[&["history", "--model", model, &file], flags].concat());
            assert_eq!(told.status.code(), Some(code), "{}", stderr(&told));
            let line: Value = serde_json::from_str(&stdout(&told)).expect("one object on one line");
            assert_eq!((&line["file"], &line["verdict"]), (&file.as_str().into(), &verdict.into()));
            assert_eq!((&line["operations"], &line["keys"]), (&operations.into(), &keys.into()));
            assert!(line["wall_us"].is_u64() && line["states"].is_u64(), "{line}");
            assert_eq!(line["message"], message);
        }
    }
}

/// 2 before 1 before 3, and what can be judged is.
#[test]
fn of_several_files_the_worst_decides() {
    let (wrong, hard) = (wrong(), hard());
    let broken = file("broken.log", &["INFO  jepsen.util - 0\t:ok\t:write\t4"]);
    let fine = file("fine.log", &["INFO  jepsen.util - 0\t:invoke\t:write\t4"]);
    for (files, code, lines) in [
        (&[&fine][..], 0, 1),
        (&[&hard, &fine], 3, 2),
        (&[&hard, &wrong, &fine], 1, 3),
        (&[&broken, &hard, &wrong, &fine], 2, 3),
    ] {
        let mut arguments = vec!["history", "--model", "register", "--deadline", "0.05", "--json"];
        arguments.extend(files.iter().map(|file| file.as_str()));
        let told = lab(&arguments);
        assert_eq!(told.status.code(), Some(code), "{files:?}: {}", stdout(&told));
        assert_eq!(stdout(&told).lines().count(), lines, "{files:?}");
    }
    let told = lab(&["history", "--model", "register", "--deadline", "0.05", &hard]);
    assert!(stdout(&told).contains("hard.log: unknown, 32 operations in "), "{}", stdout(&told));
    assert!(stdout(&told).contains("\n  the time was up before the search was at its end\n"), "{}", stdout(&told));
}

#[test]
fn what_cannot_be_judged_is_said_with_its_line() {
    let wrong = wrong();
    let (empty, half) = (file("empty.log", &[]), file("half.log", &["", "INFO  jepsen.util - 0\t:ok\t:write\t4"]));
    let twice = file("twice.log", &["INFO jepsen.util - 0 :invoke :write 4", "INFO jepsen.util - 0 :invoke :write 5"]);
    let garbage = file("garbage.log", &["hello"]);
    let bytes = file("bytes.log", &[""]);
    fs::write(&bytes, b"INFO  jepsen.util - 0\t:invoke\t:write\t4\n\xff\xfe\n").expect("the file can be written");
    let rows: &[(&[&str], &str)] = &[
        (&["--model", "register", "no/such/file"], "error: no/such/file cannot be read: "),
        (&["--model", "register", "raft"], "error: raft cannot be read: "),
        (&["--model", "register", &empty], "empty.log is empty: expected a call or a return a line"),
        (&["--model", "register", &half], "half.log, line 2: process 0 returns, but has called nothing"),
        (
            &["--model", "register", &twice],
            "twice.log, line 2: process 0 calls, but its Write(\"4\") of line 1 has not",
        ),
        (&["--model", "register", &garbage], "garbage.log, line 1: expected `INFO jepsen.util - PROCESS"),
        (&["--model", "register", &bytes], "bytes.log, line 2: expected text in UTF-8"),
        (&["--model", "kv", &wrong], "wrong.log, line 1: Write(\"4\") is no operation of keys: say --model register"),
        (&["--model", "kvs", &wrong], "'kv'"),
        (&["--model", "kv", "--deadline", "0", &wrong], "write seconds, more than 0"),
        (&["--model", "kv"], "<FILE>..."),
        (&[&wrong], "--model <MODEL>"),
    ];
    for (arguments, part) in rows {
        let told = lab(&[&["history"], *arguments].concat());
        assert_eq!(told.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&told).contains(part), "{arguments:?}: {}", stderr(&told));
        assert!(told.stdout.is_empty(), "{arguments:?}: {}", stdout(&told));
    }
}
