//! Bytes as text: UTF-8, UTF-16 and UTF-32 with and without a byte order mark, and Windows-1252.
//!
//! Line breaks stay as they are, except in a text that ends its lines with carriage returns alone, as old Macintosh programs and
//! some exports do: it gets line feeds. Bytes that belong to no character become U+FFFD and are listed with their line, so
//! that a caller can report them. Lines that are not valid UTF-8 are read as Windows-1252, in which every byte is a character:
//! nothing of such a line gets lost, but the characters above ASCII are an assumption, and the lines are counted.
//!
//! The encodings are those of the WHATWG Encoding Standard, sections 4 and 14; UTF-32 is defined by Unicode, section 3.10.

use std::borrow::Cow;

/// Bytes at the beginning that decide whether a source without a mark is UTF-16.
const SAMPLE_BYTES: usize = 64 << 10;
/// Stretches without a character that are listed; the rest are counted.
const UNDECODED_MAX: usize = 100;

/// How a source stores its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, also ASCII.
    Utf8,
    /// UTF-16, least significant byte first.
    Utf16Le,
    /// UTF-16, most significant byte first.
    Utf16Be,
    /// UTF-32, least significant byte first. Recognised by its mark only.
    Utf32Le,
    /// UTF-32, most significant byte first. Recognised by its mark only.
    Utf32Be,
    /// Some lines are not UTF-8 and were read as Windows-1252, which includes Latin-1; the others are UTF-8.
    Windows1252,
}

impl Encoding {
    /// The name that people know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le | Self::Utf16Be => "UTF-16",
            Self::Utf32Le | Self::Utf32Be => "UTF-32",
            Self::Windows1252 => "Windows-1252",
        }
    }
}

/// A stretch of bytes that belongs to no character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecoded {
    /// The line in which it is, from 1.
    pub line: u64,
    /// Its first byte in the source.
    pub at: usize,
    /// Its length in bytes.
    pub bytes: usize,
}

/// A source as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The text, without a byte order mark. U+FFFD stands for each entry of `undecoded`.
    pub text: Cow<'a, str>,
    /// How it was read.
    pub encoding: Encoding,
    /// Lines that are not UTF-8 and were read as Windows-1252.
    pub assumed_lines: u64,
    /// The first stretches that could not be decoded, in their order, at most 100.
    pub undecoded: Vec<Undecoded>,
    /// All bytes that could not be decoded, those of stretches that are not listed included.
    pub undecoded_bytes: usize,
}

/// Reads bytes as text. Every input is accepted.
#[must_use]
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let mut decoded = decode_as_written(bytes);
    if decoded.text.contains('\r') && !decoded.text.contains('\n') {
        decoded.text = Cow::Owned(decoded.text.replace('\r', "\n"));
    }
    decoded
}

fn decode_as_written(bytes: &[u8]) -> Decoded<'_> {
    match encoding_of(bytes) {
        (Encoding::Utf16Le, mark) => units(&bytes[mark..], mark, Encoding::Utf16Le),
        (Encoding::Utf16Be, mark) => units(&bytes[mark..], mark, Encoding::Utf16Be),
        (Encoding::Utf32Le, mark) => units(&bytes[mark..], mark, Encoding::Utf32Le),
        (Encoding::Utf32Be, mark) => units(&bytes[mark..], mark, Encoding::Utf32Be),
        (Encoding::Utf8 | Encoding::Windows1252, mark) => eight_bit(&bytes[mark..]),
    }
}

/// The encoding and the length of its mark. Windows-1252 has no mark and is found while reading.
fn encoding_of(bytes: &[u8]) -> (Encoding, usize) {
    // The mark of UTF-32 begins with the mark of UTF-16.
    match bytes {
        [0xff, 0xfe, 0, 0, ..] if bytes.len().is_multiple_of(4) => (Encoding::Utf32Le, 4),
        [0, 0, 0xfe, 0xff, ..] => (Encoding::Utf32Be, 4),
        [0xff, 0xfe, ..] => (Encoding::Utf16Le, 2),
        [0xfe, 0xff, ..] => (Encoding::Utf16Be, 2),
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        _ => (unmarked_utf16(bytes).unwrap_or(Encoding::Utf8), 0),
    }
}

/// UTF-16 without a mark, by its zero bytes: text has line breaks, blanks and other characters below U+0100, whose zero bytes
/// all stand on the same side. A source without zero bytes is never taken for UTF-16.
fn unmarked_utf16(bytes: &[u8]) -> Option<Encoding> {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES) & !1];
    let (mut even, mut odd) = (0_usize, 0_usize);
    for pair in sample.chunks_exact(2) {
        even += usize::from(pair[0] == 0 && pair[1] != 0);
        odd += usize::from(pair[1] == 0 && pair[0] != 0);
    }
    let (most, least, encoding) = if odd > even { (odd, even, Encoding::Utf16Le) } else { (even, odd, Encoding::Utf16Be) };
    let pairs = sample.len() / 2;
    // Text in UTF-8 can have zero bytes too, one a line for example. Where UTF-16 has few of them, its other bytes are
    // hardly ever valid UTF-8.
    let is_utf8 = std::str::from_utf8(sample).map_or_else(|e| e.valid_up_to() + 4 > sample.len(), |_| true);
    let least_wanted = if is_utf8 { pairs / 3 } else { pairs / 400 };
    if most < 2 || most < least_wanted || least * 10 > most {
        return None;
    }
    let odd_characters = char::decode_utf16(sample.chunks_exact(2).map(|pair| unit16(pair, encoding)))
        .filter(|character| character.as_ref().map_or(true, |c| is_unlikely(*c)))
        .count();
    (odd_characters * 50 <= sample.len() / 2).then_some(encoding)
}

/// Control characters, private use and noncharacters: rare in text, frequent where binary data is read as UTF-16.
fn is_unlikely(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}'))
        || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fff8}' | '\u{fffe}' | '\u{ffff}')
}

fn unit16(pair: &[u8], encoding: Encoding) -> u16 {
    let pair = [pair[0], pair[1]];
    if encoding == Encoding::Utf16Be { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
}

fn unit32(four: &[u8], encoding: Encoding) -> u32 {
    let four = [four[0], four[1], four[2], four[3]];
    if encoding == Encoding::Utf32Be { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

/// Text that is being put together, with what could not be decoded.
struct Writer {
    text: String,
    line: u64,
    undecoded: Vec<Undecoded>,
    undecoded_bytes: usize,
}

impl Writer {
    fn new(capacity: usize) -> Self {
        Self { text: String::with_capacity(capacity), line: 1, undecoded: Vec::new(), undecoded_bytes: 0 }
    }

    fn character(&mut self, c: char) {
        self.line += u64::from(c == '\n');
        self.text.push(c);
    }

    fn unknown(&mut self, at: usize, bytes: usize) {
        self.text.push(char::REPLACEMENT_CHARACTER);
        self.undecoded_bytes += bytes;
        let line = self.line;
        let listed = self.undecoded.len();
        match self.undecoded.last_mut().filter(|last| last.at + last.bytes == at && last.line == line) {
            Some(last) => last.bytes += bytes,
            None if listed < UNDECODED_MAX => self.undecoded.push(Undecoded { line, at, bytes }),
            None => {}
        }
    }

    fn finish<'a>(self, encoding: Encoding) -> Decoded<'a> {
        Decoded {
            text: Cow::Owned(self.text),
            encoding,
            assumed_lines: 0,
            undecoded: self.undecoded,
            undecoded_bytes: self.undecoded_bytes,
        }
    }
}

/// UTF-16 and UTF-32; `offset` is where `bytes` begins in the source.
fn units(bytes: &[u8], offset: usize, encoding: Encoding) -> Decoded<'_> {
    let mut writer = Writer::new(bytes.len());
    let size = if matches!(encoding, Encoding::Utf32Le | Encoding::Utf32Be) { 4 } else { 2 };
    let whole = bytes.len() - bytes.len() % size;
    if size == 4 {
        for (index, four) in bytes.chunks_exact(4).enumerate() {
            match char::from_u32(unit32(four, encoding)) {
                Some(c) => writer.character(c),
                None => writer.unknown(offset + index * 4, 4),
            }
        }
    } else {
        let mut at = offset;
        for decoded in char::decode_utf16(bytes.chunks_exact(2).map(|pair| unit16(pair, encoding))) {
            match decoded {
                Ok(c) => {
                    writer.character(c);
                    at += c.len_utf16() * 2;
                }
                Err(_) => {
                    writer.unknown(at, 2);
                    at += 2;
                }
            }
        }
    }
    if whole < bytes.len() {
        writer.unknown(offset + whole, bytes.len() - whole);
    }
    writer.finish(encoding)
}

/// UTF-8, with Windows-1252 for the lines that are not valid.
fn eight_bit(bytes: &[u8]) -> Decoded<'_> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Decoded {
            text: Cow::Borrowed(text),
            encoding: Encoding::Utf8,
            assumed_lines: 0,
            undecoded: Vec::new(),
            undecoded_bytes: 0,
        };
    }
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut assumed_lines = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => {
                assumed_lines += 1;
                text.extend(line.iter().map(|byte| windows_1252(*byte)));
            }
        }
    }
    Decoded {
        text: Cow::Owned(text),
        encoding: Encoding::Windows1252,
        assumed_lines,
        undecoded: Vec::new(),
        undecoded_bytes: 0,
    }
}

/// The WHATWG index of Windows-1252. Its five bytes without a character are control characters, as there.
fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
        '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => FROM_80[usize::from(byte) - 0x80],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, mark: bool, big: bool) -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    fn utf32(text: &str, big: bool) -> Vec<u8> {
        let bytes = |c: char| if big { (c as u32).to_be_bytes() } else { (c as u32).to_le_bytes() };
        std::iter::once('\u{feff}').chain(text.chars()).flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "fn main() {\r\n    println!(\"größer: 東京 🦀\");\r\n}\n";
        for (bytes, encoding) in [
            (text.as_bytes().to_vec(), Encoding::Utf8),
            ([b"\xef\xbb\xbf", text.as_bytes()].concat(), Encoding::Utf8),
            (utf16(text, true, false), Encoding::Utf16Le),
            (utf16(text, true, true), Encoding::Utf16Be),
            (utf16(text, false, false), Encoding::Utf16Le),
            (utf16(text, false, true), Encoding::Utf16Be),
            (utf32(text, false), Encoding::Utf32Le),
            (utf32(text, true), Encoding::Utf32Be),
        ] {
            let decoded = decode(&bytes);
            assert_eq!((&*decoded.text, decoded.encoding, decoded.undecoded_bytes), (text, encoding, 0));
        }
    }

    #[test]
    fn text_with_few_characters_below_256_is_still_utf_16() {
        let text = "東京都千代田区は日本の首都である。\n".repeat(40) + "エラー 1603\n";
        for big in [false, true] {
            assert_eq!(decode(&utf16(&text, false, big)).text, text);
        }
    }

    #[test]
    fn utf_8_with_a_zero_byte_in_each_line_is_utf_8() {
        let text = "2031-04-05 INFO step done ok\0\n".repeat(100);
        assert_eq!(text.find('\0').map(|at| at % 2), Some(0), "all on one side, as in UTF-16");
        for text in [text.clone(), format!(" {text}")] {
            assert_eq!(decode(text.as_bytes()).text, text);
        }
    }

    #[test]
    fn lines_in_windows_1252_lose_nothing_beside_lines_in_utf_8() {
        let decoded = decode(b"caf\xe9 \x80 \x93ok\x94\ncaf\xc3\xa9\n\xff\n");
        assert_eq!(&*decoded.text, "café € “ok”\ncafé\nÿ\n");
        assert_eq!((decoded.encoding, decoded.assumed_lines), (Encoding::Windows1252, 2));
    }

    #[test]
    fn carriage_returns_alone_end_lines() {
        assert_eq!(decode(b"a\rb\r").text, "a\nb\n");
        assert_eq!(decode(b"a\r\nb\r10 %\r").text, "a\r\nb\r10 %\r");
        assert_eq!(decode(&utf16("a\rb", true, true)).text, "a\nb");
    }

    #[test]
    fn what_cannot_be_decoded_is_listed_with_its_line() {
        let mut bytes = utf16("one\ntwo ", true, false);
        bytes.extend([0x00, 0xd8, 0x00, 0xd8, b'x', 0, 0x41]);
        let decoded = decode(&bytes);
        assert_eq!(&*decoded.text, "one\ntwo \u{fffd}\u{fffd}x\u{fffd}");
        assert_eq!(decoded.undecoded, [Undecoded { line: 2, at: 18, bytes: 4 }, Undecoded { line: 2, at: 24, bytes: 1 }]);
        assert_eq!(decoded.undecoded_bytes, 5);
        let many = [0xff_u8, 0xfe].into_iter().chain([0x00, 0xd8, b'\n', 0].repeat(300)).collect::<Vec<u8>>();
        let decoded = decode(&many);
        assert_eq!((decoded.undecoded.len(), decoded.undecoded_bytes), (UNDECODED_MAX, 600));
    }

    #[test]
    fn binary_data_and_text_with_a_few_zero_bytes_are_not_utf_16() {
        let elf = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], b"\x03\0\x3e\0\x01\0\0\0\x40\x10\0\0\0\0\0\0", &[7; 64]].concat();
        for bytes in [&elf[..], b"a line\0 and another\0 one of plain text\n", b"\0\0\0\0", b"", b"a"] {
            assert!(matches!(decode(bytes).encoding, Encoding::Utf8 | Encoding::Windows1252), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_loses_a_line_or_a_byte_unnoticed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let decoded = decode(&bytes);
            let replaced = decoded.text.matches('\u{fffd}').count();
            prop_assert!(decoded.undecoded_bytes > 0 || replaced == 0 || decoded.encoding != Encoding::Windows1252);
            if matches!(decoded.encoding, Encoding::Utf8 | Encoding::Windows1252) {
                let count = |end| bytes.iter().filter(|byte| **byte == end).count();
                let lines = if count(b'\n') > 0 { count(b'\n') } else { count(b'\r') };
                prop_assert_eq!(decoded.text.matches('\n').count(), lines);
                prop_assert_eq!(decoded.undecoded_bytes, 0);
            }
        }

        #[test]
        fn text_of_any_kind_survives_each_encoding(text in "[ -~äöü€東京🦀]{0,60}(\n[ -~]{1,60}){1,4}", big in any::<bool>()) {
            for bytes in [utf16(&text, true, big), utf32(&text, big), text.clone().into_bytes()] {
                prop_assert_eq!(&*decode(&bytes).text, text.as_str());
            }
        }
    }
}
