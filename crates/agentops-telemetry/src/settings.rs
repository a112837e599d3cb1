//! Whether figures are sent, and where to: OpenTelemetry's own variables, else the user's configuration, else nowhere.

use std::path::PathBuf;
use std::time::Duration;

use agentops_safe::Secret;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::names;

/// How long one request may take, unless a variable says otherwise.
const TIMEOUT_MS: u64 = 10_000;

/// Every variable that is looked at, with what it does.
pub const VARIABLES: &[(&str, &str)] = &[
    ("OTEL_SDK_DISABLED", "`true`: nothing is sent, whatever else is set"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "the receiver; `/v1/traces` and `/v1/metrics` are added"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "where traces go, as it stands"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "where metrics go, as it stands"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "headers to send along, `name=value,name=value`, percent-encoded"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "the same for traces only, instead of the general ones"),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "the same for metrics only, instead of the general ones"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "`http/protobuf`; anything else is refused with a word"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "the same for traces only"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "the same for metrics only"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "how long one request may take, in milliseconds"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "a PEM file with certificates to trust instead of the system's"),
    ("OTEL_TRACES_EXPORTER", "`none`: no traces"),
    ("OTEL_METRICS_EXPORTER", "`none`: no metrics"),
    ("OTEL_SERVICE_NAME", "the name to appear under instead of `agentops`"),
    ("OTEL_RESOURCE_ATTRIBUTES", "more to say about this installation, `name=value,name=value`, percent-encoded"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "`true`: the task's text is sent, redacted"),
];

/// What the caller knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Configured<'a> {
    /// The receiver of the user's configuration, used where no variable names one.
    pub endpoint: Option<&'a str>,
    /// The project for receivers that sort by projects.
    pub project: Option<&'a str>,
    /// The version of this program.
    pub version: &'a str,
    /// What tells this supervisor from others: any text that names no path and no person.
    pub instance: &'a str,
}

/// Where figures are sent, and as whose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where traces go; `None`: they are not sent.
    pub traces: Option<Target>,
    /// Where metrics go; `None`: they are not sent.
    pub metrics: Option<Target>,
    /// As whose.
    pub about: About,
    /// The user wants the task's text to be sent.
    pub capture_content: bool,
}

/// One address and what goes with it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The whole address.
    pub url: Uri,
    /// Headers; their values may be keys.
    pub headers: Vec<(HeaderName, Secret)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Certificates to trust instead of the system's.
    pub certificates: Option<PathBuf>,
}

/// The program as receivers see it: OpenTelemetry's resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The version of this program.
    pub version: String,
    attributes: Vec<(String, String)>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("telemetry: {source_name}: {problem}")]
pub struct SettingsError {
    /// The variable, or the key of the configuration.
    pub source_name: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Settings {
    /// Puts together what variables and configuration say. `None`: nothing is to be sent.
    ///
    /// # Errors
    /// One of them cannot be used. Nothing should be sent then.
    pub fn resolve(
        variable: impl Fn(&str) -> Option<String>,
        configured: Configured<'_>,
    ) -> Result<Option<Self>, SettingsError> {
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_true = |name: &str| get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_true("OTEL_SDK_DISABLED") {
            return Ok(None);
        }
        let (traces, metrics) = (target(&get, "TRACES", configured)?, target(&get, "METRICS", configured)?);
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        let capture_content = is_true("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        Ok(Some(Self { traces, metrics, about: about(&get, configured)?, capture_content }))
    }
}

impl About {
    /// Names and values, each name once.
    #[must_use]
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }
}

type Get<'g> = &'g dyn Fn(&str) -> Option<String>;

fn wrong<T>(source_name: &str, problem: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError { source_name: source_name.to_owned(), problem: problem.into() })
}

fn target(get: Get<'_>, signal: &str, configured: Configured<'_>) -> Result<Option<Target>, SettingsError> {
    if get(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter == "none") {
        return Ok(None);
    }
    /// The variable of this signal, else the one for all, with its name.
    fn either(get: Get<'_>, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
    }
    let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
    let (source, url) = if let Some(url) = get(&own) {
        (own, url)
    } else {
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let configured = || configured.endpoint.map(|url| ("telemetry.endpoint in your configuration", url.to_owned()));
        let Some((source, base)) = get(general).map(|url| (general, url)).or_else(configured) else { return Ok(None) };
        (source.to_owned(), format!("{}/v1/{}", base.trim_end_matches('/'), signal.to_lowercase()))
    };
    let url = address(&source, &url)?;
    if source.starts_with("OTEL_")
        && let Some((name, protocol)) = either(get, signal, "PROTOCOL")
        && protocol != "http/protobuf"
    {
        return wrong(
            &name,
            format!("`{protocol}` is not spoken here; set it to `http/protobuf`, most often with port 4318"),
        );
    }
    let headers = match either(get, signal, "HEADERS") {
        Some((name, list)) => headers(&name, &list)?,
        None => Vec::new(),
    };
    let timeout = match either(get, signal, "TIMEOUT") {
        Some((name, ms)) => match ms.parse() {
            Ok(ms) if ms > 0 => ms,
            _ => return wrong(&name, format!("`{ms}` is not a number of milliseconds")),
        },
        None => TIMEOUT_MS,
    };
    let certificates = either(get, signal, "CERTIFICATE").map(|(_, path)| PathBuf::from(path));
    Ok(Some(Target { url, headers, timeout: Duration::from_millis(timeout), certificates }))
}

/// What is wrong is said without the address itself: it may hold a password.
fn address(source: &str, url: &str) -> Result<Uri, SettingsError> {
    let Ok(uri) = url.parse::<Uri>() else { return wrong(source, "this is not an address like `http://127.0.0.1:4318`") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return wrong(source, "an address begins with `http://` or `https://`");
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@') || authority.host().is_empty()) {
        return wrong(
            source,
            "user names and passwords do not belong into an address; put them into OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    Ok(uri)
}

fn headers(source: &str, list: &str) -> Result<Vec<(HeaderName, Secret)>, SettingsError> {
    let mut headers = Vec::new();
    for (name, value) in pairs(source, list)? {
        let Ok(name) = name.parse::<HeaderName>() else { return wrong(source, "one of the names is not that of a header") };
        if HeaderValue::from_str(&value).is_err() {
            return wrong(source, format!("the value of `{name}` cannot stand in a header"));
        }
        headers.push((name, Secret::new(value)));
    }
    Ok(headers)
}

fn about(get: Get<'_>, configured: Configured<'_>) -> Result<About, SettingsError> {
    let list = "OTEL_RESOURCE_ATTRIBUTES";
    let mut attributes = get(list).map_or_else(|| Ok(Vec::new()), |value| pairs(list, &value))?;
    let mut set = |name: &str, value: String| {
        attributes.retain(|(known, _): &(String, String)| known != name);
        attributes.push((name.to_owned(), value));
    };
    if let Some(name) = get("OTEL_SERVICE_NAME") {
        set(names::SERVICE_NAME, name);
    }
    set(names::SERVICE_VERSION, configured.version.to_owned());
    set(names::SERVICE_INSTANCE, configured.instance.to_owned());
    if let Some(project) = configured.project {
        set(names::PROJECT, project.to_owned());
    }
    if !attributes.iter().any(|(name, _)| name == names::SERVICE_NAME) {
        attributes.push((names::SERVICE_NAME.to_owned(), "agentops".to_owned()));
    }
    attributes.sort_unstable();
    attributes.dedup_by(|later, first| later.0 == first.0);
    Ok(About { version: configured.version.to_owned(), attributes })
}

/// `name=value,name=value`, percent-encoded: the form of W3C baggage without its properties.
fn pairs(source: &str, list: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let mut pairs = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
        let pair = part.split_once('=').and_then(|(name, value)| Some((decode(name)?, decode(value)?)));
        match pair.filter(|(name, _)| !name.is_empty()) {
            Some(pair) => pairs.push(pair),
            None => return wrong(source, "this is not a list like `name=value,name=value`"),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
