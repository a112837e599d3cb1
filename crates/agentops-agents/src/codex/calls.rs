//! Model calls as the program reports them.
//!
//! After each call the program tells the thread's token counts and then the account's rate limits. A call whose provider
//! named no usage looks like this: the same counts again, or, before the first counts, the limits alone. A call that was
//! dropped (an interrupt, a message that cut in, a lost connection) looks the same. So a report that says nothing new is
//! only a suspicion; it is one call of unknown use when the conversation goes on as if nothing had happened.

use std::collections::BTreeMap;

use agentops_core::ceiling::Window;
use serde_json::Value;

use super::wire;
use crate::driver::AgentEvent;

#[derive(Debug, Default)]
pub(super) struct Calls {
    count: u64,
    in_turn: u64,
    /// What each thread had used at its last report.
    totals: BTreeMap<String, u64>,
    /// A tool was used in this turn, so a call has ended or is about to.
    tool_used: bool,
    suspected: bool,
    /// A call was dropped at our own wish: the next report that says nothing new is about that.
    excused: bool,
}

impl Calls {
    fn call(&mut self, counts: &Value, sub_agent: bool, window: Option<Window>) -> AgentEvent {
        self.count += 1;
        let (id, usage) = (format!("call-{}", self.count), wire::usage(counts));
        AgentEvent::Call { id, usage, last: true, sub_agent, window }
    }

    fn unknown(&mut self) -> AgentEvent {
        self.suspected = false;
        self.call(&Value::Null, false, None)
    }

    pub(super) fn turn_asked(&mut self) {
        (self.in_turn, self.tool_used, self.suspected) = (0, false, false);
    }

    pub(super) fn dropped_by_us(&mut self) {
        self.excused = true;
    }

    /// `thread/tokenUsage/updated`.
    pub(super) fn reported(&mut self, params: &Value, own_thread: Option<&str>) -> Option<AgentEvent> {
        let counts = &params["tokenUsage"];
        let thread = params["threadId"].as_str().unwrap_or_default();
        let sub_agent = own_thread.is_some_and(|own| own != thread);
        let total = wire::total(&counts["total"]);
        let before = self.totals.insert(thread.to_owned(), total).unwrap_or(0);
        // All zero is a provider's lie. When the provider says that the prompt is too long, the program reports the whole
        // window and no parts; that is no call.
        let is_zero = wire::total(&counts["last"]) == 0 && counts["last"]["totalTokens"].as_u64().unwrap_or(0) == 0;
        if total == before && !is_zero {
            self.suspected |= !sub_agent && !self.excused;
            return None;
        }
        if !sub_agent {
            self.in_turn += 1;
            (self.suspected, self.excused) = (false, false);
        }
        let window = counts["modelContextWindow"].as_u64().and_then(Window::new);
        Some(self.call(&counts["last"], sub_agent, window))
    }

    /// `account/rateLimits/updated`. It comes at other times, too, so it means something only where a call has surely been.
    pub(super) fn limits(&mut self) {
        self.suspected |= self.totals.is_empty() && self.tool_used && !self.excused;
    }

    /// The model put out something new.
    pub(super) fn went_on(&mut self, is_tool: bool) -> Option<AgentEvent> {
        self.tool_used |= is_tool;
        self.suspected.then(|| self.unknown())
    }

    /// The call was lost, and the program says so.
    pub(super) fn lost(&mut self) {
        self.suspected = false;
    }

    /// A turn makes a call at least; one that nobody reported is one of unknown use.
    pub(super) fn turn_completed(&mut self) -> Option<AgentEvent> {
        (self.suspected || self.in_turn == 0).then(|| self.unknown())
    }
}
