//! Unified diffs: every file is named with its counts, then what was changed, then what stands around it.
//!
//! Hunks lose their context before they lose a changed line, and generated files come last.

use agentops_text::tokens::text_tokens;

use crate::page::Page;
use crate::{Class, Compressed, Fact, SourceError};

/// Facts of one diff: so many changed lines are looked for.
const CHANGES_MAX: usize = 400;
/// A changed line of fewer letters and digits than this says nothing by itself.
const CHANGE_LETTERS_MIN: usize = 8;

struct File<'a> {
    path: &'a str,
    /// What is said before the first hunk and is no `---` or `+++`: modes, renames, that it is binary.
    notes: Vec<&'a str>,
    hunks: Vec<Hunk<'a>>,
    added: u64,
    removed: u64,
}

struct Hunk<'a> {
    head: &'a str,
    lines: Vec<&'a str>,
    place: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    No,
    Changes,
    Whole,
}

/// Whether a text begins as a unified diff.
#[must_use]
pub fn is_diff(text: &str) -> bool {
    let mut lines = text.lines().take(200).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("diff --git ") {
            return true;
        }
        if line.starts_with("--- ") && lines.peek().is_some_and(|next| next.starts_with("+++ ")) {
            return true;
        }
    }
    false
}

/// Compresses a unified diff.
///
/// # Errors
/// The source is no unified diff.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let (preface, files) = parse(&text);
    if files.is_empty() {
        let detail = "no line begins with `diff --git` or `---`".to_owned();
        return Err(SourceError::Form { expected: "unified diff", detail });
    }
    let before = text_tokens(&text);
    let facts = facts(&files);
    let whole = text.trim_end();
    let text = if before <= budget { format!("{whole}\n") } else { shorten(&preface, &files, budget) };
    let text = crate::page::fit(text, budget);
    Ok(Compressed { after: text_tokens(&text), text, before, facts })
}

/// What stands before the first file (a commit message), and the files.
fn parse(text: &str) -> (Vec<&str>, Vec<File<'_>>) {
    let mut preface = Vec::new();
    let mut files: Vec<File<'_>> = Vec::new();
    let mut old_path = "";
    let (mut old_left, mut new_left) = (0_u64, 0_u64);
    for (index, line) in text.lines().enumerate() {
        let in_hunk = old_left > 0 || new_left > 0;
        if in_hunk && let Some(hunk) = files.last_mut().and_then(|file| file.hunks.last_mut()) {
            hunk.lines.push(line);
            let file = files.last_mut().expect("the hunk is its");
            match line.as_bytes().first() {
                Some(b'+') => (file.added, new_left) = (file.added + 1, new_left.saturating_sub(1)),
                Some(b'-') => (file.removed, old_left) = (file.removed + 1, old_left.saturating_sub(1)),
                Some(b'\\') => {}
                _ => (old_left, new_left) = (old_left.saturating_sub(1), new_left.saturating_sub(1)),
            }
        } else if let Some(paths) = line.strip_prefix("diff --git ") {
            let path = paths.rsplit_once(" b/").map_or(paths, |(_, path)| path);
            files.push(File { path, notes: Vec::new(), hunks: Vec::new(), added: 0, removed: 0 });
        } else if let Some(path) = line.strip_prefix("--- ") {
            old_path = name(path);
            // Without a `diff` line before it, this one begins a file.
            if files.last().is_none_or(|file| !file.hunks.is_empty()) {
                files.push(File { path: old_path, notes: Vec::new(), hunks: Vec::new(), added: 0, removed: 0 });
            }
        } else if let (Some(path), Some(file)) = (line.strip_prefix("+++ "), files.last_mut()) {
            let path = name(path);
            file.path = if path == "/dev/null" { old_path } else { path };
        } else if let (Some((old, new)), Some(file)) = (counts(line), files.last_mut()) {
            (old_left, new_left) = (old, new);
            file.hunks.push(Hunk { head: line, lines: Vec::new(), place: index + 1 });
        } else if let Some(file) = files.last_mut() {
            if line.starts_with('\\') {
                continue;
            }
            if file.hunks.is_empty() && !line.starts_with("index ") {
                file.notes.push(line);
            }
        } else {
            preface.push(line);
        }
    }
    (preface, files)
}

fn name(path: &str) -> &str {
    let path = path.split('\t').next().unwrap_or(path).trim_matches('"');
    path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(path)
}

/// The old and the new length of a hunk, from its head: `@@ -12,3 +14,5 @@ fn main() {`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let length = |range: &str| range.split_once(',').map_or(Some(1), |(_, length)| length.parse().ok());
    Some((length(old)?, length(new)?))
}

fn facts(files: &[File<'_>]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut changes = 0;
    for file in files {
        facts.push(Fact::new(Class::Path, file.path, "the diff"));
        for hunk in &file.hunks {
            let told = hunk.lines.iter().filter(|line| is_change(line)).map(|line| line.trim());
            for line in told.filter(|line| letters(line) >= CHANGE_LETTERS_MIN && !is_generated(file.path)) {
                changes += 1;
                if changes <= CHANGES_MAX {
                    facts.push(Fact::new(Class::Change, line, format!("line {}", hunk.place)));
                }
            }
        }
    }
    facts
}

fn is_change(line: &str) -> bool {
    line.starts_with('+') || line.starts_with('-')
}

fn letters(line: &str) -> usize {
    line.bytes().filter(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80).count()
}

/// Files that programs write: nobody reads their changes line by line.
fn is_generated(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.ends_with(".lock")
        || name.ends_with(".min.js")
        || name.ends_with(".snap")
        || name.ends_with(".map")
        || name.ends_with("-lock.json")
        || name.ends_with("-lock.yaml")
        || name == "go.sum"
        || path.contains("/vendor/")
        || path.contains("node_modules/")
        || path.contains("/generated/")
}

/// Sources come first, then tests, then prose, then what programs wrote.
fn rank(path: &str) -> u8 {
    let is_test = path.contains("test") || path.contains("spec");
    let is_prose = path.ends_with(".md") || path.ends_with(".rst") || path.ends_with(".txt");
    match () {
        () if is_generated(path) => 3,
        () if is_prose => 2,
        () if is_test => 1,
        () => 0,
    }
}

fn shorten(preface: &[&str], files: &[File<'_>], budget: u64) -> String {
    let heads: Vec<String> = files.iter().map(head).collect();
    let mut page = Page::new(budget);
    // What a commit says of itself is why; it must not crowd out what it did.
    let said = preface.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty());
    for line in said {
        if Page::cost(line) + budget * 4 / 5 > page.left() || !page.line(line) {
            break;
        }
    }
    let mut left = page.left();
    // The names first: whoever reads must know what else was touched.
    let mut named = 0;
    for head in &heads {
        let cost = Page::cost(head);
        if cost > left {
            break;
        }
        left -= cost;
        named += 1;
    }
    let mut order: Vec<(usize, usize)> =
        files[..named].iter().enumerate().flat_map(|(file, of)| (0..of.hunks.len()).map(move |hunk| (file, hunk))).collect();
    order.sort_by_key(|(file, hunk)| (rank(files[*file].path), *hunk, *file));
    let mut shown: Vec<Vec<Shown>> = files.iter().map(|file| vec![Shown::No; file.hunks.len()]).collect();
    for wanted in [Shown::Changes, Shown::Whole] {
        for &(file, hunk) in &order {
            let known = shown[file][hunk];
            if wanted == Shown::Whole && known == Shown::No {
                continue;
            }
            let of = &files[file].hunks[hunk];
            let cost = cost(of, wanted).saturating_sub(cost(of, known));
            if cost <= left {
                left -= cost;
                shown[file][hunk] = wanted;
            }
        }
    }
    for (index, file) in files[..named].iter().enumerate() {
        page.line(&heads[index]);
        let mut omitted = 0;
        for (hunk, shown) in file.hunks.iter().zip(&shown[index]) {
            match shown {
                Shown::No => omitted += 1,
                _ => {
                    page.line(hunk.head);
                    let lines = hunk.lines.iter().filter(|line| *shown == Shown::Whole || is_change(line));
                    lines.for_each(|line| {
                        page.line(line);
                    });
                }
            }
        }
        // Where nothing is shown, the counts in the head say so.
        if omitted > 0 && omitted < file.hunks.len() {
            page.line(&format!("… {omitted} hunks"));
        }
    }
    if named < files.len() {
        page.line(&format!("… {} more files", files.len() - named));
    }
    page.finish()
}

fn head(file: &File<'_>) -> String {
    let notes = file.notes.iter().map(|note| note.trim()).filter(|note| !note.is_empty()).take(2);
    let notes: String = notes.map(|note| format!(" ({note})")).collect();
    format!("## {} +{} −{}{notes}", file.path, file.added, file.removed)
}

fn cost(hunk: &Hunk<'_>, shown: Shown) -> u64 {
    if shown == Shown::No {
        return 0;
    }
    let lines = hunk.lines.iter().filter(|line| shown == Shown::Whole || is_change(line));
    Page::cost(hunk.head) + lines.map(|line| Page::cost(line)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(files: usize) -> String {
        let mut text = String::from("commit 1\n\n    Why it was done\n\n");
        for file in 0..files {
            text.push_str(&format!(
                "diff --git a/src/f{file}.rs b/src/f{file}.rs\nindex 1..2 100644\n--- a/src/f{file}.rs\n+++ b/src/f{file}.rs\n@@ -1,4 +1,4 @@ fn \
                 main() {{\n let first = {file};\n-let removed_value = {file};\n+let added_value = {file};\n let after = 1;\n let last = 2;\n"
            ));
        }
        text
    }

    #[test]
    fn a_diff_that_fits_stays_as_it_is() {
        let text = sample(2);
        let made = compress(text.as_bytes(), 10_000).expect("a diff");
        assert_eq!(made.text, text);
        assert_eq!(made.fidelity().score(), Some(1.0));
    }

    #[test]
    fn context_goes_before_changes_and_changes_before_names() {
        let text = sample(40);
        let whole = text_tokens(&text);
        let tight = compress(text.as_bytes(), whole * 6 / 10).expect("a diff").text;
        assert!(tight.contains("+let added_value = 39;") && tight.matches("let after = 1;").count() < 40, "{tight}");
        let tighter = compress(text.as_bytes(), whole * 2 / 10).expect("a diff").text;
        assert!(tighter.contains("src/f39.rs +1 −1") && !tighter.contains("+let added_value = 39;"), "{tighter}");
    }

    #[test]
    fn removed_lines_that_look_like_headers_are_lines() {
        let text = "--- a/x.sql\n+++ b/x.sql\n@@ -1,2 +1,1 @@\n--- a comment in SQL\n keep\n";
        let (_, files) = parse(text);
        assert_eq!((files.len(), files[0].removed, files[0].path), (1, 1, "x.sql"));
    }

    #[test]
    fn what_is_no_diff_is_refused() {
        assert!(matches!(compress(b"hello", 100), Err(SourceError::Form { .. })));
    }

    proptest! {
        #[test]
        fn any_lines_are_read_and_the_budget_holds(
            lines in prop::collection::vec("(diff --git a/x b/y|--- a/q|\\+\\+\\+ b/q|@@ -1,2 \\+3,4 @@ f|[+ -][a-z ]{0,20}|\\PC{0,9})", 0..40),
            budget in 0_u64..120,
        ) {
            if let Ok(made) = compress(lines.join("\n").as_bytes(), budget) {
                prop_assert!(made.after <= budget);
            }
        }
    }
}
