//! A call's ticket in the hands of the part that forwards it: whatever becomes of the call, it is settled with a word for it.

use std::sync::Arc;

use hyper::header::HeaderMap;

use crate::entry::Entry;
use crate::ticket::{Flow, Ticket};
use crate::upstream::Sending;

/// A call on its way. Dropped before its end, it says who left.
pub(crate) struct Following {
    /// `None`: the request is no call, or the call is settled.
    ticket: Option<Ticket>,
    entry: Arc<Entry>,
}

impl Following {
    pub(crate) fn new(ticket: Option<Ticket>, entry: Arc<Entry>) -> Self {
        Self { ticket, entry }
    }

    /// Notes what may have reached the provider.
    pub(crate) fn sending(&mut self, sending: Sending) {
        let Some(ticket) = &mut self.ticket else { return };
        match sending {
            Sending::Left => ticket.sent(),
            Sending::NeverArrived => ticket.never_arrived(),
        }
    }

    /// The answer's head is there.
    pub(crate) fn answered(&mut self, status: u16, head: &HeaderMap, streamed: bool) {
        if let Some(ticket) = &mut self.ticket {
            ticket.answered(status, streamed);
            ticket.head(status, head);
        }
    }

    /// The request is a call that is not settled.
    pub(crate) fn is_call(&self) -> bool {
        self.ticket.is_some()
    }

    /// The answer to a call is read as a stream, and may be cut.
    pub(crate) fn is_streamed(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_streamed)
    }

    /// Bytes of the answer are about to be passed on.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Flow {
        self.ticket.as_mut().map_or(Flow::GoOn, |ticket| ticket.push(bytes))
    }

    /// There will be no more of the answer.
    pub(crate) fn failed(&mut self, word: &'static str) {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.failed(word);
        }
    }

    /// The answer is complete.
    pub(crate) fn done(&mut self) {
        self.ticket = None;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let word = if self.entry.is_closed() { "lane-closed" } else { "client-gone" };
        self.failed(word);
    }
}
