//! Command output and logs: each kind of line once, the first of its kind as it was printed, with how often it came.
//!
//! What a log says is which events there were, not how often each said the same. So lines are put into kinds by what does
//! not differ between them ([`scan`]), nearly equal kinds into groups ([`cluster`]), and the budget goes to trouble first,
//! then to what happened once or twice, then to the rest, as many groups as there is room for; second examples and further
//! forms of a group come when each group has one. Traces and failing tests keep what belongs to them ([`block`]).
//!
//! A line is shown verbatim but for its header (time, ids: [`header`]), colours and what a carriage return wrote over
//! ([`clean`]). It is never put together from several, and nothing is shown that the source does not say.

mod block;
mod clean;
mod cluster;
mod header;
mod scan;
mod select;
mod words;

use agentops_text::tokens;

use crate::{Class, Compressed, Fact, SourceError};
use cluster::Group;
use header::Header;
use scan::Kinds;

/// A longer source is not counted whole: its tokens are reckoned from pieces of it.
const COUNTED_BYTES_MAX: usize = 1 << 20;
/// How many such pieces, and of how many bytes.
const PIECES: usize = 64;
const PIECE_BYTES: usize = 4096;
/// Facts of one class that are looked for.
const FACTS_MAX: usize = 2000;

/// A log, read.
struct Log<'a> {
    source: &'a [u8],
    header: Header,
    kinds: Kinds,
    /// The first line of each kind, as it is shown.
    texts: Vec<String>,
    groups: Vec<Group>,
}

impl<'a> Log<'a> {
    fn read(source: &'a [u8]) -> Self {
        let header = Header::learn(source);
        let kinds = scan::scan(source, &header);
        let texts: Vec<String> = kinds.kinds.iter().map(|kind| line_at(source, kind.at, &header)).collect();
        let counts: Vec<u64> = kinds.kinds.iter().map(|kind| kind.count).collect();
        let groups = cluster::groups(&texts, &counts);
        Self { source, header, kinds, texts, groups }
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
            if group.trouble {
                add(Class::SevereEvent, &group.event, first.first);
            }
            for index in &group.kinds {
                let kind = &self.kinds.kinds[*index];
                if let Some(name) = words::failing_test(&self.texts[*index]) {
                    add(Class::FailingTest, name, kind.first);
                }
                if group.count <= 2 {
                    add(Class::RareEvent, &self.texts[*index], kind.first);
                    if let Some((line, at)) = kind.second {
                        add(Class::RareEvent, &line_at(self.source, at, &self.header), line);
                    }
                }
            }
        }
        facts
    }
}

/// The line that begins at a byte, as it is shown.
fn line_at(source: &[u8], at: usize, header: &Header) -> String {
    header.strip(clean::line(clean::line_at(source, at), &mut Vec::new()))
}

/// Makes a log small.
///
/// `budget` is in o200k tokens and is never passed. Above 1 MiB `before` is reckoned from pieces of the source, which is
/// right to a few per cent; counting would take longer than everything else.
///
/// # Errors
///
/// None: any bytes are lines.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    tokens::load_in_background();
    let before = tokens_of(source);
    let log = Log::read(source);
    let facts = log.facts();
    let text = select::text(&log, budget);
    let after = tokens::text_tokens(&text);
    Ok(Compressed { text, before, after, facts })
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
