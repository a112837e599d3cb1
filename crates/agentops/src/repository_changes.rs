//! Changes in the user's repository as lines for people: what changed, and below it the command that puts it back.

use agentops_engine::view::{RepositoryView, RunView};
use agentops_git::Difference;

/// Differences of one comparison that a screen shows; `agentops show` prints all.
const SHOWN_MAX: usize = 5;

/// Differences as a list.
pub fn lines(differences: &[Difference]) -> Vec<String> {
    let line = |difference: &Difference| {
        let back = difference.restore.as_ref().map(|command| format!("\n      put back: {command}"));
        format!("  - {}{}", difference.what, back.unwrap_or_default())
    };
    differences.iter().map(line).collect()
}

/// One line for each comparison that found something.
pub fn short(view: &RunView) -> Vec<String> {
    let Some(repository) = &view.repository else { return Vec::new() };
    let changes = repository.changes.iter().map(|changes| {
        let mut words: Vec<&str> =
            changes.differences.iter().take(SHOWN_MAX).map(|difference| difference.what.as_str()).collect();
        let more = changes.differences.len().saturating_sub(SHOWN_MAX);
        let more_words = format!("{more} more");
        if more > 0 {
            words.push(&more_words);
        }
        format!("{}: {}", heading(&changes.during, changes.after_takeover), words.join(", "))
    });
    changes.collect()
}

/// Everything that is known, for `agentops show`.
pub fn all(view: &RunView) -> Vec<String> {
    let Some(repository) = &view.repository else {
        return vec!["changes in your repository: not recorded (the run is of an older version)".to_owned()];
    };
    let RepositoryView { changes, not_compared, .. } = repository;
    let mut all = Vec::new();
    for changes in changes {
        all.push(format!("\nchanges in your repository {}:", heading(&changes.during, changes.after_takeover)));
        all.extend(lines(&changes.differences));
    }
    if !not_compared.is_empty() {
        all.push(format!("\nchanges in your repository were not recorded while these ran: {}", not_compared.join(", ")));
    }
    all
}

fn heading(during: &str, after_takeover: bool) -> String {
    let after = if after_takeover { " or before the run went on after a crash" } else { "" };
    format!("while {during} ran{after}")
}
