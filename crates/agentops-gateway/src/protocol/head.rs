//! What the top level of a request says.

use std::ops::Range;

use memchr::memmem;
use serde_json::Value;

use super::{Protocol, inside};
use crate::scan::{Field, Layout, Malformed};

/// What the top level says. Members that are not known are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The model.
    pub model: Option<String>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The most output.
    pub output: Option<Limit>,
    /// What of it is set aside for thinking, in tokens; `None`: not said.
    pub thinking: Option<u64>,
    /// It offers tools.
    pub has_tools: bool,
    /// It goes on with a conversation that the provider keeps.
    pub server_history: bool,
    /// How many answers it wants; the output counts that many times.
    pub candidates: u64,
    /// Where a limit can be written that it does not have.
    room: Option<(usize, &'static str)>,
}

/// A limit on the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Where the number stands in the body.
    pub at: Range<usize>,
    /// The number, in tokens.
    pub tokens: u64,
}

/// These bytes in place of that range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The range.
    pub at: Range<usize>,
    /// The bytes.
    pub with: Vec<u8>,
}

/// Reads a request's top level.
///
/// # Errors
/// A limit on the output is no number that can be held to.
pub fn head(protocol: Protocol, body: &[u8], fields: &[Field]) -> Result<Head, Malformed> {
    let find =
        |key: &str| fields.iter().find(|field| &body[field.key.clone()] == key.as_bytes()).map(|field| field.value.clone());
    let small = |key: &str| find(key).filter(|at| at.len() <= 4096).and_then(|at| parsed(&body[at]));
    let start = fields.first().map_or(0, |field| field.key.start.saturating_sub(1));
    let given = |key: &str| find(key).is_some_and(|at| !matches!(&body[at], b"null" | b"[]" | b"\"\"" | b"{}"));
    let mut head = Head {
        model: small("model").and_then(|model| model.as_str().map(str::to_owned)),
        stream: small("stream") == Some(Value::Bool(true)),
        has_tools: given("tools"),
        candidates: small("n").and_then(|n| n.as_u64()).unwrap_or(1).max(1),
        ..Head::default()
    };
    let limit = |key: &str| find(key).map_or(Ok(None), |at| limit(body, at));
    match protocol {
        Protocol::Messages => {
            head.output = limit("max_tokens")?;
            head.thinking = small("thinking").and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
            head.room = Some((start, "max_tokens"));
            head.server_history = given("container");
        }
        Protocol::Responses => {
            head.output = limit("max_output_tokens")?;
            head.room = Some((start, "max_output_tokens"));
            head.server_history = ["previous_response_id", "conversation", "prompt"].into_iter().any(given);
        }
        Protocol::Chat => {
            head.output = limit("max_completion_tokens")?.or(limit("max_tokens")?);
            // Servers that speak this protocol besides OpenAI's own know the older name only; OpenAI's own takes both.
            head.room = Some((start, "max_tokens"));
        }
        Protocol::Gemini => {
            head.server_history = given("cachedContent") || given("cached_content");
            let config = find("generationConfig").or_else(|| find("generation_config"));
            head.room = Some((start, "generationConfig"));
            if let Some(config) = config.filter(|at| body[at.clone()].starts_with(b"{")) {
                gemini_config(&mut head, body, config)?;
            }
        }
    }
    Ok(head)
}

fn gemini_config(head: &mut Head, body: &[u8], config: Range<usize>) -> Result<(), Malformed> {
    let inner = &body[config.clone()];
    let layout = Layout::of(inner, "")?;
    let find = |keys: [&str; 2]| keys.into_iter().find_map(|key| layout.field(inner, key));
    if let Some(at) = find(["maxOutputTokens", "max_output_tokens"]) {
        head.output = limit(body, inside(config.start, at))?;
    }
    let value = |keys| find(keys).and_then(|at| parsed(&inner[at]));
    head.candidates = value(["candidateCount", "candidate_count"]).and_then(|n| n.as_u64()).unwrap_or(1).max(1);
    let thinking = value(["thinkingConfig", "thinking_config"]);
    // -1 lets the model decide: nothing is set aside.
    head.thinking =
        thinking.and_then(|thinking| thinking.get("thinkingBudget").or_else(|| thinking.get("thinking_budget"))?.as_u64());
    head.room = Some((config.start + 1, "maxOutputTokens"));
    Ok(())
}

fn parsed(value: &[u8]) -> Option<Value> {
    serde_json::from_slice(value).ok()
}

fn limit(body: &[u8], at: Range<usize>) -> Result<Option<Limit>, Malformed> {
    let text = std::str::from_utf8(&body[at.clone()]).unwrap_or_default();
    if text == "null" {
        return Ok(None);
    }
    match text.parse() {
        Ok(tokens) => Ok(Some(Limit { at, tokens })),
        Err(_) => Err(Malformed { what: "an output limit that is no whole number", at: at.start }),
    }
}

/// The edit that limits a request's output to `tokens` in all its answers together.
#[must_use]
pub fn limit_output(protocol: Protocol, body: &[u8], head: &Head, tokens: u64) -> Edit {
    let each = (tokens / head.candidates.max(1)).max(1);
    if let Some(limit) = &head.output {
        return Edit { at: limit.at.clone(), with: each.to_string().into_bytes() };
    }
    let (at, name) = head.room.unwrap_or((0, "max_tokens"));
    let is_empty = body.get(at..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"}"));
    let comma = if is_empty { "" } else { "," };
    let with = match (protocol, name) {
        (Protocol::Gemini, "generationConfig") => format!("\"generationConfig\":{{\"maxOutputTokens\":{each}}}{comma}"),
        _ => format!("\"{name}\":{each}{comma}"),
    };
    Edit { at: at..at, with: with.into_bytes() }
}

/// Whether the request's shape says that the program compacts its own context. What Claude Code, Codex, OpenCode and Gemini CLI
/// write in the last message when they do; seen in the versions that the drivers are tested with.
#[must_use]
pub fn is_compaction(protocol: Protocol, head: &Head, last_items: &[&[u8]]) -> bool {
    const SIGNS: [&[u8]; 4] = [
        b"CRITICAL: Respond with TEXT ONLY",
        b"CONTEXT CHECKPOINT COMPACTION",
        b"state_snapshot",
        b"Provide a detailed prompt for continuing our conversation",
    ];
    let Some(last) = last_items.last() else { return false };
    let is_user = memmem::find(last, b"\"user\"").is_some();
    // Only Claude Code offers its tools to the call that compacts.
    let may = protocol == Protocol::Messages || !head.has_tools;
    is_user && may && SIGNS.iter().any(|sign| memmem::find(last, sign).is_some())
}
