//! Long lines shortened around the parts that say what is wrong.

use std::ops::Range;

use super::severity;

/// Parts of a line that are shown with what surrounds them.
const PARTS_MAX: usize = 3;
/// Share of the bytes that goes to the beginning of the line, as a divisor.
const HEAD_DIVISOR: usize = 3;
/// Bytes before a telling part, of those around it, as a divisor: what follows a part says more about it.
const BEFORE_DIVISOR: usize = 3;

/// A line that may be shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clipped {
    /// The line with a mark where bytes are missing.
    pub(super) text: String,
    /// Bytes that are missing.
    pub(super) missing: usize,
    /// The longest stretch of the line that is shown without a gap and has its most telling part.
    pub(super) stretch: Range<usize>,
}

/// A line in about `max` bytes: its beginning, and what surrounds its telling parts. A line without such parts is shown from both
/// ends.
pub(super) fn clip(line: &str, max: usize) -> Clipped {
    if line.len() <= max {
        return Clipped { text: line.to_owned(), missing: 0, stretch: 0..line.len() };
    }
    let parts = disjoint(severity::telling_parts(line, PARTS_MAX));
    let head = max / HEAD_DIVISOR;
    let each = (max - head) / parts.len().max(1);
    let around = |part: &Range<usize>| {
        let before = each.saturating_sub(part.len()) / BEFORE_DIVISOR;
        let end = (part.start.saturating_sub(before) + each).min(line.len());
        end.saturating_sub(each)..end
    };
    let mut windows: Vec<Range<usize>> = parts.iter().map(around).collect();
    if parts.is_empty() {
        windows.push(line.len() - each..line.len());
    }
    windows.push(0..head);
    let mut windows = joined(line, windows);
    let telling = parts.first().map_or(0, |part| part.start);
    // Where windows overlap, bytes are left for what follows the first part.
    let shown: usize = windows.iter().map(ExactSizeIterator::len).sum();
    if let Some(window) = windows.iter_mut().find(|window| window.contains(&telling)) {
        window.end += max.saturating_sub(shown);
    }
    let windows = joined(line, windows);
    let stretch = windows.iter().find(|window| window.contains(&telling)).cloned().unwrap_or(0..0);
    let shown: usize = windows.iter().map(ExactSizeIterator::len).sum();
    let mut text = String::with_capacity(max + 64);
    let mut next = 0;
    for window in windows {
        text.push_str(&gap(window.start - next));
        text.push_str(&line[window.clone()]);
        next = window.end;
    }
    text.push_str(&gap(line.len() - next));
    Clipped { text, missing: line.len() - shown, stretch }
}

fn gap(bytes: usize) -> String {
    if bytes == 0 { String::new() } else { format!(" …({bytes} bytes)… ") }
}

/// Parts in order, of those that overlap one.
fn disjoint(parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for part in parts {
        match all.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => all.push(part),
        }
    }
    all
}

/// Windows at boundaries of characters, in order and without overlaps.
fn joined(line: &str, mut windows: Vec<Range<usize>>) -> Vec<Range<usize>> {
    windows.sort_by_key(|window| window.start);
    let mut all: Vec<Range<usize>> = Vec::new();
    for window in windows {
        let window = boundary(line, window.start)..boundary(line, window.end);
        match all.last_mut() {
            // A gap that is shorter than its mark is shown.
            Some(last) if window.start <= last.end + 16 => last.end = last.end.max(window.end),
            _ => all.push(window),
        }
    }
    all
}

/// A boundary of a character at or before this byte.
fn boundary(line: &str, at: usize) -> usize {
    let mut at = at.min(line.len());
    while !line.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_in_the_middle_of_ten_megabytes_is_shown() {
        let line = format!(
            "start {} error TS2304: Cannot find name 'walrus'. {} end",
            "ab ".repeat(1 << 20),
            "cd ".repeat(1 << 20)
        );
        let clipped = clip(&line, 240);
        assert!(clipped.text.contains("error TS2304: Cannot find name 'walrus'."), "{}", clipped.text);
        assert!(clipped.text.starts_with("start ab") && clipped.text.len() < 400, "{}", clipped.text);
        assert!(line[clipped.stretch].contains("TS2304"));
    }

    #[test]
    fn a_line_without_telling_parts_is_shown_from_both_ends() {
        let line = format!("start {} end", "ab ".repeat(1000));
        let clipped = clip(&line, 90);
        assert!(clipped.text.starts_with("start ab") && clipped.text.ends_with("ab  end"), "{}", clipped.text);
        assert_eq!(clip("short", 90).missing, 0);
    }

    proptest! {
        #[test]
        fn what_is_missing_is_counted(line in "(\\PC{0,40}|error: x){0,20}", max in 30_usize..300) {
            let clipped = clip(&line, max);
            prop_assert!(clipped.text.len() <= max + 200 || clipped.missing == 0);
            prop_assert!(line.get(clipped.stretch.clone()).is_some_and(|stretch| clipped.text.contains(stretch)));
            prop_assert_eq!(clipped.missing == 0, clipped.text == line);
        }
    }
}
