//! Workflows, agents, profiles and settings as files.

pub mod config;
pub mod profile;
pub mod testcmd;
pub mod user;

use std::path::Path;

use agentops_core::agent::FrontMatter;
use agentops_core::workflow::raw::RawWorkflow;

/// What is wrong with a file, where, what is allowed, and what to type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FileError {
    /// `path:line:column`, as far as they are known.
    pub place: String,
    /// What is wrong and what is allowed.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl FileError {
    fn at(path: &Path, text: &str, offset: Option<usize>, problem: String, hint: &str) -> Self {
        let place = match offset {
            Some(offset) => {
                let before = &text.as_bytes()[..offset.min(text.len())];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
                format!("{}:{line}:{column}", path.display())
            }
            None => path.display().to_string(),
        };
        Self { place, problem, hint: hint.to_owned() }
    }

    /// A file that cannot be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self {
            place: path.display().to_string(),
            problem: format!("cannot be read: {error}"),
            hint: "check its permissions".into(),
        }
    }
}

/// Reads TOML into a type whose unknown keys are refused.
///
/// # Errors
/// With line and column.
pub fn from_toml<T: serde::de::DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Result<T, FileError> {
    toml::from_str(text)
        .map_err(|e| FileError::at(path, text, e.span().map(|span| span.start), e.message().to_owned(), hint))
}

/// Reads a workflow file. Its rules are checked later, against the repository.
///
/// # Errors
/// With line and column.
pub fn parse_workflow(path: &Path, text: &str) -> Result<RawWorkflow, FileError> {
    from_toml(path, text, "`agentops schema workflow` prints every key that is allowed")
}

/// Turns a broken rule of a workflow into an error with a place: the line where the phase or key it names stands.
#[must_use]
pub fn workflow_error(path: &Path, text: &str, error: &agentops_core::workflow::raw::WorkflowError) -> FileError {
    let mut parts = error.key.split('.');
    let offset = match (parts.next(), parts.next()) {
        (Some("phase"), Some(name)) => text.find(&format!("\"{name}\"")),
        (Some(key), _) => text.find(key),
        _ => None,
    };
    FileError::at(path, text, offset, error.to_string(), "`agentops schema workflow` prints every key that is allowed")
}

/// An agent file in two parts.
#[derive(Debug, Clone)]
pub struct AgentFile {
    /// The front matter.
    pub front: FrontMatter,
    /// The prompt.
    pub prompt: String,
}

/// Reads an agent file: YAML front matter between two lines `---`, then the prompt.
///
/// # Errors
/// With line and column.
pub fn parse_agent(path: &Path, text: &str) -> Result<AgentFile, FileError> {
    let hint = "an agent file begins with a line `---`, then `name:` and `description:`, then `---`, then the prompt; see `agentops schema agent`";
    let wrong = |offset, problem: String| FileError::at(path, text, offset, problem, hint);
    let body = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"));
    let Some(body) = body else { return Err(wrong(Some(0), "the first line must be `---`".into())) };
    let start = text.len() - body.len();
    let mut end = None;
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        if line.trim_end() == "---" {
            end = Some((at, at + line.len()));
            break;
        }
        at += line.len();
    }
    let Some((end, prompt)) = end else { return Err(wrong(Some(0), "the front matter has no closing line `---`".into())) };
    let front: FrontMatter = yaml_serde::from_str(&body[..end])
        .map_err(|e| wrong(Some(start + e.location().map_or(0, |location| location.index())), e.to_string()))?;
    if front.name.is_empty() {
        return Err(wrong(Some(start), "`name` is missing".into()));
    }
    Ok(AgentFile { front, prompt: body[prompt..].trim().to_owned() })
}

#[cfg(test)]
mod tests;
