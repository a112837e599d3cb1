//! Text as a reader sees it: without colour codes, and with needless escapes of a JSON string or an address undone.
//!
//! A secret may be interrupted by a colour code, or spelled `\u0073k-ant-…` or `sk%2Dant%2D…`. Everything is searched in the view, where it
//! stands as it is. What is handed out is the text itself; of what a marker hides, the codes inside go with it.

use memchr::{memchr, memchr_iter, memchr3, memmem};

const ESC: u8 = 0x1b;
/// The longest run of backslashes before an escape: JSON inside JSON doubles it at each level. In bytes.
const BACKSLASHES_MAX: usize = 16;
/// The longest run of parameters of a colour code, in bytes: two colours of 24 bits and some attributes.
const PARAMETERS_BYTES_MAX: usize = 48;
/// Levels of percent-encoding that are undone: of `%252D` both are.
const PERCENT_LEVELS_MAX: usize = 3;
/// Codes that may stand between two characters. More than that are text, so that no flood of codes is held back.
const CODES_MAX: usize = 4;

/// A stretch of the text that its view shows otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it stands, as a position of the view.
    pub at: usize,
    /// How many bytes of the view stand for it: none for a colour code, one for an escape.
    pub shown: usize,
    pub raw: Vec<u8>,
}

/// A view and where it differs from its text. The pieces are in order.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    pub text: &'v [u8],
    pub pieces: &'v [Piece],
}

impl View<'_> {
    /// Whether a colour code stands directly before this position.
    pub(super) fn has_code_at(&self, at: usize) -> bool {
        let first = self.pieces.partition_point(|piece| piece.at < at);
        self.pieces.get(first).is_some_and(|piece| piece.at == at && piece.shown == 0)
    }
}

/// Makes the view of text that arrives in chunks.
#[derive(Default)]
pub(super) struct Viewer {
    pub text: Vec<u8>,
    pub pieces: Vec<Piece>,
    /// The end of what arrived, where it may become a piece.
    pub undecided: Vec<u8>,
    /// Whether the last byte was a backslash that is no piece: the next one goes on its run.
    is_in_run: bool,
    codes_here: usize,
}

enum Look {
    /// After some bytes of text there is a piece, which ends at `end`.
    Piece {
        start: usize,
        end: usize,
        shows: Option<u8>,
    },
    Text,
    Undecided,
}

/// Whether the view of this text is the text itself, judged fast; `false` may be wrong.
pub(super) fn is_plain(text: &[u8]) -> bool {
    memchr(ESC, text).is_none()
        && memmem::find(text, b"u00").is_none()
        && memchr_iter(b'%', text).all(|at| matches!(percent(&text[at..], Look::Text), Look::Text))
}

/// The view of a whole text.
pub(super) fn shown(text: &[u8]) -> Vec<u8> {
    let mut viewer = Viewer::default();
    viewer.push(text, true);
    viewer.text
}

impl Viewer {
    pub(super) fn view(&self) -> View<'_> {
        View { text: &self.text, pieces: &self.pieces }
    }

    /// Appends a chunk. With `is_last` nothing stays undecided.
    pub(super) fn push(&mut self, chunk: &[u8], is_last: bool) {
        if self.undecided.is_empty() {
            let rest = self.take(chunk, is_last);
            self.undecided.extend_from_slice(&chunk[rest..]);
        } else {
            let mut raw = std::mem::take(&mut self.undecided);
            raw.extend_from_slice(chunk);
            let rest = self.take(&raw, is_last);
            raw.drain(..rest);
            self.undecided = raw;
        }
    }

    /// Drops the first bytes of the view and the pieces that stand there, and returns how many pieces these were.
    pub(super) fn forget(&mut self, cut: usize) -> usize {
        self.text.drain(..cut);
        let dropped = self.pieces.partition_point(|piece| piece.at < cut);
        self.pieces.drain(..dropped);
        for piece in &mut self.pieces {
            piece.at -= cut;
        }
        dropped
    }

    /// Takes what is decided and returns where the rest begins.
    fn take(&mut self, raw: &[u8], is_last: bool) -> usize {
        let mut from = 0;
        while let Some(near) = memchr3(ESC, b'\\', b'%', &raw[from..]) {
            let at = from + near;
            self.show(&raw[from..at]);
            let goes_on_run = raw[at] == b'\\' && self.is_in_run;
            let look = if goes_on_run { Look::Text } else { look(&raw[at..], is_last) };
            from = match look {
                Look::Undecided => return at,
                Look::Piece { start, end, shows } if shows.is_some() || self.codes_here < CODES_MAX => {
                    self.show(&raw[at..at + start]);
                    self.pieces.push(Piece {
                        at: self.text.len(),
                        shown: usize::from(shows.is_some()),
                        raw: raw[at + start..at + end].to_vec(),
                    });
                    self.text.extend(shows);
                    self.codes_here = if shows.is_some() { 0 } else { self.codes_here + 1 };
                    self.is_in_run = false;
                    at + end
                }
                _ => {
                    self.show(&raw[at..=at]);
                    at + 1
                }
            };
        }
        self.show(&raw[from..]);
        raw.len()
    }

    fn show(&mut self, text: &[u8]) {
        if let Some(last) = text.last() {
            self.text.extend_from_slice(text);
            self.is_in_run = *last == b'\\';
            self.codes_here = 0;
        }
    }
}

/// What stands at the beginning of this text, which is an ESC, a `%` or the first of a run of backslashes.
fn look(raw: &[u8], is_last: bool) -> Look {
    let cut = if is_last { Look::Text } else { Look::Undecided };
    if raw[0] == ESC {
        return code(raw, 0, 1, cut);
    }
    if raw[0] == b'%' {
        return percent(raw, cut);
    }
    let run = raw.iter().take(BACKSLASHES_MAX + 1).take_while(|byte| **byte == b'\\').count();
    if run > BACKSLASHES_MAX {
        return Look::Text;
    }
    // At each level of JSON inside JSON a backslash is two of the level below, before an escape as well. So the escape has
    // as many as the largest power of two that divides the run; the others are text.
    let start = run - (run & run.wrapping_neg());
    let escape = &raw[run..];
    let same = escape.len().min(3);
    if escape[..same] != b"u00"[..same] {
        return Look::Text;
    }
    let digits = escape.get(3..5).and_then(|digits| std::str::from_utf8(digits).ok());
    let Some(digits) = digits else {
        return if escape.len() < 5 { cut } else { Look::Text };
    };
    match u8::from_str_radix(digits, 16) {
        Ok(ESC) => code(raw, start, run + 5, cut),
        Ok(byte) if (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\' => {
            Look::Piece { start, end: run + 5, shows: Some(byte) }
        }
        _ => Look::Text,
    }
}

/// Judges what follows a `%`. Only what needs no escape in any part of an address is undone, so that a `%26` stays the end of
/// a value.
fn percent(raw: &[u8], cut: Look) -> Look {
    let mut digits = 1;
    for _ in 1..PERCENT_LEVELS_MAX {
        if raw.get(digits..digits + 2) != Some(b"25") {
            break;
        }
        digits += 2;
    }
    let hex = |at: usize| raw.get(at).map(|byte| char::from(*byte).to_digit(16));
    match (hex(digits), hex(digits + 1)) {
        (Some(Some(high)), Some(Some(low))) => {
            let byte = (high * 16 + low) as u8;
            let is_needless = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if is_needless { Look::Piece { start: 0, end: digits + 2, shows: Some(byte) } } else { Look::Text }
        }
        (None, _) | (Some(Some(_)), None) => cut,
        _ => Look::Text,
    }
}

/// Judges what follows an ESC: `[`, parameters, and `m` for colours or `K`, which some programs write with them.
fn code(raw: &[u8], start: usize, from: usize, cut: Look) -> Look {
    let follows = &raw[from..];
    match follows.first() {
        None => return cut,
        Some(b'[') => {}
        Some(_) => return Look::Text,
    }
    let is_parameter = |byte: &&u8| byte.is_ascii_digit() || **byte == b';' || **byte == b':';
    let parameters = follows[1..].iter().take(PARAMETERS_BYTES_MAX).take_while(is_parameter).count();
    match follows.get(1 + parameters) {
        Some(b'm' | b'K') => Look::Piece { start, end: from + parameters + 2, shows: None },
        None => cut,
        Some(_) => Look::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_codes_and_needless_escapes_are_seen_through() {
        for (raw, seen) in [
            ("a\x1b[1;31mb\x1b[K\x1b[0mc", "abc"),
            (r"\u001b[31mred\\u001B[0m\n", r"red\n"),
            (r"\u0073k-\u002dx \\\\u003d \\\u003d", r"sk--x = \\="),
            ("sk%2Dant%252dapi03 %61%5F%7e %2F%3D%26%0a %2 %g1 %", "sk-ant-api03 a_~ %2F%3D%26%0a %2 %g1 %"),
            (r#"\u0022 \u005c \u000a \u00e9 \u00+1 \u00"#, r#"\u0022 \u005c \u000a \u00e9 \u00+1 \u00"#),
            ("\x1b]8;;x\x07 \x1b[2J \x1b", "\x1b]8;;x\x07 \x1b[2J \x1b"),
        ] {
            assert_eq!(String::from_utf8_lossy(&shown(raw.as_bytes())), seen);
        }
        let long = format!("{}u0041", "\\".repeat(BACKSLASHES_MAX + 1));
        assert_eq!(shown(long.as_bytes()), long.as_bytes(), "a run that is too long is text to its end");
        let flood = "\x1b[m".repeat(CODES_MAX + 1);
        assert_eq!(shown(flood.as_bytes()), b"\x1b[m");
    }
}
