//! Splits text as o200k does before it merges bytes to tokens, without an expression: most of a count's time goes there.
//!
//! The pattern is that of `o200k_base` in OpenAI's tiktoken:
//!
//! ```text
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! \p{N}{1,3}
//!  ?[^\s\p{L}\p{N}]+[\r\n/]*
//! \s*[\r\n]+
//! \s+(?!\S)
//! \s+
//! ```
//!
//! Only ASCII is split here. Where a piece touches anything else, the caller has the rest of the line split by [`super::unicode`].

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upper,
    Lower,
    Digit,
    /// White space but line ends.
    Blank,
    LineEnd,
    Sign,
    /// No ASCII.
    Other,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Sign; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'A'..=b'Z' => Kind::Upper,
            b'a'..=b'z' => Kind::Lower,
            b'0'..=b'9' => Kind::Digit,
            b' ' | b'\t' | 0x0b | 0x0c => Kind::Blank,
            b'\r' | b'\n' => Kind::LineEnd,
            0x80.. => Kind::Other,
            _ => Kind::Sign,
        };
        byte += 1;
    }
    kinds
};

fn kind_at(text: &[u8], at: usize) -> Option<Kind> {
    #[cfg(test)]
    super::tests::work(1);
    text.get(at).map(|byte| KINDS[usize::from(*byte)])
}

/// Where the piece that starts at `at` ends; `None` if that depends on a character that is no ASCII. `at` is before the end.
pub(super) fn piece_end(text: &[u8], at: usize) -> Option<usize> {
    let kind = |at: usize| kind_at(text, at);
    let is_letter = |at: usize| matches!(kind(at), Some(Kind::Upper | Kind::Lower));
    let run = |mut at: usize, wanted: fn(Kind) -> bool| {
        while kind(at).is_some_and(wanted) {
            at += 1;
        }
        at
    };
    let first = kind(at)?;
    let end = match first {
        Kind::Other => return None,
        Kind::Upper | Kind::Lower => word_end(text, at)?,
        // One sign or blank before letters belongs to them.
        Kind::Sign | Kind::Blank if is_letter(at + 1) => word_end(text, at + 1)?,
        Kind::Sign | Kind::Blank if kind(at + 1) == Some(Kind::Other) => return None,
        // No further than a piece is long: the rest of a long number would be read again for each of its pieces.
        Kind::Digit => (at + 1..at + 3).find(|next| kind(*next) != Some(Kind::Digit)).unwrap_or(at + 3),
        Kind::Sign => signs_end(text, at),
        Kind::Blank if text[at] == b' ' && kind(at + 1) == Some(Kind::Sign) => signs_end(text, at + 1),
        Kind::Blank | Kind::LineEnd => {
            let end = run(at, |kind| matches!(kind, Kind::Blank | Kind::LineEnd));
            match text[at..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) {
                // More white space may follow that is no ASCII.
                _ if kind(end) == Some(Kind::Other) => return None,
                Some(last) => at + last + 1,
                // The last blank belongs to what follows, unless it is the only one.
                None if end < text.len() && end - at > 1 => end - 1,
                None => end,
            }
        }
    };
    (kind(end) != Some(Kind::Other)).then_some(end)
}

/// The end of the letters that start at `at`, with what is contracted to them: `don't`, `WE'LL`.
fn word_end(text: &[u8], at: usize) -> Option<usize> {
    let is = |at: usize, wanted: Kind| kind_at(text, at) == Some(wanted);
    let mut end = at;
    while is(end, Kind::Upper) {
        end += 1;
    }
    while is(end, Kind::Lower) {
        end += 1;
    }
    if text.get(end) != Some(&b'\'') {
        return Some(end);
    }
    let after = |offset: usize| text.get(end + offset).map(u8::to_ascii_lowercase);
    match (after(1), after(2)) {
        // The long s counts as an s.
        (Some(0x80..), _) => None,
        (Some(b's' | b't' | b'm' | b'd'), _) => Some(end + 2),
        (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => Some(end + 3),
        _ => Some(end),
    }
}

/// The end of the signs that start at `at`, with the line ends and slashes that follow.
fn signs_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while kind_at(text, end) == Some(Kind::Sign) {
        end += 1;
    }
    while text.get(end).is_some_and(|byte| matches!(byte, b'\r' | b'\n' | b'/')) {
        end += 1;
    }
    end
}

/// Where, after `at`, a piece begins for certain: at a letter or digit that begins a line. The end of the text if nowhere.
pub(super) fn sure_start(text: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text[at..])
        .map(|found| at + found + 1)
        .find(|next| text.get(*next).is_some_and(u8::is_ascii_alphanumeric))
        .unwrap_or(text.len())
}
