//! Stand-in.
#![allow(missing_docs)]
#[derive(Debug)]
pub enum Note {
    UnknownEndpoint { endpoint: String },
}
