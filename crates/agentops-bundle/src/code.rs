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
use query::Query;
use rank::{FileRank, PartRank};
use scan::Scanned;

/// How many tokens of the budget there are for each file that is looked into, and the least and most such files.
const TOKENS_A_FILE: u64 = 60;
const OPENED: (usize, usize) = (60, 1500);
/// How many tokens of the budget there are for each file whose definitions are read with a grammar, and the least such files:
/// of less likely ones little more than a signature is shown, for which the look of the lines does.
const TOKENS_A_GRAMMAR: u64 = 120;
const GRAMMARS_MIN: usize = 30;
/// The most text that is looked into, in bytes.
const OPENED_BYTES_MAX: u64 = 48 << 20;
/// What was not read is named in a budget of at least this.
const NOTE_BUDGET_MIN: u64 = 1_000;
/// So many of them by name.
const NOTED_MAX: usize = 5;

/// The parts of a repository that a task needs, as Markdown: a heading `## path` for each file, the likeliest first, below it
/// lines as they stand in the file; `@N` where what follows begins at line N.
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
    opened: Vec<Opened>,
    ranks: Vec<Vec<PartRank>>,
    facts: Vec<Fact>,
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
        let unread = scanned.unread.iter_mut().chain(&mut scanned.excluded);
        unread.for_each(|(path, _)| *path = shown(path, redactor));
        let account = Account::of(&scanned);
        let note = note(&scanned);
        Ok(Self { tokens: scanned.tokens, opened, ranks, facts, account, note })
    }

    /// A bundle of at most `budget` tokens.
    #[must_use]
    pub fn bundle(&self, budget: u64) -> Compressed {
        let note = if budget >= NOTE_BUDGET_MIN || self.opened.is_empty() { self.note.as_str() } else { "" };
        let fits = |text: &str| tokens::text_tokens(text) <= budget;
        let room = budget.saturating_sub(tokens::text_tokens(note));
        let make = |room: u64| {
            let chosen = pack::choose(&self.opened, &self.ranks, room);
            (render::render(&self.opened, &chosen, note), chosen)
        };
        let (mut text, mut chosen) = make(room);
        // Lines are counted one by one, which is a little more than they count together: what is left is used once more. Should
        // it ever be less, it is made smaller until it fits.
        let used = tokens::text_tokens(&text);
        if used < budget {
            let more = make(room + (budget - used));
            if fits(&more.0) {
                (text, chosen) = more;
            }
        }
        let mut room = room;
        while !fits(&text) && room > 0 {
            room -= room.div_ceil(20);
            (text, chosen) = make(room);
        }
        if !fits(&text) {
            (text, chosen) = (String::new(), Vec::new());
        }
        let after = tokens::text_tokens(&text);
        let (coverage, omitted) = self.account.covering(&self.opened, &chosen);
        Compressed::new(text, self.tokens, after, self.facts.clone()).covering(coverage, omitted)
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
