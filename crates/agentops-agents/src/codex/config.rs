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

/// The table of the program's sandbox for writers, and its key for folders that it opens beside the work tree and the
/// temporary folders.
const SANDBOX: &str = "sandbox_workspace_write";
const WRITABLE_ROOTS: &str = "writable_roots";

/// The options of the settings `model_provider` and `config`; `writable`: one more folder for the sandbox of writers.
pub(super) fn of_agent_file(settings: &Settings, writable: Option<&str>) -> Result<Vec<String>, DriverError> {
    let mut options = Vec::new();
    let mut roots: Vec<toml::Value> = writable.into_iter().map(toml::Value::from).collect();
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
            match (key.strip_prefix(SANDBOX), value) {
                // A table is set key by key: a later option for one of its keys would take its place.
                (Some(""), toml::Value::Table(table)) => {
                    for (key, value) in table {
                        sandbox(&format!(".{key}"), value, &mut roots, &mut options)?;
                    }
                }
                (Some(""), _) => return Err(refuse("config", format!("`{SANDBOX}` must be an object"))),
                (Some(within), value) if within.starts_with('.') => sandbox(within, value, &mut roots, &mut options)?,
                (_, value) => options.push(format!("{key}={value}")),
            }
        }
    }
    if !roots.is_empty() {
        options.push(format!("{SANDBOX}.{WRITABLE_ROOTS}={}", toml::Value::Array(roots)));
    }
    options.extend(settings.get("model_provider").map(|name| format!("model_provider={}", quoted(name))));
    Ok(options)
}

/// One key of the sandbox's table. `within`: the key with the dot before it.
fn sandbox(
    within: &str,
    value: toml::Value,
    roots: &mut Vec<toml::Value>,
    options: &mut Vec<String>,
) -> Result<(), DriverError> {
    if !is_dotted_key(&within[1..]) {
        return Err(refuse("config", format!("`{SANDBOX}` has a key that is not of letters, digits, `_` and `-`")));
    }
    match value {
        // The last option of a key wins, so there must be one.
        toml::Value::Array(more) if within[1..] == *WRITABLE_ROOTS => roots.extend(more),
        _ if within[1..] == *WRITABLE_ROOTS => {
            return Err(refuse("config", format!("`{SANDBOX}.{WRITABLE_ROOTS}` must be a list of folders")));
        }
        value => options.push(format!("{SANDBOX}{within}={value}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(config: &str) -> Result<Vec<String>, DriverError> {
        of_agent_file(&Settings::from([("config".to_owned(), config.to_owned())]), None)
    }

    #[test]
    fn a_folder_of_ours_is_added_to_those_of_the_agent_file() {
        let config = r#"{"sandbox_workspace_write.writable_roots": ["/theirs"]}"#;
        let settings = Settings::from([("config".to_owned(), config.to_owned())]);
        let both = of_agent_file(&settings, Some("/lane/.git")).unwrap();
        assert_eq!(both, [r#"sandbox_workspace_write.writable_roots=["/lane/.git", "/theirs"]"#]);
        let ours = of_agent_file(&Settings::new(), Some("/lane/.git")).unwrap();
        assert_eq!(ours, [r#"sandbox_workspace_write.writable_roots=["/lane/.git"]"#]);
    }

    #[test]
    fn the_sandbox_may_be_set_as_a_table_and_loses_nothing() {
        let config = r#"{"sandbox_workspace_write": {"network_access": true, "writable_roots": ["/theirs"]}}"#;
        let settings = Settings::from([("config".to_owned(), config.to_owned())]);
        let options = of_agent_file(&settings, Some("/lane/.git")).unwrap();
        let wanted = [
            "sandbox_workspace_write.network_access=true",
            r#"sandbox_workspace_write.writable_roots=["/lane/.git", "/theirs"]"#,
        ];
        assert_eq!(options, wanted);
        let other = r#"{"sandbox_workspace_write_other": 1}"#;
        let settings = Settings::from([("config".to_owned(), other.to_owned())]);
        assert_eq!(of_agent_file(&settings, None).unwrap(), ["sandbox_workspace_write_other=1"]);
        for refused in [
            r#"{"sandbox_workspace_write": true}"#,
            r#"{"sandbox_workspace_write": {"writable_roots": "/theirs"}}"#,
            r#"{"sandbox_workspace_write.writable_roots": "/theirs"}"#,
            r#"{"sandbox_workspace_write": {"a=1\nb": true}}"#,
        ] {
            let settings = Settings::from([("config".to_owned(), refused.to_owned())]);
            assert!(of_agent_file(&settings, Some("/lane/.git")).is_err(), "{refused}");
        }
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
        assert_eq!(of_agent_file(&provider, None).unwrap(), [r#"model_provider="mine""#]);
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
