//! The four protocols that agents speak with model providers: what a request says of itself, what an answer used, and how
//! a refusal looks that a client understands. Pure: bytes in, figures out.

mod answer;
mod head;
mod media;
mod reply;

use std::ops::Range;

pub use answer::{Answer, Reader, Seen};
pub use head::{Edit, Head, Limit, head, is_compaction, limit_output};
pub use media::{Media, media};
pub use reply::{Reply, error, too_long};

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions.
    Chat,
    /// Gemini `generateContent`.
    Gemini,
}

impl Protocol {
    /// The member of a request that holds the conversation.
    #[must_use]
    pub fn items_key(self) -> &'static str {
        match self {
            Protocol::Messages | Protocol::Chat => "messages",
            Protocol::Responses => "input",
            Protocol::Gemini => "contents",
        }
    }
}

/// What a client's path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A call of a model.
    Call {
        /// How it is to be read.
        protocol: Protocol,
        /// The model, where the path names it.
        model: Option<&'a str>,
        /// Whether the path asks for a stream; `None`: the body says.
        streamed: Option<bool>,
    },
    /// Asks how many tokens a request would be; calls no model.
    Count(Protocol),
    /// Something else. It is passed on.
    Other,
}

/// Reads a path, which may carry a query. What stands before the known end (a version, a prefix) does not matter.
#[must_use]
pub fn endpoint<'a>(method: &str, path: &'a str) -> Endpoint<'a> {
    if method != "POST" {
        return Endpoint::Other;
    }
    let path = path.split('?').next().unwrap_or_default();
    let call = |protocol| Endpoint::Call { protocol, model: None, streamed: None };
    let path = path.strip_suffix('/').unwrap_or(path);
    for (end, endpoint) in [
        ("/messages", call(Protocol::Messages)),
        ("/messages/count_tokens", Endpoint::Count(Protocol::Messages)),
        ("/responses", call(Protocol::Responses)),
        ("/responses/input_tokens", Endpoint::Count(Protocol::Responses)),
        ("/chat/completions", call(Protocol::Chat)),
    ] {
        if path.ends_with(end) {
            return endpoint;
        }
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((model, "generateContent")) => {
            Endpoint::Call { protocol: Protocol::Gemini, model: Some(model), streamed: Some(false) }
        }
        Some((model, "streamGenerateContent")) => {
            Endpoint::Call { protocol: Protocol::Gemini, model: Some(model), streamed: Some(true) }
        }
        Some((_, "countTokens")) => Endpoint::Count(Protocol::Gemini),
        _ => Endpoint::Other,
    }
}

/// A range of `part`'s own bytes as one of the whole it stands in.
fn inside(at: usize, range: Range<usize>) -> Range<usize> {
    at + range.start..at + range.end
}
