//! A part of a text that is too long to be shown: its beginning, and the first place that tells of trouble.

use crate::log::is_trouble;

/// A long text is searched for trouble in windows of this many bytes.
const WINDOW_BYTES: usize = 160;

/// What is shown of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The text, or parts of it with `…` where bytes are left out.
    pub text: String,
    /// Bytes that are not shown; 0 where the text is whole.
    pub omitted_bytes: usize,
}

/// The text if it has at most `bytes_max` bytes. Otherwise its first `bytes_max` bytes, and behind them the window in which the
/// rest first tells of trouble.
pub(crate) fn excerpt(text: &str, bytes_max: usize) -> Excerpt {
    if text.len() <= bytes_max {
        return Excerpt { text: text.to_owned(), omitted_bytes: 0 };
    }
    let (head, rest) = text.split_at(text.floor_char_boundary(bytes_max));
    let mut shown = format!("{head} …");
    let mut shown_bytes = head.len();
    let mut start = 0;
    while start < rest.len() {
        let end = rest.floor_char_boundary(start + WINDOW_BYTES).max(rest.ceil_char_boundary(start + 1));
        // The next window begins before this one's end, so that no word is cut by both.
        if is_trouble(&rest[start..end]) {
            let (from, to) = (word_start(rest, start), word_end(rest, end));
            shown.push_str(&format!(" {} …", rest[from..to].trim()));
            shown_bytes += to - from;
            break;
        }
        start = if end == rest.len() { end } else { rest.ceil_char_boundary(start + WINDOW_BYTES * 3 / 4) };
    }
    Excerpt { text: shown, omitted_bytes: text.len() - shown_bytes }
}

/// The longest part of a word that is added to a window at either end, in bytes.
const WORD_BYTES_MAX: usize = 24;

fn word_start(text: &str, at: usize) -> usize {
    let from = text.ceil_char_boundary(at.saturating_sub(WORD_BYTES_MAX));
    text[from..at].rfind(char::is_whitespace).map_or(at, |blank| from + blank)
}

fn word_end(text: &str, at: usize) -> usize {
    let to = text.floor_char_boundary(at + WORD_BYTES_MAX);
    text[at..to].find(char::is_whitespace).map_or(at, |blank| at + blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_in_the_middle_of_a_long_text_is_shown() {
        let text = format!("begin {}the disk failed with ENOSPC{}", "x".repeat(5_000_000), "y ".repeat(2_500_000));
        let made = excerpt(&text, 100);
        assert!(made.text.starts_with("begin xxx") && made.text.contains("the disk failed with ENOSPC"), "{}", made.text);
        assert!(made.text.len() < 500 && made.omitted_bytes > 9_000_000);
        assert_eq!(excerpt("short", 5), Excerpt { text: "short".to_owned(), omitted_bytes: 0 });
    }

    #[test]
    fn characters_are_never_cut() {
        for len in 0..40 {
            let _made = excerpt(&"äö€😀".repeat(100), len);
        }
    }
}
