//! An independent count of what a request asks a model to read, for tests of the ceiling.
//!
//! It must not share a tokenizer with the product: a fault in that one would hide itself. It counts texts and nothing else:
//! no overhead per message, no pictures, no encrypted reasoning, nothing that the provider holds for the client. So it never
//! says more than the texts are, in this tokenizer.

use serde_json::Value;

use crate::model::Protocol;

/// Fields whose value is no text that a model reads: names of things, marks for the provider, media, secrets of the provider.
const NOT_READ: [&str; 19] = [
    "id",
    "type",
    "role",
    "status",
    "tool_use_id",
    "tool_call_id",
    "call_id",
    "cache_control",
    "signature",
    "thoughtSignature",
    "encrypted_content",
    "data",
    "mime_type",
    "mimeType",
    "media_type",
    "image_url",
    "file_data",
    "file_id",
    "is_error",
];

/// Fields whose value is data of tools or tools themselves, which a model reads as they are written, names of fields and all.
const DATA: [&str; 4] = ["input", "args", "response", "tools"];

/// How many tokens (cl100k) the texts of a request have: standing instructions, tools, messages, calls and their results. A
/// body that is no JSON counts as one text.
#[must_use]
pub fn tokens(protocol: Protocol, body: &[u8]) -> u64 {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return count(&String::from_utf8_lossy(body));
    };
    let (conversation, tools) = match protocol {
        Protocol::Messages | Protocol::CountTokens => (&["system", "messages"][..], &body["tools"]),
        Protocol::Responses => (&["instructions", "input"][..], &body["tools"]),
        Protocol::Chat => (&["messages"][..], &body["tools"]),
        Protocol::Gemini | Protocol::GeminiCountTokens => (&["systemInstruction", "contents"][..], &body["tools"]),
        Protocol::Unknown => return count(&body.to_string()),
    };
    let said: u64 = conversation.iter().map(|field| texts(&body[*field])).sum();
    said + as_written(tools)
}

/// The tokens of all texts below a value of the conversation.
fn texts(value: &Value) -> u64 {
    match value {
        Value::String(text) => count(text),
        Value::Array(items) => items.iter().map(texts).sum(),
        // A document may be plain text, in the place of its bytes.
        Value::Object(fields) if fields.get("type").is_some_and(|kind| kind == "text") && fields.contains_key("data") => {
            fields.get("data").map_or(0, texts)
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| field(name, value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn field(name: &str, value: &Value) -> u64 {
    if NOT_READ.contains(&name) {
        0
    } else if DATA.contains(&name) && !value.is_string() {
        as_written(value)
    } else {
        texts(value)
    }
}

fn as_written(value: &Value) -> u64 {
    if value.is_null() { 0 } else { count(&value.to_string()) }
}

/// The tokens of a text in OpenAI's o200k, which the gateway estimates with, by another library than the gateway's.
#[must_use]
pub fn o200k(text: &str) -> u64 {
    u64::try_from(bpe_openai::o200k_base().count(text)).unwrap_or(u64::MAX)
}

fn count(text: &str) -> u64 {
    u64::try_from(bpe_openai::cl100k_base().count(text)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SAID: [&str; 5] = ["Standing rules.", "Please do the task.", "Reading it.", "The file's text.", "Fine, done."];

    fn calls() -> (Value, Value) {
        (json!({"path": "a b.md"}), json!([{"name": "read", "description": "Reads a file."}]))
    }

    fn judged(protocol: Protocol, body: &Value) -> u64 {
        tokens(protocol, body.to_string().as_bytes())
    }

    /// The same conversation in every protocol: texts, the call's name and input, the tools.
    #[test]
    fn every_text_counts_once_in_every_protocol() {
        let (input, tools) = calls();
        let [rules, task, says, result, done] = SAID;
        let spoken: u64 = SAID.iter().map(|text| count(text)).sum();
        let expected = spoken + count("read") + count(&input.to_string()) + count(&tools.to_string());
        let messages = json!({"model": "m", "system": [{"type": "text", "text": rules}], "tools": tools, "messages": [
            {"role": "user", "content": task},
            {"role": "assistant", "content": [{"type": "text", "text": says},
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": input}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}]},
            {"role": "assistant", "content": done}]});
        assert_eq!(judged(Protocol::Messages, &messages), expected);
        let responses = json!({"model": "m", "instructions": rules, "tools": tools, "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": task}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": says}]},
            {"type": "function_call", "call_id": "c", "name": "read", "arguments": input.to_string()},
            {"type": "function_call_output", "call_id": "c", "output": result},
            {"type": "message", "role": "assistant", "content": done}]});
        assert_eq!(judged(Protocol::Responses, &responses), expected);
        let chat = json!({"model": "m", "tools": tools, "messages": [
            {"role": "system", "content": rules}, {"role": "user", "content": task},
            {"role": "assistant", "content": says, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "read", "arguments": input.to_string()}}]},
            {"role": "tool", "tool_call_id": "c", "content": result}, {"role": "assistant", "content": done}]});
        assert_eq!(judged(Protocol::Chat, &chat), expected);
        let results = json!({"output": result});
        let gemini = json!({"systemInstruction": {"parts": [{"text": rules}]}, "tools": tools, "contents": [
            {"role": "user", "parts": [{"text": task}]},
            {"role": "model", "parts": [{"text": says}, {"functionCall": {"name": "read", "args": input}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c", "response": results}}]},
            {"role": "model", "parts": [{"text": done}]}]});
        let as_data = expected - count(result) + count(&results.to_string());
        assert_eq!(judged(Protocol::Gemini, &gemini), as_data);
    }

    #[test]
    fn tools_count_the_same_as_an_item() {
        let (_, tools) = calls();
        let as_item = json!({"input": [{"type": "additional_tools", "role": "developer", "tools": tools}]});
        assert_eq!(judged(Protocol::Responses, &as_item), judged(Protocol::Responses, &json!({"tools": tools})));
    }

    #[test]
    fn pictures_and_marks_are_no_text() {
        let text = json!({"type": "text", "text": "look"});
        let with =
            |extra: Value| judged(Protocol::Messages, &json!({"messages": [{"role": "user", "content": [text, extra]}]}));
        let picture =
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA".repeat(99)}});
        assert_eq!(with(picture), count("look"));
        let document =
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "read me"}});
        assert_eq!(with(document), count("look") + count("read me"));
        assert_eq!(with(json!({"type": "text", "text": "", "cache_control": {"type": "ephemeral"}})), count("look"));
    }

    #[test]
    fn what_is_no_json_counts_as_text() {
        assert_eq!(tokens(Protocol::Chat, b"half of {"), count("half of {"));
    }
}
