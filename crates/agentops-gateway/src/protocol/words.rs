//! The least number of tokens that a text can be, without a tokenizer.

/// A piece between blanks that is longer than this is more than one token. The longest tokens of public tokenizers have 128
/// bytes.
const TOKEN_BYTES_MAX: u64 = 128;

/// Counts the words of a text that comes in pieces, as it is written in JSON. Each piece between blanks that holds a letter
/// or a digit is at least one token: no tokenizer of the model families that we know joins two of them.
///
/// Blanks and punctuation are not counted, so real texts have about a third more tokens than this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Words {
    count: u64,
    /// Length of the piece that has not ended yet.
    piece: u64,
    is_counted: bool,
}

impl Words {
    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// Takes a string as it is written between its quotes.
    pub(super) fn take(&mut self, raw: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = raw.get(at) {
            let (byte, written) = match (byte, raw.get(at + 1)) {
                (b'\\', Some(b'n' | b'r' | b't')) => (b' ', 2),
                (b'\\', Some(b'u')) => (b'?', 6),
                (b'\\', _) => (b'?', 2),
                (byte, _) => (byte, 1),
            };
            at += written;
            if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                (self.piece, self.is_counted) = (0, false);
                continue;
            }
            if !self.is_counted && byte.is_ascii_alphanumeric() {
                self.is_counted = true;
                self.count += 1;
            } else if self.piece > 0 && self.piece.is_multiple_of(TOKEN_BYTES_MAX) {
                self.count += 1;
            }
            self.piece += 1;
        }
    }

    /// Takes the beginning of an event that was too long. It may hold data that is no text, so long pieces count once.
    pub(super) fn take_cut(&mut self, event: &[u8]) {
        let pieces = event.split(u8::is_ascii_whitespace);
        self.count += pieces.filter(|piece| piece.iter().any(u8::is_ascii_alphanumeric)).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pieces: &[&str]) -> u64 {
        let mut words = Words::default();
        pieces.iter().for_each(|piece| words.take(piece.as_bytes()));
        words.count()
    }

    #[test]
    fn words_are_counted_across_pieces_and_never_more_than_there_can_be_tokens() {
        assert_eq!(words(&["Hello, wor", "ld. It's 5", " o'clock -- \\n\\tdone"]), 6);
        assert_eq!(words(&["\\u00e9t\\u00e9 caf\u{e9}s"]), 2);
        assert_eq!(words(&["-- :: \u{1f980}"]), 0);
        assert_eq!(words(&[&"a".repeat(128)]), 1);
        assert_eq!(words(&[&"a".repeat(129)]), 2);
        assert_eq!(words(&[&"-".repeat(129)]), 1);
    }

    #[test]
    fn a_text_has_at_least_as_many_tokens() {
        let texts = [
            include_str!("words.rs"),
            "The gate holds before the call, and what cannot be counted does not leave.",
            "{\"id\": 48151, \"price\": 16.23}",
        ];
        for text in texts {
            let raw = serde_json::to_string(text).unwrap();
            let raw = &raw[1..raw.len() - 1];
            let mut words = Words::default();
            words.take(raw.as_bytes());
            let tokens = agentops_text::tokens::text_tokens(text);
            assert!(words.count() > 0 && words.count() <= tokens, "{} words, {tokens} tokens", words.count());
        }
    }
}
