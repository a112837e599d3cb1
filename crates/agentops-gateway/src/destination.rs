//! Where calls may go: providers' official addresses, and those that the user's own configuration names. A request never
//! chooses any of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use agentops_safe::Redactor;
use hyper::Uri;

use crate::protocol::Protocol;

/// Whose protocols a destination speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Responses and Chat Completions.
    OpenAi,
    /// Gemini.
    Google,
}

/// How a destination wants its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// `x-api-key: KEY`
    XApiKey,
    /// `authorization: Bearer KEY`
    Bearer,
    /// `x-goog-api-key: KEY`
    XGoogApiKey,
}

impl Family {
    /// The protocol for an error response where the request's path does not show the client's protocol.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Anthropic => Protocol::Messages,
            Self::OpenAi => Protocol::Chat,
            Self::Google => Protocol::Gemini,
        }
    }

    /// How destinations of this family usually want their key.
    #[must_use]
    pub fn key_form(self) -> KeyForm {
        match self {
            Self::Anthropic => KeyForm::XApiKey,
            Self::OpenAi => KeyForm::Bearer,
            Self::Google => KeyForm::XGoogApiKey,
        }
    }
}

/// The address that a destination's paths are put after: scheme, host, port and path prefix, all checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    https: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// A destination as the user's configuration has it. This crate reads no configuration; the values are given to it.
#[derive(Debug, Clone)]
pub struct Custom {
    /// Its name. That of a built-in destination moves that one's calls with a key; calls with a login never move.
    pub name: String,
    /// Its address, such as `https://openrouter.ai/api/v1`. In the OpenAI family it stands in the place of `…/v1`, as
    /// these programs' own settings have it; in the others it goes before the version.
    pub base_url: String,
    /// What it speaks.
    pub family: Family,
    /// How it wants its key; `None`: as its family does.
    pub key: Option<KeyForm>,
    /// The variable that holds its key; `None`: it wants none.
    pub key_env: Option<String>,
    /// Plain `http` to another machine is wanted.
    pub insecure: bool,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) base: Base,
    pub(crate) key: KeyForm,
    key_env: Option<String>,
    /// Where calls with the user's login go: a constant of this file. `None`: it has no logins.
    pub(crate) login: Option<Base>,
}

/// All destinations, by name.
#[derive(Debug, Clone)]
pub struct Destinations(BTreeMap<String, Destination>);

/// Why a destination cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address `{url}` of destination `{name}` {problem}")]
pub struct DestinationError {
    /// The destination.
    pub name: String,
    /// Its address as written, without a login and the values of a query that stood in it.
    pub url: String,
    /// What is wrong with it, and what to do.
    pub problem: BaseError,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// It is no URL, or has no host.
    #[error("is not a URL like `https://host/path`; write international host names in their `xn--` form")]
    Malformed,
    /// Neither `https` nor `http`.
    #[error("has a scheme that is neither `https` nor `http`")]
    Scheme,
    /// What stands behind the host's colon.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// A user or a password stands in it.
    #[error("holds a user name or password; name the variable of the key in `key_env` instead")]
    Credentials,
    /// Something stands after the path, or the path climbs.
    #[error("has a query, a `..` or an encoded character in its path; give the path alone")]
    Path,
    /// Keys and prompts would cross a network in the clear.
    #[error("would send keys and prompts unencrypted to another machine; use `https`, or set `insecure = true`")]
    Insecure,
}

fn usual_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

impl Base {
    /// Reads an address. `insecure` allows plain `http` to other machines.
    ///
    /// # Errors
    ///
    /// [`BaseError`] says what must be different.
    pub fn parse(url: &str, insecure: bool) -> Result<Self, BaseError> {
        if !url.is_ascii() || url.contains(['#', '\\']) || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(BaseError::Malformed);
        }
        let uri: Uri = url.parse().map_err(|_| BaseError::Malformed)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(BaseError::Scheme),
            None => return Err(BaseError::Malformed),
        };
        let authority = uri.authority().ok_or(BaseError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(BaseError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(BaseError::Malformed);
        }
        let prefix = uri.path().trim_end_matches('/');
        let climbs = prefix.split('/').any(|segment| segment == "." || segment == "..");
        if uri.query().is_some() || climbs || prefix.contains(['%', '?']) || prefix.contains("//") {
            return Err(BaseError::Path);
        }
        // The library ignores a port that it cannot read, and the key would go to another server.
        let rest = authority.as_str().strip_prefix(authority.host()).ok_or(BaseError::Malformed)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(BaseError::Port)?,
            None if rest.is_empty() => usual_port(https),
            None => return Err(BaseError::Malformed),
        };
        let base = Self { https, host: authority.host().to_ascii_lowercase(), port, prefix: prefix.to_owned() };
        if !https && !insecure && !base.is_loopback() {
            return Err(BaseError::Insecure);
        }
        Ok(base)
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether calls are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Host, in the form of a URL.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What goes before the client's path: empty, or a path without a slash at its end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as the `Host` header has them: the scheme's own port is left out.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == usual_port(self.https) { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.prefix)
    }
}

impl Destination {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it speaks.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Where calls with a key go.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Where calls with the user's login go; `None`: nowhere.
    #[must_use]
    pub fn login(&self) -> Option<&Base> {
        self.login.as_ref()
    }

    /// The variable of the user's environment that holds its key; `None`: it wants none.
    #[must_use]
    pub fn key_env(&self) -> Option<&str> {
        self.key_env.as_deref()
    }

    /// What goes after the destination's address for a client's path, which begins with a slash and may carry a query.
    ///
    /// OpenAI's clients are told an address that ends in `/v1`, and so are its users: what they configure stands in that
    /// place. The backend of ChatGPT logins has no version at all.
    pub(crate) fn relative<'a>(&self, path: &'a str) -> &'a str {
        match (self.family, path.strip_prefix("/v1")) {
            (Family::OpenAi, Some(rest)) if rest.starts_with(['/', '?']) || rest.is_empty() => rest,
            _ => path,
        }
    }

    /// The path at the destination for one of the client's: both begin with a slash, both may carry a query.
    pub(crate) fn path(&self, base: &Base, path: &str) -> String {
        let path = format!("{}{}", base.prefix, self.relative(path));
        if path.starts_with('/') { path } else { format!("/{path}") }
    }
}

impl Destinations {
    /// The built-in destinations and the user's own.
    ///
    /// # Errors
    ///
    /// When an address cannot be used; the error names it.
    pub fn new(custom: impl IntoIterator<Item = Custom>) -> Result<Self, DestinationError> {
        let mut all = BTreeMap::from(BUILT_IN.map(|built_in| {
            let base = |url: &str| built_in_base(url);
            let destination = Destination {
                name: built_in.name.into(),
                family: built_in.family,
                base: base(built_in.base),
                key: built_in.family.key_form(),
                key_env: Some(built_in.key_env.into()),
                login: Some(base(built_in.login)),
            };
            (destination.name.clone(), destination)
        }));
        for custom in custom {
            let base = Base::parse(&custom.base_url, custom.insecure).map_err(|problem| DestinationError {
                name: custom.name.clone(),
                url: without_values(&custom.base_url),
                problem,
            })?;
            let login = all.remove(&custom.name).and_then(|built_in| built_in.login);
            let destination = Destination {
                name: custom.name,
                family: custom.family,
                base,
                key: custom.key.unwrap_or(custom.family.key_form()),
                key_env: custom.key_env,
                login,
            };
            all.insert(destination.name.clone(), destination);
        }
        Ok(Self(all))
    }

    /// A destination by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Destination> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.values()
    }
}

struct BuiltIn {
    name: &'static str,
    family: Family,
    key_env: &'static str,
    base: &'static str,
    login: &'static str,
}

/// Addresses as the vendors' own programs have them. Codex sends the calls of a ChatGPT login to ChatGPT's backend, and
/// those of an API key to the API.
const BUILT_IN: [BuiltIn; 3] = [
    BuiltIn {
        name: "anthropic",
        family: Family::Anthropic,
        key_env: "ANTHROPIC_API_KEY",
        base: "https://api.anthropic.com",
        login: "https://api.anthropic.com",
    },
    BuiltIn {
        name: "openai",
        family: Family::OpenAi,
        key_env: "OPENAI_API_KEY",
        base: "https://api.openai.com/v1",
        login: "https://chatgpt.com/backend-api/codex",
    },
    BuiltIn {
        name: "google",
        family: Family::Google,
        key_env: "GEMINI_API_KEY",
        base: "https://generativelanguage.googleapis.com",
        login: "https://generativelanguage.googleapis.com",
    },
];

/// As [`Base::parse`] for the constants above, which the tests hold against it.
fn built_in_base(url: &str) -> Base {
    let rest = url.trim_start_matches("https://");
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Base { https: true, host: host.into(), port: 443, prefix: prefix.into() }
}

/// An address as written, without the values in it. One that has no scheme may hold them all the same.
fn without_values(url: &str) -> String {
    match url.contains("://") {
        true => agentops_safe::hide_address_values(url).into_owned(),
        false => url.split(['@', '?', '#']).next().unwrap_or_default().to_owned(),
    }
}

/// The name of a variable, for a message. A key may have been written in the place of the name: what does not look like
/// the name of a variable is not repeated.
#[must_use]
pub fn shown_variable(name: &str) -> &str {
    let in_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = name.bytes().all(in_name) && !Redactor::new([]).finds(name.as_bytes());
    if is_name { name } else { "the variable that its `key-env` names" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str, base_url: &str, family: Family) -> Custom {
        Custom { name: name.into(), base_url: base_url.into(), family, key: None, key_env: None, insecure: false }
    }

    #[test]
    fn the_built_in_addresses_are_addresses() {
        for built_in in BUILT_IN {
            for url in [built_in.base, built_in.login] {
                assert_eq!(Base::parse(url, false), Ok(built_in_base(url)));
            }
        }
    }

    #[test]
    fn s8_an_address_is_scheme_host_port_and_path_and_nothing_else() {
        for (url, problem) in [
            ("api.example.com/v1", BaseError::Malformed),
            ("https://", BaseError::Malformed),
            ("https:///v1", BaseError::Malformed),
            ("https://bücher.example/v1", BaseError::Malformed),
            ("https://a.example/\0", BaseError::Malformed),
            ("https://a.example/#x", BaseError::Malformed),
            ("https://a.example\\@b.example/", BaseError::Malformed),
            ("ftp://a.example", BaseError::Scheme),
            ("http://127.0.0.1:99999/v1", BaseError::Port),
            ("https://a.example:65536", BaseError::Port),
            ("https://a.example:0", BaseError::Port),
            ("https://a.example:443x/v1", BaseError::Port),
            ("https://[::1]:99999", BaseError::Port),
            ("https://a.example:", BaseError::Port),
            ("https://::1/v1", BaseError::Malformed),
            ("https://a.example/\u{fffd}", BaseError::Malformed),
            ("https://a.ex\u{e4}mple", BaseError::Malformed),
            ("https:///v1", BaseError::Malformed),
            ("unix:///tmp/socket", BaseError::Malformed),
            ("https://user:pass@a.example", BaseError::Credentials),
            ("https://a.example/v1/../admin", BaseError::Path),
            ("https://a.example/%2e%2e/admin", BaseError::Path),
            ("https://a.example//b", BaseError::Path),
            ("https://a.example/v1?key=x", BaseError::Path),
            ("http://a.example/v1", BaseError::Insecure),
            ("http://127.0.0.1.example.com/v1", BaseError::Insecure),
        ] {
            assert_eq!(Base::parse(url, false), Err(problem), "{url:?}");
        }
        for url in ["http://127.0.0.1:11434", "http://localhost:8000/v1", "http://[::1]:1/v1", "http://127.9.9.9/"] {
            assert!(Base::parse(url, false).is_ok_and(|base| base.is_loopback()), "{url}");
        }
        assert!(Base::parse("http://gpu.example/v1", true).is_ok());
    }

    #[test]
    fn an_error_shows_no_password() {
        let error = Destinations::new([custom("mine", "https://me:hunter2@a.example", Family::OpenAi)]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("a.example"), "{error}");
        for url in ["https://a.example/v1?code=hunter2", "https://a.example/#hunter2", "a.example?key=hunter2"] {
            let error = Destinations::new([custom("mine", url, Family::OpenAi)]).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("a.example"), "{error}");
        }
    }

    #[test]
    fn s6_a_key_in_the_place_of_its_variables_name_is_not_repeated() {
        for key in ["sk-ant-api03-abcdefgh", "h8Fk29dLq0ZmXv71Tz", "AKIAQWERTYUIOPASDFGH"] {
            assert_eq!(shown_variable(key), "the variable that its `key-env` names");
        }
        assert_eq!(shown_variable("MY_KEY_2"), "MY_KEY_2");
    }

    #[test]
    fn paths_land_where_the_vendors_programs_send_them() {
        let all = Destinations::new([
            custom("router", "https://openrouter.ai/api/v1/", Family::OpenAi),
            custom("seek", "https://api.deepseek.com", Family::OpenAi),
            custom("seek-messages", "https://api.deepseek.com/anthropic", Family::Anthropic),
        ])
        .unwrap();
        let key = |name: &str, path: &str| {
            let destination = all.get(name).unwrap();
            format!("{}{}", destination.base.origin(), destination.path(&destination.base, path))
        };
        assert_eq!(key("anthropic", "/v1/messages?beta=true"), "https://api.anthropic.com/v1/messages?beta=true");
        assert_eq!(key("openai", "/v1/responses"), "https://api.openai.com/v1/responses");
        assert_eq!(key("openai", "/v1"), "https://api.openai.com/v1");
        assert_eq!(key("openai", "/v1x/models"), "https://api.openai.com/v1/v1x/models");
        assert_eq!(key("router", "/v1/chat/completions"), "https://openrouter.ai/api/v1/chat/completions");
        assert_eq!(key("seek", "/v1/chat/completions"), "https://api.deepseek.com/chat/completions");
        assert_eq!(key("seek", "/v1?x=1"), "https://api.deepseek.com/?x=1");
        assert_eq!(key("seek-messages", "/v1/messages"), "https://api.deepseek.com/anthropic/v1/messages");
        assert_eq!(
            key("google", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
        );
        let openai = all.get("openai").unwrap();
        let login = openai.login().unwrap();
        assert_eq!(login.origin() + &openai.path(login, "/v1/responses"), "https://chatgpt.com/backend-api/codex/responses");
    }

    #[test]
    fn s8_no_configuration_moves_a_login() {
        let official = Destinations::new([]).unwrap();
        let names: Vec<_> = official.iter().map(|destination| destination.name().to_owned()).collect();
        let moved =
            Destinations::new(names.iter().map(|name| custom(name, "https://evil.example", Family::OpenAi))).unwrap();
        for name in &names {
            assert_eq!(moved.get(name).unwrap().base.host(), "evil.example");
            assert_eq!(moved.get(name).unwrap().login, official.get(name).unwrap().login);
        }
        let own = Destinations::new([custom("own", "https://own.example", Family::OpenAi)]).unwrap();
        assert_eq!(own.get("own").unwrap().login, None);
    }
}
