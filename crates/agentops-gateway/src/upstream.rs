//! Requests to one destination over connections that are kept open between requests.
//!
//! A connection is driven by whoever waits for its answer, in the same task: bytes that arrive go to the client without
//! waking a second task, and what has arrived together can be read together.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};

use crate::connect::{ConnectError, Connector, Route, Stream};
use crate::destination::Base;
use crate::traffic::{Counted, Traffic};

/// Connections that nobody uses are kept for this long: shorter than providers keep them, so that few die in use.
const IDLE: Duration = Duration::from_secs(45);
const IDLE_MAX: usize = 64;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("it closed the connection before it answered ({0}); try again")]
    Closed(String),
    #[error("it did not answer as HTTP does ({0})")]
    Malformed(String),
    #[error("it said nothing for {} s; try again later", .0.as_secs())]
    Silent(Duration),
}

/// One destination.
pub(crate) struct Upstream {
    connector: Arc<Connector>,
    base: Base,
    host: HeaderValue,
    route: Route,
    idle: Mutex<VecDeque<(Link, Instant)>>,
}

/// A connection, its two halves.
pub(crate) struct Link {
    requests: SendRequest<Full<Bytes>>,
    /// `None`: it has ended.
    driver: Option<Driver>,
    traffic: Arc<Traffic>,
}

type Driver = Pin<Box<http1::Connection<Counted<Box<dyn Stream>>, Full<Bytes>>>>;

/// An answer of which the head has arrived.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Link,
}

impl Link {
    /// Lets the connection read and write what it can.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(context).is_ready()
        {
            // Why it ended is told to whoever waits for the answer or its body.
            self.driver = None;
        }
    }

    /// Whether it can carry another request.
    fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        self.driver.is_some() && matches!(self.requests.poll_ready(context), Poll::Ready(Ok(())))
    }
}

impl Upstream {
    pub(crate) fn new(connector: Arc<Connector>, base: Base) -> Option<Self> {
        let host = HeaderValue::from_str(&base.authority()).ok()?;
        let route = connector.route(&base);
        Some(Self { connector, base, host, route, idle: Mutex::default() })
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// What the `Host` header says.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Link, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was used before and still lives; the one used last, so that others can grow old.
    async fn kept(&self) -> Option<Link> {
        loop {
            let (mut link, since) = self.idle().pop_back()?;
            if since.elapsed() < IDLE && poll_fn(|context| Poll::Ready(link.is_ready(context))).await {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, link: Link) {
        if link.driver.is_none() || link.requests.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        while idle.len() >= IDLE_MAX || idle.front().is_some_and(|(_, since)| now.duration_since(*since) >= IDLE) {
            idle.pop_front();
        }
        idle.push_back((link, now));
    }

    async fn fresh(&self) -> Result<Link, Failure> {
        let stream = self.connector.connect(&self.base).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(crate::server::BUFFER).max_header_size(crate::server::HEAD_MAX);
        let traffic = Arc::<Traffic>::default();
        let stream = Counted::new(stream, Arc::clone(&traffic));
        let (requests, driver) = builder.handshake(stream).await.map_err(|error| Failure::Closed(words(&error)))?;
        Ok(Link { requests, driver: Some(Box::pin(driver)), traffic })
    }

    /// Sends the request that `make` gives and waits for the head of its answer, for at most `patience` once it is connected.
    ///
    /// A provider may close a kept connection just when a request leaves on it. That request is sent once more on a fresh
    /// connection, if not a byte of an answer came. It is not repeated after a byte, nor when a fresh connection is closed:
    /// the provider may have begun to answer, and to charge.
    ///
    /// `report` is told what may have reached the provider, so that it is charged even if this future is dropped.
    pub(crate) async fn send(
        &self,
        make: impl Fn() -> Request<Full<Bytes>>,
        patience: Duration,
        mut report: impl FnMut(Sending),
    ) -> Result<Answer, Failure> {
        let mut request = self.address(make());
        while let Some(link) = self.kept().await {
            report(Sending::Left);
            match exchange(link, request, patience).await {
                Ok(answer) => return Ok(answer),
                Err(Ended::Unsent(unsent)) => request = *unsent,
                Err(Ended::Unanswered { .. }) => {
                    request = self.address(make());
                    report(Sending::NeverArrived);
                    break;
                }
                Err(Ended::Failed(failure)) => return Err(failure),
            }
            report(Sending::NeverArrived);
        }
        let link = self.fresh().await?;
        report(Sending::Left);
        exchange(link, request, patience).await.map_err(|ended| match ended {
            Ended::Failed(failure) => failure,
            Ended::Unsent(_) => {
                report(Sending::NeverArrived);
                Failure::Closed("before the request was sent".into())
            }
            Ended::Unanswered { failure, is_whole } => {
                if !is_whole {
                    report(Sending::NeverArrived);
                }
                failure
            }
        })
    }

    /// A proxy that forwards plain HTTP is shown the whole address.
    fn address(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        if let Route::Forward { authorization } = &self.route {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            if let Ok(uri) = format!("{}{path}", self.base.origin()).parse::<Uri>() {
                *request.uri_mut() = uri;
            }
            if let Some(authorization) = authorization {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        request
    }
}

/// What may have reached the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The request leaves: from now on it may have its price.
    Left,
    /// It did not reach the provider, or not whole, so nothing can be charged for it.
    NeverArrived,
}

/// Why an exchange has no answer.
enum Ended {
    /// The connection had ended before anything of the request was sent.
    Unsent(Box<Request<Full<Bytes>>>),
    /// The connection ended without a byte of an answer. `is_whole`: the provider may have the whole request.
    Unanswered { failure: Failure, is_whole: bool },
    /// The request must count as received.
    Failed(Failure),
}

async fn exchange(mut link: Link, request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, Ended> {
    let body_bytes = request.body().size_hint().exact().unwrap_or(u64::MAX);
    link.traffic.begin();
    let mut answer = std::pin::pin!(link.requests.try_send_request(request));
    let waiting = poll_fn(|context| {
        link.drive(context);
        answer.as_mut().poll(context)
    });
    let mut error = match tokio::time::timeout(patience, waiting).await {
        Ok(Ok(response)) => return Ok(Answer { response, link }),
        Ok(Err(error)) => error,
        Err(_) => return Err(Ended::Failed(Failure::Silent(patience))),
    };
    if let Some(unsent) = error.take_message() {
        return Err(Ended::Unsent(Box::new(unsent)));
    }
    let error = error.into_error();
    if error.is_parse() {
        return Err(Ended::Failed(Failure::Malformed(words(&error))));
    }
    let failure = Failure::Closed(words(&error));
    if link.traffic.has_answer() {
        return Err(Ended::Failed(failure));
    }
    // The head's length is not known here. What is not even longer than the body is not the whole request.
    Err(Ended::Unanswered { failure, is_whole: link.traffic.written() > body_bytes })
}

fn words(error: &hyper::Error) -> String {
    error.to_string()
}
