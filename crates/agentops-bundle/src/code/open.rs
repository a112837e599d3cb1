//! The files that are looked into: their text without secrets, their definitions and parts.

use std::path::Path;

use agentops_safe::Redactor;

use super::kind::Role;
use super::outline::{self, Definition};
use super::parts::{self, Part};
use super::query::Query;
use super::rank::FileRank;
use super::scan::{self, Source};
use super::words::{self, Hit};
use crate::source_text::without_invisible;

/// A longer line is left out: nobody wrote it, in bytes.
const LINE_BYTES_MAX: usize = 2_000;
/// A line that is not longer and has at most so many letters beside a path reads as its heading.
const HEADING: (usize, usize) = (300, 12);

fn is_heading(line: &str, is_path: impl Fn(&str) -> bool) -> bool {
    if line.len() > HEADING.0 || !line.contains(['.', '/']) {
        return false;
    }
    let mut named = line
        .split(|c: char| !(c.is_alphanumeric() || "_@.+-/$[]()".contains(c)))
        .flat_map(|word| [word.trim_matches(['.', ',', ':', '(', ')', '[', ']']), word.trim_start_matches(['.', '/'])])
        .filter(|word| is_path(word));
    named.next().is_some_and(|path| line.replacen(path, "", 1).chars().filter(|c| c.is_alphabetic()).count() <= HEADING.1)
}

/// A file that was looked into.
pub struct Opened {
    /// Its path below the root.
    pub path: String,
    /// What it is for.
    pub role: Role,
    /// How likely the task is about it.
    pub likely: f64,
    /// See [`FileRank::wanted`].
    pub wanted: bool,
    /// Its text, without secrets.
    text: String,
    /// Where each line begins in the text, and the end.
    starts: Vec<usize>,
    /// Its definitions.
    pub definitions: Vec<Definition>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// For each line the innermost definition around it that contains no other definitions.
    owners: Vec<Option<u32>>,
    hits: Vec<Hit>,
    /// Which lines would read as the heading of a file.
    headings: Vec<bool>,
}

impl Opened {
    /// Looks into a file; `None` where it is gone or no text any more.
    pub fn of(
        root: &Path,
        source: &Source,
        rank: &FileRank,
        query: &Query,
        redactor: &Redactor,
        with_grammar: bool,
    ) -> Option<Self> {
        let (text, _) = scan::read_text(root, Path::new(&source.path)).ok()?;
        let visible = without_invisible(&text);
        let text = redactor.redact(&visible).into_owned();
        let hits = words::count(text.as_bytes(), &query.table).hits;
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        if starts.last() != Some(&text.len()) {
            starts.push(text.len());
        }
        let mut file = Self {
            path: source.path.clone(),
            role: source.kind.role,
            likely: rank.likely,
            wanted: rank.wanted,
            text,
            starts,
            definitions: Vec::new(),
            parts: Vec::new(),
            owners: Vec::new(),
            hits,
            headings: Vec::new(),
        };
        let lines = file.lines();
        let definitions = outline::of(&file.text, &lines, source.kind, with_grammar);
        let parts = parts::of(&lines, &definitions);
        let mut owners = vec![None; lines.len()];
        for (index, definition) in definitions.iter().enumerate().filter(|(_, definition)| !definition.holds) {
            owners[definition.signature..definition.end].fill(u32::try_from(index).ok());
        }
        file.owners = owners;
        file.definitions = definitions;
        file.parts = parts;
        Some(file)
    }

    /// One line without its end.
    pub fn line(&self, at: usize) -> &str {
        self.text[self.starts[at]..self.starts[at + 1]].trim_end_matches(['\n', '\r'])
    }

    /// Finds the lines that are little more than the path of a file: in a result, what follows one would seem to be of that file.
    pub fn find_headings(&mut self, is_path: impl Fn(&str) -> bool) {
        self.headings = self.lines().into_iter().map(|line| is_heading(line, &is_path)).collect();
    }

    /// Whether a line may be shown.
    pub fn is_shown(&self, at: usize) -> bool {
        self.line(at).len() <= LINE_BYTES_MAX && !self.headings.get(at).copied().unwrap_or(false)
    }

    /// Whether the function of this line goes on after it.
    pub fn is_cut_after(&self, at: usize) -> bool {
        let end = self.owner_of(at).map_or(0, |definition| definition.end);
        (at + 1..end).any(|line| !self.line(line).trim().is_empty())
    }

    /// Whether the function of this line begins before it.
    pub fn is_cut_before(&self, at: usize) -> bool {
        self.owner_of(at).is_some_and(|definition| definition.signature < at)
    }

    fn owner_of(&self, at: usize) -> Option<&Definition> {
        let index = (*self.owners.get(at)?)?;
        self.definitions.get(index as usize)
    }

    /// Whether all lines may be shown.
    pub fn is_shown_whole(&self) -> bool {
        (0..self.line_count()).all(|line| self.is_shown(line))
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines it has.
    pub fn line_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// All lines.
    pub fn lines(&self) -> Vec<&str> {
        (0..self.line_count()).map(|at| self.line(at)).collect()
    }

    /// The hits on some lines.
    pub fn hits(&self, start: usize, end: usize) -> &[Hit] {
        let from = self.hits.partition_point(|hit| (hit.line as usize) < start);
        let to = self.hits.partition_point(|hit| (hit.line as usize) < end);
        &self.hits[from..to.max(from)]
    }
}
