//! Words by field, counted, and how well documents fit a question field by field.

use std::collections::{BTreeMap, HashMap};

use agentops_text::bm25;

use crate::terms;

/// A question's terms with how much each counts, in a fixed order.
pub type Query = BTreeMap<String, f64>;

/// One field of all documents.
#[derive(Debug, Default)]
pub struct Field {
    /// By term: in which documents it stands, and how often.
    postings: HashMap<String, Vec<(u32, u32)>>,
    /// Terms of each document.
    lengths: Vec<u32>,
}

impl Field {
    /// Adds the next document.
    pub fn push(&mut self, text: &str) {
        let document = self.lengths.len() as u32;
        let mut length = 0;
        terms::each_term(text, |term| {
            length += 1;
            let postings = match self.postings.get_mut(term) {
                Some(postings) => postings,
                None => self.postings.entry(term.to_owned()).or_default(),
            };
            match postings.last_mut() {
                Some((last, count)) if *last == document => *count += 1,
                _ => postings.push((document, 1)),
            }
        });
        self.lengths.push(length);
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// BM25 of every document, where only `candidates` count and get a score. What is rare is rare among them.
    ///
    /// `held_back` is how much a long document is held back, 0 to 1 (b of the formula).
    #[must_use]
    pub fn scores(&self, query: &Query, candidates: &[bool], held_back: f64) -> Vec<f64> {
        let documents = candidates.iter().filter(|is| **is).count();
        let terms: u64 = self.lengths.iter().zip(candidates).filter(|(_, is)| **is).map(|(len, _)| u64::from(*len)).sum();
        let mean = terms as f64 / documents.max(1) as f64;
        let mut scores = vec![0.0; self.lengths.len()];
        for (term, counts) in query {
            let Some(postings) = self.postings.get(term) else { continue };
            let is_candidate = |(document, _): &&(u32, u32)| candidates.get(*document as usize).copied().unwrap_or_default();
            let idf = bm25::idf(documents, postings.iter().filter(is_candidate).count());
            for (document, count) in postings.iter().filter(is_candidate) {
                let document = *document as usize;
                // The formula holds back by its own constant; a length between brings in ours.
                let long = f64::from(self.lengths[document]) / if mean > 0.0 { mean } else { 1.0 };
                let length = (1.0 - held_back + held_back * long - (1.0 - bm25::B)) / bm25::B * mean;
                scores[document] += counts * idf * bm25::weight(f64::from(*count), length, mean);
            }
        }
        scores
    }

    /// In which documents a term stands.
    pub fn having<'f>(&'f self, term: &str) -> impl Iterator<Item = usize> + 'f {
        self.postings.get(term).into_iter().flatten().map(|(document, _)| *document as usize)
    }

    /// How much a term tells that stands in so many of all documents.
    #[must_use]
    pub fn idf(&self, term: &str) -> f64 {
        bm25::idf(self.len(), self.postings.get(term).map_or(0, Vec::len))
    }
}

/// Documents by score, best first; equal ones in the order of `before`, which is also what has no score.
pub fn ranked(scores: &[f64], before: impl Fn(usize, usize) -> std::cmp::Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| before(*a, *b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_tell_more_and_only_candidates_count() {
        let mut field = Field::default();
        ["red apple", "red pear", "red plum", "green apple"].iter().for_each(|text| field.push(text));
        let query = Query::from([("red".to_owned(), 1.0), ("appl".to_owned(), 1.0)]);
        let scores = field.scores(&query, &[true; 4], 0.75);
        assert!(scores[0] > scores[3] && scores[3] > scores[1] && scores[1] == scores[2], "{scores:?}");
        assert_eq!(field.scores(&query, &[false, true, true, true], 0.75)[0], 0.0);
        assert_eq!(field.having("appl").collect::<Vec<_>>(), [0, 3]);
    }
}
