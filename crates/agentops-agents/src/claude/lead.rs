//! A person's own interactive Claude Code behind the gateway.
//!
//! What the person's settings say stays as it is. Those that would lead its calls elsewhere are read beforehand, and what
//! leads them to the gateway is given as settings too, because settings win over the environment.

use std::path::{Path, PathBuf};

use agentops_core::ceiling::Window;
use serde_json::{Map, Value, json};

use super::{ELSEWHERE, lead_through, output_limits};
use crate::driver::{Credential, DriverError, Launch, Lead};

/// Settings of the machine's administrator: nothing wins over them.
const MANAGED: &str = "/etc/claude-code/managed-settings.json";
const BASE: &str = "ANTHROPIC_BASE_URL";
const THINKING: &str = "MAX_THINKING_TOKENS";

/// A settings file; one that is missing or broken says nothing.
fn read(path: &Path) -> Map<String, Value> {
    let value = std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
    match value {
        Some(Value::Object(settings)) => settings,
        _ => Map::new(),
    }
}

/// What the program reads, the weakest first.
struct Files {
    user: Map<String, Value>,
    /// Of the folder that it is started in: a repository's, and the person's own for it.
    project: [Map<String, Value>; 2],
    managed: Map<String, Value>,
}

impl Files {
    fn read(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = set("CLAUDE_CONFIG_DIR").or_else(|| set("HOME").map(|home| home.join(".claude")));
        Self {
            user: own.map(|own| read(&own.join("settings.json"))).unwrap_or_default(),
            project: ["settings.json", "settings.local.json"].map(|name| read(&Path::new(".claude").join(name))),
            managed: read(Path::new(MANAGED)),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Map<String, Value>> {
        [&self.user].into_iter().chain(&self.project).chain([&self.managed])
    }

    fn have(&self, key: &str) -> bool {
        self.all().any(|settings| settings.get(key).is_some_and(|value| !value.is_null()))
    }
}

fn env_of(settings: &Map<String, Value>) -> impl Iterator<Item = (&String, &str)> {
    let env = settings.get("env").and_then(Value::as_object);
    env.into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_str()?)))
}

/// What these settings add to the program's environment, as far as it decides where its calls go. A repository's may name
/// another cloud, which is then refused; it never names an address or a key.
pub(super) fn settings_env(env: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let files = Files::read(env);
    let elsewhere = |name: &str| ELSEWHERE.iter().any(|(known, _)| *known == name);
    let trusted = |settings| env_of(settings).map(|(name, value)| (name.clone(), value.to_owned()));
    let project = files.project.iter().flat_map(env_of).filter(|(name, _)| elsewhere(name));
    let project = project.map(|(name, value)| (name.clone(), value.to_owned()));
    trusted(&files.user).chain(project).chain(trusted(&files.managed)).collect()
}

/// Adds what leads the program to the gateway, and the line where it shows none of the person's own: says whether it shows it.
pub(super) fn lead(lead: &Lead<'_>, launch: &mut Launch) -> Result<bool, DriverError> {
    let not_led = |reason| DriverError::NotLed { driver: "claude", reason };
    let files = Files::read(&|name| lead.env.text(name));
    if env_of(&files.managed).any(|(name, _)| name == BASE) {
        return Err(not_led("this machine's managed settings name an address, and nothing wins over them"));
    }
    let route = lead.route;
    if route.credential == Credential::Login && files.have("apiKeyHelper") {
        return Err(not_led("`apiKeyHelper` in its settings gives the key; set ANTHROPIC_API_KEY instead"));
    }
    lead_through(route, launch);
    let mut wins = Map::from_iter([(BASE.to_owned(), Value::from(route.base.clone()))]);
    if route.credential == Credential::Key {
        // As a key it would be asked about at every start, because it is another one each time.
        launch.env.retain(|(name, _)| name != "ANTHROPIC_API_KEY");
        launch.env_remove.retain(|name| name != "ANTHROPIC_AUTH_TOKEN");
        launch.env_remove.push("ANTHROPIC_API_KEY".into());
        launch.env.push(("ANTHROPIC_AUTH_TOKEN".into(), route.token.expose().into()));
        wins.insert("ANTHROPIC_AUTH_TOKEN".into(), route.token.expose().into());
        if env_of(&files.user).any(|(name, _)| name == "ANTHROPIC_API_KEY") {
            wins.insert("ANTHROPIC_API_KEY".into(), "".into());
        }
    }
    // Models that think to a budget set it aside in every call: the program's own choice is most of the way to the ceiling.
    // Others ignore it.
    if lead.env.get(THINKING).is_none() {
        let window = lead.window.or_else(|| Window::new(200_000));
        launch.env.extend(window.map(|window| (THINKING.into(), output_limits(window).1.to_string().into())));
    }
    // It takes one such argument, and the person's own counts.
    if lead.args.iter().any(|arg| arg.to_str().is_some_and(|arg| arg == "--settings" || arg.starts_with("--settings="))) {
        return Ok(false);
    }
    let mut settings = json!({"env": wins});
    let line = lead.line.to_str().filter(|_| !files.have("statusLine"));
    if let Some(line) = line {
        let command = format!("cat -- '{}'", line.replace('\'', r"'\''"));
        settings["statusLine"] = json!({"type": "command", "command": command, "padding": 0});
    }
    let path = lead.scratch.join("settings.json");
    // In a file, and not in the argument itself: arguments can be read by every user of the machine.
    write_private(&path, &settings).map_err(|source| DriverError::Scratch { path: path.clone(), source })?;
    launch.args.extend(["--settings".into(), path.into()]);
    Ok(line.is_some())
}

fn write_private(path: &Path, settings: &Value) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(settings.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use agentops_safe::Secret;

    use super::*;
    use crate::driver::Route;

    /// Leads with these settings of the user's and these arguments; gives the launch, what its settings file says, and
    /// whether the line is shown.
    fn led(user: &Value, args: &[&str], credential: Credential) -> (Launch, Option<Value>, bool) {
        let room = tempfile::tempdir().unwrap();
        let own = room.path().to_str().unwrap().to_owned();
        std::fs::write(room.path().join("settings.json"), user.to_string()).unwrap();
        let scratch = room.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let env = [("CLAUDE_CONFIG_DIR".into(), own.into())].into_iter().collect();
        let args: Vec<_> = args.iter().map(Into::into).collect();
        let route = Route { base: "http://127.0.0.1:9/lane/t".into(), token: Secret::new("the-token"), credential };
        let lead = Lead {
            settings: &Default::default(),
            route: &route,
            scratch: &scratch,
            args: &args,
            env: &env,
            window: None,
            line: &scratch.join("it's a line"),
        };
        let mut launch = Launch::default();
        let shows = super::lead(&lead, &mut launch).unwrap();
        let written = std::fs::read_to_string(scratch.join("settings.json")).ok();
        (launch, written.map(|text| serde_json::from_str(&text).unwrap()), shows)
    }

    fn var<'l>(launch: &'l Launch, name: &str) -> Option<&'l str> {
        launch.env.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn the_users_settings_cannot_lead_calls_past_the_gateway() {
        let user = json!({"env": {"ANTHROPIC_BASE_URL": "https://elsewhere.example", "ANTHROPIC_API_KEY": "theirs"}});
        let (launch, settings, shows) = led(&user, &[], Credential::Key);
        let settings = settings.unwrap();
        assert_eq!(settings["env"]["ANTHROPIC_BASE_URL"], "http://127.0.0.1:9/lane/t");
        assert_eq!(settings["env"]["ANTHROPIC_AUTH_TOKEN"], "the-token");
        assert_eq!(settings["env"]["ANTHROPIC_API_KEY"], "");
        assert!(shows && settings["statusLine"]["command"].as_str().unwrap().ends_with(r"it'\''s a line'"), "{settings}");
        // Arguments can be read by every user of the machine.
        assert!(launch.args.iter().all(|arg| !arg.to_string_lossy().contains("the-token")));
        assert_eq!(var(&launch, "ANTHROPIC_AUTH_TOKEN"), Some("the-token"));
        assert!(launch.env_remove.iter().any(|name| name == "ANTHROPIC_API_KEY"));
        assert_eq!(var(&launch, THINKING), Some("8000"));
    }

    #[test]
    fn what_is_the_persons_own_stays() {
        let (_, settings, shows) = led(&json!({"statusLine": {"type": "command"}}), &[], Credential::Login);
        assert!(!shows && settings.is_some_and(|settings| settings["statusLine"].is_null()));
        let (launch, settings, shows) = led(&json!({}), &["--settings={}"], Credential::Login);
        assert!(!shows && settings.is_none() && launch.args.is_empty());
        assert_eq!(var(&launch, "ANTHROPIC_AUTH_TOKEN"), None, "a login passes as it is");
    }

    #[test]
    fn settings_name_the_way_before_anything_starts() {
        let room = tempfile::tempdir().unwrap();
        let own = room.path().to_str().unwrap().to_owned();
        let user = json!({"env": {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_API_KEY": "k", "NUMBER": 1}});
        std::fs::write(room.path().join("settings.json"), user.to_string()).unwrap();
        let found = settings_env(&|name| (name == "CLAUDE_CONFIG_DIR").then(|| own.clone()));
        let named: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, ["ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"]);
    }
}
