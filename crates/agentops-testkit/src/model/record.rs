//! What the server remembers of each request, for assertions and for the log. Never what a header says.

use axum::body::Bytes;
use serde::{Deserialize, Serialize};

use super::protocol::Protocol;
use super::received::Sighting;

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Served {
    /// A turn of the conversation.
    Turn {
        /// Its place in the script.
        index: usize,
    },
    /// A turn of a reaction.
    Reaction {
        /// What was said.
        says: String,
        /// How many model messages came after it.
        index: usize,
    },
    /// A side request got short text.
    Side,
    /// No conversation fits: text that says so.
    Unmatched,
    /// Not a model call.
    NoCall,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts all requests from 0.
    pub number: usize,
    /// The protocol.
    pub protocol: Protocol,
    /// The method.
    pub method: String,
    /// The path, with any prefix such as a lane's token, without the query.
    pub path: String,
    /// The query, without keys.
    pub query: String,
    /// The `HOST:PORT` that the client named to the proxy through which the request came.
    pub tunnel: Option<String>,
    /// The host that the request names, as it names it.
    pub host: Option<String>,
    /// The headers' names, in lower case and in order, each as often as it came.
    pub headers: Vec<String>,
    /// Where the values were seen that the test looks out for.
    pub sightings: Vec<Sighting>,
    /// The `when` of the conversation that fits; `None` for the default and for requests that are no session's step.
    pub conversation: Option<String>,
    /// How many model messages the request held.
    pub turn_index: usize,
    /// What it was answered with.
    pub served: Served,
    /// The model asked for.
    pub model: String,
    /// The request wants a stream.
    pub stream: bool,
    /// The request offers tools.
    pub has_tools: bool,
    /// The tools it offers.
    pub tools: Vec<String>,
    /// Size of its body.
    pub bytes: usize,
    /// The body, byte for byte, while [`Options::keep_body_bytes`](super::Options::keep_body_bytes) lasts. Not in the log.
    #[serde(skip)]
    pub body: Option<Bytes>,
    /// The cap on output that it names.
    pub max_tokens: Option<u64>,
    /// The last user message or tool result.
    pub last_user: String,
    /// Standing instructions and everything up to the model's first message.
    pub opening: String,
}

impl Record {
    /// A step of a session's own work, as opposed to side requests and token counts.
    #[must_use]
    pub fn main(&self) -> bool {
        !matches!(self.served, Served::Side | Served::NoCall)
    }

    /// The watched value stood somewhere in the request.
    #[must_use]
    pub fn saw(&self, name: &str) -> bool {
        self.sightings.iter().any(|sighting| sighting.name == name)
    }

    /// The watched value was the request's credential.
    #[must_use]
    pub fn credential_is(&self, name: &str) -> bool {
        self.sightings.iter().any(|sighting| sighting.name == name && sighting.place.is_credential())
    }
}
