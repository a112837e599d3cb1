//! Reads diffs: unified ones as git, diff and Subversion write them, and the combined ones that git shows for a merge.
//!
//! Every line of the source is in exactly one place of the result: a line of text, a header of a file, a hunk's header or a line
//! of a hunk. The formats are described in git's `diff-generate-patch` documentation.

use std::borrow::Cow;

use super::path;

/// A hunk of a merge of more parents is read as text.
const PARENTS_MAX: usize = 64;

/// A stretch of a source, in its order.
#[derive(Debug)]
pub(super) enum DiffSection<'a> {
    /// A line that belongs to no file: a commit's message, a mail's header, a diffstat.
    Text {
        /// Its number, from 1.
        line: usize,
        /// The line.
        text: &'a str,
    },
    /// The change of one file.
    File(DiffFile<'a>),
}

/// The change of one file.
#[derive(Debug, Default)]
pub(super) struct DiffFile<'a> {
    /// The path after the change; before it where the file is deleted.
    pub path: Cow<'a, str>,
    /// The path before the change where it is another one.
    pub old_path: Option<Cow<'a, str>>,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// What the headers say about the file: new, deleted, renamed, another mode.
    pub notes: Vec<String>,
    /// Whether the file is new.
    pub is_new: bool,
    /// Numbers of header lines whose content is in no other field: hashes of versions and binary data.
    pub unread_lines: Vec<usize>,
    /// Numbers of the other header lines.
    pub header_lines: Vec<usize>,
    /// Its hunks.
    pub hunks: Vec<DiffHunk<'a>>,
    /// Lines that the change adds.
    pub added: usize,
    /// Lines that the change removes.
    pub removed: usize,
}

/// Lines that changed together, with their context.
#[derive(Debug, Default)]
pub(super) struct DiffHunk<'a> {
    /// The line with the ranges.
    pub header: &'a str,
    /// Versions that the new one is compared with: 1, or a merge's parents.
    pub parents: usize,
    /// The number of the header, from 1. The lines follow without a gap.
    pub line: usize,
    /// The lines with their signs.
    pub lines: Vec<&'a str>,
}

/// What a line of a hunk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineChange {
    /// The new version has it and an old one does not.
    Added,
    /// An old version has it and the new one does not.
    Removed,
    /// All versions have it, or it is a remark.
    Context,
}

impl<'a> DiffHunk<'a> {
    /// The definition that git names behind the ranges.
    pub fn definition(&self) -> &'a str {
        let ranges = self.header.trim_start_matches('@');
        ranges.split_once(&"@".repeat(self.parents + 1)).map_or("", |(_, definition)| definition.trim())
    }

    /// The signs of a line, one for each parent, and what stands behind them.
    pub fn signs(&self, line: &'a str) -> (&'a [u8], &'a str) {
        let is_sign = |byte: &&u8| matches!(**byte, b' ' | b'+' | b'-');
        let count = line.as_bytes().iter().take(self.parents).take_while(is_sign).count();
        (&line.as_bytes()[..count], &line[count..])
    }

    /// What a line does.
    pub fn change(&self, line: &'a str) -> LineChange {
        let (signs, _) = self.signs(line);
        if signs.contains(&b'+') {
            LineChange::Added
        } else if signs.contains(&b'-') {
            LineChange::Removed
        } else {
            LineChange::Context
        }
    }
}

/// Reads a source. Whatever is no diff is text.
pub(super) fn parse(text: &str) -> Vec<DiffSection<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut parser = Parser { sections: Vec::new(), state: State::Text };
    for (at, line) in lines.iter().copied().enumerate() {
        parser.line(at + 1, line, lines.get(at + 1).copied().unwrap_or_default());
    }
    parser.sections
}

/// What the lines so far say about the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// In no file.
    Text,
    /// Behind the first header of a file; whether its paths `---` and `+++` are still to come.
    Headers { awaits_paths: bool, is_sure_of_path: bool },
    /// In the data of a binary file.
    Binary,
    /// In a hunk that has so many lines more: of each parent, and of the new version.
    Hunk { old: Vec<usize>, new: usize },
}

struct Parser<'a> {
    sections: Vec<DiffSection<'a>>,
    state: State,
}

impl<'a> Parser<'a> {
    fn file(&mut self) -> Option<&mut DiffFile<'a>> {
        match self.sections.last_mut() {
            Some(DiffSection::File(file)) => Some(file),
            _ => None,
        }
    }

    fn line(&mut self, number: usize, line: &'a str, next: &str) {
        if self.in_hunk(line, next) {
            return;
        }
        if self.begins_file(number, line, next) {
            return self.header_line(number);
        }
        if self.begins_hunk(number, line) || self.is_header(number, line) {
            return;
        }
        self.state = State::Text;
        self.sections.push(DiffSection::Text { line: number, text: line });
    }

    /// Adds the line to the hunk that is open. Counts may be wrong, as where a person edited the patch: what cannot be a line of
    /// a hunk ends it, and changed lines beyond the counts still belong to it.
    fn in_hunk(&mut self, line: &'a str, next: &str) -> bool {
        let State::Hunk { old, new } = &mut self.state else { return false };
        let Some(DiffSection::File(file)) = self.sections.last_mut() else { return false };
        let Some(hunk) = file.hunks.last_mut() else { return false };
        let is_full = *new == 0 && old.iter().all(|count| *count == 0);
        let (signs, rest) = hunk.signs(line);
        let is_remark = line.starts_with('\\');
        let is_line = is_remark || rest.is_empty() || signs.len() == hunk.parents;
        let change = hunk.change(line);
        let is_file = line.starts_with("--- ") && next.starts_with("+++ ");
        let is_signature = line.trim_end() == "--";
        let is_more = is_remark || change != LineChange::Context && !is_file && !is_signature;
        if !is_line || is_full && !is_more {
            return false;
        }
        if !is_remark {
            for (at, count) in old.iter_mut().enumerate() {
                // Mailers remove the blanks of an empty line.
                let sign = signs.get(at).copied().unwrap_or(b' ');
                let has_it = if change == LineChange::Removed { sign == b'-' } else { sign == b' ' };
                *count = count.saturating_sub(usize::from(has_it));
            }
            *new = new.saturating_sub(usize::from(change != LineChange::Removed));
        }
        hunk.lines.push(line);
        file.added += usize::from(change == LineChange::Added);
        file.removed += usize::from(change == LineChange::Removed);
        true
    }

    fn header_line(&mut self, number: usize) {
        if let Some(file) = self.file() {
            file.header_lines.push(number);
        }
    }

    fn open(&mut self, line: usize, path: Cow<'a, str>, awaits_paths: bool, is_sure_of_path: bool) {
        self.sections.push(DiffSection::File(DiffFile { path, line, ..DiffFile::default() }));
        self.state = State::Headers { awaits_paths, is_sure_of_path };
    }

    fn begins_file(&mut self, number: usize, line: &'a str, next: &str) -> bool {
        if let Some(paths) = line.strip_prefix("diff --git ") {
            let (path, is_sure) = path::of_both(paths);
            self.open(number, path, true, is_sure);
            return true;
        }
        let combined = line.strip_prefix("diff --cc ").or_else(|| line.strip_prefix("diff --combined "));
        if let Some(path) = combined {
            self.open(number, path::of_combined(path), true, true);
            return true;
        }
        if let Some(path) = line.strip_prefix("Index: ").filter(|_| next.starts_with("===")) {
            self.open(number, Cow::Borrowed(path.trim()), true, true);
            return true;
        }
        let is_followed = ["--- ", "Binary files ", "Files "].iter().any(|word| next.starts_with(word));
        if let Some(arguments) = line.strip_prefix("diff -").filter(|_| is_followed) {
            let path = arguments.rsplit(' ').next().unwrap_or_default();
            self.open(number, Cow::Borrowed(path), true, false);
            return true;
        }
        if let Some(rest) = line.strip_prefix("Submodule ")
            && (rest.contains("..") || rest.contains(" contains "))
        {
            let path = rest.split(' ').next().unwrap_or(rest);
            self.open(number, Cow::Borrowed(path), false, true);
            let note = rest.strip_prefix(path).unwrap_or_default().trim().trim_end_matches(':');
            self.note(format!("submodule {note}"));
            return true;
        }
        if let Some(name) = line.strip_prefix("--- ").filter(|_| next.starts_with("+++ ")) {
            if !matches!(self.state, State::Headers { awaits_paths: true, .. }) {
                self.open(number, path::of_header(name), true, false);
            } else if let (State::Headers { is_sure_of_path: false, .. }, false) = (&self.state, is_no_file(name))
                && let Some(file) = self.file()
            {
                file.path = path::of_header(name);
            }
            return true;
        }
        if let Some(name) = line.strip_prefix("+++ ")
            && let State::Headers { awaits_paths: true, is_sure_of_path } = self.state
        {
            if !is_sure_of_path
                && !is_no_file(name)
                && let Some(file) = self.file()
            {
                file.path = path::of_header(name);
            }
            self.state = State::Headers { awaits_paths: false, is_sure_of_path: true };
            return true;
        }
        false
    }

    fn begins_hunk(&mut self, number: usize, line: &'a str) -> bool {
        let Some((old, new)) = ranges(line) else { return false };
        // Blank lines between two hunks end no file.
        while matches!(self.sections.last(), Some(DiffSection::Text { text, .. }) if text.trim().is_empty()) {
            self.sections.pop();
        }
        if self.file().is_none() {
            self.open(number, Cow::Borrowed("(no file named)"), false, true);
        }
        let hunk = DiffHunk { header: line, parents: old.len(), line: number, lines: Vec::new() };
        if let Some(file) = self.file() {
            file.hunks.push(hunk);
        }
        self.state = State::Hunk { old, new };
        true
    }

    fn note(&mut self, note: String) {
        if let Some(file) = self.file() {
            file.notes.push(note);
        }
    }

    /// Reads a line between the first header of a file and its hunks.
    fn is_header(&mut self, number: usize, line: &'a str) -> bool {
        let is_data = line.starts_with("literal ") || line.starts_with("delta ") || !line.contains(' ');
        if self.state == State::Binary && is_data {
            if let Some(file) = self.file().filter(|_| !line.trim().is_empty()) {
                file.unread_lines.push(number);
            }
            return true;
        }
        if !matches!(self.state, State::Headers { .. }) {
            return false;
        }
        let Some(file) = self.file() else { return false };
        let renamed = |prefix: &str| line.strip_prefix(prefix).map(path::unquoted_or_plain);
        if let Some(old) = renamed("rename from ").or_else(|| renamed("copy from ")) {
            file.notes.push(format!("{} {old}", if line.starts_with("copy") { "copied from" } else { "renamed from" }));
            file.old_path = Some(old);
        } else if let Some(new) = renamed("rename to ").or_else(|| renamed("copy to ")) {
            file.path = new;
            if let State::Headers { is_sure_of_path, .. } = &mut self.state {
                *is_sure_of_path = true;
            }
        } else if let Some(mode) = line.strip_prefix("new file mode ") {
            file.is_new = true;
            file.notes.push(with_mode("new", mode));
        } else if let Some(mode) = line.strip_prefix("deleted file mode ") {
            file.notes.push(with_mode("deleted", mode));
        } else if let Some(mode) = line.strip_prefix("old mode ") {
            file.notes.push(format!("mode {mode}"));
        } else if let Some(mode) = line.strip_prefix("new mode ") {
            match file.notes.last_mut().filter(|note| note.starts_with("mode ")) {
                Some(note) => note.push_str(&format!(" → {mode}")),
                None => file.notes.push(format!("mode → {mode}")),
            }
        } else if line == "GIT binary patch" {
            file.notes.push(String::from("binary data"));
            self.state = State::Binary;
        } else if line.starts_with("index ") || line.starts_with("====") {
            file.unread_lines.push(number);
            return true;
        } else if ["similarity ", "dissimilarity ", "mode ", "Binary files ", "Files "]
            .iter()
            .any(|word| line.starts_with(word))
            || file.notes.iter().any(|note| note.starts_with("submodule")) && line.starts_with("  ")
        {
            file.notes.push(line.trim().to_owned());
        } else {
            return false;
        }
        self.header_line(number);
        true
    }
}

fn is_no_file(name: &str) -> bool {
    name.trim_end() == "/dev/null" || name.starts_with("/dev/null\t")
}

/// Files that are neither executable nor links have a mode that says nothing.
fn with_mode(what: &str, mode: &str) -> String {
    if mode.split([',', '.']).all(|mode| mode == "100644") { what.to_owned() } else { format!("{what}, mode {mode}") }
}

/// The lines of each old version and of the new one, from `@@ -10,7 +10,9 @@`, or for a merge `@@@ -1,3 -1,3 +1,3 @@@`.
pub(super) fn ranges(line: &str) -> Option<(Vec<usize>, usize)> {
    let signs = line.len() - line.trim_start_matches('@').len();
    let parents = signs.checked_sub(1).filter(|parents| (1..=PARENTS_MAX).contains(parents))?;
    let (ranges, _) = line[signs..].split_once(&line[..signs])?;
    let mut old = Vec::new();
    let mut new = None;
    for range in ranges.split_whitespace() {
        let (sign, range) = range.split_at_checked(1)?;
        let count = match range.split_once(',') {
            Some((_, count)) => count.parse().ok()?,
            None => range.parse::<usize>().map(|_| 1).ok()?,
        };
        match sign {
            "-" if new.is_none() => old.push(count),
            "+" if new.is_none() => new = Some(count),
            _ => return None,
        }
    }
    (old.len() == parents).then_some((old, new?))
}
