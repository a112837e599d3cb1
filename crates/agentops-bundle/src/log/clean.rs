//! Lines as a terminal would have shown them in the end: without colours, and of a progress line what was written last.

use std::borrow::Cow;

/// A longer line is shown cut, with a word on how much is missing.
const SHOWN_BYTES_MAX: usize = 2000;

/// The line that begins at this byte, without its end.
pub(super) fn line_at(source: &[u8], at: usize) -> &[u8] {
    let rest = source.get(at..).unwrap_or_default();
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// The line without what steers a terminal and without blanks at its end. Most lines have nothing to remove and are not
/// copied.
pub(super) fn line<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let line = line.trim_ascii_end();
    if memchr::memchr3(0x1b, b'\r', 0x08, line).is_none() {
        return line;
    }
    // What a carriage return writes over is gone.
    let line = line.rsplit(|byte| *byte == b'\r').find(|part| !part.trim_ascii().is_empty()).unwrap_or_default();
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

/// A line as it is shown: valid text, no control characters, not endless.
pub(super) fn shown(line: &[u8]) -> String {
    let mut cut = line.len().min(SHOWN_BYTES_MAX);
    while cut < line.len() && cut > 0 && line[cut] & 0xc0 == 0x80 {
        cut -= 1;
    }
    let text: Cow<str> = String::from_utf8_lossy(&line[..cut]);
    let mut shown: String = text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    if cut < line.len() {
        shown.push_str(&format!(" … ({} bytes more)", line.len() - cut));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cleaned(text: &str) -> String {
        String::from_utf8_lossy(line(text.as_bytes(), &mut Vec::new())).into_owned()
    }

    #[test]
    fn colours_and_what_was_written_over_are_gone() {
        assert_eq!(cleaned("\x1b[1;31merror\x1b[0m: no \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \r"), "error: no link");
        assert_eq!(cleaned(" 10 %\r 50 %\r100 %\r\r"), "100 %");
        assert_eq!(cleaned("ab\x08c  "), "ac");
        assert_eq!(cleaned("\x1b"), "");
    }

    #[test]
    fn an_endless_line_is_cut_at_a_character() {
        let text = "ö".repeat(5000);
        let shown = shown(text.as_bytes());
        assert!(shown.ends_with("(8000 bytes more)") && !shown.contains('\u{fffd}'), "{shown}");
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
