//! Connections of clients.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

use crate::forward::{self, Shared};
use crate::idle::{Activity, IdleOrder, TrackedBody, connections_max};
use crate::stream::Broken;
use crate::unread::Unread;

/// The most that is read or written at once, in bytes.
pub(crate) const BUFFER: usize = 256 << 10;
/// The largest head of a request or an answer, in bytes. Their number of header lines has hyper's bound of 100.
pub(crate) const HEAD_MAX: usize = 64 << 10;

/// At the end, what is under way is waited for no longer than this.
const END: Duration = Duration::from_secs(1);
/// At the end, calls whose tokens are still being counted are waited for no longer than this: the tokenizer may have to be loaded
/// first.
pub(crate) const SETTLING: Duration = Duration::from_secs(5);

/// Serves until the other end of `stop` is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    let most = connections_max(shared.limits.connections_max);
    let order = Arc::<IdleOrder>::default();
    let mut connections = Connections::default();
    // A client for which there is no place yet.
    let mut waiting = None;
    loop {
        // In this order: what becomes idle after the look at all of them wakes this loop.
        order.watch(waiting.is_some());
        if waiting.is_some() && (connections.tasks.len() < most || connections.close_longest_idle()) {
            waiting.take().into_iter().for_each(|stream| connections.open(stream, &shared, &order));
        }
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            () = connections.ended(), if !connections.tasks.is_empty() => {}
            () = order.became_idle(), if waiting.is_some() => {}
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, _)) => waiting = Some(stream),
                // Out of file descriptors, most likely: an idle connection gives its own up, or some will be freed.
                Err(_) => match connections.close_longest_idle() {
                    true => connections.ended().await,
                    false => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }
    let settled = async {
        // Every call that is under way is dropped with its connection, which settles it; that needs the runtime.
        connections.tasks.shutdown().await;
        // Where calls are counted to be settled, that waits its turn on other threads. When this turn has come, theirs have,
        // and what has begun there is waited for when the runtime ends.
        let _turn = tokio::task::spawn_blocking(|| ()).await;
    };
    let _too_slow = tokio::time::timeout(END, settled).await;
}

/// The open connections of clients. They end with the gateway, each with its client.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<task::Id, (Arc<Activity>, AbortHandle)>,
}

impl Connections {
    fn open(&mut self, stream: TcpStream, shared: &Arc<Shared>, order: &Arc<IdleOrder>) {
        let activity = Arc::new(Activity::new(Arc::clone(order)));
        let task = self.tasks.spawn(connection(stream, Arc::clone(shared), Arc::clone(&activity)));
        self.open.insert(task.id(), (activity, task));
    }

    /// Waits for a connection to end.
    async fn ended(&mut self) {
        if let Some(ended) = self.tasks.join_next_with_id().await {
            let id = ended.map_or_else(|error: JoinError| error.id(), |(id, ())| id);
            self.open.remove(&id);
        }
    }

    /// The connection that is idle for longest, and since when.
    fn longest_idle(&self) -> Option<(u64, &Activity, &AbortHandle)> {
        let idle = self.open.values().filter_map(|(activity, task)| Some((activity.idle_since()?, &**activity, task)));
        idle.min_by_key(|(since, ..)| *since)
    }

    /// Closes it. `false`: none is idle.
    fn close_longest_idle(&self) -> bool {
        while let Some((since, activity, task)) = self.longest_idle() {
            // Otherwise a request came meanwhile.
            if activity.close(since) {
                task.abort();
                return true;
            }
        }
        false
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, activity: Arc<Activity>) {
    // Without it small writes wait for the other side's acknowledgement, which costs 40 ms.
    let _slower = stream.set_nodelay(true);
    let unread = shared.limits.unread;
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(shared.limits.head).max_buf_size(BUFFER).max_header_size(HEAD_MAX);
    let stream = Unread::new(TokioIo::new(stream), unread, Arc::clone(&activity));
    let service = service_fn(move |request| {
        let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
        async move {
            if !activity.begin() {
                // This task is aborted: its place is another client's.
                std::future::pending::<()>().await;
            }
            let answer = forward::answer(shared, request).await;
            Ok::<_, Infallible>(answer.map(|body| TrackedBody::new(body, activity)))
        }
    });
    let mut connection = builder.serve_connection(stream, service);
    // Its errors are the client's: gone, or no HTTP. hyper has answered what can be answered. An answer that breaks off ends
    // it too, and the way in which it broke off tells some clients whether to ask again.
    let Err(error) = (&mut connection).await else { return };
    let broken = error.source().and_then(|cause| cause.downcast_ref::<Broken>());
    if broken == Some(&Broken::Reset) {
        let _ended = connection.into_parts().io.into_inner().inner().set_zero_linger();
    }
}
