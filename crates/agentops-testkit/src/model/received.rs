//! What is noted of a request as it came in: enough to show that it was passed on untouched and that a value arrived or did
//! not arrive. Of headers only the names are kept, and where a value that the test knows was seen.

use std::fmt;

use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

/// A value to look out for in requests: the provider's key, which must arrive, or a lane's token, which must not.
#[derive(Clone, PartialEq, Eq)]
pub struct Watch {
    name: String,
    value: String,
}

impl Watch {
    /// Looks for `value`, and calls it `name` in everything that is remembered or written.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Watch({}, value not shown)", self.name)
    }
}

/// A place in a request where a watched value was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The value's name.
    pub name: String,
    /// Where it was.
    pub place: Place,
}

/// Where in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In the body.
    Body,
    /// In a header.
    Header {
        /// The header, in lower case.
        header: String,
        /// The value is all that the header says, but for a scheme such as `Bearer` before it.
        whole: bool,
    },
}

/// Headers in which clients put their key.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];

impl Place {
    /// The value stood alone in a header for credentials.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        matches!(self, Self::Header { header, whole: true } if CREDENTIAL_HEADERS.contains(&header.as_str()))
    }
}

/// Where the client asked the [`Proxy`](crate::proxy::Proxy) to lead it, on a connection that came through one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tunnel(pub(crate) String);

/// Every place in which a watched value stands.
pub(super) fn sightings(watched: &[Watch], head: &Parts, body: &[u8]) -> Vec<Sighting> {
    let mut seen = Vec::new();
    for watch in watched {
        let value = watch.value.as_str();
        let mut note = |place| seen.push(Sighting { name: watch.name.clone(), place });
        if head.uri.path().contains(value) {
            note(Place::Path);
        }
        if head.uri.query().is_some_and(|query| query.contains(value)) {
            note(Place::Query);
        }
        for (name, held) in &head.headers {
            if contains(held.as_bytes(), value) {
                let alone = held.to_str().unwrap_or_default();
                let alone = alone.split_once(' ').map_or(alone, |(_scheme, rest)| rest);
                note(Place::Header { header: name.as_str().into(), whole: alone == value });
            }
        }
        if contains(body, value) {
            note(Place::Body);
        }
    }
    seen
}

fn contains(bytes: &[u8], value: &str) -> bool {
    !value.is_empty() && bytes.windows(value.len()).any(|window| window == value.as_bytes())
}

/// The query without a key: Gemini takes one there.
pub(super) fn without_key(query: &str) -> String {
    let field = |field: &str| match field.split_once('=') {
        Some((name @ ("key" | "access_token"), _)) => format!("{name}=REMOVED"),
        _ => field.to_owned(),
    };
    query.split('&').map(field).collect::<Vec<_>>().join("&")
}
