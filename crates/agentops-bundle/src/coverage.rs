//! How much of a source a result covers: what was read of it, what is shown, and where the rest is.
//!
//! A score of facts alone says nothing about what a compressor could not decode, could not parse, or did not count as a fact. So
//! each compressor also accounts for every line of its source: it is in the result, or an [`Omission`] names the place where
//! it stands and the reason.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ranges of lines that are listed for one source. More are joined across the smallest gaps.
const RANGES_MAX: usize = 100;
/// A shown line may lack the beginning of its source line, as where a log's time is left out: at most this many words.
const HEADER_WORDS_MAX: usize = 8;

/// Why a part of a source is not in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OmissionReason {
    /// Bytes that belong to no character of the source's encoding.
    NotDecoded,
    /// Lines or records that do not have the form of the others.
    NotParsed,
    /// A file or line that is larger than what is read.
    TooLarge,
    /// A file that could not be opened or read.
    Unreadable,
    /// A pointer to a file that Git LFS stores elsewhere.
    LfsPointer,
    /// A repository within the repository.
    Submodule,
    /// A source that should be text, by its name or because it was asked for, and is not.
    NotText,
    /// Pictures, archives and programs in a folder of code. They are no sources, so they do not count as unread.
    Binary,
    /// Records about the source itself, such as ids and counts, that say nothing of what it is about.
    Metadata,
    /// Lines that a program generated, as in lock files.
    Generated,
    /// Lines that say the same as one that is shown, apart from values that vary.
    Similar,
    /// Lines that matter less than what is shown. A larger budget shows more of them.
    Budget,
}

impl OmissionReason {
    /// Whether the part was not even looked at, so that nobody knows what it holds.
    #[must_use]
    pub fn is_unread(self) -> bool {
        match self {
            Self::NotDecoded
            | Self::NotParsed
            | Self::TooLarge
            | Self::Unreadable
            | Self::LfsPointer
            | Self::Submodule
            | Self::NotText => true,
            Self::Binary | Self::Metadata | Self::Generated | Self::Similar | Self::Budget => false,
        }
    }

    /// The reason in words, for a person.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NotDecoded => "not valid in its encoding",
            Self::NotParsed => "not in the form of the other lines",
            Self::TooLarge => "too large",
            Self::Unreadable => "unreadable",
            Self::LfsPointer => "a Git LFS pointer, its content is not here",
            Self::Submodule => "a repository of its own",
            Self::NotText => "not text",
            Self::Binary => "binary",
            Self::Metadata => "metadata",
            Self::Generated => "generated",
            Self::Similar => "similar to a line that is shown",
            Self::Budget => "left out for the budget",
        }
    }
}

/// A part of a source that is not in the result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Omission {
    /// Where it is: `lines 13–40`, `src/a.rs`, `rows 3–90`, `message 12`. All of it is omitted unless `amount` is less.
    pub place: String,
    /// Number of lines, rows or messages there that are not in the result; of a file that was not read, 1.
    pub amount: u64,
    /// Why.
    pub reason: OmissionReason,
}

impl Omission {
    /// An omission of this amount.
    pub fn new(place: impl Into<String>, amount: u64, reason: OmissionReason) -> Self {
        Self { place: place.into(), amount, reason }
    }
}

/// A share as two counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// The whole; at least `part`.
    pub whole: u64,
}

impl Share {
    /// A share; a part that exceeds the whole counts as the whole.
    #[must_use]
    pub fn new(part: u64, whole: u64) -> Self {
        Self { part: part.min(whole), whole }
    }

    /// 0 to 1; 1 for a part of nothing.
    #[must_use]
    pub fn ratio(self) -> f64 {
        if self.whole == 0 { 1.0 } else { self.part as f64 / self.whole as f64 }
    }
}

/// How much of a source was read, and how much of it is in the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// What was read: lines of a file, files of a folder, tokens where several sources are in one bundle.
    pub read: Share,
    /// Lines, rows or messages that are in the result. Blank lines do not count.
    pub shown: Share,
}

impl Coverage {
    /// The coverage of a source of this many lines. The omissions account for every line that is not shown.
    #[must_use]
    pub fn of_lines(lines: u64, omitted: &[Omission]) -> Self {
        let amount = |is: fn(&Omission) -> bool| omitted.iter().filter(|o| is(o)).map(|o| o.amount).sum::<u64>();
        let unread = amount(|omission| omission.reason.is_unread());
        Self {
            read: Share::new(lines.saturating_sub(unread), lines),
            shown: Share::new(lines.saturating_sub(amount(|_| true)), lines),
        }
    }

    /// Whether all of the source is in the result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read.part == self.read.whole && self.shown.part == self.shown.whole
    }
}

/// Accounts for every line of a text by looking for it in the result. A line counts as shown if the result has its words in
/// their order, at most without the first few, as where a log's time is left out. Blank lines do not count.
#[must_use]
pub fn by_lines(source: &str, result: &str, reason: OmissionReason) -> (Coverage, Vec<Omission>) {
    let shown = ShownWords::of(result);
    let mut lines = 0;
    let missing = source.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).filter_map(|(index, line)| {
        lines += 1;
        (!shown.has(line)).then_some(index as u64 + 1)
    });
    let omitted = ranges("line", missing.collect::<Vec<u64>>(), reason);
    (Coverage::of_lines(lines, &omitted), omitted)
}

/// Records of a source that have no text to look for.
pub(crate) struct OtherRecords<'a> {
    /// Numbers of lines that could not be parsed.
    pub unparsed: &'a [u64],
    /// Numbers of records that hold metadata only.
    pub metadata: &'a [u64],
}

/// Accounts for a source that was read as numbered texts: each of their lines is shown, as `is_shown` says, or omitted.
pub(crate) fn by_numbered_texts<'a>(
    unit: &str,
    texts: impl Iterator<Item = (u64, &'a str)>,
    is_shown: impl Fn(&str) -> bool,
    others: &OtherRecords<'_>,
) -> (Coverage, Vec<Omission>) {
    let mut lines = 0;
    let mut missing: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, text) in texts {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines += 1;
            if !is_shown(line) {
                *missing.entry(number).or_default() += 1;
            }
        }
    }
    let mut omitted = ranges(unit, others.unparsed.iter().copied(), OmissionReason::NotParsed);
    omitted.extend(ranges_of(unit, missing, OmissionReason::Budget));
    omitted.extend(ranges(unit, others.metadata.iter().copied(), OmissionReason::Metadata));
    let records = (others.unparsed.len() + others.metadata.len()) as u64;
    (Coverage::of_lines(lines + records, &omitted), omitted)
}

/// Omissions for numbered lines, rows or messages. `numbers` is in ascending order. Neighbours become one range, and at most
/// 100 ranges remain: then a range also spans lines that are shown, and its amount is less than its length.
#[must_use]
pub fn ranges(unit: &str, numbers: impl IntoIterator<Item = u64>, reason: OmissionReason) -> Vec<Omission> {
    ranges_of(unit, numbers.into_iter().map(|number| (number, 1)), reason)
}

/// As [`ranges`], for numbered parts that stand for any amount each.
#[must_use]
pub fn ranges_of(unit: &str, numbers: impl IntoIterator<Item = (u64, u64)>, reason: OmissionReason) -> Vec<Omission> {
    // First, last and amount.
    let mut spans: Vec<(u64, u64, u64)> = Vec::new();
    for (number, more) in numbers {
        match spans.last_mut() {
            Some((_, last, amount)) if *last + 1 == number => (*last, *amount) = (number, *amount + more),
            _ => spans.push((number, number, more)),
        }
    }
    if spans.len() > RANGES_MAX {
        let mut gaps: Vec<(u64, usize)> =
            spans.windows(2).enumerate().map(|(index, pair)| (pair[1].0 - pair[0].1, index + 1)).collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        let mut starts: Vec<usize> = gaps.into_iter().take(RANGES_MAX - 1).map(|(_, index)| index).collect();
        starts.push(0);
        starts.sort_unstable();
        let ends = starts.iter().skip(1).copied().chain([spans.len()]);
        let joined = starts.iter().zip(ends).map(|(start, end)| {
            let amount = spans[*start..end].iter().map(|(_, _, amount)| amount).sum();
            (spans[*start].0, spans[end - 1].1, amount)
        });
        spans = joined.collect();
    }
    let omission = |(first, last, amount): (u64, u64, u64)| {
        let place = if first == last { format!("{unit} {first}") } else { format!("{unit}s {first}–{last}") };
        Omission { place, amount, reason }
    };
    spans.into_iter().map(omission).collect()
}

/// The words of a result, ready to be searched for lines.
pub(crate) struct ShownWords<'a> {
    words: Vec<&'a str>,
    /// Where each pair of neighbouring words stands, and each last word alone.
    at: HashMap<(&'a str, &'a str), Vec<u32>>,
}

impl<'a> ShownWords<'a> {
    pub(crate) fn of(result: &'a str) -> Self {
        // A word that no text has stands between two lines: no line goes on in the next one.
        let words: Vec<&str> = result.lines().flat_map(|line| line.split_whitespace().chain(["\n"])).collect();
        let mut at: HashMap<(&str, &str), Vec<u32>> = HashMap::new();
        for (index, pair) in words.windows(2).enumerate() {
            at.entry((pair[0], pair[1])).or_default().push(index as u32);
        }
        for (index, word) in words.iter().enumerate() {
            at.entry((word, "")).or_default().push(index as u32);
        }
        Self { words, at }
    }

    /// Whether the result has the line's words, at most without the first few.
    pub(crate) fn has(&self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        (0..=HEADER_WORDS_MAX.min(words.len() / 2)).any(|start| self.has_words(&words[start..]))
    }

    /// Whether the result has all of the line's words.
    pub(crate) fn has_all(&self, line: &str) -> bool {
        self.has_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn has_words(&self, wanted: &[&str]) -> bool {
        let key = match wanted {
            [] => return false,
            [word] => (*word, ""),
            [first, second, ..] => (*first, *second),
        };
        let places = self.at.get(&key);
        places.into_iter().flatten().any(|at| self.words[*at as usize..].starts_with(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_line_is_shown_or_named() {
        let source = "10:00 INFO start\n\n10:01 INFO a value of 7\n10:02 INFO a value of 8\n10:03 WARN end\n";
        let (coverage, omitted) = by_lines(source, "INFO start\n  ×2 INFO a value of 7\n", OmissionReason::Budget);
        assert_eq!(omitted, [Omission::new("lines 4–5", 2, OmissionReason::Budget)]);
        assert_eq!(coverage, Coverage { read: Share::new(4, 4), shown: Share::new(2, 4) });
        assert!(!coverage.is_complete());
        let (coverage, omitted) = by_lines(source, source, OmissionReason::Budget);
        assert!(coverage.is_complete() && omitted.is_empty());
    }

    #[test]
    fn many_ranges_are_joined_and_keep_their_amounts() {
        let odd = (1..=2001).filter(|number| number % 2 == 1 && *number != 1001);
        let omitted = ranges("row", odd, OmissionReason::Budget);
        assert_eq!(omitted.len(), RANGES_MAX);
        assert_eq!(omitted.iter().map(|omission| omission.amount).sum::<u64>(), 1000);
        assert!(omitted.iter().all(|omission| !omission.place.contains(" 1001")), "the widest gap stays a gap");
    }

    proptest! {
        #[test]
        fn a_line_that_the_result_lacks_is_always_within_an_omission(
            lines in prop::collection::vec("[a-z]{1,4} [a-z]{1,4}", 1..400),
            planted in any::<prop::sample::Index>(),
        ) {
            let planted = planted.index(lines.len());
            let mut lines = lines;
            let rest = lines.join("\n");
            lines[planted] = "PLANTED LINE".to_owned();
            let (coverage, omitted) = by_lines(&lines.join("\n"), &rest, OmissionReason::Budget);
            let number = planted as u64 + 1;
            let covers = |omission: &Omission| {
                let numbers = omission.place.trim_start_matches("lines ").trim_start_matches("line ");
                let (first, last) = numbers.split_once('–').unwrap_or((numbers, numbers));
                (first.parse::<u64>().unwrap()..=last.parse().unwrap()).contains(&number)
            };
            prop_assert!(omitted.iter().any(covers), "{omitted:?}");
            prop_assert_eq!(coverage.shown, Share::new(lines.len() as u64 - 1, lines.len() as u64));
        }
    }
}
