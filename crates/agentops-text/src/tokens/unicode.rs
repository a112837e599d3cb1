//! Splits any text as the pattern of o200k does, see [`super::split`], which is faster and knows ASCII only.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `\p{Lu}` and `\p{Lt}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lm}` and `\p{Lo}`: both upper and lower.
    Letter,
    /// `\p{M}`: both upper and lower where a word goes on, a sign where one begins.
    Mark,
    /// `\p{N}`.
    Digit,
    /// White space but line ends.
    Blank,
    LineEnd,
    Sign,
}

/// Ranges of characters beyond ASCII with their class, in order; a character in none is a sign.
static CLASSES: &[(u32, u32, Class)] = &include!(concat!(env!("OUT_DIR"), "/character_classes.rs"));

fn class(c: char) -> Class {
    match c {
        'A'..='Z' => Class::Upper,
        'a'..='z' => Class::Lower,
        '0'..='9' => Class::Digit,
        '\r' | '\n' => Class::LineEnd,
        ' ' | '\t' | '\x0b' | '\x0c' => Class::Blank,
        c if c.is_ascii() => Class::Sign,
        c => {
            let after = CLASSES.partition_point(|(start, ..)| *start <= u32::from(c));
            match after.checked_sub(1).map(|at| CLASSES[at]) {
                Some((_, end, class)) if u32::from(c) <= end => class,
                _ => Class::Sign,
            }
        }
    }
}

/// The end of the first piece of a text, which is not empty.
pub fn piece_end(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let after_first = first.len_utf8();
    let second = chars.next();
    let goes_on = |c: char| matches!(class(c), Class::Upper | Class::Lower | Class::Letter | Class::Mark);
    match class(first) {
        Class::Upper | Class::Lower | Class::Letter => word_end(text, 0),
        // A mark belongs to the word after it, or is a word itself.
        Class::Mark => lower_end(text, after_first).or_else(|| lower_end(text, 0)).unwrap_or(after_first),
        Class::Sign | Class::Blank if second.is_some_and(goes_on) => word_end(text, after_first),
        Class::Digit => digits_end(text),
        Class::Sign => signs_end(text, 0),
        Class::Blank if first == ' ' && second.is_some_and(|c| class(c) == Class::Sign) => signs_end(text, after_first),
        Class::Blank | Class::LineEnd => blanks_end(text),
    }
}

fn end_of((at, c): (usize, char)) -> usize {
    at + c.len_utf8()
}

/// The end of at most three digits.
fn digits_end(text: &str) -> usize {
    text.char_indices().take(3).take_while(|(_, c)| class(*c) == Class::Digit).map(end_of).last().unwrap_or(0)
}

fn is_upper(c: char) -> bool {
    matches!(class(c), Class::Upper | Class::Letter | Class::Mark)
}

fn is_lower(c: char) -> bool {
    matches!(class(c), Class::Lower | Class::Letter | Class::Mark)
}

/// The end of a word that begins at `start`, be it capitals only.
fn word_end(text: &str, start: usize) -> usize {
    lower_end(text, start).unwrap_or_else(|| {
        let capitals = text[start..].char_indices().take_while(|(_, c)| is_upper(*c)).map(end_of).last().unwrap_or(0);
        start + capitals + contraction(&text[start + capitals..])
    })
}

/// The end of a word that begins at `start` and ends in what is no capital: marks and letters without case are both.
fn lower_end(text: &str, start: usize) -> Option<usize> {
    let mut capitals_end = start;
    let mut last_both = None;
    for (at, c) in text[start..].char_indices().take_while(|(_, c)| is_upper(*c)) {
        capitals_end = start + at + c.len_utf8();
        if is_lower(c) {
            last_both = Some(capitals_end);
        }
    }
    let lower = text[capitals_end..].char_indices().take_while(|(_, c)| is_lower(*c)).map(end_of).last();
    // Where nothing lower follows, capitals are given back down to the last character that is both.
    let end = lower.map(|length| capitals_end + length).or(last_both)?;
    Some(end + contraction(&text[end..]))
}

/// The length of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at the beginning, in any case; the long s is an s.
fn contraction(text: &str) -> usize {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return 0;
    }
    let first = chars.next();
    match (first.map(|c| c.to_ascii_lowercase()), chars.next().map(|c| c.to_ascii_lowercase())) {
        (Some('s' | 't' | 'm' | 'd'), _) => 2,
        (Some('ſ'), _) => 1 + 'ſ'.len_utf8(),
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

/// The end of the signs that begin at `start`, with the line ends and slashes that follow.
fn signs_end(text: &str, start: usize) -> usize {
    let mut end = start;
    for (at, c) in text[start..].char_indices() {
        if !matches!(class(c), Class::Sign | Class::Mark) {
            break;
        }
        end = start + at + c.len_utf8();
    }
    end + text[end..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/')).count()
}

/// The end of white space: its last line end; without one all of it, but for the blank that belongs to what follows.
fn blanks_end(text: &str) -> usize {
    let (mut end, mut last_line_end, mut last_start) = (0, None, 0);
    for (at, c) in text.char_indices() {
        match class(c) {
            Class::LineEnd => last_line_end = Some(at + 1),
            Class::Blank => {}
            _ => break,
        }
        last_start = at;
        end = at + c.len_utf8();
    }
    match last_line_end {
        Some(line_end) => line_end,
        None if end < text.len() && last_start > 0 => last_start,
        None => end,
    }
}
