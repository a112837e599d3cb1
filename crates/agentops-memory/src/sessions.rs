//! Which past sessions matter for a new task.
//!
//! A session is known by its task, by the paths and the lines of its patch, by what the agent said, which paths its
//! commands named, what they printed, and the errors among that. Each field is ranked alone and counts by its best, so that
//! a long field does not drown a short one. The weights were set on past repairs of public projects (earlier sessions of the
//! same project; right is who changed the same file), and small changes of them change little.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::index::{Field, Query, ranked};
use crate::terms;

/// How much long documents are held back.
const HELD_BACK: f64 = 0.75;
/// A word of the task that comes often counts more, up to this.
const REPEATED_MAX: f64 = 3.0;
/// Of a command's output the beginning counts.
const OUTPUT_BYTES_MAX: usize = 3000;
/// Errors that are taken from one output.
const ERRORS_MAX: usize = 10;

/// What a session is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Task,
    PatchPaths,
    Patch,
    Said,
    CommandPaths,
    Output,
    Errors,
}

/// The fields and their weights.
const FIELDS: [(Known, f64); 7] = [
    (Known::Task, 0.75),
    (Known::PatchPaths, 1.0),
    (Known::Patch, 0.5),
    (Known::Said, 1.0),
    (Known::CommandPaths, 0.25),
    (Known::Output, 0.5),
    (Known::Errors, 0.3),
];

/// A session's texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// Which project it worked on.
    pub project: String,
    /// Its place among the project's sessions; later ones are greater.
    pub sequence: u64,
    /// What was asked for.
    pub task: String,
    /// What it changed, as a unified diff.
    pub patch: String,
    /// What the agent said and ran.
    pub said: Vec<String>,
    /// What commands printed.
    pub printed: Vec<String>,
}

static PATHS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\w./-]+/[\w.-]+\.\w+").unwrap_or_else(|error| unreachable!("pattern of ours: {error}")));
static ERRORS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b\w*(?:Error|Exception)\b.{0,200}").unwrap_or_else(|error| unreachable!("pattern of ours: {error}"))
});

impl Session {
    fn field(&self, known: Known) -> String {
        match known {
            Known::Task => self.task.clone(),
            Known::PatchPaths => patch_paths(&self.patch).join("\n"),
            Known::Patch => patch_lines(&self.patch),
            Known::Said => self.said.iter().map(|said| without_code(said)).collect::<Vec<_>>().join("\n"),
            Known::CommandPaths => {
                let code: Vec<String> = self.said.iter().map(|said| code(said)).collect();
                let paths: BTreeSet<&str> =
                    code.iter().flat_map(|code| PATHS.find_iter(code)).map(|path| path.as_str()).collect();
                paths.into_iter().collect::<Vec<_>>().join("\n")
            }
            Known::Output => {
                self.printed.iter().map(|text| beginning(text, OUTPUT_BYTES_MAX)).collect::<Vec<_>>().join("\n")
            }
            Known::Errors => {
                let errors = self.printed.iter().flat_map(|text| ERRORS.find_iter(text).take(ERRORS_MAX));
                errors.map(|error| error.as_str()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// The files that a patch changes, without tests: these change with everything.
fn patch_paths(patch: &str) -> Vec<&str> {
    let paths = patch.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(str::trim_end);
    paths.filter(|path| !path.to_lowercase().contains("test")).collect()
}

/// The lines of a patch without its marks; of a hunk's head what it stands in.
fn patch_lines(patch: &str) -> String {
    let mut lines = String::new();
    for line in patch.lines().filter(|line| !line.starts_with("+++") && !line.starts_with("---")) {
        let said = match line.strip_prefix("@@") {
            Some(head) => head.rsplit("@@").next(),
            None => line.strip_prefix(['+', '-', ' ']),
        };
        lines.push_str(said.unwrap_or_default());
        lines.push('\n');
    }
    lines
}

fn without_code(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
}

fn code(text: &str) -> String {
    text.split("```").skip(1).step_by(2).collect::<Vec<_>>().join("\n")
}

fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Past sessions, ready for tasks.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Name, project, sequence.
    heads: Vec<(String, String, u64)>,
    fields: [Field; FIELDS.len()],
}

impl Sessions {
    /// Adds a session; its texts need not be kept.
    pub fn push(&mut self, session: &Session) {
        for (field, (known, _)) in self.fields.iter_mut().zip(FIELDS) {
            field.push(&session.field(known));
        }
        self.heads.push((session.id.clone(), session.project.clone(), session.sequence));
    }

    /// The names of a project's sessions before this place, best first; all sessions where no project is named. Of equal
    /// ones the later comes first.
    #[must_use]
    pub fn rank(&self, task: &str, project: Option<&str>, before: Option<u64>) -> Vec<&str> {
        let is_candidate = |(_, of, sequence): &(String, String, u64)| {
            project.is_none_or(|project| project == of) && before.is_none_or(|before| *sequence < before)
        };
        let candidates: Vec<bool> = self.heads.iter().map(is_candidate).collect();
        let scores = self.scores(task, &candidates);
        let order = ranked(&scores, |a, b| self.heads[b].2.cmp(&self.heads[a].2).then(a.cmp(&b)));
        order.into_iter().filter(|at| candidates[*at]).map(|at| self.heads[at].0.as_str()).collect()
    }

    /// How well each session fits a task.
    #[must_use]
    pub fn scores(&self, task: &str, candidates: &[bool]) -> Vec<f64> {
        let mut query = Query::new();
        // Numbers of a task are its own: line numbers, versions, values of an example.
        terms::each_term(task, |term| {
            if !term.bytes().all(|byte| byte.is_ascii_digit()) {
                *query.entry(term.to_owned()).or_default() += 1.0;
            }
        });
        query.values_mut().for_each(|count| *count = count.min(REPEATED_MAX).sqrt());
        let mut sums = vec![0.0; self.heads.len()];
        for (field, (_, weight)) in self.fields.iter().zip(FIELDS) {
            let scores = field.scores(&query, candidates, HELD_BACK);
            let best = scores.iter().copied().fold(0.0, f64::max);
            if best > 0.0 {
                sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score / best);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, sequence: u64, task: &str, path: &str, said: &str) -> Session {
        Session {
            id: id.into(),
            project: "shop".into(),
            sequence,
            task: task.into(),
            patch: format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@ fn total()\n-old\n+new\n"),
            said: vec![said.into()],
            printed: vec!["ValueError: bad price".into()],
        }
    }

    #[test]
    fn the_patch_and_what_was_said_find_what_the_task_does_not_say() {
        let mut sessions = Sessions::default();
        sessions.push(&session("a", 1, "Totals are wrong", "shop/cart.py", "The rounding is in the basket."));
        sessions.push(&session("b", 2, "Login fails", "shop/login.py", "Cookies expire."));
        sessions.push(&session("c", 3, "Docs", "docs/index.md", "Typos."));
        assert_eq!(sessions.rank("Rounding in the cart", Some("shop"), None)[0], "a");
        assert_eq!(sessions.rank("cookie lifetime", Some("shop"), Some(3)), ["b", "a"]);
        assert_eq!(sessions.rank("anything", Some("other"), None), [""; 0]);
        assert_eq!(sessions.rank("nothing of this", None, None), ["c", "b", "a"], "the later one first");
    }

    #[test]
    fn a_patch_is_its_files_and_lines() {
        let patch =
            "--- a/x/y.rs\n+++ b/x/y.rs\n@@ -1,2 +1,2 @@ fn one()\n kept\n-gone\n+new\n--- a/t.rs\n+++ b/tests/t.rs\n";
        assert_eq!(patch_paths(patch), ["x/y.rs"]);
        assert_eq!(patch_lines(patch).split_whitespace().collect::<Vec<_>>(), ["fn", "one()", "kept", "gone", "new"]);
        assert_eq!(without_code("a\n```sh\nls\n```\nb"), "a\n\n\nb");
        assert_eq!(code("a\n```sh\nls\n```\nb"), "sh\nls\n");
    }
}
