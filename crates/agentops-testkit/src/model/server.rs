//! The server itself: a thread with a runtime of its own, so that plain tests can hold it like a value.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::answer::{Answer, Event};
use super::pick::{Pick, pick};
use super::record::{Protocol, Record, Served};
use super::request::Request;
use super::script::{HttpError, Script, ScriptError, Turn};
use super::{messages, responses};

/// The largest request that is read.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Every request is added to this file as one JSON line, as a [`Record`].
    pub log: Option<PathBuf>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The script is not usable.
    #[error("the script cannot be served")]
    Script(#[from] ScriptError),
    /// The log could not be opened.
    #[error("cannot open the log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No port, thread or runtime.
    #[error("cannot listen on loopback")]
    Listen(#[from] std::io::Error),
}

/// A running server. Dropping it stops it and cuts every open connection.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    port: u16,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    records: Vec<Record>,
    disconnects: usize,
    log: Option<File>,
}

impl ModelServer {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    ///
    /// When a list of turns is empty, or the machine gives no port or thread.
    pub fn start(script: Script) -> Result<Self, StartError> {
        Self::start_with(script, Options::default())
    }

    /// As [`ModelServer::start`], with options.
    ///
    /// # Errors
    ///
    /// As [`ModelServer::start`], and when the log cannot be opened.
    pub fn start_with(script: Script, options: Options) -> Result<Self, StartError> {
        script.check()?;
        let open = |path: PathBuf| {
            let file = File::options().create(true).append(true).open(&path);
            file.map_err(|source| StartError::Log { path, source })
        };
        let log = options.log.map(open).transpose()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Mutex::new(Seen {
            log,
            ..Seen::default()
        });
        let shared = Arc::new(Shared {
            script,
            port: address.port(),
            seen,
            changed: Condvar::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let serve = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = axum::serve(listener, app) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("scripted-model".into())
            .spawn(serve)?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:PORT`, as Claude Code wants it. codex wants `/v1` after it. A prefix may go between.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        self.shared.seen().records.clone()
    }

    /// How many steps of sessions were asked for; side requests and token counts are left out.
    #[must_use]
    pub fn main_count(&self) -> usize {
        self.shared
            .seen()
            .records
            .iter()
            .filter(|record| record.main())
            .count()
    }

    /// How many requests each conversation had, by its `when`.
    #[must_use]
    pub fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for when in self
            .shared
            .seen()
            .records
            .iter()
            .filter_map(|record| record.conversation.clone())
        {
            *counts.entry(when).or_insert(0) += 1;
        }
        counts
    }

    /// How many clients went away while they were being answered, as an interrupted one does.
    #[must_use]
    pub fn disconnects(&self) -> usize {
        self.shared.seen().disconnects
    }

    /// Waits until `n` steps of sessions were asked for. False: the time was up first.
    #[must_use]
    pub fn wait_for(&self, n: usize, timeout: Duration) -> bool {
        self.wait_until(timeout, |records, _| {
            records.iter().filter(|record| record.main()).count() >= n
        })
    }

    /// Waits until the requests so far and the number of disconnects are as wanted. False: the time was up first.
    #[must_use]
    pub fn wait_until(&self, timeout: Duration, wanted: impl Fn(&[Record], usize) -> bool) -> bool {
        let end = Instant::now() + timeout;
        let mut seen = self.shared.seen();
        while !wanted(&seen.records, seen.disconnects) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            seen = self
                .shared
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already, and a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request and gives its number.
    fn record(&self, mut record: Record) -> usize {
        let mut seen = self.seen();
        record.number = seen.records.len();
        if let (Some(log), Ok(line)) = (&mut seen.log, serde_json::to_string(&record)) {
            // A full disk must not change what the client sees; the records in memory stay complete.
            let _ = writeln!(log, "{line}");
        }
        let number = record.number;
        seen.records.push(record);
        self.changed.notify_all();
        number
    }

    fn disconnected(&self) {
        self.seen().disconnects += 1;
        self.changed.notify_all();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    request: axum::extract::Request,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let post = request.method() == axum::http::Method::POST;
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .unwrap_or_default();
    let parsed = serde_json::from_slice::<Value>(&body).ok().filter(|_| post);
    let protocol = match &parsed {
        Some(_) if path.ends_with("/v1/messages/count_tokens") => Protocol::CountTokens,
        Some(_) if path.ends_with("/v1/messages") => Protocol::Messages,
        Some(_) if path.ends_with("/v1/responses") => Protocol::Responses,
        _ => Protocol::Unknown,
    };
    let value = parsed.unwrap_or_default();
    let request = match protocol {
        Protocol::Responses => Request::responses(&value),
        _ => Request::messages(&value),
    };
    let picked = pick(&shared.script, &request);
    let call = matches!(protocol, Protocol::Messages | Protocol::Responses);
    let number = shared.record(Record {
        number: 0,
        protocol,
        path,
        conversation: picked.conversation.clone().filter(|_| call),
        turn_index: picked.turn_index,
        served: if call {
            picked.served.clone()
        } else {
            Served::NoCall
        },
        model: request.model.clone(),
        stream: request.stream,
        has_tools: !request.tools.is_empty(),
        tools: request.tools.iter().map(|tool| tool.name.clone()).collect(),
        bytes: body.len(),
        max_tokens: value["max_tokens"]
            .as_u64()
            .or(value["max_output_tokens"].as_u64()),
        last_user: request.last_user().into(),
        opening: request.opening(),
    });
    match protocol {
        Protocol::CountTokens => {
            let guess = u64::try_from(body.len() / 4).unwrap_or(u64::MAX);
            plain(
                200,
                &json!({"input_tokens": shared.script.count_tokens.unwrap_or(guess)}),
                None,
            )
        }
        Protocol::Messages | Protocol::Responses => {
            turn(shared, protocol, &request, &picked, number).await
        }
        Protocol::Unknown => plain(
            404,
            &messages::error(&HttpError::new(404, "not scripted")),
            None,
        ),
    }
}

async fn turn(
    shared: Arc<Shared>,
    protocol: Protocol,
    request: &Request,
    pick: &Pick,
    number: usize,
) -> Response<Body> {
    let anthropic = protocol == Protocol::Messages;
    let delay = Duration::from_millis(pick.turn.delay_ms);
    if let Some(error) = &pick.turn.http_error {
        tokio::time::sleep(delay).await;
        let body = if anthropic {
            messages::error(error)
        } else {
            responses::error(error)
        };
        return plain(error.status, &body, error.retry_after_s);
    }
    // The port keeps ids apart when a session meets two servers, one after the other.
    let answer = Answer::new(format!("{}x{number}", shared.port), request, pick);
    if !request.stream {
        tokio::time::sleep(delay).await;
        return plain(
            200,
            &if anthropic {
                messages::whole(&answer)
            } else {
                responses::whole(&answer)
            },
            None,
        );
    }
    let events = if anthropic {
        messages::events(&answer)
    } else {
        responses::events(&answer)
    };
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(shared, events, pick.turn.clone(), sender));
    let mut response = Response::new(Body::from_stream(Stream(receiver)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("close"),
    );
    response
}

/// Sends the events at the turn's pace, until they are out, the script cuts them off or the client goes away.
async fn send(
    shared: Arc<Shared>,
    events: Vec<Event>,
    turn: Turn,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
) {
    let pause = async |millis: u64| {
        tokio::select! {
            () = sender.closed() => false,
            () = tokio::time::sleep(Duration::from_millis(millis)) => true,
        }
    };
    if !pause(turn.delay_ms).await {
        return shared.disconnected();
    }
    for (index, event) in events.into_iter().enumerate() {
        if turn.cut_after_chunks.is_some_and(|limit| index >= limit) {
            let cut = std::io::Error::new(
                std::io::ErrorKind::ConnectionReset,
                "the script cuts the connection here",
            );
            // If the client is gone already, it is as cut off as it can be.
            let _ = sender.send(Err(cut)).await;
            return;
        }
        if event.piece && turn.chunk_delay_ms > 0 && !pause(turn.chunk_delay_ms).await {
            return shared.disconnected();
        }
        let bytes = Bytes::from(format!("event: {}\ndata: {}\n\n", event.name, event.data));
        if sender.send(Ok(bytes)).await.is_err() {
            return shared.disconnected();
        }
    }
}

fn plain(status: u16, body: &Value, retry_after_s: Option<u64>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}

/// The receiving end as a stream, so that a body can be made of it.
struct Stream(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl futures_core::Stream for Stream {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
