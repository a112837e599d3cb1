//! Recall: which of what was said and done before is about a question.
//!
//! Ranking knows no disk: [`turns`] ranks what was said in a conversation, [`sessions`] ranks past work for a new task. Both
//! stand on [`index`], which counts words by field, and [`terms`], which says what counts as the same word. [`corpus`] reads
//! conversations and sessions from files, [`sources`] what this repository and agent programs keep, from which [`passages`]
//! finds what a person asks for, and [`copies`] recognises what several files say. Nothing here writes, starts a program or calls a model, and the same corpus gives the same order.

pub mod copies;
pub mod corpus;
pub mod index;
pub mod passages;
pub mod sessions;
pub mod sources;
pub mod terms;
pub mod turns;
