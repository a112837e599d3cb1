//! The Agent Client Protocol, version 1 (JSON-RPC 2.0, a message a line), and the driver `acp` for any program that speaks it.
//!
//! The messages are read with types of our own, a dozen of them and only the fields that are used: the protocol's schema
//! crate brings some twenty crates, and its types refuse a message that lacks a field which programs of today leave out.
//! Nothing is offered to the program: no files, no terminals, no MCP servers. What it asks is answered by policy.
//!
//! Which personal settings such a program reads is its own affair; the drivers `opencode` and `gemini` seal theirs.

mod finish;
mod permission;
mod protocol;
mod update;

use std::path::PathBuf;

pub(crate) use protocol::{Conversation, Plan};

use crate::driver::{
    Capabilities, Credential, Driver, DriverError, HandOver, Launch, Lead, Led, Probe, Protocol, Reach, SessionRequest,
    UsageReports,
};
use crate::environment::Environment;
use crate::rights::Rights;
use crate::settings::{Settings, check_keys, find_program, refuse, string_list, word};

const KEYS: &[&str] =
    &["program", "args", "usage", "mode", "auth_method", "destination", "base_url_env", "base_url_suffix", "key_env"];
const USAGE_WORDS: &[&str] = &["never", "at-end", "every-call"];
const HINT: &str = "name an installed program that speaks ACP in the agent file's setting `program`";
/// The destination of a program that calls no model.
const NO_MODEL: &str = "none";

/// The driver. Settings: `program` and `args` (a JSON array): how the program is started so that it speaks ACP on stdio;
/// `usage` (`never`, `at-end`, `every-call`): when it says what its calls used; `mode`: the session mode to ask for;
/// `auth_method`: how it is to log in where it wants that; and the way of its calls: `destination` (`anthropic`, `openai`,
/// `google`, a configured name, or `none`: it calls no model), `base_url_env` and `key_env` (the variables from which it
/// takes address and key) and `base_url_suffix` (what it wants at the end of the address, such as `/v1`).
#[derive(Debug)]
pub struct Acp;

/// Standing instructions and task in one text.
pub(crate) fn whole_prompt(request: &SessionRequest) -> String {
    let parts = [request.instructions.trim_end(), request.prompt.trim_end()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn program(settings: &Settings, env: &Environment) -> Result<PathBuf, DriverError> {
    match settings.get("program") {
        Some(name) if !name.is_empty() => find_program(settings, env, name, HINT),
        _ => Err(refuse("program", "must be given: a name on the PATH or an absolute path")),
    }
}

fn calls_no_model(settings: &Settings) -> bool {
    settings.get("destination").is_some_and(|name| name == NO_MODEL)
}

fn usage(settings: &Settings) -> UsageReports {
    if calls_no_model(settings) {
        return UsageReports::NoModel;
    }
    match settings.get("usage").map(String::as_str) {
        Some("every-call") => UsageReports::EveryCall,
        Some("at-end") => UsageReports::AtEnd,
        // A word that is none is refused by `launch`.
        _ => UsageReports::Never,
    }
}

impl Driver for Acp {
    fn name(&self) -> &'static str {
        "acp"
    }

    fn capabilities(&self, settings: &Settings) -> Capabilities {
        Capabilities {
            usage: usage(settings),
            hand_over: HandOver::InBand,
            window_before_first_call: false,
            // What it asks is answered by the list; whether it asks is its own affair.
            allow_list: false,
            interrupt: true,
            output_cap: false,
            resume: false,
            hooks: false,
        }
    }

    /// Only looks whether the program is there: what an unknown program does when it is asked for its version is unknown.
    fn probe(&self, settings: &Settings, env: &Environment) -> Result<Probe, DriverError> {
        Ok(Probe { program: program(settings, env)?, version: "unknown".to_owned() })
    }

    fn reach(&self, settings: &Settings, _model: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        if calls_no_model(settings) {
            return Reach::NoModel;
        }
        let given = |key: &str| settings.get(key).filter(|value| !value.is_empty());
        let (Some(destination), Some(base_url_env), Some(key_env)) =
            (given("destination"), given("base_url_env"), given("key_env"))
        else {
            let reason =
                "the settings `destination`, `base_url_env` and `key_env` do not say how this program's calls can be led";
            return Reach::Direct(reason.into());
        };
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let suffix = given("base_url_suffix").map_or("", String::as_str);
        let base = set(base_url_env).map(|base| base.trim_end_matches('/').to_owned());
        let base = match destination.as_str() {
            // Its clients and its users mean the same address, version and all.
            "openai" => base,
            "anthropic" | "google" => base.map(|base| base.strip_suffix(suffix).unwrap_or(&base).to_owned()),
            // A name of the user's own has its address where it is named.
            _ => None,
        };
        Reach::Gateway {
            destination: destination.clone(),
            credential: Credential::Key,
            base,
            key_env: set(key_env).map(|_| key_env.clone()),
        }
    }

    fn login_variables(&self, settings: &Settings, reach: &Reach) -> Vec<String> {
        let key = settings.get("key_env").filter(|_| matches!(reach, Reach::Direct(_)));
        key.into_iter().cloned().collect()
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, KEYS)?;
        word(settings, "usage", USAGE_WORDS)?;
        let args = string_list(settings, "args")?;
        let mut env = Vec::new();
        if let Some(route) = &request.route {
            let name =
                |key: &str| settings.get(key).ok_or_else(|| refuse(key, "must be given to lead this program's calls"));
            let suffix = settings.get("base_url_suffix").map_or("", String::as_str);
            env.push((name("base_url_env")?.into(), format!("{}{suffix}", route.base).into()));
            env.push((name("key_env")?.into(), route.token.expose().into()));
        }
        let program = program(settings, &request.env)?;
        Ok(Launch { program, args: args.into_iter().map(Into::into).collect(), env, ..Launch::default() })
    }

    fn lead(&self, _lead: &Lead<'_>) -> Result<Led, DriverError> {
        Err(DriverError::NotLed { driver: "acp", reason: "a program that speaks ACP has no screen of its own" })
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Box::new(Conversation::new(Plan {
            work_tree: request.work_tree.clone(),
            prompt: whole_prompt(request),
            rights: Rights::of(request.tools.as_deref(), request.access),
            model: request.model.clone(),
            mode: request.settings.get("mode").cloned(),
            options: Vec::new(),
            auth_method: request.settings.get("auth_method").cloned(),
            usage: usage(&request.settings),
            refusal_words: &[],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const WAY: [(&str, &str); 4] =
        [("destination", "openai"), ("base_url_env", "X_BASE_URL"), ("base_url_suffix", "/v1"), ("key_env", "X_KEY")];

    #[test]
    fn its_calls_are_led_where_the_settings_say_how() {
        let none = |_: &str| None;
        let set = |name: &str| match name {
            "X_BASE_URL" => Some("https://models.example/v1/".to_owned()),
            "X_KEY" => Some("k".to_owned()),
            _ => None,
        };
        let wanted = |destination: &str, base: Option<&str>, key_env: Option<&str>| Reach::Gateway {
            destination: destination.into(),
            credential: Credential::Key,
            base: base.map(str::to_owned),
            key_env: key_env.map(str::to_owned),
        };
        let key = Some("X_KEY");
        assert_eq!(Acp.reach(&settings(&WAY), None, &set), wanted("openai", Some("https://models.example/v1"), key));
        assert_eq!(Acp.reach(&settings(&WAY), None, &none), wanted("openai", None, None));
        let of = |name: &str| Acp.reach(&settings(&[("destination", name), WAY[1], WAY[2], WAY[3]]), None, &set);
        assert_eq!(of("anthropic"), wanted("anthropic", Some("https://models.example"), key));
        assert_eq!(of("mine"), wanted("mine", None, key));
        assert!(matches!(Acp.reach(&settings(&WAY[..3]), None, &set), Reach::Direct(_)));
        assert_eq!(Acp.reach(&settings(&[("destination", "none")]), None, &set), Reach::NoModel);
    }

    #[test]
    fn usage_is_unknown_until_the_agent_file_says_otherwise() {
        let usage = |pairs: &[(&str, &str)]| Acp.capabilities(&settings(pairs)).usage;
        assert_eq!(usage(&[]), UsageReports::Never);
        assert_eq!(usage(&[("usage", "every-call")]), UsageReports::EveryCall);
        assert_eq!(usage(&[("usage", "every-call"), ("destination", "none")]), UsageReports::NoModel);
    }

    #[test]
    fn the_way_through_the_gateway_is_put_where_the_program_reads_it() {
        let mut pairs = WAY.to_vec();
        pairs.extend([("program", "/bin/sh"), ("args", r#"["--acp"]"#)]);
        let request = SessionRequest {
            work_tree: "/lane".into(),
            scratch: "/scratch".into(),
            instructions: String::new(),
            prompt: String::new(),
            model: None,
            window: None,
            tools: None,
            access: crate::driver::Access::Write,
            settings: settings(&pairs),
            route: Some(crate::driver::Route {
                base: "http://127.0.0.1:1/lane/t".into(),
                token: agentops_safe::Secret::new("t"),
                credential: Credential::Key,
            }),
            env: Environment::default(),
        };
        let launch = Acp.launch(&request).unwrap();
        assert_eq!(launch.args, ["--acp"]);
        let env = [("X_BASE_URL", "http://127.0.0.1:1/lane/t/v1"), ("X_KEY", "t")];
        assert_eq!(launch.env, env.map(|(name, value)| (name.into(), value.into())));
        let wrong = |pairs: &[(&str, &str)]| {
            Acp.launch(&SessionRequest { settings: settings(pairs), ..request.clone() }).unwrap_err().to_string()
        };
        assert!(wrong(&[("program", "/bin/sh")]).contains("base_url_env"));
        assert!(wrong(&[("program", "/bin/sh"), ("usage", "always")]).contains("every-call"));
        assert!(wrong(&[("progam", "/bin/sh")]).contains("unknown"));
    }
}
