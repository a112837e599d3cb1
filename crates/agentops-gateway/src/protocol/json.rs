//! A JSON value that is read where it stands: no tree, no copy, and positions that an edit can use.
//!
//! It is tolerant: what providers send is not judged here, only looked at. A value that does not end, or a member that is
//! not followed by a comma or the end of its object, is not there: so a document that was cut off gives no halved numbers.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// A value within a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'a> {
    document: &'a [u8],
    start: usize,
    end: usize,
}

/// A number that a report gives cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untrue;

impl<'a> Json<'a> {
    /// The value that a document is.
    pub(super) fn new(document: &'a [u8]) -> Self {
        Self::within(document, 0..document.len())
    }

    /// The value at a place of a document.
    pub(super) fn within(document: &'a [u8], at: Range<usize>) -> Self {
        let end = at.end.min(document.len());
        Self { document, start: blank_end(document, at.start).min(end), end }
    }

    /// Where it stands in the document.
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// As it is written.
    pub(super) fn bytes(self) -> &'a [u8] {
        &self.document[self.start..self.end]
    }

    pub(super) fn is_object(self) -> bool {
        self.bytes().first() == Some(&b'{')
    }

    pub(super) fn is_array(self) -> bool {
        self.bytes().first() == Some(&b'[')
    }

    pub(super) fn is_null(self) -> bool {
        self.bytes().first() == Some(&b'n')
    }

    pub(super) fn is_true(self) -> bool {
        self.bytes().first() == Some(&b't')
    }

    /// The members of an object, in their order; of anything else none.
    pub(super) fn members(self) -> impl Iterator<Item = (&'a [u8], Json<'a>)> {
        self.placed_members().map(|(key, value)| (&self.document[key.start + 1..key.end - 1], value))
    }

    /// As [`Json::members`], with the place of each key and its quotes in the document.
    pub(super) fn placed_members(self) -> impl Iterator<Item = (Range<usize>, Json<'a>)> {
        let mut at = self.is_object().then_some(self.start + 1);
        std::iter::from_fn(move || {
            let key = blank_end(self.document, at?);
            let key_end = (self.document.get(key) == Some(&b'"')).then(|| string_end(self.document, key))??;
            let colon = blank_end(self.document, key_end);
            let (value, next) = (self.document.get(colon) == Some(&b':')).then(|| self.value_at(colon + 1))??;
            at = next;
            Some((key..key_end, value))
        })
    }

    /// The elements of an array; of anything else none.
    pub(super) fn elements(self) -> impl Iterator<Item = Json<'a>> {
        let mut at = self.is_array().then_some(self.start + 1);
        std::iter::from_fn(move || {
            let (value, next) = self.value_at(at?)?;
            at = next;
            Some(value)
        })
    }

    /// The elements of an array; of an object the object itself, as providers read it where they want a list.
    pub(super) fn each(self) -> impl Iterator<Item = Json<'a>> {
        self.is_object().then_some(self).into_iter().chain(self.elements())
    }

    /// A value within this one that is followed by a comma or a closing bracket, and where the next one may begin.
    fn value_at(self, at: usize) -> Option<(Json<'a>, Option<usize>)> {
        let start = blank_end(self.document, at);
        let end = value_end(self.document, start)?;
        let after = blank_end(self.document, end);
        let next = match self.document.get(after)? {
            b',' => Some(after + 1),
            b'}' | b']' => None,
            _ => return None,
        };
        (after < self.end).then_some((Json { document: self.document, start, end }, next))
    }

    /// The member of that name that counts (of several the last, as parsers do) and is not null.
    pub(super) fn get(self, key: &str) -> Option<Json<'a>> {
        let found = self.members().filter(|(name, _)| *name == key.as_bytes()).last()?.1;
        (!found.is_null()).then_some(found)
    }

    /// As [`Json::get`], for several names in one pass.
    pub(super) fn get_each<const N: usize>(self, keys: [&str; N]) -> [Option<Json<'a>>; N] {
        let mut found = [None; N];
        for (name, value) in self.members() {
            for (key, place) in keys.iter().zip(&mut found) {
                if name == key.as_bytes() {
                    *place = Some(value);
                }
            }
        }
        found.map(|value: Option<Json<'a>>| value.filter(|value| !value.is_null()))
    }

    /// A string as it is written between its quotes, escapes and all.
    pub(super) fn raw(self) -> Option<&'a [u8]> {
        let bytes = self.bytes();
        (bytes.first() == Some(&b'"') && bytes.len() >= 2).then(|| &bytes[1..bytes.len() - 1])
    }

    /// A string that serves as a name: cut to what a name can be long, so that nobody can fill a ledger with it.
    pub(super) fn name(self) -> Option<String> {
        const NAME_BYTES_MAX: usize = 256;
        let plain =
            self.raw().filter(|raw| raw.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')));
        let name: Cow<'_, str> = match plain.and_then(|raw| std::str::from_utf8(raw).ok()) {
            Some(plain) => plain.into(),
            None => serde_json::from_slice::<String>(self.bytes()).ok()?.into(),
        };
        let end = name.floor_char_boundary(NAME_BYTES_MAX);
        (!name.is_empty()).then(|| name[..end].to_owned())
    }

    /// A number of tokens. Providers that write fractions mean whole ones; what is larger than fits is the largest.
    pub(super) fn number(self) -> Result<u64, Untrue> {
        let text = std::str::from_utf8(self.bytes()).map_err(|_| Untrue)?;
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(text.parse().unwrap_or(u64::MAX));
        }
        let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let number: f64 = text.parse().ok().filter(|_| is_number).ok_or(Untrue)?;
        // The cast saturates, which is what is wanted of a number that is too large.
        if number >= 0.0 { Ok(number.ceil() as u64) } else { Err(Untrue) }
    }
}

/// The member's number, `None` where it is missing or null.
pub(super) fn number_of(object: Json<'_>, key: &str) -> Result<Option<u64>, Untrue> {
    number(object.get(key))
}

/// A member as a number, `None` where it is missing or null.
pub(super) fn number(member: Option<Json<'_>>) -> Result<Option<u64>, Untrue> {
    member.map(Json::number).transpose()
}

/// What stands behind a key, in a pass that does not look at nesting.
pub(super) enum Found<'a> {
    /// A string, as it is written between its quotes.
    Text(&'a [u8]),
    /// Anything else: the byte it begins with.
    Other(u8),
}

/// Calls `found` for each member of each object, however deep, in one pass. For small documents of a known shape, such as
/// the pieces of a stream.
pub(super) fn each_member<'a>(document: &'a [u8], mut found: impl FnMut(&'a [u8], Found<'a>)) {
    let mut at = 0;
    while let Some(quote) = memchr(b'"', &document[at..]).map(|offset| at + offset) {
        let Some(key_end) = string_end(document, quote) else { return };
        at = key_end;
        let colon = blank_end(document, key_end);
        if document.get(colon) != Some(&b':') {
            continue;
        }
        let value = blank_end(document, colon + 1);
        let key = &document[quote + 1..key_end - 1];
        match document.get(value) {
            Some(b'"') => {
                let Some(end) = string_end(document, value) else { return };
                found(key, Found::Text(&document[value + 1..end - 1]));
                at = end;
            }
            Some(byte) => found(key, Found::Other(*byte)),
            None => return,
        }
    }
}

/// How many bytes a string has when its escapes are undone.
pub(super) fn text_length(raw: &[u8]) -> u64 {
    let mut length = raw.len();
    let mut at = 0;
    while let Some(escape) = raw.get(at..).and_then(|rest| memchr(b'\\', rest)).map(|offset| at + offset) {
        let (written, meant) = match raw.get(escape + 1) {
            Some(b'u') => (6, code_unit_length(raw.get(escape + 2..escape + 6))),
            _ => (2, 1),
        };
        length = length.saturating_sub(written - meant);
        at = escape + written;
    }
    length as u64
}

/// Bytes of UTF-8 that a `\uXXXX` stands for. Half of a surrogate pair stands for two of the pair's four.
fn code_unit_length(digits: Option<&[u8]>) -> usize {
    let unit =
        digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| u16::from_str_radix(text, 16).ok());
    match unit {
        Some(0..0x80) => 1,
        Some(0x80..0x800 | 0xd800..0xe000) => 2,
        _ => 3,
    }
}

fn blank_end(document: &[u8], mut at: usize) -> usize {
    while matches!(document.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of the string that begins at a quote.
fn string_end(document: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        at += memchr2(b'"', b'\\', document.get(at..)?)? + 1;
        if document[at - 1] == b'"' {
            return Some(at);
        }
        at += 1;
    }
}

/// The end of the value that begins here. Brackets are counted, not matched by kind.
fn value_end(document: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_u32;
    loop {
        match document.get(at)? {
            b'"' => at = string_end(document, at)?,
            b'{' | b'[' => {
                depth = depth.checked_add(1)?;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if depth > 0 => {
                at += 1;
                continue;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => return None,
            _ => {
                let is_part = |byte: &u8| {
                    !matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t')
                };
                at += document[at..].iter().take_while(|byte| is_part(byte)).count();
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
