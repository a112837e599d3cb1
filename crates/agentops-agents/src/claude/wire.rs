//! The program's lines, as far as they are read. Everything is optional: what a new version leaves out must not turn a
//! line into garbage.

use agentops_core::usage::Usage;
use serde_json::Value;

/// One line. Fields are taken one by one, so that one of an unexpected type spoils nothing but itself.
#[derive(Debug)]
pub(super) struct Line(Value);

impl Line {
    /// `None` for what is no JSON object.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(Value::is_object).map(Self)
    }

    /// A field that holds text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0[key].as_str()
    }

    /// A field that holds a number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.0[key].as_u64()
    }

    /// A field that holds true or false; false when it is not there.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.0[key].as_bool().unwrap_or(false)
    }

    /// Any field; null when it is not there.
    pub(super) fn value(&self, key: &str) -> &Value {
        &self.0[key]
    }

    /// The conversation that the line belongs to: our own is `None`, a sub-agent's is the tool call that runs it.
    pub(super) fn parent(&self) -> Option<String> {
        self.text("parent_tool_use_id").map(str::to_owned)
    }

    /// What went wrong, in the program's words.
    pub(super) fn error_text(&self) -> String {
        let errors = self.0["errors"].as_array().into_iter().flatten();
        let errors = errors.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        let result = self.text("result").filter(|text| !text.is_empty()).map(str::to_owned);
        let words: Vec<String> = result.into_iter().chain(errors).collect();
        let reason = self.text("terminal_reason").or(self.text("subtype")).unwrap_or("no reason given");
        if words.is_empty() { reason.to_owned() } else { words.join("; ") }
    }
}

/// The provider's usage: its three kinds of input do not overlap. Every report of a call repeats or raises the last one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tokens {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
}

impl Tokens {
    /// A later report may leave fields out.
    pub(super) fn merge(self, later: Tokens) -> Tokens {
        Tokens {
            input: self.input.max(later.input),
            cache_read: self.cache_read.max(later.cache_read),
            cache_write: self.cache_write.max(later.cache_write),
            output: self.output.max(later.output),
        }
    }

    /// Reads a report; what is missing or of the wrong type is unknown.
    pub(super) fn of(usage: &Value) -> Tokens {
        let number = |key: &str| usage[key].as_u64();
        Tokens {
            input: number("input_tokens"),
            cache_read: number("cache_read_input_tokens"),
            cache_write: number("cache_creation_input_tokens"),
            output: number("output_tokens"),
        }
    }

    /// `None` without any input: a call always has some, so nothing was reported.
    pub(super) fn usage(self) -> Option<Usage> {
        let usage = Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: self.cache_write.unwrap_or(0),
            output: self.output.unwrap_or(0),
        };
        (usage.context() > usage.output).then_some(usage)
    }
}

/// Bytes of text in a message's content: strings count, pictures count as what they cost at most.
pub(super) fn text_bytes(content: &Value) -> u64 {
    /// A picture takes at most about 1600 tokens, whatever its bytes are.
    const PICTURE: u64 = 4800;
    match content {
        Value::String(text) => text.len() as u64,
        Value::Array(parts) => parts.iter().map(text_bytes).sum(),
        Value::Object(part) => match part.get("type").and_then(Value::as_str) {
            Some("text") => part.get("text").map_or(0, text_bytes),
            Some("image" | "document") => PICTURE,
            Some("tool_result") => part.get("content").map_or(0, text_bytes),
            Some("tool_use") => part.get("input").map_or(0, |input| input.to_string().len() as u64),
            _ => 0,
        },
        _ => 0,
    }
}
