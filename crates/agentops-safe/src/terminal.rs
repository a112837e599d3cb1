//! Text that cannot steer a terminal.
//!
//! Everything that was not written by us (tool output, file names, commit messages, an agent's words) passes here before
//! it reaches a terminal. What is left can only be shown: it cannot move the cursor, set a title, fill the clipboard,
//! hide or reorder characters, or overwrite what was printed before it.

use std::borrow::Cow;

/// Control strings (OSC, DCS, …) are looked for at most this far, in characters. A terminal waits longer for the end, but
/// an introducer without an end must not swallow the rest of a log: past this bound only the introducer is dropped.
const CONTROL_STRING_MAX: usize = 4096;

/// Makes text inert: newlines and tabs stay, everything that a terminal would obey or not show is gone.
///
/// Escape sequences (CSI, OSC, DCS, SOS, PM, APC, in 7-bit and 8-bit form) are removed with their parameters and
/// payload. A carriage return becomes a newline (`\r\n` one newline), since alone it would let later text
/// overwrite earlier text; a line or paragraph separator becomes a newline too. Other controls, bidirectional marks,
/// zero-width and other invisible characters are removed.
///
/// Borrows when nothing has to change. Idempotent.
///
/// ```
/// use agentops_safe::inert;
///
/// assert_eq!(inert("ok\tyes\n"), "ok\tyes\n");
/// assert_eq!(inert("\x1b[31mred\x1b[0m"), "red");
/// assert_eq!(inert("a\x1b]52;c;ZWNobw==\x07b"), "ab");
/// assert_eq!(inert("safe\rrm -rf"), "safe\nrm -rf");
/// assert_eq!(inert("pay\u{202e}lrig"), "paylrig");
/// ```
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(|c| c != '\n' && c != '\t' && changes(c)) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = text[first..].chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {
                if rest.as_str().starts_with('\n') {
                    rest.next();
                }
                out.push('\n');
            }
            '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\x1b' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_control_string(&mut rest),
            _ if changes(c) => {}
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Makes text inert on one line: newlines and tabs become a space, and what is longer than `chars_max` characters is cut
/// and ends with `…` (which counts). Zero gives an empty text.
///
/// Characters are counted, not columns: a wide character takes two columns of a terminal.
///
/// ```
/// use agentops_safe::inert_line;
///
/// assert_eq!(inert_line("two\nlines", 80), "two lines");
/// assert_eq!(inert_line("abcdef", 4), "abc…");
/// ```
#[must_use]
pub fn inert_line(text: &str, chars_max: usize) -> String {
    let inert = inert(text);
    let mut out: String = inert.chars().take(chars_max).map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    if inert.chars().nth(chars_max).is_some() && out.pop().is_some() {
        out.push('…');
    }
    out
}

/// Makes text inert and hides nothing of it: what a terminal would obey or not show becomes an escape such as `\u{1b}`. Newlines
/// and tabs stay. For what a person is asked to agree to: [`inert`] removes the payload of an escape sequence, and makes a line
/// of its own of what follows a carriage return.
///
/// ```
/// use agentops_safe::visible;
///
/// assert_eq!(visible("+a\rhint: b\n"), "+a\\rhint: b\n");
/// assert_eq!(visible("\x1b]0;obey\x07"), "\\u{1b}]0;obey\\u{7}");
/// ```
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && c != '\t' && changes(c))
}

/// As [`visible`], on one line: newlines and tabs become escapes too.
///
/// ```
/// use agentops_safe::visible_line;
///
/// assert_eq!(visible_line("name\nhint: do it"), "name\\nhint: do it");
/// ```
#[must_use]
pub fn visible_line(text: &str) -> Cow<'_, str> {
    escaped(text, changes)
}

fn escaped(text: &str, changes: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&changes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' if changes(c) => out.extend(c.escape_default()),
            _ if changes(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Makes a JSON document inert without changing what it says: what a terminal would obey or not show becomes `\\uXXXX`.
///
/// ```
/// use agentops_safe::inert_json;
///
/// assert_eq!(inert_json("{\n \"a\": \"x\u{9b}31m\u{202e}\"\n}"), "{\n \"a\": \"x\\u009b31m\\u202e\"\n}");
/// ```
#[must_use]
pub fn inert_json(json: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c != '\n' && c != '\t' && changes(c);
    if !json.contains(obeyed) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if obeyed(c) {
            // Outside of its strings a JSON document holds none of them.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a character is not passed through as it is, `\n` and `\t` left aside.
fn changes(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_invisible(c)
}

/// Characters that show nothing of their own and change what others show, where they stand, or what is copied.
///
/// The joiner U+200D and the variation selectors are among them: an emoji may fall apart into its parts, which is the
/// price for text whose every character can be seen.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// After ESC: drops the rest of the sequence. What does not continue one is left for the caller to judge.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.as_str().chars().next() {
        Some('[') => {
            rest.next();
            skip_csi(rest);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            rest.next();
            skip_control_string(rest);
        }
        // Intermediates then one final byte: character sets, line attributes; or a lone final: reset, cursor save.
        Some(' '..='/') => {
            while rest.as_str().starts_with(|c| (' '..='/').contains(&c)) {
                rest.next();
            }
            if rest.as_str().starts_with(|c| ('0'..='~').contains(&c)) {
                rest.next();
            }
        }
        Some('0'..='~') => {
            rest.next();
        }
        _ => {}
    }
}

/// After a CSI introducer: parameters, intermediates, one final byte. A character that fits none of them ends it early.
fn skip_csi(rest: &mut std::str::Chars<'_>) {
    while rest.as_str().starts_with(|c| (' '..='?').contains(&c)) {
        rest.next();
    }
    if rest.as_str().starts_with(|c| ('@'..='~').contains(&c)) {
        rest.next();
    }
}

/// After the introducer of a control string: drops the payload with its end (BEL, ST, or CAN and SUB, which abort it).
/// A line break before the end, or no end in [`CONTROL_STRING_MAX`] characters, means that it was none: only the
/// introducer is dropped and the payload is judged as text.
fn skip_control_string(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    for _ in 0..CONTROL_STRING_MAX {
        match ahead.next() {
            Some('\x07' | '\x18' | '\x1a' | '\u{9c}') => {
                *rest = ahead;
                return;
            }
            Some('\x1b') => {
                // ESC aborts the string and starts what follows; with a backslash it is the regular end.
                if ahead.as_str().starts_with('\\') {
                    ahead.next();
                } else {
                    skip_escape(&mut ahead);
                }
                *rest = ahead;
                return;
            }
            Some('\n' | '\r') | None => return,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_quiet(text: &str) -> bool {
        let bidi_and_zero_width = [
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202b}',
            '\u{202c}',
            '\u{202d}',
            '\u{202e}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{2060}',
            '\u{feff}',
            '\u{61c}',
            '\u{2028}',
            '\u{2029}',
            '\u{ad}',
            '\u{e0041}',
            '\u{3164}',
        ];
        text.chars().all(|c| (!c.is_control() || c == '\n' || c == '\t') && !bidi_and_zero_width.contains(&c))
    }

    #[test]
    fn s10_sequences_are_removed_with_their_payload() {
        for (given, wanted) in [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]52;c;c2VjcmV0\x1b\\x", "x"),
            ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
            ("\x1bPq#0;2;0;0;0\x1b\\x", "x"),
            ("\x1b_Gf=24;AAAA\x1b\\x", "x"),
            ("\x1b^pm\x1b\\x", "x"),
            ("\x1bXsos\x1b\\x", "x"),
            ("\u{9b}31mx", "x"),
            ("\u{9d}0;title\u{9c}x", "x"),
            ("\x1b[?1049hx\x1b[2J\x1b[H", "x"),
            ("\x1bcx\x1b7\x1b8\x1b(0", "x"),
            ("\x1b#8x", "x"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("\x1b]0;never ends", "0;never ends"),
            ("\x1b]0;never ends\nnext", "0;never ends\nnext"),
            ("\x1b\x1b[31mx", "x"),
            ("a\x08\x08b\x7f\0\x0b\x0c\x05", "ab"),
            ("x\u{85}y\u{80}", "xy"),
            ("\x1b]0;a\x1b[31mx", "x"),
        ] {
            assert_eq!(inert(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn s10_a_carriage_return_cannot_overwrite() {
        assert_eq!(inert("a\r\nb"), "a\nb");
        assert_eq!(inert("a\rb"), "a\nb");
        assert_eq!(inert("a\r\r\nb"), "a\n\nb");
    }

    #[test]
    fn s10_ordinary_text_is_borrowed() {
        for text in ["", "plain\n\ttext", "Grüße, 日本語, עברית, 🙂", "a\\x1b[31m"] {
            assert!(matches!(inert(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn s10_a_line_is_one_line_of_the_given_length() {
        assert_eq!(inert_line("a\r\nb\tc", 9), "a b c");
        assert_eq!(inert_line("abc", 3), "abc");
        assert_eq!(inert_line("abcd", 3), "ab…");
        assert_eq!(inert_line("abcd", 1), "…");
        assert_eq!(inert_line("abcd", 0), "");
        assert_eq!(inert_line("\x1b[31mäöü\x1b[0m", 3), "äöü");
    }

    proptest! {
        #[test]
        fn s10_random_bytes_come_out_quiet(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(is_quiet(&inert(&text)));
        }

        #[test]
        fn s10_hostile_text_comes_out_quiet_and_stays(
            text in concat!(
                "([\\x00-\\x1f\\x7f-\\u{9f}]|\\x1b|[\\[\\]P_^X;0-9mhc\\\\ a-z]",
                "|[\\u{200b}-\\u{206f}\\u{feff}\\u{61c}\\u{ad}]){0,60}",
            ),
            chars_max in 0usize..40,
        ) {
            let once = inert(&text).into_owned();
            prop_assert!(is_quiet(&once));
            prop_assert_eq!(inert(&once), once.as_str());
            prop_assert!(is_quiet(&visible(&text)));
            let visible_line = visible_line(&text);
            prop_assert!(is_quiet(&visible_line) && !visible_line.contains(['\n', '\t']));
            let line = inert_line(&text, chars_max);
            prop_assert!(is_quiet(&line) && !line.contains(['\n', '\t']));
            prop_assert!(line.chars().count() <= chars_max);
        }
    }
}
