//! Items of a conversation as events: what was used, what was said, what made the conversation longer.

use serde_json::Value;

use crate::driver::AgentEvent;
use crate::text::{DETAIL_CHARS, cut};

/// Bytes of all texts in a value.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
        Value::Array(values) => values.iter().map(text_bytes).fold(0, u64::saturating_add),
        Value::Object(values) => values.values().map(text_bytes).fold(0, u64::saturating_add),
        _ => 0,
    }
}

fn grew(values: &[&Value]) -> Option<AgentEvent> {
    let bytes = values.iter().map(|value| text_bytes(value)).fold(0, u64::saturating_add);
    (bytes > 0).then_some(AgentEvent::Grew { bytes })
}

fn tool(name: &str, detail: &str) -> Option<AgentEvent> {
    Some(AgentEvent::Tool { name: name.to_owned(), detail: cut(detail, DETAIL_CHARS) })
}

/// The program is about to use a tool.
pub(super) fn started(item: &Value) -> Option<AgentEvent> {
    let text = |key: &str| item[key].as_str().unwrap_or_default();
    let kind = text("type");
    match kind {
        "commandExecution" => tool(kind, text("command")),
        "fileChange" => {
            let paths = item["changes"].as_array().into_iter().flatten().filter_map(|change| change["path"].as_str());
            tool(kind, &paths.collect::<Vec<_>>().join(" "))
        }
        "mcpToolCall" => tool(kind, &format!("{} {}", text("server"), text("tool"))),
        "dynamicToolCall" | "collabAgentToolCall" => tool(kind, text("tool")),
        "webSearch" => tool(kind, text("query")),
        "imageView" => tool(kind, text("path")),
        _ => None,
    }
}

/// An item has ended.
pub(super) fn completed(item: &Value) -> Vec<AgentEvent> {
    let kind = item["type"].as_str().unwrap_or_default();
    let (first, second) = match kind {
        "agentMessage" => {
            let said = item["text"].as_str().filter(|text| !text.is_empty());
            (said.map(|text| AgentEvent::Said(text.to_owned())), grew(&[&item["text"]]))
        }
        "reasoning" => (None, grew(&[&item["summary"], &item["content"]])),
        "plan" => (None, grew(&[&item["text"]])),
        "functionCallOutput" => (None, grew(&[&item["output"]])),
        "commandExecution" | "fileChange" => {
            let declined = item["status"].as_str() == Some("declined");
            let reason = || "the program's own policy".to_owned();
            let refused = declined.then(|| AgentEvent::Refused { name: kind.to_owned(), reason: reason() });
            (refused, grew(&[&item["aggregatedOutput"], &item["changes"]]))
        }
        "mcpToolCall" => (None, grew(&[&item["arguments"], &item["result"], &item["error"]])),
        "dynamicToolCall" => (None, grew(&[&item["arguments"], &item["contentItems"]])),
        "webSearch" => (None, grew(&[&item["results"]])),
        _ => (None, None),
    };
    first.into_iter().chain(second).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_commands_output_makes_the_conversation_longer() {
        let item =
            json!({"type": "commandExecution", "command": "ls\n-la", "aggregatedOutput": "äb\n", "status": "completed"});
        let used = AgentEvent::Tool { name: "commandExecution".to_owned(), detail: "ls -la".to_owned() };
        assert_eq!(started(&item), Some(used));
        assert_eq!(completed(&item), [AgentEvent::Grew { bytes: 4 }]);
        assert_eq!(completed(&json!({"type": "commandExecution", "aggregatedOutput": null})), []);
        let declined = completed(&json!({"type": "fileChange", "status": "declined", "changes": []}));
        assert!(matches!(declined[..], [AgentEvent::Refused { .. }]));
    }

    #[test]
    fn thinking_and_talk_count_and_the_users_own_words_do_not() {
        let thought = json!({"type": "reasoning", "summary": ["abc"], "content": [{"text": "de"}]});
        assert_eq!(completed(&thought), [AgentEvent::Grew { bytes: 5 }]);
        let said = completed(&json!({"type": "agentMessage", "text": "hi"}));
        assert_eq!(said, [AgentEvent::Said("hi".to_owned()), AgentEvent::Grew { bytes: 2 }]);
        assert_eq!(completed(&json!({"type": "userMessage", "content": [{"text": "x"}]})), []);
        assert_eq!(started(&json!(null)), None);
    }
}
