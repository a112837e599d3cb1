//! Which workflow: how large the work is, what is risky about it, read from a task in plain words.
//!
//! Two questions are kept apart. Size is a small logistic model whose weights were fitted on commits of public repositories
//! (`judge/size.rs`); risk is a list of rules (`judge/risk.rs`). With any risk the workflow is never `quick` by itself, and a
//! text that cannot be read (empty, only code, another language) never is either. Every judgement says which words made it.
//!
//! Pure and bounded: of a long text the first 16 KiB and the last 4 KiB are read.

mod choice;
mod lexicon;
mod reading;
mod risk;
mod size;

#[cfg(test)]
mod fit;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use choice::{Chance, Choice, Offered, QUICK, QUICK_RISKY_MAX};
pub use risk::Danger;

/// Why a text says nothing about the size of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unread {
    /// No words.
    Empty,
    /// Nothing but code or a stack trace.
    OnlyCode,
    /// Hardly a word of English that asks for work.
    NotEnglish,
}

/// What a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The task is risky.
    Risk(Danger),
    /// The size of the work: what its words or its shape are, such as "spelling" or "items of a list".
    Size(&'static str),
    /// The text could not be read.
    Unread(Unread),
}

/// Something that counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// What it is about.
    pub about: About,
    /// The words of the task as they were written; empty for its shape.
    pub words: String,
    /// What it adds to the log-odds that the work is small; 0 for a risk, which decides by itself.
    pub weight: f64,
}

impl fmt::Display for Reason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about {
            About::Risk(danger) => write!(to, "\u{201c}{}\u{201d} {}", self.words, danger.meaning()),
            About::Unread(Unread::Empty) => write!(to, "the task has no words"),
            About::Unread(Unread::OnlyCode) => write!(to, "the task is only code: what to do with it is not said"),
            About::Unread(Unread::NotEnglish) => {
                write!(to, "the task is hardly English, so its size and its risks are not known")
            }
            About::Size(what) => {
                let towards = if self.weight > 0.0 { "small" } else { "large" };
                if self.words.is_empty() {
                    write!(to, "{what}: speaks for {towards} work")
                } else {
                    write!(to, "\u{201c}{}\u{201d} ({what}) speaks for {towards} work", self.words)
                }
            }
        }
    }
}

/// What is known about a task before anything is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The probability that the work is small: one file and at most 15 changed lines, tests not counted. It speaks of the
    /// text alone, so it is rarely near 0 or 1. Of a text that cannot be read: 0.3.
    pub small: f64,
    /// Why the text says nothing about the size, if so.
    pub unread: Option<Unread>,
    /// Everything that counted: what could not be read, risks in the order of the text, then size by weight.
    pub reasons: Vec<Reason>,
    /// The words that descriptions of other workflows are compared with: hashes, sorted.
    #[serde(skip)]
    words: Vec<u64>,
}

impl Judgement {
    /// The dangers with the words that decided.
    pub fn risks(&self) -> impl Iterator<Item = (Danger, &str)> {
        self.reasons.iter().filter_map(|reason| match reason.about {
            About::Risk(danger) => Some((danger, reason.words.as_str())),
            _ => None,
        })
    }

    /// Whether anything asks for a person's eye.
    pub fn is_risky(&self) -> bool {
        self.risks().next().is_some()
    }
}

/// P(small) of what cannot be read: more likely not.
const UNREAD_SMALL: f64 = 0.3;

/// Reasons about size that are given; smaller ones only count.
const SIZE_REASONS_MAX: usize = 6;

/// Reasons about risk that are given; one decides.
const RISK_REASONS_MAX: usize = 12;

/// Judges a task from its words alone.
pub fn judge(task: &str) -> Judgement {
    let text = reading::bounded(task);
    let lower = text.to_ascii_lowercase();
    let (words, shape) = reading::read(&text, &lower);
    let unread = unread(&words, &shape);
    let mut reasons: Vec<Reason> = Vec::new();
    if let Some(why) = unread {
        reasons.push(Reason { about: About::Unread(why), words: String::new(), weight: 0.0 });
    }
    for (danger, words) in risk::dangers(&words).into_iter().take(RISK_REASONS_MAX) {
        reasons.push(Reason { about: About::Risk(danger), words, weight: 0.0 });
    }
    let small = if unread.is_some() {
        UNREAD_SMALL
    } else {
        let values = size::values(&words, &shape);
        reasons.extend(size::reasons(&words, &values).into_iter().take(SIZE_REASONS_MAX));
        size::small(&values)
    };
    Judgement { small, unread, reasons, words: choice::content(words.iter().map(|word| word.text)) }
}

fn unread(words: &[reading::Word<'_>], shape: &reading::Shape) -> Option<Unread> {
    use lexicon::Group;
    if words.is_empty() {
        return Some(Unread::Empty);
    }
    let (mut plain, mut known, mut english, mut foreign, mut asks) = (0, 0, 0, 0, false);
    for word in words.iter().filter(|word| !word.code && !word.name) {
        if word.text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            continue;
        }
        let groups = lexicon::groups(word.text);
        plain += 1;
        foreign += usize::from(groups.has(Group::Foreign));
        english += usize::from(groups.has(Group::English) && !groups.has(Group::Shared));
        let kind = size::kind_of(word.text);
        known += usize::from(!groups.has(Group::Foreign) && (!groups.is_none() || kind.is_some()));
        asks |= groups.has(Group::Verb) || groups.has(Group::Repair) || kind.is_some_and(size::is_deed);
    }
    if plain == 0 || shape.words == 0 {
        return Some(Unread::OnlyCode);
    }
    // README, production and the like are the same words everywhere: they make no text English.
    let nothing = english == 0 && !asks;
    let strange = shape.foreign * 2 > plain || foreign > english || known * 5 < plain;
    (nothing || strange).then_some(Unread::NotEnglish)
}
