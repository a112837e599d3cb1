//! Lines out of bytes, in bounded memory whatever the program prints.

use std::collections::VecDeque;

/// What is kept of output that is not relayed.
const TAIL_BYTES: usize = 4096;

/// Splits a stream into lines. A line that is too long keeps its head and its tail; after the stream's limit nothing is
/// relayed and only the last bytes are kept.
#[derive(Debug)]
pub(super) struct Lines {
    half: usize,
    left: u64,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    tail_max: usize,
    line_cut: u64,
    full: bool,
    open: bool,
    /// Bytes that came.
    pub(super) bytes: u64,
    /// Bytes of them that were not relayed.
    pub(super) cut: u64,
}

impl Lines {
    pub(super) fn new(line_bytes_max: u64, output_bytes_max: u64) -> Self {
        let line_max = usize::try_from(line_bytes_max).unwrap_or(usize::MAX).clamp(64, 64 << 20);
        let half = line_max / 2;
        Self {
            half,
            left: output_bytes_max,
            head: Vec::new(),
            tail: VecDeque::new(),
            tail_max: half,
            line_cut: 0,
            full: false,
            open: false,
            bytes: 0,
            cut: 0,
        }
    }

    /// Nothing more is relayed.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Takes bytes; gives whole lines to `relay`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], relay: &mut impl FnMut(String)) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() && !self.full {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = match newline {
                Some(at) => (&bytes[..at], &bytes[at + 1..]),
                None => (bytes, &bytes[bytes.len()..]),
            };
            self.open = true;
            self.take(part);
            if newline.is_some() {
                self.end_line(relay);
            }
            bytes = rest;
        }
        if self.full {
            self.cut += bytes.len() as u64;
            self.keep_tail(bytes);
        }
    }

    /// The stream has ended: a last line without a newline is a line.
    pub(super) fn finish(&mut self, relay: &mut impl FnMut(String)) {
        if self.open && !self.full {
            self.end_line(relay);
        }
    }

    /// The last bytes, when they were not relayed.
    pub(super) fn unrelayed_tail(&mut self) -> String {
        if self.full { String::from_utf8_lossy(self.tail.make_contiguous()).into_owned() } else { String::new() }
    }

    fn take(&mut self, part: &[u8]) {
        let room = self.half.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(&part[..room]);
        self.keep_tail(&part[room..]);
    }

    fn keep_tail(&mut self, part: &[u8]) {
        let fresh = &part[part.len().saturating_sub(self.tail_max)..];
        let drop = (self.tail.len() + fresh.len()).saturating_sub(self.tail_max).min(self.tail.len());
        self.tail.drain(..drop);
        self.tail.extend(fresh);
        if !self.full {
            self.line_cut += (drop + part.len() - fresh.len()) as u64;
        }
    }

    fn end_line(&mut self, relay: &mut impl FnMut(String)) {
        let size = (self.head.len() + self.tail.len()) as u64;
        // An empty line costs something too, or endless ones would be free.
        let cost = size.max(1);
        self.cut += self.line_cut;
        if cost > self.left {
            // Nothing more goes out: what this line had becomes the beginning of the tail.
            self.full = true;
            self.cut += size;
            let head = std::mem::take(&mut self.head);
            let line_tail = std::mem::take(&mut self.tail);
            self.tail_max = TAIL_BYTES;
            self.keep_tail(&head);
            self.keep_tail(&Vec::from(line_tail));
            self.tail.shrink_to(TAIL_BYTES);
            return;
        }
        self.left -= cost;
        let mut line = String::new();
        if self.line_cut > 0 {
            line.push_str(&String::from_utf8_lossy(&self.head));
            line.push_str(&format!("…[{} bytes cut]…", self.line_cut));
            line.push_str(&String::from_utf8_lossy(self.tail.make_contiguous()));
        } else {
            self.head.extend(self.tail.drain(..));
            line.push_str(&String::from_utf8_lossy(&self.head));
        }
        self.head = Vec::new();
        self.tail = VecDeque::new();
        self.line_cut = 0;
        self.open = false;
        relay(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(line_max: u64, total: u64, chunks: &[&[u8]]) -> (Vec<String>, Lines) {
        let (mut lines, mut out) = (Lines::new(line_max, total), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, &mut |line| out.push(line));
        }
        lines.finish(&mut |line| out.push(line));
        (out, lines)
    }

    #[test]
    fn lines_are_put_together_over_chunks_and_the_last_needs_no_newline() {
        let (out, lines) = run(100, 1000, &[b"a", b"b\n\nc", b"d"]);
        assert_eq!(out, ["ab", "", "cd"]);
        assert_eq!((lines.bytes, lines.cut), (6, 0));
    }

    #[test]
    fn a_long_line_keeps_head_and_tail_and_says_what_was_cut() {
        let long = [vec![b'a'; 100], vec![b'b'; 100]].concat();
        let (out, lines) = run(64, 1000, &[&long, b"\nnext\n"]);
        assert_eq!(out, [format!("{}…[136 bytes cut]…{}", "a".repeat(32), "b".repeat(32)), "next".to_owned()]);
        assert_eq!(lines.cut, 136);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_even_when_a_character_lies_across_its_middle() {
        let line = "é".repeat(32);
        let (out, _) = run(65, 1000, &[line.as_bytes()]);
        assert_eq!(out, [line]);
    }

    #[test]
    fn after_the_limit_only_the_tail_is_kept() {
        let (out, mut lines) = run(64, 10, &[b"12345\n", b"678901\n", b"the end\n"]);
        assert_eq!(out, ["12345"]);
        assert!(lines.is_full());
        assert_eq!(lines.unrelayed_tail(), "678901the end\n");
    }

    #[test]
    fn empty_lines_are_not_free() {
        let (out, lines) = run(64, 2, &[b"\n\n\n\n"]);
        assert_eq!(out, ["", ""]);
        assert!(lines.is_full());
    }

    proptest! {
        #[test]
        fn p4_memory_is_bounded_and_every_byte_is_accounted_for(
            chunks in prop::collection::vec(
                prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..300), 0..30),
            line_max in 64u64..200,
            total in 0u64..2000,
        ) {
            let (mut lines, mut out) = (Lines::new(line_max, total), Vec::new());
            for chunk in &chunks {
                lines.feed(chunk, &mut |line: String| out.push(line));
                prop_assert!(lines.head.len() + lines.tail.len() <= (line_max as usize).max(TAIL_BYTES));
            }
            lines.finish(&mut |line| out.push(line));
            let all: usize = chunks.iter().map(Vec::len).sum();
            prop_assert_eq!(lines.bytes, all as u64);
            if lines.cut == 0 && !lines.is_full() {
                let joined: Vec<u8> = chunks.concat();
                let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
                let mut expected: Vec<String> = joined.split(|b| *b == b'\n').map(text).collect();
                if joined.ends_with(b"\n") || joined.is_empty() {
                    expected.pop();
                }
                prop_assert_eq!(out, expected);
            } else {
                prop_assert!(lines.cut <= all as u64);
            }
        }
    }
}
