//! A failure as a student reads it: what broke, whose step it was, what the
//! servers said just before, and the command that runs it again.
//!
//! Boundary: plain ASCII lines, forty at most.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use labsim::ThreadStack;

use crate::check::{Broken, Kind, says, section};
use crate::events::Story;
use crate::run::{Output, RunResult};

/// The longest report, in lines.
const LINES_MAX: usize = 40;
/// How many of the last notes are shown.
const NOTES_SHOWN: usize = 15;
/// The same, where a story says what led there.
const NOTES_SHOWN_BESIDE_STORY: usize = 6;
/// How many lines of a message are shown: a deadlock has a line per thread.
const MESSAGE_LINES_SHOWN: usize = 18;
/// The same, where a story takes its room.
const MESSAGE_LINES_SHOWN_BESIDE_STORY: usize = 10;
/// How many lines the faults of a run take, and how long such a line may be.
const FAULT_LINES_MAX: usize = 12;
const FAULT_CHARS_MAX: usize = 320;
/// How long a line of a story may be.
const LINE_CHARS_MAX: usize = 170;

/// Says on standard error, at once, that a run begins. It goes past the capture
/// of the test runner, so that a run that is killed has said its seed.
pub fn announce(test: &str, seed: u64) {
    // In one piece, since others write there too. Nobody is left to be told if
    // it fails.
    to_stderr(&format!("run {test} --seed {seed}\n"));
}

/// Prints on standard error, past the capture of the test runner, and past std's
/// lock, which a thread of a run may have taken to its grave.
pub fn to_stderr(text: &str) {
    #[cfg(unix)]
    let stderr = {
        use std::os::fd::AsFd;
        std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from)
    };
    #[cfg(not(unix))]
    let stderr = std::io::Result::Ok(std::io::stderr());
    if let Ok(mut stderr) = stderr {
        let _ = stderr.write_all(text.as_bytes());
    }
}

/// What deserves a word in a run that need not have failed.
pub fn notices(result: &RunResult) -> String {
    let mut text = String::new();
    for warning in &result.warnings {
        let _ = writeln!(text, "note: {} seed {}: {warning}", result.test.name, result.seed);
    }
    text
}

/// What was told of a sweep: a mistake that is found by ten tests has one story, not ten.
#[derive(Debug, Default)]
pub struct Told {
    /// The first test of those that are red for the same reason.
    by_reason: BTreeMap<String, &'static str>,
}

impl Told {
    /// The report of a red run; without its story if one that is red for the same reason
    /// was told.
    pub fn report(&mut self, result: &RunResult) -> String {
        let earlier = reason(result).and_then(|reason| match self.by_reason.entry(reason) {
            Entry::Occupied(earlier) => Some(*earlier.get()),
            Entry::Vacant(new) => {
                new.insert(result.test.name);
                None
            }
        });
        let (Some(earlier), Some(broken)) = (earlier, &result.broken) else { return failure(result) };
        let mut lines = head(result, broken);
        lines.extend(whose(result, broken));
        lines.push(format!("  the same as in {earlier}, above"));
        lines.extend(again(result, broken));
        lines.join("\n") + "\n"
    }
}

/// Why a run is red: the rule that was broken, or where it panicked. None where only the
/// story says why, as in all that was not done in time.
fn reason(result: &RunResult) -> Option<String> {
    let broken = result.broken.as_ref()?;
    match (broken.kind, broken.rule) {
        (Kind::Safety | Kind::NotLinearizable | Kind::PromisedBeforePersisted | Kind::Panic, Some(rule)) => {
            Some(rule.to_owned())
        }
        (Kind::Panic, None) => result.caused_by.as_ref()?.place.clone(),
        _ => None,
    }
}

/// The report of a red run.
pub fn failure(result: &RunResult) -> String {
    let Some(broken) = &result.broken else { return String::new() };
    let mut lines = head(result, broken);
    lines.extend(details(result, broken));
    lines.extend(whose(result, broken));
    if let Some((symptom, at)) = result.symptom {
        lines.push(format!(
            "  found by asking the disk; without that, this run goes on to {symptom} at {}",
            seconds(at)
        ));
    }
    let mut end = again(result, broken);
    if result.story.is_some() && crate::run::has_ended(result) {
        end.push(format!("  all of it: cargo lab replay {} --seed {} --log short", result.test.name, result.seed));
    }
    let printed = printed(&result.output);
    if let Some(story) = &result.story {
        // What runs it again comes in any case, and a line about notes.
        let room = LINES_MAX.saturating_sub(lines.len() + printed.len() + end.len() + 1);
        lines.extend(tell(story).into_iter().take(room));
    }
    let taken = lines.len() + printed.len() + end.len() + 1;
    // A plan says what was meant; the record, what was done.
    let room = LINES_MAX.saturating_sub(taken);
    match &result.story {
        Some(story) if result.faults.is_empty() => lines.extend(done(&story.faults, room)),
        _ => lines.extend(faults(&result.faults, room)),
    }
    let room = LINES_MAX.saturating_sub(lines.len() + printed.len() + end.len() + 1);
    if let Some(died) = result.died {
        let before = match died.runs_before {
            0 => String::new(),
            count => format!(", whose run {} it was; an earlier one may have left something behind", count + 1),
        };
        lines.push(format!("  its notes ended with its process{before}"));
    } else if result.notes.is_empty() {
        lines.push("  no notes; labsim::note!(\"topic\", \"..\") leaves one".to_owned());
    } else {
        let wanted = if result.story.is_some() { NOTES_SHOWN_BESIDE_STORY } else { NOTES_SHOWN };
        let shown = result.notes.len().min(wanted).min(room);
        lines.push(format!("  last {shown} of {} notes (seconds, node, thread):", result.notes.len()));
        for note in &result.notes[result.notes.len() - shown..] {
            lines.push(format!("  {}", note.to_string().replace('\n', " ")));
        }
    }
    lines.extend(printed);
    lines.extend(end);
    debug_assert!(lines.len() <= LINES_MAX, "a report of {} lines", lines.len());
    lines.truncate(LINES_MAX);
    let mut text = lines.join("\n") + "\n";
    // A stack of a panic is asked for by RUST_BACKTRACE, those of all threads by
    // LAB_STACKS. They are as long as they are.
    if let Some(backtrace) = result.caused_by.as_ref().and_then(|by| by.backtrace.as_ref()) {
        let _ = write!(text, "stack of the thread, as far as it is your code:\n{backtrace}");
    }
    for ThreadStack { thread, stack } in &result.stacks {
        let _ = write!(text, "stack of {thread}:\n{stack}");
    }
    text
}

/// Which run it is, and what is wrong.
fn head(result: &RunResult, broken: &Broken) -> Vec<String> {
    let clock = if result.real { "real" } else { "virtual" };
    let title = format!(
        "FAILED {}: part {}, seed {}, {clock} time {}, wall time {}",
        result.test.name,
        result.test.part.name,
        result.seed,
        if result.died.is_some() { "unknown".to_owned() } else { seconds(result.elapsed) },
        seconds(result.wall)
    );
    let name = broken.rule.unwrap_or(broken.kind.name());
    let section = section(name).map_or(String::new(), |section| format!(" ({section})"));
    let first = broken.message.lines().next().unwrap_or_default();
    vec![title, format!("  {name}{section}: {}", without_name(first, name))]
}

/// The rule, and what else there is to say about it.
fn details(result: &RunResult, broken: &Broken) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rule) = broken.rule.filter(|rule| !says(rule).is_empty()) {
        lines.push(format!("    the rule: {}", says(rule)));
    }
    let mut rest: Vec<&str> = broken.message.lines().skip(1).collect();
    if result.story.as_ref().is_some_and(|story| !story.servers.is_empty()) {
        rest.retain(|line| !is_about_a_server(line)); // Each has a better one below.
    }
    let most = if result.story.is_some() { MESSAGE_LINES_SHOWN_BESIDE_STORY } else { MESSAGE_LINES_SHOWN };
    for line in rest.iter().take(most) {
        lines.push(format!("    {}", line.trim_start()));
    }
    if rest.len() > most {
        lines.push(format!("    .. and {} more lines", rest.len() - most));
    }
    lines
}

/// Whose thread did it, and where.
fn whose(result: &RunResult, broken: &Broken) -> Vec<String> {
    let Some(by) = &result.caused_by else { return Vec::new() };
    let node = by.node.as_deref().unwrap_or("the test");
    let mut lines = vec![format!("  in thread `{}` of {node}, at {}", by.thread, seconds(by.at))];
    if let Some(place) = &by.place {
        // A watcher sees a section when it ends.
        let is_watched = matches!(broken.kind, Kind::Safety | Kind::PromisedBeforePersisted);
        let begin = if is_watched { "in the critical section that began at" } else { "at" };
        lines.push(format!("  {begin} {place}"));
    }
    lines
}

/// What runs it again.
fn again(result: &RunResult, broken: &Broken) -> Vec<String> {
    let mut end = Vec::new();
    if result.real {
        end.push("  on OS threads no seed runs it again; try it simulated:".to_owned());
    }
    // Once more is green: it takes two to differ.
    let twice = if broken.kind == Kind::NotDeterministic { " --check-determinism" } else { "" };
    let (test, seed) = (result.test.name, result.seed);
    end.push(format!("  again: cargo lab run {test} --seed {seed}{twice}"));
    if let Some(alone) = &result.alone {
        end.push(format!("  but not by this seed alone: in a process that made no other run, {alone}"));
        end.push(
            "  something outlives a run, or the process decides; --check-determinism with all seeds finds it"
                .to_owned(),
        );
    }
    end
}

/// What led there, and how things stood then.
fn tell(story: &Story) -> Vec<String> {
    let mut lines = Vec::new();
    if !story.events.is_empty() {
        lines.push(format!("  what led there, of {} events (seconds, node, thread):", story.count));
        lines.extend(story.events.iter().map(|event| format!("    {}", cut(event.trim_start()))));
    }
    if !story.servers.is_empty() {
        lines.push("  the servers then:".to_owned());
        lines.extend(story.servers.iter().map(|server| format!("    {}", cut(server))));
    }
    lines
}

/// The last that was done to machines and links.
fn done(faults: &[String], room: usize) -> Vec<String> {
    if faults.is_empty() || room < faults.len() + 1 {
        return Vec::new();
    }
    let mut lines = vec!["  the last faults:".to_owned()];
    lines.extend(faults.iter().map(|fault| format!("    {}", cut(fault.trim_start()))));
    lines
}

/// A line that is not too long.
fn cut(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_CHARS_MAX - 3).chain(" ..".chars()).collect()
}

/// True for a line of `Lab::describe`.
fn is_about_a_server(line: &str) -> bool {
    let name = line.trim_start().split(':').next().unwrap_or_default();
    name.strip_prefix('S').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A message that begins with the name of its kind, as labsim's do, without that.
fn without_name<'a>(message: &'a str, name: &str) -> &'a str {
    match message.split_once(": ") {
        Some((first, rest)) if first.replace(' ', "").eq_ignore_ascii_case(name) => rest,
        _ => message,
    }
}

/// What was done to the servers: the first line, which says what there was, and
/// the last ones, of which the very last was going on.
fn faults(faults: &[String], room: usize) -> Vec<String> {
    let room = room.min(FAULT_LINES_MAX);
    if faults.is_empty() || room < 3 {
        return Vec::new();
    }
    let mut lines = vec![format!("  faults of the run: {}", faults[0])];
    let rest = &faults[1..];
    let shown = if rest.len() < room { rest.len() } else { room - 2 };
    if shown < rest.len() {
        lines.push(format!("  .. {} before ..", rest.len() - shown));
    }
    for fault in &rest[rest.len() - shown..] {
        let mut line: String = fault.chars().take(FAULT_CHARS_MAX).collect();
        if line.len() < fault.len() {
            line.push_str(" ..");
        }
        lines.push(format!("  {line}"));
    }
    lines
}

/// What the run has printed, as far as it was kept.
fn printed(output: &Output) -> Vec<String> {
    if output.is_empty() {
        return Vec::new();
    }
    let mut lines = match output.lines() {
        1 => vec!["  it printed a line:".to_owned()],
        count => vec![format!("  it printed {count} lines:")],
    };
    lines.extend(output.first.iter().map(|line| format!("  | {line}")));
    if output.left_out > 0 {
        lines.push(format!("  .. {} lines ..", output.left_out));
    }
    lines.extend(output.last.iter().map(|line| format!("  | {line}")));
    lines
}

/// Seconds with three decimals.
pub(super) fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Broken;
    use crate::run::Mode;

    /// However much there is to say, a report says how to run it again.
    #[test]
    fn a_report_has_forty_lines_at_most_and_its_last_ones() {
        let test = crate::suites::find("many_elections_2a").expect("it is there");
        let lines = |count: usize| (0..count).map(|line| format!("line {line}")).collect::<Vec<_>>();
        let broken = Broken::new(Kind::Safety, "Leaders.4", lines(50).join("\n"));
        let mut result = crate::run::run_once(test, 1, Mode::Simulated);
        result.broken = Some(broken);
        result.faults = lines(30);
        for (events, servers) in [(5, 7), (40, 7), (0, 0)] {
            result.story = Some(Story { events: lines(events), servers: lines(servers), faults: lines(4), count: 9 });
            let text = failure(&result);
            assert!(text.lines().count() <= LINES_MAX, "{text}");
            assert!(text.contains("  again: cargo lab run many_elections_2a --seed 1\n"), "{text}");
            assert!(text.contains("the rule: a leader commits"), "{text}");
        }
    }

    #[test]
    fn a_name_is_said_once() {
        let rows = [
            ("deadlock: every thread waits", "Deadlock", "every thread waits"),
            ("busy loop: 7 steps", "BusyLoop", "7 steps"),
            ("two leaders in term 3: S1", "Figure3.ElectionSafety", "two leaders in term 3: S1"),
            ("panicked: the end", "panic", "panicked: the end"),
            ("stuck", "Stuck", "stuck"),
        ];
        for (message, name, expected) in rows {
            assert_eq!(without_name(message, name), expected);
        }
    }
}
