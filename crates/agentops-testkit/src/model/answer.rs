//! An answer before it is written: what the protocols have in common.

use serde_json::Value;

use super::pick::{Pick, Report};
use super::request::Request;
use super::script::HttpError;
use super::tools::{Call, translate};

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// `None`: the protocol sends data without names.
    pub(super) name: Option<&'static str>,
    pub(super) data: String,
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
    /// The request asks for the usage of a stream, where that is for it to say.
    pub(super) wants_usage: bool,
}

impl Answer {
    /// Puts the picked turn into the client's words.
    pub(super) fn new(id: String, request: &Request, pick: &Pick) -> Self {
        let mut text = pick.turn.text.clone();
        let mut calls = Vec::new();
        for tool in &pick.turn.tools {
            match translate(tool, request) {
                Ok(call) => calls.push(call),
                Err(words) => text = Some(text.map_or(words.clone(), |text| format!("{text}\n{words}"))),
            }
        }
        if text.is_none() && calls.is_empty() {
            text = Some(String::new());
        }
        Self {
            id,
            model: pick.turn.answered_by.as_ref().unwrap_or(&request.model).clone(),
            text,
            calls,
            usage: pick.usage,
            repeat_usage: pick.turn.repeat_usage,
            wants_usage: request.wants_usage,
        }
    }

    /// The text in the pieces in which it is streamed.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        self.text.iter().flat_map(|text| text.split_inclusive(' '))
    }
}

impl Event {
    /// As it goes over the wire.
    pub(super) fn frame(&self) -> String {
        match self.name {
            Some(name) => format!("event: {name}\ndata: {}\n\n", self.data),
            None => format!("data: {}\n\n", self.data),
        }
    }
}

/// An event that is no piece.
pub(super) fn event(name: &'static str, data: &Value) -> Event {
    Event { name: Some(name), data: data.to_string(), piece: false }
}

/// An event that carries a piece.
pub(super) fn piece(name: &'static str, data: &Value) -> Event {
    Event { piece: true, ..event(name, data) }
}

/// An event without a name that is no piece.
pub(super) fn bare(data: &Value) -> Event {
    bare_text(&data.to_string())
}

/// An event without a name that carries a piece.
pub(super) fn bare_piece(data: &Value) -> Event {
    Event { piece: true, ..bare(data) }
}

/// An event without a name whose data is no JSON.
pub(super) fn bare_text(data: &str) -> Event {
    Event { name: None, data: data.into(), piece: false }
}

/// The error's type: its own, or the usual one.
pub(super) fn kind_or(error: &HttpError, usual: &str) -> String {
    if error.kind.is_empty() { usual.into() } else { error.kind.clone() }
}
