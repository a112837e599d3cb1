//! The provider of a session's model: which protocol it speaks, which key it takes, and how it is led through the gateway.

use std::ffi::OsString;

use serde_json::{Map, Value};

use super::user::Kept;
use crate::driver::{Credential, DriverError, Reach, Route};
use crate::settings::{Settings, refuse};

/// Where the configuration finds the gateway, so that no token lies in a file.
const BASE_ENV: &str = "AGENTOPS_GATEWAY";
const TOKEN_ENV: &str = "AGENTOPS_LANE_TOKEN";

/// A kind of provider that the gateway speaks.
#[derive(Debug)]
struct Kind {
    /// The program's client package.
    npm: &'static str,
    /// The gateway's name for the provider of that protocol.
    destination: &'static str,
    /// How the address that the client wants ends.
    version: &'static str,
    /// The variable in which the client looks for the address that its options do not name.
    base_env: Option<&'static str>,
}

const KINDS: &[Kind] = &[
    Kind { npm: "@ai-sdk/anthropic", destination: "anthropic", version: "/v1", base_env: Some("ANTHROPIC_BASE_URL") },
    Kind { npm: "@ai-sdk/openai", destination: "openai", version: "/v1", base_env: Some("OPENAI_BASE_URL") },
    Kind { npm: "@ai-sdk/openai-compatible", destination: "openai", version: "/v1", base_env: None },
    Kind { npm: "@ai-sdk/google", destination: "google", version: "/v1beta", base_env: None },
];

/// Providers that the program knows by itself: their package, and the variables with their key.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("anthropic", "@ai-sdk/anthropic", &["ANTHROPIC_API_KEY"]),
    ("openai", "@ai-sdk/openai", &["OPENAI_API_KEY"]),
    ("google", "@ai-sdk/google", &["GOOGLE_GENERATIVE_AI_API_KEY", "GEMINI_API_KEY"]),
];

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) id: String,
    /// Its entry in the configuration: the user's, and over it the agent file's.
    pub(super) entry: Map<String, Value>,
}

impl Provider {
    /// The provider of `provider/model`.
    pub(super) fn of(model: &str, settings: &Settings, user: &Kept) -> Result<Self, DriverError> {
        let Some((id, _)) = model.split_once('/').filter(|(id, name)| !id.is_empty() && !name.is_empty()) else {
            return Err(refuse("model", format!("`{model}` must be written `provider/model`")));
        };
        let mut entry = user.providers.get(id).and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(text) = settings.get("provider") {
            let given: Map<String, Value> = serde_json::from_str(text)
                .map_err(|error| refuse("provider", format!("must be a JSON object ({error})")))?;
            entry.extend(given);
        }
        Ok(Self { id: id.to_owned(), entry })
    }

    fn known(&self) -> Option<&'static (&'static str, &'static str, &'static [&'static str])> {
        KNOWN.iter().find(|(id, ..)| *id == self.id)
    }

    /// The package that speaks to it; `None`: the program's own list of providers says it, and we do not know.
    fn npm(&self) -> Option<&str> {
        self.entry.get("npm").and_then(Value::as_str).or_else(|| self.known().map(|(_, npm, _)| *npm))
    }

    fn kind(&self) -> Option<&'static Kind> {
        let npm = self.npm()?;
        KINDS.iter().find(|kind| kind.npm == npm)
    }

    fn option(&self, key: &str) -> Option<&Value> {
        self.entry.get("options").and_then(|options| options.get(key)).filter(|value| !value.is_null())
    }

    /// The program knows this provider only from the configuration: so its models have to be there, too.
    pub(super) fn is_custom(&self) -> bool {
        self.known().is_none() && self.entry.contains_key("npm")
    }

    /// Variables that may hold its key, the first that is set counts.
    pub(super) fn key_names(&self, settings: &Settings) -> Vec<String> {
        if let Some(name) = settings.get("key_env") {
            return vec![name.clone()];
        }
        if let Some(written) = self.option("apiKey").and_then(Value::as_str) {
            return env_name(written).map(str::to_owned).into_iter().collect();
        }
        let named = self.entry.get("env").and_then(Value::as_array).into_iter().flatten();
        let named: Vec<String> = named.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        if !named.is_empty() {
            return named;
        }
        self.known().map(|(.., names)| names.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    pub(super) fn reach(&self, settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        let id = &self.id;
        let direct = |reason: String| Reach::Direct(reason);
        let Some(kind) = self.kind() else {
            return direct(format!("provider `{id}` is one that the gateway does not speak"));
        };
        if self.option("headers").is_some() {
            return direct(format!("provider `{id}` has headers of its own, which only opencode can send"));
        }
        let named = self.option("baseURL").map(|url| url.as_str().unwrap_or_default().to_owned());
        let of_env = || env(kind.base_env?).map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
        let base = match named.or_else(of_env).as_deref().map(|url| url.trim_end_matches('/')) {
            None => None,
            // Its clients and its users mean the same address, version and all.
            Some(url) if kind.destination == "openai" => Some(url.to_owned()),
            Some(url) => match url.strip_suffix(kind.version) {
                Some(base) => Some(base.to_owned()),
                None => return direct(format!("the address of provider `{id}` does not end in {}", kind.version)),
            },
        };
        let set = |name: &String| env(name).is_some_and(|value| !value.is_empty());
        let names = self.key_names(settings);
        let Some(key) = names.iter().find(|name| set(name)) else {
            let which = if names.is_empty() { "no variable".to_owned() } else { names.join(" or ") };
            return direct(format!("no key for provider `{id}`: {which} is set, and opencode's own logins cannot be led"));
        };
        Reach::Gateway {
            destination: settings.get("destination").cloned().unwrap_or_else(|| kind.destination.to_owned()),
            credential: Credential::Key,
            base,
            key_env: Some(key.clone()),
        }
    }

    /// Its entry for a session whose calls go through the gateway.
    pub(super) fn routed(&self) -> Map<String, Value> {
        let mut entry = self.entry.clone();
        let version = self.kind().map_or("/v1", |kind| kind.version);
        let options = entry.entry("options").or_insert_with(|| Value::Object(Map::new()));
        options["baseURL"] = format!("{{env:{BASE_ENV}}}{version}").into();
        options["apiKey"] = format!("{{env:{TOKEN_ENV}}}").into();
        entry
    }

    /// The variables that go with it.
    pub(super) fn route_env(&self, route: &Route) -> [(String, OsString); 2] {
        [(BASE_ENV.into(), route.base.clone().into()), (TOKEN_ENV.into(), route.token.expose().into())]
    }
}

/// The name in `{env:NAME}`.
fn env_name(written: &str) -> Option<&str> {
    written.strip_prefix("{env:")?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn reach(model: &str, pairs: &[(&str, &str)], env: &[&str]) -> Reach {
        let settings = settings(pairs);
        let provider = Provider::of(model, &settings, &Kept::default()).unwrap();
        provider.reach(&settings, &|name| env.contains(&name).then(|| "k".to_owned()))
    }

    fn gateway(destination: &str, base: Option<&str>, key_env: &str) -> Reach {
        Reach::Gateway {
            destination: destination.into(),
            credential: Credential::Key,
            base: base.map(str::to_owned),
            key_env: Some(key_env.into()),
        }
    }

    #[test]
    fn the_models_prefix_names_the_provider() {
        let key = "ANTHROPIC_API_KEY";
        assert_eq!(reach("anthropic/claude-haiku-4-5", &[], &[key]), gateway("anthropic", None, key));
        assert_eq!(reach("openai/gpt-5", &[], &["OPENAI_API_KEY"]), gateway("openai", None, "OPENAI_API_KEY"));
        assert_eq!(reach("google/gemini-2.5-pro", &[], &["GEMINI_API_KEY"]), gateway("google", None, "GEMINI_API_KEY"));
        let Reach::Direct(reason) = reach("openai/gpt-5", &[], &[key]) else { panic!() };
        assert!(reason.contains("OPENAI_API_KEY") && reason.contains("logins"), "{reason}");
        assert!(matches!(reach("amazon-bedrock/claude", &[], &[key]), Reach::Direct(_)));
        assert!(Provider::of("gpt-5", &settings(&[]), &Kept::default()).is_err());
    }

    #[test]
    fn a_provider_of_ones_own_says_its_address_and_its_key() {
        let of = |options: Value| json!({"npm": "@ai-sdk/openai-compatible", "options": options}).to_string();
        let entry = of(json!({"baseURL": "http://127.0.0.1:9/v1/", "apiKey": "{env:MINE}"}));
        let pairs = [("provider", entry.as_str())];
        assert_eq!(reach("local/qwen", &pairs, &["MINE"]), gateway("openai", Some("http://127.0.0.1:9/v1"), "MINE"));
        let named = [pairs[0], ("destination", "local")];
        assert_eq!(reach("local/qwen", &named, &["MINE"]), gateway("local", Some("http://127.0.0.1:9/v1"), "MINE"));
        let entry_at = |url: &str| json!({"options": {"baseURL": url}}).to_string();
        let anthropic = |url: &str| reach("anthropic/m", &[("provider", &entry_at(url))], &["ANTHROPIC_API_KEY"]);
        assert_eq!(anthropic("https://x/v1"), gateway("anthropic", Some("https://x"), "ANTHROPIC_API_KEY"));
        assert!(matches!(anthropic("https://x"), Reach::Direct(_)));
        for options in [
            json!({"baseURL": "http://127.0.0.1:9/v1", "apiKey": "sk-written-down"}),
            json!({"baseURL": "http://127.0.0.1:9/v1", "apiKey": "{env:MINE}", "headers": {"X": "y"}}),
            json!({"baseURL": "http://127.0.0.1:9/v1"}),
        ] {
            let entry = of(options);
            assert!(matches!(reach("local/qwen", &[("provider", &entry)], &["MINE"]), Reach::Direct(_)), "{entry}");
        }
    }

    /// As the program's own clients do, so that a key for a proxy goes to no other host.
    #[test]
    fn an_address_in_the_environment_counts_where_the_configuration_names_none() {
        let reach = |model: &str, pairs: &[(&str, &str)], base_env: &str, base: &str| {
            let settings = settings(pairs);
            let value = |name: &str| {
                if name == base_env { Some(base.to_owned()) } else { name.ends_with("KEY").then(|| "k".into()) }
            };
            Provider::of(model, &settings, &Kept::default()).unwrap().reach(&settings, &value)
        };
        let anthropic = |base: &str| reach("anthropic/m", &[], "ANTHROPIC_BASE_URL", base);
        assert_eq!(anthropic("http://mine/v1"), gateway("anthropic", Some("http://mine"), "ANTHROPIC_API_KEY"));
        assert_eq!(anthropic(""), gateway("anthropic", None, "ANTHROPIC_API_KEY"));
        assert!(matches!(anthropic("http://mine"), Reach::Direct(_)));
        let openai = |pairs: &[(&str, &str)]| reach("openai/m", pairs, "OPENAI_BASE_URL", "http://mine/v1");
        assert_eq!(openai(&[]), gateway("openai", Some("http://mine/v1"), "OPENAI_API_KEY"));
        let configured = json!({"options": {"baseURL": "http://other/v1"}}).to_string();
        assert_eq!(openai(&[("provider", &configured)]), gateway("openai", Some("http://other/v1"), "OPENAI_API_KEY"));
        let compatible = json!({"npm": "@ai-sdk/openai-compatible"}).to_string();
        assert_eq!(openai(&[("provider", &compatible)]), gateway("openai", None, "OPENAI_API_KEY"));
    }

    #[test]
    fn a_routed_entry_names_variables_and_no_token() {
        let entry = json!({"options": {"baseURL": "https://x/v1", "apiKey": "k", "timeout": 5}}).to_string();
        let provider = Provider::of("google/m", &settings(&[("provider", &entry)]), &Kept::default()).unwrap();
        let options = provider.routed()["options"].clone();
        assert_eq!(options["baseURL"], "{env:AGENTOPS_GATEWAY}/v1beta");
        assert_eq!((&options["apiKey"], &options["timeout"]), (&json!("{env:AGENTOPS_LANE_TOKEN}"), &json!(5)));
    }
}
