//! The words of labelled requests, counted for each label.
//!
//! [`crate::prior::Prior`] searches these words as one more field of each entry. A label with a single labelled request
//! is thereby compared with all others on the same scale, which a classifier trained on one example cannot do.

use std::collections::HashMap;

use crate::bytes::{Reader, Writer};
use crate::features::Plain;

/// Words at most that are counted for one label; with it a label cannot grow without bound. The first ones count.
const LABEL_WORDS_MAX: u32 = 4_000;

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExampleIndex {
    /// For each word the labels that have it, in ascending order, and how often.
    words: HashMap<u64, Vec<(u32, u32)>, Plain>,
    /// The number of words of each label's requests.
    lengths: Vec<u32>,
    /// Their sum.
    all: u64,
}

impl ExampleIndex {
    /// An empty index for this many labels.
    #[must_use]
    pub fn new(labels: usize) -> Self {
        Self { lengths: vec![0; labels], ..Self::default() }
    }

    /// Counts the words of one more request, given as hashes of their stems without stop words.
    pub fn add(&mut self, terms: &[u64], label: usize) {
        let Some(length) = self.lengths.get_mut(label) else { return };
        let label = u32::try_from(label).unwrap_or(u32::MAX);
        for term in terms {
            if *length >= LABEL_WORDS_MAX {
                return;
            }
            *length += 1;
            self.all += 1;
            let labels = self.words.entry(*term).or_default();
            match labels.binary_search_by_key(&label, |(label, _)| *label) {
                Ok(at) => labels[at].1 += 1,
                Err(at) => labels.insert(at, (label, 1)),
            }
        }
    }

    /// Whether no request was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// The labels whose requests have a word, in ascending order, and how often they have it.
    #[must_use]
    pub fn labels_with(&self, term: u64) -> &[(u32, u32)] {
        self.words.get(&term).map_or(&[], Vec::as_slice)
    }

    /// The length of a label's requests in words, as a multiple of the mean over all labels.
    #[must_use]
    pub fn relative_length(&self, label: u32) -> f32 {
        let mean = (self.all as f32 / self.lengths.len().max(1) as f32).max(1.0);
        self.lengths.get(label as usize).map_or(0.0, |length| *length as f32 / mean)
    }
}

impl ExampleIndex {
    pub(crate) fn write(&self, to: &mut Writer) {
        let mut terms: Vec<u64> = self.words.keys().copied().collect();
        terms.sort_unstable();
        to.many(&self.lengths);
        to.many(&terms);
        for term in terms {
            let (labels, counts): (Vec<u32>, Vec<u32>) = self.labels_with(term).iter().copied().unzip();
            to.many(&labels);
            to.many(&counts);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut index = Self { lengths: from.many()?, ..Self::default() };
        index.all = index.lengths.iter().map(|length| u64::from(*length)).sum();
        for term in from.many::<u64>()? {
            let (labels, counts): (Vec<u32>, Vec<u32>) = (from.many()?, from.many()?);
            let fits = labels.len() == counts.len()
                && labels.is_sorted_by(|a, b| a < b)
                && labels.last().is_none_or(|last| (*last as usize) < index.lengths.len());
            if !fits {
                return None;
            }
            index.words.insert(term, labels.into_iter().zip(counts).collect());
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_for_each_label_and_bounded() {
        let mut index = ExampleIndex::new(3);
        index.add(&[7, 8, 7], 2);
        index.add(&[7], 0);
        index.add(&[7], 3);
        assert_eq!(index.labels_with(7), [(0, 1), (2, 2)]);
        assert_eq!(index.labels_with(9), []);
        assert!(index.relative_length(2) > index.relative_length(0) && index.relative_length(1) == 0.0);
        index.add(&vec![1; 10_000], 1);
        assert_eq!(index.labels_with(1), [(1, LABEL_WORDS_MAX)]);
    }

    #[test]
    fn bytes_give_the_same_index() {
        let mut index = ExampleIndex::new(4);
        index.add(&[3, 1, 2], 1);
        index.add(&[1, 1], 3);
        let mut to = Writer::default();
        index.write(&mut to);
        let bytes = to.sealed();
        let read = ExampleIndex::read(&mut Reader::of_sealed(&bytes).unwrap()).unwrap();
        assert_eq!(index, read);
    }
}
