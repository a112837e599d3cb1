//! From a judgement to chances of the workflows that are offered.

use super::Judgement;
use super::lexicon::{Group, groups};
use crate::features::hash;

/// A workflow that may be taken.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Its name: `quick` and `full` are known, others are judged by their description.
    pub name: &'a str,
    /// What its file says of it.
    pub description: &'a str,
}

/// How likely a workflow is the right one.
#[derive(Debug, Clone, PartialEq)]
pub struct Chance {
    /// Its name.
    pub name: String,
    /// From 0 to 1.
    pub probability: f64,
}

/// What is offered, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// In the order in which they were offered. They add up to at most 1: what is missing is that none of them fits.
    pub chances: Vec<Chance>,
    /// The likeliest one that may be taken without asking, as an index; never `quick` for what is risky or unread.
    pub best: Option<usize>,
}

/// With a risk or a text that cannot be read, [`QUICK`] is no likelier than this.
pub const QUICK_RISKY_MAX: f64 = 0.1;

/// The workflow that a risky task, or one that cannot be read, never takes by itself.
pub const QUICK: &str = "quick";

/// A workflow of a profile, before there is feedback: by itself, and for each word its description shares with the task.
const OTHER: f64 = 0.02;
const OTHER_WORD: f64 = 0.06;
const OTHER_WORDS_MAX: usize = 3;
/// What all of them have together at most.
const OTHERS_MAX: f64 = 0.5;

/// The words of a text that say what it is about, as sorted hashes.
pub(super) fn content<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let telling = |word: &&str| word.len() > 2 && !groups(word).has(Group::English);
    let stem = |word: &'a str| if word.len() > 4 { word.strip_suffix('s').unwrap_or(word) } else { word };
    let mut hashes: Vec<u64> = words.filter(telling).map(|word| hash(stem(word).as_bytes())).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

impl Judgement {
    /// The chances of the workflows offered. The same judgement and offer give the same choice.
    pub fn workflow(&self, offered: &[Offered<'_>]) -> Choice {
        let barred = self.is_risky() || self.unread.is_some();
        let quick = if barred { self.small.min(QUICK_RISKY_MAX) } else { self.small };
        let own = |workflow: &Offered<'_>| match workflow.name {
            QUICK | "full" => 0.0,
            _ => OTHER + OTHER_WORD * self.shared(workflow.description).min(OTHER_WORDS_MAX) as f64,
        };
        let sum: f64 = offered.iter().map(own).sum();
        let others = sum.min(OTHERS_MAX);
        let chances: Vec<Chance> = offered
            .iter()
            .map(|workflow| {
                let probability = match workflow.name {
                    QUICK => quick * (1.0 - others),
                    "full" => (1.0 - quick) * (1.0 - others),
                    _ => own(workflow) / sum * others,
                };
                Chance { name: workflow.name.to_owned(), probability }
            })
            .collect();
        let may = |at: &usize| !(barred && chances[*at].name == QUICK);
        let best = (0..chances.len())
            .filter(may)
            .reduce(|best, at| if chances[at].probability > chances[best].probability { at } else { best });
        Choice { chances, best }
    }

    fn shared(&self, description: &str) -> usize {
        let lower = description.to_ascii_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        content(words).iter().filter(|word| self.words.binary_search(word).is_ok()).count()
    }
}
