//! What a request says, read the same way for every protocol.

use serde_json::Value;

use super::gemini;

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Standing instructions, wherever the client puts them.
    System,
    /// A user's message, or a tool's result.
    User,
    /// The model: one per model call, whatever number of items it came in.
    Model,
}

/// A message or item of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) text: String,
    /// The same text, one piece per block of content.
    pub(super) parts: Vec<String>,
}

impl Message {
    fn new(role: Role, content: &Value) -> Self {
        let parts: Vec<String> = match content {
            Value::Array(blocks) => blocks.iter().map(text_of).collect(),
            other => vec![text_of(other)],
        };
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { role, text: parts.join("\n"), parts }
    }
}

/// A tool that the client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    /// The name in one piece: `mcp__server__tool` where the client keeps them apart.
    pub(super) name: String,
    /// The namespace that must be named with the call, where the client keeps them apart.
    pub(super) namespace: Option<String>,
    /// The name within the namespace.
    pub(super) local: String,
    /// The client wants plain text for it, not JSON.
    pub(super) freeform: bool,
}

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) stream: bool,
    /// The usage of a stream is asked for; true wherever that is not for the request to say.
    pub(super) wants_usage: bool,
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<Offered>,
}

/// How text begins that a client puts before the task on its own: reminders, the environment, standing files.
const CLIENTS_OWN: [&str; 2] = ["<", "# AGENTS.md instructions"];

/// Words of Claude Code's own compaction prompt: it carries the session's tools and still wants only text.
const SUMMARY_PROMPT: [&str; 2] = ["Respond with TEXT ONLY", "create a detailed summary"];

impl Request {
    /// Reads an Anthropic Messages body.
    pub(super) fn messages(body: &Value) -> Self {
        let mut messages = Vec::new();
        if !body["system"].is_null() {
            messages.push(Message::new(Role::System, &body["system"]));
        }
        for message in list(&body["messages"]) {
            let role = match message["role"].as_str() {
                Some("assistant") => Role::Model,
                Some("user") => Role::User,
                _ => Role::System,
            };
            messages.push(Message::new(role, &message["content"]));
        }
        Self::new(body, messages)
    }

    /// Reads an OpenAI Responses body. Items of one model call follow each other; they count as one message.
    pub(super) fn responses(body: &Value) -> Self {
        let mut messages: Vec<Message> = Vec::new();
        if !body["instructions"].is_null() {
            messages.push(Message::new(Role::System, &body["instructions"]));
        }
        if body["input"].is_string() {
            messages.push(Message::new(Role::User, &body["input"]));
        }
        let mut tools = Vec::new();
        for item in list(&body["input"]) {
            let kind = item["type"].as_str().unwrap_or("message");
            // For models that it knows, codex puts the tools here.
            if kind == "additional_tools" {
                tools.extend(offered(&item["tools"]));
                continue;
            }
            let (role, content) = match (kind, item["role"].as_str()) {
                ("message", Some("assistant")) => (Role::Model, &item["content"]),
                ("message", Some("user")) => (Role::User, &item["content"]),
                ("message", _) => (Role::System, &item["content"]),
                (kind, _) if kind.ends_with("_output") => (Role::User, &item["output"]),
                _ => (Role::Model, &item["arguments"]),
            };
            add(&mut messages, Message::new(role, content));
        }
        let mut request = Self::new(body, messages);
        request.tools.extend(tools);
        request
    }

    /// Reads an OpenAI Chat Completions body.
    pub(super) fn chat(body: &Value) -> Self {
        let messages = list(&body["messages"]).iter().map(|message| {
            let role = match message["role"].as_str() {
                Some("assistant") => Role::Model,
                Some("user" | "tool") => Role::User,
                _ => Role::System,
            };
            Message::new(role, &message["content"])
        });
        let request = Self::new(body, messages.collect());
        Self { wants_usage: body["stream_options"]["include_usage"] == true, ..request }
    }

    /// Reads a Gemini body; the path names the model and the method. Contents of one model call count as one message.
    pub(super) fn gemini(path: &str, body: &Value) -> Self {
        let mut messages = Vec::new();
        if !body["systemInstruction"].is_null() {
            messages.push(Message::new(Role::System, &body["systemInstruction"]["parts"]));
        }
        for content in list(&body["contents"]) {
            let role = if content["role"] == "model" { Role::Model } else { Role::User };
            add(&mut messages, Message::new(role, &content["parts"]));
        }
        let (model, method) = gemini::target(path).unwrap_or_default();
        Self { model: model.into(), stream: method == "streamGenerateContent", ..Self::new(body, messages) }
    }

    fn new(body: &Value, messages: Vec<Message>) -> Self {
        Self {
            model: body["model"].as_str().unwrap_or_default().into(),
            stream: body["stream"].as_bool().unwrap_or(false),
            wants_usage: true,
            messages,
            tools: offered(&body["tools"]),
        }
    }

    /// The text in which a conversation's `when` is looked for: standing instructions and the first user message. Clients
    /// put reminders and the user's words in separate items before the model's first, so all of these count as the first.
    pub(super) fn opening(&self) -> String {
        let first_model = self.messages.iter().position(|message| message.role == Role::Model);
        let head = &self.messages[..first_model.unwrap_or(self.messages.len())];
        let later = self.messages.iter().skip(head.len()).filter(|message| message.role == Role::System);
        head.iter().chain(later).map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// What the user typed after the task and before the model's first message: a client that is told something while its
    /// first call runs drops that call and asks again. What clients add on their own does not count as typed.
    pub(super) fn typed_after_task(&self) -> Vec<&str> {
        let before = self.messages.iter().take_while(|message| message.role != Role::Model);
        let typed = before
            .filter(|message| message.role == Role::User)
            .flat_map(|message| &message.parts)
            .map(String::as_str)
            .filter(|part| !CLIENTS_OWN.iter().any(|start| part.starts_with(start)));
        typed.skip(1).collect()
    }

    /// How many model messages there already are.
    pub(super) fn model_messages(&self) -> usize {
        self.messages.iter().filter(|message| message.role == Role::Model).count()
    }

    /// The last user message or tool result.
    pub(super) fn last_user(&self) -> &str {
        self.messages.iter().rfind(|message| message.role == Role::User).map_or("", |message| &message.text)
    }

    /// Not a step of the session's own work: a title, a summary, a compaction.
    pub(super) fn side(&self) -> bool {
        self.tools.is_empty() || SUMMARY_PROMPT.iter().all(|words| self.last_user().contains(words))
    }

    /// The session's working directory, as the client tells it to the model.
    pub(super) fn cwd(&self) -> Option<String> {
        let text = self.opening();
        if let Some((_, rest)) = text.split_once("<cwd>") {
            return rest.split_once("</cwd>").map(|(path, _)| path.trim().to_owned());
        }
        let rest =
            ["orking directory: ", "**Workspace Directories:**\n  - "].iter().find_map(|words| text.split_once(words));
        let (_, rest) = rest?;
        Some(rest.lines().next()?.trim().to_owned()).filter(|path| path.starts_with('/'))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Adds a message; what the model says in several pieces without a word of the user between them is one message.
fn add(messages: &mut Vec<Message>, message: Message) {
    match messages.last_mut() {
        Some(last) if last.role == Role::Model && message.role == Role::Model => {
            last.text.push('\n');
            last.text.push_str(&message.text);
            last.parts.extend(message.parts);
        }
        _ => messages.push(message),
    }
}

/// All text below a content value: a string, or blocks whose text sits in `text` or in a nested `content`. A tool's result
/// in Gemini's shape has it in fields that the client names as it likes.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(text_of).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n"),
        Value::Object(block) => match (block.get("text"), block.get("content")) {
            (Some(text), _) => text_of(text),
            (None, Some(content)) => text_of(content),
            (None, None) => match &block.get("functionResponse") {
                Some(result) => list_of_values(&result["response"]).map(text_of).collect::<Vec<_>>().join("\n"),
                None => String::new(),
            },
        },
        _ => String::new(),
    }
}

fn list_of_values(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_object().into_iter().flat_map(serde_json::Map::values)
}

fn offered(tools: &Value) -> Vec<Offered> {
    let mut found = Vec::new();
    for tool in list(tools) {
        if let Some(declarations) = tool["functionDeclarations"].as_array() {
            found.extend(offered(&Value::Array(declarations.clone())));
            continue;
        }
        let kind = tool["type"].as_str().unwrap_or_default();
        // Chat Completions puts the name one level down.
        let name = tool["name"].as_str().or(tool["function"]["name"].as_str()).unwrap_or(kind);
        if kind != "namespace" {
            found.push(Offered { name: name.into(), namespace: None, local: name.into(), freeform: kind == "custom" });
            continue;
        }
        for inner in list(&tool["tools"]) {
            let local = inner["name"].as_str().unwrap_or_default();
            found.push(Offered {
                name: format!("{name}__{local}"),
                namespace: Some(name.into()),
                local: local.into(),
                freeform: inner["type"] == "custom",
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_of_one_call_are_one_model_message() {
        let request = Request::responses(&json!({"input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
            {"type": "message", "role": "user", "content": "<environment_context><cwd>/a b</cwd>"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "fine"}]},
            {"type": "function_call", "name": "exec_command", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ]}));
        assert_eq!(request.model_messages(), 1);
        assert_eq!(request.last_user(), "done");
        assert_eq!(request.cwd().as_deref(), Some("/a b"));
        assert!(request.opening().contains("rules") && request.opening().contains("go"));
        assert!(!request.opening().contains("done"));
    }

    #[test]
    fn tools_that_come_as_an_item_are_tools_and_no_message() {
        let request = Request::responses(&json!({"input": [
            {"type": "additional_tools", "role": "developer", "tools": [
                {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}]},
            {"type": "message", "role": "user", "content": "go"},
        ]}));
        assert_eq!((request.model_messages(), request.side()), (0, false));
        assert_eq!((request.tools[0].name.as_str(), request.tools[0].freeform), ("functions__exec", true));
    }

    #[test]
    fn the_working_directory_is_read_from_the_environment_block() {
        let request = Request::messages(&json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "# Env\n - Primary working directory: /w/x\n - y"}]},
        ]}));
        assert_eq!(request.cwd().as_deref(), Some("/w/x"));
        let request = Request::gemini(
            "",
            &json!({"contents": [{"role": "user", "parts": [
            {"text": "- **Workspace Directories:**\n  - /w/y z\n- **Directory"}]}]}),
        );
        assert_eq!(request.cwd().as_deref(), Some("/w/y z"));
    }

    #[test]
    fn a_compaction_with_tools_is_a_side_request() {
        let body = json!({"tools": [{"name": "Bash"}], "messages": [{"role": "user", "content":
            "CRITICAL: Respond with TEXT ONLY. Your task is to create a detailed summary"}]});
        assert!(Request::messages(&body).side());
    }

    #[test]
    fn a_chat_is_read_with_its_tools_and_results() {
        let request = Request::chat(&json!({"stream": true, "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "bash"}}],
        "messages": [
            {"role": "system", "content": "Working directory: /a\n"},
            {"role": "user", "content": [{"type": "text", "text": "go"}]},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]}));
        assert_eq!((request.model_messages(), request.last_user(), request.wants_usage), (1, "done", true));
        assert_eq!((request.cwd().as_deref(), request.tools[0].name.as_str()), (Some("/a"), "bash"));
        assert!(!Request::chat(&json!({"stream": true})).wants_usage);
    }

    #[test]
    fn gemini_contents_are_read_with_tools_results_and_the_models_name() {
        let request = Request::gemini(
            "/lane/T/v1beta/models/g-2.5:streamGenerateContent",
            &json!({"systemInstruction": {"parts": [{"text": "rules"}]},
            "tools": [{"functionDeclarations": [{"name": "read_file"}, {"name": "write_file"}]}],
            "contents": [
                {"role": "user", "parts": [{"text": "go"}]},
                {"role": "model", "parts": [{"text": "fine"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"response": {"output": "done"}}}]},
            ]}),
        );
        assert_eq!((request.model.as_str(), request.stream), ("g-2.5", true));
        assert_eq!((request.model_messages(), request.last_user()), (1, "done"));
        assert!(request.opening().contains("rules"));
        assert_eq!(request.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["read_file", "write_file"]);
    }

    #[test]
    fn tools_of_a_namespace_are_told_apart_and_found_by_their_whole_name() {
        let body = json!({"tools": [{"type": "namespace", "name": "mcp__kit", "tools": [{"name": "submit"}]},
            {"type": "web_search"}]});
        let tools = Request::responses(&body).tools;
        assert_eq!(tools[0].name, "mcp__kit__submit");
        assert_eq!(tools[0].namespace.as_deref(), Some("mcp__kit"));
        assert_eq!(tools[1].name, "web_search");
    }
}
