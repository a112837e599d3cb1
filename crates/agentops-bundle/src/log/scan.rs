//! One pass over a log: which kinds of lines there are, how often, and where the first ones stand.
//!
//! Two lines are of one kind if they are the same after what differs from line to line is masked: words with a digit in
//! them, long runs of hexadecimal letters, and what only joins such words (`10.0.0.1`, `12:30:01`, `a1-b2`). A kind is
//! known by a hash, so the memory grows with the number of kinds and not with the log, and that number has a limit. Numbers
//! that say how something ended, such as exit codes, are not masked but classed. The
//! log is cut into chunks of a fixed size that threads take in turn; tables are merged in the order of the chunks, so the
//! result does not depend on how many threads there are.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::clean;
use super::header::Header;
use super::severity::{self, Severity};

/// Work is handed out in pieces of about this size; fixed, so that limits hit at the same place on every machine.
const CHUNK_BYTES: usize = 4 << 20;
/// Threads beyond this add little: the pass is bound by memory.
const THREADS_MAX: usize = 8;
/// With more kinds than this, further lines are told apart by their first words and their number of words only.
const KINDS_MAX: usize = 1 << 16;
/// Kinds beyond [`KINDS_MAX`] that report an error and are told apart all the same.
const ERRORS_MAX: usize = 1 << 13;
/// With more kinds than this, lines are not told apart at all.
const COARSE_MAX: usize = KINDS_MAX + ERRORS_MAX + (1 << 14);

/// A kind of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    hash: u64,
    /// How often it came.
    pub(super) count: u64,
    /// Number of the first line of the kind, from 1.
    pub(super) first: u64,
    /// Where that line begins in the source, in bytes.
    pub(super) at: usize,
    /// Number and beginning of the second one.
    pub(super) second: Option<(u64, usize)>,
    /// Number and beginning of the last one.
    pub(super) last: u64,
    pub(super) last_at: usize,
}

/// All kinds of a log, in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) kinds: Vec<Kind>,
    index: HashMap<u64, u32, BuildHasherDefault<Already>>,
    /// Lines, empty ones included.
    pub(super) lines: u64,
    /// Whether there were more kinds than are told apart.
    pub(super) crowded: bool,
    /// Kinds that were told apart although there were too many.
    errors: usize,
}

/// The keys are hashes.
#[derive(Debug, Default, Clone, Copy)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0, u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Reads the whole log.
pub(super) fn scan(source: &[u8], header: &Header) -> Kinds {
    let chunks = chunks(source);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(chunks.len());
    if threads < 2 {
        let mut all = Kinds::default();
        for (at, chunk) in &chunks {
            all.append(scan_chunk(chunk, *at, header), source, header);
        }
        return all;
    }
    let next = AtomicUsize::new(0);
    let merged = Mutex::new(Merged::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let mine = next.fetch_add(1, Ordering::Relaxed);
                    let Some((at, chunk)) = chunks.get(mine) else { break };
                    let part = scan_chunk(chunk, *at, header);
                    merged.lock().unwrap_or_else(PoisonError::into_inner).put(mine, part, source, header);
                }
            });
        }
    });
    merged.into_inner().unwrap_or_else(PoisonError::into_inner).all
}

/// Tables are merged in the order of their chunks; one that is early waits.
#[derive(Default)]
struct Merged {
    all: Kinds,
    next: usize,
    early: HashMap<usize, Kinds>,
}

impl Merged {
    fn put(&mut self, number: usize, part: Kinds, source: &[u8], header: &Header) {
        self.early.insert(number, part);
        while let Some(part) = self.early.remove(&self.next) {
            self.all.append(part, source, header);
            self.next += 1;
        }
    }
}

/// Cuts a log after a line's end into pieces of at least [`CHUNK_BYTES`], with where each begins.
fn chunks(source: &[u8]) -> Vec<(usize, &[u8])> {
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < source.len() {
        let wanted = start.saturating_add(CHUNK_BYTES).min(source.len());
        let end = memchr::memchr(b'\n', &source[wanted..]).map_or(source.len(), |found| wanted + found + 1);
        chunks.push((start, &source[start..end]));
        start = end;
    }
    chunks
}

fn scan_chunk(chunk: &[u8], start: usize, header: &Header) -> Kinds {
    let mut kinds = Kinds::default();
    let mut scratch = Vec::new();
    let mut at = 0;
    let mut is_fed = true;
    while at < chunk.len() {
        let end = memchr::memchr2(b'\n', b'\r', &chunk[at..]).map_or(chunk.len(), |found| at + found);
        kinds.lines += u64::from(is_fed);
        let line = clean::line(&chunk[at..end], &mut scratch);
        if !line.is_empty() {
            kinds.add(line, start + at, header);
        }
        (at, is_fed) = clean::after_end(chunk, end);
    }
    kinds
}

impl Kinds {
    fn add(&mut self, line: &[u8], at: usize, header: &Header) {
        let hash = kind_of(line, header);
        let new = Kind { hash, count: 1, first: self.lines, at, second: None, last: self.lines, last_at: at };
        self.put(new, line, header);
    }

    /// Adds what came once or more often under this hash, or under the coarse one where there are too many kinds.
    fn put(&mut self, mut new: Kind, line: &[u8], header: &Header) {
        if self.kinds.len() >= KINDS_MAX && !self.index.contains_key(&new.hash) {
            self.crowded = true;
            let is_error = severity::of(&String::from_utf8_lossy(line)) == Severity::Error;
            if is_error && self.errors < ERRORS_MAX {
                self.errors += 1;
            } else {
                new.hash = coarse(line, header, is_error);
            }
            if self.kinds.len() >= COARSE_MAX && !self.index.contains_key(&new.hash) {
                new.hash = u64::from(is_error);
            }
        }
        let next = self.kinds.len() as u32;
        let index = *self.index.entry(new.hash).or_insert(next);
        let Some(kind) = self.kinds.get_mut(index as usize) else {
            self.kinds.push(new);
            return;
        };
        kind.count += new.count;
        if kind.last == new.last && kind.first == new.first && kind.second.is_none() {
            // States of one progress line: the last one says how it went.
            kind.at = new.at;
        } else {
            kind.second = kind.second.or(Some((new.first, new.at)));
        }
        kind.last = new.last;
        kind.last_at = new.last_at;
    }

    /// The kind with this hash.
    pub(super) fn index_of(&self, hash: u64) -> Option<usize> {
        self.index.get(&hash).map(|index| *index as usize)
    }

    /// Adds what was found in the next chunk.
    fn append(&mut self, part: Kinds, source: &[u8], header: &Header) {
        let before = self.lines;
        self.crowded |= part.crowded;
        let mut scratch = Vec::new();
        for mut kind in part.kinds {
            kind.first += before;
            kind.last += before;
            if let Some((line, _)) = &mut kind.second {
                *line += before;
            }
            let line = clean::line(clean::line_at(source, kind.at), &mut scratch);
            self.put(kind, line, header);
        }
        self.lines += part.lines;
    }
}

/// The hash of a line's kind.
pub(super) fn kind_of(line: &[u8], header: &Header) -> u64 {
    let mut hash = SEED;
    header.each_part(line, |part| hash = masked(hash, part));
    hash
}

/// Fewer kinds: the first two words, and how many blanks there are.
fn coarse(line: &[u8], header: &Header, is_error: bool) -> u64 {
    let mut hash = mix(!SEED, u64::from(is_error));
    header.each_part(line, |part| {
        let words = part.iter().filter(|byte| **byte == b' ').count();
        let end = part.iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(1).map_or(part.len(), |(at, _)| at);
        hash = mix(masked(hash, &part[..end]), words as u64);
    });
    hash
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MASK: u64 = 0x5bd1_e995_0000_002a;

/// One step of a hash: the multiplication of FNV-1a with a wider shift, so that the upper bits reach the lower ones.
pub(super) fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x2545_f491_4f6c_dd1d);
    hash ^ (hash >> 29)
}

/// A name with a number of at most so many digits keeps its letters.
const NUMBER_MAX: u32 = 2;

const WORD: u8 = 1;
const DIGIT: u8 = 2;
const NOT_HEX: u8 = 4;
const BLANK: u8 = 8;
const JOINS: u8 = 16;

/// What each byte is for the mask.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        class[byte] = match b {
            b'0'..=b'9' => WORD | DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => WORD,
            b'g'..=b'z' | b'G'..=b'Z' | b'_' | 0x80.. => WORD | NOT_HEX,
            b' ' | b'\t' => BLANK,
            b'.' | b':' | b'-' | b'/' | b',' | b'+' | b'*' | b'~' => JOINS,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// Whether a word differs from line to line: it has a digit, or is a long hexadecimal number that happens to have none.
pub(super) fn is_variable(word: &[u8]) -> bool {
    let (mut seen, mut len) = (0, 0);
    for byte in word {
        seen |= CLASS[usize::from(*byte)];
        len += 1;
    }
    seen & DIGIT != 0 || (seen & NOT_HEX == 0 && len >= 8)
}

/// Whether a byte is part of a word, as the mask sees it.
pub(super) fn is_word(byte: u8) -> bool {
    CLASS[usize::from(byte)] & WORD != 0
}

/// Goes on with a hash over a text, with what is variable masked.
fn masked(mut hash: u64, text: &[u8]) -> u64 {
    let mut at = 0;
    let mut after_mask = false;
    // The last word that was not masked, if a number after it tells how something ended.
    let mut outcome = Outcome::None;
    // A byte that joins two masked words, if another one follows.
    let mut joint = 0;
    while at < text.len() {
        let class = CLASS[usize::from(text[at])];
        if class & WORD != 0 {
            let (mut word, mut seen, mut letters, mut digits, mut mixed) = (SEED, 0, SEED, 0, false);
            let start = at;
            while at < text.len() {
                let class = CLASS[usize::from(text[at])];
                if class & WORD == 0 {
                    break;
                }
                if class & DIGIT != 0 {
                    letters = if digits == 0 { word } else { letters };
                    digits += 1;
                } else {
                    mixed |= digits > 0;
                }
                seen |= class;
                word = (word ^ u64::from(text[at])).wrapping_mul(0x0000_0100_0000_01b3);
                at += 1;
            }
            let is_named = !mixed && (1..=NUMBER_MAX).contains(&digits) && seen & NOT_HEX != 0;
            if is_named {
                // `en0` and `en1` are of one kind, `en0` and `awdl0` are not.
                word = letters ^ MASK;
            } else if digits > 0 || (seen & NOT_HEX == 0 && at - start >= 8) {
                if !after_mask {
                    hash = mix(hash, MASK);
                }
                if outcome != Outcome::None || is_http_error(text, start, at) {
                    hash = mix(hash, outcome_class(&text[start..at], outcome));
                    outcome = Outcome::None;
                }
                after_mask = true;
                joint = 0;
                continue;
            }
            outcome = OUTCOMES[(word & OUTCOMES_MASK) as usize];
            if joint != 0 {
                hash = mix(hash, joint);
            }
            hash = mix(hash, word);
        } else {
            if after_mask && joint == 0 && class & JOINS != 0 {
                joint = u64::from(text[at]);
                at += 1;
                continue;
            }
            if joint != 0 {
                hash = mix(hash, joint);
            }
            // How many blanks there are is a matter of columns.
            hash = mix(hash, if class & BLANK != 0 { u64::from(b' ') } else { u64::from(text[at]) });
            at += 1;
            if class & BLANK != 0 {
                while at < text.len() && CLASS[usize::from(text[at])] & BLANK != 0 {
                    at += 1;
                }
            }
        }
        after_mask = false;
        joint = 0;
    }
    hash
}

/// Whether the number after a word tells how something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    None,
    /// A number of few classes.
    Class,
    /// A code of up to five digits, which is told apart as it is.
    Code,
}

const OUTCOMES_MASK: u64 = 4095;

/// By the lower bits of a word's hash. A word that falls on another one's bits only makes a kind finer.
static OUTCOMES: [Outcome; OUTCOMES_MASK as usize + 1] = {
    let mut table = [Outcome::None; OUTCOMES_MASK as usize + 1];
    let classes: [&[u8]; 17] = [
        b"code",
        b"Code",
        b"exit",
        b"exited",
        b"status",
        b"Status",
        b"value",
        b"returned",
        b"rc",
        b"signal",
        b"level",
        b"severity",
        b"severityNumber",
        b"statusCode",
        b"exitCode",
        b"status_code",
        b"exit_code",
    ];
    let codes: [&[u8]; 8] = [b"error", b"Error", b"ERROR", b"errno", b"returning", b"errorCode", b"error_code", b"PRIORITY"];
    let mut at = 0;
    while at < classes.len() {
        table[(word_hash(classes[at]) & OUTCOMES_MASK) as usize] = Outcome::Class;
        at += 1;
    }
    at = 0;
    while at < codes.len() {
        table[(word_hash(codes[at]) & OUTCOMES_MASK) as usize] = Outcome::Code;
        at += 1;
    }
    table
};

/// The hash of a word, as [`masked`] computes it.
const fn word_hash(word: &[u8]) -> u64 {
    let (mut hash, mut at) = (SEED, 0);
    while at < word.len() {
        hash = (hash ^ word[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Whether a number is the status of a request that failed, in the common log format: `"GET / HTTP/1.1" 503 12`.
fn is_http_error(text: &[u8], start: usize, end: usize) -> bool {
    end - start == 3 && matches!(text[start], b'4' | b'5') && start >= 2 && text[start - 2..start] == *b"\" "
}

/// A number that tells how something ended, as one of few classes.
fn outcome_class(number: &[u8], outcome: Outcome) -> u64 {
    let hex = number.strip_prefix(b"0x");
    if hex.unwrap_or(number).iter().all(|byte| *byte == b'0') {
        return 1;
    }
    if hex.is_some() || number.len() > 5 || !number.iter().all(u8::is_ascii_digit) {
        return 2;
    }
    let value = number.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    match number.len() {
        _ if outcome == Outcome::Code => 1000 + value,
        1 => 10 + value,
        2 => 20 + value / 10,
        3 => 30 + value / 100,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: &str, b: &str) -> bool {
        kind_of(a.as_bytes(), &Header::default()) == kind_of(b.as_bytes(), &Header::default())
    }

    #[test]
    fn what_differs_from_line_to_line_is_masked() {
        assert!(same("took 12 ms at 10.0.0.1", "took 9 ms at 192.168.17.2:80"));
        assert!(same("id 0x1f", "id 0xdeadbeef"));
        assert!(same("commit deadbeefcafe", "commit 0123456789ab"));
        assert!(same("a  b", "a b"));
        assert!(same("link up on en0", "link up on en1") && !same("link up on en0", "link up on awdl0"));
        assert!(!same("opened", "closed"));
        assert!(!same("face", "cafe"));
        assert!(!same("a.b", "a:b"));
    }

    #[test]
    fn numbers_that_say_how_something_ended_are_classed() {
        for (good, bad) in [
            ("Return value 1.", "Return value 3."),
            ("job exited with code 0", "job exited with code 137"),
            ("engine is returning 0", "engine is returning 1603"),
            ("\"GET /a HTTP/1.1\" 200 17", "\"GET /a HTTP/1.1\" 503 17"),
            ("{\"status\":204}", "{\"status\":500}"),
            ("{\"level\":30,\"v\":1}", "{\"level\":50,\"v\":1}"),
            ("HRESULT code 0x00000000", "HRESULT code 0x80070005"),
            ("error 1603 in a", "error 1402 in a"),
        ] {
            assert!(!same(good, bad), "{good} {bad}");
        }
        assert!(same("status: 201", "status: 204") && same("code 12345", "code 54321"));
        assert!(same("\"GET /a HTTP/1.1\" 200 500", "\"GET /a HTTP/1.1\" 200 412"));
    }

    #[test]
    fn states_of_a_progress_line_are_lines() {
        let kinds = scan(b"load 1 %\rload 50 %\rload 99 %\r\nend\r\n", &Header::default());
        assert_eq!((kinds.lines, kinds.kinds.len()), (2, 2));
        let load = &kinds.kinds[0];
        assert_eq!((load.count, load.first, load.last, load.at), (3, 1, 1, 19));
        assert_eq!(kinds.kinds[1].first, 2);
    }

    #[test]
    fn a_kind_knows_its_first_second_and_last_line() {
        let kinds = scan(b"x 1\ny\n\nx 2\nx 3\n", &Header::default());
        assert_eq!(kinds.lines, 5);
        let x = &kinds.kinds[0];
        assert_eq!((x.count, x.first, x.second, x.last), (3, 1, Some((4, 7)), 5));
        assert_eq!((kinds.kinds[1].count, kinds.kinds[1].first, kinds.kinds[1].at), (1, 2, 4));
    }

    #[test]
    fn chunks_make_no_difference() {
        let mut source = Vec::new();
        for line in 0..400_000 {
            source.extend_from_slice(format!("worker {line} says {}\n", ["ready", "busy", "done"][line % 3]).as_bytes());
        }
        assert!(source.len() > 2 * CHUNK_BYTES);
        let header = Header::default();
        let (whole, parts) = (scan_chunk(&source, 0, &header), scan(&source, &header));
        assert_eq!(whole.kinds, parts.kinds);
        assert_eq!(whole.lines, parts.lines);
    }

    #[test]
    fn kinds_without_end_take_memory_with_an_end() {
        let mut source = String::new();
        for a in 'a'..='z' {
            for b in 'a'..='z' {
                for c in 'a'..='z' {
                    for d in 'a'..='h' {
                        source.extend(['g', a, b, c, d, '\n']);
                    }
                }
            }
        }
        let kinds = scan(source.as_bytes(), &Header::default());
        assert!(kinds.crowded && kinds.kinds.len() <= COARSE_MAX + 2, "{}", kinds.kinds.len());
        assert_eq!(kinds.kinds.iter().map(|kind| kind.count).sum::<u64>(), kinds.lines);
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted(source in prop::collection::vec(any::<u8>(), 0..600)) {
            let kinds = scan(&source, &Header::learn(&source));
            let counted: u64 = kinds.kinds.iter().map(|kind| kind.count).sum();
            let returns = source.iter().filter(|byte| **byte == b'\r').count() as u64;
            prop_assert!(counted <= kinds.lines + returns);
            prop_assert!(kinds.kinds.iter().all(|kind| kind.at <= source.len() && kind.first <= kind.last));
        }
    }
}
