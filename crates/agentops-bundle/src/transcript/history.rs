//! What became of the files of a run: which were written when, and which lines of them are likely to stand at its end.
//!
//! A run shows only parts of files, so this is evidence, not truth: a line that was written and is shown again later stands; one
//! that a later edit replaces, or whose file was removed, does not.

use std::collections::{HashMap, HashSet};

use super::event::{Event, Kind};
use super::marks::{Marks, is_same};
use super::{lines, shell};

/// More changed files than this are not listed.
const CHANGED_MAX: usize = 500;

/// Where each line was shown and what happened to each file.
#[derive(Debug, Default)]
pub struct History {
    /// The first event whose output has the line.
    shown_first: HashMap<String, usize>,
    /// The same for the line with its indentation.
    exact_first: HashMap<String, usize>,
    /// The last one.
    shown_last: HashMap<String, usize>,
    /// The last event that replaced this line by others, by what the edit itself says.
    replaced: HashMap<String, usize>,
    /// Files that were removed, whose changes were thrown away, that were written as a whole.
    removed: Marks,
    reverted: Marks,
    written: Marks,
    reverted_all: Option<usize>,
    /// The first event that edited a file in place or by a program, by the file's last part.
    touched: HashMap<String, usize>,
    /// Files that were put into others, or elsewhere, after they were written.
    moved: Marks,
    /// Lines that edits wrote or replaced.
    edited: HashSet<String>,
    /// Files with the last event that changed them, in the order of their first change.
    changed: Vec<(String, usize)>,
}

impl History {
    /// Notes that a file is changed.
    fn touch(&mut self, path: &str, index: usize) {
        let path = path.trim_start_matches("./");
        self.touched.entry(shell::base(path).to_owned()).or_insert(index);
        match self.changed.iter().position(|(known, _)| is_same(known, path)) {
            Some(at) => {
                let (known, last) = &mut self.changed[at];
                if path.len() > known.len() {
                    path.clone_into(known);
                }
                *last = index;
            }
            None if self.changed.len() < CHANGED_MAX => self.changed.push((path.to_owned(), index)),
            None => {}
        }
    }

    /// Reads a run.
    pub fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        for (index, event) in events.iter().enumerate() {
            match &event.kind {
                Kind::Output { .. } => history.output(index, &event.text),
                Kind::Command => history.command(index, &event.text),
                Kind::Edit { path, old } => {
                    if old.is_empty() {
                        history.written.put(path, index);
                    }
                    history.touch(path, index);
                    let new: HashSet<String> = event.text.lines().map(lines::norm).collect();
                    history.edited.extend(new.iter().cloned());
                    history.edited.extend(old.lines().map(lines::norm));
                    for line in old.lines().map(lines::norm).filter(|line| !new.contains(line)) {
                        history.replaced.insert(line, index);
                    }
                }
                Kind::System | Kind::Task | Kind::Said => {}
            }
        }
        history
    }

    fn output(&mut self, index: usize, text: &str) {
        for line in text.lines() {
            let line = line.strip_prefix('+').unwrap_or(line);
            let norm = lines::norm(line);
            if !lines::is_slight(&norm) {
                self.exact_first.entry(lines::without_number(line).trim_end().to_owned()).or_insert(index);
                self.shown_first.entry(norm.clone()).or_insert(index);
                self.shown_last.insert(norm, index);
            }
        }
    }

    fn command(&mut self, index: usize, text: &str) {
        let command = shell::parse(text);
        for line in &command.lines {
            for path in shell::removed(line) {
                self.removed.put(path, index);
            }
            for path in shell::reverted(line) {
                if path == "." {
                    self.reverted_all = Some(index);
                }
                self.reverted.put(path, index);
            }
            for path in shell::said_into(line) {
                self.touch(path, index);
            }
            for part in line.split("&&").flat_map(|part| part.split(';')) {
                if shell::edits_in_place(part) || shell::moves(part.trim()) {
                    // What is put in may be named within a program for `sed`.
                    for path in shell::paths(part) {
                        self.moved.put(path, index);
                    }
                    let changed: Vec<&str> = shell::operands_of(part).collect();
                    let from = if shell::moves(part.trim()) { changed.len().saturating_sub(1) } else { 0 };
                    for path in &changed[from..] {
                        self.touch(path, index);
                    }
                    if part.contains("mv ") {
                        changed[..from].iter().for_each(|path| self.removed.put(path, index));
                    }
                }
            }
        }
        for document in &command.documents {
            self.edited.extend(document.lines.iter().map(|line| lines::norm(line)));
            if let Some(path) = document.path {
                if !document.appends {
                    self.written.put(path, index);
                }
                self.touch(path, index);
            }
            if document.lines.iter().any(|line| shell::writes_files(line)) {
                for path in document.lines.iter().flat_map(|line| shell::paths(line)) {
                    self.moved.put(path, index);
                    if path.contains('/') {
                        self.touch(path, index);
                    }
                }
            }
        }
    }

    /// Whether the file is still there at the end, and belongs to the work.
    pub fn stands(&self, path: &str, index: usize) -> bool {
        let is_elsewhere = self.moved.has_after(path, index);
        let is_scratch = is_temporary(path) || self.removed.has_above_after(path, index);
        let is_reverted = self.reverted.has_after(path, index) || self.reverted_all.is_some_and(|at| at > index);
        (is_elsewhere || !is_scratch) && !is_reverted
    }

    /// Whether the file was written anew as a whole after this event.
    pub fn is_rewritten(&self, path: &str, index: usize) -> bool {
        self.written.has_after(path, index)
    }

    /// Whether the line was shown before this event.
    pub fn was_shown_before(&self, norm: &str, index: usize) -> bool {
        self.shown_first.get(norm).is_some_and(|first| *first < index)
    }

    /// Whether the line was shown before this event with the same indentation.
    pub fn was_shown_exactly_before(&self, line: &str, index: usize) -> bool {
        self.exact_first.get(lines::without_number(line).trim_end()).is_some_and(|first| *first < index)
    }

    /// The files that were changed and stand, in the order of their first change, as they were named last.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        // What was put elsewhere stands there, but is no file of the work any more.
        let is_gone =
            |path: &str, index: usize| is_temporary(path) || is_copy(path) || self.removed.has_above_after(path, index);
        self.changed
            .iter()
            .filter(move |(path, index)| self.stands(path, *index) && !is_gone(path, *index))
            .map(|(path, _)| path.as_str())
    }

    /// Whether the run changes a file with this path, and the change is still there at its end.
    pub fn is_changed(&self, path: &str) -> bool {
        self.changed().any(|known| is_same(known, path.trim_start_matches("./")))
    }

    /// Whether an edit wrote or replaced this line.
    pub fn is_edited(&self, norm: &str) -> bool {
        !lines::is_slight(norm) && self.edited.contains(norm)
    }

    /// Whether the line is shown after this event.
    pub fn is_shown_after(&self, norm: &str, index: usize) -> bool {
        self.shown_last.get(norm).is_some_and(|last| *last > index)
    }

    /// Whether a later edit says that it takes the line away.
    pub fn is_replaced_after(&self, norm: &str, index: usize) -> bool {
        self.replaced.get(norm).is_some_and(|at| *at > index)
    }

    /// Whether a file with this path was changed before this event.
    pub fn is_touched_before(&self, path: &str, index: usize) -> bool {
        self.touched.get(shell::base(path)).is_some_and(|at| *at < index)
    }
}

/// A copy that is made to be moved or thrown away, by its name.
fn is_copy(path: &str) -> bool {
    let stem = ["new", "tmp", "bak", "orig"].iter().find_map(|end| path.strip_suffix(end));
    stem.is_some_and(|stem| stem.ends_with(['.', '_']))
}

fn is_temporary(path: &str) -> bool {
    path.starts_with("/tmp/") || path.starts_with("/var/tmp/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(parts: &[(&str, &str)]) -> Vec<Event> {
        let kind = |kind: &str| match kind {
            "$" => Kind::Command,
            _ => Kind::Output { failed: false },
        };
        parts.iter().enumerate().map(|(at, (sign, text))| Event { at, kind: kind(sign), text: (*text).to_owned() }).collect()
    }

    #[test]
    fn scratch_files_do_not_stand_and_pieces_do() {
        let events = run(&[
            ("$", "cat > repro.py <<E\nimport x\nE\npython repro.py"),
            ("$", "cat > piece.txt <<E\nvalue = compute(1)\nE"),
            ("$", "sed -i '/here/r piece.txt' src/a.py"),
            (">", "value = compute(1)"),
            ("$", "rm repro.py piece.txt && git checkout src/b.py"),
        ]);
        let history = History::of(&events);
        assert!(!history.stands("repro.py", 0) && history.stands("piece.txt", 1) && history.stands("src/a.py", 2));
        assert!(!history.stands("src/b.py", 1) && !history.stands("/tmp/x", 0));
        assert_eq!(history.changed().collect::<Vec<_>>(), ["src/a.py"]);
        assert!(history.is_shown_after("value = compute(1)", 1) && !history.was_shown_before("value = compute(1)", 1));
    }
}
