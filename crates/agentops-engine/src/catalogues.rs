//! Catalogues: collections of agents that the user added, kept as data in their own settings folder.
//!
//! A catalogue is `<config>/agentops/catalogues/<name>/`: a manifest with a hash for every file, and the files' texts. Nothing in
//! it runs, and nothing of it is read by an agent that was not chosen. A text that is not what its hash says is not used.
//!
//! The texts lie in a folder that the manifest names, so one rename of the manifest is the whole change: after a crash there is
//! the old catalogue or the new one. What an interrupted change left is removed by the next one.

pub mod gather;
mod store;

use std::path::{Path, PathBuf};

use agentops_core::id::{BlobId, Name};
use agentops_git::plain_file;
use agentops_route::catalogue::{Entry, FILE_BYTES_MAX, Markdown, MarkdownError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use store::{Change, Store};

use crate::blobs;

/// The format of manifests that this program writes.
pub const FORMAT: u32 = 1;
/// A catalogue's own file.
const MANIFEST: &str = "manifest.json";

/// What a catalogue says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The format, 1.
    pub format: u32,
    /// The catalogue's name.
    pub name: Name,
    /// Where it was added from, without passwords and tokens.
    pub source: String,
    /// The folder of the source that was taken; absent: all of it.
    pub folder: Option<String>,
    /// The commit, where the source is a git repository.
    pub commit: Option<String>,
    /// The hash over all agents.
    pub hash: BlobId,
    /// The folder with the texts, beside the manifest.
    pub texts: String,
    /// The agents, by label.
    pub agents: Vec<Pinned>,
}

/// An agent of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pinned {
    /// What tells it from every other agent.
    pub label: String,
    /// Its name; others may have the same.
    pub name: String,
    /// Its group in the collection; empty: none.
    pub group: String,
    /// Its file, from the root of what was taken.
    pub path: String,
    /// The hash of its text as it is kept: redacted, else as it was.
    pub hash: BlobId,
    /// What about its file is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// There is none of that name.
    #[error("there is no catalogue `{name}`")]
    Absent {
        /// The name.
        name: Name,
    },
    /// A newer program wrote it.
    #[error("catalogue `{name}` has format {found}; this program knows {FORMAT}")]
    Newer {
        /// Which one.
        name: String,
        /// Its format.
        found: u64,
    },
    /// Its manifest is not what this program writes.
    #[error("the manifest of catalogue `{name}` was changed: {what}")]
    Changed {
        /// Which one.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// A text is not what its hash says.
    #[error("agent `{label}` is not used: its file is not the one that was added")]
    Altered {
        /// The agent.
        label: String,
    },
    /// A file is no agent after all.
    #[error("agent `{label}` cannot be used")]
    NoAgent {
        /// The agent.
        label: String,
        /// Why.
        source: MarkdownError,
    },
    /// The name is taken by another source.
    #[error("there is a catalogue `{name}` already, from {source_there}")]
    Taken {
        /// The name.
        name: Name,
        /// Where that one is from.
        source_there: String,
    },
    /// There is no agent in it.
    #[error("there are no agents in {place}")]
    Nothing {
        /// The source.
        place: String,
    },
    /// Another process changes catalogues.
    #[error("another process is changing catalogues")]
    Busy,
    /// The disk refused.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl CatalogueError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl Manifest {
    /// The hash over labels, paths and texts.
    fn hash_of(agents: &[Pinned]) -> BlobId {
        let mut text = String::from("agentops catalogue 1\n");
        for agent in agents {
            // Lengths first: no text can be moved from one field to the next without changing the hash.
            for field in [agent.label.as_str(), &agent.path, agent.hash.as_str()] {
                text.push_str(&format!("{} {field}\n", field.len()));
            }
        }
        blobs::hash(text.as_bytes())
    }
}

/// A catalogue whose manifest was read and is sound.
#[derive(Debug, Clone)]
pub struct Catalogue {
    folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Catalogue {
    /// Where an agent's text lies.
    #[must_use]
    pub fn path(&self, agent: &Pinned) -> PathBuf {
        self.folder.join(&self.manifest.texts).join(&agent.path)
    }

    /// An agent's text, checked against its hash.
    ///
    /// # Errors
    /// The file is gone or is not the one that was added.
    pub fn text(&self, agent: &Pinned) -> Result<String, CatalogueError> {
        let altered = || CatalogueError::Altered { label: agent.label.clone() };
        let bytes = plain_file::read(&self.path(agent), FILE_BYTES_MAX as u64).map_err(|_| altered())?;
        if blobs::hash(&bytes) != agent.hash {
            return Err(altered());
        }
        String::from_utf8(bytes).map_err(|_| altered())
    }

    /// An agent, read.
    ///
    /// # Errors
    /// As [`Catalogue::text`].
    pub fn read(&self, agent: &Pinned) -> Result<(Markdown, String), CatalogueError> {
        let text = self.text(agent)?;
        let read = Markdown::read(text.as_bytes())
            .map_err(|source| CatalogueError::NoAgent { label: agent.label.clone(), source })?;
        Ok((read, text))
    }

    /// All agents as routing sees them, and what is wrong with the others.
    #[must_use]
    pub fn entries(&self) -> (Vec<Entry>, Vec<CatalogueError>) {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for agent in &self.manifest.agents {
            match self.read(agent) {
                Ok((read, _)) => entries.push(read.entry(&agent.label, &agent.group)),
                Err(problem) => problems.push(problem),
            }
        }
        (entries, problems)
    }
}

/// The name that an agent of a catalogue has inside a run, where a label would be a path: its own name in letters that fit,
/// and six digits of its label's hash, so that two agents of one name stay two.
#[must_use]
pub fn run_name(agent: &Pinned) -> Name {
    let mut word = String::new();
    for c in agent.name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            word.push(c);
        } else if !word.is_empty() && !word.ends_with('-') {
            word.push('-');
        }
    }
    let word = word.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let word = word[..word.len().min(50)].trim_end_matches('-');
    let word = if word.is_empty() { "agent" } else { word };
    let hash = blobs::hash(agent.label.as_bytes());
    format!("{word}-{}", &hash.as_str()[..6])
        .parse()
        .unwrap_or_else(|_| unreachable!("letters, digits and dashes are a name"))
}

/// The name that a catalogue gets where none is given: the last part of its source.
#[must_use]
pub fn name_of(source: &str) -> Option<Name> {
    let last = source.trim_end_matches('/').rsplit(['/', ':']).find(|part| !part.is_empty())?;
    let last = last.strip_suffix(".git").unwrap_or(last);
    let word: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let word = word.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    word[..word.len().min(64)].trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests;
