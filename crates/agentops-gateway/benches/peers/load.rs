//! The clients: connections that ask again as soon as they are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
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
        if status.is_success() { first } else { None }
    }
}

/// What a window gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    pub answered: u64,
    pub failed: u64,
}

/// `connections` clients for `window`, each sending the same small body.
pub async fn closed_loop(target: &Arc<Target>, what: &'static str, connections: usize, window: Duration) -> Done {
    let end = Instant::now() + window;
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let target = Arc::clone(target);
            tokio::spawn(async move {
                let mut done = Done::default();
                let body = small(what);
                let mut caller = None;
                while Instant::now() < end {
                    if caller.is_none() {
                        caller = Caller::connect(Arc::clone(&target)).await;
                    }
                    let answered = match &mut caller {
                        Some(open) => open.call(body.clone()).await,
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

/// A call of about 0.2 KB.
pub fn small(what: &str) -> Bytes {
    let stream = if what != "plain" { ",\"stream\":true" } else { "" };
    Bytes::from(format!(
        "{{\"model\":\"bench-{what}\",\"max_tokens\":1024{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "What is the capital of France, and why? ".repeat(3)
    ))
}

/// A conversation that grows by a message of 4 KB a call, as a coding agent's does.
pub struct Growing {
    text: String,
    seed: u64,
}

impl Growing {
    /// `kilobytes` of messages that no conversation before had.
    pub fn new(kilobytes: usize, seed: u64) -> Self {
        let text = "{\"model\":\"bench-model\",\"max_tokens\":1024,\"messages\":[".to_owned();
        let mut growing = Self { text, seed: seed | 1 };
        while growing.text.len() < kilobytes << 10 {
            growing.extend();
        }
        growing
    }

    /// Adds a message.
    pub fn extend(&mut self) {
        let role = if self.seed.is_multiple_of(2) { "assistant" } else { "user" };
        if !self.text.ends_with('[') {
            self.text.push(',');
        }
        self.text.push_str(&format!("{{\"role\":\"{role}\",\"content\":[{{\"type\":\"text\",\"text\":\""));
        let end = self.text.len() + 4000;
        while self.text.len() < end {
            // xorshift: words that do not repeat, with the line ends and quotes of source code.
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            self.text.push_str(&format!("let value_{:x} = read(\\\"{}\\\");\\n", self.seed & 0xffff, self.seed >> 40));
        }
        self.text.push_str("\"}]}");
    }

    pub fn body(&self) -> Bytes {
        Bytes::from(format!("{}]}}", self.text))
    }
}
