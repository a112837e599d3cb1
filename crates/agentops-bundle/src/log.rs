//! Command output and logs: each kind of line once, the first of its kind as it was printed, with how often it came.
//!
//! What a log says is which events there were, not how often each said the same. So lines are put into kinds by what does
//! not differ between them (`scan`), nearly equal kinds into groups (`cluster`), and the budget goes to errors first
//! (`severity`), then to what happened once or twice and to the rest, then to context and to second examples (`select`). Traces
//! and failing tests keep what belongs to them (`block`). Long lines are shortened around what is wrong (`clip`).
//!
//! A line is shown verbatim but for its header (time, ids: `header`) and the control sequences of a terminal (`clean`). It is
//! never put together from several, and nothing is shown that the source does not say. Every line that is not shown is
//! accounted for (`omissions`).

mod block;
mod clean;
mod clip;
mod cluster;
mod header;
mod omissions;
mod scan;
mod select;
mod severity;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;

use agentops_text::tokens;

use crate::{Class, Compressed, Coverage, Fact, SourceError};
use cluster::Group;
use header::Header;
use scan::Kinds;
use severity::Severity;
pub(crate) use severity::is_trouble;

/// A longer source is not counted whole: its tokens are reckoned from pieces of it.
const COUNTED_BYTES_MAX: usize = 512 << 10;
/// How many such pieces, and of how many bytes.
const PIECES: usize = 64;
const PIECE_BYTES: usize = 4096;
/// Facts of one class that are looked for. The lines of further ones are still accounted for, as shown or omitted.
const FACTS_MAX: usize = 20_000;
/// Bytes of a line that are a fact. A longer line is one where it says what is wrong.
const FACT_BYTES: usize = 400;

/// A log, read.
struct Log<'a> {
    source: &'a [u8],
    header: Header,
    kinds: Kinds,
    /// The first line of each kind, without its header.
    texts: Vec<String>,
    severities: Vec<Severity>,
    groups: Vec<Group>,
}

impl<'a> Log<'a> {
    fn read(source: &'a [u8]) -> Self {
        let header = Header::learn(source);
        let kinds = scan::scan(source, &header);
        let texts: Vec<String> = kinds.kinds.iter().map(|kind| line_at(source, kind.at, &header)).collect();
        let counts: Vec<u64> = kinds.kinds.iter().map(|kind| kind.count).collect();
        let severities: Vec<Severity> = texts.iter().map(|text| severity::of(text)).collect();
        let groups = cluster::groups(&texts, &severities, &counts);
        Self { source, header, kinds, texts, severities, groups }
    }

    /// What must not get lost: every group's words, the lines of rare groups, trouble, failing tests.
    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut counts = std::collections::BTreeMap::<Class, usize>::new();
        let mut add = |class, text: &str, line: u64| {
            let count = counts.entry(class).or_default();
            if *count < FACTS_MAX && !text.trim().is_empty() {
                *count += 1;
                facts.push(Fact::new(class, text.trim(), format!("line {line}")));
            }
        };
        for group in &self.groups {
            let first = &self.kinds.kinds[group.kinds[0]];
            add(Class::Event, &group.event, first.first);
            if group.severity > Severity::Normal {
                add(Class::SevereEvent, &group.event, first.first);
            }
            for index in &group.kinds {
                let kind = &self.kinds.kinds[*index];
                if let Some(name) = words::failing_test(&self.texts[*index]) {
                    add(Class::FailingTest, name, kind.first);
                }
                if group.count <= 2 {
                    add(Class::RareEvent, &self.rare_fact(kind.at), kind.first);
                    if let Some((line, at)) = kind.second {
                        add(Class::RareEvent, &self.rare_fact(at), line);
                    }
                }
            }
        }
        facts
    }

    /// What of a line must be found again: what follows its header, which is in the result whether or not the header is.
    fn rare_fact(&self, at: usize) -> String {
        let mut scratch = Vec::new();
        let line = clean::line(clean::line_at(self.source, at), &mut scratch);
        let mut text = self.header.tail(line);
        if text.trim().is_empty() {
            text = self.header.strip(line);
        }
        let stretch = clip::clip(&text, FACT_BYTES).stretch;
        text[stretch].to_owned()
    }
}

/// The line that begins at a byte, without its header.
fn line_at(source: &[u8], at: usize, header: &Header) -> String {
    header.strip(clean::line(clean::line_at(source, at), &mut Vec::new()))
}

/// Makes a log small.
///
/// `budget` is in o200k tokens and is never passed. Above 512 KiB `before` is estimated from pieces of the source, with an error
/// of a few per cent, unless the source may fit into the budget.
///
/// # Errors
///
/// None: any bytes are lines.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let source = normalised(source);
    let mut before = tokens_of(&source);
    let log = Log::read(&source);
    let facts = log.facts();
    // An estimate may be too high.
    if before / 10 * 9 <= budget {
        before = tokens::text_tokens(&String::from_utf8_lossy(&source));
        if let Some((text, after)) = whole(&source, before, budget) {
            let lines = log.kinds.kinds.iter().map(|kind| kind.count).sum();
            return Ok(Compressed::new(text, before, after, facts).covering(Coverage::of_lines(lines, &[]), Vec::new()));
        }
    }
    let selection = select::select(&log, budget);
    let (coverage, omitted) = omissions::account(&log, &selection);
    let after = tokens::text_tokens(&selection.text);
    Ok(Compressed::new(selection.text, before, after, facts).covering(coverage, omitted))
}

/// A source without zero bytes, which sparse logs are filled with, and with line feeds where it has carriage returns only.
fn normalised(source: &[u8]) -> Cow<'_, [u8]> {
    let mut source = Cow::Borrowed(source);
    if memchr::memchr(0, &source).is_some() {
        source.to_mut().retain(|byte| *byte != 0);
    }
    if memchr::memchr(b'\n', &source).is_none() && memchr::memchr(b'\r', &source).is_some() {
        source.to_mut().iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
    }
    source
}

/// All lines with their tokens, if they fit into the budget.
fn whole(source: &[u8], before: u64, budget: u64) -> Option<(String, u64)> {
    if before > budget {
        return None;
    }
    let mut text = String::with_capacity(source.len());
    let mut scratch = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let line = clean::line_at(source, at);
        text.push_str(&clean::shown(clean::line(line, &mut scratch)));
        text.push('\n');
        at = clean::after_end(source, at + line.len()).0;
    }
    let ends = source.trim_ascii_end().len() < source.len();
    text.truncate(text.trim_end_matches('\n').len() + usize::from(ends && !text.trim_end_matches('\n').is_empty()));
    let after = tokens::text_tokens(&text);
    (after <= budget && after <= before).then_some((text, after))
}

fn tokens_of(source: &[u8]) -> u64 {
    if source.len() <= COUNTED_BYTES_MAX {
        return tokens::text_tokens(&String::from_utf8_lossy(source));
    }
    let step = source.len() / PIECES;
    let pieces = (0..PIECES).map(|piece| &source[piece * step..(piece * step + PIECE_BYTES).min(source.len())]);
    let counted: u64 = pieces.map(|piece| tokens::text_tokens(&String::from_utf8_lossy(piece))).sum();
    (counted as f64 / (PIECES * PIECE_BYTES) as f64 * source.len() as f64).round() as u64
}
