//! The clients: connections that ask again as soon as they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where requests go and what they carry.
#[derive(Clone)]
pub struct Target {
    /// Base address, with a lane where there is one.
    pub base: String,
    pub headers: HeaderMap,
}

impl Target {
    pub fn new(base: impl Into<String>, headers: &str) -> Self {
        let mut map = HeaderMap::new();
        for header in headers.split(';').filter(|header| !header.trim().is_empty()) {
            let (name, value) = header.split_once(':').expect("a header is `name: value`");
            map.insert(
                HeaderName::try_from(name.trim()).expect("a header's name"),
                HeaderValue::try_from(value.trim()).expect("a header's value"),
            );
        }
        for (name, value) in [
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            ("x-api-key", "sk-client"),
            ("user-agent", "bench/1"),
            ("accept", "application/json"),
        ] {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Self { base: base.into(), headers: map }
    }
}

/// One client's connection.
pub struct Caller {
    target: Arc<Target>,
    sender: SendRequest<Full<Bytes>>,
}

impl Caller {
    /// `None`: nobody listens there (yet).
    pub async fn connect(target: Arc<Target>) -> Option<Self> {
        let uri: Uri = target.base.parse().expect("an address");
        let stream = TcpStream::connect(uri.authority().expect("an address has a host").as_str()).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(driver);
        Some(Self { target, sender })
    }

    /// Sends a call. Gives how long its first byte took, once all of it is there; `None`: it was not answered well.
    pub async fn call(&mut self, body: Bytes) -> Option<Duration> {
        let (status, first) = self.exchange(body).await?;
        status.is_success().then_some(first)
    }

    /// Sends a call, which may also be refused; `None`: there was no complete answer.
    pub async fn exchange(&mut self, body: Bytes) -> Option<(StatusCode, Duration)> {
        let uri: Uri = self.target.base.parse().expect("an address");
        let path = format!("{}/v1/messages", uri.path().trim_end_matches('/'));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().expect("a path");
        *request.headers_mut() = self.target.headers.clone();
        let host = uri.authority().expect("an address has a host").as_str();
        request.headers_mut().insert("host", HeaderValue::from_str(host).expect("a host"));
        let began = Instant::now();
        self.sender.ready().await.ok()?;
        let mut answer = self.sender.send_request(request).await.ok()?;
        let status = answer.status();
        let mut first = None;
        while let Some(frame) = answer.frame().await {
            frame.ok()?;
            first.get_or_insert_with(|| began.elapsed());
        }
        Some((status, first?))
    }
}

/// What a load gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    pub answered: u64,
    pub failed: u64,
}

/// When a load ends: at whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub calls: u64,
    pub time: Duration,
}

impl From<Duration> for Limit {
    fn from(time: Duration) -> Self {
        Self { calls: u64::MAX, time }
    }
}

/// `connections` clients. Together they send the bodies with the numbers 0, 1, 2, ….
pub async fn closed_loop(
    target: &Arc<Target>,
    connections: usize,
    limit: impl Into<Limit>,
    body: impl Fn(u64) -> Bytes + Send + Sync + 'static,
) -> Done {
    let limit = limit.into();
    let end = Instant::now() + limit.time;
    let next = Arc::new(AtomicU64::new(0));
    let body = Arc::new(body);
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (target, next, body) = (Arc::clone(target), Arc::clone(&next), Arc::clone(&body));
            tokio::spawn(async move {
                let mut done = Done::default();
                let mut caller = None;
                while Instant::now() < end {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= limit.calls {
                        break;
                    }
                    if caller.is_none() {
                        caller = Caller::connect(Arc::clone(&target)).await;
                    }
                    let answered = match &mut caller {
                        Some(open) => open.call(body(number)).await,
                        None => None,
                    };
                    if answered.is_some() {
                        done.answered += 1;
                    } else {
                        done.failed += 1;
                        caller = None;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                done
            })
        })
        .collect();
    let mut all = Done::default();
    for client in clients {
        let done = client.await.expect("a client ends");
        all.answered += done.answered;
        all.failed += done.failed;
    }
    all
}
