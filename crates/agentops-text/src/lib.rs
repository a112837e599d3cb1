//! What a text counts for a model, and which words it is made of.
//!
//! Pure: no disk, clock or network. The gateway counts with it before a call leaves, bundles count with it against their
//! budget, recall and rankings compare words with it.

pub mod bm25;
pub mod decode;
pub mod tokens;
pub mod words;
