//! Settings, policy and home of one session.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agentops_core::models;
use serde_json::{Value, json};
use toml::Table;

use crate::driver::{DriverError, SessionRequest};
use crate::environment::Environment;
use crate::rights::{Rights, Shell};

/// Standing instructions of a repository; the program reads them only in a folder that it trusts, so they are handed to it.
const STANDING: &[&str] = &["AGENTS.md", "GEMINI.md"];
/// What of one such file is handed on.
const STANDING_BYTES_MAX: u64 = 64 << 10;

/// The word of the program's settings for an API key.
pub(super) const KEY_LOGIN: &str = "gemini-api-key";

/// The largest budget that each of the models takes that think to one, in tokens: that of Gemini 2.5 Flash. Source: guide "Gemini
/// thinking" of the Gemini API, "Thinking budgets".
const THINKING_BUDGET_MAX: u64 = 24_576;

/// The permission of the group and of others to write.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// What the program is told about.
pub(super) struct Files {
    pub(super) home: PathBuf,
    pub(super) policy: PathBuf,
}

/// Writes them below the session's own folder.
pub(super) fn write(request: &SessionRequest, retries: Option<u64>) -> Result<Files, DriverError> {
    let home = request.scratch.join("gemini");
    let failed = |source| DriverError::Scratch { path: home.clone(), source };
    let own = home.join(".gemini");
    fs::create_dir_all(&own).map_err(failed)?;
    let files = Files { policy: home.join("policy.toml"), home: home.clone() };
    let rights = Rights::of(request.tools.as_deref(), request.access);
    fs::write(own.join("settings.json"), settings(request, retries).to_string()).map_err(failed)?;
    fs::write(&files.policy, policy(&rights).to_string()).map_err(failed)?;
    fs::write(own.join("GEMINI.md"), standing(&request.work_tree)).map_err(failed)?;
    Ok(files)
}

/// How the user's own settings say that the program logs in; `None`: they do not.
pub(super) fn users_login(env: &Environment) -> Option<String> {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("GEMINI_CLI_HOME").or_else(|| set("HOME"))?;
    let mut text = fs::read_to_string(home.join(".gemini/settings.json")).ok()?;
    json_strip_comments::strip(&mut text).ok()?;
    let settings: Value = serde_json::from_str(&text).ok()?;
    settings["security"]["auth"]["selectedType"].as_str().map(str::to_owned)
}

/// The weakest settings: those that choose an API key where nothing else does.
pub(super) fn write_defaults(scratch: &Path) -> Result<PathBuf, DriverError> {
    let path = scratch.join("defaults.json");
    let settings = json!({"security": {"auth": {"selectedType": KEY_LOGIN}}});
    fs::write(&path, settings.to_string()).map_err(|source| DriverError::Scratch { path: path.clone(), source })?;
    Ok(path)
}

/// Whether the program reads a file of default settings here. It leaves out one that anybody but root could have written
/// (Gemini CLI 0.61, `isFileAndDirectorySecureSync`): the file and every folder above it must be root's, and neither its group
/// nor others may write.
pub(super) fn is_read_by_the_program(file: &Path) -> bool {
    let Ok(canonical) = file.canonicalize() else { return false };
    let is_roots = |path: &Path| {
        // A link counts as its target and must be root's own, too.
        let metadata = [path.symlink_metadata(), path.metadata()];
        metadata.into_iter().all(|found| {
            found.is_ok_and(|found| found.uid() == 0 && (found.is_symlink() || found.mode() & OTHERS_MAY_WRITE == 0))
        })
    };
    file.ancestors().chain(canonical.ancestors()).all(is_roots)
}

/// In the place of the user's own settings. Not in the place of the system's, which would outrank them: the program leaves
/// such a file out without a word in some places, below the temporary folder for one.
fn settings(request: &SessionRequest, retries: Option<u64>) -> Value {
    let mut settings = json!({
        "general": {
            "enableAutoUpdate": false,
            "enableAutoUpdateNotification": false,
            "plan": {"enabled": false},
            "topicUpdateNarration": false,
        },
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
        "ide": {"enabled": false},
        "security": {"auth": {"selectedType": KEY_LOGIN}, "folderTrust": {"enabled": true}},
        // The share of the window at which it would compress: never.
        "model": {"compressionThreshold": 1},
        "tools": {"shell": {"enableInteractiveShell": false}},
        "hooksConfig": {"enabled": false},
        "skills": {"enabled": false},
        // A sub-agent's conversation would have a window of its own that nobody planned.
        "experimental": {"enableAgents": false},
    });
    if let Some(retries) = retries {
        settings["general"]["maxAttempts"] = (retries + 1).into();
    }
    // The limit holds thinking, too: the provider counts thoughts as output.
    if let (Some(window), Some(model)) = (request.window, &request.model) {
        // The provider refuses a larger one.
        let most = models::output_limit(model, window);
        let mut limits = json!({"maxOutputTokens": most});
        // Earlier models do not think, and later families take a level of thinking instead of a budget, and refuse both.
        if model.starts_with("gemini-2.5") {
            limits["thinkingConfig"] = json!({"thinkingBudget": THINKING_BUDGET_MAX.min(most / 2)});
        }
        let config = json!({"generateContentConfig": limits});
        settings["modelConfigs"] = json!({"overrides": [{"match": {"model": model}, "modelConfig": config}]});
    }
    settings
}

/// Rules in the rank of an administrator's. What writes or runs is asked about, so that one place decides about paths and
/// commands: the answer to `session/request_permission`.
fn policy(rights: &Rights) -> Table {
    let mut allowed: Vec<&str> = Vec::new();
    let mut allow = |names: &[&'static str], allows: bool| allowed.extend(names.iter().filter(|_| allows));
    allow(&["read_file", "read_many_files"], rights.read);
    allow(&["glob", "grep_search"], rights.search);
    allow(&["list_directory"], rights.read || rights.search);
    allow(&["web_fetch"], rights.fetch);
    allow(&["google_web_search"], rights.web_search);
    allow(&["write_todos"], rights.todo);
    let mut asked = vec!["write_file", "replace"];
    asked.extend((rights.shell != Shell::None).then_some("run_shell_command"));

    let rule = |names: Vec<&str>, decision: &str, priority: i64| {
        let names: toml::Value = match names.as_slice() {
            [one] => (*one).into(),
            names => names.to_vec().into(),
        };
        let entries = [("toolName", names), ("decision", decision.into()), ("priority", priority.into())];
        Table::from_iter(entries.map(|(key, value)| (key.to_owned(), value)))
    };
    let mut rules = vec![rule(vec!["*"], "deny", 1), rule(asked, "ask_user", 100)];
    rules.extend((!allowed.is_empty()).then(|| rule(allowed, "allow", 100)));
    Table::from_iter([("rule".to_owned(), rules.into())])
}

/// The repository's standing instructions. A link is not followed: it may lead out of the repository.
fn standing(work_tree: &Path) -> String {
    let read = |name: &&str| {
        let path = work_tree.join(name);
        let fits = path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= STANDING_BYTES_MAX);
        fits.then(|| fs::read_to_string(path).ok()).flatten()
    };
    STANDING.iter().filter_map(read).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::driver::Access;

    fn decisions(rights: &Rights) -> Vec<(String, String)> {
        let rules = policy(rights)["rule"].as_array().unwrap().clone();
        let text = |value: &toml::Value| match value.as_array() {
            Some(names) => names.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(" "),
            None => value.as_str().unwrap().to_owned(),
        };
        rules.iter().map(|rule| (text(&rule["toolName"]), text(&rule["decision"]))).collect()
    }

    #[test]
    fn all_is_refused_but_what_is_listed_and_what_writes_is_asked_about() {
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let reading = "read_file read_many_files glob grep_search list_directory";
        assert_eq!(
            decisions(&Rights::of(None, Access::Artifacts)),
            own(&[("*", "deny"), ("write_file replace", "ask_user"), (reading, "allow")])
        );
        let listed = ["Bash(git log:*)".to_owned()];
        assert_eq!(
            decisions(&Rights::of(Some(&listed), Access::Write)),
            own(&[("*", "deny"), ("write_file replace run_shell_command", "ask_user")])
        );
    }

    #[test]
    fn standing_instructions_are_files_of_the_repository() {
        let room = tempfile::tempdir().unwrap();
        fs::write(room.path().join("AGENTS.md"), "Use tabs.").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", room.path().join("GEMINI.md")).unwrap();
        assert_eq!(standing(room.path()), "Use tabs.");
    }

    #[test]
    fn defaults_are_read_only_where_root_alone_may_write() {
        assert!(is_read_by_the_program(Path::new("/etc/passwd")));
        let folder = tempfile::tempdir().unwrap();
        let file = write_defaults(folder.path()).unwrap();
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path(), all).unwrap();
        assert!(!is_read_by_the_program(&file));
        assert!(!is_read_by_the_program(&folder.path().join("absent")));
    }
}
