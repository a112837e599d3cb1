//! Parts of a source that a search does not cover, grouped by reason.

use schemars::JsonSchema;
use serde::Serialize;

/// Maximum number of examples that are named for each reason.
const EXAMPLES_MAX: usize = 3;
/// Maximum number of different record types that are named; the rest is counted together.
const RECORD_TYPES_MAX: usize = 8;
/// Maximum length of a record type that is named, in characters.
const RECORD_TYPE_CHARS_MAX: usize = 40;

/// Why a part of a source was not searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// A folder that cannot be listed, or lies too deep.
    UnreadableFolder,
    /// A file that cannot be opened or read.
    UnreadableFile,
    /// A link, which is not followed.
    Link,
    /// A file that is larger than the limit, also after decompression.
    TooLarge,
    /// A file beyond the limit on all files together; newer files are read first.
    BeyondLimit,
    /// A compressed file whose data is damaged: only its beginning was searched.
    DamagedFile,
    /// A transcript in a format that this program does not read.
    UnknownFormat,
    /// A compressed copy beside the same file, which was read.
    CompressedCopy,
    /// A file of which some bytes belong to no character; the rest was searched.
    UndecodedText,
    /// A record of a run that is no JSON, or names no task.
    UnparsedRecord,
    /// A line that is no JSON object.
    UnparsedLine,
    /// A record of a type that this program does not know.
    UnknownRecord,
    /// A compaction summary that only the provider can decrypt.
    EncryptedSummary,
}

impl GapReason {
    /// Whether the gap is a whole file or folder rather than a line of a file.
    #[must_use]
    pub fn is_file(self) -> bool {
        !matches!(
            self,
            Self::UndecodedText
                | Self::DamagedFile
                | Self::UnparsedRecord
                | Self::UnparsedLine
                | Self::UnknownRecord
                | Self::EncryptedSummary
        )
    }

    /// The reason in words, before a number: `unreadable files: 2`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::UnreadableFolder => "unreadable folders",
            Self::UnreadableFile => "unreadable files",
            Self::Link => "links",
            Self::TooLarge => "files that are too large",
            Self::BeyondLimit => "files beyond the limit of what is read",
            Self::DamagedFile => "damaged compressed files, searched only up to the damage",
            Self::UnknownFormat => "files of an unknown format",
            Self::CompressedCopy => "compressed copies of files that were read",
            Self::UndecodedText => "files of which some bytes are no text",
            Self::UnparsedRecord => "records that are no record of a run",
            Self::UnparsedLine => "lines that are no JSON object",
            Self::UnknownRecord => "records of an unknown type",
            Self::EncryptedSummary => "encrypted compaction summaries",
        }
    }
}

/// Parts that were not searched for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SearchGap {
    /// The reason.
    pub reason: GapReason,
    /// The type of the records, where the reason is an unknown type.
    pub record_type: Option<String>,
    /// Number of files, lines or records.
    pub count: u64,
    /// Some of their places: a path, with a line where there is one.
    pub examples: Vec<String>,
}

/// All gaps of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps(Vec<SearchGap>);

impl Gaps {
    /// Counts one gap at a place.
    pub fn add(&mut self, reason: GapReason, place: impl Into<String>) {
        self.count(reason, None, 1, [place.into()]);
    }

    /// Counts a record of an unknown type at a place.
    pub fn add_record(&mut self, record_type: &str, place: impl Into<String>) {
        let record_type: String = record_type.chars().take(RECORD_TYPE_CHARS_MAX).collect();
        self.count(GapReason::UnknownRecord, Some(record_type), 1, [place.into()]);
    }

    /// Adds the gaps of a file, whose places are lines of it.
    pub fn append(&mut self, file: &str, of_file: Self) {
        for gap in of_file.0 {
            let places = gap.examples.into_iter().map(|line| format!("{file}:{line}"));
            self.count(gap.reason, gap.record_type, gap.count, places);
        }
    }

    fn count(
        &mut self,
        reason: GapReason,
        record_type: Option<String>,
        count: u64,
        places: impl IntoIterator<Item = String>,
    ) {
        let named = self.0.iter().filter(|gap| gap.record_type.is_some()).count();
        let is_known = |gap: &SearchGap| gap.reason == reason && gap.record_type == record_type;
        let record_type = if named < RECORD_TYPES_MAX || self.0.iter().any(is_known) { record_type } else { None };
        let at = self.0.iter().position(|gap| gap.reason == reason && gap.record_type == record_type);
        let at = at.unwrap_or_else(|| {
            self.0.push(SearchGap { reason, record_type, count: 0, examples: Vec::new() });
            self.0.len() - 1
        });
        let gap = &mut self.0[at];
        gap.count += count;
        let free = EXAMPLES_MAX.saturating_sub(gap.examples.len());
        gap.examples.extend(places.into_iter().take(free));
    }

    /// Number of files and folders that were not read.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.0.iter().filter(|gap| gap.reason.is_file()).map(|gap| gap.count).sum()
    }

    /// Number of lines and records that were not understood, and of files that were read only in part.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.iter().filter(|gap| !gap.reason.is_file()).map(|gap| gap.count).sum()
    }

    /// The gaps, in the order in which their reasons were met.
    #[must_use]
    pub fn into_list(self) -> Vec<SearchGap> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_by_reason_and_named() {
        let mut of_file = Gaps::default();
        of_file.add(GapReason::UnparsedLine, "7");
        of_file.add_record("poem", "8");
        let mut gaps = Gaps::default();
        gaps.append("a.jsonl", of_file.clone());
        gaps.append("b.jsonl", of_file);
        gaps.add(GapReason::TooLarge, "c.jsonl");
        assert_eq!((gaps.files(), gaps.lines()), (1, 4));
        let list = gaps.into_list();
        assert_eq!(list[0].examples, ["a.jsonl:7", "b.jsonl:7"]);
        assert_eq!((list[1].record_type.as_deref(), list[1].count), (Some("poem"), 2));
    }

    #[test]
    fn names_and_examples_are_bounded() {
        let mut gaps = Gaps::default();
        for at in 0..1000 {
            gaps.add_record(&format!("type-{at}-{}", "x".repeat(500)), at.to_string());
        }
        assert_eq!(gaps.lines(), 1000);
        let list = gaps.into_list();
        assert_eq!(list.len(), RECORD_TYPES_MAX + 1);
        assert!(list.iter().all(|gap| gap.examples.len() <= EXAMPLES_MAX));
        assert!(list.iter().flat_map(|gap| &gap.record_type).all(|name| name.chars().count() <= RECORD_TYPE_CHARS_MAX));
    }
}
