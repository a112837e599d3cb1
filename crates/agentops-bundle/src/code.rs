//! A repository made small for a task: the files and lines that the task is about, within a budget.
//!
//! One pass counts where the task's words stand in every text file; the likeliest files are looked into, their definitions are
//! ranked, and the lines that are worth most for their tokens are chosen. Lines are never rewritten: what stands in the
//! result stands so in the file, but for secrets, which are redacted before anything is counted or cut.
//!
//! It must never follow a link, read outside the root, run a program, or pass the budget.

mod facts;
mod kind;
mod omissions;
mod open;
mod outline;
mod pack;
mod parts;
mod query;
mod rank;
mod render;
mod scan;
mod select;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use agentops_safe::Redactor;
use agentops_text::tokens;

use crate::{Compressed, Fact, SourceError};
pub use kind::Role;
use omissions::Account;
use open::Opened;
use pack::{Chosen, Step, Tests};
use query::Query;
use rank::FileRank;
use render::Style;
use scan::Scanned;
use select::Selection;

/// How many tokens of the budget there are for each file that is looked into, and the least and most such files.
const TOKENS_A_FILE: u64 = 60;
const OPENED: (usize, usize) = (134, 1500);
/// How many tokens of the budget there are for each file whose definitions are read with a grammar, and the least such files:
/// of less likely ones little more than a signature is shown, for which the look of the lines does.
const TOKENS_A_GRAMMAR: u64 = 120;
const GRAMMARS_MIN: usize = 67;
/// The most text that is looked into, in bytes.
const OPENED_BYTES_MAX: u64 = 48 << 20;
/// A legend, what was not read and a summary of files that were left out are in a budget of at least this.
const NOTE_BUDGET_MIN: u64 = 1_000;
/// Tokens of the legend at most.
const LEGEND_TOKENS: u64 = 60;
/// The summary of files that were left out takes one in so many tokens.
const SUMMARY_SHARE: u64 = 100;
/// So many of them by name.
const NOTED_MAX: usize = 5;

/// The parts of a repository that a task needs, as Markdown: a heading `## path first-last` for each file, the likeliest first,
/// below it lines in a fence as they stand in the file; `@N` where what follows begins at line N. Where all of a small
/// repository fits, nothing but headings is added to its files, and nothing at all to a single one.
///
/// [`Compressed::before`] counts all text files below the root: exactly up to 4 MiB of text, beyond that from an even sample of
/// that size. Files that are never sources (locks, pictures, archives), files over 4 MiB, repositories within the repository and what
/// `.gitignore` names are no part of it.
///
/// # Errors
/// The folder cannot be read, or the budget is smaller than the task itself.
pub fn compress(root: &Path, task: &str, budget: u64, redactor: &Redactor) -> Result<Compressed, SourceError> {
    let sources = Sources::read(root, task, budget, redactor)?;
    let needed = tokens::text_tokens(task);
    if needed > budget {
        return Err(SourceError::Budget { budget, needed });
    }
    Ok(sources.bundle(budget))
}

/// What a file is for, by its path below the root and its text.
#[must_use]
pub fn role(path: &str, text: &str) -> Role {
    kind::of(path, text).role
}

/// A repository that was read for a task. Bundles of several sizes can be made of it.
pub struct Sources {
    tokens: u64,
    /// Files with at least one line that is not blank.
    files: usize,
    opened: Vec<Opened>,
    /// The lines in the order in which they go in.
    steps: Vec<Step>,
    facts: Vec<Fact>,
    finds_task: bool,
    account: Account,
    note: String,
}

impl Sources {
    /// Reads a repository for bundles of at most `budget_max` tokens.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn read(root: &Path, task: &str, budget_max: u64, redactor: &Redactor) -> Result<Self, SourceError> {
        let query = Query::of(task);
        let mut scanned = scan::scan(root, &query.table)?;
        let weights = rank::Weights::of(&query, &scanned);
        let files = rank::files(&query, &scanned, &weights);
        let many = usize::try_from(budget_max / TOKENS_A_FILE).unwrap_or(usize::MAX).clamp(OPENED.0, OPENED.1);
        let mut bytes = 0;
        let likeliest: Vec<&FileRank> = files
            .iter()
            .take(many)
            .take_while(|rank| {
                bytes += scanned.sources[rank.source].bytes;
                bytes <= OPENED_BYTES_MAX
            })
            .collect();
        let grammars = usize::try_from(budget_max / TOKENS_A_GRAMMAR).unwrap_or(usize::MAX).max(GRAMMARS_MIN);
        let open = |at: usize, rank: &FileRank| {
            Opened::of(root, &scanned.sources[rank.source], rank, &query, redactor, at < grammars)
        };
        let mut opened = open_all(&likeliest, open);
        // From here on paths are only shown.
        opened.iter_mut().for_each(|file| file.path = shown(&file.path, redactor));
        scanned.sources.iter_mut().for_each(|source| source.path = shown(&source.path, redactor));
        let paths: HashSet<&str> = scanned.sources.iter().map(|source| source.path.as_str()).collect();
        opened.iter_mut().for_each(|file| file.find_headings(|word| paths.contains(word)));
        let ranks = rank::parts(&opened, &weights);
        let facts = facts::of(&scanned, &files, &opened, &ranks);
        let tests = if query.is_about_tests() { Tests::Wanted } else { Tests::Wait };
        let steps = pack::order(&opened, &ranks, tests, budget_max.saturating_add(budget_max / 8));
        let unread = scanned.unread.iter_mut().chain(&mut scanned.excluded);
        unread.for_each(|(path, _)| *path = shown(path, redactor));
        let account = Account::of(&scanned);
        let note = note(&scanned);
        // A file that could not be read may be the one that the task is about.
        let names_unread = scanned.unread.iter().any(|(path, _)| {
            let path = path.to_lowercase();
            query.terms.iter().any(|term| path.contains(&term.text.to_lowercase()))
        });
        let is_found = weights.file.iter().any(|weight| *weight > 0.0) || files.iter().any(FileRank::is_named);
        let finds_task = is_found || names_unread;
        let files = scanned.sources.iter().filter(|source| source.lines > 0).count();
        Ok(Self { tokens: scanned.tokens, files, opened, steps, facts, finds_task, account, note })
    }

    /// Whether a word of the task stands anywhere in the repository.
    #[must_use]
    pub fn finds_task(&self) -> bool {
        self.finds_task
    }

    /// Whether the folder has no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// A bundle of at most `budget` tokens. It has all lines of a bundle of fewer tokens.
    #[must_use]
    pub fn bundle(&self, budget: u64) -> Compressed {
        let (text, chosen) = self.whole(budget).unwrap_or_else(|| self.part(budget));
        let after = tokens::text_tokens(&text);
        let (coverage, omitted) = self.account.covering(&self.opened, &chosen);
        Compressed::new(text, self.tokens, after, self.facts.clone()).covering(coverage, omitted)
    }

    /// All lines, where they fit: in the first form that is not larger than the files. The headings of several files are all
    /// that may be added to them.
    fn whole(&self, budget: u64) -> Option<(String, Vec<Chosen>)> {
        let is_all = self.tokens <= budget && self.opened.len() == self.files;
        if !is_all || self.opened.is_empty() {
            return None;
        }
        let chosen: Vec<Chosen> = self.opened.iter().map(Chosen::all).collect();
        let in_style = |style: Style| {
            let mut text = String::new();
            for at in self.shown_order() {
                render::section(&self.opened[at], &chosen[at], style, &mut text);
            }
            text + self.note.trim_start()
        };
        let fenced = in_style(Style::Fenced);
        if tokens::text_tokens(&fenced) <= self.tokens {
            return Some((fenced, chosen));
        }
        let text = match self.opened.as_slice() {
            [file] if self.note.is_empty() && file.is_shown_whole() => file.text().to_owned(),
            _ => in_style(Style::Bare),
        };
        (tokens::text_tokens(&text) <= budget).then_some((text, chosen))
    }

    /// The lines that are worth most, with a legend and a summary of other files where there is room.
    fn part(&self, budget: u64) -> (String, Vec<Chosen>) {
        if self.opened.is_empty() {
            let fits = tokens::text_tokens(&self.note) <= budget;
            return (if fits { self.note.clone() } else { String::new() }, Vec::new());
        }
        let note_tokens = tokens::text_tokens(&self.note);
        // From the threshold on, lines have what the rest leaves; just below it no more than that, so that they never get less.
        let rest = |budget: u64| LEGEND_TOKENS + note_tokens + budget / SUMMARY_SHARE;
        let has_notes = budget >= NOTE_BUDGET_MIN + note_tokens;
        let lines_max = if has_notes {
            budget - rest(budget)
        } else {
            let threshold = NOTE_BUDGET_MIN + note_tokens;
            budget.min(threshold - rest(threshold))
        };
        let chosen = Selection::within(&self.opened, &self.steps, lines_max).chosen;
        let mut text = String::new();
        for at in self.shown_order() {
            render::section(&self.opened[at], &chosen[at], Style::Fenced, &mut text);
        }
        if has_notes {
            text.push_str(&self.summaries(&chosen, budget / SUMMARY_SHARE));
            text.push_str(&self.note);
            text = self.with_legend(&text, &chosen);
        }
        if tokens::text_tokens(&text) > budget {
            return (String::new(), Vec::new());
        }
        (text, chosen)
    }

    /// Tests, and then generated and vendored files, stand after all others.
    fn shown_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.opened.len()).collect();
        order.sort_by_key(|at| {
            let file = &self.opened[*at];
            (!file.wanted, file.role == Role::Test)
        });
        order
    }

    /// One line for each of the likeliest files of which nothing is shown, and the number of the others.
    fn summaries(&self, chosen: &[Chosen], tokens_max: u64) -> String {
        let shown = chosen.iter().filter(|chosen| chosen.any()).count();
        let mut others = self.files - shown.min(self.files);
        if others == 0 {
            return String::new();
        }
        let mut text = String::from("Left out, the likeliest first:\n");
        for (file, _) in self.opened.iter().zip(chosen).filter(|(_, chosen)| !chosen.any()) {
            let line = render::summary(file);
            if tokens::text_tokens(&text) + tokens::text_tokens(&line) + 8 > tokens_max {
                break;
            }
            text.push_str(&line);
            others -= 1;
        }
        if others > 0 {
            text.push_str(&format!("- {others} other files\n"));
        }
        text
    }

    /// The text below its legend, which says how many tokens both have.
    fn with_legend(&self, text: &str, chosen: &[Chosen]) -> String {
        let shown = chosen.iter().filter(|chosen| chosen.any()).count();
        let whole = |tokens: u64| {
            let of_all = format!("{shown} of {} files, {tokens} of {} tokens", self.files, self.tokens);
            format!("{of_all}. {}\n\n{text}", render::LEGEND)
        };
        // The number of tokens depends on the digits of that number.
        let mut tokens = tokens::text_tokens(text);
        for _ in 0..3 {
            tokens = tokens::text_tokens(&whole(tokens));
        }
        whole(tokens)
    }
}

/// Looks into files, on all cores; their order stays.
fn open_all(files: &[&FileRank], open: impl Fn(usize, &FileRank) -> Option<Opened> + Sync) -> Vec<Opened> {
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).clamp(1, 8).min(files.len().max(1));
    let work = || {
        let mut opened = Vec::new();
        while let Some((at, rank)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            files.get(at).map(|rank| (at, *rank))
        } {
            opened.extend(open(at, rank).map(|file| (at, file)));
        }
        opened
    };
    let mut opened = thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut opened = work();
        opened.extend(others.into_iter().filter_map(|other| other.join().ok()).flatten());
        opened
    });
    opened.sort_by_key(|(at, _)| *at);
    opened.into_iter().map(|(_, file)| file).collect()
}

/// A path without secrets, on one line.
fn shown(path: &str, redactor: &Redactor) -> String {
    redactor.redact(path).replace(char::is_control, "?")
}

/// What a reader must know that the lines do not say.
fn note(scanned: &Scanned) -> String {
    if scanned.sources.is_empty() {
        return "No text files are in this folder.\n".to_owned();
    }
    if scanned.unread.is_empty() {
        return String::new();
    }
    let named: Vec<String> =
        scanned.unread.iter().take(NOTED_MAX).map(|(path, reason)| format!("{path} ({})", reason.description())).collect();
    let more = match scanned.unread.len().saturating_sub(NOTED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("\nNot read: {}{more}\n", named.join(", "))
}
