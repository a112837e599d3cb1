//! What has gone over a provider's connection during an exchange: it decides whether a request may be sent again, and
//! whether the provider can have received it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// The first bytes of an answer are read by way of a buffer of this size: what is read into hyper's own cannot be counted.
const FIRST_READ: usize = 4 << 10;

/// What has gone over a connection since its last exchange began.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Bytes that the operating system has taken.
    written: AtomicU64,
    /// A byte has arrived.
    answered: AtomicBool,
}

impl Traffic {
    /// An exchange begins.
    pub(crate) fn begin(&self) {
        self.written.store(0, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Bytes that were written in this exchange.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether a byte has arrived in this exchange.
    pub(crate) fn has_answer(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// A stream that notes its traffic.
pub(crate) struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.traffic.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<S: Read + Unpin> Read for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.traffic.has_answer() {
            return Pin::new(&mut this.stream).poll_read(context, cursor);
        }
        let mut first = [MaybeUninit::uninit(); FIRST_READ];
        let room = cursor.remaining().min(FIRST_READ);
        let mut buffer = ReadBuf::uninit(&mut first[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer.unfilled()))?;
        if !buffer.filled().is_empty() {
            this.traffic.answered.store(true, Ordering::Relaxed);
            cursor.put_slice(buffer.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.wrote(&written);
        written
    }
}
