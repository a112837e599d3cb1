//! Answers as a reader sees them: escapes as the characters that they stand for.
//!
//! How an answer is written is the provider's choice: JSON, an address, HTML or source code may write any character of the
//! key as an escape. Each escape is read by what follows it and by nothing before it, so that an answer reads the same wherever
//! it is cut between two of its characters.

use memchr::{memchr2, memchr3_iter};

const ESC: u8 = 0x1b;
/// What an escape shows that stands for no character of a key.
const OTHER: u8 = 0;
/// The longest run of backslashes before an escape: JSON inside JSON doubles it at each level.
const BACKSLASHES_MAX: usize = 8;
/// Levels of percent-encoding.
const PERCENT_LEVELS_MAX: usize = 3;
/// The longest name of an entity of HTML, and the longest number in one, with zeros before it.
const NAME_BYTES_MAX: usize = 8;
const DIGITS_MAX: usize = 10;
/// The longest run of parameters of a colour code, in bytes.
const PARAMETERS_BYTES_MAX: usize = 16;
/// How much that shows nothing may stand between two characters: a flood of it must not be held back.
const NOTHINGS_MAX: usize = 4;

const ENTITIES: [(&[u8], u8); 14] = [
    (b"amp", b'&'),
    (b"apos", b'\''),
    (b"colon", b':'),
    (b"comma", b','),
    (b"dash", b'-'),
    (b"equals", b'='),
    (b"gt", b'>'),
    (b"hyphen", b'-'),
    (b"lowbar", b'_'),
    (b"lt", b'<'),
    (b"period", b'.'),
    (b"plus", b'+'),
    (b"quot", b'"'),
    (b"sol", b'/'),
];

/// A text without its escapes.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) text: Vec<u8>,
    /// For each byte of the text where it stands in the original: its first byte and the one after its last.
    pub(super) places: Vec<(usize, usize)>,
    /// Where an escape begins that does not end yet.
    pub(super) undecided: Option<usize>,
}

enum Look {
    /// So many bytes stand for this character.
    Shows(usize, u8),
    /// So many bytes stand for nothing.
    Nothing(usize),
    Text,
    /// The text ends before it is known.
    Undecided,
}

/// Whether anything in the text may be an escape of a character that a key has. Answers are full of `\n` and `\"`, which are
/// none unless the key has quotes or backslashes (`has_quotes`).
pub(super) fn may_have_escapes(raw: &[u8], has_quotes: bool) -> bool {
    let may_begin = |at: usize| {
        let run = if raw[at] == b'\\' { raw[at..].iter().take_while(|byte| **byte == b'\\').count() } else { 1 };
        match (raw[at], raw.get(at + run)) {
            (_, None) => true,
            (b'\\', Some(next)) => has_quotes || matches!(next, b'u' | b'U' | b'x' | b'0' | b'1' | b'/'),
            (b'%', Some(next)) => next.is_ascii_hexdigit() || *next == b'u',
            (_, Some(next)) => next.is_ascii_alphanumeric() || *next == b'#',
        }
    };
    memchr2(0, ESC, raw).is_some() || memchr3_iter(b'\\', b'%', b'&', raw).any(may_begin)
}

/// Where the run of backslashes begins that ends at `at`: what follows it may be a part of an escape.
pub(super) fn backslashes_before(raw: &[u8], at: usize) -> usize {
    at - raw[..at].iter().rev().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count()
}

/// Reads a text that begins at a character. With `is_last` nothing stays undecided.
pub(super) fn shown(raw: &[u8], is_last: bool) -> Shown {
    let mut shown = Shown { text: Vec::with_capacity(raw.len()), places: Vec::with_capacity(raw.len()), undecided: None };
    let (mut at, mut nothings) = (0, 0);
    while at < raw.len() {
        let look = match raw[at] {
            b'\\' => backslash(&raw[at..]),
            b'%' => percent(&raw[at..]),
            b'&' => entity(&raw[at..], is_last),
            ESC => colour(&raw[at..]),
            0 => Look::Nothing(1),
            _ => Look::Text,
        };
        let (length, shows) = match look {
            Look::Undecided if !is_last => {
                shown.undecided = Some(at);
                break;
            }
            Look::Nothing(length) if nothings < NOTHINGS_MAX => {
                nothings += 1;
                at += length;
                continue;
            }
            Look::Shows(length, shows) => (length, shows),
            _ => (1, raw[at]),
        };
        nothings = 0;
        shown.text.push(shows);
        shown.places.push((at, at + length));
        at += length;
    }
    shown
}

/// `\u002d` and `\x2d` with any number of backslashes, `\u{2d}`, `\U0000002d`, `\055`, `\00002d`, `\/`, and the other escapes
/// of JSON.
fn backslash(raw: &[u8]) -> Look {
    let run = raw.iter().take(BACKSLASHES_MAX + 1).take_while(|byte| **byte == b'\\').count();
    if run > BACKSLASHES_MAX {
        return Look::Text;
    }
    let is_odd = run % 2 == 1;
    let alone = if is_odd { Look::Text } else { Look::Shows(run, b'\\') };
    let Some(kind) = raw.get(run) else { return Look::Undecided };
    let zeros = raw[run..].iter().take(CSS_ZEROS).take_while(|byte| **byte == b'0').count();
    let (digits, radix, from) = match kind {
        b'u' if raw.get(run + 1) == Some(&b'{') => return braced(raw, run + 2, alone),
        b'u' => (4, 16, run + 1),
        b'U' => (8, 16, run + 1),
        b'x' => (2, 16, run + 1),
        b'0' if zeros == CSS_ZEROS => (CSS_ZEROS + 2, 16, run),
        b'0' if run + zeros == raw.len() => return Look::Undecided,
        b'0'..=b'1' => (3, 8, run),
        b'/' => return Look::Shows(run + 1, b'/'),
        b'"' | b'\'' if is_odd => return Look::Shows(run + 1, *kind),
        b'n' | b'r' | b't' | b'b' | b'f' if is_odd => return Look::Shows(run + 1, OTHER),
        _ => return alone,
    };
    match number(&raw[from..], digits, radix) {
        Number::Is(value, length) if length == digits || (radix == 8 && length == 2) => {
            Look::Shows(from + length, character(value))
        }
        Number::Cut => Look::Undecided,
        Number::Is(..) => alone,
    }
}

/// Before the two digits of a character in CSS, where all six are written.
const CSS_ZEROS: usize = 4;

/// What follows `\u{`.
fn braced(raw: &[u8], from: usize, alone: Look) -> Look {
    let length = digits(&raw[from..], 16);
    match raw.get(from + length) {
        _ if length > DIGITS_MAX => alone,
        None => Look::Undecided,
        Some(b'}') => {
            parse(&raw[from..from + length], 16).map_or(alone, |value| Look::Shows(from + length + 1, character(value)))
        }
        Some(_) => alone,
    }
}

/// `%2d`, `%252d` and so on, and `%u002d`.
fn percent(raw: &[u8]) -> Look {
    if raw.get(1) == Some(&b'u') {
        return match number(&raw[2..], 4, 16) {
            Number::Is(value, 4) => Look::Shows(6, character(value)),
            Number::Cut => Look::Undecided,
            Number::Is(..) => Look::Text,
        };
    }
    let mut from = 1;
    for _ in 1..PERCENT_LEVELS_MAX {
        from += if raw.get(from..from + 2) == Some(b"25") { 2 } else { 0 };
    }
    match number(&raw[from.min(raw.len())..], 2, 16) {
        Number::Is(value, 2) => Look::Shows(from + 2, character(value)),
        Number::Cut => Look::Undecided,
        Number::Is(..) if from > 1 => Look::Shows(3, b'%'),
        Number::Is(..) => Look::Text,
    }
}

/// `&#45;`, `&#x2d;` and `&amp;`. A number may end without a semicolon.
fn entity(raw: &[u8], is_last: bool) -> Look {
    match (raw.get(1), raw.get(2)) {
        (Some(b'#'), Some(b'x' | b'X')) => numbered(raw, 3, 16, is_last),
        (Some(b'#'), Some(_)) => numbered(raw, 2, 10, is_last),
        (Some(b'#'), None) => Look::Undecided,
        _ => named(raw),
    }
}

fn numbered(raw: &[u8], from: usize, radix: u32, is_last: bool) -> Look {
    let end = from + digits(&raw[from..], radix);
    let ending = match raw.get(end) {
        _ if end - from > DIGITS_MAX => return Look::Text,
        None if !is_last => return Look::Undecided,
        Some(b';') => 1,
        _ => 0,
    };
    parse(&raw[from..end], radix).map_or(Look::Text, |value| Look::Shows(end + ending, character(value)))
}

fn named(raw: &[u8]) -> Look {
    let inside = &raw[1..];
    let Some(end) = inside.iter().take(NAME_BYTES_MAX + 2).position(|byte| !byte.is_ascii_alphanumeric()) else {
        return if inside.len() <= NAME_BYTES_MAX { Look::Undecided } else { Look::Text };
    };
    let known = ENTITIES.iter().find(|(name, _)| inside[end] == b';' && *name == &inside[..end]);
    known.map_or(Look::Text, |(_, shows)| Look::Shows(end + 2, *shows))
}

/// `ESC[1;31m`.
fn colour(raw: &[u8]) -> Look {
    match raw.get(1) {
        None => return Look::Undecided,
        Some(b'[') => {}
        Some(_) => return Look::Text,
    }
    let is_parameter = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let parameters = raw[2..].iter().take(PARAMETERS_BYTES_MAX).take_while(is_parameter).count();
    match raw.get(2 + parameters) {
        Some(b'm' | b'K') => Look::Nothing(parameters + 3),
        None => Look::Undecided,
        Some(_) => Look::Text,
    }
}

enum Number {
    /// A value of so many digits.
    Is(u32, usize),
    /// More digits may follow.
    Cut,
}

fn number(raw: &[u8], digits: usize, radix: u32) -> Number {
    let length = raw.iter().take(digits).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    if length < digits && length == raw.len() {
        return Number::Cut;
    }
    Number::Is(parse(&raw[..length], radix).unwrap_or(u32::MAX), length)
}

/// How many digits there are, of which more than [`DIGITS_MAX`] are no number.
fn digits(raw: &[u8], radix: u32) -> usize {
    raw.iter().take(DIGITS_MAX + 1).take_while(|byte| char::from(**byte).is_digit(radix)).count()
}

fn parse(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// Keys have printable characters of ASCII only.
fn character(value: u32) -> u8 {
    u8::try_from(value).ok().filter(u8::is_ascii_graphic).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_what_they_stand_for() {
        for (raw, text) in [
            (r"sk\u002dA\x2db\055c", "sk-A-b-c"),
            (r"\\u002d\\\\u002D\\x2d", "---"),
            (r"\u{2d}\\u{00002D}\u{}\u{2d \U0000002d\U0000002 \00002da", "--\\u{}\\u{2d -\\U0000002 -a"),
            (r"a\/b\\/c\\n\'", "a/b/c\\n'"),
            ("%2d%252D%25252d%25 %zz%", "---% %zz%"),
            ("%u002d%U002d%u00", "-%U002d%u00"),
            ("&#45;&#x2D;&lowbar;&amp;&unknown;&", "--_&&unknown;&"),
            ("&#45&#0000000045 &#x2d-&amp&#00000000045;&#;&#x2d", "-- --&amp&#00000000045;&#;-"),
            ("s\0k\x1b[1;31m-\x1b[0mx", "sk-x"),
            (r"\d\\d \", "\\d\\d \\"),
        ] {
            let shown = shown(raw.as_bytes(), true);
            assert_eq!(String::from_utf8_lossy(&shown.text), text, "{raw:?}");
            assert_eq!(shown.text.len(), shown.places.len());
        }
        assert_eq!(shown(br"a\n\u00e9b", true).text, b"a\0\0b");
    }

    /// Reading escapes takes room for each byte of an answer.
    #[test]
    fn an_ordinary_answer_is_not_read_for_escapes() {
        let ordinary = br#"{"text":"a \"line\"\nand another\t\\ 100 % of it & more","n":1}"#;
        assert!(!may_have_escapes(ordinary, false) && may_have_escapes(ordinary, true));
        for raw in [r"\u002d ", r"\\\x2d ", r"\055 ", r"a\/b", "%2d ", "&#45;", "&amp;", "\0 ", "\x1b[1m ", r"a\", "a%"] {
            assert!(may_have_escapes(raw.as_bytes(), false), "{raw:?}");
        }
    }

    #[test]
    fn what_may_become_an_escape_is_undecided() {
        for raw in [r"a\u", r"a\u{", r"a\u{2d", r"a\U0000002", r"a\000", r"a\0000", r"a\00002", "a%u00", "a&#x", "a&#45"] {
            assert_eq!(shown(raw.as_bytes(), false).undecided, Some(1), "{raw:?}");
        }
        for raw in [r"a\", r"a\\", r"a\u00", r"a\x2", r"a\05", "a%", "a%2", "a%25", "a&", "a&#4", "a&am", "a\x1b", "a\x1b[1"]
        {
            assert_eq!(shown(raw.as_bytes(), false).undecided, Some(1), "{raw:?}");
            assert_eq!(shown(raw.as_bytes(), true).undecided, None);
        }
    }
}
