//! A lane as the server sees it: who asks, where to, and whether it is open.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Method;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::destination::Destination;
use crate::host::Note;
use crate::identity::Credentials;
use crate::lane::Lane;
use crate::refusal::Refusal;
use crate::token::{self, Token};
use crate::upstream::Upstream;

/// Maximum number of refused endpoints that are reported for a lane.
const NAMED_MAX: usize = 64;
/// Maximum length of a reported path, in bytes.
const PATH_BYTES_MAX: usize = 200;

/// A lane behind the gateway.
pub(crate) struct Entry {
    pub(crate) lane: Arc<Lane>,
    pub(crate) token: Token,
    pub(crate) destination: Destination,
    pub(crate) credentials: Credentials,
    pub(crate) upstream: Arc<Upstream>,
    closed: AtomicBool,
    closing: Arc<Notify>,
    named: Mutex<BTreeSet<String>>,
}

impl Entry {
    pub(crate) fn new(
        lane: Arc<Lane>,
        token: Token,
        destination: Destination,
        credentials: Credentials,
        upstream: Arc<Upstream>,
    ) -> Self {
        let (closed, closing, named) = (AtomicBool::new(false), Arc::default(), Mutex::default());
        Self { lane, token, destination, credentials, upstream, closed, closing, named }
    }

    /// Ends the lane's calls.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
        self.lane.end();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Is ready when the lane is closed. `None`: it is already.
    pub(crate) fn closing(&self) -> Option<Pin<Box<OwnedNotified>>> {
        // In this order: what is notified from here on is not missed, and what was before shows in the flag.
        let closing = Box::pin(Arc::clone(&self.closing).notified_owned());
        (!self.is_closed()).then_some(closing)
    }

    /// Reports a request that was refused before it was judged as a call. Where `is_call` is false, each endpoint is reported
    /// once.
    pub(crate) fn refused(&self, method: &Method, path: &str, is_call: bool, refusal: &Refusal) {
        let path = path.split('?').next().unwrap_or_default();
        // A client's path is its own words: a key may stand in it.
        let path = token::without_tokens(&self.credentials.scrubber().text(path.to_owned()));
        let path = self.lane.redacted(&path);
        let request = format!("{method} {}", &path[..path.floor_char_boundary(PATH_BYTES_MAX)]);
        if is_call || self.is_news(&format!("{} {request}", refusal.status())) {
            let reason = refusal.reason().to_owned();
            self.lane.note(Note::RequestRefused { request, status: refusal.status(), reason });
        }
    }

    /// Whether this endpoint is seen for the first time.
    fn is_news(&self, endpoint: &str) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.len() < NAMED_MAX && !named.contains(endpoint) && named.insert(endpoint.to_owned())
    }
}
