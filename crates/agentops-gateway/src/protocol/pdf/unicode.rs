//! What the codes of shown strings stand for. A font may say that one code is a long text.

use memchr::memmem;

/// Text that codes stand for, in bytes of UTF-8: a tokenizer makes at most as many tokens. Of several fonts the longest counts.
#[derive(Debug, Default)]
pub(super) struct Unicode {
    /// By their number; a code of one byte may be written as two. Empty: nothing is known.
    lengths: Vec<u32>,
    /// Codes that were written so far.
    codes: usize,
    /// Something cannot be read.
    pub(super) hidden: bool,
}

/// Codes that all fonts of a file together may describe.
const CODES_MAX: usize = 8 << 20;
/// The longest code that is read, in bytes.
const CODE_BYTES_MAX: usize = 2;
/// Bytes of text that a glyph's name or an unread code may stand for: as many as a ligature has.
const PLAIN_BYTES_MAX: u64 = 12;

impl Unicode {
    /// Reads what a stream says of codes, if it does.
    pub(super) fn learn(&mut self, stream: &[u8]) {
        for (begin, end, is_range) in
            [(&b"beginbfchar"[..], &b"endbfchar"[..], false), (b"beginbfrange", b"endbfrange", true)]
        {
            let mut rest = stream;
            while let Some(at) = memmem::find(rest, begin) {
                rest = &rest[at + begin.len()..];
                let table = &rest[..memmem::find(rest, end).unwrap_or(rest.len())];
                self.table(table, is_range);
                if self.hidden {
                    return;
                }
            }
        }
    }

    fn table(&mut self, table: &[u8], is_range: bool) {
        let mut words = Words { bytes: table, at: 0 };
        while let Some(Word::Hex(first)) = words.next() {
            let (last, text) = match is_range {
                true => (words.next(), words.next()),
                false => (Some(Word::Hex(first.clone())), words.next()),
            };
            match (last, text) {
                (Some(Word::Hex(last)), Some(Word::Hex(text))) => self.range(&first, &last, &text),
                (Some(Word::Hex(last)), Some(Word::Open)) => {
                    let mut longest = Vec::new();
                    loop {
                        match words.next() {
                            Some(Word::Hex(text)) if text.len() > longest.len() => longest = text,
                            Some(Word::Hex(_)) => {}
                            Some(Word::Close) => break,
                            _ => return self.hidden = true,
                        }
                    }
                    // Any of them may stand for any of these texts.
                    let highest = vec![0xff; longest.len()];
                    self.range(&first, &last, &highest);
                }
                _ => return self.hidden = true,
            }
        }
        self.hidden |= words.bytes[words.at..].iter().any(|byte| !byte.is_ascii_whitespace());
    }

    /// Takes the codes from one to another. The last sign of their text goes up with them.
    fn range(&mut self, first: &[u8], last: &[u8], text: &[u8]) {
        let number = |code: &[u8]| code.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let (first_signs, last_sign) = text.split_at(text.len().saturating_sub(2));
        let before = utf8_length(first_signs);
        if first.len() > CODE_BYTES_MAX || last.len() > CODE_BYTES_MAX {
            self.hidden |= before + 3 > PLAIN_BYTES_MAX;
            return;
        }
        let (first, last, last_sign) = (number(first), number(last), number(last_sign));
        self.codes += last.saturating_sub(first) + 1;
        if self.codes > CODES_MAX {
            self.hidden = true;
            return;
        }
        if self.lengths.is_empty() {
            self.lengths = vec![1; 1 << 16];
        }
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        for (at, known) in self.lengths.get_mut(first..=last).unwrap_or_default().iter_mut().enumerate() {
            *known = (*known).max(before.saturating_add(sign_length(last_sign + at)));
        }
    }

    /// Upper bound of the tokens of a string in parentheses, with them.
    pub(super) fn literal(&self, written: &[u8]) -> u64 {
        self.string(written, || plain(written))
    }

    /// Upper bound of the tokens of a string in hexadecimal digits, with the sign that begins it.
    pub(super) fn hex(&self, written: &[u8]) -> u64 {
        self.string(written, || hex_bytes(written))
    }

    fn string(&self, written: &[u8], codes: impl Fn() -> Vec<u8>) -> u64 {
        let length = written.len() as u64;
        if self.lengths.is_empty() {
            return length;
        }
        let codes = codes();
        let length_of = |code: usize| u64::from(self.lengths[code]);
        let single: u64 = codes.iter().map(|code| length_of(usize::from(*code))).sum();
        let double: u64 =
            codes.chunks_exact(2).map(|pair| length_of(usize::from(u16::from_be_bytes([pair[0], pair[1]])))).sum();
        length.max(single).max(double)
    }
}

/// Whether a list of glyph names has one that stands for a long text: names of several characters are joined with `_`, and
/// `uni` may be followed by several of four digits. Source: Adobe Glyph List Specification.
pub(super) fn is_widening(list: &[u8]) -> bool {
    let end = memchr::memchr(b']', list).unwrap_or(list.len());
    list[..end].split(|byte| *byte == b'/').any(|name| {
        let characters = match name.strip_prefix(b"uni") {
            Some(digits) => digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count() / 4,
            None => name.iter().filter(|byte| **byte == b'_').count(),
        };
        characters as u64 > PLAIN_BYTES_MAX / 3
    })
}

enum Word {
    Hex(Vec<u8>),
    Open,
    Close,
}

struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.at += self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match self.bytes.get(self.at)? {
            b'[' => {
                self.at += 1;
                Some(Word::Open)
            }
            b']' => {
                self.at += 1;
                Some(Word::Close)
            }
            b'<' => {
                let length = memchr::memchr(b'>', &self.bytes[self.at..])?;
                let word = hex_bytes(&self.bytes[self.at..self.at + length]);
                self.at += length + 1;
                Some(Word::Hex(word))
            }
            _ => None,
        }
    }
}

/// How many bytes of UTF-8 some UTF-16 has.
fn utf8_length(utf16: &[u8]) -> u64 {
    let sign = |unit: &[u8]| unit.iter().fold(0, |sign, byte| sign << 8 | usize::from(*byte));
    utf16.chunks(2).map(|unit| u64::from(sign_length(sign(unit)))).sum()
}

/// Bytes of UTF-8 of a sign; half of a surrogate pair has two of the pair's four, and counts as three.
fn sign_length(sign: usize) -> u32 {
    match sign {
        0..0x80 => 1,
        0x80..0x800 => 2,
        _ => 3,
    }
}

fn hex_bytes(written: &[u8]) -> Vec<u8> {
    let mut digits = written.iter().filter_map(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(written.len() / 2);
    while let Some(high) = digits.next() {
        bytes.push((high << 4 | digits.next().unwrap_or_default()) as u8);
    }
    bytes
}

/// The bytes that a string in parentheses stands for.
fn plain(written: &[u8]) -> Vec<u8> {
    let inner = written.strip_prefix(b"(").unwrap_or(written);
    let inner = inner.strip_suffix(b")").unwrap_or(inner);
    let mut bytes = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(byte) = inner.get(at) {
        at += 1;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let octal: Vec<u8> = inner[at..].iter().take(3).copied().take_while(|byte| matches!(byte, b'0'..=b'7')).collect();
        at += octal.len().max(1);
        bytes.extend(match octal.is_empty() {
            false => Some(octal.iter().fold(0_u8, |code, digit| code << 3 | (digit - b'0'))),
            true => match inner.get(at - 1) {
                Some(b'n') => Some(b'\n'),
                Some(b'r') => Some(b'\r'),
                Some(b't') => Some(b'\t'),
                Some(b'b') => Some(8),
                Some(b'f') => Some(12),
                // The line goes on.
                Some(b'\n' | b'\r') | None => None,
                Some(other) => Some(*other),
            },
        });
    }
    bytes
}
