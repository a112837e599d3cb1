//! Catalogues, labelled requests and questions as JSON lines, for measurements.
//!
//! A catalogue's line is an [`Entry`]: `{"label", "name"?, "group"?, "description"?, "body"?, "examples"?}`. A labelled
//! request is `{"text", "label"}`, where the label [`OUTSIDE`] says that it is about nothing in the catalogue; a question is
//! `{"id", "text"}`. Other keys are left alone.

use serde::{Deserialize, Serialize};

use crate::catalogue::Entry;
use crate::router::{Decision, Example, OUTSIDE, Router};

/// A line that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is not {wanted}: {source}")]
pub struct CorpusError {
    /// Which, from 1.
    pub line: usize,
    /// What it should be.
    pub wanted: &'static str,
    /// Why it is not.
    #[source]
    pub source: serde_json::Error,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// What the answer is known by: a text or a number.
    pub id: serde_json::Value,
    /// The request.
    pub text: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Predicted {
    /// The question's.
    pub id: serde_json::Value,
    /// The likeliest label; [`OUTSIDE`] where nothing fits.
    pub label: String,
    /// How likely the first of `ranked` is right, if the request is about anything in the catalogue.
    pub confidence: f32,
    /// Labels, the likeliest first.
    pub ranked: Vec<String>,
    /// How likely the request is about anything in the catalogue.
    pub in_scope: f32,
    /// What should be done.
    pub decision: Decision,
    /// What it took, in microseconds.
    pub latency_us: f64,
}

/// The entries of a catalogue.
///
/// # Errors
/// A line is none.
pub fn entries(text: &str) -> Result<Vec<Entry>, CorpusError> {
    lines(text, "an entry {\"label\", \"description\"}")
}

/// Labelled requests.
///
/// # Errors
/// A line is none.
pub fn examples(text: &str) -> Result<Vec<Example>, CorpusError> {
    lines(text, "a labelled request {\"text\", \"label\"}")
}

/// Questions.
///
/// # Errors
/// A line is none.
pub fn questions(text: &str) -> Result<Vec<Question>, CorpusError> {
    lines(text, "a question {\"id\", \"text\"}")
}

fn lines<T: for<'a> Deserialize<'a>>(text: &str, wanted: &'static str) -> Result<Vec<T>, CorpusError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| serde_json::from_str(line).map_err(|source| CorpusError { line: at + 1, wanted, source }))
        .collect()
}

/// Answers a question; `took` gives the microseconds since it was last asked.
#[must_use]
pub fn predict(router: &Router, question: &Question, mut took: impl FnMut() -> f64) -> Predicted {
    took();
    let answer = router.route(&question.text);
    let latency_us = took();
    let ranked: Vec<String> = answer.ranked.iter().map(|(label, _)| router.label(*label).to_owned()).collect();
    let fits = answer.decision != Decision::Abstain;
    Predicted {
        id: question.id.clone(),
        label: ranked.first().filter(|_| fits).cloned().unwrap_or_else(|| OUTSIDE.to_owned()),
        confidence: answer.confidence,
        ranked,
        in_scope: answer.in_scope,
        decision: answer.decision,
        latency_us,
    }
}

/// What a replay of feedback came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Requests that were routed and then learnt.
    pub lines: usize,
    /// Those of them that would have gone elsewhere: a person had to correct so many.
    pub corrections: usize,
}

/// Goes through feedback in its order: each request is routed first and then learnt, whether it was right, as when a person
/// confirms or corrects what they see. Ends after as many corrections as `most` says.
pub fn replay(router: &mut Router, feedback: &[Example], most: Option<usize>) -> Replayed {
    let mut replayed = Replayed::default();
    for example in feedback {
        if most.is_some_and(|most| replayed.corrections >= most) {
            break;
        }
        let answer = router.route(&example.text);
        let is_right = answer.ranked.first().is_some_and(|(label, _)| router.label(*label) == example.label);
        replayed.lines += 1;
        replayed.corrections += usize::from(!is_right);
        router.learn(&example.text, &example.label);
    }
    replayed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_a_wrong_one_is_named() {
        let read = entries("{\"label\":\"a\",\"description\":\"does a\"}\n\n{\"label\":\"b\",\"more\":1}\n").unwrap();
        assert_eq!(read.iter().map(|entry| entry.label.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let error = examples("{\"text\":\"t\",\"label\":\"a\"}\n{\"text\":\"t\"}").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().starts_with("line 2 is not a labelled request"), "{error}");
    }

    #[test]
    fn a_replay_learns_until_there_were_enough_corrections() {
        let entries =
            entries("{\"label\":\"a\",\"description\":\"apples\"}\n{\"label\":\"b\",\"description\":\"bees\"}").unwrap();
        let feedback =
            examples("{\"text\":\"apples\",\"label\":\"a\"}\n{\"text\":\"apples\",\"label\":\"b\"}\n{\"text\":\"hum\",\"label\":\"b\"}").unwrap();
        let mut router = Router::new(&entries);
        let replayed = replay(&mut router, &feedback, Some(1));
        assert_eq!((replayed.lines, replayed.corrections), (2, 1));
        let question = Question { id: 7.into(), text: "apples".into() };
        let predicted = predict(&router, &question, || 1.5);
        assert_eq!((predicted.id, predicted.ranked[0].as_str()), (7.into(), "b"), "the correction is remembered");
    }
}
