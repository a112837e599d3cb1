//! Where passages come from: files in the repository, and the transcripts that agent programs keep.
//!
//! Everything here reads and nothing writes. Every file, line and record that is not searched is counted with its reason, so
//! that "nothing found" is not taken for "nothing there".

pub mod claude;
pub mod codex;
mod files;
pub mod gaps;
pub mod notes;
mod zstd;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use self::files::{FileFormat, FileReader};
use self::gaps::{Gaps, SearchGap};
use crate::passages::Source;

/// A passage is at most about this long; longer texts are several.
const PASSAGE_BYTES: usize = 1600;

/// What was searched of one kind of source, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Searched {
    /// What it is, in words.
    pub what: String,
    /// The folder or file.
    pub place: String,
    /// Whether it is there.
    pub there: bool,
    /// Files, runs or records that were read.
    pub read: u64,
    /// Those of other projects, which were left out.
    pub other_projects: u64,
    /// Those that do not say which project they are of; left out where a project is asked for.
    pub unknown_project: u64,
    /// Number of files that were not read: the sum of those in `gaps`.
    pub not_read: u64,
    /// Number of lines and records that were not understood: the sum of those in `gaps`.
    pub not_understood: u64,
    /// What was not read or not understood, by reason.
    pub gaps: Vec<SearchGap>,
}

impl Searched {
    /// A kind of source at a place, before anything was read.
    #[must_use]
    pub fn new(what: &str, place: String, there: bool) -> Self {
        Self { what: what.into(), place, there, ..Self::default() }
    }

    /// With these gaps.
    #[must_use]
    pub fn with_gaps(self, gaps: Gaps) -> Self {
        Self { not_read: gaps.files(), not_understood: gaps.lines(), gaps: gaps.into_list(), ..self }
    }
}

/// The folders of the project that is asked for; `None` are all projects.
pub type Wanted<'a> = Option<&'a [PathBuf]>;

/// What a transcript's lines gave.
#[derive(Debug, Default)]
pub struct Transcript {
    /// The folder that the program worked in.
    pub folder: Option<String>,
    /// What was said.
    pub passages: Vec<crate::passages::Passage>,
    /// Lines and records that are not understood; each place is a line.
    pub gaps: Gaps,
}

/// Reads the transcripts under some folders, those of the wanted project; oldest first.
fn transcripts(
    folders: &[PathBuf],
    what: &str,
    kind: crate::passages::Kind,
    wanted: Wanted<'_>,
    format: impl Fn(&str) -> FileFormat,
    parse: impl Fn(&str) -> Transcript,
) -> (Vec<Source>, Searched) {
    let place = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    let existing: Vec<PathBuf> = folders.iter().filter(|folder| folder.is_dir()).cloned().collect();
    let mut searched = Searched::new(what, place, !existing.is_empty());
    let mut gaps = Gaps::default();
    let mut reader = FileReader::default();
    let mut sources = Vec::new();
    for file in files::find(&existing, format, &mut gaps) {
        let Some(text) = reader.text(&file, &mut gaps) else { continue };
        // Most transcripts are of other projects: these need not be read line by line.
        let is_named = |project: &PathBuf| plain(project).is_none_or(|project| text.contains(project));
        if wanted.is_some_and(|projects| !projects.iter().any(is_named)) {
            let says = text.contains("\"cwd\"") || text.contains("<cwd>");
            searched.other_projects += u64::from(says);
            searched.unknown_project += u64::from(!says);
            continue;
        }
        let transcript = parse(&text);
        if let Some(projects) = wanted {
            match &transcript.folder {
                None => {
                    searched.unknown_project += 1;
                    continue;
                }
                Some(folder) if !projects.iter().any(|project| Path::new(folder).starts_with(project)) => {
                    searched.other_projects += 1;
                    continue;
                }
                Some(_) => {}
            }
        }
        searched.read += 1;
        let name = file.path.display().to_string();
        gaps.append(&name, transcript.gaps);
        sources.push(Source { kind, name, project: transcript.folder, passages: transcript.passages });
    }
    sources.reverse();
    (sources, searched.with_gaps(gaps))
}

/// A path that stands in JSON as it is.
fn plain(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')))
}

/// Cuts a long text into passages at line ends; each with the number of lines before it.
pub fn pieces(text: &str) -> Vec<(u64, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut line) = (0, 0);
    let mut end = 0;
    for part in text.split_inclusive('\n') {
        if end > start && end - start + part.len() > PASSAGE_BYTES {
            pieces.push((line, text[start..end].trim_end()));
            line += text[start..end].matches('\n').count() as u64;
            start = end;
        }
        end += part.len();
    }
    pieces.push((line, text[start..].trim_end()));
    pieces.retain(|(_, piece)| !piece.trim().is_empty());
    pieces
}

/// The beginning of a text, at a character's border.
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `2031-04-05` of `2031-04-05T06:07:08.900Z`.
fn day(time: Option<&str>) -> Option<String> {
    let day = time?.get(..10)?;
    let is_day =
        day.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    is_day.then(|| day.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_text_is_cut_at_lines() {
        let text = "a line of text\n".repeat(300);
        let pieces = pieces(&text);
        assert!(pieces.len() > 2 && pieces.iter().all(|(_, piece)| piece.len() <= PASSAGE_BYTES));
        assert_eq!(pieces[1].0 as usize, pieces[0].1.lines().count());
        assert_eq!(day(Some("2031-04-05T06:07:08Z")).as_deref(), Some("2031-04-05"));
        assert_eq!((day(Some("yesterday at ten")), day(None)), (None, None));
    }

    proptest! {
        #[test]
        fn no_line_makes_a_parser_panic(text in "\\PC{0,80}", kind in "user|assistant|response_item|session_meta") {
            let line = serde_json::json!({ "type": kind, "message": { "content": text }, "payload": text, "timestamp": text });
            for text in [line.to_string(), text] {
                let _claude = claude::parse(&text);
                let _codex = codex::parse(&text);
                let _notes = notes::passages(&text);
            }
        }
    }
}
