//! Which class a provider's failure has, as far as a status or words say it.

use crate::driver::Failure;

/// By an HTTP status. `None`: it says nothing.
pub(crate) fn by_status(status: Option<u64>) -> Option<Failure> {
    match status? {
        401 | 403 => Some(Failure::NotLoggedIn),
        408 | 409 | 425 | 429 | 500..=599 => Some(Failure::Provider),
        413 => Some(Failure::PromptTooLong),
        400..=499 => Some(Failure::Program),
        _ => None,
    }
}

const TOO_LONG: &[&str] = &[
    "context_length_exceeded",
    "context window",
    "maximum context length",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "contextoverflow",
];
const NO_LOGIN: &[&str] = &[
    "401",
    "unauthorized",
    "not logged in",
    "missing environment variable",
    "invalid api key",
    "incorrect api key",
    "invalid_api_key",
    "api key not valid",
    "api key is missing",
    "authentication_error",
    "authentication required",
    "permission_error",
];
const PROVIDER: &[&str] = &[
    "stream disconnected",
    "connection",
    "error sending request",
    "timed out",
    "overloaded",
    "rate limit",
    "rate_limit",
    "fetch failed",
    "resource_exhausted",
];

/// By its words, for what codes leave open.
pub(crate) fn by_words(message: &str) -> Failure {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(TOO_LONG) {
        return Failure::PromptTooLong;
    }
    if has(NO_LOGIN) {
        return Failure::NotLoggedIn;
    }
    let status = message.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 3);
    if status.filter_map(|digits| digits.parse().ok()).any(|status| by_status(Some(status)) == Some(Failure::Provider)) {
        return Failure::Provider;
    }
    if has(PROVIDER) { Failure::Provider } else { Failure::Program }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_providers_have_a_class() {
        for (words, class) in [
            ("prompt is too long: 210000 tokens > 200000 maximum", Failure::PromptTooLong),
            ("The input token count (1200000) exceeds the maximum number of tokens allowed", Failure::PromptTooLong),
            ("API key not valid. Please pass a valid API key.", Failure::NotLoggedIn),
            (r#"{"error":{"type":"authentication_error"}}"#, Failure::NotLoggedIn),
            (r#"{"error":{"type":"overloaded_error"}}"#, Failure::Provider),
            ("You exceeded your quota (429)", Failure::Provider),
            ("model 5000 not found", Failure::Program),
        ] {
            assert_eq!(by_words(words), class, "{words}");
        }
    }
}
