//! Histories in files.
//!
//! Two formats, told apart line by line; a line is a call or a return:
//!
//! - what Jepsen logs, of a register: `INFO  jepsen.util - 4 :invoke :cas [0 3]`;
//! - a map of EDN, of keys: `{:process 4, :type :ok, :f :get, :key "9", :value "x"}`.
//!   Without `:key`, it is of a register too.
//!
//! The second word, or `:type`, is `:invoke`, `:ok`, `:fail` (surely no effect) or
//! `:info` (who knows). There are no times: line numbers are the moments. Who has no
//! return at the end of the file may yet have one: its outcome is unknown.
//!
//! Boundary: text in, operations out. Opens no file.

use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;
use std::sync::Arc;

use super::history::{Call, Operation, Outcome, quoted};
use super::model::Table;

/// A line that is no call or return, or not one that can stand there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads a history. Its moments are lines ([`Clock::Lines`](super::Clock::Lines)), and
/// its operations stand in the order of their calls.
///
/// # Errors
///
/// The first line that is malformed.
pub fn parse(text: &str) -> Result<Vec<Operation>, Malformed> {
    let mut history: Vec<Operation> = Vec::new();
    let mut open: Table<u64, usize> = Table::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // Some editors begin a file with it.
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let event = if text.trim_start().starts_with('{') { edn(text) } else { jepsen(text) };
        event
            .and_then(|event| add(&mut history, &mut open, line, event))
            .map_err(|message| Malformed { line, message })?;
    }
    Ok(history)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// A line, taken apart.
struct Event<'a> {
    process: u64,
    kind: Kind,
    function: &'a str,
    key: Option<Arc<str>>,
    value: Datum,
}

/// What stands for a value.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Datum {
    Nil,
    Text(Arc<str>),
    Pair(Arc<str>, Arc<str>),
    Keyword(String),
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => write!(f, "nil"),
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Pair(one, other) => write!(f, "[{one} {other}]"),
            Self::Keyword(word) => write!(f, ":{word}"),
        }
    }
}

fn add(history: &mut Vec<Operation>, open: &mut Table<u64, usize>, line: u64, event: Event<'_>) -> Result<(), String> {
    let process = event.process;
    if event.kind == Kind::Invoke {
        let call = call(&event)?;
        let index = history.len();
        if let Some(before) = open.insert(process, index) {
            let Operation { call, called_at, .. } = &history[before];
            return Err(format!("process {process} calls, but its {call} of line {called_at} has not returned"));
        }
        history.push(Operation { client: process, call, called_at: line, outcome: Outcome::Unknown, returned_at: 0 });
        return Ok(());
    }
    let index = open.remove(&process).ok_or_else(|| format!("process {process} returns, but has called nothing"))?;
    let operation = &mut history[index];
    let returns = |what: &dyn fmt::Display| {
        format!(
            "process {process} returns {what}, but what it called in line {} is {}",
            operation.called_at, operation.call
        )
    };
    let is_its = operation.call.key() == event.key.as_ref() && name(&operation.call) == event.function;
    if !is_its {
        let key = event.key.as_ref().map_or(String::new(), |key| format!(" of key {key:?}"));
        return Err(returns(&format!("from :{}{key}", event.function)));
    }
    operation.outcome = match (event.kind, &event.value) {
        (Kind::Ok, Datum::Nil) if operation.call.is_read() => Outcome::Value(None),
        (Kind::Ok, Datum::Text(text)) if operation.call.is_read() => Outcome::Value(Some(Arc::clone(text))),
        (Kind::Ok, value) if operation.call.is_read() => {
            return Err(format!("expected what was read, a text, a number or nil, and found {value}"));
        }
        (Kind::Ok, value) if call(&event).as_ref() != Ok(&operation.call) => return Err(returns(value)),
        (Kind::Ok, _) => Outcome::Done,
        (Kind::Fail, _) => Outcome::Failed,
        (Kind::Info | Kind::Invoke, _) => Outcome::Unknown,
    };
    operation.returned_at = line;
    Ok(())
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Get { .. } => "get",
        Call::Put { .. } => "put",
        Call::Append { .. } => "append",
        Call::Read => "read",
        Call::Write(_) => "write",
        Call::CompareAndSet { .. } => "cas",
    }
}

fn call(event: &Event<'_>) -> Result<Call, String> {
    let Event { function, key, value, .. } = event;
    match (*function, key.clone(), value.clone()) {
        ("get", Some(key), _) => Ok(Call::Get { key }),
        ("put", Some(key), Datum::Text(value)) => Ok(Call::Put { key, value }),
        ("append", Some(key), Datum::Text(value)) => Ok(Call::Append { key, value }),
        ("read", None, _) => Ok(Call::Read),
        ("write", None, Datum::Text(value)) => Ok(Call::Write(value)),
        ("cas", None, Datum::Pair(expected, new)) => Ok(Call::CompareAndSet { expected, new }),
        ("get" | "put" | "append", None, _) => Err(format!("expected :key, because :{function} is about one")),
        ("read" | "write" | "cas", Some(_), _) => {
            Err(format!("expected no :key, because :{function} is of a register"))
        }
        ("put" | "append" | "write", _, value) => {
            Err(format!("expected a text or a number to {function}, and found {value}"))
        }
        ("cas", _, value) => Err(format!("expected the old value and the new one, as [0 3], and found {value}")),
        _ => Err(format!("expected :get, :put, :append, :read, :write or :cas, and found :{function}")),
    }
}

/// `INFO  jepsen.util - PROCESS KIND OP VALUE`
fn jepsen(line: &str) -> Result<Event<'_>, String> {
    let expected = || "expected `INFO jepsen.util - PROCESS :KIND :OP VALUE`, or a map in {}".to_owned();
    let rest = line.trim_start().strip_prefix("INFO").ok_or_else(expected)?;
    let rest = rest.trim_start().strip_prefix("jepsen.util").ok_or_else(expected)?;
    let rest = rest.trim_start().strip_prefix("- ").ok_or_else(expected)?;
    let mut reader = Reader::new(rest);
    let event = Event {
        process: process(reader.number()?)?,
        kind: kind(reader.keyword()?)?,
        function: reader.keyword()?,
        key: None,
        value: reader.datum()?,
    };
    reader.end()?;
    Ok(event)
}

/// `{:process P, :type :KIND, :f :OP, :key K, :value V}`
fn edn(line: &str) -> Result<Event<'_>, String> {
    let mut reader = Reader::new(line.trim());
    reader.expect('{')?;
    let (mut process_number, mut kind_word, mut function, mut key, mut value) = (None, None, None, None, Datum::Nil);
    let mut names = Vec::new();
    while !reader.is_next('}') {
        let name = reader.keyword()?;
        if names.contains(&name) {
            return Err(format!("expected :{name} once in the map, and found it twice"));
        }
        names.push(name);
        match name {
            "process" => process_number = Some(process(reader.number()?)?),
            "type" => kind_word = Some(kind(reader.keyword()?)?),
            "f" => function = Some(reader.keyword()?),
            "key" => {
                key = match reader.datum()? {
                    Datum::Text(text) => Some(text),
                    Datum::Nil => None,
                    other => return Err(format!("expected a text or a number as :key, and found {other}")),
                }
            }
            "value" => value = reader.datum()?,
            _ => {
                // Others are somebody else's, as :time and :index are.
                reader.datum()?;
            }
        }
    }
    reader.expect('}')?;
    reader.end()?;
    let missing = |name: &str| format!("expected a :{name} in the map");
    Ok(Event {
        process: process_number.ok_or_else(|| missing("process"))?,
        kind: kind_word.ok_or_else(|| missing("type"))?,
        function: function.ok_or_else(|| missing("f"))?,
        key,
        value,
    })
}

fn process(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("expected the number of a process, and found {word}"))
}

fn kind(word: &str) -> Result<Kind, String> {
    match word {
        "invoke" => Ok(Kind::Invoke),
        "ok" => Ok(Kind::Ok),
        "fail" => Ok(Kind::Fail),
        "info" => Ok(Kind::Info),
        _ => Err(format!("expected :invoke, :ok, :fail or :info, and found :{word}")),
    }
}

/// As much of EDN as there is in a history.
struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, chars: text.char_indices().peekable() }
    }

    fn skip_space(&mut self) {
        while self.chars.next_if(|(_, char)| char.is_whitespace() || *char == ',').is_some() {}
    }

    fn is_next(&mut self, wanted: char) -> bool {
        self.skip_space();
        self.chars.peek().is_some_and(|(_, char)| *char == wanted)
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.is_next(wanted) {
            self.chars.next();
            return Ok(());
        }
        Err(format!("expected {wanted}, and found {}", self.rest()))
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.chars.peek().is_none() {
            Ok(())
        } else {
            Err(format!("expected the end of the line, and found {}", self.rest()))
        }
    }

    /// What is left, for a message.
    fn rest(&mut self) -> String {
        match self.chars.peek() {
            None => "the end of the line".to_owned(),
            Some((at, _)) => quoted(&self.text[*at..]),
        }
    }

    /// Letters, digits, and what else may stand in a word.
    fn word(&mut self) -> &'a str {
        let start = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        let is_end = |char: char| char.is_whitespace() || ",[]{}()\":".contains(char);
        while self.chars.next_if(|(_, char)| !is_end(*char)).is_some() {}
        let end = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        &self.text[start..end]
    }

    fn number(&mut self) -> Result<&'a str, String> {
        self.skip_space();
        let before = self.chars.clone();
        let word = self.word();
        if word.parse::<i64>().is_ok() {
            return Ok(word);
        }
        self.chars = before;
        Err(format!("expected a number, and found {}", self.rest()))
    }

    fn keyword(&mut self) -> Result<&'a str, String> {
        if !self.is_next(':') {
            return Err(format!("expected a word that begins with a colon, and found {}", self.rest()));
        }
        self.chars.next();
        match self.word() {
            "" => Err(format!("expected a word after the colon, and found {}", self.rest())),
            word => Ok(word),
        }
    }

    fn datum(&mut self) -> Result<Datum, String> {
        self.skip_space();
        match self.chars.peek().map(|(_, char)| *char) {
            Some(':') => Ok(Datum::Keyword(self.keyword()?.to_owned())),
            Some('[') => {
                self.chars.next();
                let pair = Datum::Pair(self.scalar()?, self.scalar()?);
                self.expect(']')?;
                Ok(pair)
            }
            _ if self.text_is_nil() => {
                self.word();
                Ok(Datum::Nil)
            }
            _ => Ok(Datum::Text(self.scalar()?)),
        }
    }

    fn text_is_nil(&mut self) -> bool {
        let Some((at, _)) = self.chars.peek() else { return false };
        self.text[*at..].strip_prefix("nil").is_some_and(|rest| !rest.starts_with(|char: char| char.is_alphanumeric()))
    }

    /// A number, as it is written, or a text.
    fn scalar(&mut self) -> Result<Arc<str>, String> {
        if self.is_next('"') { self.string() } else { self.number().map(Arc::from) }
    }

    fn string(&mut self) -> Result<Arc<str>, String> {
        self.chars.next();
        // Few texts have anything to escape.
        let start = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        let rest = &self.text[start..];
        if let Some(length) = rest.find(['"', '\\'])
            && rest[length..].starts_with('"')
        {
            let end = start + length + 1;
            while self.chars.next_if(|(at, _)| *at < end).is_some() {}
            return Ok(rest[..length].into());
        }
        let mut text = String::new();
        loop {
            match self.chars.next().map(|(_, char)| char) {
                None => return Err("expected a \" at the end of the text, and found the end of the line".to_owned()),
                Some('"') => return Ok(text.into()),
                Some('\\') => match self.chars.next().map(|(_, char)| char) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(char @ ('"' | '\\')) => text.push(char),
                    other => {
                        let found = other.map_or("the end of the line".to_owned(), |char| format!("\\{char}"));
                        return Err(format!("expected \\n, \\t, \\r, \\\" or \\\\, and found {found}"));
                    }
                },
                Some(char) => text.push(char),
            }
        }
    }
}
