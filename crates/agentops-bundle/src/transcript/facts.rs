//! What of a run must not get lost: taken from the run itself, before anything is chosen.
//!
//! Which facts these are is decided by what a successor needs (what was asked, which files and lines stand at the end, what
//! failed, what was run for its result, what was thought last), never by what the choice is good at.

use std::collections::HashSet;

use super::atoms::{Atom, Class as Kind};
use super::event::Events;
use super::history::History;
use super::lines;
use crate::fidelity::flat;
use crate::{Class, Fact};

/// Of each class the last ones, at most this many: a run of a thousand commands is not a thousand facts.
const CHANGES_MAX: usize = 60;
const NAMES_MAX: usize = 60;
const ERRORS_MAX: usize = 12;
const TESTS_MAX: usize = 20;
const COMMANDS_MAX: usize = 8;
const LEADS_MAX: usize = 4;
const ASKED_MAX: usize = 6;
/// Facts are looked for by their beginning, up to this many bytes.
const FACT_BYTES_MAX: usize = 120;

/// The facts of a run, in the order of their classes and places.
pub fn of(events: &Events, history: &History, atoms: &[Atom]) -> Vec<Fact> {
    let place = |atom: &Atom| format!("{} {}", events.unit, events.list[atom.event].at);
    let of = |class: Kind| atoms.iter().filter(move |atom| atom.class == class);
    let mut facts = Vec::new();
    let mut take = |class: Class, mut found: Vec<(String, String)>, last: usize| {
        let mut seen = HashSet::new();
        found.retain(|(text, _)| !text.is_empty() && seen.insert(text.clone()));
        let skip = found.len().saturating_sub(last);
        facts.extend(found.into_iter().skip(skip).map(|(text, place)| Fact::new(class, text, place)));
    };

    let asked = atoms.iter().filter(|atom| matches!(atom.class, Kind::Task | Kind::Constraint) && atom.value > 0.3);
    let asked = asked.filter(|atom| atom.norm.len() > 20).take(ASKED_MAX);
    take(Class::Constraint, asked.map(|atom| (begin(&atom.text), place(atom))).collect(), ASKED_MAX);

    take(Class::Path, history.changed().map(|path| (path.to_owned(), String::from("run"))).collect(), CHANGES_MAX);

    // The half that is most likely to stand, where there are more than can be listed.
    let stands =
        |atom: &&Atom| atom.value > 0.3 && !lines::is_slight(&atom.norm) && flat(&atom.text).len() <= FACT_BYTES_MAX;
    let changes: Vec<&Atom> = of(Kind::Change).filter(stands).collect();
    let text = |atom: &Atom| flat(&atom.text).trim_start_matches('+').trim_start().to_owned();
    let names: Vec<(String, String)> =
        changes.iter().flat_map(|atom| names(&atom.norm).map(|n| (n.to_owned(), place(atom)))).collect();
    take(Class::Identifier, names, NAMES_MAX);
    take(Class::Change, changes.iter().map(|atom| (text(atom), place(atom))).collect(), CHANGES_MAX);

    take(Class::Error, of(Kind::Error).map(|atom| (begin(&atom.text), place(atom))).collect(), ERRORS_MAX);
    let tests = of(Kind::FailingTest);
    let tests =
        tests.flat_map(|atom| lines::tests(&atom.text).map(|test| (test.to_owned(), place(atom))).collect::<Vec<_>>());
    take(Class::FailingTest, tests.collect(), TESTS_MAX);
    take(Class::Command, of(Kind::Command).map(|atom| (begin(&atom.text), place(atom))).collect(), COMMANDS_MAX);
    let leads = of(Kind::Lead).filter(|atom| atom.norm.len() > 30);
    take(Class::Decision, leads.map(|atom| (begin(&atom.text), place(atom))).collect(), LEADS_MAX);
    facts
}

fn begin(text: &str) -> String {
    let flat = flat(text);
    let end = super::event::floor(&flat, FACT_BYTES_MAX);
    flat[..end].trim_end().to_owned()
}

/// Names that are made of several words, as people give them to things of their own.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| {
        let inner = word.as_bytes();
        inner.len() >= 5
            && !inner[0].is_ascii_digit()
            && (word.trim_matches('_').contains('_')
                || inner.windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase()))
    })
}
