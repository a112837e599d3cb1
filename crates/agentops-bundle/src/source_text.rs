//! A source as text: decoded, then without secrets, with an account of what could not be decoded.
//!
//! Secrets are looked for after decoding, since a secret in UTF-16 has other bytes than the same secret in UTF-8.

use std::borrow::Cow;

use agentops_safe::Redactor;
use agentops_text::decode::{self, Encoding};

use crate::Compressed;
use crate::coverage::{Coverage, Omission, OmissionReason, Share};

/// A source as text without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// The text as UTF-8 without a byte order mark.
    pub text: String,
    /// How the source stores its characters.
    pub encoding: Encoding,
    /// Lines that are not UTF-8 and were read as Windows-1252.
    pub assumed_lines: u64,
    /// What could not be decoded, by line.
    pub undecoded: Vec<Omission>,
}

impl SourceText {
    /// Reads a source.
    #[must_use]
    pub fn read(bytes: &[u8], redactor: &Redactor) -> Self {
        let decoded = decode::decode(bytes);
        let mut undecoded: Vec<Omission> = Vec::new();
        for stretch in &decoded.undecoded {
            let place = format!("line {}", stretch.line);
            if undecoded.last().is_none_or(|last| last.place != place) {
                undecoded.push(Omission::new(place, 1, OmissionReason::NotDecoded));
            }
        }
        let listed: usize = decoded.undecoded.iter().map(|stretch| stretch.bytes).sum();
        if listed < decoded.undecoded_bytes {
            let more = decoded.undecoded_bytes - listed;
            undecoded.push(Omission::new(format!("{more} more bytes"), 1, OmissionReason::NotDecoded));
        }
        let visible = without_invisible(&decoded.text);
        let mut stream = redactor.stream();
        let mut clean = stream.push(visible.as_bytes());
        clean.extend(stream.finish());
        // The redactor replaces whole characters only.
        let text = String::from_utf8(clean).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { text, encoding: decoded.encoding, assumed_lines: decoded.assumed_lines, undecoded }
    }

    /// A text that is decoded and without secrets already.
    #[must_use]
    pub fn of_clean(text: impl Into<String>) -> Self {
        Self { text: text.into(), encoding: Encoding::Utf8, assumed_lines: 0, undecoded: Vec::new() }
    }

    /// Adds what could not be decoded to a compressor's account of this text.
    #[must_use]
    pub fn account(&self, mut made: Compressed) -> Compressed {
        if self.undecoded.is_empty() {
            return made;
        }
        let lines = self.text.lines().filter(|line| !line.trim().is_empty()).count() as u64;
        let mut coverage = made.coverage.unwrap_or_else(|| Coverage::of_lines(lines, &[]));
        let unread: u64 = self.undecoded.iter().map(|omission| omission.amount).sum();
        let whole = coverage.read.whole.max(unread);
        coverage.read = Share::new(coverage.read.part.min(whole.saturating_sub(unread)), whole);
        made.coverage = Some(coverage);
        made.omitted.splice(0..0, self.undecoded.iter().cloned());
        made
    }
}

/// A text without the characters that a terminal or a reader does not see. A secret that has one in its middle would not be found,
/// and would be whole again where the text is shown. Tabs, line breaks and escape sequences stay, and so do the joiners that
/// emoji and some scripts need.
#[must_use]
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    if text.contains(is_invisible) { Cow::Owned(text.replace(is_invisible, "")) } else { Cow::Borrowed(text) }
}

fn is_invisible(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{1b}' => false,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            true
        }
        c => c.is_control(),
    }
}

/// The account of a source that is not text: it is named, and nothing of it was read.
#[must_use]
pub fn not_text(text: String, after: u64) -> Compressed {
    let omitted = vec![Omission::new("the whole source", 1, OmissionReason::NotText)];
    Compressed::new(text, 0, after, Vec::new())
        .covering(Coverage { read: Share::new(0, 1), shown: Share::new(0, 1) }, omitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn s6_a_secret_in_utf_16_is_redacted() {
        let redactor = Redactor::new([("KEY".to_owned(), "very-secret-value-9".to_owned())]);
        let source = SourceText::read(&utf16("the key is very-secret-value-9\n"), &redactor);
        assert_eq!(source.text, "the key is [redacted:KEY]\n");
        assert_eq!(source.encoding, Encoding::Utf16Le);
    }

    #[test]
    fn s6_a_secret_with_an_invisible_character_in_it_is_redacted() {
        let redactor = Redactor::new([("KEY".to_owned(), "very-secret-value-9".to_owned())]);
        for hidden in ["\0", "\x7f", "\u{8}", "\u{85}", "\u{90}", "\u{200b}", "\u{ad}", "\u{202e}"] {
            let text = format!("the key is very-sec{hidden}ret-value-9, ghp_01234567{hidden}89abcdefghijABCDEFGHIJ012345\n");
            let source = SourceText::read(text.as_bytes(), &redactor);
            assert!(source.text.starts_with("the key is [redacted:KEY], [redacted"), "{hidden:?}: {}", source.text);
        }
        assert_eq!(SourceText::read("a\tb\r\n👩\u{200d}🚀".as_bytes(), &redactor).text, "a\tb\r\n👩\u{200d}🚀");
    }

    #[test]
    fn what_cannot_be_decoded_lowers_the_score_and_is_named() {
        let mut bytes = utf16("one\ntwo\nthree ");
        bytes.extend([0x00, 0xd8]);
        let source = SourceText::read(&bytes, &Redactor::new([]));
        let made = Compressed::new(source.text.clone(), 5, 5, vec![]).covering_lines(&source.text);
        assert_eq!(made.fidelity().score(), Some(1.0));
        let made = source.account(made);
        let fidelity = made.fidelity();
        assert!(fidelity.score() < Some(1.0));
        assert_eq!(fidelity.lost[0].place, "line 3");
    }
}
