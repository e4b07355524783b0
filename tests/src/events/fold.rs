//! Events into states: what every server was like after any of them.
//!
//! Boundary: adds up. What a state means is not known here.

use labsim::record::{Event, Value};

/// The servers after the events so far.
#[derive(Clone, PartialEq, Debug)]
pub struct Fold {
    /// Each server's state; None before it has shown itself.
    pub servers: Vec<Option<Life>>,
    /// Which ones are down.
    pub down: Vec<bool>,
    /// Which directed links are cut: from, to.
    pub cut: Vec<(u64, u64)>,
}

/// A server's state, in one of its lives.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Life {
    /// Its term.
    pub term: u64,
    /// `follower`, `candidate` or `leader`.
    pub role: String,
    /// Whom it voted for in that term.
    pub vote: Option<u64>,
    /// The last index and term in its snapshot.
    pub base: (u64, u64),
    /// The terms and digests of the entries after that.
    pub entries: Vec<(u64, u64)>,
    /// The highest index that it knows to be committed.
    pub commit: u64,
    /// The highest index that its service was told of.
    pub applied: u64,
    /// Up to where its log may be on its disk.
    pub saved: u64,
    /// For each peer of a leader: next and match index.
    pub progress: Vec<(u64, u64, u64)>,
}

impl Life {
    /// The last index and its term.
    pub fn last(&self) -> (u64, u64) {
        let index = self.base.0 + self.entries.len() as u64;
        (index, self.entries.last().map_or(self.base.1, |(term, _)| *term))
    }

    /// All of it, from a `boot` or `state` event.
    fn whole(event: &Event) -> Self {
        let number = |name| event.number_of(name).unwrap_or_default();
        let mut life = Self {
            term: number("term"),
            role: event.text_of("role").unwrap_or_default().to_owned(),
            vote: event.number_of("vote"),
            base: (number("base"), number("base_term")),
            commit: number("commit"),
            applied: number("applied"),
            ..Self::default()
        };
        life.extend(event);
        life.saved = life.last().0;
        life.progress = progress(event);
        life
    }

    /// Takes entries over.
    fn extend(&mut self, event: &Event) {
        let from = event.number_of("from").unwrap_or_default();
        let kept = usize::try_from(from.saturating_sub(self.base.0 + 1)).unwrap_or(usize::MAX);
        self.entries.truncate(kept);
        let terms = numbers(event, "terms");
        self.entries.extend(terms.into_iter().zip(numbers(event, "digests")));
    }
}

fn numbers(event: &Event, name: &str) -> Vec<u64> {
    match event.field(name) {
        Some(Value::Numbers(numbers)) => numbers.clone(),
        _ => Vec::new(),
    }
}

fn progress(event: &Event) -> Vec<(u64, u64, u64)> {
    let [peers, next, matched] = ["peers", "next", "matched"].map(|name| numbers(event, name));
    peers.into_iter().zip(next).zip(matched).map(|((peer, next), matched)| (peer, next, matched)).collect()
}

impl Fold {
    /// So many servers, before anything has happened.
    pub fn new(servers: usize) -> Self {
        Self { servers: vec![None; servers], down: vec![false; servers], cut: Vec::new() }
    }

    /// The server that an event is of or about.
    pub fn server_of(&self, event: &Event) -> Option<usize> {
        let about = match event.kind {
            "crash" | "restart" | "pause" | "resume" => event.number_of("target"),
            "call" => None,
            _ => event.number_of("server"),
        };
        let node = about.or_else(|| event.node.map(|node| u64::from(node.0)))?;
        usize::try_from(node).ok().filter(|server| *server < self.servers.len())
    }

    /// Takes the next event.
    pub fn step(&mut self, event: &Event) {
        let link = || Some((event.number_of("from")?, event.number_of("to")?));
        match event.kind {
            "cut" => self.cut.extend(link()),
            "heal" => self.cut.retain(|cut| Some(*cut) != link()),
            "link" => {
                self.cut.retain(|cut| Some(*cut) != link());
                if event.field("up") == Some(&Value::Flag(false)) {
                    self.cut.extend(link());
                }
            }
            _ => {}
        }
        let Some(server) = self.server_of(event) else { return };
        match event.kind {
            "crash" => {
                self.down[server] = true;
                self.servers[server] = None;
            }
            "restart" => self.down[server] = false,
            "boot" => self.servers[server] = Some(Life::whole(event)),
            "state" => {
                let saved = self.servers[server].as_ref().map(|life| life.saved);
                let whole = Life::whole(event);
                self.servers[server] = Some(Life { saved: saved.unwrap_or(whole.saved), ..whole });
            }
            _ => {
                if let Some(life) = &mut self.servers[server] {
                    life.step(event);
                }
            }
        }
    }
}

impl Life {
    fn step(&mut self, event: &Event) {
        let number = |name| event.number_of(name).unwrap_or_default();
        match event.kind {
            "term" => {
                self.term = number("term");
                self.vote = None;
            }
            "role" => self.role = event.text_of("role").unwrap_or_default().to_owned(),
            "vote" => self.vote = event.number_of("candidate"),
            "snapshot" => {
                let covered = usize::try_from(number("index").saturating_sub(self.base.0)).unwrap_or(usize::MAX);
                self.entries.drain(..covered.min(self.entries.len()));
                self.base = (number("index"), number("term"));
            }
            "truncate" => {
                let kept = usize::try_from(number("from").saturating_sub(self.base.0 + 1)).unwrap_or(usize::MAX);
                self.entries.truncate(kept);
            }
            "append" => self.extend(event),
            "commit" => self.commit = number("index"),
            "applied" => self.applied = number("index"),
            "saved" => self.saved = number("index"),
            "progress" => self.progress = progress(event),
            _ => {}
        }
    }
}
