//! Upper bound of the tokens of a PDF, from its bytes.
//!
//! A provider shows the model an image and the text of each page. How many pages a file has cannot be believed from its own
//! declaration, so the page objects and the references to them are counted, in the file and in its compressed streams. Text
//! counts as often as it is drawn: a stream once for each reference to it, a form once for each time that it is drawn. What
//! may hide pages or text from this reader (encryption, other compressions, a page that is used twice) counts as the most
//! pages that a provider takes.

mod content;
mod drawing;
mod filter;
mod unicode;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use memchr::memmem;

use drawing::{Drawing, Stream};
use filter::Inflated;

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

/// What a PDF holds at most.
pub(super) struct Pdf {
    pub(super) pages: u64,
    /// Tokens of its text.
    pub(super) text: u64,
}

/// Counts a PDF.
pub(super) fn count(file: &[u8]) -> Pdf {
    let mut survey = Survey::default();
    survey.structure(file);
    survey.streams(file);
    survey.count()
}

/// The content of a stream.
struct Data {
    bytes: Vec<u8>,
    /// Where its data ends in the file.
    end: usize,
    /// It was decoded.
    is_packed: bool,
}

/// What was seen of a file.
#[derive(Default)]
struct Survey {
    page_objects: u64,
    /// Lists of pages, each once: later revisions of a file repeat them.
    page_lists: BTreeSet<Vec<u8>>,
    page_references: Vec<u64>,
    drawing: Drawing,
    /// Names of the filter ASCII85 in the file, and streams that were read with it.
    ascii85: (u64, u64),
    /// Something may hide pages or text.
    hidden: bool,
}

impl Survey {
    fn count(mut self) -> Pdf {
        let references = self.page_references.len();
        self.page_references.sort_unstable();
        self.page_references.dedup();
        let repeats = self.page_references.len() < references;
        let unread = self.ascii85.0 > self.ascii85.1;
        // A file that hides something is not drawn: that would be work for nothing.
        let text_bytes = if self.hidden || repeats || unread { None } else { self.drawing.text_bytes() };
        let pages = match text_bytes {
            None => PAGES_MAX,
            Some(_) => self.page_objects.max(references as u64).clamp(1, PAGES_MAX),
        };
        let text = pages.saturating_mul(PAGE_TEXT_TOKENS).max(text_bytes.unwrap_or_default());
        Pdf { pages, text }
    }

    /// Reads the streams: their structure, and what they draw.
    fn streams(&mut self, file: &[u8]) {
        let (mut count, mut left) = (0, STREAM_BYTES_MAX);
        let (mut before, mut data_end, mut packed) = (0, 0, Vec::new());
        for at in memmem::find_iter(file, b"stream") {
            if self.hidden {
                return;
            }
            if file[..at].ends_with(b"end") {
                // The end of one.
                continue;
            }
            let word_end = at + b"stream".len();
            let Some(line_end) = file.get(word_end..).and_then(line_end_length) else { continue };
            let begin = word_end + line_end;
            let may_begin = file[..at].trim_ascii_end().ends_with(b">>") || ends_in_a_comment(&file[..at]);
            if at < data_end && !may_begin {
                // A word of a text.
                continue;
            }
            count += 1;
            let (objects, dictionary) = if may_begin { owners(&file[before..at]) } else { (Vec::new(), &file[at..at]) };
            before = begin;
            let names = filter::names_of(dictionary);
            let data = self.decoded(file, begin, &names, left).filter(|_| count <= STREAMS_MAX && !objects.is_empty());
            let Some(Data { bytes, end, is_packed }) = data else {
                self.hidden = true;
                return;
            };
            left -= bytes.len();
            data_end = end;
            if is_packed {
                self.structure(&bytes);
            }
            if names.may_hold_objects {
                self.hidden |= names.altered;
                if is_packed {
                    self.references(&bytes);
                }
                self.drawing.loose_bytes += content::string_bytes(&bytes, &[]);
            }
            if is_packed || names.is_binary {
                self.hidden |= holds_an_object(&file[begin..end]);
                packed.push(begin..end);
            }
            self.drawing.streams.push(Stream { objects, bytes, is_image: names.is_image });
        }
        self.drawing.loose_bytes += content::string_bytes(file, &packed);
        let mut at = 0;
        for range in packed {
            self.references(file.get(at..range.start).unwrap_or_default());
            at = range.end;
        }
        self.references(&file[at..]);
    }

    /// A stream's content as far as it is compressed in a way that is known here; `None`: there may be more in it.
    fn decoded(&mut self, file: &[u8], begin: usize, names: &filter::Names, max: usize) -> Option<Data> {
        let data = &file[begin..];
        if names.ascii85 > 0 {
            if names.ascii85 > 1 || names.flate > 1 {
                return None;
            }
            let (plain, length) = filter::ascii85(data, max)?;
            self.ascii85.1 += 1;
            let bytes = match filter::inflate(&plain, max) {
                Inflated::Whole { bytes, .. } => bytes,
                Inflated::NotCompressed if names.flate == 0 => plain,
                Inflated::NotCompressed | Inflated::TooLong => return None,
            };
            return Some(Data { bytes, end: begin + length, is_packed: true });
        }
        match filter::inflate(data, max) {
            Inflated::Whole { bytes, length } if names.flate <= 1 => {
                Some(Data { bytes, end: begin + length, is_packed: true })
            }
            Inflated::NotCompressed if names.flate == 0 => {
                let data = &data[..data.len().min(max)];
                let end = memmem::find(data, b"endstream")?;
                Some(Data { bytes: data[..end].to_vec(), end: begin + end, is_packed: false })
            }
            _ => None,
        }
    }

    /// Reads the names in some bytes. Their form makes it unlikely that data of an image looks like one.
    fn structure(&mut self, bytes: &[u8]) {
        for slash in memchr::memchr_iter(b'/', bytes) {
            if self.hidden {
                return;
            }
            let rest = &bytes[slash + 1..];
            let written = written_name(rest);
            let name = name(written);
            let after = &rest[written.len()..];
            match name.as_ref() {
                b"Page" => self.page_objects += 1,
                b"Kids" => self.page_list(after),
                b"Contents" => self.contents(after),
                b"Differences" => self.hidden |= unicode::is_widening(after),
                b"ASCII85Decode" => self.ascii85.0 += 1,
                b"Encrypt" | b"Crypt" | b"LZWDecode" | b"LZW" | b"A85" | b"ASCIIHexDecode" | b"AHx" | b"RunLengthDecode"
                | b"BrotliDecode" => self.hidden = true,
                _ => {}
            }
        }
    }

    /// Counts references, and notes the names that they stand behind. Only where objects may stand: other data could look like
    /// some.
    fn references(&mut self, bytes: &[u8]) {
        for at in memchr::memchr_iter(b'R', bytes) {
            let is_word =
                at > 0 && bytes[at - 1].is_ascii_whitespace() && bytes.get(at + 1).is_none_or(|byte| !is_regular(*byte));
            if !is_word {
                continue;
            }
            if self.hidden {
                return;
            }
            // A comment could hide what a reference belongs to.
            self.hidden |= ends_in_a_comment(&bytes[..at]);
            let Some((before, _)) = number_before(bytes[..at].trim_ascii_end()) else { continue };
            let Some((number_end, object)) = number_before(before.trim_ascii_end()) else { continue };
            self.hidden |= ends_in_a_comment(before) || ends_in_a_comment(number_end);
            *self.drawing.references.entry(object).or_default() += 1;
            let before = number_end.trim_ascii_end();
            let length = before.iter().rev().take(128).take_while(|byte| is_regular(**byte)).count();
            let begin = before.len() - length;
            if begin > 0 && before[begin - 1] == b'/' {
                self.drawing.named.entry(name_hash(&before[begin..])).or_default().insert(object);
            }
        }
    }

    /// Reads a list of pages: references, and nothing else.
    fn page_list(&mut self, bytes: &[u8]) {
        let Some(list) = list(bytes) else {
            // The list stands elsewhere.
            self.hidden = true;
            return;
        };
        if !self.page_lists.insert(list.to_vec()) {
            return;
        }
        match object_numbers(list) {
            Some(objects) => self.page_references.extend(objects),
            None => self.hidden = true,
        }
    }

    /// Reads which streams a page draws, one after another. Of an annotation it is a string.
    fn contents(&mut self, bytes: &[u8]) {
        let bytes = bytes.trim_ascii_start();
        let objects = match bytes.first() {
            Some(b'(' | b'<') => return,
            Some(b'[') => list(bytes).and_then(object_numbers),
            _ => first_reference(bytes).map(|object| vec![object]),
        };
        match objects {
            Some(objects) => objects.into_iter().for_each(|object| *self.drawing.contents.entry(object).or_default() += 1),
            None => self.hidden = true,
        }
    }
}

/// What stands between the brackets of a list.
fn list(bytes: &[u8]) -> Option<&[u8]> {
    let inner = bytes.trim_ascii_start().strip_prefix(b"[")?;
    Some(&inner[..memchr::memchr(b']', inner)?])
}

/// The objects that a list refers to, if it has nothing but references.
fn object_numbers(list: &[u8]) -> Option<Vec<u64>> {
    let mut objects = Vec::new();
    let mut words = list.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    while let Some(object) = words.next() {
        let (Some(_), Some(b"R")) = (words.next(), words.next()) else { return None };
        objects.push(std::str::from_utf8(object).ok()?.parse().ok()?);
    }
    Some(objects)
}

fn first_reference(bytes: &[u8]) -> Option<u64> {
    let end = memchr::memchr(b'R', &bytes[..bytes.len().min(64)])?;
    object_numbers(&bytes[..=end])?.first().copied()
}

/// The whole number that ends some bytes, and what stands before it.
fn number_before(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let digits = bytes.iter().rev().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = bytes.split_at(bytes.len() - digits);
    Some((before, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// The numbers of the objects that a stream may belong to, and its dictionary, from the bytes between the stream before and its
/// own data. More than one object where a comment or a string could be meant.
fn owners(bytes: &[u8]) -> (Vec<u64>, &[u8]) {
    const CANDIDATES_MAX: usize = 8;
    let mut objects = Vec::new();
    let mut dictionary = None;
    for at in memmem::rfind_iter(bytes, b"obj").take(CANDIDATES_MAX) {
        if bytes[..at].ends_with(b"end") {
            match dictionary {
                Some(_) => break,
                None => continue,
            }
        }
        let number = number_before(bytes[..at].trim_ascii_end())
            .and_then(|(before, _)| number_before(before.trim_ascii_end()))
            .map(|(_, object)| object);
        let Some(object) = number else { continue };
        objects.push(object);
        if content::is_dictionary(&bytes[at + 3..]) {
            dictionary = Some(&bytes[at..]);
        }
    }
    match dictionary {
        Some(dictionary) => (objects, dictionary),
        None => (Vec::new(), bytes),
    }
}

/// Whether an object begins in some bytes: a reader that is led there by a file's table of objects finds it.
fn holds_an_object(bytes: &[u8]) -> bool {
    memmem::find_iter(bytes, b"obj").any(|at| {
        let before = bytes[..at].trim_ascii_end();
        number_before(before).is_some_and(|(before, _)| number_before(before.trim_ascii_end()).is_some())
    })
}

/// Whether some bytes end with a line that holds a comment, and blanks.
fn ends_in_a_comment(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_end();
    let has_line_end = bytes[line.len()..].iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    has_line_end && line.iter().rev().take(1024).take_while(|byte| !matches!(byte, b'\n' | b'\r')).any(|byte| *byte == b'%')
}

fn name_hash(written: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name(written).hash(&mut hasher);
    hasher.finish()
}

/// A name as it is written behind its slash. Those that mean something here are short.
fn written_name(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().take(128).take_while(|byte| is_regular(**byte)).count()]
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

/// Length of the end of the line behind the word that begins a stream; `None`: it begins none.
fn line_end_length(after: &[u8]) -> Option<usize> {
    match after {
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}
