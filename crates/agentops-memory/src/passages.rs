//! Passages: what recall gives back. A file's passages follow each other, so that neighbours can be shown with what was
//! found, and each knows where it stands.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::turns::{Conversation, Turn};

/// What kind of text a passage is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A learning, improvement or context record in the repository.
    Memory,
    /// A run's record in the repository.
    RunRecord,
    /// A bundle in the repository.
    Bundle,
    /// A run in the private state of this machine.
    Run,
    /// What was said to Claude Code or by it.
    ClaudeTranscript,
    /// What was said to Codex or by it.
    CodexTranscript,
}

/// Some lines of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Where in its source: a line, or nothing for a source that has none.
    pub line: Option<u64>,
    /// Who says it, for what was said.
    pub speaker: Option<String>,
    /// `2031-04-05`, where it is known.
    pub date: Option<String>,
    /// The text.
    pub text: String,
}

/// A file, a run, a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is.
    pub kind: Kind,
    /// How it is named: a path, or a run.
    pub name: String,
    /// The folder that it is about, where it is known.
    pub project: Option<String>,
    /// In their order.
    pub passages: Vec<Passage>,
}

/// A passage that was found, with its place in what was searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Index of the source.
    pub source: usize,
    /// Index of the passage in it.
    pub passage: usize,
    /// How well it fits; only to be compared with others of the same search.
    pub score: f64,
}

/// What fits worse than this share of the best is not shown.
const SHARE_OF_BEST: f64 = 0.25;

/// What was learnt is worth more than what was said on the way.
const DISTILLED: f64 = 1.25;
/// What each further passage of a source counts.
const AGAIN: f64 = 0.75;

/// The passages that fit a question, best first.
///
/// They are ranked as turns of one conversation whose sessions are the sources: neighbours share their scores, and a source
/// that is much about the question lifts its passages.
#[must_use]
pub fn find(sources: &[Source], question: &str) -> Vec<Found> {
    let mut places = Vec::new();
    let mut turns = Vec::new();
    for (source, of) in sources.iter().enumerate() {
        for (passage, text) in of.passages.iter().enumerate() {
            places.push((source, passage));
            turns.push(Turn {
                id: String::new(),
                session: source as u64,
                date: text.date.clone().unwrap_or_default(),
                speaker: String::new(),
                text: text.text.clone(),
            });
        }
    }
    let conversation = Conversation::new(&turns);
    let scores = conversation.scores(question);
    let own = conversation.own_scores(question);
    let best = scores.iter().copied().fold(0.0, f64::max);
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); sources.len()];
    for ((place, score), own) in places.iter().zip(&scores).zip(own) {
        // A passage that has no word of the question is a neighbour of one, and shown with it.
        if own > 0.0 && *score >= best * SHARE_OF_BEST {
            let score = if sources[place.0].kind == Kind::Memory { score * DISTILLED } else { *score };
            found[place.0].push(Found { source: place.0, passage: place.1, score });
        }
    }
    found.iter_mut().for_each(|of| of.sort_by(|a, b| a.score.total_cmp(&b.score).then(b.passage.cmp(&a.passage))));
    in_turns(found)
}

/// The best of all sources first, where each further passage of a source counts less: the same talk says much the same.
fn in_turns(mut found: Vec<Vec<Found>>) -> Vec<Found> {
    // Ordered by score, then by source: these are given oldest first, and of equal ones the later is wanted.
    let mut next: BTreeSet<(u64, usize)> = BTreeSet::new();
    // Scores are not negative, so their bits are in their order.
    let key = |found: &Found, taken: i32| ((found.score * AGAIN.powi(taken)).to_bits(), found.source);
    for of in &found {
        next.extend(of.last().map(|found| key(found, 0)));
    }
    let mut taken = vec![0; found.len()];
    let mut order = Vec::new();
    while let Some((_, source)) = next.pop_last() {
        order.extend(found[source].pop());
        taken[source] += 1;
        next.extend(found[source].last().map(|found| key(found, taken[source])));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, texts: &[&str]) -> Source {
        let passages =
            texts.iter().map(|text| Passage { line: Some(1), speaker: None, date: None, text: (*text).to_owned() });
        Source { kind: Kind::Memory, name: name.into(), project: None, passages: passages.collect() }
    }

    #[test]
    fn what_has_no_word_of_the_question_is_not_found() {
        let sources = [
            source("a", &["Retries need a jitter.", "Unrelated."]),
            source("b", &["The cache is warmed at start.", "Retries of the cache were removed."]),
        ];
        let found = find(&sources, "why were retries removed from the cache?");
        assert_eq!((found[0].source, found[0].passage), (1, 1));
        assert!(found.iter().all(|found| (found.source, found.passage) != (0, 1)));
        assert_eq!(find(&sources, "zebra"), []);
        assert_eq!(find(&[], "zebra"), []);
    }

    #[test]
    fn another_source_comes_before_the_same_one_again() {
        let found = |source, passage, score| Found { source, passage, score };
        let order = in_turns(vec![vec![found(0, 0, 8.0)], vec![found(1, 0, 9.0), found(1, 1, 10.0)], vec![]]);
        assert_eq!(order.iter().map(|f| (f.source, f.passage)).collect::<Vec<_>>(), [(1, 1), (0, 0), (1, 0)]);
        let equal = in_turns(vec![vec![found(0, 0, 8.0)], vec![found(1, 0, 8.0)]]);
        assert_eq!(equal[0].source, 1, "the later one");
    }
}
