//! A run as atoms: single lines, sentences and commands, each with a class and a value for the next agent.
//!
//! Values are shares: what ends in the files, what failed, what was run for its result, what was thought last and what was asked
//! are each worth about the same as a whole, so one of many lines is worth less than one of few. A line that is there twice has
//! its value once; that is the choice's business, not this module's.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::event::{Event, Events, Kind, floor};
use super::history::History;
use super::{lines, shell};

/// What an atom tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A line of the task.
    Task,
    /// A sentence of the task, or of the frame, that limits or forbids.
    Constraint,
    /// A line that was written into a file, or shown there after it was.
    Change,
    /// An error as it was printed.
    Error,
    /// A test that failed.
    FailingTest,
    /// How a run of tests ended.
    Summary,
    /// A command that was run for its result.
    Command,
    /// Any other command.
    Look,
    /// The first sentence of what was said before a command.
    Lead,
    /// A decision with its reason.
    Decision,
    /// What did not work.
    DeadEnd,
    /// A line of code that was only talked about.
    Code,
    /// Anything else.
    Other,
}

/// A piece of a run that is kept or left out as a whole.
#[derive(Debug, Clone)]
pub struct Atom {
    /// The event that it is of.
    pub event: usize,
    /// Its words, as they stand in the source, long lines shortened.
    pub text: String,
    /// The words by which a second one like it is known; empty where it is never compared.
    pub norm: String,
    /// Its class.
    pub class: Class,
    /// What it is worth.
    pub value: f64,
    /// The atom without which it says nothing: the command that writes this line.
    pub needs: Option<usize>,
}

/// Lines of outputs and files are shown up to this many bytes.
pub(super) const LINE_BYTES_MAX: usize = 400;
/// Lines of errors and failed tests.
pub(super) const ERROR_BYTES_MAX: usize = 200;
/// Commands: longer ones lose their middle.
const COMMAND_BYTES_MAX: usize = 240;
/// Sentences.
const SENTENCE_BYTES_MAX: usize = 400;

static LIMITS: LazyLock<Regex> = LazyLock::new(|| {
    shell::re(
        r"(?i)\b(?:never|must|do not|don't|not allowed|forbidden|required?|only|at most|at least|without|avoid|important|ensure|make sure|should not|shouldn't|cannot)\b",
    )
});
static FORBIDS: LazyLock<Regex> = LazyLock::new(|| {
    shell::re(r"(?i)\bnever\b|\bmust(?: not)?\b|\bdo not\b|\bdon't\b|\bnot allowed\b|\bforbidden\b|\bDO NOT\b")
});
static DECIDES: LazyLock<Regex> = LazyLock::new(|| {
    shell::re(
        r"(?i)\bbecause\b|\binstead of\b|\bdecided?\b|\bthe (?:issue|problem|bug|cause|fix|solution) is\b|\broot cause\b|\bthe fix\b|\bi(?:'ll| will) (?:modify|change|update|implement|add|remove|replace|use|fix)\b|\bso i\b|\btherefore\b|\bthis means\b|\bi should\b|\bbetter to\b",
    )
});
static FAILS: LazyLock<Regex> = LazyLock::new(|| {
    shell::re(
        r"(?i)\b(?:did(?:n't| not) work|does(?:n't| not) work|won't work|(?:still )?fail(?:s|ed|ing)?\b|wrong|mistake|broke|reverts?\b|not the (?:issue|cause)|dead end|oops|unfortunately|unexpected(?:ly)?|incorrect)",
    )
});

/// All atoms of a run, in order.
pub fn of(events: &Events, history: &History) -> Vec<Atom> {
    let mut maker = Maker {
        events: &events.list,
        history,
        atoms: Vec::new(),
        head: None,
        command: "",
        is_run: false,
        asked: false,
        shown: HashSet::new(),
    };
    for index in 0..events.list.len() {
        maker.event(index);
    }
    let mut atoms = maker.atoms;
    rank(&mut atoms, events.list.len());
    atoms
}

/// What is known while going through the events.
pub(super) struct Maker<'a> {
    events: &'a [Event],
    pub(super) history: &'a History,
    atoms: Vec<Atom>,
    /// The command or edit that lines belong to.
    head: Option<usize>,
    /// The first line of the last command.
    pub(super) command: &'a str,
    /// Whether one of its lines was run for its result.
    pub(super) is_run: bool,
    /// Whether the task was there already.
    asked: bool,
    /// Lines of outputs that were shown already.
    pub(super) shown: HashSet<String>,
}

impl<'a> Maker<'a> {
    /// Adds an atom, if it says anything.
    pub(super) fn put(&mut self, event: usize, text: String, norm: String, class: Class, value: f64) {
        if !text.trim().is_empty() {
            self.atoms.push(Atom { event, text, norm, class, value, needs: self.head });
        }
    }

    fn event(&mut self, index: usize) {
        let events: &'a [Event] = self.events;
        let event = &events[index];
        self.head = None;
        match &event.kind {
            Kind::System => self.frame(index, &event.text, 0.02),
            Kind::Task => self.task(index, &event.text),
            Kind::Said => self.said(index, &event.text),
            Kind::Command => self.command(index, &event.text),
            Kind::Edit { path, old } => {
                self.put(index, format!("edit {path}"), String::new(), Class::Look, 0.3);
                self.head = Some(self.atoms.len() - 1);
                let stands = self.history.stands(path, index);
                let rewritten = self.history.is_rewritten(path, index);
                let old: HashSet<String> = old.lines().map(lines::norm).collect();
                for line in event.text.lines() {
                    let norm = lines::norm(line);
                    let context = if old.contains(&norm) { 0.2 } else { 1.0 };
                    let value = self.written(&norm, index, stands, rewritten) * context;
                    self.put(index, shortened(line.trim_end(), LINE_BYTES_MAX), norm, Class::Change, value);
                }
            }
            Kind::Output { failed } => self.output(index, &event.text, *failed),
        }
    }

    /// What an agent program says about its work in general: only what it forbids is of use.
    fn frame(&mut self, index: usize, text: &str, value: f64) {
        for sentence in lines::sentences(text).filter(|sentence| !sentence.starts_with("```")) {
            let is_limit = FORBIDS.is_match(sentence);
            let class = if is_limit { Class::Constraint } else { Class::Other };
            let slight = if sentence.len() < 20 { 0.05 } else { 1.0 };
            let worth = if is_limit { value * 5.0 } else { value } * slight;
            self.put(index, shortened(sentence, SENTENCE_BYTES_MAX), crate::fidelity::flat(sentence), class, worth);
        }
    }

    fn task(&mut self, index: usize, text: &str) {
        let is_first = !std::mem::replace(&mut self.asked, true);
        let text = without_comments(text);
        let (asked, around) = asked(&text);
        let mut place = 0;
        for line in asked.lines() {
            let shown = shortened(line.trim_end(), LINE_BYTES_MAX);
            let norm = crate::fidelity::flat(line);
            let is_limit = LIMITS.is_match(line);
            let class = if is_limit { Class::Constraint } else { Class::Task };
            let early = 1.0 / (1.0 + (place as f64 / 7.0).powi(2));
            let mut value = 0.12 + 0.9 * early;
            if is_limit {
                value = value.max(if FORBIDS.is_match(line) { 0.9 } else { 0.4 });
            }
            if lines::is_slight(&norm) {
                value *= 0.2;
            } else if norm.len() > 20 {
                place += 1;
            }
            // What was asked later steers what came before.
            let value = if is_first { value } else { value.max(0.5) };
            self.put(index, shown, norm, class, value);
        }
        self.frame(index, around, 0.05);
    }

    fn said(&mut self, index: usize, text: &str) {
        let text = text.trim().trim_start_matches("THOUGHT:").trim_start();
        let prose_end = text.find("```").unwrap_or(text.len());
        let lead = lead(&text[..prose_end]);
        if !lead.is_empty() {
            let shown = shortened(&lead, SENTENCE_BYTES_MAX);
            self.put(index, shown, lead.clone(), Class::Lead, 0.3);
        }
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            if fenced {
                let norm = lines::norm(line);
                let value = if self.history.was_shown_before(&norm, index) {
                    0.01
                } else if self.history.is_shown_after(&norm, index) {
                    0.25
                } else {
                    0.06
                };
                let slight = if lines::is_slight(&norm) { 0.2 } else { 1.0 };
                self.put(index, shortened(line.trim_end(), LINE_BYTES_MAX), norm, Class::Code, value * slight);
                continue;
            }
            for sentence in lines::sentences(line) {
                let norm = crate::fidelity::flat(sentence);
                if lead.starts_with(&norm) {
                    continue;
                }
                let (class, value) = if FAILS.is_match(sentence) {
                    (Class::DeadEnd, 0.2)
                } else if DECIDES.is_match(sentence) {
                    (Class::Decision, 0.2)
                } else {
                    (Class::Other, 0.06)
                };
                let slight = if lines::is_slight(&norm) { 0.2 } else { 1.0 };
                self.put(index, shortened(sentence, SENTENCE_BYTES_MAX), norm, class, value * slight);
            }
        }
    }

    fn command(&mut self, index: usize, text: &'a str) {
        let command = shell::parse(text);
        self.command = text.lines().next().unwrap_or_default();
        self.is_run = command.lines.iter().any(|line| shell::runs(line));
        let mut documents = command.documents.iter().peekable();
        for (number, line) in command.lines.iter().enumerate() {
            let has_document = documents.peek().is_some_and(|document| document.after == number + 1);
            let shown = shortened(line.trim_end(), COMMAND_BYTES_MAX);
            let norm = crate::fidelity::flat(line);
            let (class, value) = if shell::edits_in_place(line) {
                let stands = shell::paths(line).any(|path| self.history.stands(path, index));
                (Class::Change, if stands { 0.5 } else { 0.1 })
            } else if has_document {
                (Class::Look, 0.08)
            } else if number == 0 && shell::runs(line) {
                (Class::Command, 0.5)
            } else if number == 0 {
                (Class::Look, 0.08)
            } else if shell::writes_files(text) {
                (Class::Change, self.scripted(&lines::norm(line), index))
            } else {
                (Class::Look, 0.06)
            };
            self.put(index, shown, norm, class, value);
            self.head = self.atoms.len().checked_sub(1).filter(|_| has_document);
            while let Some(document) = documents.next_if(|document| document.after == number + 1) {
                self.document(index, document);
            }
            self.head = None;
        }
    }

    fn document(&mut self, index: usize, document: &shell::Document<'_>) {
        let writes = document.lines.iter().any(|line| shell::writes_files(line));
        let stands = document.path.is_some_and(|path| self.history.stands(path, index));
        let rewritten = document.path.is_some_and(|path| !document.appends && self.history.is_rewritten(path, index));
        for line in &document.lines {
            let norm = lines::norm(line);
            let value = if writes { self.scripted(&norm, index) } else { self.written(&norm, index, stands, rewritten) };
            self.put(index, shortened(line.trim_end(), LINE_BYTES_MAX), norm, Class::Change, value);
        }
    }

    /// The value of a line that an edit wrote into a file.
    fn written(&self, norm: &str, index: usize, stands: bool, rewritten: bool) -> f64 {
        let slight = if lines::is_slight(norm) { 0.2 } else { 1.0 };
        let base = if !stands {
            // Some agents write a piece into a file of its own and put it in from there.
            if !self.history.was_shown_before(norm, index) && self.history.is_shown_after(norm, index) { 0.3 } else { 0.03 }
        } else if rewritten || self.history.is_replaced_after(norm, index) {
            0.15
        } else if self.history.is_shown_after(norm, index) {
            0.8
        } else {
            0.7
        };
        base * slight
    }

    /// The value of a line of a program that writes files: it holds what it looks for and what it puts there.
    fn scripted(&self, norm: &str, index: usize) -> f64 {
        let slight = if lines::is_slight(norm) { 0.2 } else { 1.0 };
        let base = if self.history.was_shown_before(norm, index) {
            0.05
        } else if self.history.is_shown_after(norm, index) {
            0.8
        } else {
            0.25
        };
        base * slight
    }
}

/// The last of a kind count most: each class is walked from its end, and what is told again is counted once.
fn rank(atoms: &mut [Atom], events: usize) {
    let mut seen: HashMap<(u8, String), ()> = HashMap::new();
    // First occurrences, as an error that keeps coming back is one error.
    let mut first: Vec<Vec<usize>> = vec![Vec::new(); 5];
    for (index, atom) in atoms.iter_mut().enumerate() {
        let (class, key) = match atom.class {
            Class::Error => (0, atom.norm.clone()),
            Class::FailingTest => (1, lines::tests(&atom.text).collect::<Vec<_>>().join(" ")),
            Class::Command => (2, atom.norm.clone()),
            Class::Lead => (3, atom.norm.clone()),
            Class::Summary => (4, String::new()),
            _ => continue,
        };
        if class >= 3 || seen.insert((class, key), ()).is_none() {
            first[usize::from(class)].push(index);
        } else {
            atom.value = 0.02;
        }
    }
    // How many of each class are worth as much as the last one.
    const FULL: [f64; 5] = [10.0, 18.0, 8.0, 5.0, 2.0];
    const TOP: [f64; 5] = [0.9, 0.7, 1.0, 1.2, 0.6];
    for (class, of_class) in first.iter().enumerate() {
        for (from_end, index) in of_class.iter().rev().enumerate() {
            let rank = (from_end as f64 / FULL[class]).powi(2);
            atoms[*index].value = (TOP[class] / (1.0 + rank)).max(0.05);
        }
    }
    // Of everything else the later weighs a little more.
    for atom in atoms.iter_mut() {
        let share = (atom.event + 1) as f64 / events.max(1) as f64;
        if matches!(atom.class, Class::Other | Class::Decision | Class::DeadEnd | Class::Look | Class::Change) {
            atom.value *= 0.7 + 0.3 * share;
        }
    }
}

/// The line without its middle, if it is too long.
pub fn shortened(line: &str, max: usize) -> String {
    if line.len() <= max {
        return line.to_owned();
    }
    let head = floor(line, max * 3 / 4);
    let tail = floor(line, line.len() - max / 4);
    format!("{} … {}", &line[..head], &line[tail..])
}

/// Without comments that a form puts around what people write.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!--") {
        out.push_str(before);
        match after.split_once("-->") {
            Some((_, after)) => rest = after,
            None => {
                rest = "";
            }
        }
    }
    out.push_str(rest);
    out
}

/// What was asked, and what stands around it. Some programs put the request into a tag and their own rules behind it.
fn asked(text: &str) -> (&str, &str) {
    for tag in ["pr_description", "task", "issue", "user_query", "request"] {
        let (opening, closing) = (format!("<{tag}>"), format!("</{tag}>"));
        if let Some(start) = text.find(&opening)
            && let Some(length) = text[start..].find(&closing)
        {
            let (end, after) = (start + length, start + length + closing.len());
            return (text[start + opening.len()..end].trim(), &text[after..]);
        }
    }
    (text.trim(), "")
}

/// The first sentence, over line ends.
fn lead(text: &str) -> String {
    let bytes = text.as_bytes();
    let end = (0..bytes.len())
        .find(|at| matches!(bytes[*at], b'.' | b'!' | b'?') && bytes.get(at + 1).is_some_and(u8::is_ascii_whitespace));
    crate::fidelity::flat(&text[..end.map_or(text.len(), |end| end + 1)])
}
