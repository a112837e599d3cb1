//! Paths as they stand in the headers of a diff.

use std::borrow::Cow;

/// The path in the rest of a line `--- `, `+++ `, `rename from ` and so on: without quotes, time stamp and the prefixes by which
/// git tells both sides apart.
pub(super) fn of_header(rest: &str) -> Cow<'_, str> {
    if rest.starts_with('"') {
        let path = unquoted(rest).0;
        return Cow::Owned(without_prefix(&path).to_owned());
    }
    let path = rest.split('\t').next().unwrap_or(rest).trim_end();
    Cow::Borrowed(without_prefix(path))
}

/// The path in the rest of a line `diff --git `, which has both sides with a blank between them, and whether it is certain.
pub(super) fn of_both(rest: &str) -> (Cow<'_, str>, bool) {
    if rest.starts_with('"') {
        let (first, behind) = unquoted(rest);
        let second = behind.trim_start();
        return (if second.is_empty() { Cow::Owned(without_prefix(&first).to_owned()) } else { of_header(second) }, false);
    }
    // Both sides mostly have the same path, which may have blanks in it. Without a prefix they are equal.
    let middle = rest.len() / 2;
    if let (Some(old), Some(new), Some(" ")) = (rest.get(..middle), rest.get(middle + 1..), rest.get(middle..=middle)) {
        if old == new {
            return (Cow::Borrowed(new), true);
        }
        if without_prefix(old) == without_prefix(new) {
            return (Cow::Borrowed(without_prefix(new)), true);
        }
    }
    if let Some((_, new)) = rest.split_once(" \"") {
        return (Cow::Owned(without_prefix(&unquoted(new).0).to_owned()), false);
    }
    let new = rest.rsplit_once(" b/").map_or(rest, |(_, new)| new);
    (Cow::Borrowed(new), false)
}

/// The path of a combined diff, which has no prefix.
pub(super) fn of_combined(rest: &str) -> Cow<'_, str> {
    unquoted_or_plain(rest)
}

/// A path without a prefix, which git may have put into quotes.
pub(super) fn unquoted_or_plain(path: &str) -> Cow<'_, str> {
    if path.starts_with('"') { Cow::Owned(unquoted(path).0) } else { Cow::Borrowed(path.trim_end()) }
}

/// Git's usual prefixes are `a/` and `b/`; with `diff.mnemonicPrefix` they are `c/`, `i/`, `o/` and `w/`.
fn without_prefix(path: &str) -> &str {
    match path.as_bytes() {
        [b'a' | b'b' | b'c' | b'i' | b'o' | b'w', b'/', _, ..] => &path[2..],
        _ => path,
    }
}

/// A path that git put into quotes as a string of C, and what stands behind it.
fn unquoted(text: &str) -> (String, &str) {
    let text = text.strip_prefix('"').unwrap_or(text);
    let bytes = text.as_bytes();
    let mut path = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).filter(|byte| **byte != b'"') {
        at += 1;
        if *byte != b'\\' {
            path.push(*byte);
            continue;
        }
        let octal = bytes.get(at..at + 3).filter(|digits| digits.iter().all(|digit| matches!(digit, b'0'..=b'7')));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            path.push(value.to_le_bytes()[0]);
            at += 3;
            continue;
        }
        path.push(match bytes.get(at) {
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(other) => *other,
            None => b'\\',
        });
        at += 1;
    }
    let behind = text.get(at + 1..).unwrap_or_default();
    (String::from_utf8_lossy(&path).into_owned(), behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_paths_are_read_as_git_writes_them() {
        assert_eq!(of_header(r#""a/\303\244 \"b\"\t.rs""#), "ä \"b\"\t.rs");
        assert_eq!(of_both(r#""a/\303\244" "b/\303\244""#).0, "ä");
        assert_eq!(of_both(r#"a/plain "b/\303\244""#).0, "ä");
        assert_eq!(of_header("b/src/a.rs\t2026-01-01 00:00:00"), "src/a.rs");
    }

    #[test]
    fn both_sides_may_have_blanks_and_other_prefixes_or_none() {
        assert_eq!(of_both("a/my b/file b/my b/file").0, "my b/file");
        assert_eq!(of_both("i/src/a.rs w/src/a.rs").0, "src/a.rs");
        assert_eq!(of_both("src/a.rs src/a.rs").0, "src/a.rs");
        assert_eq!(of_both("a/old.rs b/new.rs").0, "new.rs");
        assert_eq!(of_header("/dev/null"), "/dev/null");
    }

    #[test]
    fn an_unfinished_quote_ends_at_the_end() {
        for text in ["\"", "\"a/x\\", "\"a/\\30", "\"a\" \"", "", " ", "a", "ä ä"] {
            let _path = (of_header(text), of_both(text));
        }
    }
}
