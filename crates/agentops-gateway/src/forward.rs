//! One request, from its head to its answer.

use std::sync::Arc;
use std::time::Duration;

use agentops_core::workflow::Secrets;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming as Arriving};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::{Method, Request, Response, StatusCode, Uri};

use crate::door;
use crate::entry::Entry;
use crate::follow::Following;
use crate::host::{self, Note};
use crate::identity::{Credentials, answer_head};
use crate::lane::{Admitted, Incoming};
use crate::outgoing::Outgoing;
use crate::protocol::{self, Endpoint, Protocol};
use crate::refusal::{Refusal, protocol_of, reply_answer};
use crate::stream::Body;
use crate::token::{self, Denied, Lanes};
use crate::upstream::{Answer, Failure};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) port: u16,
    pub(crate) lanes: Lanes<Entry>,
    pub(crate) limits: Limits,
}

/// Bounds on what clients and providers may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How long a client may take to send a request's head; also how long its idle connection is kept.
    pub head: Duration,
    /// How long a client may take to send a request's body.
    pub body: Duration,
    /// How long a provider may say nothing, before an answer and within it. There is no limit on a whole answer.
    pub silence: Duration,
    /// How long making a connection to a provider may take.
    pub connect: Duration,
    /// How long a client may leave an answer unread.
    pub unread: Duration,
    /// How many connections of clients may be open; fewer where the process may not have so many files open. Where all are,
    /// the one that is idle for longest is closed for the next.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            head: Duration::from_secs(60),
            body: Duration::from_secs(120),
            silence: Duration::from_secs(600),
            connect: Duration::from_secs(20),
            unread: Duration::from_secs(300),
            connections_max: 1024,
        }
    }
}

/// A request that was answered by its destination.
struct Answered {
    answer: Answer,
    following: Following,
}

/// Answers a request, whatever it is.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Arriving>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = match door::check(&parts.method, &parts.uri, &parts.headers, shared.port) {
        Ok(target) => target,
        Err(refusal) => {
            // Whoever knows a lane's token is its client, and its user may want to know.
            let door::Target { token, path } = door::target(&parts.uri);
            if let Ok(entry) = shared.lanes.enter(token) {
                entry.refused(&parts.method, path, false, &refusal);
                discard(&shared.limits, body).await;
            }
            return refusal.answer(None);
        }
    };
    let entry = match enter(&shared, target.token) {
        Ok(entry) => entry,
        Err(refusal) => return refusal.answer(protocol_of(&protocol::endpoint(parts.method.as_str(), target.path))),
    };
    let endpoint = protocol::endpoint(parts.method.as_str(), entry.destination.relative(target.path));
    let protocol = protocol_of(&endpoint);
    if shows_other_lane(&entry, &parts.headers) {
        let refusal = Refusal::closing(StatusCode::UNAUTHORIZED, "address and key name different lanes");
        entry.refused(&parts.method, target.path, false, &refusal);
        discard(&shared.limits, body).await;
        return refusal.answer(protocol);
    }
    let Some(mut closing) = entry.closing() else { return closed().answer(protocol) };
    let done = tokio::select! {
        biased;
        () = &mut closing => Err(closed().answer(protocol)),
        done = pass(&shared.limits, &entry, &endpoint, target.path, &parts, body) => done,
    };
    let Answered { answer: Answer { response, link }, mut following } = match done {
        Ok(answered) => answered,
        Err(answer) => return answer,
    };
    let (mut head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        following.failed("malformed");
        let words = format!("`{}` changes the protocol, which was not asked for", entry.destination.name);
        return Refusal::new(StatusCode::BAD_GATEWAY, words).answer(protocol);
    }
    if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
        following.failed("redirect");
        return redirected(&entry).answer(protocol);
    }
    // Nobody undoes a transfer coding, and its name goes no further.
    let must_be_read = entry.credentials.is_key() || following.is_call() && head.status.is_success();
    if must_be_read && has_content_coding(&head.headers) || has_transfer_coding(&head.headers) {
        return unread(&entry, head, following, protocol);
    }
    let scrubber = entry.credentials.scrubber();
    head.headers = answer_head(head.headers, &scrubber);
    let reason = head.extensions.remove::<ReasonPhrase>().and_then(|reason| scrubber.reason(reason));
    let body = if incoming.is_end_stream() {
        following.done();
        entry.upstream.keep(link);
        Body::whole(Bytes::new())
    } else {
        if following.is_streamed() {
            // A stream may end before its end; nothing promises its length.
            head.headers.remove(header::CONTENT_LENGTH);
        }
        Body::relayed(incoming, link, Arc::clone(&entry.upstream), following, scrubber, closing, shared.limits.silence)
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The lane that a request may use.
fn enter(shared: &Shared, token: &str) -> Result<Arc<Entry>, Refusal> {
    shared.lanes.enter(token).map_err(|denied| match denied {
        Denied::Unknown => Refusal::closing(StatusCode::UNAUTHORIZED, "no lane has this token; it belongs to one run only"),
        Denied::Closed => closed(),
    })
}

/// In the place of a key stands the lane's own token, or something else that is dropped; never another lane's.
fn shows_other_lane(entry: &Entry, headers: &HeaderMap) -> bool {
    let is_foreign = |shown: &[u8]| shown.starts_with(token::PREFIX.as_bytes()) && !entry.token.is(shown);
    matches!(entry.credentials, Credentials::Replace(_)) && Credentials::shown(headers).any(is_foreign)
}

fn closed() -> Refusal {
    Refusal::closing(
        StatusCode::FORBIDDEN,
        "this lane is closed: its session has ended, and nothing more is forwarded for it",
    )
}

fn redirected(entry: &Entry) -> Refusal {
    let words = format!(
        "`{}` sends the call to another address, which is not followed; set the destination's final address in the settings",
        entry.destination.name
    );
    Refusal::new(StatusCode::BAD_GATEWAY, words)
}

/// Answers in the place of an answer with a coding that was not asked for: it cannot be measured, and it may hold the key. The
/// status and the headers of an error are passed on, because they may say when to ask again.
fn unread(entry: &Entry, head: response::Parts, mut following: Following, protocol: Option<Protocol>) -> Response<Body> {
    let name = &entry.destination.name;
    if head.status.is_success() {
        following.failed("encoded");
        let words = format!(
            "`{name}` answers with a content coding, which was not asked for and cannot be read; turn compression off there"
        );
        return Refusal::new(StatusCode::BAD_GATEWAY, words).answer(protocol);
    }
    following.done();
    let words = format!(
        "`{name}` says why in a content coding, which was not asked for and is left out; turn compression off there"
    );
    let mut answer = Refusal::new(head.status, words).answer(protocol);
    let mut headers = answer_head(head.headers, &entry.credentials.scrubber());
    for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    headers.extend(std::mem::take(answer.headers_mut()));
    *answer.headers_mut() = headers;
    answer
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

/// By these headers a server may take a request for one with another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Whether a body has another content coding than `identity`, which is none (RFC 9110, section 8.4).
fn has_content_coding(headers: &HeaderMap) -> bool {
    has_coding_besides(b"identity", headers.get_all(header::CONTENT_ENCODING))
}

/// Whether a body has another transfer coding than `chunked`, which hyper undoes (RFC 9112, section 7).
fn has_transfer_coding(headers: &HeaderMap) -> bool {
    has_coding_besides(b"chunked", headers.get_all(header::TRANSFER_ENCODING))
}

fn has_coding_besides(known: &[u8], values: header::GetAll<'_, HeaderValue>) -> bool {
    let codings = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut codings = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    codings.any(|coding| !coding.eq_ignore_ascii_case(known))
}

/// Why a request is refused whatever its body says.
fn refused_by_head(endpoint: &Endpoint<'_>, headers: &HeaderMap) -> Option<Refusal> {
    if let Endpoint::Refused(reason) = endpoint {
        return Some(Refusal::closing(StatusCode::NOT_FOUND, *reason));
    }
    if METHOD_OVERRIDES.iter().any(|name| headers.contains_key(*name)) {
        let words = "a header that changes the method is not passed on";
        return Some(Refusal::closing(StatusCode::BAD_REQUEST, words));
    }
    if protocol_of(endpoint).is_some() && (has_content_coding(headers) || has_transfer_coding(headers)) {
        let words = "a compressed request cannot be measured; turn request compression off in the client's settings";
        return Some(Refusal::closing(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    None
}

/// Lets the client of a refused request send its body, within the usual bounds: one that is still sending when its connection
/// closes does not see the answer.
async fn discard(limits: &Limits, mut body: Arriving) {
    let reading = async {
        let mut bytes = 0;
        while bytes < limits.body_bytes_max
            && let Some(Ok(frame)) = body.frame().await
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _in_time = tokio::time::timeout(limits.body, reading).await;
}

/// Reads the request, has it admitted, and forwards it. `Err`: the client's answer is one of ours.
async fn pass(
    limits: &Limits,
    entry: &Arc<Entry>,
    endpoint: &Endpoint<'_>,
    path: &str,
    parts: &Parts,
    body: Arriving,
) -> Result<Answered, Response<Body>> {
    let protocol = protocol_of(endpoint);
    let refuse = |refusal: Refusal| {
        entry.refused(&parts.method, path, protocol.is_some(), &refusal);
        refusal.answer(Some(protocol.unwrap_or_else(|| entry.destination.family.protocol())))
    };
    if let Some(refusal) = refused_by_head(endpoint, &parts.headers) {
        discard(limits, body).await;
        return Err(refuse(refusal));
    }
    let has_body = !body.is_end_stream() || parts.headers.contains_key(header::CONTENT_LENGTH);
    let mut body = match tokio::time::timeout(limits.body, read(body, limits.body_bytes_max)).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) => return Err(refuse(refusal)),
        Err(_) => {
            let words = "the request's body did not arrive in time";
            return Err(refuse(Refusal::closing(StatusCode::REQUEST_TIMEOUT, words)));
        }
    };
    let asked = entry.credentials.path(path);
    let rules = &entry.lane.rules;
    let outgoing = match Outgoing::new(rules.secrets, &rules.redactor, asked.clone(), &parts.headers) {
        Ok(outgoing) => outgoing,
        Err(place) => {
            return Err(match protocol.filter(|_| rules.secrets == Secrets::Refuse) {
                Some(protocol) => reply_answer(entry.lane.refuse(protocol, host::Refusal::Secret).await),
                None => refuse(Refusal::new(StatusCode::BAD_REQUEST, place.to_string())),
            });
        }
    };
    let mut ticket = None;
    match endpoint {
        Endpoint::Call { protocol, model, streamed } => {
            let call = Incoming { protocol: *protocol, model: model.map(str::to_owned), streamed: *streamed, body };
            match entry.lane.admit(call).await {
                Admitted::Forward { body: admitted, ticket: given } => (body, ticket) = (admitted, Some(given)),
                Admitted::Refuse(reply) => return Err(reply_answer(reply)),
                Admitted::Malformed(words) => return Err(refuse(Refusal::new(StatusCode::BAD_REQUEST, words))),
            }
        }
        Endpoint::Count(protocol) => body = entry.lane.without_secrets(*protocol, body).await.map_err(reply_answer)?,
        Endpoint::Later(id) => {
            (body, ticket) = (Bytes::new(), entry.lane.background.take(id));
            if let Some(ticket) = &mut ticket {
                ticket.asked_again();
            }
        }
        // A question has no body (RFC 9110, section 9.3.1): what a client sends with one is read by nobody.
        Endpoint::Lookup | Endpoint::Refused(_) => body = Bytes::new(),
    }
    if outgoing.is_changed(&asked) {
        entry.lane.note(Note::Redacted);
    }
    let mut following = Following::new(ticket, Arc::clone(entry));
    let takes_body = !matches!(endpoint, Endpoint::Lookup);
    let length = (takes_body && (has_body || !body.is_empty())).then_some(body.len());
    let uri = match uri(entry, &outgoing.path) {
        Ok(uri) => uri,
        Err(refusal) => {
            following.failed("request");
            return Err(refuse(refusal));
        }
    };
    let is_call = matches!(endpoint, Endpoint::Call { .. });
    // It is made anew where it is sent again: a copy for the rare case would cost every call.
    let make = || request(entry, &parts.method, &outgoing.headers, &uri, body.clone(), length, is_call);
    match entry.upstream.send(make, limits.silence, |sending| following.sending(sending)).await {
        Ok(answer) => {
            let head = &answer.response;
            following.answered(head.status().as_u16(), head.headers(), is_stream(head.headers()));
            Ok(Answered { answer, following })
        }
        Err(failure) => {
            following.failed(word(&failure));
            Err(failed(entry, &failure, protocol))
        }
    }
}

/// The address of a client's path at the destination.
fn uri(entry: &Entry, path: &str) -> Result<Uri, Refusal> {
    let path = entry.destination.path(entry.upstream.base(), path);
    Uri::try_from(path).map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the path is not one"))
}

/// The request as the destination gets it.
fn request(
    entry: &Entry,
    method: &Method,
    headers: &HeaderMap,
    uri: &Uri,
    body: Bytes,
    length: Option<usize>,
    is_call: bool,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = entry.credentials.head(headers, entry.upstream.host(), length, is_call);
    request
}

/// The largest body that is copied although it came in one piece.
const COPIED_MAX: usize = 64 << 10;

/// The whole body, up to a bound.
async fn read(mut body: Arriving, max: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let words = format!("the request is larger than {} MiB; compact or clear the conversation", max >> 20);
        Refusal::closing(StatusCode::PAYLOAD_TOO_LARGE, words)
    };
    let promised = body.size_hint().exact().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if promised > max {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::closing(StatusCode::BAD_REQUEST, "the request's body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > max {
            return Err(too_large());
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            // What was promised is believed only as far as something came.
            all.reserve(promised.max(first.len() + data.len()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(match all.is_empty() {
        false => all.freeze(),
        // It lies in what was read from the connection, and is kept for longer than the call: a copy lets that room be used
        // for what is read next, where else each request would need new one.
        true if first.len() <= COPIED_MAX => Bytes::copy_from_slice(&first),
        true => first,
    })
}

/// One word for the call's row.
fn word(failure: &Failure) -> &'static str {
    use crate::connect::ConnectError;
    match failure {
        Failure::Connect(ConnectError::Dns(_)) => "dns",
        Failure::Connect(ConnectError::Timeout(_)) | Failure::Silent(_) => "timeout",
        Failure::Connect(ConnectError::Tls(_)) => "tls",
        Failure::Connect(ConnectError::Proxy(_)) => "proxy",
        Failure::Connect(ConnectError::Connect(_)) => "connect",
        Failure::Closed(_) => "reset",
        Failure::Malformed(_) => "malformed",
    }
}

fn failed(entry: &Entry, failure: &Failure, protocol: Option<Protocol>) -> Response<Body> {
    let status = if word(failure) == "timeout" { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    let words = format!("`{}` at {}: {failure}", entry.destination.name, entry.upstream.base().origin());
    Refusal::new(status, words).answer(protocol)
}
