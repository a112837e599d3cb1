//! Unified diffs made small: files and hunks with their definitions first, changed lines next, context last.
//!
//! Generated files and lock files are told with their counts only. What is left out is marked, so that nobody takes the result
//! for a patch that applies.

use std::collections::HashSet;

use agentops_text::tokens::text_tokens;

use crate::fidelity::flat;
use crate::pick::{self, Piece};
use crate::{Class, Compressed, Fact, SourceError};

/// Longer lines lose their end.
const LINE_BYTES_MAX: usize = 400;
/// More changed lines than this are no facts: who changes ten thousand lines changes none that one would miss.
const CHANGES_MAX: usize = 200;
const DEFINITIONS_MAX: usize = 100;

#[derive(Debug, Default)]
struct File<'a> {
    path: &'a str,
    /// What git says about the file: new, deleted, renamed, another mode.
    notes: Vec<&'a str>,
    hunks: Vec<Hunk<'a>>,
    added: usize,
    removed: usize,
    line: usize,
}

#[derive(Debug, Default)]
struct Hunk<'a> {
    header: &'a str,
    lines: Vec<&'a str>,
    line: usize,
}

impl<'a> Hunk<'a> {
    /// The definition that git names behind the numbers.
    fn definition(&self) -> &'a str {
        self.header.splitn(3, "@@").nth(2).unwrap_or_default().trim()
    }
}

impl File<'_> {
    fn is_generated(&self) -> bool {
        let base = self.path.rsplit('/').next().unwrap_or(self.path);
        const LOCKS: &[&str] = &[
            "Cargo.lock",
            "composer.lock",
            "flake.lock",
            "Gemfile.lock",
            "go.sum",
            "package-lock.json",
            "Pipfile.lock",
            "pnpm-lock.yaml",
            "poetry.lock",
            "uv.lock",
            "yarn.lock",
        ];
        const ENDINGS: &[&str] = &[".min.js", ".min.css", ".map", ".snap", ".pb.go", "_pb2.py", ".svg"];
        const FOLDERS: &[&str] = &["node_modules", "vendor", "dist", "generated", "__generated__"];
        LOCKS.contains(&base)
            || ENDINGS.iter().any(|ending| base.ends_with(ending))
            || self.path.split('/').any(|folder| FOLDERS.contains(&folder))
            || self.hunks.iter().flat_map(|hunk| &hunk.lines).any(|line| line.contains("@generated") || line.len() > 5000)
    }
}

/// Makes a diff fit into `budget` o200k tokens.
///
/// # Errors
/// When no file's change is found in it.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let before = text_tokens(&text);
    let (preface, files) = parse(&text);
    if files.is_empty() {
        return Err(SourceError::Form { expected: "diff", detail: String::from("no line `+++ file` or `diff --git`") });
    }
    let pieces = pieces(&preface, &files);
    let (added, removed): (usize, usize) = files.iter().fold((0, 0), |sum, file| (sum.0 + file.added, sum.1 + file.removed));
    let head = format!("Diff of {} files, +{added} −{removed}, shortened; … lines left out.\n", files.len());
    let (text, after) = pick::within(&head, &pieces, "…\n", budget);
    Ok(Compressed { text, before, after, facts: facts(&files) })
}

/// What stands before the first file (a commit's message), and the files.
fn parse(text: &str) -> (Vec<&str>, Vec<File<'_>>) {
    let mut preface = Vec::new();
    let mut files: Vec<File<'_>> = Vec::new();
    // How many lines of each side the hunk still has, so that a removed line `-- x` is no file's name.
    let (mut old_left, mut new_left) = (0usize, 0usize);
    let mut has_git = false;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        // Counts may be wrong, as where a person edited the patch; what cannot be a line of a hunk ends it.
        let is_inside =
            old_left + new_left > 0 && matches!(line.as_bytes().first(), None | Some(b' ' | b'+' | b'-' | b'\\'));
        if !is_inside {
            (old_left, new_left) = (0, 0);
        }
        if let (Some(file), true) = (files.last_mut(), is_inside) {
            let hunk = file.hunks.last_mut();
            match line.as_bytes().first() {
                Some(b'+') => {
                    file.added += 1;
                    new_left = new_left.saturating_sub(1);
                }
                Some(b'-') => {
                    file.removed += 1;
                    old_left = old_left.saturating_sub(1);
                }
                Some(b'\\') => {}
                _ => {
                    old_left = old_left.saturating_sub(1);
                    new_left = new_left.saturating_sub(1);
                }
            }
            if let Some(hunk) = hunk {
                hunk.lines.push(line);
            }
        } else if let Some(paths) = line.strip_prefix("diff --git ") {
            has_git = true;
            let path = paths.rsplit_once(" b/").map_or(paths, |(_, path)| path);
            files.push(File { path, line: number, ..File::default() });
        } else if let Some(name) = line.strip_prefix("--- ") {
            if !has_git {
                files.push(File { path: name_of(name), line: number, ..File::default() });
            }
        } else if let (Some(name), Some(file)) = (line.strip_prefix("+++ "), files.last_mut()) {
            let name = name_of(name);
            if name != "/dev/null" {
                file.path = name;
            }
        } else if let (Some(ranges), Some(file)) = (line.strip_prefix("@@ -"), files.last_mut()) {
            (old_left, new_left) = counts(ranges);
            file.hunks.push(Hunk { header: line, lines: Vec::new(), line: number });
        } else if let Some(file) = files.last_mut().filter(|file| file.hunks.is_empty()) {
            if !line.starts_with("index ") && !line.is_empty() {
                file.notes.push(line);
            }
        } else if !line.starts_with("\\ No newline") {
            preface.push(line);
            has_git = false;
        }
    }
    files.retain(|file| !file.hunks.is_empty() || !file.notes.is_empty());
    (preface, files)
}

fn name_of(name: &str) -> &str {
    let name = name.split('\t').next().unwrap_or(name).trim();
    name.strip_prefix("a/").or_else(|| name.strip_prefix("b/")).unwrap_or(name)
}

/// `10,7 +10,9 @@ …`: how many lines each side has.
fn counts(ranges: &str) -> (usize, usize) {
    let mut parts = ranges.split(' ');
    let count = |part: Option<&str>| match part.and_then(|part| part.split_once(',')) {
        Some((_, count)) => count.parse().unwrap_or(0),
        None => 1,
    };
    (count(parts.next()), count(parts.next()))
}

fn pieces(preface: &[&str], files: &[File<'_>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for line in preface.iter().filter(|line| !line.trim().is_empty()) {
        pieces.push(Piece { text: format!("{}\n", short(line)), value: 1.0, needs: None });
    }
    for file in files {
        let at = pieces.len();
        let notes: String =
            file.notes.iter().filter(|note| !note.contains("mode 100")).map(|note| format!(", {note}")).collect();
        let generated = file.is_generated();
        let what = if generated { ", generated, lines left out" } else { "" };
        let is_new = file.notes.iter().any(|note| note.starts_with("new file"));
        let new = if is_new { ", new" } else { "" };
        let text = format!("## {} (+{} −{}{new}{what}{notes})\n", file.path, file.added, file.removed);
        pieces.push(Piece { text, value: 8.0, needs: None });
        if generated {
            continue;
        }
        for hunk in &file.hunks {
            let head = pieces.len();
            let worth = if hunk.definition().is_empty() { 0.5 } else { 2.0 };
            pieces.push(Piece { text: format!("{}\n", short(hunk.header)), value: worth, needs: Some(at) });
            let mut rank = 0.0;
            for (place, line) in hunk.lines.iter().enumerate() {
                let slight = if is_slight(line) { 0.2 } else { 1.0 };
                // The first lines of a long hunk say most of what it does.
                let share = 1.0 / (1.0 + rank / 30.0);
                let value = match line.as_bytes().first() {
                    Some(b'+') => {
                        rank += 1.0;
                        1.0 * share
                    }
                    Some(b'-') => 0.7 * share,
                    _ => {
                        let is_change = |at: usize| hunk.lines.get(at).is_some_and(|line| line.starts_with(['+', '-']));
                        if is_change(place + 1) || place > 0 && is_change(place - 1) { 0.15 } else { 0.05 }
                    }
                };
                pieces.push(Piece { text: format!("{}\n", short(line)), value: value * slight, needs: Some(head) });
            }
        }
    }
    pieces
}

fn facts(files: &[File<'_>]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let (mut definitions, mut changes) = (HashSet::new(), HashSet::new());
    for file in files {
        facts.push(Fact::new(Class::Path, file.path, format!("line {}", file.line)));
        if file.is_generated() {
            continue;
        }
        for hunk in &file.hunks {
            let definition = hunk.definition();
            if !definition.is_empty() && definitions.len() < DEFINITIONS_MAX && definitions.insert(definition) {
                facts.push(Fact::new(Class::Definition, definition, format!("line {}", hunk.line)));
            }
            for (at, line) in hunk.lines.iter().enumerate() {
                let Some(added) = line.strip_prefix('+').map(flat).filter(|_| !is_slight(line)) else { continue };
                if line.len() <= LINE_BYTES_MAX && changes.len() < CHANGES_MAX && changes.insert(added.clone()) {
                    facts.push(Fact::new(Class::Change, added, format!("{}, line {}", file.path, hunk.line + 1 + at)));
                }
            }
        }
    }
    facts
}

fn is_slight(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric() || *c == '_').nth(5).is_none()
}

fn short(line: &str) -> String {
    if line.len() <= LINE_BYTES_MAX {
        return line.trim_end().to_owned();
    }
    let mut end = LINE_BYTES_MAX;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} …", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIFF: &str = "commit 1\n\n    Count from one\n\ndiff --git a/src/a.rs b/src/a.rs\nindex 1..2 100644\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,4 +1,5 @@ fn counted()\n let before = 1;\n-let removed_line = 2;\n--- a comment in SQL\n+let added_line = 3;\n+let more_added = 4;\n let behind = 5;\ndiff --git a/Cargo.lock b/Cargo.lock\nindex 1..2 100644\n--- a/Cargo.lock\n+++ b/Cargo.lock\n@@ -1 +1,2 @@\n-version = 3\n+version = 4\n+name = \"locked_package\"\n";

    #[test]
    fn changed_lines_come_first_and_lock_files_are_counted() {
        let made = compress(DIFF.as_bytes(), 400).expect("a diff");
        assert!(
            made.text.contains("## src/a.rs (+2 −2)\n@@ -1,4 +1,5 @@ fn counted()\n let before = 1;\n-let removed_line"),
            "{}",
            made.text
        );
        assert!(
            made.text.contains("## Cargo.lock (+2 −1, generated, lines left out)") && !made.text.contains("locked_package")
        );
        assert_eq!(made.fidelity().score(), Some(1.0));
        let small = compress(DIFF.as_bytes(), 95).expect("a diff");
        assert!(small.text.contains("let added_line = 3;") && !small.text.contains("let behind"), "{}", small.text);
        assert!(small.after <= 95);
    }

    #[test]
    fn what_is_no_diff_is_refused() {
        assert!(matches!(compress(b"hello\nworld", 100), Err(SourceError::Form { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_over_budget(body in "(diff --git a/x b/x\n|--- a/x\n|[+]{3} b/x\n|@@ -1,2 [+]1,2 @@ f\n|[ +-][a-z]{0,9}\n|\\PC\n){0,30}", budget in 0u64..200) {
            if let Ok(made) = compress(body.as_bytes(), budget) {
                prop_assert!(made.after <= budget && made.after == text_tokens(&made.text));
            }
        }
    }
}
