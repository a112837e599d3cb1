//! What survived: facts are taken from the sources before compression and looked for in the result, by class.
//!
//! The look-up knows nothing of how a compressor works, so a compressor cannot flatter itself: a fact that is not in the
//! text counts as lost, and its place says where the next agent can pull it from.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::coverage::{Coverage, Omission};

/// What kind of fact it is. The order is the one in which a report names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A sentence of the task that asks, limits or forbids.
    Constraint,
    /// A file that was read for a reason or changed.
    Path,
    /// A name in code.
    Identifier,
    /// A line that was written into a file.
    Change,
    /// A definition that the task is about.
    Definition,
    /// A line of a source that the task is about.
    Line,
    /// An error as it was printed.
    Error,
    /// The name of a test that failed.
    FailingTest,
    /// A command that was run for its result.
    Command,
    /// What was decided, with its reason.
    Decision,
    /// What was tried and did not work.
    DeadEnd,
    /// A number with its unit, a date, a version.
    Number,
    /// A kind of event in a log: its words, without what differs from line to line.
    Event,
    /// An event that happened once or twice, as it was printed.
    RareEvent,
    /// An event that tells of trouble.
    SevereEvent,
    /// Something that was said.
    Statement,
    /// A part of a source that was not read. Such a fact is always lost.
    Unread,
}

/// One thing that must not get lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Its kind.
    pub class: Class,
    /// The words to look for.
    pub text: String,
    /// Where it stands: `path:line`, `message 12`, `line 40`.
    pub place: String,
    /// How much it counts beside others of its class; 1 where all count alike.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl Fact {
    /// A fact of this class.
    pub fn new(class: Class, text: impl Into<String>, place: impl Into<String>) -> Self {
        Self { class, text: text.into(), place: place.into(), weight: 1 }
    }

    /// The same fact with another weight.
    #[must_use]
    pub fn weighing(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

/// How much of one class survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClassScore {
    /// The class.
    pub class: Class,
    /// How many facts of it are still there, each with its weight.
    pub kept: u64,
    /// How many there were, each with its weight.
    pub total: u64,
}

/// What survived, by class, and what did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fidelity {
    /// The classes that had facts.
    pub classes: Vec<ClassScore>,
    /// What is not in the result, with where to find it; the heaviest first, and in the order of the source.
    pub lost: Vec<Fact>,
    /// How much of the sources was read and is shown; absent in bundles of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The parts of the sources that are not in the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omission>,
}

/// Weight of the lines that are shown in a score, beside the facts. It is small, because a bundle is meant to leave lines out,
/// and not zero, so that a score of 1 means that nothing was left out.
const SHOWN_WEIGHT: f64 = 0.01;

impl Fidelity {
    /// Looks for each fact in the result.
    #[must_use]
    pub fn of(facts: &[Fact], result: &str) -> Self {
        let result = Result::of(result);
        let mut classes: Vec<ClassScore> = Vec::new();
        let mut lost = Vec::new();
        for fact in facts {
            let at = classes.iter().position(|score| score.class == fact.class).unwrap_or_else(|| {
                classes.push(ClassScore { class: fact.class, kept: 0, total: 0 });
                classes.len() - 1
            });
            classes[at].total += u64::from(fact.weight);
            if result.has(fact) {
                classes[at].kept += u64::from(fact.weight);
            } else {
                lost.push(fact.clone());
            }
        }
        classes.sort_by_key(|score| score.class);
        lost.sort_by_key(|fact| std::cmp::Reverse(fact.weight));
        Self { classes, lost, ..Self::default() }
    }

    /// The same with an account of the sources. What was not read is a loss of its own, and comes first.
    #[must_use]
    pub fn with_coverage(mut self, coverage: Option<Coverage>, omitted: &[Omission]) -> Self {
        let unread = omitted.iter().filter(|omission| omission.reason.is_unread());
        let unread = unread.map(|omission| Fact::new(Class::Unread, omission.reason.description(), &omission.place));
        self.lost.splice(0..0, unread);
        self.coverage = coverage;
        self.omitted = omitted.to_vec();
        self
    }

    /// How much survived, 0 to 1: `facts × read × (0.99 + 0.01 × shown)`. `facts` is the mean of the classes' shares, `read` the
    /// share of the source that was read, `shown` the share of its lines that is in the result. A source without facts is
    /// scored by its lines alone. It is 1 only if all of the source is in the result, and `None` if nothing is known.
    ///
    /// [`Fidelity::percent`] is the form for people.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        let shares: Vec<f64> = self.classes.iter().map(|score| score.kept as f64 / score.total as f64).collect();
        let facts = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
        let Some(coverage) = self.coverage else { return facts };
        let (read, shown) = (coverage.read.ratio(), coverage.shown.ratio());
        match facts {
            Some(facts) => Some(facts * read * (1.0 - SHOWN_WEIGHT * (1.0 - shown))),
            None if coverage.read.whole == 0 => None,
            None => Some(read * shown),
        }
    }
}

/// A share from 0 to 1 as whole percent, rounded down: 99.9 % is not all.
#[must_use]
pub fn percent(score: f64) -> u64 {
    // A hair more than the product, which may be a hair too small.
    (score * 100.0 + 1e-9).floor() as u64
}

/// A result, ready to be searched.
struct Result {
    /// White space made single blanks: a line that was wrapped is the same line.
    flat: String,
    /// The words of each line that has several.
    lines: Vec<HashSet<String>>,
}

impl Result {
    fn of(text: &str) -> Self {
        Self { flat: flat(text), lines: text.lines().map(|line| event_words(line).map(str::to_owned).collect()).collect() }
    }

    fn has(&self, fact: &Fact) -> bool {
        match fact.class {
            Class::Event | Class::SevereEvent => {
                let words: Vec<&str> = event_words(&fact.text).collect();
                self.lines.iter().any(|line| words.iter().all(|word| line.contains(*word)))
            }
            Class::Unread => false,
            Class::Identifier | Class::Number => has_whole(&self.flat, &flat(&fact.text)),
            _ => self.flat.contains(&flat(&fact.text)),
        }
    }
}

/// The text with every run of white space as one blank, and none at its ends.
#[must_use]
pub fn flat(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !flat.is_empty() {
            flat.push(' ');
        }
        flat.push_str(word);
    }
    flat
}

/// The words by which a kind of event is known: letters, digits and `_`, longer than one, no numbers.
pub fn event_words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.chars().nth(1).is_some() && !word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the text stands there and is no part of a longer word.
fn has_whole(text: &str, wanted: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(wanted).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + wanted.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fact() -> impl Strategy<Value = Fact> {
        let class = prop_oneof![
            Just(Class::Path),
            Just(Class::Identifier),
            Just(Class::Change),
            Just(Class::Error),
            Just(Class::Number),
            Just(Class::Event),
            Just(Class::Statement)
        ];
        // Words that no other fact has: what is removed is then really gone.
        (class, prop::collection::vec("[a-z]{6,9}", 1..5))
            .prop_map(|(class, words)| Fact::new(class, words.join(" "), "x:1"))
    }

    proptest! {
        #[test]
        fn a_fact_that_was_removed_is_always_reported(
            facts in prop::collection::vec(fact(), 1..20),
            removed in any::<prop::sample::Index>(),
        ) {
            let mut facts = facts;
            for (index, fact) in facts.iter_mut().enumerate() {
                fact.text = fact.text.split(' ').map(|word| format!("{word}{index}x")).collect::<Vec<_>>().join(" ");
            }
            let removed = removed.index(facts.len());
            let whole: Vec<&str> = facts.iter().map(|fact| fact.text.as_str()).collect();
            prop_assert_eq!(Fidelity::of(&facts, &whole.join("\n")).lost, []);
            let rest: Vec<&str> = facts.iter().enumerate().filter(|(at, _)| *at != removed).map(|(_, f)| f.text.as_str()).collect();
            let report = Fidelity::of(&facts, &rest.join("\n  "));
            prop_assert_eq!(&report.lost, &[facts[removed].clone()]);
            prop_assert!(report.score().is_some_and(|score| score < 1.0));
        }
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        use crate::coverage::{OmissionReason, Share};
        let fact = Fact::new(Class::Path, "src/a.rs", "x:1");
        let of = |read: (u64, u64), shown: (u64, u64)| {
            let coverage = Coverage { read: Share::new(read.0, read.1), shown: Share::new(shown.0, shown.1) };
            Fidelity::of(std::slice::from_ref(&fact), "src/a.rs").with_coverage(Some(coverage), &[])
        };
        assert_eq!(of((9, 9), (9, 9)).score(), Some(1.0));
        assert_eq!(of((1_000_000, 1_000_000), (999_999, 1_000_000)).score().map(percent), Some(99));
        assert_eq!(of((3, 4), (3, 4)).score().map(percent), Some(74));
        assert_eq!((percent(0.29), percent(0.57), percent(1.0)), (29, 57, 100));
        let unread = Omission::new("line 7", 1, OmissionReason::NotDecoded);
        let report = of((3, 4), (3, 4)).with_coverage(None, &[unread]);
        assert_eq!((report.lost[0].class, report.lost[0].place.as_str()), (Class::Unread, "line 7"));
    }

    #[test]
    fn nothing_to_keep_is_no_score() {
        assert_eq!(Fidelity::of(&[], "text").score(), None);
    }

    #[test]
    fn a_name_within_a_longer_name_is_not_there() {
        let fact = Fact::new(Class::Identifier, "parse", "a.rs:1");
        let facts = [fact];
        assert_eq!(Fidelity::of(&facts, "parse_all()").lost, facts);
        assert_eq!(Fidelity::of(&facts, "x.parse()").lost, []);
    }
}
