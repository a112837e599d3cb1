//! Which atoms go into a budget, and how they are printed.
//!
//! Greedy by value per token, which is within a constant of the best for values that shrink as more is taken (Sviridenko, "A note
//! on maximizing a submodular set function subject to a knapsack constraint", 2004). A line that is there already adds nothing.

use std::collections::HashSet;

use agentops_text::tokens::{cut, text_tokens};

use super::atoms::{Atom, Class};
use super::event::{Events, Kind};
use super::history::History;

/// What an event's mark costs: `[12] ` and the line's end.
const MARK_TOKENS: u64 = 5;
/// Of very short atoms not all can be taken before one that matters: each counts as if it had these more.
const ATOM_TOKENS: f64 = 4.0;

/// The text of the best choice, and its tokens.
pub fn within(events: &Events, history: &History, atoms: &[Atom], budget: u64) -> (String, u64) {
    let head = head(events, history, budget);
    let costs: Vec<u64> = atoms.iter().map(cost).collect();
    let density = |at: usize| atoms[at].value / (costs[at] as f64 + ATOM_TOKENS);
    let mut order: Vec<usize> = (0..atoms.len()).collect();
    order.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));

    let mut taken: Vec<usize> = Vec::new();
    let mut marked = vec![false; events.list.len()];
    let mut kept: HashSet<&str> = HashSet::new();
    let mut left = budget.saturating_sub(text_tokens(&head));
    let mut is_taken = vec![false; atoms.len()];
    for at in order {
        let atom = &atoms[at];
        if is_taken[at] || (!atom.norm.is_empty() && kept.contains(atom.norm.as_str())) {
            continue;
        }
        let with = atom.needs.filter(|head| !is_taken[*head]);
        let mark = if marked[atom.event] { 0 } else { MARK_TOKENS };
        let cost = costs[at] + mark + with.map_or(0, |head| costs[head]);
        if cost > left {
            continue;
        }
        left -= cost;
        marked[atom.event] = true;
        for at in with.into_iter().chain([at]) {
            is_taken[at] = true;
            taken.push(at);
            if !super::lines::is_slight(&atoms[at].norm) {
                kept.insert(&atoms[at].norm);
            }
        }
    }
    // The sum of parts is nearly always an upper bound; where it is not, the least valuable go.
    loop {
        let text = print(&head, events, atoms, &taken);
        let tokens = text_tokens(&text);
        if tokens <= budget {
            return (text, tokens);
        }
        if taken.is_empty() {
            let text = cut(&text, budget).to_owned();
            let tokens = text_tokens(&text);
            return (text, tokens);
        }
        let mut over = tokens - budget;
        while let Some(at) = taken.pop() {
            over = over.saturating_sub(costs[at]);
            if over == 0 {
                break;
            }
        }
    }
}

/// What an atom takes: its words, the line's end, and what marks that lines of an edit are left out.
fn cost(atom: &Atom) -> u64 {
    text_tokens(&atom.text) + if atom.class == Class::Change { 2 } else { 1 }
}

/// What the reader must know first: what the marks mean, and which files were changed.
fn head(events: &Events, history: &History, budget: u64) -> String {
    let last = events.list.last().map_or(0, |event| event.at);
    let mut head = format!("Agent run, shortened; [n] = {} n of {last}, > output, … lines left out.\n", events.unit);
    let mut left = budget / 8;
    let mut changed = history.changed().peekable();
    if changed.peek().is_some() {
        head.push_str("Changed:");
        for path in changed {
            let cost = text_tokens(path) + 1;
            if cost > left {
                head.push_str(" …");
                break;
            }
            left -= cost;
            head.push(' ');
            head.push_str(path);
        }
        head.push('\n');
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
