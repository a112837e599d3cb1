//! Where passages come from: files in the repository, and the transcripts that agent programs keep.
//!
//! Everything here reads and nothing writes. A line that is not understood is left out and counted, a file that is too large
//! too: what was not searched is said, so that "nothing found" is not taken for "nothing there".

pub mod claude;
pub mod codex;
pub mod notes;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use crate::passages::Source;

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Of one kind of source so much is read, the newest files first.
const ALL_BYTES_MAX: u64 = 512 << 20;
/// Files of one kind that are looked at.
const FILES_MAX: usize = 20_000;
/// How deep folders are followed.
const DEPTH_MAX: usize = 8;
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
    /// Those that are too large, cannot be read, or are beyond the limit of what is read.
    pub not_read: u64,
    /// Lines or records that are not understood.
    pub not_understood: u64,
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
    /// Lines that are not understood.
    pub not_understood: u64,
}

/// Files under a folder whose names pass, oldest first; links are not followed.
fn files(folder: &Path, wanted: impl Fn(&str) -> bool, searched: &mut Searched) -> Vec<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            searched.not_read += 1;
            continue;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_MAX {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name().to_str().is_some_and(&wanted) {
                let (changed, bytes) = entry.metadata().map_or((SystemTime::UNIX_EPOCH, u64::MAX), |data| {
                    (data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len())
                });
                if bytes > FILE_BYTES_MAX || found.len() >= FILES_MAX {
                    searched.not_read += 1;
                } else {
                    found.push((changed, entry.path(), bytes));
                }
            }
        }
    }
    found.sort();
    let mut bytes = 0;
    let mut newest: Vec<PathBuf> = Vec::new();
    for (_, path, size) in found.into_iter().rev() {
        bytes += size;
        if bytes > ALL_BYTES_MAX {
            searched.not_read += 1;
        } else {
            newest.push(path);
        }
    }
    newest.reverse();
    newest
}

/// Reads the transcripts under a folder, those of the wanted project.
fn transcripts(
    folder: &Path,
    what: &str,
    kind: crate::passages::Kind,
    wanted: Wanted<'_>,
    is_transcript: impl Fn(&str) -> bool,
    parse: impl Fn(&str) -> Transcript,
) -> (Vec<Source>, Searched) {
    let mut searched =
        Searched { what: what.into(), place: folder.display().to_string(), there: folder.is_dir(), ..Searched::default() };
    if !searched.there {
        return (Vec::new(), searched);
    }
    let mut sources = Vec::new();
    for file in files(folder, is_transcript, &mut searched) {
        let Ok(bytes) = fs::read(&file) else {
            searched.not_read += 1;
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
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
        searched.not_understood += transcript.not_understood;
        let name = file.display().to_string();
        sources.push(Source { kind, name, project: transcript.folder, passages: transcript.passages });
    }
    (sources, searched)
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
