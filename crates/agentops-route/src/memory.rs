//! The memory of labelled requests: which ones are like a new one.
//!
//! It answers at once where the learner is still slow: a request that was corrected and comes again. And it is what a person
//! is shown: requests like this one, and where they went.

use std::collections::HashMap;

use crate::bytes::{Reader, Writer};
use crate::features::{Plain, hash, keyed, stems, words};

/// The newest requests that are kept; a learner has learnt from older ones.
pub const KEPT: usize = 2_000;
/// A word that stands in more than this share of the requests tells none from another.
const COMMON: f32 = 0.1;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    texts: Vec<String>,
    labels: Vec<u32>,
    lengths: Vec<f32>,
    words: HashMap<u64, Vec<(u32, f32)>, Plain>,
    /// Requests by all their words: one that comes again with another label has that one from then on.
    whole: HashMap<u64, u32, Plain>,
}

/// A request of the memory that is like the one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    /// Its number.
    pub at: usize,
    /// Its label's number.
    pub label: usize,
    /// How alike they are, 0 to 1: the cosine of their words, by rarity.
    pub alike: f32,
}

impl Memory {
    /// Remembers requests, the oldest first; of more than [`KEPT`] the newest.
    #[must_use]
    pub fn new<'a>(requests: impl DoubleEndedIterator<Item = (&'a str, usize)>) -> Self {
        let mut memory = Self::default();
        let mut newest: Vec<(&str, usize)> = requests.rev().take(KEPT).collect();
        newest.reverse();
        newest.into_iter().for_each(|(text, label)| memory.remember(text, label));
        memory.measure();
        memory
    }

    /// Remembers one more.
    pub fn remember(&mut self, text: &str, label: usize) {
        let (at, number) = (u32::try_from(self.texts.len()).unwrap_or(u32::MAX), u32::try_from(label).unwrap_or(u32::MAX));
        let words = words(text);
        if let Some(same) = self.whole.get(&whole(&words)) {
            self.labels[*same as usize] = number;
            return;
        }
        self.whole.insert(whole(&words), at);
        let counted = counted(&words);
        for (word, count) in &counted {
            self.words.entry(*word).or_default().push((at, *count));
        }
        self.texts.push(text.to_owned());
        self.labels.push(number);
        self.lengths.push(self.length(&counted));
        // How rare words are changes with every request; all lengths are worked out again when there are twice as many.
        if self.texts.len().is_power_of_two() {
            self.measure();
        }
    }

    fn measure(&mut self) {
        self.lengths = self.texts.iter().map(|text| self.length(&counted(&words(text)))).collect();
    }

    fn length(&self, counted: &[(u64, f32)]) -> f32 {
        counted.iter().map(|(word, count)| (self.rarity(*word) * count).powi(2)).sum::<f32>().sqrt()
    }

    fn rarity(&self, word: u64) -> f32 {
        let having = self.words.get(&word).map_or(0, Vec::len);
        (1.0 + self.texts.len() as f32 / (1.0 + having as f32)).ln()
    }

    /// How many it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A request's text.
    #[must_use]
    pub fn text(&self, at: usize) -> &str {
        self.texts.get(at).map_or("", String::as_str)
    }

    /// The requests most like this one, the likest first.
    #[must_use]
    pub fn like(&self, request: &str, most: usize) -> Vec<Like> {
        self.like_words(&words(request), most)
    }

    pub(crate) fn like_words(&self, request: &[String], most: usize) -> Vec<Like> {
        let common = (self.texts.len() as f32 * COMMON).max(8.0);
        let mut sums = vec![0.0; self.texts.len()];
        let mut length = 0.0;
        for (word, count) in counted(request) {
            let weight = self.rarity(word) * count;
            length += weight * weight;
            if let Some(postings) = self.words.get(&word).filter(|postings| (postings.len() as f32) <= common) {
                let weight = weight * self.rarity(word);
                for (at, other) in postings {
                    sums[*at as usize] += weight * other;
                }
            }
        }
        let length = f32::sqrt(length);
        let mut like: Vec<Like> = (0..sums.len())
            .filter(|at| sums[*at] > 0.0)
            .map(|at| Like {
                at,
                label: self.labels[at] as usize,
                alike: (sums[at] / (length * self.lengths[at]).max(1e-9)).min(1.0),
            })
            .collect();
        let order = |a: &Like, b: &Like| b.alike.total_cmp(&a.alike).then(b.at.cmp(&a.at));
        if like.len() > most && most > 0 {
            like.select_nth_unstable_by(most - 1, order);
        }
        like.truncate(most);
        like.sort_by(order);
        like
    }
}

impl Memory {
    pub(crate) fn write(&self, to: &mut Writer) {
        to.many(&self.labels);
        self.texts.iter().for_each(|text| to.text(text));
        to.many(&self.lengths);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let labels: Vec<u32> = from.many()?;
        let mut memory = Self { texts: from.texts(labels.len())?, labels, ..Self::default() };
        for (text, at) in memory.texts.iter().zip(0u32..) {
            let words = words(text);
            memory.whole.insert(whole(&words), at);
            for (word, count) in counted(&words) {
                memory.words.entry(word).or_default().push((at, count));
            }
        }
        memory.lengths = from.many()?;
        (memory.lengths.len() == memory.texts.len()).then_some(memory)
    }
}

fn whole(words: &[String]) -> u64 {
    words.iter().fold(0, |sum, word| keyed(7, sum, hash(word.as_bytes())))
}

/// The words of a request and pairs of neighbours, each once, and what they count.
fn counted(words: &[String]) -> Vec<(u64, f32)> {
    let stems = stems(words);
    let pairs = stems.windows(2).map(|pair| (keyed(6, pair[0], pair[1]), 0.7));
    let mut counted: Vec<(u64, f32)> = stems.iter().map(|word| (*word, 1.0)).chain(pairs).collect();
    counted.sort_unstable_by_key(|(word, _)| *word);
    counted.dedup_by_key(|(word, _)| *word);
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_is_the_likest() {
        let requests = ["rotate the logs", "rotate the keys of the cluster", "write a poem about keys"];
        let memory = Memory::new(requests.iter().enumerate().map(|(label, text)| (*text, label)));
        for (label, text) in requests.iter().enumerate() {
            let like = memory.like(text, 2);
            assert_eq!(like[0].label, label);
            assert!(like[0].alike > 0.99 && like[0].alike < 1.01, "{like:?}");
            assert!(like.get(1).is_none_or(|next| next.alike < 0.9));
        }
        assert!(memory.like("全部", 3).is_empty());
    }

    #[test]
    fn only_the_newest_are_kept() {
        let texts: Vec<String> = (0..KEPT + 10).map(|n| format!("request w{n}x")).collect();
        let memory = Memory::new(texts.iter().map(|text| (text.as_str(), 0)));
        assert_eq!(memory.len(), KEPT);
        assert_eq!(memory.text(0), "request w10x");
    }
}
