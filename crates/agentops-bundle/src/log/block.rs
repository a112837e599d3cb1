//! Lines that belong together: a stack trace below its error, a failing test's message, a compiler's explanation. They
//! are shown as one, with what is long and says little folded.

use std::ops::Range;

use super::header::Header;
use super::severity::{self, Severity};
use super::{clean, clip, words};

/// Lines that are looked at after the first.
const LOOKED_AT: usize = 120;
/// Lines that are shown after the first.
const SHOWN_MAX: usize = 14;
/// Frames of a trace that are shown: those nearest to the trouble.
const FRAMES_MAX: usize = 4;

/// Lines below an error that say what was wrong.
const TELLING_MAX: usize = 5;
/// Bytes of a line that are shown.
const LINE_BYTES: usize = 300;

/// A line within a block.
#[derive(Debug)]
pub(super) struct BlockLine {
    /// The byte in the source at which it begins.
    pub(super) at: usize,
    /// Its text without the header.
    text: String,
}

/// What belongs to a line.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Where it stands in the source, the first line included.
    pub(super) bytes: Range<usize>,
    /// The lines below the first one.
    pub(super) lines: Vec<BlockLine>,
    /// Which of them say what was wrong.
    pub(super) telling: Vec<usize>,
    /// Which of them are worth showing, the telling ones included.
    pub(super) worth_showing: Vec<usize>,
}

impl Block {
    /// Some of the lines in their order, with the number of those between them.
    pub(super) fn text(&self, indexes: &[usize]) -> String {
        let mut shown = Vec::new();
        let mut next = 0;
        for index in indexes {
            skipped(&mut shown, index - next);
            shown.push(format!("  {}", clip::clip(self.lines[*index].text.trim_end(), LINE_BYTES).text));
            next = index + 1;
        }
        skipped(&mut shown, self.lines.len() - next);
        shown.join("\n")
    }

    /// Whether a line is shown in full.
    pub(super) fn is_shown_whole(&self, index: usize) -> bool {
        self.lines[index].text.trim_end().len() <= LINE_BYTES
    }
}

/// What belongs to the line that begins at `at`; nothing below it if it stands alone.
pub(super) fn below(source: &[u8], at: usize, header: &Header) -> Block {
    let mut scratch = Vec::new();
    let first_line = clean::line_at(source, at);
    let first = header.strip(clean::line(first_line, &mut scratch));
    let mut next = clean::after_end(source, at + first_line.len()).0;
    let mut lines: Vec<BlockLine> = Vec::new();
    let mut end = next;
    let mut blanks = 0;
    let is_section = words::begins_section(&first);
    let mut in_trace = first.starts_with("Traceback");
    while lines.len() < LOOKED_AT && next < source.len() {
        let start = next;
        let raw = clean::line_at(source, start);
        let cleaned = clean::line(raw, &mut scratch);
        let stripped = header.strip(cleaned);
        // A line with a header of its own is an event of its own.
        let is_own = !header.is_empty() && stripped.len() < cleaned.len();
        next = clean::after_end(source, start + raw.len()).0;
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
        lines.push(BlockLine { at: start, text: stripped });
        end = next;
        if closes_trace {
            break;
        }
    }
    let (telling, worth_showing) = fold(&lines);
    Block { bytes: at..end.min(source.len()), lines, telling, worth_showing }
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

/// The lines that say what was wrong, and those that are worth showing, each in their order.
fn fold(lines: &[BlockLine]) -> (Vec<usize>, Vec<usize>) {
    let is_own = |line: &str| words::is_frame(line) && !words::is_library_frame(line);
    let any_own = lines.iter().any(|line| words::is_telling(&line.text) || is_own(&line.text));
    let (mut frames, mut own) = (0, 0);
    let mut first_frame = None;
    let mut rank: Vec<(u8, usize)> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let line = line.text.as_str();
        let is_last = index + 1 == lines.len();
        let is_telling = || {
            words::is_telling(line)
                || line.starts_with("Caused by")
                || (is_last && frames > 0)
                || severity::of(line) == Severity::Error
        };
        let value = if words::is_frame(line) {
            frames += 1;
            if any_own && words::is_library_frame(line) {
                4
            } else {
                own += 1;
                first_frame = first_frame.or(Some(index));
                if own <= FRAMES_MAX { 1 } else { 4 }
            }
        } else if is_telling() {
            0
        } else if index < 3 {
            2
        } else {
            3
        };
        rank.push((value, index));
    }
    rank.sort_unstable();
    let best = rank.iter().filter(|(rank, _)| *rank < 4).take(SHOWN_MAX);
    let mut worth_showing: Vec<usize> = best.map(|(_, index)| *index).collect();
    // The first frame says where.
    let telling = rank.iter().filter(|(rank, _)| *rank == 0).map(|(_, index)| *index);
    let mut telling: Vec<usize> = telling.take(TELLING_MAX).chain(first_frame).collect();
    telling.sort_unstable();
    worth_showing.extend(&telling);
    worth_showing.sort_unstable();
    worth_showing.dedup();
    (telling, worth_showing)
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
        let block = below(text.as_bytes(), 0, &Header::default());
        block.text(&block.worth_showing).lines().map(str::to_owned).collect()
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
