//! Answering one request: which turn, in which words, at which pace and with which fault.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::{Answer, Event};
use super::pick::{Pick, pick};
use super::protocol::Protocol;
use super::received::{self, Tunnel};
use super::record::{Record, Served};
use super::request::Request;
use super::script::{HttpError, Turn};
use super::server::Shared;

/// The largest request that is read.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let parsed = serde_json::from_slice::<Value>(&body).ok().filter(|_| head.method == Method::POST);
    let protocol = if parsed.is_some() { Protocol::of(&path) } else { Protocol::Unknown };
    let value = parsed.unwrap_or_default();
    let request = protocol.read(&path, &value);
    let mut picked = pick(&shared.script, &request);
    let call = protocol.is_call();
    if call && shared.has_failed_enough(&picked) {
        picked.turn = picked.turn.without_faults();
    }
    let number = shared.record(Record {
        number: 0,
        protocol,
        method: head.method.to_string(),
        path,
        query: received::without_key(query),
        tunnel: head.extensions.get::<ConnectInfo<Tunnel>>().map(|ConnectInfo(tunnel)| tunnel.0.clone()),
        host: head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned),
        headers: head.headers.keys().flat_map(|name| head.headers.get_all(name).iter().map(|_| name.to_string())).collect(),
        sightings: received::sightings(&shared.watched, &head, &body),
        conversation: picked.conversation.clone().filter(|_| call),
        turn_index: picked.turn_index,
        served: if call { picked.served.clone() } else { Served::NoCall },
        model: request.model.clone(),
        stream: request.stream,
        has_tools: !request.tools.is_empty(),
        tools: request.tools.iter().map(|tool| tool.name.clone()).collect(),
        bytes: body.len(),
        body: Some(body.clone()),
        max_tokens: output_cap(&value),
        last_user: request.last_user().into(),
        opening: request.opening(),
    });
    match protocol {
        Protocol::CountTokens | Protocol::GeminiCountTokens => {
            let guess = u64::try_from(body.len() / 4).unwrap_or(u64::MAX);
            plain(200, protocol.counted(shared.script.count_tokens.unwrap_or(guess)).to_string())
        }
        Protocol::Unknown => match shared.script.others.iter().find(|other| head.uri.path().ends_with(&other.path)) {
            Some(other) => plain(other.status, other.body.to_string()),
            None => plain(404, protocol.error(&HttpError::new(404, "not scripted")).to_string()),
        },
        _ => {
            // Gemini streams a JSON array unless it is asked for events.
            let array = protocol == Protocol::Gemini && !query.contains("alt=sse");
            let mut response = turn(shared, protocol, &request, &picked, number, array).await;
            put_headers(&mut response, &picked.turn.headers);
            response
        }
    }
}

/// The cap on output, under the name that each protocol has for it.
fn output_cap(body: &Value) -> Option<u64> {
    let caps = [
        &body["max_tokens"],
        &body["max_completion_tokens"],
        &body["max_output_tokens"],
        &body["generationConfig"]["maxOutputTokens"],
    ];
    caps.into_iter().find_map(Value::as_u64)
}

async fn turn(
    shared: Arc<Shared>,
    protocol: Protocol,
    request: &Request,
    pick: &Pick,
    number: usize,
    array: bool,
) -> Response<Body> {
    let turn = &pick.turn;
    let delay = Duration::from_millis(turn.delay_ms);
    if let Some(redirect) = &turn.redirect {
        tokio::time::sleep(delay).await;
        let mut response = plain(redirect.status, String::new());
        put(&mut response, "location", &redirect.location);
        return response;
    }
    let late = turn.error_after_chunks.filter(|_| request.stream && !array);
    if let (Some(error), None) = (&turn.http_error, late) {
        tokio::time::sleep(delay).await;
        let body = whole(&protocol.error(error), turn);
        let mut response = match turn.chunk_bytes {
            Some(_) => streamed(shared, vec![Frame { bytes: body.into(), piece: false }], turn),
            None => plain(error.status, body),
        };
        *response.status_mut() = status(error.status);
        put(&mut response, "content-type", "application/json");
        if let Some(seconds) = error.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        put_headers(&mut response, &error.headers);
        return response;
    }
    // The port keeps ids apart when a session meets two servers, one after the other.
    let answer = Answer::new(format!("{}x{number}", shared.port), request, pick);
    if request.stream && !array {
        let mut events = protocol.events(&answer);
        if let (Some(error), Some(limit)) = (&turn.http_error, late) {
            events.truncate(limit);
            events.push(protocol.error_event(error));
        }
        let mut response = streamed(shared, frames(events, turn), turn);
        put(&mut response, "content-type", "text/event-stream");
        put(&mut response, "connection", "close");
        return response;
    }
    let body = if request.stream {
        let events = protocol.events(&answer);
        let list = events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>().join(",\r\n");
        format!("[{list}]")
    } else {
        whole(&protocol.whole(&answer), turn)
    };
    if turn.cut_after_bytes.is_none() {
        tokio::time::sleep(delay).await;
        return plain(200, body);
    }
    let mut response = streamed(shared, vec![Frame { bytes: body.into(), piece: false }], turn);
    put(&mut response, "content-type", "application/json");
    response
}

/// A JSON body, or the half of it that the script wants.
fn whole(body: &Value, turn: &Turn) -> String {
    let body = body.to_string();
    if turn.malformed_json { half(&body).into() } else { body }
}

fn half(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len() / 2)]
}

/// A piece of a stream before it is sent.
struct Frame {
    bytes: Bytes,
    piece: bool,
}

fn frames(events: Vec<Event>, turn: &Turn) -> Vec<Frame> {
    let frame = |(index, mut event): (usize, Event)| {
        if turn.malformed_json && index == 1 {
            event.data = half(&event.data).into();
        }
        Frame { bytes: event.frame().into(), piece: event.piece }
    };
    events.into_iter().enumerate().map(frame).collect()
}

fn streamed(shared: Arc<Shared>, frames: Vec<Frame>, turn: &Turn) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(shared, frames, turn.clone(), sender));
    Response::new(Body::from_stream(Stream { receiver, cut: None }))
}

/// Sends the frames at the turn's pace, until they are out, the script cuts them off or the client goes away.
async fn send(shared: Arc<Shared>, frames: Vec<Frame>, turn: Turn, sender: mpsc::Sender<Result<Bytes, std::io::Error>>) {
    let pause = async |millis: u64| {
        tokio::select! {
            () = sender.closed() => false,
            () = tokio::time::sleep(Duration::from_millis(millis)) => true,
        }
    };
    if !pause(turn.delay_ms).await {
        return shared.disconnected();
    }
    let mut bytes_left = turn.cut_after_bytes.unwrap_or(usize::MAX);
    let chunk_bytes = turn.chunk_bytes.map_or(usize::MAX, usize::from);
    for (index, mut frame) in frames.into_iter().enumerate() {
        if turn.cut_after_chunks.is_some_and(|limit| index >= limit) {
            return cut(&sender).await;
        }
        if frame.piece && turn.chunk_delay_ms > 0 && !pause(turn.chunk_delay_ms).await {
            return shared.disconnected();
        }
        while !frame.bytes.is_empty() {
            let chunk = frame.bytes.split_to(frame.bytes.len().min(chunk_bytes).min(bytes_left));
            bytes_left -= chunk.len();
            if !chunk.is_empty() && sender.send(Ok(chunk)).await.is_err() {
                return shared.disconnected();
            }
            if bytes_left == 0 {
                return cut(&sender).await;
            }
        }
    }
}

async fn cut(sender: &mpsc::Sender<Result<Bytes, std::io::Error>>) {
    let cut = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the script cuts the connection here");
    // If the client is gone already, it is as cut off as it can be.
    let _ = sender.send(Err(cut)).await;
}

fn plain(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = self::status(status);
    put(&mut response, "content-type", "application/json");
    response
}

fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn put_headers(response: &mut Response<Body>, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        put(response, name, &with_time(value));
    }
}

/// A header's value with the Unix time in N seconds in the place of `{unix+N}`.
#[expect(clippy::disallowed_methods, reason = "clients compare it with the machine's own time")]
fn with_time(value: &str) -> String {
    let filled = || {
        let (before, rest) = value.split_once("{unix+")?;
        let (seconds, after) = rest.split_once('}')?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(format!("{before}{}{after}", now.checked_add(seconds.parse().ok()?)?))
    };
    filled().unwrap_or_else(|| value.to_owned())
}

/// Sets a header. One that HTTP does not allow is left out: the test that wants it finds it missing.
fn put(response: &mut Response<Body>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        response.headers_mut().insert(name, value);
    }
}

/// The receiving end as a stream, so that a body can be made of it.
struct Stream {
    receiver: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    /// A cut that waits until what was sent before it is written out.
    cut: Option<std::io::Error>,
}

impl futures_core::Stream for Stream {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(cut) = self.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        match self.receiver.poll_recv(context) {
            // An error at once would throw away what is buffered: the connection flushes only when a body has to wait.
            Poll::Ready(Some(Err(cut))) => {
                self.cut = Some(cut);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}
