//! A forwarded call until it is settled.

use std::sync::Arc;
use std::time::Instant;

use agentops_core::budget::{Amount, Reservation};
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::Window;
use agentops_core::models::{CacheLife, Price};
use agentops_core::usage::Usage;

use crate::conversation::{Density, Reading};
use crate::judge::Room;
use crate::lane::{Lane, at_list_price, count_part};
use crate::protocol::{Answer, Protocol, Reader};

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
    /// Its list price; `None`: not known.
    pub price: Option<Price>,
    pub protocol: Protocol,
    /// A report about it says how dense texts are.
    pub teaches: bool,
    pub reading: Reading,
}

/// What to do with the bytes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Pass them on.
    GoOn,
    /// The answer would pass the ceiling: send these bytes in their place, which end it in good form, and nothing after them.
    Cut(Vec<u8>),
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
    error: Option<String>,
}

impl Ticket {
    pub(crate) fn new(lane: Arc<Lane>, call: Call, reservation: Reservation) -> Self {
        let started_ms = (lane.rules.clock)();
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
            error: None,
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
            open.sent = false;
        }
    }

    /// The head of the answer is there. `streamed` is what it says of itself: a refused stream is plain.
    pub fn answered(&mut self, status: u16, streamed: bool) {
        if let Some(open) = &mut self.0 {
            open.status = Some(status);
            open.reader = Reader::new(open.call.protocol, streamed);
            open.call.streamed = streamed;
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
        if seen.hidden && open.call.room.cut {
            open.lane.saw_hidden_reasoning();
        }
        // No tokenizer makes more tokens than bytes. The answer is cut where an event ends.
        let Some(boundary) = seen.boundary.filter(|_| open.call.room.cut && open.output_bytes > open.call.room.output)
        else {
            return Flow::GoOn;
        };
        open.error = Some("cut".into());
        Flow::Cut([&bytes[..boundary], &open.reader.cut()].concat())
    }

    /// The call failed: one word (`connect`, `timeout`, `reset`, `client-gone`).
    pub fn failed(&mut self, word: &str) {
        if let Some(open) = &mut self.0 {
            open.error.get_or_insert_with(|| word.to_owned());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(mut open) = self.0.take() else { return };
        let answer = open.reader.take_answer();
        let taken = open.sent && open.status.is_none_or(|status| status < 400);
        // Where the estimate decides (there is no report, or hand-over may be due), it is counted and not guessed from bytes.
        // That takes a while.
        let decides = answer.usage.is_none() || open.call.input >= open.call.window.soft_mark();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if taken && decides => {
                runtime.spawn_blocking(move || open.settle(answer, true));
            }
            _ => open.settle(answer, taken && decides),
        }
    }
}

impl Open {
    fn settle(mut self, answer: Answer, count: bool) {
        if count {
            let reading = &mut self.call.reading;
            for slot in reading.uncounted() {
                let counted = count_part(self.call.protocol, reading.part(slot));
                reading.count(slot, counted);
            }
            self.call.input = reading.input(self.call.density);
            self.lane.counted(reading);
        }
        let refused = self.status.is_some_and(|status| status >= 400);
        if let Some(usage) = answer.usage {
            let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
            self.lane.reported(&self.call, input);
        }
        let actual = match answer.usage {
            Some(usage) => {
                // Where the provider had not said all, what was seen of the output counts.
                let seen = if answer.usage_is_final { 0 } else { self.output_bytes.min(self.call.room.output) };
                let usage = Usage { output: usage.output.max(seen), ..usage };
                let life = if answer.cache_write_hour > 0 { CacheLife::Hour } else { CacheLife::Default };
                let micro_usd = self.call.price.map(|price| price.cost_cached(&usage, life));
                Amount { tokens: usage.context(), micro_usd }
            }
            // Providers charge nothing for what they refuse, and what was not sent cost nothing.
            None if refused || !self.sent => Amount::ZERO,
            None => {
                let seen = if self.call.room.cut { self.output_bytes } else { self.output_bytes.min(self.call.room.output) };
                let output = if answer.complete { seen } else { self.call.room.output };
                at_list_price(self.call.price, self.call.input, output)
            }
        };
        let (charged, missing) = self.lane.settle(self.reservation, actual);
        let error = self.error.or_else(|| match (self.status, &answer.error) {
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
        };
        self.lane.rules.host.settled(row, missing);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
