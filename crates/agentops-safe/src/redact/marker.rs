//! What stands where a secret stood.

use std::ops::Range;

/// The longest name in a marker, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The marker of this name, safe inside a JSON string and within a line.
pub(super) fn named(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let name: String = name.chars().take(NAME_BYTES_MAX).map(safe).collect();
    format!("[redacted:{}]", if name.is_empty() { "value" } else { &name })
}

/// Writes what replaces the known value `text[span]`: the marker, or `0` for each number where the marker could break JSON (nothing, if
/// it is the end of a longer number).
///
/// Only a known value made of nothing but numbers (and what stands between the numbers of an array) can lie outside the
/// strings of a JSON document. There only a number keeps the document valid, and inside a string it does no harm.
pub(super) fn write_known(marker: &[u8], text: &[u8], span: Range<usize>, out: &mut Vec<u8>) {
    let value = &text[span.clone()];
    let is_list = value.iter().all(|byte| is_of_number(*byte) || b", \t\r\n:[]{}".contains(byte));
    let is_number = is_list && value.iter().all(|byte| is_of_number(*byte));
    let before = span.start.checked_sub(1).map(|at| text[at]);
    let after = text.get(span.end).copied();
    if !is_list || (is_number && !(may_precede_number(before) && may_follow_number(after))) {
        out.extend_from_slice(marker);
        return;
    }
    for run in value.chunk_by(|a, b| is_of_number(*a) == is_of_number(*b)) {
        let Some(digit) = run.iter().position(u8::is_ascii_digit) else {
            out.extend_from_slice(run);
            continue;
        };
        // A sign or a point at the beginning goes on a number that began before the value.
        out.extend_from_slice(&run[..digit]);
        let is_at_start = run.as_ptr() == value.as_ptr();
        if is_at_start && digit == 0 && before.is_some_and(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let is_at_end = run.as_ptr_range().end == value.as_ptr_range().end;
        out.push(if is_at_end && after.is_some_and(|byte| byte.is_ascii_digit()) { b'1' } else { b'0' });
    }
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || b"+-.eE".contains(&byte)
}

fn may_precede_number(byte: Option<u8>) -> bool {
    byte.is_none_or(|byte| is_of_number(byte) || byte.is_ascii_whitespace() || b":,[".contains(&byte))
}

fn may_follow_number(byte: Option<u8>) -> bool {
    byte.is_none_or(|byte| is_of_number(byte) || byte.is_ascii_whitespace() || b",]}".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_known_number_stays_a_number_where_json_may_need_one() {
        for (text, value, expected) in [
            ("{\"pin\":12345678}", "12345678", "{\"pin\":0}"),
            ("[12345678.5, 1e12345678]", "12345678", "[0.5, 1e0]"),
            ("[1234567890]", "12345678", "[190]"),
            ("[512345678, -12345678]", "12345678", "[5, -0]"),
            ("[0.12345678]", ".12345678", "[0.0]"),
            ("\"12345678\"", "12345678", "\"[redacted:K]\""),
            ("pin=12345678", "12345678", "pin=[redacted:K]"),
            ("x [12, 34,56] y", "[12, 34,56]", "x [0, 0,0] y"),
        ] {
            let mut out = Vec::new();
            let mut rest = text;
            let mut at = 0;
            while let Some(near) = rest.find(value) {
                out.extend_from_slice(&rest.as_bytes()[..near]);
                write_known(b"[redacted:K]", text.as_bytes(), at + near..at + near + value.len(), &mut out);
                at += near + value.len();
                rest = &text[at..];
            }
            out.extend_from_slice(rest.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
