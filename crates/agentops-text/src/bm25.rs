//! BM25: how much a document is about a query, from how often the query's words stand in it and how rare they are.
//!
//! The formula is that of Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the
//! inverse document frequency that cannot become negative: `ln(1 + (n − df + ½) / (df + ½))`.

/// The usual constants: how soon more of the same word counts less, and how much a long document is held back.
pub const K1: f64 = 1.2;
/// See [`K1`].
pub const B: f64 = 0.75;

/// How much a word tells that stands in `having` of `documents`.
#[must_use]
pub fn idf(documents: usize, having: usize) -> f64 {
    let (n, df) = (documents as f64, having as f64);
    (1.0 + (n - df + 0.5) / (df + 0.5)).ln()
}

/// What `count` occurrences of a word add to a document of `length` words, where documents have `mean` words on average.
#[must_use]
pub fn weight(count: f64, length: f64, mean: f64) -> f64 {
    if count <= 0.0 {
        return 0.0;
    }
    let long = if mean > 0.0 { length / mean } else { 1.0 };
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * long))
}
