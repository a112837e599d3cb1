//! Who a call is made as, and what of a client's head goes on to the destination.

use std::fmt;
use std::sync::Arc;

use agentops_safe::Secret;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::destination::KeyForm;
use crate::scrub::{KeyForms, KeyScrubber};

/// As whom a lane's calls are made.
#[derive(Debug, Clone)]
pub enum Identity {
    /// With a key that the agent never sees: it shows its lane's token instead.
    Key(Secret),
    /// With the login that the agent's own program holds. Its `Authorization` passes unread, to the official host only.
    Login,
    /// As nobody: the destination asks for no key, as a model server on this machine.
    Nobody,
}

/// What is done with the credentials in a request's head.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// The client's go on as they are.
    Pass,
    /// The client's are taken out; this takes their place.
    Replace(Option<Key>),
}

/// A key, as it is sent and as it is looked for.
#[derive(Clone)]
pub(crate) struct Key {
    name: HeaderName,
    value: HeaderValue,
    /// `None`: the key is too short to be looked for.
    forms: Option<Arc<KeyForms>>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The key cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key holds a blank, a line break or another character that no key has; set the key alone")]
pub struct KeyError;

/// A key without the white space around it. A provider would read a key with a blank inside as two things, and its error may
/// then repeat a part that nobody recognizes as the key.
///
/// # Errors
///
/// A character inside it is neither a printable ASCII character nor allowed in a key.
pub fn usable_key(key: &str) -> Result<&str, KeyError> {
    let key = key.trim();
    if key.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(key) } else { Err(KeyError) }
}

/// Whether it is a header in which clients send what proves who they are.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    matches!(name.as_str(), "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" | "cookie" | "x-amz-security-token")
}

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TE: HeaderValue = HeaderValue::from_static("te");

/// Whether the client reads what comes after a body (RFC 9110, section 10.1.4).
fn takes_trailers(client: &HeaderMap) -> bool {
    client.get(header::TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// Whether a header holds for one connection only (RFC 9110, section 7.6.1), or is one that the gateway writes itself; `named`
/// are those of which the connection says so.
fn is_per_connection(name: &HeaderName, named: &[String]) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "expect"
            | "host"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    ) || named.iter().any(|other| other == name.as_str())
}

impl Credentials {
    pub(crate) fn new(identity: &Identity, form: KeyForm) -> Result<Self, KeyError> {
        let key = match identity {
            Identity::Login => return Ok(Self::Pass),
            Identity::Nobody => return Ok(Self::Replace(None)),
            Identity::Key(key) => usable_key(key.expose())?,
        };
        let (name, value) = match form {
            KeyForm::XApiKey => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key)),
            KeyForm::Bearer => (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))),
            KeyForm::XGoogApiKey => (HeaderName::from_static("x-goog-api-key"), HeaderValue::from_str(key)),
        };
        let mut value = value.map_err(|_| KeyError)?;
        value.set_sensitive(true);
        let forms = KeyForms::new(key).map(Arc::new);
        Ok(Self::Replace((!key.is_empty()).then_some(Key { name, value, forms })))
    }

    /// A key goes out, which no answer may show.
    pub(crate) fn is_key(&self) -> bool {
        matches!(self, Self::Replace(Some(_)))
    }

    /// What covers the key in one answer.
    pub(crate) fn scrubber(&self) -> KeyScrubber {
        match self {
            Self::Replace(Some(key)) => KeyScrubber::new(key.forms.clone()),
            _ => KeyScrubber::default(),
        }
    }

    /// What the client shows in the places of keys: the text after `Bearer`, or all of it.
    pub(crate) fn shown(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let places = headers.iter().filter(|(name, _)| is_credential(name)).map(|(_, value)| value);
        places.map(|value| {
            let value = value.as_bytes();
            value
                .split_at_checked(7)
                .filter(|(start, _)| start.eq_ignore_ascii_case(b"bearer "))
                .map_or(value, |(_, key)| key)
        })
    }

    /// The head that goes on to the destination: the client's in its order, without what holds for its connection, with
    /// the length of the body that goes on.
    ///
    /// Calls ask for an answer that is not compressed: the gateway reads what was used from the answer as it passes, and in a
    /// compressed stream neither a limit nor the provider's figures can be seen in time. So does whatever carries a key: it
    /// could not be covered in a compressed error.
    pub(crate) fn head(&self, client: &HeaderMap, host: &HeaderValue, length: Option<usize>, is_call: bool) -> HeaderMap {
        let readable = is_call || self.is_key();
        let mut head = HeaderMap::with_capacity(client.len() + 3);
        head.insert(header::HOST, host.clone());
        let named = connection_names(client);
        for (name, value) in client {
            let value = match *name {
                header::CONTENT_LENGTH => match length {
                    Some(length) => HeaderValue::from(length),
                    None => continue,
                },
                header::ACCEPT_ENCODING if readable => IDENTITY,
                // A request's body is sent as a whole, so nothing comes after it.
                header::TRAILER => continue,
                _ if self.is_replaced(name) || is_per_connection(name, &named) => continue,
                _ => value.clone(),
            };
            head.append(name.clone(), value);
        }
        if let Some(length) = length
            && !head.contains_key(header::CONTENT_LENGTH)
        {
            head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if readable && !head.contains_key(header::ACCEPT_ENCODING) {
            head.insert(header::ACCEPT_ENCODING, IDENTITY);
        }
        if takes_trailers(client) {
            // Both hold for one connection each; what the client takes, the gateway passes on.
            head.insert(header::TE, TRAILERS);
            head.insert(header::CONNECTION, TE);
        }
        if let Self::Replace(Some(key)) = self {
            head.insert(key.name.clone(), key.value.clone());
        }
        head
    }

    fn is_replaced(&self, name: &HeaderName) -> bool {
        matches!(self, Self::Replace(_)) && is_credential(name)
    }

    /// The path without a key in its query, for which Gemini's clients have a parameter.
    pub(crate) fn path<'a>(&self, path: &'a str) -> std::borrow::Cow<'a, str> {
        let (Self::Replace(_), Some((before, query))) = (self, path.split_once('?')) else { return path.into() };
        let is_key = |pair: &&str| matches!(pair.split('=').next(), Some("key" | "api_key" | "access_token"));
        if !query.split('&').any(|pair| is_key(&pair)) {
            return path.into();
        }
        let rest: Vec<_> = query.split('&').filter(|pair| !is_key(pair)).collect();
        if rest.is_empty() { before.into() } else { format!("{before}?{}", rest.join("&")).into() }
    }
}

/// The headers of an answer that go back to the client. Headers for browsers go with them: a web page is refused before
/// anything is forwarded, so none of them invites one.
pub(crate) fn answer_head(mut destination: HeaderMap, scrubber: &KeyScrubber) -> HeaderMap {
    scrubber.cover_head(&mut destination);
    let named = connection_names(&destination);
    let keeps = |name: &HeaderName| !is_per_connection(name, &named);
    if destination.keys().all(keeps) {
        return destination;
    }
    let mut head = HeaderMap::with_capacity(destination.len());
    for (name, value) in &destination {
        if keeps(name) {
            head.append(name.clone(), value.clone());
        }
    }
    head
}

/// Headers that `Connection` names hold for that connection too.
fn connection_names(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| name != "keep-alive" && name != "close").collect()
}
