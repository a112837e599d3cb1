//! An agent: a named role in a Markdown file with front matter, in the format of Claude Code subagents.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{BlobId, Name};

/// The front matter of an agent file. `name`, `description`, `tools` and `model` are Claude Code's; the rest is ours and
/// optional. Keys that other programs put there are allowed and ignored, so that public collections work as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "agent")]
pub struct FrontMatter {
    /// The agent's name.
    pub name: String,
    /// When to use it, in one or two sentences.
    #[serde(default)]
    pub description: String,
    /// Tools it may use, as a list or separated by commas; absent: those that the phase allows.
    pub tools: Option<Tools>,
    /// The model as its program names it; `inherit` or absent: the program's default.
    pub model: Option<String>,
    /// The driver: `claude`, `codex`, `opencode`, `gemini`, `acp`, `command`, `scripted`. Absent: the run's.
    pub driver: Option<String>,
    /// The model's context window in tokens, where neither program nor table knows it.
    pub window: Option<u64>,
    /// Settings of the driver, e.g. `program`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// A list of tools in either of the two spellings in use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tools {
    /// `[Read, Grep]`
    List(Vec<String>),
    /// `Read, Grep`
    Line(String),
}

impl Tools {
    /// The names, trimmed, without empty ones. A comma inside parentheses belongs to the name: `Bash(git log, git show)`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Tools::List(names) => names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            Tools::Line(line) => {
                let mut names = vec![String::new()];
                let mut depth = 0u32;
                for c in line.chars() {
                    match c {
                        '(' => depth += 1,
                        ')' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    match names.last_mut() {
                        Some(last) if c != ',' || depth > 0 => last.push(c),
                        _ => names.push(String::new()),
                    }
                }
                names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
            }
        }
    }
}

/// An agent as a run uses it: fixed at the start, found again by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRef {
    /// The agent file's hash.
    pub hash: BlobId,
    /// The agent's prompt.
    pub prompt: BlobId,
    /// The driver it runs under.
    pub driver: Name,
    /// The version its program printed when the run started.
    pub version: String,
    /// The model asked for.
    pub model: Option<String>,
    /// The window that the agent file names.
    pub window: Option<u64>,
    /// Tools it is held to.
    pub tools: Option<Vec<String>>,
    /// Driver settings.
    pub settings: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_tools() {
        assert_eq!(
            Tools::Line("Read, Grep,Bash(git log, git show) ,".into()).names(),
            ["Read", "Grep", "Bash(git log, git show)"]
        );
        assert_eq!(Tools::List(vec![" Read".into(), String::new()]).names(), ["Read"]);
    }
}
