//! What a repository would start by way of the program, in spite of every switch: OpenCode 1.18 loads plugins from the work
//! tree even with project configuration and external plugins switched off. So they are looked for before it is started.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::user;

/// A plugin that the work tree brings: its path, or the configuration that names it.
pub(super) fn plugin(work_tree: &Path) -> Option<String> {
    let own = work_tree.join(".opencode");
    let folders = ["plugin", "plugins"].into_iter().map(|name| own.join(name));
    let documents =
        [work_tree, &own].into_iter().flat_map(|root| ["opencode.json", "opencode.jsonc"].map(|name| root.join(name)));
    let file = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
    let is_script = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "js" || kind == "ts");
    let found = file.filter(is_script).chain(documents.filter(|path| names_plugins(path))).next()?;
    Some(found.strip_prefix(work_tree).unwrap_or(&found).display().to_string())
}

/// A configuration that we cannot read may name anything.
fn names_plugins(path: &Path) -> bool {
    if path.symlink_metadata().is_err() {
        return false;
    }
    let Some(config) = user::read(path) else { return true };
    let named = |key: &str| config.get(key).is_some_and(|value| !matches!(value, Value::Array(list) if list.is_empty()));
    named("plugin") || named("plugins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_where_the_program_finds_them() {
        let found = |path: &str, text: &str| {
            let room = tempfile::tempdir().unwrap();
            let path = room.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            plugin(room.path())
        };
        for path in [".opencode/plugin/a.js", ".opencode/plugins/a.ts"] {
            assert_eq!(found(path, "").as_deref(), Some(path));
        }
        for path in ["opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"] {
            assert_eq!(found(path, r#"{"plugin": ["./x.js"], /* y */}"#).as_deref(), Some(path));
            assert_eq!(found(path, r#"{"\u0070lugins": ["x"]}"#).as_deref(), Some(path));
            assert_eq!(found(path, "{ not json").as_deref(), Some(path));
            assert_eq!(found(path, r#"{"plugin": [], "model": "a/b"}"#), None);
        }
        assert_eq!(found(".opencode/agent/a.md", ""), None);
    }
}
