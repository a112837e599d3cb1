//! Counting tokens before a provider does.
//!
//! Two counts, both upper bounds of what a provider's tokenizer can say: the bytes (no tokenizer in use makes more tokens than
//! bytes), which cost nothing; and the tokens of o200k, times the factor that is published for the model's family. The
//! vocabulary is part of the program's read-only data, so the first count waits for nothing.

mod hash;
mod json;
mod split;
mod unicode;
mod vocabulary;

use std::cell::RefCell;

pub use json::{Rendering, json_bound, json_tokens};

/// A run of white space, or one without any, is counted in pieces of at most this, because merging it as a whole costs more
/// than its length, in time and in memory.
const PIECE_BYTES: usize = 4 << 10;
/// Tokens that a cut through a text counts as, where its parts are counted each for itself. A text can have more tokens than its two parts: where bytes merge across the cut, what they
/// leave on both sides merges worse. The most that a search among texts built for that found is six.
pub const CUT_TOKENS: u64 = 16;
/// Text beyond ASCII is split by characters in parts of about this size.
const PART_BYTES: usize = 16 << 10;
/// Pieces that are remembered with their counts, by thread. With 16 bytes for each key and one for its count, about a megabyte.
const KNOWN_PIECES: usize = 1 << 16;
/// The longest piece that is remembered: what fits in a key beside its length, in bytes.
const KNOWN_BYTES: usize = 15;

/// The o200k tokens of a text.
#[must_use]
pub fn text_tokens(text: &str) -> u64 {
    KNOWN.with_borrow_mut(|known| {
        let bytes = text.as_bytes();
        let (mut tokens, mut at) = (0, 0);
        while at < bytes.len() {
            match split::piece_end(bytes, at) {
                Some(end) => {
                    tokens += known.tokens(&text[at..end]);
                    at = end;
                }
                None => {
                    let end = split::sure_start(bytes, at);
                    tokens += in_pieces(&text[at..end]);
                    at = end;
                }
            }
        }
        tokens
    })
}

/// Counts a text of any length. A piece that repeats the one before it, as in a run of blanks, is merged once.
fn in_pieces(text: &str) -> u64 {
    let mut before = ("", 0);
    let mut tokens = 0;
    for piece in pieces(text) {
        if !before.0.is_empty() {
            tokens += CUT_TOKENS;
        }
        if piece != before.0 {
            before = (piece, encoded(piece));
        }
        tokens += before.1;
    }
    tokens.min(text.len() as u64)
}

fn encoded(text: &str) -> u64 {
    #[cfg(test)]
    {
        tests::work(text.len());
        tests::MERGED.set(tests::MERGED.get() + text.len());
    }
    let (mut tokens, mut at) = (0, 0);
    while at < text.len() {
        let end = at + unicode::piece_end(&text[at..]);
        tokens += vocabulary::piece_tokens(&text.as_bytes()[at..end]);
        at = end;
    }
    tokens
}

/// The tokens of what the pattern has already split off as one piece.
fn merged(piece: &[u8]) -> u64 {
    #[cfg(test)]
    {
        tests::work(piece.len());
        tests::MERGED.set(tests::MERGED.get() + piece.len());
    }
    vocabulary::piece_tokens(piece)
}

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { keys: Vec::new(), counts: Vec::new() }) };
}

/// Counts of pieces, each in the one place where its hash puts it; the newest wins.
struct Known {
    keys: Vec<u128>,
    counts: Vec<u8>,
}

impl Known {
    fn tokens(&mut self, piece: &str) -> u64 {
        let bytes = piece.as_bytes();
        if bytes.len() > KNOWN_BYTES {
            return if bytes.len() > PIECE_BYTES { in_pieces(piece) } else { merged(bytes) };
        }
        if self.keys.is_empty() {
            self.keys.resize(KNOWN_PIECES, 0);
            self.counts.resize(KNOWN_PIECES, 0);
        }
        let mut key = [0; 16];
        key[..bytes.len()].copy_from_slice(bytes);
        key[KNOWN_BYTES] = bytes.len() as u8;
        let key = u128::from_le_bytes(key);
        let half = (key as u64) ^ ((key >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = (half.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 48) as usize;
        if self.keys[at] != key {
            self.counts[at] = merged(bytes) as u8;
            self.keys[at] = key;
        }
        u64::from(self.counts[at])
    }
}

/// The longest beginning of a text, whole lines first, that is within the budget.
#[must_use]
pub fn cut(text: &str, budget: u64) -> &str {
    let mut used = 0;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let tokens = text_tokens(line);
        if used + tokens > budget {
            break;
        }
        used += tokens;
        end += line.len();
    }
    &text[..end]
}

/// Cuts a text so that no part is much longer than [`PART_BYTES`], and no run of white space or without any longer than
/// [`PIECE_BYTES`].
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut is_space, mut run) = (false, 0);
        let mut cut = rest.len();
        for (at, c) in rest.char_indices() {
            run = if c.is_whitespace() == is_space { run } else { 0 } + c.len_utf8();
            is_space = c.is_whitespace();
            let too_long = run > PIECE_BYTES || (at > PART_BYTES && is_space) || at > 2 * PART_BYTES;
            if too_long && at > 0 {
                cut = at;
                break;
            }
        }
        let (piece, after) = rest.split_at(cut);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tokens that the library counts.
    fn by_library(text: &str) -> u64 {
        tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len() as u64
    }

    #[test]
    fn a_long_run_is_counted_in_pieces_and_in_time() {
        // Two fill the place of one another without harm.
        assert_eq!(text_tokens("hello hello world"), by_library("hello hello world"));
        let run = "a".repeat(300_000);
        assert!(text_tokens(&run) >= text_tokens(&run[..1000]) * 200);
        assert!(text_tokens(&" ".repeat(100_000)) > 0);
    }

    /// Merging a long run costs more than its length, so equal pieces of it are merged once.
    #[test]
    fn a_run_of_one_sign_is_not_merged_again_and_again() {
        for part in ["\n", " ", "\t", "\r\n", " \n", "\u{2003}", "a", "-", "!?", "字"] {
            let text = part.repeat(2_000_000 / part.len());
            MERGED.set(0);
            let tokens = text_tokens(&text);
            assert!(MERGED.get() < 4 * PIECE_BYTES, "{part:?}: {} bytes were merged", MERGED.get());
            // No token is longer than 128 bytes.
            assert!((text.len() as u64 / 128..=text.len() as u64).contains(&tokens), "{part:?}: {tokens}");
        }
    }

    #[test]
    fn b1_a_run_in_pieces_has_no_fewer_tokens_than_as_a_whole() {
        for part in ["\n", " ", "\t", "\r\n", " \n", "\n\t", "\u{2003}", "-", "=", "a", "britannpretende"] {
            for bytes in [PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 7] {
                for end in ["", " x", "\n字"] {
                    let text = [&part.repeat(bytes / part.len()), end].concat();
                    assert!(text_tokens(&text) >= by_library(&text), "{part:?} {bytes} {end:?}");
                }
            }
        }
        // These have six and five tokens more together than each for itself.
        for (before, after) in
            [("HenGenesikkaiumsulluunniitzuje", "britannien"), ("().__-------------=-('\"", ">>>>>>>>::::::::")]
        {
            let filler = before[..1].repeat(PIECE_BYTES - before.len());
            let text = [&filler, before, after].concat();
            let (whole, parts) = (by_library(&text), by_library(&text[..PIECE_BYTES]) + by_library(after));
            assert!(whole >= parts + 4, "{before:?}: {whole} tokens, {parts} in parts");
            assert!(text_tokens(&text) >= whole, "{before:?}");
        }
    }

    thread_local! {
        /// Bytes that were merged.
        pub(super) static MERGED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
        static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
        static WORK_MAX: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
    }

    /// Bytes that were looked at, by a splitter or by a merge.
    pub(super) fn work(bytes: usize) {
        WORK.set(WORK.get() + bytes);
        assert!(WORK.get() <= WORK_MAX.get(), "this text is read again and again");
    }

    /// The work of a count that reads a run again for each of its pieces grows with the square of the run. Pieces are
    /// merged within [`PIECE_BYTES`] only.
    #[test]
    fn every_byte_is_read_a_few_times_whatever_the_text() {
        for part in [
            "1234567890",
            "-",
            "a",
            "A",
            "aA",
            "'",
            " ",
            "\r\n",
            " \n\t\n",
            "a1-",
            "字",
            "é\u{301}",
            "a\u{301}",
            "\u{2003}",
            "😀 ",
            "٣",
            "aжあ字अ1-",
            "é\n",
            "é\u{a0}",
            "{\"a\":[",
            "''s",
        ] {
            for bytes in [200_000, 3_000_000] {
                let text = part.repeat(bytes / part.len());
                WORK.set(0);
                WORK_MAX.set(8 * text.len());
                // 3 MB are only split: merging is slow without optimisation.
                let tokens = if bytes < 1_000_000 { text_tokens(&text) } else { split_only(&text) };
                assert!(tokens > 0, "{part:?}");
            }
        }
        WORK_MAX.set(usize::MAX);
        let digits = "1234567890".repeat(100_000);
        assert_eq!(text_tokens(&digits), digits.len().div_ceil(3) as u64);
    }

    /// As [`text_tokens`] splits.
    fn split_only(text: &str) -> u64 {
        let (mut pieces, mut at) = (0, 0);
        while at < text.len() {
            at = split::piece_end(text.as_bytes(), at).unwrap_or_else(|| split::sure_start(text.as_bytes(), at));
            pieces += 1;
        }
        pieces
    }

    #[test]
    fn a_piece_beyond_ascii_is_short() {
        for part in ["a", "字", " ", "\u{2003}", "a\u{301}"] {
            let text = part.repeat(100_000 / part.len());
            assert!(pieces(&text).all(|piece| piece.len() <= 2 * PART_BYTES + 4), "{part:?}");
            let run = |piece: &str| piece.split(char::is_whitespace).map(str::len).max();
            assert!(pieces(&text).all(|piece| run(piece) <= Some(PIECE_BYTES + 4)), "{part:?}");
            let blanks = |piece: &str| piece.split(|c: char| !c.is_whitespace()).map(str::len).max();
            assert!(pieces(&text).all(|piece| blanks(piece) <= Some(PIECE_BYTES + 4)), "{part:?}");
        }
    }

    #[test]
    fn real_sources_count_as_the_library_counts_them() {
        for text in [include_str!("tokens.rs"), include_str!("tokens/split.rs"), include_str!("words.rs")] {
            assert_eq!(text_tokens(text), by_library(text));
            assert_eq!(text_tokens(&text.replace('\n', "\r\n")), by_library(&text.replace('\n', "\r\n")));
        }
    }

    proptest! {
        /// However signs, blanks, letters and what is no ASCII are mixed.
        #[test]
        fn the_count_is_that_of_the_library(
            text in r"([a-cA-C' ]{1,6}|[0-9]{1,5}|[ \t\x0b]{1,3}|[\r\n]{1,2}|[/.;(){}-]{1,4}|'(ll|LL|s|RE|ve|x)|[\x00\x1c\x7f]|[äßÉſ字é́\u{a0}\u{2003}\u{85}٣]{1,2}|\PC){0,40}",
        ) {
            prop_assert_eq!(text_tokens(&text), by_library(&text));
        }

        /// What is no ASCII is split by characters; marks, letters without case, title case and the long s are the hard ones.
        #[test]
        fn text_beyond_ascii_counts_as_the_library_counts_it(
            text in r"([aAzZ]{1,3}|[ǅſßÉéŉΣσ]{1,3}|[字あªʰא]{1,3}|[\u{301}\u{308}\u{93f}\u{20e3}]{1,2}|['’](s|S|ſ|ll|LL|rE|d)?|[ \t\u{85}\u{a0}\u{2003}\u{2028}\u{3000}]{1,2}|[\r\n]{1,2}|[/.!—…€😀]{1,2}|[0-9٣Ⅷ½]{1,4}|\PC{1,3}){0,30}",
        ) {
            prop_assert_eq!(text_tokens(&text), by_library(&text));
            prop_assert_eq!(encoded(&text), by_library(&text));
        }

        /// Never more tokens than bytes, whatever stands there; nothing is lost at a cut.
        #[test]
        fn bytes_are_an_upper_bound(text in "\\PC{0,400}") {
            prop_assert!(text_tokens(&text) <= text.len() as u64);
            prop_assert_eq!(pieces(&text).collect::<String>(), text.clone());
        }
    }
}
