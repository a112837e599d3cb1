//! What Codex writes: rollout files, `exec --json`, and the items of its app server.

use serde_json::Value;

use super::event::Kind;
use super::read::Reader;
use super::tools::{self, str_of, text_of};

/// One line of a rollout or of a stream.
pub fn line(reader: &mut Reader, kind: &str, value: &Value, at: usize) {
    match kind {
        "response_item" => response_item(reader, &value["payload"], at),
        "event_msg" => event(reader, &value["payload"], at),
        "item.completed" => item(reader, &value["item"], at),
        // The summary that replaces what was said before.
        "compacted" => reader.events.push(at, Kind::Said, text_of(&value["payload"]["message"])),
        "error" | "turn.failed" => {
            let message = if value.get("error").is_some() { &value["error"] } else { &value["message"] };
            reader.events.push(at, Kind::Output { failed: true }, text_of(message));
        }
        _ => {}
    }
}

fn response_item(reader: &mut Reader, item: &Value, at: usize) {
    reader.has_items = true;
    match str_of(&item["type"]) {
        "message" => {
            let text = text_of(&item["content"]);
            // The program's own words about folders and permissions come as messages of the user.
            let is_frame = text.starts_with("<environment_context>") || text.starts_with("<user_instructions>");
            reader.text(&text, if is_frame { "system" } else { str_of(&item["role"]) }, at);
        }
        "reasoning" => reader.events.push(at, Kind::Said, text_of(&item["summary"])),
        "function_call" => {
            let input = serde_json::from_str(str_of(&item["arguments"])).unwrap_or(Value::Null);
            tools::call(&mut reader.events, at, str_of(&item["name"]), &input);
        }
        "custom_tool_call" => tools::call(&mut reader.events, at, str_of(&item["name"]), &item["input"]),
        "local_shell_call" => tools::call(&mut reader.events, at, "shell", &item["action"]),
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            let text = text_of(&item["output"]);
            // Older versions put JSON into the string.
            let inner = serde_json::from_str::<Value>(&text).ok().filter(Value::is_object);
            let text = inner.as_ref().map_or(text, text_of);
            let code = inner.as_ref().and_then(|inner| inner["metadata"]["exit_code"].as_i64());
            output(reader, &text, code, at);
        }
        _ => {}
    }
}

/// Codex tells its own figures before an output.
fn output(reader: &mut Reader, text: &str, code: Option<i64>, at: usize) {
    let (head, body) = match text.split_once("\nOutput:\n") {
        Some((head, body)) if head.len() < 400 => (head, body),
        _ => ("", text),
    };
    let told = head.lines().find_map(|line| line.strip_prefix("Process exited with code ")?.trim().parse().ok());
    let failed = code.or(told).is_some_and(|code| code != 0);
    reader.events.push(at, Kind::Output { failed }, body);
}

fn event(reader: &mut Reader, event: &Value, at: usize) {
    match str_of(&event["type"]) {
        "user_message" if !reader.has_items => reader.text(str_of(&event["message"]), "user", at),
        "agent_message" if !reader.has_items => reader.text(str_of(&event["message"]), "assistant", at),
        "agent_reasoning" if !reader.has_items => reader.events.push(at, Kind::Said, str_of(&event["text"])),
        "error" | "turn_aborted" => reader.events.push(at, Kind::Output { failed: true }, text_of(event)),
        _ => {}
    }
}

/// An item of a stream; the app server writes its names the other way.
pub fn item(reader: &mut Reader, item: &Value, at: usize) {
    match str_of(&item["type"]) {
        "agent_message" | "agentMessage" | "reasoning" => reader.events.push(at, Kind::Said, text_of(&item["text"])),
        "user_message" | "userMessage" => reader.text(&text_of(&item["content"]), "user", at),
        "command_execution" | "commandExecution" => {
            tools::call(&mut reader.events, at, "shell", item);
            let code = item.get("exit_code").or_else(|| item.get("exitCode")).and_then(Value::as_i64);
            let text = item.get("aggregated_output").or_else(|| item.get("aggregatedOutput")).map(text_of);
            output(reader, &text.unwrap_or_default(), code, at);
        }
        "file_change" | "fileChange" => {
            for change in item["changes"].as_array().into_iter().flatten() {
                let path = str_of(&change["path"]).to_owned();
                let diff = str_of(&change["diff"]);
                let line = |sign: char| {
                    let lines = diff.lines().filter_map(move |line| line.strip_prefix(sign));
                    lines.collect::<Vec<_>>().join("\n")
                };
                reader.events.push(at, Kind::Edit { path, old: line('-') }, line('+'));
            }
        }
        "mcp_tool_call" | "mcpToolCall" => {
            tools::call(&mut reader.events, at, str_of(&item["tool"]), &item["arguments"]);
            reader.events.push(at, Kind::Output { failed: item["status"] == "failed" }, text_of(&item["result"]));
        }
        "error" => reader.events.push(at, Kind::Output { failed: true }, text_of(&item["message"])),
        _ => {}
    }
}
