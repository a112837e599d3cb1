//! Connections of clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::forward::{self, Shared};
use crate::unread::Unread;

/// The most that is read or written at once, in bytes.
pub(crate) const BUFFER: usize = 256 << 10;
/// The largest head of a request or an answer, in bytes. Their number of header lines has hyper's bound of 100.
pub(crate) const HEAD_MAX: usize = 64 << 10;

/// At the end, what is under way is waited for no longer than this.
pub(crate) const END: Duration = Duration::from_secs(1);

/// Serves until the other end of `stop` is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    // Ended with the gateway, each with its client.
    let mut connections = JoinSet::new();
    loop {
        let is_full = connections.len() >= shared.limits.connections_max;
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if !is_full => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                // Out of file descriptors, most likely: some will be freed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    let settled = async {
        // Every call that is under way is dropped with its connection, which settles it; that needs the runtime.
        connections.shutdown().await;
        // Where calls are counted to be settled, that waits its turn on other threads. When this turn has come, theirs have,
        // and what has begun there is waited for when the runtime ends.
        let _turn = tokio::task::spawn_blocking(|| ()).await;
    };
    let _too_slow = tokio::time::timeout(END, settled).await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small writes wait for the other side's acknowledgement, which costs 40 ms.
    let _slower = stream.set_nodelay(true);
    let unread = shared.limits.unread;
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(shared.limits.head).max_buf_size(BUFFER).max_header_size(HEAD_MAX);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(forward::answer(shared, request).await) }
    });
    // Its errors are the client's: gone, or no HTTP. hyper has answered what can be answered.
    let stream = Unread::new(TokioIo::new(stream), unread);
    let _client_error = builder.serve_connection(stream, service).await;
}
