//! What an answer says that it used, read as it goes by.

use agentops_core::usage::Usage;
use memchr::memmem;
use serde_json::{Value, json};

use super::Protocol;
use crate::sse::Events;

/// A plain answer is kept up to this size to be read at its end; a larger one is not known.
const PLAIN_BYTES_MAX: usize = 16 << 20;

/// What went by in a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Bytes that can be output: an upper bound of its tokens.
    pub output_bytes: u64,
    /// The answer holds reasoning that is not shown.
    pub hidden: bool,
}

/// What is known of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// What it used; `None`: nothing was said that can be true.
    pub usage: Option<Usage>,
    /// Of the output, tokens of reasoning that is not shown.
    pub reasoning: Option<u64>,
    /// The model that answered.
    pub model: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
    /// Why it ended.
    pub finish: Option<String>,
    /// Its end was seen.
    pub complete: bool,
    /// The type of the provider's error.
    pub error: Option<String>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    protocol: Protocol,
    events: Option<Events>,
    plain: Vec<u8>,
    overflown: bool,
    answer: Answer,
    /// Anthropic says input at the beginning and output at the end.
    input: Option<Usage>,
    seen: Seen,
}

impl Reader {
    /// A reader for a stream of events, or for one JSON document.
    #[must_use]
    pub fn new(protocol: Protocol, streamed: bool) -> Self {
        Self {
            protocol,
            events: streamed.then(Events::default),
            plain: Vec::new(),
            overflown: false,
            answer: Answer::default(),
            input: None,
            seen: Seen::default(),
        }
    }

    /// Bytes go by.
    pub fn push(&mut self, bytes: &[u8]) -> Seen {
        self.seen = Seen::default();
        if let Some(mut events) = self.events.take() {
            events.push(bytes, &mut |data| self.event(data));
            self.events = Some(events);
        } else if !self.overflown {
            self.overflown = self.plain.len() + bytes.len() > PLAIN_BYTES_MAX;
            self.plain.extend_from_slice(if self.overflown { &[] } else { bytes });
        }
        self.seen
    }

    /// What is known so far.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut answer = self.answer.clone();
        if self.events.is_none()
            && let Ok(document) = serde_json::from_slice::<Value>(&self.plain)
        {
            let mut reader = Self::new(self.protocol, false);
            reader.document(&document);
            answer = Answer { complete: true, ..reader.answer };
        }
        answer
    }

    /// How a stream of ours ends in good form that must end here.
    #[must_use]
    pub fn cut(&self) -> Vec<u8> {
        let event = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
        let id = self.answer.id.clone().unwrap_or_default();
        let model = self.answer.model.clone().unwrap_or_default();
        let text = match self.protocol {
            Protocol::Messages => {
                let stop = json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": null}, "usage": {}});
                event("message_delta", stop) + &event("message_stop", json!({"type": "message_stop"}))
            }
            Protocol::Responses => {
                let response = json!({"id": id, "object": "response", "status": "incomplete", "model": model,
                    "incomplete_details": {"reason": "max_output_tokens"}, "output": [], "usage": null});
                event("response.incomplete", json!({"type": "response.incomplete", "response": response}))
            }
            Protocol::Chat => {
                let chunk = json!({"id": id, "object": "chat.completion.chunk", "model": model,
                    "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]});
                format!("data: {chunk}\n\ndata: [DONE]\n\n")
            }
            Protocol::Gemini => {
                let chunk = json!({"candidates": [{"content": {"role": "model", "parts": []}, "index": 0, "finishReason": "MAX_TOKENS"}]});
                format!("data: {chunk}\n\n")
            }
        };
        // The event that is half out must end before another begins.
        let open = self.events.as_ref().is_some_and(Events::is_open);
        if open { format!("\n\n{text}") } else { text }.into_bytes()
    }

    fn event(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.answer.complete = true;
            return;
        }
        self.seen.output_bytes = self.seen.output_bytes.saturating_add(output_bytes(self.protocol, data));
        let has = |sign: &[u8]| memmem::find(data, sign).is_some();
        let hidden: &[&[u8]] =
            &[b"encrypted_content", b"\"redacted_thinking\"", b"\"type\":\"reasoning\"", b"thoughtSignature"];
        self.seen.hidden |= hidden.iter().any(|sign| has(sign));
        // A delta is most of a stream and says nothing of its own.
        let is_delta = match self.protocol {
            Protocol::Messages => has(b"\"content_block_delta\""),
            Protocol::Responses => has(b".delta\""),
            Protocol::Chat | Protocol::Gemini => {
                self.answer.model.is_some() && !has(b"usage") && !has(b"inish") && !has(b"error")
            }
        };
        if is_delta {
            return;
        }
        if let Ok(document) = serde_json::from_slice(data) {
            self.document(&document);
        }
    }

    fn document(&mut self, document: &Value) {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).map(|text| text.chars().take(200).collect::<String>());
        if let Some(error) = document.get("error").filter(|error| !error.is_null()) {
            let kind = ["type", "status", "code"].into_iter().find_map(|key| text(error.get(key)));
            self.answer.error = kind.or_else(|| Some("error".into()));
        }
        // Anthropic and OpenAI put the message into some of their events.
        let inner = ["message", "response"].into_iter().find_map(|key| document.get(key)).filter(|inner| inner.is_object());
        let body = inner.unwrap_or(document);
        let named = |keys: [&str; 2]| keys.into_iter().find_map(|key| text(body.get(key)));
        self.answer.id = named(["id", "responseId"]).or(self.answer.id.take());
        self.answer.model = named(["model", "modelVersion"]).or(self.answer.model.take());
        let usage = body.get("usage").or_else(|| document.get("usage")).or_else(|| document.get("usageMetadata"));
        if let Some(usage) = usage {
            self.usage(usage);
        }
        match self.protocol {
            Protocol::Messages => {
                let stop =
                    document.get("delta").and_then(|delta| delta.get("stop_reason")).or_else(|| body.get("stop_reason"));
                self.answer.finish = text(stop).or(self.answer.finish.take());
                self.answer.complete |= document.get("type").and_then(Value::as_str) == Some("message_stop");
            }
            Protocol::Responses => {
                let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
                let ended = ["response.completed", "response.incomplete", "response.failed"].contains(&kind);
                self.answer.complete |= ended;
                if ended || kind.is_empty() {
                    self.answer.finish = text(body.get("status")).or(self.answer.finish.take());
                }
                if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
                    self.answer.error = text(error.get("code")).or_else(|| Some("failed".into()));
                }
            }
            Protocol::Chat => {
                let choice = document.get("choices").and_then(|choices| choices.get(0));
                self.answer.finish =
                    text(choice.and_then(|choice| choice.get("finish_reason"))).or(self.answer.finish.take());
            }
            Protocol::Gemini => {
                let candidate = document.get("candidates").and_then(|candidates| candidates.get(0));
                let finish = text(candidate.and_then(|candidate| candidate.get("finishReason")));
                // The last chunk is the one that says why it is the last; there is no other sign.
                self.answer.complete |= finish.is_some();
                self.answer.finish = finish.or(self.answer.finish.take());
            }
        }
        if self.protocol == Protocol::Chat {
            // Not every server ends with `[DONE]`.
            self.answer.complete |= self.answer.finish.is_some();
        }
    }

    fn usage(&mut self, usage: &Value) {
        let number = |key: &str| usage.get(key).and_then(Value::as_u64);
        let detail = |group: &str, key: &str| usage.get(group).and_then(|group| group.get(key)).and_then(Value::as_u64);
        let known = match self.protocol {
            Protocol::Messages => {
                let before = self.input.unwrap_or_default();
                // Counts are cumulative, and a later event may leave out what an earlier one said.
                let usage = Usage {
                    input: number("input_tokens").unwrap_or_default().max(before.input),
                    cache_read: number("cache_read_input_tokens").unwrap_or_default().max(before.cache_read),
                    cache_write: number("cache_creation_input_tokens").unwrap_or_default().max(before.cache_write),
                    output: number("output_tokens").unwrap_or_default().max(before.output),
                };
                self.input = Some(usage);
                usage
            }
            Protocol::Responses => {
                self.answer.reasoning = detail("output_tokens_details", "reasoning_tokens").or(self.answer.reasoning);
                let cached = detail("input_tokens_details", "cached_tokens").unwrap_or_default();
                let input = number("input_tokens").unwrap_or_default();
                let output = number("output_tokens").unwrap_or_default();
                Usage { input: input.saturating_sub(cached), cache_read: cached.min(input), cache_write: 0, output }
            }
            Protocol::Chat => {
                self.answer.reasoning = detail("completion_tokens_details", "reasoning_tokens").or(self.answer.reasoning);
                let cached = detail("prompt_tokens_details", "cached_tokens").unwrap_or_default();
                let input = number("prompt_tokens").unwrap_or_default();
                let output = number("completion_tokens").unwrap_or_default();
                Usage { input: input.saturating_sub(cached), cache_read: cached.min(input), cache_write: 0, output }
            }
            Protocol::Gemini => {
                let thoughts = number("thoughtsTokenCount");
                self.answer.reasoning = thoughts.or(self.answer.reasoning);
                let cached = number("cachedContentTokenCount").unwrap_or_default();
                let tools = number("toolUsePromptTokenCount").unwrap_or_default();
                let input = number("promptTokenCount").unwrap_or_default().saturating_add(tools);
                // Thoughts are output and not among the candidates' tokens.
                let output = number("candidatesTokenCount").unwrap_or_default().saturating_add(thoughts.unwrap_or_default());
                Usage { input: input.saturating_sub(cached), cache_read: cached.min(input), cache_write: 0, output }
            }
        };
        // A call has input; what says otherwise says nothing.
        if known.context() > known.output {
            let before = self.answer.usage.unwrap_or_default();
            self.answer.usage = Some(if known.context() >= before.context() { known } else { before });
        }
    }
}

/// An upper bound of the output in an event, in bytes: its data without the frame that the protocol always puts around.
fn output_bytes(protocol: Protocol, data: &[u8]) -> u64 {
    let (signs, frame): (&[&[u8]], u64) = match protocol {
        Protocol::Messages => (&[b"\"content_block_delta\"", b"\"content_block_start\""], 60),
        Protocol::Responses => (&[b".delta\""], 80),
        Protocol::Chat => (&[b"\"delta\""], 60),
        Protocol::Gemini => (&[b"\"parts\""], 60),
    };
    if signs.iter().any(|sign| memmem::find(data, sign).is_some()) {
        (data.len() as u64).saturating_sub(frame).max(1)
    } else {
        0
    }
}
