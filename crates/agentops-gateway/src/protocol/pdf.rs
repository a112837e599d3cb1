//! Upper bound of the tokens of a PDF, from its bytes.
//!
//! A provider shows the model an image and the text of each page. How many pages a file has cannot be believed from its own
//! declaration, so the page objects and the references to them are counted, in the file and in its compressed streams. What
//! may hide pages or text from this reader (encryption, other compressions, a page that is used twice) counts as the most
//! pages that a provider takes.
//!
//! What does not hold: a file whose pages show one shared text again and again has more text than its bytes say. Then the
//! published figure for the text of a page decides, until the provider's first report.

use std::collections::BTreeSet;

use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;

/// The most pages that a provider takes. Source: Gemini API, "Document understanding" (1,000 pages; Anthropic's "PDF support"
/// has 100 and later 600).
const PAGES_MAX: u64 = 1_000;
/// The most text that a provider expects on a page, in tokens. Source: Anthropic, "PDF support": 1,500 to 3,000 a page.
const PAGE_TEXT_TOKENS: u64 = 3_000;
/// Bytes that are looked at in the streams of one file, decompressed or as they stand. A file whose streams have more, or
/// that has more streams, is one that may hide pages: so many streams that each lead to the end of the file, or that each
/// grow a thousandfold, would otherwise keep every lane waiting.
const STREAM_BYTES_MAX: usize = 32 << 20;
const STREAMS_MAX: usize = 20_000;

/// Whether a file is a PDF: readers look for its mark in the first 1,024 bytes.
pub(super) fn is_pdf(file: &[u8]) -> bool {
    memmem::find(&file[..file.len().min(1024)], b"%PDF-").is_some()
}

/// Upper bound of its tokens where the image of a page has this many.
pub(super) fn tokens(file: &[u8], page_image_tokens: u64) -> u64 {
    let mut survey = Survey::default();
    survey.structure(file);
    let (mut streams, mut left) = (0, STREAM_BYTES_MAX);
    for at in memmem::find_iter(file, b"stream") {
        if survey.hidden {
            break;
        }
        if file[..at].ends_with(b"end") {
            // The end of one.
            continue;
        }
        let Some(data) = file.get(at + b"stream".len()..).and_then(stream_data) else { continue };
        streams += 1;
        let dictionary = dictionary_before(file, at);
        match inflate(data, left) {
            _ if streams > STREAMS_MAX => survey.hidden = true,
            Inflated::Whole(bytes) => {
                left -= bytes.len();
                survey.structure(&bytes);
                survey.text(&bytes);
                let twice = memmem::find_iter(dictionary, b"FlateDecode").count() > 1;
                let altered_objects = contains(dictionary, b"ObjStm")
                    && (contains(dictionary, b"DecodeParms") || contains(dictionary, b"/DP"));
                survey.hidden |= twice || altered_objects;
            }
            Inflated::TooLong => survey.hidden = true,
            Inflated::NotCompressed => {
                survey.hidden |= contains(dictionary, b"Flate");
                let data = &data[..data.len().min(left)];
                match memmem::find(data, b"endstream") {
                    Some(end) => {
                        left -= end;
                        survey.text(&data[..end]);
                    }
                    None => survey.hidden = true,
                }
            }
        }
    }
    survey.tokens(page_image_tokens)
}

/// What was seen of a file.
#[derive(Default)]
struct Survey {
    page_objects: u64,
    /// Lists of pages, each once: later revisions of a file repeat them.
    page_lists: BTreeSet<Vec<u8>>,
    page_references: Vec<u64>,
    /// Bytes of the strings that are shown.
    text_bytes: u64,
    /// Something may hide pages or text.
    hidden: bool,
}

impl Survey {
    fn tokens(mut self, page_image_tokens: u64) -> u64 {
        let references = self.page_references.len();
        self.page_references.sort_unstable();
        self.page_references.dedup();
        let repeats = self.page_references.len() < references;
        let pages = match self.hidden || repeats {
            true => PAGES_MAX,
            false => self.page_objects.max(references as u64).clamp(1, PAGES_MAX),
        };
        let text = pages.saturating_mul(PAGE_TEXT_TOKENS).max(self.text_bytes);
        pages.saturating_mul(page_image_tokens).saturating_add(text)
    }

    /// Reads the names in some bytes. Their form makes it unlikely that data of an image looks like one.
    fn structure(&mut self, bytes: &[u8]) {
        for slash in memchr::memchr_iter(b'/', bytes) {
            if self.hidden {
                return;
            }
            let rest = &bytes[slash + 1..];
            let written = &rest[..rest.iter().take(64).take_while(|byte| is_regular(**byte)).count()];
            let name = name(written);
            match name.as_ref() {
                b"Page" => self.page_objects += 1,
                b"Kids" => self.page_list(&rest[written.len()..]),
                b"Encrypt" | b"Crypt" | b"LZWDecode" | b"LZW" | b"ASCII85Decode" | b"A85" | b"ASCIIHexDecode" | b"AHx"
                | b"RunLengthDecode" | b"BrotliDecode" => self.hidden = true,
                _ => {}
            }
        }
    }

    /// Reads a list of pages: references, and nothing else.
    fn page_list(&mut self, bytes: &[u8]) {
        let bytes = bytes.trim_ascii_start();
        let list = bytes.strip_prefix(b"[").and_then(|inner| Some(&inner[..memchr::memchr(b']', inner)?]));
        let Some(list) = list else {
            // The list stands elsewhere.
            self.hidden = true;
            return;
        };
        if !self.page_lists.insert(list.to_vec()) {
            return;
        }
        let mut numbers = list.split(|byte| byte.is_ascii_whitespace()).filter(|token| !token.is_empty());
        while let Some(object) = numbers.next() {
            let object = std::str::from_utf8(object).ok().and_then(|digits| digits.parse().ok());
            let (Some(object), Some(_), Some(b"R")) = (object, numbers.next(), numbers.next()) else {
                self.hidden = true;
                return;
            };
            self.page_references.push(object);
        }
    }

    /// Adds the strings of a stream that shows text.
    fn text(&mut self, stream: &[u8]) {
        let shows = ["Tj", "TJ", "'", "\""].iter().any(|operator| has_operator(stream, operator.as_bytes()));
        if !shows || !has_operator(stream, b"BT") {
            return;
        }
        let mut at = 0;
        while let Some(begin) = stream.get(at..).and_then(|rest| memchr::memchr2(b'(', b'<', rest)) {
            let begin = at + begin;
            let end = match stream[begin] {
                b'(' => literal_end(stream, begin),
                _ if stream.get(begin + 1) == Some(&b'<') => begin + 2,
                _ => memchr::memchr(b'>', &stream[begin..]).map_or(stream.len(), |length| begin + length),
            };
            self.text_bytes = self.text_bytes.saturating_add((end - begin) as u64);
            at = end;
        }
    }
}

/// The end of a string in parentheses, which may hold balanced ones.
fn literal_end(stream: &[u8], begin: usize) -> usize {
    let mut depth = 0_u32;
    let mut at = begin;
    while let Some(byte) = stream.get(at) {
        match byte {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' if depth <= 1 => return at + 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    stream.len()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    memmem::find(bytes, word).is_some()
}

/// Whether the operator stands there between delimiters.
fn has_operator(stream: &[u8], operator: &[u8]) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !is_regular(*byte));
    memmem::find_iter(stream, operator).any(|at| {
        let before = at.checked_sub(1).and_then(|before| stream.get(before));
        is_edge(before) && is_edge(stream.get(at + operator.len()))
    })
}

/// A byte of a name or of an operator: no blank and no delimiter.
fn is_regular(byte: u8) -> bool {
    !matches!(
        byte,
        0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ' | b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%'
    )
}

/// A name without its escapes (`#50` is `P`).
fn name(written: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !written.contains(&b'#') {
        return written.into();
    }
    let mut name = Vec::with_capacity(written.len());
    let mut at = 0;
    while let Some(byte) = written.get(at) {
        let digits =
            written.get(at + 1..at + 3).filter(|_| *byte == b'#').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                name.push(escaped);
                at += 3;
            }
            None => {
                name.push(*byte);
                at += 1;
            }
        }
    }
    name.into()
}

/// The dictionary before a stream's data, from the beginning of its object.
fn dictionary_before(file: &[u8], stream: usize) -> &[u8] {
    const DICTIONARY_MAX: usize = 4096;
    let before = &file[stream.saturating_sub(DICTIONARY_MAX)..stream];
    memmem::rfind(before, b"obj").map_or(before, |at| &before[at..])
}

/// A stream's data, behind the end of the line; `None`: the word is not the beginning of a stream.
fn stream_data(after: &[u8]) -> Option<&[u8]> {
    after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")).or_else(|| after.strip_prefix(b"\r"))
}

enum Inflated {
    Whole(Vec<u8>),
    TooLong,
    NotCompressed,
}

/// Decompresses as far as the data goes; what breaks off counts as far as it was read.
fn inflate(data: &[u8], max: usize) -> Inflated {
    const STEP: usize = 32 << 10;
    let mut decompress = Decompress::new(true);
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(STEP);
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let rest = data.get(usize::try_from(read).unwrap_or(usize::MAX)..).unwrap_or_default();
        let status = decompress.decompress_vec(rest, &mut bytes, FlushDecompress::None);
        if bytes.len() > max {
            return Inflated::TooLong;
        }
        let moved = (decompress.total_in(), decompress.total_out()) != (read, written);
        match status {
            Ok(Status::Ok | Status::BufError) if moved => {}
            _ if bytes.is_empty() => return Inflated::NotCompressed,
            _ => return Inflated::Whole(bytes),
        }
    }
}
