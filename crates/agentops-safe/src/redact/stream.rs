//! Redaction of text that arrives in pieces.

use super::Redactor;
use super::marker;
use super::scan::{LOOK_BEHIND, Scan, Span, run_end};
use super::view::{Piece, View, Viewer};

/// Redacts a stream of bytes, with the same outcome as redacting the whole at once, wherever the chunks are cut.
///
/// It holds back only what could still become part of a secret: usually nothing or a few bytes, after a word like
/// `token` up to 512 bytes, after the beginning of a private key up to 16 KiB. That is also the bound for everything
/// (give or take an escape; colour codes among it count extra, at most four between two characters), since the forms of
/// known values are shorter. So a terminal shows text as it comes, and memory is bounded by that and one chunk. What is
/// held back comes out with [`RedactStream::finish`]; dropping the stream loses it.
pub struct RedactStream {
    redactor: Redactor,
    viewer: Viewer,
    state: State,
}

/// Positions are those of the view that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Everything before was handed out; some bytes of it stay for the look behind.
    done: usize,
    /// How many of the view's pieces were handed out or hidden.
    pieces: usize,
    /// Everything before is hidden by a marker that was handed out.
    covered: usize,
    /// Spans that were found and not handed out, or that may grow.
    pending: Vec<Span>,
    marker_end: Option<usize>,
}

impl RedactStream {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self { redactor, viewer: Viewer::default(), state: State::default() }
    }

    /// Takes the next chunk and gives what is certain by now, possibly nothing.
    #[must_use]
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.advance(chunk, false)
    }

    /// How many bytes were pushed and are not handed out yet.
    #[must_use]
    pub fn held_back(&self) -> usize {
        let hidden: usize = self.viewer.pieces[self.state.pieces..].iter().map(|piece| piece.raw.len() - piece.shown).sum();
        self.viewer.text.len() - self.state.done + hidden + self.viewer.undecided.len()
    }

    /// Gives the rest. The end of the text counts as the end of whatever it cuts.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.advance(&[], true)
    }

    fn advance(&mut self, chunk: &[u8], is_last: bool) -> Vec<u8> {
        let known = self.viewer.text.len();
        self.viewer.push(chunk, is_last);
        let mut out = Vec::with_capacity(chunk.len());
        self.state.advance(&self.redactor, self.viewer.view(), known, is_last, &mut out);
        let cut = self.state.done.saturating_sub(LOOK_BEHIND);
        if cut > 0 {
            let pieces = self.viewer.forget(cut);
            self.state.shift(cut, pieces);
        }
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
    /// Hands out what is certain. `known` is how much of the view was there at the last call.
    pub(super) fn advance(&mut self, redactor: &Redactor, view: View<'_>, known: usize, is_last: bool, out: &mut Vec<u8>) {
        let text = view.text;
        for span in &mut self.pending {
            if let Some(tail) = span.tail.filter(|_| span.end == known) {
                span.end = run_end(tail, text, known, text.len());
            }
        }
        let scan = redactor.exact().scan(view, self.done, self.marker_end, is_last);
        self.take(redactor, view, scan, out);
    }

    /// Hands out what this scan settled.
    pub(super) fn take(&mut self, redactor: &Redactor, view: View<'_>, scan: Scan, out: &mut Vec<u8>) {
        let text = view.text;
        self.pending.extend(scan.spans);
        self.marker_end = scan.marker_end;
        // Of spans with one start the name of a known value wins (their markers come last), then the longest.
        self.pending.sort_unstable_by(|a, b| {
            let order =
                |span: &Span| (span.start, std::cmp::Reverse((redactor.is_known(span.marker), span.end)), span.marker);
            order(a).cmp(&order(b))
        });
        for span in std::mem::take(&mut self.pending) {
            if span.start < scan.settled {
                if span.start >= self.covered {
                    self.pass(view, span.start, out);
                    let marker = redactor.marker(span.marker);
                    match (redactor.is_known(span.marker), span.is_number) {
                        (true, _) => marker::write_known(marker, text, span.start..span.end, out),
                        (false, true) => out.push(b'0'),
                        (false, false) => out.extend_from_slice(marker),
                    }
                    self.covered = span.end;
                }
                self.covered = self.covered.max(span.end);
            }
            self.pending.push(span);
        }
        self.pass(view, scan.settled, out);
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

    /// Hands out the text up to `to`, where it is not covered. What is covered is gone with its codes and escapes.
    fn pass(&mut self, view: View<'_>, to: usize, out: &mut Vec<u8>) {
        let mut from = self.done.max(self.covered.min(to));
        let rest = &view.pieces[self.pieces..];
        let hidden = rest.iter().take_while(|piece| piece.at < from).count();
        // A code at the very end is handed out with what it follows, but not out of the middle of what is covered.
        let is_due = |piece: &&Piece| piece.at < to || (piece.at == to && piece.shown == 0 && to >= self.covered);
        let mut taken = hidden;
        for piece in rest[hidden..].iter().take_while(is_due) {
            out.extend_from_slice(&view.text[from..piece.at]);
            out.extend_from_slice(&piece.raw);
            from = piece.at + piece.shown;
            taken += 1;
        }
        out.extend_from_slice(&view.text[from..to]);
        self.done = to;
        self.pieces += taken;
    }

    fn shift(&mut self, cut: usize, pieces: usize) {
        self.done -= cut;
        self.pieces -= pieces;
        self.covered = self.covered.saturating_sub(cut);
        self.marker_end = self.marker_end.map(|end| end.saturating_sub(cut));
        for span in &mut self.pending {
            span.start = span.start.saturating_sub(cut);
            span.end = span.end.saturating_sub(cut);
        }
    }
}
