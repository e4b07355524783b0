// BEGIN COURSE
// STUB //! The `lab` command: `cargo lab list`, `run`, `replay`, `why`, `history`.
//! The `lab` command: `cargo lab list`, `run`, `replay`, `why`, `bugs`, `history`, `starter`.
// END COURSE
//!
//! Boundary: arguments in, lines and an exit code out.

// BEGIN COURSE
mod bugs;
// END COURSE
mod history;
mod list;
mod record;
mod replay;
mod run;
mod select;
// BEGIN COURSE
mod starter;
// END COURSE

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::{VERB, serve};
use crate::suites::Registry;

/// The exit code for a call that was not understood, or unreadable input.
const USAGE: u8 = 2;

/// Consensus labs: run the tests, and run them again by their seed.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(list::List),
    Run(run::Run),
    Replay(replay::Replay),
    Why(replay::Why),
    // BEGIN COURSE
    Bugs(bugs::Bugs),
    // END COURSE
    History(history::History),
    // BEGIN COURSE
    Starter(starter::StarterArguments),
    // END COURSE
    /// Make runs for the process that started this one
    #[command(name = VERB, hide = true)]
    Worker,
}

/// Carries out the command line of this process, over the tests of the labs.
pub fn main() -> ExitCode {
    main_with(&Registry::labs())
}

/// Carries out the command line of this process, over any tests. It starts the
/// program that it is in again, for worker processes, and expects that to come
/// here with the same registry.
pub fn main_with(registry: &Registry) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Clap tells the nearest valid flag or verb, prints help where it was
        // asked for, and knows the exit code of either.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let done = match arguments.verb {
        Verb::List(list) => list.execute(registry),
        Verb::Run(run) => run.execute(registry),
        Verb::Replay(replay) => replay.execute(registry),
        Verb::Why(why) => why.execute(registry),
        // BEGIN COURSE
        Verb::Bugs(bugs) => bugs.execute(registry),
        // END COURSE
        Verb::History(history) => history.execute(),
        // BEGIN COURSE
        Verb::Starter(starter) => starter.execute(),
        // END COURSE
        Verb::Worker => return serve(registry),
    };
    done.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::from(USAGE)
    })
}

/// The workspace that the working folder is in.
fn workspace() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| format!("the working folder cannot be read: {error}"))?;
    let is_root =
        |folder: &&Path| folder.join("raft/Cargo.toml").is_file() && folder.join("tests/Cargo.toml").is_file();
    let root = here.ancestors().find(is_root).map(Path::to_owned);
    root.ok_or_else(|| "this folder is not in a Raftlab workspace; change into it first".to_owned())
}

/// How many runs at a time this machine is good for.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A bar on standard error, if that is a terminal.
fn progress_bar(count: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {eta}  {msg}");
    bar.set_style(style.expect("the template is right").progress_chars("=> "));
    bar
}
