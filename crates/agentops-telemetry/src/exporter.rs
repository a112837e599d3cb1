//! The thread that sends.
//!
//! Spans go through a queue of fixed size, and when it is full the newest are dropped and counted: whoever records never
//! waits. Metrics are sums in memory, so nothing of them is lost while a receiver is away.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::Notify;
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
    queue: Arc<Queue>,
    /// Whether anybody wants spans.
    traces: bool,
    metrics: Option<Arc<Mutex<Metrics>>>,
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    over: Receiver<()>,
}

/// Spans that wait to be sent, as the bytes that are sent.
struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the thread: at the first span, for which it sets its timer, at a full batch, and at the end. Not at each span,
    /// which would cost more than all the rest of it.
    news: Notify,
    spans_max: usize,
    batch: usize,
}

#[derive(Default)]
struct Waiting {
    /// All but the last are full.
    batches: VecDeque<Batch>,
    spans: usize,
    closed: bool,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    spans: usize,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `false`: there is no room.
    fn push(&self, span: &Span) -> bool {
        let mut waiting = self.waiting();
        if waiting.spans >= self.spans_max {
            return false;
        }
        waiting.spans += 1;
        let is_first = waiting.spans == 1;
        if waiting.batches.back().is_none_or(|last| last.spans >= self.batch) {
            waiting.batches.push_back(Batch::default());
        }
        let is_full = waiting.batches.back_mut().is_some_and(|last| {
            wire::put_span(&mut last.bytes, span);
            last.spans += 1;
            last.spans >= self.batch
        });
        drop(waiting);
        if is_first || is_full {
            self.news.notify_one();
        }
        true
    }

    fn pop(&self) -> Option<Batch> {
        let mut waiting = self.waiting();
        let batch = waiting.batches.pop_front()?;
        waiting.spans -= batch.spans;
        Some(batch)
    }

    fn close(&self) {
        self.waiting().closed = true;
        self.news.notify_one();
    }
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
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            news: Notify::new(),
            spans_max: timing.queue.max(1),
            batch: timing.batch.max(1),
        });
        let has_traces = traces.is_some();
        let (ends, over) = std::sync::mpsc::channel();
        let worker = Worker {
            about: settings.about,
            queue: Arc::clone(&queue),
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
            runtime.block_on(worker.work());
        })?;
        Ok(Self { queue, traces: has_traces, metrics, shared, over })
    }

    /// Takes spans in. Never waits.
    pub fn record(&self, spans: impl IntoIterator<Item = Span>, when: When) {
        for span in spans {
            if let (Some(metrics), When::Live) = (&self.metrics, when) {
                metrics.lock().unwrap_or_else(PoisonError::into_inner).record(&span);
            }
            self.shared.recorded.fetch_add(1, Ordering::Relaxed);
            if self.traces && !self.queue.push(&span) {
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
    pub fn close(self, wait: Duration) -> Report {
        self.queue.close();
        // Nothing is ever sent on it: either its end is gone, or the time is.
        match self.over.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.report(),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Worker {
    about: About,
    queue: Arc<Queue>,
    traces: Option<Post>,
    report: Option<(Post, Arc<Mutex<Metrics>>)>,
    timing: Timing,
    shared: Arc<Shared>,
    now_ms: Box<dyn Fn() -> u64 + Send>,
}

impl Worker {
    async fn work(self) {
        let mut report_at = Instant::now() + self.timing.metrics;
        // When the oldest span has waited for long enough.
        let mut send_at: Option<Instant> = None;
        loop {
            let (spans, closed) = {
                let waiting = self.queue.waiting();
                (waiting.spans, waiting.closed)
            };
            if closed {
                break;
            }
            if report_at <= Instant::now() {
                self.report().await;
                report_at = Instant::now() + self.timing.metrics;
            }
            if spans == 0 {
                send_at = None;
            } else if spans >= self.queue.batch || send_at.is_some_and(|at| at <= Instant::now()) {
                self.send().await;
                send_at = None;
                continue;
            }
            let gathered = send_at.unwrap_or_else(|| Instant::now() + self.timing.gather);
            send_at = (spans > 0).then_some(gathered);
            tokio::select! {
                () = self.queue.news.notified() => {}
                () = sleep_until(gathered), if spans > 0 => {}
                () = sleep_until(report_at) => {}
            }
        }
        while self.send().await {}
        self.report().await;
    }

    /// Sends the oldest batch. `false`: there is none.
    async fn send(&self) -> bool {
        let Some(batch) = self.queue.pop() else { return false };
        let Some(post) = &self.traces else { return true };
        let body = wire::traces(&self.about, &batch.bytes).into();
        if let Some(rejected) = self.deliver(TRACES, post, body).await {
            let count = u64::try_from(batch.spans).unwrap_or(u64::MAX);
            self.shared.sent.fetch_add(count.saturating_sub(rejected), Ordering::Relaxed);
        }
        true
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
