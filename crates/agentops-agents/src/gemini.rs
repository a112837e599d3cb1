//! The driver `gemini`: Gemini CLI over the Agent Client Protocol.
//!
//! Each session has a home of its own for the program, with settings of ours; the work tree is not trusted, so that nothing
//! which the repository configures for the program is read or started. Keys only: a Google login goes to a
//! service that the gateway does not speak.

mod config;

use crate::acp::{Conversation, Plan, whole_prompt};
use crate::driver::{
    Capabilities, Credential, Driver, DriverError, HandOver, Launch, Lead, Led, Probe, Protocol, Reach, Route,
    SessionRequest, UsageReports,
};
use crate::environment::Environment;
use crate::rights::Rights;
use crate::settings::{Settings, ask_version, check_keys, find_program, number};
use std::ffi::OsString;

const KEYS: &[&str] = &["program", "retries"];
const HINT: &str = "npm install -g @google/gemini-cli";
const KEY_ENV: &str = "GEMINI_API_KEY";
const BASE_ENV: &str = "GOOGLE_GEMINI_BASE_URL";
/// What a person does once where the program does not read the settings that we give it.
const LOGIN_HINT: &str = "Gemini CLI has no login chosen, and AgentOps can choose the API key for it only where root owns the \
    state folder and all folders above it and nobody else may write there; choose it once yourself: start `gemini`, type \
    /auth, and take \"Use Gemini API Key\"";
/// Names the file with the weakest of all settings.
const DEFAULTS_ENV: &str = "GEMINI_CLI_SYSTEM_DEFAULTS_PATH";
/// Variables that would lead the program elsewhere, or give it what is not the session's.
const REMOVED: &[&str] = &[
    "GEMINI_CLI",
    "GEMINI_CLI_CUSTOM_HEADERS",
    "GEMINI_CLI_IDE_PID",
    "GEMINI_CLI_IDE_SERVER_PORT",
    "GEMINI_CLI_IDE_WORKSPACE_PATH",
    DEFAULTS_ENV,
    "GEMINI_SANDBOX",
    "GEMINI_SYSTEM_MD",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
];

/// The driver. Settings: `program` (default: `gemini` on the PATH), `retries` (how often the program repeats a call that
/// the provider refused).
#[derive(Debug)]
pub struct Gemini;

fn route_env(route: &Route) -> [(OsString, OsString); 2] {
    [(BASE_ENV.into(), route.base.clone().into()), (KEY_ENV.into(), route.token.expose().into())]
}

impl Driver for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn capabilities(&self, _settings: &Settings) -> Capabilities {
        Capabilities {
            usage: UsageReports::Never,
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
        let program = find_program(settings, env, "gemini", HINT)?;
        let version = ask_version(&program, env)?;
        Ok(Probe { program, version })
    }

    fn reach(&self, _settings: &Settings, _model: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let is_on = |name: &str| set(name).is_some_and(|value| value == "true" || value == "1");
        if is_on("GOOGLE_GENAI_USE_VERTEXAI") {
            let reason = "GOOGLE_GENAI_USE_VERTEXAI sends calls to Google Vertex AI, which the gateway does not speak";
            return Reach::Direct(reason.into());
        }
        if is_on("GOOGLE_GENAI_USE_GCA") || set(KEY_ENV).is_none() {
            let reason = format!(
                "{KEY_ENV} is not what it would use; a Google login talks to Code Assist, which the gateway does not speak"
            );
            return Reach::Direct(reason);
        }
        Reach::Gateway {
            destination: "google".into(),
            credential: Credential::Key,
            base: set(BASE_ENV).map(|base| base.trim_end_matches('/').to_owned()),
            key_env: Some(KEY_ENV.to_owned()),
        }
    }

    fn login_variables(&self, _settings: &Settings, reach: &Reach) -> Vec<String> {
        let names: &[&str] = if matches!(reach, Reach::Direct(_)) { &[KEY_ENV, "GOOGLE_*"] } else { &[] };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, KEYS)?;
        let retries = number(settings, "retries")?;
        let program = find_program(settings, &request.env, "gemini", HINT)?;
        let files = config::write(request, retries)?;

        let mut args = vec!["--acp".into(), "--approval-mode".into(), "default".into()];
        // No extension has this name.
        args.extend(["--extensions".into(), "none".into(), "--admin-policy".into(), files.policy.into()]);
        if let Some(model) = &request.model {
            args.extend(["--model".into(), model.into()]);
        }
        let mut env = vec![
            ("GEMINI_CLI_HOME".into(), files.home.into()),
            ("GEMINI_CLI_TRUST_WORKSPACE".into(), "false".into()),
            ("GEMINI_CLI_NO_RELAUNCH".into(), "true".into()),
            ("GEMINI_TELEMETRY_ENABLED".into(), "false".into()),
        ];
        if let Some(route) = &request.route {
            env.extend(route_env(route));
        }
        Ok(Launch { program, args, env, env_remove: REMOVED.iter().map(Into::into).collect(), close_stdin: false })
    }

    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError> {
        let login = config::users_login(lead.env);
        if login.as_deref().is_some_and(|kind| kind != config::KEY_LOGIN) {
            let reason = "its settings choose another login than an API key (`/auth` changes that)";
            return Err(DriverError::NotLed { driver: "gemini", reason });
        }
        let mut launch = Launch {
            program: find_program(lead.settings, lead.env, "gemini", HINT)?,
            env: route_env(lead.route).into(),
            ..Launch::default()
        };
        let mut silent_hint = None;
        if login.is_none() && lead.env.get(DEFAULTS_ENV).is_none() {
            // With an address of its own, and nothing chosen, the program takes a way to log in that it then refuses.
            let defaults = config::write_defaults(lead.scratch)?;
            if config::is_read_by_the_program(&defaults) {
                launch.env.push((DEFAULTS_ENV.into(), defaults.into()));
            } else {
                silent_hint = Some(LOGIN_HINT.to_owned());
            }
        }
        Ok(Led { launch, shows_line: false, silent_hint })
    }

    fn makes_room(&self) -> &'static str {
        "type /compress or /clear"
    }

    fn starts_over(&self) -> &'static str {
        "type /clear: the conversation is too long to be summarised"
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Box::new(Conversation::new(Plan {
            work_tree: request.work_tree.clone(),
            prompt: whole_prompt(request),
            rights: Rights::of(request.tools.as_deref(), request.access),
            // An argument of the program's.
            model: None,
            mode: None,
            options: Vec::new(),
            auth_method: None,
            usage: UsageReports::Never,
            refusal_words: &["denied by policy", "Path not in workspace"],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(env: &[(&str, &str)]) -> Reach {
        let value = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Gemini.reach(&Settings::new(), None, &value)
    }

    #[test]
    fn a_key_can_be_led_and_a_google_login_cannot() {
        let wanted = |base: Option<&str>| Reach::Gateway {
            destination: "google".into(),
            credential: Credential::Key,
            base: base.map(str::to_owned),
            key_env: Some(KEY_ENV.into()),
        };
        let key = (KEY_ENV, "k");
        assert_eq!(reach(&[key]), wanted(None));
        assert_eq!(reach(&[key, (BASE_ENV, "http://x/")]), wanted(Some("http://x")));
        for (env, word) in [
            (vec![key, ("GOOGLE_GENAI_USE_VERTEXAI", "true")], "Vertex"),
            (vec![key, ("GOOGLE_GENAI_USE_GCA", "true")], "Code Assist"),
            (vec![], "Code Assist"),
        ] {
            let Reach::Direct(reason) = reach(&env) else { panic!("{env:?}") };
            assert!(reason.contains(word), "{reason}");
        }
    }
}
