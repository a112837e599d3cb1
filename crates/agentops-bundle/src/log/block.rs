//! Lines that belong together: a stack trace below its error, a failing test's message, a compiler's explanation. They
//! are shown as one, with what is long and says little folded.

use std::ops::Range;

use super::clean;
use super::header::Header;
use super::words;

/// Lines that are looked at after the first.
const LOOKED_AT: usize = 120;
/// Lines that are shown after the first.
const SHOWN_MAX: usize = 14;
/// Frames of a trace that are shown: those nearest to the trouble.
const FRAMES_MAX: usize = 4;

/// What belongs to a line.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Where it stands in the source, the first line included.
    pub(super) bytes: Range<usize>,
    /// What is shown below the first line.
    pub(super) below: Vec<String>,
}

/// What belongs to the line that begins at `at`; nothing below it if it stands alone.
pub(super) fn below(source: &[u8], at: usize, header: &Header) -> Block {
    let mut scratch = Vec::new();
    let first = header.strip(clean::line(clean::line_at(source, at), &mut scratch));
    let mut next = at + clean::line_at(source, at).len() + 1;
    let mut lines: Vec<String> = Vec::new();
    let mut end = next;
    let mut blanks = 0;
    let is_section = words::begins_section(&first);
    let mut in_trace = first.starts_with("Traceback");
    while lines.len() < LOOKED_AT && next < source.len() {
        let raw = clean::line_at(source, next);
        let cleaned = clean::line(raw, &mut scratch);
        let stripped = header.strip(cleaned);
        // A line with a header of its own is an event of its own.
        let is_own = !header.is_empty() && stripped.len() < cleaned.len();
        next += raw.len() + 1;
        if stripped.is_empty() {
            blanks += 1;
            if !is_section || blanks > 2 {
                break;
            }
            continue;
        }
        let is_frame = words::is_frame(&stripped);
        let is_deeper = indent(&stripped) > indent(&first);
        let closes_trace = in_trace && !is_deeper && !is_frame && !is_own;
        let is_cause = stripped.starts_with("Caused by");
        let begins_trace = stripped.trim_start().starts_with("Traceback");
        in_trace = (in_trace || begins_trace) && !closes_trace;
        let continues = is_deeper || is_frame || is_cause || begins_trace || closes_trace;
        let belongs = continues || (is_section && !ends_section(&stripped));
        if is_own || !belongs {
            break;
        }
        if blanks > 0 && !is_deeper && !words::is_telling(&stripped) && !is_section {
            break;
        }
        blanks = 0;
        lines.push(stripped);
        end = next;
        if closes_trace {
            break;
        }
    }
    Block { bytes: at..end.min(source.len()), below: fold(&lines) }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a line is the beginning of the next section or of the summary.
fn ends_section(line: &str) -> bool {
    let line = line.trim_end();
    let is_rule = line.len() > 3 && line.starts_with("===");
    let is_panic = line.starts_with("thread '");
    is_rule
        || line.starts_with("failures:")
        || line.starts_with("test result:")
        || line.starts_with("error: ")
        || (words::begins_section(line) && !is_panic && !line.starts_with("Traceback"))
        || words::is_passing_test(line)
}

/// The lines that say most, in their order, with how many were left out between them.
fn fold(lines: &[String]) -> Vec<String> {
    let any_own =
        lines.iter().any(|line| words::is_telling(line) || (words::is_frame(line) && !words::is_library_frame(line)));
    let (mut frames, mut own) = (0, 0);
    let mut rank: Vec<(u8, usize)> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let is_last = index + 1 == lines.len();
            let rank = if words::is_frame(line) {
                frames += 1;
                if any_own && words::is_library_frame(line) {
                    4
                } else {
                    own += 1;
                    if own <= FRAMES_MAX { 1 } else { 4 }
                }
            } else if words::is_telling(line) || line.starts_with("Caused by") || (is_last && frames > 0) {
                0
            } else if index < 3 {
                2
            } else {
                3
            };
            (rank, index)
        })
        .collect();
    rank.sort_unstable();
    let mut kept: Vec<usize> = rank.iter().filter(|(rank, _)| *rank < 4).take(SHOWN_MAX).map(|(_, index)| *index).collect();
    kept.sort_unstable();
    let mut shown = Vec::new();
    let mut next = 0;
    for index in kept {
        skipped(&mut shown, index - next);
        shown.push(format!("  {}", lines[index].trim_end()));
        next = index + 1;
    }
    skipped(&mut shown, lines.len() - next);
    shown
}

fn skipped(shown: &mut Vec<String>, lines: usize) {
    if lines > 0 {
        shown.push(format!("  … {lines} lines"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        below(text.as_bytes(), 0, &Header::default()).below
    }

    #[test]
    fn a_trace_is_folded_and_keeps_its_causes() {
        let frames: String = (0..20).map(|n| format!("\tat org.x.Y.m{n}(Y.java:{n})\n")).collect();
        let text = format!("java.io.IOException: disk\n{frames}Caused by: java.lang.Error: why\n{frames}next event\n");
        let shown = shown(&text);
        assert_eq!(shown.iter().filter(|line| line.contains("at org.x")).count(), 4, "{shown:?}");
        assert!(shown.iter().any(|line| line.contains("Caused by: java.lang.Error: why")));
        assert!(!shown.iter().any(|line| line.contains("next event")));
    }

    #[test]
    fn a_python_trace_ends_with_its_error() {
        let text = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nValueError: bad\nmore\n";
        assert_eq!(shown(text), ["    File \"a.py\", line 3, in f", "      g()", "  ValueError: bad"]);
    }

    #[test]
    fn a_failing_test_keeps_what_it_said() {
        let text = "---- a::b stdout ----\n\nthread 'a::b' (7) panicked at src/a.rs:3:5:\nassertion `left == right` failed\n  \
                    left: 1\n right: 2\nnote: run with `RUST_BACKTRACE=1`\n\n---- a::c stdout ----\nx\n";
        let shown = shown(text).join("\n");
        assert!(shown.contains("left: 1") && shown.contains("right: 2") && !shown.contains("a::c"), "{shown}");
    }

    #[test]
    fn a_line_alone_has_nothing_below() {
        assert_eq!(shown("error: x\n"), [""; 0]);
        assert_eq!(shown("plain\nother\n"), [""; 0]);
    }
}
