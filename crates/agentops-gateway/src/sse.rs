//! Server-sent events as they go by, in pieces of any size.
//!
//! Format: the WHATWG HTML standard, section "Server-sent events", "Interpreting an event stream". Lines may end with LF,
//! CR LF or CR. Nothing fails here: a field that is not known is passed over, and an event that is too long is given short.

use memchr::memchr2;

/// The most of one event that is kept, in bytes. What comes after it in the same event is dropped.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// What its `event` line says; empty: it has none.
    pub name: &'a [u8],
    /// Its `data` lines, joined by line feeds.
    pub data: &'a [u8],
    /// It was longer than is kept, so its data end early.
    pub cut: bool,
}

/// Reads a stream of events.
#[derive(Debug, Clone, Default)]
pub struct Parser {
    /// A line that has not ended yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    cut: bool,
    /// The last byte was a CR that ended a line: a LF directly after it belongs to it.
    after_cr: bool,
    /// The stream has begun; a byte order mark is one only before that.
    begun: bool,
}

impl Parser {
    /// Takes the next bytes and calls `each` for every event that they complete.
    ///
    /// Returns how many of the bytes lie before the end of the last such event: there the stream can be ended without
    /// leaving half an event behind. `None`: no event ended in them.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) -> Option<usize> {
        let mut boundary = None;
        let mut at = 0;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            at = usize::from(bytes[0] == b'\n');
        }
        while let Some(end) = memchr2(b'\n', b'\r', &bytes[at..]).map(|offset| at + offset) {
            let line = &bytes[at..end];
            let is_blank = line.is_empty() && self.line.is_empty();
            if self.line.is_empty() {
                self.take(line);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.line);
                self.take(&line);
                self.line = line;
                self.line.clear();
            }
            at = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if is_blank {
                boundary = Some(at);
                self.dispatch(&mut each);
            }
        }
        self.keep(&bytes[at..]);
        boundary
    }

    /// As if the stream ended here: gives an event that lacks only its blank line. The standard drops it, but some servers
    /// leave that line out and some clients read the event.
    pub fn rest(&self, each: impl FnMut(Event<'_>)) {
        if self.has_data || !self.line.is_empty() {
            self.clone().push(b"\n\n", each);
        }
    }

    /// Keeps a part of a line that has not ended.
    fn keep(&mut self, part: &[u8]) {
        let room = EVENT_BYTES_MAX.saturating_sub(self.line.len());
        self.cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Takes a line without its end.
    fn take(&mut self, line: &[u8]) {
        // A line that came in one piece is cut where one that came in several was.
        self.cut |= line.len() > EVENT_BYTES_MAX;
        let line = &line[..line.len().min(EVENT_BYTES_MAX)];
        let line = if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if let Some(value) = field(line, b"data") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            let room = EVENT_BYTES_MAX.saturating_sub(self.data.len());
            self.cut |= value.len() > room;
            self.data.extend_from_slice(&value[..value.len().min(room)]);
        } else if let Some(value) = field(line, b"event") {
            self.name.clear();
            self.name.extend_from_slice(value);
        }
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if self.has_data {
            each(Event { name: &self.name, data: &self.data, cut: self.cut });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.cut = false;
        // One long event does not make the rest of a long stream expensive to hold.
        self.data.shrink_to(KEPT_BETWEEN_EVENTS);
        self.line.shrink_to(KEPT_BETWEEN_EVENTS);
    }
}

/// Room that is kept from event to event, in bytes.
const KEPT_BETWEEN_EVENTS: usize = 64 << 10;

/// The value of a line, if it is of that field. One space after the colon belongs to neither.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}
