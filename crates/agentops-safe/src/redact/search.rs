//! Finds where one of very many short texts starts, several bytes at a time.
//!
//! An automaton takes each byte by itself, one after the other, which is slower for two dozen words than this is for
//! hundreds. Here only every second (or fourth) position is looked at: wherever a text stands, one such position lies
//! within its first bytes, so it is enough to know the few bytes that may be there. One bit per hash of them says "nothing
//! here" without a branch; what is left is looked at again by its first four bytes, and only then compared.

/// A hash of some bytes has this many bits. A set of hashes takes 8 KiB, so that two of them fit into the fastest cache.
const HASH_BITS: u32 = 16;
/// Positions that are looked at before those with something are looked at again; each of these stands for up to four.
const LOOKS: usize = 256;
const KEPT: usize = 4 * LOOKS;
/// The same for texts of at most this many bytes: clearing the room for so many positions would take longer than all the rest.
const SHORT_BYTES: usize = 512;
const SHORT_LOOKS: usize = 16;
const SHORT_KEPT: usize = 4 * SHORT_LOOKS;

/// Looks at each `STRIDE`-th position; reads `ROUND` = 4 × `STRIDE` + 4 bytes for four positions at once.
pub(super) struct Starts<const STRIDE: usize, const ROUND: usize> {
    texts: Vec<Vec<u8>>,
    is_caseless: bool,
    /// What of four bytes is looked at first.
    mask: u32,
    /// Applied where case does not count: it joins the cases of letters. Other bytes that it joins are told apart later.
    lower: u32,
    /// What may stand at a position within the first bytes of a text.
    inside: HashSet,
    /// The first four bytes of the texts.
    starts: HashSet,
    /// The first three bytes of each text, the first in the highest place, and its index; sorted.
    firsts: Vec<(u32, usize)>,
    longest: usize,
}

/// For keywords of rules: three bytes in any case, at every second position. At least three bytes each.
pub(super) type Keywords = Starts<2, 12>;
/// For exact texts: four bytes, at every fourth position. At least seven bytes each.
pub(super) type Exacts = Starts<4, 20>;

impl Keywords {
    pub(super) fn new(texts: Vec<Vec<u8>>) -> Self {
        Self::build(texts, true, 0x00ff_ffff, 0x2020_2020)
    }
}

impl Exacts {
    pub(super) fn new(texts: Vec<Vec<u8>>) -> Self {
        Self::build(texts, false, u32::MAX, 0)
    }
}

impl<const STRIDE: usize, const ROUND: usize> Starts<STRIDE, ROUND> {
    fn build(texts: Vec<Vec<u8>>, is_caseless: bool, mask: u32, lower: u32) -> Self {
        let (mut inside, mut starts) = (HashSet::new(), HashSet::new());
        for text in &texts {
            for offset in 0..STRIDE {
                each_four(&text[offset..], mask, |four| inside.insert((four | lower) & mask));
            }
            each_four(text, u32::MAX, |four| starts.insert(four | lower));
        }
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let mut all = Self { texts, is_caseless, mask, lower, inside, starts, firsts: Vec::new(), longest };
        all.firsts = all.texts.iter().enumerate().map(|(index, text)| (all.first(text), index)).collect();
        all.firsts.sort_unstable();
        all
    }

    /// The text of this index, as it was given.
    pub(super) fn text(&self, index: usize) -> &[u8] {
        &self.texts[index]
    }

    /// The length of the longest text, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Calls `hit` with the start and the index of every text in `text[from..]`, ordered by start.
    pub(super) fn find(&self, text: &[u8], from: usize, hit: impl FnMut(usize, usize)) {
        if text.len() - from <= SHORT_BYTES {
            self.look::<SHORT_LOOKS, SHORT_KEPT>(text, from, hit);
        } else {
            self.look::<LOOKS, KEPT>(text, from, hit);
        }
    }

    fn look<const LOOKS: usize, const KEPT: usize>(&self, text: &[u8], from: usize, mut hit: impl FnMut(usize, usize)) {
        let mut at = from;
        let mut found = [0; LOOKS];
        let mut starts = [0; KEPT];
        while text.len() - at >= ROUND {
            let mut count = 0;
            while let Some(round) = text[at..].first_chunk::<ROUND>().filter(|_| count <= LOOKS - 4) {
                for place in 0..4 {
                    let first = place * STRIDE;
                    let four = u32::from_le_bytes([round[first], round[first + 1], round[first + 2], round[first + 3]]);
                    // Written in any case and kept if it counts: most of the time a guess would be wrong too often.
                    found[count % LOOKS] = at + first;
                    count += self.inside.bit((four | self.lower) & self.mask);
                }
                at += 4 * STRIDE;
            }
            let mut kept = 0;
            for &position in &found[..count] {
                for offset in (0..STRIDE).rev() {
                    let start = position.wrapping_sub(offset);
                    starts[kept % KEPT] = start;
                    let four = text
                        .get(start..)
                        .and_then(|rest| rest.first_chunk::<4>())
                        .map_or(0, |four| u32::from_le_bytes(*four));
                    kept += self.starts.bit(four | self.lower);
                }
            }
            for &start in starts[..kept].iter().filter(|start| (from..text.len()).contains(start)) {
                self.compare(text, start, &mut hit);
            }
        }
        let first = at.saturating_sub(STRIDE - 1).max(from);
        (first..text.len()).for_each(|start| self.judge(text, start, &mut hit));
    }

    /// Whether the end of a text is the beginning of one of these texts, and shorter than it.
    pub(super) fn is_begun(&self, end: &[u8]) -> bool {
        if let [_, _, _, _, ..] = end {
            let is_begun = |text: &[u8]| end.len() < text.len() && self.equals(&text[..end.len()], end);
            return self.starts.bit(self.four(end, 0)) != 0 && self.standing(end).any(|(_, text)| is_begun(text));
        }
        // From the first text that is not before this end, to the last that begins with it.
        let below = 1 << (8 * (3 - end.len()));
        let first = self.first(end);
        let at = self.firsts.partition_point(|(known, _)| *known < first);
        let mut same = self.firsts[at..].iter().take_while(|(known, _)| *known - first < below);
        same.any(|(_, index)| self.texts[*index].len() > end.len())
    }

    fn judge(&self, text: &[u8], start: usize, hit: &mut impl FnMut(usize, usize)) {
        if self.starts.bit(self.four(text, start)) != 0 && text.len() - start >= 3 {
            self.compare(text, start, hit);
        }
    }

    fn compare(&self, text: &[u8], start: usize, hit: &mut impl FnMut(usize, usize)) {
        for (index, known) in self.standing(&text[start..]) {
            if text.get(start..start + known.len()).is_some_and(|found| self.equals(known, found)) {
                hit(start, index);
            }
        }
    }

    /// The texts that have the first three bytes of this one, with their indices.
    fn standing(&self, text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
        let first = self.first(text);
        let at = self.firsts.partition_point(|(known, _)| *known < first);
        let same = self.firsts[at..].iter().take_while(move |(known, _)| *known == first);
        same.map(|(_, index)| (*index, self.texts[*index].as_slice()))
    }

    fn first(&self, text: &[u8]) -> u32 {
        let byte =
            |at: usize| text.get(at).map_or(0, |byte| if self.is_caseless { byte.to_ascii_lowercase() } else { *byte });
        u32::from_be_bytes([0, byte(0), byte(1), byte(2)])
    }

    fn equals(&self, known: &[u8], found: &[u8]) -> bool {
        if self.is_caseless { known.eq_ignore_ascii_case(found) } else { known == found }
    }

    fn four(&self, text: &[u8], at: usize) -> u32 {
        let mut four = [0; 4];
        match text[at..].first_chunk::<4>() {
            Some(first) => four = *first,
            None => four[..text.len() - at].copy_from_slice(&text[at..]),
        }
        u32::from_le_bytes(four) | self.lower
    }
}

/// Calls `then` with the first four bytes of a text. Bytes that count and that it does not have may be any.
fn each_four(text: &[u8], mask: u32, mut then: impl FnMut(u32)) {
    let mut four = [0; 4];
    let known = text.len().min(4);
    four[..known].copy_from_slice(&text[..known]);
    let width = (mask.count_ones() / 8) as usize;
    if known >= width {
        return then(u32::from_le_bytes(four));
    }
    for byte in 0..=u8::MAX {
        four[known] = byte;
        then(u32::from_le_bytes(four));
    }
}

/// A set that may hold more than was put in, but never less.
struct HashSet(Box<[u64; 1 << (HASH_BITS - 6)]>);

impl HashSet {
    fn new() -> Self {
        Self(Box::new([0; 1 << (HASH_BITS - 6)]))
    }

    fn insert(&mut self, four: u32) {
        let hash = hash(four);
        self.0[hash >> 6] |= 1 << (hash & 63);
    }

    /// 1 if it may be in the set, else 0.
    fn bit(&self, four: u32) -> usize {
        let hash = hash(four);
        (self.0[hash >> 6] >> (hash & 63) & 1) as usize
    }
}

fn hash(four: u32) -> usize {
    (four.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_search_finds() {
        let words = ["sk-", "token", "okay", "://", "secret_key", "key"];
        // One that is searched in small room, and one that is not.
        let texts = [3, 12].map(|times| b"a token, SECRET_KEYs at http://x sk-tokenokay okaykey ://tokeN".repeat(times));
        assert!(texts[0].len() <= SHORT_BYTES && texts[1].len() > SHORT_BYTES);
        let search = Keywords::new(words.iter().map(|word| word.as_bytes().to_vec()).collect());
        for (text, from) in texts.iter().flat_map(|text| (0..text.len()).map(move |from| (text, from))) {
            let mut found = Vec::new();
            search.find(text, from, |start, index| found.push((start, index)));
            assert!(found.is_sorted_by_key(|(start, _)| *start), "{found:?}");
            found.sort_unstable();
            let same = |at: usize, word: &str| {
                text[at..].len() >= word.len() && text[at..at + word.len()].eq_ignore_ascii_case(word.as_bytes())
            };
            let plain: Vec<(usize, usize)> = (from..text.len())
                .flat_map(|at| (0..words.len()).filter(move |index| same(at, words[*index])).map(move |index| (at, index)))
                .collect();
            assert_eq!(found, plain, "from {from}");
        }
    }

    #[test]
    fn finds_exact_texts_at_every_alignment() {
        let search = Exacts::new(vec![b"abcdefg".to_vec(), b"cdefghijklmnop".to_vec()]);
        for before in 0..9 {
            for after in 0..25 {
                let text = format!("{}abcdefghijklmnop{}", "-".repeat(before), "+".repeat(after));
                let mut found = Vec::new();
                search.find(text.as_bytes(), 0, |start, index| found.push((start, index)));
                assert_eq!(found, [(before, 0), (before + 2, 1)]);
            }
        }
        assert!(search.is_begun(b"ab") && search.is_begun(b"cdefghijklmno") && !search.is_begun(b"abcdefg"));
    }
}
