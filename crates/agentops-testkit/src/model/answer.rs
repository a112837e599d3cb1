//! An answer before it is written: what both protocols have in common.

use serde_json::Value;

use super::pick::{Pick, Report};
use super::request::Request;
use super::script::HttpError;
use super::tools::{Call, translate};

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) data: Value,
    /// A piece of text or tool input: it may come late.
    pub(super) piece: bool,
}

/// What the model says, in the client's own words but in no protocol yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Unique for the server; ids within the answer are made from it.
    pub(super) id: String,
    pub(super) model: String,
    pub(super) text: Option<String>,
    pub(super) calls: Vec<Call>,
    pub(super) usage: Report,
    pub(super) repeat_usage: bool,
}

impl Answer {
    /// Puts the picked turn into the client's words.
    pub(super) fn new(id: String, request: &Request, pick: &Pick) -> Self {
        let mut text = pick.turn.text.clone();
        let mut calls = Vec::new();
        for tool in &pick.turn.tools {
            match translate(tool, request) {
                Ok(call) => calls.push(call),
                Err(words) => {
                    text = Some(text.map_or(words.clone(), |text| format!("{text}\n{words}")))
                }
            }
        }
        if text.is_none() && calls.is_empty() {
            text = Some(String::new());
        }
        Self {
            id,
            model: request.model.clone(),
            text,
            calls,
            usage: pick.usage,
            repeat_usage: pick.turn.repeat_usage,
        }
    }

    /// The text in the pieces in which it is streamed.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        self.text.iter().flat_map(|text| text.split_inclusive(' '))
    }
}

/// An event that is no piece.
pub(super) fn event(name: &'static str, data: Value) -> Event {
    Event {
        name,
        data,
        piece: false,
    }
}

/// An event that carries a piece.
pub(super) fn piece(name: &'static str, data: Value) -> Event {
    Event {
        name,
        data,
        piece: true,
    }
}

/// The error's type: its own, or the usual one.
pub(super) fn kind_or(error: &HttpError, usual: &str) -> String {
    if error.kind.is_empty() {
        usual.into()
    } else {
        error.kind.clone()
    }
}
