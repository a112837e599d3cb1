//! Tests across the protocols: what requests and answers of real clients and providers say, and what may be sent instead.

mod answers;
mod drawing;
mod endings;
mod images;
mod media;
mod requests;
mod streams;

use serde_json::{Value, json};

use super::*;
use crate::scan::Layout;

/// The head of a body.
fn head_of(protocol: Protocol, body: &str) -> Head {
    let layout = Layout::of(body.as_bytes(), protocol.items_key()).unwrap();
    head(protocol, body.as_bytes(), &layout.fields).unwrap()
}

/// The answer that is read from these bytes in one piece.
fn read(protocol: Protocol, streamed: bool, bytes: &[u8]) -> Answer {
    let mut reader = Reader::new(protocol, streamed);
    reader.push(bytes);
    reader.answer()
}

/// Events as a server sends them, with their type as the name where they have one.
fn stream(events: &[Value]) -> String {
    let one = |event: &Value| match event["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    events.iter().map(one).collect()
}

/// A whole stream of a provider whose last report is this.
fn stream_with(protocol: Protocol, usage: &Value) -> String {
    match protocol {
        Protocol::Messages => stream(&[
            json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": usage}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hé\n"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
            json!({"type": "message_stop"}),
        ]),
        Protocol::Responses => stream(&[
            json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt", "usage": null}}),
            json!({"type": "response.output_text.delta", "delta": "hé\n"}),
            json!({"type": "response.output_item.done", "item": {"type": "message", "content": [{"type": "output_text", "text": "hé\n"}]}}),
            json!({"type": "response.completed", "response": {"id": "resp_1", "model": "gpt", "status": "completed", "usage": usage}}),
        ]),
        Protocol::Chat => {
            let chunk =
                |choices: Value, usage: &Value| json!({"id": "c1", "model": "gpt", "choices": choices, "usage": usage});
            let null = Value::Null;
            stream(&[
                chunk(
                    json!([{"index": 0, "delta": {"role": "assistant", "content": "hé\n"}, "finish_reason": null}]),
                    &null,
                ),
                chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), &null),
                chunk(json!([]), usage),
            ]) + "data: [DONE]\n\n"
        }
        Protocol::Gemini => stream(&[
            json!({"candidates": [{"content": {"parts": [{"text": "hé\n"}]}, "index": 0}], "modelVersion": "gemini", "responseId": "g1"}),
            json!({"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": usage}),
        ]),
    }
}

/// A plain answer with this report.
fn plain_with(protocol: Protocol, usage: &Value) -> String {
    match protocol {
        Protocol::Messages => json!({"id": "msg_1", "type": "message", "model": "claude", "stop_reason": "end_turn",
            "content": [{"type": "tool_use", "input": {"usage": {"input_tokens": 1}}}], "usage": usage}),
        Protocol::Responses => json!({"id": "resp_1", "model": "gpt", "status": "completed", "output": [], "error": null, "usage": usage}),
        Protocol::Chat => json!({"id": "c1", "model": "gpt", "choices": [{"finish_reason": "stop"}], "usage": usage}),
        Protocol::Gemini => {
            json!({"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini", "responseId": "g1", "usageMetadata": usage})
        }
    }
    .to_string()
}

/// The names of input, cache reads and output in a report.
fn report(protocol: Protocol, input: &Value, cached: &Value, output: &Value) -> Value {
    match protocol {
        Protocol::Messages => json!({"input_tokens": input, "cache_read_input_tokens": cached, "output_tokens": output}),
        Protocol::Responses => {
            json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output})
        }
        Protocol::Chat => {
            json!({"prompt_tokens": input, "prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens": output})
        }
        Protocol::Gemini => {
            json!({"promptTokenCount": input, "cachedContentTokenCount": cached, "candidatesTokenCount": output})
        }
    }
}
