//! From the files that agent programs write to events. The form is told by the content of each line, never by a file name.
//!
//! Known: messages with roles (text, or content blocks of the Anthropic and OpenAI kinds), session files and streams of Claude
//! Code, rollouts and streams of Codex, streams of Gemini and opencode, ACP. A line that says nothing about the run is left out.

use serde_json::Value;

use super::event::{Events, Kind};
use super::{codex, tools};

/// Reads a source of any known form; anything else is one text.
pub fn events(source: &[u8]) -> Events {
    if let Some(events) = json_lines(source).or_else(|| json_document(source)) {
        return events;
    }
    plain(&String::from_utf8_lossy(source))
}

/// Lines at the beginning that decide whether a source is JSON lines: at least half of them are objects.
const FIRST_LINES: usize = 20;

/// JSON values, usually one a line. `None` where most of the first lines are no objects, or none of them is about a run.
fn json_lines(source: &[u8]) -> Option<Events> {
    let lines = || source.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let first: Vec<Option<Value>> = lines().take(FIRST_LINES).map(|(_, line)| first_value(line)).collect();
    let objects = || first.iter().flatten().filter(|value| value.is_object());
    if objects().count() * 2 < first.len() || objects().next().is_none() {
        return None;
    }
    let unit = if objects().any(|value| value.get("index").is_some()) { "message" } else { "line" };
    let mut reader = Reader::new(unit);
    for (number, line) in lines() {
        let mut at = number + 1;
        // Two processes that write one file can leave two values on a line, and a killed one leaves a torn line.
        for value in serde_json::Deserializer::from_slice(line).into_iter::<Value>() {
            let Ok(value) = value else {
                reader.events.unparsed.push(number as u64 + 1);
                break;
            };
            at = value.get("index").and_then(Value::as_u64).map_or(at, |index| index as usize);
            reader.record(&value, at);
        }
    }
    reader.done()
}

fn first_value(line: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(line).into_iter().next()?.ok()
}

/// One JSON document: a list of messages, or an object that has one.
fn json_document(source: &[u8]) -> Option<Events> {
    let first = source.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'[' | b'{') {
        return None;
    }
    let document: Value = serde_json::from_slice(source).ok()?;
    let messages = match &document {
        Value::Array(messages) => messages,
        Value::Object(object) => {
            ["messages", "history", "trajectory"].iter().find_map(|key| object.get(*key)?.as_array())?
        }
        _ => return None,
    };
    let mut reader = Reader::new("message");
    for (number, message) in messages.iter().enumerate() {
        reader.record(message, number);
    }
    reader.done()
}

/// Text without a form: commands are the lines behind a prompt sign, the rest is what came back.
fn plain(text: &str) -> Events {
    let mut events = Events::new("line");
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("$ ").or_else(|| line.strip_prefix("❯ ")) {
            Some(command) => events.push(number + 1, Kind::Command, command),
            None => events.push_piece(number + 1, Kind::Output { failed: false }, &format!("{line}\n")),
        }
    }
    events
}

/// What is known while reading line by line.
pub struct Reader {
    /// What was read.
    pub events: Events,
    /// Calls that ACP announced and whose input has not been seen yet.
    pub announced: std::collections::HashSet<String>,
    /// Codex writes what was said twice, as item and as event: the items are taken, events only where no item is.
    pub has_items: bool,
    /// Whether the agent's last message had a command in its text, so that the next message is what came back.
    awaits_output: bool,
    asked: bool,
}

impl Reader {
    fn new(unit: &'static str) -> Self {
        Self {
            events: Events::new(unit),
            announced: std::collections::HashSet::new(),
            has_items: false,
            awaits_output: false,
            asked: false,
        }
    }

    fn done(self) -> Option<Events> {
        (!self.events.list.is_empty()).then_some(self.events)
    }

    /// Reads a record, and notes it if it says nothing of the run.
    fn record(&mut self, value: &Value, at: usize) {
        let before = self.events.size();
        self.line(value, at);
        if self.events.size() == before {
            self.events.metadata.push(at as u64);
        }
    }

    fn line(&mut self, value: &Value, at: usize) {
        // Recordings of two-way protocols keep the direction beside the message.
        let value = value.get("msg").filter(|message| message.is_object()).unwrap_or(value);
        if value.get("method").is_some() || value.get("jsonrpc").is_some() {
            super::acp::line(self, value, at);
            return;
        }
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if value["isMeta"] == true {
            return;
        }
        match kind {
            "response_item" | "event_msg" | "item.completed" | "item.started" | "error" | "turn.failed" | "compacted" => {
                codex::line(self, kind, value, at);
            }
            // Claude Code's summary of what was said before it was compacted.
            "user" if value["isCompactSummary"] == true => {
                self.events.push(at, Kind::Said, tools::text_of(&value["message"]["content"]));
            }
            // Claude Code: a message in a wrapper.
            "user" | "assistant" if value.get("message").is_some() => self.message(&value["message"], kind, at),
            // Claude Code says its last words once more, with how it ended.
            "result" if value["is_error"] == true => {
                self.events.push(at, Kind::Output { failed: true }, tools::text_of(&value["result"]));
            }
            // Gemini.
            "tool_use" if value.get("tool_name").is_some() => {
                tools::call(&mut self.events, at, tools::str_of(&value["tool_name"]), &value["parameters"]);
            }
            "tool_result" if value.get("tool_id").is_some() => {
                let failed = value["status"] == "error";
                self.events.push(at, Kind::Output { failed }, tools::text_of(&value["output"]));
            }
            // opencode.
            "tool_use" | "text" | "reasoning" if value.get("part").is_some() => self.part(&value["part"], at),
            _ if value.get("role").is_some() => {
                let role = tools::str_of(&value["role"]).to_owned();
                self.message(value, &role, at);
            }
            _ => {}
        }
    }

    fn part(&mut self, part: &Value, at: usize) {
        match part.get("state") {
            Some(state) => {
                tools::call(&mut self.events, at, tools::str_of(&part["tool"]), &state["input"]);
                let failed = state["status"] == "error";
                let output = if failed { &state["error"] } else { &state["output"] };
                self.events.push(at, Kind::Output { failed }, tools::text_of(output));
            }
            None => self.events.push(at, Kind::Said, tools::text_of(&part["text"])),
        }
    }

    /// A message with a role: its text, or its blocks.
    fn message(&mut self, message: &Value, role: &str, at: usize) {
        let content = message.get("content").or_else(|| message.get("text")).unwrap_or(&Value::Null);
        if message["delta"] == true {
            self.events.push_piece(at, Kind::Said, tools::str_of(content));
            return;
        }
        match content {
            Value::Array(blocks) => blocks.iter().for_each(|block| self.block(block, role, at)),
            content => self.text(tools::str_of(content), role, at),
        }
        // OpenAI keeps calls beside the content.
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let function = &call["function"];
            let input = serde_json::from_str(tools::str_of(&function["arguments"])).unwrap_or(Value::Null);
            tools::call(&mut self.events, at, tools::str_of(&function["name"]), &input);
        }
    }

    fn block(&mut self, block: &Value, role: &str, at: usize) {
        match block.get("type").and_then(Value::as_str).unwrap_or("text") {
            "thinking" => self.events.push(at, Kind::Said, tools::str_of(&block["thinking"])),
            "tool_use" => tools::call(&mut self.events, at, tools::str_of(&block["name"]), &block["input"]),
            "tool_result" => {
                let failed = block["is_error"] == true;
                self.events.push(at, Kind::Output { failed }, tools::text_of(&block["content"]));
            }
            "text" | "input_text" | "output_text" => self.text(tools::str_of(&block["text"]), role, at),
            _ => {}
        }
    }

    /// Words with a role. Agents without tool calls write their command into a fence, and the answer comes as a user's message.
    pub fn text(&mut self, text: &str, role: &str, at: usize) {
        match role {
            "system" | "developer" => self.events.push(at, Kind::System, text),
            "tool" | "function" => self.events.push(at, Kind::Output { failed: false }, text),
            "assistant" | "model" | "agent" => self.said(text, at),
            _ if self.awaits_output || (self.asked && text.trim_start().starts_with("<returncode>")) => {
                self.awaits_output = false;
                let (body, failed) = tools::unwrapped(text);
                self.events.push(at, Kind::Output { failed }, body);
            }
            _ => {
                self.asked = true;
                self.events.push(at, Kind::Task, text);
            }
        }
    }

    fn said(&mut self, text: &str, at: usize) {
        let mut rest = text;
        while let Some((before, command, after)) = fenced_command(rest) {
            self.events.push(at, Kind::Said, before);
            tools::command(&mut self.events, at, command);
            self.awaits_output = true;
            rest = after;
        }
        self.events.push(at, Kind::Said, rest);
    }
}

/// The first fence of a shell, with what stands before and after it. It ends at a line that is only a fence.
fn fenced_command(text: &str) -> Option<(&str, &str, &str)> {
    let (start, opening) = ["```bash\n", "```sh\n", "```shell\n"]
        .iter()
        .filter_map(|opening| text.find(opening).map(|at| (at, opening.len())))
        .min()?;
    let body = &text[start + opening..];
    let end = body.find("\n```").unwrap_or(body.len());
    Some((&text[..start], &body[..end], body.get(end + 4..).unwrap_or_default()))
}
