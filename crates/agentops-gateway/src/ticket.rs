//! A forwarded call until it is settled.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use agentops_core::budget::{Amount, Reservation};
use agentops_core::call::{CallKind, CallRow, input_min};
use agentops_core::ceiling::Window;
use agentops_core::models::{CacheLife, Price, PriceOption, is_same_model, option_factor};
use agentops_core::usage::Usage;
use hyper::header::HeaderMap;
use tokio::runtime::Handle;

use crate::conversation::{Density, Reading};
use crate::host::Note;
use crate::judge::Room;
use crate::lane::{Lane, at_list_price, count_part, lock};
use crate::offload::LARGE_BYTES;
use crate::protocol::{Answer, Protocol, Reader};
use crate::reset;

/// What was decided about a call.
#[derive(Debug)]
pub(crate) struct Call {
    pub conversation: u32,
    pub sub_agent: bool,
    pub kind: CallKind,
    pub streamed: bool,
    /// Upper bound of its input, in tokens.
    pub input: u64,
    pub density: Density,
    pub window: Window,
    pub room: Room,
    pub model: Option<String>,
    /// Its list price with its options, where several models may answer the dearest; `None`: not known.
    pub price: Option<Price>,
    /// Where several models may answer: the list price of each.
    pub prices: Vec<(String, Option<Price>)>,
    /// What its options do to its price, in thousandths.
    pub price_permille: u64,
    pub protocol: Protocol,
    /// A report about it says how dense texts are.
    pub teaches: bool,
    /// The provider goes on with the answer when nobody reads it.
    pub background: bool,
    pub reading: Reading,
}

/// What to do with the bytes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Pass them on.
    GoOn,
    /// The answer would pass the ceiling: send these bytes in their place, which end it in good form, and nothing after them.
    Cut(Vec<u8>),
    /// The answer is far longer than its limit and cannot be ended in good form here: nothing more is passed on.
    Break,
}

/// Follows one call. It settles when it is dropped, so that a call that ends in any way is accounted for.
#[derive(Debug)]
pub struct Ticket(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    lane: Arc<Lane>,
    call: Call,
    reservation: Reservation,
    began: Instant,
    started_ms: u64,
    sent: bool,
    status: Option<u16>,
    first_byte_ms: Option<u64>,
    reader: Reader,
    output_bytes: u64,
    /// Some of the output was not shown.
    hidden: bool,
    error: Option<String>,
    /// When the provider takes calls again, as the answer's head says.
    until_ms: Option<u64>,
    /// The answer is made in the background: what the provider said when it began.
    begun: Option<Begun>,
    /// The provider reported more than the call can use.
    is_absurd: bool,
    /// Bytes of an answer that was cut because too much came besides what the model wrote.
    other_bytes: u64,
}

/// The beginning of an answer that is made in the background.
#[derive(Debug)]
struct Begun {
    status: Option<u16>,
    answer: Answer,
}

impl Ticket {
    pub(crate) fn new(lane: Arc<Lane>, call: Call, reservation: Reservation, started_ms: u64) -> Self {
        let reader = Reader::new(call.protocol, call.streamed);
        Self(Some(Box::new(Open {
            lane,
            call,
            reservation,
            began: Instant::now(),
            started_ms,
            sent: false,
            status: None,
            first_byte_ms: None,
            reader,
            output_bytes: 0,
            hidden: false,
            error: None,
            until_ms: None,
            begun: None,
            is_absurd: false,
            other_bytes: 0,
        })))
    }

    /// The request is about to leave. From here on it may cost something.
    pub fn sent(&mut self) {
        if let Some(open) = &mut self.0 {
            open.sent = true;
        }
    }

    /// The provider cannot have received the request after all.
    pub fn never_arrived(&mut self) {
        if let Some(open) = &mut self.0 {
            // The question for an answer that was made in the background is not the request.
            open.sent = open.begun.is_some();
        }
    }

    /// The head of the answer is there. `streamed` is what it says of itself. Where the request asked for a stream it is read
    /// as one whatever its head says, unless it turns out to be plain, as a refusal is.
    pub fn answered(&mut self, status: u16, streamed: bool) {
        if let Some(open) = &mut self.0 {
            open.status = Some(status);
            open.call.streamed = streamed || open.call.streamed && status < 300;
            open.reader = Reader::new(open.call.protocol, open.call.streamed);
        }
    }

    /// The answer is read as a stream.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.call.streamed)
    }

    /// Notes when the provider takes calls again, if the answer's head says so.
    pub(crate) fn head(&mut self, status: u16, head: &HeaderMap) {
        if let Some(open) = self.0.as_mut().filter(|_| reset::asks_to_wait(status)) {
            open.until_ms = reset::of_head(head, (open.lane.rules.clock)());
        }
    }

    /// Bytes of the answer go by.
    pub fn push(&mut self, bytes: &[u8]) -> Flow {
        let Some(open) = &mut self.0 else { return Flow::GoOn };
        if open.first_byte_ms.is_none() {
            open.first_byte_ms = Some(millis(open.began));
        }
        let seen = open.reader.push(bytes);
        open.output_bytes = open.output_bytes.saturating_add(seen.output_bytes);
        open.hidden |= seen.hidden;
        if seen.hidden && open.call.room.cut {
            open.lane.saw_hidden_reasoning();
        }
        let room = open.call.room;
        // Where nothing but us holds the answer to its limit, it is cut when it could be longer: no tokenizer makes more tokens
        // than bytes. A provider that was told the limit is cut when it certainly did not keep to it.
        let is_too_long = seen.tokens_min > room.output || room.cut && open.output_bytes > room.output;
        let is_too_long = is_too_long || open.reader.has_more_than(o200k_tokens_max(room.output));
        let has_too_much_else = seen.other_bytes > open.call.other_bytes_max();
        if !is_too_long && !has_too_much_else {
            return Flow::GoOn;
        }
        if has_too_much_else {
            open.other_bytes = seen.other_bytes;
        }
        match seen.boundary {
            // The answer is cut where an event ends.
            Some(boundary) => {
                open.error = Some("cut".into());
                Flow::Cut([&bytes[..boundary], &open.reader.cut()].concat())
            }
            None if has_too_much_else => {
                open.error = Some("cut".into());
                Flow::Break
            }
            None => Flow::GoOn,
        }
    }

    /// The call failed: one word (`connect`, `timeout`, `reset`, `client-gone`).
    pub fn failed(&mut self, word: &str) {
        if let Some(open) = &mut self.0 {
            open.error.get_or_insert_with(|| word.to_owned());
        }
    }
}

impl Ticket {
    /// The length of the request's body.
    pub(crate) fn body_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |open| open.call.reading.body.len())
    }

    /// A client asks for an answer that was made in the background; what it is told is read anew.
    pub(crate) fn asked_again(&mut self) {
        if let Some(open) = &mut self.0 {
            (open.output_bytes, open.hidden, open.error) = (0, false, None);
        }
    }

    /// Settles a call that was made in the background with what is known of it.
    pub(crate) fn end(mut self) {
        if let Some(mut open) = self.0.take() {
            let begun = open.begun.take();
            open.status = begun.as_ref().and_then(|begun| begun.status);
            open.settle(begun.map(|begun| begun.answer).unwrap_or_default(), false);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        match Handle::try_current() {
            // Reading it takes a while.
            Ok(runtime) if open.reader.plain().is_some_and(|body| body.len() > LARGE_BYTES) => {
                runtime.spawn_blocking(move || open.finish(None));
            }
            runtime => open.finish(runtime.ok()),
        }
    }
}

impl Open {
    /// Settles a call, or keeps it where its answer goes on in the background. What takes a while is done by a thread of the
    /// runtime, or here if there is none.
    fn finish(self: Box<Self>, runtime: Option<Handle>) {
        let mut open = self;
        let mut answer = open.reader.take_answer();
        if let Some(id) = open.goes_on(&answer) {
            match open.begun {
                Some(_) => open.error = None,
                None => open.begun = Some(Begun { status: open.status, answer }),
            }
            let lane = Arc::clone(&open.lane);
            let Err(full) = lane.background.keep(id, Ticket(Some(open))) else { return };
            return full.end();
        }
        if answer.usage.is_none()
            && let Some(begun) = open.begun.take()
        {
            // It ended without a report.
            (open.status, answer.id) = (begun.status, begun.answer.id);
        }
        let taken = open.sent && open.may_have_cost();
        // Where the estimate decides (there is no report, or hand-over may be due), it is counted and not guessed from bytes.
        // That takes a while.
        let decides = answer.usage.is_none() || open.call.input >= open.call.window.soft_mark();
        let is_counted = taken && decides;
        let takes_a_while = is_counted || open.must_be_counted(&answer);
        match runtime {
            Some(runtime) if takes_a_while => {
                runtime.spawn_blocking(move || open.settle(answer, is_counted));
            }
            _ => open.settle(answer, is_counted),
        }
    }
}

/// The most o200k tokens that an answer can have whose provider keeps to this limit: no tokenizer of the model families that
/// we know makes less than half as many. The rest is for answers of some words.
fn o200k_tokens_max(limit: u64) -> u64 {
    limit.saturating_mul(2).saturating_add(1_000)
}

impl Call {
    /// The most bytes that an honest answer has besides what the model wrote.
    fn other_bytes_max(&self) -> u64 {
        /// Comments that keep a connection open, and events at the beginning and the end.
        const AROUND: u64 = 256 << 10;
        /// The request's instructions and tools are repeated in up to three events.
        const REQUESTS: u64 = 4;
        /// Results of tools that the provider runs, such as documents that it fetches, are part of the answer.
        const SERVER_TOOLS: u64 = 64;
        let for_each_token = match self.protocol {
            // An event of some 150 bytes for each character, where a server sends them one by one.
            Protocol::Messages => 2 << 10,
            // The probabilities of twenty other tokens, some times over; sound and images.
            Protocol::Responses | Protocol::Chat | Protocol::Gemini => 16 << 10,
        };
        let once = (self.reading.body.len() as u64).saturating_mul(REQUESTS).saturating_add(AROUND);
        let bytes = self.room.output.saturating_mul(for_each_token).saturating_add(once);
        if self.teaches { bytes } else { bytes.saturating_mul(SERVER_TOOLS) }
    }
}

/// Held while a large body is counted to settle its call.
static COUNTING: Mutex<()> = Mutex::new(());

impl Open {
    fn settle(mut self, mut answer: Answer, count: bool) {
        self.disbelieve(&mut answer);
        answer.tokens_min = answer.tokens_min.max(self.tokens_passed(&answer));
        if count {
            let reading = &mut self.call.reading;
            let slots = reading.uncounted();
            let bytes = slots.iter().map(|slot| reading.part(*slot).1.len()).sum::<usize>();
            // Nobody waits for this count, so large ones come one after the other.
            let _turn = (bytes > LARGE_BYTES).then(|| lock(&COUNTING));
            for slot in slots {
                let counted = count_part(self.call.protocol, reading.part(slot));
                reading.count(slot, counted);
            }
            self.call.input = reading.input(self.call.density);
            self.lane.counted(reading);
        }
        if self.status.is_some_and(reset::asks_to_wait) {
            let of_body = self.reader.plain().and_then(|body| reset::of_body(body, (self.lane.rules.clock)()));
            if let Some(until_ms) = self.until_ms.max(of_body) {
                self.lane.note(Note::ProviderWaits { until_ms });
            }
        }
        if let Some(usage) = answer.usage {
            self.lane.reported(&self.call, input_of(&usage));
        }
        let actual = self.cost(&answer);
        let (charged, settled) = self.lane.settle(self.reservation, actual, self.started_ms);
        // Clients close their connection when they have read the last event.
        let is_gone_after_end = |word: &String| answer.complete && matches!(word.as_str(), "client-gone" | "lane-closed");
        let error = self.error.filter(|word| !is_gone_after_end(word));
        let error = error.or_else(|| match (self.status, &answer.error) {
            (Some(status), _) if status >= 400 => Some(format!("http-{status}")),
            (_, Some(word)) => Some(word.clone()),
            (Some(_), None) if !answer.complete => Some("incomplete".into()),
            _ => None,
        });
        let clean = |text: Option<String>| text.map(|text| self.lane.clean(text));
        let row = CallRow {
            conversation: self.call.conversation,
            sub_agent: self.call.sub_agent,
            kind: self.call.kind,
            provider: self.lane.rules.provider.clone(),
            model: clean(self.call.model),
            answered_by: clean(answer.model),
            // No two are the same, so it is not remembered.
            response_id: answer.id.map(|id| self.lane.rules.redactor.redact(&id).into_owned()),
            finish: clean(answer.finish),
            status: self.status,
            error: clean(error),
            streamed: self.call.streamed,
            started_ms: self.started_ms,
            first_byte_ms: self.first_byte_ms,
            duration_ms: millis(self.began),
            estimate: self.call.input,
            counted: self.call.reading.is_counted(),
            output_max: self.call.room.output,
            window: self.call.window.tokens(),
            usage: answer.usage,
            reasoning: answer.reasoning,
            charged,
            reserved: Some(settled.reserved),
        };
        self.lane.rules.host.settled(row, settled.missing);
    }
}

impl Open {
    /// The id of the answer, if the provider goes on with it in the background.
    fn goes_on(&self, answer: &Answer) -> Option<String> {
        if !self.call.background || !self.sent || self.is_cut() {
            return None;
        }
        let Some(begun) = &self.begun else {
            let goes_on = self.may_have_cost() && !answer.complete;
            return answer.id.clone().filter(|_| goes_on);
        };
        // What says nothing of this answer's end ends nothing.
        let has_ended = self.may_have_cost() && answer.complete && answer.id == begun.answer.id;
        begun.answer.id.clone().filter(|_| !has_ended)
    }

    /// Providers charge only for answers with content: not for errors and redirects, nor for 204, 205 and 304. After a 101 the
    /// answer comes in another protocol (RFC 9110, section 7.8).
    fn may_have_cost(&self) -> bool {
        self.status.is_none_or(|status| matches!(status, 101 | 200..=203 | 206..=299))
    }

    /// The most that the call can have used: its window and its limit. Where the provider runs tools in it, the model may have
    /// read its input again after each of them.
    fn usage_max(&self) -> u64 {
        /// More than any provider lets a model use tools within one call.
        const READINGS_MAX: u64 = 64;
        let once = self.call.window.tokens().saturating_add(self.call.room.output);
        if self.call.teaches { once } else { once.saturating_mul(READINGS_MAX) }
    }

    /// A report of more than that is unknown usage: believed, one of them would end a day's budget and a conversation.
    fn disbelieve(&mut self, answer: &mut Answer) {
        let reported = answer.usage.as_ref().map_or(0, Usage::context).max(answer.output_named);
        let possible = self.usage_max();
        if reported > possible {
            self.is_absurd = true;
            (answer.usage, answer.reasoning, answer.output_named) = (None, None, 0);
            self.lane.note(Note::ReportNotBelieved { reported, possible });
        }
    }

    /// Whether it must be counted what the model wrote.
    fn must_be_counted(&mut self, answer: &Answer) -> bool {
        let known = answer.output_named.max(answer.tokens_min);
        self.is_cut() || self.reader.written().may_be_more_than(known)
    }

    /// Tokens of an answer that was cut, and of one whose report is less than half of what was shown: no tokenizer makes so
    /// few. 0: the report stands.
    fn tokens_passed(&mut self, answer: &Answer) -> u64 {
        /// What is not known to be text counts as text of that many bytes.
        const BYTES_PER_TOKEN: u64 = 4;
        if !self.must_be_counted(answer) {
            return 0;
        }
        let (shown, shown_max) = self.reader.written().tokens();
        if self.is_cut() {
            let tokens = shown_max.saturating_add(self.other_bytes / BYTES_PER_TOKEN);
            return tokens.min(self.usage_max());
        }
        let known = answer.output_named.max(answer.tokens_min);
        if shown / 2 > known { shown_max } else { 0 }
    }

    /// What is charged: what a complete report says, and where there is none an upper bound. A report can only raise what is
    /// known without it.
    fn cost(&self, answer: &Answer) -> Amount {
        if answer.usage.is_none() && !(self.sent && self.may_have_cost()) {
            return Amount::ZERO;
        }
        let limit = if self.has_not_begun() { 0 } else { self.call.room.output };
        let price = self.price(answer);
        // No tokenizer makes more tokens than bytes.
        let seen = if self.call.room.cut { self.output_bytes } else { self.output_bytes.min(limit) };
        let at_most = if self.may_be_longer(answer) { limit.max(seen) } else { seen };
        let known = answer.output_named.max(answer.tokens_min);
        let Some(usage) = answer.usage else {
            let at_most = if answer.complete && !self.is_absurd { at_most } else { limit.max(seen) };
            return at_list_price(price, self.call.input, at_most.max(known));
        };
        let output = match answer.usage_is_final && !self.is_cut() {
            // The model certainly wrote something, so a report of nothing is unknown. Streams begin with a figure of 1.
            true if known <= 1 && self.has_output(answer) => limit.max(seen),
            true => known,
            // A plain answer whose report is not the last one has only begun.
            false if self.reader.plain().is_some() => limit.max(seen).max(known),
            false => known.max(at_most),
        };
        // Input that the report leaves out is priced as input.
        let left_out = self.input_min().saturating_sub(input_of(&usage));
        let usage = Usage { output, input: usage.input.saturating_add(left_out), ..usage };
        let life = if answer.cache_write_hour > 0 { CacheLife::Hour } else { CacheLife::Default };
        let micro_usd = price.map(|price| price.cost_cached(&usage, life));
        Amount { tokens: usage.context(), micro_usd }
    }

    /// The price of the model that answered, at the service tier that was asked for, or at the one that answered, where that is
    /// dearer.
    fn price(&self, answer: &Answer) -> Option<Price> {
        let of_model = answer
            .model
            .as_ref()
            .and_then(|name| self.call.prices.iter().find(|(model, _)| is_same_model(model, name)).map(|(_, price)| *price));
        let price = match of_model {
            Some(price) => price.map(|price| price.times(self.call.price_permille)),
            None => self.call.price,
        };
        let tier = answer.tier.as_deref().and_then(|tier| option_factor(PriceOption::ServiceTier, tier));
        let answered = tier.map_or(0, |factor| factor.permille(self.call.input));
        let asked = self.call.price_permille.max(1);
        if answered <= asked { price } else { price.map(|price| price.times(answered * 1000 / asked)) }
    }

    /// Minimum number of tokens of the input.
    fn input_min(&self) -> u64 {
        match self.call.reading.is_counted() {
            true => self.call.reading.input_min(),
            false => input_min(self.call.input),
        }
    }

    /// The provider's connection ended before the first byte of a stream that tells its beginning before the model writes: the
    /// event `message_start` or `response.created`. A client that leaves does not count: the provider may have begun meanwhile.
    fn has_not_begun(&self) -> bool {
        let tells = matches!(self.call.protocol, Protocol::Messages | Protocol::Responses);
        let is_of_provider = self.error.as_deref() == Some("reset");
        tells && self.call.streamed && !self.call.background && is_of_provider && self.first_byte_ms.is_none()
    }

    /// The model certainly wrote something: it began to reason, or came to its limit.
    fn has_output(&self, answer: &Answer) -> bool {
        let at_limit =
            |finish: &str| matches!(finish, "max_tokens" | "length" | "MAX_TOKENS" | "max_output_tokens" | "incomplete");
        self.hidden || answer.finish.as_deref().is_some_and(at_limit)
    }

    fn is_cut(&self) -> bool {
        self.error.as_deref() == Some("cut")
    }

    /// Whether the provider may have made more output than went by, where it has not said how much.
    fn may_be_longer(&self, answer: &Answer) -> bool {
        let shows_all = match self.call.protocol {
            // Reasoning is a block or an item of its own, which is seen to begin.
            Protocol::Messages => !self.hidden,
            // Some models reason without showing it, and only a report tells.
            Protocol::Responses => !self.hidden && answer.usage.is_some(),
            // Some models reason without showing any of it in the answer.
            Protocol::Chat | Protocol::Gemini => false,
        };
        // Before any output is shown, it is unknown whether some is hidden.
        let has_begun = self.output_bytes > 0 || answer.complete;
        !shows_all || !has_begun || self.call.background
    }
}

fn input_of(usage: &Usage) -> u64 {
    usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
