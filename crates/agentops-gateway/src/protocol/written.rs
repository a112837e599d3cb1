//! What the model wrote, counted while it goes by.

use agentops_text::tokens;

use super::words::Words;

/// Text is counted in parts of at least this many bytes. A word that lies on both sides of a cut may count once too often.
const PART_BYTES: usize = 1 << 10;
/// More text than this is not kept for a count that may never be needed.
const OPEN_BYTES_MAX: usize = 64 << 10;

/// A text that comes in pieces, each as it is written in JSON.
///
/// A tokenizer is asked only where the bytes do not tell that there are few enough tokens: no tokenizer makes more tokens
/// than bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    words: Words,
    /// Bytes of all pieces.
    bytes: u64,
    /// The part that is not counted yet.
    open: Vec<u8>,
    /// o200k tokens of the parts before.
    tokens: u64,
    /// Parts that were counted, each for itself.
    parts: u64,
}

/// A place in a text that can be gone back to, as long as nothing was counted since.
pub(super) struct Mark {
    words: Words,
    bytes: u64,
    open: usize,
}

impl Written {
    /// Minimum number of tokens, by its words.
    pub(super) fn words(&self) -> u64 {
        self.words.count()
    }

    /// Bytes of all pieces, as they are written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a string as it is written between its quotes.
    pub(super) fn take(&mut self, raw: &[u8]) {
        self.words.take(raw);
        self.bytes = self.bytes.saturating_add(raw.len() as u64);
        self.open.extend_from_slice(raw);
    }

    /// Takes the beginning of an event that was too long.
    pub(super) fn take_cut(&mut self, event: &[u8]) {
        self.words.take_cut(event);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { words: self.words, bytes: self.bytes, open: self.open.len() }
    }

    /// Forgets what was taken since.
    pub(super) fn back_to(&mut self, mark: &Mark) {
        (self.words, self.bytes) = (mark.words, mark.bytes);
        self.open.truncate(mark.open);
    }

    /// Whether these are certainly more than so many o200k tokens. What came last may not be counted yet.
    pub(super) fn is_more_than(&mut self, tokens: u64) -> bool {
        let is_enough = self.tokens.saturating_add(self.open.len() as u64) > tokens;
        let part = if is_enough { PART_BYTES } else { OPEN_BYTES_MAX };
        if self.open.len() >= part {
            self.count();
        }
        self.tokens > tokens
    }

    /// Whether it has so many more bytes than a text of that many tokens that it must be counted.
    pub(crate) fn may_be_more_than(&self, tokens: u64) -> bool {
        /// Prose and code have 3 to 5.
        const BYTES_PER_TOKEN_MAX: u64 = 6;
        self.bytes > tokens.saturating_mul(BYTES_PER_TOKEN_MAX)
    }

    /// Its o200k tokens, about; and at most, whatever the cuts between the counted parts took away.
    pub(crate) fn tokens(&mut self) -> (u64, u64) {
        self.count();
        (self.tokens, self.tokens.saturating_add(self.parts.saturating_sub(1) * tokens::CUT_TOKENS).min(self.bytes))
    }

    fn count(&mut self) {
        if !self.open.is_empty() {
            self.tokens = self.tokens.saturating_add(tokens::text_tokens(&read(&self.open)));
            self.open.clear();
            self.parts += 1;
        }
    }
}

/// The text that a string of JSON is. What is no JSON stands for itself.
fn read(raw: &[u8]) -> String {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw).into_owned();
    }
    if let Ok(text) = serde_json::from_slice::<String>(&[b"\"", raw, b"\""].concat()) {
        return text;
    }
    // Half a surrogate pair, mostly: the other half is the next piece's.
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let (meant, written) = match (byte, raw.get(at + 1)) {
            (b'\\', Some(b'n' | b'r' | b't')) => (b'\n', 2),
            (b'\\', Some(b'u')) => (b'?', 6),
            (b'\\', Some(&escaped)) => (escaped, 2),
            (byte, _) => (byte, 1),
        };
        text.push(meant);
        at += written;
    }
    String::from_utf8_lossy(&text).into_owned()
}
