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

/// A list of tools in any of the spellings in use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tools {
    /// `[Read, Grep]`
    List(Vec<String>),
    /// `Read, Grep` as subagents write it, or `Read Grep` as Agent Skills do.
    Line(String),
}

impl Tools {
    /// The names, trimmed, without empty ones. Commas and spaces inside parentheses belong to the name:
    /// `Bash(git log, git show)`, `Bash(git add:*)`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Tools::List(names) => names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            Tools::Line(line) => names_of_line(line),
        }
    }
}

fn names_of_line(line: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut name = String::new();
    let mut depth = 0u32;
    for c in line.chars() {
        let separates = depth == 0 && (c == ',' || c.is_whitespace());
        if separates {
            if !name.is_empty() {
                names.push(std::mem::take(&mut name));
            }
            continue;
        }
        if c == '(' && name.is_empty() {
            // `Bash (git log)`: parentheses belong to the tool before them.
            name = names.pop().unwrap_or_default();
        }
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        name.push(c);
    }
    let name = name.trim_end();
    if !name.is_empty() {
        names.push(name.to_owned());
    }
    names
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
    fn all_spellings_of_tools() {
        let line = |text: &str| Tools::Line(text.into()).names();
        assert_eq!(line("Read, Grep,Bash(git log, git show) ,"), ["Read", "Grep", "Bash(git log, git show)"]);
        assert_eq!(line("Read Grep Bash(python:*)"), ["Read", "Grep", "Bash(python:*)"]);
        assert_eq!(line("Bash(git add:*) Bash(git log -1)\tRead"), ["Bash(git add:*)", "Bash(git log -1)", "Read"]);
        assert_eq!(line("Read, Bash (git add:*) mcp__a__b"), ["Read", "Bash(git add:*)", "mcp__a__b"]);
        assert_eq!(line("Bash(f(x), g) Read"), ["Bash(f(x), g)", "Read"]);
        assert_eq!(line("Read) Bash(never closed"), ["Read)", "Bash(never closed"]);
        assert_eq!(line(" , "), [""; 0]);
        assert_eq!(Tools::List(vec![" Read".into(), String::new()]).names(), ["Read"]);
    }
}
