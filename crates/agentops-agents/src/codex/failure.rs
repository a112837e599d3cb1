//! Which class a failure of the program has.

use serde_json::Value;

use crate::driver::{Failure, Finish};
use crate::text::cut;

const MESSAGE_CHARS: usize = 1000;

/// By the program's own error code, `codexErrorInfo`: a word, or an object of one word with an HTTP status.
fn by_code(info: &Value) -> Option<Failure> {
    let (word, detail) = match info {
        Value::String(word) => (word.as_str(), None),
        Value::Object(object) => object.iter().next().map(|(word, detail)| (word.as_str(), Some(detail)))?,
        _ => return None,
    };
    match word {
        "contextWindowExceeded" => Some(Failure::PromptTooLong),
        "unauthorized" => Some(Failure::NotLoggedIn),
        "usageLimitExceeded"
        | "rateLimitExceeded"
        | "flexUnavailable"
        | "serverOverloaded"
        | "internalServerError"
        | "policyCapacityUnavailable" => Some(Failure::Provider),
        "httpConnectionFailed"
        | "responseStreamConnectionFailed"
        | "responseStreamDisconnected"
        | "responseTooManyFailedAttempts" => {
            Some(by_status(detail.and_then(|detail| detail["httpStatusCode"].as_u64())).unwrap_or(Failure::Provider))
        }
        _ => None,
    }
}

fn by_status(status: Option<u64>) -> Option<Failure> {
    match status? {
        401 | 403 => Some(Failure::NotLoggedIn),
        408 | 409 | 425 | 429 | 500..=599 => Some(Failure::Provider),
        413 => Some(Failure::PromptTooLong),
        400..=499 => Some(Failure::Program),
        _ => None,
    }
}

/// By its words, for what the codes leave open.
fn by_words(message: &str) -> Failure {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["context_length_exceeded", "context window", "maximum context length"]) {
        return Failure::PromptTooLong;
    }
    if has(&["401", "unauthorized", "not logged in", "missing environment variable", "invalid api key", "invalid_api_key"]) {
        return Failure::NotLoggedIn;
    }
    let status = message.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 3);
    if status.filter_map(|digits| digits.parse().ok()).any(|status| by_status(Some(status)) == Some(Failure::Provider)) {
        return Failure::Provider;
    }
    if has(&["stream disconnected", "connection", "error sending request", "timed out", "overloaded", "rate limit"]) {
        return Failure::Provider;
    }
    Failure::Program
}

/// The end of a session because of an error as the program reports it: with a turn, or as the answer to a request.
pub(super) fn finish(error: &Value) -> Finish {
    let message = error["message"].as_str().unwrap_or("the program named no cause");
    let details = error["additionalDetails"].as_str().filter(|details| !details.is_empty());
    let whole = details.map_or_else(|| message.to_owned(), |details| format!("{message} ({details})"));
    let failure = by_code(&error["codexErrorInfo"]).unwrap_or_else(|| by_words(&whole));
    Finish::Failed { failure, message: cut(&whole, MESSAGE_CHARS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(error: Value) -> Failure {
        match finish(&error) {
            Finish::Failed { failure, .. } => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_programs_code_comes_first() {
        let coded = |info| class(json!({"message": "401 in the words", "codexErrorInfo": info}));
        assert_eq!(coded(json!("contextWindowExceeded")), Failure::PromptTooLong);
        assert_eq!(coded(json!("usageLimitExceeded")), Failure::Provider);
        assert_eq!(coded(json!({"responseTooManyFailedAttempts": {"httpStatusCode": 429}})), Failure::Provider);
        assert_eq!(coded(json!({"responseStreamDisconnected": {"httpStatusCode": null}})), Failure::Provider);
        assert_eq!(coded(json!({"httpConnectionFailed": {"httpStatusCode": 403}})), Failure::NotLoggedIn);
        assert_eq!(coded(json!("other")), Failure::NotLoggedIn, "then its words");
    }

    #[test]
    fn words_decide_where_there_is_no_code() {
        let said = |message: &str| class(json!({"message": message}));
        assert_eq!(said("exceeded retry limit, last status: 429 Too Many Requests"), Failure::Provider);
        assert_eq!(said("unexpected status 503 Service Unavailable"), Failure::Provider);
        assert_eq!(said("stream disconnected before completion"), Failure::Provider);
        assert_eq!(said("Codex ran out of room in the model's context window."), Failure::PromptTooLong);
        assert_eq!(said("unexpected status 401 Unauthorized"), Failure::NotLoggedIn);
        assert_eq!(said("model 5000 not found"), Failure::Program);
        assert_eq!(class(json!(null)), Failure::Program);
    }
}
