//! Server-sent events, as they go by (WHATWG HTML, section 9.2.6). Only the data is read.

use memchr::memchr2;

/// An event longer than this is passed over: nothing that is read from a stream is that long.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Splits a stream into the data of its events, wherever it is cut.
#[derive(Debug, Default)]
pub struct Events {
    /// The line that is not ended.
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    too_long: bool,
    after_cr: bool,
    open: bool,
}

impl Events {
    /// Takes bytes in and hands out the data of each event that ends with them.
    pub fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            let is_lf_of_crlf = self.after_cr && end == 0 && bytes[end] == b'\n';
            self.after_cr = bytes[end] == b'\r';
            bytes = rest;
            if is_lf_of_crlf {
                continue;
            }
            if self.line.is_empty() {
                self.line(line, each);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.line);
                self.line(&whole, each);
                self.line = whole;
                self.line.clear();
            }
        }
        if !bytes.is_empty() {
            self.after_cr = false;
            self.open = true;
            self.keep(bytes);
        }
    }

    /// Whether an event has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > EVENT_BYTES_MAX {
            self.too_long = true;
            // What stays tells an empty line from one that is passed over.
            self.line.truncate(1);
            if self.line.is_empty() {
                self.line.push(b':');
            }
            return;
        }
        self.line.extend_from_slice(part);
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(&[u8])) {
        if line.is_empty() {
            if self.has_data && !self.too_long {
                each(&self.data);
            }
            self.data.clear();
            (self.has_data, self.too_long, self.open) = (false, false, false);
            return;
        }
        self.open = true;
        let Some(value) =
            line.strip_prefix(b"data").and_then(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b":") })
        else {
            return;
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if self.data.len() + value.len() > EVENT_BYTES_MAX {
            self.too_long = true;
            return;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }
}
