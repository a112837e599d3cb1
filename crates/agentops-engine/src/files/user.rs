//! `config.toml` in the user's own settings folder: where model calls go, what a day may cost, where figures are sent. Never read
//! from a repository: whoever names a destination gets the keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_core::budget::{Limits, Usd};
use agentops_core::ceiling::Window;
use agentops_core::models::UserWindows;
use agentops_core::workflow::Secrets;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FileError;
use crate::slots;

/// The name of the file in the user's settings folder.
pub const FILE_NAME: &str = "config.toml";

/// The user's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(rename = "user-config")]
pub struct UserConfig {
    /// The gateway between agents and model providers.
    pub gateway: GatewayConfig,
    /// Models by the name that programs ask for them by.
    pub models: BTreeMap<String, ModelConfig>,
    /// What all runs of a repository may cost on one day (UTC).
    pub budget: DayBudget,
    /// How much of the machine runs may use at once.
    pub machine: MachineConfig,
    /// Where figures are sent; nowhere unless it is set here or by OpenTelemetry's own variables.
    pub telemetry: TelemetryConfig,
}

/// The gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GatewayConfig {
    /// Files with certificates (PEM) that are trusted besides the system's, for a proxy that opens TLS.
    pub extra_ca: Vec<PathBuf>,
    /// What happens to what looks like a secret in calls that are about to leave, in `agentops with` and `agentops gateway`;
    /// absent: `pass`. In runs the workflow says it.
    pub secrets: Option<Secrets>,
    /// What happens to a session whose agent pins a model when another one answers: `stop` (the default) or `note`.
    pub other_model: OtherModel,
    /// Destinations by name. `anthropic`, `openai` and `google` are known; naming one here changes its address for sessions
    /// that use a key, never for those that use a login.
    pub destination: BTreeMap<String, DestinationConfig>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelConfig {
    /// Its context window in tokens, for a model that our table does not know. It can make the window of a known one only
    /// smaller.
    #[schemars(range(min = 1))]
    pub window: u64,
}

impl UserConfig {
    /// The windows of models.
    #[must_use]
    pub fn windows(&self) -> UserWindows {
        let windows = self.models.iter().filter_map(|(name, model)| Some((name.clone(), Window::new(model.window)?)));
        windows.collect()
    }
}

/// What happens to a session when another model answers than the one that its agent pins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OtherModel {
    /// It is stopped.
    #[default]
    Stop,
    /// It is named once in the session's trail and counted; the session goes on.
    Note,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DestinationConfig {
    /// Its address without the path of an endpoint: `https://host[:port][/prefix]`. Plain http only to this machine.
    pub base_url: String,
    /// How the key is shown: as `anthropic`, `openai` or `google` do. Needed for a name that is not one of these.
    pub protocol: Option<String>,
    /// The environment variable that holds the key. Needed for a name that is not one of the known three.
    pub key_env: Option<String>,
    /// Plain http to another machine is wanted: keys and prompts cross the network unencrypted.
    #[serde(default)]
    pub insecure: bool,
}

/// Limits of a day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DayBudget {
    /// Tokens, input and output together.
    pub day_tokens: Option<u64>,
    /// US dollars at list prices.
    pub day_usd: Option<f64>,
}

impl DayBudget {
    /// As limits of a budget.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { tokens: self.day_tokens, micro_usd: self.day_usd.and_then(Usd::from_dollars).map(|usd| usd.0) }
    }
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MachineConfig {
    /// Sessions, gates and lane set-ups that run at once, over all repositories of this user; 1 to 1024. The others wait.
    /// Absent: twice the number of CPUs, at least 4 and at most 64.
    pub slots: Option<u16>,
}

impl MachineConfig {
    /// The number of slots.
    #[must_use]
    pub fn slots(&self) -> u16 {
        self.slots.unwrap_or_else(slots::default_count)
    }
}

/// Telemetry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TelemetryConfig {
    /// An OTLP/HTTP receiver, `http://127.0.0.1:4318`.
    pub endpoint: Option<String>,
    /// The project to appear under, for receivers that sort by projects.
    pub project: Option<String>,
}

const HINT: &str = "`agentops schema user-config` prints every key that is allowed";

/// Reads the user's settings; all absent when there is no file.
///
/// # Errors
/// The file cannot be read, has an unknown key, or a value that cannot be, with line and column.
pub fn read(path: &Path) -> Result<UserConfig, FileError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(UserConfig::default()),
        Err(e) => return Err(FileError::unreadable(path, &e)),
    };
    let config: UserConfig = super::from_toml(path, &text, HINT)?;
    let wrong = |word: &str, problem: String| Err(FileError::at(path, &text, text.find(word), problem, HINT));
    let day = &config.budget;
    if day.day_tokens == Some(0) || day.day_usd.is_some_and(|usd| Usd::from_dollars(usd).is_none_or(|usd| usd.0 == 0)) {
        return wrong(
            "day-",
            "budget: a limit is a number above 0, in dollars with at most six digits behind the point".into(),
        );
    }
    if config.machine.slots.is_some_and(|slots| !(1..=slots::SLOTS_MAX).contains(&slots)) {
        return wrong("slots", format!("machine.slots: a number from 1 to {}", slots::SLOTS_MAX));
    }
    for (name, destination) in &config.gateway.destination {
        let known = ["anthropic", "openai", "google"];
        let protocol = destination.protocol.as_deref();
        if protocol.is_some_and(|protocol| !known.contains(&protocol)) {
            return wrong(name, format!("gateway.destination.{name}: protocol is one of {}", known.join(", ")));
        }
        let is_variable = |name: &String| {
            let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(in_name) && !name.starts_with(|first: char| first.is_ascii_digit())
        };
        if !destination.key_env.as_ref().is_none_or(is_variable) {
            // It may be the key itself, so it is not repeated.
            let problem = format!("gateway.destination.{name}: key-env is the name of a variable that holds the key");
            return wrong(name, problem);
        }
        if !known.contains(&name.as_str()) && (protocol.is_none() || destination.key_env.is_none()) {
            return wrong(
                name,
                format!("gateway.destination.{name}: protocol and key-env are needed for a destination of your own"),
            );
        }
    }
    if let Some((name, _)) = config.models.iter().find(|(_, model)| model.window == 0) {
        return wrong(name, format!("models.{name}: a window is a number of tokens above 0"));
    }
    if let Some(file) = config.gateway.extra_ca.iter().find(|file| !file.is_absolute()) {
        return wrong("extra-ca", format!("gateway.extra-ca: {} is not an absolute path", file.display()));
    }
    Ok(config)
}
