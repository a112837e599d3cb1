//! The driver `codex`: Codex's app-server, JSON lines both ways.
//!
//! The user's login is used as it is, and so is what their configuration says about reaching a model. Nothing else of it is:
//! each session has a home of its own, without MCP servers, hooks, notification programs and personal instructions. What a
//! session may change is held by the program's own sandbox; nobody is asked for more.

mod calls;
mod config;
mod failure;
mod home;
mod items;
mod protocol;
mod route;
mod wire;

use std::path::{Path, PathBuf};

use crate::driver::{
    Access, Capabilities, Driver, DriverError, HandOver, Launch, Lead, Led, OUT_DIR, Probe, Protocol, Reach, SessionRequest,
    UsageReports,
};
use crate::environment::Environment;
use crate::settings::{Settings, ask_version, check_keys, find_program, refuse, word};
use config::quoted;

const KEYS: &[&str] = &["program", "sandbox", "model_provider", "config"];
const SANDBOX_WORDS: &[&str] = &["workspace-write", "danger-full-access"];
const HINT: &str = "npm install -g @openai/codex";

/// Said after everything else, so that nothing can say otherwise.
const FIXED: &[&str] = &[
    // It cannot be switched off, only pushed up to about 90 % of the window. Our ceiling lies far below that.
    "model_auto_compact_token_limit=9223372036854775807",
    "analytics.enabled=false",
    "check_for_update_on_startup=false",
    "notify=[]",
    "features.hooks=false",
    "approval_policy=\"never\"",
    // A conversation of a sub-agent's would have a window of its own that nobody planned.
    "features.multi_agent=false",
    "features.multi_agent_v2=false",
];

/// The driver. Settings: `program` (default: `codex` on the PATH), `sandbox` (`workspace-write` or `danger-full-access`; for
/// sessions that may write files), `model_provider` (one of the user's own), `config` (more keys of the program's
/// configuration, a JSON object with dotted keys).
#[derive(Debug)]
pub struct Codex;

/// The sandbox of sessions that may change files; `None`: a permission profile of ours holds the session.
fn sandbox(request: &SessionRequest) -> Result<Option<&'static str>, DriverError> {
    let wanted = word(&request.settings, "sandbox", SANDBOX_WORDS)?;
    Ok((request.access == Access::Write).then_some(wanted))
}

/// The folder that an artifacts session may write. The sandbox can only open a folder that exists, so it is made here.
fn out_folder(work_tree: &Path) -> Result<PathBuf, DriverError> {
    let path = work_tree.join(OUT_DIR);
    let failed = |source| DriverError::Scratch { path: path.clone(), source };
    std::fs::create_dir_all(&path).map_err(failed)?;
    if path.symlink_metadata().map_err(failed)?.is_symlink() {
        let source = std::io::Error::other("it is a symbolic link: what is written there would land elsewhere");
        return Err(DriverError::Scratch { path, source });
    }
    Ok(path)
}

/// Reads everything, writes one folder.
fn artifacts_profile(out: &Path) -> Result<[String; 2], DriverError> {
    let out = out.to_str().ok_or_else(|| refuse("work tree", "its path is not UTF-8"))?;
    let filesystem = format!(r#"permissions.agentops.filesystem={{":root"="read",{}="write"}}"#, quoted(out));
    Ok([r#"default_permissions="agentops""#.to_owned(), filesystem])
}

/// The lane's own `.git` folder. The program's sandbox leaves it read-only unless it is named; the lane's agent may commit,
/// stash and branch in it.
fn git_of_the_lane(work_tree: &Path) -> Result<Option<String>, DriverError> {
    let git = work_tree.join(".git");
    // A link, and the file of a linked work tree, lead to a repository that is not the lane's.
    if !git.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(None);
    }
    git.into_os_string().into_string().map(Some).map_err(|_| refuse("work tree", "its path is not UTF-8"))
}

impl Driver for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn capabilities(&self, _settings: &Settings) -> Capabilities {
        Capabilities {
            usage: UsageReports::EveryCall,
            hand_over: HandOver::InBand,
            window_before_first_call: false,
            allow_list: false,
            interrupt: true,
            output_cap: false,
            resume: true,
            hooks: false,
        }
    }

    fn probe(&self, settings: &Settings, env: &Environment) -> Result<Probe, DriverError> {
        let program = find_program(settings, env, "codex", HINT)?;
        let version = ask_version(&program, env)?;
        Ok(Probe { program, version })
    }

    fn reach(&self, settings: &Settings, _model: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        route::reach(settings, env)
    }

    fn check_state_folder(&self, folder: &Path, env: &Environment) -> Result<(), DriverError> {
        home::check_folder(folder, &env.temp_dir())
    }

    fn unread_address(&self) -> Option<(&'static str, &'static str)> {
        Some((route::BASE_ENV, "`openai_base_url` in its config.toml"))
    }

    fn login_variables(&self, _settings: &Settings, reach: &Reach) -> Vec<String> {
        let names: &[&str] = match reach {
            Reach::Direct(_) => &["OPENAI_API_KEY", "AZURE_*", "AWS_*"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, KEYS)?;
        let sandbox = sandbox(request)?;
        let git = if sandbox == Some(SANDBOX_WORDS[0]) { git_of_the_lane(&request.work_tree)? } else { None };
        let mut options = config::of_agent_file(settings, git.as_deref())?;
        let program = find_program(settings, &request.env, "codex", HINT)?;
        let users = home::users_home(&|name| request.env.text(name));
        let home = home::prepare(&request.scratch, users.as_deref(), &request.env.temp_dir(), &request.work_tree)?;
        if sandbox.is_none() {
            options.extend(artifacts_profile(&out_folder(&request.work_tree)?)?);
        }
        if let Some(route) = &request.route {
            options.extend(route::options(route, settings, &|name| request.env.text(name)));
        }
        options.extend(FIXED.iter().map(|option| (*option).to_owned()));
        let args = options.into_iter().flat_map(|option| ["-c".into(), option.into()]);
        Ok(Launch {
            program,
            args: ["app-server".into()].into_iter().chain(args).collect(),
            env: [("CODEX_HOME".into(), home.into())].into_iter().chain(request.route.iter().flat_map(route::env)).collect(),
            // Set when we ourselves run inside the program: a session of ours is nobody's child session.
            env_remove: ["CODEX_THREAD_ID", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_CI"]
                .iter()
                .map(Into::into)
                .collect(),
            close_stdin: false,
        })
    }

    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError> {
        let variable = |name: &str| lead.env.text(name);
        let mut options = route::options(lead.route, lead.settings, &variable);
        if !home::users_home(&variable).is_some_and(|users| home::sets_title(&users)) {
            // The title is where share and cost are shown.
            options.push("tui.terminal_title=[]".into());
        }
        let launch = Launch {
            program: find_program(lead.settings, lead.env, "codex", HINT)?,
            args: options.into_iter().flat_map(|option| ["-c".into(), option.into()]).collect(),
            env: route::env(lead.route).into_iter().collect(),
            ..Launch::default()
        };
        Ok(launch.into())
    }

    fn makes_room(&self) -> &'static str {
        "type /compact or /new"
    }

    fn starts_over(&self) -> &'static str {
        "type /new: the conversation is too long to be summarised"
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        let users = home::users_home(&|name| request.env.text(name));
        let notes = users.and_then(|users| home::kept_settings(&users).err()).into_iter().collect();
        // A wrong setting was refused by `launch`.
        let sandbox = sandbox(request).unwrap_or_default();
        Box::new(protocol::Conversation::new(request, sandbox, notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(room: &Path, access: Access, settings: &[(&str, &str)]) -> SessionRequest {
        SessionRequest {
            work_tree: room.join("work"),
            scratch: room.to_owned(),
            instructions: String::new(),
            prompt: String::new(),
            model: None,
            window: None,
            tools: None,
            access,
            settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            route: None,
            env: std::env::vars_os().collect(),
        }
    }

    #[test]
    fn the_sandbox_can_be_opened_for_writers_only() {
        let room = Path::new("/room");
        let of = |access, settings: &[(&str, &str)]| sandbox(&request(room, access, settings));
        let open = [("sandbox", "danger-full-access")];
        assert_eq!(of(Access::Write, &[]).unwrap(), Some("workspace-write"));
        assert_eq!(of(Access::Write, &open).unwrap(), Some("danger-full-access"));
        assert_eq!(of(Access::Artifacts, &open).unwrap(), None, "the profile holds it");
        assert!(of(Access::Write, &[("sandbox", "none")]).is_err());
    }

    #[test]
    fn only_a_git_folder_of_the_lane_itself_is_opened() {
        let room = tempfile::tempdir().unwrap();
        let git = room.path().join(".git");
        assert_eq!(git_of_the_lane(room.path()).unwrap(), None);
        std::fs::write(&git, "gitdir: /elsewhere").unwrap();
        assert_eq!(git_of_the_lane(room.path()).unwrap(), None);
        std::fs::remove_file(&git).unwrap();
        std::os::unix::fs::symlink("/", &git).unwrap();
        assert_eq!(git_of_the_lane(room.path()).unwrap(), None);
        std::fs::remove_file(&git).unwrap();
        std::fs::create_dir(&git).unwrap();
        assert_eq!(git_of_the_lane(room.path()).unwrap().as_deref(), git.to_str());
    }

    #[test]
    fn the_out_folder_is_made_and_must_not_lead_elsewhere() {
        let room = tempfile::tempdir().unwrap();
        let out = out_folder(room.path()).unwrap();
        assert!(out.is_dir());
        std::fs::remove_dir(&out).unwrap();
        std::os::unix::fs::symlink("/", &out).unwrap();
        assert!(out_folder(room.path()).is_err());
    }

    #[test]
    fn a_home_below_the_temporary_folder_and_a_wrong_setting_are_refused() {
        let room = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let error = Codex.launch(&request(room.path(), Access::Write, &[("program", "/bin/sh")])).unwrap_err();
        assert!(error.to_string().contains("temporary folder"), "{error}");
        let error = Codex.launch(&request(room.path(), Access::Write, &[("modle", "x")])).unwrap_err();
        assert_eq!(error.to_string(), "driver setting `modle`: unknown; there are program, sandbox, model_provider, config");
    }

    #[test]
    fn a_path_is_quoted_in_the_profile() {
        let [_, filesystem] = artifacts_profile(Path::new(r#"/a "b"\c"#)).unwrap();
        let value = filesystem.strip_prefix("permissions.agentops.filesystem=").unwrap();
        let table: toml::Table = toml::from_str(&format!("x={value}")).unwrap();
        assert_eq!(table["x"][r#"/a "b"\c"#].as_str(), Some("write"));
    }
}
