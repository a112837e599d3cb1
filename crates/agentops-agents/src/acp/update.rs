//! What a program tells while a prompt runs, as events: what was said, what was used, what made the conversation longer.

use std::collections::BTreeMap;

use agentops_core::ceiling::Window;
use agentops_core::usage::Usage;
use serde_json::Value;

use super::permission::label;
use crate::driver::{AgentEvent, UsageReports};
use crate::text::{DETAIL_CHARS, cut};

/// Words that come in pieces are told when so many bytes have come, at the latest.
const SAID_BYTES_MAX: usize = 16 << 10;
/// Tool calls that are followed at the same time.
const TOOLS_MAX: usize = 256;

/// How a program words the refusal of a tool, where it refuses by itself.
pub(crate) type RefusalWords = &'static [&'static str];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// The agent's words.
    Said,
    /// Its thoughts: they fill the context and are not shown.
    Thought,
}

#[derive(Debug, Default)]
struct Tool {
    told: bool,
    name: String,
}

/// Follows the notifications of one session.
#[derive(Debug)]
pub(super) struct Updates {
    usage: UsageReports,
    refusal_words: RefusalWords,
    voice: Voice,
    words: String,
    message: Option<String>,
    tools: BTreeMap<String, Tool>,
    calls: u64,
    window: Option<Window>,
}

impl Updates {
    pub(super) fn new(usage: UsageReports, refusal_words: RefusalWords) -> Self {
        Self {
            usage,
            refusal_words,
            voice: Voice::Said,
            words: String::new(),
            message: None,
            tools: BTreeMap::new(),
            calls: 0,
            window: None,
        }
    }

    /// The `update` of a `session/update`.
    pub(super) fn told(&mut self, update: &Value) -> Vec<AgentEvent> {
        match update["sessionUpdate"].as_str().unwrap_or_default() {
            "agent_message_chunk" => self.chunk(Voice::Said, update),
            "agent_thought_chunk" => self.chunk(Voice::Thought, update),
            "tool_call" | "tool_call_update" => {
                let mut events = self.flush();
                events.extend(self.tool(update));
                events
            }
            "usage_update" => self.context(update).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn chunk(&mut self, voice: Voice, update: &Value) -> Vec<AgentEvent> {
        let message = update["messageId"].as_str().map(str::to_owned);
        let is_other = voice != self.voice || message != self.message;
        let mut events = if is_other { self.flush() } else { Vec::new() };
        (self.voice, self.message) = (voice, message);
        self.words.push_str(update["content"]["text"].as_str().unwrap_or_default());
        if self.words.len() > SAID_BYTES_MAX {
            events.extend(self.flush());
        }
        events
    }

    /// Tells what was said so far.
    pub(super) fn flush(&mut self) -> Vec<AgentEvent> {
        let words = std::mem::take(&mut self.words);
        if words.is_empty() {
            return Vec::new();
        }
        let bytes = words.len() as u64;
        let said = (self.voice == Voice::Said).then_some(AgentEvent::Said(words));
        said.into_iter().chain([AgentEvent::Grew { bytes }]).collect()
    }

    fn tool(&mut self, call: &Value) -> Vec<AgentEvent> {
        let id = call["toolCallId"].as_str().unwrap_or_default();
        let status = call["status"].as_str().unwrap_or_default();
        let is_over = ["completed", "failed"].contains(&status);
        // A call that only waits has no arguments yet.
        let mut events = if status == "pending" { Vec::new() } else { self.uses(call) };
        if is_over {
            let tool = self.tools.remove(id).unwrap_or_default();
            let text = text_of(&call["content"]);
            let refused = status == "failed" && self.refusal_words.iter().any(|words| text.contains(words));
            events.extend(refused.then(|| AgentEvent::Refused { name: tool.name, reason: cut(&text, DETAIL_CHARS) }));
            let bytes = (text.len() as u64).max(output_bytes(&call["rawOutput"]));
            events.extend((bytes > 0).then_some(AgentEvent::Grew { bytes }));
        }
        events
    }

    /// Tells that a tool is used, once for each call.
    pub(super) fn uses(&mut self, call: &Value) -> Vec<AgentEvent> {
        let id = call["toolCallId"].as_str().unwrap_or_default();
        if self.tools.len() == TOOLS_MAX && !self.tools.contains_key(id) {
            self.tools.pop_first();
        }
        let tool = self.tools.entry(id.to_owned()).or_default();
        if std::mem::replace(&mut tool.told, true) {
            return Vec::new();
        }
        let (name, detail) = label(call);
        tool.name.clone_from(&name);
        vec![AgentEvent::Tool { name, detail }]
    }

    /// `usage_update`: how full the context is. Only where the program is declared to say it with every call is it a call.
    fn context(&mut self, update: &Value) -> Option<AgentEvent> {
        self.window = update["size"].as_u64().and_then(Window::new).or(self.window);
        let used = update["used"].as_u64().filter(|used| *used > 0);
        (self.usage == UsageReports::EveryCall).then(|| self.call(used.map(|input| Usage { input, ..Usage::default() })))
    }

    /// A prompt has ended, with this result: what programs say of its last call. A call that was cancelled says nothing.
    pub(super) fn ended(&mut self, result: &Value) -> Vec<AgentEvent> {
        let mut events = self.flush();
        self.tools.clear();
        if self.usage == UsageReports::AtEnd {
            let usage = usage_of(&result["usage"]);
            let cancelled = result["stopReason"].as_str() == Some("cancelled");
            events.extend((usage.is_some() || !cancelled).then(|| self.call(usage)));
        }
        events
    }

    fn call(&mut self, usage: Option<Usage>) -> AgentEvent {
        self.calls += 1;
        AgentEvent::Call { id: format!("call-{}", self.calls), usage, last: true, sub_agent: false, window: self.window }
    }
}

/// The counts of a prompt's result. `None`: no input at all, so it is no report.
fn usage_of(counts: &Value) -> Option<Usage> {
    let count = |key: &str| counts[key].as_u64().unwrap_or(0);
    let usage = Usage {
        input: count("inputTokens"),
        cache_read: count("cachedReadTokens"),
        cache_write: count("cachedWriteTokens"),
        output: count("outputTokens").saturating_add(count("thoughtTokens")),
    };
    (usage.context() > usage.output).then_some(usage)
}

/// The text of a tool's content: blocks of text, and what a difference puts in.
fn text_of(content: &Value) -> String {
    let blocks = content.as_array().into_iter().flatten();
    let texts = blocks.filter_map(|block| block["content"]["text"].as_str().or_else(|| block["newText"].as_str()));
    texts.collect::<Vec<_>>().join("\n")
}

/// The tool's own output, where the program tells it besides.
fn output_bytes(output: &Value) -> u64 {
    let text = output.as_str().or_else(|| output["output"].as_str());
    text.map_or(0, |text| text.len() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn updates(usage: UsageReports) -> Updates {
        Updates::new(usage, &["refused by rule"])
    }

    fn chunk(kind: &str, text: &str) -> Value {
        json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}})
    }

    #[test]
    fn pieces_become_words_and_thoughts_only_count() {
        let mut updates = updates(UsageReports::Never);
        for text in ["one ", "two"] {
            assert_eq!(updates.told(&chunk("agent_message_chunk", text)), []);
        }
        let said = [AgentEvent::Said("one two".to_owned()), AgentEvent::Grew { bytes: 7 }];
        assert_eq!(updates.told(&chunk("agent_thought_chunk", "hm")), said);
        assert_eq!(updates.flush(), [AgentEvent::Grew { bytes: 2 }]);
        let long = "x".repeat(SAID_BYTES_MAX + 1);
        assert_eq!(updates.told(&chunk("agent_message_chunk", &long)).len(), 2, "it is not kept for ever");
    }

    #[test]
    fn a_tool_is_told_once_and_with_its_arguments() {
        let mut updates = updates(UsageReports::Never);
        let mut told = |kind: &str, status: &str, title: &str, text: &str| {
            updates.told(&json!({"sessionUpdate": kind, "toolCallId": "t", "status": status, "title": title,
                "kind": "execute", "content": [{"type": "content", "content": {"type": "text", "text": text}}]}))
        };
        assert_eq!(told("tool_call", "pending", "bash", ""), []);
        let used = AgentEvent::Tool { name: "execute".to_owned(), detail: "ls -la".to_owned() };
        assert_eq!(told("tool_call_update", "in_progress", "ls -la", ""), [used]);
        assert_eq!(told("tool_call_update", "in_progress", "ls -la", ""), []);
        assert_eq!(told("tool_call_update", "completed", "ls -la", "abc"), [AgentEvent::Grew { bytes: 3 }]);
        let refused = told("tool_call_update", "failed", "rm x", "refused by rule 7");
        assert!(matches!(&refused[1], AgentEvent::Refused { name, .. } if name == "execute"), "{refused:?}");
    }

    #[test]
    fn usage_is_told_as_it_was_declared() {
        let context = json!({"sessionUpdate": "usage_update", "used": 9000, "size": 100_000});
        let result =
            json!({"stopReason": "end_turn", "usage": {"inputTokens": 10, "cachedReadTokens": 5, "outputTokens": 2}});
        let cancelled = json!({"stopReason": "cancelled", "usage": {"inputTokens": 0, "outputTokens": 0}});
        let contexts = |events: &[AgentEvent]| -> Vec<_> {
            let call = |event: &AgentEvent| match event {
                AgentEvent::Call { usage, window, .. } => {
                    Some((usage.map(|usage| usage.context()), window.map(Window::tokens)))
                }
                _ => None,
            };
            events.iter().filter_map(call).collect()
        };
        let mut every = updates(UsageReports::EveryCall);
        assert_eq!(contexts(&every.told(&context)), [(Some(9000), Some(100_000))]);
        assert_eq!(contexts(&every.ended(&result)), []);
        let mut at_end = updates(UsageReports::AtEnd);
        assert_eq!(at_end.told(&context), []);
        assert_eq!(contexts(&at_end.ended(&result)), [(Some(17), Some(100_000))]);
        assert_eq!(contexts(&at_end.ended(&cancelled)), []);
        assert_eq!(contexts(&at_end.ended(&json!({"stopReason": "end_turn"}))), [(None, Some(100_000))]);
        let mut never = updates(UsageReports::Never);
        assert_eq!((never.told(&context), never.ended(&result)), (vec![], vec![]));
    }
}
