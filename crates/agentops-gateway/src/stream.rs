//! Answers on their way back to the client: passed on as they come, measured as they pass.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use crate::follow::Following;
use crate::link::Link;
use crate::scrub::KeyScrubber;
use crate::ticket::Flow;
use crate::upstream::Upstream;

/// What has arrived is passed on in pieces of about this many bytes at most, so that a fast provider and a slow client
/// need no more memory than this.
const PIECE: usize = 64 << 10;

/// An answer's body.
pub(crate) struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Relayed(Box<Relay>),
}

/// Why an answer ends before its end. The client sees its connection close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the provider's answer broke off")]
    Upstream,
    #[error("the provider's connection was reset")]
    Reset,
    #[error("the provider said nothing for too long")]
    Silent,
    #[error("the lane was closed")]
    Closed,
    #[error("the provider's answer is far longer than its limit")]
    TooLong,
}

impl Broken {
    fn of(error: &hyper::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        match cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionReset) {
            true => Self::Reset,
            false => Self::Upstream,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Upstream | Self::Reset => "reset",
            Self::Silent => "timeout",
            Self::Closed => "lane-closed",
            Self::TooLong => "cut",
        }
    }
}

/// A provider's answer, passed on.
pub(crate) struct Relay {
    /// The answer as it comes; `None`: it has ended.
    incoming: Option<Incoming>,
    /// The connection that it comes over, which is driven from here.
    link: Option<Link>,
    upstream: Arc<Upstream>,
    scrubber: KeyScrubber,
    /// What comes after the body; `None`: nothing, or it was passed on.
    trailers: Option<HeaderMap>,
    /// Measures the call and settles it.
    following: Following,
    /// When the lane is closed.
    closed: Pin<Box<OwnedNotified>>,
    patience: Duration,
    heard: Instant,
    silence: Pin<Box<Sleep>>,
    /// Why no more will come, where bytes had to be passed on first.
    broken: Option<Broken>,
    /// What came before has been written.
    told: bool,
}

impl Body {
    /// A body that is there.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(Some(bytes)))
    }

    /// A body that comes from a provider. `patience`: how long it may say nothing.
    pub(crate) fn relayed(
        incoming: Incoming,
        link: Link,
        upstream: Arc<Upstream>,
        following: Following,
        scrubber: KeyScrubber,
        closed: Pin<Box<OwnedNotified>>,
        patience: Duration,
    ) -> Self {
        let heard = Instant::now();
        let silence = Box::pin(tokio::time::sleep_until(heard + patience));
        let (incoming, link) = (Some(incoming), Some(link));
        Self(Kind::Relayed(Box::new(Relay {
            incoming,
            link,
            upstream,
            scrubber,
            trailers: None,
            following,
            closed,
            patience,
            heard,
            silence,
            broken: None,
            told: false,
        })))
    }
}

impl Relay {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(self.breaks(Broken::Closed));
        }
        let Some(piece) = ready!(self.gather(context)) else { return Poll::Ready(None) };
        let piece = match piece {
            Ok(piece) => piece,
            Err(broken) => return Poll::Ready(self.breaks(broken)),
        };
        match self.following.push(&piece) {
            Flow::GoOn => {}
            Flow::Cut(last) => {
                // What the provider still sends is not wanted: its connection is closed, not kept.
                (self.incoming, self.link) = (None, None);
                self.following.done();
                return Poll::Ready(Some(Ok(last.into())));
            }
            Flow::Break => return Poll::Ready(self.breaks(Broken::TooLong)),
        }
        if self.incoming.is_none() {
            self.following.done();
        }
        Poll::Ready(Some(Ok(piece)))
    }

    /// All that has arrived by now. Waits for the first bytes, never for more.
    fn gather(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        let mut driven = false;
        while self.broken.is_none() {
            let Some(incoming) = &mut self.incoming else { break };
            match Pin::new(incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    driven = false;
                    self.heard = Instant::now();
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            self.trailers = frame.into_trailers().ok();
                            continue;
                        }
                    };
                    if first.is_empty() {
                        first = data;
                    } else {
                        if more.is_empty() {
                            more.reserve(PIECE.min(16 * (first.len() + data.len())));
                            more.extend_from_slice(&first);
                        }
                        more.extend_from_slice(&data);
                    }
                    if first.len().max(more.len()) >= PIECE {
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) => self.broken = Some(Broken::of(&error)),
                Poll::Ready(None) => {
                    self.incoming = None;
                    if let Some(link) = self.link.take() {
                        self.upstream.keep(link);
                    }
                }
                Poll::Pending if driven => break,
                Poll::Pending => {
                    if let Some(link) = &mut self.link {
                        link.drive(context);
                    }
                    driven = true;
                }
            }
        }
        let came = if more.is_empty() { first } else { more.freeze() };
        let is_last = self.incoming.is_none() || self.broken.is_some();
        let piece = self.scrubber.next(came, is_last);
        if !piece.is_empty() {
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(broken) = self.broken {
            // The server drops what it has not written yet when an answer breaks, so it is let write first.
            if !std::mem::replace(&mut self.told, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(broken)));
        }
        if self.incoming.is_none() {
            self.following.done();
            return Poll::Ready(None);
        }
        self.poll_silence(context).map(|broken| Some(Err(broken)))
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        let mut trailers = self.trailers.take()?;
        self.scrubber.cover_head(&mut trailers);
        Some(trailers)
    }

    /// One timer a call: when it goes off it is set anew from when something was last heard.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Broken> {
        loop {
            ready!(self.silence.as_mut().poll(context));
            let end = self.heard + self.patience;
            if end <= Instant::now() {
                return Poll::Ready(Broken::Silent);
            }
            self.silence.as_mut().reset(end);
        }
    }

    fn breaks(&mut self, broken: Broken) -> Option<Result<Bytes, Broken>> {
        self.following.failed(broken.word());
        (self.incoming, self.link) = (None, None);
        Some(Err(broken))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Relayed(relay) => match ready!(relay.poll(context)) {
                Some(piece) => Poll::Ready(Some(piece.map(Frame::data))),
                None => Poll::Ready(relay.take_trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Relayed(relay) => {
                let has_rest = relay.scrubber.held_bytes() > 0 || relay.trailers.is_some();
                !has_rest && relay.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Relayed(relay) => {
                let held = relay.scrubber.held_bytes() as u64;
                match relay.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint).exact() {
                    Some(rest) => SizeHint::with_exact(rest + held),
                    None => SizeHint::default(),
                }
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}
