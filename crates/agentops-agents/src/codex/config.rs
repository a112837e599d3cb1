//! Keys of Codex's configuration as its `-c` option takes them, `key=value` with the value in TOML.

use std::collections::BTreeMap;

use crate::driver::DriverError;
use crate::settings::{Settings, refuse};

/// What an agent file may not say: these decide what a session may do, what else is started, and when context is dropped.
const OURS: &[&str] = &[
    "approval_policy",
    "default_permissions",
    "hooks",
    "model_auto_compact_token_limit",
    "notify",
    "permissions",
    "profile",
    "profiles",
    "projects",
    "sandbox_mode",
];

/// A text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn is_dotted_key(key: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    key.split('.').all(is_part)
}

/// The options of the settings `model_provider` and `config`.
pub(super) fn of_agent_file(settings: &Settings) -> Result<Vec<String>, DriverError> {
    let mut options = Vec::new();
    if let Some(text) = settings.get("config") {
        let values: BTreeMap<String, toml::Value> = serde_json::from_str(text)
            .map_err(|error| refuse("config", format!("must be a JSON object without null ({error})")))?;
        for (key, value) in values {
            if !is_dotted_key(&key) {
                return Err(refuse("config", format!("`{key}` is not a dotted key of letters, digits, `_` and `-`")));
            }
            if key.split('.').next().is_some_and(|first| OURS.contains(&first)) {
                return Err(refuse("config", format!("`{key}` is not an agent file's to set")));
            }
            options.push(format!("{key}={value}"));
        }
    }
    options.extend(settings.get("model_provider").map(|name| format!("model_provider={}", quoted(name))));
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(config: &str) -> Result<Vec<String>, DriverError> {
        of_agent_file(&Settings::from([("config".to_owned(), config.to_owned())]))
    }

    #[test]
    fn values_become_toml() {
        let got = options(r#"{"a.b": "x\"y", "n": 3, "t": {"k": [true], "s": "z"}}"#).unwrap();
        assert_eq!(got.len(), 3);
        for option in &got {
            assert!(!option.contains('\n'), "{option}");
            toml::from_str::<toml::Table>(option).unwrap_or_else(|error| panic!("{option}: {error}"));
        }
        let provider = Settings::from([("model_provider".to_owned(), "mine".to_owned())]);
        assert_eq!(of_agent_file(&provider).unwrap(), [r#"model_provider="mine""#]);
    }

    #[test]
    fn what_holds_a_session_is_not_an_agent_files_to_set() {
        for config in [
            r#"{"sandbox_mode": "danger-full-access"}"#,
            r#"{"permissions.agentops.filesystem": {}}"#,
            r#"{"notify": ["sh"]}"#,
            r#"{"\"notify\"": ["sh"]}"#,
            r#"{"a=1\nb": 2}"#,
            r#"{"a": null}"#,
            "[]",
        ] {
            assert!(options(config).is_err(), "{config}");
        }
    }
}
