//! Requests to one destination over connections that are kept.
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
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};

use crate::connect::{ConnectError, Connector, Route, Stream};
use crate::destination::Base;

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
}

type Driver = Pin<Box<http1::Connection<Box<dyn Stream>, Full<Bytes>>>>;

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
    fn is_fresh(&mut self, context: &mut Context<'_>) -> bool {
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
            if since.elapsed() < IDLE && poll_fn(|context| Poll::Ready(link.is_fresh(context))).await {
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
        let (requests, driver) = builder.handshake(stream).await.map_err(|error| Failure::Closed(words(&error)))?;
        Ok(Link { requests, driver: Some(Box::pin(driver)) })
    }

    /// Sends a request and waits for the head of its answer, for at most `patience` once it is connected.
    ///
    /// A request of which nothing was sent, because a kept connection had ended, is sent again on a fresh one. Any other is
    /// not repeated: the provider may have begun to answer, and to charge.
    ///
    /// `leaves` is called when there is a connection: from then on the request may have its price.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
        mut leaves: impl FnMut(),
    ) -> Result<Answer, Failure> {
        let mut request = self.address(request);
        while let Some(link) = self.kept().await {
            leaves();
            match exchange(link, request, patience).await {
                Ok(answer) => return Ok(answer),
                Err((_, Some(unsent))) => request = unsent,
                Err((failure, None)) => return Err(failure),
            }
        }
        let link = self.fresh().await?;
        leaves();
        exchange(link, request, patience).await.map_err(|(failure, _)| failure)
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

type Unsent = Option<Request<Full<Bytes>>>;

async fn exchange(mut link: Link, request: Request<Full<Bytes>>, patience: Duration) -> Result<Answer, (Failure, Unsent)> {
    let mut answer = std::pin::pin!(link.requests.try_send_request(request));
    let waiting = poll_fn(|context| {
        link.drive(context);
        answer.as_mut().poll(context)
    });
    match tokio::time::timeout(patience, waiting).await {
        Ok(Ok(response)) => Ok(Answer { response, link }),
        Ok(Err(mut error)) => {
            let unsent = error.take_message();
            let error = error.into_error();
            let failure = if error.is_parse() { Failure::Malformed(words(&error)) } else { Failure::Closed(words(&error)) };
            Err((failure, unsent))
        }
        Err(_) => Err((Failure::Silent(patience), None)),
    }
}

fn words(error: &hyper::Error) -> String {
    error.to_string()
}
