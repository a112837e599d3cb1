//! What a task asks about: its words with their weights, the names and paths that it spells.
//!
//! A word counts more where people put what matters: in the first line, in the scope before its colon, between backticks, in
//! the form of a name in code. Words that only say that something is to be done (fix, add, update) count little.

use std::collections::HashMap;

use super::words::{self, EXACT, Part, STEM, TERMS_MAX, Table};

/// Words of English that say nothing of what a text is about. In order.
const STOP: &[&str] = &[
    "a", "about", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "because", "been", "before", "being",
    "but", "by", "can", "could", "did", "do", "does", "doesn", "don", "each", "else", "for", "from", "had", "has", "have",
    "here", "how", "however", "if", "in", "instead", "into", "is", "isn", "it", "its", "just", "like", "may", "might",
    "more", "most", "much", "must", "my", "no", "not", "now", "of", "on", "one", "only", "or", "other", "our", "out",
    "over", "own", "same", "should", "since", "so", "some", "still", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "two", "up", "very", "via", "was", "we", "well",
    "were", "what", "when", "where", "whether", "which", "while", "who", "why", "will", "with", "without", "would", "you",
    "your",
];

/// Words that say that something is to be done, in every task alike. In order.
const DOING: &[&str] = &[
    "add",
    "added",
    "adding",
    "adds",
    "allow",
    "allows",
    "avoid",
    "bug",
    "bump",
    "change",
    "changed",
    "changes",
    "chore",
    "clarify",
    "clean",
    "cleanup",
    "commit",
    "correct",
    "currently",
    "ensure",
    "error",
    "errors",
    "feat",
    "feature",
    "fix",
    "fixed",
    "fixes",
    "fixing",
    "function",
    "get",
    "handle",
    "implement",
    "implemented",
    "improve",
    "introduce",
    "issue",
    "make",
    "makes",
    "method",
    "minor",
    "need",
    "needed",
    "needs",
    "new",
    "pr",
    "problem",
    "refactor",
    "remove",
    "removed",
    "removes",
    "removing",
    "rename",
    "replace",
    "set",
    "simplify",
    "style",
    "support",
    "supports",
    "update",
    "updated",
    "updates",
    "upgrade",
    "use",
    "used",
    "uses",
    "using",
    "value",
    "want",
    "way",
    "work",
    "works",
];

// The weights of words, tried on changes of open-source repositories; none matters much alone.

/// What a word counts in the scope of the first line.
const SCOPE: f64 = 2.0;
/// In the rest of it.
const SUBJECT: f64 = 2.0;
/// Below it.
const BODY: f64 = 0.7;
/// And in a block of code.
const BLOCK: f64 = 0.5;
/// How much more a word counts that is a name in code.
const NAME: f64 = 1.5;
/// How much less one that says that something is to be done.
const DOING_FACTOR: f64 = 0.25;
/// How much less a word within a name.
const PART: f64 = 0.7;
/// How much more the name itself.
const WHOLE: f64 = 2.0;
/// What two neighbouring words within a name count.
const INNER: f64 = 0.8;
/// What two neighbouring words of prose count together.
const PAIR: f64 = 0.8;
/// What a word adds that is said again.
const AGAIN: f64 = 0.15;

/// One thing to look for.
#[derive(Debug, Clone)]
pub struct Term {
    /// How much it says of what the task is about, apart from how rare it is.
    pub weight: f64,
    /// Whether it stands in the scope of the first line: `parser` in `fix(parser): …` and `parser: …`.
    pub scope: bool,
    /// As the task spells it.
    pub text: String,
    /// Whether it has the form of a name in code, or stands as such.
    pub name: bool,
}

/// What a task asks about.
#[derive(Debug, Clone)]
pub struct Query {
    /// What is looked for, at most [`TERMS_MAX`].
    pub terms: Vec<Term>,
    /// Where the terms are found by.
    pub table: Table,
    /// What has the form of a path or a file's name.
    pub paths: Vec<String>,
}

/// How a stretch of the task is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Scope,
    Subject,
    Body,
    Code,
}

impl Query {
    /// Reads a task.
    pub fn of(task: &str) -> Self {
        let mut reader = Reader::default();
        let mut in_block = false;
        let mut seen_subject = false;
        for line in task.lines() {
            let trimmed = line.trim();
            if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
                in_block = !in_block;
                continue;
            }
            if trimmed.is_empty() {
                continue;
            }
            if in_block {
                reader.line(line, Place::Code);
            } else if !seen_subject {
                seen_subject = true;
                let (scope, rest) = scope(trimmed);
                reader.line(scope, Place::Scope);
                reader.line(rest, Place::Subject);
            } else {
                reader.line(line, Place::Body);
            }
        }
        reader.finish()
    }
}

impl Query {
    /// Whether one of these words is in the task.
    pub fn asks(&self, words: &[&str]) -> bool {
        self.terms.iter().any(|term| words.contains(&term.text.as_str()))
    }

    /// Whether the task is about tests.
    pub fn is_about_tests(&self) -> bool {
        self.asks(&["test", "tests", "testing", "coverage"])
    }

    /// Whether the task is about code that programs wrote or that others keep.
    pub fn is_about_generated(&self) -> bool {
        self.asks(&[
            "generated",
            "codegen",
            "regenerate",
            "protobuf",
            "snapshot",
            "snapshots",
            "vendor",
            "vendored",
            "minified",
        ])
    }
}

/// The part of a first line that names where the change is, and the rest.
fn scope(line: &str) -> (&str, &str) {
    match line.find(": ") {
        Some(at) if line[..at].split_whitespace().count() <= 3 && at <= 60 => (&line[..at], &line[at + 1..]),
        _ => ("", line),
    }
}

#[derive(Default)]
struct Reader {
    terms: Vec<Term>,
    /// From a stem or joined key to the term.
    known: HashMap<u64, usize>,
    entries: Vec<(u64, u8, u8)>,
    paths: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str, place: Place) {
        let line = without_addresses(line);
        self.spelled_paths(&line);
        let bytes = line.as_bytes();
        let base = match place {
            Place::Scope => SCOPE,
            Place::Subject => SUBJECT,
            Place::Body => BODY,
            Place::Code => BLOCK,
        };
        let names = words::names(&line);
        let mut before: Option<(Part, usize, f64, String)> = None;
        for (parts, range) in &names {
            let text = &line[range.clone()];
            let quoted = is_quoted(bytes, range.start, range.end);
            let has_form = parts.len() > 1 || text.contains('_');
            let called = bytes.get(range.end) == Some(&b'(') || bytes[..range.start].ends_with(b"--");
            let name = quoted || has_form || called;
            let factor = if name { NAME } else { 1.0 };
            for part in parts {
                // A word that was cut for its length may end within a letter.
                let word = line[part.at..line.floor_char_boundary(part.at + part.len)].to_lowercase();
                if word.len() < 2 || STOP.binary_search(&word.as_str()).is_ok() {
                    continue;
                }
                let doing = DOING.binary_search(&word.as_str()).is_ok();
                let is_part = parts.len() > 1;
                let weight = base
                    * if doing && (is_part || !quoted) { DOING_FACTOR } else { 1.0 }
                    * if is_part { PART } else { factor };
                let at = self.term(part.stem, weight, place == Place::Scope && !doing, &word, name && !is_part);
                if let Some(at) = at {
                    self.entries.push((part.exact, at, EXACT));
                    self.entries.push((part.stem, at, STEM));
                }
            }
            if parts.len() > 1 {
                let name = words::Name { parts, at: range.start, end: range.end };
                let key = name.whole();
                if let Some(at) = self.term(key, base * WHOLE, false, text, true) {
                    self.entries.push((key, at, EXACT));
                }
                for first in 1..parts.len().max(2) - 1 {
                    let key = name.pair(first - 1);
                    let weight = base * INNER;
                    if let Some(at) = self.term(key, weight, false, text, false) {
                        self.entries.push((key, at, EXACT));
                    }
                }
            }
            // Words that stand together may be one name in code.
            let first = parts[0];
            if let Some((last, end, weight, word)) = &before
                && bytes[*end..range.start].iter().all(|byte| b" -/.:".contains(byte))
                && range.start - end <= 2
                && parts.len() == 1
                && place != Place::Code
            {
                let key = words::join(last.exact, &first);
                let weight = weight.min(base) * PAIR;
                if let Some(at) = self.term(key, weight, false, &format!("{word} {text}"), false) {
                    self.entries.push((key, at, EXACT));
                }
            }
            let stop = STOP.binary_search(&text.to_lowercase().as_str()).is_ok();
            before = (parts.len() == 1 && !stop).then(|| (first, range.end, base, text.to_owned()));
        }
    }

    /// The term with this key, made if it is new. `None` where there are enough.
    fn term(&mut self, key: u64, weight: f64, scope: bool, text: &str, name: bool) -> Option<u8> {
        if let Some(at) = self.known.get(&key) {
            let term = &mut self.terms[*at];
            let (high, low) = if weight > term.weight { (weight, term.weight) } else { (term.weight, weight) };
            // Said again: a little more, never more than twice.
            term.weight = (high + low * AGAIN).min(high.max(term.weight) * 2.0);
            term.scope |= scope;
            term.name |= name;
            return u8::try_from(*at).ok();
        }
        if self.terms.len() >= TERMS_MAX {
            return None;
        }
        self.known.insert(key, self.terms.len());
        self.terms.push(Term { weight, scope, text: text.to_owned(), name });
        u8::try_from(self.terms.len() - 1).ok()
    }

    fn spelled_paths(&mut self, line: &str) {
        for word in line.split(|c: char| c.is_whitespace() || "`'\"(),;<>[]{}".contains(c)) {
            let word = word.trim_matches(|c: char| ".:!?*".contains(c)).trim_start_matches("./");
            let file = word.rsplit('/').next().unwrap_or(word);
            let has_ending = file.rsplit_once('.').is_some_and(|(stem, ending)| {
                stem.len() >= 2 && (1..=6).contains(&ending.len()) && ending.bytes().all(|b| b.is_ascii_alphanumeric())
            });
            let folder = word.contains('/') && word.len() > 4 && !word.contains("//");
            if (has_ending || folder) && word.len() <= 200 && self.paths.len() < 100 && !self.paths.iter().any(|p| p == word)
            {
                self.paths.push(word.to_owned());
            }
        }
    }

    fn finish(self) -> Query {
        // Exact words first: the first of equal keys stays.
        let mut entries = self.entries;
        entries.sort_by_key(|(_, _, amount)| std::cmp::Reverse(*amount));
        Query { table: Table::new(&entries), terms: self.terms, paths: self.paths }
    }
}

/// Blanks instead of web addresses: their words are about somewhere else.
fn without_addresses(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("http://").or_else(|| rest.find("https://")) {
        let at = rest[at..].find("http").map_or(at, |more| at + more);
        clean.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| c.is_whitespace() || ")>]`\"'".contains(c)).map_or(rest.len(), |more| at + more);
        clean.push(' ');
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// Whether a name stands between backticks.
fn is_quoted(line: &[u8], start: usize, end: usize) -> bool {
    let ticks = line[..start].iter().filter(|byte| **byte == b'`').count();
    ticks % 2 == 1 && line[end..].contains(&b'`')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weight(query: &Query, text: &str) -> f64 {
        query.terms.iter().find(|term| term.text == text).map_or(0.0, |term| term.weight)
    }

    #[test]
    fn what_matters_weighs_more() {
        let query = Query::of(
            "fix(parser): reject trailing commas\n\nThe `skip_value` call is wrong, see https://example.org/zebra.\n",
        );
        assert!(weight(&query, "parser") > 0.0 && query.terms.iter().any(|term| term.scope && term.text == "parser"));
        assert!(weight(&query, "trailing") > weight(&query, "wrong"));
        assert!(weight(&query, "skip_value") > weight(&query, "call"));
        assert!(weight(&query, "trailing commas") > 0.0);
        assert_eq!((weight(&query, "zebra"), weight(&query, "the")), (0.0, 0.0));
    }

    #[test]
    fn paths_are_known_by_their_form() {
        let query = Query::of("rename in src/a.rs and `lib/b/`, not in e.g. this or and/or.");
        assert_eq!(query.paths, ["src/a.rs", "lib/b/", "and/or"]);
    }

    #[test]
    fn a_word_that_is_cut_for_its_length_may_end_within_a_letter() {
        assert!(!Query::of(&format!("a{}", "ℵ".repeat(30))).terms.is_empty());
    }

    #[test]
    fn lists_are_in_order_for_the_search() {
        assert!(STOP.is_sorted() && DOING.is_sorted());
    }

    proptest! {
        #[test]
        fn any_task_is_read(task in "\\PC{0,200}(\n\\PC{0,60}){0,6}") {
            prop_assert!(Query::of(&task).terms.len() <= TERMS_MAX);
        }
    }
}
