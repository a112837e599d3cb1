//! What a stream draws: the strings it shows and the forms it names.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memmem;

use super::unicode::Unicode;
use super::{is_regular, name_hash, written_name};

/// What one stream draws when it is drawn once.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Upper bound of the tokens of its strings.
    pub(super) text: u64,
    /// How often it draws what a name stands for.
    pub(super) draws: HashMap<u64, u64>,
}

/// Reads a stream as operators and their operands.
pub(super) fn read(stream: &[u8], unicode: &Unicode) -> Content {
    let mut content = Content::default();
    let mut last_name = None;
    // Data within the stream could be read as the beginning of a string that swallows operators.
    let mut is_certain = true;
    let mut at = 0;
    while let Some(byte) = stream.get(at) {
        match byte {
            b'(' => {
                let (end, closed) = literal_end(stream, at);
                is_certain &= closed;
                content.text = content.text.saturating_add(unicode.literal(&stream[at..end]));
                at = end;
            }
            b'<' if stream.get(at + 1) == Some(&b'<') => at += 2,
            b'<' => {
                let end = memchr::memchr(b'>', &stream[at..]).map_or(stream.len(), |length| at + length);
                content.text = content.text.saturating_add(unicode.hex(&stream[at..end]));
                at = end;
            }
            b'%' => at += memchr::memchr2(b'\n', b'\r', &stream[at..]).unwrap_or(stream.len() - at),
            b'/' => {
                let written = written_name(&stream[at + 1..]);
                last_name = Some(name_hash(written));
                at += 1 + written.len();
            }
            byte if is_regular(*byte) => {
                let length = stream[at..].iter().take_while(|byte| is_regular(**byte)).count();
                match &stream[at..at + length] {
                    b"Do" => {
                        if let Some(name) = last_name {
                            *content.draws.entry(name).or_default() += 1;
                        }
                    }
                    b"BI" => {
                        is_certain = false;
                        last_name = None;
                    }
                    word if word.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.')) => {}
                    _ => last_name = None,
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if !is_certain {
        for (name, count) in plain_draws(stream) {
            let seen = content.draws.entry(name).or_default();
            *seen = (*seen).max(count);
        }
    }
    content
}

/// Names right before the operator that draws, wherever they stand.
fn plain_draws(stream: &[u8]) -> HashMap<u64, u64> {
    let mut draws = HashMap::new();
    for at in memmem::find_iter(stream, b"Do") {
        let before = stream[..at].trim_ascii_end();
        let length = before.iter().rev().take(128).take_while(|byte| is_regular(**byte)).count();
        let begin = before.len() - length;
        if before.len() < at && begin > 0 && before[begin - 1] == b'/' {
            *draws.entry(name_hash(&before[begin..])).or_default() += 1;
        }
    }
    draws
}

/// Whether a stream looks as if it showed text.
pub(super) fn shows_text(stream: &[u8]) -> bool {
    ["Tj", "TJ", "'", "\""].iter().any(|operator| has_operator(stream, operator.as_bytes())) && has_operator(stream, b"BT")
}

/// Whether the operator stands there between delimiters.
fn has_operator(stream: &[u8], operator: &[u8]) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !is_regular(*byte));
    memmem::find_iter(stream, operator).any(|at| {
        let before = at.checked_sub(1).and_then(|before| stream.get(before));
        is_edge(before) && is_edge(stream.get(at + operator.len()))
    })
}

/// Bytes of the strings that stand outside of the data of streams: titles, annotations, and what replaces text. `data`: where
/// that data stands, in its order.
pub(super) fn string_bytes(bytes: &[u8], data: &[Range<usize>]) -> u64 {
    let (mut total, mut at) = (0_u64, 0);
    let mut data = data.iter().peekable();
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'(', b'<', rest)) {
        let begin = at + next;
        while data.peek().is_some_and(|range| range.end <= begin) {
            data.next();
        }
        if let Some(range) = data.peek().filter(|range| range.start <= begin) {
            at = range.end;
            continue;
        }
        let (end, length) = match bytes[begin] {
            b'(' => {
                let end = literal_end(bytes, begin).0;
                (end, end - begin)
            }
            _ if bytes.get(begin + 1) == Some(&b'<') => (begin + 2, 0),
            _ => {
                let end = memchr::memchr(b'>', &bytes[begin..]).map_or(bytes.len(), |length| begin + length);
                // The room for a signature is filled up with zeros.
                let digits = bytes[begin + 1..end].iter().rev().skip_while(|byte| matches!(byte, b'0')).count();
                (end, digits.div_ceil(2))
            }
        };
        total = total.saturating_add(length as u64);
        at = end;
    }
    total
}

/// Whether some bytes are one dictionary and nothing else.
pub(super) fn is_dictionary(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    if !bytes.starts_with(b"<<") {
        return false;
    }
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'(' => at = literal_end(bytes, at).0,
            b')' => return false,
            b'<' if bytes.get(at + 1) == Some(&b'<') => {
                depth += 1;
                at += 2;
            }
            b'<' => at = memchr::memchr(b'>', &bytes[at..]).map_or(bytes.len(), |length| at + length + 1),
            b'>' if bytes.get(at + 1) == Some(&b'>') => {
                at += 2;
                match depth.checked_sub(1) {
                    Some(0) | None => return at == bytes.len(),
                    Some(outer) => depth = outer,
                }
            }
            _ => at += 1,
        }
    }
    false
}

/// The end of a string in parentheses, which may hold balanced ones, and whether it was closed.
fn literal_end(stream: &[u8], begin: usize) -> (usize, bool) {
    let mut depth = 0_u32;
    let mut at = begin;
    while let Some(byte) = stream.get(at) {
        match byte {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' if depth <= 1 => return (at + 1, true),
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    (stream.len(), false)
}
