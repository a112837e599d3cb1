//! Covers the provider's key in answers. Some providers repeat in their errors what they were sent, and the agent must not see
//! the key.
//!
//! The key is covered in every form in which it is usually written, in any case, with any of its characters escaped, and so is a
//! long part of it, wherever an answer is cut into chunks. Only bytes that may be the beginning of one wait for the next chunk.

mod escapes;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderMap, HeaderValue};
use memchr::memmem;

/// A part of the key of this length is covered, in bytes. What all keys of a provider begin with is shorter.
const PART_BYTES: usize = 20;

/// What may stand between the bytes of a key in hex. A blank may not: then the end of most texts could be the beginning of one.
const HEX_SEPARATORS: [&str; 2] = [":", "-"];

fn in_hex(key: &str, separator: &str) -> Vec<u8> {
    let bytes: Vec<String> = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(separator).into_bytes()
}

/// A key in all its forms. It is shared with the answers that are on their way.
pub(crate) struct KeyForms {
    /// In lower case.
    key: Vec<u8>,
    /// In lower case.
    forms: Vec<Vec<u8>>,
    /// Finds forms and parts in any case.
    any: AhoCorasick,
    /// Bytes that stand in some form.
    alphabet: [bool; 256],
    /// The length of the longest form.
    longest: usize,
    /// The length of the shortest form or part.
    shortest: usize,
    /// The key has quotes or backslashes.
    has_quotes: bool,
}

/// What stands in the bytes that have come.
struct Scan {
    /// Where forms and parts stand.
    found: Vec<Range<usize>>,
    /// From here on it may be the beginning of one.
    open: usize,
}

impl KeyForms {
    /// `None`: the key is too short to be told from other text.
    pub(crate) fn new(key: &str) -> Option<Self> {
        // Base64 that is broken into lines is left out: events end at line breaks, and no bytes should be held back there.
        let forms = agentops_safe::written_forms(key).into_iter().filter(|form| !form.contains(&b'\n'));
        let mut forms: Vec<Vec<u8>> = forms.map(|form| form.to_ascii_lowercase()).collect();
        if !forms.is_empty() {
            forms.extend(HEX_SEPARATORS.map(|separator| in_hex(key, separator)));
        }
        let longest = forms.iter().map(Vec::len).max()?;
        let shortest = forms.iter().map(Vec::len).min()?.min(PART_BYTES);
        let has_quotes = key.contains(['"', '\'', '\\']);
        let key = key.as_bytes().to_ascii_lowercase();
        let mut alphabet = [false; 256];
        for byte in forms.iter().flatten() {
            alphabet[usize::from(*byte)] = true;
            alphabet[usize::from(byte.to_ascii_uppercase())] = true;
        }
        let parts = key.windows(PART_BYTES);
        let all = forms.iter().map(Vec::as_slice).chain(parts);
        let any = AhoCorasick::builder().ascii_case_insensitive(true).build(all).ok()?;
        Some(Self { key, forms, any, alphabet, longest, shortest, has_quotes })
    }

    /// Looks at the bytes as they are and, where they have escapes, at what these stand for.
    fn scan(&self, raw: &[u8], is_last: bool) -> Scan {
        if is_last && raw.len() < self.shortest {
            // An escape is no shorter than its character.
            return Scan { found: Vec::new(), open: raw.len() };
        }
        let mut found: Vec<_> = self.any.find_overlapping_iter(raw).map(|found| found.range()).collect();
        let mut open = if is_last { raw.len() } else { self.open_start(raw) };
        if escapes::may_have_escapes(raw, self.has_quotes) {
            let shown = escapes::shown(raw, is_last);
            let places = &shown.places;
            let place = |found: aho_corasick::Match| places[found.start()].0..places[found.end() - 1].1;
            found.extend(self.any.find_overlapping_iter(&shown.text).map(place));
            if !is_last {
                let begun = places.get(self.open_start(&shown.text)).map(|place| place.0);
                open = [Some(open), begun, shown.undecided].into_iter().flatten().min().unwrap_or(open);
                // What waits begins at a character, so that it is read alike with the next chunk.
                let last = places.partition_point(|place| place.0 <= open).checked_sub(1);
                open = last.map(|last| places[last]).filter(|place| open < place.1).map_or(open, |place| place.0);
            }
        } else if !is_last {
            open = escapes::backslashes_before(raw, open);
        }
        Scan { found, open }
    }

    /// Where the longest end of `text` begins that is the beginning of a form or a part.
    fn open_start(&self, text: &[u8]) -> usize {
        let longest = self.longest.max(PART_BYTES) - 1;
        let run = text.iter().rev().take(longest).take_while(|byte| self.alphabet[usize::from(**byte)]).count();
        if run == 0 {
            return text.len();
        }
        let end = text[text.len() - run..].to_ascii_lowercase();
        let begins_part = |rest: &[u8]| {
            let starts = self.key.len().checked_sub(PART_BYTES).filter(|_| rest.len() < PART_BYTES);
            starts.is_some_and(|last| memmem::find(&self.key, rest).is_some_and(|at| at <= last))
        };
        let begins_form = |rest: &[u8]| self.forms.iter().any(|form| form.len() > rest.len() && form.starts_with(rest));
        let begins = |from: &usize| begins_part(&end[*from..]) || begins_form(&end[*from..]);
        text.len() - run + (0..run).find(begins).unwrap_or(run)
    }
}

/// Covers the key in one answer.
#[derive(Clone, Default)]
pub(crate) struct KeyScrubber {
    key: Option<Arc<KeyForms>>,
    /// The end of what came, which may be the beginning of the key.
    held: Vec<u8>,
    /// So many bytes of it belong to a form that has ended.
    held_covered: usize,
}

impl KeyScrubber {
    pub(crate) fn new(key: Option<Arc<KeyForms>>) -> Self {
        Self { key, held: Vec::new(), held_covered: 0 }
    }

    /// How many bytes have come and were not passed on.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The next bytes of the answer, with as many `*` in the place of the key, so that lengths and JSON stay right.
    /// `is_last`: no more will come.
    pub(crate) fn next(&mut self, bytes: Bytes, is_last: bool) -> Bytes {
        let Some(key) = &self.key else { return bytes };
        let bytes = match self.held.is_empty() {
            true => bytes,
            false => {
                self.held.extend_from_slice(&bytes);
                std::mem::take(&mut self.held).into()
            }
        };
        let Scan { found, open } = key.scan(&bytes, is_last);
        if self.held_covered == 0 && found.is_empty() {
            self.held = bytes[open..].to_vec();
            return bytes.slice(..open);
        }
        let mut covered = bytes.to_vec();
        covered[..self.held_covered].fill(b'*');
        found.iter().for_each(|found| covered[found.clone()].fill(b'*'));
        // A form that begins after `open` is in the held bytes, and the next scan finds it again.
        let ends = found.iter().filter(|found| found.start < open).map(|found| found.end);
        self.held_covered = ends.max().unwrap_or(0).max(self.held_covered).saturating_sub(open);
        self.held = bytes[open..].to_vec();
        covered.truncate(open);
        covered.into()
    }

    /// A text that is there as a whole; `None`: the key does not stand in it.
    fn whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        let Scan { found, .. } = self.key.as_ref()?.scan(text, true);
        let mut covered = text.to_vec();
        found.iter().for_each(|found| covered[found.clone()].fill(b'*'));
        (!found.is_empty()).then_some(covered)
    }

    /// Covers the key in the values of header or trailer lines. A line whose name holds it is left out.
    pub(crate) fn cover_head(&self, head: &mut HeaderMap) {
        let names: Vec<_> = head.keys().filter(|name| self.whole(name.as_str().as_bytes()).is_some()).cloned().collect();
        for name in names {
            head.remove(name);
        }
        for value in head.values_mut() {
            if let Some(covered) = self.whole(value.as_bytes())
                && let Ok(covered) = HeaderValue::from_bytes(&covered)
            {
                *value = covered;
            }
        }
    }

    /// A reason phrase without the key.
    pub(crate) fn reason(&self, reason: ReasonPhrase) -> Option<ReasonPhrase> {
        match self.whole(reason.as_bytes()) {
            None => Some(reason),
            Some(covered) => ReasonPhrase::try_from(covered).ok(),
        }
    }

    /// Text for a person, without the key.
    pub(crate) fn text(&self, text: String) -> String {
        let covered = self.whole(text.as_bytes());
        covered.map_or(text, |covered| String::from_utf8_lossy(&covered).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "sk-test/key_0123456789+ab==cd";

    fn scrubber() -> KeyScrubber {
        static FORMS: OnceLock<Arc<KeyForms>> = OnceLock::new();
        let forms = FORMS.get_or_init(|| Arc::new(KeyForms::new(KEY).unwrap()));
        KeyScrubber::new(Some(Arc::clone(forms)))
    }

    fn in_chunks(text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut scrubber = scrubber();
        let mut out = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            out.extend_from_slice(&scrubber.next(Bytes::copy_from_slice(&text[from..cut]), false));
            from = cut;
        }
        out.extend_from_slice(&scrubber.next(Bytes::new(), true));
        out
    }

    #[test]
    fn s7_the_key_is_covered_in_every_form_and_at_every_cut() {
        let forms = agentops_safe::written_forms(KEY).into_iter().filter(|form| !form.contains(&b'\n'));
        for form in &forms.chain(HEX_SEPARATORS.map(|separator| in_hex(KEY, separator))).collect::<Vec<_>>() {
            let text = [b"before sk-test ".as_slice(), form, b" after"].concat();
            let covered = [b"before sk-test ".to_vec(), vec![b'*'; form.len()], b" after".to_vec()].concat();
            for cut in 0..=text.len() {
                assert_eq!(in_chunks(&text, &[cut]), covered, "{} cut at {cut}", String::from_utf8_lossy(form));
            }
            let every: Vec<usize> = (0..text.len()).collect();
            assert_eq!(in_chunks(&text, &every), covered, "{}", String::from_utf8_lossy(form));
        }
    }

    /// Ways in which answers write a character.
    fn written(byte: u8, way: usize) -> String {
        let c = char::from(byte);
        match way {
            1 => format!("%{byte:02x}"),
            2 => format!("%25{byte:02X}"),
            3 => format!("\\u{byte:04x}"),
            4 => format!("\\\\u{byte:04X}"),
            5 => format!("\\x{byte:02x}"),
            6 => format!("&#{byte};"),
            7 => format!("&#x{byte:x};"),
            8 => format!("{c}\0"),
            9 => format!("\x1b[1;31m{c}"),
            10 => c.to_ascii_uppercase().to_string(),
            11 => format!("\\{byte:03o}"),
            12 if c == '/' => "\\/".into(),
            13 => format!("\\u{{{byte:x}}}"),
            14 => format!("\\U{byte:08x}"),
            15 => format!("%u{byte:04x}"),
            16 => format!("\\{byte:06x}"),
            17 => format!("&#{byte:06};"),
            _ => c.to_string(),
        }
    }
    const WAYS: usize = 18;

    /// The key in one way throughout, or with one character only written so, at every cut.
    #[test]
    fn s7_the_key_is_covered_with_its_characters_escaped() {
        let all: Vec<usize> = (0..KEY.len()).collect();
        for way in 1..WAYS {
            for escaped in [&all[..], &[3], &[0], &[28], &[7]] {
                let written: String = KEY
                    .bytes()
                    .enumerate()
                    .map(|(at, byte)| written(byte, if escaped.contains(&at) { way } else { 0 }))
                    .collect();
                let text = format!("before {written} after").into_bytes();
                let whole = in_chunks(&text, &[]);
                assert_eq!(whole.len(), text.len());
                let shown = escapes::shown(&whole, true).text;
                let left = String::from_utf8_lossy(&shown).replace(|c: char| c == '*' || c.is_control(), "");
                assert!(left == "before  after" || left == "before %s after", "way {way}, {escaped:?}: {left}");
                for cut in 0..=text.len() {
                    assert_eq!(in_chunks(&text, &[cut]), whole, "{} cut at {cut}", String::from_utf8_lossy(&text));
                }
            }
        }
    }

    /// HTML reads a number without a semicolon as far as it goes.
    #[test]
    fn s7_the_key_is_covered_in_numbers_that_nothing_ends() {
        let decimal: String = KEY.bytes().map(|byte| format!("&#{byte}")).collect();
        let hex: String = KEY.bytes().map(|byte| format!("&#x{byte:x}")).collect();
        for key in [decimal, hex] {
            for end in [" after", ""] {
                let covered = format!("{}{end}", "*".repeat(key.len())).into_bytes();
                let text = format!("{key}{end}").into_bytes();
                for cut in 0..=text.len() {
                    assert_eq!(in_chunks(&text, &[cut]), covered, "{key}{end} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn s7_a_long_part_of_the_key_is_covered() {
        for part in [&KEY[..PART_BYTES], &KEY[5..26], &KEY[KEY.len() - PART_BYTES..]] {
            let covered = format!("<{}>", "*".repeat(part.len()));
            assert_eq!(in_chunks(format!("<{part}>").as_bytes(), &[9]), covered.as_bytes());
        }
        // What all keys of a provider begin with is no secret.
        assert_eq!(in_chunks(b"keys begin with sk-test/key_", &[]), b"keys begin with sk-test/key_");
    }

    /// Escapes are covered as a whole, with all their backslashes.
    #[test]
    fn s7_a_covered_answer_stays_json() {
        for way in [3, 12] {
            let key: String = KEY.bytes().map(|byte| written(byte, way)).collect();
            let inner = format!("{{\"error\":\"no such key\\n{key}\\\"\"}}");
            let outer = serde_json::to_string(&serde_json::Value::from(inner.clone())).unwrap();
            for text in [inner, outer] {
                let covered = in_chunks(text.as_bytes(), &[]);
                assert!(
                    serde_json::from_slice::<serde_json::Value>(&covered).is_ok(),
                    "{}",
                    String::from_utf8_lossy(&covered)
                );
                assert!(covered.windows(8).any(|run| run == b"********"));
            }
        }
    }

    #[test]
    fn s7_the_key_in_the_name_of_a_header_is_left_out() {
        let mut head = HeaderMap::new();
        head.insert(hyper::header::HeaderName::from_static("x-a"), HeaderValue::from_static("1"));
        let key = "sk-testkey-qwertyuiop1234567890";
        head.insert(hyper::header::HeaderName::from_bytes(key.as_bytes()).unwrap(), HeaderValue::from_static("2"));
        KeyScrubber::new(KeyForms::new(&key.to_uppercase()).map(Arc::new)).cover_head(&mut head);
        assert_eq!(head.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn only_what_may_begin_the_key_waits() {
        let mut scrubber = scrubber();
        assert_eq!(scrubber.next(Bytes::from_static(b"data: {\"a\":1}\n\n"), false), "data: {\"a\":1}\n\n");
        assert_eq!(scrubber.held_bytes(), 0, "an event that has ended does not wait");
        assert_eq!(scrubber.next(Bytes::from_static(b"it ends in sk-tes"), false), "it ends in ");
        assert_eq!(scrubber.next(Bytes::from_static(b"ting"), false), "sk-testing");
        assert_eq!(scrubber.next(Bytes::from_static(b"sk-te"), false), "");
        assert_eq!(scrubber.next(Bytes::new(), true), "sk-te", "at the end nothing waits");
    }

    #[test]
    fn a_short_key_changes_no_answer() {
        let mut scrubber = KeyScrubber::new(KeyForms::new("local").map(Arc::new));
        assert_eq!(scrubber.next(Bytes::from_static(b"a local model"), false), "a local model");
    }

    proptest! {
        /// However the characters of a key are written, and wherever the answer is cut.
        #[test]
        fn s7_no_mix_of_escapes_and_cuts_shows_the_key(
            ways in prop::collection::vec(0..WAYS, KEY.len()),
            around in "[a-z%&\\\\u0-9;]{0,4}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let key: String = KEY.bytes().zip(ways).map(|(byte, way)| written(byte, way)).collect();
            let text = format!("{around} {key} {around}").into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let whole = in_chunks(&text, &[]);
            let shown = escapes::shown(&whole, true).text.to_ascii_lowercase();
            prop_assert!(!KEY.as_bytes().windows(8).any(|part| memmem::find(&shown, part).is_some()));
            prop_assert_eq!(in_chunks(&text, &cuts), whole);
        }

        /// Wherever an answer is cut, it is the same as an answer that came as a whole.
        #[test]
        fn s7_chunks_change_nothing(
            parts in prop::collection::vec(
                prop_oneof![Just(0_usize..KEY.len()), (0..KEY.len(), 0..KEY.len()).prop_map(|(a, b)| a.min(b)..a.max(b))],
                0..6,
            ),
            between in "[a-zA-Z0-9 \\n=+/-]{0,6}",
            encoded: bool,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let pieces: Vec<String> = parts.into_iter().map(|range| {
                let piece = &KEY[range];
                if encoded { piece.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D") } else { piece.to_owned() }
            }).collect();
            let text = pieces.join(&between).into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            let whole = in_chunks(&text, &[]);
            prop_assert_eq!(whole.len(), text.len());
            prop_assert!(memmem::find(&whole, KEY.as_bytes()).is_none());
            prop_assert_eq!(in_chunks(&text, &cuts), whole);
        }
    }
}
