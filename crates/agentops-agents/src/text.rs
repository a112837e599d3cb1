//! Small things that every protocol does with a program's text.

use crate::driver::{AgentEvent, Effect};

/// What a description of a tool call may take.
pub(crate) const DETAIL_CHARS: usize = 200;
/// How many lines that are no protocol are shown.
const NOTES_MAX: u32 = 20;

/// The first characters of a text, on one line.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.clone().take(chars).collect();
    if line.count() > chars {
        short.push('…');
    }
    short
}

/// Lines of a program that are not its protocol: the first few become notes, the rest is silence.
#[derive(Debug, Default)]
pub(crate) struct Unparsed {
    seen: u32,
}

impl Unparsed {
    pub(crate) fn line(&mut self, line: &str) -> Vec<Effect> {
        if line.trim().is_empty() {
            return Vec::new();
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen > NOTES_MAX {
            return Vec::new();
        }
        vec![Effect::Event(AgentEvent::Note(format!("not a line of the protocol: {}", cut(line, DETAIL_CHARS))))]
    }
}
