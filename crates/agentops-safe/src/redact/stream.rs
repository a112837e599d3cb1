//! Redaction of text that arrives in pieces.

use super::Redactor;
use super::scan::{LOOK_BEHIND, Span, run_end};

/// Redacts a stream of bytes, with the same outcome as redacting the whole at once, wherever the chunks are cut.
///
/// It holds back only what could still become part of a secret: usually nothing or a few bytes, after a word like
/// `token` up to 512 bytes, after the beginning of a private key up to 16 KiB. That is also the bound for everything
/// (give or take an escape), since the forms of known values are shorter. So a terminal shows text as it comes, and
/// memory is bounded by that and one chunk. What is held back comes out with [`RedactStream::finish`]; dropping the
/// stream loses it.
pub struct RedactStream {
    redactor: Redactor,
    text: Vec<u8>,
    state: State,
}

/// Positions are those of the text that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Everything before was handed out; some bytes of it stay for the look behind.
    done: usize,
    /// Everything before is hidden by a marker that was handed out.
    covered: usize,
    /// Spans that were found and not handed out, or that may grow.
    pending: Vec<Span>,
    marker_end: Option<usize>,
}

impl RedactStream {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self { redactor, text: Vec::new(), state: State::default() }
    }

    /// Takes the next chunk and gives what is certain by now, possibly nothing.
    #[must_use]
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        let known = self.text.len();
        self.text.extend_from_slice(chunk);
        let mut out = Vec::with_capacity(chunk.len());
        self.state.advance(&self.redactor, &self.text, known, false, &mut out);
        let cut = self.state.done.saturating_sub(LOOK_BEHIND);
        if cut > 0 {
            self.text.drain(..cut);
            self.state.shift(cut);
        }
        out
    }

    /// How many bytes were pushed and are not handed out yet.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.text.len() - self.state.done
    }

    /// Gives the rest. The end of the text counts as the end of whatever it cuts.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        self.state.advance(&self.redactor, &self.text, self.text.len(), true, &mut out);
        out
    }
}

impl std::fmt::Debug for RedactStream {
    /// Shows how much is held back and never what: it was not redacted yet.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedactStream").field("held_back", &self.held_back()).finish_non_exhaustive()
    }
}

impl State {
    /// Hands out what is certain. `known` is how much of the text was there at the last call.
    pub(super) fn advance(&mut self, redactor: &Redactor, text: &[u8], known: usize, is_last: bool, out: &mut Vec<u8>) {
        for span in &mut self.pending {
            if let Some(tail) = span.tail.filter(|_| span.end == known) {
                span.end = run_end(tail, text, known, text.len());
            }
        }
        let scan = redactor.exact().scan(text, self.done, self.marker_end, is_last);
        self.pending.extend(scan.spans);
        self.marker_end = scan.marker_end;
        // Of spans with one start the name of a known value wins (their markers come last), then the longest.
        self.pending.sort_unstable_by(|a, b| {
            let order =
                |span: &Span| (span.start, std::cmp::Reverse((redactor.is_known(span.marker), span.end)), span.marker);
            order(a).cmp(&order(b))
        });
        for span in self.pending.iter().take_while(|span| span.start < scan.settled) {
            if span.start >= self.covered {
                out.extend_from_slice(&text[self.done.max(self.covered)..span.start]);
                out.extend_from_slice(redactor.marker(span.marker));
                self.covered = span.end;
            }
            self.covered = self.covered.max(span.end);
            self.done = self.done.max(self.covered.min(scan.settled));
        }
        if self.covered < scan.settled {
            out.extend_from_slice(&text[self.done.max(self.covered)..scan.settled]);
        }
        self.done = scan.settled;
        self.pending.retain(|span| span.start >= scan.settled || (span.tail.is_some() && span.end == text.len()));
        // Many keywords in one run find the same end; the first of a kind stands for all that were handed out.
        let settled = scan.settled;
        let mut seen = Vec::new();
        self.pending.retain(|span| {
            let is_new = !seen.contains(&span.tail);
            if span.start < settled {
                seen.push(span.tail);
            }
            span.start >= settled || is_new
        });
    }

    fn shift(&mut self, cut: usize) {
        self.done -= cut;
        self.covered = self.covered.saturating_sub(cut);
        self.marker_end = self.marker_end.map(|end| end.saturating_sub(cut));
        for span in &mut self.pending {
            span.start = span.start.saturating_sub(cut);
            span.end = span.end.saturating_sub(cut);
        }
    }
}
