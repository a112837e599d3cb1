//! Tracks which connections of clients are idle. Where as many are open as may be, the one that is idle for longest is closed
//! for the next client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

/// A request is being read or answered.
const BUSY: u64 = 0;
/// The answer has ended; its last bytes may not be written yet.
const WRITING: u64 = 1;
/// The connection is being closed for another client. Everything between the two is when it became idle.
const CLOSING: u64 = u64::MAX;

/// Descriptors that a call needs: the client's connection, the provider's, and one for what else the process has open.
const DESCRIPTORS_PER_CONNECTION: u64 = 3;
/// Minimum number of connections, however few descriptors there are.
const CONNECTIONS_MIN: usize = 8;

/// How many connections of clients may be open: as configured, and no more than there are descriptors for their calls.
pub(crate) fn connections_max(configured: usize) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(descriptors / DESCRIPTORS_PER_CONNECTION).unwrap_or(usize::MAX);
    configured.min(most.max(CONNECTIONS_MIN))
}

/// The order in which connections become idle.
#[derive(Debug)]
pub(crate) struct IdleOrder {
    next: AtomicU64,
    /// Somebody waits for a connection to become idle.
    is_awaited: AtomicBool,
    became_idle: Notify,
}

impl Default for IdleOrder {
    fn default() -> Self {
        Self { next: AtomicU64::new(WRITING + 1), is_awaited: AtomicBool::new(false), became_idle: Notify::new() }
    }
}

impl IdleOrder {
    /// Asks to be woken by [`Self::became_idle`]. A connection that becomes idle after this call is not missed.
    pub(crate) fn watch(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::SeqCst);
    }

    /// Is ready when a connection has become idle since it was asked for.
    pub(crate) async fn became_idle(&self) {
        self.became_idle.notified().await;
    }
}

/// What a client's connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    state: AtomicU64,
    order: Arc<IdleOrder>,
}

impl Activity {
    /// A connection that has not asked for anything yet: it is idle.
    pub(crate) fn new(order: Arc<IdleOrder>) -> Self {
        let state = AtomicU64::new(order.next.fetch_add(1, Ordering::SeqCst));
        Self { state, order }
    }

    /// A request has arrived. `false`: the connection is being closed, and nothing may be forwarded.
    pub(crate) fn begin(&self) -> bool {
        let busy = |state| (state != CLOSING).then_some(BUSY);
        self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, busy).is_ok()
    }

    /// The answer has ended.
    fn answered(&self) {
        let _closing = self.state.compare_exchange(BUSY, WRITING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Everything was written so far.
    pub(crate) fn flushed(&self) {
        if self.state.load(Ordering::SeqCst) != WRITING {
            return;
        }
        let now = self.order.next.fetch_add(1, Ordering::SeqCst);
        let idle = self.state.compare_exchange(WRITING, now, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if idle && self.order.is_awaited.load(Ordering::SeqCst) {
            self.order.became_idle.notify_one();
        }
    }

    /// Since when it is idle, in the order of all; `None`: it is not.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        Some(self.state.load(Ordering::SeqCst)).filter(|state| !matches!(*state, BUSY | WRITING | CLOSING))
    }

    /// Takes its place away, if it is idle since then and still is.
    pub(crate) fn close(&self, since: u64) -> bool {
        self.state.compare_exchange(since, CLOSING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// An answer's body that marks its connection when it ends.
pub(crate) struct TrackedBody<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.activity.answered();
    }
}
