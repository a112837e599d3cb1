//! The processes that are measured, and the provider behind them. Each prints its address and lives until its input ends.

use std::convert::Infallible;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentops_core::budget::Amount;
use agentops_core::call::CallRow;
use agentops_gateway::host::{Answer, Host, Note, Refusal, answer};
use agentops_gateway::lane::Lane;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Sleep;

/// Chunks of a stream.
pub const CHUNKS: usize = 100;

pub fn play(role: &str, rest: &[&str]) {
    let upstream = rest.first().copied().unwrap_or_default().to_owned();
    let workers = rest.get(1).and_then(|workers| workers.parse().ok()).and_then(NonZeroUsize::new);
    match role {
        "provider" => serve(NonZeroUsize::new(2), |request| async move { provider(request).await }),
        "bare" => bare(&upstream, workers),
        "gateway" => gateway(&upstream, workers, lane(WIDE, rest.get(2).copied())),
        "narrow" => gateway(&upstream, workers, lane(NARROW, None)),
        "receiver" => serve(None, |request| async move { received(request).await }),
        other => panic!("no role {other}"),
    }
}

fn until_input_ends() {
    // The parent holds the other end and writes nothing.
    let _end = std::io::stdin().read(&mut [0]);
}

fn runtime(workers: Option<NonZeroUsize>) -> Runtime {
    let mut builder = workers.map_or_else(Builder::new_current_thread, |workers| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers.get());
        builder
    });
    builder.enable_all().build().unwrap()
}

fn serve<B, F, S>(workers: Option<NonZeroUsize>, answer: S)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Response<B>> + Send + 'static,
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
{
    let listen = async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    };
    std::thread::spawn(move || runtime(workers).block_on(listen));
    until_input_ends();
}

/// The limit: what came goes on, frame by frame, through hyper's own pooled client.
fn bare(upstream: &str, workers: Option<NonZeroUsize>) {
    let upstream: Uri = upstream.parse().unwrap();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
    serve(workers, move |mut request| {
        let path = request.uri().path_and_query().cloned();
        let mut parts = upstream.clone().into_parts();
        parts.path_and_query = path;
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        request.headers_mut().remove(HOST);
        let client = client.clone();
        async move { client.request(request).await.unwrap() }
    });
}

/// This project's gateway with one lane. Traces and metrics are on only with a receiver for them.
fn gateway(upstream: &str, workers: Option<NonZeroUsize>, lane: Arc<Lane>) {
    use agentops_gateway::destination::{Custom, Destinations, Family};
    use agentops_gateway::{Config, Gateway, Identity, LaneSpec};

    let gateway = Gateway::start(Config { workers, ..Config::default() }).unwrap();
    let custom = Custom {
        name: "bench".into(),
        base_url: upstream.into(),
        family: Family::Anthropic,
        key: None,
        key_env: None,
        insecure: false,
    };
    let destination = Destinations::new([custom]).unwrap().get("bench").unwrap().clone();
    let identity = Identity::Key(agentops_safe::Secret::new("sk-bench-0123456789abcdef"));
    let handle = gateway.open(LaneSpec { lane, destination, identity }).unwrap();
    println!("{}", handle.base().expose());
    until_input_ends();
}

/// A host that grants what is asked for, as a supervisor does, and hands the rows on to where they are traced.
struct Books(Option<Sender<CallRow>>);

impl Host for Books {
    fn grant(&self, ask: Amount, _admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answers, waits) = answer();
        let _gone = answers.send(Some(ask));
        waits
    }

    fn settled(&self, row: CallRow, _missing: Option<Amount>) {
        if let Some(traced) = &self.0 {
            traced.send(row).unwrap();
        }
    }

    fn refused(&self, _refusal: Refusal) -> Answer<()> {
        let (answers, waits) = answer();
        let _gone = answers.send(());
        waits
    }

    /// A person would see it. Only the texts that are refused bring any.
    fn note(&self, _note: Note) {}
}

/// A window, in tokens, that is far larger than what is measured: the tokenizer is not needed.
const WIDE: u64 = 100_000_000;
/// A window into which nothing fits: each body is counted by the tokenizer and then refused.
const NARROW: u64 = 1_000;

/// A lane with a budget, that takes secrets out of what leaves.
fn lane(window: u64, receiver: Option<&str>) -> Arc<Lane> {
    use agentops_core::workflow::Secrets;
    let mut rules = crate::host::rules(window, Arc::new(Books(receiver.map(crate::tracing::start))));
    rules.secrets = Secrets::Redact;
    rules.redactor = redactor();
    rules.clock = Arc::new(crate::tracing::now_ms);
    Lane::new(rules)
}

pub fn redactor() -> agentops_safe::Redactor {
    agentops_safe::Redactor::new((0..20).map(|n| (format!("SECRET_{n}"), format!("value-of-the-secret-{n:08}"))))
}

/// Takes what is sent and says nothing, as receivers of telemetry do. A GET is told how much that was.
async fn received(request: Request<Incoming>) -> Response<Full<Bytes>> {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    if request.method() == Method::GET {
        return Response::new(Full::from(RECEIVED.load(Ordering::Relaxed).to_string()));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            RECEIVED.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }
    Response::new(Full::default())
}

/// Answers as Anthropic's Messages do. What it is asked for is the model, which all peers pass on: `bench-flood` (a stream of
/// 100 chunks, as fast as it goes), `bench-stream` (its first chunk after 5 ms), or else a plain answer.
async fn provider(request: Request<Incoming>) -> Response<Either<Full<Bytes>, Chunks>> {
    let mut body = request.into_body();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        if let (true, Ok(data)) = (first.is_empty(), frame.unwrap().into_data()) {
            first = data;
        }
    }
    let asks = |model: &str| memchr::memmem::find(&first, model.as_bytes()).is_some();
    let wait = match () {
        () if first.len() < 1024 && asks("bench-flood") => Duration::ZERO,
        () if first.len() < 1024 && asks("bench-stream") => Duration::from_millis(5),
        () => {
            let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"bench-model","content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":3}}"#;
            let mut answer = Response::new(Either::Left(Full::from(body)));
            answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
            return answer;
        }
    };
    let wait = (!wait.is_zero()).then(|| Box::pin(tokio::time::sleep(wait)));
    let mut answer = Response::new(Either::Right(Chunks { next: 0, wait }));
    answer.headers_mut().insert(CONTENT_TYPE, "text/event-stream".parse().unwrap());
    answer
}

/// A stream of events, each a chunk of its own.
struct Chunks {
    next: usize,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        let next = self.next;
        self.next += 1;
        let (first, last, stop) = (next == 0, next == CHUNKS - 2, next == CHUNKS - 1);
        let event = |kind: &str, data: &str| Bytes::from(format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{data}}}\n\n"));
        Poll::Ready(match next {
            _ if first => Some(Ok(Frame::data(event(
                "message_start",
                r#""message":{"id":"msg_1","model":"bench-model","role":"assistant","content":[],"usage":{"input_tokens":12,"output_tokens":1}}"#,
            )))),
            _ if last => Some(Ok(Frame::data(event(
                "message_delta",
                r#""delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":98}"#,
            )))),
            _ if stop => Some(Ok(Frame::data(event("message_stop", r#""done":true"#)))),
            n if n >= CHUNKS => None,
            _ => Some(Ok(Frame::data(event(
                "content_block_delta",
                r#""index":0,"delta":{"type":"text_delta","text":" and then one more word"}"#,
            )))),
        })
    }
}
