//! Context bundles: artifacts made small for the next agent, with a report of what survived.
//!
//! Without a model, deterministic: the same sources give the same bytes. Each kind of artifact has a compressor of its own;
//! all of them take a budget in o200k tokens that is never passed, and say which facts an agent must not lose.

pub mod code;
pub mod conversation;
pub mod coverage;
pub mod diff;
mod excerpt;
pub mod fidelity;
pub mod kind;
pub mod log;
pub mod manifest;
pub mod mixed;
pub mod page;
mod pick;
pub mod source_text;
pub mod store;
pub mod table;
pub mod transcript;

use std::path::PathBuf;

pub use coverage::{Coverage, Omission, OmissionReason};
pub use fidelity::{Class, Fact, Fidelity};
pub use kind::Kind;

/// What a compressor made of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compressed {
    /// Markdown or plain text, never more than the budget.
    pub text: String,
    /// The source in o200k tokens.
    pub before: u64,
    /// The text in o200k tokens.
    pub after: u64,
    /// What the source has that must not get lost, taken from it before it was compressed, in the order of their places.
    pub facts: Vec<Fact>,
    /// How much of the source was read and is shown. `None` if nobody accounted for it.
    pub coverage: Option<Coverage>,
    /// The parts of the source that are not in the text, in their order. With the text they account for all of the source.
    pub omitted: Vec<Omission>,
}

impl Compressed {
    /// A text without an account of the source: [`Compressed::covering`] or [`Compressed::covering_lines`] adds it.
    #[must_use]
    pub fn new(text: String, before: u64, after: u64, facts: Vec<Fact>) -> Self {
        Self { text, before, after, facts, coverage: None, omitted: Vec::new() }
    }

    /// A source that fits, as it is: nothing of it is left out. Facts that are written otherwise in it, as with escapes, are
    /// not looked for.
    #[must_use]
    pub(crate) fn whole(text: String, tokens: u64, facts: Vec<Fact>) -> Self {
        let lost = Fidelity::of(&facts, &text).lost;
        let facts = facts.into_iter().filter(|fact| !lost.contains(fact)).collect();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count() as u64;
        Self::new(text, tokens, tokens, facts).covering(Coverage::of_lines(lines, &[]), Vec::new())
    }

    /// The same with an account of the source.
    #[must_use]
    pub fn covering(self, coverage: Coverage, omitted: Vec<Omission>) -> Self {
        Self { coverage: Some(coverage), omitted, ..self }
    }

    /// The same with an account of the source that looks for each of its lines in the text.
    #[must_use]
    pub fn covering_lines(self, source: &str) -> Self {
        let (coverage, omitted) = coverage::by_lines(source, &self.text, OmissionReason::Budget);
        self.covering(coverage, omitted)
    }

    /// Which facts are still there, and how much of the source is.
    #[must_use]
    pub fn fidelity(&self) -> Fidelity {
        Fidelity::of(&self.facts, &self.text).with_coverage(self.coverage, &self.omitted)
    }
}

/// Why a source cannot be compressed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file or folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it was said to be.
    #[error("this is no {expected}: {detail}")]
    Form {
        /// What was expected, in words.
        expected: &'static str,
        /// Where and what is wrong.
        detail: String,
    },
    /// Not even what must be in every bundle fits.
    #[error("{budget} tokens are not enough: what cannot be left out takes {needed}")]
    Budget {
        /// What was allowed.
        budget: u64,
        /// What would be needed.
        needed: u64,
    },
}

#[cfg(test)]
mod promises;
