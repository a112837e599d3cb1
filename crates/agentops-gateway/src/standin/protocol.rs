//! Stand-in.
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Messages,
    Responses,
    Chat,
    Gemini,
}
#[derive(Debug)]
pub enum Endpoint<'a> {
    Call { protocol: Protocol, model: Option<&'a str>, streamed: Option<bool> },
    Count(Protocol),
    Other,
}
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}
pub fn endpoint<'a>(method: &str, path: &'a str) -> Endpoint<'a> {
    let path = path.split('?').next().unwrap_or_default();
    if method != "POST" {
        return Endpoint::Other;
    }
    let call = |protocol| Endpoint::Call { protocol, model: None, streamed: None };
    if path.ends_with("/v1/messages") {
        call(Protocol::Messages)
    } else if path.ends_with("/v1/messages/count_tokens") {
        Endpoint::Count(Protocol::Messages)
    } else if path.ends_with("/v1/responses") {
        call(Protocol::Responses)
    } else if path.ends_with("/v1/chat/completions") {
        call(Protocol::Chat)
    } else if let Some((_, rest)) = path.split_once("/models/")
        && let Some((model, method)) = rest.split_once(':')
    {
        Endpoint::Call { protocol: Protocol::Gemini, model: Some(model), streamed: Some(method == "streamGenerateContent") }
    } else {
        Endpoint::Other
    }
}
pub fn error(_: Protocol, status: u16, words: &str) -> Reply {
    Reply { status, body: serde_json::json!({"error": {"message": words}}).to_string().into_bytes() }
}
