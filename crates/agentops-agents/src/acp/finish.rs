//! How a prompt ended, as the end of a session.

use serde_json::Value;

use crate::driver::{Failure, Finish};
use crate::failure::{by_status, by_words};
use crate::text::cut;

const MESSAGE_CHARS: usize = 1000;
/// The protocol's own code for a program that has no login.
const AUTH_REQUIRED: i64 = -32000;

fn failed(failure: Failure, message: &str) -> Finish {
    Finish::Failed { failure, message: cut(message, MESSAGE_CHARS) }
}

/// By the reason why the program stopped. `None`: its work is done.
pub(super) fn of_stop(reason: &str) -> Option<Finish> {
    match reason {
        "end_turn" => None,
        // Some programs say so when the conversation no longer fits, others when one answer was too long; the way on is the
        // same: a fresh context.
        "max_tokens" => Some(failed(Failure::PromptTooLong, "the program stopped: no tokens left (max_tokens)")),
        "max_turn_requests" => Some(failed(Failure::Program, "the program stopped: too many model calls in a row")),
        "refusal" => Some(failed(Failure::Program, "the model refused to go on (refusal)")),
        "cancelled" => Some(failed(Failure::Program, "its work was cancelled")),
        other => Some(failed(Failure::Program, &format!("the program stopped for an unknown reason: {other}"))),
    }
}

/// An error as the answer to one of our requests. Programs put the provider's HTTP status into `code`, or the provider's
/// answer, often JSON, into `message`.
pub(super) fn of_error(error: &Value) -> Finish {
    let message = error["message"].as_str().unwrap_or("the program named no cause");
    let data = &error["data"];
    let detail = ["message", "details", "errorName"].iter().find_map(|key| data[*key].as_str()).or_else(|| data.as_str());
    let whole = detail.map_or_else(|| message.to_owned(), |detail| format!("{message} ({detail})"));
    failed(class(error["code"].as_i64().unwrap_or(0), &whole), &whole)
}

fn class(code: i64, words: &str) -> Failure {
    let by_words = by_words(words);
    match u64::try_from(code).ok().and_then(|status| by_status(Some(status))) {
        // A status of 400 may be anything.
        Some(Failure::Program) | None if code == AUTH_REQUIRED && by_words == Failure::Program => Failure::NotLoggedIn,
        Some(Failure::Program) | None => by_words,
        Some(failure) => failure,
    }
}

/// Whether the program wants a login before it goes on.
pub(super) fn wants_login(error: &Value) -> bool {
    error["code"].as_i64() == Some(AUTH_REQUIRED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(error: Value) -> Failure {
        match of_error(&error) {
            Finish::Failed { failure, message } => {
                assert!(!message.is_empty());
                failure
            }
            other => panic!("{other:?}"),
        }
    }

    /// As Gemini CLI 0.61 and opencode 1.18 put them.
    #[test]
    fn errors_have_their_class() {
        let gemini = |code: i64, message: &str| {
            of(json!({"code": code, "message": json!({"error": {"code": code, "message": message}}).to_string()}))
        };
        assert_eq!(gemini(401, "API keys are not supported"), Failure::NotLoggedIn);
        assert_eq!(gemini(400, "API key not valid. Please pass a valid API key."), Failure::NotLoggedIn);
        let long = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
        assert_eq!(gemini(400, long), Failure::PromptTooLong);
        assert_eq!(gemini(400, "no such parameter"), Failure::Program);
        assert_eq!(of(json!({"code": 429, "message": "You exceeded your current quota"})), Failure::Provider);
        assert_eq!(of(json!({"code": 503, "message": "The model is overloaded"})), Failure::Provider);
        assert_eq!(of(json!({"code": -32000, "message": "Authentication required."})), Failure::NotLoggedIn);

        let opencode = |kind: &str| {
            let message = format!("Internal error: {}", json!({"type": "error", "error": {"type": kind, "message": ""}}));
            of(json!({"code": -32603, "message": message, "data": {"service": "session", "errorName": "APIError"}}))
        };
        assert_eq!(opencode("authentication_error"), Failure::NotLoggedIn);
        assert_eq!(opencode("permission_error"), Failure::NotLoggedIn);
        assert_eq!(opencode("overloaded_error"), Failure::Provider);
        assert_eq!(opencode("invalid_request_error"), Failure::Program);
        assert_eq!(of(json!(null)), Failure::Program);
    }

    #[test]
    fn only_the_end_of_a_turn_is_done() {
        assert_eq!(of_stop("end_turn"), None);
        for reason in ["max_tokens", "max_turn_requests", "refusal", "cancelled", "", "new"] {
            assert!(matches!(of_stop(reason), Some(Finish::Failed { .. })), "{reason}");
        }
    }
}
