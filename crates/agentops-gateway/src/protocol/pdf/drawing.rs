//! How much text a file draws, with each stream as often as it is drawn.

use std::collections::{BTreeSet, HashMap};

use memchr::memmem;

use super::content::{self, Content};
use super::unicode::Unicode;

/// How deep forms may be drawn within forms.
const DEPTH_MAX: u32 = 16;

/// A stream of a file.
pub(super) struct Stream {
    /// The objects that it may be.
    pub(super) objects: Vec<u64>,
    pub(super) bytes: Vec<u8>,
    /// Drawn, it is an image.
    pub(super) is_image: bool,
}

/// The streams of a file, and what refers to them.
#[derive(Default)]
pub(super) struct Drawing {
    pub(super) streams: Vec<Stream>,
    /// How often a page draws an object as its content.
    pub(super) contents: HashMap<u64, u64>,
    /// References to an object.
    pub(super) references: HashMap<u64, u64>,
    /// The objects that the hash of a name refers to anywhere.
    pub(super) named: HashMap<u64, BTreeSet<u64>>,
    /// Bytes of the strings outside of streams.
    pub(super) loose_bytes: u64,
}

impl Drawing {
    /// Upper bound of the tokens of all text that is drawn; `None`: it has no bound that can be read.
    pub(super) fn text_bytes(&self) -> Option<u64> {
        let mut unicode = Unicode::default();
        for stream in self.streams.iter().filter(|stream| memmem::find(&stream.bytes, b"beginbf").is_some()) {
            unicode.learn(&stream.bytes);
        }
        if unicode.hidden {
            return None;
        }
        let by_object = self.by_object();
        // What a page draws stands in the file itself: a list of streams in an object of its own could repeat them.
        if self.contents.keys().any(|object| !by_object.contains_key(object)) {
            return None;
        }
        let contents: Vec<Content> = self.streams.iter().map(|stream| self.content(stream, &unicode)).collect();
        let drawn_names = contents.iter().flat_map(|content| content.draws.keys());
        let drawn: BTreeSet<u64> = drawn_names.filter_map(|name| self.named.get(name)).flatten().copied().collect();
        let mut forms =
            Forms { named: &self.named, by_object, contents: &contents, names: HashMap::new(), known: HashMap::new() };
        let mut total = self.loose_bytes;
        for (stream, content) in self.streams.iter().zip(&contents) {
            let of_all = |counts: &HashMap<u64, u64>| {
                stream.objects.iter().filter_map(|object| counts.get(object)).copied().fold(0, u64::saturating_add)
            };
            let times = match of_all(&self.contents) {
                0 if stream.objects.iter().any(|object| drawn.contains(object)) => 0,
                0 => of_all(&self.references).max(1),
                pages => pages,
            };
            if times > 0 {
                total = total.saturating_add(times.saturating_mul(forms.expanded(content, 0)?));
            }
        }
        Some(total)
    }

    fn by_object(&self) -> HashMap<u64, Vec<usize>> {
        let mut by_object: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, stream) in self.streams.iter().enumerate() {
            stream.objects.iter().for_each(|object| by_object.entry(*object).or_default().push(at));
        }
        by_object
    }

    /// What a stream draws. Data of an image or of a font draws nothing, but could be read as strings.
    fn content(&self, stream: &Stream, unicode: &Unicode) -> Content {
        let is_content = stream.objects.iter().any(|object| self.contents.contains_key(object));
        match is_content || !stream.is_image && content::shows_text(&stream.bytes) {
            true => content::read(&stream.bytes, unicode),
            // A form that shows nothing itself may draw others.
            false if !stream.is_image => {
                Content { draws: content::read(&stream.bytes, unicode).draws, ..Content::default() }
            }
            false => Content::default(),
        }
    }
}

struct Forms<'a> {
    named: &'a HashMap<u64, BTreeSet<u64>>,
    by_object: HashMap<u64, Vec<usize>>,
    contents: &'a [Content],
    /// What a name draws, of all that it may stand for the most.
    names: HashMap<u64, u64>,
    /// The same for an object.
    known: HashMap<u64, u64>,
}

impl Forms<'_> {
    /// The text of a content with that of the forms that it draws; `None`: they draw each other, or something unknown.
    fn expanded(&mut self, content: &Content, depth: u32) -> Option<u64> {
        let mut text = content.text;
        for (name, times) in &content.draws {
            text = text.saturating_add(times.saturating_mul(self.of_name(*name, depth)?));
        }
        Some(text)
    }

    fn of_name(&mut self, name: u64, depth: u32) -> Option<u64> {
        if let Some(known) = self.names.get(&name) {
            return Some(*known);
        }
        if depth > DEPTH_MAX {
            return None;
        }
        let mut most = 0;
        for object in self.named.get(&name)? {
            most = most.max(self.of_object(*object, depth)?);
        }
        self.names.insert(name, most);
        Some(most)
    }

    fn of_object(&mut self, object: u64, depth: u32) -> Option<u64> {
        if let Some(known) = self.known.get(&object) {
            return Some(*known);
        }
        let contents = self.contents;
        let streams = self.by_object.get(&object).cloned().unwrap_or_default();
        let mut most = 0;
        for at in streams {
            most = most.max(self.expanded(&contents[at], depth + 1)?);
        }
        self.known.insert(object, most);
        Some(most)
    }
}
