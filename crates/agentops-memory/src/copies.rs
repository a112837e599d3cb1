//! Recognises passages that say the same, so that a statement is shown once whatever number of files hold it.
//!
//! A statement is copied when a session is forked, when a run's document becomes a record in the repository, and when
//! branches with the same learning are merged. Copies differ in case, punctuation and marks around the text, so passages are
//! compared by the sequences of their words (shingles; Broder, "On the resemblance and containment of documents", 1997).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::passages::{Found, Kind, Source};

/// Words of one shingle.
const SHINGLE_WORDS: usize = 4;
/// Smallest share of a passage's shingles that another one holds if it repeats the passage.
const SHARE_MIN: f64 = 0.9;
/// Shortest learning that is recognised inside a longer passage, in words.
const LEARNING_WORDS_MIN: usize = 5;
/// Found passages that are compared, best first. Later ones are not shown anyway.
const COMPARED_MAX: usize = 2000;

/// The word sequences of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    words: usize,
    shingles: HashSet<u64>,
}

impl Fingerprint {
    /// The fingerprint of a text. Case, punctuation and spaces do not count.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let hash = |words: &[&str]| {
            let mut hasher = DefaultHasher::new();
            words.hash(&mut hasher);
            hasher.finish()
        };
        let size = SHINGLE_WORDS.min(words.len()).max(1);
        Self { words: words.len(), shingles: words.windows(size).map(hash).collect() }
    }

    /// Whether this text says everything that the other one says.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let shared = other.shingles.intersection(&self.shingles).count();
        shared > 0 && shared as f64 >= SHARE_MIN * other.shingles.len() as f64
    }
}

/// A found passage with others that say the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The passage to show. A learning is preferred to other copies.
    pub found: Found,
    /// The copies, as index of the source and of the passage in it.
    pub copies: Vec<(usize, usize)>,
}

struct Open {
    group: Group,
    fingerprint: Fingerprint,
    is_learning: bool,
}

/// Groups what was found by what it says, in the order of the best of each group. At most `groups_max` groups are made.
#[must_use]
pub fn group(sources: &[Source], found: &[Found], groups_max: usize) -> Vec<Group> {
    let compared = &found[..found.len().min(COMPARED_MAX)];
    let text = |found: &Found| sources[found.source].passages[found.passage].text.as_str();
    let is_learning = |found: &Found| sources[found.source].kind == Kind::Memory;
    let fingerprints: Vec<Fingerprint> = compared.iter().map(|found| Fingerprint::of(text(found))).collect();
    let learnings: Vec<usize> = (0..compared.len()).filter(|at| is_learning(&compared[*at])).collect();
    let mut open: Vec<Open> = Vec::new();
    let mut is_grouped = vec![false; compared.len()];
    for (at, found) in compared.iter().enumerate() {
        if is_grouped[at] {
            continue;
        }
        let fingerprint = &fingerprints[at];
        if let Some(of) = open.iter_mut().find(|of| repeats(fingerprint, &of.fingerprint, of.is_learning)) {
            of.group.copies.push((found.source, found.passage));
            continue;
        }
        if open.len() >= groups_max {
            continue;
        }
        // A learning in the repository stands for its copies in runs and transcripts, although they may fit better.
        let learning = learnings
            .iter()
            .copied()
            .find(|learning| !is_learning(found) && !is_grouped[*learning] && same(fingerprint, &fingerprints[*learning]));
        let shown = learning.unwrap_or(at);
        is_grouped[shown] = true;
        let copies = if shown == at { Vec::new() } else { vec![(found.source, found.passage)] };
        let group = Group { found: Found { score: found.score, ..compared[shown] }, copies };
        let is_learning = is_learning(&compared[shown]);
        open.push(Open { group, fingerprint: fingerprints[shown].clone(), is_learning });
    }
    open.into_iter().map(|open| open.group).collect()
}

/// Whether a passage repeats one that is shown: it says nothing else, or it holds a whole learning.
fn repeats(passage: &Fingerprint, shown: &Fingerprint, is_learning: bool) -> bool {
    shown.covers(passage) || is_learning && holds(passage, shown)
}

/// Whether a passage and a learning say the same.
fn same(passage: &Fingerprint, learning: &Fingerprint) -> bool {
    learning.covers(passage) || holds(passage, learning)
}

fn holds(passage: &Fingerprint, learning: &Fingerprint) -> bool {
    learning.words >= LEARNING_WORDS_MIN && passage.covers(learning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passages::Passage;

    fn source(kind: Kind, name: &str, texts: &[&str]) -> Source {
        let passage = |text: &&str| Passage { line: None, speaker: None, date: None, text: (*text).to_owned() };
        Source { kind, name: name.into(), project: None, passages: texts.iter().map(passage).collect() }
    }

    fn found(source: usize, passage: usize) -> Found {
        Found { source, passage, score: 1.0 }
    }

    #[test]
    fn a_learning_stands_for_its_copies() {
        let learning = "The webhook must retry with jitter: all shops called at the same second.";
        let sources = [
            source(Kind::Run, "run r-1 close-out.json", &[&format!("learning: {learning}\napi/webhook.rs")]),
            source(Kind::Memory, "learnings/a.md", &[learning]),
            source(Kind::Memory, "learnings/b.md", &[&format!("# Webhooks\n- *{}*", learning.to_uppercase())]),
            source(Kind::ClaudeTranscript, "a.jsonl", &[&format!("I wrote this down: \"{learning}\" What comes next?")]),
            source(Kind::ClaudeTranscript, "b.jsonl", &["Why must the webhook retry with jitter?"]),
        ];
        let order = [found(0, 0), found(4, 0), found(1, 0), found(2, 0), found(3, 0)];
        let groups = group(&sources, &order, 10);
        assert_eq!(groups.len(), 2, "{groups:?}");
        assert_eq!(groups[0].found, found(1, 0));
        assert_eq!(groups[0].copies, [(0, 0), (2, 0), (3, 0)]);
        assert_eq!((groups[1].found, groups[1].copies.len()), (found(4, 0), 0));
    }

    #[test]
    fn an_answer_that_quotes_the_question_is_no_copy() {
        let question = "Make the walrus retry with full jitter.";
        let answer = format!("You asked: {question} I did: the delay is drawn between zero and the backoff.");
        let sources = [
            source(Kind::CodexTranscript, "a.jsonl", &[question, &answer]),
            source(Kind::CodexTranscript, "fork.jsonl", &[question, &answer]),
        ];
        let groups = group(&sources, &[found(0, 0), found(0, 1), found(1, 0), found(1, 1)], 10);
        assert_eq!(groups.iter().map(|group| group.found.passage).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(groups.iter().map(|group| group.copies.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn short_and_empty_texts_are_compared_whole() {
        let covers = |a: &str, b: &str| Fingerprint::of(a).covers(&Fingerprint::of(b));
        assert!(covers("Yes.", "yes") && !covers("yes", "yes, do it") && !covers("", "") && !covers("no", ""));
        assert!(!covers("retry with jitter", "jitter"));
    }

    #[test]
    fn groups_are_limited_and_copies_are_still_counted() {
        let sources =
            [source(Kind::Run, "a", &["one two three", "four five six"]), source(Kind::Run, "b", &["one two three"])];
        let groups = group(&sources, &[found(0, 0), found(0, 1), found(1, 0)], 1);
        assert_eq!((groups.len(), groups[0].copies.as_slice()), (1, &[(1, 0)][..]));
    }
}
