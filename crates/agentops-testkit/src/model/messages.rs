//! Anthropic Messages: events, plain answers and errors.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Event, event, kind_or, piece};
use super::pick::{Counts, Report};
use super::script::HttpError;

/// The stream's events. The client insists on their names: with bare data it repeats the call without a stream.
pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let mut message = head(answer);
    message.insert("content".into(), json!([]));
    message.insert("stop_reason".into(), Value::Null);
    // The call has produced next to nothing when it begins; the real service says 1.
    put_usage(&mut message, answer.usage, |numbers| Counts { output: numbers.output.min(1), ..numbers });
    let mut events = vec![event("message_start", &json!({"type": "message_start", "message": message}))];
    for (index, block) in blocks(answer).into_iter().enumerate() {
        let is_text = block["type"] == "text";
        let (mut start, full) = (block.clone(), block);
        if is_text {
            start["text"] = json!("");
        } else {
            start["input"] = json!({});
        }
        let start = json!({"type": "content_block_start", "index": index, "content_block": start});
        events.push(event("content_block_start", &start));
        let deltas: Vec<Value> = if is_text {
            answer.pieces().map(|text| json!({"type": "text_delta", "text": text})).collect()
        } else {
            vec![json!({"type": "input_json_delta", "partial_json": full["input"].to_string()})]
        };
        for delta in deltas {
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.push(piece("content_block_delta", &delta));
        }
        events.push(event("content_block_stop", &json!({"type": "content_block_stop", "index": index})));
    }
    let mut last = Map::new();
    last.insert("type".into(), json!("message_delta"));
    last.insert("delta".into(), json!({"stop_reason": stop_reason(answer), "stop_sequence": null}));
    match answer.usage {
        Report::Omit => {}
        Report::Null => drop(last.insert("usage".into(), Value::Null)),
        Report::Numbers(numbers) => drop(last.insert("usage".into(), json!({"output_tokens": numbers.output}))),
    }
    for _ in 0..1 + usize::from(answer.repeat_usage) {
        events.push(event("message_delta", &Value::Object(last.clone())));
    }
    events.push(event("message_stop", &json!({"type": "message_stop"})));
    events
}

/// The whole answer at once.
pub(super) fn whole(answer: &Answer) -> Value {
    let mut message = head(answer);
    message.insert("content".into(), Value::Array(blocks(answer)));
    message.insert("stop_reason".into(), json!(stop_reason(answer)));
    put_usage(&mut message, answer.usage, |numbers| numbers);
    Value::Object(message)
}

/// An error as the service words it.
pub(super) fn error(error: &HttpError) -> Value {
    let usual = match error.status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind_or(error, usual), "message": error.message}})
}

fn head(answer: &Answer) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("id".into(), json!(format!("msg_{}", answer.id)));
    message.insert("type".into(), json!("message"));
    message.insert("role".into(), json!("assistant"));
    message.insert("model".into(), json!(answer.model));
    message.insert("stop_sequence".into(), Value::Null);
    message
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let text = answer.text.iter().map(|text| json!({"type": "text", "text": text}));
    let calls = answer.calls.iter().enumerate().map(|(index, call)| {
        json!({"type": "tool_use", "id": format!("toolu_{}_{index}", answer.id), "name": call.name, "input": call.input})
    });
    text.chain(calls).collect()
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn put_usage(message: &mut Map<String, Value>, usage: Report, at_this_point: impl Fn(Counts) -> Counts) {
    let usage = match usage {
        Report::Omit => return,
        Report::Null => Value::Null,
        Report::Numbers(numbers) => {
            let numbers = at_this_point(numbers);
            json!({
                "input_tokens": numbers.input,
                "cache_creation_input_tokens": numbers.cache_write,
                "cache_read_input_tokens": numbers.cache_read,
                "output_tokens": numbers.output,
            })
        }
    };
    message.insert("usage".into(), usage);
}
