//! OpenAI Responses: events and plain answers; errors as all of OpenAI words them.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Event, event, kind_or, piece};
use super::pick::Report;
use super::script::HttpError;

/// The stream's events. The client insists on `response.completed`.
pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let created = json!({"id": response_id(answer), "object": "response", "status": "in_progress", "output": []});
    let mut events = vec![event("response.created", &json!({"type": "response.created", "response": created}))];
    for (index, item) in items(answer).into_iter().enumerate() {
        let mut added = item.clone();
        added["status"] = json!("in_progress");
        let is_text = item["type"] == "message";
        added[if is_text {
            "content"
        } else if item["type"] == "function_call" {
            "arguments"
        } else {
            "input"
        }] = if is_text { json!([]) } else { json!("") };
        events.push(event(
            "response.output_item.added",
            &json!({"type": "response.output_item.added", "output_index": index, "item": added}),
        ));
        if is_text {
            for text in answer.pieces() {
                let delta = json!({"type": "response.output_text.delta", "item_id": item["id"], "output_index": index,
                    "content_index": 0, "delta": text});
                events.push(piece("response.output_text.delta", &delta));
            }
        }
        let done = json!({"type": "response.output_item.done", "output_index": index, "item": item});
        events.push(Event { piece: !is_text, ..event("response.output_item.done", &done) });
    }
    let completed = json!({"type": "response.completed", "response": whole(answer)});
    for _ in 0..1 + usize::from(answer.repeat_usage) {
        events.push(event("response.completed", &completed));
    }
    events
}

/// The whole answer at once.
pub(super) fn whole(answer: &Answer) -> Value {
    let mut response = Map::new();
    response.insert("id".into(), json!(response_id(answer)));
    response.insert("object".into(), json!("response"));
    response.insert("status".into(), json!("completed"));
    response.insert("model".into(), json!(answer.model));
    response.insert("output".into(), Value::Array(items(answer)));
    match answer.usage {
        Report::Omit => {}
        Report::Null => drop(response.insert("usage".into(), Value::Null)),
        Report::Numbers(numbers) => {
            let input = numbers.all_input();
            let usage = json!({
                "input_tokens": input,
                "input_tokens_details": {"cached_tokens": numbers.cache_read},
                "output_tokens": numbers.output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": input.saturating_add(numbers.output),
            });
            response.insert("usage".into(), usage);
        }
    }
    Value::Object(response)
}

/// An error as the service words it.
pub(super) fn error(error: &HttpError) -> Value {
    let (usual, code) = match error.status {
        400..=403 => ("invalid_request_error", (error.status == 401).then_some("invalid_api_key")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        _ => ("server_error", None),
    };
    let code = error.code.as_deref().or(code);
    json!({"error": {"message": error.message, "type": kind_or(error, usual), "param": null, "code": code}})
}

/// An error in a stream that has begun: its fields stand in the event itself.
pub(super) fn error_event(error: &HttpError) -> Event {
    let mut told = self::error(error)["error"].take();
    told["type"] = json!("error");
    event("error", &told)
}

fn response_id(answer: &Answer) -> String {
    format!("resp_{}", answer.id)
}

fn items(answer: &Answer) -> Vec<Value> {
    let text = answer.text.iter().map(|text| {
        json!({"type": "message", "id": format!("msg_{}", answer.id), "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]})
    });
    let calls = answer.calls.iter().enumerate().map(|(index, call)| {
        let mut item = Map::new();
        item.insert("id".into(), json!(format!("fc_{}_{index}", answer.id)));
        item.insert("call_id".into(), json!(format!("call_{}_{index}", answer.id)));
        item.insert("name".into(), json!(call.name));
        item.insert("status".into(), json!("completed"));
        if let Some(namespace) = &call.namespace {
            item.insert("namespace".into(), json!(namespace));
        }
        if call.freeform {
            item.insert("type".into(), json!("custom_tool_call"));
            let input = call.input.as_str().map_or_else(|| call.input.to_string(), str::to_owned);
            item.insert("input".into(), json!(input));
        } else {
            item.insert("type".into(), json!("function_call"));
            item.insert("arguments".into(), json!(call.input.to_string()));
        }
        Value::Object(item)
    });
    text.chain(calls).collect()
}
