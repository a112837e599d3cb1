//! One model call, as the gateway saw it go by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::Amount;
use crate::ceiling::estimate_tokens;
use crate::models;
use crate::usage::Usage;

/// Minimum number of input tokens of a request whose estimate was made from its bytes. A report of less is not believed.
#[must_use]
pub fn input_min(estimate: u64) -> u64 {
    /// Prose and code have 3 to 5 bytes for each token.
    const BYTES_PER_TOKEN_MAX: u64 = 6;
    /// What an estimate may hold for what a provider puts around a request.
    const AROUND: u64 = 2_000;
    estimate.saturating_sub(AROUND) / BYTES_PER_TOKEN_MAX
}

/// What a call is for, as far as its lane and its shape tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// Work.
    Work,
    /// The lane is handing over: it may use the reserve.
    HandOver,
    /// The program compacts its own context: it may use the reserve.
    Compaction,
}

/// A call that has ended, however it ended. Plain figures: no content, no prompt, no path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRow {
    /// Number of the conversation within its lane, from 1.
    pub conversation: u32,
    /// The conversation is not the lane's first: a sub-agent's, or a side request such as a title.
    pub sub_agent: bool,
    /// What it was for.
    pub kind: CallKind,
    /// The provider, in the words of the OpenTelemetry GenAI conventions (`anthropic`, `openai`, `gcp.gemini`, or the name of
    /// a configured destination).
    pub provider: String,
    /// The model that was asked for; `None`: the request did not say.
    pub model: Option<String>,
    /// The model that answered, as the answer says.
    pub answered_by: Option<String>,
    /// The answer's id.
    pub response_id: Option<String>,
    /// Why the model stopped, in the provider's words.
    pub finish: Option<String>,
    /// HTTP status of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// What went wrong, one word (`timeout`, `connect`, `http-429`, `cut`, `client-gone`); `None`: nothing.
    pub error: Option<String>,
    /// The answer was streamed.
    pub streamed: bool,
    /// When it was forwarded, in milliseconds since 1970.
    pub started_ms: u64,
    /// From then to the answer's first byte, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From then to its end, in milliseconds.
    pub duration_ms: u64,
    /// Upper bound of the input in tokens: what the call was judged by, or a closer one where it was counted since.
    pub estimate: u64,
    /// The estimate comes from a tokenizer and not from bytes.
    pub counted: bool,
    /// The most output that it was allowed, in tokens.
    pub output_max: u64,
    /// The window it was measured against, in tokens.
    pub window: u64,
    /// What the provider said that it used; `None`: it said nothing that can be true.
    pub usage: Option<Usage>,
    /// Of the output, tokens of hidden reasoning, where the provider says so.
    pub reasoning: Option<u64>,
    /// What was taken from the budgets: the provider's figures, or an upper bound where there were none.
    pub charged: Amount,
    /// What the row settles of what was granted: what was reserved for the call, more where it cost more, and what is left of
    /// the grant where no other call is under way. Absent in rows of older versions, which settled what they charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Amount>,
}

impl CallRow {
    /// Another model answered than was asked for.
    #[must_use]
    pub fn is_by_another_model(&self) -> bool {
        let answered = self.status.is_some_and(|status| status < 400);
        let models = self.model.as_deref().zip(self.answered_by.as_deref());
        answered && models.is_some_and(|(asked, by)| !models::is_same_model(asked, by))
    }

    /// Another model answered, although the agent pins the one that was asked for, or names none and the session's own
    /// conversation asked by a full name. Calls for other models, such as a title by a small one, break no pin.
    #[must_use]
    pub fn breaks_pin(&self, pinned: Option<&str>) -> bool {
        let asked = self.model.as_deref().unwrap_or_default();
        let is_pinned = match pinned {
            Some(pinned) => models::is_pinned_model(pinned, asked),
            None => !self.sub_agent && models::is_snapshot(asked),
        };
        is_pinned && self.is_by_another_model()
    }

    /// What the row settles of what was granted.
    #[must_use]
    pub fn settles(&self) -> Amount {
        self.reserved.unwrap_or(self.charged)
    }

    /// The context after the call, in tokens: the larger of what the provider reported and of our own count. An estimate from
    /// bytes is several times too high, so where there is a report it stands only for one that cannot be true, as the tokens
    /// that so many bytes have.
    #[must_use]
    pub fn context(&self) -> u64 {
        let Some(usage) = self.usage else { return self.estimate };
        let own = match (self.counted, usage.context().saturating_sub(usage.output)) {
            (true, _) => self.estimate,
            (false, input) if input < input_min(self.estimate) => estimate_tokens(self.estimate),
            (false, input) => input,
        };
        usage.context().max(own.saturating_add(usage.output))
    }
}
