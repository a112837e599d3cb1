//! The protocols by name: how a request shows which one it speaks, and which module words its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Event, bare, event};
use super::request::Request;
use super::script::HttpError;
use super::{chat, gemini, messages, responses};

/// Which protocol was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Anthropic Messages.
    Messages,
    /// Anthropic's question how many tokens something has. Not a model call.
    CountTokens,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions.
    Chat,
    /// Gemini `generateContent` and `streamGenerateContent`.
    Gemini,
    /// Gemini's question how many tokens something has. Not a model call.
    GeminiCountTokens,
    /// Anything else: answered as the script's [`others`](super::Script::others) say, or with 404.
    Unknown,
}

impl Protocol {
    /// The protocol of a path, whatever prefix goes before it.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path.ends_with("/v1/messages/count_tokens") {
            return Self::CountTokens;
        }
        if path.ends_with("/v1/messages") {
            return Self::Messages;
        }
        // A login of Codex leads to a path without a version.
        if path.ends_with("/responses") {
            return Self::Responses;
        }
        if path.ends_with("/chat/completions") {
            return Self::Chat;
        }
        match gemini::target(path) {
            Some((_, "generateContent" | "streamGenerateContent")) => Self::Gemini,
            Some((_, "countTokens")) => Self::GeminiCountTokens,
            _ => Self::Unknown,
        }
    }

    /// A model is asked to say something.
    #[must_use]
    pub fn is_call(self) -> bool {
        matches!(self, Self::Messages | Self::Responses | Self::Chat | Self::Gemini)
    }

    /// Reads a request: where Gemini names the model and the stream is the path, not the body.
    pub(super) fn read(self, path: &str, body: &Value) -> Request {
        match self {
            Self::Responses => Request::responses(body),
            Self::Chat => Request::chat(body),
            Self::Gemini | Self::GeminiCountTokens => Request::gemini(path, body),
            Self::Messages | Self::CountTokens | Self::Unknown => Request::messages(body),
        }
    }

    /// The stream's events.
    pub(super) fn events(self, answer: &Answer) -> Vec<Event> {
        match self {
            Self::Responses => responses::events(answer),
            Self::Chat => chat::events(answer),
            Self::Gemini | Self::GeminiCountTokens => gemini::events(answer),
            Self::Messages | Self::CountTokens | Self::Unknown => messages::events(answer),
        }
    }

    /// The whole answer at once.
    pub(super) fn whole(self, answer: &Answer) -> Value {
        match self {
            Self::Responses => responses::whole(answer),
            Self::Chat => chat::whole(answer),
            Self::Gemini | Self::GeminiCountTokens => gemini::whole(answer),
            Self::Messages | Self::CountTokens | Self::Unknown => messages::whole(answer),
        }
    }

    /// An error as the service words it.
    pub(super) fn error(self, error: &HttpError) -> Value {
        match self {
            Self::Responses | Self::Chat => responses::error(error),
            Self::Gemini | Self::GeminiCountTokens => gemini::error(error),
            Self::Messages | Self::CountTokens | Self::Unknown => messages::error(error),
        }
    }

    /// An error in a stream that has begun.
    pub(super) fn error_event(self, error: &HttpError) -> Event {
        match self {
            Self::Responses => responses::error_event(error),
            Self::Chat | Self::Gemini | Self::GeminiCountTokens => bare(&self.error(error)),
            Self::Messages | Self::CountTokens | Self::Unknown => event("error", &self.error(error)),
        }
    }

    /// The answer to a question how many tokens something has.
    pub(super) fn counted(self, tokens: u64) -> Value {
        match self {
            Self::GeminiCountTokens => json!({"totalTokens": tokens}),
            _ => json!({"input_tokens": tokens}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_changes_nothing() {
        for (path, protocol) in [
            ("/v1/messages", Protocol::Messages),
            ("/v1/messages/count_tokens", Protocol::CountTokens),
            ("/v1/responses", Protocol::Responses),
            ("/backend-api/codex/responses", Protocol::Responses),
            ("/v1/chat/completions", Protocol::Chat),
            ("/v1beta/models/g-2.5:generateContent", Protocol::Gemini),
            ("/v1beta/models/g-2.5:streamGenerateContent", Protocol::Gemini),
            ("/v1beta/models/g-2.5:countTokens", Protocol::GeminiCountTokens),
            ("/v1beta/models/g-2.5:embedContent", Protocol::Unknown),
            ("/v1/models", Protocol::Unknown),
        ] {
            assert_eq!(Protocol::of(path), protocol, "{path}");
            assert_eq!(Protocol::of(&format!("/lane/TOKEN{path}")), protocol, "{path}");
        }
    }
}
