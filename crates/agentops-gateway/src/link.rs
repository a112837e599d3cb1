//! What carries one request: a connection of HTTP/1 that it has to itself, or its part of one of HTTP/2.
//!
//! A connection of HTTP/1 is driven by whoever waits for its answer, in the same task: bytes that arrive go to the client
//! without waking a second task, and what has arrived together can be read together. One of HTTP/2 has a task of its own.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connect::Stream;
use crate::server::{BUFFER, HEAD_MAX};
use crate::traffic::{Counted, Traffic};
use crate::upstream::{Answer, Failure};

/// How many requests one connection of HTTP/2 carries at once, if its server takes as many.
const STREAMS_MAX: usize = 64;
/// What one answer may have on its way that its client has not read.
const STREAM_WINDOW: u32 = 256 << 10;
/// As much as all of them: an answer that its client does not read holds up no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// A server that says nothing for this long while it owes an answer is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// For how long it may leave that unanswered.
const PONG: Duration = Duration::from_secs(20);

/// What carries one request.
pub(crate) enum Link {
    /// A connection of HTTP/1.
    Alone(Box<Alone>),
    /// A part of a connection of HTTP/2.
    Part(Part),
}

/// A connection of HTTP/1, its two halves.
pub(crate) struct Alone {
    requests: http1::SendRequest<Full<Bytes>>,
    /// `None`: it has ended.
    driver: Option<Driver>,
    traffic: Arc<Traffic>,
}

type Driver = Pin<Box<http1::Connection<Counted<Box<dyn Stream>>, Full<Bytes>>>>;

/// A connection of HTTP/2.
pub(crate) struct Multiplexed {
    requests: http2::SendRequest<Full<Bytes>>,
    /// `HOST` or `HOST:PORT`, which each request names.
    authority: Arc<str>,
    using: Arc<Using>,
}

/// Who uses a connection of HTTP/2.
struct Using {
    /// How many requests it carries now.
    count: AtomicUsize,
    /// How many its server takes at once.
    max: AtomicUsize,
    /// When the last one began or ended.
    since: Mutex<Instant>,
}

impl Using {
    fn touch(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A part of a connection of HTTP/2: dropping it makes room for another.
pub(crate) struct Part {
    requests: http2::SendRequest<Full<Bytes>>,
    authority: Arc<str>,
    using: Arc<Using>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.using.touch();
        self.using.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Multiplexed {
    /// Opens HTTP/2 over a stream on which both sides have agreed on it.
    pub(crate) async fn new(stream: Box<dyn Stream>, authority: &str) -> Result<Self, Failure> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        let (requests, mut connection) = builder.handshake(stream).await.map_err(|error| Failure::Closed(words(&error)))?;
        let (count, max) = (AtomicUsize::new(0), AtomicUsize::new(STREAMS_MAX));
        let using = Arc::new(Using { count, max, since: Mutex::new(Instant::now()) });
        let noted = Arc::clone(&using);
        // The task ends when no request is under way and no sender is left. Whoever waits for an answer gets the error.
        tokio::spawn(poll_fn(move |context| {
            let ended = Pin::new(&mut connection).poll(context);
            noted.max.store(connection.current_max_send_streams().min(STREAMS_MAX), Ordering::Relaxed);
            ended.map(drop)
        }));
        Ok(Self { requests, authority: authority.into(), using })
    }

    /// Whether it lives, and was used within `idle`.
    pub(crate) fn is_usable(&self, idle: Duration) -> bool {
        let since = *self.using.since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = self.using.count.load(Ordering::Relaxed) > 0 || since.elapsed() < idle;
        is_fresh && !self.requests.is_closed()
    }

    /// Room for a request; `None`: it carries as many as it may.
    pub(crate) fn link(&self) -> Option<Link> {
        let max = self.using.max.load(Ordering::Relaxed);
        let more = |count| (count < max).then_some(count + 1);
        self.using.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.using.touch();
        let Self { requests, authority, using } = self;
        Some(Link::Part(Part { requests: requests.clone(), authority: Arc::clone(authority), using: Arc::clone(using) }))
    }
}

impl Alone {
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(context).is_ready()
        {
            // Whoever waits for the answer or its body gets the error.
            self.driver = None;
        }
    }
}

impl Link {
    /// Opens HTTP/1 over a stream.
    pub(crate) async fn alone(stream: Box<dyn Stream>) -> Result<Self, Failure> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER).max_header_size(HEAD_MAX);
        let traffic = Arc::<Traffic>::default();
        let stream = Counted::new(stream, Arc::clone(&traffic));
        let (requests, driver) = builder.handshake(stream).await.map_err(|error| Failure::Closed(words(&error)))?;
        Ok(Self::Alone(Box::new(Alone { requests, driver: Some(Box::pin(driver)), traffic })))
    }

    /// Lets the connection read and write what it can.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Self::Alone(connection) = self {
            connection.drive(context);
        }
    }

    /// Whether it can carry another request.
    pub(crate) fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        match self {
            Self::Alone(connection) => {
                connection.drive(context);
                connection.driver.is_some() && matches!(connection.requests.poll_ready(context), Poll::Ready(Ok(())))
            }
            Self::Part(part) => !part.requests.is_closed(),
        }
    }

    /// Whether it has to be kept for the next request. What is shared is kept by itself.
    pub(crate) fn can_be_kept(&self) -> bool {
        match self {
            Self::Alone(connection) => connection.driver.is_some() && !connection.requests.is_closed(),
            Self::Part(_) => false,
        }
    }

    /// Sends a request, and waits for at most `patience` for the head of its answer.
    pub(crate) async fn exchange(self, request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, Ended> {
        match self {
            Self::Alone(connection) => connection.exchange(request, patience).await,
            Self::Part(part) => part.exchange(request, patience).await,
        }
    }
}

/// Why an exchange has no answer.
pub(crate) enum Ended {
    /// The connection had ended before anything of the request was sent.
    Unsent(Box<Request<Full<Bytes>>>),
    /// No byte of an answer came: the connection ended, or the server refused to begin. `is_whole`: the provider may have
    /// the whole request.
    Unanswered { failure: Failure, is_whole: bool },
    /// The request must count as received.
    Failed(Failure),
}

impl Alone {
    async fn exchange(mut self: Box<Self>, request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, Ended> {
        let body_bytes = request.body().size_hint().exact().unwrap_or(u64::MAX);
        self.traffic.begin();
        let mut answer = std::pin::pin!(self.requests.try_send_request(request));
        let waiting = poll_fn(|context| {
            self.drive(context);
            answer.as_mut().poll(context)
        });
        let error = match heard(waiting, patience).await? {
            Ok(response) => return Ok(Answer { response, link: Link::Alone(self) }),
            Err(error) => error,
        };
        if error.is_parse() {
            return Err(Ended::Failed(Failure::Malformed(words(&error))));
        }
        let failure = Failure::Closed(words(&error));
        if self.traffic.has_answer() {
            return Err(Ended::Failed(failure));
        }
        // The head's length is not known here. What is not even longer than the body is not the whole request.
        Err(Ended::Unanswered { failure, is_whole: self.traffic.written() > body_bytes })
    }
}

impl Part {
    async fn exchange(mut self, mut request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, Ended> {
        // The address names the host (RFC 9113, section 8.3.1).
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = format!("https://{}{path}", self.authority).parse::<Uri>() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().remove(header::HOST);
        let error = match heard(self.requests.try_send_request(request), patience).await? {
            Ok(response) => return Ok(Answer { response, link: Link::Part(self) }),
            Err(error) => error,
        };
        let failure = Failure::Closed(words(&error));
        let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
            return Err(Ended::Unanswered { failure, is_whole: true });
        };
        let words = cause.to_string();
        if cause.is_library() {
            return Err(Ended::Failed(Failure::Malformed(words)));
        }
        let failure = Failure::Closed(words);
        // What is refused was not processed (RFC 9113, section 8.7).
        let is_refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        match cause.is_reset() && !is_refused {
            true => Err(Ended::Failed(failure)),
            false => Err(Ended::Unanswered { failure, is_whole: !is_refused }),
        }
    }
}

/// Waits for the head of an answer: what came, or why nothing came although the request has left.
async fn heard(
    answer: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>>,
    patience: Duration,
) -> Result<Result<Response<Incoming>, hyper::Error>, Ended> {
    let Ok(heard) = tokio::time::timeout(patience, answer).await else {
        return Err(Ended::Failed(Failure::Silent(patience)));
    };
    heard.map(Ok).or_else(|mut error| match error.take_message() {
        Some(unsent) => Err(Ended::Unsent(Box::new(unsent))),
        None => Ok(Err(error.into_error())),
    })
}

fn words(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        return format!("the head of its answer has more than {} KiB or 100 headers", HEAD_MAX >> 10);
    }
    error.to_string()
}
