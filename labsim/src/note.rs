//! Notes: a student's print statements, with time, node and thread.
//!
//! A world keeps the last notes of a run and hands them out with its outcome,
//! so that a red test shows what its servers said just before. Outside of a
//! world a note goes to standard error at once.
//!
//! Boundary: stores lines. Who shows them, and how, is the caller's choice.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::context::{self, Mode};
use crate::world::World;
use crate::{record, sim};

/// How many notes a run keeps; older ones are dropped.
const NOTES_KEPT: usize = 1000;

/// The longest text of a note, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 500;

/// Leaves a note under a topic: `note!("vote", "granted to {candidate}")`.
///
/// Takes no virtual time and is no step: a note never changes what a run does.
///
/// ```
/// use labsim::{Config, node::Node, note, simulate};
/// let outcome = simulate(Config::seed(1), || {
///     let voter = Node::new("S1").spawn("voter", || note!("vote", "granted to S{}", 2));
///     voter.join().unwrap();
/// });
/// let note = &outcome.notes[0];
/// assert_eq!((note.node.as_deref(), note.thread.as_str()), (Some("S1"), "voter"));
/// assert!(note.to_string().ends_with("vote: granted to S2"));
/// ```
#[macro_export]
macro_rules! note {
    ($topic:expr, $($text:tt)+) => {
        $crate::note::write($topic, ::std::format_args!($($text)+))
    };
}

/// One line of a run's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When: virtual time, or the machine's in a real world.
    pub at: Duration,
    /// The node of the thread that wrote it.
    pub node: Option<String>,
    /// The thread that wrote it.
    pub thread: String,
    /// What it is about.
    pub topic: String,
    /// What it says.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.as_micros();
        let node = self.node.as_deref().unwrap_or("-");
        write!(f, "{:>4}.{:06} {node:<4} {:<14} ", micros / 1_000_000, micros % 1_000_000, self.thread)?;
        write!(f, "{}: {}", self.topic, self.text)
    }
}

/// Leaves a note. [`note!`](crate::note!) is the short way to call this.
pub fn write(topic: &str, text: fmt::Arguments<'_>) {
    let mut text = text.to_string();
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ..");
    }
    if context::mode() == Mode::Simulated && sim::with(sim::Core::is_dying) {
        return; // What a destructor of a dead node says is not part of the story.
    }
    let note = Note {
        at: context::elapsed(),
        node: context::with_world(World::node_name).flatten(),
        thread: context::thread_name(),
        topic: topic.to_owned(),
        text,
    };
    record::emit("note", || vec![("topic", note.topic.clone().into()), ("text", note.text.clone().into())]);
    match context::mode() {
        Mode::Outside => eprintln!("{note}"),
        Mode::Simulated | Mode::Real => context::on_world(|world| world.notes.lock().push(note)),
    }
}

/// The last notes of a run.
#[derive(Debug, Default)]
pub(crate) struct NoteRing {
    notes: VecDeque<Note>,
}

impl NoteRing {
    fn push(&mut self, note: Note) {
        if self.notes.len() == NOTES_KEPT {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    pub(crate) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes).into()
    }
}
