//! Which class a failure of the program has.

use serde_json::Value;

use crate::driver::{Failure, Finish};
use crate::failure::{by_status, by_words};
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
