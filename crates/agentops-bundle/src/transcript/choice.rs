//! Which atoms go into a budget, and how they are printed.
//!
//! All that may be shown stands in one order, the most value per token first, and a budget takes as much from its beginning as
//! fits. So a larger budget keeps all that a smaller one keeps. A line that is there already adds nothing.

use std::collections::HashSet;

use agentops_text::tokens::text_tokens;

use super::atoms::{Atom, Class};
use super::event::{Events, Kind};
use super::history::History;
use crate::pick;

/// Of very short atoms not all can be taken before one that matters: each counts as if it had these more.
const ATOM_TOKENS: f64 = 4.0;
/// What is worth less is left out even where there is room: it takes attention as well as tokens.
const VALUE_MIN: f64 = 0.002;
/// Bytes of a token of code, about; only for the order.
const BYTES_PER_TOKEN: f64 = 3.6;

/// Tokens of the legend, about.
const HEAD_TOKENS: f64 = 30.0;
/// The paths of changed files take one of this many tokens.
const PATHS_SHARE: f64 = 8.0;

/// What stands before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legend {
    /// What the marks mean, and which files were changed.
    Full,
    /// Nothing: for a run that is so short that it would grow.
    None,
}

/// The text of the best choice, and its tokens.
pub fn within(events: &Events, history: &History, atoms: &[Atom], legend: Legend, budget: u64) -> (String, u64) {
    let changed: Vec<&str> = history.changed().collect();
    let steps = steps(&changed, atoms, legend);
    let print = |count: usize| {
        let mut paths = 0;
        let mut taken = Vec::new();
        for step in &steps[..count] {
            match step {
                Step::Path => paths += 1,
                Step::Atom { at, head } => taken.extend(head.iter().chain([at])),
            }
        }
        let head = match legend {
            Legend::Full => head(events, &changed, paths),
            Legend::None => String::new(),
        };
        print(&head, events, atoms, &taken)
    };
    let (text, tokens, _) = pick::first_steps(steps.len(), budget, print);
    (text, tokens)
}

/// One thing more that is shown.
enum Step {
    /// The next file that was changed.
    Path,
    /// An atom, with the one without which it says nothing if that is not there yet.
    Atom { at: usize, head: Option<usize> },
}

/// Everything that may be shown, the most value per token first. Files that were changed come in between, so that their paths
/// take about an eighth of the tokens.
fn steps(changed: &[&str], atoms: &[Atom], legend: Legend) -> Vec<Step> {
    let tokens = |atom: &Atom| atom.text.len() as f64 / BYTES_PER_TOKEN + ATOM_TOKENS;
    let density = |at: usize| atoms[at].value / tokens(&atoms[at]);
    let mut order: Vec<usize> = (0..atoms.len()).filter(|at| atoms[*at].value >= VALUE_MIN).collect();
    order.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
    let mut paths = changed.iter().filter(|_| legend == Legend::Full).map(|path| text_tokens(path) as f64 + 1.0).peekable();
    let mut steps = Vec::new();
    let mut is_taken = vec![false; atoms.len()];
    let mut seen: HashSet<&str> = HashSet::new();
    // Tokens of the atoms and of the paths so far.
    let (mut used, mut used_by_paths) = (HEAD_TOKENS, 0.0);
    for at in order {
        let atom = &atoms[at];
        if is_taken[at] || (!atom.norm.is_empty() && seen.contains(atom.norm.as_str())) {
            continue;
        }
        let head = atom.needs.filter(|head| !is_taken[*head]);
        for at in head.into_iter().chain([at]) {
            is_taken[at] = true;
            used += tokens(&atoms[at]);
            if !super::lines::is_slight(&atoms[at].norm) {
                seen.insert(&atoms[at].norm);
            }
        }
        while let Some(path) = paths.next_if(|path| used_by_paths + path <= used / PATHS_SHARE) {
            used_by_paths += path;
            steps.push(Step::Path);
        }
        steps.push(Step::Atom { at, head });
    }
    steps.extend(paths.map(|_| Step::Path));
    steps
}

/// What the reader must know first: what the marks mean, and the first of the files that were changed.
fn head(events: &Events, changed: &[&str], shown: usize) -> String {
    let last = events.list.last().map_or(0, |event| event.at);
    let mut head = format!("Agent run, shortened; [n] = {} n of {last}, > output, … lines left out.\n", events.unit);
    if !changed.is_empty() {
        head.push_str("Changed:");
        for path in &changed[..shown] {
            head.push(' ');
            head.push_str(path);
        }
        head.push_str(if shown < changed.len() { " …\n" } else { "\n" });
    }
    head
}

fn print(head: &str, events: &Events, atoms: &[Atom], taken: &[usize]) -> String {
    let mut order = taken.to_vec();
    order.sort_unstable();
    let mut text = head.to_owned();
    let mut before: Option<usize> = None;
    for at in order {
        let atom = &atoms[at];
        let event = &events.list[atom.event];
        let is_prose = |class: Class| {
            matches!(class, Class::Lead | Class::Decision | Class::DeadEnd | Class::Other) && event.kind == Kind::Said
        };
        let last = before.map(|before| &atoms[before]);
        if last.is_none_or(|last| last.event != atom.event) {
            if before.is_some() {
                text.push('\n');
            }
            let same_message = last.is_some_and(|last| events.list[last.event].at == event.at);
            if !same_message {
                text.push_str(&format!("[{}] ", event.at));
            }
            text.push_str(match &event.kind {
                Kind::Command => "$ ",
                Kind::Output { .. } => "> ",
                _ => "",
            });
        } else if before.is_some_and(|before| is_prose(atom.class) && is_prose(atoms[before].class)) {
            text.push(' ');
        } else {
            text.push('\n');
            if atom.class == Class::Change && before.is_some_and(|before| before + 1 != at) {
                text.push_str("…\n");
            }
        }
        text.push_str(&atom.text);
        before = Some(at);
    }
    text.push('\n');
    text
}
