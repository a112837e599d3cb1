//! What happened in a run, in one form for every agent program.

/// The longest text of one event, in bytes; a longer one keeps its beginning and its end.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// What kind of thing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// What the agent program told the model about its work in general.
    System,
    /// What a person asked for, at the start or later.
    Task,
    /// What the agent thought or said.
    Said,
    /// A command or another tool call, as text.
    Command,
    /// What came back.
    Output {
        /// Whether the tool said that it failed.
        failed: bool,
    },
    /// Lines that a tool wrote into a file.
    Edit {
        /// The file.
        path: String,
        /// What stood there before, where the tool said so.
        old: String,
    },
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The number of its message, or of its line in the file.
    pub at: usize,
    /// Its kind.
    pub kind: Kind,
    /// Its words.
    pub text: String,
}

/// What was read from a source.
#[derive(Debug, Default)]
pub struct Events {
    /// In order.
    pub list: Vec<Event>,
    /// What `at` counts: `message` or `line`.
    pub unit: &'static str,
    /// Lines that are not JSON, or not to their end.
    pub unparsed: Vec<u64>,
    /// Records that say nothing of the run.
    pub metadata: Vec<u64>,
    /// Whether the last event may still grow by pieces that were streamed.
    open: bool,
}

impl Events {
    /// No events yet.
    pub fn new(unit: &'static str) -> Self {
        Self { unit, ..Self::default() }
    }

    /// Changes with every event and every piece of one.
    pub fn size(&self) -> (usize, usize) {
        (self.list.len(), self.list.last().map_or(0, |last| last.text.len()))
    }

    /// Adds one, if it says anything.
    pub fn push(&mut self, at: usize, kind: Kind, text: impl Into<String>) {
        self.open = false;
        let text = bounded(text.into());
        if !text.trim().is_empty() || matches!(kind, Kind::Edit { .. }) {
            self.list.push(Event { at, kind, text });
        }
    }

    /// Adds a piece of something that is streamed: it goes on with the last piece of its kind.
    pub fn push_piece(&mut self, at: usize, kind: Kind, text: &str) {
        match self.list.last_mut() {
            Some(last) if self.open && last.kind == kind && last.text.len() + text.len() <= EVENT_BYTES_MAX => {
                last.text.push_str(text);
            }
            _ => {
                self.push(at, kind, text);
                self.open = true;
            }
        }
    }
}

/// The text without its middle, if it is too long.
fn bounded(text: String) -> String {
    if text.len() <= EVENT_BYTES_MAX {
        return text;
    }
    let (head, tail) = (floor(&text, EVENT_BYTES_MAX / 2), floor(&text, text.len() - EVENT_BYTES_MAX / 2));
    format!("{}\n[… {} bytes …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// The last place that is at most `at` and between two characters.
pub fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
