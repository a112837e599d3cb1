//! The script: what the model says and does, by meaning and without any client's tool names.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything the server will say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Asked in order; the first whose `when` fits the request is used.
    #[serde(default)]
    pub conversations: Vec<Conversation>,
    /// For requests that fit no conversation. Without it they get a turn of text that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Conversation>,
    /// How the input of a call grows, where neither the conversation nor the turn says it.
    #[serde(default)]
    pub usage: Growth,
    /// The text of side requests: those that carry no tools (titles, summaries), and compactions.
    #[serde(default = "side_text")]
    pub side_text: String,
    /// What `count_tokens` answers; `None`: a quarter of the bytes asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_tokens: Option<u64>,
    /// Answers to requests that are no model calls, such as lists of models. What is not here gets 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
    /// A connection that the server ends is reset (RST) and not closed in order (FIN).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resets: bool,
}

/// The answer to a request that is no model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Other {
    /// How the request's path ends, without the query. Any method.
    pub path: String,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

fn side_text() -> String {
    "Scripted side answer.".into()
}

impl Default for Script {
    fn default() -> Self {
        Self {
            conversations: Vec::new(),
            default: None,
            usage: Growth::default(),
            side_text: side_text(),
            count_tokens: None,
            others: Vec::new(),
            resets: false,
        }
    }
}

/// One kind of session, for example one phase of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Must be part of the request's system text, developer text or first user message. Empty fits everything.
    #[serde(default)]
    pub when: String,
    /// What to do, in order; after the last one it is repeated.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// Turns that go before `turns` when a message says something, for example a hand-over prompt.
    #[serde(default)]
    pub on: Vec<Reaction>,
    /// How the input of a call grows in this conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Growth>,
}

/// Turns for a conversation in which somebody said a certain thing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// Must be part of a user message or a tool's result (clients put late user messages there), but never of the task
    /// itself, which may well mention it. The last such message counts, and the turn is chosen by how many model messages
    /// came after it.
    pub says: String,
    /// What to do, in order; after the last one it is repeated.
    pub turns: Vec<Turn>,
}

/// One answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turn {
    /// Text, streamed word by word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Tools to call, after the text. A turn without tools ends the session's work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolCall>,
    /// What this call says it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<TurnUsage>,
    /// Wait before the first byte of the answer.
    pub delay_ms: u64,
    /// Wait before each piece of text or tool input.
    pub chunk_delay_ms: u64,
    /// Answer with an HTTP error instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_error: Option<HttpError>,
    /// Say the error in the stream, after this many of its events and a status of 200, as an overloaded service does. An
    /// answer that is no stream has it as ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_after_chunks: Option<usize>,
    /// How many calls of this turn meet its faults (an error, a cut); later ones get the answer. `None`: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults_max: Option<usize>,
    /// Send the client elsewhere instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Headers to answer with, besides those that the answer needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Drop the connection after this many events of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_chunks: Option<usize>,
    /// Drop the connection after this many bytes of the body, be it a stream or not: within an event, a word or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_bytes: Option<usize>,
    /// Send the stream in chunks of this many bytes, wherever that parts events, words and characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_bytes: Option<NonZeroUsize>,
    /// Half of the JSON is missing: of the second event of a stream, or of an answer or an error as a whole. What is around
    /// it stays as it is, and the connection ends in order.
    pub malformed_json: bool,
    /// The model that answers, in the place of the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// Say nothing about usage, in no event.
    pub omit_usage: bool,
    /// Report the usage more than once, as some gateways do: Messages, Responses and Chat Completions repeat the event
    /// that carries it, Gemini has it in each.
    pub repeat_usage: bool,
}

/// An answer that sends the client to another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to: a whole address or a path.
    pub location: String,
}

/// A tool call by meaning; written `{"write": {"path": …, "content": …}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ToolCall {
    /// Write a file.
    Write {
        /// Relative to the session's working directory, or absolute.
        path: String,
        /// The whole file.
        content: String,
    },
    /// Run a command line.
    Shell {
        /// For the shell that the client uses.
        command: String,
    },
    /// Read a file.
    Read {
        /// Relative to the session's working directory, or absolute.
        path: String,
    },
    /// Any tool by the client's own name. `mcp__SERVER__TOOL` is split where a client wants it split.
    Raw {
        /// The client's name for it.
        name: String,
        /// Its input, untouched.
        #[serde(default)]
        input: Value,
    },
}

/// How the input of the calls grows: `base + step × turn index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Growth {
    /// Input tokens of the first call.
    pub base: u64,
    /// More for every model message that is already in the conversation.
    pub step: u64,
    /// Output tokens of each call.
    pub output: u64,
}

impl Default for Growth {
    fn default() -> Self {
        Self { base: 1_000, step: 100, output: 20 }
    }
}

/// What one call says that it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TurnUsage {
    /// A lie: `"zero"`, `"huge"`, `"negative"` or `"none"`.
    Lie(Lie),
    /// Plain numbers.
    Numbers(UsageNumbers),
}

/// Ways to lie about usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lie {
    /// All numbers are 0.
    Zero,
    /// Far more than any window.
    Huge,
    /// Numbers below 0.
    Negative,
    /// The field is `null`.
    None,
}

/// Usage without overlap: cached input is not part of `input`. Each protocol adds up what its own fields include.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageNumbers {
    /// Input that came from no cache.
    pub input: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Output, thinking included.
    pub output: u64,
}

/// An HTTP error in the provider's own shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpError {
    /// The status: 400, 401, 429, 529 …
    pub status: u16,
    /// The error's type; empty: the provider's usual one for the status.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The message, for example `prompt is too long: 210000 tokens > 200000 maximum`.
    #[serde(default)]
    pub message: String,
    /// OpenAI's `code`, for example `context_length_exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Seconds for a `retry-after` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// More headers, such as a provider's own of its rate limits. `{unix+N}` stands for the Unix time in N seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Gemini's `details`, besides the `RetryInfo` that `retry_after_s` makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file could not be read.
    #[error("cannot read the script {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is no script.
    #[error("this is no script")]
    Parse(#[from] serde_json::Error),
    /// A conversation has nothing to say, so no turn could be repeated.
    #[error("conversation {index} (when `{when}`) has a list of turns that is empty")]
    Empty {
        /// Its place in the list; the default comes last.
        index: usize,
        /// Its `when`.
        when: String,
    },
}

impl Script {
    /// A script with one conversation that fits every session.
    #[must_use]
    pub fn of(turns: Vec<Turn>) -> Self {
        Self { default: Some(Conversation { turns, ..Conversation::default() }), ..Self::default() }
    }

    /// A script of several conversations and no default.
    #[must_use]
    pub fn from_conversations(conversations: Vec<Conversation>) -> Self {
        Self { conversations, ..Self::default() }
    }

    /// Reads and checks a script.
    ///
    /// # Errors
    ///
    /// When it is not JSON of this shape, or a list of turns is empty.
    pub fn parse(json: &str) -> Result<Self, ScriptError> {
        let script: Self = serde_json::from_str(json)?;
        script.check()?;
        Ok(script)
    }

    /// Reads and checks a script file.
    ///
    /// # Errors
    ///
    /// As [`Script::parse`], and when the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let json = std::fs::read_to_string(path).map_err(|source| ScriptError::Read { path: path.to_owned(), source })?;
        Self::parse(&json)
    }

    /// Checks that every list of turns has one to repeat.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Empty`] names the conversation.
    pub fn check(&self) -> Result<(), ScriptError> {
        for (index, conversation) in self.conversations.iter().chain(&self.default).enumerate() {
            if conversation.turns.is_empty() || conversation.on.iter().any(|reaction| reaction.turns.is_empty()) {
                return Err(ScriptError::Empty { index, when: conversation.when.clone() });
            }
        }
        Ok(())
    }
}

impl Turn {
    /// A turn that only says something.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A turn that only calls tools.
    #[must_use]
    pub fn call(tools: Vec<ToolCall>) -> Self {
        Self { tools, ..Self::default() }
    }

    /// A turn that only fails.
    #[must_use]
    pub fn fail(error: HttpError) -> Self {
        Self { http_error: Some(error), ..Self::default() }
    }

    /// A turn that only sends the client elsewhere.
    #[must_use]
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self { redirect: Some(Redirect { status, location: location.into() }), ..Self::default() }
    }

    /// The same turn without its faults.
    #[must_use]
    pub(super) fn without_faults(self) -> Self {
        let without = Self { http_error: None, error_after_chunks: None, malformed_json: false, ..self };
        Self { cut_after_chunks: None, cut_after_bytes: None, ..without }
    }

    /// The same turn with a lie about what it used.
    #[must_use]
    pub fn lying(mut self, lie: Lie) -> Self {
        self.usage = Some(TurnUsage::Lie(lie));
        self
    }

    /// The same turn with these numbers.
    #[must_use]
    pub fn using(mut self, input: u64, output: u64) -> Self {
        self.usage = Some(TurnUsage::Numbers(UsageNumbers { input, output, ..UsageNumbers::default() }));
        self
    }
}

impl ToolCall {
    /// Write a file.
    #[must_use]
    pub fn write(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self::Write { path: path.into(), content: content.into() }
    }

    /// Run a command line.
    #[must_use]
    pub fn shell(command: impl Into<String>) -> Self {
        Self::Shell { command: command.into() }
    }
}

impl HttpError {
    /// An error with the provider's usual type for its status.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), ..Self::default() }
    }

    /// The provider says that the prompt does not fit: the words of Anthropic and the code of OpenAI, so one script
    /// serves every protocol.
    #[must_use]
    pub fn prompt_too_long(tokens: u64, maximum: u64) -> Self {
        Self {
            code: Some("context_length_exceeded".into()),
            ..Self::new(400, format!("prompt is too long: {tokens} tokens > {maximum} maximum"))
        }
    }
}

/// The turn at an index; after the last one it is repeated.
pub(super) fn at(turns: &[Turn], index: usize) -> Option<&Turn> {
    turns.get(index).or_else(|| turns.last())
}
