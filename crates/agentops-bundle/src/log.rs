//! Command output and logs: each kind of line once, the first of its kind as it was printed, with how often it came.
//!
//! What a log says is which events there were, not how often each said the same. So lines are put into kinds by what does
//! not differ between them (`scan`), nearly equal kinds into groups (`cluster`), and the budget goes to trouble first,
//! then to what happened once or twice, then to the rest, as many groups as there is room for; second examples and further
//! forms of a group come when each group has one. Traces and failing tests keep what belongs to them (`block`).
//!
//! A line is shown verbatim but for its header (time, ids: `header`), colours and what a carriage return wrote over
//! (`clean`). It is never put together from several, and nothing is shown that the source does not say.

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
pub(crate) use words::is_trouble;

/// A longer source is not counted whole: its tokens are reckoned from pieces of it.
const COUNTED_BYTES_MAX: usize = 512 << 10;
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
/// `budget` is in o200k tokens and is never passed. Above 512 KiB `before` is reckoned from pieces of the source, which is
/// right to a few per cent; counting would take longer than everything else.
///
/// # Errors
///
/// None: any bytes are lines.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let before = tokens_of(source);
    let log = Log::read(source);
    let facts = log.facts();
    let text = whole(source, before, budget).unwrap_or_else(|| select::text(&log, budget));
    let after = tokens::text_tokens(&text);
    Ok(Compressed::new(text, before, after, facts).covering_lines(&String::from_utf8_lossy(source)))
}

/// All lines, where the budget has room for them.
fn whole(source: &[u8], before: u64, budget: u64) -> Option<String> {
    if before > budget || source.len() > COUNTED_BYTES_MAX {
        return None;
    }
    let mut text = String::with_capacity(source.len());
    let mut scratch = Vec::new();
    for line in source.split(|byte| *byte == b'\n') {
        text.push_str(&clean::shown(clean::line(line, &mut scratch)));
        text.push('\n');
    }
    text.truncate(text.trim_end_matches('\n').len());
    text.push('\n');
    (tokens::text_tokens(&text) <= budget).then_some(text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fidelity;
    use proptest::prelude::*;

    /// A service's log with its usual noise, one warning of two lines' kind, and one failure with a trace.
    fn service_log() -> String {
        let mut log = String::new();
        for n in 0..400 {
            let time = format!("2031-04-05 06:{:02}:{:02},{:03}", n / 60, n % 60, n * 7 % 1000);
            let line = match n % 5 {
                0 => format!("INFO http: GET /items/{n} 200 in {} ms", n % 17),
                1 => format!("INFO pool: connection {} handed to worker-{}", n * 3, n % 4),
                2 => format!("DEBUG cache: hit for key {:08x}", n * 7919),
                3 => format!("INFO queue: {} jobs waiting", n % 9),
                _ => format!("INFO http: POST /orders 201 in {} ms", n % 23),
            };
            log.push_str(&format!("{time} [main] {line}\n"));
            if n == 100 || n == 101 {
                log.push_str(&format!("{time} [main] WARN disk: volume data{n} has 4% left\n"));
            }
            if n == 250 {
                log.push_str(&format!("{time} [main] ERROR store: commit refused\njava.io.IOException: disk full\n"));
                log.push_str("\tat shop.Store.commit(Store.java:88)\n\tat shop.Api.post(Api.java:12)\n");
            }
        }
        log
    }

    #[test]
    fn a_tenth_has_all_kinds_and_the_trace() {
        let log = service_log();
        let whole = tokens::text_tokens(&log);
        let bundle = compress(log.as_bytes(), whole / 10).unwrap();
        assert!(bundle.after <= whole / 10 && bundle.before == whole);
        for words in
            ["GET /items/0 200", "handed to worker-1", "data100", "data101", "commit refused", "Store.java:88", "×80"]
        {
            assert!(bundle.text.contains(words), "{words} in\n{}", bundle.text);
        }
        assert!(!bundle.text.contains("06:00:07,049"), "times are left out\n{}", bundle.text);
        assert_eq!(bundle.fidelity().lost, []);
    }

    #[test]
    fn what_is_not_shown_is_reported() {
        let log = service_log();
        let bundle = compress(log.as_bytes(), 150).unwrap();
        let report = bundle.fidelity();
        assert!(bundle.text.contains("commit refused"), "trouble first\n{}", bundle.text);
        assert!(!report.lost.is_empty() && report.score() < Some(1.0));
        let found = Fidelity::of(&bundle.facts, &bundle.text);
        assert_eq!((&report.classes, &report.lost), (&found.classes, &found.lost));
    }

    #[test]
    fn what_fits_is_shown_whole() {
        let bundle = compress(b"\x1b[32mok\x1b[0m\r\n  two\n\n", 100).unwrap();
        assert_eq!(bundle.text, "ok\n  two\n");
    }

    #[test]
    fn strange_sources_are_no_trouble() {
        for source in [&b""[..], b"\n\n\n", b"\0\x01\xff\xfe", "ö".repeat(600_000).as_bytes(), &b"x y".repeat(1 << 19)] {
            for budget in [0, 1, 20, 2000] {
                let bundle = compress(source, budget).unwrap();
                assert!(tokens::text_tokens(&bundle.text) <= budget && bundle.after <= budget);
            }
        }
    }

    #[test]
    fn tokens_of_a_long_log_are_reckoned_to_a_few_per_cent() {
        let log = service_log().repeat(45);
        assert!(log.len() > COUNTED_BYTES_MAX);
        let (reckoned, counted) = (tokens_of(log.as_bytes()) as f64, tokens::text_tokens(&log) as f64);
        assert!((reckoned / counted - 1.0).abs() < 0.05, "{reckoned} {counted}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn never_more_than_the_budget_and_always_the_same(
            lines in prop::collection::vec("(error|info|  at x|test [a-z]{1,4} \\.\\.\\. (ok|FAILED)|\\PC{0,30}) ?[0-9]{0,4}", 0..60),
            budget in 0_u64..300,
        ) {
            let source = lines.join("\n");
            let bundle = compress(source.as_bytes(), budget).unwrap();
            prop_assert!(tokens::text_tokens(&bundle.text) <= budget);
            prop_assert_eq!(&bundle, &compress(source.as_bytes(), budget).unwrap());
        }
    }
}
