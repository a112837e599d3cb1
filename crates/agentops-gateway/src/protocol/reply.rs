//! Refusals of ours, in the form in which a provider's client understands them.

use serde_json::{Value, json};

use super::Protocol;

/// An answer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, body: body.to_string().into_bytes() }
}

/// The provider's own error for a prompt that is too long: clients know it, stop, and repeat nothing.
#[must_use]
pub fn too_long(protocol: Protocol, needed: u64, allowed: u64, words: &str) -> Reply {
    match protocol {
        Protocol::Messages => {
            let message = format!("prompt is too long: {needed} tokens > {allowed} maximum (agentops: {words})");
            reply(400, &json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}}))
        }
        Protocol::Responses | Protocol::Chat => {
            let message = format!(
                "Your input exceeds the context window of this model: maximum context length is {allowed} tokens, and this \
                 needs {needed} (agentops: {words})"
            );
            let error = json!({"message": message, "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"});
            reply(400, &json!({"error": error}))
        }
        Protocol::Gemini => {
            let message = format!(
                "The input token count ({needed}) exceeds the maximum number of tokens allowed ({allowed}). (agentops: {words})"
            );
            reply(400, &json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}))
        }
    }
}

/// Another refusal.
#[must_use]
pub fn error(protocol: Protocol, status: u16, words: &str) -> Reply {
    let message = format!("agentops: {words}");
    match protocol {
        Protocol::Messages => {
            let kind = match status {
                401 => "authentication_error",
                402 => "billing_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                500.. => "api_error",
                _ => "invalid_request_error",
            };
            reply(status, &json!({"type": "error", "error": {"type": kind, "message": message}}))
        }
        Protocol::Responses | Protocol::Chat => {
            let kind = match status {
                401 | 403 => "authentication_error",
                402 => "insufficient_quota",
                500.. => "server_error",
                _ => "invalid_request_error",
            };
            reply(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": kind}}))
        }
        Protocol::Gemini => {
            let kind = match status {
                401 => "UNAUTHENTICATED",
                402 | 403 => "PERMISSION_DENIED",
                404 => "NOT_FOUND",
                504 => "DEADLINE_EXCEEDED",
                500.. => "UNAVAILABLE",
                _ => "INVALID_ARGUMENT",
            };
            reply(status, &json!({"error": {"code": status, "message": message, "status": kind}}))
        }
    }
}
