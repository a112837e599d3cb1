//! A request as a sparse vector: its words, its words side by side and together, and the pieces its words are made of.
//!
//! Words, pairs and pieces each have a length of their own before they are put together, so that neither a long word nor the
//! many pairs of a long text drown what it is about. No feature has a name: it is the hash of its kind and its text.

/// One feature of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature {
    /// The hash of its kind and text.
    pub key: u64,
    /// How much it counts; above zero.
    pub weight: f32,
    /// Whether it is made of whole words or of a piece of one.
    pub kind: Kind,
}

/// What a feature is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word, or two words side by side.
    Words,
    /// Two words of one text that stand apart, near each other in this order or in any order.
    Pairs,
    /// Three to five characters of a word, its ends counted as characters.
    Pieces,
}

/// Bytes that are read of a text: what a task is about stands at its start, and its end is often a question.
pub const HEAD_BYTES: usize = 1_800;
/// See [`HEAD_BYTES`].
pub const TAIL_BYTES: usize = 200;
/// Words apart that still count as together. Beyond it the number of pairs grows and what they say does not.
const TOGETHER: usize = 12;
/// What two words count for that stand near each other in this order, and that stand together in any order.
const NEAR_WEIGHT: f32 = 0.7;
const TOGETHER_WEIGHT: f32 = 0.4;

/// The words of a text: lower case, contractions split (`don't` is `do`, `n't`), digits as their number of digits.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    words_of(text, HEAD_BYTES + TAIL_BYTES)
}

/// The words of a text of which more is read.
pub(crate) fn words_of(text: &str, bytes: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = shown(text, bytes).flat_map(char::to_lowercase).peekable();
    let mut end = |word: &mut String| {
        if word.is_empty() {
            return;
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            words.push("0".repeat(word.len().min(4)));
            word.clear();
        } else {
            words.push(std::mem::take(word));
        }
    };
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() {
            word.push(c);
        } else if matches!(c, '\'' | '’') && !word.is_empty() && chars.peek().is_some_and(|next| next.is_alphabetic()) {
            if chars.peek() == Some(&'t') && word.ends_with('n') {
                word.pop();
                end(&mut word);
                word.push_str("n't");
                chars.next();
            } else {
                end(&mut word);
                word.push('\'');
            }
        } else {
            end(&mut word);
        }
    }
    end(&mut word);
    words
}

/// The characters that are read of a text.
fn shown(text: &str, bytes: usize) -> impl Iterator<Item = char> + '_ {
    let (head, tail) = if text.len() <= bytes {
        (text, "")
    } else {
        (&text[..text.floor_char_boundary(bytes - TAIL_BYTES)], &text[text.ceil_char_boundary(text.len() - TAIL_BYTES)..])
    };
    head.chars().chain(std::iter::once(' ')).chain(tail.chars())
}

/// The word without the endings that say how it is used: `running` and `runner` are `run`, `cards` is `card`.
#[must_use]
pub fn stem(word: &str) -> &str {
    let mut stem = word;
    if word.is_ascii() && word.len() > 4 {
        for (ending, least) in [("ing", 3), ("ies", 2), ("ed", 3), ("es", 3), ("ly", 3), ("er", 3), ("s", 3), ("y", 3)] {
            if let Some(rest) = stem.strip_suffix(ending).filter(|rest| rest.len() >= least && !rest.ends_with('s')) {
                stem = rest;
                break;
            }
        }
        let bytes = stem.as_bytes();
        if let [.., a, b] = bytes
            && a == b
            && stem.len() > 3
            && stem.len() < word.len()
            && !matches!(b, b'l' | b's')
        {
            stem = &stem[..stem.len() - 1];
        }
    }
    stem.strip_suffix('e').filter(|rest| rest.len() > 2).unwrap_or(stem)
}

/// The hashes of words without their endings.
pub(crate) fn stems(words: &[String]) -> Vec<u64> {
    words.iter().map(|word| hash(stem(word).as_bytes())).collect()
}

/// The features of a text, each once. An empty text has none.
#[must_use]
pub fn features(text: &str) -> Vec<Feature> {
    of_words(&words(text))
}

/// The features of words, as [`words`] gives them.
#[must_use]
pub fn of_words(words: &[String]) -> Vec<Feature> {
    let mut raw: Vec<(u64, f32)> = Vec::with_capacity(words.len() * 16);
    let mut pairs: Vec<(u64, f32)> = Vec::with_capacity(words.len() * 16);
    let hashes: Vec<u64> = words.iter().map(|word| hash(word.as_bytes())).collect();
    let stems = stems(words);
    for (at, word) in hashes.iter().enumerate() {
        raw.push((keyed(1, *word, 0), 1.0));
        let next = hashes.get(at + 1).copied().unwrap_or(END);
        raw.push((keyed(2, *word, next), 1.0));
        if at == 0 {
            raw.push((keyed(2, START, *word), 1.0));
        }
        for other in stems.iter().skip(at + 2).take(3) {
            pairs.push((keyed(3, stems[at], *other), NEAR_WEIGHT));
        }
        for other in stems.iter().skip(at + 1).take(TOGETHER) {
            let (low, high) = (stems[at].min(*other), stems[at].max(*other));
            pairs.push((keyed(4, low, high), TOGETHER_WEIGHT));
        }
    }
    let mut all = Vec::with_capacity(raw.len() * 2);
    gather(&mut raw, Kind::Words, &mut all);
    gather(&mut pairs, Kind::Pairs, &mut all);
    for word in words {
        pieces(word, &mut raw);
    }
    gather(&mut raw, Kind::Pieces, &mut all);
    all
}

fn pieces(word: &str, raw: &mut Vec<(u64, f32)>) {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('<');
    text.push_str(word);
    text.push('>');
    // Where each character begins, and the end: pieces are cut between characters.
    let mut starts = [0usize; 64];
    let mut count = 0;
    for (at, _) in text.char_indices().take(63) {
        starts[count] = at;
        count += 1;
    }
    let read = starts[count - 1] + text[starts[count - 1]..].chars().next().map_or(0, char::len_utf8);
    starts[count] = read;
    for length in 3..=5 {
        for at in 0..(count + 1).saturating_sub(length) {
            raw.push((keyed(5, hash(&text.as_bytes()[starts[at]..starts[at + length]]), 0), 1.0));
        }
    }
}

/// Each key once, weighed by how often it stands there.
fn gather(raw: &mut Vec<(u64, f32)>, kind: Kind, all: &mut Vec<Feature>) {
    raw.sort_unstable_by_key(|(key, _)| *key);
    for same in raw.chunk_by(|a, b| a.0 == b.0) {
        let often = 1.0 + (same.len() as f32).ln();
        all.push(Feature { key: same[0].0, weight: often * same[0].1, kind });
    }
    raw.clear();
}

const START: u64 = 0x5354_4152_5453_5441;
const END: u64 = 0x454e_4445_4e44_454e;

pub(crate) fn keyed(kind: u64, a: u64, b: u64) -> u64 {
    mix(a ^ mix(b.wrapping_add(kind.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

/// A hash that is the same on every machine and in every version: models are kept by it. FNV-1a (Fowler, Noll, Vo) by eight
/// bytes with the finaliser of SplitMix64.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(eight)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    mix(hash)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Keys are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain(u64);

impl std::hash::BuildHasher for Plain {
    type Hasher = Plain;

    fn build_hasher(&self) -> Plain {
        Plain(0)
    }
}

impl std::hash::Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// How long words, pairs and pieces are together; all three are about one.
const LENGTHS: [f32; 3] = [0.6, 0.4, 0.69];

/// Gives the features of each kind the length of their kind: those that `known` keeps.
pub(crate) fn scaled<T>(features: &[Feature], mut known: impl FnMut(u64) -> Option<T>) -> Vec<(T, f32)> {
    let mut found = Vec::with_capacity(features.len());
    let mut lengths = [0f32; 3];
    for feature in features {
        if let Some(row) = known(feature.key) {
            lengths[feature.kind as usize] += feature.weight * feature.weight;
            found.push((row, feature.weight, feature.kind));
        }
    }
    let scale: [f32; 3] = std::array::from_fn(|kind| LENGTHS[kind] / lengths[kind].sqrt().max(1e-9));
    found.into_iter().map(|(row, weight, kind)| (row, weight * scale[kind as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contractions_and_numbers() {
        assert_eq!(words("Don't pay 1234567 for it's $5"), ["do", "n't", "pay", "0000", "for", "it", "'s", "0"]);
        assert_eq!(words("naïve ‘größe’"), ["naïve", "größe"]);
        assert!(words("?! …").is_empty());
    }

    #[test]
    fn endings_are_dropped() {
        for (word, kept) in [
            ("cancelled", "cancell"),
            ("cards", "card"),
            ("running", "run"),
            ("runner", "run"),
            ("class", "class"),
            ("the", "the"),
        ] {
            assert_eq!(stem(word), kept);
        }
    }

    #[test]
    fn a_long_text_is_read_at_both_ends() {
        let text = format!("first {} last", "middle ".repeat(100_000));
        let read = words(&text);
        assert_eq!((read.first().map(String::as_str), read.last().map(String::as_str)), (Some("first"), Some("last")));
        assert!(read.len() < 600);
    }

    proptest! {
        #[test]
        fn features_are_the_same_each_time_and_have_weight(text in "\\PC{0,300}") {
            let once = features(&text);
            prop_assert_eq!(&once, &features(&text));
            prop_assert!(once.iter().all(|feature| feature.weight > 0.0));
            prop_assert_eq!(once.is_empty(), words(&text).is_empty());
        }
    }
}
