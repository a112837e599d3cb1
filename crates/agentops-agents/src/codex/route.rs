//! How Codex's calls are led through the gateway: a provider of ours, in its place.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::config::quoted;
use super::home;
use crate::driver::{Credential, Reach, Route};
use crate::settings::Settings;

/// The provider's name in the program's configuration, and the variable that holds its key.
const PROVIDER: &str = "agentops";
const KEY_ENV: &str = "AGENTOPS_LANE_TOKEN";

/// What of a provider's configuration decides about the way.
#[derive(Debug, Default)]
struct Provider {
    base_url: Option<String>,
    env_key: Option<String>,
    requires_openai_auth: bool,
    /// Query parameters, headers or the like, which only the program itself would send.
    special: bool,
}

/// As the agent file's settings, the user's configuration and login have it.
pub(super) fn reach(settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Reach {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let users = home::users_home(env);
    let kept = users.as_deref().and_then(|users| home::kept_settings(users).ok()).unwrap_or_default();
    let config: BTreeMap<String, toml::Value> =
        settings.get("config").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let text = |key: &str| config.get(key).or_else(|| kept.get(key)).and_then(toml::Value::as_str).map(str::to_owned);
    let name = settings.get("model_provider").cloned().or_else(|| text("model_provider")).unwrap_or_else(|| "openai".into());
    let table = kept.get("model_providers").and_then(|all| all.get(&name));
    let of = |key: &str| {
        let whole = config.get("model_providers").and_then(|all| all.get(&name));
        let tables = [config.get(&format!("model_providers.{name}")), whole, table];
        let single = config.get(&format!("model_providers.{name}.{key}"));
        single.or_else(|| tables.into_iter().flatten().find_map(|table| table.get(key))).cloned()
    };
    let of_text = |key: &str| of(key).and_then(|value| value.as_str().map(str::to_owned));
    let provider = Provider {
        base_url: of_text("base_url").or_else(|| (name == "openai").then(|| text("openai_base_url")).flatten()),
        env_key: of_text("env_key"),
        requires_openai_auth: name == "openai" || of("requires_openai_auth").and_then(|v| v.as_bool()).unwrap_or(false),
        special: ["query_params", "http_headers", "env_http_headers", "auth", "experimental_bearer_token"]
            .iter()
            .any(|key| of(key).is_some()),
    };
    if name.contains("bedrock")
        || name.contains("azure")
        || provider.base_url.as_deref().is_some_and(|u| u.contains(".azure."))
    {
        return Reach::Direct(format!("provider `{name}` is one that the gateway does not speak"));
    }
    if provider.special {
        return Reach::Direct(format!("provider `{name}` has headers or parameters of its own, which only codex can send"));
    }
    if of_text("wire_api").is_some_and(|wire| wire != "responses") {
        return Reach::Direct(format!("provider `{name}` does not speak the Responses protocol"));
    }
    let key = provider.env_key.clone().or_else(|| (name == "openai").then(|| "OPENAI_API_KEY".to_owned()));
    let has_key = key.as_deref().is_some_and(|key| set(key).is_some());
    let login = provider.requires_openai_auth
        && (!has_key || users.as_deref().is_some_and(|users| users.join("auth.json").is_file()));
    Reach::Gateway {
        destination: "openai".into(),
        credential: if login { Credential::Login } else { Credential::Key },
        base: provider.base_url,
        key_env: key,
    }
}

/// The program's options for a provider that is the gateway.
pub(super) fn options(route: &Route) -> Vec<String> {
    let credential = match route.credential {
        Credential::Key => format!("env_key={}", quoted(KEY_ENV)),
        Credential::Login => "requires_openai_auth=true".to_owned(),
    };
    let base = quoted(&format!("{}/v1", route.base));
    vec![
        format!(
            "model_providers.{PROVIDER}={{name=\"AgentOps gateway\",wire_api=\"responses\",base_url={base},{credential}}}"
        ),
        format!("model_provider={}", quoted(PROVIDER)),
    ]
}

/// The variables that go with them.
pub(super) fn env(route: &Route) -> Option<(OsString, OsString)> {
    (route.credential == Credential::Key).then(|| (KEY_ENV.into(), route.token.expose().into()))
}
