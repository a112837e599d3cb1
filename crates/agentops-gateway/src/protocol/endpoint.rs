//! What a request is, as its method and its path say, and what becomes of it.
//!
//! Nothing passes that is not in [`RULES`]: a call that is not measured would be one without a ceiling and a budget.

use std::fmt::Write as _;

use super::Protocol;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A model call.
    Call {
        /// How its body is to be read.
        protocol: Protocol,
        /// The model, where the path names it.
        model: Option<&'a str>,
        /// Whether the path asks for a stream of events; `None`: the body says.
        streamed: Option<bool>,
    },
    /// A question how many tokens a body has. It costs no tokens.
    Count(Protocol),
    /// A question about the answer with this id, which a call before this one began. It costs no tokens.
    Later(&'a str),
    /// A question that carries no model call.
    Lookup,
    /// It is not forwarded, for this reason.
    Refused(&'static str),
}

/// What becomes of requests to some endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The method; `GET` stands for `HEAD` too, `any` for every one.
    pub method: &'static str,
    /// Paths after the destination's address and a version. `{…}` stands for one segment, `…` at the end for any number.
    pub paths: &'static [&'static str],
    /// What becomes of them.
    pub treatment: Treatment,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is a call: measured, held to the ceiling and the budgets, and then forwarded.
    Measured(Protocol),
    /// It is forwarded: it asks for a count of tokens.
    Counted(Protocol),
    /// It is forwarded: its report settles the call that began this answer.
    Later,
    /// It is forwarded: it carries no model call.
    Passed,
    /// It is not forwarded, for this reason.
    Refused(&'static str),
}

const BATCH: &str = "a batch is answered later, where it cannot be measured; send its requests one by one";
const OLDER: &str = "this older kind of model call is not measured; use `/messages`, `/responses` or `/chat/completions`";
const STORED: &str = "the provider keeps this conversation, so its calls cannot be measured; send the whole conversation to \
                      `/responses`, `/messages` or `:generateContent`";
const UPLOAD: &str = "files that the provider keeps cannot be measured; put their content into the call";
const OTHER_USE: &str = "its use is not measured in tokens of a context window; ask the provider without the gateway";
const CLOUD: &str = "calls of cloud platforms are not measured; use the provider's own API";
const METHOD: &str = "a model call is made with POST";
const UNKNOWN: &str = "the gateway does not know this endpoint and forwards only what it can measure; a path in front of it belongs \
                       in the destination's `base-url`";

/// The endpoints that are known. The first rule that fits a request counts; what none fits is refused.
///
/// Sources: the API references of the providers, and what Claude Code, Codex, OpenCode and Gemini CLI ask.
pub const RULES: &[Rule] = &[
    rule("POST", &["messages"], Treatment::Measured(Protocol::Messages)),
    rule("POST", &["responses", "responses/compact"], Treatment::Measured(Protocol::Responses)),
    rule("POST", &["chat/completions"], Treatment::Measured(Protocol::Chat)),
    rule(
        "POST",
        &[
            "models/{model}:generateContent",
            "models/{model}:streamGenerateContent",
            "tunedModels/{model}:generateContent",
            "tunedModels/{model}:streamGenerateContent",
        ],
        Treatment::Measured(Protocol::Gemini),
    ),
    rule("POST", &["messages/count_tokens"], Treatment::Counted(Protocol::Messages)),
    rule("POST", &["responses/input_tokens"], Treatment::Counted(Protocol::Responses)),
    rule("POST", &["models/{model}:countTokens"], Treatment::Counted(Protocol::Gemini)),
    rule("GET", &["responses/{answer}"], Treatment::Later),
    rule("POST", &["responses/{answer}/cancel"], Treatment::Later),
    // Claude Code opens its connection with the last of these.
    rule("GET", &["models", "models/{id}", "models/{author}/{id}", "files", "files/{id}", "api/hello"], Treatment::Passed),
    rule(
        "any",
        &[
            "messages/batches/…",
            "batches/…",
            "models/{model}:batchGenerateContent",
            "models/{model}:batchEmbedContents",
            "models/{model}:asyncBatchEmbedContent",
        ],
        Treatment::Refused(BATCH),
    ),
    rule("any", &["completions", "complete", "engines/…"], Treatment::Refused(OLDER)),
    rule(
        "any",
        &[
            "responses/{id}/…",
            "conversations/…",
            "interactions/…",
            "threads/…",
            "assistants/…",
            "agents/…",
            "sessions/…",
            "cachedContents/…",
        ],
        Treatment::Refused(STORED),
    ),
    rule("any", &["files/…", "uploads/…", "upload/…", "vector_stores/…", "containers/…"], Treatment::Refused(UPLOAD)),
    rule(
        "any",
        &[
            "embeddings",
            "models/{model}:embedContent",
            "models/{model}:predict",
            "models/{model}:predictLongRunning",
            "models/{model}:bidiGenerateContent",
            "realtime/…",
            "audio/…",
            "images/…",
            "videos/…",
            "moderations",
            "fine_tuning/…",
            "evals/…",
        ],
        Treatment::Refused(OTHER_USE),
    ),
    rule(
        "any",
        &[
            "projects/…",
            "publishers/…",
            "deployments/…",
            "model/…",
            "models/{model}:rawPredict",
            "models/{model}:streamRawPredict",
        ],
        Treatment::Refused(CLOUD),
    ),
];

const fn rule(method: &'static str, paths: &'static [&'static str], treatment: Treatment) -> Rule {
    Rule { method, paths, treatment }
}

/// Reads a method and a path, which may carry a query. The path is the one that goes after the destination's address: only
/// there it is known what it means.
#[must_use]
pub fn endpoint<'a>(method: &str, path: &'a str) -> Endpoint<'a> {
    let (path, query) = path.split_once(['?', '#']).unwrap_or((path, ""));
    let path = without_version(path.strip_prefix('/').unwrap_or(path));
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut refusal = UNKNOWN;
    for rule in RULES {
        let Some((pattern, name)) = rule.paths.iter().find_map(|pattern| Some((*pattern, fits(pattern, path)?))) else {
            continue;
        };
        let takes = rule.method == "any" || rule.method == method || (rule.method == "GET" && method == "HEAD");
        match rule.treatment {
            Treatment::Measured(_) | Treatment::Counted(_) if !takes => refusal = METHOD,
            _ if !takes => {}
            Treatment::Measured(protocol) => {
                return Endpoint::Call { protocol, model: name, streamed: streamed(pattern, query) };
            }
            Treatment::Counted(protocol) => return Endpoint::Count(protocol),
            Treatment::Later => return Endpoint::Later(name.unwrap_or_default()),
            Treatment::Passed => return Endpoint::Lookup,
            Treatment::Refused(reason) => return Endpoint::Refused(if refusal == METHOD { METHOD } else { reason }),
        }
    }
    Endpoint::Refused(refusal)
}

/// Whether the path asks for a stream of events.
fn streamed(pattern: &str, query: &str) -> Option<bool> {
    match pattern.rsplit_once(':') {
        // Without `alt=sse` the stream is one JSON array, which is read like a plain answer.
        Some((_, "streamGenerateContent")) => Some(query.split('&').any(|pair| pair == "alt=sse")),
        Some(_) => Some(false),
        None if pattern == "responses/compact" => Some(false),
        None => None,
    }
}

/// Whether a path has this form, and the model or the answer that it names. Nothing is unescaped or folded: another spelling of a path is
/// another path, which is not known.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut named = None;
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        if wanted == "…" {
            return Some(named);
        }
        let segment = segments.next()?;
        if let Some(action) = wanted.strip_prefix("{model}").or_else(|| wanted.strip_prefix("{answer}")) {
            let name = segment.strip_suffix(action)?;
            if name.is_empty() || name.contains([':', '%']) {
                return None;
            }
            named = Some(name);
        } else if wanted.starts_with('{') {
            // A colon begins an action, which is no question.
            if segment.is_empty() || segment.contains(':') {
                return None;
            }
        } else if segment != wanted {
            return None;
        }
    }
    segments.next().is_none().then_some(named)
}

/// A path without a version in front, such as `v1` or `v1beta`, and without the `openai` that Google's endpoints for OpenAI's
/// clients have after it.
fn without_version(path: &str) -> &str {
    let is_version = |segment: &str| {
        let digits = segment.strip_prefix('v').unwrap_or_default();
        digits.starts_with(|first: char| first.is_ascii_digit()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let rest = path.split_once('/').filter(|(first, _)| is_version(first)).map_or(path, |(_, rest)| rest);
    rest.strip_prefix("openai/").unwrap_or(rest)
}

/// The table of [`RULES`] for the documents, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table = "| method | path | what happens |\n|---|---|---|\n".to_owned();
    let mut row = |method: &str, paths: &str, happens: &str| {
        let _never_fails = writeln!(table, "| {method} | {paths} | {happens} |");
    };
    for rule in RULES {
        let paths: Vec<String> = rule.paths.iter().map(|path| format!("`/{path}`")).collect();
        let happens = match rule.treatment {
            Treatment::Measured(protocol) => format!("measured as {}", protocol.name()),
            Treatment::Counted(_) => "passes: a count costs no tokens".to_owned(),
            Treatment::Later => "passes: its report settles the call that began this answer".to_owned(),
            Treatment::Passed => "passes: it carries no model call".to_owned(),
            Treatment::Refused(reason) => format!("refused: {reason}"),
        };
        row(rule.method, &paths.join(", "), &happens);
    }
    row("any other", "of a model call or a count", &format!("refused: {METHOD}"));
    row("any", "anything else", &format!("refused: {UNKNOWN}"));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(protocol: Protocol) -> Endpoint<'static> {
        Endpoint::Call { protocol, model: None, streamed: None }
    }

    #[test]
    fn paths_of_real_clients_are_known() {
        assert_eq!(endpoint("POST", "/v1/messages?beta=true"), call(Protocol::Messages));
        assert_eq!(endpoint("POST", "/v1/messages/count_tokens?beta=true"), Endpoint::Count(Protocol::Messages));
        assert_eq!(endpoint("HEAD", "/api/hello"), Endpoint::Lookup);
        assert_eq!(endpoint("POST", "/v1/responses"), call(Protocol::Responses));
        assert_eq!(endpoint("POST", "/responses"), call(Protocol::Responses));
        assert_eq!(endpoint("GET", "/v1/models?client_version=0.169.0"), Endpoint::Lookup);
        assert_eq!(endpoint("POST", "/chat/completions"), call(Protocol::Chat));
        assert_eq!(endpoint("POST", "/v1beta/openai/chat/completions"), call(Protocol::Chat));
        let gemini = |streamed| Endpoint::Call {
            protocol: Protocol::Gemini,
            model: Some("gemini-2.5-pro"),
            streamed: Some(streamed),
        };
        assert_eq!(endpoint("POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"), gemini(true));
        assert_eq!(endpoint("POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent"), gemini(false));
        assert_eq!(endpoint("POST", "/v1beta/models/gemini-2.5-pro:generateContent"), gemini(false));
        assert_eq!(endpoint("POST", "/v1beta/models/gemini-2.5-pro:countTokens"), Endpoint::Count(Protocol::Gemini));
    }

    /// B1: a spelling that a lax server might take for a call is refused, or measured as that call.
    #[test]
    fn b1_another_spelling_of_a_path_leads_round_nothing() {
        let spellings = [
            "/v1/Messages",
            "/V1/messages",
            "/v1/messages%20",
            "/v1/%6dessages",
            "/v1/messages.json",
            "/v1/x/../messages",
            "/v1/./messages",
            "/v1%2Fmessages",
            "/v1/messages;x",
            "/x/v1/messages",
            "/v1/v1/messages",
            "/v1/messages/x",
            "/v1beta/models/m%3AgenerateContent",
            "/v1beta/models/m:x:generateContent",
            "/v1beta/models/m%20:generateContent",
            "/v1beta/models/:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/m:GenerateContent",
            "/v1beta/models/m:streamRawPredict",
            "/v1/threads/t/messages",
            "/v1/threads/t/runs",
            "/",
            "",
        ];
        for path in spellings {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert!(matches!(endpoint(method, path), Endpoint::Refused(_)), "{method} {path}");
            }
        }
        for path in ["/v1/messages/", "/messages", "/messages/", "/v2/messages", "/v1/messages#x"] {
            assert_eq!(endpoint("POST", path), call(Protocol::Messages), "{path}");
        }
    }

    #[test]
    fn a_refusal_says_what_can_be_done() {
        for (method, path, reason) in [
            ("PUT", "/v1/messages", METHOD),
            ("GET", "/v1/responses", METHOD),
            ("GET", "/v1/responses/resp_1/input_items", STORED),
            ("DELETE", "/v1/responses/resp_1", STORED),
            ("POST", "/v1/messages/batches", BATCH),
            ("POST", "/v1/completions", OLDER),
            ("POST", "/v1/files", UPLOAD),
            ("GET", "/v1/files/file_1/content", UPLOAD),
            ("POST", "/v1/embeddings", OTHER_USE),
            ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict", CLOUD),
            ("POST", "/v1/something-new", UNKNOWN),
            ("DELETE", "/v1/models/m", UNKNOWN),
        ] {
            assert_eq!(endpoint(method, path), Endpoint::Refused(reason), "{method} {path}");
        }
    }
}
