//! Which atoms go into a budget, and how they are printed.
//!
//! Greedy by value per token, which is within a constant of the best for values that shrink as more is taken (Sviridenko, "A note
//! on maximizing a submodular set function subject to a knapsack constraint", 2004). A line that is there already adds nothing.

use std::collections::HashSet;

use agentops_text::tokens::text_tokens;

use super::atoms::{Atom, Class};
use super::event::{Events, Kind};
use super::history::History;
use crate::pick;

/// What an event's mark costs: `[12] ` and the line's end.
const MARK_TOKENS: u64 = 5;
/// Of very short atoms not all can be taken before one that matters: each counts as if it had these more.
const ATOM_TOKENS: f64 = 4.0;
/// What is worth less is left out even where there is room: it takes attention as well as tokens.
const VALUE_MIN: f64 = 0.002;
/// Bytes of a token of code, about; only for the order.
const BYTES_PER_TOKEN: f64 = 3.6;

/// What is left of the budget is filled again so often: marks of events and gaps are counted before it is known whether they are
/// needed.
const ROUNDS: usize = 4;
/// No atom is counted that is this many times longer in bytes than what is left in tokens: few texts have so many bytes a token.
const BYTES_PER_TOKEN_MAX: usize = 8;

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
    let head = match legend {
        Legend::Full => head(events, history, budget),
        Legend::None => String::new(),
    };
    let tokens = text_tokens(&head);
    pick::settled(&mut Atoms::of(head, events, atoms), tokens, ROUNDS, budget)
}

struct Atoms<'a> {
    head: String,
    events: &'a Events,
    atoms: &'a [Atom],
    /// By value per token, as estimated from the bytes: counting all that will not be taken would take most of the time.
    order: Vec<usize>,
    taken: Vec<usize>,
    is_taken: Vec<bool>,
    /// Events that have an atom already.
    marked: Vec<bool>,
    kept: HashSet<&'a str>,
}

impl<'a> Atoms<'a> {
    fn of(head: String, events: &'a Events, atoms: &'a [Atom]) -> Self {
        let density = |at: usize| atoms[at].value / (atoms[at].text.len() as f64 / BYTES_PER_TOKEN + ATOM_TOKENS);
        let mut order: Vec<usize> = (0..atoms.len()).collect();
        order.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
        Self {
            head,
            events,
            atoms,
            order,
            taken: Vec::new(),
            is_taken: vec![false; atoms.len()],
            marked: vec![false; events.list.len()],
            kept: HashSet::new(),
        }
    }
}

impl pick::Choice for Atoms<'_> {
    fn fill(&mut self, mut left: u64) {
        for place in 0..self.order.len() {
            let at = self.order[place];
            let atom = &self.atoms[at];
            if left < 3 {
                break;
            }
            if self.is_taken[at]
                || atom.value < VALUE_MIN
                || (atom.text.len() / BYTES_PER_TOKEN_MAX) as u64 > left
                || (!atom.norm.is_empty() && self.kept.contains(atom.norm.as_str()))
            {
                continue;
            }
            let with = atom.needs.filter(|head| !self.is_taken[*head]);
            let mark = if self.marked[atom.event] { 0 } else { MARK_TOKENS };
            let cost = cost(atom) + mark + with.map_or(0, |head| cost(&self.atoms[head]));
            if cost > left {
                continue;
            }
            left -= cost;
            self.marked[atom.event] = true;
            for at in with.into_iter().chain([at]) {
                self.is_taken[at] = true;
                self.taken.push(at);
                let norm = &self.atoms[at].norm;
                if !super::lines::is_slight(norm) {
                    self.kept.insert(norm);
                }
            }
        }
    }

    fn taken(&mut self) -> &mut Vec<usize> {
        &mut self.taken
    }

    fn cost(&self, at: usize) -> u64 {
        cost(&self.atoms[at])
    }

    fn print(&self) -> String {
        print(&self.head, self.events, self.atoms, &self.taken)
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
