//! The four protocols that clients speak to model providers: bytes in, figures out.
//!
//! Nothing here decides, waits, or does input and output. A request is read where it stands (its top level was found by
//! [`crate::scan`]), an answer while it goes by. Readers are tolerant of what they do not know, and never believe a report
//! that cannot be true.

mod chat;
mod endpoint;
mod gemini;
mod image;
mod inline;
mod json;
mod messages;
mod pdf;
mod reader;
mod reply;
mod request;
mod responses;
mod spelling;
#[cfg(test)]
mod tests;
mod usage;
mod words;
mod written;

pub use endpoint::{Endpoint, RULES, Rule, Treatment, endpoint, table};
pub use image::ImageTokens;
pub use reader::{Answer, Reader, Seen};
pub use reply::{Reply, error, too_long};
pub use request::{
    BodyPart, Edit, Head, Limit, Media, Role, Uncountable, cache_marks, head, is_compaction, limit_output, media, role,
};

/// How a client speaks to its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// OpenAI Chat Completions, and the many that speak like it.
    Chat,
    /// Gemini `generateContent`.
    Gemini,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Responses, Self::Chat, Self::Gemini];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "Anthropic Messages",
            Self::Responses => "OpenAI Responses",
            Self::Chat => "OpenAI Chat Completions",
            Self::Gemini => "Gemini",
        }
    }

    /// The top-level member that holds the conversation.
    #[must_use]
    pub fn items_key(self) -> &'static str {
        match self {
            Self::Messages | Self::Chat => "messages",
            Self::Responses => "input",
            Self::Gemini => "contents",
        }
    }
}
