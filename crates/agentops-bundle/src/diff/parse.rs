//! Reads diffs: unified ones as git, diff and Subversion write them, the combined ones that git shows for a merge, and the
//! context and normal formats of diff.
//!
//! Every line of the source is in exactly one place of the result: a line of text, a header of a file, a hunk's header or a line
//! of a hunk. The formats are described in git's `diff-generate-patch` documentation and in the manual of GNU diffutils.

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
    /// The definition that is named behind the ranges; empty where there is none.
    pub definition: &'a str,
    /// The number of the header, from 1. The lines follow without a gap.
    pub line: usize,
    /// The lines.
    pub lines: Vec<HunkLine<'a>>,
}

/// A line of a hunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct HunkLine<'a> {
    /// The line with its signs.
    pub text: &'a str,
    /// The line without its signs.
    pub content: &'a str,
    /// What it does.
    pub change: LineChange,
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

impl DiffFile<'_> {
    fn count(&mut self, change: LineChange) {
        self.added += usize::from(change == LineChange::Added);
        self.removed += usize::from(change == LineChange::Removed);
    }
}

/// The signs of a line, at most one for each parent, what stands behind them, and what they say.
fn signs(line: &str, parents: usize) -> (&[u8], &str, LineChange) {
    let is_sign = |byte: &&u8| matches!(**byte, b' ' | b'+' | b'-');
    let count = line.as_bytes().iter().take(parents).take_while(is_sign).count();
    let signs = &line.as_bytes()[..count];
    let change = if signs.contains(&b'+') {
        LineChange::Added
    } else if signs.contains(&b'-') {
        LineChange::Removed
    } else {
        LineChange::Context
    };
    (signs, &line[count..], change)
}

/// Reads a source. Lines outside of a diff are kept as text.
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
    /// In a hunk of the context format: in the lines of the old version, or of the new one.
    ContextHunk { is_new: bool },
    /// In a hunk of the normal format.
    NormalHunk,
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
        if self.in_hunk(line, next) || self.in_context_hunk(line, next) || self.in_normal_hunk(line) {
            return;
        }
        if self.begins_file(number, line, next) {
            return self.header_line(number);
        }
        if self.begins_hunk(number, line, next) || self.is_header(number, line) {
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
        let (signs, content, change) = signs(line, old.len());
        let is_remark = line.starts_with('\\');
        let is_line = is_remark || content.is_empty() || signs.len() == old.len();
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
        hunk.lines.push(HunkLine { text: line, content, change });
        file.count(change);
        true
    }

    /// Adds the line to the hunk of the context format that is open: the old lines, then the new ones, each with two signs.
    fn in_context_hunk(&mut self, line: &'a str, next: &str) -> bool {
        let State::ContextHunk { is_new } = &mut self.state else { return false };
        let Some(DiffSection::File(file)) = self.sections.last_mut() else { return false };
        let Some(hunk) = file.hunks.last_mut() else { return false };
        let is_range =
            line.starts_with("*** ") && line.ends_with(" ****") || line.starts_with("--- ") && line.ends_with(" ----");
        let change = match line.get(..2) {
            Some("! ") if *is_new => LineChange::Added,
            Some("! ") => LineChange::Removed,
            Some("+ ") => LineChange::Added,
            Some("- ") => LineChange::Removed,
            Some("  ") => LineChange::Context,
            _ if is_range && !(line.starts_with("*** ") && next.starts_with("--- ") && *is_new) => {
                *is_new = line.starts_with("--- ");
                LineChange::Context
            }
            _ if line.starts_with('\\') || line.is_empty() && next.starts_with("  ") => LineChange::Context,
            _ => return false,
        };
        hunk.lines.push(HunkLine { text: line, content: line.get(2..).unwrap_or_default(), change });
        file.count(change);
        true
    }

    /// Adds the line to the hunk of the normal format that is open.
    fn in_normal_hunk(&mut self, line: &'a str) -> bool {
        if self.state != State::NormalHunk {
            return false;
        }
        let Some(DiffSection::File(file)) = self.sections.last_mut() else { return false };
        let Some(hunk) = file.hunks.last_mut() else { return false };
        let change = match line.as_bytes() {
            [b'<'] | [b'<', b' ', ..] => LineChange::Removed,
            [b'>'] | [b'>', b' ', ..] => LineChange::Added,
            b"---" | [b'\\', ..] => LineChange::Context,
            _ => return false,
        };
        hunk.lines.push(HunkLine { text: line, content: line.get(2..).unwrap_or_default(), change });
        file.count(change);
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
        let is_followed = ["--- ", "*** ", "Binary files ", "Files "].iter().any(|word| next.starts_with(word));
        let is_followed = is_followed || is_normal_range(next);
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
        if let Some(name) = line.strip_prefix("*** ").filter(|_| next.starts_with("--- ") && !line.ends_with(" ****")) {
            if !matches!(self.state, State::Headers { awaits_paths: true, .. }) {
                self.open(number, path::of_header(name), true, false);
            }
            return true;
        }
        if let Some(name) = line.strip_prefix("--- ").filter(|_| next.starts_with("+++ ") || next.starts_with("*****")) {
            if next.starts_with('*') {
                return self.names_new_file(name);
            }
            if !matches!(self.state, State::Headers { awaits_paths: true, .. }) {
                self.open(number, path::of_header(name), true, false);
            } else if let (State::Headers { is_sure_of_path: false, .. }, false) = (&self.state, is_no_file(name))
                && let Some(file) = self.file()
            {
                file.path = path::of_header(name);
            }
            return true;
        }
        line.strip_prefix("+++ ").is_some_and(|name| self.names_new_file(name))
    }

    /// Takes the second path of a file whose headers are open.
    fn names_new_file(&mut self, name: &'a str) -> bool {
        let State::Headers { awaits_paths: true, is_sure_of_path } = self.state else { return false };
        if !is_sure_of_path
            && !is_no_file(name)
            && let Some(file) = self.file()
        {
            file.path = path::of_header(name);
        }
        self.state = State::Headers { awaits_paths: false, is_sure_of_path: true };
        true
    }

    fn begins_hunk(&mut self, number: usize, line: &'a str, next: &str) -> bool {
        let is_context = line.starts_with("***************") && next.starts_with("*** ") && next.ends_with(" ****");
        let is_normal = is_normal_range(line) && next.starts_with(['<', '>']);
        let (state, definition) = if is_context {
            (State::ContextHunk { is_new: false }, line.trim_matches(['*', ' ']))
        } else if is_normal {
            (State::NormalHunk, "")
        } else if let Some((old, new)) = ranges(line) {
            let signs = &line[..=old.len()];
            let definition = line[signs.len()..].split_once(signs).map_or("", |(_, definition)| definition.trim());
            (State::Hunk { old, new }, definition)
        } else {
            return false;
        };
        // Blank lines between two hunks end no file.
        while matches!(self.sections.last(), Some(DiffSection::Text { text, .. }) if text.trim().is_empty()) {
            self.sections.pop();
        }
        if self.file().is_none() {
            self.open(number, Cow::Borrowed("(no file named)"), false, true);
        }
        if let Some(file) = self.file() {
            file.hunks.push(DiffHunk { header: line, definition, line: number, lines: Vec::new() });
        }
        self.state = state;
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

/// Whether a line is the header of a hunk of the normal format: `3c3`, `8a12,15`, `5,7d3`.
pub(super) fn is_normal_range(line: &str) -> bool {
    let is_range = |text: &str| {
        let (first, last) = text.split_once(',').unwrap_or((text, "0"));
        [first, last].iter().all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.trim_end().split_once(['a', 'c', 'd']).is_some_and(|(old, new)| is_range(old) && is_range(new))
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
