//! The conversation with one Claude Code process.

use std::collections::BTreeMap;

use agentops_core::ceiling::Window;
use agentops_core::usage::Usage;
use serde_json::{Value, json};

use super::wire::{Line, Tokens, text_bytes};
use crate::driver::{AgentEvent, Effect, Exit, Failure, Finish, Protocol};
use crate::text::{DETAIL_CHARS, Unparsed, cut};

const CONTEXT_REQUEST: &str = "agentops-context";
const AFTER_TOOL: &str = "agentops-after-tool";
const BEFORE_COMPACT: &str = "agentops-before-compact";
/// Calls whose numbers are kept for late reports.
const CALLS_KEPT: usize = 64;

/// Where the hand-over is.
#[derive(Debug, PartialEq, Eq)]
enum HandingOver {
    No,
    /// Asked for: the turn is stopped after its next tool; then the prompt goes out.
    Asked(String),
    /// The prompt is out; the next result is that of the hand-over.
    Prompted,
}

/// One call that is not over: what was reported of it so far.
#[derive(Debug)]
struct OpenCall {
    id: String,
    tokens: Tokens,
}

pub(super) struct Conversation {
    prompt: String,
    is_ready: bool,
    handing_over: HandingOver,
    interrupted: bool,
    finished: bool,
    greeted: bool,
    /// The running call of each conversation: our own (`None`) and the sub-agents'.
    open: BTreeMap<Option<String>, OpenCall>,
    /// Ids of calls that were reported, oldest first.
    reported: Vec<String>,
    unparsed: Unparsed,
}

fn send(value: &Value) -> Effect {
    Effect::Send(value.to_string())
}

fn user(text: &str) -> Effect {
    send(&json!({"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": text}]}}))
}

fn event(event: AgentEvent) -> Effect {
    Effect::Event(event)
}

impl Conversation {
    pub(super) fn new(prompt: String) -> Self {
        Self {
            prompt,
            is_ready: false,
            handing_over: HandingOver::No,
            interrupted: false,
            finished: false,
            greeted: false,
            open: BTreeMap::new(),
            reported: Vec::new(),
            unparsed: Unparsed::default(),
        }
    }

    fn finish(&mut self, finish: Finish) -> Vec<Effect> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        vec![event(AgentEvent::Finished(finish)), Effect::CloseStdin]
    }

    fn fail(&mut self, failure: Failure, message: &str) -> Vec<Effect> {
        self.finish(Finish::Failed { failure, message: cut(message, 1000) })
    }

    /// The answer to one of our requests: only that about the context is of use.
    fn answer(&mut self, response: &Value) -> Vec<Effect> {
        if response.get("request_id").and_then(Value::as_str) != Some(CONTEXT_REQUEST) || self.is_ready {
            return Vec::new();
        }
        self.is_ready = true;
        // An error here leaves all of it unknown.
        let context = &response["response"];
        let window = [&context["maxTokens"], &context["rawMaxTokens"]];
        let used = |part: &&Value| part["kind"] == "used";
        let base = context["categories"]
            .as_array()
            .map(|parts| parts.iter().filter(used).filter_map(|p| p["tokens"].as_u64()).sum());
        vec![event(AgentEvent::Ready {
            model: context["model"].as_str().map(str::to_owned),
            version: None,
            window: window.into_iter().filter_map(Value::as_u64).min().and_then(Window::new),
            base_tokens: base,
        })]
    }

    /// The program asks. It is always answered, or it would wait for ever.
    fn asked(&mut self, id: &str, request: &Value) -> Vec<Effect> {
        let reply = |response: Value| {
            let response = json!({"subtype": "success", "request_id": id, "response": response});
            send(&json!({"type": "control_response", "response": response}))
        };
        match request["subtype"].as_str() {
            Some("hook_callback") if request["callback_id"] == AFTER_TOOL => {
                // A sub-agent's tool does not end our own turn; the tool that runs it will.
                let ours = request["input"]["agent_id"].is_null();
                if ours && matches!(self.handing_over, HandingOver::Asked(_)) {
                    vec![reply(json!({"continue": false, "stopReason": "hand-over"}))]
                } else {
                    vec![reply(json!({}))]
                }
            }
            Some("hook_callback") if request["callback_id"] == BEFORE_COMPACT => {
                let note = event(AgentEvent::Note("it wanted to compact its context and was refused".to_owned()));
                vec![reply(json!({"decision": "block", "reason": "the context is handed over, not compacted"})), note]
            }
            Some("hook_callback") => vec![reply(json!({}))],
            Some("can_use_tool") => {
                let reason = "not in the agent's list of tools";
                let name = request["tool_name"].as_str().unwrap_or("?").to_owned();
                let refused = event(AgentEvent::Refused { name, reason: reason.to_owned() });
                vec![reply(json!({"behavior": "deny", "message": reason})), refused]
            }
            _ => vec![send(&json!({
                "type": "control_response",
                "response": {"subtype": "error", "request_id": id, "error": "not supported"},
            }))],
        }
    }

    fn system(&mut self, line: &Line) -> Vec<Effect> {
        match line.text("subtype").unwrap_or_default() {
            "init" if !std::mem::replace(&mut self.greeted, true) => {
                let version = line.text("claude_code_version").unwrap_or("of unknown version");
                let model = line.text("model").unwrap_or("?");
                let servers = line.value("mcp_servers").as_array().map_or(0, Vec::len);
                vec![event(AgentEvent::Note(format!("Claude Code {version}, model {model}, {servers} MCP servers")))]
            }
            "compact_boundary" => self.fail(Failure::Compacted, "the program compacted its context"),
            "permission_denied" => {
                let name = cut(line.text("tool_name").unwrap_or("?"), 80);
                let reason = cut(line.text("message").unwrap_or("refused by the program"), DETAIL_CHARS);
                vec![event(AgentEvent::Refused { name, reason })]
            }
            "api_retry" => {
                let status = line.number("error_status").map_or_else(String::new, |status| format!(" ({status})"));
                let error = line.text("error").unwrap_or("unknown");
                let (attempt, most) = (line.number("attempt").unwrap_or(0), line.number("max_retries").unwrap_or(0));
                let text = format!("the provider failed: {}{status}; try {attempt} of {most}", cut(error, 80));
                vec![event(AgentEvent::Note(text))]
            }
            // A sub-agent's own calls may not be told one by one; this is what it used in all.
            "task_notification" => {
                let total = line.value("usage")["total_tokens"].as_u64().filter(|total| *total > 0);
                let usage = total.map(|input| Usage { input, ..Usage::default() });
                let id = format!("task-{}", cut(line.text("task_id").unwrap_or("?"), 80));
                vec![event(AgentEvent::Call { id, usage, last: true, sub_agent: true, window: None })]
            }
            "notification" => vec![event(AgentEvent::Note(cut(line.text("text").unwrap_or_default(), DETAIL_CHARS)))],
            _ => Vec::new(),
        }
    }

    fn report(&mut self, id: String, tokens: Tokens, last: bool, sub_agent: bool) -> Vec<Effect> {
        if !self.reported.contains(&id) {
            if self.reported.len() == CALLS_KEPT {
                self.reported.remove(0);
            }
            self.reported.push(id.clone());
        }
        vec![event(AgentEvent::Call { id, usage: tokens.usage(), last, sub_agent, window: None })]
    }

    /// The provider's stream: the numbers of a call come before its first word, and again at its end.
    fn stream(&mut self, line: &Line) -> Vec<Effect> {
        let (parent, stream) = (line.parent(), line.value("event"));
        let sub_agent = parent.is_some();
        match stream["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let message = &stream["message"];
                let Some(id) = message["id"].as_str() else { return Vec::new() };
                let tokens = Tokens::of(&message["usage"]);
                self.open.insert(parent, OpenCall { id: id.to_owned(), tokens });
                self.report(id.to_owned(), tokens, false, sub_agent)
            }
            "message_delta" => {
                let Some(call) = self.open.get_mut(&parent) else { return Vec::new() };
                if line.text("api_message_id").is_some_and(|id| id != call.id) {
                    return Vec::new();
                }
                call.tokens = call.tokens.merge(Tokens::of(&stream["usage"]));
                let (id, tokens) = (call.id.clone(), call.tokens);
                self.open.remove(&parent);
                self.report(id, tokens, true, sub_agent)
            }
            // Without a delta before it the call ends with what its start said.
            "message_stop" => match self.open.remove(&parent) {
                Some(call) => self.report(call.id, call.tokens, true, sub_agent),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn assistant(&mut self, line: &Line) -> Vec<Effect> {
        let message = line.value("message");
        let mut effects = Vec::new();
        if line.flag("is_api_error_message") || message["model"] == "<synthetic>" {
            // The program's own words about an error; no call was answered. The result line tells it again.
            return effects;
        }
        let sub_agent = line.parent().is_some();
        // A call that was not streamed is told here alone.
        if let Some(id) = message["id"].as_str().map(str::to_owned).filter(|id| !self.reported.contains(id)) {
            effects.extend(self.report(id, Tokens::of(&message["usage"]), true, sub_agent));
        }
        if sub_agent {
            return effects;
        }
        let bytes = text_bytes(&message["content"]);
        if bytes > 0 {
            effects.push(event(AgentEvent::Grew { bytes }));
        }
        for part in message["content"].as_array().into_iter().flatten() {
            match part["type"].as_str() {
                Some("text") => effects.extend(part["text"].as_str().map(|text| event(AgentEvent::Said(text.to_owned())))),
                Some("tool_use") => {
                    let name = cut(part["name"].as_str().unwrap_or("?"), 80);
                    effects.push(event(AgentEvent::Tool { name, detail: detail(&part["input"]) }));
                }
                _ => {}
            }
        }
        effects
    }

    fn result(&mut self, line: &Line) -> Vec<Effect> {
        let reason = line.text("terminal_reason");
        let failed = line.flag("is_error") || line.text("subtype") != Some("success");
        if failed {
            let message = line.error_text();
            if self.interrupted && reason.is_some_and(|reason| reason.starts_with("aborted")) {
                return self.fail(Failure::Program, "interrupted");
            }
            return self.fail(classify(line, &message), &message);
        }
        match std::mem::replace(&mut self.handing_over, HandingOver::No) {
            // Stopped after a tool, or the turn ended by itself before the next: now the same conversation is told.
            HandingOver::Asked(prompt) if matches!(reason, Some("hook_stopped" | "completed") | None) => {
                self.handing_over = HandingOver::Prompted;
                vec![event(AgentEvent::Grew { bytes: prompt.len() as u64 }), user(&prompt)]
            }
            HandingOver::Prompted if matches!(reason, Some("completed") | None) => self.finish(Finish::HandedOver),
            HandingOver::No if matches!(reason, Some("completed") | None) => self.finish(Finish::Completed),
            _ => self.fail(Failure::Program, &format!("ended early: {}", reason.unwrap_or("?"))),
        }
    }
}

/// What a tool was used on.
fn detail(input: &Value) -> String {
    let keys = ["command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description"];
    let found = keys.iter().find_map(|key| input.get(key).and_then(Value::as_str));
    cut(found.unwrap_or_default(), DETAIL_CHARS)
}

fn classify(line: &Line, message: &str) -> Failure {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match (line.text("terminal_reason"), line.number("api_error_status")) {
        (Some("prompt_too_long" | "blocking_limit"), _) => Failure::PromptTooLong,
        (_, Some(401 | 403)) => Failure::NotLoggedIn,
        (_, Some(408 | 429 | 500..=599)) => Failure::Provider,
        _ if has(&["prompt is too long"]) => Failure::PromptTooLong,
        _ if has(&["not logged in", "/login", "invalid api key", "oauth token"]) => Failure::NotLoggedIn,
        _ if line.text("api_error").is_some() || has(&["overloaded", "rate limit", "usage limit", "connection"]) => {
            Failure::Provider
        }
        _ => Failure::Program,
    }
}

impl Protocol for Conversation {
    fn started(&mut self) -> Vec<Effect> {
        let hook = |id: &str| json!([{"matcher": null, "hookCallbackIds": [id]}]);
        let hooks = json!({"PostToolUse": hook(AFTER_TOOL), "PreCompact": hook(BEFORE_COMPACT)});
        vec![
            send(&json!({
                "type": "control_request", "request_id": "agentops-initialize",
                "request": {"subtype": "initialize", "hooks": hooks},
            })),
            send(&json!({
                "type": "control_request", "request_id": CONTEXT_REQUEST,
                "request": {"subtype": "get_context_usage"},
            })),
        ]
    }

    fn begin(&mut self) -> Vec<Effect> {
        vec![user(&std::mem::take(&mut self.prompt))]
    }

    fn line(&mut self, text: &str) -> Vec<Effect> {
        let Some(line) = Line::parse(text) else { return self.unparsed.line(text) };
        if self.finished {
            return Vec::new();
        }
        match line.text("type").unwrap_or_default() {
            "system" => self.system(&line),
            "stream_event" => self.stream(&line),
            "assistant" => self.assistant(&line),
            "user" if line.parent().is_none() => {
                let bytes = text_bytes(&line.value("message")["content"]);
                if bytes > 0 { vec![event(AgentEvent::Grew { bytes })] } else { Vec::new() }
            }
            "control_request" => match line.text("request_id") {
                Some(id) => self.asked(id, line.value("request")),
                None => self.unparsed.line(text),
            },
            "control_response" => self.answer(line.value("response")),
            "result" => self.result(&line),
            _ => Vec::new(),
        }
    }

    fn hand_over(&mut self, prompt: &str) -> Vec<Effect> {
        if self.finished || self.handing_over != HandingOver::No {
            return Vec::new();
        }
        self.handing_over = HandingOver::Asked(prompt.to_owned());
        // Nothing is written now: a message in the middle of a turn would reach the model as a side remark. The answer to
        // the next tool's callback stops the turn, and the prompt becomes a message of its own.
        vec![event(AgentEvent::Note("the turn is stopped after its next tool, to hand over".to_owned()))]
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        self.interrupted = true;
        let request = json!({"subtype": "interrupt"});
        vec![send(&json!({"type": "control_request", "request_id": "agentops-interrupt", "request": request}))]
    }

    fn exited(&mut self, exit: Exit) -> Vec<Effect> {
        let mut effects = self.fail(Failure::Program, &format!("ended without a result ({exit})"));
        effects.retain(|effect| !matches!(effect, Effect::CloseStdin));
        effects
    }
}
