//! What is wrong with a text that a get returned.
//!
//! A text is what was put last, or nothing, and then the pieces that were appended. It
//! is taken apart into these, longest first; with pieces that nobody else has, as
//! clients of the labs write them, there is one way only. Then each piece is looked
//! at: who wrote it, and when; and each write that is not there: could it be missing?
//! Of a text that can be cut at other places too nothing is said.
//!
//! Boundary: one get, and who it contradicts.

use std::sync::Arc;

use super::explain::{Case, Finding};
use super::history::{Call, Outcome, quoted};
use super::judge::BreachKind;
use super::model::Table;

/// A write as it stands in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece<'a> {
    text: &'a str,
    is_put: bool,
}

/// All writes to the key: those of each text, in the order of the history.
#[derive(Default)]
struct Writes<'a> {
    puts: Table<&'a str, Vec<usize>>,
    appends: Table<&'a str, Vec<usize>>,
    /// How long the appended texts are, longest first.
    lengths: Vec<usize>,
}

impl<'a> Writes<'a> {
    fn of(case: &Case<'a>) -> Self {
        let mut writes = Self::default();
        for &index in &case.indexes {
            match &case.history[index].call {
                Call::Put { value, .. } => writes.puts.entry(value).or_default().push(index),
                Call::Append { value, .. } => writes.appends.entry(value).or_default().push(index),
                _ => {}
            }
        }
        writes.lengths = writes.appends.keys().map(|text| text.len()).filter(|length| *length > 0).collect();
        writes.lengths.sort_unstable_by(|one, other| other.cmp(one));
        writes.lengths.dedup();
        writes
    }

    fn writers(&self, piece: Piece<'_>) -> &[usize] {
        let writers = if piece.is_put { &self.puts } else { &self.appends };
        writers.get(piece.text).map_or(&[], Vec::as_slice)
    }

    /// The one who wrote it, if only one did.
    fn writer(&self, piece: Piece<'_>) -> Option<usize> {
        match self.writers(piece) {
            [writer] => Some(*writer),
            _ => None,
        }
    }

    /// Takes a text apart, or says how many of its bytes can be.
    fn parse(&self, text: &'a str) -> Result<Vec<Piece<'a>>, usize> {
        let mut puts: Vec<&str> = self.puts.keys().copied().filter(|put| !put.is_empty()).collect();
        puts.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        let beginnings = puts.into_iter().filter(|put| text.starts_with(put)).map(Some);
        let mut known = 0;
        // Without a put first: of texts that were both put and appended, any may be.
        for put in std::iter::once(None).chain(beginnings) {
            let put: Option<&str> = put;
            let start = put.map_or(0, str::len);
            match self.parse_appends(text, start) {
                Ok(mut pieces) => {
                    if put.is_some() {
                        pieces.insert(0, Piece { text: &text[..start], is_put: true });
                    }
                    return Ok(pieces);
                }
                Err(end) => known = known.max(end),
            }
        }
        Err(known)
    }

    /// Takes what follows `start` apart into appends.
    fn parse_appends(&self, text: &'a str, start: usize) -> Result<Vec<Piece<'a>>, usize> {
        // Ends of pieces, each with the lengths that are left to try there. What did not
        // work out from some place will not the next time.
        let mut path = vec![(start, 0)];
        let mut is_hopeless = vec![false; text.len() + 1];
        let mut known = start;
        while let Some((at, tried)) = path.last_mut() {
            known = known.max(*at);
            if *at == text.len() {
                let ends: Vec<usize> = path.iter().map(|(at, _)| *at).collect();
                let piece = |pair: &[usize]| Piece { text: &text[pair[0]..pair[1]], is_put: false };
                return Ok(ends.windows(2).map(piece).collect());
            }
            let Some(length) = self.lengths.get(*tried) else {
                is_hopeless[*at] = true;
                path.pop();
                continue;
            };
            *tried += 1;
            let end = *at + length;
            if text.get(*at..end).is_some_and(|piece| self.appends.contains_key(piece)) && !is_hopeless[end] {
                path.push((end, 0));
            }
        }
        Err(known)
    }
}

impl Writes<'_> {
    /// Whether a text can be cut into pieces at one set of places only: what one way shows
    /// another may not.
    fn is_cut_in_one_way(&self, text: &str) -> bool {
        // For each end of a piece: in how many ways the text comes to an end from there.
        let mut ways = vec![0_u8; text.len() + 1];
        ways[text.len()] = 1;
        for at in (0..text.len()).rev() {
            let ends = self.lengths.iter().map(|length| at + length);
            let ends = ends.filter(|end| text.get(at..*end).is_some_and(|piece| self.appends.contains_key(piece)));
            ways[at] = ends.fold(0, |sum, end| sum.saturating_add(ways[end]));
        }
        let is_first = |put: &&&str| !put.is_empty() && !self.appends.contains_key(**put) && text.starts_with(**put);
        let puts = self.puts.keys().filter(is_first);
        puts.fold(ways[0], |sum, put| sum.saturating_add(ways[put.len()])) == 1
    }
}

/// A text that was returned, taken apart.
struct Read<'a> {
    text: &'a str,
    pieces: Vec<Piece<'a>>,
    places: Table<(&'a str, bool), usize>,
}

impl<'a> Read<'a> {
    fn new(text: &'a str, pieces: Vec<Piece<'a>>) -> Self {
        let places = pieces.iter().enumerate().map(|(place, piece)| ((piece.text, piece.is_put), place)).collect();
        Self { text, pieces, places }
    }

    /// Where a piece stands last.
    fn place(&self, piece: Piece<'_>) -> Option<usize> {
        self.places.get(&(piece.text, piece.is_put)).copied()
    }

    /// What it begins with, if that was put.
    fn base(&self) -> Option<Piece<'a>> {
        self.pieces.first().copied().filter(|piece| piece.is_put)
    }
}

fn returned(case: &Case<'_>, index: usize) -> Option<Arc<str>> {
    match (&case.history[index].call, &case.history[index].outcome) {
        (Call::Get { .. }, Outcome::Value(text)) => Some(text.clone().unwrap_or_default()),
        _ => None,
    }
}

fn piece<'a>(case: &Case<'a>, index: usize) -> Option<Piece<'a>> {
    match &case.history[index].call {
        Call::Put { value, .. } => Some(Piece { text: value, is_put: true }),
        Call::Append { value, .. } => Some(Piece { text: value, is_put: false }),
        _ => None,
    }
}

/// Looks for the usual contradictions, each a proof.
pub(super) fn explain(case: &Case<'_>) -> Option<Finding> {
    let text = returned(case, case.bad)?;
    let writes = Writes::of(case);
    let shown = format!("returned {}", quoted(&text));
    let read = match writes.parse(&text) {
        Ok(pieces) => Read::new(&text, pieces),
        Err(known) => {
            let rest = quoted(&text[known..]);
            let says = if known == 0 {
                format!("{shown}, which nobody wrote")
            } else {
                format!("{shown}, of which nobody wrote {rest}")
            };
            return Some(Finding { kind: BreachKind::FromNowhere, other: None, says });
        }
    };
    if !writes.is_cut_in_one_way(&text) {
        return None;
    }
    let found = twice(case, &writes, &read)
        .or_else(|| from_the_future(case, &writes, &read))
        .or_else(|| missing(case, &writes, &read))
        .or_else(|| overwritten(case, &writes, &read))
        .or_else(|| turned(case, &writes, &read))
        .or_else(|| beside_other_reads(case, &writes, &read));
    found.map(|finding| Finding { says: format!("{shown}, {}", finding.says), ..finding })
}

fn finding(kind: BreachKind, other: usize, says: String) -> Option<Finding> {
    Some(Finding { kind, other: Some(other), says })
}

/// A piece stands there more often than it was written.
fn twice(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    let mut counts: Table<(&str, bool), usize> = Table::default();
    for piece in &read.pieces {
        let count = counts.entry((piece.text, piece.is_put)).or_default();
        *count += 1;
        let writers = writes.writers(*piece);
        if *count <= writers.len() {
            continue;
        }
        // In all, not up to here.
        let total = read.pieces.iter().filter(|other| *other == piece).count();
        let (text, last) = (quoted(piece.text), *writers.last()?);
        let says = match writers.len() {
            1 => format!("which has {text} {total} times: {} took effect more than once", case.told(last)),
            times => format!(
                "which has {text} {total} times, and it was appended {times} times, the last time by {}",
                case.told(last)
            ),
        };
        return finding(BreachKind::Twice, last, says);
    }
    None
}

/// A piece was written by nobody who had begun.
fn from_the_future(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    for piece in &read.pieces {
        let writers = writes.writers(*piece);
        let wanted = read.pieces.iter().filter(|other| *other == piece).count();
        let begun = writers.iter().filter(|writer| !case.is_to_come(**writer)).count();
        if begun < wanted {
            let mut late: Vec<usize> = writers.iter().copied().filter(|writer| case.is_to_come(*writer)).collect();
            late.sort_by_key(|writer| case.operation(*writer).called_at);
            let first = *late.first()?;
            let what =
                if read.pieces.len() == 1 { "which".to_owned() } else { format!("of which {}", quoted(piece.text)) };
            return finding(
                BreachKind::FromTheFuture,
                first,
                format!("{what} was written by {}: it had not begun", case.told(first)),
            );
        }
    }
    None
}

/// A write is not there that nothing can have overwritten.
fn missing(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    let base_writers = read.base().map_or(&[][..], |base| writes.writers(base));
    // What is surely after all that can have written the beginning is not hidden by it.
    let is_hidden = |write: usize| match read.base() {
        Some(_) => base_writers.iter().any(|base| *base == write || !case.precedes(*base, write)),
        None => could_be_emptied(case, write),
    };
    let mut stale = None;
    let mut gone: Vec<usize> = Vec::new();
    for &write in &case.indexes {
        let Some(piece) = piece(case, write) else { continue };
        if !case.precedes(write, case.bad) || is_hidden(write) || piece.text.is_empty() {
            continue;
        }
        // An append of a text that others appended too may be one of those there.
        let is_there = if piece.is_put { read.text.starts_with(piece.text) } else { read.place(piece).is_some() };
        if !is_there {
            gone.push(write);
        }
    }
    gone.sort_by_key(|write| (case.operation(*write).returned_at, *write));
    for write in gone {
        let what = quoted(piece(case, write)?.text);
        let later = read.pieces.iter().find_map(|later| {
            let writer = writes.writer(*later)?;
            case.precedes(write, writer).then_some((later, writer))
        });
        if let Some((later, writer)) = later {
            let says = format!(
                "which lacks {what} of {}, and has {} of {}, which is later",
                case.told(write),
                quoted(later.text),
                case.told(writer)
            );
            return finding(BreachKind::Lost, write, says);
        }
        stale.get_or_insert(write);
    }
    let write = stale?;
    let what = quoted(piece(case, write)?.text);
    finding(BreachKind::Stale, write, format!("which misses {what}: {} had returned before", case.told(write)))
}

/// Whether a write may have been overwritten by a put that no text shows: an empty one.
fn could_be_emptied(case: &Case<'_>, write: usize) -> bool {
    let is_empty_put = |index: &usize| piece(case, *index) == Some(Piece { text: "", is_put: true });
    let comes_between = |index: &usize| !case.precedes(*index, write) && !case.is_to_come(*index);
    case.indexes.iter().any(|index| *index != write && is_empty_put(index) && comes_between(index))
}

/// A piece was surely overwritten: all who wrote it had returned before a put began, and
/// that one had returned too.
fn overwritten(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    let may_begin_with_a_put = writes.puts.keys().any(|put| !put.is_empty() && read.text.starts_with(put));
    if read.base().is_none() && may_begin_with_a_put {
        return None; // It can be taken apart in another way.
    }
    let is_put = |index: usize| piece(case, index).is_some_and(|piece| piece.is_put);
    let puts: Vec<usize> =
        case.indexes.iter().copied().filter(|index| is_put(*index) && case.precedes(*index, case.bad)).collect();
    for piece in &read.pieces {
        let overwriter = |writer: usize| puts.iter().copied().find(|put| case.precedes(writer, *put));
        let mut writers: Vec<usize> =
            writes.writers(*piece).iter().copied().filter(|writer| !case.is_to_come(*writer)).collect();
        let total = read.pieces.iter().filter(|other| *other == piece).count();
        let newer = writers.iter().filter(|writer| overwriter(**writer).is_none()).count();
        if newer >= total {
            continue;
        }
        writers.sort_by_key(|writer| (case.operation(*writer).returned_at, *writer));
        let (last, put) = writers.iter().rev().find_map(|writer| Some((*writer, overwriter(*writer)?)))?;
        let text = quoted(piece.text);
        return if newer == 0 {
            let says = format!("which has {text} of {}: {} had overwritten it", case.told(last), case.told(put));
            finding(BreachKind::Stale, put, says)
        } else {
            let says = format!(
                "which has {text} {total} times, and of these only {newer} can be newer than {}",
                case.told(put)
            );
            finding(BreachKind::Twice, put, says)
        };
    }
    None
}

/// Two pieces stand there the other way round than they were written.
fn turned(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    // The piece so far whose writer began last: if any is wrong before a later one,
    // that one is.
    let mut last: Option<(&Piece<'_>, usize)> = None;
    for piece in &read.pieces {
        let Some(writer) = writes.writer(*piece) else { continue };
        if let Some((before, before_writer)) = last
            && case.precedes(writer, before_writer)
        {
            let says = format!(
                "which has {} before {}, but {} had returned before {} began",
                quoted(before.text),
                quoted(piece.text),
                case.told(writer),
                case.told(before_writer)
            );
            return finding(BreachKind::Order, writer, says);
        }
        if last.is_none_or(|(_, before)| case.operation(writer).called_at >= case.operation(before).called_at) {
            last = Some((piece, writer));
        }
    }
    None
}

/// Another get, which had returned before or not, has seen something else.
fn beside_other_reads(case: &Case<'_>, writes: &Writes<'_>, read: &Read<'_>) -> Option<Finding> {
    // Where there are puts, two texts may have nothing to do with each other.
    if !writes.puts.is_empty() {
        return beside_puts(case, read);
    }
    for &other in case.indexes.iter().filter(|index| **index != case.bad && !case.is_to_come(**index)) {
        let Some(text) = returned(case, other) else { continue };
        if read.text.starts_with(&*text) {
            continue;
        }
        let Ok(pieces) = writes.parse(&text) else { continue };
        let seen = Read::new(&text, pieces);
        if text.starts_with(read.text) {
            if case.precedes(other, case.bad) {
                let what = quoted(seen.pieces.get(read.pieces.len())?.text);
                let says = format!("which misses {what}: {} had returned it before", case.told(other));
                return finding(BreachKind::Stale, other, says);
            }
            continue;
        }
        let at = read.pieces.iter().zip(&seen.pieces).position(|(mine, theirs)| mine != theirs)?;
        let (mine, theirs) = (read.pieces[at], seen.pieces[at]);
        let (first, second) = (quoted(mine.text), quoted(theirs.text));
        let told = case.told(other);
        if read.place(theirs).is_some_and(|place| place > at) {
            let says = if seen.place(mine).is_some_and(|place| place > at) {
                format!("which has {first} before {second}: {told} had them the other way round")
            } else {
                format!("which has {first} before {second}: {told} has {second} there without it")
            };
            return finding(BreachKind::Order, other, says);
        }
        let says = format!("which lacks {second} before {first}: {told} has it there");
        return finding(BreachKind::Lost, other, says);
    }
    None
}

/// Another get saw more of what this one has, and nothing can have taken that away.
fn beside_puts(case: &Case<'_>, read: &Read<'_>) -> Option<Finding> {
    for &other in case.indexes.iter().filter(|index| case.precedes(**index, case.bad)) {
        let Some(text) = returned(case, other) else { continue };
        let is_more = text.len() > read.text.len() && text.starts_with(read.text);
        let may_be_gone = |index: &usize| {
            piece(case, *index).is_some_and(|piece| piece.is_put)
                && !case.precedes(*index, other)
                && !case.is_to_come(*index)
        };
        if is_more && !case.indexes.iter().any(may_be_gone) {
            let what = quoted(&text[read.text.len()..]);
            let says = format!("which misses {what}: {} had returned it before", case.told(other));
            return finding(BreachKind::Stale, other, says);
        }
    }
    None
}
