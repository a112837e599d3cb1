//! `.agentops/config.toml` of a repository: data until it is trusted.

use std::path::{Path, PathBuf};

use agentops_core::workflow::raw::RawLaneSetup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FileError;

/// Where a repository keeps its settings.
pub const CONFIG_PATH: &str = ".agentops/config.toml";

/// Settings of a repository. They may narrow what the user set, never widen it; what would run needs trust.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "config")]
pub struct Config {
    /// The workflow that `agentops run` takes when none is named.
    pub workflow: Option<String>,
    /// The driver of agents that name none: `claude`, `codex`, `opencode`, `gemini`, `acp`, `command`.
    pub driver: Option<String>,
    /// Commands of this repository.
    #[serde(default)]
    pub commands: Commands,
    /// How a lane's work tree is made ready.
    #[serde(default)]
    pub lane: RawLaneSetup,
}

/// Commands of a repository; argument vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Commands {
    /// Runs the tests.
    pub test: Option<Vec<String>>,
}

/// Reads the settings of the repository at `root`; all absent when there is no file.
///
/// # Errors
/// The file cannot be read or has an unknown key, with line and column.
pub fn read(root: &Path) -> Result<Config, FileError> {
    let path: PathBuf = root.join(CONFIG_PATH);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(e) => return Err(FileError::unreadable(&path, &e)),
    };
    let config: Config = super::from_toml(&path, &text, "`agentops schema config` prints every key that is allowed")?;
    if config.commands.test.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
        let problem = "commands.test: is an argument vector such as [\"cargo\", \"test\"]".to_owned();
        return Err(FileError::at(
            &path,
            &text,
            text.find("test"),
            problem,
            "`agentops schema config` prints what is allowed",
        ));
    }
    Ok(config)
}
