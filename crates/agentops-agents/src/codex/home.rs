//! A home of the session's own for the program: the user's login and way to a model, and nothing else that is personal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::driver::DriverError;

/// Keys of the user's configuration that say how a model is reached.
const KEPT: &[&str] = &[
    "chatgpt_base_url",
    "cli_auth_credentials_store",
    "forced_login_method",
    "model",
    "model_context_window",
    "model_provider",
    "model_providers",
    "model_reasoning_effort",
    "openai_base_url",
    "preferred_auth_method",
];

/// The user's own home of the program.
pub(super) fn users_home(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CODEX_HOME").or_else(|| set("HOME").map(|home| home.join(".codex")))
}

/// What is kept of the user's configuration; empty when there is none. The error says why a file is of no use.
pub(super) fn kept_settings(users: &Path) -> Result<toml::Table, String> {
    let path = users.join("config.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(toml::Table::new()),
        Err(error) => return Err(format!("{} is not used: {error}", path.display())),
    };
    let mut table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| format!("{} is not used: {}", path.display(), error.message()))?;
    table.retain(|key, _| KEPT.contains(&key));
    Ok(table)
}

/// Whether the user's configuration says what stands in the terminal's title.
pub(super) fn sets_title(users: &Path) -> bool {
    let table = fs::read_to_string(users.join("config.toml")).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.and_then(|table| table.get("tui")?.get("terminal_title").cloned()).is_some()
}

/// Makes the session's home below `scratch` and returns its path.
pub(super) fn prepare(
    scratch: &Path,
    users: Option<&Path>,
    system_temp: &Path,
    work_tree: &Path,
) -> Result<PathBuf, DriverError> {
    let home = scratch.join("codex-home");
    let failed = |source| DriverError::Scratch { path: home.clone(), source };
    fs::create_dir_all(&home).map_err(failed)?;
    let home = home.canonicalize().map_err(failed)?;
    check_folder(&home, system_temp)?;
    let failed = |source| DriverError::Scratch { path: home.clone(), source };

    let mut config = users.and_then(|users| kept_settings(users).ok()).unwrap_or_default();
    // Without this the program trusts the folder of a session that may write, and starts what the repository configures.
    let roots = trust_roots(work_tree).into_iter().filter_map(|root| root.to_str().map(str::to_owned));
    let untrusted = toml::Table::from_iter([("trust_level".to_owned(), "untrusted".into())]);
    let projects: toml::Table = roots.map(|root| (root, untrusted.clone().into())).collect();
    config.insert("projects".to_owned(), projects.into());
    fs::write(home.join("config.toml"), config.to_string()).map_err(failed)?;

    // A link, so that a refreshed login reaches the user's own file. An attempt before this one may have left it.
    let link = home.join("auth.json");
    if let Some(auth) = users.map(|users| users.join("auth.json")).filter(|auth| auth.is_file()) {
        let auth = auth.canonicalize().map_err(failed)?;
        let _absent = fs::remove_file(&link);
        symlink(auth, &link).map_err(failed)?;
    }
    Ok(home)
}

/// Refuses a folder below the system's temporary one. The program then leaves out the helper of its sandbox: each command fails,
/// and the session "succeeds" all the same.
pub(super) fn check_folder(folder: &Path, system_temp: &Path) -> Result<(), DriverError> {
    let real = folder.ancestors().find_map(|path| path.canonicalize().ok());
    let temp = system_temp.canonicalize().ok();
    match (real, temp) {
        (Some(real), Some(temp)) if real.starts_with(&temp) => {
            Err(DriverError::TemporaryFolder { driver: "codex", folder: folder.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The work tree as it is named and as it really lies.
fn trust_roots(work_tree: &Path) -> Vec<PathBuf> {
    let mut roots = vec![work_tree.to_owned()];
    roots.extend(work_tree.canonicalize().ok().filter(|real| real != work_tree));
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        folder: tempfile::TempDir,
    }

    impl Room {
        fn new(config: Option<&str>) -> Self {
            let room = Self { folder: tempfile::tempdir().unwrap() };
            for folder in ["user", "scratch", "temp"] {
                fs::create_dir(room.path(folder)).unwrap();
            }
            if let Some(config) = config {
                fs::write(room.path("user/config.toml"), config).unwrap();
            }
            room
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn prepare(&self) -> PathBuf {
            let (scratch, users) = (self.path("scratch"), self.path("user"));
            prepare(&scratch, Some(&users), &self.path("temp"), Path::new("/lane")).unwrap()
        }
    }

    const CONFIG: &str = r#"
model = "m"
model_provider = "p"
sandbox_mode = "danger-full-access"
notify = ["beep"]
profile = "x"
[model_providers.p]
base_url = "http://127.0.0.1:1/v1"
env_key = "KEY"
[mcp_servers.s]
command = "server"
[projects."/lane"]
trust_level = "trusted"
"#;

    #[test]
    fn only_the_way_to_a_model_is_kept() {
        let room = Room::new(Some(CONFIG));
        let home = room.prepare();
        let config: toml::Table = fs::read_to_string(home.join("config.toml")).unwrap().parse().unwrap();
        assert_eq!(config.keys().collect::<Vec<_>>(), ["model", "model_provider", "model_providers", "projects"]);
        assert_eq!(config["model_providers"]["p"]["env_key"].as_str(), Some("KEY"));
        assert_eq!(config["projects"]["/lane"]["trust_level"].as_str(), Some("untrusted"));
    }

    #[test]
    fn the_login_is_a_link_and_a_second_attempt_finds_it() {
        let room = Room::new(None);
        fs::write(room.path("user/auth.json"), "{}").unwrap();
        for _ in 0..2 {
            let home = room.prepare();
            assert_eq!(fs::read_link(home.join("auth.json")).unwrap(), room.path("user/auth.json").canonicalize().unwrap());
        }
    }

    #[test]
    fn a_broken_configuration_is_said_and_not_used() {
        let room = Room::new(Some("model = "));
        let error = kept_settings(&room.path("user")).unwrap_err();
        assert!(error.contains("config.toml is not used"), "{error}");
        assert!(room.prepare().join("config.toml").is_file());
    }

    #[test]
    fn a_home_below_the_temporary_folder_is_refused() {
        let room = Room::new(None);
        let error = prepare(&room.path("scratch"), None, room.folder.path(), Path::new("/lane")).unwrap_err();
        assert!(error.to_string().contains("temporary folder"), "{error}");
    }
}
