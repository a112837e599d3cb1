//! What the gateway answers where it does not forward: in the form of the client's protocol, in words that say what to do,
//! and never with anything that came from a request's head.

use std::borrow::Cow;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use crate::protocol::{self, Endpoint, Protocol, Reply};
use crate::stream::Body;

/// A request that goes no further.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    words: Cow<'static, str>,
    /// Nothing more is read from this client.
    close: bool,
}

impl Refusal {
    /// A request that is refused by what it is; its connection is not read any further.
    pub(crate) fn closing(status: StatusCode, words: impl Into<Cow<'static, str>>) -> Self {
        Self { status, words: words.into(), close: true }
    }

    /// A request that could not be answered.
    pub(crate) fn new(status: StatusCode, words: impl Into<Cow<'static, str>>) -> Self {
        Self { status, words: words.into(), close: false }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn reason(&self) -> &str {
        &self.words
    }

    /// The answer, in the form that a client of this protocol understands; of none: in the one that most do.
    pub(crate) fn answer(self, protocol: Option<Protocol>) -> Response<Body> {
        let words = format!("AgentOps gateway: {}", self.words);
        let reply = protocol::error(protocol.unwrap_or(Protocol::Chat), self.status.as_u16(), &words);
        let mut answer = reply_answer(reply);
        if self.close {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// An answer of ours.
pub(crate) fn reply_answer(reply: Reply) -> Response<Body> {
    let mut answer = Response::new(Body::whole(reply.body.into()));
    *answer.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The protocol that an endpoint belongs to.
pub(crate) fn protocol_of(endpoint: &Endpoint<'_>) -> Option<Protocol> {
    match endpoint {
        Endpoint::Call { protocol, .. } | Endpoint::Count(protocol) => Some(*protocol),
        Endpoint::Later(_) => Some(Protocol::Responses),
        Endpoint::Lookup | Endpoint::Refused(_) => None,
    }
}
