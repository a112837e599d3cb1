//! Lines without the control sequences of a terminal.
//!
//! A line ends with a line feed or a carriage return. So every state of a progress line is a line, and none of them hides
//! another one.

use std::borrow::Cow;

/// The line that begins at this byte, without its end.
pub(super) fn line_at(source: &[u8], at: usize) -> &[u8] {
    let rest = source.get(at..).unwrap_or_default();
    &rest[..memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())]
}

/// Where the line after the one that ends at `end` begins, and whether a line feed is between them. Carriage returns
/// before a line feed belong to it.
pub(super) fn after_end(source: &[u8], end: usize) -> (usize, bool) {
    let mut at = end;
    while source.get(at) == Some(&b'\r') {
        at += 1;
    }
    let is_feed = source.get(at) == Some(&b'\n');
    (at + usize::from(is_feed), is_feed)
}

/// The line without control sequences of a terminal and without blanks at its end. Most lines have nothing to remove and are
/// not copied.
pub(super) fn line<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let line = line.trim_ascii_end();
    if memchr::memchr2(0x1b, 0x08, line).is_none() {
        return line;
    }
    scratch.clear();
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            0x1b => at += escape(&line[at..]),
            0x08 => {
                scratch.pop();
                at += 1;
            }
            byte => {
                scratch.push(byte);
                at += 1;
            }
        }
    }
    scratch.trim_ascii_end()
}

/// How long the escape sequence is that begins here (ECMA-48: CSI ends with a byte from `@` to `~`, a string with BEL or
/// ST; of what is unfinished only ESC goes).
fn escape(text: &[u8]) -> usize {
    match text.get(1) {
        Some(b'[') => text[2..].iter().position(|byte| (0x40..=0x7e).contains(byte)).map_or(1, |end| end + 3),
        Some(b']' | b'P' | b'^' | b'_') => {
            let rest = &text[2..];
            match memchr::memchr2(0x07, 0x1b, rest) {
                Some(end) if rest[end] == 0x07 => end + 3,
                Some(end) if rest.get(end + 1) == Some(&b'\\') => end + 4,
                _ => 1,
            }
        }
        Some(0x40..=0x5f) => 2,
        Some(0x20..=0x2f) => 3.min(text.len()),
        _ => 1,
    }
}

/// A line as it is shown: valid text without control characters.
pub(super) fn shown(line: &[u8]) -> String {
    let text: Cow<str> = String::from_utf8_lossy(line);
    text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(text: &str) -> String {
        String::from_utf8_lossy(line(text.as_bytes(), &mut Vec::new())).into_owned()
    }

    #[test]
    fn control_sequences_are_removed() {
        assert_eq!(cleaned("\x1b[1;31merror\x1b[0m: no \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \r"), "error: no link");
        assert_eq!(cleaned("ab\x08c  "), "ac");
        assert_eq!(cleaned("\x1b"), "");
    }

    #[test]
    fn a_carriage_return_ends_a_line() {
        let source = b" 10 %\r100 %\r\r\nnext";
        assert_eq!(line_at(source, 0), b" 10 %");
        assert_eq!(after_end(source, 5), (6, false));
        assert_eq!((line_at(source, 6), after_end(source, 11)), (&b"100 %"[..], (14, true)));
        assert_eq!((line_at(source, 14), after_end(source, 18)), (&b"next"[..], (18, false)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut scratch = Vec::new();
            let shown = shown(line(&bytes, &mut scratch));
            let escape = shown.contains('\x1b');
            prop_assert!(!escape);
        }
    }
}
