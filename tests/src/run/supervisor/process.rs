//! One worker process: its start, its orders, its pipe, its end.
//!
//! A thread of ours reads the pipe, so that the worker never waits for us to
//! listen, and turns it into [`Event`]s. It counts what is printed itself: a
//! flood stops here, and fills no queue.
//!
//! Boundary: one process. What is ordered, and from whom, is in `mod.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{PipeReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::death::Killed;
use super::limits;
use crate::run::output::Output;
use crate::run::wire::{Heard, Listener, Order, Said, Token};

/// The hidden verb of the command that makes a process a worker.
pub const VERB: &str = "worker";

/// How much is read from a pipe at once: what Linux keeps in one.
const READ_BYTES: usize = 64 * 1024;

/// How long a process that ends may take from closing its pipe to being gone,
/// or the other way round: a child of its own may hold the pipe open.
const END_PATIENCE: Duration = Duration::from_millis(500);
/// A process whose pipe is closed is gone in a moment, mostly. So long it is
/// waited for at once, in steps of a millisecond.
const MOMENT_MS: u32 = 20;

/// What comes from the pipe of the process with a number.
pub(super) struct Event {
    pub(super) process: u64,
    pub(super) what: What,
}

pub(super) enum What {
    /// It has said this. The output is that of the run that it says is over.
    Said(Said, Output),
    /// The run at hand prints these lines, and they are to be shown.
    Printed(Vec<Vec<u8>>),
    /// What the run at hand prints has passed the limit.
    Flooded,
    /// Its pipe is closed. The output is that of the run at hand.
    Closed(Output),
}

/// A run that a process is making.
pub(super) struct Running {
    pub(super) job: u64,
    pub(super) began: Instant,
}

/// A worker process.
pub(super) struct Process {
    child: Child,
    orders: ChildStdin,
    /// The jobs that it was sent and has not begun, in order.
    pub(super) waiting: VecDeque<u64>,
    pub(super) running: Option<Running>,
    /// It has begun a run, so it can.
    pub(super) is_proven: bool,
    /// How many runs it has made.
    pub(super) runs_before: u64,
    /// How many of each test it will have made when it has made all that it was
    /// sent. Only kept where each job is two runs.
    pub(super) runs_ordered: BTreeMap<String, u64>,
    /// How long it has given no sign. Time in which we stood still ourselves,
    /// suspended with our terminal, is not counted.
    pub(super) quiet: Duration,
    pub(super) killed: Option<Killed>,
    closed: Option<Output>,
    ended: Option<ExitStatus>,
    /// How long only one of the two has been seen. Time in which nobody looked,
    /// or listened, is not counted.
    half_ended: Duration,
}

/// What a process left behind.
pub(super) struct Remains {
    pub(super) status: Option<ExitStatus>,
    pub(super) output: Output,
}

impl Process {
    /// Starts a program, this one again if none is given, as the worker with that
    /// number.
    pub(super) fn start(
        program: Option<&Path>,
        number: u64,
        events: Sender<Event>,
        reading: Reading,
    ) -> std::io::Result<Self> {
        let (pipe, its_end) = std::io::pipe()?;
        let program = program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))?;
        let mut command = Command::new(program);
        command.arg(VERB).stdin(Stdio::piped()).stdout(its_end.try_clone()?).stderr(its_end);
        let mut child = command.spawn()?;
        drop(command); // And with it our copies of its end of the pipe.
        let token = Token::draw();
        let mut orders = child.stdin.take().expect("it was asked for");
        // If it cannot be told, it is dead, and its pipe will say so.
        let _ = writeln!(orders, "{}", token.as_str());
        std::thread::spawn(move || reading.read(number, pipe, token, &events));
        Ok(Self {
            child,
            orders,
            waiting: VecDeque::new(),
            running: None,
            is_proven: false,
            runs_before: 0,
            runs_ordered: BTreeMap::new(),
            quiet: Duration::ZERO,
            killed: None,
            closed: None,
            ended: None,
            half_ended: Duration::ZERO,
        })
    }

    /// Sends orders, all in one piece. It never waits: a pipe holds more of them
    /// than are ever on their way.
    pub(super) fn order(&mut self, orders: &[Order]) {
        let mut lines = Vec::new();
        for order in orders {
            self.waiting.push_back(order.job);
            serde_json::to_writer(&mut lines, order).expect("plain data is valid JSON");
            lines.push(b'\n');
        }
        let _ = self.orders.write_all(&lines); // As above.
    }

    /// It says that it begins `job`. False if another is due: orders were lost on
    /// their way, for a child of the worker may read its standard input.
    pub(super) fn begins(&mut self, job: u64) -> bool {
        if self.waiting.front() != Some(&job) {
            return false;
        }
        self.waiting.pop_front();
        self.running = Some(Running { job, began: Instant::now() });
        self.is_proven = true;
        self.quiet = Duration::ZERO;
        true
    }

    /// It says that it has made the run at hand, and makes it once more.
    pub(super) fn has_rehearsed(&mut self) {
        self.runs_before += 1;
        self.quiet = Duration::ZERO;
        if let Some(running) = &mut self.running {
            running.began = Instant::now();
        }
    }

    /// It has something to do, or should have.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn status(&self) -> limits::Status {
        limits::status(Some(self.child.id()))
    }

    /// Ends it. The first reason is the one that counts.
    pub(super) fn kill(&mut self, why: Killed) {
        self.killed.get_or_insert(why);
        let _ = self.child.kill();
    }

    /// Its pipe is closed.
    pub(super) fn closes(&mut self, output: Output) {
        self.closed = Some(output);
        for _ in 0..MOMENT_MS {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn has_ended(&mut self) -> bool {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.ended = Some(status);
        }
        self.ended.is_some()
    }

    /// So much time has passed since the last look.
    pub(super) fn note_half_ended(&mut self, passed: Duration) {
        let has_ended = self.has_ended();
        if has_ended != self.closed.is_some() {
            self.half_ended += passed;
        }
    }

    /// What is left, once it is dead and everything that it printed is here.
    pub(super) fn remains(&mut self) -> Option<Remains> {
        self.has_ended();
        let is_late = self.half_ended > END_PATIENCE;
        match (&mut self.closed, self.ended) {
            (Some(output), Some(status)) => Some(Remains { status: Some(status), output: std::mem::take(output) }),
            // Somebody else holds its pipe open, a child of its own for one.
            (None, Some(status)) if is_late => Some(Remains { status: Some(status), output: Output::default() }),
            (Some(_), None) if is_late => {
                self.kill(Killed::Silent);
                None
            }
            _ => None,
        }
    }
}

impl Drop for Process {
    /// No worker outlives its supervisor's interest in it.
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How the pipe of a process is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) output_bytes_max: u64,
    /// What is printed is told line by line, to be shown.
    pub(super) is_shown: bool,
}

impl Reading {
    fn read(self, process: u64, mut pipe: PipeReader, token: Token, events: &Sender<Event>) {
        let mut listener = Listener::new(token);
        let mut output = Output::default();
        let mut bytes = vec![0; READ_BYTES];
        // Nobody listens any more when the sweep is over.
        let tell = |what| {
            let _ = events.send(Event { process, what });
        };
        loop {
            let count = match pipe.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            listener.hear(&bytes[..count], |heard| match heard {
                Heard::Said(said) => tell(What::Said(said, std::mem::take(&mut output))),
                Heard::Printed(lines) => {
                    let before = output.bytes;
                    lines.iter().for_each(|line| output.add(line));
                    if output.bytes <= self.output_bytes_max {
                        if self.is_shown {
                            tell(What::Printed(lines));
                        }
                    } else if before <= self.output_bytes_max {
                        tell(What::Flooded);
                    }
                }
            });
        }
        if let Some(half_line) = listener.rest() {
            output.add(&half_line);
            if self.is_shown {
                tell(What::Printed(vec![half_line]));
            }
        }
        tell(What::Closed(output));
    }
}
