//! Reads an answer as it goes by, plain or streamed. It never fails and keeps at most one event, or one plain answer.

use agentops_core::usage::Usage;

use super::json::{Found, Json, each_member};
use super::usage::{MessagesReport, Report};
use super::written::Written;
use super::{Protocol, chat, gemini, messages, responses};
use crate::sse::{Event, Parser};

/// The most of a plain answer that is kept, in bytes. Of a longer one nothing is known.
const PLAIN_BYTES_MAX: usize = 16 << 20;
/// Such an answer has at least as many tokens: those of public tokenizers have at most 128 bytes.
const LOST_TOKENS_MIN: u64 = (PLAIN_BYTES_MAX / 128) as u64;

/// What was seen in the bytes of one push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that the model wrote: text, input of tools, thinking as far as it is shown. Of a plain answer all its bytes,
    /// which is more.
    pub output_bytes: u64,
    /// Minimum number of tokens of the answer so far. Of a plain answer it is known at its end.
    pub tokens_min: u64,
    /// There was reasoning that cannot be counted here: it is sealed, left out, or only its summary is shown.
    pub hidden: bool,
    /// Bytes of the answer so far that are not known to be what the model wrote: all that stands around it, events that are
    /// not known or have not ended, sealed reasoning. Of a plain answer all its bytes.
    pub other_bytes: u64,
    /// The stream can be ended after so many of these bytes without leaving half an event behind; `None`: nowhere in them.
    pub boundary: Option<usize>,
}

/// What is known of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the provider said that it used; `None`: nothing, or nothing that can be true.
    pub usage: Option<Usage>,
    /// The largest output that any report named, also one that is not believed otherwise.
    pub output_named: u64,
    /// Minimum number of tokens of the answer.
    pub tokens_min: u64,
    /// The output in `usage` is the whole answer's. While a stream runs some providers report what there is so far.
    pub usage_is_final: bool,
    /// Of `usage.cache_write`, what is kept for an hour, which costs more than what is kept for minutes.
    pub cache_write_hour: u64,
    /// Of the output, tokens of hidden reasoning, where the provider says so.
    pub reasoning: Option<u64>,
    /// The model that answered.
    pub model: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
    /// OpenAI's protocols: the service tier that answered, which a project's settings may choose.
    pub tier: Option<String>,
    /// Why the model stopped, in the provider's words.
    pub finish: Option<String>,
    /// The answer came to its end.
    pub complete: bool,
    /// The type of the error that came instead or in the stream, in the provider's words.
    pub error: Option<String>,
}

/// Reads one answer.
#[derive(Debug, Clone)]
pub struct Reader {
    protocol: Protocol,
    form: Form,
    state: State,
    /// Bytes of the answer so far.
    arrived: u64,
}

#[derive(Debug, Clone)]
enum Form {
    Events {
        parser: Parser,
        /// Something came that is not blank.
        begun: bool,
    },
    Plain {
        body: Vec<u8>,
        /// It was longer than is kept.
        lost: bool,
        /// Something came that is not blank.
        begun: bool,
    },
}

/// What the events so far have said.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) answer: Answer,
    pub(super) seen: Seen,
    /// What the reports so far come to.
    report: Report,
    /// The texts so far.
    pub(super) written: Written,
    /// Messages: the figures so far.
    pub(super) messages_report: MessagesReport,
    /// Messages: the content block that has begun and not ended.
    pub(super) open_block: Option<u64>,
    /// Responses: bytes of deltas of items that are not done.
    pub(super) open_bytes: u64,
    /// Chat and Gemini: candidates that have begun and not ended, the number of each.
    pub(super) open_candidates: Vec<u64>,
}

impl State {
    pub(super) fn output(&mut self, bytes: u64) {
        self.seen.output_bytes = self.seen.output_bytes.saturating_add(bytes);
        // What comes after a report is not in it.
        self.answer.usage_is_final &= bytes == 0;
    }

    /// There was reasoning that cannot be counted.
    pub(super) fn hidden(&mut self, is_hidden: bool) {
        self.seen.hidden |= is_hidden;
        self.answer.usage_is_final &= !is_hidden;
    }

    /// Takes a report of the call. Of several the largest figures count.
    pub(super) fn report(&mut self, report: Report, is_final: bool) {
        self.report = self.report.merged(report);
        self.answer.output_named = self.report.usage.output;
        if self.report.has_input() {
            self.answer.usage = Some(self.report.usage);
            self.answer.cache_write_hour = self.report.cache_write_hour;
            self.answer.reasoning = self.report.reasoning;
            // An empty one says nothing of the end.
            self.answer.usage_is_final |= is_final && (report.has_input() || report.usage.output > 0);
        }
    }

    /// Notes that a candidate has begun or, with a reason, ended.
    pub(super) fn candidate(&mut self, index: u64, finish: Option<Json<'_>>) {
        const CANDIDATES_MAX: usize = 64;
        if let Some(reason) = finish.and_then(Json::name) {
            self.open_candidates.retain(|open| *open != index);
            self.answer.finish = Some(reason);
        } else if !self.open_candidates.contains(&index) && self.open_candidates.len() < CANDIDATES_MAX {
            self.open_candidates.push(index);
        }
    }

    /// Keeps a name if it is one.
    pub(super) fn name(slot: &mut Option<String>, value: Option<Json<'_>>) {
        if let Some(name) = value.and_then(Json::name) {
            *slot = Some(name);
        }
    }
}

impl Reader {
    /// Reads an answer that is streamed, or plain. A stream that turns out to be a plain answer (an error, mostly) is read
    /// as that.
    #[must_use]
    pub fn new(protocol: Protocol, streamed: bool) -> Self {
        let plain = Form::Plain { body: Vec::new(), lost: false, begun: false };
        let form = if streamed { Form::Events { parser: Parser::default(), begun: false } } else { plain };
        Self { protocol, form, state: State::default(), arrived: 0 }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Seen {
        self.state.seen = Seen::default();
        let arrived = bytes.len();
        self.arrived = self.arrived.saturating_add(arrived as u64);
        let bytes = self.recognised(bytes);
        let passed_over = arrived - bytes.len();
        match &mut self.form {
            Form::Events { parser, .. } => {
                let boundary = parser.push(bytes, |event| read(self.protocol, &mut self.state, event));
                self.state.seen.boundary = boundary.map(|end| end + passed_over);
                self.state.seen.tokens_min = self.state.written.words();
            }
            Form::Plain { body, lost, .. } => {
                self.state.seen.output_bytes = bytes.len() as u64;
                *lost |= bytes.len() > PLAIN_BYTES_MAX - body.len();
                if *lost {
                    *body = Vec::new();
                } else {
                    body.extend_from_slice(bytes);
                }
            }
        }
        self.state.seen.other_bytes = self.arrived.saturating_sub(self.state.written.bytes());
        self.state.seen
    }

    /// Whether the model certainly wrote more than so many o200k tokens, as far as a stream has shown. Of a plain answer that
    /// is known at its end.
    pub(crate) fn has_more_than(&mut self, tokens: u64) -> bool {
        self.state.written.is_more_than(tokens)
    }

    /// What the model wrote, as far as it was shown; of a plain answer after [`Reader::take_answer`].
    pub(crate) fn written(&mut self) -> &mut Written {
        &mut self.state.written
    }

    /// The bytes, after their first one that is not blank has told which form the answer has, whatever its head says. Blanks
    /// before a plain answer are passed over.
    fn recognised<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (Form::Events { begun, .. } | Form::Plain { begun, .. }) = &mut self.form;
        if *begun {
            return bytes;
        }
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        *begun = blank < bytes.len();
        match (&self.form, bytes.get(blank)) {
            (Form::Events { .. }, Some(b'{' | b'[')) => {
                self.form = Form::Plain { body: Vec::new(), lost: false, begun: true };
            }
            // A comment, or a field: `data`, `event`, `id`, `retry`.
            (Form::Plain { .. }, Some(b':' | b'd' | b'e' | b'i' | b'r')) => {
                self.form = Form::Events { parser: Parser::default(), begun: true };
            }
            (Form::Events { .. }, _) => return bytes,
            (Form::Plain { .. }, _) => {}
        }
        &bytes[blank..]
    }

    /// What is known by now.
    #[must_use]
    pub fn answer(&self) -> Answer {
        match &self.form {
            Form::Events { parser, .. } => {
                let mut state = self.state.clone();
                parser.rest(|event| read(self.protocol, &mut state, event));
                Answer { tokens_min: state.written.words(), ..state.answer }
            }
            Form::Plain { body, lost, .. } => self.plain_answer(body, *lost).0,
        }
    }

    fn plain_answer(&self, body: &[u8], lost: bool) -> (Answer, Written) {
        let mut state = State::default();
        // A document that does not end is not read: what it lacks may be what counts.
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
            plain(self.protocol, &mut state, Json::new(body));
            each_member(body, |key, value| match value {
                Found::Text(text) if is_written(self.protocol, key) => state.written.take(text),
                _ => {}
            });
        }
        let tokens_min = if lost { LOST_TOKENS_MIN } else { state.written.words() };
        (Answer { tokens_min, ..state.answer }, state.written)
    }

    /// The body of a plain answer as far as it came; `None`: the answer is a stream, or too large to be kept.
    pub(crate) fn plain(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Plain { body, lost: false, .. } => Some(body),
            _ => None,
        }
    }

    /// As [`Reader::answer`], of a reader that is at its end: the answer is taken out of it and not copied.
    pub(crate) fn take_answer(&mut self) -> Answer {
        match &self.form {
            Form::Events { parser, .. } => {
                parser.rest(|event| read(self.protocol, &mut self.state, event));
                Answer { tokens_min: self.state.written.words(), ..std::mem::take(&mut self.state.answer) }
            }
            Form::Plain { body, lost, .. } => {
                let (answer, written) = self.plain_answer(body, *lost);
                self.state.written = written;
                answer
            }
        }
    }

    /// How the stream ends if it is to be ended here: the bytes of an ending in good form, to be sent after the last
    /// [`Seen::boundary`]. Of a plain answer nothing, for there is no such place, and of one that has ended nothing more.
    #[must_use]
    pub fn cut(&self) -> Vec<u8> {
        if matches!(self.form, Form::Plain { .. }) || self.state.answer.complete {
            return Vec::new();
        }
        match self.protocol {
            Protocol::Messages => messages::cut(&self.state),
            Protocol::Responses => responses::cut(&self.state),
            Protocol::Chat => chat::cut(&self.state),
            Protocol::Gemini => gemini::cut(&self.state),
        }
    }
}

fn read(protocol: Protocol, state: &mut State, event: Event<'_>) {
    let mark = state.written.mark();
    read_event(protocol, state, event);
    // One that is too long to be read as a whole: what of it the model wrote is not known, so all of it counts. A whole
    // response of the Responses protocol repeats what has been counted.
    if event.cut && (protocol != Protocol::Responses || responses::may_be_delta(event)) {
        state.output(event.data.len() as u64);
        state.written.back_to(&mark);
        state.written.take_cut(event.data);
    }
}

fn read_event(protocol: Protocol, state: &mut State, event: Event<'_>) {
    match protocol {
        Protocol::Messages => messages::event(state, event),
        Protocol::Responses => responses::event(state, event),
        Protocol::Chat => chat::event(state, event),
        Protocol::Gemini => gemini::event(state, event),
    }
}

/// The members of a plain answer that hold what the model wrote.
fn is_written(protocol: Protocol, key: &[u8]) -> bool {
    match protocol {
        Protocol::Messages => matches!(key, b"text" | b"thinking"),
        Protocol::Chat => matches!(key, b"content" | b"text" | b"reasoning_content" | b"arguments" | b"refusal" | b"input"),
        // They are counted where they are read.
        Protocol::Responses | Protocol::Gemini => false,
    }
}

fn plain(protocol: Protocol, state: &mut State, body: Json<'_>) {
    match protocol {
        Protocol::Messages => messages::plain(state, body),
        Protocol::Responses => responses::plain(state, body),
        Protocol::Chat => chat::plain(state, body),
        Protocol::Gemini => gemini::plain(state, body),
    }
}

/// One event as it is sent.
pub(super) fn sent(name: Option<&str>, data: &serde_json::Value) -> Vec<u8> {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
    .into_bytes()
}
