//! The driver `opencode`: OpenCode over the Agent Client Protocol.
//!
//! Of the user's configuration only the providers and the model are kept. Plugins, MCP servers, personal and project
//! agents, commands, skills, formatters and language servers are off: each session has a configuration of its own, and a
//! configuration folder in which everything but OpenCode's part is the user's. The program's own logins are not used.

mod config;
mod project;
mod provider;
mod user;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::acp::{Conversation, Plan, whole_prompt};
use crate::driver::{
    Capabilities, Driver, DriverError, HandOver, Launch, Lead, Led, Probe, Protocol, Reach, SessionRequest, UsageReports,
};
use crate::environment::Environment;
use crate::rights::Rights;
use crate::settings::{Settings, ask_version, check_keys, find_program, refuse, word};
use provider::Provider;

const KEYS: &[&str] = &["program", "provider", "key_env", "destination", "plugins"];
const HINT: &str = "npm install -g opencode-ai";
/// Whose plugins may run.
const PLUGIN_WORDS: &[&str] = &["none", "repository"];
/// Variables by which a user says more than our configuration does, or by which the program knows that it is its own child.
const REMOVED: &[&str] = &[
    "OPENCODE",
    "OPENCODE_PID",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_CONFIG_DIR",
    "OPENCODE_PERMISSION",
    "OPENCODE_TUI_CONFIG",
    "OPENCODE_AUTO_SHARE",
    "OPENCODE_EXPERIMENTAL",
    "OPENCODE_ENABLE_EXA",
];
/// Switches that are on in every session.
const SWITCHES: &[&str] = &[
    "OPENCODE_DISABLE_AUTOCOMPACT",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_PRUNE",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_PURE",
];

/// The driver. Settings: `program` (default: `opencode` on the PATH); `provider` (a JSON object, the entry of the model's
/// provider as OpenCode's own configuration has it); `key_env` (the variable with that provider's key); `destination` (the
/// gateway's name for it, where it is not told by the kind of provider); `plugins` (`none`; `repository`: those that the
/// repository brings may run).
#[derive(Debug)]
pub struct OpenCode;

/// The model with its provider, `provider/model`: the agent file's, else the user's own.
fn model_of(asked: Option<&str>, user: &user::Kept) -> Option<String> {
    asked.map(str::to_owned).or_else(|| user.model.clone())
}

impl Driver for OpenCode {
    fn name(&self) -> &'static str {
        "opencode"
    }

    fn capabilities(&self, _settings: &Settings) -> Capabilities {
        Capabilities {
            usage: UsageReports::AtEnd,
            hand_over: HandOver::InBand,
            window_before_first_call: false,
            allow_list: true,
            interrupt: true,
            output_cap: true,
            resume: true,
            hooks: false,
        }
    }

    fn probe(&self, settings: &Settings, env: &Environment) -> Result<Probe, DriverError> {
        let program = find_program(settings, env, "opencode", HINT)?;
        let version = ask_version(&program, env)?;
        Ok(Probe { program, version })
    }

    fn reach(&self, settings: &Settings, model: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        let user = user::kept(env);
        let Some(model) = model_of(model, &user) else {
            return Reach::Direct("no model is named, as `provider/model`; opencode would choose one itself".into());
        };
        match Provider::of(&model, settings, &user) {
            Ok(provider) => provider.reach(settings, env),
            Err(error) => Reach::Direct(error.to_string()),
        }
    }

    fn model_of_args(&self, args: &[OsString]) -> Option<String> {
        let words = args.iter().map(|word| word.to_str().unwrap_or_default()).take_while(|word| *word != "--");
        let mut model = None;
        let mut is_next = false;
        for word in words {
            if std::mem::replace(&mut is_next, matches!(word, "-m" | "--model")) {
                (model, is_next) = (Some(word.to_owned()), false);
            } else if let Some(named) = word.strip_prefix("--model=").or_else(|| word.strip_prefix("-m=")) {
                model = Some(named.to_owned());
            }
        }
        model
    }

    fn login_variables(&self, settings: &Settings, reach: &Reach) -> Vec<String> {
        let key = settings.get("key_env").filter(|_| matches!(reach, Reach::Direct(_)));
        key.into_iter().cloned().collect()
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, KEYS)?;
        if word(settings, "plugins", PLUGIN_WORDS)? == "none"
            && let Some(plugin) = project::plugin(&request.work_tree)
        {
            let reason = format!("the repository brings {plugin}, which opencode would run; allow it with `repository`");
            return Err(refuse("plugins", reason));
        }
        let user = user::kept(&|name| request.env.text(name));
        let model = model_of(request.model.as_deref(), &user)
            .ok_or_else(|| refuse("model", "must be named, as `provider/model`"))?;
        let provider = Provider::of(&model, settings, &user)?;
        let program = find_program(settings, &request.env, "opencode", HINT)?;

        let own = request.scratch.join("opencode");
        let path = |name: &str| -> PathBuf { own.join(name) };
        let failed = |source| DriverError::Scratch { path: own.clone(), source };
        std::fs::create_dir_all(path("home")).map_err(failed)?;
        user::mirror(user::config_home(&|name| request.env.text(name)).as_deref(), &path("config")).map_err(failed)?;
        let text = config::of_session(&model, &provider, request).to_string();
        std::fs::write(path("opencode.json"), text).map_err(failed)?;

        let mut env: Vec<(String, std::ffi::OsString)> = vec![
            ("OPENCODE_CONFIG".into(), path("opencode.json").into()),
            ("XDG_CONFIG_HOME".into(), path("config").into()),
            // Sessions side by side would wait for each other's database, and the user's own would show ours.
            ("OPENCODE_DB".into(), path("opencode.db").into()),
            // Where it looks for `.opencode`, `.claude` and `.agents`; what it starts keeps the user's HOME.
            ("OPENCODE_TEST_HOME".into(), path("home").into()),
            ("OPENCODE_AUTH_CONTENT".into(), "{}".into()),
        ];
        env.extend(SWITCHES.iter().map(|name| ((*name).to_owned(), "1".into())));
        if let Some(window) = request.window {
            env.push(("OPENCODE_EXPERIMENTAL_OUTPUT_TOKEN_MAX".into(), window.output_cap().to_string().into()));
        }
        let mut env_remove: Vec<std::ffi::OsString> = REMOVED.iter().map(Into::into).collect();
        if let Some(route) = &request.route {
            env.extend(provider.route_env(route));
            env_remove.extend(provider.key_names(settings).into_iter().map(Into::into));
        }
        Ok(Launch {
            program,
            args: vec!["acp".into()],
            env: env.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            env_remove,
            close_stdin: false,
        })
    }

    /// The provider of the model that the person names, or of their own default model, is led, and no other is offered: its calls
    /// would go past the gateway.
    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError> {
        let (settings, route) = (lead.settings, lead.route);
        let user = user::kept(&|name| lead.env.text(name));
        let asked = self.model_of_args(lead.args);
        let model = model_of(asked.as_deref(), &user).ok_or(DriverError::NotLed {
            driver: "opencode",
            reason: "neither `-m` nor its configuration names a model, so nobody knows whose calls to lead",
        })?;
        let provider = Provider::of(&model, settings, &user)?;
        // It is read last: no file of a repository can change the address again.
        let content = config::of_led(&provider).to_string();
        let env = provider.route_env(route).into_iter().chain([("OPENCODE_CONFIG_CONTENT".into(), content.into())]);
        Ok(Launch {
            program: find_program(settings, lead.env, "opencode", HINT)?,
            env: env.map(|(name, value)| (name.into(), value)).collect(),
            env_remove: provider.key_names(settings).into_iter().map(Into::into).collect(),
            ..Launch::default()
        }
        .into())
    }

    fn makes_room(&self) -> &'static str {
        "type /compact or /new"
    }

    fn starts_over(&self) -> &'static str {
        "type /new: the conversation is too long to be summarised"
    }

    fn loops_when_too_long(&self) -> bool {
        true
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Box::new(Conversation::new(Plan {
            work_tree: request.work_tree.clone(),
            prompt: whole_prompt(request),
            rights: Rights::of(request.tools.as_deref(), request.access),
            // It is in the configuration, too; a name that the program does not know it replaces silently, and asking for it
            // again is answered with an error.
            model: request.model.clone(),
            mode: None,
            // The first of its effort levels is what it takes, and that adds a thinking budget on top of the output cap.
            options: vec![("effort", "default")],
            auth_method: None,
            usage: UsageReports::AtEnd,
            refusal_words: &["rule which prevents you from using this specific tool call"],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_can_name_the_model_as_the_program_lets_them() {
        for (words, model) in [
            (&["run", "say hello"][..], None),
            (&["run", "-m", "openai/gpt-5", "say hello"], Some("openai/gpt-5")),
            (&["run", "--model", "openai/gpt-5"], Some("openai/gpt-5")),
            (&["--model=openai/gpt-5", "run"], Some("openai/gpt-5")),
            (&["-m=openai/gpt-5"], Some("openai/gpt-5")),
            (&["run", "--", "-m", "openai/gpt-5"], None),
            (&["run", "-m"], None),
        ] {
            let args: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(OpenCode.model_of_args(&args).as_deref(), model, "{words:?}");
        }
    }
}
