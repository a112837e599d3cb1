//! The server itself: a thread with a runtime of its own, so that plain tests can hold it like a value.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::serve::ListenerExt;
use tokio::sync::oneshot;

use super::pick::Pick;
use super::received::Watch;
use super::record::Record;
use super::script::{Script, ScriptError};
use super::serve;

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Every request is added to this file as one JSON line, as a [`Record`].
    pub log: Option<PathBuf>,
    /// Values to look out for in every request. They are remembered and written by their names only.
    pub watch: Vec<Watch>,
    /// Bodies are kept as they come until this many bytes of them are held; later ones are not.
    pub keep_body_bytes: usize,
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
pub(super) struct Shared {
    pub(super) script: Script,
    pub(super) port: u16,
    pub(super) watched: Vec<Watch>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    records: Vec<Record>,
    disconnects: usize,
    /// How many calls a turn had whose faults are limited, by conversation and index.
    faults: HashMap<(Option<String>, usize), usize>,
    log: Option<File>,
    /// What is left of [`Options::keep_body_bytes`].
    body_bytes_left: usize,
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
        let seen = Mutex::new(Seen { log, body_bytes_left: options.keep_body_bytes, ..Seen::default() });
        let (port, watched) = (address.port(), options.watch);
        let shared = Arc::new(Shared { script, port, watched, seen, changed: Condvar::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let app = router(&shared);
        let listener = {
            let _inside = runtime.enter();
            // A piece that waits for the one before to be acknowledged would look like a slow gateway.
            let resets = shared.script.resets;
            tokio::net::TcpListener::from_std(listener)?.tap_io(move |stream| {
                drop(stream.set_nodelay(true));
                if resets {
                    drop(stream.set_zero_linger());
                }
            })
        };
        let serve = move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = axum::serve(listener, app) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("scripted-model".into()).spawn(serve)?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, as Claude Code and Gemini CLI want it. codex and opencode want `/v1` after it. A prefix may go
    /// between.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What answers requests, for a listener other than the server's own.
    pub(crate) fn router(&self) -> Router {
        router(&self.shared)
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Record> {
        self.shared.seen().records.clone()
    }

    /// How many steps of sessions were asked for; side requests and token counts are left out.
    #[must_use]
    pub fn main_count(&self) -> usize {
        self.shared.seen().records.iter().filter(|record| record.main()).count()
    }

    /// How many requests each conversation had, by its `when`.
    #[must_use]
    pub fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for when in self.shared.seen().records.iter().filter_map(|record| record.conversation.clone()) {
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
        self.wait_until(timeout, |records, _| records.iter().filter(|record| record.main()).count() >= n)
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
            seen = self.shared.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(serve::answer).with_state(Arc::clone(shared))
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

    /// Whether as many calls of the turn as it wants have met its faults. If not, this call is one more.
    pub(super) fn has_failed_enough(&self, pick: &Pick) -> bool {
        let Some(faults_max) = pick.turn.faults_max else { return false };
        let mut seen = self.seen();
        let faults = seen.faults.entry((pick.conversation.clone(), pick.turn_index)).or_default();
        let enough = *faults >= faults_max;
        *faults += 1;
        enough
    }

    /// Remembers a request and gives its number.
    pub(super) fn record(&self, mut record: Record) -> usize {
        let mut seen = self.seen();
        record.number = seen.records.len();
        match seen.body_bytes_left.checked_sub(record.bytes) {
            Some(left) if record.body.is_some() => seen.body_bytes_left = left,
            _ => record.body = None,
        }
        if let (Some(log), Ok(line)) = (&mut seen.log, serde_json::to_string(&record)) {
            // A full disk must not change what the client sees; the records in memory stay complete.
            let _ = writeln!(log, "{line}");
        }
        let number = record.number;
        seen.records.push(record);
        self.changed.notify_all();
        number
    }

    pub(super) fn disconnected(&self) {
        self.seen().disconnects += 1;
        self.changed.notify_all();
    }
}
