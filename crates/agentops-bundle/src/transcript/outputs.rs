//! Outputs as atoms: errors, failed tests, summaries, the lines of diffs, and lines of a view that were not there before a change.

use super::atoms::{Class, ERROR_BYTES_MAX, LINE_BYTES_MAX, Maker, shortened};
use super::history::History;
use super::{lines, shell};

/// An output longer than this many lines is seen by its beginning and its end only.
const OUTPUT_LINES_MAX: usize = 20_000;

/// Value of a line that lists a file which says how the project is built and tested.
const MANIFEST: f64 = 0.2;
/// Value of a line in a view of a file that the run changes: the next agent reads it before it goes on.
const VIEW_CHANGED: f64 = 0.04;
/// The same within [`NEAR_LINES`] lines of one that an edit wrote or replaced.
const NEAR_EDIT: f64 = 0.11;
/// Number of lines around an edited line that belong to its context.
const NEAR_LINES: usize = 8;

impl Maker<'_> {
    /// The lines of what came back.
    pub(super) fn output(&mut self, index: usize, text: &str, failed: bool) {
        let all: Vec<&str> = text.lines().collect();
        let count = all.len();
        let command = self.command;
        let is_run = self.is_run;
        let views_touched = !is_run && shell::paths(command).any(|path| self.history.is_touched_before(path, index));
        let fresh = if views_touched { self.fresh(&all, index) } else { vec![0.0; count] };
        let views_changed = !is_run && shell::paths(command).any(|path| self.history.is_changed(path));
        let edited = if views_changed { self.edited(&all) } else { Vec::new() };
        let mut diff = Diff::default();
        for (number, line) in all.iter().enumerate() {
            if count > OUTPUT_LINES_MAX && number > OUTPUT_LINES_MAX / 2 && number < count - OUTPUT_LINES_MAX / 2 {
                continue;
            }
            let from_end = count - 1 - number;
            if let Some((class, value)) = diff.line(line, self.history, index) {
                let norm = if class == Class::Change { lines::norm(&line[1..]) } else { String::new() };
                let slight = if class == Class::Change && lines::is_slight(&norm) { 0.2 } else { 1.0 };
                self.put(index, shortened(line, LINE_BYTES_MAX), norm, class, value * slight);
                continue;
            }
            let (class, value, limit) = match lines::line(line) {
                lines::Line::Error => (Class::Error, 0.5, ERROR_BYTES_MAX),
                lines::Line::Failed => (Class::FailingTest, 0.4, ERROR_BYTES_MAX),
                lines::Line::Summary => (Class::Summary, 0.4, ERROR_BYTES_MAX),
                lines::Line::Other if fresh[number] > 0.0 => (Class::Change, fresh[number], LINE_BYTES_MAX),
                lines::Line::Other if is_run || failed => (
                    Class::Other,
                    if from_end < 2 {
                        0.12
                    } else if from_end < 8 {
                        0.05
                    } else {
                        0.02
                    },
                    LINE_BYTES_MAX,
                ),
                lines::Line::Other if views_changed => {
                    (Class::Other, if is_near(&edited, number) { NEAR_EDIT } else { VIEW_CHANGED }, LINE_BYTES_MAX)
                }
                lines::Line::Other if lines::is_manifest(line) => (Class::Other, MANIFEST, LINE_BYTES_MAX),
                lines::Line::Other => (Class::Other, 0.02, LINE_BYTES_MAX),
            };
            let norm = if class == Class::Error { crate::fidelity::flat(line) } else { lines::norm(line) };
            let slight = if lines::is_slight(&norm) { 0.3 } else { 1.0 };
            let again = if self.shown.insert(norm.clone()) { 1.0 } else { 0.3 };
            self.put(index, shortened(line.trim_end(), limit), norm, class, value * slight * again);
        }
    }

    /// Indices of the lines of a view that some edit of the run wrote or replaced, ascending.
    fn edited(&self, all: &[&str]) -> Vec<usize> {
        (0..all.len()).filter(|at| self.history.is_edited(&lines::norm(all[*at]))).collect()
    }

    /// Lines of a view of a changed file that were never shown before, or with another indentation: what they are worth. With
    /// known lines near them on both sides the place was looked at before the change, and these lines were not there.
    fn fresh(&self, all: &[&str], index: usize) -> Vec<f64> {
        const NEAR: usize = 6;
        let known: Vec<bool> = all.iter().map(|line| self.history.was_shown_exactly_before(line, index)).collect();
        let value = |at: usize| {
            let norm = lines::norm(all[at]);
            if known[at] || lines::is_slight(&norm) {
                return 0.0;
            }
            let before = known[at.saturating_sub(NEAR)..at].contains(&true);
            let after = known[at..known.len().min(at + 1 + NEAR)].contains(&true);
            let indented = self.history.was_shown_before(&norm, index);
            match (before, after) {
                (true, true) => 0.6,
                _ if all.len() <= 3 => 0.6,
                _ if indented => 0.4,
                (false, false) => 0.0,
                _ => 0.15,
            }
        };
        (0..all.len()).map(value).collect()
    }
}

/// Whether an edited line is at most [`NEAR_LINES`] lines away. `edited` ascends.
fn is_near(edited: &[usize], number: usize) -> bool {
    let next = edited.partition_point(|at| *at < number);
    let is_after = edited.get(next).is_some_and(|at| at - number <= NEAR_LINES);
    is_after || edited[..next].last().is_some_and(|at| number - at <= NEAR_LINES)
}

/// Where in a unified diff an output is.
#[derive(Default)]
struct Diff {
    path: String,
    inside: bool,
}

impl Diff {
    fn line(&mut self, line: &str, history: &History, index: usize) -> Option<(Class, f64)> {
        if line.starts_with("diff --git ") || line.starts_with("--- a/") {
            self.inside = true;
            return Some((Class::Other, 0.03));
        }
        if !self.inside {
            return None;
        }
        if let Some(path) = line.strip_prefix("+++ ") {
            self.path = path.trim_start_matches("b/").to_owned();
            return Some((Class::Look, 0.5));
        }
        if line.starts_with("@@") {
            return Some((Class::Other, 0.08));
        }
        let stands = if history.stands(&self.path, index) { 1.0 } else { 0.05 };
        match line.as_bytes().first() {
            Some(b'+') => {
                let value = if history.is_replaced_after(&lines::norm(&line[1..]), index) { 0.2 } else { 0.8 };
                Some((Class::Change, value * stands))
            }
            Some(b'-') => Some((Class::Other, 0.1 * stands)),
            Some(b' ') | None => Some((Class::Other, 0.01)),
            _ if line.starts_with("index ") || line.starts_with("new file") => Some((Class::Other, 0.01)),
            _ => {
                self.inside = false;
                None
            }
        }
    }
}
