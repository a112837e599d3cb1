//! Which words of a task stand where in a text: one pass over the bytes, without building an index.
//!
//! Prose and code write the same name differently: `TrailingSlash`, `trailing_slash` and "trailing slash" are one name, and
//! "matching" is "match". So a run of letters, digits and `_` is cut into its parts, each part is known by its beginning (the
//! stem is always a prefix, so that no text is copied), and neighbouring parts also count together. Words are compared by a
//! 64-bit hash; two words that share one would only make a place seem a little more relevant.

/// The longest part of a name that is looked at, in bytes.
const PART_BYTES_MAX: usize = 48;
/// The most parts of one name that are looked at.
const PARTS_MAX: usize = 8;
/// The most terms that a task has. A text of more words says with its first ones what it is about.
pub const TERMS_MAX: usize = 160;
/// What a word counts that stands as the task has it.
pub const EXACT: u8 = 10;
/// What a word counts that has only its stem in common with the task's.
pub const STEM: u8 = 6;

const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// `BASE` to the power of the index.
const POWERS: [u64; PART_BYTES_MAX + 1] = {
    let mut powers = [1_u64; PART_BYTES_MAX + 1];
    let mut at = 1;
    while at <= PART_BYTES_MAX {
        powers[at] = powers[at - 1].wrapping_mul(BASE);
        at += 1;
    }
    powers
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    Newline,
    Lower,
    Upper,
    Digit,
    Underscore,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'\n' => Kind::Newline,
            b'a'..=b'z' | 0x80..=0xFF => Kind::Lower,
            b'A'..=b'Z' => Kind::Upper,
            b'0'..=b'9' => Kind::Digit,
            b'_' => Kind::Underscore,
            _ => Kind::Other,
        };
        byte += 1;
    }
    kinds
};

/// One word within a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// All of it, in lower case.
    pub exact: u64,
    /// Its stem.
    pub stem: u64,
    /// How many bytes the stem has.
    pub stem_len: usize,
    /// How many bytes it has, at most [`PART_BYTES_MAX`].
    pub len: usize,
    /// Where it begins in the text.
    pub at: usize,
}

/// A run of letters, digits and `_`, cut into words.
pub struct Name<'a> {
    /// Its words, at most [`PARTS_MAX`].
    pub parts: &'a [Part],
    /// Where it begins in the text.
    pub at: usize,
    /// Where it ends.
    pub end: usize,
}

impl Name<'_> {
    /// The key of two neighbouring words taken together.
    pub fn pair(&self, first: usize) -> u64 {
        join(self.parts[first].exact, &self.parts[first + 1])
    }

    /// The key of all its words taken together.
    pub fn whole(&self) -> u64 {
        let (last, before) = self.parts.split_last().expect("a name has a part");
        join(before.iter().fold(0, |key, part| append(key, part.exact, part.len)), last)
    }
}

fn append(key: u64, more: u64, len: usize) -> u64 {
    key.wrapping_mul(POWERS[len]).wrapping_add(more)
}

/// The key of some words and one more, of which only the stem counts.
pub fn join(before: u64, last: &Part) -> u64 {
    append(before, last.stem, last.stem_len)
}

/// Calls `name` for each name and `newline` for each line end, in order.
pub fn each_name(text: &[u8], mut name: impl FnMut(Name<'_>), mut newline: impl FnMut(usize)) {
    let mut parts = [Part::default(); PARTS_MAX];
    let mut prefixes = [0_u64; PART_BYTES_MAX + 1];
    let mut at = 0;
    while at < text.len() {
        match KINDS[usize::from(text[at])] {
            Kind::Other => at += 1,
            Kind::Newline => {
                newline(at);
                at += 1;
            }
            _ => {
                let start = at;
                let mut count = 0;
                loop {
                    while at < text.len() && text[at] == b'_' {
                        at += 1;
                    }
                    let part_start = at;
                    at = part_end(text, at);
                    if at == part_start {
                        break;
                    }
                    if count < PARTS_MAX {
                        parts[count] = part(&text[part_start..at], part_start, &mut prefixes);
                        count += 1;
                    }
                }
                if count > 0 {
                    name(Name { parts: &parts[..count], at: start, end: at });
                }
            }
        }
    }
}

/// Where the word that begins here ends: `HTTPServer` is `HTTP` and `Server`.
fn part_end(text: &[u8], start: usize) -> usize {
    let kind = |at: usize| text.get(at).map_or(Kind::Other, |byte| KINDS[usize::from(*byte)]);
    let mut at = start;
    let mut before = Kind::Other;
    loop {
        let here = kind(at);
        match here {
            Kind::Lower | Kind::Digit => {}
            Kind::Upper => {
                if before == Kind::Lower || before == Kind::Digit || (before == Kind::Upper && kind(at + 1) == Kind::Lower) {
                    return at;
                }
            }
            _ => return at,
        }
        before = here;
        at += 1;
    }
}

fn part(bytes: &[u8], at: usize, prefixes: &mut [u64; PART_BYTES_MAX + 1]) -> Part {
    let bytes = &bytes[..bytes.len().min(PART_BYTES_MAX)];
    let mut key = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        key = key.wrapping_mul(BASE).wrapping_add(u64::from(byte.to_ascii_lowercase()) + 1);
        prefixes[index + 1] = key;
    }
    let stem_len = stem(bytes);
    Part { exact: key, stem: prefixes[stem_len], stem_len, len: bytes.len(), at }
}

/// How many bytes of a word are its stem. English endings only, and never less than three bytes are left.
fn stem(word: &[u8]) -> usize {
    let mut len = word.len();
    if len < 4 || !word[len - 1].is_ascii_alphabetic() {
        return len;
    }
    let ends = |len: usize, end: &[u8]| len >= end.len() && word[len - end.len()..len].eq_ignore_ascii_case(end);
    if ends(len, b"ies") && len > 5 {
        return len - 3;
    }
    if ends(len, b"s") && !ends(len, b"ss") && !ends(len, b"us") && !ends(len, b"is") {
        len -= 1;
    }
    for end in [&b"ing"[..], b"ion", b"ed", b"er", b"or"] {
        if ends(len, end) && len - end.len() >= 4 {
            len -= end.len();
            break;
        }
        // `logger`, `stopped`, `mapping`: three letters are enough where the last is doubled.
        if ends(len, end) && len - end.len() == 3 {
            len -= end.len();
            break;
        }
    }
    if (len > 3 && ends(len, b"e")) || (len > 4 && ends(len, b"y")) {
        len -= 1;
    }
    // `deprecate`, `configuration`.
    if ends(len, b"at") && len >= 7 {
        len -= 2;
    }
    if len > 3 && word[len - 1].eq_ignore_ascii_case(&word[len - 2]) && !matches!(word[len - 1], b's' | b'S') {
        len -= 1;
    }
    len
}

/// The words that are looked for.
#[derive(Debug, Clone)]
pub struct Table {
    keys: Vec<u64>,
    /// Term and what it counts; beside `keys`, so that a miss touches one array.
    values: Vec<(u8, u8)>,
    mask: usize,
    /// A bit for each of some key bits: most words of a text are not looked for.
    sieve: [u64; 64],
}

impl Table {
    /// A table of keys with their term and what a hit counts; the first of several equal keys stays.
    pub fn new(entries: &[(u64, u8, u8)]) -> Self {
        let size = (entries.len() * 4).next_power_of_two().max(64);
        let mut table = Self { keys: vec![0; size], values: vec![(0, 0); size], mask: size - 1, sieve: [0; 64] };
        for (key, term, amount) in entries {
            let mut slot = table.slot(*key);
            while table.keys[slot] != 0 && table.keys[slot] != *key {
                slot = (slot + 1) & table.mask;
            }
            if table.keys[slot] == 0 {
                table.keys[slot] = *key;
                table.values[slot] = (*term, *amount);
                table.sieve[(*key >> 6) as usize & 63] |= 1 << (*key & 63);
            }
        }
        table
    }

    fn slot(&self, key: u64) -> usize {
        (key ^ (key >> 29)) as usize & self.mask
    }

    /// The term with this key, and what it counts.
    pub fn get(&self, key: u64) -> Option<(u8, u8)> {
        if self.sieve[(key >> 6) as usize & 63] & (1 << (key & 63)) == 0 {
            return None;
        }
        let mut slot = self.slot(key);
        while self.keys[slot] != 0 {
            if self.keys[slot] == key {
                return Some(self.values[slot]);
            }
            slot = (slot + 1) & self.mask;
        }
        None
    }

    /// Calls `hit` with the terms that a name holds, in one pass.
    pub fn hits(&self, name: &Name<'_>, mut hit: impl FnMut(u8, u8)) {
        for part in name.parts {
            if let Some((term, amount)) = self.get(part.exact).or_else(|| self.get(part.stem)) {
                hit(term, amount);
            }
        }
        for first in 1..name.parts.len() {
            if let Some((term, amount)) = self.get(name.pair(first - 1)) {
                hit(term, amount);
            }
        }
        if name.parts.len() > 2
            && let Some((term, amount)) = self.get(name.whole())
        {
            hit(term, amount);
        }
    }
}

/// One hit: which term on which line, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The line, from 0.
    pub line: u32,
    /// The term.
    pub term: u8,
    /// [`EXACT`] or [`STEM`].
    pub amount: u8,
}

/// What one pass over a text finds.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// The hits, by line.
    pub hits: Vec<Hit>,
    /// How many names the text has.
    pub names: u32,
    /// How many lines it has.
    pub lines: u32,
}

/// Finds the words of the table in a text.
pub fn count(text: &[u8], table: &Table) -> Counted {
    let mut hits = Vec::new();
    let mut names = 0;
    let line = std::cell::Cell::new(0_u32);
    each_name(
        text,
        |name| {
            names += 1;
            table.hits(&name, |term, amount| hits.push(Hit { line: line.get(), term, amount }));
        },
        |_| line.set(line.get() + 1),
    );
    let unended = u32::from(text.last().is_some_and(|byte| *byte != b'\n'));
    Counted { hits, names, lines: line.get() + unended }
}

/// The names of a text with its words, for what is short.
pub fn names(text: &str) -> Vec<(Vec<Part>, std::ops::Range<usize>)> {
    let mut names = Vec::new();
    each_name(text.as_bytes(), |name| names.push((name.parts.to_vec(), name.at..name.end)), |_| ());
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stem_of(word: &str) -> &str {
        &word[..stem(word.as_bytes())]
    }

    #[test]
    fn endings_do_not_tell_words_apart() {
        for group in [
            &["match", "matches", "matching", "matched", "matcher"][..],
            &["query", "queries"],
            &["route", "router", "routes", "routing"],
            &["log", "logger", "logging", "logs"],
            &["parse", "parser", "parsing"],
            &["file", "files"],
            &["deprecate", "deprecated", "deprecation"],
        ] {
            let stems: Vec<&str> = group.iter().map(|word| stem_of(word)).collect();
            assert!(stems.iter().all(|stem| *stem == stems[0]), "{group:?} {stems:?}");
        }
        assert_eq!((stem_of("class"), stem_of("status"), stem_of("use")), ("class", "status", "use"));
    }

    #[test]
    fn a_name_is_its_words_however_it_is_written() {
        let whole = |text: &str| {
            let mut keys = Vec::new();
            each_name(text.as_bytes(), |name| keys.push((name.parts.len(), name.whole())), |_| ());
            keys
        };
        assert_eq!(whole("TrailingSlash"), whole("trailing_slash"));
        assert_eq!(whole("redirectTrailingSlashes"), whole("__redirect_trailing_slash"));
        assert_eq!(whole("HTTPServer")[0].0, 2);
        assert_eq!(whole("utf8")[0].0, 1);
    }

    #[test]
    fn hits_know_their_line() {
        let parts = names("trailing slashes");
        let pair = join(parts[0].0[0].exact, &parts[1].0[0]);
        let table = Table::new(&[(pair, 0, EXACT), (parts[1].0[0].exact, 1, EXACT), (parts[1].0[0].stem, 1, STEM)]);
        let counted = count(b"x\nredirect_trailing_slash\nslashes", &table);
        let hits: Vec<_> = counted.hits.iter().map(|hit| (hit.line, hit.term, hit.amount)).collect();
        assert_eq!(hits, [(1, 1, STEM), (1, 0, EXACT), (2, 1, EXACT)]);
        assert_eq!((counted.names, counted.lines), (3, 3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_into_names(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut end = 0;
            each_name(&bytes, |name| {
                assert!(name.at >= end && name.end > name.at && name.end <= bytes.len());
                end = name.end;
            }, |_| ());
        }
    }
}
