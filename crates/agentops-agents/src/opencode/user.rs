//! What is kept of the user's own configuration: their providers and their model, and the rest of their configuration folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The program's folder in the user's configuration folder.
const OWN: &str = "opencode";
/// Its files there, in the order in which the program reads them; a later one wins.
const FILES: &[&str] = &["config.json", "opencode.json", "opencode.jsonc"];

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The model as `provider/model`.
    pub(super) model: Option<String>,
    /// Providers by id.
    pub(super) providers: Map<String, Value>,
}

/// The user's configuration folder.
pub(super) fn config_home(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))
}

/// Reads it; a file that is missing or broken says nothing.
pub(super) fn kept(env: &dyn Fn(&str) -> Option<String>) -> Kept {
    let mut kept = Kept::default();
    let Some(folder) = config_home(env).map(|home| home.join(OWN)) else { return kept };
    for file in FILES {
        let Some(Value::Object(mut config)) = read(&folder.join(file)) else { continue };
        if let Some(Value::String(model)) = config.remove("model") {
            kept.model = Some(model);
        }
        if let Some(Value::Object(providers)) = config.remove("provider") {
            kept.providers.extend(providers);
        }
    }
    kept
}

/// JSON with comments and commas that are too many, as the program takes it.
pub(super) fn read(path: &Path) -> Option<Value> {
    let mut text = fs::read_to_string(path).ok()?;
    json_strip_comments::strip(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// A configuration folder in which everything is the user's but the program's own part. What the agent starts, git for one,
/// finds its settings there.
pub(super) fn mirror(users: Option<&Path>, folder: &Path) -> io::Result<()> {
    let own = folder.join(OWN);
    // As if what plugins are written with were installed: the program would fetch it for each session, for none.
    fs::create_dir_all(own.join("node_modules"))?;
    fs::write(own.join("package-lock.json"), r#"{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}"#)?;
    let entries = match users.map(fs::read_dir) {
        None => return Ok(()),
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Some(entries) => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == OWN {
            continue;
        }
        match symlink(entry.path(), folder.join(entry.file_name())) {
            // An attempt before this one may have left it.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_model_and_providers_are_kept() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join(OWN);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("opencode.json"), r#"{"model": "a/b", "plugin": ["evil"], "provider": {"a": {"npm": "x"}}}"#)
            .unwrap();
        let commented = "{\n // mine\n \"model\": \"local/qwen\", /* two */ \"provider\": {\"local\": {},}, }";
        fs::write(folder.join("opencode.jsonc"), commented).unwrap();
        let home = room.path().to_str().unwrap().to_owned();
        let kept = kept(&|name| (name == "XDG_CONFIG_HOME").then(|| home.clone()));
        assert_eq!(kept.model.as_deref(), Some("local/qwen"));
        assert_eq!(kept.providers.keys().collect::<Vec<_>>(), ["a", "local"]);
    }

    #[test]
    fn the_mirror_has_everything_but_the_programs_own() {
        let room = tempfile::tempdir().unwrap();
        let (users, folder) = (room.path().join("users"), room.path().join("mirror"));
        fs::create_dir_all(users.join("git")).unwrap();
        fs::create_dir_all(users.join(OWN)).unwrap();
        fs::write(users.join("git/config"), "[user]").unwrap();
        fs::write(users.join(OWN).join("opencode.json"), "{}").unwrap();
        for _ in 0..2 {
            mirror(Some(&users), &folder).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.join("git/config")).unwrap(), "[user]");
        assert!(!folder.join(OWN).join("opencode.json").exists());
        mirror(Some(&room.path().join("nothing")), &room.path().join("m2")).unwrap();
    }
}
