//! Answers of the gateway's own, in the words by which each protocol's clients know them.

use serde_json::{Value, json};

use super::Protocol;

/// An answer that is sent instead of the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes() }
    }
}

/// The provider's own error for a prompt that is too long: `asked` tokens where `allowed` fit. `words` say what happened
/// and what to do now.
#[must_use]
pub fn too_long(protocol: Protocol, asked: u64, allowed: u64, words: &str) -> Reply {
    let body = match protocol {
        Protocol::Messages => {
            messages("invalid_request_error", &format!("prompt is too long: {asked} tokens > {allowed} maximum. {words}"))
        }
        Protocol::Responses => openai(
            "invalid_request_error",
            Some("input"),
            Some("context_length_exceeded"),
            &format!("Your input exceeds the context window of this model ({asked} tokens where {allowed} fit). {words}"),
        ),
        Protocol::Chat => openai(
            "invalid_request_error",
            Some("messages"),
            Some("context_length_exceeded"),
            &format!(
                "This model's maximum context length is {allowed} tokens. However, your request has {asked} tokens. {words}"
            ),
        ),
        Protocol::Gemini => gemini(
            400,
            &format!("The input token count ({asked}) exceeds the maximum number of tokens allowed ({allowed}). {words}"),
        ),
    };
    Reply::new(400, &body)
}

/// Any other refusal.
#[must_use]
pub fn error(protocol: Protocol, status: u16, words: &str) -> Reply {
    let body = match protocol {
        Protocol::Messages => messages(messages_type(status), words),
        Protocol::Responses | Protocol::Chat => openai(openai_type(status), None, None, words),
        Protocol::Gemini => gemini(status, words),
    };
    Reply::new(status, &body)
}

fn messages(kind: &str, words: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": words}})
}

fn openai(kind: &str, param: Option<&str>, code: Option<&str>, words: &str) -> Value {
    json!({"error": {"message": words, "type": kind, "param": param, "code": code}})
}

fn gemini(status: u16, words: &str) -> Value {
    json!({"error": {"code": status, "message": words, "status": gemini_status(status)}})
}

/// Anthropic's API reference, "Errors".
fn messages_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "insufficient_quota",
        403 => "permission_error",
        429 => "rate_limit_exceeded",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// `google.rpc.Code`, by the HTTP status each maps to.
fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}
