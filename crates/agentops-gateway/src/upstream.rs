//! Requests to one destination over connections that are kept open between requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};

use crate::connect::{ConnectError, Connector, Route};
use crate::destination::Base;
use crate::link::{Ended, Link, Multiplexed};

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
    /// Connections of HTTP/1 that wait for their next request.
    idle: Mutex<VecDeque<(Link, Instant)>>,
    /// Connections of HTTP/2, each of which carries many requests at once.
    multiplexed: Mutex<Vec<Multiplexed>>,
}

/// An answer of which the head has arrived.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) link: Link,
}

impl Upstream {
    pub(crate) fn new(connector: Arc<Connector>, base: Base) -> Option<Self> {
        let host = HeaderValue::from_str(&base.authority()).ok()?;
        let route = connector.route(&base);
        let (idle, multiplexed) = Default::default();
        Some(Self { connector, base, host, route, idle, multiplexed })
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
        if let Some(link) = self.shared() {
            return Some(link);
        }
        loop {
            let (mut link, since) = self.idle().pop_back()?;
            if since.elapsed() < IDLE && poll_fn(|context| Poll::Ready(link.is_ready(context))).await {
                return Some(link);
            }
        }
    }

    /// Room on a connection of HTTP/2.
    fn shared(&self) -> Option<Link> {
        let mut multiplexed = self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner);
        multiplexed.retain(|connection| connection.is_usable(IDLE));
        multiplexed.iter().rev().find_map(Multiplexed::link)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, link: Link) {
        if !link.can_be_kept() {
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
        let (stream, is_http2) = self.connector.connect(&self.base).await?;
        if !is_http2 {
            return Link::alone(stream).await;
        }
        let connection = Multiplexed::new(stream, &self.base.authority()).await?;
        let link = connection.link().ok_or_else(|| Failure::Closed("at its start".into()))?;
        self.multiplexed.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(link)
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
            match link.exchange(request, patience).await {
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
        link.exchange(request, patience).await.map_err(|ended| match ended {
            Ended::Failed(failure) => failure,
            Ended::Unsent(_) => {
                report(Sending::NeverArrived);
                Failure::Closed("before it took the request".into())
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
