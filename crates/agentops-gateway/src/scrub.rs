//! Covers the provider's key in answers. Some providers repeat in their errors what they were sent, and the agent must not see
//! the key.
//!
//! The key is covered in every form in which it is usually written, wherever an answer is cut into chunks. Only bytes that
//! may be the beginning of the key wait for the next chunk.

use std::sync::Arc;

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderMap, HeaderValue};
use memchr::memmem;

/// A key in all its forms. It is shared with the answers that are on their way.
pub(crate) struct KeyForms {
    forms: Vec<Vec<u8>>,
    any: AhoCorasick,
    /// Bytes that stand in some form.
    alphabet: [bool; 256],
    /// The length of the longest form.
    longest: usize,
}

impl KeyForms {
    /// `None`: the key is too short to be told from other text.
    pub(crate) fn new(key: &str) -> Option<Self> {
        // A line break in a wrapped base64 form is where events end, and nothing should wait there: its lines are forms.
        let forms = agentops_safe::written_forms(key).into_iter().filter(|form| !form.contains(&b'\n'));
        let forms: Vec<Vec<u8>> = forms.collect();
        let longest = forms.iter().map(Vec::len).max()?;
        let mut alphabet = [false; 256];
        for byte in forms.iter().flatten() {
            alphabet[usize::from(*byte)] = true;
        }
        let any = AhoCorasick::new(&forms).ok()?;
        Some(Self { forms, any, alphabet, longest })
    }

    /// Covers every form that stands in `text` and gives where the last one ends.
    fn cover(&self, text: &mut [u8], original: &[u8]) -> usize {
        let mut end = 0;
        for form in &self.forms {
            // Forms may overlap, so each is looked for in what was there before any was covered.
            for at in memmem::find_iter(original, form) {
                text[at..at + form.len()].fill(b'*');
                end = end.max(at + form.len());
            }
        }
        end
    }

    /// The length of the longest end of `text` that is the beginning of a form.
    fn open_end(&self, text: &[u8]) -> usize {
        let run = text.iter().rev().take(self.longest - 1).take_while(|byte| self.alphabet[usize::from(**byte)]).count();
        let begins_here = |rest: &[u8]| self.forms.iter().any(|form| form.len() > rest.len() && form.starts_with(rest));
        (1..=run).rev().find(|length| begins_here(&text[text.len() - length..])).unwrap_or(0)
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
        let open = if is_last { 0 } else { key.open_end(&bytes) };
        let passed = bytes.len() - open;
        if self.held_covered == 0 && !key.any.is_match(&*bytes) {
            self.held = bytes[passed..].to_vec();
            return bytes.slice(..passed);
        }
        let mut covered = bytes.to_vec();
        covered[..self.held_covered].fill(b'*');
        let end = key.cover(&mut covered, &bytes).max(self.held_covered);
        self.held_covered = end.saturating_sub(passed);
        self.held = bytes[passed..].to_vec();
        covered.truncate(passed);
        covered.into()
    }

    /// A text that is there as a whole; `None`: the key does not stand in it.
    fn whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        let key = self.key.as_ref().filter(|key| key.any.is_match(text))?;
        let mut covered = text.to_vec();
        key.cover(&mut covered, text);
        Some(covered)
    }

    /// Covers the key in the values of header or trailer lines.
    pub(crate) fn cover_head(&self, head: &mut HeaderMap) {
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
        for form in agentops_safe::written_forms(KEY).iter().filter(|form| !form.contains(&b'\n')) {
            let text = [b"before sk-test ".as_slice(), form, b" after"].concat();
            let covered = [b"before sk-test ".to_vec(), vec![b'*'; form.len()], b" after".to_vec()].concat();
            for cut in 0..=text.len() {
                assert_eq!(in_chunks(&text, &[cut]), covered, "{} cut at {cut}", String::from_utf8_lossy(form));
            }
            let every: Vec<usize> = (0..text.len()).collect();
            assert_eq!(in_chunks(&text, &every), covered, "{}", String::from_utf8_lossy(form));
        }
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
