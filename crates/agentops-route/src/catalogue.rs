//! What can be routed to: agents and skills as public collections write them.
//!
//! Files of others are read as leniently as a person would read them: front matter that is no YAML is read by lines, a missing
//! name is the file's, a missing description is the body's business. What was made of a file is said in its notes.

mod examples;
mod front;
pub mod layout;
pub mod rules;

use agentops_core::agent::FrontMatter;
use serde::{Deserialize, Serialize};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// The longest description, in bytes; what is beyond is cut.
pub const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// What of the instructions is used for ranking, in bytes. Later text is detail that tells agents apart no better.
pub const BODY_BYTES_MAX: usize = 8 * 1024;
/// The longest name and group, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// The most example requests of one agent.
pub const EXAMPLES_MAX: usize = 16;
/// The longest example request, in bytes.
pub const EXAMPLE_BYTES_MAX: usize = 1024;

/// An agent as routing sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What tells it from every other one, e.g. `collection/testing/e2e-runner`. Two agents of one name have two labels.
    pub label: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The group that its collection puts it in; empty: none.
    #[serde(default)]
    pub group: String,
    /// What it is for, without example requests.
    #[serde(default)]
    pub description: String,
    /// The beginning of its instructions.
    #[serde(default)]
    pub body: String,
    /// Requests that its author gave as examples.
    #[serde(default)]
    pub examples: Vec<String>,
}

/// Why a file is no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkdownError {
    /// It is too large.
    #[error("has {bytes} bytes; {FILE_BYTES_MAX} are the most for an agent")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is no text.
    #[error("is no text in UTF-8")]
    NotText,
    /// It says nothing: neither a description nor instructions.
    #[error("has neither a description nor instructions")]
    Empty,
}

/// What was made of a file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// There is no front matter: the whole file is instructions.
    NoFrontMatter,
    /// The front matter is no YAML and was read by lines.
    NotYaml,
    /// It has no name of its own.
    NoName,
    /// It has no description: name and instructions stand for it.
    NoDescription,
    /// The description was cut.
    DescriptionCut,
    /// Keys that would choose what program runs or how it is held. They are not used.
    Ignored {
        /// The keys.
        keys: Vec<String>,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::NoFrontMatter => f.write_str("no front matter: the whole file is its instructions"),
            Note::NotYaml => f.write_str("its front matter is no YAML and was read by lines"),
            Note::NoName => f.write_str("no name of its own: the file's name stands for it"),
            Note::NoDescription => f.write_str("no description: its name and instructions stand for it"),
            Note::DescriptionCut => write!(f, "its description was cut after {DESCRIPTION_BYTES_MAX} bytes"),
            Note::Ignored { keys } => {
                write!(f, "not used, because no collection chooses what program runs: {}", keys.join(", "))
            }
        }
    }
}

/// A file of a collection, read.
#[derive(Debug, Clone, Default)]
pub struct Markdown {
    /// Its front matter: name (may be empty), description without examples, tools, model. Never a driver, settings or a window.
    pub front: FrontMatter,
    /// Requests that stood in the description.
    pub examples: Vec<String>,
    /// Its instructions, whole.
    pub prompt: String,
    /// What is not as it should be.
    pub notes: Vec<Note>,
    /// The keys of its front matter, as written; absent: it has none.
    pub keys: Option<Vec<String>>,
}

impl Markdown {
    /// Reads a file's bytes. A byte order mark and line ends of any system are fine.
    ///
    /// # Errors
    /// It is too large, no text, or says nothing.
    pub fn read(bytes: &[u8]) -> Result<Self, MarkdownError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(MarkdownError::TooLarge { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MarkdownError::NotText)?;
        if text.contains('\0') {
            return Err(MarkdownError::NotText);
        }
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
        let mut notes = Vec::new();
        let (fields, prompt) = match front::split(&text) {
            Some((front, prompt)) => {
                let fields = front::Fields::strict(front).unwrap_or_else(|| {
                    notes.push(Note::NotYaml);
                    front::Fields::by_lines(front)
                });
                (Some(fields), prompt)
            }
            None => {
                notes.push(Note::NoFrontMatter);
                (None, text.as_str())
            }
        };
        let keys = fields.as_ref().map(front::Fields::keys);
        let (front, ignored) = fields.map(front::Fields::front_matter).unwrap_or_default();
        if !ignored.is_empty() {
            notes.push(Note::Ignored { keys: ignored });
        }
        let (description, examples) = examples::taken_out(&front.description);
        let mut read = Self { front, examples, prompt: prompt.trim().to_owned(), notes, keys };
        read.front.name = one_line(&read.front.name);
        read.front.description = beginning(&description, DESCRIPTION_BYTES_MAX).trim_end().to_owned();
        if description.len() > DESCRIPTION_BYTES_MAX {
            read.notes.push(Note::DescriptionCut);
        }
        if read.front.description.is_empty() && read.examples.is_empty() {
            read.notes.push(Note::NoDescription);
            if read.prompt.is_empty() {
                return Err(MarkdownError::Empty);
            }
        }
        if read.front.name.is_empty() {
            read.notes.push(Note::NoName);
        }
        Ok(read)
    }

    /// As routing sees it. Without a name of its own it has the last part of its label.
    #[must_use]
    pub fn entry(&self, label: &str, group: &str) -> Entry {
        let name = match self.front.name.as_str() {
            "" => one_line(label.rsplit('/').next().unwrap_or(label)),
            name => name.to_owned(),
        };
        Entry {
            label: label.to_owned(),
            name,
            group: one_line(group),
            description: self.front.description.clone(),
            body: beginning(&self.prompt, BODY_BYTES_MAX).to_owned(),
            examples: self.examples.clone(),
        }
    }
}

impl Entry {
    /// Reads a Markdown file of a collection: an agent, or a skill's `SKILL.md`.
    ///
    /// # Errors
    /// It is too large, no text, or says nothing.
    pub fn from_markdown(label: &str, group: &str, text: &str) -> Result<Self, MarkdownError> {
        Markdown::read(text.as_bytes()).map(|read| read.entry(label, group))
    }
}

/// The beginning of a text that has at most so many bytes and ends with a whole character.
fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A text as one short line.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    beginning(&line, NAME_BYTES_MAX).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
