//! What a path of a client means.

use std::borrow::Cow;

use super::Protocol;

/// What a request is about, as its method and path say.
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
    /// Anything else.
    Other,
}

/// Reads a method and a path, which may carry a query and any prefix. An escaped, doubled or dotted way to write a path
/// means what a server would take it for, so that no spelling leads round the gateway's figures.
#[must_use]
pub fn endpoint<'a>(method: &str, path: &'a str) -> Endpoint<'a> {
    if !method.eq_ignore_ascii_case("POST") {
        return Endpoint::Other;
    }
    let (path, query) = path.split_once(['?', '#']).unwrap_or((path, ""));
    let path_meant = unescaped(path);
    let segments = plain(&path_meant);
    let call = |protocol| Endpoint::Call { protocol, model: None, streamed: None };
    match segments.as_slice() {
        [.., "v1", "messages"] => call(Protocol::Messages),
        [.., "v1", "messages", "count_tokens"] => Endpoint::Count(Protocol::Messages),
        [.., "responses"] => call(Protocol::Responses),
        [.., "responses", "compact"] => Endpoint::Call { protocol: Protocol::Responses, model: None, streamed: Some(false) },
        [.., "responses", "input_tokens"] => Endpoint::Count(Protocol::Responses),
        [.., "chat", "completions"] => call(Protocol::Chat),
        [.., "models" | "tunedModels", last] => gemini(last, path, query),
        _ => Endpoint::Other,
    }
}

fn gemini<'a>(last: &str, path: &'a str, query: &str) -> Endpoint<'a> {
    let (name, action) = last.rsplit_once(':').unwrap_or((last, ""));
    let streamed = match action {
        "generateContent" => false,
        // Without `alt=sse` the stream is one JSON array, which is read like a plain answer.
        "streamGenerateContent" => query.split('&').any(|pair| pair == "alt=sse"),
        "countTokens" => return Endpoint::Count(Protocol::Gemini),
        _ => return Endpoint::Other,
    };
    // Given as it stands in the path, so only where it stands there as it is meant.
    let written = path.rsplit('/').next().and_then(|last| last.rsplit_once(':')).map(|(written, _)| written);
    Endpoint::Call {
        protocol: Protocol::Gemini,
        model: written.filter(|written| *written == name),
        streamed: Some(streamed),
    }
}

/// The segments of a path as a server may understand them: without empty and dotted ones.
fn plain(unescaped: &str) -> Vec<&str> {
    let mut plain = Vec::new();
    for segment in unescaped.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(plain.pop()),
            segment => plain.push(segment),
        }
    }
    plain
}

fn unescaped(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
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
        assert_eq!(endpoint("POST", "/v1/responses"), call(Protocol::Responses));
        assert_eq!(endpoint("POST", "/backend-api/codex/responses"), call(Protocol::Responses));
        assert_eq!(endpoint("POST", "/openrouter/api/v1/chat/completions"), call(Protocol::Chat));
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

    #[test]
    fn other_paths_and_methods_are_no_calls() {
        let others = [
            "/v1/models",
            "/v1/threads/t/messages",
            "/v1/responses/resp_1",
            "/v1/messages/batches",
            "/",
            "",
            "/v1/files",
            "/v1beta/models/m:embedContent",
            "/v1beta/models/m",
        ];
        for path in others {
            assert_eq!(endpoint("POST", path), Endpoint::Other, "{path}");
        }
        assert_eq!(endpoint("GET", "/v1/responses"), Endpoint::Other);
    }

    #[test]
    fn another_spelling_of_a_path_is_the_same_path() {
        for path in
            ["/v1//messages", "/v1/messages/", "/v1/%6dessages", "/v1/./messages", "/v1/x/../messages", "/v1%2Fmessages"]
        {
            assert_eq!(endpoint("POST", path), call(Protocol::Messages), "{path}");
        }
        let escaped = Endpoint::Call { protocol: Protocol::Gemini, model: None, streamed: Some(true) };
        assert_eq!(endpoint("POST", "/v1beta/models/gemini%2D3:streamGenerateContent?alt=sse&x"), escaped);
    }
}
