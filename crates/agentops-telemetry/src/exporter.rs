//! The thread that sends.
//!
//! Spans go through a queue of fixed size, and when it is full the newest are dropped and counted: whoever records never
//! waits. Metrics are sums in memory, so nothing of them is lost while a receiver is away.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::post::{Failure, Patience, Post};
use crate::settings::{About, Settings, Target};
use crate::span::Span;
use crate::wire;

/// Whether a span is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It has just ended.
    Live,
    /// It was read again from the ledger after a takeover. It is sent, since nobody knows whether it was; metrics count it
    /// only in the process that saw it end.
    Replayed,
}

/// How much and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Spans that wait at most.
    pub queue: usize,
    /// Spans of one request at most.
    pub batch: usize,
    /// How long a span waits for others.
    pub gather: Duration,
    /// Between two reports of metrics.
    pub metrics: Duration,
    /// Before the second try; doubled each time.
    pub retry_first: Duration,
    /// All waits for one message together; then it is given up.
    pub retry_total: Duration,
}

impl Default for Timing {
    /// OpenTelemetry's own figures, and a minute of trying.
    fn default() -> Self {
        Self {
            queue: 2048,
            batch: 512,
            gather: Duration::from_secs(5),
            metrics: Duration::from_secs(60),
            retry_first: Duration::from_secs(1),
            retry_total: Duration::from_secs(60),
        }
    }
}

/// Something a person should hear of. Each kind is said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The receiver cannot be reached or stays busy. It goes on being tried.
    Unreachable {
        /// `traces` or `metrics`.
        signal: &'static str,
        /// In words.
        reason: String,
    },
    /// The receiver does not want this.
    Refused {
        /// `traces` or `metrics`.
        signal: &'static str,
        /// Its HTTP status.
        status: u16,
    },
    /// The receiver took a part only.
    Rejected {
        /// `traces` or `metrics`.
        signal: &'static str,
    },
    /// The queue was full: spans are being dropped.
    Dropping,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unreachable { signal, reason } => {
                write!(f, "telemetry: {signal} do not reach their receiver ({reason}); runs go on without")
            }
            Trouble::Refused { signal, status } => {
                let off = format!("OTEL_{}_EXPORTER=none", signal.to_uppercase());
                write!(
                    f,
                    "telemetry: the receiver refuses {signal} with status {status}; if it takes none, set {off}, else check "
                )?;
                f.write_str("its address and headers")
            }
            Trouble::Rejected { signal } => write!(f, "telemetry: the receiver took only a part of the {signal}"),
            Trouble::Dropping => {
                f.write_str("telemetry: spans are dropped because their receiver is too slow; runs go on without")
            }
        }
    }
}

/// The thread cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is needed for TLS is not there.
    #[error("telemetry: {0}")]
    Tls(String),
    /// The system gives no thread or no event queue.
    #[error("telemetry: its thread could not be started")]
    Thread(#[from] std::io::Error),
}

/// What became of the spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Spans given to it.
    pub recorded: u64,
    /// Spans that their receiver took.
    pub sent: u64,
}

/// Sends spans and metrics. Dropping it ends its thread after what is waiting; [`Exporter::close`] waits for that.
pub struct Exporter {
    queue: Option<mpsc::Sender<Box<Span>>>,
    metrics: Option<Arc<Mutex<Metrics>>>,
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    over: Receiver<()>,
}

struct Shared {
    say: Box<dyn Fn(Trouble) + Send + Sync>,
    /// By kind of trouble and signal.
    said: [AtomicBool; 7],
    recorded: AtomicU64,
    sent: AtomicU64,
}

impl Shared {
    fn trouble(&self, trouble: Trouble) {
        let second = |signal: &str| usize::from(signal == METRICS);
        let kind = match &trouble {
            Trouble::Unreachable { signal, .. } => second(signal),
            Trouble::Refused { signal, .. } => 2 + second(signal),
            Trouble::Rejected { signal } => 4 + second(signal),
            Trouble::Dropping => 6,
        };
        if !self.said[kind].swap(true, Ordering::Relaxed) {
            (self.say)(trouble);
        }
    }
}

const TRACES: &str = "traces";
const METRICS: &str = "metrics";

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("report", &self.report()).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Starts the thread. `now_ms` is the wall clock, in Unix milliseconds. `say` hears of trouble, from any thread, and must
    /// not block.
    ///
    /// # Errors
    /// No thread, or no certificates for an `https` address.
    pub fn start(
        settings: Settings,
        timing: Timing,
        now_ms: impl Fn() -> u64 + Send + 'static,
        say: impl Fn(Trouble) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let post = |target: Option<Target>| target.map(Post::new).transpose().map_err(StartError::Tls);
        let (traces, report) = (post(settings.traces)?, post(settings.metrics)?);
        let metrics = report.is_some().then(|| Arc::new(Mutex::new(Metrics::new(now_ms()))));
        let shared = Arc::new(Shared {
            say: Box::new(say),
            said: Default::default(),
            recorded: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let (queue, waiting) = mpsc::channel(timing.queue.max(1));
        let (ends, over) = std::sync::mpsc::channel();
        let worker = Worker {
            about: settings.about,
            traces,
            report: report.zip(metrics.clone()),
            timing,
            shared: Arc::clone(&shared),
            now_ms: Box::new(now_ms),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            // Dropped when this thread ends, however it ends.
            let _ends: std::sync::mpsc::Sender<()> = ends;
            runtime.block_on(worker.work(waiting));
        })?;
        Ok(Self { queue: Some(queue), metrics, shared, over })
    }

    /// Takes spans in. Never waits.
    pub fn record(&self, spans: impl IntoIterator<Item = Span>, when: When) {
        for span in spans {
            if let (Some(metrics), When::Live) = (&self.metrics, when) {
                metrics.lock().unwrap_or_else(PoisonError::into_inner).record(&span);
            }
            self.shared.recorded.fetch_add(1, Ordering::Relaxed);
            if self.queue.as_ref().is_some_and(|queue| queue.try_send(Box::new(span)).is_err()) {
                self.shared.trouble(Trouble::Dropping);
            }
        }
    }

    /// What became of the spans so far; those that wait are not sent yet.
    #[must_use]
    pub fn report(&self) -> Report {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report { recorded: load(&self.shared.recorded), sent: load(&self.shared.sent) }
    }

    /// Sends what is waiting and the metrics as they stand, and gives up after `wait`.
    pub fn close(mut self, wait: Duration) -> Report {
        self.queue = None;
        // Nothing is ever sent on it: either its end is gone, or the time is.
        match self.over.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.report(),
        }
    }
}

struct Worker {
    about: About,
    traces: Option<Post>,
    report: Option<(Post, Arc<Mutex<Metrics>>)>,
    timing: Timing,
    shared: Arc<Shared>,
    now_ms: Box<dyn Fn() -> u64 + Send>,
}

impl Worker {
    async fn work(self, mut waiting: mpsc::Receiver<Box<Span>>) {
        let mut batch: Vec<Span> = Vec::new();
        let mut report_at = Instant::now() + self.timing.metrics;
        let mut send_at = Instant::now();
        loop {
            tokio::select! {
                span = waiting.recv() => {
                    let Some(span) = span else { break };
                    if batch.is_empty() {
                        send_at = Instant::now() + self.timing.gather;
                    }
                    batch.push(*span);
                    if batch.len() >= self.timing.batch {
                        self.send(&mut batch).await;
                    }
                }
                () = sleep_until(send_at), if !batch.is_empty() => self.send(&mut batch).await,
                () = sleep_until(report_at) => {
                    self.report().await;
                    report_at = Instant::now() + self.timing.metrics;
                }
            }
        }
        self.send(&mut batch).await;
        self.report().await;
    }

    async fn send(&self, batch: &mut Vec<Span>) {
        let Some(post) = &self.traces else { return batch.clear() };
        if batch.is_empty() {
            return;
        }
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = wire::traces(&self.about, batch).encode_to_vec().into();
        batch.clear();
        if let Some(rejected) = self.deliver(TRACES, post, body).await {
            self.shared.sent.fetch_add(count.saturating_sub(rejected), Ordering::Relaxed);
        }
    }

    async fn report(&self) {
        let Some((post, metrics)) = &self.report else { return };
        let now_ms = (self.now_ms)();
        let report = metrics.lock().unwrap_or_else(PoisonError::into_inner).report(now_ms);
        if let Some(report) = report {
            let body = wire::metrics(&self.about, report).encode_to_vec().into();
            self.deliver(METRICS, post, body).await;
        }
    }

    /// How much was not taken; `None`: nothing arrived.
    async fn deliver(&self, signal: &'static str, post: &Post, body: Bytes) -> Option<u64> {
        let patience = Patience { first: self.timing.retry_first, total: self.timing.retry_total };
        match post.deliver(body, patience).await {
            Ok(rejected) => {
                if rejected > 0 {
                    self.shared.trouble(Trouble::Rejected { signal });
                }
                return Some(rejected);
            }
            Err(Failure::Status(status)) => self.shared.trouble(Trouble::Refused { signal, status }),
            Err(Failure::Unreachable(reason)) => self.shared.trouble(Trouble::Unreachable { signal, reason }),
        }
        None
    }
}
