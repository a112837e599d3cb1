//! Gemini `generateContent`: streamed and plain answers, and errors.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Event, bare, bare_piece, kind_or};
use super::pick::Report;
use super::script::HttpError;

/// The model and the method of a path: `…/models/<model>:<method>`.
pub(super) fn target(path: &str) -> Option<(&str, &str)> {
    let (before, last) = path.rsplit_once('/')?;
    if !before.ends_with("/models") {
        return None;
    }
    last.rsplit_once(':')
}

/// The stream's events, without names; each is a response of its own. The usage stands in the last one, or, where the
/// script repeats it, in all, as the service itself does.
pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let pieces = answer.pieces().map(|text| json!({"text": text})).chain(calls(answer));
    let with_parts = |parts: Value| {
        let mut response = response(answer, &parts, None);
        if answer.repeat_usage {
            put_usage(&mut response, answer.usage);
        }
        bare_piece(&Value::Object(response))
    };
    let mut events: Vec<Event> = pieces.map(|part| with_parts(json!([part]))).collect();
    let mut last = response(answer, &json!([{"text": ""}]), Some("STOP"));
    put_usage(&mut last, answer.usage);
    events.push(bare(&Value::Object(last)));
    events
}

/// The whole answer at once.
pub(super) fn whole(answer: &Answer) -> Value {
    let parts = answer.text.iter().map(|text| json!({"text": text})).chain(calls(answer)).collect();
    let mut response = response(answer, &parts, Some("STOP"));
    put_usage(&mut response, answer.usage);
    Value::Object(response)
}

/// An error as the service words it.
pub(super) fn error(error: &HttpError) -> Value {
    let usual = match error.status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let mut body = json!({"code": error.status, "message": error.message, "status": kind_or(error, usual)});
    let retry = error
        .retry_after_s
        .map(|seconds| json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}));
    let details: Vec<Value> = error.details.iter().cloned().chain(retry).collect();
    if !details.is_empty() {
        body["details"] = details.into();
    }
    json!({"error": body})
}

fn response(answer: &Answer, parts: &Value, finish_reason: Option<&str>) -> Map<String, Value> {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = json!(reason);
    }
    let mut response = Map::new();
    response.insert("candidates".into(), json!([candidate]));
    response.insert("modelVersion".into(), json!(answer.model));
    response.insert("responseId".into(), json!(format!("resp_{}", answer.id)));
    response
}

fn calls(answer: &Answer) -> impl Iterator<Item = Value> {
    answer.calls.iter().map(|call| json!({"functionCall": {"name": call.name, "args": call.input}}))
}

fn put_usage(response: &mut Map<String, Value>, usage: Report) {
    let usage = match usage {
        Report::Omit => return,
        Report::Null => Value::Null,
        Report::Numbers(numbers) => json!({
            "promptTokenCount": numbers.all_input(),
            "candidatesTokenCount": numbers.output,
            "totalTokenCount": numbers.all_input().saturating_add(numbers.output),
            "cachedContentTokenCount": numbers.cache_read,
        }),
    };
    response.insert("usageMetadata".into(), usage);
}
