//! How Codex's calls are led through the gateway: a provider of ours, in its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::config::quoted;
use super::home;
use crate::driver::{Credential, Reach, Route};
use crate::settings::Settings;

/// The provider's name in the program's configuration, and the variable that holds its key.
const PROVIDER: &str = "agentops";
const KEY_ENV: &str = "AGENTOPS_LANE_TOKEN";

/// The variable that names the address of OpenAI, or of a proxy for it, to usual programs.
pub(super) const BASE_ENV: &str = "OPENAI_BASE_URL";

/// What of a provider's configuration decides about the way.
#[derive(Debug, Default)]
struct Provider {
    base_url: Option<String>,
    env_key: Option<String>,
    requires_openai_auth: bool,
    /// Query parameters, headers or the like, which only the program itself would send.
    special: bool,
}

/// Settings of a provider that hold as well where the gateway takes its place: how often the program asks again, and how long
/// it waits. Source: Codex, `ModelProviderInfo`. Its other settings are the way itself, or only the program can send them.
const HELD: &[&str] = &["request_max_retries", "stream_max_retries", "stream_idle_timeout_ms"];

/// The headers of the program's own provider that are a person's to set, each with its variable: whom OpenAI charges. The program
/// leaves out those whose variable is not set. Source: Codex, `ModelProviderInfo::create_openai_provider`.
const ACCOUNT: &str = r#"{"OpenAI-Organization"="OPENAI_ORGANIZATION","OpenAI-Project"="OPENAI_PROJECT"}"#;

/// The provider that a session would use without the gateway, and the configuration that says so.
struct Configured {
    provider: String,
    users: Option<PathBuf>,
    /// The agent file's.
    config: BTreeMap<String, toml::Value>,
    /// The user's.
    kept: toml::Table,
}

impl Configured {
    fn read(settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let users = home::users_home(env);
        let kept = users.as_deref().and_then(|users| home::kept_settings(users).ok()).unwrap_or_default();
        let config = settings.get("config").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let read = Self { provider: String::new(), users, config, kept };
        let provider = settings.get("model_provider").cloned().or_else(|| read.text("model_provider"));
        Self { provider: provider.unwrap_or_else(|| "openai".into()), ..read }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.config.get(key).or_else(|| self.kept.get(key)).and_then(toml::Value::as_str).map(str::to_owned)
    }

    /// A setting of the provider.
    fn of(&self, key: &str) -> Option<&toml::Value> {
        let name = &self.provider;
        let single = self.config.get(&format!("model_providers.{name}.{key}"));
        let table = self.config.get(&format!("model_providers.{name}"));
        let [agent_file, user] = [self.config.get("model_providers"), self.kept.get("model_providers")]
            .map(|all| all.and_then(|all| all.get(name)));
        single.or_else(|| [table, agent_file, user].into_iter().flatten().find_map(|table| table.get(key)))
    }

    fn of_text(&self, key: &str) -> Option<String> {
        self.of(key).and_then(toml::Value::as_str).map(str::to_owned)
    }
}

/// As the agent file's settings, the user's configuration and login have it.
pub(super) fn reach(settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Reach {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let configured = Configured::read(settings, env);
    let name = &configured.provider;
    let mut provider = Provider {
        base_url: configured
            .of_text("base_url")
            .or_else(|| (name == "openai").then(|| configured.text("openai_base_url")).flatten()),
        env_key: configured.of_text("env_key"),
        requires_openai_auth: name == "openai"
            || configured.of("requires_openai_auth").and_then(toml::Value::as_bool).unwrap_or(false),
        special: ["query_params", "http_headers", "env_http_headers", "auth", "aws", "experimental_bearer_token"]
            .iter()
            .any(|key| configured.of(key).is_some()),
    };
    if name.contains("bedrock")
        || name.contains("azure")
        || provider.base_url.as_deref().is_some_and(|u| u.contains(".azure."))
    {
        return Reach::Direct(format!("provider `{name}` is one that the gateway does not speak"));
    }
    if provider.special {
        return Reach::Direct(format!(
            "provider `{name}` has headers, parameters or a signature of its own, which only codex can send"
        ));
    }
    if configured.of_text("wire_api").is_some_and(|wire| wire != "responses") {
        return Reach::Direct(format!("provider `{name}` does not speak the Responses protocol"));
    }
    let key = provider.env_key.clone().or_else(|| (name == "openai").then(|| "OPENAI_API_KEY".to_owned()));
    let has_key = key.as_deref().is_some_and(|key| set(key).is_some());
    let login = provider.requires_openai_auth
        && (!has_key || configured.users.as_deref().is_some_and(|users| users.join("auth.json").is_file()));
    if name == "openai" && !login && provider.base_url.is_none() {
        // The program does not read it. But its key comes from the environment, and so from where this comes: a proxy's key
        // would go to the official host. A login is OpenAI's, and stays there.
        let named = env(BASE_ENV).map(|base| base.trim().trim_end_matches('/').to_owned());
        provider.base_url = named.filter(|base| !base.is_empty());
    }
    Reach::Gateway {
        destination: "openai".into(),
        credential: if login { Credential::Login } else { Credential::Key },
        base: provider.base_url,
        key_env: key,
    }
}

/// The program's options for a provider that is the gateway. It keeps those settings of the user's provider that hold there
/// too.
pub(super) fn options(route: &Route, settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let credential = match route.credential {
        Credential::Key => format!("env_key={}", quoted(KEY_ENV)),
        Credential::Login => "requires_openai_auth=true".to_owned(),
    };
    let base = quoted(&format!("{}/v1", route.base));
    let configured = Configured::read(settings, env);
    let held = |key: &&str| Some(format!(",{key}={}", configured.of(key)?.as_integer()?));
    let held: String = HELD.iter().filter_map(held).collect();
    let account = if configured.provider == "openai" { format!(",env_http_headers={ACCOUNT}") } else { String::new() };
    vec![
        format!(
            "model_providers.{PROVIDER}={{name=\"AgentOps gateway\",wire_api=\"responses\",base_url={base},{credential}{held}{account}}}"
        ),
        format!("model_provider={}", quoted(PROVIDER)),
    ]
}

/// The variables that go with them.
pub(super) fn env(route: &Route) -> Option<(OsString, OsString)> {
    (route.credential == Credential::Key).then(|| (KEY_ENV.into(), route.token.expose().into()))
}

#[cfg(test)]
mod tests {
    use agentops_safe::Secret;

    use super::*;

    /// The provider of ours, where the user and an agent file have these.
    fn provider(user: &str, agent_file: &[(&str, &str)]) -> toml::Value {
        let users = tempfile::tempdir().unwrap();
        std::fs::write(users.path().join("config.toml"), user).unwrap();
        let users = users.path().to_str().unwrap().to_owned();
        let env = |name: &str| (name == "CODEX_HOME").then(|| users.clone());
        let settings = agent_file.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let route = Route { base: "http://[::1]:1/x".into(), token: Secret::new("t"), credential: Credential::Key };
        let options = options(&route, &settings, &env);
        let table: toml::Table = options[0].parse().unwrap();
        table["model_providers"]["agentops"].clone()
    }

    #[test]
    fn how_often_the_program_asks_again_is_the_users() {
        let user = r#"
            model_provider = "mine"
            [model_providers.mine]
            name = "Mine"
            base_url = "http://mine/v1"
            env_key = "MINE"
            supports_websockets = true
            request_max_retries = 0
            stream_max_retries = 1
            stream_idle_timeout_ms = 900000
            [model_providers.other]
            name = "Other"
            stream_max_retries = 7
        "#;
        let ours = provider(user, &[]);
        let held = |ours: &toml::Value| HELD.iter().map(|key| ours.get(key)?.as_integer()).collect::<Vec<_>>();
        assert_eq!(held(&ours), [Some(0), Some(1), Some(900_000)]);
        assert_eq!(ours["base_url"].as_str(), Some("http://[::1]:1/x/v1"));
        assert_eq!(ours["env_key"].as_str(), Some(KEY_ENV));
        assert_eq!(ours.get("supports_websockets"), None);

        let one = provider(user, &[("config", r#"{"model_providers.mine.stream_max_retries": 2}"#)]);
        assert_eq!(held(&one), [Some(0), Some(2), Some(900_000)]);
        assert_eq!(held(&provider(user, &[("model_provider", "other")])), [None, Some(7), None]);
        assert_eq!(held(&provider("model_provider = \"openai\"", &[])), [None; 3]);
        // The program refuses it by itself.
        let wrong = "model_provider = \"mine\"\n[model_providers.mine]\nstream_max_retries = \"1, x = 2\"";
        assert_eq!(held(&provider(wrong, &[])), [None; 3]);
    }

    #[test]
    fn whom_openai_charges_is_said_to_it_alone() {
        let headers = |user: &str| provider(user, &[]).get("env_http_headers").cloned();
        let account = headers("").unwrap();
        assert_eq!(account["OpenAI-Organization"].as_str(), Some("OPENAI_ORGANIZATION"));
        assert_eq!(account["OpenAI-Project"].as_str(), Some("OPENAI_PROJECT"));
        let other = "model_provider = \"mine\"\n[model_providers.mine]\nbase_url = \"http://mine/v1\"";
        assert_eq!(headers(other), None);
    }

    #[test]
    fn a_key_goes_to_the_address_beside_it() {
        let users = tempfile::tempdir().unwrap();
        let folder = users.path().to_str().unwrap().to_owned();
        let base = |named: &str| {
            let env = |name: &str| match name {
                "CODEX_HOME" => Some(folder.clone()),
                "OPENAI_API_KEY" => Some("key".to_owned()),
                "OPENAI_BASE_URL" => Some(named.to_owned()),
                _ => None,
            };
            let Reach::Gateway { base, credential, .. } = reach(&Settings::new(), &env) else { panic!("not led") };
            (base, credential)
        };
        let named = |base: &str| (Some(base.to_owned()), Credential::Key);
        let configure = |text: &str| std::fs::write(users.path().join("config.toml"), text).unwrap();
        assert_eq!(base(" http://proxy/v1/ "), named("http://proxy/v1"));
        assert_eq!(base(" "), (None, Credential::Key));
        configure("openai_base_url = \"http://mine/v1\"");
        assert_eq!(base("http://proxy/v1"), named("http://mine/v1"));
        let other = "model_provider = \"other\"\n[model_providers.other]\nbase_url = \"http://other/v1\"\nenv_key = \"OPENAI_API_KEY\"";
        configure(other);
        assert_eq!(base("http://proxy/v1"), named("http://other/v1"));
        configure("");
        std::fs::write(users.path().join("auth.json"), "{}").unwrap();
        assert_eq!(base("http://proxy/v1"), (None, Credential::Login));
    }

    #[test]
    fn a_provider_whose_calls_the_program_signs_is_not_led() {
        let config = r#"{"model_providers.mine": {"base_url": "http://mine/v1", "aws": {"profile": "work"}}}"#;
        let settings =
            [("model_provider", "mine"), ("config", config)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert!(matches!(reach(&settings.into(), &|_| None), Reach::Direct(_)));
    }
}
