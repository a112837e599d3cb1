//! OpenAI Chat Completions: chunks and plain answers. Its errors are those of Responses.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Event, bare, bare_piece, bare_text};
use super::pick::Report;

/// The stream's chunks, without names. The usage comes in a chunk of its own before the end, and only where the request
/// asks for it; the other chunks then say `null`.
pub(super) fn events(answer: &Answer) -> Vec<Event> {
    let nothing = json!({});
    let mut events = vec![bare(&chunk(answer, &json!({"role": "assistant", "content": ""}), None))];
    for text in answer.pieces() {
        events.push(bare_piece(&chunk(answer, &json!({"content": text}), None)));
    }
    for call in calls(answer) {
        events.push(bare_piece(&chunk(answer, &json!({"tool_calls": [call]}), None)));
    }
    events.push(bare(&chunk(answer, &nothing, Some(finish_reason(answer)))));
    if answer.wants_usage && answer.usage != Report::Omit {
        let mut last = head(answer, "chat.completion.chunk");
        last.insert("choices".into(), json!([]));
        put_usage(&mut last, answer.usage);
        for _ in 0..1 + usize::from(answer.repeat_usage) {
            events.push(bare(&Value::Object(last.clone())));
        }
    }
    events.push(bare_text("[DONE]"));
    events
}

/// The whole answer at once.
pub(super) fn whole(answer: &Answer) -> Value {
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), json!(answer.text));
    let calls: Vec<Value> = calls(answer).map(without_index).collect();
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    let mut completion = head(answer, "chat.completion");
    let choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(answer)});
    completion.insert("choices".into(), json!([choice]));
    put_usage(&mut completion, answer.usage);
    Value::Object(completion)
}

fn head(answer: &Answer, object: &str) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("id".into(), json!(format!("chatcmpl-{}", answer.id)));
    head.insert("object".into(), json!(object));
    // A fixed time: no test may depend on when it runs.
    head.insert("created".into(), json!(1_700_000_000));
    head.insert("model".into(), json!(answer.model));
    head
}

fn chunk(answer: &Answer, delta: &Value, finish_reason: Option<&str>) -> Value {
    let mut chunk = head(answer, "chat.completion.chunk");
    chunk.insert("choices".into(), json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]));
    if answer.wants_usage && answer.usage != Report::Omit {
        chunk.insert("usage".into(), Value::Null);
    }
    Value::Object(chunk)
}

fn calls(answer: &Answer) -> impl Iterator<Item = Value> {
    answer.calls.iter().enumerate().map(|(index, call)| {
        json!({"index": index, "id": format!("call_{}_{index}", answer.id), "type": "function",
            "function": {"name": call.name, "arguments": call.input.to_string()}})
    })
}

/// Only chunks number their calls.
fn without_index(mut call: Value) -> Value {
    if let Some(call) = call.as_object_mut() {
        call.remove("index");
    }
    call
}

fn finish_reason(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn put_usage(completion: &mut Map<String, Value>, usage: Report) {
    let usage = match usage {
        Report::Omit => return,
        Report::Null => Value::Null,
        Report::Numbers(numbers) => json!({
            "prompt_tokens": numbers.all_input(),
            "completion_tokens": numbers.output,
            "total_tokens": numbers.all_input().saturating_add(numbers.output),
            "prompt_tokens_details": {"cached_tokens": numbers.cache_read},
        }),
    };
    completion.insert("usage".into(), usage);
}
