//! The Agent Client Protocol, and the app server of Codex, which speaks JSON-RPC as well.

use serde_json::Value;

use super::event::Kind;
use super::read::Reader;
use super::tools::{self, str_of, text_of};

/// One message of either direction.
pub fn line(reader: &mut Reader, message: &Value, at: usize) {
    let params = &message["params"];
    match str_of(&message["method"]) {
        "session/prompt" => reader.events.push(at, Kind::Task, text_of(&params["prompt"])),
        "session/update" => update(reader, &params["update"], at),
        "turn/start" => reader.events.push(at, Kind::Task, text_of(&params["input"])),
        "item/completed" => super::codex::item(reader, &params["item"], at),
        _ => {
            if let Some(error) = message.get("error") {
                reader.events.push(at, Kind::Output { failed: true }, text_of(error));
            }
        }
    }
}

fn update(reader: &mut Reader, update: &Value, at: usize) {
    match str_of(&update["sessionUpdate"]) {
        "agent_message_chunk" | "agent_thought_chunk" => {
            reader.events.push_piece(at, Kind::Said, &text_of(&update["content"]));
        }
        "user_message_chunk" => reader.events.push_piece(at, Kind::Task, &text_of(&update["content"])),
        "tool_call" | "tool_call_update" => tool(reader, update, at),
        _ => {}
    }
}

/// A call grows over several updates: its input is taken when it is first there, its output when it has ended.
fn tool(reader: &mut Reader, update: &Value, at: usize) {
    let id = str_of(&update["toolCallId"]).to_owned();
    let input = &update["rawInput"];
    let has_input = input.as_object().is_some_and(|input| !input.is_empty());
    let diffs: Vec<&Value> =
        update["content"].as_array().into_iter().flatten().filter(|part| part["type"] == "diff").collect();
    let status = str_of(&update["status"]);
    let ended = matches!(status, "completed" | "failed");
    if !reader.announced.contains(&id) && (has_input || !diffs.is_empty() || ended) {
        reader.announced.insert(id);
        if diffs.is_empty() {
            let title = str_of(&update["title"]);
            if has_input {
                let name = update.get("name").or_else(|| update["_meta"]["claudeCode"].get("toolName"));
                tools::call(&mut reader.events, at, name.map_or(title, str_of), input);
            } else {
                reader.events.push(at, Kind::Command, title);
            }
        }
        for diff in diffs {
            let edit = Kind::Edit { path: str_of(&diff["path"]).to_owned(), old: str_of(&diff["oldText"]).to_owned() };
            reader.events.push(at, edit, str_of(&diff["newText"]));
        }
    }
    if ended {
        let raw = text_of(&update["rawOutput"]);
        let shown = || {
            let parts = update["content"].as_array().into_iter().flatten();
            parts.map(|part| text_of(&part["content"])).collect::<Vec<_>>().join("\n")
        };
        let text = if raw.is_empty() { shown() } else { raw };
        reader.events.push(at, Kind::Output { failed: status == "failed" }, text);
    }
}
